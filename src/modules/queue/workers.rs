//! Workers that are alive, and whether their clocks agree: what one writes into a job (the end of a lease, when it is due)
//! the others judge by theirs. After a change of the primary a worker that is started takes the new primary's time at once,
//! while those that run approach it slowly, so their clocks may differ by as much as the primaries' do.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::Result;
use serde::Deserialize;

use super::{
    model::QueueConfig,
    store::{QueueStore, WORKERS},
};
use crate::platform::{
    clock::{Clock, Offset},
    mongo::READ_TIME_MAX,
};

/// A worker that did not say so for this long is not alive.
const WORKER_SILENT_MAX: Duration = Duration::from_secs(60);
/// Workers whose clocks are farther apart don't claim beside each other.
const APART_MS_MAX: i64 = 2_000;

/// The last heartbeat of a worker.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// `wrk_...`
    #[serde(rename = "_id")]
    pub worker_id: String,
    /// Its first word.
    #[serde(default)]
    pub since: Option<DateTime>,
    /// How far its clock is ahead of the primary's.
    #[serde(default)]
    pub ahead_ms: Option<i64>,
    #[serde(default)]
    pub primary: Option<String>,
    #[serde(default)]
    pub in_step: bool,
    #[serde(default)]
    pub queues: Vec<String>,
}

impl Heartbeat {
    /// How far its clock is from one that is so far ahead; none where it compared itself with another primary.
    fn apart_ms(&self, offset: &Offset) -> Option<i64> {
        let same_primary = self.primary.as_ref() == Some(&offset.primary);
        self.ahead_ms.filter(|_| same_primary).map(|ahead_ms| ahead_ms.abs_diff(offset.ahead_ms) as i64)
    }
}

/// Others that claim, and have not compared their clock with this primary yet.
pub(super) fn await_comparison(me: &str, offset: &Offset, alive: &[Heartbeat]) -> bool {
    alive.iter().any(|other| other.worker_id != me && other.in_step && other.apart_ms(offset).is_none())
}

/// Whether a worker whose clock is so far from the primary's may claim beside those that do: most of them agree with it,
/// or as many as don't, and the one that has been there longest is among those.
pub(super) fn is_in_step(me: &str, offset: &Offset, alive: &[Heartbeat]) -> bool {
    let since = |beat: &Heartbeat| (beat.since.unwrap_or(DateTime::MAX), beat.worker_id.clone());
    let mine = alive.iter().find(|beat| beat.worker_id == me).map(since);
    let mut eldest = mine.unwrap_or((DateTime::MAX, me.to_owned()));
    let (mut near, mut far, mut is_eldest_near) = (1, 0, true);
    for other in alive.iter().filter(|beat| beat.worker_id != me && beat.in_step) {
        let Some(apart_ms) = other.apart_ms(offset) else { continue };
        let is_near = apart_ms <= APART_MS_MAX;
        if is_near {
            near += 1
        } else {
            far += 1
        }
        if since(other) < eldest {
            (eldest, is_eldest_near) = (since(other), is_near);
        }
    }
    near > far || (near == far && is_eldest_near)
}

impl QueueStore {
    /// Says that a worker is alive, what its clock is like, and whether it claims. All by the database's clock: those of
    /// workers may differ.
    pub(super) async fn report_alive(
        &self,
        worker_id: &str,
        queues: &[QueueConfig],
        offset: Option<&Offset>,
        in_step: bool,
    ) -> Result<()> {
        let workers = self.db.collection::<Document>(WORKERS);
        let since = doc! { "$ifNull": ["$since", "$$NOW"] };
        let queues: Vec<&str> = queues.iter().map(|queue| queue.name).collect();
        let mut beat = doc! { "seenAt": "$$NOW", "since": since, "inStep": in_step, "queues": { "$literal": queues } };
        if let Some(Offset { ahead_ms, primary }) = offset {
            beat.extend(doc! { "aheadMs": *ahead_ms, "primary": { "$literal": primary } });
        }
        workers.update_one(doc! { "_id": worker_id }, vec![doc! { "$set": beat }]).upsert(true).await?;
        let forgotten = doc! { "$expr": { "$lt": ["$seenAt", ago(60 * WORKER_SILENT_MAX)] } };
        workers.delete_many(forgotten).await.map(drop)
    }

    /// The last heartbeats of live workers.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list_alive(&self) -> Result<Vec<Heartbeat>> {
        self.db.collection::<Heartbeat>(WORKERS).find(alive()).max_time(READ_TIME_MAX).await?.try_collect().await
    }

    /// How far `clock` is from the database's; none where it could not be told.
    pub(super) async fn offset(&self, clock: &Clock) -> Result<Option<Offset>> {
        clock.offset(&self.db).await
    }

    /// A worker that ends in order says so.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn remove_heartbeat(&self, worker_id: &str) -> Result<()> {
        self.db.collection::<Document>(WORKERS).delete_one(doc! { "_id": worker_id }).await.map(drop)
    }
}

pub(super) fn alive() -> Document {
    doc! { "$expr": { "$gte": ["$seenAt", ago(WORKER_SILENT_MAX)] } }
}

/// So long ago, by the database's clock.
fn ago(by: Duration) -> Document {
    doc! { "$subtract": ["$$NOW", by.as_millis() as i64] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(worker_id: &str, since_ms: i64, ahead_ms: i64) -> Heartbeat {
        Heartbeat {
            worker_id: worker_id.into(),
            since: Some(DateTime::from_millis(since_ms)),
            ahead_ms: Some(ahead_ms),
            primary: Some("1".into()),
            in_step: true,
            queues: Vec::new(),
        }
    }

    fn offset(ahead_ms: i64) -> Offset {
        Offset { ahead_ms, primary: "1".into() }
    }

    #[test]
    fn a_worker_that_is_off_does_not_claim_beside_those_that_agree() {
        let old = |n: i64| beat(&format!("old-{n}"), n, -10_000);
        // Started after the primary changed, when the others have its predecessor's time.
        assert!(!is_in_step("new", &offset(0), &[old(1)]));
        assert!(!is_in_step("new", &offset(0), &[old(1), old(2), beat("new", 9, 0)]));
        assert!(is_in_step("old-1", &offset(-10_000), &[old(1), beat("new", 9, 0)]), "the eldest goes on");
        assert!(is_in_step("new", &offset(-8_000), &[old(1)]), "they have come close");
        assert!(is_in_step("new", &offset(0), &[]), "it is alone");
    }

    #[test]
    fn most_of_the_workers_are_right() {
        let all = [beat("suspended", 1, -60_000), beat("b", 2, 0), beat("c", 3, 100)];
        assert!(!is_in_step("suspended", &offset(-60_000), &all));
        assert!(is_in_step("b", &offset(0), &all) && is_in_step("c", &offset(100), &all));
        let off = Heartbeat { in_step: false, ..beat("off", 0, 50_000) };
        assert!(is_in_step("b", &offset(0), &[off, beat("b", 2, 0)]), "those that don't claim don't count");
    }

    #[test]
    fn offsets_from_different_primaries_say_nothing() {
        let before = Heartbeat { primary: Some("0".into()), ..beat("old", 1, -10_000) };
        let older = Heartbeat { ahead_ms: None, primary: None, ..beat("older", 1, 0) };
        assert!(await_comparison("new", &offset(0), std::slice::from_ref(&before)));
        assert!(is_in_step("new", &offset(0), &[before.clone(), older]));
        assert!(!await_comparison(
            "new",
            &offset(0),
            &[beat("old", 1, 0), Heartbeat { in_step: false, ..before.clone() }]
        ));
        assert!(!await_comparison("old", &offset(0), &[before]), "its own word");
    }
}
