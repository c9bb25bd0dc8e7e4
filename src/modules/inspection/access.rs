//! Reads, refusals and failed writes: audit events of requests, written beside whatever the request
//! did. What was done is on record in the transaction that did it.
//!
//! Reading by anybody but the owner is on record before anything is shown: where that can't be written down, nothing is
//! shown. Requests that were turned away are on record too, as many as a flood of them leaves room for.

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bson::{Document, doc};

use crate::{
    modules::audit::{AuditEvent, AuditOutcome, AuditStore, Refusals, Sender},
    platform::{
        clock::Clock,
        error::AppError,
        http::{ClientAddr, RequestId},
        identity::{About, Actor, Caller, CurrentUser, SeenUser},
        scrub::{hidden, is_ours, is_plain},
    },
};

/// Paths of others' data. Reading an application records itself, with its owner; jobs hold ids only, and boards that
/// look at queues every few seconds would bury the rest.
const OTHERS_DATA: [&str; 8] = [
    "/audit",
    "/finance",
    "/products/{productId}/movements",
    "/search",
    "/tenants",
    "/users",
    "/webhook-deliveries",
    "/webhook-events",
];
/// Longest text that is kept of a request.
const TEXT_CHARS_MAX: usize = 300;

/// Records accesses.
#[derive(Clone, Debug)]
pub struct AccessLog {
    store: AuditStore,
    refusals: Refusals,
    clock: Clock,
}

/// A request, as far as its record tells of it.
struct Asked {
    method: Method,
    route: String,
    path: String,
    query: String,
    caller: Caller,
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
            caller: Caller {
                address: extensions.get::<ClientAddr>().map(|address| address.0),
                request_id: extensions.get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default(),
            },
        }
    }

    /// The resource: the last part of the path that the route leaves open, else the route. What is neither an id nor a
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

    fn reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Whether `user` has to be on record with it. Who may read what is others', and what became of it; and what staff tried
    /// to change in vain: what they changed records itself.
    fn concerns(&self, user: &CurrentUser, status: Option<StatusCode>) -> bool {
        let in_vain = status.is_none_or(|status| status.is_client_error() || status.is_server_error());
        let others = OTHERS_DATA.iter().any(|prefix| self.route.starts_with(prefix));
        user.role.is_staff() && if self.reads() { others && status.is_some() } else { in_vain }
    }

    fn event(
        &self,
        user: Option<&CurrentUser>,
        verb: &str,
        outcome: AuditOutcome,
        status: Option<StatusCode>,
        clock: &Clock,
    ) -> AuditEvent {
        let status = status.map(|status| i32::from(status.as_u16()));
        let mut after: Document = doc! { "method": self.method.as_str(), "route": &self.route, "status": status };
        if !self.query.is_empty() {
            after.insert("query", self.shown_query(outcome));
        }
        let actor = user.map_or_else(|| self.caller.anonymous(), Actor::from);
        AuditEvent::new(outcome, actor, format!("request.{verb}"), ("route", &self.resource()), clock.now())
            .after(after)
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
    /// A log that writes through `store`, and what was refused where there is room.
    #[must_use]
    pub const fn new(store: AuditStore, refusals: Refusals, clock: Clock) -> Self {
        Self { store, refusals, clock }
    }

    /// Writes down who was given others' data; an answer that can't be written down is not given. And what was tried in vain.
    async fn note(&self, asked: &Asked, user: &CurrentUser, response: Response) -> Response {
        let status = response.status();
        if !asked.concerns(user, Some(status)) {
            return response;
        }
        if !asked.reads() {
            self.note_failed(asked, user, Some(status)).await;
            return response;
        }
        let outcome = if status.is_success() { AuditOutcome::Done } else { AuditOutcome::Failed };
        let mut event = asked.event(Some(user), "read", outcome, Some(status), &self.clock);
        if let Some(about) = response.extensions().get::<About>() {
            event.user_id = about.user_id().map(str::to_owned);
            if let (Some(after), Some(order_id)) = (&mut event.after, about.order_id()) {
                after.insert("orderId", order_id);
            }
        }
        match self.store.record(&event).await {
            Ok(()) => response,
            Err(error) => AppError::from(error).into_response(),
        }
    }

    /// Writes down that something was tried in vain, or (no status) that nobody waited for what became of it. In a task of its
    /// own, because the request's time may be up.
    fn note_failed(
        &self,
        asked: &Asked,
        user: &CurrentUser,
        status: Option<StatusCode>,
    ) -> impl Future<Output = ()> + use<> {
        let event = asked.event(Some(user), "made", AuditOutcome::Failed, status, &self.clock);
        let store = self.store.clone();
        let writing = tokio::spawn(async move {
            if let Err(error) = store.record(&event).await {
                let request_id = event.actor.request_id.as_deref();
                tracing::error!(%error, request.id = request_id, "what was tried in vain could not be written down");
            }
        });
        async move { drop(writing.await) }
    }

    /// Writes down that somebody was turned away, while there is room.
    fn note_denied(&self, asked: &Asked, user: Option<&CurrentUser>, status: StatusCode) {
        let sender = user.map_or(Sender::Stranger, |user| Sender::user(&user.user_id, user.role));
        self.refusals.note(sender, asked.event(user, "denied", AuditOutcome::Denied, Some(status), &self.clock));
    }
}

/// A request that is being answered. Dropped before it is, because its time is up or a handler panics, it leaves a record of
/// what was asked for: what came of it, if anything, is in the records of what did it.
struct Answering {
    log: AccessLog,
    asked: Asked,
    seen: SeenUser,
    answered: bool,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let given_up = self.seen.get().filter(|user| !self.answered && self.asked.concerns(user, None));
        // No runtime is left where the process ends.
        if let (Some(user), Ok(_)) = (given_up, tokio::runtime::Handle::try_current()) {
            drop(self.log.note_failed(&self.asked, user, None));
        }
    }
}

/// The layer.
pub async fn record_access(State(log): State<AccessLog>, mut request: Request, next: Next) -> Response {
    let seen = SeenUser::default();
    request.extensions_mut().insert(seen.clone());
    let mut answering = Answering { log, asked: Asked::of(&request), seen, answered: false };
    let response = next.run(request).await;
    answering.answered = true;
    let Answering { log, asked, seen, .. } = &answering;
    match (response.status(), seen.get()) {
        // Wrong passwords have limits and records of their own, and no user yet.
        (StatusCode::UNAUTHORIZED, user) if !asked.route.starts_with("/auth") => {
            log.note_denied(asked, user, response.status());
        }
        (StatusCode::FORBIDDEN, user) => log.note_denied(asked, user, response.status()),
        (_, Some(user)) => return log.note(asked, user, response).await,
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::identity::Role;

    fn asked(method: Method, route: &str, path: &str, query: &str) -> Asked {
        let (route, path, query) = (route.to_owned(), path.to_owned(), query.to_owned());
        Asked { method, route, path, query, caller: Caller::default() }
    }

    #[test]
    fn staff_are_on_record_with_what_is_others_and_with_what_failed() {
        let user = |role| CurrentUser {
            user_id: "usr_1".into(),
            role,
            access_version: 0,
            tenant_id: None,
            key_id: None,
            address: None,
            request_id: "r".into(),
        };
        let [ok, bad, broken] = [StatusCode::OK, StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE].map(Some);
        for (method, route, status, concerns) in [
            (Method::GET, "/audit/events", ok, true),
            (Method::GET, "/audit/events", bad, true),
            (Method::HEAD, "/finance/ledger", ok, true),
            (Method::GET, "/audit/events", None, false),
            (Method::GET, "/queues", bad, false),
            (Method::POST, "/queues/{queue}/pause", ok, false),
            (Method::POST, "/queues/{queue}/pause", bad, true),
            (Method::POST, "/finance/transactions", broken, true),
            (Method::DELETE, "/audit/legal-holds/{holdId}", bad, true),
            (Method::POST, "/kyc/applications/{userId}/decision", None, true),
        ] {
            let asked = asked(method, route, route, "");
            assert_eq!(asked.concerns(&user(Role::Admin), status), concerns, "{route} {status:?}");
            for role in [Role::Merchant, Role::Customer] {
                assert!(!asked.concerns(&user(role), status), "{route}: their own");
            }
        }
    }

    #[test]
    fn a_request_is_about_the_last_open_part_of_its_path() {
        let asked = |route: &str, path: &str| asked(Method::GET, route, path, "");
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
        let shown = |query: &str, outcome| asked(Method::GET, "", "", query).shown_query(outcome);
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
