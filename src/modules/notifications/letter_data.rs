//! Values of letters, read from orders, payments and checkouts as they are now.

use mongodb::Database;
use serde_json::{Value, json};

use super::{buyer::Buyer, letters::LetterSubject};
use crate::{
    modules::{
        alerts::Rule,
        auth::{LinkKeys, User, find_user},
        catalog::{CatalogStore, ProductStatus},
        checkout::{Checkout, CheckoutItem, CheckoutOwner, CheckoutStatus, CheckoutStore, PaymentStatus},
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
pub(super) struct LetterData {
    db: Database,
    links: LinkKeys,
    public_url: String,
    clock: Clock,
    orders: OrderStore,
    topups: TopupStore,
    applications: KycStore,
    endpoints: WebhookStore,
    products: CatalogStore,
    checkouts: CheckoutStore,
}

/// Values of a letter, and its addressee where that is not the event's user.
pub(super) struct LetterContent {
    pub(super) values: Value,
    pub(super) buyer: Option<Buyer>,
}

impl From<Value> for LetterContent {
    fn from(values: Value) -> Self {
        Self { values, buyer: None }
    }
}

impl LetterData {
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
            products: CatalogStore::new(db.clone()),
            checkouts: CheckoutStore::new(db.clone()),
        }
    }

    /// Values of a letter about this event; none where a later change has made it obsolete.
    pub(super) async fn of(&self, about: LetterSubject, event: &Event) -> Result<Option<LetterContent>, HandlerError> {
        if about == LetterSubject::Purchase {
            return self.of_purchase(event).await;
        }
        Ok(self.of_user(about, event).await?.map(LetterContent::from))
    }

    /// The values of a letter to the event's user.
    async fn of_user(&self, about: LetterSubject, event: &Event) -> Result<Option<Value>, HandlerError> {
        match about {
            LetterSubject::Order => self.of_order(event).await,
            LetterSubject::Topup => self.of_topup(event).await,
            LetterSubject::Application => self.of_application(event).await,
            LetterSubject::Endpoint => self.of_endpoint(event).await,
            LetterSubject::Address => self.of_address(event).await,
            LetterSubject::Password => self.of_password(event).await,
            LetterSubject::Alert => Ok(Some(of_alert(event))),
            LetterSubject::Sale => self.of_sale(event).await,
            LetterSubject::Product => self.of_product(event).await,
            LetterSubject::Purchase | LetterSubject::Day | LetterSubject::DayOfStock => Ok(None),
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
        let holds = match event.kind.as_str() {
            "TopupFailed" => topup.status == TopupStatus::Failed,
            _ => topup.status == TopupStatus::Paid,
        };
        Ok(holds.then_some(values))
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
        let tenant_id = event.data.get_str("tenantId").ok();
        if let Some(tenant_id) = tenant_id {
            // Who has made a tenant's endpoint may have left the tenant since, and then it is nobody's business there.
            let maker = find_user(&self.db, &event.user_id).await.map_err(|error| away(&error))?;
            if maker.is_none_or(|maker| maker.tenant_id.as_deref() != Some(tenant_id)) {
                return Ok(None);
            }
        }
        let owner_id = tenant_id.unwrap_or(&event.user_id);
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

    /// The checkout, unless it has become another one since: what is paid may be completed already.
    async fn checkout(&self, event: &Event) -> Result<Option<Checkout>, HandlerError> {
        let found = self.checkouts.find(CheckoutOwner::Seller(&event.user_id), &event.subject_id).await;
        let checkout = found.map_err(|error| away(&error))?.ok_or_else(|| gone("The checkout is not there."))?;
        let holds = match event.kind.as_str() {
            "CheckoutPaid" => checkout.status.holds_stock() && checkout.status != CheckoutStatus::Pending,
            "CheckoutCompleted" => checkout.status == CheckoutStatus::Completed,
            // Where money came that was not what was asked for, a person decides whose it is: nobody says that nothing was paid.
            "CheckoutPaymentFailed" => {
                checkout.status == CheckoutStatus::PaymentFailed
                    && !self
                        .topups
                        .is_disputed(checkout.payment.gateway_payment.as_deref())
                        .await
                        .map_err(|error| away(&error))?
            }
            _ => checkout.status == CheckoutStatus::Cancelled,
        };
        Ok(Some(checkout).filter(|_| holds))
    }

    /// Values for the buyer named in the checkout; none once that is erased.
    async fn of_purchase(&self, event: &Event) -> Result<Option<LetterContent>, HandlerError> {
        let Some(checkout) = self.checkout(event).await? else { return Ok(None) };
        let money = checkout.money();
        let items = items_of(&checkout);
        let (Some(customer), Some(address)) = (checkout.customer, checkout.shipping_address) else { return Ok(None) };
        let seller = find_user(&self.db, &checkout.seller_id).await.map_err(|error| away(&error))?;
        let values = json!({
            "checkoutId": checkout.id,
            "orderNumber": checkout.order_number,
            "clientOrderId": checkout.client_order_id,
            "seller": seller.map_or_else(String::new, |seller| seller.name.clone()),
            "items": items,
            "total": shown(money),
            "method": checkout.payment.method.as_str(),
            "paid": !matches!(checkout.payment.status, PaymentStatus::Pending | PaymentStatus::Failed),
            "address": {
                "name": address.name.unwrap_or_else(|| customer.name.clone()),
                "line1": address.line1, "line2": address.line2, "city": address.city, "state": address.state,
                "postcode": address.postcode, "country": address.country,
            },
        });
        let buyer = Buyer { name: customer.name, email: customer.email, asked_by: checkout.user_id };
        Ok(Some(LetterContent { values, buyer: Some(buyer) }))
    }

    /// A merchant's own server knows what it has sold.
    async fn of_sale(&self, event: &Event) -> Result<Option<Value>, HandlerError> {
        let checkout = self.checkout(event).await?.filter(|checkout| checkout.user_id != checkout.seller_id);
        Ok(checkout.map(|checkout| {
            json!({
                "checkoutId": checkout.id,
                "orderNumber": checkout.order_number,
                "items": items_of(&checkout),
                "total": shown(checkout.money()),
            })
        }))
    }

    async fn of_product(&self, event: &Event) -> Result<Option<Value>, HandlerError> {
        let product = self.products.find(&event.subject_id).await.map_err(|error| away(&error))?;
        let product = product.ok_or_else(|| gone("The product is not there."))?;
        let is_news = product.is_low && product.status == ProductStatus::Active;
        Ok(is_news.then(|| {
            json!({
                "productId": product.id, "sku": product.sku, "productName": product.name, "stock": product.stock,
                "lowStockAt": product.low_stock_at,
            })
        }))
    }
}

fn items_of(checkout: &Checkout) -> Vec<Value> {
    let shown_item = |item: &CheckoutItem| {
        let total = Money::new(item.quantity.saturating_mul(item.unit_price), checkout.currency);
        json!({
            "sku": item.sku, "productName": item.product_name, "quantity": item.quantity, "totalPrice": shown(total),
        })
    };
    checkout.items.iter().map(shown_item).collect()
}

fn of_alert(event: &Event) -> Value {
    let text = |field| event.data.get_str(field).unwrap_or_default();
    let is_firing = event.kind == "AlertFired";
    let advice = Rule::named(text("rule")).filter(|_| is_firing).map(|rule| rule.advice(text("about")));
    json!({
        "rule": text("rule"), "about": text("about"), "severity": text("severity"), "isFiring": is_firing,
        "message": text("message"), "advice": advice.unwrap_or_default(),
    })
}

/// As people read it.
fn shown(money: Money) -> String {
    money.to_string()
}

/// The database can't be read now.
pub(super) fn away(error: &mongodb::error::Error) -> HandlerError {
    tracing::debug!(%error, "what a mail is about can't be read");
    HandlerError::later("mail.database_away", "The database could not be read.")
}

fn gone(message: &str) -> HandlerError {
    HandlerError::Invalid { code: "mail.nothing_to_tell", message: message.to_owned() }
}
