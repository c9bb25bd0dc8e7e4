//! Old records, holds on them, and the chain of seals after they are gone.

use std::collections::{BTreeSet, HashMap};

use bson::{Bson, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use waybill::{
    modules::{
        audit::{
            proof::{ChainVerifier, Finding, NamedRecord, PURGED, Scopes, sign_purge},
            seals::{SealStore, commitment_key_of},
            verification::{ChainPart, verify_chain},
        },
        providers::not_personal,
    },
    platform::{
        batch::SEAL_QUEUE,
        ids::{first_id_at, new_id, time_of_id},
        sealing::SealingKeys,
    },
};

use super::{
    Answer, TestApp, User,
    seals::{public_keys, seals, signing_key},
};

pub const REQUESTS: &str = "provider_request_logs";
pub const RESPONSES: &str = "provider_response_logs";
pub const AUDIT: &str = "audit_events";
/// Calls and accesses are kept for thirty days.
pub const THIRTY_DAYS: &[&str] = &["--retention-provider-calls-days=30", "--retention-access-days=30"];
pub const DAY_MS: i64 = 86_400_000;

/// Makes every call and audit event that is not sealed yet older, and every order: ids of records carry their time.
pub async fn backdate(app: &TestApp, days: i64) {
    let sealed: BTreeSet<String> =
        seals(app).await.into_iter().flat_map(|seal| seal.leaves).map(|leaf| leaf.id).collect();
    let older = |id: &str| {
        let (prefix, at) = (id.split('_').next().unwrap(), time_of_id(id).unwrap());
        let first = first_id_at(prefix, at - days * DAY_MS);
        let time = prefix.len() + 1 + 12;
        format!("{}{}", &first[..time], &id[time..])
    };
    let earlier = doc! { "$subtract": ["$createdAt", days * DAY_MS] };
    let orders = app.db().collection::<Document>("orders");
    orders.update_many(doc! {}, vec![doc! { "$set": { "createdAt": earlier } }]).await.unwrap();
    for collection in [REQUESTS, RESPONSES, AUDIT] {
        for mut record in app.all(collection, doc! {}).await {
            let id = record.get_str("_id").unwrap().to_owned();
            if sealed.contains(&id) {
                continue;
            }
            record.insert("_id", older(&id));
            if let Ok(request) = record.get_str("requestRefId") {
                let request = older(request);
                record.insert("requestRefId", request);
            }
            let records = app.db().collection::<Document>(collection);
            records.insert_one(record).await.unwrap();
            records.delete_one(doc! { "_id": id }).await.unwrap();
        }
    }
    // They wait for their seal under their new ids.
    let queue = app.db().collection::<Document>(SEAL_QUEUE);
    for mut entry in app.all(SEAL_QUEUE, doc! {}).await {
        let waiting = entry.get_document_mut("records").unwrap();
        for (_, named) in
            waiting.iter_mut().filter(|(collection, _)| [REQUESTS, RESPONSES, AUDIT].contains(&collection.as_str()))
        {
            for record in named.as_array_mut().unwrap() {
                let record = record.as_document_mut().unwrap();
                let id = older(record.get_str("id").unwrap());
                record.insert("id", id);
                // The sealer hashes them as they are now.
                record.remove("leafHash");
            }
        }
        queue.replace_one(doc! { "_id": entry.get("_id") }, entry).await.unwrap();
    }
}

/// Ids of records, in their order.
pub async fn ids(app: &TestApp, collection: &str, filter: Document) -> Vec<String> {
    app.all(collection, filter).await.iter().map(|record| record.get_str("_id").unwrap().to_owned()).collect()
}

/// What purge records say: by seal and collection, how many records went and which stayed.
pub async fn purge_records(app: &TestApp) -> HashMap<(i64, String), Vec<(i64, BTreeSet<i64>)>> {
    let mut records: HashMap<_, Vec<_>> = HashMap::new();
    for event in app.all(AUDIT, doc! { "action": "audit.purged" }).await {
        assert_eq!(event.get_str("resourceType").unwrap(), "audit_seal");
        let after = event.get_document("after").unwrap();
        let kept: BTreeSet<i64> = after.get_array("kept").unwrap().iter().map(|seq| seq.as_i64().unwrap()).collect();
        let place =
            (event.get_str("resourceId").unwrap().parse().unwrap(), after.get_str("collection").unwrap().to_owned());
        records.entry(place).or_default().push((after.get_i64("records").unwrap(), kept));
    }
    records
}

/// How many records have been purged, by the purge records.
pub async fn purged(app: &TestApp, collection: &str) -> i64 {
    let records = purge_records(app).await;
    records.iter().filter(|((_, of), _)| of == collection).flat_map(|(_, records)| records).map(|(n, _)| n).sum()
}

/// Reads the whole chain: the first thing found. No record that is there may be covered by a purge record.
pub async fn verify(app: &TestApp) -> Result<(), Finding> {
    let found = verify_by_hand(app).await;
    let sealing = SealingKeys::new(&"0".repeat(64).into(), None).unwrap();
    let report = verify_chain(app.db(), &public_keys(), &sealing, ChainPart::default(), |_| {}).await.unwrap();
    assert_eq!(report.finding, found.clone().err(), "the program says the same");
    found
}

async fn verify_by_hand(app: &TestApp) -> Result<(), Finding> {
    let sealing = SealingKeys::new(&"0".repeat(64).into(), None).unwrap();
    let key = commitment_key_of(app.db(), &sealing).await.unwrap();
    let records = purge_records(app).await;
    let is_purged = |sealed: &NamedRecord<'_>| {
        let of = records.get(&(sealed.seal, sealed.collection.to_owned()));
        of.is_some_and(|records| records.iter().any(|(_, kept)| !kept.contains(&sealed.seq)))
    };
    let (keys, scopes) = (public_keys(), Scopes::standard());
    let store = SealStore::new(app.db().clone());
    let mut verifier = ChainVerifier::new(&keys, scopes, [], is_purged);
    for seal in seals(app).await {
        let mut check = verifier.seal(&seal)?;
        for (seq, leaf) in (seal.first_seq..).zip(&seal.leaves) {
            let record = store.record(leaf).await.unwrap();
            let collection = scopes.of_code(leaf.code).unwrap().collection();
            let at_ms = leaf.at_ms(seal.sealed_at);
            let sealed = NamedRecord { seal: seal.number, seq, collection, leaf, at_ms };
            assert!(record.is_none() || !is_purged(&sealed), "{} is there and counts as purged", leaf.id);
            check.record(collection, &leaf.id, record.as_deref(), &key)?;
        }
        check.finish()?;
    }
    verifier.finish().map(drop)
}

/// Frees the lease of a purge that was killed.
pub async fn end_purge_lease(app: &TestApp) {
    app.update_one("audit_retention", doc! { "_id": "guard" }, doc! { "leaseUntil": bson::DateTime::from_millis(0) })
        .await;
}

/// Values of a field that is personal, wherever it stands in the records, each with its path: `items[].name` is that of every
/// entry, `body.**` every value in `body` but what its provider declares as not personal.
pub async fn values_at(app: &TestApp, collection: &str, path: &str, filter: Document) -> Vec<(String, Bson)> {
    let mut found = Vec::new();
    for record in app.all(collection, filter).await {
        let of = |name: &str| record.get_str(name).unwrap_or_default();
        let stays = not_personal(of("provider"), of("operation"));
        let mut values = Vec::new();
        walk(&Bson::from(record.clone()), String::new(), &mut values);
        let wanted = |at: &str| match path.strip_suffix(".**") {
            Some(field) => at.strip_prefix(field).is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix('.').is_some_and(|below| !stays.contains(&below))
            }),
            None => at == path,
        };
        found.extend(values.into_iter().filter(|(at, _)| wanted(at)));
    }
    found
}

/// Every value of a document that says something, with its path; an erased one is a value.
fn walk(value: &Bson, path: String, found: &mut Vec<(String, Bson)>) {
    match value {
        Bson::Document(fields) if !fields.contains_key("commitment") => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                walk(value, format!("{path}{dot}{name}"), found);
            }
        }
        Bson::Array(entries) => entries.iter().for_each(|entry| walk(entry, format!("{path}[]"), found)),
        Bson::Null => {}
        value => found.push((path, value.clone())),
    }
}

impl TestApp {
    pub async fn hold(&self, admin: &User, kind: &str, id: &str) -> Answer {
        let body = json!({ "kind": kind, "id": id, "reason": "A dispute in court." });
        self.post(admin, "/audit/legal-holds", &body).await
    }

    pub async fn release(&self, admin: &User, hold: &Value) -> Answer {
        let path = format!("/audit/legal-holds/{}", hold["holdId"].as_str().unwrap());
        let body = json!({ "reason": "It was settled." });
        self.request(Method::DELETE, &path, Some(&admin.token), Some(&body)).await
    }
}

/// The purge record that the rule would write, signed by a key: whatever is older than now went from a seal, but for `kept`.
pub fn purge_record(digits: &str, seal: i64, collection: &str, kept: &[i64]) -> Document {
    let id = new_id("aud");
    let after = doc! { "collection": collection, "records": 1_i64, "kept": kept, "classOlderThan": bson::DateTime::now(),
    "keptDays": 30_i64, "trigger": "worker" };
    let after = sign_purge(&id, seal, after, &signing_key(digits));
    doc! { "_id": id, "actor": { "kind": "system", "id": "retention", "role": null, "address": null, "requestId": null },
    "action": PURGED, "resourceType": "audit_seal", "resourceId": seal.to_string(), "userId": null, "outcome": "done",
    "reason": null, "before": null, "after": after, "at": bson::DateTime::now() }
}
