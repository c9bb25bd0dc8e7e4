//! Ed25519 keys (RFC 8032): the one that signs seals, and the public keys that check them.

use std::{collections::BTreeMap, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, VerifyingKey};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hash::{Bytes, Signature};

const ALGORITHM: &str = "Ed25519";

/// The key that signs seals. Says nothing but its id when printed.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.public().id()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A key from the configuration.
    ///
    /// # Errors
    /// Says what it must be: 64 hex digits.
    pub fn new(hex_digits: &SecretString) -> Result<Self, String> {
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(hex_digits.expose_secret(), &mut *seed).map_err(|_| "must be 64 hex digits")?;
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Bytes(self.0.sign(message).to_bytes())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// From the 32 bytes of RFC 8032; none where they are no point of the curve, or one of small order, under which
    /// signatures mean nothing.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Its id in seals: the first 8 bytes of its SHA-256, in hex.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.0.as_bytes())[..8])
    }
}

/// Base64url of the 32 bytes, without padding.
impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let key = bytes.and_then(|bytes| Self::from_bytes(&bytes));
        key.ok_or_else(|| format!("{text:?} is no public key of 32 bytes in base64url"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    #[error("the key is not known")]
    UnknownKey,
    #[error("the signature is wrong")]
    Wrong,
}

/// Public keys by their ids, those of today and before. JSON:
/// `{"keys":[{"keyId":"<16 hex>","algorithm":"Ed25519","publicKey":"<base64url>"}]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "KeySet", into = "KeySet")]
pub struct PublicKeys(BTreeMap<String, PublicKey>);

impl PublicKeys {
    pub fn add(&mut self, key: PublicKey) {
        self.0.insert(key.id(), key);
    }

    #[must_use]
    pub fn get(&self, id: &str) -> Option<&PublicKey> {
        self.0.get(id)
    }

    /// Checks, strictly, that the key of this id signed `message`.
    pub fn verify(&self, id: &str, message: &[u8], signature: &Signature) -> Result<(), NotSigned> {
        let PublicKey(key) = self.get(id).ok_or(NotSigned::UnknownKey)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message, &signature).map_err(|_| NotSigned::Wrong)
    }
}

impl FromIterator<PublicKey> for PublicKeys {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key.id(), key)).collect())
    }
}

#[derive(Serialize, Deserialize)]
struct KeySet {
    keys: Vec<NamedKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedKey {
    key_id: String,
    algorithm: String,
    public_key: String,
}

impl From<PublicKeys> for KeySet {
    fn from(keys: PublicKeys) -> Self {
        let named = |(key_id, key): (String, PublicKey)| NamedKey {
            key_id,
            algorithm: ALGORITHM.into(),
            public_key: URL_SAFE_NO_PAD.encode(key.to_bytes()),
        };
        Self { keys: keys.0.into_iter().map(named).collect() }
    }
}

impl TryFrom<KeySet> for PublicKeys {
    type Error = String;

    fn try_from(set: KeySet) -> Result<Self, String> {
        set.keys.iter().map(NamedKey::read).collect()
    }
}

impl NamedKey {
    fn read(&self) -> Result<PublicKey, String> {
        let id = &self.key_id;
        if self.algorithm != ALGORITHM {
            return Err(format!("key {id}: only {ALGORITHM} is known"));
        }
        let key: PublicKey = self.public_key.parse().map_err(|error| format!("key {id}: {error}"))?;
        if key.id() == *id { Ok(key) } else { Err(format!("key {id}: this is the id of another key")) }
    }
}
