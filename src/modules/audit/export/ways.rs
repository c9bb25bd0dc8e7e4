//! Which index leads to the records of a collection that match.
//!
//! Answers have no index of their own on a user, a clientOrderId or a correlation id: they are come by through their
//! requests, which have. What no index narrows down is looked at record by record, in the order of ids.

use std::collections::{HashMap, HashSet};

use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};
use serde::Deserialize;

use super::{
    super::{
        proof::Scopes,
        store::{AUDIT_EVENTS, REQUEST_LOGS, RESPONSE_LOGS},
    },
    filter::{EVENTS, ExportFilter, LEDGER, place_of},
};
use crate::platform::walk::{Direction, TimeRange, Walk, Walked, ids_within};

/// Records on a page: 4 MB where they are as large as a log gets.
const PAGE: usize = 64;
/// Records that one page looks at, so that no single question takes long.
const LOOKED_AT_MAX: usize = 20_000;

/// A way to the records of a collection.
pub(super) struct Way {
    walk: Walk,
    /// Of the walk.
    walked: TimeRange,
    kind: Kind,
}

enum Kind {
    /// The walk leads along them.
    Direct,
    /// They answer the requests along which the walk leads, and are like this.
    AnswersTo(Document),
    /// They are the requests of the answers along which the walk leads, and are like this.
    RequestsOf { awb: String, like: Document },
}

/// Some records, and where to go on.
pub(super) struct Page {
    pub(super) records: Vec<RawDocumentBuf>,
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "_id")]
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(rename = "_id")]
    id: String,
    request_ref_id: String,
}

impl Way {
    /// The way to what a filter that reaches `collection` asks for of it.
    pub(super) fn to(collection: &'static str, filter: &ExportFilter) -> Self {
        let range = filter.range();
        let mut like = conditions(filter, collection);
        let walk = |collection, index| walk_along(collection, index, conditions(filter, collection));
        match (collection, &filter.awb) {
            (REQUEST_LOGS, Some(awb)) => {
                let answers = walk_along(RESPONSE_LOGS, "awb", doc! { "awb": awb });
                like.insert("_id", ids_within(prefix_of(collection), range));
                Self { walk: answers, walked: TimeRange::default(), kind: Kind::RequestsOf { awb: awb.clone(), like } }
            }
            (RESPONSE_LOGS, None) if filter.order_id.is_none() && index_for(REQUEST_LOGS, filter) != "_id_" => {
                let ids = ids_within(prefix_of(collection), range);
                if !ids.is_empty() {
                    like.insert("_id", ids);
                }
                let requests = walk(REQUEST_LOGS, index_for(REQUEST_LOGS, filter));
                // An answer may be much later than its request, and never earlier.
                let walked = TimeRange { from: None, ..range };
                Self { walk: requests, walked, kind: Kind::AnswersTo(like) }
            }
            _ => Self { walk: walk(collection, index_for(collection, filter)), walked: range, kind: Kind::Direct },
        }
    }

    /// The next records, beyond `after`.
    pub(super) async fn page(&self, db: &Database, after: Option<&str>) -> Result<Page> {
        match &self.kind {
            Kind::Direct => {
                let Walked { found, ended_at } = self.go::<RawDocumentBuf>(db, after).await?;
                let last = found.last().and_then(|record| record.get_str("_id").ok());
                let next = next_place(found.len(), last, ended_at);
                Ok(Page { records: found, next })
            }
            Kind::AnswersTo(like) => {
                let Walked { found, ended_at } = self.go::<Named>(db, after).await?;
                let next = next_place(found.len(), found.last().map(|request| &*request.id), ended_at);
                let requests: Vec<&str> = found.iter().map(|request| &*request.id).collect();
                let mut query = like.clone();
                query.insert("requestRefId", doc! { "$in": requests });
                Ok(Page { records: read(db, RESPONSE_LOGS, query, "request").await?, next })
            }
            Kind::RequestsOf { awb, like } => {
                let Walked { found, ended_at } = self.go::<Answer>(db, after).await?;
                let next = next_place(found.len(), found.last().map(|answer| &*answer.id), ended_at);
                let mut query = like.clone();
                let mut ids = query.get_document("_id").cloned().unwrap_or_default();
                ids.insert("$in", first_met(db, awb, &found).await?);
                query.insert("_id", ids);
                Ok(Page { records: read(db, REQUEST_LOGS, query, "_id_").await?, next })
            }
        }
    }

    async fn go<T: for<'de> Deserialize<'de> + Unpin + Send + Sync>(
        &self,
        db: &Database,
        after: Option<&str>,
    ) -> Result<Walked<T>> {
        let looks_at = (!self.walk.rest.is_empty()).then_some(LOOKED_AT_MAX);
        self.walk.go(db, self.walked, Direction::Oldest, after, PAGE, looks_at).await
    }
}

/// Behind the last record of a full page, else where looking ended early.
fn next_place(found: usize, last: Option<&str>, ended_at: Option<String>) -> Option<String> {
    if found < PAGE { ended_at } else { last.map(str::to_owned) }
}

/// What records of `collection` have to be like.
fn conditions(filter: &ExportFilter, collection: &str) -> Document {
    let mut conditions = Document::new();
    for (name, text) in filter.texts() {
        match (name, collection) {
            // Later holds of an order are booked as `ord_...#2`. The index has the kind before the id.
            ("orderId", LEDGER) => {
                conditions.insert("referenceType", "order");
                conditions.insert("referenceKind", doc! { "$gt": "" });
                conditions.insert("referenceId", doc! { "$gte": text, "$lt": format!("{text}$") });
            }
            ("awb", REQUEST_LOGS) => {}
            _ => drop(place_of(name, collection).map(|field| conditions.insert(field, text))),
        }
    }
    conditions
}

/// The index that leads to the fewest records.
fn index_for(collection: &str, filter: &ExportFilter) -> &'static str {
    let indexes: &[(bool, &'static str)] = match collection {
        REQUEST_LOGS => &[
            (filter.order_id.is_some(), "order"),
            (filter.correlation_id.is_some(), "correlation"),
            (filter.client_order_id.is_some(), "client_order"),
            (filter.user_id.is_some(), "owner"),
        ],
        RESPONSE_LOGS => &[(filter.awb.is_some(), "awb"), (filter.order_id.is_some(), "order")],
        EVENTS => &[
            (filter.order_id.is_some(), "subject"),
            (filter.correlation_id.is_some(), "request"),
            (filter.user_id.is_some(), "owner"),
        ],
        AUDIT_EVENTS => &[
            (filter.order_id.is_some(), "resource"),
            (filter.correlation_id.is_some(), "request"),
            (filter.user_id.is_some(), "owner"),
        ],
        LEDGER => &[(filter.order_id.is_some(), "reference"), (filter.user_id.is_some(), "owner")],
        _ => &[],
    };
    indexes.iter().find(|(given, _)| *given).map_or("_id_", |(_, index)| index)
}

/// A walk along an index; what of the conditions is not in it is compared.
fn walk_along(collection: &'static str, index: &'static str, conditions: Document) -> Walk {
    let keys: &[&str] = match (collection, index) {
        (_, "order") => &["orderId"],
        (_, "owner") => &["userId"],
        (_, "client_order") => &["clientOrderId"],
        (_, "correlation") => &["correlationId"],
        (_, "awb") => &["awb"],
        (_, "subject") => &["subjectId"],
        (_, "resource") => &["resourceId"],
        (_, "request") => &["actor.requestId"],
        (_, "reference") => &["referenceType", "referenceKind", "referenceId"],
        _ => &[],
    };
    let (mut key, mut rest) = (Document::new(), Document::new());
    for (field, value) in conditions {
        let leads = keys.contains(&field.as_str());
        if leads { &mut key } else { &mut rest }.insert(field, value);
    }
    Walk { collection, prefix: prefix_of(collection), index, key, rest }
}

fn prefix_of(collection: &str) -> &'static str {
    Scopes::standard().of_collection(collection).map_or("", |scope| scope.id_prefix())
}

async fn read(db: &Database, collection: &str, query: Document, index: &str) -> Result<Vec<RawDocumentBuf>> {
    let records = db.collection::<RawDocumentBuf>(collection);
    let found = records.find(query).hint(Hint::Name(index.into())).batch_size(PAGE as u32);
    let mut found: Vec<RawDocumentBuf> = found.await?.try_collect().await?;
    found.sort_unstable_by(|a, b| a.get_str("_id").unwrap_or_default().cmp(b.get_str("_id").unwrap_or_default()));
    Ok(found)
}

/// The requests of these answers, but for those whose first answer with the AWB was on an earlier page.
async fn first_met(db: &Database, awb: &str, page: &[Answer]) -> Result<Vec<String>> {
    let requests: Vec<&str> = page.iter().map(|answer| &*answer.request_ref_id).collect();
    let answers = db.collection::<Answer>(RESPONSE_LOGS);
    let all = answers
        .find(doc! { "requestRefId": { "$in": requests }, "awb": awb })
        .hint(Hint::Name("request".into()))
        .projection(doc! { "requestRefId": 1 });
    let all: Vec<Answer> = all.await?.try_collect().await?;
    let mut first: HashMap<&str, &str> = HashMap::new();
    for answer in &all {
        let earliest = first.entry(&*answer.request_ref_id).or_insert(&*answer.id);
        *earliest = (*earliest).min(&*answer.id);
    }
    let here: HashSet<&str> = page.iter().map(|answer| &*answer.id).collect();
    Ok(first.into_iter().filter(|(_, answer)| here.contains(answer)).map(|(request, _)| request.to_owned()).collect())
}
