//! One leaf per record: `SHA-256(0x00, collection, canonical record)`.

use sha2::{Digest, Sha256};

use super::{
    bytes::{Bytes, Hash},
    commitment::{SaltSource, commitment},
    encoding::{encode_committed, put_name},
    record::Record,
};

/// What a hashed leaf begins with (RFC 6962, 2.1).
const LEAF: u8 = 0x00;

/// Makes leaves, and keeps its memory from one to the next.
#[derive(Default)]
pub struct LeafHasher {
    /// What was hashed last.
    pub(super) bytes: Vec<u8>,
}

impl std::fmt::Debug for LeafHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeafHasher").finish_non_exhaustive()
    }
}

impl LeafHasher {
    /// With no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The leaf of `record`. Its place in the chain is that of the leaf in the tree of its seal.
    ///
    /// # Errors
    /// Where a personal field has no salt.
    pub fn hash<S: SaltSource>(&mut self, record: &Record<'_>, salts: &S) -> Result<Hash, S::Error> {
        self.bytes.clear();
        self.bytes.push(LEAF);
        put_name(&mut self.bytes, record.scope.collection().as_bytes());
        let mut salt_of = salts.salts_of(record);
        let commit = |path: &str, value: &[u8]| Ok(commitment(&salt_of(path)?, value));
        encode_committed(record.document, record.scope.paths(), commit, &mut self.bytes)?;
        Ok(Bytes(Sha256::digest(&self.bytes).into()))
    }
}
