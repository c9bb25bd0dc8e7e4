//! Who looked, and who was turned away: audit events of requests, written beside whatever the request did.
//!
//! What somebody other than its owner reads is on record before it is shown: where that can't be written down, nothing is
//! shown. Requests that were turned away are on record too, as many as a flood of them leaves room for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use bson::{Document, doc};

use crate::{
    modules::audit::{AuditEvent, AuditOutcome, AuditStore},
    platform::{
        clock::Clock,
        error::AppError,
        http::{ClientAddr, RequestId},
        identity::{Actor, CurrentUser, Role, SeenUser},
        ids::new_id,
        scrub::{hidden, is_ours, is_plain},
    },
};

/// What others' data is under. Reading an application records itself, with its owner; jobs hold ids only, and boards that
/// look at queues every few seconds would bury the rest.
const OTHERS_DATA: [&str; 2] = ["/audit", "/finance"];
/// Routes whose writes leave no record of their own.
const UNRECORDED_WRITES: [&str; 1] = ["/queues"];
/// Refusals that one process records, a second; more of them are counted.
const DENIED_PER_SECOND: f64 = 10.0;
const DENIED_BURST: f64 = 100.0;
/// Longest text that is kept of a request.
const TEXT_CHARS_MAX: usize = 300;

/// Records accesses.
#[derive(Clone, Debug)]
pub struct AccessLog {
    store: AuditStore,
    clock: Clock,
    denied: Arc<Mutex<Room>>,
}

/// How many refusals may still be recorded.
#[derive(Debug)]
struct Room {
    left: f64,
    since: Instant,
    suppressed: u64,
}

impl Room {
    /// Takes one place; gives how many were left out since the last one.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.left = (self.left + passed * DENIED_PER_SECOND).min(DENIED_BURST);
        self.since = now;
        if self.left < 1.0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1.0;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// A request, as far as its record tells of it.
struct Asked {
    method: Method,
    route: String,
    path: String,
    query: String,
    address: Option<String>,
    request_id: String,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let extensions = request.extensions();
        let route = extensions.get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
        Self {
            method: request.method().clone(),
            route: route.to_owned(),
            path: plain(request.uri().path()),
            query: request.uri().query().unwrap_or_default().to_owned(),
            address: extensions.get::<ClientAddr>().map(|address| address.0.to_string()),
            request_id: extensions.get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default(),
        }
    }

    /// What it is about: the last part of the path that the route leaves open, else the route. What is neither an id nor a
    /// name of ours may be anything, and only its length is kept.
    fn resource(&self) -> String {
        let parts = self.route.split('/').zip(self.path.split('/'));
        let open = parts.filter(|(part, _)| part.starts_with('{')).map(|(_, part)| part).last();
        open.map_or_else(|| self.route.clone(), |part| if is_ours(part) { part.to_owned() } else { hidden(part) })
    }

    /// The query. Of a request that was not understood, or whose sender is not known, names of parameters only; of any, no
    /// value that may be a secret: people paste what they have.
    fn shown_query(&self, outcome: AuditOutcome) -> String {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = if is_parameter(name) { name.to_owned() } else { hidden(name) };
            let shown = outcome == AuditOutcome::Done && is_plain_value(value);
            format!("{name}={}", if shown { value.to_owned() } else { hidden(value) })
        });
        pairs.collect::<Vec<_>>().join("&").chars().take(TEXT_CHARS_MAX).collect()
    }

    fn is_under(&self, prefixes: &[&str]) -> bool {
        prefixes.iter().any(|prefix| self.route.starts_with(prefix))
    }

    fn actor(&self, user: Option<&CurrentUser>) -> Actor {
        user.map_or_else(
            || Actor {
                kind: "anonymous".into(),
                id: String::new(),
                role: None,
                address: self.address.clone(),
                request_id: Some(self.request_id.clone()),
            },
            Actor::from,
        )
    }

    fn event(
        &self,
        user: Option<&CurrentUser>,
        verb: &str,
        outcome: AuditOutcome,
        status: u16,
        clock: &Clock,
    ) -> AuditEvent {
        let mut after: Document =
            doc! { "method": self.method.as_str(), "route": &self.route, "status": i32::from(status) };
        if !self.query.is_empty() {
            after.insert("query", self.shown_query(outcome));
        }
        AuditEvent {
            id: new_id("aud"),
            actor: self.actor(user),
            action: format!("request.{verb}"),
            resource_type: "route".into(),
            resource_id: self.resource(),
            user_id: None,
            outcome,
            reason: None,
            before: None,
            after: Some(after),
            at: clock.now(),
        }
    }
}

/// Letters: every parameter of ours is.
fn is_parameter(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Whether a value can be shown as it was sent.
fn is_plain_value(value: &str) -> bool {
    form_urlencoded::parse(value.as_bytes()).next().is_none_or(|(decoded, _)| is_plain(&decoded))
}

/// Printable, and not too long: it came from outside.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

impl AccessLog {
    /// A log that writes through `store`.
    #[must_use]
    pub fn new(store: AuditStore, clock: Clock) -> Self {
        let room = Room { left: DENIED_BURST, since: Instant::now(), suppressed: 0 };
        Self { store, clock, denied: Arc::new(Mutex::new(room)) }
    }

    /// Writes down what others' data was read or changed; an answer that can't be written down is not given.
    async fn note(&self, asked: &Asked, user: &CurrentUser, response: Response) -> Response {
        let status = response.status();
        let reads = matches!(asked.method, Method::GET | Method::HEAD);
        let concerned = asked.is_under(if reads { &OTHERS_DATA } else { &UNRECORDED_WRITES });
        if user.role == Role::Merchant || !concerned {
            return response;
        }
        let outcome = if status.is_success() { AuditOutcome::Done } else { AuditOutcome::Failed };
        let event = asked.event(Some(user), if reads { "read" } else { "made" }, outcome, status.as_u16(), &self.clock);
        match self.store.record_read(&event).await {
            Ok(()) => response,
            Err(error) if reads => AppError::from(error).into_response(),
            Err(error) => {
                tracing::error!(%error, request.id = asked.request_id, "what was done could not be written down");
                response
            }
        }
    }

    /// Writes down that somebody was turned away, while there is room; never in the way of the answer.
    fn note_denied(&self, asked: &Asked, user: Option<&CurrentUser>, status: u16) {
        let room = self.denied.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        let Some(suppressed) = room else {
            metrics::counter!("waybill_audit_denied_suppressed_total").increment(1);
            return;
        };
        let mut event = asked.event(user, "denied", AuditOutcome::Denied, status, &self.clock);
        if let (Some(after), 1..) = (&mut event.after, suppressed) {
            after.insert("suppressedBefore", suppressed as i64);
        }
        let store = self.store.clone();
        tokio::spawn(async move {
            let writing = tokio::time::timeout(Duration::from_secs(10), store.record_read(&event));
            if !matches!(writing.await, Ok(Ok(()))) {
                tracing::warn!(action = event.action, "a refusal could not be written down");
            }
        });
    }
}

/// The layer.
pub async fn record_access(State(log): State<AccessLog>, mut request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    let seen = SeenUser::default();
    request.extensions_mut().insert(seen.clone());
    let response = next.run(request).await;
    match (response.status().as_u16(), seen.get()) {
        // Wrong passwords have limits and counts of their own, and no user yet.
        (401, user) if !asked.route.starts_with("/auth") => log.note_denied(&asked, user, 401),
        (403, user) => log.note_denied(&asked, user, 403),
        (_, Some(user)) => return log.note(&asked, user, response).await,
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_recorded() {
        let start = Instant::now();
        let mut room = Room { left: DENIED_BURST, since: start, suppressed: 0 };
        let recorded = (0..500).filter(|_| room.take(start).is_some()).count();
        assert_eq!(recorded, 100);
        assert_eq!(
            room.take(start + Duration::from_millis(150)),
            Some(400),
            "the next one says how many it stands for"
        );
        assert_eq!(room.take(start + Duration::from_millis(150)), None);
    }

    #[test]
    fn a_request_is_about_the_last_open_part_of_its_path() {
        let asked = |route: &str, path: &str| {
            let (route, path) = (route.to_owned(), path.to_owned());
            Asked { method: Method::GET, route, path, query: String::new(), address: None, request_id: String::new() }
        };
        assert_eq!(asked("/finance/wallets/{userId}", "/finance/wallets/usr_1").resource(), "usr_1");
        assert_eq!(asked("/queues/jobs/{jobId}/retry", "/queues/jobs/job_1/retry").resource(), "job_1");
        assert_eq!(asked("/audit/events", "/audit/events").resource(), "/audit/events");
        for secret in ["999941057058", "ABCPR1234F", "eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "hunter2", "a%20b", ""] {
            let resource = asked("/kyc/documents/{documentId}", &format!("/kyc/documents/{secret}")).resource();
            assert_eq!(resource, format!("[{}]", secret.len()));
        }
    }

    #[test]
    fn a_query_is_shown_without_what_may_be_a_secret() {
        let shown = |query: &str, outcome| {
            let (route, path, query) = (String::new(), String::new(), query.to_owned());
            let asked = Asked { method: Method::GET, route, path, query, address: None, request_id: String::new() };
            asked.shown_query(outcome)
        };
        for query in [
            "userId=usr_0198f0c2b1e07c3e8a41b5d0f3a2c4e6&limit=20&order=oldest",
            "clientOrderId=c-1001&httpStatus=500&accountId=parcelx/default",
            "from=2026-01-01T00:00:00Z&to=2026-01-02T00%3A00%3A00.000Z",
            "requestId=7d444840-9dc0-11d1-b245-5ffdce74fad2&action=%3Cscript%3E",
        ] {
            assert_eq!(shown(query, AuditOutcome::Done), query);
        }
        for (query, kept) in [
            ("awb=999941057058&userId=ABCPR1234F", "awb=[12]&userId=[10]"),
            ("userId=9999+4105+7058", "userId=[14]"),
            ("requestId=Kq7xB2mZ9wLp4RtVb8NyQa", "requestId=[22]"),
            ("userId=9999%204105%207058", "userId=[18]"),
            ("actorId=%1b[31mred%0d%0aX", "actorId=[17]"),
            ("999941057058=x&hunter2", "[12]=x&[7]="),
            ("", ""),
        ] {
            assert_eq!(shown(query, AuditOutcome::Done), kept);
        }
        assert_eq!(shown("password=hunter&limit=5", AuditOutcome::Denied), "password=[6]&limit=[1]");
        assert_eq!(shown("password=hunter&limit=5", AuditOutcome::Failed), "password=[6]&limit=[1]");
    }

    #[test]
    fn nothing_that_could_drive_a_terminal_is_kept() {
        assert_eq!(plain("a\r\nb\u{1b}[31mc"), "ab[31mc");
        assert_eq!(plain(&"x".repeat(10_000)).len(), TEXT_CHARS_MAX);
    }
}
