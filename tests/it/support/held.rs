//! A document that somebody else's open transaction has written, and whose client goes on working in it: it is no orphan,
//! and nobody may end it.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Database;
use tokio::{sync::oneshot, task::JoinHandle};

pub struct Held {
    release: oneshot::Sender<()>,
    working: JoinHandle<()>,
}

impl Held {
    pub async fn begin(db: &Database, collection: &str, id: &str) -> Self {
        let (release, mut released) = oneshot::channel::<()>();
        let (documents, filter) = (db.collection::<Document>(collection), doc! { "_id": id });
        let mut session = db.client().start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        let change = documents.update_one(filter.clone(), doc! { "$set": { "held": 1 } }).session(&mut session);
        assert_eq!(change.await.unwrap().matched_count, 1, "{collection}/{id} is there");
        let working = tokio::spawn(async move {
            while tokio::time::timeout(Duration::from_millis(100), &mut released).await.is_err() {
                documents.find_one(filter.clone()).session(&mut session).await.unwrap();
            }
            session.abort_transaction().await.unwrap();
        });
        Self { release, working }
    }

    /// Leaves the document as it was.
    pub async fn release(self) {
        drop(self.release);
        self.working.await.unwrap();
    }
}
