//! Delivering again what happened in a range of time, page by page. How far a replay is stands with its endpoint.

use async_trait::async_trait;
use bson::{DateTime, doc};

use super::{
    REPLAY_KIND,
    model::{DELIVERIES, Delivery, DeliveryStatus, ENDPOINTS, Endpoint, EventToDeliver, Replay},
    payload,
    store::WebhookStore,
};
use crate::{
    modules::queue::{
        Attempt, Concluded, Conclusion, Job, JobEnd, JobError, JobHandler, Lease, QueueConfig, RetryRefused,
    },
    platform::{
        batch::{Key, View},
        identity::Actor,
        ids::new_id,
        walk::TimeRange,
    },
};

/// Events of one transaction.
const PAGE: usize = 100;

pub struct ReplayEndpoint {
    /// Where events are found.
    pub store: WebhookStore,
    /// [`super::WEBHOOK_DELIVERIES_QUEUE`].
    pub queue: QueueConfig,
}

/// An event to be delivered again.
struct ReplayedEvent {
    delivery_id: String,
    event_id: String,
    kind: String,
    at: DateTime,
    job_id: String,
}

/// The end of an attempt: a page of a replay.
struct ReplayPage {
    endpoint_id: String,
    /// The replay as it was read; none where there is none.
    seen: Option<Replay>,
    items: Vec<ReplayedEvent>,
    /// Where the next page begins; none where this is the last.
    next: Option<String>,
    queue: QueueConfig,
}

impl ReplayEndpoint {
    async fn page(&self, endpoint_id: &str) -> mongodb::error::Result<ReplayPage> {
        let (queue, endpoint) = (self.queue.clone(), self.store.endpoint(endpoint_id).await?);
        let page = ReplayPage { endpoint_id: endpoint_id.to_owned(), seen: None, items: Vec::new(), next: None, queue };
        let Some(endpoint) = endpoint else { return Ok(page) };
        let Some(replay) = endpoint.replay else { return Ok(page) };
        let range = TimeRange { from: Some(replay.from), to: Some(replay.to) };
        let after = replay.after.as_deref();
        let (items, next) = if replay.only_failed {
            let found = self.store.failed(endpoint_id, range, after, PAGE).await?;
            let next = (found.len() == PAGE).then(|| found.last().map(|delivery| delivery.id.clone())).flatten();
            let item = |failed: Delivery| ReplayedEvent {
                delivery_id: failed.id,
                event_id: failed.event_id,
                kind: failed.kind,
                at: failed.event_at,
                job_id: new_id("job"),
            };
            (found.into_iter().map(item).collect(), next)
        } else {
            let walked = self.store.events(&endpoint.owner_id, range, after, PAGE).await?;
            let full =
                || (walked.found.len() == PAGE).then(|| walked.found.last().map(|event| event.id.clone())).flatten();
            let next = full().or_else(|| walked.ended_at.clone());
            let items = walked.found.iter().filter_map(|event| {
                Some(ReplayedEvent {
                    delivery_id: Delivery::id_of(&event.id, endpoint_id),
                    event_id: event.id.clone(),
                    kind: payload::outside(&event.kind)?.to_owned(),
                    at: event.at,
                    job_id: new_id("job"),
                })
            });
            (items.collect(), next)
        };
        Ok(ReplayPage { seen: Some(replay), items, next, ..page })
    }
}

impl ReplayPage {
    /// Has one event delivered again, unless it is going to be anyway; whether it has.
    fn deliver(&self, view: &mut View, endpoint: &Endpoint, item: &ReplayedEvent, correlation_id: &str) -> bool {
        let now = view.now();
        match view.by_id::<Delivery>(&item.delivery_id) {
            Some(delivery) if delivery.status == DeliveryStatus::Pending => false,
            Some(mut delivery) => {
                delivery.begin_again(item.job_id.clone(), now);
                view.update(&delivery);
                view.insert(&delivery.job(endpoint, &self.queue, correlation_id, now));
                true
            }
            None => {
                let about = EventToDeliver { event_id: &item.event_id, kind: &item.kind, at: item.at, correlation_id };
                let (delivery, job) = Delivery::new(endpoint, &about, &self.queue, item.job_id.clone(), now);
                view.insert(&delivery);
                view.insert(&job);
                true
            }
        }
    }
}

impl Conclusion for ReplayPage {
    fn reads(&self) -> Vec<Key> {
        let deliveries = self.items.iter().map(|item| Key::id(DELIVERIES, &*item.delivery_id));
        deliveries.chain([Key::id(ENDPOINTS, &*self.endpoint_id)]).collect()
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let endpoint = view.by_id::<Endpoint>(&self.endpoint_id).filter(|endpoint| endpoint.replay == self.seen);
        let Some(mut endpoint) = endpoint else { return JobEnd::Done { result: None }.into() };
        let Some(mut replay) = endpoint.replay.take() else { return JobEnd::Done { result: None }.into() };
        let wanted = self.items.iter().filter(|item| endpoint.wants(&item.kind));
        let begun = wanted.filter(|item| self.deliver(view, &endpoint, item, &job.correlation_id)).count();
        replay.count += begun as i64;
        let end = match &self.next {
            Some(next) => {
                replay.after = Some(next.clone());
                endpoint.replay = Some(replay);
                JobEnd::Next { at: view.now() }
            }
            None => JobEnd::Done { result: Some(doc! { "deliveries": replay.count }) },
        };
        view.update(&endpoint);
        Concluded { wake: (begun > 0).then_some(self.queue.name).into_iter().collect(), ..end.into() }
    }
}

/// The end of an attempt that failed. The last one ends the replay, so that another can be begun.
struct ReplayFailed {
    endpoint_id: String,
    error: JobError,
    queue: QueueConfig,
    jitter: f64,
}

impl Conclusion for ReplayFailed {
    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ENDPOINTS, &*self.endpoint_id)]
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let end = self.queue.end_of_failed(job, self.error.clone(), self.jitter, view.now());
        let is_dead = matches!(end, JobEnd::Dead { .. });
        if let Some(mut endpoint) = view.by_id::<Endpoint>(&self.endpoint_id).filter(|_| is_dead) {
            endpoint.replay = None;
            view.update(&endpoint);
        }
        end.into()
    }
}

fn endpoint_id(job: &Job) -> Option<&str> {
    job.payload.get_str("endpointId").ok()
}

#[async_trait]
impl JobHandler for ReplayEndpoint {
    fn kind(&self) -> &'static str {
        REPLAY_KIND
    }

    fn queue(&self) -> &'static str {
        self.queue.name
    }

    async fn run(&self, job: &Job, _: &Lease) -> Attempt {
        let Some(endpoint_id) = endpoint_id(job) else {
            let reason = "The payload has no endpointId.";
            return Attempt::Failed(JobError::new("payload", "queue.unreadable_payload", reason));
        };
        match self.page(endpoint_id).await {
            Ok(page) => Attempt::Concluded(Box::new(page)),
            Err(error) => Attempt::Failed(JobError::new("internal", "webhooks.unreadable_events", error.to_string())),
        }
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        let endpoint_id = endpoint_id(job)?.to_owned();
        Some(Box::new(ReplayFailed { endpoint_id, error, queue: self.queue.clone(), jitter: rand::random() }))
    }

    fn revive(&self, _: &mut View, _: &Job, _: &Actor, _: &str) -> Result<(), RetryRefused> {
        Err(RetryRefused { reason: "The owner of the endpoint begins another replay." })
    }
}
