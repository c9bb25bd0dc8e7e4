//! Exported files that were edited by hand: checked with public keys alone, and every edit is found.

use bson::{RawDocumentBuf, doc, raw::cstr};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use waybill::{
    modules::audit::{
        proof::{Anchor, FindingKind, PURGED, PublicKeys},
        seals::AUDIT_SEALS,
        verification::{FileError, Report, verify_export},
    },
    platform::{clock::Rfc3339Time, ids::new_id},
};

use crate::support::{
    SIGNING_KEY,
    retention::purge_record,
    seals::{public_keys, seal_all, signing_key, write_records},
    verify::{Chain, TestFile},
};

/// An export, line by line, with the manifest as the last line.
#[derive(Clone)]
struct Export {
    lines: Vec<String>,
}

impl Export {
    /// What an auditor is given who asks for this.
    async fn of(chain: &Chain, query: &str) -> Self {
        let answer = chain.app.get(&chain.auditor, &format!("/audit/export?{query}")).await.expect(200);
        Self { lines: answer.text.lines().map(ToOwned::to_owned).collect() }
    }

    async fn of_seals(chain: &Chain, first: usize, last: usize) -> Self {
        let seals = chain.seals().await;
        let at = |number: usize| seals.get(number - 1).map(|seal| Rfc3339Time(seal.sealed_at));
        let mut query = String::new();
        if first > 1 {
            query.push_str(&format!("&from={}", at(first).expect("a seal")));
        }
        if let Some(after) = at(last + 1) {
            query.push_str(&format!("&to={after}"));
        }
        let export = Self::of(chain, query.trim_start_matches('&')).await;
        assert_eq!(export.seal_lines().len(), last + 1 - first);
        export
    }

    /// The same lines under another manifest, signed by somebody.
    fn signed_by(mut self, digits: &str) -> Self {
        let manifest: Value = serde_json::from_str(&self.lines.pop().expect("a manifest")).unwrap();
        let mut manifest = manifest["manifest"].clone();
        let before = self.text();
        manifest["bytes"] = before.len().into();
        manifest["lines"] = self.lines.len().into();
        manifest["sha256"] = hex::encode(Sha256::digest(&before)).into();
        let (manifest, key) = (manifest.to_string(), signing_key(digits));
        let message = [&b"waybill audit export v1"[..], &Sha256::digest(&manifest)].concat();
        let (id, signature) = (key.public().id(), key.sign(&message));
        self.lines.push(format!(
            "{{\"type\":\"manifest\",\"manifest\":{manifest},\"keyId\":\"{id}\",\"signature\":\"{signature}\"}}"
        ));
        self
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn verify(&self) -> Report {
        self.verify_with(&[])
    }

    fn verify_with(&self, anchors: &[Anchor]) -> Report {
        verify(&self.text(), &public_keys(), anchors).expect("it can be checked")
    }

    #[track_caller]
    fn expect_verified(&self) -> Report {
        let report = self.verify();
        assert_eq!(report.finding, None);
        report
    }

    fn kind_after(&self, change: impl FnOnce(&mut Vec<String>)) -> FindingKind {
        let mut changed = self.clone();
        change(&mut changed.lines);
        assert_ne!(changed.lines, self.lines, "something was changed");
        changed.verify().finding.expect("a finding").kind
    }

    fn records_of(&self, collection: &str) -> Vec<usize> {
        let begins = "{\"type\":\"record\"";
        let named = format!("\"collection\":\"{collection}\"");
        (0..self.lines.len())
            .filter(|&at| self.lines[at].starts_with(begins) && self.lines[at].contains(&named))
            .collect()
    }

    fn seal_lines(&self) -> Vec<usize> {
        (0..self.lines.len()).filter(|&at| self.lines[at].contains("\"type\":\"seal\"")).collect()
    }
}

fn verify(text: &str, keys: &PublicKeys, anchors: &[Anchor]) -> Result<Report, FileError> {
    verify_export(text.as_bytes(), keys, anchors.to_vec(), |_| {})
}

#[tokio::test]
async fn an_exported_chain_verifies_without_a_database_or_a_secret() {
    let chain = Chain::new().await;
    let whole = chain.expect_verified().await;
    let export = Export::of_seals(&chain, 1, 3).await;
    let report = export.verify_with(&[chain.last_anchor().await]);
    assert_eq!((report.finding, report.records, report.seals.count), (None, whole.records, 3));
    assert_eq!((report.anchor, report.keys), (whole.anchor, whole.keys));
    // A later part: what its first seal says of those before is believed.
    let part = Export::of_seals(&chain, 2, 3).await;
    let report = part.expect_verified();
    assert_eq!((report.seals.first, report.trusted.map(|seal| seal.number)), (Some(2), Some(1)));
    let first: Anchor = (&chain.seals().await[0].header).into();
    assert_eq!(part.verify_with(&[first]).finding, None);
    let wrong = Anchor { header_hash: chain.last_anchor().await.header_hash, ..first };
    assert_eq!(part.verify_with(&[wrong]).finding.unwrap().kind, FindingKind::TailCut);
    // An earlier part: anchors behind it say nothing of it, but of a whole chain they do.
    let earlier = Export::of_seals(&chain, 1, 2).await;
    assert_eq!(earlier.verify_with(&[chain.last_anchor().await]).finding, None);
    let anchor = chain.last_anchor().await;
    chain.app.db().collection::<bson::Document>(AUDIT_SEALS).delete_one(doc! { "_id": 3_i64 }).await.unwrap();
    let cut = Export::of_seals(&chain, 1, 2).await;
    assert_eq!(cut.verify_with(&[anchor]).finding.unwrap().kind, FindingKind::TailCut);
    assert_eq!(cut.verify().finding, None, "without anchors nobody can tell");
    chain.app.finish().await;
}

#[tokio::test]
async fn every_edit_of_an_exported_chain_is_found() {
    use FindingKind::{
        ExportChanged, RecordChanged, RecordInserted, RecordRemoved, RecordReordered, SealChanged, SealForged,
        SealMissing,
    };
    let chain = Chain::new().await;
    let export = Export::of_seals(&chain, 1, 3).await;
    export.expect_verified();
    let (events, answers, seals) =
        (export.records_of("events"), export.records_of("provider_response_logs"), export.seal_lines());
    let at = events[2];
    let edit = |line: usize, from: &str, to: &str| {
        assert!(export.lines[line].contains(from), "{from} in {}", export.lines[line]);
        export.kind_after(|lines| lines[line] = lines[line].replacen(from, to, 1))
    };
    assert_eq!(edit(answers[0], "\"$numberInt\":\"200\"", "\"$numberInt\":\"201\""), RecordChanged);
    assert_eq!(edit(answers[0], "{\"$numberInt\":\"200\"}", "{\"$numberLong\":\"200\"}"), RecordChanged);
    // A personal field, and the salt that goes with it.
    let mut audit = export.records_of("audit_events").into_iter();
    let audit = audit.find(|&at| export.lines[at].contains("\"address\":\"127.0.0.1\"")).expect("an address");
    assert_eq!(edit(audit, "\"address\":\"127.0.0.1\"", "\"address\":\"127.0.0.2\""), RecordChanged);
    assert_eq!(edit(audit, "\"salts\":\"", "\"other\":\""), RecordChanged);
    let (_, salt) = export.lines[audit].split_once("\"salts\":\"").expect("a salt");
    let other = if salt.starts_with('0') { "1" } else { "0" };
    assert_eq!(edit(audit, &salt[..64], &format!("{other}{}", &salt[1..64])), RecordChanged);
    assert_eq!(edit(at, "\"seq\":", "\"seq\":9"), RecordReordered);
    assert_eq!(edit(at, "\"collection\":\"events\"", "\"collection\":\"audit_events\""), RecordReordered);
    assert_eq!(edit(at, "\"type\":\"record\"", "\"type\":\"note\""), ExportChanged);
    assert_eq!(edit(at, "{\"type\"", "{\"type"), ExportChanged);

    assert_eq!(export.kind_after(|lines| drop(lines.remove(at))), RecordRemoved);
    assert_eq!(export.kind_after(|lines| lines.insert(at, lines[at].clone())), RecordReordered);
    assert_eq!(export.kind_after(|lines| lines.swap(events[0], events[1])), RecordReordered);
    let inserted = export.lines[at].replace("\"_id\":\"evt_", "\"_id\":\"evt_9");
    assert_eq!(export.kind_after(|lines| lines.insert(at + 1, inserted.clone())), RecordInserted);
    assert_eq!(export.kind_after(|lines| lines.insert(1, inserted)), RecordInserted);

    assert_eq!(edit(seals[1], "\"sealedAt\":\"2", "\"sealedAt\":\"1"), SealForged);
    let leaves = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    let swapped = |a: usize, b: usize| {
        export.kind_after(|lines| {
            let mut seal = leaves(&lines[seals[1]]);
            seal["leaves"].as_array_mut().unwrap().swap(a, b);
            lines[seals[1]] = seal.to_string();
        })
    };
    assert!(matches!(swapped(0, 1), SealChanged | RecordReordered));
    assert!(matches!(swapped(0, 6), SealChanged | RecordReordered));
    let fewer = export.kind_after(|lines| {
        let mut seal = leaves(&lines[seals[1]]);
        seal["leaves"].as_array_mut().unwrap().pop();
        lines[seals[1]] = seal.to_string();
    });
    assert_eq!(fewer, SealChanged);
    assert_eq!(export.kind_after(|lines| drop(lines.drain(seals[1]..seals[2]))), SealMissing);
    assert_eq!(export.kind_after(|lines| drop(lines.drain(seals[2]..lines.len() - 1))), ExportChanged);
    chain.app.finish().await;
}

#[tokio::test]
async fn a_file_that_is_not_whole_or_whose_manifest_was_changed_is_found() {
    use FindingKind::{ExportChanged, UnknownKey};
    let chain = Chain::new().await;
    let export = Export::of_seals(&chain, 1, 3).await;
    let text = export.text();
    // Cut off anywhere: between lines, within a line, behind the manifest's beginning.
    let first_line = export.lines[0].len() + 1;
    let ends = (first_line..text.len() - 1).step_by(text.len() / 60);
    for end in ends.chain([text.len() - 3]) {
        let report = verify(&text[..end], &public_keys(), &[]).unwrap();
        assert_eq!(report.finding.expect("a finding").kind, ExportChanged, "cut off at {end} of {}", text.len());
    }
    assert_eq!(
        verify(text.trim_end(), &public_keys(), &[]).unwrap().finding,
        None,
        "the last line's end does not count"
    );
    for (line, from, to) in [
        (0, "\"createdAt\":\"2026", "\"createdAt\":\"2025"),
        (0, "\"last\":3", "\"last\":2"),
        (0, "\"filters\":{}", "\"filters\":{\"to\":\"2020-01-01T00:00:00Z\"}"),
        (0, "{\"", "{ \""),
        (2, "{\"", "{ \""),
        (export.lines.len() - 1, "\"purged\":0", "\"purged\":1"),
        (export.lines.len() - 1, "\"version\":1", "\"version\":2"),
        (export.lines.len() - 1, "\"signature\":\"", "\"signature\":\"0"),
    ] {
        assert!(export.lines[line].contains(from), "{from} in {}", export.lines[line]);
        let kind = export.kind_after(|lines| lines[line] = lines[line].replacen(from, to, 1));
        assert_eq!(kind, ExportChanged, "{from} to {to}");
    }
    assert_eq!(export.kind_after(|lines| lines.push(String::new())), ExportChanged);
    assert_eq!(export.kind_after(|lines| lines.push(lines[1].clone())), ExportChanged);
    // Another manifest, made by somebody who has no key of ours.
    assert_eq!(export.clone().signed_by(&"7".repeat(64)).verify().finding.unwrap().kind, UnknownKey);
    assert_eq!(export.clone().signed_by(SIGNING_KEY).verify().finding, None, "spelled in another way");
    // Whoever has the key still has to leave the records as they were sealed.
    let mut shorter = export.clone();
    shorter.lines.remove(export.records_of("events")[0]);
    assert_eq!(shorter.signed_by(SIGNING_KEY).verify().finding.unwrap().kind, FindingKind::RecordRemoved);
    let finding = verify(&text, &PublicKeys::default(), &[]).unwrap().finding.unwrap();
    assert_eq!((finding.kind, finding.seal), (UnknownKey, 1));

    for (text, words) in [
        (String::new(), "it is empty"),
        ("id,at\n1,2\n".into(), "no audit export"),
        ("{\"type\":\"seal\"}".into(), "begins with a line"),
        (text.replacen("\"version\":1", "\"version\":2", 1), "version 2"),
    ] {
        let error = verify(&text, &public_keys(), &[]).expect_err("it can't be checked").to_string();
        assert!(error.contains(words), "{error}");
    }
    chain.app.finish().await;
}

#[tokio::test]
async fn in_an_exported_chain_what_is_gone_has_to_be_declared() {
    let chain = Chain::new().await;
    let seal = chain.seals().await.remove(0);
    let gone: Vec<_> = seal.leaves.iter().enumerate().filter(|(_, leaf)| leaf.code == 1).collect();
    let purge = |kept: &[i64]| purge_record(SIGNING_KEY, 1, "provider_request_logs", kept);
    for (_, leaf) in &gone {
        chain.remove("provider_request_logs", leaf.id.as_str()).await;
    }
    let undeclared = Export::of_seals(&chain, 1, 3).await.verify().finding.unwrap();
    let (at, leaf) = gone[0];
    let named = (FindingKind::RecordRemoved, 1, Some(seal.first_seq + at as i64), Some(leaf.id.clone()));
    assert_eq!((undeclared.kind, undeclared.seal, undeclared.seq, undeclared.record_id), named);

    let mut unsigned = purge(&[]);
    unsigned.get_document_mut("after").unwrap().remove("signature");
    chain.write("audit_events", &unsigned).await;
    seal_all(&chain.app).await;
    let by_hand = Export::of_seals(&chain, 1, 4).await.verify().finding.unwrap();
    assert_eq!((by_hand.kind, by_hand.seal, by_hand.seq, by_hand.record_id), named);
    assert!(by_hand.detail.contains(unsigned.get_str("_id").unwrap()), "{}", by_hand.detail);

    chain.write("audit_events", &purge(&[seal.first_seq + at as i64])).await;
    seal_all(&chain.app).await;
    let kept = Export::of_seals(&chain, 1, 5).await.verify().finding.unwrap();
    assert_eq!((kept.kind, kept.seal, kept.seq, kept.record_id), named);

    chain.write("audit_events", &purge(&[])).await;
    seal_all(&chain.app).await;
    let export = Export::of_seals(&chain, 1, 6).await;
    assert_eq!(export.expect_verified().purged, gone.len() as u64);
    // The purge record itself has to be what was sealed.
    let line = export.lines.iter().rposition(|line| line.contains(PURGED)).unwrap();
    let kind = export
        .kind_after(|lines| lines[line] = lines[line].replacen("\"resourceId\":\"1\"", "\"resourceId\":\"2\"", 1));
    assert_eq!(kind, FindingKind::RecordChanged);
    chain.app.finish().await;
}

#[tokio::test]
async fn every_edit_of_an_exported_selection_is_found() {
    use FindingKind::{ExportChanged, RecordChanged, RecordReordered, SealChanged, SealForged, UnknownKey};
    let chain = Chain::new().await;
    let export =
        Export::of(&chain, "collection=provider_request_logs,provider_response_logs,audit_events,ledger_transactions")
            .await;
    let report = export.expect_verified();
    assert!(report.records > 10 && report.seals.count == 0 && report.keys.len() == 1, "{report:?}");
    let anchors: Vec<Anchor> = chain.seals().await.iter().map(|seal| (&seal.header).into()).collect();
    assert_eq!(export.verify_with(&anchors).finding, None);
    let wrong = Anchor { header_hash: anchors[0].header_hash, ..anchors[1] };
    assert_eq!(export.verify_with(&[wrong]).finding.unwrap().kind, FindingKind::TailCut);
    let wrong = Anchor { header_hash: anchors[0].header_hash, ..anchors[2] };
    assert_eq!(export.verify_with(&[wrong]).finding.unwrap().kind, FindingKind::TailCut);
    assert_eq!(
        verify(&export.text(), &PublicKeys::default(), &[]).unwrap().finding.map(|finding| finding.kind),
        Some(UnknownKey)
    );

    let answers = export.records_of("provider_response_logs");
    let line = answers[0];
    for (from, to, kind) in [
        ("\"$numberInt\":\"200\"", "\"$numberInt\":\"201\"", RecordChanged),
        ("\"seq\":", "\"seq\":9", RecordReordered),
        ("\"collection\":\"provider_response_logs\"", "\"collection\":\"events\"", RecordReordered),
        ("\"index\":", "\"index\":1", SealChanged),
        ("\"sealedAt\":\"2", "\"sealedAt\":\"1", SealForged),
        (",\"proof\":{", ",\"prof\":{", ExportChanged),
    ] {
        assert!(export.lines[line].contains(from), "{from} in {}", export.lines[line]);
        let found = export.kind_after(|lines| lines[line] = lines[line].replacen(from, to, 1));
        assert_eq!(found, kind, "{from} to {to}");
    }
    assert_eq!(export.kind_after(|lines| drop(lines.remove(line))), ExportChanged);
    assert_eq!(export.kind_after(|lines| lines.swap(answers[0], answers[1])), ExportChanged);
    assert_eq!(export.kind_after(|lines| lines.insert(line, lines[line].clone())), ExportChanged);
    assert_eq!(export.kind_after(|lines| lines.truncate(line)), ExportChanged);
    // That something was left out is told.
    assert_eq!(Export::of(&chain, "collection=events").await.expect_verified().unsealed, Some(0));
    let mut event = chain.record(1, "events").await.1;
    event.insert("_id", new_id("evt"));
    chain.put("events", &event).await;
    let export = Export::of(&chain, "collection=events").await;
    assert_eq!(export.expect_verified().unsealed, Some(1));
    let (file, keys) = (TestFile::new(&export.text()), TestFile::new(&serde_json::to_string(&public_keys()).unwrap()));
    let output = chain.command(&["--export", file.path(), "--keys", keys.path()]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("left out     1 that matched and were not sealed yet"), "{said}");
    chain.remove("events", event.get_str("_id").unwrap()).await;
    chain.app.finish().await;
}

#[tokio::test]
async fn the_command_checks_a_file_or_stdin_with_nothing_but_keys() {
    let chain = Chain::new().await;
    let export = Export::of_seals(&chain, 1, 3).await;
    let keys = TestFile::new(&serde_json::to_string(&public_keys()).unwrap());
    let anchors = TestFile::new(&serde_json::to_string(&chain.last_anchor().await).unwrap());
    let broken = export.text().replacen("\"$numberInt\":\"200\"", "\"$numberInt\":\"500\"", 1);
    for (text, code, words) in
        [(export.text(), 0, "verified     everything"), (broken, 1, "NOT VERIFIED record_changed: seal 1")]
    {
        let file = TestFile::new(&text);
        for from_stdin in [false, true] {
            let name = if from_stdin { "-" } else { file.path() };
            let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
            program.args(["audit", "verify", "--export", name, "--keys", keys.path(), "--anchors", anchors.path()]);
            // Nothing of a database or of a secret: not even by accident.
            program.env_clear().env("MONGODB_URI", "mongodb://127.0.0.1:1/none");
            let pipe = std::process::Stdio::piped;
            let mut running = program.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
            let mut stdin = running.stdin.take().unwrap();
            if from_stdin {
                // It stops reading at the first finding.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
            drop(stdin);
            let output = running.wait_with_output().await.unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(
                (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
                (Some(code), ""),
                "{said}"
            );
            assert!(said.contains(words), "{said}");
        }
    }
    chain.app.db().collection::<bson::Document>(AUDIT_SEALS).drop().await.unwrap();
    export.expect_verified();
    chain.app.finish().await;
}

#[tokio::test]
async fn a_record_with_a_name_twice_is_neither_exported_nor_read() {
    let chain = Chain::new().await;
    let export = Export::of_seals(&chain, 1, 3).await;
    let of_orders = |at: &usize| export.lines[*at].contains("\"type\":\"Order");
    let line = export.records_of("events").into_iter().find(of_orders).expect("an order's event");
    // What is read first, or last, is what was sealed: some would show the other one.
    for (from, to) in [
        ("\"type\":\"Order", "\"type\":\"OrderCancelled\",\"type\":\"Order"),
        ("\"record\":{", "\"record\":{\"type\":\"OrderCancelled\","),
        ("\"seq\":", "\"seq\":1,\"seq\":"),
    ] {
        let mut edited = export.clone();
        assert!(edited.lines[line].contains(from), "{from} in {}", edited.lines[line]);
        edited.lines[line] = edited.lines[line].replacen(from, to, 1);
        let finding = edited.verify().finding.expect("a finding");
        assert_eq!(finding.kind, FindingKind::ExportChanged, "{finding}");
        assert!(finding.detail.contains("stands twice in one document"), "{finding}");
    }
    // Neither is there memory for a line of nothing but values.
    let mut vast = export.clone();
    vast.lines[line] = format!("{{\"type\":\"record\",\"record\":{{\"a\":[{}0]}}}}", "0,".repeat(1_000_000));
    let finding = vast.verify().finding.expect("a finding");
    assert!(finding.kind == FindingKind::ExportChanged && finding.detail.contains("too many values"), "{finding}");

    // It is stored with both, and sealed so.
    let (_, event) = chain.record(1, "events").await;
    let (id, mut sealed) = (new_id("evt"), event);
    sealed.insert("_id", &id);
    let mut doubled = RawDocumentBuf::try_from(&sealed).unwrap();
    doubled.append(cstr!("type"), "OrderCancelled");
    write_records(&chain.app, "events", &[doubled]).await;
    seal_all(&chain.app).await;
    chain.expect_verified().await;
    let url = format!("{}/audit/export", chain.app.base);
    let broken = chain.app.client.get(url).bearer_auth(&chain.auditor.token).send().await;
    let whole = async { broken?.error_for_status()?.text().await };
    assert!(whole.await.is_err_and(|error| error.status().is_none()), "it breaks off");
    chain.remove("events", id).await;
    chain.app.finish().await;
}

#[tokio::test]
async fn what_a_hostile_file_says_is_shown_and_not_obeyed() {
    let keys = TestFile::new(&serde_json::to_string(&public_keys()).unwrap());
    let opening = "{\"type\":\"export\",\"version\":1,\"mode\":\"chain\",\"filters\":{},\
                   \"seals\":{\"first\":null,\"last\":null},\"createdAt\":\"2026-01-01T00:00:00.000Z\"}\n";
    let hostile = "\\u001b[2J\\u009b1A\\u202e";
    for (text, code) in [
        (opening.replace("\"chain\"", &format!("\"{hostile}\"")), 2),
        (format!("{{\"type\":\"{hostile}\"}}\n"), 2),
        (format!("{opening}{{\"type\":\"record\",\"seq\":\"{hostile}\"}}\n"), 1),
    ] {
        let file = TestFile::new(&text);
        for json in [&[][..], &["--json"]] {
            let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
            program.args(["audit", "verify", "--export", file.path(), "--keys", keys.path()]).args(json);
            let output = program.env_clear().output().await.unwrap();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!(output.status.code(), Some(code), "{said:?}");
            assert!(said.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{said:?}");
            assert!(said.contains("[2J"), "it is shown: {said:?}");
        }
    }
}
