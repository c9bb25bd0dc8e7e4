//! Room at an account that has few places or a rate. The database decides, by its own clock: one update grants places to
//! a worker, and the times at which calls may be sent, for as many jobs as it is going to take.

use std::time::{Duration, Instant};

use bson::{Bson, DateTime, Document, doc};
use serde::Deserialize;

use crate::modules::providers::AccountLimits;

/// Send times are reserved so far ahead: long enough for workers that look twice a second, and what is urgent waits no longer.
const AHEAD: Duration = Duration::from_secs(1);
/// Calls are sent as if a second were longer by this, so that what is late on its way makes no second too full.
const SECOND: Duration = Duration::from_millis(1_100);
/// A call that is later than this on our side needs a new time.
const LATE_MAX: Duration = Duration::from_millis(60);
/// A worker that found no room counts as waiting for this long; the others leave it its share meanwhile.
const WAITING: Duration = Duration::from_secs(2);

/// Two classes of queues share an account, so that neither starves the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Placing,
    TakingBack,
}

impl Class {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Placing => "placing",
            Self::TakingBack => "takingBack",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Placing => Self::TakingBack,
            Self::TakingBack => Self::Placing,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RoomRequest<'a> {
    pub(super) limits: AccountLimits,
    /// Where its calls place new orders, of which the account may have only so many in progress.
    pub(super) opening: Option<OrderRoom>,
    pub(super) class: Class,
    pub(super) worker_id: &'a str,
    pub(super) grant: &'a str,
    pub(super) wanted: usize,
    pub(super) lease: Duration,
}

/// Room for new orders at an account that may have only so many in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrderRoom {
    /// The limit, less the orders that were counted.
    pub(super) left: i64,
    /// The account's count of attempts to place that had ended before: one that ended since may have left an order that was
    /// not counted.
    pub(super) ended: i64,
}

impl RoomRequest<'_> {
    pub(super) const fn keeps_place(&self) -> bool {
        self.limits.concurrency.is_some() || self.opening.is_some()
    }

    /// How many calls are wanted. Orders that are being placed are among those counted only once their attempt has ended.
    fn wanted(&self) -> Bson {
        let wanted = self.wanted as i64;
        let Some(OrderRoom { left, ended }) = self.opening else { return wanted.into() };
        let placing = doc! { "$map": {
            "input": "$places", "as": "place", "in": { "$cond": ["$$place.opens", "$$place.count", 0_i64] },
        } };
        let room = doc! { "$subtract": [left, { "$sum": placing }] };
        let is_as_counted = doc! { "$eq": [{ "$ifNull": ["$ended", 0_i64] }, ended] };
        doc! { "$cond": [is_as_counted, { "$min": [wanted, room] }, 0_i64] }.into()
    }
}

/// Room that was granted, as the update leaves it in the account's state.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Grant {
    pub(super) count: i64,
    /// When the first call may be sent, by the clock whose reading is `at`.
    send_at: DateTime,
    at: DateTime,
}

fn ms(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

/// Milliseconds between two calls.
fn spacing_ms(rate_per_second: u32) -> f64 {
    SECOND.as_secs_f64() * 1_000.0 / f64::from(rate_per_second.max(1))
}

/// Places whose workers are alive.
fn live_places() -> Document {
    doc! { "$filter": {
        "input": { "$ifNull": ["$places", []] }, "as": "place", "cond": { "$gt": ["$$place.until", "$$NOW"] },
    } }
}

/// The update that grants room. Where the other class waits, half of what is free is left to it, and the last place goes to
/// each in turn.
pub(super) fn granting(ask: &RoomRequest<'_>) -> Vec<Document> {
    let (mine, others) = (ask.class.as_str(), format!("$waiting.{}", ask.class.other().as_str()));
    let mut room = vec![Bson::Int64(i64::from(i32::MAX))];
    if let Some(limit) = ask.limits.concurrency {
        room.push(doc! { "$subtract": [i64::from(limit), { "$sum": "$places.count" }] }.into());
    }
    let mut next_send_at: Bson = "$nextSendAt".into();
    if let Some(rate) = ask.limits.rate_per_second {
        let ahead = doc! { "$subtract": [ms(AHEAD), { "$subtract": ["$nextSendAt", "$$NOW"] }] };
        room.push(doc! { "$ceil": { "$divide": [ahead, spacing_ms(rate)] } }.into());
        let taken = doc! { "$ceil": { "$multiply": ["$grant.count", spacing_ms(rate)] } };
        next_send_at = doc! { "$add": ["$nextSendAt", { "$toLong": taken }] }.into();
    }
    let last_in_turn = doc! { "$cond": [{ "$eq": ["$last", mine] }, 0, "$room"] };
    let half = doc! { "$cond": [{ "$lte": ["$room", 1] }, last_in_turn, { "$ceil": { "$divide": ["$room", 2] } }] };
    let share = doc! { "$cond": [{ "$gt": [others, "$$NOW"] }, half, "$room"] };
    let count = doc! { "$toLong": { "$max": [0, { "$min": ["$wanted", share] }] } };
    let granted = doc! { "$gt": ["$grant.count", 0] };
    let place = doc! {
        "grant": { "$literal": ask.grant }, "workerId": { "$literal": ask.worker_id }, "count": "$grant.count",
        "until": { "$add": ["$$NOW", ms(ask.lease)] }, "opens": ask.opening.is_some(),
    };
    let places = if ask.keeps_place() {
        doc! { "$cond": [&granted, { "$concatArrays": ["$places", [place]] }, "$places"] }.into()
    } else {
        Bson::from("$places")
    };
    let waits_until = doc! { "$add": ["$$NOW", ms(WAITING)] };
    let mut settled = doc! {
        "places": places,
        "nextSendAt": next_send_at,
        "last": { "$cond": [&granted, mine, "$last"] },
        "lastUsedAt": { "$cond": [&granted, "$$NOW", "$lastUsedAt"] },
    };
    let waits = doc! { "$cond": [{ "$lt": ["$grant.count", "$wanted"] }, waits_until, "$$REMOVE"] };
    settled.insert(format!("waiting.{mine}"), waits);
    vec![
        doc! { "$set": {
            "places": live_places(),
            "nextSendAt": { "$max": [{ "$ifNull": ["$nextSendAt", "$$NOW"] }, "$$NOW"] },
        } },
        doc! { "$set": { "room": { "$max": [0, { "$min": room }] }, "wanted": ask.wanted() } },
        doc! { "$set": { "grant": { "count": count, "sendAt": "$nextSendAt", "at": "$$NOW" } } },
        doc! { "$set": settled },
        doc! { "$unset": ["room", "wanted"] },
    ]
}

/// The update that leaves `count` places to a grant. Not "one fewer", so that nothing is given back twice.
pub(super) fn leaving(grant: &str, count: usize) -> Vec<Document> {
    let is_theirs = doc! { "$eq": ["$$place.grant", { "$literal": grant }] };
    let fewer = doc! { "$mergeObjects": ["$$place", { "count": count as i64 }] };
    let left = doc! { "$map": {
        "input": live_places(), "as": "place", "in": { "$cond": [&is_theirs, fewer, "$$place"] },
    } };
    let opening = doc! { "$and": [is_theirs, "$$place.opens"] };
    let ended = doc! { "$size": { "$filter": { "input": live_places(), "as": "place", "cond": opening } } };
    let ended = doc! { "$add": [{ "$ifNull": ["$ended", 0_i64] }, { "$toLong": ended }] };
    let some = doc! { "$filter": { "input": "$places", "as": "place", "cond": { "$gt": ["$$place.count", 0] } } };
    vec![doc! { "$set": { "places": left, "ended": ended } }, doc! { "$set": { "places": some } }]
}

/// The update that keeps the places of a grant for another `lease`, `count` of them. What has run out is somebody else's by
/// now.
pub(super) fn extending(grant: &str, count: usize, lease: Duration) -> Vec<Document> {
    let is_theirs = doc! { "$eq": ["$$place.grant", { "$literal": grant }] };
    // One that was made longer stays so.
    let until = doc! { "$max": ["$$place.until", { "$add": ["$$NOW", ms(lease)] }] };
    let kept = doc! { "count": count as i64, "until": until };
    let longer = doc! { "$mergeObjects": ["$$place", kept] };
    vec![doc! { "$set": { "places": { "$map": {
        "input": live_places(), "as": "place", "in": { "$cond": [is_theirs, longer, "$$place"] },
    } } } }]
}

impl Grant {
    /// When each of its calls may be sent, by this process' clock: not before the first time, nor after the second. The
    /// database was asked at `asked` and has answered now, so its clock was read in between.
    pub(super) fn send_times(
        &self,
        rate_per_second: u32,
        asked: Instant,
        answered: Instant,
    ) -> Vec<(Instant, Instant)> {
        let first = self.send_at.timestamp_millis() - self.at.timestamp_millis();
        let first = Duration::from_millis(first.max(0).unsigned_abs());
        (0..self.count)
            .map(|n| {
                let wait = first + Duration::from_secs_f64(n as f64 * spacing_ms(rate_per_second) / 1_000.0);
                let earliest = answered + wait;
                // Where the database is slower than that, there is no better time.
                (earliest, (asked + wait + LATE_MAX).max(earliest + LATE_MAX / 3))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_spaced_so_that_late_ones_keep_the_limit_per_second() {
        let grant = Grant { count: 25, send_at: DateTime::from_millis(1_300), at: DateTime::from_millis(1_000) };
        let (asked, took) = (Instant::now(), Duration::from_millis(4));
        let times = grant.send_times(10, asked, asked + took);
        assert_eq!(times[0].0 - asked, Duration::from_millis(304));
        for pair in times.windows(11) {
            assert!(pair[10].0 - pair[0].1 > Duration::from_secs(1), "the first as late as it may be");
        }
        for (earliest, latest) in grant.send_times(10, asked, asked + Duration::from_secs(3)) {
            assert!(earliest < latest, "a slow database stops nobody");
        }
    }
}
