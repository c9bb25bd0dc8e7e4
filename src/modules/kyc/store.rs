//! Every query of this module. A merchant's finder takes the owner, always.

use std::collections::BTreeMap;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Collection, Database, error::Result, options::Hint};

use super::{
    model::{APPLICATIONS, Application, DOCUMENTS, DocumentContent, KycState},
    papers::{KYC_KEYS, LinkedAccount, PAPERS, Paper, field_of, papers_key},
};
use crate::platform::{
    kept_secret::KeptSecretError,
    mongo::{Index, READ_TIME_MAX},
    sealing::SealingKeys,
    secret::MacKey,
};

/// Accounts that a reviewer is shown beside one.
const LINKED_MAX: usize = 20;

#[derive(Clone, Debug, Default)]
pub struct ApplicationFilter {
    pub state: Option<KycState>,
    /// Handed in from then on.
    pub from: Option<DateTime>,
    /// Handed in before then.
    pub to: Option<DateTime>,
    /// Behind this one: when it was handed in, and its id.
    pub after: Option<(DateTime, String)>,
}

/// Reads applications and documents; they are written by commands only.
#[derive(Clone, Debug)]
pub struct KycStore {
    db: Database,
}

impl KycStore {
    pub const COLLECTIONS: &[&str] = &[APPLICATIONS, DOCUMENTS, PAPERS, KYC_KEYS];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(APPLICATIONS, "state_age", doc! { "state": 1, "submittedAt": 1, "_id": 1 }),
            Index::new(APPLICATIONS, "age", doc! { "submittedAt": 1, "_id": 1 }),
            Index::new(PAPERS, "emptied", doc! { "emptiedAt": 1 }).expires(),
            // A rotation looks for other keys, and must not read every document for that.
            Index::new(DOCUMENTS, "sealing_key", doc! { "content.envelope.keyId": 1 }),
        ]
    }

    fn applications(&self) -> Collection<Application> {
        self.db.collection(APPLICATIONS)
    }

    /// The application of `user_id`.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find(&self, user_id: &str) -> Result<Option<Application>> {
        self.applications()
            .find_one(doc! { "_id": Application::id_of(user_id), "userId": user_id })
            .max_time(READ_TIME_MAX)
            .await
    }

    /// The key that numbers are hashed by.
    pub(super) async fn papers_key(&self, keys: &SealingKeys) -> std::result::Result<MacKey, KeptSecretError> {
        papers_key(&self.db, keys).await
    }

    /// Other accounts that have handed in one of the numbers that `application` has; the first ones, where there are many.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn linked(&self, application: &Application, now: DateTime) -> Result<Vec<LinkedAccount>> {
        if application.papers.is_empty() {
            return Ok(Vec::new());
        }
        let papers = self.db.collection::<Paper>(PAPERS);
        let papers: Vec<Paper> = papers
            .find(doc! { "_id": { "$in": &application.papers } })
            .max_time(READ_TIME_MAX)
            .await?
            .try_collect()
            .await?;
        let mut shared: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for paper in &papers {
            for user_id in paper.others(&application.user_id, now) {
                shared.entry(user_id.to_owned()).or_default().push(field_of(&paper.id).to_owned());
            }
        }
        let ids: Vec<String> = shared.keys().take(LINKED_MAX).map(|user_id| Application::id_of(user_id)).collect();
        let mut linked = Vec::new();
        let applications = self.applications();
        let mut found =
            applications.find(doc! { "_id": { "$in": ids } }).sort(doc! { "_id": 1 }).max_time(READ_TIME_MAX).await?;
        while let Some(Application { user_id, state, .. }) = found.try_next().await? {
            let mut shared = shared.remove(&user_id).unwrap_or_default();
            shared.sort_unstable();
            linked.push(LinkedAccount { user_id, state, shared });
        }
        Ok(linked)
    }

    /// Applications that were handed in, oldest submission first; one more than `limit` where there are more.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list(&self, filter: &ApplicationFilter, limit: usize) -> Result<Vec<Application>> {
        let mut query = Document::new();
        if let Some(state) = filter.state {
            query.insert("state", state.as_str());
        }
        // The bound on the time gives the place in the index; the rest only tells those of the same millisecond apart.
        let reached = filter.after.as_ref().map(|(at, _)| *at);
        let mut submitted = doc! { "$gte": filter.from.max(reached).unwrap_or(DateTime::MIN) };
        if let Some(to) = filter.to {
            submitted.insert("$lt", to);
        }
        query.insert("submittedAt", submitted);
        if let Some((at, id)) = &filter.after {
            let later = doc! { "submittedAt": { "$gt": at } };
            query.insert("$or", vec![later, doc! { "submittedAt": at, "_id": { "$gt": id } }]);
        }
        let applications = self.applications();
        let index = if filter.state.is_some() { "state_age" } else { "age" };
        let found = applications.find(query).sort(doc! { "submittedAt": 1, "_id": 1 }).limit(limit as i64 + 1);
        found.hint(Hint::Name(index.into())).max_time(READ_TIME_MAX).await?.try_collect().await
    }

    /// The content of a document of `user_id`.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn content(&self, user_id: &str, document_id: &str) -> Result<Option<DocumentContent>> {
        let contents = self.db.collection::<DocumentContent>(DOCUMENTS);
        contents.find_one(doc! { "_id": document_id, "userId": user_id }).max_time(READ_TIME_MAX).await
    }

    /// The owner of a document, if there is one.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn owner_of(&self, document_id: &str) -> Result<Option<String>> {
        let contents = self.db.collection::<Document>(DOCUMENTS);
        let found = contents
            .find_one(doc! { "_id": document_id })
            .projection(doc! { "userId": 1 })
            .max_time(READ_TIME_MAX)
            .await?;
        Ok(found.and_then(|content| content.get_str("userId").ok().map(str::to_owned)))
    }
}
