//! The job that fulfils paid checkouts as the merchant has set up; without fulfilment they are completed.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    CHECKOUTS_QUEUE, FULFIL_KIND,
    fulfilment::Fulfil,
    model::{Checkout, CheckoutStatus},
};
use crate::{
    modules::{
        orders::OrderService,
        queue::{Attempt, Job, JobError, JobHandler, Lease, QueueConfig, RetryRefused},
    },
    platform::{batch::View, identity::Actor},
};

#[must_use]
pub fn queue() -> QueueConfig {
    QueueConfig { timeout: Duration::from_secs(30), ..QueueConfig::named(CHECKOUTS_QUEUE) }
}

/// Carries out what was paid.
pub struct FulfilCheckouts {
    pub orders: OrderService,
}

fn checkout_id(job: &Job) -> Option<&str> {
    job.payload.get_str("checkoutId").ok()
}

#[async_trait]
impl JobHandler for FulfilCheckouts {
    fn kind(&self) -> &'static str {
        FULFIL_KIND
    }

    fn queue(&self) -> &'static str {
        CHECKOUTS_QUEUE
    }

    async fn run(&self, job: &Job, _: &Lease) -> Attempt {
        let Some((checkout_id, seller_id)) = checkout_id(job).zip(job.owner.as_deref()) else {
            let error = JobError::new("payload", "checkout.unreadable_payload", "The job names no checkout.");
            return Attempt::Failed(error);
        };
        let worker_id = job.lease_owner.clone().unwrap_or_default();
        match Fulfil::prepare(&self.orders, checkout_id, seller_id, worker_id).await {
            Ok(fulfil) => Attempt::Concluded(Box::new(fulfil)),
            Err(error) => {
                tracing::warn!(job.id, %error, "prices can't be read now");
                Attempt::NotBegun
            }
        }
    }

    fn revive(&self, view: &mut View, job: &Job, _: &Actor, _: &str) -> Result<(), RetryRefused> {
        let checkout = checkout_id(job).and_then(|id| view.by_id::<Checkout>(id));
        match checkout {
            Some(checkout) if matches!(checkout.status, CheckoutStatus::Paid | CheckoutStatus::NeedsAttention) => {
                Ok(())
            }
            Some(_) => Err(RetryRefused { reason: "Its checkout is not waiting for it." }),
            None => Err(RetryRefused { reason: "Its checkout is gone." }),
        }
    }
}
