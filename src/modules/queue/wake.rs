//! Wake-ups: a shortcut past polling. Lost ones cost half a second, nothing else.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::platform::redis::Redis;

const CHANNEL: &str = "wake";
/// A subscription that was silent for so long is made anew.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// Between two tries to subscribe.
const RESUBSCRIBE_AFTER: Duration = Duration::from_secs(1);

/// Wakes the workers of a queue, in this process and, through Redis, in all others.
#[derive(Clone, Debug)]
pub struct Waker {
    redis: Redis,
    here: Arc<Mutex<HashMap<String, watch::Sender<u64>>>>,
    pending: Arc<Mutex<BTreeSet<String>>>,
    publish: Arc<Notify>,
}

impl Waker {
    /// A waker over `redis`; [`Waker::run_publisher`] has to run for others to hear it.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis, here: Arc::default(), pending: Arc::default(), publish: Arc::default() }
    }

    /// Says that `queue` has work. Never waits; what was said while the last word was under way goes out as one.
    pub fn wake(&self, queue: &str) {
        self.wake_here(queue);
        let mut pending = self.pending.lock();
        if !pending.contains(queue) {
            pending.insert(queue.to_owned());
        }
        drop(pending);
        self.publish.notify_one();
    }

    /// Changes at every wake-up of `queue`; none is missed between two looks.
    #[must_use]
    pub fn watch(&self, queue: &str) -> watch::Receiver<u64> {
        let mut here = self.here.lock();
        here.entry(queue.to_owned()).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    pub(super) fn wake_here(&self, queue: &str) {
        let here = self.here.lock();
        if let Some(sender) = here.get(queue) {
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Publishes what [`Waker::wake`] was told. Runs until it is dropped.
    pub async fn run_publisher(&self) {
        loop {
            self.publish.notified().await;
            let queues = std::mem::take(&mut *self.pending.lock());
            for queue in queues {
                let channel = self.redis.key(CHANNEL);
                let _ = self.redis.run::<i64>(redis::cmd("PUBLISH").arg(channel).arg(queue)).await;
            }
        }
    }

    /// Listens to the other processes and wakes this one. Runs until it is dropped.
    pub async fn run_subscriber(&self) {
        loop {
            if let Ok(mut subscription) = self.redis.subscribe(CHANNEL).await {
                let mut messages = subscription.on_message();
                // A connection that died without a word is silent; so is an idle system. Both subscribe again.
                while let Ok(Some(message)) = tokio::time::timeout(SILENT_MAX, messages.next()).await {
                    if let Ok(queue) = message.get_payload::<String>() {
                        self.wake_here(&queue);
                    }
                }
            }
            tokio::time::sleep(RESUBSCRIBE_AFTER).await;
        }
    }
}
