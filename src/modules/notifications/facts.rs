//! What letters say of the things they are about, as those are now.

use mongodb::Database;
use serde_json::{Value, json};

use super::letters::About;
use crate::{
    modules::{
        auth::{LinkKeys, User, find_user},
        events::{Event, HandlerError},
        kyc::{KycStore, Requirement},
        orders::OrderStore,
        wallet::topups::{TopupStatus, TopupStore},
        webhooks::{DisabledReason, EndpointStatus, WebhookStore},
    },
    platform::{clock::Clock, identity::Role, money::Money},
};

/// Reads what letters are about.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    db: Database,
    links: LinkKeys,
    public_url: String,
    clock: Clock,
    orders: OrderStore,
    topups: TopupStore,
    applications: KycStore,
    endpoints: WebhookStore,
}

impl Facts {
    /// Over `db`; links of `links` begin with `public_url`.
    pub(super) fn new(db: &Database, links: &LinkKeys, public_url: &str, clock: &Clock) -> Self {
        Self {
            db: db.clone(),
            links: links.clone(),
            public_url: public_url.to_owned(),
            clock: clock.clone(),
            orders: OrderStore::new(db.clone()),
            topups: TopupStore::new(db.clone()),
            applications: KycStore::new(db.clone()),
            endpoints: WebhookStore::new(db.clone()),
        }
    }

    /// The values of a letter about this event; none where things have gone on since, and there is nothing more to say.
    pub(super) async fn of(&self, about: About, event: &Event) -> Result<Option<Value>, HandlerError> {
        match about {
            About::Order => self.of_order(event).await,
            About::Topup => self.of_topup(event).await,
            About::Application => self.of_application(event).await,
            About::Endpoint => self.of_endpoint(event).await,
            About::Address => self.of_address(event).await,
            About::Password => self.of_password(event).await,
            About::Alert => Ok(Some(of_alert(event))),
            About::Day => Ok(None),
        }
    }

    async fn user(&self, event: &Event) -> Result<User, HandlerError> {
        let user = find_user(&self.db, &event.subject_id).await.map_err(|error| away(&error))?;
        user.ok_or_else(|| gone("The user is not there."))
    }

    fn link(&self, path: Option<String>) -> Option<String> {
        path.map(|path| format!("{}{path}", self.public_url))
    }

    /// A welcome has something to say besides its link, to who has opened the account: whom an operator has given one hears of
    /// it from the operator.
    async fn of_address(&self, event: &Event) -> Result<Option<Value>, HandlerError> {
        if event.kind == "UserCreated" && event.actor.id != event.subject_id {
            return Ok(None);
        }
        let user = self.user(event).await?;
        let path = self.links.email_verification(&user, event.at, self.clock.now());
        let link = self.link(path.filter(|_| user.email_verified_at.is_none()));
        let is_needed = link.is_some() || event.kind == "UserCreated";
        Ok(is_needed.then(|| json!({ "isMerchant": user.role == Role::Merchant, "link": link })))
    }

    /// That the password was changed is told whatever has happened since.
    async fn of_password(&self, event: &Event) -> Result<Option<Value>, HandlerError> {
        let user = self.user(event).await?;
        let link = self.link(self.links.password_reset(&user, event, self.clock.now()));
        let is_needed = link.is_some() || event.kind == "PasswordChanged";
        let by = event.data.get_str("by").unwrap_or_default();
        Ok(is_needed.then(|| json!({ "by": by, "link": link })))
    }

    async fn of_order(&self, event: &Event) -> Result<Option<Value>, HandlerError> {
        let order = self.orders.find(&event.user_id, &event.subject_id).await.map_err(|error| away(&error))?;
        let order = order.ok_or_else(|| gone("The order is not there."))?;
        if event.data.get_str("status").is_ok_and(|status| status != order.status.as_str()) {
            return Ok(None);
        }
        let failure = order.failure.map(|failure| json!({ "code": failure.code, "message": failure.message }));
        Ok(Some(json!({
            "orderId": order.id,
            "orderNumber": order.order_number,
            "clientOrderId": order.client_order_id,
            "provider": order.provider,
            "status": order.status.as_str(),
            "charge": order.charge.map(shown),
            "failure": failure,
        })))
    }

    async fn of_topup(&self, event: &Event) -> Result<Option<Value>, HandlerError> {
        let topup = self.topups.find(&event.user_id, &event.subject_id).await.map_err(|error| away(&error))?;
        let topup = topup.ok_or_else(|| gone("The top-up is not there."))?;
        let values =
            json!({ "topupId": topup.id, "clientTopupId": topup.client_topup_id, "amount": shown(topup.money()) });
        Ok((topup.status == TopupStatus::Paid).then_some(values))
    }

    async fn of_application(&self, event: &Event) -> Result<Option<Value>, HandlerError> {
        let application = self.applications.find(&event.user_id).await.map_err(|error| away(&error))?;
        let application = application.ok_or_else(|| gone("The application is not there."))?;
        let is_as_then = event.data.get_str("state").is_ok_and(|state| state == application.state.as_str())
            && event.data.get_i32("submission").is_ok_and(|submission| submission == application.submission);
        let asked = |one: &Requirement| json!({ "field": one.field, "code": one.code, "reason": one.reason });
        let values = json!({
            "state": application.state.as_str(),
            "requirements": application.requirements.iter().map(asked).collect::<Vec<_>>(),
            "reason": application.decision.map(|decision| decision.reason),
        });
        Ok(is_as_then.then_some(values))
    }

    async fn of_endpoint(&self, event: &Event) -> Result<Option<Value>, HandlerError> {
        let owner_id = event.data.get_str("tenantId").unwrap_or(&event.user_id);
        let found = self.endpoints.find_endpoint(owner_id, &event.subject_id).await;
        // One that its owner has deleted since needs no mail.
        let Some(endpoint) = found.map_err(|error| away(&error))? else { return Ok(None) };
        let url = reqwest::Url::parse(&endpoint.url).ok();
        let values = json!({
            "endpointId": endpoint.id,
            "host": url.as_ref().and_then(|url| url.host_str()).unwrap_or_default(),
            "disabledReason": endpoint.disabled_reason.map(DisabledReason::as_str),
        });
        Ok((endpoint.status == EndpointStatus::Disabled).then_some(values))
    }
}

fn of_alert(event: &Event) -> Value {
    let text = |field| event.data.get_str(field).unwrap_or_default();
    json!({
        "kind": event.kind, "schedule": text("schedule"), "message": text("message"), "runId": event.subject_id,
    })
}

/// As people read it.
fn shown(money: Money) -> String {
    money.to_string()
}

/// The database can't be read now.
pub(super) fn away(error: &mongodb::error::Error) -> HandlerError {
    tracing::debug!(%error, "what a mail is about can't be read");
    let message = "The database could not be read.".to_owned();
    HandlerError::Retryable { code: "mail.database_away", message, after: None }
}

fn gone(message: &str) -> HandlerError {
    HandlerError::Invalid { code: "mail.nothing_to_tell", message: message.to_owned() }
}
