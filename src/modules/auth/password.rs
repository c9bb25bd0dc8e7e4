//! Passwords: argon2id, a few at a time. A hash takes 19 MiB and some 20 ms of a core, so how many run at once and
//! how many wait is limited; who comes after them is told to come back. Whoever opens accounts waits among themselves: a crowd
//! of them keeps nobody from signing in.

use std::sync::Arc;

use argon2::{
    ARGON2ID_IDENT, Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version,
    password_hash::Error as HashError,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zxcvbn::zxcvbn;

use super::error::AuthError;
use crate::platform::error::{AppError, FieldError};

const LANES: u32 = 1;
const OUTPUT_BYTES: usize = 32;

/// Computations at once: they take a core each, and the API needs the others.
const RUNNING_MAX: usize = 2;
/// Of these, for new accounts.
const REGISTERING_MAX: usize = 1;
/// Requests that wait for a turn: at 20 ms each, the last one waits well under two seconds.
const WAITING_MAX: usize = 64;
/// The same for new accounts.
const REGISTRATIONS_WAITING_MAX: usize = 32;
/// Guesses after which a password is found by whoever tries the likely ones first; fewer are refused. What limits let through
/// at one account takes 40 days for so many.
const GUESSES_MIN: u64 = 1_000_000;
/// Characters of a password that are looked at for that.
const LOOKED_AT_CHARS_MAX: usize = 64;
/// Shorter words of the user's own are in many passwords.
const OWN_WORD_BYTES_MIN: usize = 3;
/// Letters and digits of a password are looked at for themselves where there are so many.
const PLAIN_BYTES_MIN: usize = 6;

/// Cost of a new hash. Not a setting: only tests, which make hundreds of users, use less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Default for PasswordCost {
    /// OWASP's recommendation for argon2id (19 MiB, two passes, one lane).
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2 }
    }
}

impl PasswordCost {
    /// A hash that no password has, so that an unknown user takes as long as a known one.
    fn unusable_hash(self) -> String {
        let (salt, output) = ("d2F5YmlsbC5ub2JvZHkuMQ", "A".repeat(43));
        format!("$argon2id$v=19$m={},t={},p={LANES}${salt}${output}", self.memory_kib, self.passes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashPurpose {
    Account,
    /// A new one.
    Registration,
}

/// Hashes and verifies passwords within limits.
#[derive(Debug)]
pub(super) struct Passwords {
    cost: PasswordCost,
    turns: Arc<Semaphore>,
    accounts: Arc<Semaphore>,
    registrations: Registrations,
}

/// Room for those who open accounts.
#[derive(Debug)]
struct Registrations {
    room: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new(cost: PasswordCost) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            cost,
            turns: semaphore(RUNNING_MAX),
            accounts: semaphore(RUNNING_MAX + WAITING_MAX),
            registrations: Registrations {
                room: semaphore(REGISTERING_MAX + REGISTRATIONS_WAITING_MAX),
                turns: semaphore(REGISTERING_MAX),
            },
        }
    }

    /// Waits for a turn. [`AuthError::Busy`] when too many wait already.
    pub(super) async fn turn(&self, purpose: HashPurpose) -> Result<HashingPermit, AuthError> {
        let room = match purpose {
            HashPurpose::Account => &self.accounts,
            HashPurpose::Registration => &self.registrations.room,
        };
        let mut permits = vec![Arc::clone(room).try_acquire_owned().map_err(|_| AuthError::Busy)?];
        // One of them at most stands in the queue of all.
        if purpose == HashPurpose::Registration {
            let turns = Arc::clone(&self.registrations.turns);
            permits.push(turns.acquire_owned().await.map_err(|_| AuthError::Busy)?);
        }
        permits.push(Arc::clone(&self.turns).acquire_owned().await.map_err(|_| AuthError::Busy)?);
        Ok(HashingPermit { cost: self.cost, _permits: permits })
    }

    /// Whether a stored hash was made with other parameters than today's.
    pub(super) fn is_outdated(&self, stored: &str) -> bool {
        let Ok(hash) = PasswordHash::new(stored) else { return true };
        let Ok(params) = Params::try_from(&hash) else { return true };
        hash.algorithm != ARGON2ID_IDENT
            || hash.version != Some(Version::V0x13.into())
            || (params.m_cost(), params.t_cost(), params.p_cost()) != (self.cost.memory_kib, self.cost.passes, LANES)
    }
}

/// The right to compute, one after the other, until it is dropped. A computation holds it even when nobody waits
/// for the result any more.
#[derive(Debug)]
pub(super) struct HashingPermit {
    cost: PasswordCost,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl HashingPermit {
    /// The PHC string of a password that somebody wants to have, with a new salt. `field` names it in a refusal: where it is
    /// among the first that are tried, also knowing the user's address and name.
    pub(super) async fn hash_new(
        self,
        password: &SecretString,
        field: &'static str,
        (email, name): (&str, &str),
    ) -> Result<(Self, String), AuthError> {
        let (asked, words) = (password.clone(), own_words(email, name));
        let (turn, likely) = self.run(move || Ok(is_likely(&asked, &words))).await?;
        if likely {
            let message = "is among the first that somebody would try; take a longer one, or several words that don't go together";
            return Err(AuthError::Invalid(vec![FieldError::new(field, "common", message)]));
        }
        turn.hash(password).await
    }

    /// The PHC string of `password`, with a new salt.
    pub(super) async fn hash(self, password: &SecretString) -> Result<(Self, String), AuthError> {
        let (password, cost) = (password.clone(), self.cost);
        self.run(move || hash(&password, cost)).await
    }

    /// Whether `stored` is the hash of `password`; takes its time and says no where there is none.
    pub(super) async fn verify(self, password: &SecretString, stored: Option<&str>) -> Result<(Self, bool), AuthError> {
        let password = password.clone();
        let known = stored.is_some();
        let stored = stored.map_or_else(|| self.cost.unusable_hash(), str::to_owned);
        self.run(move || verify(&password, &stored).map(|matches| matches && known)).await
    }

    async fn run<T: Send + 'static>(
        self,
        compute: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<(Self, T), AuthError> {
        let computed = tokio::task::spawn_blocking(move || (compute(), self)).await;
        let (result, turn) = computed.map_err(AppError::internal)?;
        Ok((turn, result.map_err(AppError::internal)?))
    }
}

/// Whether a password is among those that are tried first: common ones and what people make of them (zxcvbn knows lists of
/// leaked passwords, words, names, keyboards, dates and repetitions), or the user's own words. Signs between words and numbers
/// (`Welcome@123`) are looked at as if they were not there, too: so do those who guess.
fn is_likely(password: &SecretString, words: &[String]) -> bool {
    // What stands behind these makes nothing easier to guess, and would take long.
    let password: String = password.expose_secret().chars().take(LOOKED_AT_CHARS_MAX).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is_likely = |password: &str| zxcvbn(password, &words).guesses() < GUESSES_MIN;
    let plain = plain(&password);
    is_likely(&password) || (plain != password && plain.len() >= PLAIN_BYTES_MIN && is_likely(&plain))
}

/// Letters and digits alone.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Words that a user of this address and name is likely to use in a password: both, their parts, and the parts joined.
fn own_words(email: &str, name: &str) -> Vec<String> {
    let wholes = [email, name].into_iter().chain(email.split('@'));
    let wholes = wholes.flat_map(|whole| [whole.to_owned(), plain(whole)]);
    let parts = [email, name].into_iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    wholes.chain(parts.map(str::to_owned)).filter(|word| word.len() >= OWN_WORD_BYTES_MIN).collect()
}

fn hash(password: &SecretString, cost: PasswordCost) -> Result<String, HashError> {
    let params = Params::new(cost.memory_kib, cost.passes, LANES, Some(OUTPUT_BYTES))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(password.expose_secret().as_bytes())?.to_string())
}

fn verify(password: &SecretString, stored: &str) -> Result<bool, HashError> {
    // The parameters are those of the stored hash.
    match Argon2::default().verify_password(password.expose_secret().as_bytes(), &PasswordHash::new(stored)?) {
        Ok(()) => Ok(true),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::new(PasswordCost::default());
        let turn = passwords.turn(HashPurpose::Account).await.expect("nobody waits");
        let (turn, stored) = turn.hash(&secret("correct horse")).await.expect("hashing works");
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let (turn, again) = turn.hash(&secret("correct horse")).await.expect("hashing works");
        assert_ne!(stored, again, "salts differ");
        let (turn, right) = turn.verify(&secret("correct horse"), Some(&stored)).await.expect("readable");
        let (turn, wrong) = turn.verify(&secret("battery staple"), Some(&stored)).await.expect("readable");
        let (_, nobody) = turn.verify(&secret("correct horse"), None).await.expect("readable");
        assert_eq!((right, wrong, nobody), (true, false, false));
    }

    #[test]
    fn an_unknown_user_costs_as_much_as_a_known_one() {
        let cost = PasswordCost::default();
        let nobody = cost.unusable_hash();
        assert!(!Passwords::new(cost).is_outdated(&nobody));
        assert!(!verify(&secret("anything"), &nobody).expect("readable"));
        let made = hash(&secret("anything"), cost).expect("hashing works");
        assert_eq!(made.len(), nobody.len());
    }

    #[test]
    fn other_parameters_are_outdated_and_still_verified() {
        let passwords = Passwords::new(PasswordCost::default());
        let PasswordCost { memory_kib: memory, passes } = PasswordCost::default();
        let made = |algorithm, memory, passes, version| {
            let params = Params::new(memory, passes, 1, Some(32)).expect("in range");
            let argon2 = Argon2::new(algorithm, version, params);
            argon2.hash_password(b"correct horse").expect("hashing works").to_string()
        };
        for stored in [
            made(Algorithm::Argon2id, 8, passes, Version::V0x13),
            made(Algorithm::Argon2id, 8, 1, Version::V0x13),
            made(Algorithm::Argon2id, memory, 1, Version::V0x13),
            made(Algorithm::Argon2i, memory, passes, Version::V0x13),
            made(Algorithm::Argon2id, memory, passes, Version::V0x10),
        ] {
            assert!(passwords.is_outdated(&stored), "{stored}");
            assert!(verify(&secret("correct horse"), &stored).expect("readable"), "{stored}");
        }
        assert!(!passwords.is_outdated(&made(Algorithm::Argon2id, memory, passes, Version::V0x13)));
        assert!(passwords.is_outdated("not a hash"));
        assert!(verify(&secret("correct horse"), "not a hash").is_err());
    }

    #[test]
    fn passwords_that_are_tried_first_are_refused() {
        let likely = |password: &str| is_likely(&secret(password), &own_words("asha.rao@example.com", "Asha Rao"));
        for bad in [
            "1234567890",
            "0123456789",
            "qwertyuiop",
            "1q2w3e4r5t",
            "Password123",
            "P@ssw0rd123",
            "password1234!",
            "passwordpassword",
            "iloveyou123",
            "aaaaaaaaaa",
            "abcabcabcabc",
            "abcdefghij",
            "administrator",
            "welcome2026",
            "changeme123",
            "asha.rao@example.com",
            "asha.rao123",
            "basketball",
            "superman1987",
            "Welcome@123",
            "admin@1234",
            "AshaRao@2026",
            "summer-2026!",
        ] {
            assert!(likely(bad), "{bad}");
        }
        for good in
            ["correct horse battery", "battery staple", "k8#Lq0vZ!x", "tumhara ghar kahan", "🔑🐎🔋🏠🔑🌳🚲🎺🧊🪁"]
        {
            assert!(!likely(good), "{good}");
        }
    }

    #[tokio::test]
    async fn two_compute_sixty_four_wait_and_the_next_is_sent_away() {
        use futures_util::FutureExt;
        let passwords = Passwords::new(PasswordCost::default());
        let turn = || passwords.turn(HashPurpose::Account);
        let running = [turn().await.expect("free"), turn().await.expect("free")];
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(turn())).collect();
        assert!(waiting.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
        assert!(matches!(turn().await, Err(AuthError::Busy)));
        drop(running);
        let first = waiting.remove(0).await.expect("its turn has come");
        drop((first, waiting));
        assert!(turn().await.is_ok(), "who gave up takes no room");
    }

    #[tokio::test]
    async fn a_crowd_that_opens_accounts_leaves_room_to_sign_in() {
        use futures_util::FutureExt;
        let passwords = Passwords::new(PasswordCost::default());
        let registering = passwords.turn(HashPurpose::Registration).await.expect("free");
        let mut crowd: Vec<_> =
            (0..REGISTRATIONS_WAITING_MAX).map(|_| Box::pin(passwords.turn(HashPurpose::Registration))).collect();
        assert!(crowd.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
        assert!(matches!(passwords.turn(HashPurpose::Registration).await, Err(AuthError::Busy)));
        let signing_in = passwords.turn(HashPurpose::Account).now_or_never();
        assert!(signing_in.is_some_and(|turn| turn.is_ok()), "at once");
        drop((registering, crowd));
    }
}
