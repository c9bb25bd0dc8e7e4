//! Removes text that must not be stored, recognised by its shape: numbers of persons, accounts and cards, e-mail addresses, keys
//! and tokens. What comes from outside repeats such things, and nobody asked for them.

use std::borrow::Cow;

use super::text::without_unseen;

/// Longest scrubbed text.
pub const SCRUBBED_CHARS_MAX: usize = 300;
/// More digits in a number or a word may be a telephone, account, card or document number.
pub const DIGITS_MAX: usize = 6;
/// Longest name that others give to something: ids, references, waybill numbers.
const NAME_CHARS_MAX: usize = 128;
/// A word as long as this, of capitals, small letters and digits, is no word.
const OPAQUE_CHARS_MIN: usize = 20;
/// Labels before secrets, as in `password=...`, `token: ...`.
const LABELS: [&str; 17] = [
    "password",
    "passwd",
    "pwd",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "key",
    "authorization",
    "auth",
    "bearer",
    "signature",
    "otp",
    "cvv",
    "credential",
];
/// How keys and tokens of well-known kinds begin.
const KEY_PREFIXES: [&str; 13] =
    ["eyJ", "wb_live_", "sk_", "pk_", "rk_", "sk-", "whsec_", "rzp_", "ghp_", "xoxb-", "AKIA", "AIza", "shpat_"];
/// Shorter ones are words.
const KEY_CHARS_MIN: usize = 16;

/// Free text as it may be stored: cut, without what can't be seen, web and e-mail addresses, tax numbers, long numbers,
/// and what looks like a key or a token.
#[must_use]
pub fn scrub(text: &str) -> String {
    hide(text).chars().take(SCRUBBED_CHARS_MAX).collect()
}

fn hide(text: &str) -> String {
    let printable: Vec<_> = text.split_whitespace().map(without_unseen).collect();
    let words: Vec<&str> = printable.iter().map(AsRef::as_ref).filter(|word: &&str| !word.is_empty()).collect();
    // A number may be written in groups: its parts are judged together.
    let runs = words.chunk_by(|one, next| may_begin_number(one) && is_part_of_number(next));
    let mut kept: Vec<Cow<'_, str>> = Vec::new();
    let mut announced = false;
    for run in runs {
        let word = if announced && !is_hidden(run) { "[secret]".into() } else { scrubbed(run) };
        announced = run.last().is_some_and(|word| announces_secret(word));
        kept.push(word);
    }
    kept.join(" ")
}

/// Whether [`scrub`] would hide nothing of it, however long it is.
#[must_use]
pub fn is_harmless(text: &str) -> bool {
    let blanks_apart = |text: &str| text.split_whitespace().collect::<String>();
    blanks_apart(&hide(text)) == blanks_apart(text)
}

/// Whether keys, tokens or passwords are in it, as far as they are recognised without looking at numbers.
#[must_use]
pub fn holds_secrets(text: &str) -> bool {
    text.split_whitespace().any(holds_secret)
}

/// Whether it could be what somebody calls something: a word without what is recognisable as a secret or a tax number.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let graphic = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'@' | b'<' | b'>'));
    (1..=NAME_CHARS_MAX).contains(&text.len()) && graphic && !is_tax_number(text) && !contains_key(text)
}

/// In place of what is not kept: its length.
#[must_use]
pub fn hidden(text: &str) -> String {
    format!("[{}]", text.len())
}

/// An id of ours (`ord_...`), or the name of a queue or a provider.
#[must_use]
pub fn is_ours(text: &str) -> bool {
    let id = text.split_once('_').is_some_and(|(prefix, body)| {
        (2..=4).contains(&prefix.len())
            && prefix.bytes().all(|b| b.is_ascii_lowercase())
            && (1..=32).contains(&body.len())
            && body.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    id || (text.len() <= 64 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
}

/// Whether what somebody has asked for can be shown in the record of it: it is no secret by its shape.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    // Passwords and tokens have capitals too, ids of requests hardly ever.
    let is_id = || is_request_id(text) && !text.contains(|c: char| c.is_ascii_uppercase());
    is_ours(text) || is_id() || bson::DateTime::parse_rfc3339_str(text).is_ok() || is_harmless(text)
}

/// Whether it can be an `X-Request-Id`, which is written down with everything that follows from the request: well-formed, and
/// not by its shape a number of somebody's, a key, or a token of 256 bits.
#[must_use]
pub fn is_request_id(value: &str) -> bool {
    const TOKEN_CHARS: usize = 43;
    let well_formed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    (8..=64).contains(&value.len())
        && value.bytes().all(well_formed)
        && (digits <= DIGITS_MAX || value.bytes().any(|b| b.is_ascii_alphabetic()))
        && !is_tax_number(value)
        && !contains_key(value)
        && !(value.len() == TOKEN_CHARS && is_opaque(value))
}

/// A point in time as `2026-01-31 09:30:00` or `31-01-2026 09:30:00`, with or without its end.
#[must_use]
pub fn is_time(text: &str) -> bool {
    let fits = |pattern: &str| {
        let same = |(is, wanted): (u8, u8)| if wanted == b'9' { is.is_ascii_digit() } else { is == wanted };
        text.len() >= 10 && text.len() <= pattern.len() && text.bytes().zip(pattern.bytes()).all(same)
    };
    ["9999-99-99 99:99:99", "9999-99-99T99:99:99", "99-99-9999 99:99:99", "99/99/9999 99:99:99"].into_iter().any(fits)
}

/// Whether a tax number (PAN) is in it: five letters, four digits, a letter. A GSTIN is built around one.
#[must_use]
pub fn contains_pan(word: &str) -> bool {
    word.as_bytes().windows(10).any(is_pan)
}

/// Whether an id is or holds a tax number, and not by chance: ids are random, and often hexadecimal.
fn is_tax_number(id: &str) -> bool {
    let beyond_hex = |b: &u8| b.is_ascii_alphabetic() && !b.is_ascii_hexdigit();
    let is_long = id.len() > OPAQUE_CHARS_MIN;
    id.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| matches!(word.len(), 10 | 15) && contains_pan(word))
        || (!is_long && id.as_bytes().windows(10).any(|part| is_pan(part) && part.iter().any(beyond_hex)))
}

fn is_pan(word: &[u8]) -> bool {
    word[..5].iter().all(u8::is_ascii_alphabetic)
        && word[5..9].iter().all(u8::is_ascii_digit)
        && word[9].is_ascii_alphabetic()
}

/// Whether a key or a token of a well-known kind is in it.
#[must_use]
pub fn contains_key(word: &str) -> bool {
    let in_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut parts = word.split(|c: char| !in_key(c));
    parts.any(|part| part.len() >= KEY_CHARS_MIN && KEY_PREFIXES.iter().any(|prefix| part.starts_with(prefix)))
}

/// Nothing but digits and punctuation.
fn is_part_of_number(word: &str) -> bool {
    !word.contains(|c: char| c.is_alphabetic() || c == '@')
}

/// The same, or a label with the first group: `Aadhaar:9999`.
fn may_begin_number(word: &str) -> bool {
    let group = word.rsplit([':', '=', '#']).next().unwrap_or(word);
    is_part_of_number(word) || (group.len() < word.len() && !group.is_empty() && is_part_of_number(group))
}

/// Whether it is what [`scrub`] leaves in place of something.
fn is_hidden(run: &[&str]) -> bool {
    run.iter().all(|word| word.starts_with('['))
}

/// `password:`, `Bearer`: what follows is nobody's business.
fn announces_secret(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    lower == "bearer" || lower.strip_suffix([':', '=']).is_some_and(is_label)
}

/// Whether it says that a secret follows: `api_key`, `"password"`, `access-token`.
fn is_label(text: &str) -> bool {
    let letters: String = text.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
    // Of `x-api-key` and `newPassword` the end counts; short ones stand alone, because `monkey` ends in `key`.
    LABELS.iter().any(|label| letters == *label || (label.len() > 4 && letters.ends_with(label)))
}

/// One word, or several that are parts of one number.
fn scrubbed(run: &[&str]) -> Cow<'static, str> {
    let digits: usize = run.iter().map(|word| word.chars().filter(|c| c.is_numeric()).count()).sum();
    if run.iter().any(|word| word.contains("://")) {
        "[url]".into()
    } else if run.iter().any(|word| word.contains('@')) {
        "[address]".into()
    } else if run.iter().any(|word| holds_secret(word)) {
        "[secret]".into()
    } else if digits > DIGITS_MAX || run.iter().any(|word| contains_pan(word)) {
        "[number]".into()
    } else {
        run.join(" ").into()
    }
}

/// `password=...`, a key, or a word that nobody would write.
fn holds_secret(word: &str) -> bool {
    let assigned = word.split_once(['=', ':']).is_some_and(|(label, value)| !value.is_empty() && is_label(label));
    let in_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '/' | '=');
    assigned || contains_key(word) || word.split(|c: char| !in_token(c)).any(is_opaque)
}

/// Long, and of capitals, small letters and digits: random.
#[must_use]
pub fn is_opaque(part: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| part.as_bytes().iter().any(kind);
    part.len() >= OPAQUE_CHARS_MIN
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
