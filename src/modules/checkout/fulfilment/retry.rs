//! Sending again what came to nothing, after whatever was wrong was put right.

use super::{
    parts::PartStatus,
    settle::{EventIds, settle},
};
use crate::{
    modules::{
        checkout::{
            commands::CheckoutReply,
            error::CheckoutError,
            model::{CHECKOUTS, Checkout, CheckoutStatus},
        },
        events::Actor,
        orders::Order,
        queue::QueueConfig,
    },
    platform::batch::{Command, Key, View},
};

/// Orders that may be made for one part.
const ORDERS_MAX: usize = 20;

/// Has the parts of a checkout sent again that came to nothing.
pub(in crate::modules::checkout) struct FulfilAgain {
    pub(in crate::modules::checkout) seller_id: String,
    pub(in crate::modules::checkout) checkout_id: String,
    pub(in crate::modules::checkout) actor: Actor,
    pub(in crate::modules::checkout) correlation_id: String,
    pub(in crate::modules::checkout) queue: QueueConfig,
    pub(in crate::modules::checkout) job_id: String,
    pub(in crate::modules::checkout) event_ids: EventIds,
}

impl Command for FulfilAgain {
    type Reply = Result<CheckoutReply, CheckoutError>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(CHECKOUTS, &*self.checkout_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let found = view.by_id::<Checkout>(&self.checkout_id).filter(|checkout| checkout.seller_id == self.seller_id);
        let mut checkout = found.ok_or(CheckoutError::NotFound)?;
        match checkout.status {
            CheckoutStatus::NeedsAttention => {}
            CheckoutStatus::Paid => return Ok(CheckoutReply { checkout, replayed: true }),
            status => return Err(CheckoutError::NotFulfillable(status)),
        }
        let mut count = 0;
        let (mut is_under_way, mut is_used_up) = (false, false);
        for part in &mut checkout.parts {
            // By its order as it stands: an operator may have had it sent again.
            if let Some(order) = part.last_order().and_then(|id| view.by_id::<Order>(id)) {
                part.follow(&order);
            }
            match part.status {
                PartStatus::Failed | PartStatus::Cancelled if part.orders.len() >= ORDERS_MAX => is_used_up = true,
                PartStatus::Failed | PartStatus::Cancelled => {
                    part.status = PartStatus::Waiting;
                    part.order_id = None;
                    part.failure = None;
                    count += 1;
                }
                PartStatus::Waiting => is_under_way = true,
                _ => {}
            }
        }
        if count == 0 {
            return match is_under_way {
                true => Ok(CheckoutReply { checkout, replayed: true }),
                false if is_used_up => Err(CheckoutError::TooManyOrders),
                false => Err(CheckoutError::NothingToFulfil),
            };
        }
        settle(view, &mut checkout, &self.event_ids, &self.actor);
        view.update(&checkout);
        view.insert(&checkout.fulfil_job(&self.job_id, &self.queue, &self.correlation_id, view.now()));
        Ok(CheckoutReply { checkout, replayed: false })
    }
}
