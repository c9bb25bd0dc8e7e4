//! Records that match, with proofs: all of them, no others, and by an index where there is one.

use std::collections::BTreeSet;

use bson::{Document, doc};
use serde_json::json;
use waybill::platform::{clock::Rfc3339Time, ids::time_of_id};

use super::{Scene, read::File};
use crate::support::seals::{seal_all, write_records};

const COLLECTIONS: [&str; 5] =
    ["provider_request_logs", "provider_response_logs", "events", "audit_events", "ledger_transactions"];

/// Ids of what is stored like this in each of the collections; none where a collection has no such field.
async fn stored(scene: &Scene, like: [Option<Document>; 5]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for (collection, like) in COLLECTIONS.into_iter().zip(like) {
        if let Some(like) = like {
            let found = scene.app.all(collection, like).await;
            ids.extend(found.iter().map(|record| record.get_str("_id").unwrap().to_owned()));
        }
    }
    ids
}

#[tokio::test]
async fn selections_are_what_they_name() {
    let scene = crate::each_on!(
        Scene::set().await,
        every_filter_gives_what_is_like_it_with_proofs,
        times_narrow_a_selection_down_record_by_record,
        a_key_that_few_share_is_found_by_its_index,
    );
    scene.app.finish().await;
}

async fn every_filter_gives_what_is_like_it_with_proofs(scene: &Scene) {
    let [confirmed, _, twice, other] = &scene.orders;
    let user = &scene.asha.user_id;
    let answer = scene.app.answers(other).await.remove(0);
    let (awb, correlation) = (answer.get_str("awb").unwrap(), answer.get_str("correlationId").unwrap());
    let call = |like: Document| [Some(like.clone()), Some(like), None, None, None];
    let every = |like: Document, other: Document| {
        [Some(like.clone()), Some(like), Some(other.clone()), Some(other.clone()), Some(other)]
    };
    let answered: Vec<String> = scene
        .app
        .all("provider_response_logs", doc! { "awb": awb })
        .await
        .iter()
        .map(|answer| answer.get_str("requestRefId").unwrap().to_owned())
        .collect();
    assert!(!answered.is_empty());
    let only = |at: usize, like: Document| {
        let mut all = [const { None }; 5];
        all[at] = Some(like);
        all
    };
    let about = |id: &str| {
        [
            Some(doc! { "orderId": id }),
            Some(doc! { "orderId": id }),
            Some(doc! { "subjectId": id }),
            Some(doc! { "resourceId": id }),
            Some(doc! { "referenceId": { "$regex": format!("^{id}") } }),
        ]
    };
    for (query, like) in [
        (format!("orderId={twice}"), about(twice)),
        (format!("userId={user}"), every(doc! { "userId": user }, doc! { "userId": user })),
        ("clientOrderId=c-1".into(), call(doc! { "clientOrderId": "c-1" })),
        (
            format!("correlationId={correlation}"),
            every(doc! { "correlationId": correlation }, doc! { "actor.requestId": correlation }),
        ),
        (
            format!("awb={awb}"),
            [Some(doc! { "_id": { "$in": &answered } }), Some(doc! { "awb": awb }), None, None, None],
        ),
        ("provider=parcelx".into(), call(doc! { "provider": "parcelx" })),
        ("operation=look_up_order".into(), call(doc! { "operation": "look_up_order" })),
        ("collection=events".into(), only(2, doc! {})),
        ("collection=ledger_transactions,events".into(), [None, None, Some(doc! {}), None, Some(doc! {})]),
        (format!("collection=events&userId={user}"), only(2, doc! { "userId": user })),
        (format!("userId={user}&operation=create_order"), call(doc! { "userId": user, "operation": "create_order" })),
        (format!("clientOrderId=c-1&userId={user}"), call(doc! { "clientOrderId": "c-1", "userId": user })),
        (format!("orderId={confirmed}&collection=provider_response_logs"), only(1, doc! { "orderId": confirmed })),
        (format!("awb={awb}&userId={user}"), call(doc! { "awb": "of another merchant" })),
        ("orderId=ord_nothing".into(), about("ord_nothing")),
    ] {
        let expected = stored(scene, like).await;
        let file = File::read(&scene.export(&query).await);
        file.check_proofs();
        assert_eq!(file.manifest["mode"], "selection");
        let ids = file.ids();
        assert_eq!(ids.iter().cloned().collect::<BTreeSet<_>>(), expected, "{query}");
        assert_eq!(ids.len(), expected.len(), "{query}: once each");
        let nothing = query.contains("ord_nothing") || query.starts_with("awb") && query.contains("userId");
        assert_eq!(expected.is_empty(), nothing, "{query}");
        // Exports before this one are not sealed; they are of all users' audit events, or of the one asked for.
        assert_eq!(file.manifest["purged"], 0);
    }
}

async fn times_narrow_a_selection_down_record_by_record(scene: &Scene) {
    let user = &scene.asha.user_id;
    for query in [format!("userId={user}"), "collection=events".into(), "provider=parcelx".into()] {
        let all = File::read(&scene.export(&query).await).ids();
        let mut times: Vec<i64> = all.iter().map(|id| time_of_id(id).unwrap()).collect();
        times.sort_unstable();
        let middle = times[times.len() / 2];
        let time = Rfc3339Time(bson::DateTime::from_millis(middle));
        for (bound, later) in [("from", true), ("to", false)] {
            let file = File::read(&scene.export(&format!("{query}&{bound}={time}")).await);
            file.check_proofs();
            let expected = all.iter().filter(|id| (time_of_id(id).unwrap() >= middle) == later);
            let (found, expected): (BTreeSet<_>, BTreeSet<_>) =
                (file.ids().into_iter().collect(), expected.cloned().collect());
            assert!(!found.is_empty() && found.len() < all.len(), "{query}: {bound} cuts");
            assert_eq!(found, expected, "{query}, {bound}");
        }
    }
}

#[tokio::test]
async fn a_late_answer_exports_its_request_once_and_unsealed_ones_count() {
    let scene = Scene::set().await;
    let other = &scene.orders[3];
    let answer = scene.app.answers(other).await.into_iter().find(|answer| answer.get_str("awb").is_ok()).unwrap();
    let awb = answer.get_str("awb").unwrap();
    let before = File::read(&scene.export(&format!("awb={awb}")).await);
    // More answers to the same request than a page holds, by hand; none of them is sealed.
    let late = (0..300).map(|_| {
        let mut late = answer.clone();
        late.insert("_id", waybill::platform::ids::new_id("res"));
        late
    });
    write_records(&scene.app, "provider_response_logs", &late.collect::<Vec<_>>()).await;
    for query in [format!("awb={awb}"), format!("awb={awb}&provider=parcelx")] {
        let file = File::read(&scene.export(&query).await);
        file.check_proofs();
        assert_eq!(file.ids(), before.ids(), "{query}");
        assert_eq!((&file.manifest["unsealed"], &before.manifest["unsealed"]), (&json!(300), &json!(0)));
    }
    let correlation = answer.get_str("correlationId").unwrap();
    let query = format!("correlationId={correlation}&collection=provider_response_logs");
    assert_eq!(File::read(&scene.export(&query).await).manifest["unsealed"], 300);
    seal_all(&scene.app).await;
    let file = File::read(&scene.export(&format!("awb={awb}")).await);
    file.check_proofs();
    assert_eq!(file.records.len(), before.records.len() + 300);
    scene.app.finish().await;
}

async fn a_key_that_few_share_is_found_by_its_index(scene: &Scene) {
    let user = &scene.asha.user_id;
    for (query, collections, index) in [
        (format!("orderId={}", scene.orders[0]), &COLLECTIONS[..], "Id: 1"),
        (format!("userId={user}&collection=audit_events,ledger_transactions"), &COLLECTIONS[3..], "{ userId: 1, _id: "),
        (
            "clientOrderId=c-1&collection=provider_request_logs".into(),
            &COLLECTIONS[..1],
            "{ clientOrderId: 1, _id: 1 }",
        ),
        (
            "correlationId=rqs_1&collection=provider_request_logs".into(),
            &COLLECTIONS[..1],
            "{ correlationId: 1, _id: 1 }",
        ),
        ("correlationId=rqs_1&collection=audit_events".into(), &COLLECTIONS[3..4], "{ actor.requestId: 1, _id: 1 }"),
        ("correlationId=rqs_1&collection=events".into(), &COLLECTIONS[2..3], "{ actor.requestId: 1, _id: 1 }"),
        (format!("userId={user}&collection=events"), &COLLECTIONS[2..3], "{ userId: 1, _id: 1 }"),
        ("awb=1&collection=provider_response_logs".into(), &COLLECTIONS[1..2], "{ awb: 1, _id: 1 }"),
        (format!("userId={user}&collection=provider_response_logs"), &COLLECTIONS[..2], "{ "),
    ] {
        let db = scene.app.db();
        db.run_command(doc! { "profile": 2 }).await.unwrap();
        scene.export(&query).await;
        db.run_command(doc! { "profile": 0 }).await.unwrap();
        for collection in collections {
            let namespace = format!("{}.{collection}", db.name());
            let about = doc! { "ns": namespace, "op": { "$in": ["query", "getmore"] } };
            let carried_out = scene.app.all("system.profile", about).await;
            assert!(!carried_out.is_empty(), "{query} asked nothing of {collection}");
            for operation in carried_out {
                let plan = operation.get_str("planSummary").unwrap_or("none");
                assert!(plan.starts_with("IXSCAN") && plan.contains(index), "{query}: {plan} in {operation}");
                assert!(plan != "IXSCAN { _id: 1 }", "{query} walks {collection}");
            }
        }
        db.collection::<Document>("system.profile").drop().await.unwrap();
    }
}
