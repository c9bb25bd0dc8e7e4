//! What may be stored of a call: an allow-list per operation. What is not named is stored as its type and length.

use std::borrow::Cow;

use bson::{Bson, Document};
use serde_json::Value;

/// Longest text that is stored of an allowed field; the rest is cut.
const TEXT_CHARS_MAX: usize = 500;
/// Longest scrubbed text that is stored.
const SCRUBBED_CHARS_MAX: usize = 300;
/// More digits in a number or a word may be a telephone, account or document number.
const DIGITS_MAX: usize = 6;
/// Entries of an array or an object that are stored.
const ENTRIES_MAX: usize = 100;
/// Depth to which a body is stored.
const DEPTH_MAX: usize = 12;

/// Paths that may be stored: `data.awb_number`, `products[].product_sku`, `shipment_weight[]`.
#[derive(Debug)]
pub struct Redaction {
    /// Of the request's body.
    pub request: &'static [&'static str],
    /// Of the answer's body.
    pub response: &'static [&'static str],
    /// Free text of either body, stored scrubbed: see [`scrub`].
    pub free_text: &'static [&'static str],
    /// Query parameters of the URL.
    pub query: &'static [&'static str],
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
        self.redact(body, &mut String::new(), self.request, 0)
    }

    /// The stored form of an answer's body.
    #[must_use]
    pub fn response_body(&self, body: &Value) -> Bson {
        self.redact(body, &mut String::new(), self.response, 0)
    }

    /// Whether an answer's header may be stored.
    #[must_use]
    pub fn allows_header(name: &str) -> bool {
        Self::RESPONSE_HEADERS.contains(&name)
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

    fn redact(&self, value: &Value, path: &mut String, whole: &[&str], depth: usize) -> Bson {
        if depth > DEPTH_MAX {
            return Bson::String("[too deep]".into());
        }
        let length = path.len();
        match value {
            Value::Object(fields) => {
                let mut out = Document::new();
                for (position, (name, value)) in fields.iter().take(ENTRIES_MAX).enumerate() {
                    let name = if is_plain_key(name) { name.clone() } else { format!("[key {position}]") };
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&name);
                    out.insert(name, self.redact(value, path, whole, depth + 1));
                    path.truncate(length);
                }
                if fields.len() > ENTRIES_MAX {
                    out.insert("[more]", (fields.len() - ENTRIES_MAX) as i64);
                }
                Bson::Document(out)
            }
            Value::Array(entries) => {
                path.push_str("[]");
                let shown = entries.iter().take(ENTRIES_MAX);
                let mut out: Vec<Bson> = shown.map(|entry| self.redact(entry, path, whole, depth + 1)).collect();
                path.truncate(length);
                if entries.len() > ENTRIES_MAX {
                    out.push(Bson::String(format!("[{} more]", entries.len() - ENTRIES_MAX)));
                }
                Bson::Array(out)
            }
            scalar if whole.contains(&path.as_str()) => leaf(scalar, Allowed::Whole),
            scalar if self.free_text.contains(&path.as_str()) => leaf(scalar, Allowed::Scrubbed),
            scalar => leaf(scalar, Allowed::ShapeOnly),
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
}

fn leaf(value: &Value, allowed: Allowed) -> Bson {
    match (value, allowed) {
        (Value::Null, _) => Bson::Null,
        (Value::Bool(flag), Allowed::Whole) => Bson::Boolean(*flag),
        (Value::Number(number), Allowed::Whole) => {
            number.as_i64().map_or_else(|| Bson::Double(number.as_f64().unwrap_or_default()), Bson::Int64)
        }
        (Value::String(text), Allowed::Whole) => Bson::String(text.chars().take(TEXT_CHARS_MAX).collect()),
        (Value::String(text), Allowed::Scrubbed) => Bson::String(scrub(text)),
        (Value::Bool(_), _) => Bson::String("[boolean]".into()),
        (Value::Number(_), _) => Bson::String("[number]".into()),
        (Value::String(text), Allowed::ShapeOnly) => Bson::String(format!("[string {}]", text.chars().count())),
        (Value::Array(_) | Value::Object(_), _) => Bson::String("[nested]".into()),
    }
}

/// Free text of a provider as it may be stored: cut, without control characters, e-mail addresses, tax numbers and long
/// numbers, because providers repeat what they were sent.
#[must_use]
pub fn scrub(text: &str) -> String {
    let printable: String = text.chars().filter(|c| c.is_whitespace() || !c.is_control()).collect();
    let words: Vec<&str> = printable.split_whitespace().collect();
    // A number may be written in groups: its parts are judged together.
    let runs = words.chunk_by(|one, next| is_part_of_number(one) && is_part_of_number(next));
    runs.map(scrubbed).collect::<Vec<_>>().join(" ").chars().take(SCRUBBED_CHARS_MAX).collect()
}

/// Nothing but digits and punctuation.
fn is_part_of_number(word: &str) -> bool {
    !word.contains(|c: char| c.is_alphabetic() || c == '@')
}

/// One word, or several that are parts of one number.
fn scrubbed(run: &[&str]) -> Cow<'static, str> {
    let digits: usize = run.iter().map(|word| word.bytes().filter(u8::is_ascii_digit).count()).sum();
    if run.iter().any(|word| word.contains('@')) {
        "[address]".into()
    } else if digits > DIGITS_MAX || run.iter().any(|word| contains_pan(word)) {
        "[number]".into()
    } else {
        run.join(" ").into()
    }
}

/// Whether a tax number (PAN) is in it: five letters, four digits, a letter. A GSTIN is built around one.
fn contains_pan(word: &str) -> bool {
    let is_pan = |w: &[u8]| {
        w[..5].iter().all(u8::is_ascii_alphabetic)
            && w[5..9].iter().all(u8::is_ascii_digit)
            && w[9].is_ascii_alphabetic()
    };
    word.as_bytes().windows(10).any(is_pan)
}

#[cfg(test)]
mod tests {
    use bson::bson;
    use serde_json::json;

    use super::*;

    const RULES: Redaction = Redaction {
        request: &["id", "items[].sku", "weights[]", "deep.ok"],
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
        assert_eq!(stored.get_str("status").expect("text").len(), TEXT_CHARS_MAX);
        assert_eq!(stored.get_array("list").expect("a list").len(), ENTRIES_MAX + 1);
        assert!(stored.contains_key("[key 0]"), "{stored}");
    }

    #[test]
    fn free_text_keeps_its_sense_and_loses_personal_data() {
        for (text, kept) in [
            ("Pincode 560001 not serviceable", "Pincode 560001 not serviceable"),
            ("Invalid mobile 9876543210, <asha@example.com>", "Invalid mobile [number] [address]"),
            ("call +91-98765-43210 now", "call [number] now"),
            ("two\r\nlines \u{1b}[31mred", "two lines [31mred"),
        ] {
            assert_eq!(scrub(text), kept);
            let stored = RULES.response_body(&json!({ "words": [text] }));
            assert_eq!(stored, bson!({ "words": [kept] }));
        }
        assert_eq!(scrub(&"x ".repeat(1000)).chars().count(), SCRUBBED_CHARS_MAX);
    }

    #[test]
    fn identifiers_are_hidden_however_they_are_written() {
        for (text, kept) in [
            ("PAN ABCDE1234F is inactive", "PAN [number] is inactive"),
            ("pan=abcde1234f; try again", "[number] try again"),
            ("GSTIN 29ABCDE1234F1Z5, cancelled", "GSTIN [number] cancelled"),
            ("ABCDE\u{0}1234F", "[number]"),
            ("éABCDE1234Fé", "[number]"),
            ("Aadhaar 9999 4105 7058 is no PAN", "Aadhaar [number] is no PAN"),
            ("call 98765 43210", "call [number]"),
            ("call (+91) 98765 - 43210, now", "call [number] now"),
            ("98765\n43210 asha@example.com 98765\u{7} 43210", "[number] [address] [number]"),
            ("1234 asha@example.com 5678", "1234 [address] 5678"),
        ] {
            assert_eq!(scrub(text), kept);
            assert_eq!(scrub(kept), kept, "a second time changes nothing");
        }
    }

    #[test]
    fn words_that_only_resemble_identifiers_stay() {
        for text in [
            "Pincode 560001 not serviceable",
            "Pincodes 560001 and 110001 differ",
            "between 10 - 20 kg, 3 parcels",
            "ABCD1234F ABCDE123F ABCDE12345 ABCDE 1234 F",
            "IFSC HDFC0ABC123 unknown",
            "- ... !",
            "",
        ] {
            assert_eq!(scrub(text), text);
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
        let stored = RULES.response_body(&json!({ "asha@example.com": 1, "9876543210": 2, "deep.ok": 3, "": 4 }));
        let keys: Vec<_> = stored.as_document().expect("a document").keys().cloned().collect();
        assert_eq!(keys, ["[key 0]", "[key 1]", "[key 2]", "[key 3]"]);
        let wide: serde_json::Map<_, _> = (0..500).map(|n| (format!("k{n}"), json!(n))).collect();
        assert_eq!(RULES.response_body(&wide.into()).as_document().expect("a document").len(), ENTRIES_MAX + 1);
    }

    #[test]
    fn query_values_are_redacted_too() {
        assert_eq!(RULES.url("http://h/p?awb=1&token=abc"), "http://h/p?awb=1&token=[3]");
        assert_eq!(RULES.url("http://h/p"), "http://h/p");
    }
}
