//! How often somebody may be wrong.
//!
//! A guess counts against the account from this network, against the network, and against the account. The first limit is
//! low, so that guessing at one account from somewhere shuts out nobody but that network; the others are high, for those who
//! guess at many accounts, or from many networks. Whoever has signed in before, on this device or in this session, is counted
//! alone: strangers' guesses don't shut the owner out.
//!
//! All of it is taken before a password is verified and given back when it was right, so parallel guesses can't get past it.
//!
//! Letters that somebody asks for count against the address that they go to, whether or not it is anybody's, and the network.

use std::{net::IpAddr, time::Duration};

use super::error::AuthError;
use crate::platform::{
    rate_limit::{Limit, RateLimiter, network},
    secret::sha256_hex,
};

const MINUTE: Duration = Duration::from_secs(60);

/// How often somebody may try. Limits per network are those of an IPv4 address or an IPv6 /64; a /56 has twice as much, a /48
/// four times.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// Wrong passwords for one account from one network.
    pub login_account_network: Limit,
    /// Wrong passwords from one network, for any account: an office mistypes, too.
    pub login_network: Limit,
    /// Wrong passwords for one account from anywhere. It comes back quickly, so that who uses it up has to go on guessing from
    /// many networks; a password that is not among the common ones is safe from 24,000 guesses a day.
    pub login_account: Limit,
    /// Wrong passwords from a device or a session of the user's own.
    pub login_known: Limit,
    /// Letters to one address that somebody asks for. Who uses them up for somebody else has sent as many to the owner, each
    /// with a link that works.
    pub letter_address: Limit,
    /// The same from one network, to any address.
    pub letter_network: Limit,
    pub register_network: Limit,
    /// Refreshes and sign-outs of one session.
    pub session: Limit,
    /// Refreshes and sign-outs from one network; and looks for API keys.
    pub session_network: Limit,
    /// Whether the last three apply; the limits on wrong passwords and letters always do.
    pub requests_limited: bool,
}

impl Default for AttemptLimits {
    fn default() -> Self {
        let wrong = Limit { count: 20, period: 15 * MINUTE };
        Self {
            login_account_network: wrong,
            login_network: Limit { count: 200, period: 15 * MINUTE },
            login_account: Limit { count: 1_000, period: 60 * MINUTE },
            login_known: wrong,
            letter_address: Limit { count: 5, period: 60 * MINUTE },
            letter_network: Limit { count: 30, period: 60 * MINUTE },
            // An office that moves in behind one address must fit.
            register_network: Limit { count: 60, period: 60 * MINUTE },
            // One is needed every fifteen minutes.
            session: Limit { count: 60, period: 10 * MINUTE },
            session_network: Limit { count: 600, period: MINUTE },
            requests_limited: false,
        }
    }
}

/// Where an attempt to sign in comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum AttemptSource<'a> {
    Stranger {
        email: &'a str,
        address: Option<IpAddr>,
    },
    /// A device or a session of the user's, by a name that no other has.
    Known(&'a str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttemptCounter {
    key: String,
    limit: Limit,
    /// A right password clears what was counted before; else it gives back its own attempt alone, so that signing in to an
    /// account of one's own does not wipe one's guesses at others.
    cleared: bool,
}

impl AttemptCounter {
    fn as_limited(&self) -> (&str, Limit) {
        (&self.key, self.limit)
    }
}

#[derive(Debug)]
pub(super) struct Attempts {
    limiter: RateLimiter,
    limits: AttemptLimits,
}

impl Attempts {
    pub(super) const fn new(limiter: RateLimiter, limits: AttemptLimits) -> Self {
        Self { limiter, limits }
    }

    /// The counters that an attempt of `guesser` counts against.
    pub(super) fn counters(&self, guesser: AttemptSource<'_>) -> Vec<AttemptCounter> {
        let (email, address) = match guesser {
            AttemptSource::Known(id) => {
                let key = format!("login:known:{id}");
                return vec![AttemptCounter { key, limit: self.limits.login_known, cleared: true }];
            }
            AttemptSource::Stranger { email, address } => (account_name(email), address),
        };
        let mut counters = Vec::new();
        for (network, times) in address.into_iter().flat_map(networks) {
            let of = |what: &str, limit: Limit, cleared| AttemptCounter {
                key: format!("login:{what}:{network}"),
                limit: Limit { count: limit.count * times, ..limit },
                cleared,
            };
            counters.push(of(&email, self.limits.login_account_network, true));
            counters.push(of("network", self.limits.login_network, false));
        }
        let key = format!("login:account:{email}");
        counters.push(AttemptCounter { key, limit: self.limits.login_account, cleared: false });
        counters
    }

    /// Refuses who was wrong too often; counts nothing.
    pub(super) async fn check(&self, counters: &[AttemptCounter]) -> Result<(), AuthError> {
        let peeks: Vec<_> = counters.iter().map(|counter| (&*counter.key, peek(counter.limit))).collect();
        granted(self.limiter.take(&peeks).await)
    }

    /// Takes an attempt, before it is known whether the password is right: from every counter, or from none.
    pub(super) async fn take(&self, counters: &[AttemptCounter]) -> Result<(), AuthError> {
        let all: Vec<_> = counters.iter().map(AttemptCounter::as_limited).collect();
        granted(self.limiter.take(&all).await)
    }

    /// Gives back what was taken: the password was right.
    pub(super) async fn give_back_attempt(&self, counters: &[AttemptCounter]) {
        let (cleared, others): (Vec<_>, Vec<_>) = counters.iter().partition(|counter| counter.cleared);
        for counter in cleared {
            self.limiter.reset(&counter.key).await;
        }
        let others: Vec<_> = others.into_iter().map(AttemptCounter::as_limited).collect();
        self.limiter.give_back(&others).await;
    }

    /// Lets a user try again after wrong passwords, from where a stranger's count: who it is was shown by other means.
    pub(super) async fn clear_wrong_passwords(&self, email: &str, address: Option<IpAddr>) {
        let counters = self.counters(AttemptSource::Stranger { email, address });
        for counter in counters.iter().filter(|counter| counter.cleared) {
            self.limiter.reset(&counter.key).await;
        }
    }

    /// Takes one letter of a kind to an address, asked for from the network.
    pub(super) async fn count_letter(&self, kind: &str, to: &str, from: Option<IpAddr>) -> Result<(), AuthError> {
        let of = |key: String, limit| AttemptCounter { key: format!("letter:{key}"), limit, cleared: false };
        let networks = from.into_iter().flat_map(networks).map(|(network, times)| {
            let limit = self.limits.letter_network;
            of(network, Limit { count: limit.count * times, ..limit })
        });
        let to = of(format!("{kind}:{}", account_name(to)), self.limits.letter_address);
        self.take(&networks.chain([to]).collect::<Vec<_>>()).await
    }

    /// Takes one new account from the network.
    pub(super) async fn take_registration(&self, address: Option<IpAddr>) -> Result<(), AuthError> {
        self.take_from_network("register", self.limits.register_network, address).await
    }

    /// Takes one refresh or sign-out from the network; to be asked before anything is done for it.
    pub(super) async fn take_session_request(&self, address: Option<IpAddr>) -> Result<(), AuthError> {
        self.take_from_network("session", self.limits.session_network, address).await
    }

    /// Takes one look for an API key that this process doesn't know; whoever makes keys up must not have the database look for
    /// each of them.
    pub(super) async fn take_key_look_up(&self, address: Option<IpAddr>) -> Result<(), AuthError> {
        self.take_from_network("key", self.limits.session_network, address).await
    }

    /// Takes one refresh or sign-out of this session.
    pub(super) async fn take_of_session(&self, session_id: &str) -> Result<(), AuthError> {
        if !self.limits.requests_limited {
            return Ok(());
        }
        granted(self.limiter.take(&[(&format!("session:{session_id}"), self.limits.session)]).await)
    }

    async fn take_from_network(&self, what: &str, limit: Limit, address: Option<IpAddr>) -> Result<(), AuthError> {
        let networks = address.filter(|_| self.limits.requests_limited).into_iter().flat_map(networks);
        let counters: Vec<_> = networks
            .map(|(network, times)| {
                let limit = Limit { count: limit.count * times, ..limit };
                AttemptCounter { key: format!("{what}:{network}"), limit, cleared: false }
            })
            .collect();
        self.take(&counters).await
    }
}

fn granted(taken: Result<(), Duration>) -> Result<(), AuthError> {
    taken.map_err(|retry_after| AuthError::TooManyAttempts { retry_after })
}

/// A limit that is exhausted exactly when `limit` is, and of which one cell takes a microsecond: taking one is
/// looking without counting. (The same key under another interval: both see the same arrival time, and this
/// one has room for a microsecond just when `limit` has room for a whole cell.)
fn peek(limit: Limit) -> Limit {
    let period_us = u64::try_from(limit.period.as_micros()).unwrap_or(u64::MAX);
    let cell_us = period_us / u64::from(limit.count.max(1));
    let left_us = period_us - cell_us + 1;
    Limit { count: u32::try_from(left_us).unwrap_or(u32::MAX), period: Duration::from_micros(left_us) }
}

/// Hashed: an e-mail address has no business in a cache.
fn account_name(email: &str) -> String {
    sha256_hex(email.as_bytes())
}

/// The networks that an address is in, and how many times the limit of one address each has. Whoever has one IPv6 address has
/// its whole /64, and providers give customers a /56 or a /48.
fn networks(address: IpAddr) -> Vec<(String, u32)> {
    match address.to_canonical() {
        IpAddr::V4(_) => vec![(network(address, 64), 1)],
        IpAddr::V6(_) => [(64, 1), (56, 2), (48, 4)].map(|(prefix, times)| (network(address, prefix), times)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::redis::Redis;

    const HOME: &str = "192.0.2.1";

    /// Counts in this process, as with Redis away.
    fn attempts(limits: AttemptLimits) -> Attempts {
        Attempts::new(RateLimiter::new(Redis::new("redis://127.0.0.1:1", "test").expect("a well-formed URL")), limits)
    }

    fn guess(attempts: &Attempts, email: &str, address: &str) -> Vec<AttemptCounter> {
        let address = Some(address.parse().expect("an address"));
        attempts.counters(AttemptSource::Stranger { email, address })
    }

    /// How many of `guesses` are let through.
    async fn let_through(attempts: &Attempts, guesses: impl Iterator<Item = Vec<AttemptCounter>>) -> usize {
        let mut count = 0;
        for counters in guesses {
            count += usize::from(attempts.take(&counters).await.is_ok());
        }
        count
    }

    #[tokio::test]
    async fn twenty_guesses_block_the_network_from_that_account_only() {
        let attempts = attempts(AttemptLimits::default());
        let [here, elsewhere, other] = [("a@x.org", HOME), ("a@x.org", "192.0.2.2"), ("b@x.org", HOME)]
            .map(|(email, at)| guess(&attempts, email, at));
        for wrong in 0..20 {
            for _ in 0..50 {
                assert!(attempts.check(&here).await.is_ok(), "looking is free, after {wrong} wrong ones");
            }
            assert!(attempts.take(&here).await.is_ok());
        }
        for refused in [attempts.check(&here).await, attempts.take(&here).await] {
            let Err(AuthError::TooManyAttempts { retry_after }) = refused else { panic!("should be refused") };
            assert!(retry_after > Duration::from_secs(40) && retry_after <= Duration::from_secs(45), "{retry_after:?}");
        }
        for open in [&elsewhere, &other, &attempts.counters(AttemptSource::Known("device"))] {
            assert!(attempts.check(open).await.is_ok() && attempts.take(open).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_right_password_clears_its_account_here_and_no_guesses_at_others() {
        let limits = AttemptLimits { login_network: Limit { count: 30, period: MINUTE }, ..AttemptLimits::default() };
        let attempts = attempts(limits);
        let own = guess(&attempts, "own@x.org", HOME);
        for round in 0..3 {
            let guesses = (0..9).map(|n| guess(&attempts, &format!("{round}-{n}@x.org"), HOME));
            assert_eq!(let_through(&attempts, guesses).await, 9);
            attempts.take(&own).await.expect("an attempt");
            attempts.give_back_attempt(&own).await;
        }
        let guesses = (0..9).map(|n| guess(&attempts, &format!("{n}@y.org"), HOME));
        assert_eq!(let_through(&attempts, guesses).await, 3, "thirty from the network, whoever signed in between");
    }

    #[tokio::test]
    async fn many_networks_together_have_a_ceiling_and_the_owner_is_let_in() {
        let limits = AttemptLimits { login_account: Limit { count: 50, period: MINUTE }, ..AttemptLimits::default() };
        let attempts = attempts(limits);
        let guesses = (0..60).map(|n| guess(&attempts, "a@x.org", &format!("198.51.100.{n}")));
        assert_eq!(let_through(&attempts, guesses).await, 50);
        assert!(attempts.take(&guess(&attempts, "a@x.org", HOME)).await.is_err());
        assert!(attempts.take(&attempts.counters(AttemptSource::Known("device"))).await.is_ok());
    }

    #[tokio::test]
    async fn a_guess_that_is_refused_counts_nowhere() {
        let attempts = attempts(AttemptLimits::default());
        let guesses = (0..300).map(|_| guess(&attempts, "a@x.org", HOME));
        assert_eq!(let_through(&attempts, guesses).await, 20);
        let others = (0..300).map(|n| guess(&attempts, &format!("{n}@x.org"), HOME));
        assert_eq!(let_through(&attempts, others).await, 180, "twenty of two hundred are used up, not three hundred");
    }

    #[tokio::test]
    async fn whoever_has_many_networks_of_ipv6_has_four_times_as_much_at_most() {
        let attempts = attempts(AttemptLimits::default());
        let within_56 = (0..200).map(|n| guess(&attempts, "a@x.org", &format!("2001:db8:1:{:x}::1", n % 256)));
        assert_eq!(let_through(&attempts, within_56).await, 40);
        let within_48 =
            (0..200).map(|n| guess(&attempts, "a@x.org", &format!("2001:db8:1:{:x}::1", 256 * (1 + n % 200))));
        assert_eq!(let_through(&attempts, within_48).await, 40, "eighty in all");
        assert!(attempts.take(&guess(&attempts, "a@x.org", "2001:db8:2::1")).await.is_ok());
    }

    #[tokio::test]
    async fn requests_are_limited_only_where_that_is_on() {
        let one = Limit { count: 1, period: MINUTE };
        let limits =
            AttemptLimits { register_network: one, session: one, session_network: one, ..AttemptLimits::default() };
        let (off, on) = (attempts(limits), attempts(AttemptLimits { requests_limited: true, ..limits }));
        let home = Some(HOME.parse().expect("an address"));
        for (attempts, second) in [(off, true), (on, false)] {
            assert!(attempts.take_registration(home).await.is_ok());
            assert_eq!(attempts.take_registration(home).await.is_ok(), second);
            assert!(attempts.take_session_request(home).await.is_ok());
            assert_eq!(attempts.take_session_request(home).await.is_ok(), second);
            assert!(attempts.take_of_session("ses_1").await.is_ok());
            assert_eq!(attempts.take_of_session("ses_1").await.is_ok(), second);
            assert!(attempts.take_of_session("ses_2").await.is_ok(), "another session");
        }
    }

    #[tokio::test]
    async fn letters_have_limits_by_address_and_by_network() {
        let letter_network = Limit { count: 7, period: MINUTE };
        let attempts = attempts(AttemptLimits { letter_network, ..AttemptLimits::default() });
        let [home, elsewhere] = [HOME, "192.0.2.2"].map(|address| Some(address.parse().expect("an address")));
        let letters = async |to: &str, from| {
            let mut sent = 0;
            while attempts.count_letter("reset", to, from).await.is_ok() {
                sent += 1;
            }
            sent
        };
        assert_eq!(letters("a@x.org", home).await, 5);
        assert_eq!(letters("a@x.org", elsewhere).await, 0, "whoever asks");
        assert!(attempts.count_letter("verification", "a@x.org", elsewhere).await.is_ok(), "of another kind");
        assert_eq!(letters("b@x.org", home).await, 2, "seven from the network");
        assert_eq!(letters("b@x.org", elsewhere).await, 3);
    }

    #[tokio::test]
    async fn whoever_has_shown_to_be_the_owner_may_be_wrong_again() {
        let limits = AttemptLimits { login_network: Limit { count: 30, period: MINUTE }, ..AttemptLimits::default() };
        let attempts = attempts(limits);
        assert_eq!(let_through(&attempts, (0..30).map(|_| guess(&attempts, "a@x.org", HOME))).await, 20);
        attempts.clear_wrong_passwords("a@x.org", Some(HOME.parse().expect("an address"))).await;
        assert_eq!(
            let_through(&attempts, (0..30).map(|_| guess(&attempts, "a@x.org", HOME))).await,
            10,
            "guesses at others count on"
        );
    }

    #[tokio::test]
    async fn keys_hold_no_email_and_networks_nest() {
        let attempts = attempts(AttemptLimits::default());
        let counters = guess(&attempts, "a@example.com", "2001:db8:1:2:3::4");
        assert!(counters.iter().all(|counter| !counter.key.contains('@')), "{counters:?}");
        let of = |address: &str| networks(address.parse().expect("an address"));
        let named = |name: &str, times| (name.to_owned(), times);
        let nested = [named("2001:db8:1:12::/64", 1), named("2001:db8:1::/56", 2), named("2001:db8:1::/48", 4)];
        assert_eq!(of("2001:db8:1:12:3::4"), nested);
        assert_eq!(of("::ffff:192.0.2.7"), [named("192.0.2.7", 1)]);
    }
}
