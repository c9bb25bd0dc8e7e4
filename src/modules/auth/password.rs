//! Passwords: argon2id, a few at a time. A hash takes 19 MiB and some 20 ms of a core, so how many run at once and
//! how many wait is limited; who comes after them is told to come back.

use std::sync::{Arc, LazyLock};

use argon2::{
    ARGON2ID_IDENT, Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version,
    password_hash::Error as HashError,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::AuthError;
use crate::platform::error::AppError;

/// OWASP's recommendation for argon2id (19 MiB, two passes, one lane).
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const OUTPUT_BYTES: usize = 32;

/// Computations at once: they take a core each, and the API needs the others.
const RUNNING_MAX: usize = 2;
/// Requests that wait for a turn: at 20 ms each, the last one waits well under a second.
const WAITING_MAX: usize = 64;

/// A hash that no password has, so that an unknown user takes as long as a known one.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    let (salt, output) = ("d2F5YmlsbC5ub2JvZHkuMQ", "A".repeat(43));
    format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}")
});

/// Hashes and verifies passwords within limits.
#[derive(Debug)]
pub(super) struct Passwords {
    room: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(RUNNING_MAX + WAITING_MAX)), turns: Arc::new(Semaphore::new(RUNNING_MAX)) }
    }

    /// Waits for a turn. [`AuthError::Busy`] when too many wait already.
    pub(super) async fn turn(&self) -> Result<Turn, AuthError> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| AuthError::Busy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| AuthError::Busy)?;
        Ok(Turn { _permits: [room, turn] })
    }
}

/// The right to compute, one after the other, until it is dropped. A computation holds it even when nobody waits
/// for the result any more.
#[derive(Debug)]
pub(super) struct Turn {
    _permits: [OwnedSemaphorePermit; 2],
}

impl Turn {
    /// The PHC string of `password`, with a new salt.
    pub(super) async fn hash(self, password: &SecretString) -> Result<(Self, String), AuthError> {
        let password = password.clone();
        self.run(move || hash(&password)).await
    }

    /// Whether `stored` is the hash of `password`; takes its time and says no where there is none.
    pub(super) async fn verify(self, password: &SecretString, stored: Option<&str>) -> Result<(Self, bool), AuthError> {
        let password = password.clone();
        let known = stored.is_some();
        let stored = stored.unwrap_or(NOBODY.as_str()).to_owned();
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

/// Whether a stored hash was made with other parameters than today's.
pub(super) fn is_outdated(stored: &str) -> bool {
    let Ok(hash) = PasswordHash::new(stored) else { return true };
    let Ok(params) = Params::try_from(&hash) else { return true };
    hash.algorithm != ARGON2ID_IDENT
        || hash.version != Some(Version::V0x13.into())
        || (params.m_cost(), params.t_cost(), params.p_cost()) != (MEMORY_KIB, PASSES, LANES)
}

fn hash(password: &SecretString) -> Result<String, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_BYTES))?;
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
        let passwords = Passwords::new();
        let turn = passwords.turn().await.expect("nobody waits");
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
        assert!(!is_outdated(&NOBODY));
        assert!(!verify(&secret("anything"), &NOBODY).expect("readable"));
        let made = hash(&secret("anything")).expect("hashing works");
        assert_eq!(made.len(), NOBODY.len());
    }

    #[test]
    fn other_parameters_are_outdated_and_still_verified() {
        let made = |algorithm, memory, passes, version| {
            let params = Params::new(memory, passes, 1, Some(32)).expect("in range");
            let argon2 = Argon2::new(algorithm, version, params);
            argon2.hash_password(b"correct horse").expect("hashing works").to_string()
        };
        for stored in [
            made(Algorithm::Argon2id, 8, PASSES, Version::V0x13),
            made(Algorithm::Argon2id, 8, 1, Version::V0x13),
            made(Algorithm::Argon2id, MEMORY_KIB, 1, Version::V0x13),
            made(Algorithm::Argon2i, MEMORY_KIB, PASSES, Version::V0x13),
            made(Algorithm::Argon2id, MEMORY_KIB, PASSES, Version::V0x10),
        ] {
            assert!(is_outdated(&stored), "{stored}");
            assert!(verify(&secret("correct horse"), &stored).expect("readable"), "{stored}");
        }
        assert!(!is_outdated(&made(Algorithm::Argon2id, MEMORY_KIB, PASSES, Version::V0x13)));
        assert!(is_outdated("not a hash"));
        assert!(verify(&secret("correct horse"), "not a hash").is_err());
    }

    #[tokio::test]
    async fn two_compute_sixty_four_wait_and_the_next_is_sent_away() {
        use futures_util::FutureExt;
        let passwords = Passwords::new();
        let running = [passwords.turn().await.expect("free"), passwords.turn().await.expect("free")];
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(passwords.turn())).collect();
        assert!(waiting.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
        assert!(matches!(passwords.turn().await, Err(AuthError::Busy)));
        drop(running);
        let first = waiting.remove(0).await.expect("its turn has come");
        drop((first, waiting));
        assert!(passwords.turn().await.is_ok(), "who gave up takes no room");
    }
}
