//! The use cases of orders, one method each.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    OrderQueues,
    commands::{CancelOrder, CreateOrder, OrderReply},
    error::OrderError,
    model::{Order, fingerprint},
    store::{OrderFilter, OrderStore},
};
use crate::{
    modules::{
        audit::{AuditStore, ProviderRequestLog, ProviderResponseLog},
        events::{Actor, Event, EventStore},
        kyc::KycGate,
        providers::{Party, Shipment},
        queue::Waker,
        wallet::rates::{self, Parcel, RateCards},
    },
    platform::{
        batch::Lane,
        error::FieldError,
        identity::CurrentUser,
        ids::new_id,
        india::pincodes::{self, Misfit},
        walk::Paged,
    },
};

/// Orders, as the API offers them.
#[derive(Clone, Debug)]
pub struct OrderService {
    /// Writes.
    pub lane: Lane,
    /// Keeps out merchants who may not do business.
    pub gate: KycGate,
    /// Reads.
    pub store: OrderStore,
    /// What happened.
    pub events: EventStore,
    /// Calls to providers.
    pub audit: AuditStore,
    /// Wakes workers.
    pub waker: Waker,
    /// The two queues.
    pub queues: OrderQueues,
    /// Prices.
    pub rates: RateCards,
    /// Nothing is written before.
    pub indexes_present: Arc<AtomicBool>,
}

/// A create request after validation.
#[derive(Debug)]
pub struct NewOrder {
    /// The merchant's id.
    pub client_order_id: String,
    /// The provider.
    pub provider: &'static str,
    /// What is to be carried.
    pub shipment: Shipment,
}

/// What happened to an order and what was said to its provider.
#[derive(Debug)]
pub struct History {
    /// Changes of its state.
    pub events: Vec<Event>,
    /// Calls.
    pub requests: Vec<ProviderRequestLog>,
    /// Their answers.
    pub responses: Vec<ProviderResponseLog>,
    /// Whether there is more, and older, of one of these.
    pub truncated: bool,
}

impl OrderService {
    /// Creates an order, or answers the one that the same request created before.
    ///
    /// # Errors
    /// [`OrderError::IdempotencyMismatch`], [`OrderError::Misfit`], [`OrderError::NotVerified`], [`OrderError::Unpaid`], [`OrderError::NoRates`], [`OrderError::NotReady`],
    /// [`OrderError::Lane`].
    pub async fn create(&self, user: &CurrentUser, new: NewOrder) -> Result<OrderReply, OrderError> {
        self.ensure_ready()?;
        let card = self.rates.current(new.provider).await?.ok_or(OrderError::NoRates)?;
        let quote = rates::quote(&card, &Parcel::from(&new.shipment)).map_err(|_| OrderError::NoRates)?;
        let command = CreateOrder {
            gate: self.gate,
            user_id: user.user_id.clone(),
            client_order_id: new.client_order_id,
            provider: new.provider,
            fingerprint: fingerprint(new.provider, &new.shipment),
            misfits: misfits(&new.shipment),
            shipment: new.shipment,
            quote,
            actor: Actor::from(user),
            correlation_id: user.request_id.clone(),
            queues: self.queues.clone(),
            order_id: new_id("ord"),
            job_id: new_id("job"),
            event_id: new_id("evt"),
        };
        self.reply(self.lane.submit(command).await??)
    }

    /// Cancels an order: at once, or by asking its provider.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::NotCancellable`], [`OrderError::NotReady`], [`OrderError::Lane`].
    pub async fn cancel(
        &self,
        user: &CurrentUser,
        client_order_id: String,
        reason: Option<String>,
    ) -> Result<OrderReply, OrderError> {
        self.ensure_ready()?;
        let command = CancelOrder {
            user_id: user.user_id.clone(),
            client_order_id,
            reason,
            actor: Actor::from(user),
            correlation_id: user.request_id.clone(),
            queues: self.queues.clone(),
            job_id: new_id("job"),
            event_ids: [new_id("evt"), new_id("evt")],
        };
        self.reply(self.lane.submit(command).await??)
    }

    fn reply(&self, reply: OrderReply) -> Result<OrderReply, OrderError> {
        if let Some(queue) = reply.wake {
            self.waker.wake(queue);
        }
        Ok(reply)
    }

    /// One of the caller's orders.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Database`].
    pub async fn get(&self, user: &CurrentUser, order_id: &str) -> Result<Order, OrderError> {
        self.store.find(&user.user_id, order_id).await?.ok_or(OrderError::NotFound)
    }

    /// The caller's orders, newest first, and where the list goes on.
    ///
    /// # Errors
    /// [`OrderError::Database`].
    pub async fn list(
        &self,
        user: &CurrentUser,
        filter: &OrderFilter,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Paged<Order>, OrderError> {
        Ok(self.store.list(&user.user_id, filter, before_id, limit).await?)
    }

    /// The history of one of the caller's orders.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Database`].
    pub async fn history(&self, user: &CurrentUser, order_id: &str) -> Result<History, OrderError> {
        let order = self.get(user, order_id).await?;
        let (events, requests, responses) = tokio::try_join!(
            self.events.list_for(&order.id),
            self.audit.list_requests(&order.id),
            self.audit.list_responses(&order.id),
        )?;
        let truncated = events.truncated || requests.truncated || responses.truncated;
        let (events, requests, responses) = (events.records, requests.records, responses.records);
        Ok(History { events, requests, responses, truncated })
    }

    fn ensure_ready(&self) -> Result<(), OrderError> {
        if self.indexes_present.load(Ordering::Relaxed) { Ok(()) } else { Err(OrderError::NotReady) }
    }
}

/// What of a shipment's addresses does not fit together. Not a rule of the request: an order that was taken before there
/// was such a rule is replayed all the same.
fn misfits(shipment: &Shipment) -> Vec<FieldError> {
    let parties = [("consignee", &shipment.consignee), ("pickup", &shipment.pickup)];
    let misfit = |(party, Party { pincode, state, .. }): (&str, &Party)| {
        Some(match pincodes::fit(pincode, state).err()? {
            Misfit::Pincode(message) => FieldError::new(format!("shipment.{party}.pincode"), "no_place", message),
            Misfit::State(message) => FieldError::new(format!("shipment.{party}.state"), "pincode_differs", message),
        })
    };
    parties.into_iter().filter_map(misfit).collect()
}
