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
            query: plain(request.uri().query().unwrap_or_default()),
            address: extensions.get::<ClientAddr>().map(|address| address.0.to_string()),
            request_id: extensions.get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default(),
        }
    }

    /// What it is about: the last part of the path that the route leaves open, else the route.
    fn resource(&self) -> String {
        let parts = self.route.split('/').zip(self.path.split('/'));
        let open = parts.filter(|(part, _)| part.starts_with('{')).map(|(_, part)| part.to_owned()).last();
        open.unwrap_or_else(|| self.route.clone())
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
            after.insert("query", &self.query);
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
    }

    #[test]
    fn nothing_that_could_drive_a_terminal_is_kept() {
        assert_eq!(plain("a\r\nb\u{1b}[31mc"), "ab[31mc");
        assert_eq!(plain(&"x".repeat(10_000)).len(), TEXT_CHARS_MAX);
    }
}
