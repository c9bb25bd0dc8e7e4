//! How providers write things, whoever they are: one reader for each kind of value. What can't be read is none, and never
//! good news.

use serde_json::Value;

/// Longest reference of theirs that we store.
const REFERENCE_CHARS_MAX: usize = 64;
/// Characters of their sentences that are looked at: the words that decide come early.
const SENTENCES_CHARS_MAX: usize = 4_000;

/// Words in the place of what is not there.
const NOTHING: [&str; 9] =
    ["na", "nan", "nil", "none", "null", "undefined", "unknown", "notavailable", "notapplicable"];
/// Fields that are there for sentences, in small letters without anything else.
const SENTENCE_FIELDS: [&str; 22] = [
    "responsemsg",
    "responsemessage",
    "message",
    "messages",
    "msg",
    "msgs",
    "error",
    "errors",
    "errormessage",
    "errormessages",
    "errormsg",
    "errordescription",
    "errordetails",
    "statusmessage",
    "detail",
    "details",
    "reason",
    "reasons",
    "remark",
    "remarks",
    "title",
    "warnings",
];

/// The only object of a list of one, else the value itself.
pub(super) fn part(value: &Value) -> &Value {
    match value {
        Value::Array(entries) => match &entries[..] {
            [only @ Value::Object(_)] => only,
            _ => value,
        },
        _ => value,
    }
}

/// A field of an object, or of a list of one; none where it is null.
pub(super) fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    part(object).get(name).filter(|value| !value.is_null())
}

pub(super) fn object<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    field(object, name).map(part).filter(|value| value.is_object())
}

pub(super) fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    field(object, name)?.as_str()
}

/// A yes or a no, as a flag, a number or a word.
pub(super) fn flag(object: &Value, name: &str) -> Option<bool> {
    match field(object, name)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(word) => match &*word.trim().to_ascii_lowercase() {
            "true" | "t" | "yes" | "y" | "on" | "ok" | "success" | "successful" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "error" | "fail" | "failed" | "failure" => Some(false),
            _ => as_flag(whole(word)?),
        },
        number => as_flag(whole_number(number)?),
    }
}

const fn as_flag(number: i64) -> Option<bool> {
    match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// A whole number, as a number or as text, also with a fraction of nought.
pub(super) fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(&number.to_string())),
        Value::String(text) => whole(text),
        _ => None,
    }
}

fn whole(text: &str) -> Option<i64> {
    let text = text.trim();
    let (digits, fraction) = text.split_once('.').unwrap_or((text, "0"));
    (!fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0')).then(|| digits.parse().ok())?
}

/// A reference of theirs, as text or a number: letters, digits, `-`, `_` and `/`, and one digit at least that is not 0. Anything
/// else (`N/A`, `0`, a piece of a page) names nothing.
pub(super) fn reference(object: &Value, name: &str) -> Option<String> {
    let text = match field(object, name)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) if number.as_i64().is_none_or(|number| number > 0) => number.to_string(),
        _ => return None,
    };
    let names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
    let sane =
        text.len() <= REFERENCE_CHARS_MAX && text.chars().all(names) && text.contains(|c| ('1'..='9').contains(&c));
    sane.then_some(text)
}

/// An id that need not have a digit, as text or a number: printable ASCII, and no placeholder such as `null`.
pub(super) fn id(object: &Value, name: &str) -> Option<String> {
    reference(object, name).or_else(|| {
        let text = text(object, name)?.trim();
        let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        let names = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"');
        let is_something = letters.contains(|c| c != '0') && !NOTHING.contains(&&*letters);
        (text.len() <= REFERENCE_CHARS_MAX && text.bytes().all(names) && is_something).then(|| text.to_owned())
    })
}

/// All that a refusal says, whatever its shape: texts, lists and maps of them, at any depth, under any field that is there
/// for sentences. Each sentence once.
pub(super) fn sentences(body: &Value) -> Option<String> {
    let mut said = JoinedText::default();
    let all = body.as_array().map_or_else(|| std::slice::from_ref(body), Vec::as_slice);
    for entry in all {
        if entry.is_string() { said.take(None, entry) } else { said.look_into(entry) }
    }
    (!said.text.is_empty()).then_some(said.text)
}

#[derive(Default)]
struct JoinedText {
    text: String,
    chars: usize,
}

impl JoinedText {
    /// Looks for fields that are there for sentences.
    fn look_into(&mut self, value: &Value) {
        match value {
            Value::Array(entries) => entries.iter().for_each(|entry| self.look_into(entry)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    if is_for_sentences(name) { self.take(None, value) } else { self.look_into(value) }
                }
            }
            _ => {}
        }
    }

    /// Takes every text in what such a field holds. An object that has sentences under fields of their own repeats in the
    /// others what it was sent; another one is a map from what is wrong to why.
    fn take(&mut self, about: Option<&str>, value: &Value) {
        match value {
            Value::String(sentence) => self.push(about, sentence.trim()),
            Value::Array(entries) => entries.iter().for_each(|entry| self.take(about, entry)),
            Value::Object(fields) => {
                let before = self.chars;
                let own = fields.iter().filter(|(name, _)| is_for_sentences(name));
                own.for_each(|(_, value)| self.take(about, value));
                if self.chars == before {
                    fields.iter().for_each(|(name, value)| self.take(Some(name), value));
                }
            }
            _ => {}
        }
    }

    fn push(&mut self, about: Option<&str>, sentence: &str) {
        if self.chars >= SENTENCES_CHARS_MAX || !sentence.contains(char::is_alphabetic) {
            return;
        }
        let about = about.filter(|name| name.contains(char::is_alphabetic));
        let sentence = about.map_or_else(|| sentence.to_owned(), |name| format!("{name}: {sentence}"));
        if self.text.split("; ").any(|said| said == sentence) {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        self.text.extend(sentence.chars().take(SENTENCES_CHARS_MAX - self.chars));
        self.chars += sentence.chars().count();
    }
}

fn is_for_sentences(name: &str) -> bool {
    let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
    SENTENCE_FIELDS.contains(&&*letters)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flag_is_read_in_every_spelling() {
        for (value, read) in [
            (json!(true), Some(true)),
            (json!("true"), Some(true)),
            (json!(" TRUE "), Some(true)),
            (json!(1), Some(true)),
            (json!(1.0), Some(true)),
            (json!("1"), Some(true)),
            (json!("1.0"), Some(true)),
            (json!("yes"), Some(true)),
            (json!("Success"), Some(true)),
            (json!(false), Some(false)),
            (json!("False"), Some(false)),
            (json!(0), Some(false)),
            (json!("0"), Some(false)),
            (json!("no"), Some(false)),
            (json!("error"), Some(false)),
            (Value::Null, None),
            (json!(""), None),
            (json!("maybe"), None),
            (json!(2), None),
            (json!(-1), None),
            (json!(200), None),
            (json!(0.5), None),
            (json!([true]), None),
            (json!({ "is": true }), None),
        ] {
            assert_eq!(flag(&json!({ "status": value }), "status"), read, "{value}");
            assert_eq!(flag(&json!([{ "status": value }]), "status"), read, "in a list of one: {value}");
        }
        assert_eq!(flag(&json!({}), "status"), None);
    }

    #[test]
    fn a_whole_number_is_read_in_every_spelling() {
        for (value, read) in [
            (json!(227), Some(227)),
            (json!(227.0), Some(227)),
            (json!("227"), Some(227)),
            (json!(" 227.00 "), Some(227)),
            (json!("-5"), Some(-5)),
            (json!("0227"), Some(227)),
            (json!(227.5), None),
            (json!("227."), None),
            (json!("227.0.0"), None),
            (json!("2.27e2"), None),
            (json!("1,000"), None),
            (json!("18446744073709551616"), None),
            (json!(""), None),
            (json!(true), None),
            (json!([227]), None),
        ] {
            assert_eq!(whole_number(&value), read, "{value}");
        }
    }

    #[test]
    fn a_reference_names_something() {
        let long = "9".repeat(64);
        for (value, read) in [
            (json!("PX0001"), Some("PX0001")),
            (json!(" PX/1-a_2 "), Some("PX/1-a_2")),
            (json!(77), Some("77")),
            (json!(i64::MAX), Some("9223372036854775807")),
            (json!("18446744073709551616"), Some("18446744073709551616")),
            (json!(long), Some(&*long)),
            (json!("9".repeat(65)), None),
            (json!(0), None),
            (json!(-5), None),
            (json!(1.5), None),
            (json!("0"), None),
            (json!("000"), None),
            (json!("N/A"), None),
            (json!("-"), None),
            (json!("null"), None),
            (json!(""), None),
            (json!("A 1"), None),
            (json!("A1\n2"), None),
            (json!("<b>1</b>"), None),
            (json!("१२३"), None),
            (json!(true), None),
            (json!(["A1"]), None),
            (Value::Null, None),
        ] {
            assert_eq!(reference(&json!({ "awb": value }), "awb").as_deref(), read, "{value}");
        }
    }

    #[test]
    fn an_id_need_not_have_a_digit() {
        for name in ["pay_1", "pev_none_such", "pay_abc", "a.b:c~d", "7"] {
            assert_eq!(id(&json!({ "id": name }), "id").as_deref(), Some(name));
        }
        for name in ["", "0", "00-0", "N/A", "-", "null", "<None>", "undefined", "<b>a</b>", "pay 1", "pay\n1", "päy"]
        {
            assert_eq!(id(&json!({ "id": name }), "id"), None, "{name}");
        }
        assert_eq!(id(&json!({ "id": "x".repeat(65) }), "id"), None);
        assert_eq!(id(&json!({ "id": 77 }), "id").as_deref(), Some("77"));
    }

    #[test]
    fn a_list_of_one_is_that_one() {
        let data = json!({ "data": [{ "a": 1 }], "more": [{}, {}], "text": ["a"], "none": [], "nested": [[{}]] });
        assert_eq!(object(&data, "data"), Some(&json!({ "a": 1 })));
        assert_eq!(object(&json!([data]), "data"), Some(&json!({ "a": 1 })));
        for name in ["more", "text", "none", "nested", "absent"] {
            assert_eq!(object(&data, name), None, "{name}");
        }
    }

    #[test]
    fn every_sentence_of_a_refusal_is_found_whatever_its_shape() {
        for (body, said) in [
            (json!({ "responsemsg": "Invalid." }), "Invalid."),
            (json!({ "responsemsg": ["Invalid mobile.", 5, "Invalid pincode."] }), "Invalid mobile.; Invalid pincode."),
            (json!({ "responsemsg": { "mobile": ["is short", "is odd"] } }), "mobile: is short; mobile: is odd"),
            (json!({ "responsemsg": [[["deep"], [{ "pin": "bad" }]]] }), "deep; pin: bad"),
            (json!({ "responsemsg": { "0": "first", "1": "second" } }), "first; second"),
            (json!({ "message": "m", "error": "e", "Errors": ["s"] }), "s; e; m"),
            (json!({ "error": { "code": "E1", "message": "Bad pincode" } }), "Bad pincode"),
            (json!({ "error": { "code": "bad_pincode", "message": "" } }), "code: bad_pincode"),
            (json!({ "errors": [{ "msg": "Invalid mobile", "value": "98", "param": "mobile" }] }), "Invalid mobile"),
            (
                json!({ "errors": { "pin": { "message": "bad" }, "city": { "message": "none" } } }),
                "city: none; pin: bad",
            ),
            (json!({ "data": { "error_message": "in data" }, "status": "false" }), "in data"),
            (json!({ "message": "Same.", "error": "Same." }), "Same."),
            (json!([{ "message": "in a list" }]), "in a list"),
            (json!(["bare"]), "bare"),
            (json!("bare"), "bare"),
        ] {
            assert_eq!(sentences(&body).as_deref(), Some(said), "{body}");
        }
        for body in [
            json!({}),
            json!(1),
            Value::Null,
            json!({ "message": " " }),
            json!({ "message": "-" }),
            json!({ "message": [1, null, true, {}, []] }),
            json!([{ "city": "Bengaluru" }]),
            json!({ "data": { "city": "Bengaluru" }, "status": "false" }),
        ] {
            assert_eq!(sentences(&body), None, "{body}");
        }
    }

    #[test]
    fn what_is_taken_of_a_long_refusal_is_short() {
        let many: Vec<String> = (0..5_000).map(|n| format!("Invalid {n} {}", "é".repeat(500))).collect();
        let taken = sentences(&json!({ "errors": many })).expect("sentences").chars().count();
        assert!((SENTENCES_CHARS_MAX..SENTENCES_CHARS_MAX + 100).contains(&taken), "{taken}");
    }
}
