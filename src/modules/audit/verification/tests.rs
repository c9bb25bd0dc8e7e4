//! Files that are no good: told apart from files that were changed.

use std::io::{BufReader, Read};

use bson::{RawDocumentBuf, doc};

use super::{super::proof::Hash, lines::LINE_BYTES_MAX, purges::Purges, *};
use crate::modules::audit::{
    proof::{FindingKind, PublicKeys},
    retention::PURGED,
};

const OPENING: &str = "{\"type\":\"export\",\"version\":1,\"mode\":\"chain\",\"filters\":{},\
                       \"seals\":{\"first\":null,\"last\":null},\"createdAt\":\"2026-01-01T00:00:00.000Z\"}\n";

#[test]
fn a_line_without_an_end_is_given_up() {
    let input = OPENING.as_bytes().chain(std::io::repeat(b'x').take(LINE_BYTES_MAX + 2));
    let error = verify_export(BufReader::new(input), &PublicKeys::default(), Vec::new(), |_| {}).expect_err("no end");
    assert!(matches!(error, ExportError::LineTooLong(2)), "{error}");
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

#[test]
fn of_purges_of_the_same_records_the_one_that_keeps_least_counts() {
    let record = |seal: &str, kept: &[i64]| {
        let event = doc! {
            "_id": "aud_1", "actor": { "kind": "system" }, "action": PURGED, "resourceType": "audit_seal",
            "resourceId": seal, "outcome": "done", "after": { "collection": "events", "records": 2_i64, "kept": kept },
        };
        RawDocumentBuf::try_from(&event).expect("BSON")
    };
    let mut purges = Purges::default();
    assert!(!purges.cover(7, "events", 70));
    purges.add(&record("7", &[70, 71]));
    assert!(!purges.cover(7, "events", 70) && purges.cover(7, "events", 72));
    purges.add(&record("7", &[71]));
    purges.add(&record("7", &[70, 71, 72]));
    purges.add(&record("seven", &[]));
    assert!(purges.cover(7, "events", 70) && !purges.cover(7, "events", 71) && purges.cover(7, "events", 72));
    assert!(!purges.cover(8, "events", 70) && !purges.cover(7, "audit_events", 70));
    purges.forget_before(8);
    assert!(!purges.cover(7, "events", 70));
}
