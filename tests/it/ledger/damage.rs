//! Books that were damaged by hand: reconciliation and the command line name what differs, both the same.

use std::{collections::BTreeSet, process::Output};

use bson::{Document, doc};
use tokio::process::Command;
use waybill::platform::identity::Role;

use crate::support::{TestApp, User};

/// An order that the carrier has, and one that waits.
struct Scene {
    app: TestApp,
    user: User,
    auditor: User,
    confirmed: String,
    waiting: String,
    /// Of the order that waits.
    hold: String,
    wallet: String,
}

impl Scene {
    async fn new() -> Self {
        let app = TestApp::start().await;
        let user = app.merchant().await;
        let confirmed = app.confirmed(&user, "c-1").await;
        let waiting = app.created(&user, "c-2").await;
        let order = app.all("orders", doc! { "_id": &waiting }).await.remove(0);
        let hold = order.get_document("billing").unwrap().get_str("holdId").unwrap().to_owned();
        let wallet = format!("wal_{}_INR", user.user_id.strip_prefix("usr_").unwrap());
        let auditor = app.user(Role::Auditor).await;
        let scene = Self { app, user, auditor, confirmed, waiting, hold, wallet };
        scene.differs(&[]).await;
        scene
    }

    async fn transaction(&self, reference_id: &str, booking: &str) -> String {
        let filter = doc! { "referenceId": reference_id, "referenceKind": booking };
        self.app.all("ledger_transactions", filter).await[0].get_str("_id").unwrap().to_owned()
    }

    async fn delete(&self, collection: &str, id: &str) {
        let deleted = self.app.db().collection::<Document>(collection).delete_one(doc! { "_id": id }).await.unwrap();
        assert_eq!(deleted.deleted_count, 1);
    }

    async fn add(&self, collection: &str, id: &str, field: &str, amount: i64) {
        let documents = self.app.db().collection::<Document>(collection);
        let updated = documents.update_one(doc! { "_id": id }, doc! { "$inc": { field: amount } }).await.unwrap();
        assert_eq!(updated.modified_count, 1);
    }

    /// `waybill ledger check`, as an operator runs it.
    async fn check(&self) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
        program.args(["ledger", "check"]).env("MONGODB_URI", &self.app.mongodb_uri).output().await.unwrap()
    }

    /// Exactly these checks name these things, in the answer of the API and on the command line.
    async fn differs(&self, expected: &[(&str, &str)]) {
        let expected: BTreeSet<(String, String)> =
            expected.iter().map(|(check, subject)| ((*check).to_owned(), (*subject).to_owned())).collect();

        let report = self.app.get(&self.auditor, "/finance/reconciliation").await.expect(200).body;
        let listed = report["differences"].as_array().unwrap().iter();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let found: BTreeSet<_> =
            listed.map(|difference| (text(&difference["check"]), text(&difference["subject"]))).collect();
        assert_eq!(found, expected, "{report:#}");
        assert_eq!(report["differenceCount"], expected.len());
        assert!(report["checked"]["ledger_transactions"].as_u64().unwrap() > 0, "{report:#}");

        let output = self.check().await;
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!expected.is_empty())), "{printed}");
        let (differences, summary): (Vec<&str>, Vec<&str>) =
            printed.lines().partition(|line| line.contains(": expected "));
        let named: BTreeSet<_> = differences
            .iter()
            .map(|line| {
                let (check, rest) = line.split_once(' ').unwrap();
                (check.to_owned(), rest.trim_start().split(':').next().unwrap().to_owned())
            })
            .collect();
        assert_eq!(named, expected, "{printed}");
        assert_eq!(summary.len(), 1, "{printed}");
        assert!(summary[0].ends_with(&format!(": {} difference(s)", expected.len())), "{printed}");
    }
}

#[tokio::test]
async fn whatever_is_damaged_is_named_and_nothing_else() {
    let scene = crate::each_on!(
        Scene::new().await,
        a_lines_amount,
        an_older_lines_balance,
        a_gap_in_the_sequence,
        a_transaction_without_lines,
        both_sides_of_a_capture,
        a_wallets_balance,
        a_deleted_wallet,
        a_deleted_hold,
        a_deleted_transaction,
        a_deleted_capture,
        an_orders_status,
        a_holds_state,
        a_deleted_order,
        somebody_elses_hold,
        a_holds_amount,
        documents_that_can_not_be_read,
        a_job_that_is_dead,
        a_top_up_and_its_credit,
    );
    scene.app.finish().await;
}

async fn a_lines_amount(scene: &Scene) {
    let id = scene.transaction(&scene.confirmed, "hold").await;
    scene.add("ledger_transactions", &id, "lines.0.amount", 1).await;
    let names =
        [("transaction.balance", &*id), ("transaction.available_after", &id), ("wallet.available", &scene.wallet)];
    scene.differs(&names).await;
}

async fn an_older_lines_balance(scene: &Scene) {
    let id = scene.transaction(&scene.confirmed, "hold").await;
    let next = scene.transaction(&scene.waiting, "hold").await;
    scene.add("ledger_transactions", &id, "availableAfter", 1).await;
    let name = "transaction.available_after";
    scene.differs(&[(name, &id), (name, &next)]).await;
}

async fn a_gap_in_the_sequence(scene: &Scene) {
    let opening = scene.transaction(&scene.user.user_id, "opening_credit").await;
    scene.add("ledger_transactions", &opening, "walletSeq", -5).await;
    let hold = scene.transaction(&scene.confirmed, "hold").await;
    let next = scene.transaction(&scene.waiting, "hold").await;
    // The line that lost its number leaves all that follow without their predecessor.
    let names = [
        ("transaction.sequence", &*hold),
        ("transaction.available_after", &hold),
        ("transaction.sequence", &next),
        ("wallet.sequence", &scene.wallet),
    ];
    scene.differs(&names).await;
}

async fn a_transaction_without_lines(scene: &Scene) {
    let id = scene.transaction(&scene.waiting, "hold").await;
    let ledger = scene.app.db().collection::<Document>("ledger_transactions");
    ledger.update_one(doc! { "_id": &id }, doc! { "$unset": { "lines": 1 } }).await.unwrap();
    let names = [
        ("transaction.balance", &*id),
        ("transaction.available_after", &id),
        ("wallet.available", &scene.wallet),
        ("hold.held", &scene.hold),
        ("wallet.held", &scene.wallet),
    ];
    scene.differs(&names).await;
}

async fn both_sides_of_a_capture(scene: &Scene) {
    let id = scene.transaction(&scene.confirmed, "capture").await;
    let hold = scene.app.all("holds", doc! { "referenceId": &scene.confirmed }).await.remove(0);
    scene.add("ledger_transactions", &id, "lines.0.amount", -1).await;
    scene.add("ledger_transactions", &id, "lines.1.amount", 1).await;
    let hold = hold.get_str("_id").unwrap();
    scene.differs(&[("hold.held", hold), ("hold.captured", hold), ("wallet.held", &scene.wallet)]).await;
}

async fn a_wallets_balance(scene: &Scene) {
    scene.add("wallets", &scene.wallet, "available", 1).await;
    scene.differs(&[("wallet.available", &scene.wallet), ("wallet.available_after", &scene.wallet)]).await;
}

async fn a_deleted_wallet(scene: &Scene) {
    scene.delete("wallets", &scene.wallet).await;
    scene.differs(&[("wallet.exists", &scene.wallet)]).await;
}

async fn a_deleted_hold(scene: &Scene) {
    scene.delete("holds", &scene.hold).await;
    let named = [("hold.exists", &scene.hold), ("order.hold", &scene.waiting), ("wallet.held", &scene.wallet)];
    scene.differs(&named.map(|(check, subject)| (check, subject.as_str()))).await;
}

async fn a_deleted_transaction(scene: &Scene) {
    let id = scene.transaction(&scene.waiting, "hold").await;
    scene.delete("ledger_transactions", &id).await;
    let of_wallet = ["available", "version", "sequence", "available_after", "held"];
    let of_wallet = of_wallet.map(|check| (format!("wallet.{check}"), scene.wallet.as_str()));
    let mut named: Vec<_> = of_wallet.iter().map(|(check, subject)| (check.as_str(), *subject)).collect();
    named.push(("hold.lines", &scene.hold));
    scene.differs(&named).await;
}

async fn a_deleted_capture(scene: &Scene) {
    let id = scene.transaction(&scene.confirmed, "capture").await;
    let hold = scene.app.all("holds", doc! { "referenceId": &scene.confirmed }).await.remove(0);
    scene.delete("ledger_transactions", &id).await;
    let hold = hold.get_str("_id").unwrap();
    scene.differs(&[("hold.held", hold), ("hold.captured", hold), ("wallet.held", &scene.wallet)]).await;
}

async fn an_orders_status(scene: &Scene) {
    scene.app.update_one("orders", doc! { "_id": &scene.waiting }, doc! { "status": "cancelled" }).await;
    scene.differs(&[("order.hold_state", &scene.waiting)]).await;
    scene.app.update_one("orders", doc! { "_id": &scene.waiting }, doc! { "status": "confirmed" }).await;
    scene.differs(&[("order.hold_state", &scene.waiting), ("order.provider_word", &scene.waiting)]).await;
    scene.app.update_one("orders", doc! { "_id": &scene.waiting }, doc! { "status": "created" }).await;
    scene.app.update_one("orders", doc! { "_id": &scene.confirmed }, doc! { "status": "failed" }).await;
    scene.differs(&[("order.hold_state", &scene.confirmed), ("order.provider_word", &scene.confirmed)]).await;
}

async fn a_holds_state(scene: &Scene) {
    scene.app.update_one("holds", doc! { "_id": &scene.hold }, doc! { "state": "released" }).await;
    let named = [("hold.held", &scene.hold), ("wallet.held", &scene.wallet), ("order.hold_state", &scene.waiting)];
    scene.differs(&named.map(|(check, subject)| (check, subject.as_str()))).await;
}

async fn a_deleted_order(scene: &Scene) {
    scene.delete("orders", &scene.waiting).await;
    scene.differs(&[("hold.order", &scene.hold)]).await;
}

async fn somebody_elses_hold(scene: &Scene) {
    let other = scene.app.merchant().await;
    scene.app.update_one("holds", doc! { "_id": &scene.hold }, doc! { "userId": &other.user_id }).await;
    let theirs = format!("wal_{}_INR", other.user_id.strip_prefix("usr_").unwrap());
    scene
        .differs(&[("order.hold_owner", &scene.waiting), ("wallet.held", &scene.wallet), ("wallet.held", &theirs)])
        .await;
    assert_ne!(scene.user.user_id, other.user_id);
}

async fn a_holds_amount(scene: &Scene) {
    scene.add("holds", &scene.hold, "amount", 1).await;
    let named = [("hold.held", &scene.hold), ("wallet.held", &scene.wallet), ("order.hold_amount", &scene.waiting)];
    scene.differs(&named.map(|(check, subject)| (check, subject.as_str()))).await;
}

async fn documents_that_can_not_be_read(scene: &Scene) {
    scene.app.update_one("wallets", doc! { "_id": &scene.wallet }, doc! { "available": "much" }).await;
    scene.app.update_one("orders", doc! { "_id": &scene.waiting }, doc! { "status": "odd" }).await;
    let named = [("wallet.readable", &scene.wallet), ("order.readable", &scene.waiting), ("hold.order", &scene.hold)];
    scene.differs(&named.map(|(check, subject)| (check, subject.as_str()))).await;
}

/// A job whose payload was damaged dies without its order.
async fn a_job_that_is_dead(scene: &Scene) {
    let of_waiting = doc! { "payload.orderId": &scene.waiting };
    scene.app.update_one("jobs", of_waiting.clone(), doc! { "state": "dead" }).await;
    scene.differs(&[("order.job", &scene.waiting)]).await;
    let job = scene.app.all("jobs", of_waiting).await.remove(0);
    scene.delete("jobs", job.get_str("_id").unwrap()).await;
    scene.differs(&[("order.job", &scene.waiting)]).await;
}

async fn a_top_up_and_its_credit(scene: &Scene) {
    let user = scene.app.merchant_with(0).await;
    let (paid, open) = (scene.app.pending(&user, "paid").await, scene.app.pending(&user, "open").await);
    scene.app.tell(&paid, "pay", serde_json::json!({})).await;
    scene.differs(&[]).await;
    let topup = |id: &str| doc! { "_id": id };
    scene.app.update_one("topups", topup(&paid), doc! { "status": "expired", "transactionId": null }).await;
    scene.differs(&[("topup.credit", &paid)]).await;
    let credit = scene.transaction(&paid, "payment").await;
    scene.app.update_one("topups", topup(&paid), doc! { "status": "paid", "transactionId": &credit }).await;
    scene.differs(&[]).await;
    scene.add("topups", &paid, "amount", 1).await;
    scene.differs(&[("topup.amount", &paid)]).await;
    scene.delete("topups", &paid).await;
    scene.differs(&[("credit.topup", &credit)]).await;
    scene.app.update_one("topups", topup(&open), doc! { "status": "paid" }).await;
    scene.differs(&[("topup.credit", &open), ("credit.topup", &credit)]).await;
    scene.app.update_one("topups", topup(&open), doc! { "status": "pending" }).await;
    scene
        .app
        .update_one("jobs", doc! { "payload.topupId": &open, "kind": "check-payment" }, doc! { "state": "dead" })
        .await;
    scene.differs(&[("topup.job", &open), ("credit.topup", &credit)]).await;
}
