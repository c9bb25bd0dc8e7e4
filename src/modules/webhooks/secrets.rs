//! Secrets that sign deliveries. An endpoint has one secret, and for a while the ones before it: each signs, so that a receiver
//! that knows any of them is content.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bson::DateTime;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use standardwebhooks::Webhook;

use super::model::ENDPOINTS;
use crate::platform::{
    clock::after,
    rewrap::{Rotation, SealedField},
    sealing::{OpenError, Sealed, SealingKeys},
};

/// The specification wants 24 to 64.
const SECRET_BYTES: usize = 32;
/// Secrets that sign at once: each makes every header longer.
const SECRETS_MAX: usize = 5;

struct StoredSecret {
    secret: SecretString,
    /// It signs until then, in milliseconds since 1970; for good where there is none.
    until_ms: Option<i64>,
}

/// The secrets of an endpoint, the newest first. Says nothing when printed.
pub struct EndpointSecrets(Vec<StoredSecret>);

impl std::fmt::Debug for EndpointSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secret(s)", self.0.len())
    }
}

/// A new secret, `whsec_...`.
#[must_use]
pub fn new_secret() -> SecretString {
    let bytes = Zeroizing::new(rand::random::<[u8; SECRET_BYTES]>());
    SecretString::from(format!("whsec_{}", STANDARD.encode(*bytes)))
}

fn place(endpoint_id: &str) -> String {
    format!("{ENDPOINTS}/{endpoint_id}/secrets")
}

impl EndpointSecrets {
    #[must_use]
    pub fn of(secret: &SecretString) -> Self {
        Self(vec![StoredSecret { secret: secret.clone(), until_ms: None }])
    }

    /// Opens those of an endpoint.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(keys: &SealingKeys, endpoint_id: &str, sealed: &Sealed) -> Result<Self, OpenError> {
        let plain = keys.open(&place(endpoint_id), sealed)?;
        let all: Vec<(SecretString, Option<i64>)> = serde_json::from_slice(&plain).map_err(|_| OpenError::Damaged)?;
        Ok(Self(all.into_iter().map(|(secret, until_ms)| StoredSecret { secret, until_ms }).collect()))
    }

    #[must_use]
    pub fn seal(&self, keys: &SealingKeys, endpoint_id: &str) -> Sealed {
        let all: Vec<_> = self.0.iter().map(|stored| (stored.secret.expose_secret(), stored.until_ms)).collect();
        let plain = Zeroizing::new(serde_json::to_vec(&all).expect("texts have JSON"));
        keys.seal(&place(endpoint_id), &plain)
    }

    /// With a new secret; those before sign for so long, unless their time ends earlier.
    #[must_use]
    pub fn rotated(self, secret: &SecretString, grace: Duration, now: DateTime) -> Self {
        let end_ms = after(now, grace).timestamp_millis();
        let mut all = Self::of(secret).0;
        all.extend(self.0.into_iter().filter_map(|before| {
            let until_ms = before.until_ms.map_or(end_ms, |until_ms| until_ms.min(end_ms));
            (until_ms > now.timestamp_millis()).then_some(StoredSecret { until_ms: Some(until_ms), ..before })
        }));
        all.truncate(SECRETS_MAX);
        Self(all)
    }

    /// `webhook-signature` of a body under each secret that is good now; none where a secret can't be used.
    #[must_use]
    pub fn sign(&self, webhook_id: &str, now: DateTime, body: &str) -> Option<String> {
        let now_ms = now.timestamp_millis();
        let good = self.0.iter().filter(|stored| stored.until_ms.is_none_or(|until_ms| until_ms > now_ms));
        let sign = |stored: &StoredSecret| {
            Webhook::new(stored.secret.expose_secret())?.sign(webhook_id, now_ms / 1_000, body.as_bytes())
        };
        let signatures = good.map(sign).collect::<Result<Vec<_>, _>>().ok()?;
        Some(signatures.join(" "))
    }
}

/// Wraps the secrets of all endpoints under today's key.
///
/// # Errors
/// Errors of the database driver.
pub async fn rotate(rotation: &mut Rotation<'_>) -> mongodb::error::Result<()> {
    rotation.field(&SealedField { collection: ENDPOINTS, path: "secrets", place }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(hours: i64) -> DateTime {
        DateTime::from_millis(hours * 3_600_000)
    }

    #[test]
    fn a_secret_that_was_replaced_signs_until_its_grace_ends() {
        let (first, second) = (new_secret(), new_secret());
        let alone = |secret: &SecretString, hours| {
            EndpointSecrets::of(secret).sign("evt_1", at(hours), "{}").expect("it signs")
        };
        let rotated = EndpointSecrets::of(&first).rotated(&second, 2 * HOUR, at(0));
        assert_eq!(rotated.sign("evt_1", at(1), "{}"), Some(format!("{} {}", alone(&second, 1), alone(&first, 1))));
        assert_eq!(rotated.sign("evt_1", at(2), "{}"), Some(alone(&second, 2)));
        let third = new_secret();
        let twice = rotated.rotated(&third, 24 * HOUR, at(1));
        assert_eq!(twice.sign("evt_1", at(1), "{}").map(|all| all.split(' ').count()), Some(3));
        assert_eq!(
            twice.sign("evt_1", at(2), "{}").map(|all| all.split(' ').count()),
            Some(2),
            "no grace is made longer"
        );
        let at_once = EndpointSecrets::of(&first).rotated(&second, Duration::ZERO, at(0));
        assert_eq!(at_once.sign("evt_1", at(0), "{}"), Some(alone(&second, 0)));
        let many = (0..9).fold(EndpointSecrets::of(&first), |secrets, _| secrets.rotated(&new_secret(), HOUR, at(0)));
        assert_eq!(many.0.len(), SECRETS_MAX);
    }

    #[test]
    fn secrets_are_sealed_for_their_endpoint() {
        let keys = SealingKeys::new(&"a".repeat(64).into(), None).expect("a key");
        let secret = new_secret();
        assert!(secret.expose_secret().starts_with("whsec_"));
        let sealed = EndpointSecrets::of(&secret).seal(&keys, "whe_1");
        let opened = EndpointSecrets::open(&keys, "whe_1", &sealed).expect("opens");
        assert_eq!(opened.sign("a", at(1), "b"), EndpointSecrets::of(&secret).sign("a", at(1), "b"));
        assert_eq!(EndpointSecrets::open(&keys, "whe_2", &sealed).err(), Some(OpenError::Damaged));
        assert!(!format!("{opened:?} {sealed:?}").contains("whsec_"));
    }
}
