//! Updates a checkout by the events of its orders.

use async_trait::async_trait;

use super::settle::{EventIds, is_taken_back, settle};
use crate::{
    modules::{
        checkout::{
            error::CheckoutError,
            model::{CHECKOUTS, Checkout},
            reversal,
        },
        events::{Actor, Event, EventHandler, EventHead, HandlerAttempt, HandlerError},
        orders::{ORDERS, Order},
        providers::call_job::Author,
        queue::QueueConfig,
    },
    platform::{
        batch::{Command, Key, Lane, View},
        ids::new_id,
    },
};

/// After which the order may stand otherwise than its checkout knows.
const KINDS: &[&str] = &[
    "OrderConfirmed",
    "OrderFailed",
    "OrderNeedsAttention",
    "OrderResent",
    "OrderCancelled",
    "CancellationRequested",
    "CancellationRefused",
    "CancellationNeedsAttention",
];

/// Brings checkouts to where their orders are.
pub struct FollowOrders {
    pub lane: Lane,
    /// Where refunds are asked for.
    pub payments: QueueConfig,
}

#[async_trait]
impl EventHandler for FollowOrders {
    fn name(&self) -> &'static str {
        "checkout-orders"
    }

    fn wants(&self, kind: &str) -> bool {
        KINDS.contains(&kind)
    }

    /// Most orders carry out no checkout.
    fn wants_one(&self, head: &EventHead) -> bool {
        head.checkout_id.is_some()
    }

    async fn handle(&self, event: &Event, attempt: &HandlerAttempt<'_>) -> Result<(), HandlerError> {
        let checkout_id = event.data.get_str("checkoutId").map_err(|_| HandlerError::Invalid {
            code: "events.invalid_order",
            message: "The event names no checkout.".into(),
        })?;
        let command = FollowOrder {
            order_id: event.subject_id.clone(),
            checkout_id: checkout_id.to_owned(),
            actor: Actor::worker(&attempt.lease.worker_id, &attempt.job.correlation_id),
            event_ids: std::array::from_fn(|_| new_id("evt")),
            payments: self.payments.clone(),
        };
        match self.lane.submit(command).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(HandlerError::later("checkout.not_followed", error)),
            Err(error) => Err(HandlerError::later("checkout.not_followed", error)),
        }
    }
}

/// Brings a checkout to where one of its orders is. It looks at the order and not at the event: so it may come twice, late, and in any
/// order.
pub(super) struct FollowOrder {
    pub(super) order_id: String,
    pub(super) checkout_id: String,
    pub(super) actor: Actor,
    pub(super) event_ids: EventIds,
    pub(super) payments: QueueConfig,
}

impl Command for FollowOrder {
    type Reply = Result<(), CheckoutError>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ORDERS, &*self.order_id), Key::id(CHECKOUTS, &*self.checkout_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let order = view.by_id::<Order>(&self.order_id);
        let Some((order, mut checkout)) = order.zip(view.by_id::<Checkout>(&self.checkout_id)) else { return Ok(()) };
        let news = checkout.parts.iter_mut().filter_map(|part| part.follow(&order).then_some(())).count() > 0;
        if is_taken_back(&checkout) {
            let by = Author { actor: &self.actor, event_id: &self.event_ids[0] };
            reversal::cancel(view, &mut checkout, &self.payments, by)?;
        } else if news {
            settle(view, &mut checkout, &self.event_ids, &self.actor);
        } else {
            return Ok(());
        }
        view.update(&checkout);
        Ok(())
    }
}
