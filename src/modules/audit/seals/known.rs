//! Which records are sealed, of those that a sealer may meet again.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::platform::ids::{is_id, time_of_id};

/// Records whose ids carry a time from `from` on and that are sealed, by the codes of their rules.
#[derive(Debug, Default)]
pub(super) struct Known {
    from_ms: i64,
    ids: BTreeMap<u8, BTreeSet<u128>>,
}

impl Known {
    /// Nothing yet, from a time on.
    pub(super) fn since(from_ms: i64) -> Self {
        Self { from_ms, ids: BTreeMap::new() }
    }

    /// From which time on it knows all.
    pub(super) const fn since_ms(&self) -> i64 {
        self.from_ms
    }

    /// This record is sealed.
    pub(super) fn add(&mut self, code: u8, id: &str) {
        if time_of_id(id).is_none_or(|at| at >= self.from_ms) {
            self.ids.entry(code).or_default().insert(body(id));
        }
    }

    pub(super) fn has(&self, code: u8, id: &str) -> bool {
        self.ids.get(&code).is_some_and(|ids| ids.contains(&body(id)))
    }

    /// Of this rule, what carries an earlier time is not asked for any more.
    pub(super) fn forget(&mut self, code: u8, before_ms: i64) {
        self.from_ms = self.from_ms.max(before_ms);
        let least = u128::try_from(before_ms).unwrap_or_default() << 80;
        if let Some(ids) = self.ids.get_mut(&code) {
            *ids = ids.split_off(&least);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.ids.values().map(BTreeSet::len).sum()
    }
}

/// The 128 bits of an id, in its order. What has not the shape of ours gives a hash above all of them: it is never
/// forgotten.
fn body(id: &str) -> u128 {
    match id.split_once('_') {
        Some((prefix, body)) if is_id(prefix, id) => u128::from_str_radix(body, 16).unwrap_or_default(),
        _ => {
            let hash: [u8; 32] = Sha256::digest(id).into();
            let (half, _) = hash.split_at(16);
            u128::from_be_bytes(half.try_into().expect("16 bytes")) | (0xffff << 112)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::ids::first_id_at;

    #[test]
    fn what_is_sealed_is_known_until_it_is_forgotten() {
        let mut known = Known::since(1_000);
        let (old, new, strange) = (first_id_at("evt", 2_000), first_id_at("evt", 9_000), "evt_by_hand");
        for id in [old.as_str(), &new, strange, &first_id_at("evt", 999)] {
            known.add(3, id);
        }
        assert_eq!(known.len(), 3, "what is before its time is not kept");
        assert!(known.has(3, &old) && known.has(3, &new) && known.has(3, strange));
        assert!(!known.has(4, &old) && !known.has(3, "evt_by_foot"));
        known.forget(4, 1_500);
        assert!(known.has(3, &old), "that was another rule's");
        known.forget(3, 5_000);
        assert!(!known.has(3, &old) && known.has(3, &new) && known.has(3, strange));
        known.forget(3, 4_000);
        assert_eq!((known.since_ms(), known.len()), (5_000, 2));
    }
}
