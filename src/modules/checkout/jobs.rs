//! What follows from a payment. Nothing is set up to be done: what is paid is completed.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    CHECKOUTS_QUEUE, FULFIL_KIND,
    commands::record,
    model::{CHECKOUTS, Checkout, CheckoutStatus},
    transitions::{CheckoutCommand, next},
};
use crate::{
    modules::queue::{
        Attempt, Concluded, Conclusion, Job, JobEnd, JobError, JobHandler, Lease, QueueConfig, RetryRefused,
    },
    platform::{
        batch::{Key, View},
        clock::after,
        identity::Actor,
        ids::new_id,
    },
};

/// The queue.
#[must_use]
pub fn queue() -> QueueConfig {
    QueueConfig { timeout: Duration::from_secs(30), ..QueueConfig::named(CHECKOUTS_QUEUE) }
}

/// Carries out what was paid.
#[derive(Clone, Copy, Debug)]
pub struct FulfilCheckouts;

/// The end of an attempt: all that follows is done.
struct Fulfilled {
    checkout_id: String,
    event_id: String,
    worker_id: String,
}

/// The end of an attempt that went wrong by itself.
struct NotFulfilled {
    error: JobError,
    delay: Duration,
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
        match checkout_id(job) {
            Some(checkout_id) => Attempt::Concluded(Box::new(Fulfilled {
                checkout_id: checkout_id.to_owned(),
                event_id: new_id("evt"),
                worker_id: job.lease_owner.clone().unwrap_or_default(),
            })),
            None => {
                Attempt::Failed(JobError::new("payload", "checkout.unreadable_payload", "The job names no checkout."))
            }
        }
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        checkout_id(job)?;
        let delay = queue().backoff.delay(job.attempts, rand::random());
        Some(Box::new(NotFulfilled { error, delay }))
    }

    fn revive(&self, view: &mut View, job: &Job, _: &Actor, _: &str) -> Result<(), RetryRefused> {
        let checkout = checkout_id(job).and_then(|id| view.by_id::<Checkout>(id));
        match checkout {
            Some(checkout) if checkout.status == CheckoutStatus::Paid => Ok(()),
            Some(_) => Err(RetryRefused { reason: "Its checkout is not waiting for it." }),
            None => Err(RetryRefused { reason: "Its checkout is gone." }),
        }
    }
}

impl Conclusion for Fulfilled {
    fn reads(&self) -> Vec<Key> {
        vec![Key::id(CHECKOUTS, &*self.checkout_id)]
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        // One that was cancelled meanwhile stays cancelled.
        if let Some(mut checkout) = view.by_id::<Checkout>(&self.checkout_id)
            && let Some(completed) = next(checkout.status, CheckoutCommand::Complete)
        {
            checkout.status = completed;
            checkout.updated_at = view.now();
            let actor = Actor::worker(&self.worker_id, &job.correlation_id);
            record(view, &mut checkout, &self.event_id, "CheckoutCompleted", &actor);
            view.update(&checkout);
        }
        JobEnd::Done { result: None }.into()
    }
}

impl Conclusion for NotFulfilled {
    fn reads(&self) -> Vec<Key> {
        Vec::new()
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let error = self.error.clone();
        if job.is_last_attempt() {
            JobEnd::Dead { error }.into()
        } else {
            JobEnd::Retry { at: after(view.now(), self.delay), error: Some(error), counts: true }.into()
        }
    }
}
