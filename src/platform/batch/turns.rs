//! Turns at documents that several processes want at once, such as the wallet of a merchant whose orders come in through all
//! of them. Of transactions that overlap there all but one run in vain, and on a busy machine that costs more than the work.
//! So whoever has lost over a document takes a turn before its next transactions on it, until nobody else wanted it for a
//! second. Turns only spare work: where Redis is away or a turn is not to be had in time, the transactions conflict as ever.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{Key, slots::Slot};
use crate::platform::{ids::new_id, redis::Redis};

/// For so long turns are taken after the last sign that others want the same document.
const HOT_FOR: Duration = Duration::from_secs(1);
/// Documents at which turns are taken; more are fought for.
const HOT_MAX: usize = 64;
/// A turn that is not given back ends by itself, and nobody waits longer for one.
const TURN: Duration = Duration::from_millis(250);
/// Gives a turn back, if it is still ours.
const GIVE_BACK: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// Documents that several batches want.
#[derive(Default)]
pub(super) struct DocumentTurns {
    /// None where no turns are taken.
    redis: Option<Redis>,
    /// By `collection/_id`: when others last wanted it.
    hot: Mutex<HashMap<String, Instant>>,
}

/// The turn at some documents; given back when this is dropped.
pub(super) struct DocumentTurn {
    redis: Redis,
    token: String,
    keys: Vec<String>,
}

impl Drop for DocumentTurn {
    fn drop(&mut self) {
        let (redis, token, keys) =
            (self.redis.clone(), std::mem::take(&mut self.token), std::mem::take(&mut self.keys));
        tokio::spawn(async move {
            for key in keys {
                let script = redis::Script::new(GIVE_BACK);
                let _ = redis.script::<i64>(script.key(key).arg(&token)).await;
            }
        });
    }
}

impl DocumentTurns {
    pub(super) fn over(redis: Redis) -> Self {
        Self { redis: Some(redis), hot: Mutex::default() }
    }

    /// Somebody else was first at one of these documents.
    pub(super) fn lost(&self, documents: &[String]) {
        let mut hot = self.hot.lock();
        for document in documents {
            if self.redis.is_some() && (hot.len() < HOT_MAX || hot.contains_key(document)) {
                hot.insert(document.clone(), Instant::now());
            }
        }
    }

    /// Waits for the turn at these documents; none where there are none, or no turns to be had.
    pub(super) async fn take(&self, documents: Vec<String>) -> Option<DocumentTurn> {
        let redis = self.redis.clone().filter(|_| !documents.is_empty())?;
        let give_up_at = Instant::now() + TURN;
        let mut turn = DocumentTurn { token: new_id("trn"), keys: Vec::new(), redis };
        // All processes in the same order.
        for document in documents {
            let key = turn.redis.key(&format!("turn:{document}"));
            let mut take = redis::cmd("SET");
            take.arg(&key).arg(&turn.token).arg("NX").arg("PX").arg(TURN.as_millis() as u64);
            while turn.redis.run::<Option<String>>(&take).await.ok()?.is_none() {
                self.lost(std::slice::from_ref(&document));
                if Instant::now() >= give_up_at {
                    return Some(turn);
                }
                tokio::time::sleep(Duration::from_micros(rand::random_range(500..2_500))).await;
            }
            turn.keys.push(key);
        }
        Some(turn)
    }

    /// Documents of these commands that others want too.
    pub(super) fn contended_documents(&self, slots: &[Box<dyn Slot>]) -> Vec<String> {
        let mut hot = self.hot.lock();
        hot.retain(|_, wanted| wanted.elapsed() < HOT_FOR);
        if hot.is_empty() {
            return Vec::new();
        }
        let by_id = |key: Key| (key.fields == ["_id"]).then(|| format!("{}/{}", key.collection, key.values[0]));
        let keys = slots.iter().flat_map(|slot| slot.reads());
        let mut wanted: Vec<String> = keys.filter_map(by_id).filter(|document| hot.contains_key(document)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }
}
