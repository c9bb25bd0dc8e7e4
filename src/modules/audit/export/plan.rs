//! The query plan of an export for one collection.
//!
//! Response logs have no index on user, clientOrderId or correlation id: they are found through their requests, which have. Requests are
//! found by an AWB through their answers. What no index narrows down is scanned in the order of ids.

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};

use super::{
    super::{
        model::{REQUEST_LOGS, RESPONSE_LOGS},
        query::{QueryAnswer, about_order, first_met, prefix_of, walk},
    },
    filter::{ExportFilter, place_of},
};
use crate::platform::walk::{Direction, TimeRange, Walk, Walked, ids_within};

/// Records on a page: 4 MB where they are as large as a log gets.
const PAGE: usize = 64;
/// Records that one page looks at, so that no single question takes long.
const LOOKED_AT_MAX: usize = 20_000;

pub(super) struct QueryPlan {
    walk: Walk,
    /// Of the walk.
    range: TimeRange,
    found: Found,
}

/// Documents along the walk.
enum Found {
    Records,
    /// Requests; the records are their answers that meet these conditions.
    Requests(Document),
    /// Answers; the records are their requests that meet these conditions.
    Answers(Document),
}

pub(super) struct ExportPage {
    pub(super) records: Vec<RawDocumentBuf>,
    pub(super) next: Option<String>,
}

impl QueryPlan {
    /// The plan of a filter for `collection`.
    pub(super) fn new(collection: &'static str, filter: &ExportFilter) -> Self {
        let range = filter.range();
        let mut wanted = conditions(filter, collection);
        let ids = ids_within(prefix_of(collection), range);
        let requests = walk(REQUEST_LOGS, conditions(filter, REQUEST_LOGS));
        match (collection, &filter.awb) {
            (REQUEST_LOGS, Some(awb)) => {
                wanted.insert("_id", ids);
                let answers = walk(RESPONSE_LOGS, doc! { "awb": awb });
                Self { walk: answers, range: TimeRange::default(), found: Found::Answers(wanted) }
            }
            (RESPONSE_LOGS, None) if filter.order_id.is_none() && requests.index != "_id_" => {
                if !ids.is_empty() {
                    wanted.insert("_id", ids);
                }
                // An answer may be much later than its request, and never earlier.
                Self { walk: requests, range: TimeRange { from: None, ..range }, found: Found::Requests(wanted) }
            }
            _ => Self { walk: walk(collection, wanted), range, found: Found::Records },
        }
    }

    /// The next records, beyond `after`.
    pub(super) async fn page(&self, db: &Database, after: Option<&str>) -> Result<ExportPage> {
        let looks_at = (!self.walk.rest.is_empty()).then_some(LOOKED_AT_MAX);
        let walked = self.walk.go::<RawDocumentBuf>(db, self.range, Direction::Oldest, after, PAGE, looks_at);
        let Walked { found, ended_at } = walked.await?;
        let id = |record: &RawDocumentBuf| record.get_str("_id").ok().map(str::to_owned);
        // Behind the last record of a full page, else where looking ended early.
        let next = if found.len() < PAGE { ended_at } else { found.last().and_then(id) };
        let records = match &self.found {
            Found::Records => found,
            Found::Requests(wanted) => {
                let query = with_one_of(wanted, "requestRefId", found.iter().filter_map(id));
                read(db, RESPONSE_LOGS, query, "request").await?
            }
            Found::Answers(wanted) => {
                let answers = found.iter().filter_map(|record| QueryAnswer::of(record)).collect();
                let answers = first_met(db, &self.walk, self.range, Direction::Oldest, answers).await?;
                let query = with_one_of(wanted, "_id", answers.into_iter().map(|answer| answer.request_ref_id));
                read(db, REQUEST_LOGS, query, "_id_").await?
            }
        };
        Ok(ExportPage { records, next })
    }
}

fn conditions(filter: &ExportFilter, collection: &str) -> Document {
    let mut conditions = Document::new();
    for (name, text) in filter.texts() {
        match (name, collection) {
            ("orderId", _) => conditions.extend(about_order(collection, text)),
            ("awb", REQUEST_LOGS) => {}
            _ => drop(place_of(name, collection).map(|field| conditions.insert(field, text))),
        }
    }
    conditions
}

fn with_one_of(conditions: &Document, field: &str, ids: impl Iterator<Item = String>) -> Document {
    let mut query = conditions.clone();
    let mut of_field = query.get_document(field).cloned().unwrap_or_default();
    of_field.insert("$in", ids.map(Bson::from).collect::<Vec<_>>());
    query.insert(field, of_field);
    query
}

async fn read(db: &Database, collection: &str, query: Document, index: &str) -> Result<Vec<RawDocumentBuf>> {
    let records = db.collection::<RawDocumentBuf>(collection);
    let found = records.find(query).hint(Hint::Name(index.into())).batch_size(PAGE as u32);
    let mut found: Vec<RawDocumentBuf> = found.await?.try_collect().await?;
    found.sort_unstable_by(|a, b| a.get_str("_id").unwrap_or_default().cmp(b.get_str("_id").unwrap_or_default()));
    Ok(found)
}
