//! How audit records are sealed and proved: pure functions, without a database, a clock or a network.
//!
//! A sealer takes batches of records. Each record gives one leaf ([`leaf_hash`]): a hash over its BSON, in which personal fields are
//! replaced by salted commitments ([`CommitmentKey`]), so that they can be erased and the leaf stays. A [`Seal`] has the leaves of a batch, the root of their Merkle tree, the hash of the seal before
//! it and a signature. A [`ChainVerifier`] reads seals and records again and names the first thing that is not as it was
//! sealed. A [`Proof`] shows one record to somebody who has neither the database nor a secret.
//!
//! Invariants: the bytes are described in `docs/audit-proof.md` and never change; whatever has to change gets a new
//! code ([`LeafRule::code`]) or a new domain (`waybill audit seal v2`). Nothing here panics on what was stored.

mod commitment;
mod erased;
mod hash;
mod inclusion;
mod json;
mod keys;
mod leaf;
mod merkle;
mod purge;
mod scope;
mod seal;
mod verify;

#[cfg(test)]
mod tests;

pub use commitment::{CommitmentKey, NoSalt, SaltSource, Salts, commitment_key, commitments, erase};
pub use erased::erased;
pub use hash::{Bytes, Hash, Signature};
pub use inclusion::{Proof, ProofError};
pub use json::{ExtendedJson, RECORD_VALUES_MAX, check_json, from_json};
pub use keys::{NotSigned, PublicKey, PublicKeys, SigningKey};
pub use leaf::{Leaf, leaf_hash};
pub use merkle::{Tree, root_of_path};
pub use purge::{PURGED, PURGED_FROM, Purge, RefusedPurge, sign_purge};
pub use scope::{LeafRule, Paths, Record, Scopes, SealScope};
pub use seal::{Seal, SealHeader};
pub use verify::{Anchor, ChainVerifier, Finding, FindingKind, NamedRecord, SealCheck};
