//! Finding audit events.

use mongodb::{Database, error::Result};

use super::{
    event::{AuditEvent, AuditOutcome},
    search::LOOKED_AT_MAX,
    store::AUDIT_EVENTS,
    walk::{Direction, TimeRange, Walk, Walked, cut, given, next_place},
};

/// Which audit events are asked for; all that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilter {
    /// Done to, or read of, this.
    pub resource_id: Option<String>,
    /// Done in the request with this id.
    pub request_id: Option<String>,
    /// Done by this user, worker, provider or command.
    pub actor_id: Option<String>,
    /// Concerning what is this user's.
    pub user_id: Option<String>,
    /// This action.
    pub action: Option<String>,
    /// With this outcome.
    pub outcome: Option<AuditOutcome>,
    /// Within this time.
    pub range: TimeRange,
}

/// A page of audit events.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// Events that match.
    pub events: Vec<AuditEvent>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
    /// It ended before it was full, because it had looked at enough.
    pub partial: bool,
}

impl EventFilter {
    /// Whether few events share one of the keys, so that no range of time is needed.
    #[must_use]
    pub const fn is_selective(&self) -> bool {
        self.resource_id.is_some() || self.request_id.is_some() || self.actor_id.is_some() || self.user_id.is_some()
    }

    fn walk(&self) -> Walk {
        let fields = [
            ("resourceId", "resource", self.resource_id.as_deref()),
            ("actor.requestId", "request", self.request_id.as_deref()),
            ("actor.id", "actor", self.actor_id.as_deref()),
            ("userId", "owner", self.user_id.as_deref()),
        ];
        let lead = fields.iter().find(|(.., value)| value.is_some());
        let (field, index) = lead.map_or(("", "_id_"), |(field, index, _)| (*field, *index));
        let split =
            |leads: bool| given(&fields.map(|(name, _, value)| (name, value.filter(|_| (name == field) == leads))));
        let mut rest = split(false);
        rest.extend(given(&[("action", self.action.as_deref()), ("outcome", self.outcome.map(AuditOutcome::as_str))]));
        Walk { collection: AUDIT_EVENTS, prefix: "aud", index, key: split(true), rest }
    }
}

/// Events that match, at most `limit`, beyond `after`; a filter without a selective key has to be bounded.
///
/// # Errors
/// What the driver says.
pub async fn list_events(
    db: &Database,
    filter: &EventFilter,
    direction: Direction,
    after: Option<&str>,
    limit: usize,
) -> Result<EventPage> {
    let walk = filter.walk();
    let looks_at = (!walk.rest.is_empty()).then_some(LOOKED_AT_MAX);
    let walked = walk.go::<AuditEvent>(db, filter.range, direction, after, limit + 1, looks_at);
    let Walked { found, ended_at } = walked.await?;
    let (events, more) = cut(found, limit);
    let next = next_place(events.last().map(|event| &*event.id), more, ended_at);
    let partial = !more && next.is_some();
    Ok(EventPage { events, next, partial })
}
