//! Personal fields: hidden, erasable, and not to be replaced by others.

use bson::{Bson, doc};
use proptest::{collection::vec, prelude::*};

use super::{super::leaf::leaf_input, *};

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
    leaf_of(&Stored::new("letters", document))
}

/// A letter without its last personal field.
fn partly_erased() -> Document {
    let mut document = letter("let_1");
    let stored = Stored::new("letters", &document);
    let replacement = erase(&stored.record(&scopes()), PATHS[4], &commitments_key()).expect("something to erase");
    set(&mut document, PATHS[4], replacement.into());
    document
}

/// Bodies of any provider.
fn bodies() -> impl Strategy<Value = Bson> {
    let scalar = prop_oneof![
        Just(Bson::Null),
        any::<bool>().prop_map(Bson::from),
        any::<i64>().prop_map(Bson::from),
        any::<f64>().prop_map(Bson::from),
        "[a-z ]{0,12}".prop_map(Bson::from),
    ];
    scalar.prop_recursive(4, 40, 6, |below| {
        prop_oneof![
            vec(below.clone(), 0..6).prop_map(Bson::from),
            vec(("[a-z_]{1,8}", below), 0..6).prop_map(|fields| Document::from_iter(fields).into()),
        ]
    })
}

/// Paths of all values in a body, but those that say nothing.
fn values(body: &Bson, path: &str, found: &mut Vec<String>) {
    match body {
        Bson::Document(fields) => {
            fields.iter().for_each(|(name, value)| values(value, &format!("{path}.{name}"), found))
        }
        Bson::Array(entries) => {
            entries.iter().enumerate().for_each(|(n, value)| values(value, &format!("{path}.{n}"), found));
        }
        Bson::Null => {}
        _ => found.push(path.to_owned()),
    }
}

proptest! {
    /// Each value of it can be erased without the others, and the leaf stays.
    #[test]
    fn every_value_of_a_body_is_personal_by_itself(body in bodies(), n in any::<usize>()) {
        let mut document = doc! { "_id": "cal_1", "note": null, "status": "done", "body": &body };
        let (scopes, key) = (scopes(), commitments_key());
        let of = |document: &Document| Stored::new("calls", document);
        let before = leaf_of(&of(&document));
        let mut paths = Vec::new();
        values(&body, "body", &mut paths);
        paths.sort();
        let found = commitments(&of(&document).record(&scopes), &key);
        prop_assert_eq!(found.keys().collect::<Vec<_>>(), paths.iter().collect::<Vec<_>>());
        if !paths.is_empty() {
            let path = &paths[n % paths.len()];
            set(&mut document, path, erased(&found[path]).into());
            prop_assert_eq!(leaf_of(&of(&document)), before);
            set(&mut document, path, erased(&Hash::ZERO).into());
            prop_assert_ne!(leaf_of(&of(&document)), before);
        }
        for path in &paths {
            set(&mut document, path, erased(&found[path]).into());
        }
        prop_assert_eq!(leaf_of(&of(&document)), before);
        prop_assert!(key.salts(&of(&document).record(&scopes)).is_empty());
    }
}

#[test]
fn a_document_in_a_body_is_not_erased_at_once() {
    let document = doc! { "_id": "cal_1", "body": { "data": { "name": "Asha" } } };
    let before = leaf_of(&Stored::new("calls", &document));
    for commitment in commitments(&Stored::new("calls", &document).record(&scopes()), &commitments_key()).values() {
        for forged in [doc! { "data": erased(commitment) }, erased(commitment)] {
            let forged = doc! { "_id": "cal_1", "body": forged };
            assert_ne!(leaf_of(&Stored::new("calls", &forged)), before);
        }
    }
}

#[test]
fn personal_fields_are_found_where_they_have_a_value() {
    let stored = Stored::new("letters", &letter("let_1"));
    let found = commitments(&stored.record(&scopes()), &commitments_key());
    assert_eq!(found.keys().collect::<Vec<_>>(), PATHS);
    let Salts::OfFields(salts) = commitments_key().salts(&Stored::new("letters", &partly_erased()).record(&scopes()))
    else {
        panic!("something is erased")
    };
    assert_eq!(salts.keys().collect::<Vec<_>>(), PATHS[..4]);
    let mut different: Vec<_> = salts.values().collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 4, "every field has a salt of its own");
}

#[test]
fn what_a_personal_field_says_is_not_in_the_hashed_bytes() {
    let (scopes, key) = (scopes(), commitments_key());
    let stored = Stored::new("letters", &letter("let_1"));
    let Ok(bytes) = leaf_input(&stored.record(&scopes), &key);
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
        let Salts::OfFields(salts) = key.salts(&stored.record(&scopes)) else { panic!("something is erased") };
        assert!(!salts.contains_key(path), "no salt helps to guess what was erased");
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
    let plain = |document: &Document| leaf_of(&Stored::new("plain", document));
    assert_ne!(plain(&forged), plain(&honest));
}

#[test]
fn salts_differ_by_collection_record_and_path() {
    let key = commitments_key();
    let rules = ["a", "ab", "b", ""].map(|collection| LeafRule { code: 1, collection, id_prefix: "x", personal: &[] });
    let (scopes, document) = (Scopes::new(&rules), raw(&doc! {}));
    let salt = |key: &CommitmentKey, collection: &str, id: &str, path: &str| {
        let scope = scopes.of_collection(collection).expect("a rule");
        let Ok(salt) = key.salts_of(&Record { scope, id, document: &document })(path);
        salt
    };
    let mut all: Vec<_> = [("a", "b", "c"), ("ab", "", "c"), ("", "ab", "c"), ("a", "", "bc"), ("b", "a", "c")]
        .into_iter()
        .chain([("a", "b", "d"), ("a", "d", "c")])
        .map(|(collection, id, path)| salt(&key, collection, id, path))
        .collect();
    all.push(salt(&commitment_key(&SecretString::from("another")), "a", "b", "c"));
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn salts_that_were_handed_over_do_for_the_key() {
    let hash =
        |document: &Document, salts: &Salts| leaf_hash(&Stored::new("letters", document).record(&scopes()), salts);
    let handed_over = |document: &Document| {
        let stored = Stored::new("letters", document);
        let json = serde_json::to_string(&commitments_key().salts(&stored.record(&scopes()))).expect("JSON");
        serde_json::from_str::<Salts>(&json).expect("salts")
    };
    let whole = letter("let_1");
    let right = leaf(&whole);
    assert_eq!(hash(&whole, &Salts::default()), Err(NoSalt("reason".into())));
    let Salts::OfRecord(mut salt) = handed_over(&whole) else { panic!("nothing is erased") };
    assert_eq!(hash(&whole, &Salts::OfRecord(salt)), Ok(right));
    salt.0[31] ^= 1;
    assert_ne!(hash(&whole, &Salts::OfRecord(salt)), Ok(right));

    let erased = partly_erased();
    let Salts::OfFields(salts) = handed_over(&erased) else { panic!("something is erased") };
    assert_eq!(hash(&erased, &Salts::OfFields(salts.clone())), Ok(right));
    for path in salts.keys() {
        let mut wrong = salts.clone();
        wrong.get_mut(path).expect("a salt").0[31] ^= 1;
        assert_ne!(hash(&erased, &Salts::OfFields(wrong)), Ok(right), "{path}");
    }
    assert!(handed_over(&doc! { "_id": "let_1", "reason": null }).is_empty());
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
        assert_eq!(standard.of_code(code).map(SealScope::collection), Some(collection));
        assert_eq!(standard.of_collection(collection).map(SealScope::code), Some(code));
    }
    assert!(standard.of_code(0).is_none() && standard.of_collection("orders").is_none());
}
