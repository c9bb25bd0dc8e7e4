//! Public ids: a prefix that says what it is, and a time-ordered body (UUID version 7, RFC 9562).

use std::{
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use uuid::{ContextV7, Timestamp, Uuid};

/// When this process began, by its host's clock, and how far that is from the database's.
static STARTED: LazyLock<(Instant, i64)> = LazyLock::new(|| {
    (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
});
static OFFSET_MS: AtomicI64 = AtomicI64::new(0);
/// Orders ids of one millisecond.
static CONTEXT: Mutex<ContextV7> = Mutex::new(ContextV7::new());

fn local_ms() -> i64 {
    STARTED.1 + STARTED.0.elapsed().as_millis() as i64
}

/// From now on ids carry this time, carried forward by the monotonic clock: that of the database. A host whose clock is
/// wrong would make ids that nobody looks for where they are.
pub fn follow(now_ms: i64) {
    OFFSET_MS.store(now_ms - local_ms(), Ordering::Relaxed);
}

/// How far tests have moved their clocks from the one that ids follow.
static MOVED_MS: AtomicI64 = AtomicI64::new(0);

/// A test has moved its clock so far; ids don't go along.
pub(super) fn allow_for(moved_ms: i64) {
    MOVED_MS.fetch_max(moved_ms.saturating_abs(), Ordering::Relaxed);
}

/// How far the time of a record may be from that of its id for that; 0 outside of tests.
pub(super) fn moved_ms() -> i64 {
    MOVED_MS.load(Ordering::Relaxed)
}

fn now() -> Timestamp {
    let ms = u64::try_from(local_ms() + OFFSET_MS.load(Ordering::Relaxed)).unwrap_or_default();
    Timestamp::from_unix(&CONTEXT, ms / 1_000, (ms % 1_000) as u32 * 1_000_000)
}

/// A new id such as `ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e6`: sorts by time of creation.
#[must_use]
pub fn new_id(prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + 33);
    id.push_str(prefix);
    id.push('_');
    id.push_str(Uuid::new_v7(now()).simple().encode_lower(&mut Uuid::encode_buffer()));
    id
}

/// The least id that [`new_id`] can give for `prefix` at this time (milliseconds since 1970), or later.
#[must_use]
pub fn first_id_at(prefix: &str, ms: i64) -> String {
    format!("{prefix}_{:012x}{}", ms.clamp(0, (1 << 48) - 1), "0".repeat(20))
}

/// The time that an id carries, in milliseconds since 1970; none where it has not the shape of [`new_id`]'s.
#[must_use]
pub fn time_of_id(id: &str) -> Option<i64> {
    let (prefix, body) = id.split_once('_')?;
    if is_id(prefix, id) { i64::from_str_radix(&body[..12], 16).ok() } else { None }
}

/// The id of another kind that goes with `id`: same body, other prefix. For what is made together with it, once.
#[must_use]
pub fn sibling_id(prefix: &str, id: &str) -> String {
    format!("{prefix}_{}", id.split_once('_').map_or(id, |(_, body)| body))
}

/// The same where there are several: the `n`th, from 0, of those that go with `id`, which is their first one's sibling. They differ
/// in the random part alone, so they carry the same time.
#[must_use]
pub fn nth_id(prefix: &str, id: &str, n: u32) -> String {
    let sibling = sibling_id(prefix, id);
    let Some((body, tail)) = sibling.split_at_checked(sibling.len().saturating_sub(8)) else { return sibling };
    match u32::from_str_radix(tail, 16) {
        Ok(random) => format!("{body}{:08x}", random.wrapping_add(n)),
        Err(_) => format!("{sibling}{n}"),
    }
}

/// Whether `id` has the shape that [`new_id`] gives for `prefix`.
#[must_use]
pub fn is_id(prefix: &str, id: &str) -> bool {
    id.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .is_some_and(|body| body.len() == 32 && body.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// A number for people to read out: twelve characters of Crockford's base 32 (no I, L, O, U) in
/// three groups, taken from the random part of a time-ordered id (60 bits).
#[must_use]
pub fn readable_number(id: &str) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let tail = id.get(id.len().saturating_sub(15)..).unwrap_or(id);
    let mut bits = u64::from_str_radix(tail, 16).unwrap_or_default();
    let mut out = Vec::with_capacity(14);
    for position in 0..12 {
        if position == 4 || position == 8 {
            out.push('-');
        }
        out.push(char::from(ALPHABET[(bits & 31) as usize]));
        bits >>= 5;
    }
    out.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_go_with_one_are_different_and_of_its_time() {
        let id = format!("evt_{}ffffffff", "0198f0c2b1e07c3e8a41b5d0");
        let ids: std::collections::BTreeSet<_> = (0..100).map(|n| nth_id("mov", &id, n)).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|found| is_id("mov", found) && time_of_id(found) == time_of_id(&id)));
        assert_eq!(nth_id("mov", &id, 0), sibling_id("mov", &id));
        assert_eq!((nth_id("mov", "evt_1", 2), nth_id("mov", "é", 0)), ("mov_12".into(), "mov_é0".into()));
    }

    #[test]
    fn ids_sort_by_time_and_are_recognised() {
        let ids: Vec<_> = (0..1000).map(|_| new_id("ord")).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(is_id("ord", &ids[0]));
        assert!(!is_id("usr", &ids[0]));
        assert!(!is_id("ord", "ord_123"));
        assert!(!is_id("ord", "{$ne:1}"));
    }

    #[test]
    fn a_time_is_a_bound_on_ids() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
        let (id, now) = (new_id("req"), i64::try_from(now).expect("not that far"));
        assert!(first_id_at("req", now) <= id && id < first_id_at("req", now + 1_000));
        assert!(is_id("req", &first_id_at("req", 0)) && is_id("req", &first_id_at("req", i64::MAX)));
        assert_eq!(first_id_at("req", -1), first_id_at("req", 0));
        assert_eq!(time_of_id(&first_id_at("req", now)), Some(now));
        assert!(time_of_id(&id).is_some_and(|ms| (now..now + 1_000).contains(&ms)));
        assert_eq!((time_of_id("req"), time_of_id("req_1"), time_of_id("{$ne:1}")), (None, None, None));
    }

    #[test]
    fn siblings_share_their_body() {
        let event = new_id("evt");
        let transaction = sibling_id("txn", &event);
        assert!(is_id("txn", &transaction));
        assert_eq!(sibling_id("evt", &transaction), event);
    }

    #[test]
    fn readable_numbers_use_unambiguous_letters() {
        let number = readable_number(&new_id("ord"));
        assert_eq!(number.len(), 14);
        assert!(number.chars().all(|c| c == '-' || (c.is_ascii_alphanumeric() && !"ILOU".contains(c))));
        assert_ne!(number, readable_number(&new_id("ord")));
    }
}
