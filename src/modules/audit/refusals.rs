//! Who was turned away, as far as a flood of them leaves room: audit events of refusals, outside of transactions.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bson::Document;
use parking_lot::Mutex;

use super::{event::AuditEvent, store::AuditStore};
use crate::platform::identity::Role;

/// Refusals of one kind of sender that a process records, a second; more of them are counted.
const ROOM: Rate = Rate { per_second: 10.0, burst: 100.0 };
/// Those of one known sender: a tenth of the room. More at once than the wrong passwords that an account allows.
const SHARE: Rate = Rate { per_second: 1.0, burst: 30.0 };
/// Known senders that are remembered, of one kind; beyond it they have the room in common.
const SHARES_MAX: usize = 4_096;
/// A refusal that can't be written by then is lost: nothing waits for it.
const WRITING_MAX: Duration = Duration::from_secs(10);

/// Who was turned away. Each kind has room of its own, so strangers can't hide what users try; and since anybody can become a
/// merchant, merchants can't hide what staff try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender<'a> {
    /// Nobody knows who.
    Stranger,
    /// This merchant or customer.
    Merchant(&'a str),
    /// This user of another role.
    Staff(&'a str),
}

impl<'a> Sender<'a> {
    /// A user.
    #[must_use]
    pub const fn user(user_id: &'a str, role: Role) -> Self {
        if role.is_staff() { Self::Staff(user_id) } else { Self::Merchant(user_id) }
    }
}

/// How much of something there is room for.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    burst: f64,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    since: Instant,
}

impl Bucket {
    const fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst, since: now }
    }

    /// Lets what was taken come back.
    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.left = (self.left + passed * rate.per_second).min(rate.burst);
        self.since = now;
    }
}

/// What one known sender has left, and how many of its refusals were left out since the last one recorded.
#[derive(Debug)]
struct Share {
    bucket: Bucket,
    suppressed: i64,
}

/// The room of one kind of sender.
#[derive(Debug)]
struct Room {
    bucket: Bucket,
    shares: HashMap<String, Share>,
    /// What was left out of those who have no share.
    suppressed: i64,
}

impl Room {
    fn new(now: Instant) -> Self {
        Self { bucket: Bucket::full(ROOM, now), shares: HashMap::new(), suppressed: 0 }
    }

    /// Takes one place; gives how many of this sender's were left out since its last one.
    fn take(&mut self, sender: Option<&str>, now: Instant) -> Option<i64> {
        self.bucket.refill(ROOM, now);
        let sender = sender.filter(|sender| self.has_share(sender, now));
        let Self { bucket, shares, suppressed } = self;
        let mut share = sender.map(|sender| {
            let new = || Share { bucket: Bucket::full(SHARE, now), suppressed: 0 };
            shares.entry(sender.to_owned()).or_insert_with(new)
        });
        if let Some(share) = &mut share {
            share.bucket.refill(SHARE, now);
        }
        let fits = bucket.left >= 1.0 && share.as_ref().is_none_or(|share| share.bucket.left >= 1.0);
        if fits {
            bucket.left -= 1.0;
        }
        let suppressed = match share {
            Some(share) => {
                share.bucket.left -= f64::from(u8::from(fits));
                &mut share.suppressed
            }
            None => suppressed,
        };
        if !fits {
            *suppressed += 1;
            return None;
        }
        Some(std::mem::take(suppressed))
    }

    /// Whether a sender has a share, or there is one to give. Those who were quiet for long enough are forgotten for it.
    fn has_share(&mut self, sender: &str, now: Instant) -> bool {
        if self.shares.contains_key(sender) || self.shares.len() < SHARES_MAX {
            return true;
        }
        self.shares.retain(|_, share| {
            share.bucket.refill(SHARE, now);
            share.bucket.left < SHARE.burst
        });
        self.shares.len() < SHARES_MAX
    }
}

#[derive(Debug)]
struct Rooms {
    strangers: Room,
    merchants: Room,
    staff: Room,
}

/// Records refusals. Cloning shares the room: one per process.
#[derive(Clone, Debug)]
pub struct Refusals {
    store: AuditStore,
    rooms: Arc<Mutex<Rooms>>,
}

impl Refusals {
    /// Refusals that are written to `store`.
    #[must_use]
    pub fn new(store: AuditStore) -> Self {
        let now = Instant::now();
        let rooms = Rooms { strangers: Room::new(now), merchants: Room::new(now), staff: Room::new(now) };
        Self { store, rooms: Arc::new(Mutex::new(rooms)) }
    }

    /// Writes down that `sender` was turned away, while there is room; never in the way of the answer. `after` of the event
    /// says how many were left out before it (`suppressedBefore`), where any were.
    pub fn note(&self, sender: Sender<'_>, mut event: AuditEvent) {
        let Some(suppressed) = self.take(sender, Instant::now()) else {
            metrics::counter!("waybill_audit_denied_suppressed_total").increment(1);
            return;
        };
        if suppressed > 0 {
            event.after.get_or_insert_with(Document::new).insert("suppressedBefore", suppressed);
        }
        let store = self.store.clone();
        tokio::spawn(async move {
            let writing = tokio::time::timeout(WRITING_MAX, store.record(&event));
            if !matches!(writing.await, Ok(Ok(()))) {
                tracing::warn!(action = event.action, "a refusal could not be written down");
            }
        });
    }

    fn take(&self, sender: Sender<'_>, now: Instant) -> Option<i64> {
        let mut rooms = self.rooms.lock();
        match sender {
            Sender::Stranger => rooms.strangers.take(None, now),
            Sender::Merchant(user_id) => rooms.merchants.take(Some(user_id), now),
            Sender::Staff(user_id) => rooms.staff.take(Some(user_id), now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(room: &mut Room, sender: Option<&str>, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| room.take(sender, now).is_some()).count()
    }

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_recorded() {
        let start = Instant::now();
        let mut room = Room::new(start);
        assert_eq!(recorded(&mut room, None, 500, start), 100);
        let later = start + Duration::from_millis(150);
        assert_eq!(room.take(None, later), Some(400), "the next one says how many it stands for");
        assert_eq!(room.take(None, later), None);
    }

    #[test]
    fn one_noisy_user_does_not_hide_another() {
        let start = Instant::now();
        let mut room = Room::new(start);
        assert_eq!(recorded(&mut room, Some("usr_noisy"), 500, start), 30);
        assert_eq!(recorded(&mut room, Some("usr_quiet"), 20, start), 20);
        let later = start + Duration::from_secs(1);
        assert_eq!(room.take(Some("usr_quiet"), later), Some(0), "each one's own are counted");
        assert_eq!(room.take(Some("usr_noisy"), later), Some(470));
        assert_eq!(room.take(Some("usr_noisy"), later), None);
    }

    #[test]
    fn all_users_together_have_a_bound_too() {
        let start = Instant::now();
        let mut room = Room::new(start);
        let users: Vec<String> = (0..50).map(|n| format!("usr_{n}")).collect();
        let all: usize = users.iter().map(|user| recorded(&mut room, Some(user), 10, start)).sum();
        assert_eq!(all, 100);
        assert_eq!(room.take(Some("usr_49"), start + Duration::from_secs(1)), Some(10));
    }

    #[test]
    fn a_user_who_had_no_room_in_common_keeps_its_share() {
        let start = Instant::now();
        let mut room = Room::new(start);
        recorded(&mut room, None, 500, start);
        assert_eq!(recorded(&mut room, Some("usr_1"), 100, start), 0);
        assert_eq!(recorded(&mut room, Some("usr_1"), 100, start + Duration::from_secs(60)), 30);
    }

    #[test]
    fn those_who_were_quiet_are_forgotten_and_memory_is_bounded() {
        let start = Instant::now();
        let mut room = Room::new(start);
        let fill = |room: &mut Room, name: &str, now| {
            for n in 0..SHARES_MAX + 100 {
                // What comes back meanwhile keeps the room in common from being what stops them.
                room.bucket = Bucket::full(ROOM, now);
                assert!(room.take(Some(&format!("{name}{n}")), now).is_some());
            }
            assert_eq!(room.shares.len(), SHARES_MAX);
        };
        fill(&mut room, "a", start);
        assert!(!room.shares.contains_key("b0"));
        fill(&mut room, "b", start + Duration::from_secs(60));
        assert!(room.shares.contains_key("b0") && !room.shares.contains_key("a0"));
    }

    #[tokio::test]
    async fn strangers_merchants_and_staff_have_rooms_of_their_own() {
        let client = mongodb::Client::with_uri_str("mongodb://127.0.0.1:1").await.expect("a well-formed URI");
        let refusals = Refusals::new(AuditStore::new(client.database("nowhere")));
        let now = Instant::now();
        let names: Vec<String> = (0..50).map(|n| format!("usr_{n}")).collect();
        let all = |tries: usize, sender: &dyn Fn(usize) -> Sender<'static>| {
            (0..tries).filter(|n| refusals.take(sender(*n), now).is_some()).count()
        };
        let names: &'static [String] = names.leak();
        assert_eq!(all(500, &|_| Sender::Stranger), 100);
        assert_eq!(all(500, &|n| Sender::user(&names[n % 50], Role::Merchant)), 100);
        for role in [Role::Auditor, Role::Finance, Role::Admin] {
            assert_eq!(all(10, &|_| Sender::user("usr_staff", role)), 10, "{role:?}");
        }
    }
}
