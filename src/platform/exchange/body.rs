//! From the bytes of a body to JSON, in one tolerant step. What the field gets wrong around JSON is put right: a coding that
//! nobody asked for, byte order marks, other charsets, halves of characters, numbers too long for a machine. What JSON itself
//! leaves open is not guessed: a name that is repeated with another value contradicts itself.

use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    io::{Cursor, Read},
};

use brotli_decompressor::Decompressor;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::StreamingDecoder;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, map::Entry, value::RawValue};

use super::ANSWER_BYTES_MAX;

/// Codings around one another that are taken off; nobody has a reason for more.
const CODINGS_MAX: usize = 3;
/// Most memory that a zstd frame may ask for: what every decoder should support, says RFC 8878.
const ZSTD_WINDOW_MAX: u64 = 8 * 1024 * 1024;
/// Changes the alphabet in ISO-2022-JP; no JSON has it.
const ESCAPE: u8 = 0x1b;
const BROTLI_BUFFER_BYTES: usize = 4096;

#[derive(Debug, PartialEq)]
pub enum ParsedBody {
    /// JSON. Numbers that would lose digits are text.
    Json(Value),
    /// JSON in which a name is repeated with another value: as it is by the first values, and by the last.
    Contradictory(Box<[Value; 2]>),
    /// Anything else.
    NotJson,
}

/// More than [`ANSWER_BYTES_MAX`] once it is unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Reads `bytes`, which come as `content_type` says, or not.
#[must_use]
pub fn read_body(bytes: &[u8], content_type: Option<&str>) -> ParsedBody {
    let text = text_of(bytes, content_type);
    let text = tidied(text.trim_matches(|c: char| matches!(c, '\u{feff}' | '\0') || c.is_whitespace()));
    match parse(&text, Keep::Last) {
        None => ParsedBody::NotJson,
        Some((json, false)) => ParsedBody::Json(json),
        Some((last, true)) => {
            let first = parse(&text, Keep::First).map_or(Value::Null, |(first, _)| first);
            ParsedBody::Contradictory(Box::new([first, last]))
        }
    }
}

/// Takes off the codings that `content_encoding` names (comma-separated, in the order in which they were put on), and those
/// that show. What can't be taken off stays.
pub(super) fn unpacked<'a>(bytes: &'a [u8], content_encoding: &str) -> Result<Cow<'a, [u8]>, TooLarge> {
    let named = content_encoding.split(',').map(|coding| coding.trim().to_ascii_lowercase());
    let mut named: Vec<String> = named.filter(|coding| !coding.is_empty() && coding != "identity").collect();
    let mut bytes = Cow::Borrowed(bytes);
    for _ in 0..CODINGS_MAX {
        let (coding, is_named) = match (named.pop(), shown(&bytes)) {
            (Some(coding), _) => (coding, true),
            (None, Some(coding)) => (coding.to_owned(), false),
            (None, None) => break,
        };
        // The header may tell of a coding that is gone already.
        if serde_json::from_slice::<IgnoredAny>(&bytes).is_ok() {
            break;
        }
        match decoded(&coding, &bytes)? {
            Some(decoded) => bytes = decoded.into(),
            None if is_named => {}
            None => break,
        }
    }
    Ok(bytes)
}

/// The coding by which bytes begin that can't be text.
fn shown(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Some("deflate"),
        _ => None,
    }
}

/// None where they are not of this coding.
fn decoded(coding: &str, bytes: &[u8]) -> Result<Option<Vec<u8>>, TooLarge> {
    match coding {
        "gzip" | "x-gzip" => drained(MultiGzDecoder::new(bytes)),
        // Some leave out the frame around it.
        "deflate" => match drained(ZlibDecoder::new(bytes))? {
            None => drained(DeflateDecoder::new(bytes)),
            decoded => Ok(decoded),
        },
        "br" => drained(Decompressor::new(bytes, BROTLI_BUFFER_BYTES)),
        "zstd" => match StreamingDecoder::new_with_max_window_size(Cursor::new(bytes), ZSTD_WINDOW_MAX) {
            Ok(decoder) => drained(decoder),
            Err(_) => Ok(None),
        },
        _ => Ok(None),
    }
}

fn drained(decoder: impl Read) -> Result<Option<Vec<u8>>, TooLarge> {
    let mut out = Vec::new();
    match decoder.take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut out) {
        Ok(_) if out.len() > ANSWER_BYTES_MAX => Err(TooLarge),
        Ok(_) => Ok(Some(out)),
        Err(_) => Ok(None),
    }
}

/// By its mark, else as UTF-8 where it is that, whatever its type says, because many say anything; else by its type.
fn text_of<'a>(bytes: &'a [u8], content_type: Option<&str>) -> Cow<'a, str> {
    let in_charset = |encoding: &'static Encoding, bytes| encoding.decode_without_bom_handling(bytes).0;
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return in_charset(encoding, &bytes[mark..]);
    }
    // JSON begins with ASCII.
    match bytes {
        [0, 1..=127, ..] => return in_charset(UTF_16BE, bytes),
        [1..=127, 0, ..] => return in_charset(UTF_16LE, bytes),
        _ => {}
    }
    let declared = content_type.and_then(charset);
    // One of those that are not made of ASCII is: with escapes.
    let is_escaped = declared.is_some_and(|charset| !charset.is_ascii_compatible()) && bytes.contains(&ESCAPE);
    match std::str::from_utf8(bytes) {
        Ok(text) if !is_escaped => text.into(),
        _ => in_charset(declared.unwrap_or(UTF_8), bytes),
    }
}

fn charset(content_type: &str) -> Option<&'static Encoding> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, label) = parameter.split_once('=')?;
        let label = label.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset").then(|| Encoding::for_label(label.as_bytes()))?
    })
}

/// JSON text that a strict parser takes, and in which no number loses a digit.
fn tidied(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| matches!(c, '"' | '-' | '0'..='9')) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if rest.starts_with('"') {
            let length = string_length(rest);
            push_string(&mut out, &rest[..length]);
            length
        } else {
            let in_number = |c: char| matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9');
            let length = rest.find(|c| !in_number(c)).unwrap_or(rest.len());
            push_number(&mut out, &rest[..length]);
            length
        };
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// With both quotes, where there is an end.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Halves of surrogate pairs are nobody's character, and control characters have to be escaped.
fn push_string(out: &mut String, string: &str) {
    let mut rest = string;
    while let Some(at) = rest.find(|c: char| c == '\\' || c < ' ') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (unit, low) = (utf16_unit(rest), rest.get(6..).and_then(utf16_unit));
        let length = match (unit, low) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push(char::REPLACEMENT_CHARACTER);
                rest = &rest[6..];
                continue;
            }
            _ if rest.starts_with('\\') => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => {
                out.push_str(&format!("\\u{:04x}", rest.as_bytes()[0]));
                rest = &rest[1..];
                continue;
            }
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
}

/// The UTF-16 unit of `\uXXXX` at the beginning of `text`.
fn utf16_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Writes a number; as text, if a float would change its digits.
fn push_number(out: &mut String, digits: &str) {
    let is_exact = || {
        digits.parse::<i64>().is_ok_and(|number| number.to_string() == digits)
            || serde_json::from_str::<Number>(digits)
                .is_ok_and(|number| !number.is_u64() && number.to_string() == digits)
    };
    if is_exact() || serde_json::from_str::<&RawValue>(digits).is_err() {
        out.push_str(digits);
    } else {
        out.extend(["\"", digits, "\""]);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    First,
    Last,
}

/// JSON, and whether it contradicts itself.
fn parse(text: &str, keep: Keep) -> Option<(Value, bool)> {
    let contradicts = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let json = JsonReader { keep, contradicts: &contradicts }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some((json, contradicts.get()))
}

/// Reads a value and notices names that are repeated.
#[derive(Clone, Copy)]
struct JsonReader<'a> {
    keep: Keep,
    contradicts: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for JsonReader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonReader<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_element_seed(self)? {
            entries.push(entry);
        }
        Ok(entries.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(self)?;
            match fields.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(mut place) if *place.get() != value => {
                    self.contradicts.set(true);
                    if self.keep == Keep::Last {
                        place.insert(value);
                    }
                }
                Entry::Occupied(_) => {}
            }
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
