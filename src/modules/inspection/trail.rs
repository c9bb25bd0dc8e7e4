//! The trail: who did what, out of two books. What changed orders, top-ups and applications is written down as events; what
//! else was done, what was read and who was turned away as audit events. A change of an application is in both, under
//! ids that differ in their prefix only, and both are shown, one after the other.

use mongodb::{Database, error::Result};

use crate::{
    modules::{
        audit::{AUDIT_EVENTS, AuditEvent, AuditOutcome},
        events::{EVENTS, Event},
    },
    platform::{
        erased,
        walk::{Direction, Paged, TimeRange, Walk, Walked, given, paged, place_of},
    },
};

/// Records of a book that one page looks at where no index narrows them down, in stages.
const LOOKED_AT: [usize; 3] = [500, 1_000, 2_500];

/// Conditions of a search; all that are set have to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TrailFilter {
    /// Done to, or read of, this.
    pub(super) resource_id: Option<String>,
    /// Done in, or following from, the request with this id.
    pub(super) request_id: Option<String>,
    /// Done by this user, worker, provider or command.
    pub(super) actor_id: Option<String>,
    /// Concerning what is this user's.
    pub(super) user_id: Option<String>,
    /// This action, or type of event.
    pub(super) action: Option<String>,
    /// Outcome.
    pub(super) outcome: Option<AuditOutcome>,
    /// Within this time.
    pub(super) range: TimeRange,
}

/// A page of the trail.
#[derive(Debug)]
pub(super) struct TrailPage {
    /// The records that match.
    pub(super) records: Vec<AuditEvent>,
    /// Where to go on; none at the end.
    pub(super) next: Option<String>,
    /// It ended before it was full, because it had looked at enough.
    pub(super) partial: bool,
}

/// A book of the trail: the selective keys, each with its index, and the field that says what was done.
struct Book {
    collection: &'static str,
    prefix: &'static str,
    resource: (&'static str, &'static str),
    action: &'static str,
}

const AUDIT_BOOK: Book =
    Book { collection: AUDIT_EVENTS, prefix: "aud", resource: ("resourceId", "resource"), action: "action" };
const EVENT_BOOK: Book = Book { collection: EVENTS, prefix: "evt", resource: ("subjectId", "subject"), action: "type" };

impl TrailFilter {
    /// Whether few records share one of the keys, so that no range of time is needed.
    pub(super) const fn is_selective(&self) -> bool {
        self.resource_id.is_some() || self.request_id.is_some() || self.actor_id.is_some() || self.user_id.is_some()
    }

    /// The way through audit events; none where none of them can match.
    fn through_audit(&self) -> Option<Walk> {
        self.action.as_deref().is_none_or(is_audit_action).then(|| {
            let mut walk = self.through(&AUDIT_BOOK);
            walk.rest.extend(given(&[("outcome", self.outcome.map(AuditOutcome::as_str))]));
            walk
        })
    }

    /// The way through events, which tell of what was done and of nothing else; none where none of them can match.
    fn through_events(&self) -> Option<Walk> {
        let may_match = self.outcome.is_none_or(|outcome| outcome == AuditOutcome::Done)
            && !self.action.as_deref().is_some_and(is_audit_action);
        may_match.then(|| self.through(&EVENT_BOOK))
    }

    fn through(&self, book: &Book) -> Walk {
        let (resource, by_resource) = book.resource;
        let fields = [
            (resource, by_resource, self.resource_id.as_deref()),
            ("actor.requestId", "request", self.request_id.as_deref()),
            ("actor.id", "actor", self.actor_id.as_deref()),
            ("userId", "owner", self.user_id.as_deref()),
        ];
        let lead = fields.iter().find(|(.., value)| value.is_some());
        let (field, index) = lead.map_or(("", "_id_"), |(field, index, _)| (*field, *index));
        let split =
            |leads: bool| given(&fields.map(|(name, _, value)| (name, value.filter(|_| (name == field) == leads))));
        let mut rest = split(false);
        rest.extend(given(&[(book.action, self.action.as_deref())]));
        Walk { collection: book.collection, prefix: book.prefix, index, key: split(true), rest }
    }
}

/// Actions are a module and a verb with a dot between them; types of events have none.
fn is_audit_action(action: &str) -> bool {
    action.contains('.')
}

/// An event as an audit record: an event is recorded in the transaction that did it.
fn told(event: Event) -> AuditEvent {
    let mut after = event.data;
    let reason = after.remove("reason").and_then(|reason| erased::text(bson::Deserializer::new(reason)).ok().flatten());
    AuditEvent {
        resource_type: resource_type(&event.subject_id).into(),
        id: event.id,
        actor: event.actor,
        action: event.kind,
        resource_id: event.subject_id,
        user_id: Some(event.user_id),
        outcome: AuditOutcome::Done,
        reason,
        before: None,
        after: Some(after),
        at: event.at,
    }
}

/// The type of the resource with this id; its prefix, where that is not known here.
fn resource_type(id: &str) -> &str {
    match id.split_once('_').map_or(id, |(prefix, _)| prefix) {
        "ord" => "order",
        "top" => "topup",
        "pmt" => "payment",
        "kyc" => "kyc_application",
        prefix => prefix,
    }
}

/// Matching records, at most `limit`, beyond `after`; a filter without a selective key has to be bounded.
///
/// # Errors
/// What the driver says.
pub(super) async fn list_trail(
    db: &Database,
    filter: &TrailFilter,
    direction: Direction,
    after: Option<&str>,
    limit: usize,
) -> Result<TrailPage> {
    let (audit, events) = tokio::try_join!(
        records::<AuditEvent>(db, filter.through_audit(), filter.range, direction, after, limit),
        records::<Event>(db, filter.through_events(), filter.range, direction, after, limit),
    )?;
    let told = Walked { found: events.found.into_iter().map(told).collect(), ended_at: events.ended_at };
    Ok(merged([audit, told], direction, limit))
}

async fn records<T: serde::de::DeserializeOwned + Unpin + Send + Sync>(
    db: &Database,
    walk: Option<Walk>,
    range: TimeRange,
    direction: Direction,
    after: Option<&str>,
    limit: usize,
) -> Result<Walked<T>> {
    let Some(walk) = walk else { return Ok(Walked { found: Vec::new(), ended_at: None }) };
    if walk.rest.is_empty() {
        return walk.go(db, range, direction, after, limit + 1, None).await;
    }
    walk.find_in_stages(db, range, direction, after, limit + 1, &LOOKED_AT).await
}

/// Both books in one order, as far as both were looked through.
fn merged(books: [Walked<AuditEvent>; 2], direction: Direction, limit: usize) -> TrailPage {
    let order = |one: &str, other: &str| match direction {
        Direction::Newest => place_of(other).cmp(&place_of(one)),
        Direction::Oldest => place_of(one).cmp(&place_of(other)),
    };
    let (mut found, mut ended_at) = (Vec::new(), None::<String>);
    for book in books {
        found.extend(book.found);
        ended_at = [ended_at, book.ended_at].into_iter().flatten().min_by(|one, other| order(one, other));
    }
    if let Some(end) = &ended_at {
        found.retain(|record: &AuditEvent| order(&record.id, end).is_le());
    }
    found.sort_by(|one, other| order(&one.id, &other.id));
    let Paged { shown, next, partial } = paged(found, limit, ended_at, |record| &record.id);
    TrailPage { records: shown, next, partial }
}

#[cfg(test)]
#[path = "trail_tests.rs"]
mod tests;
