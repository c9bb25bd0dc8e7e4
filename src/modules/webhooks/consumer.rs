//! The relay's part in webhooks: a delivery and its job for each that wants an event, in the transaction that takes the
//! event from the outbox.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{ClientSession, Database, error::Result};

use super::{
    model::{DELIVERIES, Delivery, Endpoint, EventToDeliver},
    payload,
    store::WebhookStore,
};
use crate::{
    modules::{
        events::{Consumer, EventHead},
        queue::{Job, QueueConfig, insert_in_lines},
    },
    platform::{clock::Clock, ids::new_id},
};

/// Makes deliveries of events.
#[derive(Debug)]
pub struct WebhookConsumer {
    queue: QueueConfig,
    clock: Clock,
}

impl WebhookConsumer {
    #[must_use]
    pub const fn new(queue: QueueConfig, clock: Clock) -> Self {
        Self { queue, clock }
    }

    /// The delivery of `head` to `endpoint`. First attempts of one subject's events to one endpoint go in their order.
    fn delivery(&self, endpoint: &Endpoint, head: &EventHead, kind: &str) -> (Delivery, Job) {
        let about = EventToDeliver { event_id: &head.id, kind, at: head.at, correlation_id: &head.id };
        let (delivery, job) = Delivery::new(endpoint, &about, &self.queue, new_id("job"), self.clock.now());
        let job = job.traced(head.trace.as_deref());
        (delivery, job.in_line(format!("{}:{}", endpoint.id, head.subject_id), head.seq))
    }
}

/// Owners whose endpoints may want the event: its merchant, and the tenant in which it was made.
fn owners(head: &EventHead) -> impl Iterator<Item = &str> {
    [Some(&*head.user_id), head.tenant_id.as_deref()].into_iter().flatten()
}

#[async_trait]
impl Consumer for WebhookConsumer {
    fn name(&self) -> &'static str {
        "webhooks"
    }

    fn wants(&self, kind: &str) -> bool {
        payload::outside(kind).is_some()
    }

    async fn take(&self, db: &Database, session: &mut ClientSession, heads: &[EventHead]) -> Result<Vec<&'static str>> {
        let all: BTreeSet<&str> = heads.iter().flat_map(owners).collect();
        let endpoints = WebhookStore::enabled(db, session, &Vec::from_iter(all)).await?;
        let mut of_owner: HashMap<&str, Vec<&Endpoint>> = HashMap::new();
        for endpoint in &endpoints {
            of_owner.entry(&endpoint.owner_id).or_default().push(endpoint);
        }
        let mut made: Vec<(Delivery, Job)> = Vec::new();
        for head in heads {
            let Some(kind) = payload::outside(&head.kind) else { continue };
            // What happened before there was the endpoint may have waited in the outbox.
            let wants = |endpoint: &&&Endpoint| endpoint.wants(kind) && endpoint.created_at <= head.at;
            let wanting = owners(head).filter_map(|owner| of_owner.get(owner)).flatten().filter(wants);
            made.extend(wanting.map(|endpoint| self.delivery(endpoint, head, kind)));
        }
        if made.is_empty() {
            return Ok(Vec::new());
        }
        // What somebody has asked to be replayed while it was in the outbox is there.
        let ids: Vec<&str> = made.iter().map(|(delivery, _)| &*delivery.id).collect();
        let deliveries = db.collection::<Document>(DELIVERIES);
        let found = deliveries.find(doc! { "_id": { "$in": ids } }).projection(doc! { "_id": 1 });
        let mut found = found.session(&mut *session).await?;
        let there: Vec<Document> = found.stream(session).try_collect().await?;
        let there: BTreeSet<&str> = there.iter().filter_map(|delivery| delivery.get_str("_id").ok()).collect();
        made.retain(|(delivery, _)| !there.contains(&*delivery.id));
        if made.is_empty() {
            return Ok(Vec::new());
        }
        let (deliveries, jobs): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let raw =
            deliveries.iter().map(bson::serialize_to_raw_document_buf).collect::<bson::error::Result<Vec<_>>>()?;
        db.collection::<RawDocumentBuf>(DELIVERIES).insert_many(raw).session(&mut *session).await?;
        insert_in_lines(db, session, jobs).await?;
        Ok(vec![self.queue.name])
    }
}
