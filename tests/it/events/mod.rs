//! What follows from events: each handler once per event, whoever fails, and in the order of each subject.

pub mod analytics;
mod handlers;
mod processes;
mod relay;
mod stats;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::{Document, doc};
use mongodb::Database;
use waybill::{
    app::App,
    modules::{
        events::{EVENTS_QUEUE, Event, EventHandler, HandlerAttempt, HandlerError, Relay},
        queue::Worker,
    },
};

use crate::support::TestApp;

type Behave = Box<dyn Fn(&Event, i32) -> Result<(), HandlerError> + Send + Sync>;

/// Notes every attempt, and then behaves as it was told.
struct Noting {
    name: &'static str,
    kinds: &'static [&'static str],
    db: Database,
    behave: Behave,
}

const NOTES: &str = "handled";

impl Noting {
    fn well(app: &TestApp, name: &'static str, kinds: &'static [&'static str]) -> Arc<dyn EventHandler> {
        Self::who(app, name, kinds, |_, _| Ok(()))
    }

    fn who(
        app: &TestApp,
        name: &'static str,
        kinds: &'static [&'static str],
        behave: impl Fn(&Event, i32) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> Arc<dyn EventHandler> {
        Arc::new(Self { name, kinds, db: app.db().clone(), behave: Box::new(behave) })
    }
}

#[async_trait]
impl EventHandler for Noting {
    fn name(&self) -> &'static str {
        self.name
    }

    fn wants(&self, kind: &str) -> bool {
        self.kinds.contains(&kind)
    }

    async fn handle(&self, event: &Event, attempt: &HandlerAttempt<'_>) -> Result<(), HandlerError> {
        let attempts = attempt.job.attempts;
        let note = doc! {
            // Twice the same attempt is refused, and fails the test as a panic of the handler.
            "_id": format!("{}:{}:{attempts}", event.id, self.name), "event": &event.id, "handler": self.name,
            "subject": &event.subject_id, "seq": event.seq, "attempt": attempts,
            "correlationId": &attempt.job.correlation_id,
        };
        self.db.collection::<Document>(NOTES).insert_one(note).await.expect("noted once");
        (self.behave)(event, attempts)
    }
}

/// Those that were noted, as `handler seq attempt` of a subject, in their order.
async fn notes(app: &TestApp, subject_id: &str) -> Vec<String> {
    let mut notes = app.all(NOTES, doc! { "subject": subject_id }).await;
    notes.sort_by_key(|note| (note.get_i64("seq").unwrap(), note.get_i32("attempt").unwrap()));
    let shown = |note: &Document| {
        let text = note.get_str("handler").unwrap();
        format!("{text} {} {}", note.get_i64("seq").unwrap(), note.get_i32("attempt").unwrap())
    };
    notes.iter().map(shown).collect()
}

/// The app with handlers, its relay and a worker.
struct Following {
    app: App,
    relay: Relay,
    worker: Worker,
}

impl Following {
    fn with(app: &TestApp, handlers: Vec<Arc<dyn EventHandler>>) -> Self {
        let app = app.app.clone().following(handlers, Vec::new());
        Self { relay: app.relay(), worker: app.worker(), app }
    }

    /// Relays what there is, and runs what is due, until nothing is.
    async fn run(&self) {
        self.relay.pass().await.unwrap();
        while self.worker.run_due().await > 0 {
            self.relay.pass().await.unwrap();
        }
    }

    /// The same until no handler's job waits for a later time.
    async fn run_to_the_end(&self) {
        for _ in 0..8 {
            self.run().await;
            self.app.clock.advance(Duration::from_secs(10));
        }
    }
}

async fn handler_jobs(app: &TestApp, handler: &str) -> Vec<Document> {
    app.all("jobs", doc! { "queue": EVENTS_QUEUE, "payload.handler": handler }).await
}

async fn states(app: &TestApp, handler: &str) -> Vec<String> {
    let jobs = handler_jobs(app, handler).await;
    jobs.iter().map(|job| job.get_str("state").unwrap().to_owned()).collect()
}

fn code_of(job: &Document) -> &str {
    job.get_document("lastError").and_then(|error| error.get_str("code")).unwrap_or_default()
}
