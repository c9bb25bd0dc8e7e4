//! Creating and cancelling orders, each in one transaction.

use bson::doc;

use super::{
    CANCEL_KIND, CREATE_KIND, charging,
    error::OrderError,
    flow::cancel_unplaced,
    model::{
        Cancellation, CancellationStatus, Order, OrderStatus, ProviderRefs, ProviderSyncStatus, fingerprint_version,
    },
    new_order::PartOf,
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        events::{self, Actor, Event},
        kyc::{KycGate, Verified},
        providers::{Configured, Detail, Providers},
        queue::{JOBS, Job, JobState, QueueConfig, settle_job},
        wallet::{LedgerKind, rates::Quote, wallet_key},
    },
    platform::{
        batch::{Command, Key, View},
        error::FieldError,
        ids::readable_number,
    },
};

/// Creates an order, or finds that it exists.
pub struct CreateOrder {
    pub(super) gate: KycGate,
    pub(super) user_id: String,
    /// The tenant that the owner belongs to.
    pub(super) tenant_id: Option<String>,
    pub(super) client_order_id: String,
    pub(super) provider: &'static str,
    pub(super) detail: Detail,
    /// The checkout that it carries out.
    pub(super) part_of: Option<PartOf>,
    /// None where it costs nothing.
    pub(super) quote: Option<Quote>,
    /// Contradictions within the request: a new order is refused, an earlier one is replayed all the same.
    pub(super) contradictions: Vec<FieldError>,
    pub(super) fingerprint: String,
    pub(super) actor: Actor,
    pub(super) correlation_id: String,
    pub(super) queue: QueueConfig,
    /// The merchant has an account of its own with the provider.
    pub(super) own_account: bool,
    pub(super) order_id: String,
    pub(super) job_id: String,
    pub(super) event_id: String,
}

/// An order as a command leaves it.
#[derive(Debug)]
pub struct OrderReply {
    /// As it stands.
    pub order: Order,
    /// Nothing changed: the request had been carried out before.
    pub replayed: bool,
    /// A queue that has new work.
    pub wake: Option<&'static str>,
}

impl OrderReply {
    const fn changed(order: Order, wake: Option<&'static str>) -> Self {
        Self { order, replayed: false, wake }
    }

    const fn replay(order: Order) -> Self {
        Self { order, replayed: true, wake: None }
    }
}

impl Command for CreateOrder {
    type Reply = Result<OrderReply, OrderError>;

    fn reads(&self) -> Vec<Key> {
        let wallet = self.quote.as_ref().map(|quote| wallet_key(&self.user_id, quote.total.currency));
        let keys = [Order::key(&self.user_id, &self.client_order_id), self.gate.key(&self.user_id)];
        keys.into_iter().chain(wallet).collect()
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        match view.find::<Order>(&Order::key(&self.user_id, &self.client_order_id)) {
            Some(existing) if existing.means(&self.fingerprint) => Ok(OrderReply::replay(existing)),
            Some(_) => Err(OrderError::IdempotencyMismatch),
            None if !self.contradictions.is_empty() => Err(OrderError::Contradictory(self.contradictions.clone())),
            None => {
                let verified = self.gate.verify(view, &self.user_id)?;
                let reply = self.place(view, verified)?;
                self.replace(view, &reply.order);
                Ok(reply)
            }
        }
    }

    fn bytes(&self) -> usize {
        self.detail.bytes()
    }
}

impl CreateOrder {
    /// Keeps an order that came to nothing from being sent again beside the one that takes its place.
    fn replace(&self, view: &mut View, order: &Order) {
        let replaced = self.part_of.as_ref().and_then(|part_of| part_of.replaces.as_deref());
        if let Some(mut replaced) = replaced.and_then(|id| view.by_id::<Order>(id)) {
            replaced.replaced_by = Some(order.id.clone());
            replaced.updated_at = view.now();
            view.update(&replaced);
        }
    }

    /// A new order with its hold, its event and its job, for a merchant who may do business.
    fn place(&self, view: &mut View, _: Verified) -> Result<OrderReply, OrderError> {
        let now = view.now();
        let mut order = Order {
            id: self.order_id.clone(),
            order_number: readable_number(&self.order_id),
            user_id: self.user_id.clone(),
            tenant_id: self.tenant_id.clone(),
            client_order_id: self.client_order_id.clone(),
            checkout_id: self.part_of.as_ref().map(|part_of| part_of.checkout_id.clone()),
            replaced_by: None,
            provider: self.provider.into(),
            status: OrderStatus::Created,
            provider_sync_status: ProviderSyncStatus::Pending,
            provider_request_ref_id: None,
            provider_response_ref_id: None,
            detail: self.detail.clone(),
            account_id: None,
            own_account: self.own_account,
            reference: None,
            refs: ProviderRefs::default(),
            live_reference: None,
            followed: None,
            unfinished: false,
            charge: None,
            billing: None,
            cancellation: None,
            failure: None,
            comment: None,
            attempts: 0,
            events: 0,
            job_id: self.job_id.clone(),
            uncertain: None,
            doubted: false,
            open_call: None,
            fingerprint_version: fingerprint_version(),
            fingerprint: self.fingerprint.clone(),
            correlation_id: self.correlation_id.clone(),
            created_at: now,
            updated_at: now,
        };
        if let Some(quote) = &self.quote {
            charging::hold(view, &mut order, quote, &self.event_id, &self.actor).map_err(OrderError::Unpaid)?;
        }
        let payload = doc! { "orderId": &self.order_id };
        let mut job = Job::new(self.job_id.clone(), &self.queue, CREATE_KIND, payload, &self.correlation_id, now)
            .owned_by(&self.user_id)
            .hurried(self.part_of.as_ref().is_some_and(|part_of| part_of.is_rush));
        job.route = order.pool();
        record(view, &self.event_id, "OrderCreated", &mut order, &self.actor, None);
        view.insert(&order);
        view.insert(&job);
        Ok(OrderReply::changed(order, Some(self.queue.name)))
    }
}

/// Everything that a cancellation needs besides the order, which is named in the transaction.
pub struct CancelOrderTemplate {
    pub(super) reason: Option<String>,
    pub(super) actor: Actor,
    pub(super) correlation_id: String,
    pub(super) providers: Providers,
    pub(super) job_id: String,
    pub(super) event_ids: [String; 2],
}

impl CancelOrderTemplate {
    /// The command that cancels this order of the merchant.
    #[must_use]
    pub fn of(&self, user_id: &str, client_order_id: &str) -> CancelOrder {
        CancelOrder {
            user_id: user_id.to_owned(),
            client_order_id: client_order_id.to_owned(),
            reason: self.reason.clone(),
            actor: self.actor.clone(),
            correlation_id: self.correlation_id.clone(),
            providers: self.providers.clone(),
            job_id: self.job_id.clone(),
            event_ids: self.event_ids.clone(),
        }
    }
}

/// Cancels an order, at once where nothing was sent yet.
pub struct CancelOrder {
    pub(super) user_id: String,
    pub(super) client_order_id: String,
    pub(super) reason: Option<String>,
    pub(super) actor: Actor,
    pub(super) correlation_id: String,
    pub(super) providers: Providers,
    pub(super) job_id: String,
    pub(super) event_ids: [String; 2],
}

#[cfg(test)]
impl CancelOrderTemplate {
    pub(crate) fn of_a_test(job_id: String, event_ids: [String; 2]) -> Self {
        Self {
            reason: None,
            actor: Actor::worker("wrk_1", "rqs_1"),
            correlation_id: "rqs_1".into(),
            providers: super::flow_tests::providers(),
            job_id,
            event_ids,
        }
    }
}

/// Whether it makes sense to ask for it back.
fn ensure_cancellable(order: &Order, at: &Configured) -> Result<(), OrderError> {
    if next(order.status, OrderCommand::RequestCancel).is_none() {
        return Err(OrderError::NotCancellable(order.status.as_str()));
    }
    if at.adapter.cancelling().is_none() && order.may_be_placed() {
        return Err(OrderError::Sent);
    }
    Ok(())
}

impl CancelOrder {
    /// Refuses what deciding it would refuse, and changes nothing. Looks for all that deciding it needs.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::NotCancellable`], [`OrderError::Sent`].
    pub fn check(&self, view: &View) -> Result<(), OrderError> {
        let found = view.find::<Order>(&Order::key(&self.user_id, &self.client_order_id));
        let order = found.ok_or(OrderError::NotFound)?;
        for key in charging::keys(&order).into_iter().chain([Key::id(JOBS, &*order.job_id)]) {
            let _ = view.contains(&key);
        }
        let at = self.providers.get(&order.provider).ok_or(OrderError::NotCancellable(order.status.as_str()))?;
        ensure_cancellable(&order, at)
    }

    fn create_job_has_ended(&self, view: &View, order: &Order) -> bool {
        view.by_id::<Job>(&order.job_id).is_none_or(|job| matches!(job.state, JobState::Dead | JobState::Done))
    }

    /// Settles, or marks, or starts a job: whatever the state of the create allows.
    fn start(&self, view: &mut View, order: &mut Order, at: &Configured) -> Option<&'static str> {
        let now = view.now();
        let create_job = view.by_id::<Job>(&order.job_id);
        match (order.status, create_job) {
            (OrderStatus::Created, Some(job)) if job.never_attempted() && order.open_call.is_none() => {
                settle_job(view, job, &cancel_unplaced(order).end);
                None
            }
            (OrderStatus::Created, Some(mut job)) if job.state == JobState::Ready => {
                // In backoff, and possibly sent. No reason to wait any longer before looking.
                job.schedule(job.run_at.min(now), now);
                view.update(&job);
                Some(at.create.name)
            }
            (OrderStatus::Created, Some(job)) if job.state == JobState::Active => None,
            _ => {
                insert_cancel_job(view, order, &at.cancel, &self.job_id);
                Some(at.cancel.name)
            }
        }
    }
}

impl Command for CancelOrder {
    type Reply = Result<OrderReply, OrderError>;

    fn reads(&self) -> Vec<Key> {
        vec![Order::key(&self.user_id, &self.client_order_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let found = view.find::<Order>(&Order::key(&self.user_id, &self.client_order_id));
        let mut order = found.ok_or(OrderError::NotFound)?;
        let at = self.providers.get(&order.provider).ok_or(OrderError::NotCancellable(order.status.as_str()))?;
        if let Some(cancellation) = &order.cancellation {
            let carried_out = cancellation.job_id.is_some() || !self.create_job_has_ended(view, &order);
            if order.cancellation_pending() && !carried_out {
                // The create's job ended without looking at the order, so nobody would carry the cancellation out.
                insert_cancel_job(view, &mut order, &at.cancel, &self.job_id);
                view.update(&order);
                return Ok(OrderReply::changed(order, Some(at.cancel.name)));
            }
            if order.cancellation_pending() || cancellation.status == CancellationStatus::Done {
                return Ok(OrderReply::replay(order));
            }
        }
        ensure_cancellable(&order, at)?;
        let now = view.now();
        order.cancellation = Some(Cancellation {
            status: CancellationStatus::Requested,
            reason: self.reason.clone(),
            requested_at: now,
            request_ref_id: None,
            response_ref_id: None,
            job_id: None,
            failure: None,
            correlation_id: self.correlation_id.clone(),
        });
        order.updated_at = now;
        record(view, &self.event_ids[0], "CancellationRequested", &mut order, &self.actor, None);
        let wake = self.start(view, &mut order, at);
        if order.status == OrderStatus::Cancelled {
            let booked = charging::settle(view, &order, &self.event_ids[1], &self.actor);
            record(view, &self.event_ids[1], "OrderCancelled", &mut order, &self.actor, booked);
        }
        view.update(&order);
        Ok(OrderReply::changed(order, wake))
    }
}

/// Inserts the job that takes the order back at the provider.
pub(super) fn insert_cancel_job(view: &mut View, order: &mut Order, queue: &QueueConfig, job_id: &str) {
    let now = view.now();
    let Some(cancellation) = &mut order.cancellation else { return };
    cancellation.job_id = Some(job_id.to_owned());
    let payload = doc! { "orderId": &order.id };
    let mut job = Job::new(job_id.to_owned(), queue, CANCEL_KIND, payload, &cancellation.correlation_id, now);
    // Another account does not know it.
    job.route = order.account_id.clone().unwrap_or_else(|| order.pool());
    view.insert(&job.owned_by(&order.user_id));
}

/// Records what happened to an order, which is to be written afterwards, and what was booked for it.
pub(super) fn record(
    view: &mut View,
    event_id: &str,
    kind: &str,
    order: &mut Order,
    actor: &Actor,
    booked: Option<LedgerKind>,
) {
    order.events += 1;
    let mut data = doc! {
        "clientOrderId": &order.client_order_id,
        "provider": &order.provider,
        "status": order.status.as_str(),
        "reference": order.reference.clone(),
        "failureCode": order.failure.as_ref().map(|failure| failure.code.clone()),
        "ageMs": view.now().timestamp_millis() - order.created_at.timestamp_millis(),
    };
    data.extend(order.tenant_id.as_ref().map(|tenant_id| ("tenantId".to_owned(), tenant_id.into())));
    data.extend(order.checkout_id.as_ref().map(|checkout_id| ("checkoutId".to_owned(), checkout_id.into())));
    let field = match booked {
        Some(LedgerKind::FreightCapture) => Some("charged"),
        Some(LedgerKind::FreightRefund) => Some("refunded"),
        _ => None,
    };
    if let (Some(field), Some(charge)) = (field, order.charge) {
        data.extend(doc! { field: charge.amount, "currency": charge.currency.code() });
    }
    let event = Event {
        id: event_id.to_owned(),
        kind: kind.into(),
        subject_id: order.id.clone(),
        user_id: order.user_id.clone(),
        seq: order.events,
        actor: actor.clone(),
        data,
        at: view.now(),
    };
    events::record(view, &event);
}
