//! Holding what is stored against what it follows from: what does not agree, and walking two lists of it side by side.

use bson::{Document, doc};
use mongodb::{ClientSession, Database, SessionCursor, error::Result};
use serde::Serialize;
use utoipa::ToSchema;

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The check that found it: `wallet.available`, `hold.lines`, ...
    pub check: &'static str,
    /// The id of what it is about.
    pub subject: String,
    /// The expected value.
    pub expected: String,
    /// The kind of transaction.
    pub found: String,
}

impl Difference {
    /// Names what does not agree.
    pub fn new(check: &'static str, subject: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self { check, subject: subject.into(), expected: expected.to_string(), found: found.to_string() }
    }
}

/// Where differences go as they are found.
pub trait Differences {
    fn add(&mut self, difference: Difference);

    /// So many documents of a collection were looked at.
    fn looked_at(&mut self, collection: &'static str, count: u64);
}

pub fn differ<T: PartialEq + ToString>(
    to: &mut impl Differences,
    check: &'static str,
    subject: &str,
    expected: T,
    found: T,
) {
    if expected != found {
        to.add(Difference::new(check, subject, expected, found));
    }
}

/// The documents of a pipeline.
///
/// # Errors
/// Errors of the database driver.
pub async fn aggregate(
    db: &Database,
    collection: &str,
    pipeline: Vec<Document>,
    session: &mut ClientSession,
) -> Result<SessionCursor<Document>> {
    db.collection::<Document>(collection).aggregate(pipeline).allow_disk_use(true).session(session).await
}

/// All documents of a collection that match, by id.
///
/// # Errors
/// Errors of the database driver.
pub async fn sorted(
    db: &Database,
    collection: &str,
    filter: Document,
    session: &mut ClientSession,
) -> Result<SessionCursor<Document>> {
    let documents = db.collection::<Document>(collection);
    documents.find(filter).sort(doc! { "_id": 1 }).batch_size(1_000).session(session).await
}

/// Walks two cursors that are sorted by `_id` side by side; every id is shown once, with what either has under it.
///
/// # Errors
/// Errors of the database driver.
pub async fn merge(
    session: &mut ClientSession,
    mut left: SessionCursor<Document>,
    mut right: SessionCursor<Document>,
    mut show: impl FnMut(&str, Option<&Document>, Option<&Document>),
) -> Result<()> {
    let mut a = left.next(session).await.transpose()?;
    let mut b = right.next(session).await.transpose()?;
    loop {
        let order = match (&a, &b) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => id(a).cmp(id(b)),
        };
        match (order, &a, &b) {
            (std::cmp::Ordering::Less, Some(a), _) => show(id(a), Some(a), None),
            (std::cmp::Ordering::Greater, _, Some(b)) => show(id(b), None, Some(b)),
            (_, Some(a), Some(b)) => show(id(a), Some(a), Some(b)),
            _ => {}
        }
        if order.is_le() {
            a = left.next(session).await.transpose()?;
        }
        if order.is_ge() {
            b = right.next(session).await.transpose()?;
        }
    }
}

/// The `_id`, where it is text.
#[must_use]
pub fn id(document: &Document) -> &str {
    document.get_str("_id").unwrap_or_default()
}

/// An integer of either width; 0 where there is none.
#[must_use]
pub fn number(document: &Document, name: &str) -> i64 {
    document.get(name).and_then(|value| value.as_i64().or_else(|| value.as_i32().map(i64::from))).unwrap_or(0)
}
