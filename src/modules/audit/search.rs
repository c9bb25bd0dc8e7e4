//! Finding provider calls: which index serves which question, and how far one page may look.
//!
//! Ids begin with their time, so a range of time is a range of ids, and a page ends at an id. What no index narrows down is
//! looked at record by record, at most [`LOOKED_AT_MAX`] for a page: it may come back with fewer than asked for, or none,
//! and a place to go on from.

use std::collections::HashMap;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};

use super::{
    model::{ErrorClass, ProviderRequestLog, ProviderResponseLog},
    store::{REQUEST_LOGS, RESPONSE_LOGS},
};
use crate::platform::ids::first_id_at;

/// Records that one page looks at where no index narrows them down.
pub const LOOKED_AT_MAX: usize = 4_000;
/// The same where each has its answers looked up too.
const JOINED_MAX: usize = 1_000;
/// Without a key that few calls share, a page stays within so much time.
pub const RANGE_MAX_MS: i64 = 24 * 3_600_000;

/// Which calls are asked for; all that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallFilter {
    /// About this order.
    pub order_id: Option<String>,
    /// Of this user.
    pub user_id: Option<String>,
    /// About what its owner calls so.
    pub client_order_id: Option<String>,
    /// Following from this request.
    pub correlation_id: Option<String>,
    /// Answered with this shipment.
    pub awb: Option<String>,
    /// To this provider.
    pub provider: Option<String>,
    /// This operation.
    pub operation: Option<String>,
    /// With this account.
    pub account_id: Option<String>,
    /// With this outcome.
    pub outcome: Option<String>,
    /// With an error of this class.
    pub error_class: Option<ErrorClass>,
    /// Answered with this status.
    pub http_status: Option<i32>,
    /// From then on.
    pub from: Option<DateTime>,
    /// Before then.
    pub to: Option<DateTime>,
}

/// Which way a list goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Newest first.
    Newest,
    /// Oldest first.
    Oldest,
}

impl Direction {
    const fn sign(self) -> i32 {
        match self {
            Self::Newest => -1,
            Self::Oldest => 1,
        }
    }

    const fn beyond(self) -> &'static str {
        match self {
            Self::Newest => "$lt",
            Self::Oldest => "$gt",
        }
    }
}

/// A call with its answers: none yet, one, or more where an answer came late.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request.
    pub request: ProviderRequestLog,
    /// Its answers, oldest first.
    pub responses: Vec<ProviderResponseLog>,
}

/// A page of calls.
#[derive(Clone, Debug)]
pub struct CallPage {
    /// Calls that match.
    pub calls: Vec<Exchange>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
    /// It ended before it was full, because it had looked at enough.
    pub partial: bool,
}

/// What leads through the records.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    collection: &'static str,
    index: &'static str,
    /// The fields of the index that are given.
    key: Document,
    /// What is left to be compared, in the records that the index leads to.
    rest: Document,
    /// Conditions on answers, where the plan leads through requests.
    answers: Document,
}

impl CallFilter {
    /// Whether few calls share one of the keys, so that no range of time is needed.
    #[must_use]
    pub const fn is_selective(&self) -> bool {
        self.order_id.is_some()
            || self.user_id.is_some()
            || self.client_order_id.is_some()
            || self.correlation_id.is_some()
            || self.awb.is_some()
    }

    /// The range of time that a page without a selective key stays within.
    #[must_use]
    pub fn bounded(mut self, direction: Direction, now: DateTime) -> Self {
        if self.is_selective() {
            return self;
        }
        let ms = |time: DateTime| time.timestamp_millis();
        let (from, to) = match direction {
            Direction::Newest => {
                let to = self.to.map_or(ms(now) + 1, ms);
                (self.from.map_or(to - RANGE_MAX_MS, ms).max(to - RANGE_MAX_MS), to)
            }
            Direction::Oldest => {
                let from = self.from.map_or_else(|| self.to.map_or(ms(now) + 1, ms) - RANGE_MAX_MS, ms);
                (from, self.to.map_or(ms(now) + 1, ms).min(from + RANGE_MAX_MS))
            }
        };
        self.from = Some(DateTime::from_millis(from));
        self.to = Some(DateTime::from_millis(to));
        self
    }

    fn plan(&self) -> Plan {
        let answers =
            given(&[("outcome", self.outcome.as_deref()), ("errorClass", self.error_class.map(ErrorClass::as_str))]);
        let answers = with_status(answers, self.http_status);
        let shared = [
            ("userId", self.user_id.as_deref()),
            ("clientOrderId", self.client_order_id.as_deref()),
            ("correlationId", self.correlation_id.as_deref()),
            ("provider", self.provider.as_deref()),
            ("operation", self.operation.as_deref()),
            ("accountId", self.account_id.as_deref()),
        ];
        let by_answer = |index, key: Document| {
            let mut rest = given(&shared);
            rest.extend(given(&[("orderId", self.order_id.as_deref())]));
            rest.extend(answers.clone());
            key.keys().for_each(|field| drop(rest.remove(field)));
            Plan { collection: RESPONSE_LOGS, index, key, rest, answers: Document::new() }
        };
        let by_request = |index, key: Document| {
            let mut rest = given(&shared);
            rest.extend(given(&[("orderId", self.order_id.as_deref())]));
            key.keys().for_each(|field| drop(rest.remove(field)));
            Plan { collection: REQUEST_LOGS, index, key, rest, answers: answers.clone() }
        };
        match self {
            Self { awb: Some(awb), .. } => by_answer("awb", doc! { "awb": awb }),
            Self { order_id: Some(id), .. } => by_request("order", doc! { "orderId": id }),
            Self { correlation_id: Some(id), .. } => by_request("correlation", doc! { "correlationId": id }),
            Self { client_order_id: Some(id), .. } => by_request("client_order", doc! { "clientOrderId": id }),
            Self { user_id: Some(id), .. } => by_request("owner", doc! { "userId": id }),
            _ if answers.is_empty() => by_request("_id_", Document::new()),
            _ => by_answer("_id_", Document::new()),
        }
    }
}

fn given(fields: &[(&str, Option<&str>)]) -> Document {
    fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.into()))).collect()
}

fn with_status(mut conditions: Document, status: Option<i32>) -> Document {
    if let Some(status) = status {
        conditions.insert("httpStatus", status);
    }
    conditions
}

impl Plan {
    const fn id_prefix(&self) -> &'static str {
        match self.collection.as_bytes() {
            b"provider_request_logs" => "req",
            _ => "res",
        }
    }

    /// Ids of the range of time, beyond `after`.
    fn ids(&self, filter: &CallFilter, direction: Direction, after: Option<&str>) -> Document {
        let mut ids = Document::new();
        let bound = |time: DateTime| first_id_at(self.id_prefix(), time.timestamp_millis());
        if let Some(from) = filter.from {
            ids.insert("$gte", bound(from));
        }
        if let Some(to) = filter.to {
            ids.insert("$lt", bound(to));
        }
        if let Some(after) = after {
            // Of two bounds on the same side the one that was reached is the narrower.
            if direction == Direction::Oldest {
                ids.remove("$gte");
            }
            ids.insert(direction.beyond(), after);
        }
        ids
    }

    /// How many records a page may look at; none where each of them matches.
    fn looks_at(&self) -> Option<usize> {
        match (self.rest.is_empty(), self.answers.is_empty()) {
            (_, false) => Some(JOINED_MAX),
            (false, true) => Some(LOOKED_AT_MAX),
            (true, true) => None,
        }
    }
}

/// Finds calls.
#[derive(Clone, Debug)]
pub struct CallSearch {
    db: Database,
}

impl CallSearch {
    /// A search over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    /// A call with its answers.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn find(&self, request_ref_id: &str) -> Result<Option<Exchange>> {
        let requests = self.db.collection::<ProviderRequestLog>(REQUEST_LOGS);
        let Some(request) = requests.find_one(doc! { "_id": request_ref_id }).await? else { return Ok(None) };
        Ok(self.with_answers(vec![request]).await?.pop())
    }

    /// An answer.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn find_response(&self, response_ref_id: &str) -> Result<Option<ProviderResponseLog>> {
        self.db.collection(RESPONSE_LOGS).find_one(doc! { "_id": response_ref_id }).await
    }

    /// Calls that match, at most `limit`, beyond `after`; a filter without a selective key has to be bounded.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn list(
        &self,
        filter: &CallFilter,
        direction: Direction,
        after: Option<&str>,
        limit: usize,
    ) -> Result<CallPage> {
        let plan = filter.plan();
        let mut query = plan.key.clone();
        let mut ids = plan.ids(filter, direction, after);
        let last = match plan.looks_at() {
            Some(count) => self.nth(&plan, &ids, direction, count).await?,
            None => None,
        };
        if let Some(last) = &last {
            // What the page looks at ends there.
            ids.insert(if direction == Direction::Newest { "$gte" } else { "$lte" }, last);
        }
        if !ids.is_empty() {
            query.insert("_id", ids);
        }
        query.extend(plan.rest.clone());
        if plan.collection == REQUEST_LOGS {
            self.by_requests(&plan, query, direction, limit, last).await
        } else {
            self.by_answers(&plan, query, direction, limit, last).await
        }
    }

    /// The id of the `count`-th record that the plan leads to; none where there are fewer. Reads keys of the index only.
    async fn nth(&self, plan: &Plan, ids: &Document, direction: Direction, count: usize) -> Result<Option<String>> {
        let mut query = plan.key.clone();
        if !ids.is_empty() {
            query.insert("_id", ids.clone());
        }
        let records = self.db.collection::<Document>(plan.collection);
        let found = records
            .find(query)
            .hint(Hint::Name(plan.index.into()))
            .sort(doc! { "_id": direction.sign() })
            .projection(doc! { "_id": 1 })
            .skip(count as u64 - 1)
            .limit(1);
        Ok(found.await?.try_next().await?.and_then(|record| record.get_str("_id").ok().map(str::to_owned)))
    }

    async fn by_requests(
        &self,
        plan: &Plan,
        query: Document,
        direction: Direction,
        limit: usize,
        last: Option<String>,
    ) -> Result<CallPage> {
        let joins = !plan.answers.is_empty();
        let take = if joins { JOINED_MAX } else { limit + 1 };
        let requests = self.db.collection::<ProviderRequestLog>(REQUEST_LOGS);
        let found = requests
            .find(query)
            .hint(Hint::Name(plan.index.into()))
            .sort(doc! { "_id": direction.sign() })
            .limit(take as i64)
            .batch_size(take as u32);
        let found: Vec<ProviderRequestLog> = found.await?.try_collect().await?;
        let found = if joins { self.answered_so(found, &plan.answers).await? } else { found };
        let (page, more) = cut(found, limit);
        let next = next_place(page.last().map(|request| &*request.id), more, last);
        let partial = !more && next.is_some();
        Ok(CallPage { calls: self.with_answers(page).await?, next, partial })
    }

    /// Those of `requests` that have an answer like `conditions`.
    async fn answered_so(
        &self,
        requests: Vec<ProviderRequestLog>,
        conditions: &Document,
    ) -> Result<Vec<ProviderRequestLog>> {
        let ids: Vec<&str> = requests.iter().map(|request| &*request.id).collect();
        let mut query = doc! { "requestRefId": { "$in": ids } };
        query.extend(conditions.clone());
        let answers = self.db.collection::<Document>(RESPONSE_LOGS);
        let found =
            answers.find(query).hint(Hint::Name("request".into())).projection(doc! { "_id": 0, "requestRefId": 1 });
        let found: Vec<Document> = found.await?.try_collect().await?;
        let matching: std::collections::HashSet<&str> =
            found.iter().filter_map(|answer| answer.get_str("requestRefId").ok()).collect();
        Ok(requests.into_iter().filter(|request| matching.contains(&*request.id)).collect())
    }

    async fn by_answers(
        &self,
        plan: &Plan,
        query: Document,
        direction: Direction,
        limit: usize,
        last: Option<String>,
    ) -> Result<CallPage> {
        let answers = self.db.collection::<ProviderResponseLog>(RESPONSE_LOGS);
        let found = answers
            .find(query)
            .hint(Hint::Name(plan.index.into()))
            .sort(doc! { "_id": direction.sign() })
            .limit(limit as i64 + 1)
            .batch_size(limit as u32 + 1);
        let (page, more) = cut(found.await?.try_collect().await?, limit);
        let next = next_place(page.last().map(|answer| &*answer.id), more, last);
        let partial = !more && next.is_some();
        let mut ids: Vec<&str> = page.iter().map(|answer| &*answer.request_ref_id).collect();
        let order: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        ids.sort_unstable();
        ids.dedup();
        let requests = self.db.collection::<ProviderRequestLog>(REQUEST_LOGS);
        let requests: Vec<ProviderRequestLog> =
            requests.find(doc! { "_id": { "$in": ids } }).await?.try_collect().await?;
        let calls = self.with_answers(requests).await?;
        let mut calls: HashMap<String, Exchange> =
            calls.into_iter().map(|call| (call.request.id.clone(), call)).collect();
        // Two answers to one request on a page are one call.
        Ok(CallPage { calls: order.iter().filter_map(|id| calls.remove(id)).collect(), next, partial })
    }

    async fn with_answers(&self, requests: Vec<ProviderRequestLog>) -> Result<Vec<Exchange>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = requests.iter().map(|request| &*request.id).collect();
        let answers = self.db.collection::<ProviderResponseLog>(RESPONSE_LOGS);
        let found = answers.find(doc! { "requestRefId": { "$in": ids } }).hint(Hint::Name("request".into()));
        let mut found: Vec<ProviderResponseLog> = found.await?.try_collect().await?;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let mut by_request: HashMap<String, Vec<ProviderResponseLog>> = HashMap::new();
        for answer in found {
            by_request.entry(answer.request_ref_id.clone()).or_default().push(answer);
        }
        let with = |request: ProviderRequestLog| {
            let responses = by_request.remove(&request.id).unwrap_or_default();
            Exchange { request, responses }
        };
        Ok(requests.into_iter().map(with).collect())
    }
}

/// The page, and whether there is more behind it.
fn cut<T>(mut found: Vec<T>, limit: usize) -> (Vec<T>, bool) {
    let more = found.len() > limit;
    found.truncate(limit);
    (found, more)
}

/// Behind the last record of a full page; else where looking ended, if it ended early.
fn next_place(last_shown: Option<&str>, more: bool, last_looked_at: Option<String>) -> Option<String> {
    if more { last_shown.map(str::to_owned) } else { last_looked_at }
}
