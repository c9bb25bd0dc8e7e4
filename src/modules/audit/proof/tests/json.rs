//! Records as JSON: what is written reads as the same bytes.

use bson::{Binary, Bson, JavaScriptCodeWithScope, Regex, Timestamp, doc, oid::ObjectId, spec::BinarySubtype};
use proptest::prelude::*;

use super::*;

fn any_scalar() -> impl Strategy<Value = Bson> {
    let text = prop_oneof!["[a1]{0,2}", "\\PC{0,6}"];
    let bytes = proptest::collection::vec(any::<u8>(), 0..5);
    let subtype = prop_oneof![Just(BinarySubtype::Generic), Just(BinarySubtype::BinaryOld), Just(BinarySubtype::Md5)];
    prop_oneof![
        4 => text.clone().prop_map(Bson::String),
        2 => prop_oneof![Just(0), Just(1), any::<i32>()].prop_map(Bson::Int32),
        2 => prop_oneof![Just(0), Just(1), any::<i64>()].prop_map(Bson::Int64),
        2 => prop_oneof![Just(0.0), Just(-0.0), Just(1.0), Just(f64::NAN), Just(5e-324), any::<f64>()].prop_map(Bson::Double),
        2 => any::<bool>().prop_map(Bson::Boolean),
        2 => Just(Bson::Null),
        2 => any::<i64>().prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))),
        2 => (subtype, bytes).prop_map(|(subtype, bytes)| Bson::Binary(Binary { subtype, bytes })),
        1 => any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
        1 => any::<(u32, u32)>().prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
        1 => any::<i32>().prop_map(|n| Bson::Decimal128(n.to_string().parse().expect("a decimal"))),
        1 => prop_oneof![Just(Bson::Undefined), Just(Bson::MinKey), Just(Bson::MaxKey)],
        1 => text.clone().prop_map(Bson::Symbol),
        1 => text.clone().prop_map(Bson::JavaScriptCode),
        1 => ("[a-c]{0,3}", "[im]{0,1}").prop_map(|(pattern, options)| {
            let cstring = |text: String| text.try_into().expect("no zero");
            Bson::RegularExpression(Regex { pattern: cstring(pattern), options: cstring(options) })
        }),
        1 => text.prop_map(|code| {
            Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code, scope: doc! { "z": 1, "a": 2.0 } })
        }),
    ]
}

fn any_document() -> impl Strategy<Value = Document> {
    let name = || prop_oneof!["[ab1]{0,2}", "[a-z.ü\u{1F600} ]{1,4}"];
    let value = any_scalar().prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            proptest::collection::vec((name(), inner), 0..4).prop_map(|fields| Bson::Document(document(fields))),
        ]
    });
    proptest::collection::vec((name(), value), 0..6).prop_map(document)
}

fn document(fields: Vec<(String, Bson)>) -> Document {
    fields.into_iter().collect()
}

proptest! {
    #[test]
    fn extended_json_keeps_every_byte(document in any_document()) {
        let text = serde_json::to_string(&ExtendedJson(&raw(&document))).expect("JSON");
        prop_assert_eq!(from_json(&text).expect("the same document"), raw(&document), "{}", text);
    }
}

#[test]
fn what_is_no_number_is_exported_where_it_can_be_read_again() {
    let unusual = f64::from_bits(0x7FF8_0000_0000_0001);
    let text = |number: f64| serde_json::to_string(&ExtendedJson(&raw(&doc! { "a": number }))).ok();
    assert_eq!(text(f64::NAN).as_deref(), Some(r#"{"a":{"$numberDouble":"NaN"}}"#));
    assert_eq!(text(unusual), None);
}

#[test]
fn a_name_like_those_of_extended_json_is_not_exported() {
    let document = raw(&doc! { "a": { "$oid": "0198f0c2b1e07c3e8a41b5d0" } });
    assert!(serde_json::to_string(&ExtendedJson(&document)).is_err());
}

#[test]
fn a_name_that_is_there_twice_is_neither_written_nor_read() {
    let twice = |name: &std::ffi::CStr| {
        let mut document = RawDocumentBuf::new();
        for (name, value) in [("type", "a"), ("x", "b"), (name.to_str().expect("text"), "c")] {
            document.append(bson::raw::CString::try_from(name).expect("a name"), value);
        }
        document
    };
    assert!(serde_json::to_string(&ExtendedJson(&twice(c"y"))).is_ok());
    let mut outer = RawDocumentBuf::new();
    outer.append(bson::raw::cstr!("in"), twice(c"type"));
    for document in [&twice(c"type"), &outer] {
        let error = serde_json::to_string(&ExtendedJson(document)).expect_err("it is there twice").to_string();
        assert!(error.contains("twice"), "{error}");
    }
    for text in [
        r#"{"type":"a","x":"b","type":"c"}"#,
        r#"{"type":"a","typ\u0065":"c"}"#,
        r#"{"in":[{"type":"a","type":"a"}]}"#,
        r#"{"n":{"$numberInt":"1","$numberInt":"2"}}"#,
    ] {
        let error = from_json(text).expect_err("it is there twice");
        assert!(error.contains("stands twice"), "{error}");
    }
    assert!(from_json(r#"{"in":[{"type":"a"},{"type":"a"}],"type":null}"#).is_ok());
    let many = |values: usize| format!(r#"{{"a":[{}0]}}"#, "0,".repeat(values - 3));
    assert!(from_json(&many(RECORD_VALUES_MAX)).is_ok());
    let error = from_json(&many(RECORD_VALUES_MAX + 1)).expect_err("more than a record has");
    assert!(error.contains("too many values"), "{error}");
}
