//! One document, one sequence of bytes: what is hashed of a record.
//!
//! The canonical encoding is read off the stored BSON in one pass. A document is the number of its elements and the
//! elements in their stored order. An element is its type, its name with its length, and its value; every value has a
//! width fixed by its type or begins with its length. So the bytes can be read in one way only, and different documents
//! give different bytes. Entries of an array have no names; in BSON these are their positions, which is checked.
//!
//! Whatever is stored has an encoding. Bytes that are not BSON stand as they are, from where they can't be read on.

use std::{convert::Infallible, fmt::Write};

use bson::RawDocument;

use super::{
    bytes::Hash,
    scope::{Paths, Personal},
};

/// Type of a personal value: its commitment follows. No type of BSON.
pub(super) const COMMITTED: u8 = 0xC0;
/// Type of what can't be read: length and bytes follow, no name. No type of BSON.
const UNREADABLE: u8 = 0xE0;
/// Deeper documents stand as they are; the database stores none of more than 200 levels.
const DEPTH_MAX: usize = 200;

const DOUBLE: u8 = 0x01;
const TEXT: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const BINARY: u8 = 0x05;
const NULL: u8 = 0x0A;
const DATE: u8 = 0x09;
const INT64: u8 = 0x12;

/// An erased field but for the 64 hex digits and two zeros at its end: the BSON of
/// `{ "erased": true, "commitment": "..." }`.
const ERASED: &[u8] = b"\x5f\0\0\0\x08erased\0\x01\x02commitment\0\x41\0\0\0";

/// Appends the canonical encoding of `document` to `out`, personal fields and all.
pub fn encode(document: &RawDocument, out: &mut Vec<u8>) {
    let Ok(_) = encode_committed(document, &Paths::default(), |_, _| Ok::<_, Infallible>(Hash::ZERO), out);
}

/// Appends the canonical encoding of `document` to `out`, with commitments in place of what is personal. `commit` makes the
/// commitment of a field, given its path (`actor.address`, `body.items.0.name`) and the canonical encoding of its value.
/// Gives whether a field is erased; of those, the commitment that was left is taken.
///
/// # Errors
/// Those of `commit`.
pub(super) fn encode_committed<E>(
    document: &RawDocument,
    paths: &Paths,
    commit: impl FnMut(&str, &[u8]) -> Result<Hash, E>,
    out: &mut Vec<u8>,
) -> Result<bool, E> {
    let mut encoder = Encoder { commit, path: String::new(), out, any_erased: false };
    encoder.elements(document.as_bytes(), Kind::Named, Some(paths), 0)?;
    Ok(encoder.any_erased)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A document: its elements have names.
    Named,
    /// An array: the names of its elements are their positions.
    Counted,
}

struct Encoder<'a, C> {
    commit: C,
    /// Of the document at hand, where something below it may be personal.
    path: String,
    out: &'a mut Vec<u8>,
    any_erased: bool,
}

impl<E, C: FnMut(&str, &[u8]) -> Result<Hash, E>> Encoder<'_, C> {
    /// A document or an array, of `bytes` that begin with their length and end with a zero.
    fn elements(&mut self, bytes: &[u8], kind: Kind, paths: Option<&Paths>, depth: usize) -> Result<(), E> {
        let mut rest = &bytes[4..bytes.len() - 1];
        let count_at = self.out.len();
        let mut count = 0_u32;
        self.out.extend_from_slice(&[0; 4]);
        while !rest.is_empty() {
            let read = if depth < DEPTH_MAX { Element::read(rest) } else { None };
            let read = read.filter(|(element, _)| kind == Kind::Named || is_position(element.name, count));
            if let Some((element, after)) = read {
                self.element(&element, kind, count, paths, depth)?;
                rest = after;
            } else {
                self.out.push(UNREADABLE);
                put_sized(self.out, rest);
                rest = &[];
            }
            count += 1;
        }
        self.out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
        Ok(())
    }

    fn element(
        &mut self,
        element: &Element<'_>,
        kind: Kind,
        position: u32,
        paths: Option<&Paths>,
        depth: usize,
    ) -> Result<(), E> {
        let tag_at = self.out.len();
        self.out.push(element.tag);
        if kind == Kind::Named {
            put_name(self.out, element.name);
        }
        let path_end = self.path.len();
        let below = paths.and_then(|paths| self.descend(paths, element.name, kind, position));
        match below {
            Some(below) if element.is_committed(below.personal()) => {
                let commitment = self.commitment(element, depth)?;
                self.out[tag_at] = COMMITTED;
                self.out.extend_from_slice(&commitment.0);
            }
            below => self.value(element, below, depth)?,
        }
        self.path.truncate(path_end);
        Ok(())
    }

    /// What may be personal at and below an element, with the path going there.
    fn descend<'p>(&mut self, paths: &'p Paths, name: &[u8], kind: Kind, position: u32) -> Option<&'p Paths> {
        let dot = if self.path.is_empty() { "" } else { "." };
        match kind {
            Kind::Named => {
                let below = paths.field(name)?;
                self.path.push_str(dot);
                self.path.push_str(&String::from_utf8_lossy(name));
                Some(below)
            }
            Kind::Counted => {
                let below = paths.entry()?;
                write!(self.path, "{dot}{position}").expect("a string takes all");
                Some(below)
            }
        }
    }

    /// That of a personal value, or the one that was left when it was erased.
    fn commitment(&mut self, element: &Element<'_>, depth: usize) -> Result<Hash, E> {
        if let Some(left) = element.erased() {
            self.any_erased = true;
            return Ok(left);
        }
        let start = self.out.len();
        self.out.push(element.tag);
        self.value(element, None, depth)?;
        let commitment = (self.commit)(&self.path, &self.out[start..]);
        self.out.truncate(start);
        commitment
    }

    fn value(&mut self, element: &Element<'_>, paths: Option<&Paths>, depth: usize) -> Result<(), E> {
        let value = element.value;
        match element.tag {
            TEXT => put_sized(self.out, &value[4..value.len() - 1]),
            DOCUMENT => self.elements(value, Kind::Named, paths, depth + 1)?,
            ARRAY => self.elements(value, Kind::Counted, paths, depth + 1)?,
            BINARY => {
                self.out.push(value[4]);
                put_sized(self.out, &value[5..]);
            }
            tag if fixed_width(tag).is_some() => self.out.extend_from_slice(value),
            _ => put_sized(self.out, value),
        }
        Ok(())
    }
}

/// One element of a document, not looked into.
struct Element<'a> {
    tag: u8,
    name: &'a [u8],
    /// As in BSON; strings, documents, arrays and binaries with their length, which was checked.
    value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The first element of `bytes` and what follows it; none where it can't be read.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (name, rest) = split_name(rest)?;
        let (value, rest) = rest.split_at_checked(width(tag, rest)?)?;
        let is_whole = match tag {
            TEXT | DOCUMENT | ARRAY => value.last() == Some(&0),
            0x08 => value[0] <= 1,
            _ => true,
        };
        is_whole.then_some((Self { tag, name, value }, rest))
    }

    /// Whether its commitment stands in its place.
    fn is_committed(&self, personal: Personal) -> bool {
        match personal {
            Personal::No => false,
            Personal::Whole => self.tag != NULL,
            Personal::EveryValue => !matches!(self.tag, NULL | DOCUMENT | ARRAY) || self.erased().is_some(),
        }
    }

    /// The commitment of an erased value.
    fn erased(&self) -> Option<Hash> {
        let digits = self.value.strip_prefix(ERASED)?.strip_suffix(b"\0\0")?;
        if self.tag == DOCUMENT { Hash::from_hex(std::str::from_utf8(digits).ok()?) } else { None }
    }
}

/// Up to the zero that ends it, and what follows that.
fn split_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Number of bytes of a value that begins `bytes`; none where there is no such type, or its length makes no sense.
fn width(tag: u8, bytes: &[u8]) -> Option<usize> {
    let length = || bytes.first_chunk::<4>().and_then(|four| usize::try_from(i32::from_le_bytes(*four)).ok());
    match tag {
        TEXT | 0x0D | 0x0E => length().filter(|&length| length >= 1).map(|length| length + 4),
        DOCUMENT | ARRAY => length().filter(|&length| length >= 5),
        BINARY => length().map(|length| length + 5),
        0x0B => {
            let (pattern, rest) = split_name(bytes)?;
            split_name(rest).map(|(options, _)| pattern.len() + options.len() + 2)
        }
        0x0C => length().map(|length| length + 16),
        0x0F => length().filter(|&length| length >= 14),
        tag => fixed_width(tag),
    }
}

/// Number of bytes of a value of this type, where all have the same.
const fn fixed_width(tag: u8) -> Option<usize> {
    match tag {
        0x06 | NULL | 0x7F | 0xFF => Some(0),
        0x08 => Some(1),
        0x10 => Some(4),
        DOUBLE | DATE | 0x11 | INT64 => Some(8),
        0x07 => Some(12),
        0x13 => Some(16),
        _ => None,
    }
}

/// Whether it is this position in decimal digits.
fn is_position(name: &[u8], position: u32) -> bool {
    let mut rest = position;
    for (at, &digit) in name.iter().enumerate().rev() {
        if u32::from(digit) != u32::from(b'0') + rest % 10 {
            return false;
        }
        rest /= 10;
        if rest == 0 {
            return at == 0;
        }
    }
    false
}

/// Length in four bytes, and the bytes.
pub(super) fn put_name(out: &mut Vec<u8>, name: &[u8]) {
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(name);
}

/// Length in eight bytes, and the bytes.
fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The canonical encoding of a document that is nowhere stored as such: elements one by one.
pub(super) struct Elements {
    out: Vec<u8>,
    count: u32,
}

impl Elements {
    pub(super) fn new() -> Self {
        Self { out: vec![0; 4], count: 0 }
    }

    fn put(mut self, tag: u8, name: &str, value: impl FnOnce(&mut Vec<u8>)) -> Self {
        self.out.push(tag);
        put_name(&mut self.out, name.as_bytes());
        value(&mut self.out);
        self.count += 1;
        self
    }

    pub(super) fn int64(self, name: &str, value: i64) -> Self {
        self.put(INT64, name, |out| out.extend_from_slice(&value.to_le_bytes()))
    }

    pub(super) fn date(self, name: &str, millis: i64) -> Self {
        self.put(DATE, name, |out| out.extend_from_slice(&millis.to_le_bytes()))
    }

    pub(super) fn text(self, name: &str, value: &str) -> Self {
        self.put(TEXT, name, |out| put_sized(out, value.as_bytes()))
    }

    /// Of the generic subtype.
    pub(super) fn binary(self, name: &str, value: &[u8]) -> Self {
        self.put(BINARY, name, |out| {
            out.push(0);
            put_sized(out, value);
        })
    }

    pub(super) fn document(self, name: &str, elements: Self) -> Self {
        self.put(DOCUMENT, name, |out| out.extend_from_slice(&elements.finish()))
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out[..4].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}
