//! Personal fields: hidden, erasable, and not to be replaced by others.

use bson::{Bson, doc};

use super::*;

const PATHS: [&str; 5] = ["actor.address", "body.items.0.name", "body.tags.0", "body.tags.1", "reason"];

fn set(document: &mut Document, path: &str, value: Bson) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let mut place = document.get_mut(first).expect("a field");
    for name in rest.iter().flat_map(|rest| rest.split('.')) {
        place = match place {
            Bson::Document(inner) => inner.get_mut(name).expect("a field"),
            Bson::Array(entries) => &mut entries[name.parse::<usize>().expect("a position")],
            other => panic!("{path}: {other}"),
        };
    }
    *place = value;
}

fn leaf(document: &Document) -> Hash {
    leaf_of(&Stored::new("letters", document), 7)
}

#[test]
fn personal_fields_are_found_where_they_have_a_value() {
    let stored = Stored::new("letters", &letter("let_1"));
    let found = commitments(&stored.record(&scopes()), &commitments_key());
    assert_eq!(found.keys().collect::<Vec<_>>(), PATHS);
    let salts = commitments_key().salts(&stored.record(&scopes()));
    assert_eq!(salts.0.keys().collect::<Vec<_>>(), PATHS);
    let mut different: Vec<_> = salts.0.values().collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), PATHS.len(), "every field has a salt of its own");
}

#[test]
fn what_a_personal_field_says_is_not_in_the_hashed_bytes() {
    let (scopes, key) = (scopes(), commitments_key());
    let stored = Stored::new("letters", &letter("let_1"));
    let mut hasher = LeafHasher::new();
    let Ok(_) = hasher.hash(&stored.record(&scopes), 1, &key);
    let bytes = &hasher.bytes;
    for said in ["because", "192.0.2.1", "Asha"] {
        assert!(!bytes.windows(said.len()).any(|window| window == said.as_bytes()), "{said}");
    }
    assert!(bytes.windows(4).any(|window| window == b"user"));
}

#[test]
fn an_erased_field_leaves_the_leaf_as_it_was() {
    let mut document = letter("let_1");
    let (before, scopes, key) = (leaf(&document), scopes(), commitments_key());
    for path in PATHS {
        let stored = Stored::new("letters", &document);
        let replacement = erase(&stored.record(&scopes), path, &key).expect("something to erase");
        set(&mut document, path, replacement.into());
        assert_eq!(leaf(&document), before, "{path}");
        let stored = Stored::new("letters", &document);
        assert_eq!(erase(&stored.record(&scopes), path, &key), None, "{path}: erased already");
        assert!(!key.salts(&stored.record(&scopes)).0.contains_key(path), "no salt helps to guess what was erased");
    }
    assert!(!document.to_string().contains("Asha"));
    for path in ["_id", "actor", "actor.kind", "actor.role", "body.items.1.name", "body.items.2.name", "nothing"] {
        let stored = Stored::new("letters", &letter("let_1"));
        assert_eq!(erase(&stored.record(&scopes), path, &key), None, "{path}: nothing to erase");
    }
}

#[test]
fn an_erased_document_is_a_field_too() {
    let mut document = doc! { "_id": "let_1", "reason": { "text": "because", "erased": true } };
    let before = leaf(&document);
    let stored = Stored::new("letters", &document);
    let replacement = erase(&stored.record(&scopes()), "reason", &commitments_key()).expect("something to erase");
    document.insert("reason", replacement);
    assert_eq!(leaf(&document), before);
}

#[test]
fn nobody_erases_into_something_else() {
    let document = letter("let_1");
    let before = leaf(&document);
    let stored = Stored::new("letters", &document);
    let all = commitments(&stored.record(&scopes()), &commitments_key());
    for (path, right) in &all {
        for wrong in all.values().filter(|wrong| *wrong != right).chain([&Hash::ZERO]) {
            let mut forged = document.clone();
            set(&mut forged, path, erased(wrong).into());
            assert_ne!(leaf(&forged), before, "{path}");
        }
        let digits = right.to_hex();
        let odd = [
            doc! { "erased": true, "commitment": digits.to_uppercase() },
            doc! { "erased": false, "commitment": &digits },
            doc! { "commitment": &digits, "erased": true },
            doc! { "erased": true, "commitment": &digits, "more": 1 },
            doc! { "erased": true, "commitment": &digits[..62] },
        ];
        for odd in odd {
            let mut forged = document.clone();
            set(&mut forged, path, odd.into());
            assert_ne!(leaf(&forged), before, "{path}");
        }
        let mut nulled = document.clone();
        set(&mut nulled, path, Bson::Null);
        assert_ne!(leaf(&nulled), before, "{path}");
    }
}

#[test]
fn elsewhere_an_erased_field_is_a_document_like_others() {
    let right = commitments(&Stored::new("letters", &letter("let_1")).record(&scopes()), &commitments_key());
    let forged = doc! { "_id": "pla_1", "reason": erased(&right["reason"]) };
    let honest = doc! { "_id": "pla_1", "reason": "because let_1" };
    let plain = |document: &Document| leaf_of(&Stored::new("plain", document), 1);
    assert_ne!(plain(&forged), plain(&honest));
}

#[test]
fn salts_differ_by_collection_record_and_path_and_not_by_how_they_are_cut() {
    let key = commitments_key();
    let salt = |collection: &str, record_id: &str, path: &str| {
        let Ok(salt) = key.salt(&Field { collection, record_id, path });
        salt
    };
    let mut all = vec![salt("a", "b", "c"), salt("ab", "", "c"), salt("", "ab", "c"), salt("a", "", "bc")];
    all.extend([salt("b", "a", "c"), salt("a", "b", "d"), salt("a", "d", "c")]);
    let Ok(other) =
        commitment_key(&SecretString::from("another")).salt(&Field { collection: "a", record_id: "b", path: "c" });
    all.push(other);
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn salts_that_were_handed_over_do_for_the_key() {
    let stored = Stored::new("letters", &letter("let_1"));
    let (scopes, mut salts) = (scopes(), Salts::default());
    let record = stored.record(&scopes);
    assert_eq!(LeafHasher::new().hash(&record, 7, &salts), Err(NoSalt("reason".into())));
    let exported = serde_json::to_string(&commitments_key().salts(&record)).expect("JSON");
    salts = serde_json::from_str(&exported).expect("salts");
    assert_eq!(LeafHasher::new().hash(&record, 7, &salts), Ok(leaf_of(&stored, 7)));
    for path in PATHS {
        let mut wrong = salts.clone();
        wrong.0.get_mut(path).expect("a salt").0[31] ^= 1;
        assert_ne!(LeafHasher::new().hash(&record, 7, &wrong), Ok(leaf_of(&stored, 7)), "{path}");
    }
}

#[test]
fn the_key_is_not_printed() {
    assert_eq!(format!("{:?}", commitments_key()), "CommitmentKey { .. }");
}

#[test]
fn the_sealed_collections_are_known_by_code_and_by_name() {
    let standard = Scopes::standard();
    for (code, collection) in [
        (1, "provider_request_logs"),
        (2, "provider_response_logs"),
        (3, "events"),
        (4, "audit_events"),
        (5, "ledger_transactions"),
    ] {
        assert_eq!(standard.of_code(code).map(Scope::collection), Some(collection));
        assert_eq!(standard.of_collection(collection).map(Scope::code), Some(code));
    }
    assert!(standard.of_code(0).is_none() && standard.of_collection("orders").is_none());
}
