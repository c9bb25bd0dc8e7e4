//! Seals in the database: who writes them, and how they and their records are read again. What they are is in
//! [`super::proof`].
//!
//! Invariants: the number of a seal is its `_id`, so there is one chain. A record is sealed once, from majority-committed
//! data, and never changed after; but what is personal can be erased ([`super::proof::erase`]) and records can be purged
//! by rule. Collections: `audit_seals`, `audit_keys`; the sealer empties
//! `seal_queue`.

mod anchor;
mod queue;
mod read_ahead;
mod sealer;
mod secret;
mod store;

pub use anchor::{AnchorTargets, read_anchors};
pub use read_ahead::{PieceSize, ReadAhead};
pub use sealer::{SealError, Sealer, SealerKeys, SealingPass};
pub use secret::{SecretError, commitment_key_of, find_commitment_key, leaf_hashes, rotate_commitment_secret};
pub use store::{AUDIT_KEYS, AUDIT_SEALS, ReadError, SealStore};
