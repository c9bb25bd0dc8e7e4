//! The tree against the words of RFC 6962.

use sha2::{Digest, Sha256};

use super::*;

/// `MTH` of section 2.1.
fn defined_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Bytes(Sha256::digest([]).into()),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            let children = [&[1][..], &defined_root(left).0, &defined_root(right).0].concat();
            Bytes(Sha256::digest(children).into())
        }
    }
}

/// `PATH` of section 2.1.1.
fn defined_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, other) = match index.checked_sub(left.len()) {
        None => (defined_path(index, left), right),
        Some(index) => (defined_path(index, right), left),
    };
    path.push(defined_root(other));
    path
}

/// The largest power of two below `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|n| Bytes(Sha256::digest(n.to_le_bytes()).into())).collect()
}

#[test]
fn roots_and_paths_are_those_of_the_rfc() {
    for count in 0..=70 {
        let leaves = leaves(count);
        let tree = Tree::new(leaves.iter().copied());
        assert_eq!(tree.root(), defined_root(&leaves), "{count} leaves");
        assert_eq!(tree.path(count), None);
        for (index, leaf) in leaves.iter().enumerate() {
            let path = tree.path(index).expect("a leaf");
            assert_eq!(path, defined_path(index, &leaves), "{index} of {count}");
            assert_eq!(root_of_path(leaf, index as u64, count as u64, &path), Some(tree.root()));
        }
    }
}

#[test]
fn a_path_leads_from_its_leaf_only() {
    for count in 1..=20 {
        let leaves = leaves(count);
        let tree = Tree::new(leaves.iter().copied());
        for index in 0..count {
            let path = tree.path(index).expect("a leaf");
            let leads = |leaf: &Hash, index: usize, size: usize, path: &[Hash]| {
                root_of_path(leaf, index as u64, size as u64, path) == Some(tree.root())
            };
            for other in (0..count + 3).filter(|&other| other != index) {
                assert!(!leads(&leaves[index], other, count, &path), "{index} as {other} of {count}");
                assert!(other >= count || !leads(&leaves[other], index, count, &path));
            }
            for position in 0..path.len() {
                let mut changed = path.clone();
                changed[position].0[7] ^= 4;
                assert!(!leads(&leaves[index], index, count, &changed));
            }
            let longer = [&path[..], &[Hash::ZERO]].concat();
            assert!(!leads(&leaves[index], index, count, &longer));
            assert!(path.is_empty() || !leads(&leaves[index], index, count, &path[1..]));
            assert!(path.is_empty() || !leads(&leaves[index], index, count, &path[..path.len() - 1]));
        }
    }
}

#[test]
fn sizes_that_make_no_sense_lead_nowhere() {
    for (index, size) in [(0, 0), (1, 1), (u64::MAX, u64::MAX), (u64::MAX, 3)] {
        assert_eq!(root_of_path(&Hash::ZERO, index, size, &[]), None, "{index} of {size}");
    }
    assert_eq!(root_of_path(&Hash::ZERO, 0, u64::MAX, &leaves(80)), None);
}
