//! Proofs of single records.

use bson::doc;

use super::*;

struct Proved {
    records: Vec<Stored>,
    seal: Seal,
}

/// A seal of so many records that is not the first.
fn proved(count: usize) -> Proved {
    let first = sealed(None, &stored(100..104), &signer("a"));
    let records = stored(0..count);
    Proved { seal: sealed(Some(&first), &records, &signer("a")), records }
}

impl Proved {
    fn proof(&self, index: usize) -> Proof {
        Proof::of(&self.seal, index, &scopes()).expect("a leaf")
    }

    fn check(&self, proof: &Proof, record: usize) -> Result<(), ProofError> {
        proof.verify(&self.records[record].document, &commitments_key(), &scopes(), &keys(&["a"]))
    }
}

#[test]
fn every_record_is_proved_and_no_other() {
    // Trees of every shape, and larger ones around a power of two.
    for count in (1..=17).chain([31, 32, 33, 40]) {
        let proved = proved(count);
        for index in 0..count {
            let proof = proved.proof(index);
            assert_eq!(proved.check(&proof, index), Ok(()), "{index} of {count}");
            let other = (index + 1) % count;
            if other != index {
                assert!(proved.check(&proof, other).is_err(), "{index} of {count}");
                let posing = Proof { record_id: proved.records[other].id.clone(), ..proof.clone() };
                assert!(proved.check(&posing, other).is_err(), "{index} of {count}");
            }
            for other in (0..count as i64 + 2).filter(|&other| other != index as i64) {
                let moved = Proof { index: other, seq: proved.seal.first_seq + other, ..proof.clone() };
                assert!(proved.check(&moved, index).is_err(), "{index} as {other} of {count}");
            }
        }
        assert_eq!(Proof::of(&proved.seal, count, &scopes()), None);
    }
}

#[test]
fn whatever_is_changed_in_a_proof_is_noticed() {
    let proved = proved(11);
    let honest = proved.proof(6);
    let changes: [(fn(&mut Proof), _); 15] = [
        (|proof| proof.record_id.push('x'), ProofError::Contradiction("recordId")),
        (|proof| proof.collection = "plain".into(), ProofError::NotGiven("rule 2 is not known".into())),
        (|proof| proof.code = 9, ProofError::NotGiven("rule 9 is not known".into())),
        (|proof| proof.seq += 1, ProofError::Contradiction("seq")),
        (|proof| proof.leaf_hash.0[0] ^= 1, ProofError::RecordChanged),
        (|proof| proof.seal_number += 1, ProofError::Contradiction("sealNumber")),
        (|proof| proof.index = -1, ProofError::Contradiction("index")),
        (|proof| proof.tree_size += 1, ProofError::Contradiction("treeSize")),
        (|proof| proof.path[0].0[0] ^= 1, ProofError::WrongPath),
        (|proof| _ = proof.path.pop(), ProofError::WrongPath),
        (|proof| proof.path.push(Hash::ZERO), ProofError::WrongPath),
        (|proof| proof.public_key_id.push('0'), ProofError::Contradiction("publicKeyId")),
        (|proof| proof.seal_header.number += 1, ProofError::Seal(NotSigned::Wrong)),
        (|proof| proof.seal_header.signature.0[0] ^= 1, ProofError::Seal(NotSigned::Wrong)),
        (|proof| proof.seal_header.key_id.push('0'), ProofError::Seal(NotSigned::UnknownKey)),
    ];
    for (change, expected) in changes {
        let mut proof = honest.clone();
        change(&mut proof);
        assert_eq!(proved.check(&proof, 6), Err(expected));
    }
    let document = &proved.records[6].document;
    let unknown = honest.verify(document, &commitments_key(), &scopes(), &keys(&["b"]));
    assert_eq!(unknown, Err(ProofError::Seal(NotSigned::UnknownKey)));
}

#[test]
fn a_third_party_needs_the_record_its_salts_and_the_public_keys() {
    let proved = proved(7);
    let scopes = scopes();
    let json = serde_json::to_string(&proved.proof(3)).expect("JSON");
    let proof: Proof = serde_json::from_str(&json).expect("a proof");
    let salts = commitments_key().salts(&proved.records[3].record(&scopes));
    let text = serde_json::to_string(&ExtendedJson(&proved.records[3].document)).expect("JSON");
    let record = from_json(&text).expect("the record");
    let published = serde_json::to_string(&keys(&["a", "b"])).expect("JSON");
    let published: PublicKeys = serde_json::from_str(&published).expect("keys");
    assert_eq!(proof.verify(&record, &salts, &scopes, &published), Ok(()));
    let missing = proof.verify(&record, &Salts::default(), &scopes, &published);
    assert_eq!(missing, Err(ProofError::NotGiven("no salt is given for reason".into())));
}

#[test]
fn an_erased_record_is_still_proved_and_needs_fewer_salts() {
    let proved = proved(4);
    let (scopes, stored) = (scopes(), &proved.records[0]);
    let mut document = Document::try_from(&*stored.document).expect("BSON");
    document.insert("reason", erase(&stored.record(&scopes), "reason", &commitments_key()).expect("a reason"));
    let erased = Stored { document: raw(&document), ..stored.clone() };
    let salts = commitments_key().salts(&erased.record(&scopes));
    assert!(matches!(&salts, Salts::OfFields(fields) if !fields.contains_key("reason")), "{salts:?}");
    assert_eq!(proved.proof(0).verify(&erased.document, &salts, &scopes, &keys(&["a"])), Ok(()));
}

#[test]
fn a_record_of_another_shape_is_refused_and_nothing_panics() {
    let proved = proved(4);
    let proof = proved.proof(0);
    for odd in [doc! {}, doc! { "_id": 1 }, doc! { "_id": "let_0" }] {
        let refused = proof.verify(&raw(&odd), &commitments_key(), &scopes(), &keys(&["a"]));
        assert!(refused.is_err(), "{odd}");
    }
}
