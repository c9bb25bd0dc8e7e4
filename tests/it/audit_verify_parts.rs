//! Parts of a chain: what is outside of a part is not checked, so nothing that it says may hide what is wrong in it.

use bson::{Bson, Document, doc};
use serde_json::Value;
use waybill::{
    modules::audit::{
        proof::{FindingKind, Seal},
        seals::{AUDIT_SEALS, PieceSize, ReadAhead},
        verification::ChainPart,
    },
    platform::{clock::Rfc3339Time, ids::first_id_at},
};

use crate::support::verify::Chain;

impl Chain {
    async fn of_four() -> Self {
        let chain = Self::new().await;
        chain.one_more(4).await;
        chain
    }

    /// What an auditor is told of the time between these seals, the second one not included.
    async fn told(&self, seals: &[Seal], from: i64, to: i64) -> Value {
        let at = |number: i64| Rfc3339Time(seals[number as usize - 1].sealed_at);
        let path = format!("/audit/verification?from={}&to={}", at(from), at(to));
        self.app.get(&self.auditor, &path).await.expect(200).body
    }

    /// What is answered to whoever exports the same seals: status and text.
    async fn exported(&self, seals: &[Seal], from: i64, to: i64) -> (u16, String) {
        let at = |number: i64| Rfc3339Time(seals[number as usize - 1].sealed_at);
        let path = format!("/audit/export?from={}&to={}", at(from), at(to));
        let answer = self.app.get(&self.auditor, &path).await;
        (answer.status.into(), answer.text)
    }
}

#[tokio::test]
async fn a_time_whose_seals_are_gone_is_not_called_verified() {
    let chain = Chain::of_four().await;
    let seals = chain.seals().await;
    let told = chain.told(&seals, 2, 4).await;
    let expected = serde_json::json!({ "first": 2, "last": 3, "count": 2 });
    assert_eq!((&told["complete"], &told["seals"]), (&true.into(), &expected), "{told}");
    assert_eq!(chain.exported(&seals, 2, 4).await.0, 200);
    let found = async |from, to, kind: &str, seal: i64| {
        let told = chain.told(&seals, from, to).await;
        assert_eq!((&told["verified"], &told["complete"]), (&false.into(), &false.into()), "{told}");
        assert_eq!((&told["finding"]["kind"], &told["finding"]["seal"]), (&kind.into(), &seal.into()), "{told}");
    };
    // The seals of the time are gone with their records: all of them, the last of them, the one behind it.
    for gone in [vec![2, 3], vec![3], vec![2]] {
        let mut taken = Vec::new();
        for number in &gone {
            taken.push(chain.stored_seal(*number).await);
            chain.remove(AUDIT_SEALS, *number).await;
        }
        for to in [3, 4] {
            found(2, to, "seal_missing", gone[0]).await;
        }
        let (status, said) = chain.exported(&seals, 2, 4).await;
        assert!(status == 409 && said.contains("is not there"), "{status} {said}");
        for seal in &taken {
            chain.put(AUDIT_SEALS, seal).await;
        }
    }
    // Its time was raised or lowered, so that it does not seem to belong to it.
    let stored = chain.stored_seal(3).await;
    let late = chain.stored_seal(4).await.get_str("sealedAt").unwrap().to_owned();
    for at in ["1970-01-01T00:00:00.001Z", &late, "9999-12-31T23:59:59.999Z"] {
        let mut moved = stored.clone();
        moved.insert("sealedAt", at);
        chain.put(AUDIT_SEALS, &moved).await;
        found(3, 4, "seal_forged", 3).await;
        let (status, said) = chain.exported(&seals, 3, 4).await;
        assert!(status == 409 && said.contains("is not what its key signed"), "{status} {said}");
    }
    let mut unreadable = stored.clone();
    unreadable.insert("sealedAt", Bson::Null);
    chain.put(AUDIT_SEALS, &unreadable).await;
    found(3, 4, "seal_changed", 3).await;
    found(2, 3, "seal_changed", 3).await;
    chain.put(AUDIT_SEALS, &stored).await;
    // A time without a seal: records that were put there are found by the seal behind it.
    let (_, template) = chain.record(1, "events").await;
    let inserted = Document::from_iter(template.into_iter().chain([("_id".into(), first_id_at("evt", 1_000).into())]));
    chain.put("events", &inserted).await;
    let path = "/audit/verification?from=1970-01-01T00:00:00Z&to=1970-01-02T00:00:00Z";
    let told = chain.app.get(&chain.auditor, path).await.expect(200).body;
    assert_eq!(told["finding"]["kind"], "record_inserted", "{told}");
    chain.remove("events", inserted.get_str("_id").unwrap()).await;
    chain.expect_verified().await;
    chain.app.finish().await;
}

#[tokio::test]
async fn seals_outside_of_a_part_pass_nothing_off_as_sealed() {
    let chain = Chain::of_four().await;
    let sealed_at = chain.seals().await[1].sealed_at.timestamp_millis();
    let (_, template) = chain.record(1, "events").await;
    let stored = [chain.stored_seal(3).await, chain.stored_seal(4).await];
    let mut inserted = template;
    let whole = || ChainPart { to_seal: Some(3), ..ChainPart::default() };
    let due = first_id_at("evt", sealed_at - 600_000);
    inserted.insert("_id", &due);
    chain.put("events", &inserted).await;
    let named = |finding: Option<waybill::modules::audit::proof::Finding>| {
        finding.map(|finding| (finding.kind, finding.seal, finding.record_id))
    };
    let expected = Some((FindingKind::RecordInserted, 3, Some(due.clone())));
    assert_eq!(named(chain.verify(whole()).await.finding), expected);
    // Its name is appended to a seal behind the part, in one column and in all of them.
    let name = |seal: &Document, columns: usize| {
        let mut named = seal.clone();
        let leaves = named.get_document_mut("leaves").unwrap();
        leaves.get_array_mut("ids").unwrap().push(due.clone().into());
        for (column, bytes) in [("codes", vec![3]), ("hashes", vec![0; 32])].into_iter().take(columns) {
            let Some(Bson::Binary(column)) = leaves.get_mut(column) else { panic!("a column") };
            column.bytes.extend(bytes);
        }
        named
    };
    for columns in 0..3 {
        chain.put(AUDIT_SEALS, &name(&stored[1], columns)).await;
        assert_eq!(named(chain.verify(whole()).await.finding), expected, "{columns}, at the end of the chain");
        chain.put(AUDIT_SEALS, &stored[1]).await;
        let earlier = || ChainPart { to_seal: Some(2), ..ChainPart::default() };
        chain.put(AUDIT_SEALS, &name(&stored[0], columns)).await;
        let finding = chain.verify(earlier()).await.finding;
        assert_eq!(named(finding), Some((FindingKind::RecordInserted, 2, Some(due.clone()))), "{columns}");
        chain.put(AUDIT_SEALS, &stored[0]).await;
    }
    // So does a seal of theirs at the end.
    let mut fake = name(&stored[1], 2);
    fake.insert("_id", 5_i64);
    chain.put(AUDIT_SEALS, &fake).await;
    assert_eq!(named(chain.verify(whole()).await.finding), expected);
    chain.remove(AUDIT_SEALS, 5_i64).await;
    chain.remove("events", due.as_str()).await;
    assert_eq!(chain.verify(whole()).await.finding, None);
    chain.expect_verified().await;
    chain.app.finish().await;
}

#[tokio::test]
async fn a_part_of_a_long_chain_reads_its_own_seals_only() {
    const SEALS: i64 = 5_000;
    let chain = Chain::new().await;
    let (db, first) = (chain.app.db(), chain.stored_seal(1).await);
    let seals = db.collection::<Document>(AUDIT_SEALS);
    let more = (4..=SEALS).map(|number| {
        let mut seal = first.clone();
        seal.insert("_id", number);
        seal
    });
    seals.insert_many(more).await.unwrap();
    db.run_command(doc! { "profile": 2 }).await.unwrap();
    let size = PieceSize { records: 500, bytes: 1024 * 1024, seals: 10 };
    let mut reading = ReadAhead::start(db, doc! { "_id": { "$gte": 1_i64, "$lte": 12_i64 } }, size);
    let mut numbers = Vec::new();
    while let Some(seal) = reading.seal().await.unwrap() {
        numbers.push(seal.number);
    }
    db.run_command(doc! { "profile": 0 }).await.unwrap();
    assert_eq!(numbers, Vec::from_iter(1..=12));
    let about = doc! { "ns": format!("{}.{AUDIT_SEALS}", db.name()), "op": { "$in": ["query", "getmore"] } };
    let reads = chain.app.all("system.profile", about).await;
    let examined: i32 = reads.iter().map(|read| read.get_i32("docsExamined").unwrap()).sum();
    assert_eq!((reads.len(), examined), (2, 12), "a page of ten, and the two that are left");
    seals.delete_many(doc! { "_id": { "$gt": 3_i64 } }).await.unwrap();
    chain.app.finish().await;
}
