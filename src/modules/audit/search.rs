//! Finding provider calls: which index serves which question, and how far one page may look.
//!
//! What no index narrows down is looked at record by record, at most [`LOOKED_AT_MAX`] for a page: it may come back with
//! fewer than asked for, or none, and a place to go on from.

use std::collections::{HashMap, HashSet};

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};

use super::{
    model::{ErrorClass, ProviderRequestLog, ProviderResponseLog},
    store::{REQUEST_LOGS, RESPONSE_LOGS},
    walk::{Direction, TimeRange, Walk, Walked, cut, given, next_place},
};

/// Records that one page looks at where no index narrows them down.
pub const LOOKED_AT_MAX: usize = 4_000;
/// The same where each has its answers looked up too, in stages: 1,000 in all.
const JOINED: [usize; 3] = [100, 300, 600];

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
    /// Within this time.
    pub range: TimeRange,
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

/// What leads to the calls.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    walk: Walk,
    /// Conditions on answers, where it leads through requests.
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
        if !self.is_selective() {
            self.range = self.range.a_day(direction, now);
        }
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
            let walk = Walk { collection: RESPONSE_LOGS, prefix: "res", index, key, rest };
            Plan { walk, answers: Document::new() }
        };
        let by_request = |index, key: Document| {
            let mut rest = given(&shared);
            rest.extend(given(&[("orderId", self.order_id.as_deref())]));
            key.keys().for_each(|field| drop(rest.remove(field)));
            let walk = Walk { collection: REQUEST_LOGS, prefix: "req", index, key, rest };
            Plan { walk, answers: answers.clone() }
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

fn with_status(mut conditions: Document, status: Option<i32>) -> Document {
    if let Some(status) = status {
        conditions.insert("httpStatus", status);
    }
    conditions
}

impl Plan {
    /// How many records a page may look at; none where each of them matches.
    fn looks_at(&self) -> Option<usize> {
        match (self.walk.rest.is_empty(), self.answers.is_empty()) {
            (_, false) => None,
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
        if plan.walk.collection == REQUEST_LOGS {
            self.by_requests(&plan, filter.range, direction, after, limit).await
        } else {
            self.by_answers(&plan, filter.range, direction, after, limit).await
        }
    }

    async fn by_requests(
        &self,
        plan: &Plan,
        range: TimeRange,
        direction: Direction,
        after: Option<&str>,
        limit: usize,
    ) -> Result<CallPage> {
        if !plan.answers.is_empty() {
            return self.by_requests_with_answers(plan, range, direction, after, limit).await;
        }
        let walked = plan.walk.go::<ProviderRequestLog>(&self.db, range, direction, after, limit + 1, plan.looks_at());
        let Walked { found, ended_at } = walked.await?;
        let (page, more) = cut(found, limit);
        let next = next_place(page.last().map(|request| &*request.id), more, ended_at);
        let partial = !more && next.is_some();
        Ok(CallPage { calls: self.with_answers(page).await?, next, partial })
    }

    /// In stages: what most calls have fills a page soon, and only what few have is looked for further.
    async fn by_requests_with_answers(
        &self,
        plan: &Plan,
        range: TimeRange,
        direction: Direction,
        after: Option<&str>,
        limit: usize,
    ) -> Result<CallPage> {
        let mut matching = Vec::new();
        let mut place = after.map(str::to_owned);
        for stage in JOINED {
            let walked = plan.walk.names(&self.db, range, direction, place.as_deref(), stage);
            let Walked { found, ended_at } = walked.await?;
            matching.extend(self.answered_so(found, &plan.answers).await?);
            place = ended_at;
            if matching.len() > limit || place.is_none() {
                break;
            }
        }
        let (page, more) = cut(matching, limit);
        let next = next_place(page.last().map(String::as_str), more, place);
        let partial = !more && next.is_some();
        let requests = self.db.collection::<ProviderRequestLog>(REQUEST_LOGS);
        let found = requests.find(doc! { "_id": { "$in": &page } }).sort(doc! { "_id": direction.sign() });
        let requests = found.hint(Hint::Keys(doc! { "_id": 1 })).await?.try_collect().await?;
        Ok(CallPage { calls: self.with_answers(requests).await?, next, partial })
    }

    /// Ids of those of `requests` that have an answer like `conditions`.
    async fn answered_so(&self, requests: Vec<String>, conditions: &Document) -> Result<Vec<String>> {
        let mut query = doc! { "requestRefId": { "$in": &requests } };
        query.extend(conditions.clone());
        let answers = self.db.collection::<Document>(RESPONSE_LOGS);
        let found =
            answers.find(query).hint(Hint::Name("request".into())).projection(doc! { "_id": 0, "requestRefId": 1 });
        let found: Vec<Document> = found.await?.try_collect().await?;
        let matching: HashSet<&str> = found.iter().filter_map(|answer| answer.get_str("requestRefId").ok()).collect();
        Ok(requests.into_iter().filter(|id| matching.contains(&**id)).collect())
    }

    async fn by_answers(
        &self,
        plan: &Plan,
        range: TimeRange,
        direction: Direction,
        after: Option<&str>,
        limit: usize,
    ) -> Result<CallPage> {
        let walked = plan.walk.go::<ProviderResponseLog>(&self.db, range, direction, after, limit + 1, plan.looks_at());
        let Walked { found, ended_at } = walked.await?;
        let (page, more) = cut(found, limit);
        let next = next_place(page.last().map(|answer| &*answer.id), more, ended_at);
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
