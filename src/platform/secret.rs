//! Secrets that can't be printed by accident, and the few keyed functions we use.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// SHA-256, in hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// HMAC-SHA-256 (RFC 2104) of `message` under `key`; a key of any length is fine.
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    MacKey::new(key).mac(message)
}

/// A key of HMAC-SHA-256, prepared for many messages. Says nothing when printed.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MacKey").finish_non_exhaustive()
    }
}

impl MacKey {
    /// A key of any length is fine.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(<Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// The code of `message`.
    #[must_use]
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(message).finalize().into_bytes().into()
    }
}

/// A key for one purpose, derived from a secret so that no two purposes share a key.
#[must_use]
pub fn derive_key(secret: &SecretString, purpose: &str) -> [u8; 32] {
    hmac_sha256(secret.expose_secret().as_bytes(), purpose.as_bytes())
}

/// So many random letters and digits, five bits each, as people can read them out: no I, L, O and U.
#[must_use]
pub fn random_letters(count: usize) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    (0..count).map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>() % 32)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_matches_rfc_4231_case_2() {
        let mac = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex::encode(mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn purposes_do_not_share_a_key() {
        let secret = SecretString::from("s");
        assert_ne!(derive_key(&secret, "a"), derive_key(&secret, "b"));
    }
}
