//! The use cases of orders, one method each.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bson::doc;
use bytes::Bytes;
use futures_util::Stream;

use super::{
    commands::{CancelOrderTemplate, OrderReply},
    error::OrderError,
    files::OrderFiles,
    model::{Order, OrderFile},
    new_order::{NewOrder, OrderIds, OrderOrigin},
    store::{OrderFilter, OrderStore},
};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, AuditStore, ProviderRequestLog, ProviderResponseLog},
        events::{Actor, Event, EventStore},
        kyc::KycGate,
        providers::{Dispatcher, Providers},
        queue::Waker,
        wallet::rates::RateCards,
    },
    platform::{
        batch::Lane,
        http::transfers::Transfers,
        identity::{CurrentUser, Role},
        ids::new_id,
        walk::Paged,
    },
};

/// Orders, as the API offers them.
#[derive(Clone)]
pub struct OrderService {
    pub lane: Lane,
    /// Keeps out merchants who may not do business.
    pub gate: KycGate,
    pub store: OrderStore,
    pub events: EventStore,
    /// Calls to providers.
    pub audit: AuditStore,
    pub waker: Waker,
    pub providers: Providers,
    pub dispatch: Dispatcher,
    pub rates: RateCards,
    pub files: OrderFiles,
    /// Files that are on their way to clients.
    pub transfers: Transfers,
    /// Nothing is written before.
    pub indexes_present: Arc<AtomicBool>,
}

/// Events of an order and its provider calls.
#[derive(Debug)]
pub struct History {
    /// Changes of its state.
    pub events: Vec<Event>,
    pub requests: Vec<ProviderRequestLog>,
    pub responses: Vec<ProviderResponseLog>,
    /// Whether there is more, and older, of one of these.
    pub truncated: bool,
}

impl OrderService {
    /// Creates an order, or answers the one that the same request created before.
    ///
    /// # Errors
    /// [`OrderError::IdempotencyMismatch`], [`OrderError::Contradictory`], [`OrderError::NotVerified`], [`OrderError::Unpaid`], [`OrderError::NoRates`], [`OrderError::NotReady`],
    /// [`OrderError::Lane`].
    pub async fn create(&self, user: &CurrentUser, new: NewOrder) -> Result<OrderReply, OrderError> {
        self.ensure_ready()?;
        let terms = self.terms(new.provider, &user.user_id).await?;
        let origin = OrderOrigin {
            user_id: user.user_id.clone(),
            tenant_id: user.tenant_id.clone(),
            actor: Actor::from(user),
            correlation_id: user.request_id.clone(),
            part_of: None,
            ids: OrderIds::fresh(),
        };
        let provider = new.provider.name;
        let command = terms.order(new, origin)?;
        let reply = self.lane.submit(command).await?;
        let result = match &reply {
            Ok(OrderReply { replayed: false, .. }) => "created",
            Ok(OrderReply { replayed: true, .. }) => "replayed",
            Err(_) => "refused",
        };
        metrics::counter!("waybill_order_creates_total", "provider" => provider, "result" => result).increment(1);
        self.reply(reply?)
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
        let cancelling = self.cancelling(reason, Actor::from(user), &user.request_id);
        let command = cancelling.of(&user.user_id, &client_order_id);
        self.reply(self.lane.submit(command).await??)
    }

    /// Prepares the cancellation of an order in another module's transaction.
    #[must_use]
    pub fn cancelling(&self, reason: Option<String>, actor: Actor, correlation_id: &str) -> CancelOrderTemplate {
        CancelOrderTemplate {
            reason,
            actor,
            correlation_id: correlation_id.to_owned(),
            providers: self.providers.clone(),
            job_id: new_id("job"),
            event_ids: [new_id("evt"), new_id("evt")],
        }
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

    /// An order whose files are listed: the caller's own, or, for staff, anybody's; written down before it is shown.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::Database`].
    pub async fn files_of(&self, user: &CurrentUser, order_id: &str) -> Result<Order, OrderError> {
        let order = self.readable(user, order_id).await?;
        self.record_reading(user, &order, "order.files_listed", ("order", &order.id)).await?;
        Ok(order)
    }

    /// A file of an order, as [`OrderService::files_of`], and its content piece by piece.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], [`OrderError::NoFile`], [`OrderError::Sealed`], [`OrderError::Busy`],
    /// [`OrderError::Database`].
    pub async fn file(
        &self,
        user: &CurrentUser,
        order_id: &str,
        file_id: &str,
    ) -> Result<(OrderFile, impl Stream<Item = io::Result<Bytes>> + use<>), OrderError> {
        let order = self.readable(user, order_id).await?;
        let file = order.files().iter().find(|file| file.id == file_id && file.erased_at.is_none());
        let file = file.cloned().ok_or(OrderError::NoFile)?;
        let content = self.files.open(&file).await?;
        self.record_reading(user, &order, "order.file_read", ("order_file", &file.id)).await?;
        Ok((file, content))
    }

    async fn readable(&self, user: &CurrentUser, order_id: &str) -> Result<Order, OrderError> {
        match user.role {
            Role::Admin | Role::Auditor => self.store.find_any(order_id).await?.ok_or(OrderError::NotFound),
            Role::Merchant | Role::Finance | Role::Manager | Role::Customer => self.get(user, order_id).await,
        }
    }

    /// That staff read something; merchants read what is their own.
    async fn record_reading(
        &self,
        user: &CurrentUser,
        order: &Order,
        action: &str,
        resource: (&str, &str),
    ) -> Result<(), OrderError> {
        if user.user_id == order.user_id {
            return Ok(());
        }
        let read = AuditEvent::new(AuditOutcome::Done, Actor::from(user), action, resource, self.files.now());
        let read = read.of_user(order.user_id.clone()).after(doc! { "orderId": &order.id });
        Ok(self.audit.record(&read).await?)
    }

    fn ensure_ready(&self) -> Result<(), OrderError> {
        if self.indexes_present.load(Ordering::Relaxed) { Ok(()) } else { Err(OrderError::NotReady) }
    }
}
