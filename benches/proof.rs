//! How fast records are sealed and checked, without a database.
//!
//! `cargo bench --bench proof`

use std::{hint::black_box, time::Duration};

use bson::{DateTime, RawDocumentBuf, doc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use secrecy::SecretString;
use waybill::modules::audit::{
    AUDIT_EVENTS, RESPONSE_LOGS,
    proof::{
        ChainVerifier, CommitmentKey, Leaf, PublicKeys, Record, Scopes, Seal, SigningKey, Tree, commitment_key,
        leaf_hash,
    },
};

const NOW: DateTime = DateTime::from_millis(1_700_000_000_000);
const RECORDS: usize = 10_000;

/// A response log of 1 KB as a carrier's answer leaves it; what the carrier said is personal.
fn response_log(n: usize) -> (String, RawDocumentBuf) {
    let id = format!("res_0198f0c2b1e07c3e8a41b5d0f3a2{n:04}");
    let document = doc! {
        "_id": &id, "requestRefId": format!("req_0198f0c2b1e07c3e8a41b5d0f3a2{n:04}"),
        "orderId": "ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "userId": "usr_0198f0c2b1e07c3e8a41b5d0f3a2c4e6",
        "clientOrderId": "SHOP-2026-000123", "resourceId": null, "provider": "parcelx", "operation": "create_order",
        "attempt": 1, "jobId": "job_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "workerId": "wrk_0198f0c2b1e07c3e8a41b5d0",
        "accountId": "acc_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "correlationId": "rqs_0198f0c2b1e07c3e8a41b5d0f3a2c4e6",
        "awb": "PX1234567890", "httpStatus": 200,
        "headers": { "content-type": "application/json", "content-length": "412", "date": "Tue, 14 Nov 2023 22:13:20 GMT" },
        "body": {
            "status": true, "responsemsg": "Order created and booked with the courier",
            "data": {
                "awb_number": "PX1234567890", "order_number": "PX-991203", "job_id": null, "lrnum": "",
                "routing_code": "BLR/KOR", "payment_mode": "prepaid", "partner_display_name": "Surface",
                "client_order_id": "ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "courier_code": "SRF", "charges": [41.5, 7.47],
                "courier_name": "[string 16]", "pickup_id": 88123_i64,
            },
        },
        "outcome": "done", "errorClass": null, "errorCode": null, "errorMessage": null, "latencyMs": 183_i64,
        "late": false, "receivedAt": NOW,
    };
    (id, RawDocumentBuf::try_from(&document).expect("BSON"))
}

/// An audit event, of which two fields are personal.
fn audit_event() -> RawDocumentBuf {
    let document = doc! {
        "_id": "aud_0198f0c2b1e07c3e8a41b5d0f3a2c4e6",
        "actor": { "kind": "user", "id": "usr_1", "role": "support", "address": "192.0.2.17", "requestId": "rqs_1" },
        "action": "kyc.application_read", "resourceType": "kyc_application", "resourceId": "kyc_1", "userId": "usr_2",
        "outcome": "done", "reason": "The merchant asked why the check failed.", "before": null, "after": null, "at": NOW,
    };
    RawDocumentBuf::try_from(&document).expect("BSON")
}

fn commitments() -> CommitmentKey {
    commitment_key(&SecretString::from("a secret of this bench"))
}

fn leaves(c: &mut Criterion) {
    let (id, log) = response_log(1);
    let event = audit_event();
    let (scopes, key) = (Scopes::standard(), commitments());
    let mut group = c.benchmark_group("leaf");
    group.throughput(Throughput::Elements(1));
    for (name, collection, document) in [("response log", RESPONSE_LOGS, &log), ("audit event", AUDIT_EVENTS, &event)] {
        let scope = scopes.of_collection(collection).expect("sealed");
        let name = format!("{name} of {} bytes", document.as_bytes().len());
        group.bench_function(name, |b| {
            b.iter(|| leaf_hash(&Record { scope, id: &id, document: black_box(document) }, &key));
        });
    }
    group.finish();
}

fn seals(c: &mut Criterion) {
    let records: Vec<_> = (0..RECORDS).map(response_log).collect();
    let (scopes, key) = (Scopes::standard(), commitments());
    let scope = scopes.of_collection(RESPONSE_LOGS).expect("sealed");
    let signer = SigningKey::new(&SecretString::from("a".repeat(64))).expect("a key");
    let keys = PublicKeys::from_iter([signer.public()]);
    let build = || {
        let records = records.iter().map(|(id, document)| Record { scope, id, document });
        Seal::build(None, NOW, Leaf::of_all(records, &key), scopes, &signer)
    };
    let seal = build();
    let hashes: Vec<_> = seal.leaves.iter().map(|leaf| leaf.hash).collect();
    let stored = bson::serialize_to_vec(&seal).expect("BSON");
    println!("a seal of {RECORDS} leaves has {} bytes", stored.len());

    let mut group = c.benchmark_group("10,000 records");
    group.throughput(Throughput::Elements(RECORDS as u64)).sample_size(20).measurement_time(Duration::from_secs(8));
    group.bench_function("tree", |b| b.iter(|| Tree::new(black_box(&hashes).iter().copied()).root()));
    group.bench_function("seal", |b| b.iter(build));
    group.bench_function("verify", |b| {
        b.iter(|| {
            let mut verifier = ChainVerifier::new(&keys, scopes, [], |_| false);
            let mut check = verifier.seal(&seal).expect("a good seal");
            for (id, document) in &records {
                check.record(RESPONSE_LOGS, id, Some(document), &key).expect("as sealed");
            }
            check.finish().expect("complete");
        });
    });
    group.bench_function("read the stored seal", |b| {
        b.iter(|| bson::deserialize_from_slice::<Seal>(black_box(&stored)).expect("a seal"));
    });
    group.finish();
}

criterion_group!(benches, leaves, seals);
criterion_main!(benches);
