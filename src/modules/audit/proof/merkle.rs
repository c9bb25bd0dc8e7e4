//! The Merkle tree of a seal, as RFC 6962 defines it (section 2.1).

use rs_merkle::{Hasher, MerkleTree};
use sha2::{Digest, Sha256};

use super::hash::{Bytes, Hash};

/// First byte of a hashed node.
const NODE: u8 = 0x01;

#[derive(Clone)]
struct Rfc6962;

impl Hasher for Rfc6962 {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        Hash::of(data).0
    }

    /// A node without a right neighbour goes up as it is, which is what splitting at a power of two comes to.
    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        right.map_or(*left, |right| node(&Bytes(*left), &Bytes(*right)).0)
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Bytes(Sha256::new().chain_update([NODE]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// A tree over leaf hashes.
pub struct Tree {
    inner: MerkleTree<Rfc6962>,
    size: usize,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("size", &self.size).field("root", &self.root()).finish()
    }
}

impl Tree {
    #[must_use]
    pub fn new(leaves: impl IntoIterator<Item = Hash>) -> Self {
        let leaves: Vec<[u8; 32]> = leaves.into_iter().map(|leaf| leaf.0).collect();
        Self { inner: MerkleTree::from_leaves(&leaves), size: leaves.len() }
    }

    /// Its root; without leaves the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        Bytes(self.inner.root().unwrap_or_else(|| Rfc6962::hash(&[])))
    }

    /// The audit path of a leaf: what its way up to the root is hashed with, from below. None where there is no such
    /// leaf.
    #[must_use]
    pub fn path(&self, index: usize) -> Option<Vec<Hash>> {
        (index < self.size).then(|| self.inner.proof(&[index]).proof_hashes().iter().map(|hash| Bytes(*hash)).collect())
    }
}

/// The root to which a path leads from leaf `index` of `size` (RFC 9162, 2.1.3.2); none where a path of this length
/// can't be one of that leaf.
#[must_use]
pub fn root_of_path(leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    let mut last = size.checked_sub(1).filter(|&last| index <= last)?;
    let mut index = index;
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if index & 1 == 1 || index == last {
            hash = node(sibling, &hash);
            // It had no right neighbour up to here.
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}
