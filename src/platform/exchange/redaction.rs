//! What may be stored of a call: an allow-list per operation. What is not named is stored as its type and length.

use bson::{Bson, Document};
use serde_json::Value;

/// Longest text that is stored of an allowed field; the rest is cut.
const TEXT_CHARS_MAX: usize = 500;
/// Entries of an array that are stored.
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
    /// Query parameters of the URL.
    pub query: &'static [&'static str],
}

/// Headers of an answer that may be stored.
const RESPONSE_HEADERS: &[&str] = &["content-type", "content-length", "date", "retry-after", "x-request-id", "server"];

impl Redaction {
    /// The stored form of a request's body.
    #[must_use]
    pub fn request_body(&self, body: &Value) -> Bson {
        redact(body, &mut String::new(), self.request, 0)
    }

    /// The stored form of an answer's body.
    #[must_use]
    pub fn response_body(&self, body: &Value) -> Bson {
        redact(body, &mut String::new(), self.response, 0)
    }

    /// Whether an answer's header may be stored.
    #[must_use]
    pub fn allows_header(name: &str) -> bool {
        RESPONSE_HEADERS.contains(&name)
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
}

fn redact(value: &Value, path: &mut String, allowed: &[&str], depth: usize) -> Bson {
    if depth > DEPTH_MAX {
        return Bson::String("[too deep]".into());
    }
    match value {
        Value::Object(fields) => {
            let mut out = Document::new();
            for (name, value) in fields {
                // A provider chooses its keys; BSON allows no NUL in them.
                let name: String = name.chars().filter(|c| *c != '\0').take(100).collect();
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&name);
                let redacted = redact(value, path, allowed, depth + 1);
                path.truncate(length);
                out.insert(name, redacted);
            }
            Bson::Document(out)
        }
        Value::Array(entries) => {
            let length = path.len();
            path.push_str("[]");
            let mut out: Vec<Bson> =
                entries.iter().take(ENTRIES_MAX).map(|entry| redact(entry, path, allowed, depth + 1)).collect();
            path.truncate(length);
            if entries.len() > ENTRIES_MAX {
                out.push(Bson::String(format!("[{} more]", entries.len() - ENTRIES_MAX)));
            }
            Bson::Array(out)
        }
        scalar => leaf(scalar, allowed.contains(&path.as_str())),
    }
}

fn leaf(value: &Value, allowed: bool) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(flag) if allowed => Bson::Boolean(*flag),
        Value::Number(number) if allowed => {
            number.as_i64().map_or_else(|| Bson::Double(number.as_f64().unwrap_or_default()), Bson::Int64)
        }
        Value::String(text) if allowed => Bson::String(text.chars().take(TEXT_CHARS_MAX).collect()),
        Value::Bool(_) => Bson::String("[boolean]".into()),
        Value::Number(_) => Bson::String("[number]".into()),
        Value::String(text) => Bson::String(format!("[string {}]", text.chars().count())),
        Value::Array(_) | Value::Object(_) => Bson::String("[nested]".into()),
    }
}

#[cfg(test)]
mod tests {
    use bson::bson;
    use serde_json::json;

    use super::*;

    const RULES: Redaction =
        Redaction { request: &["id", "items[].sku", "weights[]", "deep.ok"], response: &["status"], query: &["awb"] };

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
        assert!(stored.contains_key("key"));
    }

    #[test]
    fn query_values_are_redacted_too() {
        assert_eq!(RULES.url("http://h/p?awb=1&token=abc"), "http://h/p?awb=1&token=[3]");
        assert_eq!(RULES.url("http://h/p"), "http://h/p");
    }
}
