//! Seals that were cut off, forged, changed or taken away; keys that changed; records that were purged by rule.

use bson::{Bson, Document, doc};
use waybill::{
    modules::audit::{
        proof::{Anchor, FindingKind, Leaf, PublicKeys, Record, Scopes, Seal, SealHeader, sign_purge},
        seals::{AUDIT_SEALS, SealStore, commitment_key_of},
        verification::ChainPart,
    },
    platform::{ids::time_of_id, sealing::SealingKeys},
};

use crate::support::{
    SIGNING_KEY,
    retention::purge_record,
    seals::{end_lease, public_keys, seal_all, signing_key},
    verify::{Chain, SEALED, assert_found},
};

const OTHER_KEY: &str = "6666666666666666666666666666666666666666666666666666666666666666";

/// The header, signed by a key after it was changed.
fn signed(mut header: SealHeader, digits: &str) -> SealHeader {
    let key = signing_key(digits);
    header.key_id = key.public().id();
    header.signature = key.sign(&header.signed_bytes());
    header
}

impl Chain {
    /// Writes a seal in place of the one of its number.
    async fn put_seal(&self, seal: &Seal) {
        self.put(AUDIT_SEALS, &bson::serialize_to_document(seal).unwrap()).await;
    }

    /// Takes a seal away, with its records; gives what was taken.
    async fn cut(&self, seal: &Seal) -> Vec<(&'static str, Document)> {
        let mut taken = vec![(AUDIT_SEALS, self.stored_seal(seal.number).await)];
        self.remove(AUDIT_SEALS, seal.number).await;
        for leaf in &seal.leaves {
            let collection = SEALED[usize::from(leaf.code) - 1];
            taken.push((collection, self.find(collection, leaf.id.as_str()).await));
            self.remove(collection, leaf.id.as_str()).await;
        }
        taken
    }

    async fn finding_with(&self, anchors: &[Anchor]) -> FindingKind {
        let part = ChainPart { anchors: anchors.to_vec(), ..ChainPart::default() };
        self.verify(part).await.finding.expect("a finding").kind
    }
}

#[tokio::test]
async fn a_tail_that_was_cut_off_is_found_by_an_anchor_only() {
    let chain = Chain::new().await;
    let anchors: Vec<Anchor> = chain.seals().await.iter().map(|seal| (&seal.header).into()).collect();
    let part = |anchors: &[Anchor]| ChainPart { anchors: anchors.to_vec(), ..ChainPart::default() };
    let report = chain.verify(part(&anchors)).await;
    assert_eq!((report.finding, report.anchor), (None, anchors.last().copied()));
    let mut taken = Vec::new();
    for number in [3, 2] {
        taken.extend(chain.cut(&chain.seals().await[number - 1]).await);
        let finding = chain.verify(part(&anchors)).await.finding.unwrap();
        assert_eq!((finding.kind, finding.seal), (FindingKind::TailCut, number as i64));
        // This is what an auditor needs anchors for.
        let report = chain.verify(part(&anchors[..number - 1])).await;
        assert_eq!((report.finding, report.seals.last), (None, Some(number as i64 - 1)));
    }
    for (collection, document) in &taken {
        chain.put(collection, document).await;
    }
    // An anchor that names another seal, one of a time before the part, and one behind it.
    let wrong = Anchor { header_hash: anchors[0].header_hash, ..anchors[1] };
    assert_eq!(chain.finding_with(&[wrong]).await, FindingKind::TailCut);
    assert_eq!(chain.finding_with(&[anchors[1], wrong]).await, FindingKind::TailCut);
    let later = ChainPart { from_seal: Some(3), ..part(&[anchors[0], wrong]) };
    assert_eq!(chain.verify(later).await.finding.map(|finding| finding.kind), Some(FindingKind::TailCut));
    let later = ChainPart { from_seal: Some(3), ..part(&anchors) };
    assert_eq!(chain.verify(later).await.finding, None);
    let earlier = ChainPart { to_seal: Some(2), ..part(&anchors) };
    assert_eq!(chain.verify(earlier).await.finding, None);
    chain.app.finish().await;
}

#[tokio::test]
async fn seals_that_are_not_what_was_signed_are_named() {
    let chain = Chain::new().await;
    let seals = chain.seals().await;
    let (original, leaves) = (&seals[1], seals[1].leaves.clone());
    let header = &original.header;
    let later = SealHeader {
        sealed_at: bson::DateTime::from_millis(header.sealed_at.timestamp_millis() + 1),
        ..header.clone()
    };
    let mut fewer = header.clone();
    *fewer.totals.values_mut().next().unwrap() -= 1;
    let mut strangers = later.clone();
    strangers.key_id = "0123456789abcdef".into();
    for (changed, seal, kind) in [
        (later.clone(), 2, FindingKind::SealForged),
        (fewer.clone(), 2, FindingKind::SealForged),
        (strangers, 2, FindingKind::UnknownKey),
        (signed(later.clone(), OTHER_KEY), 2, FindingKind::UnknownKey),
        // Whoever has the key can do more, but what follows no longer fits.
        (signed(later, crate::support::SIGNING_KEY), 3, FindingKind::ChainBroken),
        (signed(fewer, crate::support::SIGNING_KEY), 2, FindingKind::ChainBroken),
    ] {
        chain.put_seal(&Seal { header: changed, leaves: leaves.clone() }).await;
        assert_found(&chain.finding().await, kind, seal, None);
    }
    let mut shorter = original.clone();
    shorter.leaves.pop();
    chain.put_seal(&shorter).await;
    assert_found(&chain.finding().await, FindingKind::SealChanged, 2, None);
    chain.put_seal(original).await;
    chain.expect_verified().await;

    chain.remove(AUDIT_SEALS, 2_i64).await;
    assert_found(&chain.finding().await, FindingKind::SealMissing, 2, None);
    let from_three = ChainPart { from_seal: Some(3), ..ChainPart::default() };
    assert_found(&chain.verify(from_three).await.finding.unwrap(), FindingKind::SealMissing, 2, None);
    chain.put_seal(original).await;
    let beyond = ChainPart { to_seal: Some(4), ..ChainPart::default() };
    assert_found(&chain.verify(beyond).await.finding.unwrap(), FindingKind::SealMissing, 4, None);
    chain.app.finish().await;
}

#[tokio::test]
async fn seals_that_can_not_be_read_or_do_not_belong_there_are_named() {
    let chain = Chain::new().await;
    let stored = chain.stored_seal(2).await;
    for (field, value) in [
        ("leaves", Bson::Null),
        ("leaves", doc! { "codes": 1, "ids": [], "hashes": 2 }.into()),
        ("root", "text".into()),
        ("signature", "01".repeat(63).into()),
        ("sealedAt", 12.into()),
    ] {
        let mut damaged = stored.clone();
        damaged.insert(field, value);
        chain.put(AUDIT_SEALS, &damaged).await;
        assert_found(&chain.finding().await, FindingKind::SealChanged, 2, None);
        let from_three = ChainPart { from_seal: Some(3), ..ChainPart::default() };
        assert_found(&chain.verify(from_three).await.finding.unwrap(), FindingKind::SealChanged, 2, None);
    }
    chain.put(AUDIT_SEALS, &stored).await;

    // Behind the last one: another chain's, a copy, and what has no number at all.
    let last = chain.seals().await.pop().unwrap();
    let stranger = SealHeader { number: 4, previous: last.header.hash(), ..chain.seals().await[0].header.clone() };
    for (header, kind) in [
        (stranger.clone(), FindingKind::SealForged),
        (signed(stranger.clone(), OTHER_KEY), FindingKind::UnknownKey),
        (signed(stranger, crate::support::SIGNING_KEY), FindingKind::ChainBroken),
    ] {
        let forged = Seal { header, leaves: chain.seals().await[0].leaves.clone() };
        assert!(SealStore::new(chain.app.db().clone()).insert(&forged).await.unwrap());
        assert_found(&chain.finding().await, kind, 4, None);
        chain.remove(AUDIT_SEALS, 4_i64).await;
    }
    for id in ["4".into(), Bson::Null, 3.5.into(), doc! { "n": 4 }.into()] {
        let mut odd = stored.clone();
        odd.insert("_id", id.clone());
        chain.put(AUDIT_SEALS, &odd).await;
        assert_eq!(chain.finding().await.kind, FindingKind::SealChanged, "{id}");
        chain.remove(AUDIT_SEALS, id).await;
    }
    chain.expect_verified().await;
    chain.app.finish().await;
}

#[tokio::test]
async fn a_record_that_is_in_two_seals_is_named() {
    let chain = Chain::new().await;
    let sealing = SealingKeys::new(&"0".repeat(64).into(), None).unwrap();
    let key = commitment_key_of(chain.app.db(), &sealing).await.unwrap();
    let (last, signer) = (chain.seals().await.pop().unwrap(), signing_key(SIGNING_KEY));
    let scope = Scopes::standard().of_collection("events").unwrap();
    let of_events: Vec<&str> = last.leaves.iter().filter(|leaf| leaf.code == 3).map(|leaf| &*leaf.id).collect();
    let (id, at) = (of_events[0], bson::DateTime::from_millis(last.sealed_at.timestamp_millis() + 3_000));
    let document = bson::RawDocumentBuf::try_from(&chain.find("events", id).await).unwrap();
    let record = || Record { scope, id, document: &document };
    // By a sealer that forgot what it had sealed; and that took it twice at once.
    for records in [vec![record()], vec![record(), record()]] {
        let leaves = Leaf::of_all(records, &key);
        let again = Seal::build(Some(&last.header), at, leaves, Scopes::standard(), &signer);
        chain.put_seal(&again).await;
        let finding = chain.finding().await;
        assert_found(&finding, FindingKind::RecordDoubled, 4, None);
        assert_eq!((finding.collection.as_deref(), finding.record_id.as_deref()), (Some("events"), Some(id)));
    }
    chain.remove(AUDIT_SEALS, 4_i64).await;
    chain.expect_verified().await;
    chain.app.finish().await;
}

#[tokio::test]
async fn seals_of_a_key_that_was_changed_verify_by_its_public_key() {
    let chain = Chain::new().await;
    let old = signing_key(crate::support::SIGNING_KEY).public();
    let keys: PublicKeys = [old, signing_key(OTHER_KEY).public()].into_iter().collect();
    let published = serde_json::to_value(&keys).unwrap();
    let text = |key: &serde_json::Value| key["publicKey"].as_str().unwrap().to_owned();
    let old_text = published["keys"].as_array().unwrap().iter().find(|key| key["keyId"] == old.id()).map(text).unwrap();
    let (flag, public) = (format!("--audit-signing-key={OTHER_KEY}"), format!("--audit-public-keys={old_text}"));
    let rotated = chain.app.beside(&[&flag, &public]).await;
    end_lease(&chain.app).await;
    chain.app.confirmed(&chain.merchant, "c-4").await;
    seal_all(&rotated).await;
    let report = chain.verify_by(&keys, ChainPart::default()).await;
    assert_eq!((report.finding, report.seals.count, report.keys.len()), (None, 4, 2));
    for (known, seal) in [(public_keys(), 4), (PublicKeys::from_iter([signing_key(OTHER_KEY).public()]), 1)] {
        let finding = chain.verify_by(&known, ChainPart::default()).await.finding.unwrap();
        assert_found(&finding, FindingKind::UnknownKey, seal, None);
    }
    // The API beside it knows both.
    let answer = rotated.get(&chain.auditor, "/audit/verification").await.expect(200).body;
    assert_eq!((&answer["verified"], &answer["keys"].as_array().unwrap().len()), (&true.into(), &2), "{answer}");
    chain.app.finish().await;
}

#[tokio::test]
async fn what_a_purge_record_names_may_be_gone_and_nothing_else() {
    let chain = Chain::new().await;
    let (first, second) = (chain.seals().await.remove(0), chain.seals().await.remove(1));
    let requests = |seal: &Seal| -> Vec<(i64, String)> {
        let leaves = seal.leaves.iter().enumerate().filter(|(_, leaf)| leaf.code == 1);
        leaves.map(|(at, leaf)| (seal.first_seq + at as i64, leaf.id.clone())).collect()
    };
    let (purged, others) = (requests(&first), requests(&second));
    assert!(!purged.is_empty() && !others.is_empty());
    for (_, id) in &purged {
        chain.remove("provider_request_logs", id.as_str()).await;
    }
    assert_eq!(chain.finding().await.kind, FindingKind::RecordRemoved);
    let record = |seal: i64, kept: &[i64]| purge_record(SIGNING_KEY, seal, "provider_request_logs", kept);
    // One that is kept is no longer there; then a later purge takes it too.
    chain.write("audit_events", &record(1, &[purged[0].0])).await;
    seal_all(&chain.app).await;
    let finding = chain.finding().await;
    assert_eq!((finding.kind, finding.seq), (FindingKind::RecordRemoved, Some(purged[0].0)));
    assert_eq!(finding.record_id.as_ref(), Some(&purged[0].1));
    chain.write("audit_events", &record(1, &[])).await;
    seal_all(&chain.app).await;
    let report = chain.expect_verified().await;
    assert_eq!(report.purged, purged.len() as u64);
    // It is about one seal and one collection, and does not excuse what was changed.
    let taken = chain.find("provider_request_logs", others[0].1.as_str()).await;
    chain.remove("provider_request_logs", others[0].1.as_str()).await;
    assert_eq!(chain.finding().await.seq, Some(others[0].0));
    chain.put("provider_request_logs", &taken).await;
    let (seq, event) = chain.record(1, "events").await;
    chain.remove("events", event.get_str("_id").unwrap()).await;
    assert_found(&chain.finding().await, FindingKind::RecordRemoved, 1, Some((seq, "events", &event)));
    chain.put("events", &event).await;
    // What only looks like one is none.
    for (field, value) in [
        ("action", Bson::from("audit.purge")),
        ("resourceType", "seal".into()),
        ("outcome", "failed".into()),
        ("after", doc! { "collection": "provider_request_logs" }.into()),
    ] {
        let mut like = record(2, &[]);
        like.insert(field, value);
        chain.put("audit_events", &like).await;
        chain.remove("provider_request_logs", others[0].1.as_str()).await;
        assert_eq!(chain.finding().await.seq, Some(others[0].0), "{field}");
        chain.put("provider_request_logs", &taken).await;
        chain.remove("audit_events", like.get_str("_id").unwrap()).await;
    }
    // One that somebody made who has no key, or has another one: whether it is sealed or not, it is named.
    let mut unsigned = record(2, &[]);
    unsigned.get_document_mut("after").unwrap().remove("signature");
    let mut longer = record(2, &[]);
    longer.get_document_mut("after").unwrap().insert("classOlderThan", bson::DateTime::MAX);
    for like in [unsigned, longer, purge_record(OTHER_KEY, 2, "provider_request_logs", &[])] {
        chain.write("audit_events", &like).await;
        chain.remove("provider_request_logs", others[0].1.as_str()).await;
        seal_all(&chain.app).await;
        let finding = chain.finding().await;
        assert_eq!((finding.kind, finding.seq), (FindingKind::RecordRemoved, Some(others[0].0)), "{finding}");
        assert!(finding.detail.contains("the purge record \"aud_"), "{finding}");
        chain.put("provider_request_logs", &taken).await;
    }
    // A signed one about what is never purged; and one about a time before that of the record.
    let (seq, event) = chain.record(1, "events").await;
    chain.write("audit_events", &purge_record(SIGNING_KEY, 1, "events", &[])).await;
    chain.remove("events", event.get_str("_id").unwrap()).await;
    assert_found(&chain.finding().await, FindingKind::RecordRemoved, 1, Some((seq, "events", &event)));
    chain.put("events", &event).await;
    let (seq, early) = (others[0].0, sign_purge_until(time_of_id(&others[0].1).unwrap()));
    chain.write("audit_events", &early).await;
    chain.remove("provider_request_logs", others[0].1.as_str()).await;
    seal_all(&chain.app).await;
    assert_eq!(chain.finding().await.seq, Some(seq), "it was not old enough to go");
    chain.put("provider_request_logs", &taken).await;
    chain.expect_verified().await;
    chain.app.finish().await;
}

/// A purge record of calls of the second seal that are older than this, ms.
fn sign_purge_until(older_than_ms: i64) -> Document {
    let mut record = purge_record(SIGNING_KEY, 2, "provider_request_logs", &[]);
    let mut after = record.get_document("after").unwrap().clone();
    after.remove("signature");
    after.insert("classOlderThan", bson::DateTime::from_millis(older_than_ms));
    let id = record.get_str("_id").unwrap().to_owned();
    record.insert("after", sign_purge(&id, 2, after, &signing_key(SIGNING_KEY)));
    record
}
