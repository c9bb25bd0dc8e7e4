//! Rate limits by GCRA (generic cell rate algorithm), counted in Redis for all processes together. With
//! Redis away each process counts for itself, with its share of the limit: a limit gets coarser, never absent.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::redis::Redis;

/// At most this many keys are counted locally; the oldest counts are dropped beyond it.
const LOCAL_KEYS_MAX: usize = 10_000;

/// So many in so long, with a burst of all of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub count: u32,
    /// In how long.
    pub period: Duration,
}

impl Limit {
    /// Microseconds that one cell takes.
    const fn interval_us(self) -> u64 {
        let count = if self.count == 0 { 1 } else { self.count as u64 };
        self.period.as_micros() as u64 / count
    }
}

/// How many of the wanted were given, and when one more would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Given, 0 to the number wanted.
    pub granted: u32,
    /// Until the next one is free; zero where all were given.
    pub retry_after: Duration,
}

/// KEYS[1] theoretical arrival time; ARGV interval (us), period (us), wanted. Gives {granted, wait (us)}.
const GCRA: &str = r"
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local interval, period, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local room = math.floor((now + period - tat) / interval)
local granted = math.max(0, math.min(wanted, room))
if granted > 0 then
  tat = tat + granted * interval
  redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
end
local wait = 0
if granted < wanted then wait = math.max(0, tat + interval - period - now) end
return {granted, wait}
";

/// KEYS[1] theoretical arrival time; ARGV interval (us), unused.
const GIVE_BACK: &str = r"
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local tat = tonumber(redis.call('GET', KEYS[1]) or 0) - tonumber(ARGV[1]) * tonumber(ARGV[2])
if tat > now then
  redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
else
  redis.call('DEL', KEYS[1])
end
return 0
";

/// Counts for all processes.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    redis: Redis,
    script: Arc<redis::Script>,
    give_back: Arc<redis::Script>,
    local: Arc<Mutex<HashMap<String, Instant>>>,
}

impl RateLimiter {
    /// A limiter over `redis`.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self {
            redis,
            script: Arc::new(redis::Script::new(GCRA)),
            give_back: Arc::new(redis::Script::new(GIVE_BACK)),
            local: Arc::default(),
        }
    }

    /// Takes up to `wanted` from `key`. With Redis away this process has `1 / share_of` of the limit.
    pub async fn take(&self, key: &str, limit: Limit, wanted: u32, share_of: u32) -> Grant {
        let (interval, period) = (limit.interval_us(), limit.period.as_micros() as u64);
        let name = self.redis.key(&format!("limit:{key}"));
        let mut call = self.script.key(name);
        call.arg(interval).arg(period).arg(wanted);
        match self.redis.script::<(u32, u64)>(&call).await {
            Ok((granted, wait_us)) => Grant { granted, retry_after: Duration::from_micros(wait_us) },
            Err(_) => self.take_local(key, limit, wanted, share_of.max(1)),
        }
    }

    /// Gives `unused` of what was taken back.
    pub async fn give_back(&self, key: &str, limit: Limit, unused: u32, share_of: u32) {
        if unused == 0 {
            return;
        }
        let mut call = self.give_back.key(self.redis.key(&format!("limit:{key}")));
        call.arg(limit.interval_us()).arg(unused);
        if self.redis.script::<i64>(&call).await.is_err() {
            let interval = Duration::from_micros(limit.interval_us()) * share_of.max(1);
            let mut counts = self.local.lock();
            if let Some(arrival) = counts.get_mut(key) {
                *arrival = arrival.checked_sub(interval * unused).unwrap_or(*arrival);
            }
        }
    }

    /// Forgets what was taken from `key`.
    pub async fn reset(&self, key: &str) {
        self.local.lock().remove(key);
        let _ = self.redis.run::<i64>(redis::cmd("DEL").arg(self.redis.key(&format!("limit:{key}")))).await;
    }

    fn take_local(&self, key: &str, limit: Limit, wanted: u32, share_of: u32) -> Grant {
        let now = Instant::now();
        let interval = Duration::from_micros(limit.interval_us()) * share_of;
        let mut counts = self.local.lock();
        if counts.len() >= LOCAL_KEYS_MAX {
            counts.retain(|_, arrival| *arrival > now);
            if counts.len() >= LOCAL_KEYS_MAX {
                counts.clear();
            }
        }
        let arrival = counts.get(key).copied().unwrap_or(now).max(now);
        let room = (limit.period.saturating_sub(arrival - now)).as_micros() / interval.as_micros().max(1);
        let granted = wanted.min(u32::try_from(room).unwrap_or(u32::MAX));
        let arrival = arrival + interval * granted;
        counts.insert(key.to_owned(), arrival);
        let retry_after = if granted < wanted {
            (arrival + interval).saturating_duration_since(now).saturating_sub(limit.period)
        } else {
            Duration::ZERO
        };
        Grant { granted, retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> RateLimiter {
        RateLimiter::new(Redis::new("redis://127.0.0.1:1", "test").expect("a well-formed URL"))
    }

    #[tokio::test]
    async fn without_redis_a_limit_still_holds() {
        let limiter = away();
        let limit = Limit { count: 5, period: Duration::from_secs(60) };
        let first = limiter.take("a", limit, 3, 1).await;
        assert_eq!(first, Grant { granted: 3, retry_after: Duration::ZERO });
        let second = limiter.take("a", limit, 3, 1).await;
        assert_eq!(second.granted, 2);
        assert!(second.retry_after > Duration::from_secs(11) && second.retry_after <= Duration::from_secs(12));
        assert_eq!(limiter.take("b", limit, 1, 1).await.granted, 1);
    }

    #[tokio::test]
    async fn without_redis_a_process_has_its_share_of_the_limit() {
        let limiter = away();
        let limit = Limit { count: 10, period: Duration::from_secs(60) };
        assert_eq!(limiter.take("a", limit, 10, 2).await.granted, 5);
    }

    #[tokio::test]
    async fn what_is_given_back_can_be_taken_again() {
        let limiter = away();
        let limit = Limit { count: 5, period: Duration::from_secs(60) };
        assert_eq!(limiter.take("a", limit, 5, 1).await.granted, 5);
        limiter.give_back("a", limit, 2, 1).await;
        assert_eq!(limiter.take("a", limit, 5, 1).await.granted, 2);
    }

    #[tokio::test]
    async fn forgetting_gives_the_whole_limit_back() {
        let limiter = away();
        let limit = Limit { count: 1, period: Duration::from_secs(60) };
        assert_eq!(limiter.take("a", limit, 1, 1).await.granted, 1);
        assert_eq!(limiter.take("a", limit, 1, 1).await.granted, 0);
        limiter.reset("a").await;
        assert_eq!(limiter.take("a", limit, 1, 1).await.granted, 1);
    }
}
