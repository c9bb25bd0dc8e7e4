//! Reading exports as somebody does who has the public keys and docs/audit-export.md.

use std::collections::BTreeMap;

use bson::RawDocumentBuf;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};
use waybill::modules::audit::proof::{
    ChainVerifier, Hash, Leaf, NamedRecord, Proof, PublicKeys, Salts, Scopes, Seal, SealHeader, Signature, from_json,
};

use crate::support::seals::public_keys;

/// An export of lines, checked as far as its manifest goes.
pub struct File {
    pub header: Value,
    pub seals: Vec<Seal>,
    pub records: Vec<Exported>,
    pub manifest: Value,
}

pub struct Exported {
    pub seq: i64,
    pub collection: String,
    pub id: String,
    pub document: RawDocumentBuf,
    pub salts: Salts,
    pub proof: Option<Proof>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealLine {
    #[serde(rename = "type")]
    _kind: String,
    header: SealHeader,
    leaves: Vec<(String, String, Hash)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine {
    #[serde(rename = "type")]
    _kind: String,
    seq: i64,
    collection: String,
    record: Box<RawValue>,
    salts: Option<Salts>,
    proof: Option<Proof>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ManifestLine {
    #[serde(rename = "type")]
    _kind: String,
    manifest: Box<RawValue>,
    key_id: String,
    signature: Signature,
}

/// The manifest of a line, whose signature is right, about these bytes and so many lines.
#[track_caller]
pub fn manifest_of(line: &str, before: &[u8], lines: usize) -> Value {
    let line: ManifestLine = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let message = [b"waybill audit export v1".as_slice(), &Sha256::digest(line.manifest.get())].concat();
    public_keys().verify(&line.key_id, &message, &line.signature).expect("signed");
    let manifest: Value = serde_json::from_str(line.manifest.get()).unwrap();
    assert_eq!(manifest["sha256"], hex::encode(Sha256::digest(before)));
    assert_eq!(manifest["bytes"], before.len());
    assert_eq!(manifest["lines"], lines);
    assert_eq!(manifest["version"], 1);
    manifest
}

impl File {
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let (before, last) = text.strip_suffix('\n').unwrap().rsplit_once('\n').expect("two lines at least");
        let manifest = manifest_of(last, &text.as_bytes()[..=before.len()], before.lines().count());
        let (mut header, mut seals, mut records) = (Value::Null, Vec::new(), Vec::new());
        for (n, line) in before.lines().enumerate() {
            let Kind { kind } = serde_json::from_str(line).unwrap();
            match kind.as_str() {
                "export" if n == 0 => header = serde_json::from_str(line).unwrap(),
                "seal" => seals.push(seal_of(line)),
                "record" => records.push(record_of(line)),
                other => panic!("line {n} is {other}"),
            }
        }
        for same in ["version", "mode", "filters", "createdAt"] {
            assert_eq!(header[same], manifest[same], "{same}");
        }
        assert_eq!(header["seals"]["first"], manifest["seals"]["first"]);
        assert_eq!(header["seals"]["last"], manifest["seals"]["last"]);
        let file = Self { header, seals, records, manifest };
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for record in &file.records {
            *counts.entry(&record.collection).or_default() += 1;
        }
        assert_eq!(file.manifest["counts"], serde_json::json!(counts));
        file
    }

    /// Ids of its records, in their order.
    pub fn ids(&self) -> Vec<String> {
        self.records.iter().map(|record| record.id.clone()).collect()
    }

    /// Checks the seals with their records, from the first one of the file on, which follows `before`.
    #[track_caller]
    pub fn check_chain(&self, before: Option<&SealHeader>, purged: fn(&NamedRecord<'_>) -> bool) {
        let keys = public_keys();
        let mut verifier = ChainVerifier::new(&keys, Scopes::standard(), [], purged);
        if let Some(before) = before {
            verifier = verifier.after(before);
        }
        let mut records = self.records.iter().peekable();
        let mut gone = 0;
        for seal in &self.seals {
            let mut check = verifier.seal(seal).unwrap_or_else(|finding| panic!("{finding}"));
            for (leaf, seq) in seal.leaves.iter().zip(seal.first_seq..) {
                let collection = Scopes::standard().of_code(leaf.code).unwrap().collection();
                let record = records.next_if(|record| record.seq == seq);
                gone += i64::from(record.is_none());
                let (document, salts) = record.map(|record| (&*record.document, &record.salts)).unzip();
                check
                    .record(collection, &leaf.id, document, salts.unwrap_or(&Salts::default()))
                    .unwrap_or_else(|finding| panic!("{finding}: {collection} {}", leaf.id));
            }
            check.finish().unwrap_or_else(|finding| panic!("{finding}"));
        }
        assert!(records.next().is_none(), "a record is in none of the seals");
        assert_eq!(self.manifest["purged"], gone);
        let hash = self.seals.last().map(|seal| seal.header.hash());
        assert_eq!(self.manifest["seals"]["lastHeaderHash"], serde_json::json!(hash));
    }

    /// Checks every record with its proof.
    #[track_caller]
    pub fn check_proofs(&self) {
        assert!(self.seals.is_empty(), "a selection has proofs");
        let keys: PublicKeys = public_keys();
        for record in &self.records {
            let proof = record.proof.as_ref().expect("each has a proof");
            proof.verify(&record.document, &record.salts, Scopes::standard(), &keys).expect("proved");
            assert_eq!((proof.seq, &*proof.collection), (record.seq, &*record.collection));
        }
    }
}

fn seal_of(line: &str) -> Seal {
    let line: SealLine = serde_json::from_str(line).unwrap();
    let leaves = line.leaves.into_iter().map(|(code, id, hash)| Leaf { code: code.parse().unwrap(), id, hash });
    Seal { header: line.header, leaves: leaves.collect() }
}

fn record_of(line: &str) -> Exported {
    let line: RecordLine = serde_json::from_str(line).unwrap();
    let document = from_json(line.record.get()).unwrap();
    let id = document.get_str("_id").unwrap().to_owned();
    let salts: Salts = line.salts.unwrap_or_default();
    Exported { seq: line.seq, collection: line.collection, id, document, salts, proof: line.proof }
}
