//! Query planning for the search of calls and for exports: which index a filter uses.

use std::collections::HashSet;

use bson::{Document, RawDocument, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};
use serde::Deserialize;

use super::{
    model::{AUDIT_EVENTS, REQUEST_LOGS, RESPONSE_LOGS},
    proof::Scopes,
};
use crate::platform::{
    mongo::READ_TIME_MAX,
    walk::{Direction, TimeRange, Walk, ids_within},
};

pub(super) const EVENTS: &str = "events";
pub(super) const LEDGER: &str = "ledger_transactions";

/// Indexes of a collection with their fields; those that lead to fewer records come first.
fn indexes(collection: &str) -> &'static [(&'static str, &'static [&'static str])] {
    match collection {
        REQUEST_LOGS => &[
            ("order", &["orderId"]),
            ("correlation", &["correlationId"]),
            ("client_order", &["clientOrderId"]),
            ("owner", &["userId"]),
        ],
        RESPONSE_LOGS => &[("awb", &["awb"]), ("order", &["orderId"])],
        EVENTS => &[("subject", &["subjectId"]), ("request", &["actor.requestId"]), ("owner", &["userId"])],
        AUDIT_EVENTS => &[("resource", &["resourceId"]), ("request", &["actor.requestId"]), ("owner", &["userId"])],
        LEDGER => &[("reference", &["referenceType", "referenceKind", "referenceId"]), ("owner", &["userId"])],
        _ => &[],
    }
}

/// A walk to the records that meet these conditions, along the index that leads to the fewest; what is not in it is compared.
pub(super) fn walk(collection: &'static str, conditions: Document) -> Walk {
    let given = |fields: &[&str]| fields.iter().all(|field| conditions.contains_key(field));
    let best = indexes(collection).iter().find(|(_, fields)| given(fields));
    let (index, fields) = best.copied().unwrap_or(("_id_", &[]));
    let (mut key, mut rest) = (Document::new(), Document::new());
    for (field, value) in conditions {
        let leads = fields.contains(&field.as_str());
        if leads { &mut key } else { &mut rest }.insert(field, value);
    }
    Walk { collection, prefix: prefix_of(collection), index, key, rest }
}

/// Conditions on the records of a collection about an order. Later bookings for an order refer to it as `ord_...#2`; no id has anything
/// below `$` but `#`. The index of the ledger has the kind before the id.
pub(super) fn about_order(collection: &str, id: &str) -> Document {
    match collection {
        EVENTS => doc! { "subjectId": id },
        AUDIT_EVENTS => doc! { "resourceId": id },
        LEDGER => {
            doc! { "referenceType": "order", "referenceKind": { "$gt": "" },
            "referenceId": { "$gte": id, "$lt": format!("{id}$") } }
        }
        _ => doc! { "orderId": id },
    }
}

/// The prefix of a collection's ids.
pub(super) fn prefix_of(collection: &str) -> &'static str {
    Scopes::standard().of_collection(collection).map_or("", |scope| scope.id_prefix())
}

/// An answer, as far as its request is found by it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryAnswer {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) request_ref_id: String,
}

impl QueryAnswer {
    pub(super) fn of(record: &RawDocument) -> Option<Self> {
        let text = |name| record.get_str(name).ok().map(str::to_owned);
        Some(Self { id: text("_id")?, request_ref_id: text("requestRefId")? })
    }
}

/// Those of `answers` before which the walk that led to them comes to no other answer to the same request: a list of requests shows each
/// request at the first of its answers, and not again.
pub(super) async fn first_met(
    db: &Database,
    walk: &Walk,
    range: TimeRange,
    direction: Direction,
    answers: Vec<QueryAnswer>,
) -> Result<Vec<QueryAnswer>> {
    let requests: HashSet<&str> = answers.iter().map(|answer| &*answer.request_ref_id).collect();
    let mut query = walk.key.clone();
    query.extend(walk.rest.clone());
    query.insert("requestRefId", doc! { "$in": requests.into_iter().collect::<Vec<_>>() });
    let within = ids_within(walk.prefix, range);
    if !within.is_empty() {
        query.insert("_id", within);
    }
    let all = db.collection::<QueryAnswer>(RESPONSE_LOGS);
    let all = all.find(query).hint(Hint::Name("request".into())).projection(doc! { "requestRefId": 1 });
    let mut all: Vec<QueryAnswer> = all.max_time(READ_TIME_MAX).await?.try_collect().await?;
    all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    if direction == Direction::Newest {
        all.reverse();
    }
    let mut met = HashSet::new();
    let first: HashSet<&str> =
        all.iter().filter(|answer| met.insert(&*answer.request_ref_id)).map(|answer| &*answer.id).collect();
    Ok(answers.into_iter().filter(|answer| first.contains(&*answer.id)).collect())
}
