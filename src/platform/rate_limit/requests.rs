//! Limits on requests. Each process decides by what it knows, in a microsecond and without asking anybody; what it let through it
//! counts in Redis a moment later, many at once, and learns what the others have let through.
//!
//! So processes may let through too much together, once: each of n that hear of a client at the same moment lets it have up to the
//! whole limit before they know of each other. What was too much is counted all the same, and has to pass before anybody lets
//! anything through again. In any time t, n processes let through at most `n * count + count * t / period`. In practice it is the
//! limit and what comes within a round trip, because each tells Redis when it has let through a sixteenth of a limit.

use std::{
    collections::HashMap,
    fmt::Write,
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Limit, RateLimiter, network, now_us};
use crate::platform::error::{AppError, ErrorKind};

/// How often allowed requests are added to the counters in Redis.
const SETTLE_EVERY: Duration = Duration::from_millis(100);
/// They are added at once when they exceed one part in so many of a client's limit.
const SETTLE_AT_ONCE: u32 = 16;
/// Clients in one call to Redis.
const SETTLED_AT_ONCE_MAX: usize = 256;
/// Clients that a process knows; it forgets all beyond it, and hears of them again from Redis.
const SUBJECTS_MAX: usize = 100_000;
/// How often clients are forgotten that have their whole limit again.
const FORGET_EVERY_US: u64 = 10_000_000;
/// Over how long limits on requests count.
const WINDOW: Duration = Duration::from_secs(10);

/// The client that a request counts against.
#[derive(Clone, Copy, Debug)]
pub enum LimitedClient<'a> {
    /// The user whose access token it has.
    User(&'a str),
    Key(&'a str),
    /// The client's address; of IPv6 its /64.
    Address(IpAddr),
}

impl LimitedClient<'_> {
    /// The name of its limit, in headers and metrics.
    const fn policy(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Key(_) => "key",
            Self::Address(_) => "address",
        }
    }

    fn key(self) -> String {
        match self {
            Self::User(id) => format!("requests:user:{id}"),
            Self::Key(id) => format!("requests:key:{id}"),
            Self::Address(address) => format!("requests:address:{}", network(address, 64)),
        }
    }
}

/// How a client stands after a request that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    policy: &'static str,
    limit: Limit,
    /// Requests that it may make at once.
    left: u64,
    /// Until it has its whole limit again.
    full_in: Duration,
}

/// Limits that a request was counted by, for the headers of its answer.
#[derive(Clone, Debug, Default)]
pub struct CountedLimits(Arc<Mutex<Vec<LimitStatus>>>);

impl CountedLimits {
    /// Writes `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11): lists of structured fields, an item for
    /// each limit; `q` in `w` seconds, of which `r` are left, until in `t` seconds all are there again.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let (mut policies, mut states) = (String::new(), String::new());
        for standing in self.0.lock().iter() {
            let LimitStatus { policy, limit, left, full_in } = standing;
            let comma = if policies.is_empty() { "" } else { ", " };
            let (window, until) = (limit.period.as_secs(), full_in.as_secs_f64().ceil());
            let _ = write!(policies, "{comma}\"{policy}\";q={};w={window}", limit.count);
            let _ = write!(states, "{comma}\"{policy}\";r={left};t={until}");
        }
        if policies.is_empty() {
            return;
        }
        for (name, value) in [("ratelimit-policy", policies), ("ratelimit", states)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Requests of a client, as this process has counted them.
#[derive(Debug)]
struct ClientUse {
    limit: Limit,
    arrival_us: u64,
    /// Let through since it was counted in Redis.
    unsettled: u32,
}

#[derive(Debug, Default)]
struct KnownClients {
    subjects: HashMap<String, ClientUse>,
    /// Clients with requests that are not in Redis yet.
    unsettled: Vec<String>,
    forgot_at_us: u64,
}

/// How many requests each may make. Cloning gives the same limits.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limiter: RateLimiter,
    user: Option<Limit>,
    key: Option<Limit>,
    address: Option<Limit>,
    known: Mutex<KnownClients>,
    settle: Notify,
}

impl RequestLimits {
    /// So many requests in ten seconds for each user, API key and address; 0 for as many as anybody likes. Settles in a task of its
    /// own, which ends with the last handle.
    #[must_use]
    pub fn new(limiter: RateLimiter, user: u32, key: u32, address: u32) -> Self {
        let limit = |count| (count > 0).then_some(Limit { count, period: WINDOW });
        let (user, key, address) = (limit(user), limit(key), limit(address));
        let inner = Arc::new(Inner { limiter, user, key, address, known: Mutex::default(), settle: Notify::new() });
        tokio::spawn(settle(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Counts a request of `subject`, and notes for the answer's headers how it stands.
    ///
    /// # Errors
    /// 429 with `Retry-After`; it is not counted.
    pub fn count(&self, subject: LimitedClient<'_>, counted: Option<&CountedLimits>) -> Result<(), AppError> {
        let limit = match subject {
            LimitedClient::User(_) => self.inner.user,
            LimitedClient::Key(_) => self.inner.key,
            LimitedClient::Address(_) => self.inner.address,
        };
        let Some(limit) = limit else { return Ok(()) };
        let now_us = now_us();
        let (taken, arrival_us) = self.inner.take(subject.key(), limit, now_us);
        if let Some(counted) = counted {
            let ahead_us = arrival_us.saturating_sub(now_us);
            let left = limit.period_us().saturating_sub(ahead_us) / limit.interval_us().max(1);
            let full_in = Duration::from_micros(ahead_us);
            counted.0.lock().push(LimitStatus { policy: subject.policy(), limit, left, full_in });
        }
        taken.map_err(|wait| {
            metrics::counter!("waybill_requests_limited_total", "policy" => subject.policy()).increment(1);
            too_many(subject.policy(), wait)
        })
    }

    /// Counts in Redis what is unsettled, now; for tests.
    pub async fn settle_now(&self) {
        self.inner.settle().await;
    }
}

/// 429 with the time after which one more request is free.
fn too_many(policy: &'static str, retry_after: Duration) -> AppError {
    AppError::new(ErrorKind::RateLimited, "request.rate_limited", "Too many requests; wait before the next one.")
        .retry_after(retry_after)
        .with("violated-policies", [policy])
}

impl Inner {
    /// Lets one request through, or says how long to wait; and the arrival time in either case.
    fn take(&self, key: String, limit: Limit, now_us: u64) -> (Result<(), Duration>, u64) {
        let mut known = self.known.lock();
        known.forget(now_us);
        let KnownClients { subjects, unsettled, .. } = &mut *known;
        let used = subjects.entry(key.clone()).or_insert(ClientUse { limit, arrival_us: now_us, unsettled: 0 });
        let arrival_us = limit.arrival_us(used.arrival_us, 1, now_us);
        let wait = limit.wait(arrival_us, now_us);
        if !wait.is_zero() {
            return (Err(wait), used.arrival_us);
        }
        used.arrival_us = arrival_us;
        if used.unsettled == 0 {
            unsettled.push(key);
        }
        used.unsettled += 1;
        if used.unsettled.is_multiple_of((limit.count / SETTLE_AT_ONCE).max(1)) {
            self.settle.notify_one();
        }
        (Ok(()), arrival_us)
    }

    async fn settle(&self) {
        let mut keys = std::mem::take(&mut self.known.lock().unsettled);
        while !keys.is_empty() {
            let some = keys.split_off(keys.len().saturating_sub(SETTLED_AT_ONCE_MAX));
            let taken: Vec<(&str, Limit, u32)> = {
                let mut known = self.known.lock();
                let used = some.iter().filter_map(|key| {
                    let used = known.subjects.get_mut(key)?;
                    Some((key.as_str(), used.limit, std::mem::take(&mut used.unsettled)))
                });
                used.collect()
            };
            if taken.is_empty() {
                continue;
            }
            // With Redis away they are lost, and each process counts for itself.
            let Ok(ahead) = self.limiter.count(&taken).await else { continue };
            let (now_us, mut known) = (now_us(), self.known.lock());
            for ((key, limit, _), ahead_us) in taken.iter().zip(ahead) {
                let Some(used) = known.subjects.get_mut(*key) else { continue };
                let since = limit.arrival_us(now_us + ahead_us, i64::from(used.unsettled), now_us);
                // A Redis that was emptied knows less.
                used.arrival_us = used.arrival_us.max(since);
            }
        }
    }
}

impl KnownClients {
    /// Forgets those who have their whole limit, and all where they are too many.
    fn forget(&mut self, now_us: u64) {
        let is_full = self.subjects.len() >= SUBJECTS_MAX;
        if is_full || now_us.saturating_sub(self.forgot_at_us) > FORGET_EVERY_US {
            self.forgot_at_us = now_us;
            self.subjects.retain(|_, used| used.arrival_us > now_us || used.unsettled > 0);
        }
        if self.subjects.len() >= SUBJECTS_MAX {
            self.subjects.clear();
            self.unsettled.clear();
        }
    }
}

async fn settle(limits: Weak<Inner>) {
    loop {
        let Some(inner) = limits.upgrade() else { return };
        let _ = tokio::time::timeout(SETTLE_EVERY, inner.settle.notified()).await;
        inner.settle().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::redis::Redis;

    /// As with Redis away.
    fn limits(user: u32, key: u32, address: u32) -> RequestLimits {
        let redis = Redis::new("redis://127.0.0.1:1", "test").expect("a well-formed URL");
        RequestLimits::new(RateLimiter::new(redis), user, key, address)
    }

    fn told(counted: &CountedLimits) -> [String; 2] {
        let mut headers = HeaderMap::new();
        counted.tell(&mut headers);
        ["ratelimit-policy", "ratelimit"]
            .map(|name| headers.get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default())
    }

    #[tokio::test]
    async fn each_counts_for_itself_and_is_told_how_it_stands() {
        let limits = limits(2, 0, 5);
        let address = LimitedClient::Address("2001:db8::1".parse().expect("an address"));
        let counted = CountedLimits::default();
        for subject in [address, LimitedClient::User("usr_1")] {
            limits.count(subject, Some(&counted)).expect("the first one");
        }
        assert_eq!(
            told(&counted),
            [r#""address";q=5;w=10, "user";q=2;w=10"#, r#""address";r=4;t=2, "user";r=1;t=5"#].map(str::to_owned)
        );
        limits.count(LimitedClient::User("usr_1"), None).expect("the second one");
        let refused = CountedLimits::default();
        let error = limits.count(LimitedClient::User("usr_1"), Some(&refused)).expect_err("two are made");
        let wait = error.retry_after.expect("a time");
        assert!(wait > Duration::from_secs(4) && wait <= Duration::from_secs(5), "{wait:?}");
        assert_eq!(
            (error.kind, error.members["violated-policies"][0].as_str()),
            (ErrorKind::RateLimited, Some("user"))
        );
        assert_eq!(told(&refused)[1], r#""user";r=0;t=10"#);
        limits.count(LimitedClient::User("usr_2"), None).expect("somebody else");
        let neighbour = LimitedClient::Address("2001:db8::ffff:2".parse().expect("an address"));
        for _ in 0..4 {
            limits.count(neighbour, None).expect("the network has five");
        }
        assert!(limits.count(address, None).is_err(), "they are used up by its neighbour");
    }

    #[tokio::test]
    async fn a_limit_of_none_counts_nothing() {
        let (limits, counted) = (limits(0, 0, 0), CountedLimits::default());
        for _ in 0..100 {
            for subject in [LimitedClient::User("u"), LimitedClient::Key("k")] {
                limits.count(subject, Some(&counted)).expect("no limit");
            }
        }
        assert_eq!(told(&counted), [String::new(), String::new()]);
        assert!(limits.inner.known.lock().subjects.is_empty());
    }

    #[tokio::test]
    async fn what_is_known_of_clients_is_bounded() {
        let limits = limits(1, 0, 0);
        for n in 0..=SUBJECTS_MAX {
            let _ = limits.count(LimitedClient::User(&n.to_string()), None);
        }
        let known = limits.inner.known.lock();
        assert!(known.subjects.len() <= SUBJECTS_MAX && known.unsettled.len() <= SUBJECTS_MAX);
    }
}
