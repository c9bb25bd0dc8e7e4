//! How often somebody may be wrong. The account's limit is taken before a password is verified and given back
//! when it was right, so parallel guesses can't get past it.
//!
//! An address is counted after a wrong password only: many people behind one address may sign in as often as they
//! like, and signing in to an account of one's own does not wipe one's guesses at others. It is looked at while
//! the caller holds its turn to compute, and counted before the turn is given up, so parallel guesses get past it
//! by no more than one less than the turns there are.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use super::error::AuthError;
use crate::platform::{
    rate_limit::{Grant, Limit, RateLimiter},
    secret::sha256_hex,
};

/// How often somebody may try.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Wrong passwords for one account.
    pub login_account: Limit,
    /// Wrong passwords from one address.
    pub login_address: Limit,
    /// New accounts from one address.
    pub register_address: Limit,
    /// Whether `register_address` applies; the limits of sign-ins always do.
    pub register_limited: bool,
}

impl Default for Limits {
    fn default() -> Self {
        let wrong = Limit { count: 20, period: Duration::from_secs(15 * 60) };
        Self {
            login_account: wrong,
            login_address: wrong,
            // An office that moves in behind one address must fit.
            register_address: Limit { count: 60, period: Duration::from_secs(60 * 60) },
            register_limited: false,
        }
    }
}

/// Counts attempts.
#[derive(Debug)]
pub(super) struct Attempts {
    limiter: RateLimiter,
    limits: Limits,
}

impl Attempts {
    pub(super) const fn new(limiter: RateLimiter, limits: Limits) -> Self {
        Self { limiter, limits }
    }

    /// Refuses an address that was wrong too often; counts nothing.
    pub(super) async fn check_address(&self, address: Option<IpAddr>) -> Result<(), AuthError> {
        let Some(address) = address else { return Ok(()) };
        let key = address_key("login", address);
        granted(self.limiter.take(&key, peek(self.limits.login_address), 1, 1).await)
    }

    /// Takes one attempt from the account, before it is known whether the password is right.
    pub(super) async fn take_account(&self, email: &str) -> Result<(), AuthError> {
        granted(self.limiter.take(&account_key(email), self.limits.login_account, 1, 1).await)
    }

    /// Gives the account its attempts back: the password was right.
    pub(super) async fn forgive_account(&self, email: &str) {
        self.limiter.reset(&account_key(email)).await;
    }

    /// Counts a wrong password against the address.
    pub(super) async fn count_wrong(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.limiter.take(&address_key("login", address), self.limits.login_address, 1, 1).await;
        }
    }

    /// Takes one new account from the address.
    pub(super) async fn take_registration(&self, address: Option<IpAddr>) -> Result<(), AuthError> {
        let Some(address) = address.filter(|_| self.limits.register_limited) else { return Ok(()) };
        granted(self.limiter.take(&address_key("register", address), self.limits.register_address, 1, 1).await)
    }
}

fn granted(grant: Grant) -> Result<(), AuthError> {
    if grant.granted > 0 { Ok(()) } else { Err(AuthError::TooManyAttempts { retry_after: grant.retry_after }) }
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
fn account_key(email: &str) -> String {
    format!("login:account:{}", sha256_hex(email.as_bytes()))
}

/// Whoever has one IPv6 address has its whole /64.
fn address_key(what: &str, address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("{what}:address:{address}"),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
            format!("{what}:address:{network}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::redis::Redis;

    const HOME: Option<IpAddr> = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));

    /// Counts in this process, as with Redis away.
    fn attempts(limits: Limits) -> Attempts {
        Attempts::new(RateLimiter::new(Redis::new("redis://127.0.0.1:1", "test").expect("a well-formed URL")), limits)
    }

    #[tokio::test]
    async fn twenty_wrong_ones_from_an_address_are_allowed_and_looking_is_free() {
        let attempts = attempts(Limits::default());
        for wrong in 0..20 {
            for _ in 0..50 {
                assert!(attempts.check_address(HOME).await.is_ok(), "after {wrong} wrong ones");
            }
            attempts.count_wrong(HOME).await;
        }
        let Err(AuthError::TooManyAttempts { retry_after }) = attempts.check_address(HOME).await else {
            panic!("the address should be refused");
        };
        assert!(retry_after > Duration::from_secs(40) && retry_after <= Duration::from_secs(45), "{retry_after:?}");
        assert!(attempts.check_address(None).await.is_ok());
    }

    #[tokio::test]
    async fn an_account_has_twenty_until_one_is_right() {
        let attempts = attempts(Limits::default());
        for _ in 0..2 {
            for _ in 0..20 {
                assert!(attempts.take_account("a@example.com").await.is_ok());
            }
            assert!(matches!(attempts.take_account("a@example.com").await, Err(AuthError::TooManyAttempts { .. })));
            assert!(attempts.take_account("b@example.com").await.is_ok());
            attempts.forgive_account("a@example.com").await;
            attempts.forgive_account("b@example.com").await;
        }
    }

    #[tokio::test]
    async fn new_accounts_are_limited_only_where_that_is_on() {
        let one = Limit { count: 1, period: Duration::from_secs(60) };
        let off = attempts(Limits { register_address: one, ..Limits::default() });
        let on = attempts(Limits { register_address: one, register_limited: true, ..Limits::default() });
        assert!(off.take_registration(HOME).await.is_ok() && off.take_registration(HOME).await.is_ok());
        assert!(on.take_registration(HOME).await.is_ok());
        assert!(matches!(on.take_registration(HOME).await, Err(AuthError::TooManyAttempts { .. })));
    }

    #[test]
    fn keys_hold_no_email_and_addresses_count_by_network() {
        assert!(!account_key("a@example.com").contains('@'));
        let key = |address: &str| address_key("login", address.parse().expect("an address"));
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::1"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.7"), key("192.0.2.7"));
        assert_ne!(key("192.0.2.7"), key("192.0.2.8"));
    }
}
