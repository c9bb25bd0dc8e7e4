//! Rate limits by GCRA (generic cell rate algorithm), counted in Redis for all processes together. With Redis away each process
//! counts for itself: a limit gets coarser, never absent.
//!
//! There are two ways to ask. [`RateLimiter::take`] asks Redis first: for guesses at passwords, which are few, and where not one too
//! many may pass. [`RequestLimits`] decides here and settles with Redis afterwards: for requests, which are many. Both count alike.

mod requests;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::redis::{Redis, RedisUnavailable};

pub use requests::{CountedLimits, LimitStatus, LimitedClient, RequestLimits};

/// At most this many keys are counted locally; the counts are dropped beyond it.
const LOCAL_KEYS_MAX: usize = 10_000;

/// So many in so long, with a burst of all of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub count: u32,
    pub period: Duration,
}

impl Limit {
    /// Microseconds that one cell takes.
    const fn interval_us(self) -> u64 {
        let count = if self.count == 0 { 1 } else { self.count as u64 };
        self.period_us() / count
    }

    const fn period_us(self) -> u64 {
        self.period.as_micros() as u64
    }

    /// The theoretical arrival time once `cells` more are taken, or given back where that is negative.
    fn arrival_us(self, arrival_us: u64, cells: i64, now_us: u64) -> u64 {
        let taken_us = cells.saturating_mul(i64::try_from(self.interval_us()).unwrap_or(i64::MAX));
        arrival_us.max(now_us).saturating_add_signed(taken_us).max(now_us)
    }

    /// How long it takes until that arrival time is within the limit; zero where it is.
    const fn wait(self, arrival_us: u64, now_us: u64) -> Duration {
        Duration::from_micros(arrival_us.saturating_sub(now_us + self.period_us()))
    }
}

/// Microseconds since this process began to count.
fn now_us() -> u64 {
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    STARTED.elapsed().as_micros() as u64
}

/// KEYS theoretical arrival times; ARGV `take` or `count`, and for each key interval (us), period (us) and cells. `take` takes from
/// all or from none and gives {wait (us)}, 0 where it took; `count` takes (or gives back) whatever the limits say. Who has taken is
/// told how far each arrival time is ahead (us), too.
const GCRA: &str = r"
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local arrivals, wait = {}, 0
for i, key in ipairs(KEYS) do
  local interval, period, cells = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  arrivals[i] = math.max(math.max(tonumber(redis.call('GET', key) or 0), now) + cells * interval, now)
  wait = math.max(wait, arrivals[i] - period - now)
end
if ARGV[1] == 'take' and wait > 0 then return {wait} end
local answer = {0}
for i, key in ipairs(KEYS) do
  local ahead = arrivals[i] - now
  answer[i + 1] = ahead
  if ahead > 0 then
    redis.call('SET', key, string.format('%.0f', arrivals[i]), 'PX', math.ceil(ahead / 1000) + 1)
  else
    redis.call('DEL', key)
  end
end
return answer
";

/// A counter: its key and its limit.
pub type Counter<'a> = (&'a str, Limit);

/// Counts for all processes.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    redis: Redis,
    script: Arc<redis::Script>,
    /// For as long as Redis is away.
    local: Arc<LocalLimits>,
}

impl RateLimiter {
    /// A limiter over `redis`.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis, script: Arc::new(redis::Script::new(GCRA)), local: Arc::default() }
    }

    /// Takes one from each, or none from any where one has none left.
    ///
    /// # Errors
    /// How long it takes until each has one.
    pub async fn take(&self, counters: &[Counter<'_>]) -> Result<(), Duration> {
        if counters.is_empty() {
            return Ok(());
        }
        let cells = counters.iter().map(|(key, limit)| (*key, *limit, 1));
        let wait = match self.ask("take", cells).await {
            Ok(answer) => Duration::from_micros(answer.first().copied().unwrap_or_default()),
            Err(RedisUnavailable(_)) => return self.local.take(counters),
        };
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Gives one that was taken back to each.
    pub async fn give_back(&self, counters: &[Counter<'_>]) {
        if counters.is_empty() {
            return;
        }
        let cells = counters.iter().map(|(key, limit)| (*key, *limit, -1));
        if self.ask("count", cells).await.is_err() {
            let (now_us, mut local) = (now_us(), self.local.0.lock());
            for (key, limit) in counters {
                if let Some(arrival_us) = local.get_mut(*key) {
                    *arrival_us = limit.arrival_us(*arrival_us, -1, now_us);
                }
            }
        }
    }

    /// Counts what was taken from each already; gives how far ahead each arrival time is now (us).
    async fn count(&self, taken: &[(&str, Limit, u32)]) -> Result<Vec<u64>, RedisUnavailable> {
        let cells = taken.iter().map(|(key, limit, cells)| (*key, *limit, i64::from(*cells)));
        self.ask("count", cells).await.map(|mut answer| answer.split_off(1.min(answer.len())))
    }

    /// Forgets what was taken from `key`.
    pub async fn reset(&self, key: &str) {
        self.local.0.lock().remove(key);
        let _ = self.redis.run::<i64>(redis::cmd("DEL").arg(self.name(key))).await;
    }

    fn name(&self, key: &str) -> String {
        self.redis.key(&format!("limit:{key}"))
    }

    async fn ask<'a>(
        &self,
        what: &str,
        cells: impl Iterator<Item = (&'a str, Limit, i64)>,
    ) -> Result<Vec<u64>, RedisUnavailable> {
        let mut call = self.script.prepare_invoke();
        call.arg(what);
        for (key, limit, cells) in cells {
            call.key(self.name(key)).arg(limit.interval_us()).arg(limit.period_us()).arg(cells);
        }
        self.redis.script(&call).await
    }
}

/// Counts for this process alone: arrival times by key.
#[derive(Debug, Default)]
pub struct LocalLimits(Mutex<HashMap<String, u64>>);

impl LocalLimits {
    /// Takes one from each, or none from any where one has none left.
    ///
    /// # Errors
    /// How long it takes until each has one.
    pub fn take(&self, counters: &[Counter<'_>]) -> Result<(), Duration> {
        self.take_at(counters, now_us())
    }

    fn take_at(&self, counters: &[Counter<'_>], now_us: u64) -> Result<(), Duration> {
        let mut local = self.0.lock();
        if local.len() + counters.len() > LOCAL_KEYS_MAX {
            local.retain(|_, arrival_us| *arrival_us > now_us);
            if local.len() + counters.len() > LOCAL_KEYS_MAX {
                local.clear();
            }
        }
        let arrival = |(key, limit): &Counter<'_>| {
            let arrival_us = local.get(*key).copied().unwrap_or_default();
            (limit.arrival_us(arrival_us, 1, now_us), *limit)
        };
        let arrivals: Vec<_> = counters.iter().map(arrival).collect();
        let wait = arrivals.iter().map(|(arrival_us, limit)| limit.wait(*arrival_us, now_us)).max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        local.extend(counters.iter().zip(arrivals).map(|((key, _), (arrival_us, _))| ((*key).to_owned(), arrival_us)));
        Ok(())
    }
}

/// The network of an IPv6 address, or an IPv4 address: whoever has one IPv6 address has its whole /64, at least.
#[must_use]
pub fn network(address: IpAddr, prefix_of_ipv6: u32) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let host_bits = 128 - prefix_of_ipv6;
            format!("{}/{prefix_of_ipv6}", Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> RateLimiter {
        RateLimiter::new(Redis::new("redis://127.0.0.1:1", "test").expect("a well-formed URL"))
    }

    const fn per_minute(count: u32) -> Limit {
        Limit { count, period: Duration::from_secs(60) }
    }

    #[tokio::test]
    async fn without_redis_a_limit_still_holds() {
        let (limiter, limit) = (away(), per_minute(5));
        for _ in 0..5 {
            assert_eq!(limiter.take(&[("a", limit)]).await, Ok(()));
        }
        let wait = limiter.take(&[("a", limit)]).await.expect_err("five are taken");
        assert!(wait > Duration::from_secs(11) && wait <= Duration::from_secs(12), "{wait:?}");
        assert_eq!(limiter.take(&[("b", limit)]).await, Ok(()));
    }

    #[tokio::test]
    async fn one_is_taken_from_all_or_from_none() {
        let limiter = away();
        let (few, many) = (("few", per_minute(1)), ("many", per_minute(2)));
        assert_eq!(limiter.take(&[few, many]).await, Ok(()));
        assert!(limiter.take(&[few, many]).await.is_err());
        assert_eq!(limiter.take(&[many]).await, Ok(()), "the refused one took nothing");
        assert!(limiter.take(&[many]).await.is_err());
    }

    #[tokio::test]
    async fn what_is_given_back_can_be_taken_again() {
        let (limiter, limit) = (away(), per_minute(2));
        for _ in 0..2 {
            assert_eq!(limiter.take(&[("a", limit)]).await, Ok(()));
        }
        limiter.give_back(&[("a", limit)]).await;
        assert_eq!(limiter.take(&[("a", limit)]).await, Ok(()));
        assert!(limiter.take(&[("a", limit)]).await.is_err());
    }

    #[tokio::test]
    async fn forgetting_gives_the_whole_limit_back() {
        let (limiter, limit) = (away(), per_minute(1));
        assert_eq!(limiter.take(&[("a", limit)]).await, Ok(()));
        assert!(limiter.take(&[("a", limit)]).await.is_err());
        limiter.reset("a").await;
        assert_eq!(limiter.take(&[("a", limit)]).await, Ok(()));
    }

    #[test]
    fn what_was_taken_comes_back_with_time() {
        let (limits, limit, start) = (LocalLimits::default(), per_minute(2), 1_000_000_000);
        let take = |seconds: u64| limits.take_at(&[("a", limit)], start + seconds * 1_000_000);
        assert_eq!((take(0), take(0), take(0)), (Ok(()), Ok(()), Err(Duration::from_secs(30))));
        assert_eq!((take(30), take(30)), (Ok(()), Err(Duration::from_secs(30))));
        assert_eq!((take(600), take(600), take(600).is_err()), (Ok(()), Ok(()), true));
    }

    #[test]
    fn an_address_counts_with_its_network() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(network(address.parse().expect("an address"), 64), expected);
        }
    }
}
