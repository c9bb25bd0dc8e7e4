//! Sealing at rest: what only this service may read, also where somebody has the database.
//!
//! Every value is encrypted under a key of its own (AES-256-GCM-SIV, RFC 8452), and that key under the service's: an
//! envelope. A record names the service's key by its id, so changing that key wraps envelopes again and leaves the
//! values alone. A value is bound to its place: moved to another record or field, it can't be opened.

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bson::{Binary, spec::BinarySubtype};
use secrecy::{ExposeSecret, SecretBox, SecretString, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};

use super::secret::hmac_sha256;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// The own key of a sealed value, wrapped.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The service's key that wraps it.
    pub key_id: String,
    /// Nonce and ciphertext.
    pub wrapped_key: Binary,
}

/// A sealed value with what is needed to open it, but for the service's key. Says nothing when printed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    envelope: Envelope,
    /// The value: nonce and ciphertext.
    data: Binary,
}

impl Sealed {
    /// As a text without blanks, for who keeps it elsewhere than in the database.
    #[must_use]
    pub fn to_text(&self) -> String {
        let text = |binary: &Binary| URL_SAFE_NO_PAD.encode(&binary.bytes);
        format!("{}.{}.{}", self.envelope.key_id, text(&self.envelope.wrapped_key), text(&self.data))
    }

    /// From such a text, whoever wrote it; whether it is one of ours shows when it is opened.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let binary = |text: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            Some(Binary { subtype: BinarySubtype::Generic, bytes })
        };
        let mut parts = text.split('.');
        let (key_id, wrapped_key, data) = (parts.next()?, binary(parts.next()?)?, binary(parts.next()?)?);
        let envelope = Envelope { key_id: key_id.to_owned(), wrapped_key };
        parts.next().is_none().then_some(Self { envelope, data })
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("key_id", &self.envelope.key_id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Sealed {
    /// The part that is wrapped anew when the service's key changes.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

/// Why a sealed value could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Sealed under a key that this process was not given.
    #[error("the sealing key {0} is not configured; give it as SEALING_KEY_PREVIOUS")]
    UnknownKey(String),
    /// Changed, cut, or moved from another place.
    #[error("a sealed value is damaged or not where it belongs")]
    Damaged,
}

struct ServiceKey {
    id: String,
    wraps: SecretBox<[u8; KEY_BYTES]>,
}

impl ServiceKey {
    fn new(hex_digits: &SecretString) -> Result<Self, String> {
        let bytes = Zeroizing::new(hex::decode(hex_digits.expose_secret()).unwrap_or_default());
        if bytes.len() != KEY_BYTES {
            return Err("must be 64 hex digits".into());
        }
        Ok(Self {
            id: hex::encode(&hmac_sha256(&bytes, b"waybill sealing key id")[..8]),
            wraps: SecretBox::new(Box::new(hmac_sha256(&bytes, b"waybill sealing key wrap"))),
        })
    }
}

/// The service's keys: today's, by which is sealed, and the one before, by which may still be opened.
pub struct SealingKeys {
    current: ServiceKey,
    previous: Option<ServiceKey>,
}

impl std::fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKeys").field("current", &self.current.id).finish_non_exhaustive()
    }
}

impl SealingKeys {
    /// Keys from the configuration, 64 hex digits each.
    ///
    /// # Errors
    /// Names the variable and what is wrong with it.
    pub fn new(current: &SecretString, previous: Option<&SecretString>) -> Result<Self, String> {
        let named = |name: &'static str| move |wrong| format!("{name} {wrong}");
        Ok(Self {
            current: ServiceKey::new(current).map_err(named("SEALING_KEY"))?,
            previous: previous.map(ServiceKey::new).transpose().map_err(named("SEALING_KEY_PREVIOUS"))?,
        })
    }

    /// Id of today's key.
    #[must_use]
    pub fn current_id(&self) -> &str {
        &self.current.id
    }

    /// Seals `plain` for `place`, such as `kyc_applications/usr_.../pan`.
    ///
    /// # Panics
    /// When `plain` has more than 64 GiB.
    #[must_use]
    pub fn seal(&self, place: &str, plain: &[u8]) -> Sealed {
        let own = Zeroizing::new(rand::random::<[u8; KEY_BYTES]>());
        Sealed { envelope: self.wrap(place, &own), data: encrypt(&own, place, plain) }
    }

    fn wrap(&self, place: &str, own: &[u8; KEY_BYTES]) -> Envelope {
        Envelope {
            key_id: self.current.id.clone(),
            wrapped_key: encrypt(self.current.wraps.expose_secret(), place, own),
        }
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, place: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let own = self.unwrap_key(place, &sealed.envelope)?;
        decrypt(&own, place, &sealed.data).ok_or(OpenError::Damaged)
    }

    /// Opens a text.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_text(&self, place: &str, sealed: &Sealed) -> Result<SecretString, OpenError> {
        let plain = self.open(place, sealed)?;
        std::str::from_utf8(&plain).map(SecretString::from).map_err(|_| OpenError::Damaged)
    }

    /// The same envelope under today's key; none where it is already.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn rewrap(&self, place: &str, envelope: &Envelope) -> Result<Option<Envelope>, OpenError> {
        if envelope.key_id == self.current.id {
            return Ok(None);
        }
        Ok(Some(self.wrap(place, &*self.unwrap_key(place, envelope)?)))
    }

    fn unwrap_key(&self, place: &str, envelope: &Envelope) -> Result<Zeroizing<[u8; KEY_BYTES]>, OpenError> {
        let key =
            [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|key| key.id == envelope.key_id);
        let key = key.ok_or_else(|| OpenError::UnknownKey(envelope.key_id.clone()))?;
        let own = decrypt(key.wraps.expose_secret(), place, &envelope.wrapped_key).ok_or(OpenError::Damaged)?;
        <[u8; KEY_BYTES]>::try_from(own.as_slice()).map(Zeroizing::new).map_err(|_| OpenError::Damaged)
    }
}

/// Nonce and ciphertext.
fn encrypt(key: &[u8; KEY_BYTES], place: &str, plain: &[u8]) -> Binary {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let payload = Payload { msg: plain, aad: place.as_bytes() };
    let ciphertext = cipher(key).encrypt(&Nonce::from(nonce), payload).expect("less than 64 GiB");
    Binary { subtype: BinarySubtype::Generic, bytes: [&nonce[..], &ciphertext].concat() }
}

fn decrypt(key: &[u8; KEY_BYTES], place: &str, sealed: &Binary) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, ciphertext) = sealed.bytes.split_first_chunk::<NONCE_BYTES>()?;
    let payload = Payload { msg: ciphertext, aad: place.as_bytes() };
    cipher(key).decrypt(&Nonce::from(*nonce), payload).ok().map(Zeroizing::new)
}

fn cipher(key: &[u8; KEY_BYTES]) -> Aes256GcmSiv {
    Aes256GcmSiv::new(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(current: &str, previous: Option<&str>) -> SealingKeys {
        let key = |digit: &str| SecretString::from(digit.repeat(64));
        SealingKeys::new(&key(current), previous.map(key).as_ref()).expect("keys")
    }

    #[test]
    fn only_its_key_opens_a_value_and_only_in_its_place() {
        let ours = keys("a", None);
        let sealed = ours.seal("things/1/pan", b"secret");
        assert_eq!(ours.open("things/1/pan", &sealed).expect("opens").as_slice(), b"secret");
        assert_eq!(ours.open("things/2/pan", &sealed), Err(OpenError::Damaged));
        let unknown = OpenError::UnknownKey(ours.current_id().into());
        assert_eq!(keys("b", None).open("things/1/pan", &sealed), Err(unknown));
        assert_ne!(sealed, ours.seal("things/1/pan", b"secret"), "every value has a key of its own");
    }

    #[test]
    fn every_damage_is_noticed() {
        let ours = keys("a", None);
        let sealed = ours.seal("p", b"secret");
        for position in 0..sealed.data.bytes.len() {
            let mut other = sealed.clone();
            other.data.bytes[position] ^= 1;
            assert_eq!(ours.open("p", &other), Err(OpenError::Damaged), "data, byte {position}");
        }
        for position in 0..sealed.envelope.wrapped_key.bytes.len() {
            let mut other = sealed.clone();
            other.envelope.wrapped_key.bytes[position] ^= 1;
            assert_eq!(ours.open("p", &other), Err(OpenError::Damaged), "key, byte {position}");
        }
        for length in 0..sealed.data.bytes.len() {
            let mut other = sealed.clone();
            other.data.bytes.truncate(length);
            assert_eq!(ours.open("p", &other), Err(OpenError::Damaged), "cut to {length}");
        }
    }

    #[test]
    fn changing_the_service_key_wraps_again_and_leaves_the_value_alone() {
        let sealed = keys("a", None).seal("p", b"secret");
        let both = keys("b", Some("a"));
        assert_eq!(both.open("p", &sealed).expect("old ones stay readable").as_slice(), b"secret");
        let envelope = both.rewrap("p", sealed.envelope()).expect("wraps").expect("another key");
        let again = Sealed { envelope, ..sealed.clone() };
        assert_eq!(again.envelope().key_id, both.current_id());
        assert_eq!(keys("b", None).open("p", &again).expect("the new key is enough").as_slice(), b"secret");
        assert_eq!(both.rewrap("p", again.envelope()), Ok(None));
        assert!(keys("c", None).rewrap("p", sealed.envelope()).is_err());
        assert!(both.rewrap("q", sealed.envelope()).is_err(), "an envelope belongs to its place too");
    }

    #[test]
    fn nothing_sealed_is_printed() {
        let ours = keys("a", None);
        let printed = format!("{:?} {ours:?}", ours.seal("p", b"secret"));
        assert!(!printed.contains("secret") && !printed.contains("data"), "{printed}");
    }

    #[test]
    fn a_key_that_is_not_64_hex_digits_is_named() {
        for wrong in ["", "ab", &"g".repeat(64), &"a".repeat(62)] {
            let key = SecretString::from(wrong.to_owned());
            assert_eq!(SealingKeys::new(&key, None).map(drop), Err("SEALING_KEY must be 64 hex digits".into()));
            let error = SealingKeys::new(&SecretString::from("a".repeat(64)), Some(&key)).map(drop);
            assert_eq!(error, Err("SEALING_KEY_PREVIOUS must be 64 hex digits".into()));
        }
    }
}
