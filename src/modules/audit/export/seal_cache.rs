//! Finds the seal and the leaf of a record; keeps the latest few seals with their Merkle trees.

use std::collections::VecDeque;

use super::{
    super::{
        proof::{Leaf, Scopes, Seal, Tree},
        seals::SealStore,
    },
    error::ExportError,
};

/// Seals that are kept, with their trees: some 4 MB each where they are full. Records come in the order of their times,
/// and so do seals, but for those that were committed late.
const SEALS_KEPT: usize = 4;

/// Finds the leaves of records.
pub(super) struct SealCache {
    store: SealStore,
    /// Number of the last seal that counts.
    last: i64,
    /// Used last first.
    kept: VecDeque<CachedSeal>,
}

/// A seal, ready to be looked through and to prove.
pub(super) struct CachedSeal {
    pub(super) seal: Seal,
    pub(super) tree: Tree,
    /// Positions of the leaves in the order of their ids.
    by_id: Vec<usize>,
}

impl CachedSeal {
    fn new(seal: Seal) -> Self {
        let id = |&position: &usize| -> &str { &seal.leaves[position].id };
        let mut by_id: Vec<usize> = (0..seal.leaves.len()).collect();
        by_id.sort_unstable_by(|a, b| id(a).cmp(id(b)));
        let tree = Tree::new(seal.leaves.iter().map(|leaf| leaf.hash));
        Self { seal, tree, by_id }
    }

    fn find(&self, collection: &str, id: &str) -> Option<usize> {
        let leaf = |position: &usize| -> &Leaf { &self.seal.leaves[*position] };
        let found = self.by_id.binary_search_by(|position| leaf(position).id.as_str().cmp(id)).ok()?;
        let position = self.by_id[found];
        let scope = Scopes::standard().of_code(leaf(&position).code);
        scope.is_some_and(|scope| scope.collection() == collection).then_some(position)
    }
}

impl SealCache {
    pub(super) fn new(store: SealStore, last: i64) -> Self {
        Self { store, last, kept: VecDeque::new() }
    }

    /// The seal of a record and the position of its leaf; none where it is in no seal that counts.
    pub(super) async fn find(
        &mut self,
        collection: &str,
        id: &str,
    ) -> Result<Option<(&CachedSeal, usize)>, ExportError> {
        match self.kept.iter().position(|cached| cached.find(collection, id).is_some()) {
            Some(at) => self.kept.make_contiguous()[..=at].rotate_right(1),
            None => {
                let Some(seal) = self.store.find_by_record(id).await? else { return Ok(None) };
                self.kept.truncate(SEALS_KEPT - 1);
                self.kept.push_front(CachedSeal::new(seal));
            }
        }
        let cached = &self.kept[0];
        Ok(cached.find(collection, id).filter(|_| cached.seal.number <= self.last).map(|index| (cached, index)))
    }
}
