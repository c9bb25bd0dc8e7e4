//! Records that were changed, removed, inserted or moved by hand: each is named.

use bson::{Bson, Document, doc, oid::ObjectId};
use waybill::{
    modules::audit::{
        proof::{FindingKind, Record, Scopes, erase},
        seals::{AUDIT_SEALS, commitment_key_of},
        verification::{ChainPart, Limits},
    },
    platform::{
        ids::{first_id_at, new_id},
        sealing::SealingKeys,
    },
};

use crate::support::{
    TestApp,
    seals::{public_keys, requeue, seal_all, write_records},
    verify::{Chain, SEALED, assert_found},
};

/// Ways to change a record of each collection, and whether what is changed is personal.
fn changes(record: &Document, collection: &str) -> Vec<Document> {
    let with = |path: &str, value: Bson| {
        let mut changed = record.clone();
        let mut steps: Vec<&str> = path.split('.').collect();
        let name = steps.pop().unwrap();
        let mut parent = &mut changed;
        for step in steps {
            parent = parent.get_document_mut(step).unwrap();
        }
        assert!(parent.contains_key(name), "{collection} has {path}");
        parent.insert(name, value);
        changed
    };
    let (first, value) = record.iter().nth(1).map(|(name, value)| (name.clone(), value.clone())).unwrap();
    let mut moved = record.clone();
    moved.remove(&first);
    moved.insert(first, value);
    let mut more = record.clone();
    more.insert("note", Bson::Null);
    let mut changed = vec![moved, more];
    changed.extend(match collection {
        "provider_request_logs" => {
            vec![with("url", "https://elsewhere.test/".into()), with("body.consignee_name", "Somebody Else".into())]
        }
        "provider_response_logs" => vec![with("httpStatus", 500.into()), with("outcome", "failed".into())],
        "events" => vec![with("type", "OrderCancelled".into()), with("actor.address", "192.0.2.1".into())],
        "audit_events" => vec![with("resourceId", "ord_other".into()), with("actor.address", "192.0.2.1".into())],
        _ => vec![with("referenceId", "ord_other".into())],
    });
    changed
}

#[tokio::test]
async fn every_change_and_removal_of_a_record_is_named() {
    let chain = Chain::new().await;
    for collection in SEALED {
        for seal in [1, 2, 3] {
            let (seq, record) = chain.record(seal, collection).await;
            for changed in changes(&record, collection) {
                chain.put(collection, &changed).await;
                let finding = chain.finding().await;
                assert_found(&finding, FindingKind::RecordChanged, seal, Some((seq, collection, &record)));
            }
            chain.remove(collection, record.get_str("_id").unwrap()).await;
            let finding = chain.finding().await;
            assert_found(&finding, FindingKind::RecordRemoved, seal, Some((seq, collection, &record)));
            chain.put(collection, &record).await;
        }
    }
    chain.expect_verified().await;
    chain.app.finish().await;
}

#[tokio::test]
async fn a_number_of_another_type_is_a_change() {
    let chain = Chain::new().await;
    let (seq, record) = chain.record(2, "provider_response_logs").await;
    let mut changed = record.clone();
    let status = record.get_i32("httpStatus").expect("an int32");
    changed.insert("httpStatus", i64::from(status));
    chain.put("provider_response_logs", &changed).await;
    let named = Some((seq, "provider_response_logs", &record));
    assert_found(&chain.finding().await, FindingKind::RecordChanged, 2, named);
    chain.put("provider_response_logs", &record).await;
    chain.expect_verified().await;
    chain.app.finish().await;
}

#[tokio::test]
async fn records_that_were_put_there_by_hand_are_named_whatever_their_ids_are() {
    let chain = Chain::new().await;
    let now = chain.app.app.clock.now_ms();
    for (collection, prefix) in SEALED.into_iter().zip(["req", "res", "evt", "aud", "txn"]) {
        let (_, template) = chain.record(1, collection).await;
        let ids: Vec<Bson> = vec![
            first_id_at(prefix, now - 3_600_000).into(),
            first_id_at(prefix, 0).into(),
            // Far ahead of its time, too.
            first_id_at(prefix, now + 86_400_000).into(),
            format!("{prefix}_by_hand").into(),
            // A body of our shape, but not the prefix of this collection.
            new_id("xyz").into(),
            "".into(),
            "a".into(),
            "zzz".into(),
            Bson::Symbol(first_id_at(prefix, now - 3_600_000)),
            ObjectId::new().into(),
            7.into(),
            7.5.into(),
            Bson::Null,
            doc! { "a": 1 }.into(),
            true.into(),
            bson::DateTime::from_millis(now).into(),
            Bson::MaxKey,
            Bson::MinKey,
        ];
        for id in ids {
            let mut inserted = template.clone();
            inserted.insert("_id", id.clone());
            // Unique indexes of the ledger are in the way of a second one like this.
            for field in ["referenceId", "walletSeq", "key"] {
                if inserted.contains_key(field) {
                    inserted.insert(field, new_id("tst"));
                }
            }
            chain.app.db().collection::<Document>(collection).insert_one(&inserted).await.unwrap();
            let finding = chain.finding().await;
            assert_eq!((finding.kind, finding.collection.as_deref()), (FindingKind::RecordInserted, Some(collection)));
            let named = finding.record_id.unwrap();
            match &id {
                Bson::String(id) => assert_eq!(named, *id),
                Bson::ObjectId(id) => assert!(named.contains(&id.to_hex()), "{named}"),
                _ => assert!(!named.is_empty(), "{id:?}"),
            }
            chain.remove(collection, id).await;
        }
    }
    chain.expect_verified().await;
    chain.app.finish().await;
}

#[tokio::test]
async fn an_inserted_record_is_found_among_very_many_and_in_parts_of_the_chain() {
    let chain = Chain::new().await;
    let now = chain.app.app.clock.now_ms();
    // A sealer that was away for hours has a backlog, which it seals in the order of ids.
    let (_, template) = chain.record(1, "events").await;
    let backlog: Vec<Document> = (0..20_500)
        .map(|n| {
            let mut event = template.clone();
            event.insert("_id", first_id_at("evt", now - 7_200_000 + n * 200));
            event.insert("type", "Tested");
            event
        })
        .collect();
    write_records(&chain.app, "events", &backlog).await;
    assert!(seal_all(&chain.app).await.seals >= 2, "one seal does not hold them");
    let report = chain.expect_verified().await;
    let last = report.seals.last.unwrap();
    // While it catches up, what it has not come to yet is not inserted.
    let (end, seal) = (chain.stored_seal(last).await, chain.seals().await.pop().unwrap());
    chain.remove(AUDIT_SEALS, last).await;
    requeue(&chain.app, &seal).await;
    assert_eq!(chain.verify(ChainPart::default()).await.finding, None, "the sealer is catching up");
    let mut inserted = template.clone();
    inserted.insert("_id", first_id_at("evt", now - 7_200_000 + 100));
    chain.put("events", &inserted).await;
    let found = chain.finding().await;
    assert_eq!((found.kind, found.record_id.as_deref()), (FindingKind::RecordInserted, inserted.get_str("_id").ok()));
    chain.put(AUDIT_SEALS, &end).await;
    assert_eq!(chain.finding().await.kind, FindingKind::RecordInserted);
    // In a part, what its time has too much is found as well; what is sealed behind the part is not too much.
    let first = ChainPart { to_seal: Some(1), ..ChainPart::default() };
    assert_eq!(chain.verify(first.clone()).await.finding.unwrap().kind, FindingKind::RecordInserted);
    chain.remove("events", inserted.get_str("_id").unwrap()).await;
    assert_eq!(chain.verify(first).await.finding, None);
    let second = chain.verify(ChainPart { from_seal: Some(2), ..ChainPart::default() }).await;
    assert_eq!((second.finding, second.seals.first, second.trusted.map(|seal| seal.number)), (None, Some(2), Some(1)));
    // What a seal says about the times of its records is not signed, and hides nothing.
    let span = doc! { "span": { "newest": 0_i64, "oldest": 0_i64 } };
    chain.app.update_one(AUDIT_SEALS, doc! { "_id": 1_i64 }, span).await;
    chain.expect_verified().await;
    chain.app.db().collection::<Document>("events").delete_many(doc! { "type": "Tested" }).await.unwrap();
    chain.app.finish().await;
}

#[tokio::test]
async fn what_was_committed_late_is_not_called_inserted() {
    let chain = Chain::new().await;
    let (_, mut late) = chain.record(1, "events").await;
    late.insert("_id", first_id_at("evt", chain.app.app.clock.now_ms() - 600_000));
    let id = late.get_str("_id").unwrap();
    chain.put("events", &late).await;
    assert_eq!(chain.finding().await.record_id.as_deref(), Some(id));
    let queued = |queued: &str, collection: &str| doc! { "_id": queued, "at": bson::DateTime::now(), "records": { collection: [{ "id": id }] } };
    chain.put("seal_queue", &queued("bat_1", "audit_events")).await;
    assert_eq!(chain.finding().await.record_id.as_deref(), Some(id), "something else waits");
    chain.remove("seal_queue", "bat_1").await;
    chain.put("seal_queue", &queued("bat_2", "events")).await;
    assert_eq!(chain.verify(ChainPart::default()).await.finding, None);
    seal_all(&chain.app).await;
    assert_eq!(chain.app.all("seal_queue", doc! {}).await, []);
    let report = chain.expect_verified().await;
    assert_eq!((report.seals.last, report.sealed_late), (Some(4), 1), "that it was sealed late is told");
    let since_two = chain.verify(ChainPart { to_seal: Some(3), ..ChainPart::default() }).await;
    assert_eq!((since_two.finding, since_two.sealed_late), (None, 0));
    let told = chain.app.get(&chain.auditor, "/audit/verification").await.expect(200).body;
    assert_eq!(told["sealedLate"], 1, "{told}");
    chain.remove("events", id).await;
    assert_eq!(chain.finding().await.kind, FindingKind::RecordRemoved);
    chain.put("events", &late).await;
    chain.app.finish().await;
}

#[tokio::test]
async fn records_that_changed_places_are_named() {
    let chain = Chain::new().await;
    let seal = chain.seals().await.remove(1);
    let of_events: Vec<usize> = (0..seal.leaves.len()).filter(|&at| seal.leaves[at].code == 3).collect();
    let (a, b) = (of_events[0], of_events[1]);
    let (first, second) = (
        chain.find("events", seal.leaves[a].id.as_str()).await,
        chain.find("events", seal.leaves[b].id.as_str()).await,
    );
    let with_id = |record: &Document, id: &Document| {
        let mut moved = record.clone();
        moved.insert("_id", id.get_str("_id").unwrap());
        moved
    };
    chain.put("events", &with_id(&second, &first)).await;
    chain.put("events", &with_id(&first, &second)).await;
    let named = Some((seal.first_seq + a as i64, "events", &first));
    assert_found(&chain.finding().await, FindingKind::RecordChanged, 2, named);
    chain.put("events", &first).await;
    chain.put("events", &second).await;

    // Leaves that changed places, with and without their names.
    let stored = chain.stored_seal(2).await;
    let mut ids = stored.clone();
    ids.get_document_mut("leaves").unwrap().get_array_mut("ids").unwrap().swap(a, b);
    let mut both = ids.clone();
    let leaves = both.get_document_mut("leaves").unwrap();
    let Some(Bson::Binary(hashes)) = leaves.get_mut("hashes") else { panic!("hashes") };
    let (left, right) = hashes.bytes.split_at_mut(b * 32);
    left[a * 32..(a + 1) * 32].swap_with_slice(&mut right[..32]);
    let mut hashes_only = both.clone();
    hashes_only.get_document_mut("leaves").unwrap().get_array_mut("ids").unwrap().swap(a, b);
    for changed in [ids, hashes_only, both] {
        chain.put(AUDIT_SEALS, &changed).await;
        assert_found(&chain.finding().await, FindingKind::SealChanged, 2, None);
    }
    chain.put(AUDIT_SEALS, &stored).await;
    chain.expect_verified().await;
    chain.app.finish().await;
}

#[tokio::test]
async fn an_erased_field_still_verifies_and_can_not_be_made_another() {
    let chain = Chain::new().await;
    let sealing = SealingKeys::new(&"0".repeat(64).into(), None).unwrap();
    let key = commitment_key_of(chain.app.db(), &sealing).await.unwrap();
    let (seq, record) = chain.record(2, "audit_events").await;
    let raw = bson::RawDocumentBuf::try_from(&record).unwrap();
    let scope = Scopes::standard().of_collection("audit_events").unwrap();
    let sealed = Record { scope, id: record.get_str("_id").unwrap(), document: &raw };
    let erased = erase(&sealed, "actor.address", &key).expect("an address");
    let mut changed = record.clone();
    changed.get_document_mut("actor").unwrap().insert("address", erased.clone());
    chain.put("audit_events", &changed).await;
    chain.expect_verified().await;
    let mut other = erased;
    other.insert("commitment", "0".repeat(64));
    changed.get_document_mut("actor").unwrap().insert("address", other);
    chain.put("audit_events", &changed).await;
    assert_found(&chain.finding().await, FindingKind::RecordChanged, 2, Some((seq, "audit_events", &record)));
    chain.put("audit_events", &record).await;
    chain.app.finish().await;
}

#[tokio::test]
async fn a_check_within_limits_goes_on_where_it_ended() {
    let chain = Chain::new().await;
    let whole = chain.expect_verified().await;
    let limits = Some(Limits { records: 1, time: std::time::Duration::from_secs(60) });
    let (mut next, mut records, mut rounds) = (None, 0, 0);
    loop {
        let report = chain.verify(ChainPart { from_seal: next, limits, ..ChainPart::default() }).await;
        assert_eq!((report.finding, report.seals.count), (None, 1), "one seal in any case");
        records += report.records;
        rounds += 1;
        next = report.next_seal;
        if next.is_none() {
            break;
        }
    }
    assert_eq!((rounds, records), (3, whole.records));
    let no_time = Some(Limits { records: 1_000_000, time: std::time::Duration::ZERO });
    let report = chain.verify(ChainPart { limits: no_time, ..ChainPart::default() }).await;
    assert_eq!((report.seals.last, report.next_seal), (Some(1), Some(2)));
    chain.app.finish().await;
}

#[tokio::test]
async fn a_check_beside_running_writes_finds_nothing() {
    let chain = Chain::new().await;
    let worker = chain.app.start_worker();
    let (app, merchant): (&TestApp, _) = (&chain.app, &chain.merchant);
    let writing = async {
        for n in 0..30 {
            app.create(merchant, &format!("w-{n}")).await.expect(201);
            app.get(&chain.auditor, "/audit/events").await.expect(200);
            if n % 3 == 0 {
                seal_all(app).await;
            }
        }
    };
    let checking = async {
        let mut checks = 0;
        for _ in 0..15 {
            let report = chain.verify_by(&public_keys(), ChainPart::default()).await;
            assert_eq!(report.finding, None, "check {checks}");
            checks += 1;
        }
        checks
    };
    let ((), checks) = tokio::join!(writing, checking);
    worker.stop().await;
    app.run_jobs_to_the_end().await;
    seal_all(app).await;
    let report = chain.expect_verified().await;
    assert!(checks == 15 && report.seals.count > 3, "{report:?}");
    chain.app.finish().await;
}

#[tokio::test]
async fn records_that_no_memory_should_hold_at_once_are_checked_one_by_one() {
    let chain = Chain::new().await;
    let (_, template) = chain.record(1, "events").await;
    let large: Vec<Document> = (0..5)
        .map(|n| {
            let mut event = template.clone();
            event.insert("_id", new_id("evt"));
            event.insert("note", n.to_string().repeat(10 * 1024 * 1024));
            event
        })
        .collect();
    for event in &large {
        chain.write("events", event).await;
    }
    seal_all(&chain.app).await;
    chain.expect_verified().await;
    for at in [0, 4] {
        let mut changed = large[at].clone();
        changed.insert("note", "short");
        chain.put("events", &changed).await;
        let finding = chain.finding().await;
        let named = (finding.kind, finding.record_id.as_deref());
        assert_eq!(named, (FindingKind::RecordChanged, changed.get_str("_id").ok()), "{finding}");
        chain.remove("events", changed.get_str("_id").unwrap()).await;
        let finding = chain.finding().await;
        let named = (finding.kind, finding.record_id.as_deref());
        assert_eq!(named, (FindingKind::RecordRemoved, changed.get_str("_id").ok()), "{finding}");
        chain.put("events", &large[at]).await;
    }
    chain.expect_verified().await;
    for event in &large {
        chain.remove("events", event.get_str("_id").unwrap()).await;
    }
    chain.app.finish().await;
}
