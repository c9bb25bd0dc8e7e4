use std::io::Write;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn json_of(bytes: &[u8], content_type: Option<&str>) -> Value {
    match read_body(bytes, content_type) {
        ParsedBody::Json(json) => json,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Made with the programs of these names.
const BROTLI: &str = "8b0c807b22617762223a224131222c226e616d65223a225a6fc3ab227d03";
const ZSTD: &str = "28b52ffd0468d100007b22617762223a224131222c226e616d65223a225a6fc3ab227d771c945f";

const TEXT: &str = r#"{"awb":"A1","name":"Zoë"}"#;

fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn marks_and_charsets_are_put_right() {
    let said = json!({ "awb": "A1", "name": "Zoë" });
    let latin = b"{\"awb\":\"A1\",\"name\":\"Zo\xeb\"}";
    let marked = |times: usize| [&"\u{feff}".repeat(times), TEXT].concat().into_bytes();
    let utf_16_marked = format!("\u{feff}{TEXT}");
    for (bytes, content_type) in [
        (TEXT.as_bytes().to_vec(), None),
        (TEXT.as_bytes().to_vec(), Some("text/html")),
        (TEXT.as_bytes().to_vec(), Some("application/json; charset=ISO-8859-1")),
        (TEXT.as_bytes().to_vec(), Some("application/json; charset=utf-16")),
        (marked(1), None),
        (marked(2), None),
        (marked(3), Some("application/json; charset=ISO-8859-1")),
        (format!(" \r\n\u{feff} {TEXT}\n\0\0").into_bytes(), None),
        (latin.to_vec(), Some("application/json; charset=ISO-8859-1")),
        (latin.to_vec(), Some("application/json;Charset=\"windows-1252\"")),
        (utf_16(TEXT, u16::to_le_bytes), None),
        (utf_16(TEXT, u16::to_be_bytes), None),
        (utf_16(&utf_16_marked, u16::to_le_bytes), Some("application/json; charset=utf-8")),
        (utf_16(&utf_16_marked, u16::to_be_bytes), None),
    ] {
        assert_eq!(json_of(&bytes, content_type), said, "{bytes:?} {content_type:?}");
    }
    let japanese = b"{\"name\":\"\x1b$B;0\x1b(B\"}";
    assert_eq!(json_of(japanese, Some("application/json; charset=iso-2022-jp")), json!({ "name": "三" }));
    let lossy = json!({ "awb": "A1", "name": "Zo\u{fffd}" });
    assert_eq!(json_of(latin, None), lossy, "what can't be read is lost, the rest is not");
    assert_eq!(json_of(latin, Some("application/json; charset=klingon")), lossy);
}

#[test]
fn text_that_json_forbids_is_read_all_the_same() {
    for (text, read) in [
        (r#"{"n":"a\ud83d"}"#, json!({ "n": "a\u{fffd}" })),
        (r#"{"n":"\ud83d!"}"#, json!({ "n": "\u{fffd}!" })),
        (r#"{"n":"\ude00"}"#, json!({ "n": "\u{fffd}" })),
        (r#"{"n":"\ud83d\ud83d\ude00"}"#, json!({ "n": "\u{fffd}\u{1f600}" })),
        (r#"{"n":"\uD83D\uDE00"}"#, json!({ "n": "\u{1f600}" })),
        (r#"{"n":"\\ud83d"}"#, json!({ "n": "\\ud83d" })),
        (r#"{"n":"\ud83d\\"}"#, json!({ "n": "\u{fffd}\\" })),
        (r#"{"\ud83d":1}"#, json!({ "\u{fffd}": 1 })),
        ("{\"n\":\"a\nb\tc\u{1}\"}", json!({ "n": "a\nb\tc\u{1}" })),
        (r#"{"n":"\"12345678901234567890123\""}"#, json!({ "n": "\"12345678901234567890123\"" })),
    ] {
        assert_eq!(json_of(text.as_bytes(), None), read, "{text}");
    }
}

#[test]
fn no_number_loses_a_digit() {
    for exact in ["0", "-1", "227", "9223372036854775807", "-9223372036854775808", "1.0", "227.5", "0.1", "-2.25"] {
        let read = json_of(exact.as_bytes(), None);
        assert!(read.is_number(), "{exact}: {read}");
        assert_eq!(read.to_string(), exact);
    }
    for long in [
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "0.1234567890123456789",
        "1.10",
        "1e3",
        "1E400",
    ] {
        assert_eq!(json_of(format!("[{long}]").as_bytes(), None), json!([long]));
    }
}

#[test]
fn what_is_no_json_is_none() {
    for text in [
        "",
        " ",
        "\u{feff}",
        "<html>",
        "{",
        "[1",
        "\"",
        "\"\\",
        "01",
        "1.",
        "-",
        "1 2",
        "{\"a\":1}x",
        "nul",
        "'a'",
        "[1,]",
        "{a:1}",
        "[1\"2\"]",
        "[18446744073709551616abc]",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\ud8\"}",
    ] {
        assert_eq!(read_body(text.as_bytes(), None), ParsedBody::NotJson, "{text}");
    }
    assert_eq!(read_body("[".repeat(100_000).as_bytes(), None), ParsedBody::NotJson);
    assert_eq!(read_body(&[0xff, 0xfe], None), ParsedBody::NotJson);
    assert_eq!(read_body(&[0], None), ParsedBody::NotJson);
}

#[test]
fn a_name_with_two_values_contradicts_itself_wherever_it_is() {
    for text in [
        r#"{"status":true,"status":false}"#,
        r#"{"status":true,"data":{"awb":"A1","awb":"A2"}}"#,
        r#"{"data":[{"a":{"b":1,"b":2}}]}"#,
        r#"{"a":1,"a":1,"a":2}"#,
        r#"{"a":1,"a":"1"}"#,
        r#"{"a":1,"a":null}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"a":18446744073709551616,"a":18446744073709551617}"#,
    ] {
        assert!(matches!(read_body(text.as_bytes(), None), ParsedBody::Contradictory(_)), "{text}");
    }
    for text in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":[1,{}]},"a":{"b":[1,{}]}}"#, r#"[{"a":1},{"a":2}]"#] {
        assert!(matches!(read_body(text.as_bytes(), None), ParsedBody::Json(_)), "{text}");
    }
    let both = read_body(br#"{"status":true,"n":1,"status":false}"#, None);
    let readings = [json!({ "status": true, "n": 1 }), json!({ "status": false, "n": 1 })];
    assert_eq!(both, ParsedBody::Contradictory(Box::new(readings)), "both are kept for whoever has to look");
}

#[test]
fn codings_are_taken_off_whether_they_are_named_or_not() {
    let text = TEXT.as_bytes();
    let (brotli, zstd) = (hex::decode(BROTLI).expect("hex"), hex::decode(ZSTD).expect("hex"));
    for (bytes, named) in [
        (text.to_vec(), ""),
        (text.to_vec(), "identity"),
        (gzip(text), "gzip"),
        (gzip(text), "X-GZIP"),
        (gzip(text), ""),
        (gzip(text), "br"),
        (zlib(text), "deflate"),
        (zlib(text), ""),
        (deflate(text), "deflate"),
        (brotli, "br"),
        (zstd.clone(), "zstd"),
        (zstd, ""),
        (gzip(&gzip(text)), "gzip, gzip"),
        (gzip(&gzip(text)), "gzip"),
        (gzip(&zlib(text)), "deflate, identity,gzip"),
        // Named, but gone already.
        (text.to_vec(), "gzip"),
        (text.to_vec(), "deflate"),
        (text.to_vec(), "br"),
        (text.to_vec(), "zstd"),
        (text.to_vec(), "klingon"),
    ] {
        assert_eq!(&*unpacked(&bytes, named).expect("small"), text, "{named}: {bytes:?}");
    }
    let broken = &gzip(text)[..20];
    assert_eq!(&*unpacked(broken, "gzip").expect("small"), broken, "what can't be unpacked stays");
}

#[test]
fn what_is_too_large_unpacked_is_not_unpacked() {
    let most = vec![b' '; ANSWER_BYTES_MAX];
    let more = vec![b' '; 3 * ANSWER_BYTES_MAX];
    for pack in [gzip, zlib, deflate] {
        let named = if pack(b"")[0] == 0x1f { "gzip" } else { "deflate" };
        assert_eq!(unpacked(&pack(&most), named).expect("just enough").len(), ANSWER_BYTES_MAX);
        assert_eq!(unpacked(&pack(&more), named), Err(TooLarge));
    }
    assert_eq!(unpacked(&gzip(&gzip(&more)), "gzip"), Err(TooLarge));
    // A frame that asks for a window of two terabytes.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00];
    assert_eq!(&*unpacked(&window, "zstd").expect("not unpacked"), window);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no others", |n| n.is_finite() && !n.to_string().contains('e'))
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_well_formed_is_read_as_it_is(json in any_json()) {
        let read = json_of(json.to_string().as_bytes(), Some("application/json"));
        // Floats that are not written as they are told are text.
        prop_assert_eq!(read.to_string().replace('"', ""), json.to_string().replace('"', ""));
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in any::<Vec<u8>>(), named in "(gzip|br|deflate|zstd|,| )*") {
        let unpacked = unpacked(&bytes, &named).expect("small");
        let _ = read_body(&unpacked, None);
    }
}
