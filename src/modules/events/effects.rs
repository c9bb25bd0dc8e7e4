//! Handlers that keep count of their own effects, for tests that kill processes. Release builds have none.

use async_trait::async_trait;
use bson::{Document, doc};
use futures_util::FutureExt;
use mongodb::{ClientSession, Database, error::Result};

use super::{Event, EventHandler, HandlerAttempt, HandlerError};
use crate::platform::{
    crash,
    mongo::{durable, is_duplicate_key},
};

/// Effects that were made, by handler and event.
const EFFECTS: &str = "effects";
/// How many there are, by handler and subject.
const COUNTS: &str = "effect_counts";

/// Counts every event once.
#[derive(Clone, Debug)]
pub struct CountEffects {
    name: &'static str,
    db: Database,
}

impl CountEffects {
    /// Two, so that one may be done where the other is not.
    #[must_use]
    pub fn two(db: &Database) -> [Self; 2] {
        ["count-effects", "count-effects-too"].map(|name| Self { name, db: db.clone() })
    }

    async fn count(&self, session: &mut ClientSession, event: &Event) -> Result<()> {
        let effect = doc! { "_id": format!("{}:{}", self.name, event.id), "handler": self.name, "eventId": &event.id };
        self.db.collection::<Document>(EFFECTS).insert_one(effect).session(&mut *session).await?;
        let counts = self.db.collection::<Document>(COUNTS);
        let one = doc! { "_id": format!("{}:{}", self.name, event.subject_id) };
        counts.update_one(one, doc! { "$inc": { "effects": 1_i64 } }).upsert(true).session(session).await.map(drop)
    }
}

#[async_trait]
impl EventHandler for CountEffects {
    fn name(&self) -> &'static str {
        self.name
    }

    fn wants(&self, _: &str) -> bool {
        true
    }

    async fn handle(&self, event: &Event, _: &HandlerAttempt<'_>) -> std::result::Result<(), HandlerError> {
        crash::point("event_handling");
        let counted = async {
            let mut session = self.db.client().start_session().await?;
            let transaction = session.start_transaction().write_concern(durable());
            transaction.and_run((self, event), |session, (this, event)| this.count(session, event).boxed()).await
        };
        match counted.await {
            Err(error) if !is_duplicate_key(&error) => Err(HandlerError::later("effects.not_counted", error)),
            _ => {
                crash::point("event_handled");
                Ok(())
            }
        }
    }
}
