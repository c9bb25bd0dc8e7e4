//! `waybill audit verify` and `GET /audit/verification`, as auditors use them.

use bson::doc;
use serde_json::{Value, json};
use tokio::process::Command;
use waybill::{
    modules::audit::seals::AUDIT_SEALS,
    platform::{clock::Rfc3339Time, identity::Role},
};

use crate::support::{
    TestApp,
    seals::requeue,
    verify::{Chain, TestFile},
};

#[tokio::test]
async fn the_command_says_what_it_checked_and_exits_with_what_it_found() {
    let chain = Chain::new().await;
    let anchor = serde_json::to_string(&chain.last_anchor().await).unwrap();
    let output = chain.command(&[]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""), "{said}");
    assert!(said.contains("seals        1 to 3 (3)") && said.contains(&anchor), "{said}");
    assert!(said.ends_with("verified     everything is as it was sealed\n"), "{said}");

    let (code, report) = chain.command_json(&["--from-seal", "2", "--to-seal", "2"]).await;
    assert_eq!((code, &report["verified"], &report["finding"]), (Some(0), &json!(true), &Value::Null));
    assert_eq!((&report["seals"]["first"], &report["seals"]["count"]), (&json!(2), &json!(1)));
    assert_eq!(report["trusted"]["number"], 1);

    let (seq, record) = chain.record(2, "events").await;
    let mut changed = record.clone();
    changed.insert("type", "OrderCancelled");
    chain.put("events", &changed).await;
    let (code, report) = chain.command_json(&[]).await;
    let finding = &report["finding"];
    assert_eq!((code, &report["verified"], &finding["kind"]), (Some(1), &json!(false), &json!("record_changed")));
    assert_eq!((&finding["seal"], &finding["seq"], &finding["collection"]), (&json!(2), &json!(seq), &json!("events")));
    assert_eq!(finding["recordId"], record.get_str("_id").unwrap());
    let output = chain.command(&[]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let expected =
        format!("NOT VERIFIED record_changed: seal 2: the record is not what was sealed, record number {seq}");
    assert!(output.status.code() == Some(1) && said.contains(&expected), "{said}");
    chain.put("events", &record).await;
    chain.app.finish().await;
}

#[tokio::test]
async fn the_command_trusts_keys_and_anchors_in_files() {
    let chain = Chain::new().await;
    let published = chain.app.request(reqwest::Method::GET, "/.well-known/waybill-audit-keys", None, None).await;
    let keys = TestFile::new(&published.expect(200).text);
    let anchors: Vec<String> =
        chain.seals().await.iter().map(|seal| format!("{}\n", anchor_line(&seal.header))).collect();
    let anchored = TestFile::new(&anchors.concat());
    let plain = |args: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
        program.args(["audit", "verify"]).args(args).env("MONGODB_URI", &chain.app.mongodb_uri);
        program
    };
    let sealing = "0".repeat(64);
    let with_keys = ["--keys", keys.path(), "--anchors", anchored.path()];
    let output = plain(&with_keys).env("SEALING_KEY", &sealing).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));

    // Whoever cuts the tail and has its records wait again.
    let cut = chain.seals().await.remove(2);
    chain.app.db().collection::<bson::Document>(AUDIT_SEALS).delete_one(doc! { "_id": 3_i64 }).await.unwrap();
    requeue(&chain.app, &cut).await;
    let (code, report) = chain.command_json(&["--anchors", anchored.path()]).await;
    assert_eq!(
        (code, &report["finding"]["kind"], &report["finding"]["seal"]),
        (Some(1), &json!("tail_cut"), &json!(3))
    );
    assert_eq!(chain.command_json(&[]).await.0, Some(0), "without anchors nobody can tell");

    // What can't be checked is not called verified, and not called changed either.
    let (nothing, broken) = (TestFile::new(r#"{"keys":[]}"#), TestFile::new("{\"number\":1}\n"));
    for (args, sealing_key, words) in [
        (&["--keys", "/nowhere/keys.json"][..], &*sealing, "can't be read"),
        (&["--keys", broken.path()], &sealing, "missing field"),
        (&["--keys", keys.path(), "--anchors", broken.path()], &sealing, "line 1 is no anchor"),
        (&["--keys", keys.path()], "", "SEALING_KEY"),
        (&["--keys", keys.path()], &"1".repeat(64), "is not configured"),
        (&[], &sealing, "there is no key to check by"),
        (&["--keys", keys.path(), "--from-seal", "3", "--to-seal", "2"], &sealing, "--from-seal"),
        (&["--keys", keys.path(), "--mongodb-uri", "nonsense"], &sealing, "MONGODB_URI"),
        (&["--export", "/nowhere/export.ndjson", "--keys", keys.path()], "", "can't be read"),
        (&["--export", keys.path(), "--keys", keys.path()], "", "no audit export"),
        (&["--export", keys.path()], "", "--keys"),
    ] {
        let output = plain(args).env("SEALING_KEY", sealing_key).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(words) && output.stdout.is_empty(), "{args:?}: {said}");
    }
    let output = plain(&["--keys", nothing.path()]).env("SEALING_KEY", &sealing).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "seals whose key nobody knows are a finding");
    chain.app.finish().await;
}

fn anchor_line(header: &waybill::modules::audit::proof::SealHeader) -> String {
    json!({ "number": header.number, "headerHash": header.hash().to_hex() }).to_string()
}

#[tokio::test]
async fn nothing_sealed_is_not_called_verified() {
    let app = TestApp::start().await;
    let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["audit", "verify"]).env("MONGODB_URI", &app.mongodb_uri).env("SEALING_KEY", "0".repeat(64));
    let output = program.env("AUDIT_SIGNING_KEY", crate::support::SIGNING_KEY).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no seal"), "{output:?}");
    let auditor = app.user(Role::Auditor).await;
    let answer = app.get(&auditor, "/audit/verification").await.expect(200).body;
    assert_eq!(answer["seals"], json!({ "first": null, "last": null, "count": 0 }));
    app.finish().await;
}

#[tokio::test]
async fn an_auditor_checks_a_range_of_time_and_it_is_recorded() {
    let chain = Chain::new().await;
    let (app, auditor) = (&chain.app, &chain.auditor);
    let answer = app.get(auditor, "/audit/verification").await.expect(200).body;
    let summary = [&answer["verified"], &answer["complete"], &answer["nextFromSeal"], &answer["finding"]];
    assert_eq!(summary, [&json!(true), &json!(true), &Value::Null, &Value::Null], "{answer}");
    assert_eq!(answer["seals"], json!({ "first": 1, "last": 3, "count": 3 }));
    let last = chain.last_anchor().await;
    assert_eq!(answer["anchor"], json!({ "number": 3, "headerHash": last.header_hash.to_hex() }));
    assert_eq!((&answer["trusted"], answer["keys"].as_array().unwrap().len()), (&Value::Null, 1));
    let all = answer["records"].as_u64().unwrap();
    let read = app.all("audit_events", doc! { "action": "request.read", "resourceId": "/audit/verification" }).await;
    assert_eq!(read.len(), 1);

    let seals = chain.seals().await;
    let at = |number: usize| Rfc3339Time(seals[number - 1].sealed_at).to_string();
    let check = async |query: String| app.get(auditor, &format!("/audit/verification?{query}")).await.expect(200).body;
    let second = check(format!("from={}&to={}", at(2), at(3))).await;
    assert_eq!(
        (&second["seals"], &second["trusted"]["number"]),
        (&json!({ "first": 2, "last": 2, "count": 1 }), &json!(1))
    );
    assert!(second["records"].as_u64().unwrap() < all);
    let rest = check(format!("from={}&fromSeal=3", at(1))).await;
    assert_eq!(rest["seals"], json!({ "first": 3, "last": 3, "count": 1 }));
    let nothing = check(format!("from={}&fromSeal=9000", at(1))).await;
    assert_eq!((&nothing["seals"]["count"], &nothing["complete"]), (&json!(0), &json!(false)));
    // Where nothing was sealed the seal after it is checked; what is to come can't be.
    let long_ago = check("from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z".to_owned()).await;
    assert_eq!((&long_ago["seals"]["last"], &long_ago["complete"]), (&json!(1), &json!(true)));
    let to_come = check("from=2090-01-01T00:00:00Z&to=2090-02-01T00:00:00Z".to_owned()).await;
    assert_eq!((&to_come["seals"]["count"], &to_come["complete"]), (&json!(0), &json!(false)));

    let (seq, record) = chain.record(2, "ledger_transactions").await;
    chain.remove("ledger_transactions", record.get_str("_id").unwrap()).await;
    let found = check(String::new()).await;
    let finding = &found["finding"];
    assert_eq!((&found["verified"], &found["complete"]), (&json!(false), &json!(false)));
    assert_eq!((&finding["kind"], &finding["seq"]), (&json!("record_removed"), &json!(seq)));
    assert_eq!(check(format!("from={}", at(3))).await["verified"], true, "the range does not have it");
    chain.put("ledger_transactions", &record).await;

    for (query, blamed) in [
        ("from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "to:range"),
        ("from=2026-02-01T00:00:00Z&to=2026-02-01T00:00:00Z", "to:range"),
        ("fromSeal=0", "fromSeal:range"),
        ("since=1", "since:unknown"),
    ] {
        let answer = app.get(auditor, &format!("/audit/verification?{query}")).await.expect(422);
        assert_eq!(answer.blamed(), [blamed], "{query}");
    }
    chain.app.finish().await;
}
