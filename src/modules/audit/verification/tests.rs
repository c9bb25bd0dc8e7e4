//! Files that are no good: told apart from files that were changed.

use std::io::{BufReader, Read};

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};

use super::{lines::LINE_BYTES_MAX, purges::Purges, *};
use crate::modules::audit::proof::{Finding, FindingKind, Hash, PURGED, PublicKeys, SigningKey, sign_purge};
use crate::modules::audit::seals::read_anchors;

const OPENING: &str = "{\"type\":\"export\",\"version\":1,\"mode\":\"chain\",\"filters\":{},\
                       \"seals\":{\"first\":null,\"last\":null},\"createdAt\":\"2026-01-01T00:00:00.000Z\"}\n";

#[test]
fn a_line_without_an_end_is_given_up() {
    let input = OPENING.as_bytes().chain(std::io::repeat(b'x').take(LINE_BYTES_MAX + 2));
    let error = verify_export(BufReader::new(input), &PublicKeys::default(), Vec::new(), |_| {}).expect_err("no end");
    assert!(matches!(error, FileError::LineTooLong(2)), "{error}");
}

#[test]
fn what_is_no_text_is_a_change() {
    let input = [OPENING.as_bytes(), b"\xff\xfe\n"].concat();
    let report = verify_export(&*input, &PublicKeys::default(), Vec::new(), |_| {}).expect("it can be checked");
    let finding = report.finding.expect("a finding");
    assert_eq!((finding.kind, finding.seal), (FindingKind::ExportChanged, 0));
    assert!(finding.detail.contains("line 2"), "{finding}");
}

#[test]
fn anchors_are_read_line_by_line() {
    let hash = "ab".repeat(32);
    let line = |number: i64| format!("{{\"number\":{number},\"headerHash\":\"{hash}\"}}");
    let text = format!("{}\n\n  {}\r\n{}", line(1), line(2), line(2));
    let anchors = read_anchors(text.as_bytes()).expect("anchors");
    assert_eq!(anchors.iter().map(|anchor| anchor.number).collect::<Vec<_>>(), [1, 2, 2]);
    assert!(anchors.iter().all(|anchor| Some(anchor.header_hash) == Hash::from_hex(&hash)));
    for (text, words) in [
        (format!("{}\nnonsense\n", line(1)), "line 2 is no anchor"),
        (format!("{}{}", line(1), " ".repeat(2_000)), "line 1 is no anchor: it is too long"),
        (line(1).replace("ab", "AB"), "line 1 is no anchor"),
        (line(1).replace('}', ",\"more\":1}"), "line 1 is no anchor"),
    ] {
        let error = read_anchors(text.as_bytes()).expect_err("no anchors");
        assert!(error.contains(words), "{error}");
    }
}

/// A purge record of records up to the time 1,000 ms, signed by a key of so many times a digit.
fn purge_record(collection: &str, seal: i64, kept: &[i64], digit: &str) -> Document {
    let after = doc! { "collection": collection, "kept": kept, "classOlderThan": DateTime::from_millis(1_000) };
    doc! {
        "_id": "aud_1", "actor": { "kind": "system" }, "action": PURGED, "resourceType": "audit_seal",
        "resourceId": seal.to_string(), "outcome": "done", "after": sign_purge("aud_1", seal, after, &key(digit)),
    }
}

fn key(digit: &str) -> SigningKey {
    SigningKey::new(&digit.repeat(64).into()).expect("a key")
}

fn purges(records: &[Document]) -> Purges {
    let (mut purges, keys) = (Purges::default(), PublicKeys::from_iter([key("1").public()]));
    for record in records {
        purges.add(&RawDocumentBuf::try_from(record).expect("BSON"), &keys);
    }
    purges
}

#[test]
fn of_purges_of_the_same_records_any_may_cover_one() {
    const LOGS: &str = "provider_request_logs";
    let record = |kept: &[i64]| purge_record(LOGS, 7, kept, "1");
    let mut all = vec![record(&[70, 71])];
    let first = purges(&all);
    assert!(!first.cover(7, LOGS, 70, 0) && first.cover(7, LOGS, 72, 999) && !first.cover(7, LOGS, 72, 1_000));
    all.extend([record(&[71]), record(&[70, 71, 72])]);
    let mut all = purges(&all);
    assert!(all.cover(7, LOGS, 70, 0) && !all.cover(7, LOGS, 71, 0) && all.cover(7, LOGS, 72, 0));
    assert!(!all.cover(8, LOGS, 70, 0) && !all.cover(7, "audit_events", 70, 0));
    let mut together = purges(&[record(&[70])]);
    together.extend(purges(&[record(&[71])]));
    assert!(together.cover(7, LOGS, 70, 0) && together.cover(7, LOGS, 71, 0));
    all.forget_before(8);
    assert!(!all.cover(7, LOGS, 70, 0));
}

#[test]
fn a_purge_record_without_a_good_signature_does_not_count() {
    const LOGS: &str = "provider_request_logs";
    let good = purge_record(LOGS, 7, &[], "1");
    let with = |path: &[&str], value: Bson| {
        let mut record = good.clone();
        match path {
            [name] => drop(record.insert(*name, value)),
            [name, below] => drop(record.get_document_mut(name).expect("a document").insert(*below, value)),
            _ => unreachable!("one or two names"),
        }
        record
    };
    let unsigned = with(&["after", "signature"], Bson::Null);
    let changed = "is not signed by the key";
    for (record, words) in [
        (unsigned, "is not signed"),
        (with(&["_id"], "aud_2".into()), changed),
        (with(&["after", "kept"], bson::bson!([1_i64])), changed),
        (with(&["after", "classOlderThan"], DateTime::MAX.into()), changed),
        (with(&["after", "keptDays"], 1_095_i64.into()), changed),
        (with(&["after", "keyId"], key("2").public().id().into()), "the key is not known"),
        (purge_record(LOGS, 7, &[], "2"), "the key is not known"),
    ] {
        let purges = purges(std::slice::from_ref(&record));
        assert!(!purges.cover(7, LOGS, 70, 0), "{record}");
        let gone = Finding { collection: Some(LOGS.into()), ..Finding::of_seal(7, FindingKind::RecordRemoved, "gone") };
        let detail = purges.explain(gone).detail;
        let id = record.get_str("_id").expect("an id");
        assert!(detail.contains(words) && detail.contains(id), "{record}: {detail}");
    }
    // A good one was about another seal; it stays about that.
    let moved = purges(&[with(&["resourceId"], "8".into())]);
    assert!(!moved.cover(7, LOGS, 70, 0) && !moved.cover(8, LOGS, 70, 0));
    // Nothing is ever purged of these, whoever signs it.
    let events = purges(&[purge_record("events", 7, &[], "1")]);
    assert!(!events.cover(7, "events", 70, 0) && purges(std::slice::from_ref(&good)).cover(7, LOGS, 70, 0));
    // What is no purge record at all is none, and says nothing.
    for (name, value) in [
        ("action", "audit.purge"),
        ("resourceType", "seal"),
        ("outcome", "failed"),
        ("resourceId", "+7"),
        ("resourceId", "seven"),
    ] {
        assert!(!purges(&[with(&[name], value.into())]).cover(7, LOGS, 70, 0), "{name}");
    }
    assert!(!purges(&[with(&["actor", "kind"], "user".into())]).cover(7, LOGS, 70, 0));
}
