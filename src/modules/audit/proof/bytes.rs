//! Hashes and signatures: bytes of a fixed number, hexadecimal in JSON, binary in the database.

use std::fmt;

use bson::{Binary, Bson, spec::BinarySubtype};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// So many bytes. Printed and in JSON: lowercase hex. Read from hex or from BSON binary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes<const N: usize>(pub [u8; N]);

/// A SHA-256 hash, or a salt.
pub type Hash = Bytes<32>;
/// An Ed25519 signature.
pub type Signature = Bytes<64>;

impl<const N: usize> Bytes<N> {
    /// All zeros: the hash before the first seal's.
    pub const ZERO: Self = Self([0; N]);

    /// From lowercase hex of just this many bytes.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut bytes = [0; N];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        (!digits.bytes().any(|digit| digit.is_ascii_uppercase())).then_some(Self(bytes))
    }

    /// Lowercase hex.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
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

impl<const N: usize> From<Bytes<N>> for Vec<u8> {
    fn from(bytes: Bytes<N>) -> Self {
        bytes.0.to_vec()
    }
}

impl<const N: usize> TryFrom<Vec<u8>> for Bytes<N> {
    type Error = Vec<u8>;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Vec<u8>> {
        bytes.try_into().map(Self)
    }
}

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = match Bson::deserialize(deserializer)? {
            Bson::String(digits) => Self::from_hex(&digits),
            Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes }) => Self::try_from(bytes).ok(),
            _ => None,
        };
        read.ok_or_else(|| D::Error::custom(format!("not {N} bytes in lowercase hex or as binary")))
    }
}

/// The form in the database, for `#[serde(with = "binary")]`.
pub(super) mod binary {
    use super::{Binary, BinarySubtype, Bytes, Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer, const N: usize>(
        bytes: &Bytes<N>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Binary { subtype: BinarySubtype::Generic, bytes: bytes.0.to_vec() }.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<Bytes<N>, D::Error> {
        Bytes::deserialize(deserializer)
    }
}
