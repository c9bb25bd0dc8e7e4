//! The hashed form of a document: its BSON, with commitments in place of what is personal.

use std::convert::Infallible;

use bson::{Binary, Bson, doc, spec::BinarySubtype};
use proptest::prelude::*;

use super::{super::erased::erased_form, *};

/// The erased form where `personal` names the paths; the bytes as they stand where they are not BSON.
fn form(document: &bson::RawDocument, personal: &[&str]) -> Vec<u8> {
    let Ok(form) = erased_form(document, &Paths::new(personal), |path, kind, value| {
        Ok::<_, Infallible>(Hash::of([path.as_bytes(), &[kind as u8], value].concat()))
    });
    form.map_or_else(|| document.as_bytes().to_vec(), |form| form.bytes)
}

/// Documents of few names and values, in which two are alike often.
fn confusable() -> impl Strategy<Value = Document> {
    let name = || proptest::sample::select(vec!["", "a", "b", "ab", "1", "0"]).prop_map(str::to_owned);
    let binary = |text: &str| Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: text.into() });
    let scalar = proptest::sample::select(vec![
        Bson::Int32(1),
        Bson::Int64(1),
        Bson::Double(1.0),
        Bson::Boolean(true),
        Bson::DateTime(DateTime::from_millis(1)),
        Bson::String(String::new()),
        Bson::String("1".into()),
        Bson::String("a".into()),
        Bson::Symbol("a".into()),
        binary(""),
        binary("a"),
        Bson::Null,
    ]);
    let value = scalar.prop_recursive(2, 6, 3, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            proptest::collection::vec((name(), inner), 0..3).prop_map(|fields| Bson::Document(document(fields))),
        ]
    });
    proptest::collection::vec((name(), value), 0..3).prop_map(document)
}

fn document(fields: Vec<(String, Bson)>) -> Document {
    fields.into_iter().collect()
}

/// Nothing is personal, one field is, or every value in one.
const PERSONAL: [&[&str]; 4] = [&[], &["a"], &["a.**"], &["a[].b", "ab.a"]];

proptest! {
    #[test]
    fn different_documents_have_different_forms(one in confusable(), other in confusable()) {
        let (one, other) = (raw(&one), raw(&other));
        for personal in PERSONAL {
            prop_assert_eq!(form(&one, personal) == form(&other, personal), one == other, "{:?}", personal);
        }
        prop_assert_eq!(form(&one, &[]), one.into_bytes());
    }

    #[test]
    fn whatever_the_bytes_are_they_can_be_hashed(inner in proptest::collection::vec(any::<u8>(), 0..40)) {
        let bytes = [&(inner.len() as i32 + 5).to_le_bytes()[..], &inner, &[0]].concat();
        let document = RawDocumentBuf::from_bytes(bytes).expect("length and end are right");
        PERSONAL.iter().for_each(|personal| drop(form(&document, personal)));
    }

    #[test]
    fn every_bit_counts(document in confusable()) {
        let bytes = raw(&document).into_bytes();
        for personal in PERSONAL {
            let honest = form(&raw(&document), personal);
            for bit in 0..bytes.len() * 8 {
                let mut other = bytes.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                if let Ok(other) = RawDocumentBuf::from_bytes(other) {
                    prop_assert_ne!(&form(&other, personal), &honest, "bit {}, {:?}", bit, personal);
                }
            }
        }
    }
}

#[test]
fn a_form_is_bson_that_is_erased_already() {
    let document = raw(&doc! { "a": [{ "b": "Asha" }, { "b": null }], "ab": { "a": 1, "b": 2 } });
    let personal = &["a[].b", "ab.a"];
    let form_of = |document: &bson::RawDocument| RawDocumentBuf::from_bytes(form(document, personal)).expect("BSON");
    let erased_once = form_of(&document);
    assert_eq!(form_of(&erased_once), erased_once);
    let read = Document::try_from(&*erased_once).expect("BSON");
    let ab = read.get_document("ab").expect("a document");
    assert_eq!(ab.get_document("a").expect("erased").get_bool("erased").ok(), Some(true));
    assert_eq!(ab.get_i32("b").ok(), Some(2));
}

#[test]
fn entries_of_an_array_are_in_their_places() {
    let document = raw(&doc! { "a": (0..120).collect::<Vec<i32>>() });
    for (name, other) in [(&b"\x109\0"[..], &b"\x108\0"[..]), (b"\x10100\0", b"\x10010\0"), (b"\x1010\0", b"\x10+0\0")]
    {
        let mut bytes = document.as_bytes().to_vec();
        let at = bytes.windows(name.len()).position(|window| window == name).expect("an entry");
        bytes[at..at + name.len()].copy_from_slice(other);
        let changed = RawDocumentBuf::from_bytes(bytes).expect("BSON");
        PERSONAL.iter().for_each(|personal| assert_ne!(form(&changed, personal), form(&document, personal)));
    }
}

/// `{ "a": innermost }` in so many documents of the same kind.
fn nested(levels: usize, innermost: i32) -> RawDocumentBuf {
    let mut bytes = raw(&doc! { "a": innermost }).into_bytes();
    for _ in 0..levels {
        let length = bytes.len() as i32 + 8;
        bytes = [&length.to_le_bytes()[..], b"\x03a\0", &bytes, &[0]].concat();
    }
    RawDocumentBuf::from_bytes(bytes).expect("BSON")
}

#[test]
fn a_document_too_deep_to_follow_counts_as_it_stands() {
    for (levels, stands) in [(1, false), (200, false), (201, true), (5_000, true)] {
        let (one, other) = (nested(levels, 1), nested(levels, 2));
        assert_ne!(form(&one, &["a.**"]), form(&other, &["a.**"]), "{levels} levels");
        assert_eq!(form(&one, &["a.**"]) == one.as_bytes(), stands, "{levels} levels");
    }
}
