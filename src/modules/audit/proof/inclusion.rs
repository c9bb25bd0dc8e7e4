//! The proof that one record is in a seal, which can be checked with the public keys alone.

use bson::RawDocument;
use serde::{Deserialize, Serialize};

use super::{
    commitment::SaltSource,
    hash::Hash,
    keys::{NotSigned, PublicKeys},
    leaf::leaf_hash,
    merkle::{Tree, root_of_path},
    scope::{Record, Scopes},
    seal::{Seal, SealHeader},
};

/// That one record is in one seal. JSON in camelCase, hashes in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proof {
    pub record_id: String,
    pub collection: String,
    /// The rule by which it was sealed, see [`super::LeafRule::code`].
    pub code: u8,
    /// Its number in the whole chain.
    pub seq: i64,
    pub leaf_hash: Hash,
    pub seal_number: i64,
    /// Position of the leaf in the seal, from 0.
    pub index: i64,
    pub tree_size: i64,
    /// The hashes beside the way from the leaf to the root, from below.
    pub path: Vec<Hash>,
    /// The seal without its leaves.
    pub seal_header: SealHeader,
    pub public_key_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the seal: {0}")]
    Seal(#[from] NotSigned),
    /// Two things in it contradict each other, or the record; named.
    #[error("the proof contradicts itself: {0}")]
    Contradiction(&'static str),
    #[error("{0}")]
    NotGiven(String),
    #[error("the record is not the one that was sealed")]
    RecordChanged,
    #[error("the path does not lead from the record to the seal")]
    WrongPath,
}

impl Proof {
    /// The proof of the leaf at `index` of `seal`; none where there is no such leaf or `scopes` do not know its rule.
    /// Of many leaves of one seal, [`Proof::in_tree`] makes proofs faster.
    #[must_use]
    pub fn of(seal: &Seal, index: usize, scopes: &Scopes) -> Option<Self> {
        Self::in_tree(seal, &Tree::new(seal.leaves.iter().map(|leaf| leaf.hash)), index, scopes)
    }

    /// The same, with the tree over the leaves of `seal`.
    #[must_use]
    pub fn in_tree(seal: &Seal, tree: &Tree, index: usize, scopes: &Scopes) -> Option<Self> {
        let leaf = seal.leaves.get(index)?;
        Some(Self {
            record_id: leaf.id.clone(),
            collection: scopes.of_code(leaf.code)?.collection().to_owned(),
            code: leaf.code,
            seq: seal.first_seq.saturating_add(index as i64),
            leaf_hash: leaf.hash,
            seal_number: seal.number,
            index: index as i64,
            tree_size: seal.leaves.len() as i64,
            path: tree.path(index)?,
            seal_header: seal.header.clone(),
            public_key_id: seal.key_id.clone(),
        })
    }

    /// Checks that `record` is what was sealed. `salts` are those of its personal fields, `scopes` the published rules.
    pub fn verify<S: SaltSource>(
        &self,
        record: &RawDocument,
        salts: &S,
        scopes: &Scopes,
        keys: &PublicKeys,
    ) -> Result<(), ProofError>
    where
        S::Error: ToString,
    {
        let header = &self.seal_header;
        header.check_signature(keys)?;
        self.contradiction(record).map_or(Ok(()), |what| Err(ProofError::Contradiction(what)))?;
        let scope = scopes.of_code(self.code).filter(|scope| scope.collection() == self.collection);
        let scope = scope.ok_or_else(|| ProofError::NotGiven(format!("rule {} is not known", self.code)))?;
        let record = Record { scope, id: &self.record_id, document: record };
        let leaf = leaf_hash(&record, salts);
        if leaf.map_err(|error| ProofError::NotGiven(error.to_string()))? != self.leaf_hash {
            return Err(ProofError::RecordChanged);
        }
        let root = root_of_path(&self.leaf_hash, self.index as u64, self.tree_size as u64, &self.path);
        if root == Some(header.root) { Ok(()) } else { Err(ProofError::WrongPath) }
    }

    /// The part that does not agree: everything here is also in the signed header, but for the path.
    fn contradiction(&self, record: &RawDocument) -> Option<&'static str> {
        let header = &self.seal_header;
        let agree = [
            ("recordId", record.get_str("_id").is_ok_and(|id| id == self.record_id)),
            ("sealNumber", self.seal_number == header.number),
            ("publicKeyId", self.public_key_id == header.key_id),
            ("treeSize", self.tree_size == header.size()),
            ("index", (0..self.tree_size).contains(&self.index)),
            ("seq", header.first_seq.checked_add(self.index) == Some(self.seq)),
        ];
        agree.into_iter().find(|(_, agrees)| !agrees).map(|(name, _)| name)
    }
}
