//! Follows a user's events at `/webhook-events`, for `webhooks listen` and `api events tail`.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use serde_json::{Map, Value};
use waybill_client::{Failure, Method, Waybill};

use crate::platform::clock::Rfc3339Time;

/// How often the API is asked.
const EVERY: Duration = Duration::from_secs(1);
/// An API that is away is asked again after this long.
const AGAIN: Duration = Duration::from_secs(2);
/// An event may come to light so long after younger ones: so far back is looked each time.
const LOOK_BACK: Duration = Duration::from_secs(30);
/// Events that are known to have been given on: more than happen within that time.
const SEEN_MAX: usize = 20_000;
/// Pages of one look; the next one goes on.
const PAGES_MAX: usize = 100;

/// Why a look brought nothing.
pub(super) enum PollError {
    /// The API can't be reached, or asks to be left alone.
    Away(String),
    /// The token is not good any more.
    SignedOut(Failure),
    /// Asking again makes no sense.
    Refused(Failure),
}

impl PollError {
    pub(super) fn said(self) -> String {
        match self {
            Self::Away(reason) => format!("the API can't be reached ({reason})"),
            Self::SignedOut(failure) | Self::Refused(failure) => failure.to_string(),
        }
    }
}

impl From<Failure> for PollError {
    fn from(failure: Failure) -> Self {
        match &failure {
            Failure::Problem(problem) if problem.status == 401 => Self::SignedOut(failure),
            Failure::Problem(problem) if failure.may_pass() => Self::Away(format!("it answers {}", problem.status)),
            Failure::NoAnswer { reason, .. } => Self::Away(reason.clone()),
            _ => Self::Refused(failure),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventPage {
    items: Vec<PolledEvent>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolledEvent {
    pub(super) event_id: String,
    /// As it is posted.
    #[serde(flatten)]
    pub(super) body: Map<String, Value>,
}

impl PolledEvent {
    pub(super) fn kind(&self) -> &str {
        self.body.get("type").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Ids of events that were given on, the latest so many.
#[derive(Default)]
struct SeenEvents {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl SeenEvents {
    /// Whether it is new.
    fn note(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// How far somebody has followed.
#[derive(Default)]
pub(super) struct Follower {
    seen: SeenEvents,
    types: Vec<String>,
    /// Nothing before is given on; by the API's clock.
    since: Option<SystemTime>,
    /// When a look last came to its end; by the API's clock.
    looked: Option<SystemTime>,
}

impl Follower {
    /// From then on, or from now on; of these types, or of all.
    pub(super) fn new(since: Option<SystemTime>, types: &[String]) -> Self {
        Self { since, types: types.to_vec(), ..Self::default() }
    }

    /// Gives what happens to `take` until it fails, which is when it wants no more. `renew` gives an API as whoever follows it, at
    /// first and when the token is not good any more. What people should know is told to `say`.
    pub(super) async fn follow(
        &mut self,
        mut renew: impl AsyncFnMut(Option<Failure>) -> Result<Waybill, PollError>,
        mut take: impl AsyncFnMut(PolledEvent) -> Result<(), Failure>,
        say: impl Fn(&str),
    ) -> Result<(), Failure> {
        let (mut api, mut was_away, mut signed_out) = (None, false, None);
        loop {
            let looked = match &api {
                None => renew(signed_out.take()).await.map(|renewed| api = Some(renewed)),
                Some(api) => self.look(api, &mut take, &say).await,
            };
            match looked {
                Ok(()) if self.looked.is_none() && self.since.is_none() => {}
                Ok(()) => {
                    if std::mem::take(&mut was_away) {
                        say("the API is back");
                    }
                    tokio::time::sleep(EVERY).await;
                }
                Err(PollError::Away(reason)) => {
                    if !std::mem::replace(&mut was_away, true) {
                        say(&format!("the API can't be reached ({reason}); trying again"));
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Err(PollError::SignedOut(failure)) => {
                    (api, signed_out) = (None, Some(failure));
                    tokio::time::sleep(EVERY).await;
                }
                Err(PollError::Refused(failure)) => return Err(failure),
            }
        }
    }

    /// Gives on what is new, page by page.
    pub(super) async fn look(
        &mut self,
        api: &Waybill,
        take: &mut impl AsyncFnMut(PolledEvent) -> Result<(), Failure>,
        say: &impl Fn(&str),
    ) -> Result<(), PollError> {
        let mut cursor: Option<String> = None;
        // The first look only finds out what time it is there.
        let limit = if self.since.is_some() { "100" } else { "1" };
        for _ in 0..PAGES_MAX {
            let back_to = self.looked.and_then(|looked| looked.checked_sub(LOOK_BACK));
            let from = back_to.max(self.since).unwrap_or_else(SystemTime::now);
            let from = Rfc3339Time(bson::DateTime::from_system_time(from)).to_string();
            let mut call = api.call(Method::GET, "/webhook-events")?.query("limit", limit).query("from", &from);
            if let Some(cursor) = &cursor {
                call = call.query("cursor", cursor);
            }
            let answer = api.send(&call).await?;
            let date = answer.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
            let now = date.unwrap_or_else(SystemTime::now);
            let Some(since) = self.since else {
                self.since = Some(now);
                say("waiting for events");
                return Ok(());
            };
            let page: EventPage = answer.json()?;
            for event in page.items {
                if self.seen.note(&event.event_id) && self.wants(event.kind()) {
                    take(event).await.map_err(PollError::Refused)?;
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                self.looked = Some(now.max(since));
                break;
            }
        }
        Ok(())
    }

    /// Whether a look has come to the end of what there was.
    pub(super) const fn has_caught_up(&self) -> bool {
        self.looked.is_some()
    }

    fn wants(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_on_is_not_given_on_again() {
        let mut seen = SeenEvents::default();
        assert!(seen.note("a") && !seen.note("a") && seen.note("b"));
        assert!((0..SEEN_MAX).all(|n| seen.note(&n.to_string())));
        assert_eq!((seen.ids.len(), seen.order.len()), (SEEN_MAX, SEEN_MAX));
    }
}
