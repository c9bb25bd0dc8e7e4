//! Records that match, each with its proof.

use std::collections::VecDeque;

use bson::DateTime;
use tokio::io::AsyncWrite;

use super::{
    Export, ExportError,
    file::{Entry, ExportFile},
    ways::Way,
};
use crate::modules::audit::{
    proof::{Leaf, Proof, Record, Scopes, Seal, Tree},
    seals::SealStore,
};

/// Seals that are kept, with their trees: some 4 MB each where they are full. Records come in the order of their times,
/// and so do seals, but for those that were committed late.
const SEALS_KEPT: usize = 4;

/// Writes every record that matches and is in a seal of the export.
pub(super) async fn write<W: AsyncWrite + Unpin + Send, P: FnMut(u64) + Send>(
    export: &Export,
    file: &mut ExportFile<W, P>,
) -> Result<(), ExportError> {
    let store = SealStore::new(export.db.clone());
    // What is written while this goes on is not sealed in time: without a bound a busy database would never be read to its
    // end. A process that is ahead of time may have been sealed already.
    let newest_ms = store.newest_ms().await?.max(export.created_at.timestamp_millis());
    let filter = export.filter.clone().until(DateTime::from_millis(newest_ms.saturating_add(1)));
    let mut places = Places::new(store, export.seals.last);
    let collections = Scopes::standard().today().map(|scope| scope.collection());
    for collection in collections.filter(|collection| export.filter.reaches(collection)) {
        let way = Way::to(collection, &filter);
        let mut after = None;
        loop {
            let page = way.page(&export.db, after.as_deref()).await?;
            for document in &page.records {
                let id = document.get_str("_id").unwrap_or_default();
                let Some((place, index)) = places.find(collection, id).await? else {
                    file.sums.unsealed += 1;
                    continue;
                };
                let leaf = &place.seal.leaves[index];
                let proof = Proof::in_tree(&place.seal, &place.tree, index, Scopes::standard());
                let (Some(scope), Some(proof)) = (Scopes::standard().of_code(leaf.code), proof) else {
                    let reason = "names a rule that is not known";
                    return Err(ExportError::Seal { number: place.seal.number, reason });
                };
                let record = Record { scope, id, document };
                let entry = Entry { seal: place.seal.number, seq: proof.seq, record, proof: Some(&proof) };
                file.record(entry, &export.commitments).await?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Finds the leaves of records.
struct Places {
    store: SealStore,
    /// Number of the last seal that counts.
    last: i64,
    /// Used last first.
    kept: VecDeque<Place>,
}

/// A seal, ready to be looked through and to prove.
struct Place {
    seal: Seal,
    tree: Tree,
    /// Positions of the leaves in the order of their ids.
    by_id: Vec<usize>,
}

impl Place {
    fn new(seal: Seal) -> Self {
        let id = |&position: &usize| -> &str { &seal.leaves[position].id };
        let mut by_id: Vec<usize> = (0..seal.leaves.len()).collect();
        by_id.sort_unstable_by(|a, b| id(a).cmp(id(b)));
        let tree = Tree::new(&seal.leaves.iter().map(|leaf| leaf.hash).collect::<Vec<_>>());
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

impl Places {
    fn new(store: SealStore, last: i64) -> Self {
        Self { store, last, kept: VecDeque::new() }
    }

    /// The seal of a record and the position of its leaf; none where it is in no seal that counts.
    async fn find(&mut self, collection: &str, id: &str) -> Result<Option<(&Place, usize)>, ExportError> {
        match self.kept.iter().position(|place| place.find(collection, id).is_some()) {
            Some(at) => self.kept.make_contiguous()[..=at].rotate_right(1),
            None => {
                let Some(seal) = self.store.find_by_record(id).await? else { return Ok(None) };
                self.kept.truncate(SEALS_KEPT - 1);
                self.kept.push_front(Place::new(seal));
            }
        }
        let place = &self.kept[0];
        Ok(place.find(collection, id).filter(|_| place.seal.number <= self.last).map(|index| (place, index)))
    }
}
