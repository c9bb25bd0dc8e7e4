//! Redaction of calls: an allow-list per operation. Fields that are not listed are stored as type and length.

use bson::{Bson, Document};
use serde_json::{Map, Value};

use crate::platform::scrub::{
    DIGITS_MAX, contains_key, contains_pan, is_name, is_opaque, is_request_id, is_time, scrub,
};

/// Greater numbers in free text may be telephone, account or document numbers.
const NUMBER_MAX: i64 = 999_999;
/// Longest answer, in bytes, that a header may announce; what is longer is no length.
const LENGTH_MAX: u64 = 99_999_999;
/// Entries of an array or an object that are stored.
const ENTRIES_MAX: usize = 100;
/// Depth to which a body is stored.
const DEPTH_MAX: usize = 12;
/// Bytes that are stored of a body, about: a shape may be longer than what it stands for, so an answer's own limit is none
/// for its log.
const STORED_BYTES_MAX: usize = 64 * 1024;
/// Bytes that BSON adds to a field's name and value, about.
const FIELD_BYTES: usize = 8;

/// Paths that may be stored: `data.awb_number`, `products[].product_sku`, `shipment_weight[]`. Each stands in one list.
#[derive(Debug)]
pub struct Redaction {
    /// Of either body, stored whole: what names things, amounts, weights and counts. They stay when a record is erased;
    /// everything else in a body is taken for personal.
    pub not_personal: &'static [&'static str],
    /// Of the request's body: numbers and names for things, which are stored whole; other text is scrubbed.
    pub request: &'static [&'static str],
    /// The same of the answer's body.
    pub response: &'static [&'static str],
    /// Free text of either body, words included, stored scrubbed: see [`scrub`].
    pub free_text: &'static [&'static str],
    /// Query parameters of the URL.
    pub query: &'static [&'static str],
}

impl Redaction {
    /// Nothing but the length of what was said.
    pub const NOTHING: Self = Self { not_personal: &[], request: &[], response: &[], free_text: &[], query: &[] };
}

/// How a field may be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Whole,
    Scrubbed,
    ShapeOnly,
}

impl Redaction {
    /// Headers of an answer that may be stored.
    pub const RESPONSE_HEADERS: &'static [&'static str] =
        &["content-type", "content-length", "date", "retry-after", "x-request-id", "server"];

    /// The stored form of a request's body.
    #[must_use]
    pub fn request_body(&self, body: &Value) -> Bson {
        self.stored(body, self.request)
    }

    /// The stored form of an answer's body.
    #[must_use]
    pub fn response_body(&self, body: &Value) -> Bson {
        self.stored(body, self.response)
    }

    /// The stored form of an answer's header; none where it may not be stored. A provider chooses its headers too, so each
    /// is stored only as what it ought to be.
    #[must_use]
    pub fn header(name: &str, value: &str) -> Option<String> {
        let value = value.trim();
        let is_date = || httpdate::parse_http_date(value).is_ok();
        let as_it_ought = match name {
            _ if !Self::RESPONSE_HEADERS.contains(&name) => return None,
            "content-length" => value.parse::<u64>().is_ok_and(|bytes| bytes <= LENGTH_MAX),
            "date" => is_date(),
            "retry-after" => value.parse::<u64>().is_ok_and(|seconds| seconds <= NUMBER_MAX as u64) || is_date(),
            "x-request-id" => is_request_id(value),
            _ => false,
        };
        Some(if as_it_ought { value.to_owned() } else { scrub(value) })
    }

    /// The URL with values of parameters that are not named replaced by their length.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) if self.query.contains(&name) => pair.to_owned(),
                Some((name, value)) => format!("{name}=[{}]", value.len()),
                None => format!("[{}]", pair.len()),
            })
            .collect();
        format!("{path}?{}", pairs.join("&"))
    }

    fn stored(&self, body: &Value, whole: &[&str]) -> Bson {
        Storing {
            whole: [self.not_personal, whole],
            free_text: self.free_text,
            path: String::new(),
            left: STORED_BYTES_MAX,
        }
        .value(body, 0)
    }
}

/// A body on its way into a log.
struct Storing<'a> {
    whole: [&'a [&'a str]; 2],
    free_text: &'a [&'a str],
    /// Of the value at hand.
    path: String,
    /// Bytes that may still be stored.
    left: usize,
}

impl Storing<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Bson {
        if depth > DEPTH_MAX {
            return Bson::String("[too deep]".into());
        }
        match value {
            Value::Object(fields) => self.object(fields, depth),
            Value::Array(entries) => self.array(entries, depth),
            scalar => {
                let stored = leaf(scalar, self.allowed());
                self.left = self.left.saturating_sub(stored.as_str().map_or(0, str::len));
                stored
            }
        }
    }

    fn object(&mut self, fields: &Map<String, Value>, depth: usize) -> Bson {
        let (mut out, length) = (Document::new(), self.path.len());
        for (position, (name, value)) in fields.iter().enumerate() {
            let name = if is_plain_key(name) { name.clone() } else { format!("[key {position}]") };
            if position == ENTRIES_MAX || !self.takes(name.len()) {
                out.insert("[more]", (fields.len() - position) as i64);
                break;
            }
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&name);
            out.insert(name, self.value(value, depth + 1));
            self.path.truncate(length);
        }
        Bson::Document(out)
    }

    fn array(&mut self, entries: &[Value], depth: usize) -> Bson {
        let (mut out, length) = (Vec::new(), self.path.len());
        self.path.push_str("[]");
        for (position, entry) in entries.iter().enumerate() {
            if position == ENTRIES_MAX || !self.takes(0) {
                out.push(Bson::String(format!("[{} more]", entries.len() - position)));
                break;
            }
            out.push(self.value(entry, depth + 1));
        }
        self.path.truncate(length);
        Bson::Array(out)
    }

    /// Whether there is room for one more field with so long a name; takes it.
    const fn takes(&mut self, name: usize) -> bool {
        let is_room = self.left > 0;
        self.left = self.left.saturating_sub(name + FIELD_BYTES);
        is_room
    }

    fn allowed(&self) -> Allowed {
        match &*self.path {
            path if self.whole.iter().any(|whole| whole.contains(&path)) => Allowed::Whole,
            path if self.free_text.contains(&path) => Allowed::Scrubbed,
            _ => Allowed::ShapeOnly,
        }
    }
}

/// A provider chooses its keys: one that could be somebody's name, address or number is not stored, nor one that could
/// pass for a path.
fn is_plain_key(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=40).contains(&name.len())
        && name.bytes().all(plain)
        && name.bytes().filter(u8::is_ascii_digit).count() <= DIGITS_MAX
        && !contains_pan(name)
        && !contains_key(name)
        && !is_opaque(name)
}

const fn is_small(number: i64) -> bool {
    number.unsigned_abs() <= NUMBER_MAX.unsigned_abs()
}

fn leaf(value: &Value, allowed: Allowed) -> Bson {
    match (value, allowed) {
        (Value::Null, _) => Bson::Null,
        (Value::Bool(flag), Allowed::Whole) => Bson::Boolean(*flag),
        (Value::Number(number), Allowed::Whole) => {
            number.as_i64().map_or_else(|| Bson::Double(number.as_f64().unwrap_or_default()), Bson::Int64)
        }
        (Value::String(text), Allowed::Whole) if is_name(text) => Bson::String(text.clone()),
        (Value::String(text), Allowed::Whole | Allowed::Scrubbed) if is_time(text) => Bson::String(text.clone()),
        (Value::String(text), Allowed::Whole | Allowed::Scrubbed) => Bson::String(scrub(text)),
        (Value::Bool(flag), Allowed::Scrubbed) => Bson::Boolean(*flag),
        (Value::Number(number), Allowed::Scrubbed) if number.as_i64().is_some_and(is_small) => {
            Bson::Int64(number.as_i64().unwrap_or_default())
        }
        (Value::Bool(_), _) => Bson::String("[boolean]".into()),
        (Value::Number(_), _) => Bson::String("[number]".into()),
        (Value::String(text), Allowed::ShapeOnly) => Bson::String(format!("[string {}]", text.chars().count())),
        (Value::Array(_) | Value::Object(_), _) => Bson::String("[nested]".into()),
    }
}

#[cfg(test)]
mod tests {
    use bson::bson;
    use serde_json::json;

    use super::*;
    use crate::platform::scrub::SCRUBBED_CHARS_MAX;

    const RULES: Redaction = Redaction {
        not_personal: &["id"],
        request: &["items[].sku", "weights[]", "deep.ok"],
        response: &["status"],
        free_text: &["words", "words[]"],
        query: &["awb"],
    };

    #[test]
    fn what_is_not_named_keeps_its_shape_only() {
        let stored = RULES.request_body(&json!({
            "id": "o-1", "name": "Asha", "phone": 98, "flag": true, "none": null, "weights": ["0.5"],
            "items": [{"sku": "a", "name": "T-shirt"}], "deep": {"ok": 1, "secret": "abc"},
        }));
        assert_eq!(
            stored,
            bson!({
                "id": "o-1", "name": "[string 4]", "phone": "[number]", "flag": "[boolean]", "none": null,
                "weights": ["0.5"], "items": [{"sku": "a", "name": "[string 7]"}],
                "deep": {"ok": 1_i64, "secret": "[string 3]"},
            })
        );
    }

    #[test]
    fn an_answer_of_any_size_is_stored_small() {
        let long = "x".repeat(10_000);
        let stored = RULES.response_body(&json!({ "status": long, "list": vec![1; 500], "k\u{0}ey": 1 }));
        let stored = stored.as_document().expect("a document");
        assert_eq!(stored.get_str("status").expect("text").len(), SCRUBBED_CHARS_MAX);
        assert_eq!(stored.get_array("list").expect("a list").len(), ENTRIES_MAX + 1);
        assert!(stored.contains_key("[key 0]"), "{stored}");
    }

    #[test]
    fn a_body_of_many_small_values_is_stored_small_too() {
        let bytes = |stored: Bson| bson::serialize_to_vec(&bson::doc! { "body": stored }).expect("BSON").len();
        let flat = Value::from(vec![0; ENTRIES_MAX]);
        let nested = Value::from(vec![flat; 90]);
        assert!(RULES.response_body(&nested).to_string().contains(" more]"), "what is not stored is counted");
        let wide: Map<_, _> = (0..90).map(|n| (format!("words{n}"), Value::from(vec![0; 90]))).collect();
        let texts = json!({ "words": vec!["Im Lager \u{1f4e6} ".repeat(40); 100], "status": &nested });
        for body in [nested, wide.into(), texts] {
            let (sent, kept) = (body.to_string().len(), bytes(RULES.response_body(&body)));
            assert!(kept <= STORED_BYTES_MAX * 5 / 4, "{kept} bytes of {sent}");
        }
        let carriers =
            json!({ "list": vec![json!({"status": "In transit", "at": "2026-01-31 09:30:00"}); ENTRIES_MAX] });
        assert!(
            !RULES.response_body(&carriers).to_string().contains("more]"),
            "an answer as long as they get is whole"
        );
    }

    #[test]
    fn what_is_allowed_is_stored_as_what_it_ought_to_be() {
        let stored = |status: Value| RULES.response_body(&json!({ "status": status }));
        for (status, kept) in [
            (json!("79123456789012"), bson!("79123456789012")),
            (json!(79_123_456_789_012_i64), bson!(79_123_456_789_012_i64)),
            (json!("2026-01-31 09:30:00"), bson!("2026-01-31 09:30:00")),
            (json!("In transit"), bson!("In transit")),
            (json!("of ABCDE1234F, 9876543210\r\n\u{1b}[2J"), bson!("of [number] [number] [2J")),
            (json!("ABCDE1234F"), bson!("[number]")),
            (json!("sk_live_51H8xQ2eZvKYlo2C"), bson!("[secret]")),
        ] {
            assert_eq!(stored(status), bson!({ "status": kept }));
        }
        let words = |words: Value| RULES.response_body(&json!({ "words": words }));
        for (said, kept) in [
            (json!("call 9876543210"), bson!("call [number]")),
            (json!(["two\r\nlines \u{1b}[31mred"]), bson!(["two lines [31mred"])),
            (json!("31-01-2026 09:30:00"), bson!("31-01-2026 09:30:00")),
            (json!(227), bson!(227_i64)),
            (json!(9_876_543_210_i64), bson!("[number]")),
            (json!(1.5), bson!("[number]")),
            (json!(true), bson!(true)),
        ] {
            assert_eq!(words(said), bson!({ "words": kept }));
        }
    }

    #[test]
    fn headers_are_stored_as_what_they_ought_to_be() {
        for (name, value, kept) in [
            ("content-type", "application/json; charset=utf-8", Some("application/json; charset=utf-8")),
            ("content-type", "text/999941057058", Some("[number]")),
            ("content-length", "1048576", Some("1048576")),
            ("content-length", "999941057058", Some("[number]")),
            ("date", "Wed, 21 Oct 2026 07:28:00 GMT", Some("Wed, 21 Oct 2026 07:28:00 GMT")),
            ("date", "9876543210", Some("[number]")),
            ("retry-after", "120", Some("120")),
            ("retry-after", "999941057058", Some("[number]")),
            ("server", "nginx/1.25.3", Some("nginx/1.25.3")),
            ("server", "host \u{1b}[2J sk_live_51H8xQ2eZvKYlo2C", Some("host [2J [secret]")),
            ("x-request-id", "7d444840-9dc0-11d1-b245-5ffdce74fad2", Some("7d444840-9dc0-11d1-b245-5ffdce74fad2")),
            ("x-request-id", "ABCDE1234F", Some("[number]")),
            ("set-cookie", "a=b", None),
        ] {
            assert_eq!(Redaction::header(name, value).as_deref(), kept, "{name}: {value}");
        }
    }

    #[test]
    fn a_tax_number_is_no_plain_key() {
        let stored = RULES.response_body(&json!({ "ABCDE1234F": 1, "29abcde1234f1z5": 2, "name_at_bank": 3 }));
        let keys: Vec<_> = stored.as_document().expect("a document").keys().cloned().collect();
        assert_eq!(keys, ["[key 0]", "[key 1]", "name_at_bank"]);
    }

    #[test]
    fn keys_that_could_be_data_or_pass_for_a_path_are_not_stored() {
        let stored = RULES.response_body(&json!({
            "asha@example.com": 1, "9876543210": 2, "deep.ok": 3, "": 4, "Kq7xB2mZ9wLpRtVbNyQa": 5, "sk_live_Mk7Qw2Zx9Lp": 6,
        }));
        let keys: Vec<_> = stored.as_document().expect("a document").keys().cloned().collect();
        assert_eq!(keys, ["[key 0]", "[key 1]", "[key 2]", "[key 3]", "[key 4]", "[key 5]"]);
        let wide: serde_json::Map<_, _> = (0..500).map(|n| (format!("k{n}"), json!(n))).collect();
        assert_eq!(RULES.response_body(&wide.into()).as_document().expect("a document").len(), ENTRIES_MAX + 1);
    }

    #[test]
    fn query_values_are_redacted_too() {
        assert_eq!(RULES.url("http://h/p?awb=1&token=abc"), "http://h/p?awb=1&token=[3]");
        assert_eq!(RULES.url("http://h/p"), "http://h/p");
    }
}
