//! What a database holds, to be put back after it was damaged: one scene serves many damages.

use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::Database;

/// Every document of every collection.
pub struct Snapshot {
    db: Database,
    collections: Vec<(String, Vec<RawDocumentBuf>)>,
}

impl Snapshot {
    pub async fn of(db: &Database) -> Self {
        let mut collections = Vec::new();
        for name in db.list_collection_names().await.unwrap() {
            let documents = documents(db, &name).await;
            collections.push((name, documents));
        }
        Self { db: db.clone(), collections }
    }

    /// Puts everything back. Indexes stay as they are.
    pub async fn restore(&self) {
        for (name, before) in &self.collections {
            if documents(&self.db, name).await != *before {
                let collection = self.db.collection::<RawDocumentBuf>(name);
                collection.delete_many(doc! {}).await.unwrap();
                if !before.is_empty() {
                    collection.insert_many(before).await.unwrap();
                }
            }
        }
    }
}

async fn documents(db: &Database, name: &str) -> Vec<RawDocumentBuf> {
    let found = db.collection::<RawDocumentBuf>(name).find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
    found.try_collect().await.unwrap()
}

/// Runs each of these functions on a scene and puts its database back behind it. What failed is the last one named.
#[macro_export]
macro_rules! each_on {
    ($scene:expr, $($case:path),+ $(,)?) => {{
        let scene = $scene;
        let whole = $crate::support::snapshot::Snapshot::of(scene.app.db()).await;
        $(
            println!(stringify!($case));
            $case(&scene).await;
            whole.restore().await;
        )+
        scene
    }};
}
