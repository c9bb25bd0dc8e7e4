//! Search over provider calls.
//!
//! A page looks at 4,000 records at most where no index narrows the filter down: it may have fewer calls than asked for, or none, and a
//! cursor to go on from.

use std::collections::{HashMap, HashSet};

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};

use super::{
    model::{ErrorClass, ProviderRequestLog, ProviderResponseLog, REQUEST_LOGS, RESPONSE_LOGS},
    query::{QueryAnswer, first_met, walk},
};
use crate::platform::{
    mongo::READ_TIME_MAX,
    walk::{Direction, Paged, TimeRange, Walk, Walked, given, next_place, paged},
};

/// Records that one page looks at where no index narrows them down.
const LOOKED_AT_MAX: usize = 4_000;
/// The same where each has its answers looked up too, in stages: 1,000 in all.
const JOINED: [usize; 3] = [100, 300, 600];
/// How often a page goes on where answers were to calls that it does not show again.
const ROUNDS: usize = 4;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallFilter {
    pub order_id: Option<String>,
    pub user_id: Option<String>,
    /// About what its owner calls so.
    pub client_order_id: Option<String>,
    /// Following from this request.
    pub correlation_id: Option<String>,
    pub awb: Option<String>,
    pub provider: Option<String>,
    pub operation: Option<String>,
    pub account_id: Option<String>,
    pub outcome: Option<String>,
    pub error_class: Option<ErrorClass>,
    pub http_status: Option<i32>,
    pub range: TimeRange,
}

/// A call with its answers: none yet, one, or more where an answer came late.
#[derive(Clone, Debug)]
pub struct CallWithAnswers {
    pub request: ProviderRequestLog,
    /// Its answers, oldest first.
    pub responses: Vec<ProviderResponseLog>,
}

#[derive(Clone, Debug)]
pub struct ListedCall {
    /// The request; none where it was purged before its answer. There are answers then.
    pub request: Option<ProviderRequestLog>,
    /// Its answers, oldest first.
    pub responses: Vec<ProviderResponseLog>,
}

impl ListedCall {
    /// The order, where it was about one, and its user.
    #[must_use]
    pub fn concerns(&self) -> Option<(Option<&str>, Option<&str>)> {
        let of_request = self.request.as_ref().map(|request| (request.order_id.as_deref(), &*request.user_id));
        let of_answer = || self.responses.first().map(|answer| (answer.order_id.as_deref(), &*answer.user_id));
        of_request.or_else(of_answer).map(|(order_id, user_id)| (order_id, Some(user_id)))
    }
}

/// A page of calls.
#[derive(Clone, Debug)]
pub struct CallPage {
    /// Calls that match, each once in the whole list.
    pub calls: Vec<ListedCall>,
    pub next: Option<String>,
    /// It ended before it was full, because it had looked at enough.
    pub partial: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Plan {
    walk: Walk,
    /// Conditions on answers, where it leads through requests.
    answers: Document,
}

/// The part of the list that is wanted.
#[derive(Clone, Copy)]
struct ListPage<'a> {
    range: TimeRange,
    direction: Direction,
    after: Option<&'a str>,
    limit: usize,
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

    /// With the range of time that all pages stay within: a day without a selective key. An answer that comes while somebody
    /// pages from the newest counts for no page: the call would be missing where an older answer to it stands.
    #[must_use]
    pub fn bounded(mut self, direction: Direction, now: DateTime) -> Self {
        if !self.is_selective() {
            self.range = self.range.a_day(direction, now);
        } else if self.awb.is_some() && direction == Direction::Newest {
            self.range.to.get_or_insert(DateTime::from_millis(now.timestamp_millis() + 1));
        }
        self
    }

    fn plan(&self) -> Plan {
        let mut call = given(&[
            ("orderId", self.order_id.as_deref()),
            ("userId", self.user_id.as_deref()),
            ("clientOrderId", self.client_order_id.as_deref()),
            ("correlationId", self.correlation_id.as_deref()),
            ("provider", self.provider.as_deref()),
            ("operation", self.operation.as_deref()),
            ("accountId", self.account_id.as_deref()),
        ]);
        let mut answers =
            given(&[("outcome", self.outcome.as_deref()), ("errorClass", self.error_class.map(ErrorClass::as_str))]);
        answers.extend(self.http_status.map(|status| ("httpStatus".to_owned(), Bson::from(status))));
        if self.awb.is_some() || (!self.is_selective() && !answers.is_empty()) {
            call.extend(answers);
            call.extend(given(&[("awb", self.awb.as_deref())]));
            return Plan { walk: walk(RESPONSE_LOGS, call), answers: Document::new() };
        }
        Plan { walk: walk(REQUEST_LOGS, call), answers }
    }
}

impl Plan {
    /// How many records a page may look at; none where each of them matches.
    fn looks_at(&self) -> Option<usize> {
        (self.answers.is_empty() && !self.walk.rest.is_empty()).then_some(LOOKED_AT_MAX)
    }
}

#[derive(Clone, Debug)]
pub struct CallSearch {
    db: Database,
}

impl CallSearch {
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    pub async fn find(&self, request_ref_id: &str) -> Result<Option<CallWithAnswers>> {
        let requests = self.db.collection::<ProviderRequestLog>(REQUEST_LOGS);
        let Some(request) = requests.find_one(doc! { "_id": request_ref_id }).max_time(READ_TIME_MAX).await? else {
            return Ok(None);
        };
        let responses = self.answers_to(&[request_ref_id], Document::new()).await?.remove(request_ref_id);
        Ok(Some(CallWithAnswers { request, responses: responses.unwrap_or_default() }))
    }

    /// The latest calls about an order with their answers, oldest first, and whether there are older ones.
    pub async fn calls_of_order(&self, order_id: &str, limit: usize) -> Result<(Vec<CallWithAnswers>, bool)> {
        let requests = self.db.collection::<ProviderRequestLog>(REQUEST_LOGS);
        let requests = requests
            .find(doc! { "orderId": order_id })
            .sort(doc! { "_id": -1 })
            .limit(limit as i64 + 1)
            .max_time(READ_TIME_MAX);
        let mut requests: Vec<ProviderRequestLog> = requests.await?.try_collect().await?;
        let more = requests.len() > limit;
        requests.truncate(limit);
        let ids: Vec<&str> = requests.iter().map(|request| &*request.id).collect();
        let mut answers = self.answers_to(&ids, Document::new()).await?;
        let exchanges = requests.into_iter().rev().map(|request| {
            let responses = answers.remove(&request.id).unwrap_or_default();
            CallWithAnswers { request, responses }
        });
        Ok((exchanges.collect(), more))
    }

    pub async fn find_response(&self, response_ref_id: &str) -> Result<Option<ProviderResponseLog>> {
        self.db.collection(RESPONSE_LOGS).find_one(doc! { "_id": response_ref_id }).max_time(READ_TIME_MAX).await
    }

    /// Calls that match, at most `limit`, beyond `after`; a filter without a selective key has to be bounded. They are in
    /// the order of their requests, and in the range by these; by answers where these lead to them: an AWB is given, or
    /// how they were answered without a selective key. A call is then where its first matching answer in this direction is.
    pub async fn list(
        &self,
        filter: &CallFilter,
        direction: Direction,
        after: Option<&str>,
        limit: usize,
    ) -> Result<CallPage> {
        let plan = filter.plan();
        let wanted = ListPage { range: filter.range, direction, after, limit };
        if plan.walk.collection == RESPONSE_LOGS {
            self.by_answers(&plan, wanted).await
        } else if plan.answers.is_empty() {
            self.by_requests(&plan, wanted).await
        } else {
            self.by_requests_with_answers(&plan, wanted).await
        }
    }

    async fn by_requests(&self, plan: &Plan, wanted: ListPage<'_>) -> Result<CallPage> {
        let ListPage { range, direction, after, limit } = wanted;
        let walked = plan.walk.go::<ProviderRequestLog>(&self.db, range, direction, after, limit + 1, plan.looks_at());
        let Walked { found, ended_at } = walked.await?;
        let Paged { shown, next, partial } = paged(found, limit, ended_at, |request| &request.id);
        let ids: Vec<&str> = shown.iter().map(|request| &*request.id).collect();
        let mut answers = self.answers_to(&ids, without_bodies()).await?;
        let with_answers = |request: ProviderRequestLog| {
            let responses = answers.remove(&request.id).unwrap_or_default();
            ListedCall { request: Some(request), responses }
        };
        Ok(CallPage { calls: shown.into_iter().map(with_answers).collect(), next, partial })
    }

    /// In stages: what most calls have fills a page soon, and only what few have is looked for further.
    async fn by_requests_with_answers(&self, plan: &Plan, wanted: ListPage<'_>) -> Result<CallPage> {
        let ListPage { range, direction, after, limit } = wanted;
        let mut matching = Vec::new();
        let mut place = after.map(str::to_owned);
        for stage in JOINED {
            let walked = plan.walk.names(&self.db, range, direction, place.as_deref(), stage);
            let Walked { found, ended_at } = walked.await?;
            matching.extend(self.with_answers_like(found, &plan.answers).await?);
            place = ended_at;
            if matching.len() > limit || place.is_none() {
                break;
            }
        }
        let Paged { shown, next, partial } = paged(matching, limit, place, |id| id);
        let calls = self.listed(shown.iter().map(|id| &**id).collect()).await?;
        Ok(CallPage { calls, next, partial })
    }

    /// Ids of those of `requests` that have an answer like `conditions`.
    async fn with_answers_like(&self, requests: Vec<String>, conditions: &Document) -> Result<Vec<String>> {
        let mut query = doc! { "requestRefId": { "$in": &requests } };
        query.extend(conditions.clone());
        let answers = self.db.collection::<Document>(RESPONSE_LOGS);
        let found = answers
            .find(query)
            .hint(Hint::Name("request".into()))
            .projection(doc! { "_id": 0, "requestRefId": 1 })
            .max_time(READ_TIME_MAX);
        let found: Vec<Document> = found.await?.try_collect().await?;
        let matching: HashSet<&str> = found.iter().filter_map(|answer| answer.get_str("requestRefId").ok()).collect();
        Ok(requests.into_iter().filter(|id| matching.contains(&**id)).collect())
    }

    async fn by_answers(&self, plan: &Plan, wanted: ListPage<'_>) -> Result<CallPage> {
        let ListPage { range, direction, after, limit } = wanted;
        let mut matching = Vec::new();
        let mut place = after.map(str::to_owned);
        for _ in 0..ROUNDS {
            let walked =
                plan.walk.go::<QueryAnswer>(&self.db, range, direction, place.as_deref(), limit + 1, plan.looks_at());
            let Walked { found, ended_at } = walked.await?;
            let looked_enough = ended_at.is_some();
            place = next_place(found.last().map(|answer| &*answer.id), found.len() > limit, ended_at);
            matching.extend(first_met(&self.db, &plan.walk, range, direction, found).await?);
            if matching.len() > limit || place.is_none() || looked_enough {
                break;
            }
        }
        let Paged { shown, next, partial } = paged(matching, limit, place, |answer| &answer.id);
        let calls = self.listed(shown.iter().map(|answer| &*answer.request_ref_id).collect()).await?;
        Ok(CallPage { calls, next, partial })
    }

    /// These calls in this order, without headers and bodies.
    async fn listed(&self, ids: Vec<&str>) -> Result<Vec<ListedCall>> {
        let requests = self.db.collection::<ProviderRequestLog>(REQUEST_LOGS);
        let found =
            requests.find(doc! { "_id": { "$in": &ids } }).hint(Hint::Keys(doc! { "_id": 1 })).max_time(READ_TIME_MAX);
        let found: Vec<ProviderRequestLog> = found.projection(without_bodies()).await?.try_collect().await?;
        let mut requests: HashMap<String, ProviderRequestLog> =
            found.into_iter().map(|request| (request.id.clone(), request)).collect();
        let mut answers = self.answers_to(&ids, without_bodies()).await?;
        let call =
            |id: &str| ListedCall { request: requests.remove(id), responses: answers.remove(id).unwrap_or_default() };
        // What was purged meanwhile, request and answers, is not there.
        let is_there = |call: &ListedCall| call.request.is_some() || !call.responses.is_empty();
        Ok(ids.into_iter().map(call).filter(is_there).collect())
    }

    async fn answers_to(
        &self,
        requests: &[&str],
        projection: Document,
    ) -> Result<HashMap<String, Vec<ProviderResponseLog>>> {
        let answers = self.db.collection::<ProviderResponseLog>(RESPONSE_LOGS);
        let found = answers
            .find(doc! { "requestRefId": { "$in": requests } })
            .hint(Hint::Name("request".into()))
            .max_time(READ_TIME_MAX);
        let mut found: Vec<ProviderResponseLog> = found.projection(projection).await?.try_collect().await?;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let mut by_request: HashMap<String, Vec<ProviderResponseLog>> = HashMap::new();
        for answer in found {
            by_request.entry(answer.request_ref_id.clone()).or_default().push(answer);
        }
        Ok(by_request)
    }
}

/// Fields that lists don't show.
fn without_bodies() -> Document {
    doc! { "headers": 0, "body": 0 }
}
