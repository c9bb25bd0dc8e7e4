//! The erased form of a record: the record with every personal field replaced by a commitment to what it said.
//!
//! A field is erased by storing `{ "erased": true, "commitment": "<hex>" }` in its place. What is hashed of a record is its erased
//! form, as BSON: so a leaf says nothing personal, and stays what it was whichever of the fields are erased later.

use bson::{Document, RawDocument, doc, spec::ElementType};

use super::{
    hash::Hash,
    scope::{Paths, Personal},
};

/// Deeper documents are not followed; the database stores none of more than 200 levels.
const DEPTH_MAX: usize = 200;
/// The BSON of an erased field, but for the 64 hex digits of its commitment and the two zeros at its end.
const ERASED: &[u8] = b"\x5f\0\0\0\x08erased\0\x01\x02commitment\0\x41\0\0\0";

/// An erased field, as it is stored.
#[must_use]
pub fn erased(commitment: &Hash) -> Document {
    doc! { "erased": true, "commitment": commitment.to_hex() }
}

/// The commitment in the BSON of an erased field.
fn commitment_in(value: &[u8]) -> Option<Hash> {
    let digits = value.strip_prefix(ERASED)?.strip_suffix(b"\0\0")?;
    Hash::from_hex(std::str::from_utf8(digits).ok()?)
}

pub(super) struct ErasedForm {
    pub(super) bytes: Vec<u8>,
    /// Whether some of its fields were erased before: their commitments were taken as they are.
    pub(super) had_erased: bool,
}

/// The erased form of `document`. `commit` makes the commitment to a field, given its path (`actor.address`, `body.items.0.name`) and
/// its type and value in BSON. None where the bytes of `document` are not BSON.
pub(super) fn erased_form<E>(
    document: &RawDocument,
    paths: &Paths,
    commit: impl FnMut(&str, ElementType, &[u8]) -> Result<Hash, E>,
) -> Result<Option<ErasedForm>, E> {
    let bytes = Vec::with_capacity(2 * document.as_bytes().len());
    let mut writer = Writer { commit, path: String::new(), out: bytes, had_erased: false };
    match writer.document(document, paths, ElementType::EmbeddedDocument, 0) {
        Ok(()) => Ok(Some(ErasedForm { bytes: writer.out, had_erased: writer.had_erased })),
        Err(Stop::NotBson) => Ok(None),
        Err(Stop::NotCommitted(error)) => Err(error),
    }
}

struct Writer<C> {
    commit: C,
    /// Path of the field being written.
    path: String,
    out: Vec<u8>,
    had_erased: bool,
}

enum Stop<E> {
    NotBson,
    NotCommitted(E),
}

impl<E, C: FnMut(&str, ElementType, &[u8]) -> Result<Hash, E>> Writer<C> {
    /// A document or an array. Elements that are neither personal nor have anything personal in them are copied, byte by byte.
    fn document(
        &mut self,
        document: &RawDocument,
        paths: &Paths,
        kind: ElementType,
        depth: usize,
    ) -> Result<(), Stop<E>> {
        if depth > DEPTH_MAX {
            return Err(Stop::NotBson);
        }
        let (bytes, start) = (document.as_bytes(), self.out.len());
        self.out.extend_from_slice(&[0; 4]);
        let mut at = 4;
        for element in document.iter_elements() {
            let element = element.map_err(|_| Stop::NotBson)?;
            let name = element.key().as_str();
            let value_at = at + 1 + name.len() + 1;
            let (head, value) = (&bytes[at..value_at], &bytes[value_at..value_at + element.size()]);
            at = value_at + element.size();
            let below = if kind == ElementType::Array { paths.entry() } else { paths.field(name) };
            let path_end = self.path.len();
            match below {
                Some(below) => {
                    self.path.push_str(if path_end == 0 { "" } else { "." });
                    self.path.push_str(name);
                    self.field(head, element.element_type(), value, below, depth)?;
                    self.path.truncate(path_end);
                }
                None => self.out.extend([head, value].into_iter().flatten()),
            }
        }
        self.out.push(0);
        let length = (self.out.len() - start) as i32;
        self.out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    /// A field that is personal, or may have something personal in it. `head` is its type and name.
    fn field(
        &mut self,
        head: &[u8],
        kind: ElementType,
        value: &[u8],
        paths: &Paths,
        depth: usize,
    ) -> Result<(), Stop<E>> {
        let is_document = matches!(kind, ElementType::EmbeddedDocument | ElementType::Array);
        let before = if kind == ElementType::EmbeddedDocument { commitment_in(value) } else { None };
        let is_personal = kind != ElementType::Null
            && match paths.personal() {
                Personal::No => false,
                Personal::Whole => true,
                Personal::EveryValue => !is_document || before.is_some(),
            };
        if is_personal {
            self.had_erased |= before.is_some();
            let commitment = match before {
                Some(commitment) => commitment,
                None => (self.commit)(&self.path, kind, value).map_err(Stop::NotCommitted)?,
            };
            self.out.push(ElementType::EmbeddedDocument as u8);
            for part in [&head[1..], ERASED, commitment.to_hex().as_bytes(), b"\0\0"] {
                self.out.extend_from_slice(part);
            }
            return Ok(());
        }
        self.out.extend_from_slice(head);
        if is_document {
            let document = RawDocument::from_bytes(value).map_err(|_| Stop::NotBson)?;
            return self.document(document, paths, kind, depth + 1);
        }
        self.out.extend_from_slice(value);
        Ok(())
    }
}
