//! Changes, removals, insertions and moves are found and named.

use bson::doc;
use proptest::prelude::*;

use super::*;

/// A chain of seals with their records.
#[derive(Clone)]
struct Chain(Vec<(Seal, Vec<Option<Stored>>)>);

/// Three seals: of 7 records, of none, of 5.
fn chain() -> Chain {
    signed_by(["a", "a", "a"])
}

fn signed_by(digits: [&str; 3]) -> Chain {
    let mut chain: Vec<(Seal, Vec<Option<Stored>>)> = Vec::new();
    for (range, digit) in [0..7, 7..7, 7..12].into_iter().zip(digits) {
        let records = stored(range);
        let seal = sealed(chain.last().map(|(seal, _)| seal), &records, &signer(digit));
        chain.push((seal, records.into_iter().map(Some).collect()));
    }
    Chain(chain)
}

impl Chain {
    fn check(&self) -> Result<Option<Anchor>, Finding> {
        self.check_with(&keys(&["a"]), [], |_| false)
    }

    fn check_with(
        &self,
        keys: &PublicKeys,
        anchors: impl IntoIterator<Item = Anchor>,
        purged: impl Fn(&NamedRecord<'_>) -> bool + Send + Sync,
    ) -> Result<Option<Anchor>, Finding> {
        let (scopes, salts) = (scopes(), commitments_key());
        let mut verifier = ChainVerifier::new(keys, &scopes, anchors, purged);
        for (seal, records) in &self.0 {
            let mut check = verifier.seal(seal)?;
            for (leaf, stored) in seal.leaves.iter().zip(records) {
                let collection = scopes.of_code(leaf.code).map_or("?", SealScope::collection);
                check.record(collection, &leaf.id, stored.as_ref().map(|stored| &*stored.document), &salts)?;
            }
            check.finish()?;
        }
        verifier.finish()
    }

    fn found(&self) -> Finding {
        self.check().expect_err("a finding")
    }

    /// Kind, seal and record of the first finding.
    fn named(&self) -> (FindingKind, i64, Option<i64>) {
        let found = self.found();
        (found.kind, found.seal, found.seq)
    }

    fn anchor(&self, seal: usize) -> Anchor {
        Anchor::from(&self.0[seal].0.header)
    }

    /// The record of a leaf, looked up by the id that the leaf has now.
    fn look_up_again(&mut self, seal: usize) {
        let (seal, records) = &mut self.0[seal];
        let all: Vec<_> = records.iter().flatten().cloned().collect();
        *records = seal.leaves.iter().map(|leaf| all.iter().find(|stored| stored.id == leaf.id).cloned()).collect();
    }
}

#[test]
fn an_untouched_chain_has_no_finding() {
    let chain = chain();
    assert_eq!(chain.check(), Ok(Some(chain.anchor(2))));
    assert_eq!(Chain(Vec::new()).check(), Ok(None));
}

/// All bits of so many bytes, or one of each byte.
fn bits(bytes: usize, all: bool) -> impl Iterator<Item = usize> {
    (0..bytes * 8).filter(move |bit| all || bit % 8 == bit / 8 % 8)
}

#[test]
fn every_bit_of_a_record_is_found() {
    for (seal, position) in [(0, 0), (0, 4), (2, 2)] {
        let honest = chain();
        let seq = honest.0[seal].0.first_seq + position as i64;
        let bytes = honest.0[seal].1[position].clone().expect("a record").document.into_bytes();
        for bit in bits(bytes.len(), seal == 2) {
            let mut chain = honest.clone();
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let Ok(document) = RawDocumentBuf::from_bytes(changed) else { continue };
            chain.0[seal].1[position].as_mut().expect("a record").document = document;
            let expected = (FindingKind::RecordChanged, seal as i64 + 1, Some(seq));
            assert_eq!(chain.named(), expected, "bit {bit}");
        }
    }
}

#[test]
fn every_bit_of_a_leaf_is_found() {
    let honest = chain();
    for position in 0..7 {
        for bit in bits(32, position == 0) {
            let mut chain = honest.clone();
            chain.0[0].0.leaves[position].hash.0[bit / 8] ^= 1 << (bit % 8);
            let kind = (FindingKind::SealChanged, 1, None);
            assert_eq!(chain.named(), kind, "leaf {position} bit {bit}");
        }
        for bit in 0..8 {
            let mut chain = honest.clone();
            chain.0[0].0.leaves[position].code ^= 1 << bit;
            assert_eq!(chain.named(), (FindingKind::SealChanged, 1, None), "leaf {position} code {bit}");
        }
        let mut chain = honest.clone();
        chain.0[0].0.leaves[position].id.push('x');
        chain.look_up_again(0);
        assert_eq!(chain.named(), (FindingKind::SealChanged, 1, None), "leaf {position} id");
    }
}

type Change<T> = fn(&mut T);

/// Changes of one thing of a header.
fn header_changes() -> Vec<(&'static str, Change<Seal>)> {
    vec![
        ("number", |seal| seal.number += 1),
        ("number down", |seal| seal.number -= 1),
        ("sealedAt", |seal| seal.sealed_at = DateTime::from_millis(seal.sealed_at.timestamp_millis() + 1)),
        ("firstSeq", |seal| seal.first_seq += 1),
        ("counts", |seal| *seal.counts.entry("plain".into()).or_default() += 1),
        ("counts, another", |seal| _ = seal.counts.insert("other".into(), 0)),
        ("totals", |seal| *seal.totals.entry("plain".into()).or_default() -= 1),
        ("totals, far", |seal| _ = seal.totals.insert("plain".into(), i64::MAX)),
        ("counts, far", |seal| _ = seal.counts.insert("other".into(), i64::MAX)),
    ]
}

#[test]
fn every_change_of_a_header_is_found() {
    let honest = chain();
    for number in 0..3 {
        let expected = (FindingKind::SealForged, number as i64 + 1, None);
        for (name, change) in header_changes() {
            let mut chain = honest.clone();
            change(&mut chain.0[number].0);
            assert_eq!(chain.named(), expected, "{name}");
        }
        for bit in bits(32, number == 1) {
            let flip = |hash: &mut Hash| hash.0[bit / 8] ^= 1 << (bit % 8);
            let fields: [fn(&mut Seal) -> &mut Hash; 3] =
                [|seal| &mut seal.root, |seal| &mut seal.names, |seal| &mut seal.previous];
            for field in fields {
                let mut chain = honest.clone();
                flip(field(&mut chain.0[number].0));
                assert_eq!(chain.named(), expected, "bit {bit}");
            }
        }
        for bit in bits(64, number == 1) {
            let mut chain = honest.clone();
            chain.0[number].0.signature.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(chain.named(), expected, "signature, bit {bit}");
        }
        let mut chain = honest.clone();
        chain.0[number].0.key_id.replace_range(..1, "z");
        assert_eq!(chain.named(), (FindingKind::UnknownKey, number as i64 + 1, None));
    }
}

#[test]
fn what_a_thief_of_the_key_signs_still_has_to_continue_the_chain() {
    let resigned = |change: fn(&mut SealHeader)| {
        let mut chain = chain();
        let (seal, _) = &mut chain.0[2];
        let mut header = seal.header.clone();
        change(&mut header);
        header.signature = signer("a").sign(&header.signed_bytes());
        seal.header = header;
        chain.found()
    };
    let cases: [(Change<SealHeader>, FindingKind, &str); 9] = [
        (|header| header.number += 1, FindingKind::SealMissing, "it is not there; seal 4 follows"),
        (|header| header.number -= 1, FindingKind::ChainBroken, "seal 2 stands in its place"),
        (|header| header.previous = Hash::ZERO, FindingKind::ChainBroken, "its previous does not"),
        (|header| header.first_seq -= 1, FindingKind::ChainBroken, "its firstSeq does not"),
        (|header| _ = header.totals.insert("plain".into(), 1), FindingKind::ChainBroken, "its totals does not"),
        (|header| _ = header.counts.insert("other".into(), -1), FindingKind::ChainBroken, "its counts does not"),
        (
            |header| {
                *header.counts.entry("plain".into()).or_default() += 1;
                *header.totals.entry("plain".into()).or_default() += 1;
            },
            FindingKind::SealChanged,
            "its leaves are not as many",
        ),
        (|header| header.root = Hash::ZERO, FindingKind::SealChanged, "the hashes of its leaves"),
        (|header| header.names = Hash::ZERO, FindingKind::SealChanged, "the ids of its leaves"),
    ];
    for (change, kind, detail) in cases {
        let found = resigned(change);
        assert_eq!((found.seal, found.kind), (3, kind), "{found}");
        assert!(found.detail.starts_with(detail), "{found}");
    }
}

#[test]
fn a_record_that_is_gone_is_named_unless_it_was_purged() {
    let mut chain = chain();
    chain.0[2].1[1] = None;
    let found = chain.found();
    assert_eq!((found.kind, found.seal, found.seq), (FindingKind::RecordRemoved, 3, Some(9)));
    assert_eq!((found.collection.as_deref(), found.record_id.as_deref()), (Some("plain"), Some("pla_8")));
    assert_eq!(found.to_string(), "seal 3: the record is gone");
    let purged = |record: &NamedRecord<'_>| (record.seal, record.seq, record.leaf.id.as_str()) == (3, 9, "pla_8");
    assert_eq!(chain.check_with(&keys(&["a"]), [], purged), Ok(Some(chain.anchor(2))));
    assert!(chain.check_with(&keys(&["a"]), [], |record| record.leaf.id == "pla_7").is_err());
}

#[test]
fn a_removed_record_does_not_hide_behind_the_name_of_a_purged_one() {
    let mut chain = chain();
    chain.0[2].1[1] = None;
    chain.0[2].0.leaves[1].id = "pla_1".into();
    let found = chain.check_with(&keys(&["a"]), [], |record| record.leaf.id == "pla_1").expect_err("a finding");
    assert_eq!((found.kind, found.seal), (FindingKind::SealChanged, 3));
}

#[test]
fn a_record_that_is_in_no_seal_is_named() {
    let (keys, scopes, chain) = (keys(&["a"]), scopes(), chain());
    let mut verifier = ChainVerifier::new(&keys, &scopes, [], |_| false);
    let (seal, records) = &chain.0[0];
    let mut check = verifier.seal(seal).expect("a seal");
    for record in records.iter().flatten() {
        check.record(record.collection, &record.id, Some(&record.document), &commitments_key()).expect("as sealed");
    }
    let more = stored(20..21).remove(0);
    let found = check.record(more.collection, &more.id, Some(&more.document), &commitments_key());
    assert_eq!(found.map_err(|found| (found.kind, found.seal)), Err((FindingKind::RecordInserted, 1)));
    check.finish().expect("all were checked");
    let found = verifier.unsealed("plain", "pla_99");
    assert_eq!((found.kind, found.seal, found.record_id.as_deref()), (FindingKind::RecordInserted, 1, Some("pla_99")));
    let found = verifier.unreadable_seal("a field is missing");
    assert_eq!((found.kind, found.seal), (FindingKind::SealChanged, 2));
    let json = serde_json::to_value(&found).expect("JSON");
    assert_eq!(json["kind"], "seal_changed");
}

#[test]
fn records_left_out_are_not_overlooked() {
    let (keys, scopes, chain) = (keys(&["a"]), scopes(), chain());
    let mut verifier = ChainVerifier::new(&keys, &scopes, [], |_| false);
    let found = verifier.seal(&chain.0[0].0).expect("a seal").finish().expect_err("a finding");
    assert_eq!((found.kind, found.seq), (FindingKind::RecordRemoved, Some(1)));
    let mut check = verifier.seal(&chain.0[0].0).expect("the same seal again");
    let second = chain.0[0].1[1].clone().expect("a record");
    let found = check.record(second.collection, &second.id, Some(&second.document), &commitments_key());
    assert_eq!(found.map_err(|found| (found.kind, found.seq)), Err((FindingKind::RecordReordered, Some(1))));
}

#[test]
fn two_records_that_changed_places_are_named() {
    let mut chain = chain();
    let (one, other) = (chain.0[0].1[1].clone(), chain.0[0].1[2].clone());
    let swap = |to: &mut Option<Stored>, from: Option<Stored>| {
        to.as_mut().expect("a record").document = from.expect("a record").document;
    };
    swap(&mut chain.0[0].1[1], other);
    swap(&mut chain.0[0].1[2], one);
    assert_eq!(chain.named(), (FindingKind::RecordChanged, 1, Some(2)));
}

#[test]
fn two_leaves_that_changed_places_are_named() {
    let mut chain = chain();
    chain.0[0].0.leaves.swap(1, 5);
    chain.look_up_again(0);
    let found = chain.found();
    assert_eq!((found.kind, found.seal), (FindingKind::SealChanged, 1));
    // Also where their records are gone.
    chain.0[0].1 = vec![None; 7];
    let found = chain.check_with(&keys(&["a"]), [], |_| true).expect_err("a finding");
    assert_eq!((found.kind, found.seal), (FindingKind::SealChanged, 1));
}

#[test]
fn leaves_removed_inserted_or_exchanged_are_found() {
    let honest = chain();
    let changes: [fn(&mut Seal); 4] = [
        |seal| drop(seal.leaves.remove(3)),
        |seal| seal.leaves.insert(3, Leaf { code: 1, id: "pla_99".into(), hash: Hash::ZERO }),
        |seal| seal.leaves[1].hash = seal.leaves[2].hash,
        |seal| seal.leaves.clear(),
    ];
    for change in changes {
        let mut chain = honest.clone();
        change(&mut chain.0[0].0);
        chain.look_up_again(0);
        assert_eq!(chain.named(), (FindingKind::SealChanged, 1, None));
    }
}

#[test]
fn seals_removed_or_exchanged_are_found() {
    let mut gone = chain();
    gone.0.remove(1);
    assert_eq!(gone.named(), (FindingKind::SealMissing, 2, None));
    gone.0.remove(0);
    assert_eq!(gone.named(), (FindingKind::SealMissing, 1, None));
    let mut swapped = chain();
    swapped.0.swap(0, 1);
    assert_eq!(swapped.named(), (FindingKind::SealMissing, 1, None));
    let mut renumbered = swapped;
    renumbered.0[0].0.number = 1;
    assert_eq!(renumbered.named(), (FindingKind::SealForged, 1, None));
    let mut twice = chain();
    twice.0.insert(1, twice.0[0].clone());
    assert_eq!(twice.named(), (FindingKind::ChainBroken, 2, None));
}

#[test]
fn a_tail_that_was_cut_is_found_by_its_anchor() {
    let mut chain = chain();
    let (last, first) = (chain.anchor(2), chain.anchor(0));
    assert_eq!(chain.check_with(&keys(&["a"]), [first, last], |_| false), Ok(Some(last)));
    chain.0.pop();
    assert_eq!(chain.check(), Ok(Some(chain.anchor(1))), "without an anchor nobody knows");
    let found = chain.check_with(&keys(&["a"]), [first, last], |_| false).expect_err("a finding");
    assert_eq!((found.kind, found.seal), (FindingKind::TailCut, 3));
    // Cut, and sealed again with the same key.
    let (again, records) = (sealed(Some(&chain.0[1].0), &stored(7..9), &signer("a")), stored(7..9));
    chain.0.push((again, records.into_iter().map(Some).collect()));
    assert!(chain.check().is_ok());
    let found = chain.check_with(&keys(&["a"]), [last], |_| false).expect_err("a finding");
    assert_eq!((found.kind, found.seal), (FindingKind::TailCut, 3));
    let nothing = Chain(Vec::new()).check_with(&keys(&["a"]), [first], |_| false).expect_err("a finding");
    assert_eq!((nothing.kind, nothing.seal), (FindingKind::TailCut, 1));
    let odd = Anchor { number: 0, ..first };
    assert!(chain.check_with(&keys(&["a"]), [odd], |_| false).is_err(), "an anchor that nothing can meet");
}

#[test]
fn an_anchor_is_a_line_of_json() {
    let anchor = Anchor { number: 12, header_hash: Hash::ZERO };
    let line = serde_json::to_string(&anchor).expect("JSON");
    assert_eq!(line, format!(r#"{{"number":12,"headerHash":"{}"}}"#, "0".repeat(64)));
    assert_eq!(serde_json::from_str::<Anchor>(&line).expect("an anchor"), anchor);
}

#[test]
fn a_seal_of_another_key_is_unknown_or_forged() {
    let chain = signed_by(["a", "b", "b"]);
    assert_eq!(chain.named(), (FindingKind::UnknownKey, 2, None));
    let mut forged = chain;
    forged.0[1].0.key_id = signer("a").public().id();
    assert_eq!(forged.named(), (FindingKind::SealForged, 2, None));
}

#[test]
fn after_a_change_of_keys_old_seals_are_still_good() {
    let chain = signed_by(["a", "a", "b"]);
    assert_eq!(chain.check_with(&keys(&["a", "b"]), [], |_| false), Ok(Some(chain.anchor(2))));
    let found = chain.check_with(&keys(&["b"]), [], |_| false).expect_err("a finding");
    assert_eq!((found.kind, found.seal), (FindingKind::UnknownKey, 1));
}

#[test]
fn a_check_goes_on_after_a_seal_that_is_trusted() {
    let (keys, scopes, chain) = (keys(&["a"]), scopes(), chain());
    let anchors = [chain.anchor(0), chain.anchor(1)];
    let verifier = ChainVerifier::new(&keys, &scopes, anchors, |_| false);
    let mut verifier = verifier.after(&chain.0[1].0.header);
    let check = verifier.seal(&chain.0[2].0).expect("the third");
    assert_eq!(check.finish().map_err(|found| found.kind), Err(FindingKind::RecordRemoved));
    assert_eq!(verifier.finish(), Ok(Some(chain.anchor(1))));
    let other = Anchor { header_hash: Hash::ZERO, ..chain.anchor(1) };
    let verifier = ChainVerifier::new(&keys, &scopes, [other], |_| false).after(&chain.0[1].0.header);
    assert_eq!(verifier.finish().map_err(|found| found.kind), Err(FindingKind::TailCut));
}

#[test]
fn erased_fields_are_no_finding_and_forged_ones_are() {
    let mut chain = chain();
    let (scopes, key) = (scopes(), commitments_key());
    for (_, records) in &mut chain.0 {
        for stored in records.iter_mut().flatten().filter(|stored| stored.collection == "letters") {
            let replacement = erase(&stored.record(&scopes), "reason", &key).expect("a reason");
            let mut document = Document::try_from(&*stored.document).expect("BSON");
            document.insert("reason", replacement);
            stored.document = raw(&document);
        }
    }
    assert!(chain.check().is_ok());
    let forged = chain.0[0].1[3].as_mut().expect("a record");
    let mut document = Document::try_from(&*forged.document).expect("BSON");
    document.insert("reason", erased(&Hash::ZERO));
    forged.document = raw(&document);
    assert_eq!(chain.named(), (FindingKind::RecordChanged, 1, Some(4)));
}

#[test]
fn a_record_without_its_salts_is_not_taken_for_checked() {
    let (keys, scopes) = (keys(&["a"]), scopes());
    let records = [Stored::new("letters", &letter("let_1"))];
    let seal = sealed(None, &records, &signer("a"));
    let mut verifier = ChainVerifier::new(&keys, &scopes, [], |_| false);
    let mut check = verifier.seal(&seal).expect("a seal");
    let found = check.record("letters", "let_1", Some(&records[0].document), &Salts::default()).expect_err("a finding");
    assert_eq!((found.kind, found.detail.as_str()), (FindingKind::RecordChanged, "no salt is given for reason"));
}

proptest! {
    /// Any number of records in any number of seals; one thing happens to one of them.
    #[test]
    fn one_thing_anywhere_is_found_where_it_is(
        sizes in proptest::collection::vec(0_usize..6, 1..5),
        at in any::<prop::sample::Index>(),
        removed in any::<bool>(),
    ) {
        let mut chain = Chain(Vec::new());
        let mut start = 0;
        for size in &sizes {
            let records = stored(start..start + size);
            start += size;
            let seal = sealed(chain.0.last().map(|(seal, _)| seal), &records, &signer("a"));
            chain.0.push((seal, records.into_iter().map(Some).collect()));
        }
        prop_assert_eq!(chain.check(), Ok(chain.0.last().map(|(seal, _)| Anchor::from(&seal.header))));
        prop_assume!(start > 0);
        let seq = at.index(start) as i64 + 1;
        let (number, (seal, records)) = chain.0.iter_mut().enumerate()
            .find(|(_, (seal, _))| (seal.first_seq..seal.header.next_seq()).contains(&seq)).expect("its seal");
        let record = &mut records[(seq - seal.first_seq) as usize];
        let kind = if removed {
            *record = None;
            FindingKind::RecordRemoved
        } else {
            let id = record.as_ref().expect("a record").id.clone();
            record.as_mut().expect("a record").document = raw(&doc! { "_id": id, "n": -1_i64, "at": AT });
            FindingKind::RecordChanged
        };
        prop_assert_eq!(chain.named(), (kind, number as i64 + 1, Some(seq)));
    }
}
