//! A sealed chain of a test, checked by the library and by the command; damaged, and put right again.

use std::{path::PathBuf, process::Output};

use bson::{Bson, Document, doc};
use serde_json::Value;
use tokio::process::Command;
use waybill::{
    modules::audit::{
        proof::{Anchor, Finding, FindingKind, PublicKeys, Seal},
        seals::AUDIT_SEALS,
        verification::{ChainPart, Report, verify_chain},
    },
    platform::{identity::Role, sealing::SealingKeys},
};

use super::{
    TestApp, User,
    seals::{public_keys, seal_all, seals, write_records},
    unique,
};

/// The collections whose records are sealed, in the order of their rules.
pub const SEALED: [&str; 5] =
    ["provider_request_logs", "provider_response_logs", "events", "audit_events", "ledger_transactions"];

/// Three orders, each with its records in a seal of its own.
pub struct Chain {
    pub app: TestApp,
    pub merchant: User,
    pub auditor: User,
}

impl Chain {
    pub async fn new() -> Self {
        let app = TestApp::start().await;
        let (merchant, auditor) = (app.merchant().await, app.user(Role::Auditor).await);
        let chain = Self { app, merchant, auditor };
        for n in 1..=3 {
            chain.one_more(n).await;
        }
        chain.expect_verified().await;
        chain
    }

    /// An order from its creation to its end, somebody who looks at it, and a seal.
    pub async fn one_more(&self, n: usize) {
        self.app.confirmed(&self.merchant, &format!("c-{n}")).await;
        self.app.get(&self.auditor, &format!("/audit/provider-requests?clientOrderId=c-{n}")).await.expect(200);
        seal_all(&self.app).await;
        assert_eq!(seals(&self.app).await.len(), n);
    }

    /// What the library says by the keys of tests.
    pub async fn verify(&self, part: ChainPart) -> Report {
        self.verify_by(&public_keys(), part).await
    }

    pub async fn verify_by(&self, keys: &PublicKeys, part: ChainPart) -> Report {
        let sealing = SealingKeys::new(&"0".repeat(64).into(), None).unwrap();
        verify_chain(self.app.db(), keys, &sealing, part, |_| {}).await.expect("the chain can be checked")
    }

    /// Everything is as it was sealed.
    pub async fn expect_verified(&self) -> Report {
        let report = self.verify(ChainPart::default()).await;
        assert_eq!(report.finding, None);
        let of_seals: i64 = self.seals().await.last().unwrap().totals.values().sum();
        assert_eq!(report.records + report.purged, of_seals as u64);
        report
    }

    /// What is found in the whole chain.
    pub async fn finding(&self) -> Finding {
        self.verify(ChainPart::default()).await.finding.expect("a finding")
    }

    pub async fn seals(&self) -> Vec<Seal> {
        seals(&self.app).await
    }

    pub async fn last_anchor(&self) -> Anchor {
        (&self.seals().await.last().unwrap().header).into()
    }

    pub async fn record(&self, seal: i64, collection: &str) -> (i64, Document) {
        let sealed = self.seals().await.into_iter().find(|of| of.number == seal).unwrap();
        let code = SEALED.iter().position(|name| *name == collection).unwrap() as u8 + 1;
        let at = sealed.leaves.iter().position(|leaf| leaf.code == code).expect("a record in this seal");
        (sealed.first_seq + at as i64, self.find(collection, sealed.leaves[at].id.as_str()).await)
    }

    pub async fn find(&self, collection: &str, id: impl Into<Bson>) -> Document {
        let documents = self.app.db().collection::<Document>(collection);
        documents.find_one(doc! { "_id": id.into() }).await.unwrap().expect("it is there")
    }

    /// Writes a document as it is in place of the one with its `_id`, or where there is none.
    pub async fn put(&self, collection: &str, document: &Document) {
        let documents = self.app.db().collection::<Document>(collection);
        documents.replace_one(doc! { "_id": document.get("_id") }, document).upsert(true).await.unwrap();
    }

    /// Writes a new record as the application does: it will be sealed.
    pub async fn write(&self, collection: &str, record: &Document) {
        write_records(&self.app, collection, std::slice::from_ref(record)).await;
    }

    pub async fn remove(&self, collection: &str, id: impl Into<Bson>) {
        let documents = self.app.db().collection::<Document>(collection);
        assert_eq!(documents.delete_one(doc! { "_id": id.into() }).await.unwrap().deleted_count, 1);
    }

    pub async fn stored_seal(&self, number: i64) -> Document {
        self.find(AUDIT_SEALS, number).await
    }

    /// `waybill audit verify` with these arguments, as an auditor runs it: settings are in its environment.
    pub async fn command(&self, args: &[&str]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
        program.args(["audit", "verify"]).args(args).env("MONGODB_URI", &self.app.mongodb_uri);
        program.env("SEALING_KEY", "0".repeat(64)).env("AUDIT_SIGNING_KEY", super::SIGNING_KEY);
        program.output().await.unwrap()
    }

    /// The same with `--json`: what it exits with, and what it says.
    pub async fn command_json(&self, args: &[&str]) -> (Option<i32>, Value) {
        let output = self.command(&[args, &["--json"]].concat()).await;
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), serde_json::from_str(&said).unwrap_or_default())
    }
}

/// What is found is this, and about this record.
#[track_caller]
pub fn assert_found(finding: &Finding, kind: FindingKind, seal: i64, record: Option<(i64, &str, &Document)>) {
    assert_eq!((finding.kind, finding.seal), (kind, seal), "{finding:?}");
    if let Some((seq, collection, document)) = record {
        let named = (finding.seq, finding.collection.as_deref(), finding.record_id.as_deref());
        assert_eq!(named, (Some(seq), Some(collection), document.get_str("_id").ok()), "{finding:?}");
    }
}

/// A file of a test, gone when this is dropped.
pub struct TestFile(pub PathBuf);

impl TestFile {
    pub fn new(contents: &str) -> Self {
        let path = std::env::temp_dir().join(unique("waybill-verify"));
        std::fs::write(&path, contents).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
