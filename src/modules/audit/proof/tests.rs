//! Sealed records stay provable, and a changed one is named.

mod commitment;
mod erased;
mod inclusion;
mod json;
mod merkle;
mod page;
mod seal;
mod verify;

use bson::{DateTime, Document, RawDocumentBuf, doc};
use secrecy::SecretString;

use super::*;

const AT: DateTime = DateTime::from_millis(1_767_225_600_000);
/// Collections of these tests: one whose records have no personal fields, one with all kinds of them.
static RULES: &[LeafRule] = &[
    LeafRule { code: 1, collection: "plain", id_prefix: "pln", personal: &[] },
    LeafRule {
        code: 2,
        collection: "letters",
        id_prefix: "ltr",
        personal: &["reason", "actor.address", "body.items[].name", "body.tags[]"],
    },
    LeafRule { code: 3, collection: "calls", id_prefix: "cal", personal: &["note", "body.**"] },
];

fn scopes() -> Scopes {
    Scopes::new(RULES)
}

fn commitments_key() -> CommitmentKey {
    commitment_key(&SecretString::from("a secret of these tests"))
}

fn signer(digit: &str) -> SigningKey {
    SigningKey::new(&SecretString::from(digit.repeat(64))).expect("a key")
}

fn keys(digits: &[&str]) -> PublicKeys {
    digits.iter().map(|digit| signer(digit).public()).collect()
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("BSON")
}

fn letter(id: &str) -> Document {
    doc! {
        "_id": id,
        "reason": format!("because {id}"),
        "actor": { "kind": "user", "address": "192.0.2.1", "role": null },
        "body": { "items": [{ "name": "Asha", "n": 1 }, { "name": null }, { "n": 2_i64 }], "tags": ["a", "b"] },
        "at": AT,
    }
}

/// A stored record of these tests.
#[derive(Clone)]
struct Stored {
    collection: &'static str,
    id: String,
    document: RawDocumentBuf,
}

impl Stored {
    fn new(collection: &'static str, document: &Document) -> Self {
        let id = document.get_str("_id").expect("an id").to_owned();
        Self { collection, id, document: raw(document) }
    }

    fn record<'a>(&'a self, scopes: &'a Scopes) -> Record<'a> {
        let scope = scopes.of_collection(self.collection).expect("a known collection");
        Record { scope, id: &self.id, document: &self.document }
    }
}

/// So many records, every third a letter.
fn stored(ids: std::ops::Range<usize>) -> Vec<Stored> {
    ids.map(|n| match n % 3 {
        0 => Stored::new("letters", &letter(&format!("let_{n}"))),
        _ => Stored::new("plain", &doc! { "_id": format!("pla_{n}"), "n": n as i64, "at": AT }),
    })
    .collect()
}

fn sealed(previous: Option<&Seal>, records: &[Stored], signer: &SigningKey) -> Seal {
    let (scopes, key) = (scopes(), commitments_key());
    let previous = previous.map(|seal| &seal.header);
    let at = DateTime::from_millis(AT.timestamp_millis() + previous.map_or(0, |seal| seal.number));
    let records = records.iter().map(|record| record.record(&scopes));
    Seal::build(previous, at, Leaf::of_all(records, &key), &scopes, signer)
}

fn leaf_of(record: &Stored) -> Hash {
    let Ok(hash) = leaf_hash(&record.record(&scopes()), &commitments_key());
    hash
}
