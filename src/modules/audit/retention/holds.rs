//! Legal holds: records that they cover are neither purged nor erased until the hold is released.

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Guard, LEGAL_HOLDS};
use crate::{
    modules::audit::{AUDIT_EVENTS, AuditEvent, AuditOutcome, record_event},
    platform::{
        batch::{Command, Entity, Key, View},
        identity::Actor,
        ids::sibling_id,
        mongo::READ_TIME_MAX,
        walk::{Paged, paged},
    },
};

/// The subject of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// One order: every record that names it.
    Order,
    /// One user: every record that names it. Calls and events of its orders do, and looks at one of them.
    User,
}

impl HoldKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::User => "user",
        }
    }
}

/// State of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegalHoldState {
    /// It holds.
    InForce,
    /// It held.
    Released,
}

/// A legal hold. It is kept after its release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LegalHold {
    #[serde(rename = "_id")]
    pub id: String,
    pub kind: HoldKind,
    pub subject_id: String,
    /// The user, or the owner of the order.
    pub user_id: String,
    pub reason: String,
    pub placed_by: String,
    pub placed_at: DateTime,
    pub released_by: Option<String>,
    pub released_at: Option<DateTime>,
    pub release_reason: Option<String>,
    /// `subjectId` while the hold is in force, else null. Unique, and what transactions look up.
    pub in_force: Option<String>,
}

impl LegalHold {
    /// State of a hold.
    #[must_use]
    pub const fn state(&self) -> LegalHoldState {
        if self.in_force.is_some() { LegalHoldState::InForce } else { LegalHoldState::Released }
    }

    fn in_force_key(subject_id: &str) -> Key {
        Key::unique(LEGAL_HOLDS, &["inForce"], vec![subject_id.to_owned()])
    }
}

impl Entity for LegalHold {
    const COLLECTION: &'static str = LEGAL_HOLDS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        self.in_force.iter().map(|subject| Self::in_force_key(subject)).collect()
    }
}

/// Writes the guard, so that no purge or erasure that read the holds before this change can commit.
fn change_guard(view: &mut View, releases: i64) {
    match view.find::<Guard>(&Guard::key()) {
        Some(guard) => view.update(&guard.after(releases)),
        None => view.insert(&Guard::new().after(releases)),
    }
}

fn record(view: &mut View, hold: &LegalHold, actor: &Actor, action: &str, event_id: String, reason: &str) {
    let (before, after) = match hold.state() {
        LegalHoldState::InForce => (None, doc! { "holdId": &hold.id, "state": "in_force" }),
        LegalHoldState::Released => {
            (Some(doc! { "state": "in_force" }), doc! { "holdId": &hold.id, "state": "released" })
        }
    };
    let held = (hold.kind.as_str(), &*hold.subject_id);
    let event = AuditEvent::new(AuditOutcome::Done, actor.clone(), action, held, view.now())
        .with_id(event_id)
        .of_user(hold.user_id.clone())
        .because(reason.to_owned())
        .before(before)
        .after(after);
    record_event(view, &event);
}

#[derive(Debug)]
pub struct PlaceHold {
    pub hold_id: String,
    pub kind: HoldKind,
    /// Where that is, by its `_id`.
    pub subject: Key,
    pub subject_id: String,
    pub reason: String,
    pub actor: Actor,
}

#[derive(Clone, Debug, PartialEq)]
pub enum HoldPlaced {
    New(Box<LegalHold>),
    Before(Box<LegalHold>),
    NoSubject,
}

impl Command for PlaceHold {
    type Reply = HoldPlaced;

    fn reads(&self) -> Vec<Key> {
        let own = Key::id(LEGAL_HOLDS, &*self.hold_id);
        vec![own, LegalHold::in_force_key(&self.subject_id), self.subject.clone(), Guard::key()]
    }

    fn decide(&self, view: &mut View) -> HoldPlaced {
        // An earlier attempt of this transaction was committed after all.
        if let Some(own) = view.by_id::<LegalHold>(&self.hold_id) {
            return HoldPlaced::New(Box::new(own));
        }
        let before = view.find::<LegalHold>(&LegalHold::in_force_key(&self.subject_id));
        // Another command of this batch may have released it.
        if let Some(before) = before.filter(|hold| hold.state() == LegalHoldState::InForce) {
            return HoldPlaced::Before(Box::new(before));
        }
        if !view.contains(&self.subject) {
            return HoldPlaced::NoSubject;
        }
        let owner = view.text(&self.subject, if self.kind == HoldKind::Order { "userId" } else { "_id" });
        let hold = LegalHold {
            id: self.hold_id.clone(),
            kind: self.kind,
            subject_id: self.subject_id.clone(),
            user_id: owner.expect("orders and users say whose they are").to_owned(),
            reason: self.reason.clone(),
            placed_by: self.actor.id.clone(),
            placed_at: view.now(),
            released_by: None,
            released_at: None,
            release_reason: None,
            in_force: Some(self.subject_id.clone()),
        };
        view.insert(&hold);
        change_guard(view, 0);
        let event_id = sibling_id("aud", &self.hold_id);
        record(view, &hold, &self.actor, "audit.hold_placed", event_id, &self.reason);
        HoldPlaced::New(Box::new(hold))
    }
}

#[derive(Debug)]
pub struct ReleaseHold {
    pub hold_id: String,
    pub reason: String,
    pub actor: Actor,
    /// Id of the audit event, new.
    pub event_id: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Released {
    Now(Box<LegalHold>),
    Before(Box<LegalHold>),
    NotFound,
}

impl Command for ReleaseHold {
    type Reply = Released;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(LEGAL_HOLDS, &*self.hold_id), Key::id(AUDIT_EVENTS, &*self.event_id), Guard::key()]
    }

    fn decide(&self, view: &mut View) -> Released {
        let Some(mut hold) = view.by_id::<LegalHold>(&self.hold_id) else { return Released::NotFound };
        if view.contains(&Key::id(AUDIT_EVENTS, &*self.event_id)) {
            return Released::Now(Box::new(hold));
        }
        if hold.state() == LegalHoldState::Released {
            return Released::Before(Box::new(hold));
        }
        hold.released_by = Some(self.actor.id.clone());
        hold.released_at = Some(view.now());
        hold.release_reason = Some(self.reason.clone());
        hold.in_force = None;
        view.update(&hold);
        change_guard(view, 1);
        record(view, &hold, &self.actor, "audit.hold_released", self.event_id.clone(), &self.reason);
        Released::Now(Box::new(hold))
    }
}

/// A legal hold keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a legal hold keeps it")]
pub struct UnderLegalHold;

/// The keys that a command has to read before it calls [`ensure_not_held`].
#[must_use]
pub fn keys_of_hold(user_id: &str) -> [Key; 2] {
    [LegalHold::in_force_key(user_id), Guard::key()]
}

/// Has to be called by a command before it destroys data of a user. It writes the guard, so the transaction conflicts with one that
/// places a hold: one of the two is repeated and sees the other.
///
/// # Errors
/// A hold on the user is in force.
pub fn ensure_not_held(view: &mut View, user_id: &str) -> std::result::Result<(), UnderLegalHold> {
    let hold = view.find::<LegalHold>(&LegalHold::in_force_key(user_id));
    // Another command of this batch may have released it.
    if hold.is_some_and(|hold| hold.state() == LegalHoldState::InForce) {
        return Err(UnderLegalHold);
    }
    change_guard(view, 0);
    Ok(())
}

/// Holds in a state, or all, that are older than the one with the id `after`; newest first, at most `limit`.
pub async fn list_holds(
    db: &Database,
    state: Option<LegalHoldState>,
    after: Option<&str>,
    limit: usize,
) -> Result<Paged<LegalHold>> {
    let mut filter = match state {
        Some(LegalHoldState::InForce) => doc! { "inForce": { "$gt": "" } },
        Some(LegalHoldState::Released) => doc! { "inForce": null },
        None => Document::new(),
    };
    if let Some(after) = after {
        filter.insert("_id", doc! { "$lt": after });
    }
    let holds = db.collection::<LegalHold>(LEGAL_HOLDS);
    let found = holds.find(filter).sort(doc! { "_id": -1 }).limit(limit as i64 + 1).max_time(READ_TIME_MAX).await?;
    Ok(paged(found.try_collect().await?, limit, None, |hold: &LegalHold| &hold.id))
}

/// A hold in force that covers one of these orders and users, or an order of one of these users.
pub async fn find_hold(db: &Database, subjects: &[&str], owner: Option<&str>) -> Result<Option<LegalHold>> {
    let mut covering = vec![doc! { "inForce": { "$in": subjects } }];
    covering.extend(owner.map(|owner| doc! { "userId": owner, "inForce": { "$gt": "" } }));
    db.collection(LEGAL_HOLDS).find_one(doc! { "$or": covering }).max_time(READ_TIME_MAX).await
}
