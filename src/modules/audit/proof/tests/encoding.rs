//! One document, one sequence of bytes, and the other way round.

use bson::{
    Binary, Bson, Decimal128, JavaScriptCodeWithScope, Regex, Timestamp, doc, oid::ObjectId, spec::BinarySubtype,
};
use proptest::prelude::*;

use super::*;

/// Reads an encoding again, knowing nothing of the encoder: what can be read back can't be two documents.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().expect("as many")
    }

    fn count(&mut self) -> usize {
        u32::from_le_bytes(self.array()) as usize
    }

    fn sized(&mut self) -> &'a [u8] {
        let length = u64::from_le_bytes(self.array()) as usize;
        self.take(length)
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.sized().to_vec()).expect("UTF-8")
    }

    fn document(&mut self) -> Document {
        let mut document = Document::new();
        for _ in 0..self.count() {
            let tag = self.take(1)[0];
            let length = self.count();
            let name = String::from_utf8(self.take(length).to_vec()).expect("UTF-8");
            document.insert(name, self.value(tag));
        }
        document
    }

    fn value(&mut self, tag: u8) -> Bson {
        match tag {
            0x01 => Bson::Double(f64::from_le_bytes(self.array())),
            0x02 => Bson::String(self.text()),
            0x03 => Bson::Document(self.document()),
            0x04 => (0..self.count())
                .map(|_| {
                    let tag = self.take(1)[0];
                    self.value(tag)
                })
                .collect(),
            0x05 => {
                let subtype = BinarySubtype::from(self.take(1)[0]);
                let bytes = self.sized();
                // In BSON an old binary repeats its length.
                let bytes = if subtype == BinarySubtype::BinaryOld { &bytes[4..] } else { bytes };
                Bson::Binary(Binary { subtype, bytes: bytes.to_vec() })
            }
            0x06 => Bson::Undefined,
            0x07 => Bson::ObjectId(ObjectId::from_bytes(self.array())),
            0x08 => Bson::Boolean(self.take(1) == [1]),
            0x09 => Bson::DateTime(DateTime::from_millis(i64::from_le_bytes(self.array()))),
            0x0A => Bson::Null,
            0x10 => Bson::Int32(i32::from_le_bytes(self.array())),
            0x11 => {
                let (increment, time) = (u32::from_le_bytes(self.array()), u32::from_le_bytes(self.array()));
                Bson::Timestamp(Timestamp { time, increment })
            }
            0x12 => Bson::Int64(i64::from_le_bytes(self.array())),
            0x13 => Bson::Decimal128(Decimal128::from_bytes(self.array())),
            0x7F => Bson::MaxKey,
            0xFF => Bson::MinKey,
            raw => self.raw(raw),
        }
    }

    /// A value that stands as in BSON.
    fn raw(&mut self, tag: u8) -> Bson {
        let value = self.sized();
        let length = (value.len() + 8) as i32;
        let element = [&length.to_le_bytes()[..], &[tag], b"v\0", value, &[0]].concat();
        let document: Document = bson::deserialize_from_slice(&element).expect("BSON");
        document.get("v").cloned().expect("a value")
    }
}

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

proptest! {
    #[test]
    fn an_encoding_reads_back_as_its_document(document in any_document()) {
        let mut encoding = encoded(&document);
        let mut reader = Reader(&encoding);
        let read = reader.document();
        prop_assert!(reader.0.is_empty());
        prop_assert_eq!(raw(&read), raw(&document));
        encoding.push(0);
        prop_assert_ne!(encoded(&read), encoding);
    }

    #[test]
    fn different_documents_have_different_encodings(one in confusable(), other in confusable()) {
        prop_assert_eq!(encoded(&one) == encoded(&other), raw(&one) == raw(&other), "{} {}", one, other);
    }

    #[test]
    fn extended_json_keeps_the_encoding(document in any_document()) {
        let text = serde_json::to_string(&ExtendedJson(&raw(&document))).expect("JSON");
        let read = from_json(&text).expect("the same document");
        let mut again = Vec::new();
        encode(&read, &mut again);
        prop_assert_eq!(again, encoded(&document), "{}", text);
    }

    #[test]
    fn whatever_the_bytes_are_they_have_an_encoding(inner in proptest::collection::vec(any::<u8>(), 0..40)) {
        let bytes = [&(inner.len() as i32 + 5).to_le_bytes()[..], &inner, &[0]].concat();
        let document = RawDocumentBuf::from_bytes(bytes).expect("length and end are right");
        encode(&document, &mut Vec::new());
    }

    #[test]
    fn every_bit_counts(document in confusable()) {
        let (bytes, encoding) = (raw(&document).into_bytes(), encoded(&document));
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = RawDocumentBuf::from_bytes(other) {
                let mut changed = Vec::new();
                encode(&other, &mut changed);
                prop_assert_ne!(&changed, &encoding, "bit {}", bit);
            }
        }
    }
}

#[test]
fn alike_is_not_the_same() {
    let alike = [
        doc! { "a": 1_i32 },
        doc! { "a": 1_i64 },
        doc! { "a": 1.0 },
        doc! { "a": "1" },
        doc! { "a": true },
        doc! { "a": DateTime::from_millis(1) },
        doc! { "a": [1_i32] },
        doc! { "a": { "0": 1_i32 } },
        doc! { "a": Bson::Null },
        doc! {},
        doc! { "a": "" },
        doc! { "a": {} },
        doc! { "a": [] },
        doc! { "a": "b", "c": "d" },
        doc! { "c": "d", "a": "b" },
        doc! { "a": "bc", "d": "" },
        doc! { "ab": "c", "d": "" },
        doc! { "a": { "b": "c" }, "d": "" },
        doc! { "a": { "b": "c", "d": "" } },
        doc! { "a": 0.0 },
        doc! { "a": -0.0 },
    ];
    let mut encodings: Vec<_> = alike.iter().map(encoded).collect();
    encodings.sort();
    encodings.dedup();
    assert_eq!(encodings.len(), alike.len());
}

#[test]
fn what_is_no_number_is_exported_where_it_can_be_read_again() {
    let unusual = f64::from_bits(0x7FF8_0000_0000_0001);
    assert_ne!(encoded(&doc! { "a": f64::NAN }), encoded(&doc! { "a": unusual }));
    let text = |number: f64| serde_json::to_string(&ExtendedJson(&raw(&doc! { "a": number }))).ok();
    assert_eq!(text(f64::NAN).as_deref(), Some(r#"{"a":{"$numberDouble":"NaN"}}"#));
    assert_eq!(text(unusual), None);
}

#[test]
fn entries_of_an_array_are_in_their_places() {
    let document = raw(&doc! { "a": (0..120).collect::<Vec<i32>>() });
    let encoding = encoded(&Document::try_from(&*document).expect("BSON"));
    assert_eq!(encoding.len(), 4 + 1 + 4 + 1 + 4 + 120 * 5);
    for (name, other) in [(&b"\x109\0"[..], &b"\x108\0"[..]), (b"\x10100\0", b"\x10010\0"), (b"\x1010\0", b"\x10+0\0")]
    {
        let mut bytes = document.as_bytes().to_vec();
        let at = bytes.windows(name.len()).position(|window| window == name).expect("an entry");
        bytes[at..at + name.len()].copy_from_slice(other);
        let mut changed = Vec::new();
        encode(&RawDocumentBuf::from_bytes(bytes).expect("BSON"), &mut changed);
        assert_ne!(changed, encoding);
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
fn a_document_too_deep_to_follow_is_encoded_as_it_stands() {
    for (levels, stands) in [(1, false), (199, false), (200, true), (5_000, true)] {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        encode(&nested(levels, 1), &mut one);
        encode(&nested(levels, 2), &mut other);
        assert_ne!(one, other, "{levels} levels");
        let followed = levels.min(200) * 10 + if stands { 4 + 1 + 8 + (levels - 200) * 8 + 7 } else { 4 + 10 };
        assert_eq!(one.len(), followed, "{levels} levels");
    }
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
