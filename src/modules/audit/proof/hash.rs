//! Hashes, salts and signatures: byte arrays, written as lowercase hex.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes<const N: usize>(pub [u8; N]);

/// A SHA-256 hash, or a salt.
pub type Hash = Bytes<32>;
/// An Ed25519 signature.
pub type Signature = Bytes<64>;

impl<const N: usize> Bytes<N> {
    /// All zeros: the hash before the first seal's.
    pub const ZERO: Self = Self([0; N]);

    /// From lowercase hex of exactly this many bytes.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut bytes = [0; N];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        (!digits.bytes().any(|digit| digit.is_ascii_uppercase())).then_some(Self(bytes))
    }

    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl Hash {
    #[must_use]
    pub fn of(data: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(data).into())
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl<const N: usize> fmt::Display for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl<const N: usize> From<Bytes<N>> for String {
    fn from(bytes: Bytes<N>) -> Self {
        bytes.to_hex()
    }
}

impl<const N: usize> TryFrom<String> for Bytes<N> {
    type Error = String;

    fn try_from(digits: String) -> Result<Self, String> {
        Self::from_hex(&digits).ok_or_else(|| format!("not {N} bytes in lowercase hex"))
    }
}

/// Appends a text with its length (four bytes, the lowest first) before it, so that no two lists of texts give the same bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
