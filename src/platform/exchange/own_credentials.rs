//! Our own credentials in a provider's answer: some repeat what they refuse.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::Credentials;

/// Replacement of a credential.
const TAKEN_OUT: &str = "[credential]";
/// Shorter ones are words, of which an answer is full; they keep nobody out either.
const CHARS_MIN: usize = 8;

/// Our credentials of a call, in every spelling, so that answers that repeat them can be cleaned.
#[derive(Default)]
pub(super) struct OwnCredentials(Vec<String>);

impl OwnCredentials {
    /// Of `credentials`: whole values, what follows their scheme, and what is encoded in these.
    pub(super) fn of(credentials: &Credentials) -> Self {
        let mut all = Vec::new();
        for value in credentials.iter().filter_map(|(_, value)| value.to_str().ok()) {
            let bare = value.split_once(' ').map_or(value, |(_, bare)| bare);
            let decoded =
                STANDARD.decode(bare).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
            let parts = decoded.split(':').map(str::to_owned);
            all.extend([value.to_owned(), bare.to_owned(), decoded.clone()].into_iter().chain(parts));
        }
        all.retain(|secret| secret.len() >= CHARS_MIN);
        // A part would break the whole before it is found.
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all.dedup();
        Self(all)
    }

    /// `text` without them.
    pub(super) fn without(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, TAKEN_OUT))
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| text.contains(secret))
    }

    /// `answer` without them, in keys and values.
    pub(super) fn taken_out(&self, answer: Value) -> Value {
        match answer {
            Value::String(text) if self.is_in(&text) => Value::String(self.without(&text)),
            Value::Array(entries) => entries.into_iter().map(|entry| self.taken_out(entry)).collect(),
            Value::Object(fields) => {
                let cleaned = |(name, value): (String, Value)| {
                    let name = if self.is_in(&name) { self.without(&name) } else { name };
                    (name, self.taken_out(value))
                };
                Value::Object(fields.into_iter().map(cleaned).collect())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn ours(value: &str) -> OwnCredentials {
        let value = HeaderValue::from_str(value).expect("a header's value");
        OwnCredentials::of(&vec![(HeaderName::from_static("authorization"), value)])
    }

    #[test]
    fn our_credentials_are_taken_out_of_answers() {
        let bearer = ours("Bearer the-key-of-ours");
        let answer =
            json!({ "error": ["no such key: the-key-of-ours"], "the-key-of-ours": { "n": 1 }, "other": "the-key" });
        let expected =
            json!({ "error": ["no such key: [credential]"], "[credential]": { "n": 1 }, "other": "the-key" });
        assert_eq!(bearer.taken_out(answer), expected);
        assert_eq!(bearer.without("Bearer the-key-of-ours!"), "[credential]!");
    }

    #[test]
    fn what_is_encoded_in_a_credential_is_one() {
        let pair = ours(&STANDARD.encode("access-key-1:secret-key-1"));
        let encoded = STANDARD.encode("access-key-1:secret-key-1");
        let said = format!("{encoded} is access-key-1:secret-key-1, with secret-key-1");
        assert_eq!(pair.without(&said), "[credential] is [credential], with [credential]");
    }

    #[test]
    fn words_are_no_credentials() {
        let short = ours(&format!("Basic {}", STANDARD.encode("key:secret")));
        assert_eq!(short.without("the key is secret"), "the key is secret");
    }
}
