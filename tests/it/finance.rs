//! What finance books: once for each reference, as asked for or not at all.

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::{identity::Role, ids::new_id};

use crate::support::{
    PLENTY, TestApp, User,
    drive::{remove, set},
};

/// What `POST /finance/transactions` takes, in paise.
pub fn booking(reference: &str, kind: &str, user: &User, amount: i64) -> Value {
    json!({ "clientReference": reference, "kind": kind, "userId": user.user_id, "reason": "For a test",
        "amount": { "amount": amount, "currency": "INR" } })
}

/// The same with one thing changed.
pub fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    set(&mut body, pointer, value);
    body
}

/// A transfer between two wallets.
pub fn transfer(reference: &str, payer: &User, payee: &User, amount: i64) -> Value {
    with(booking(reference, "transfer", payer, amount), "/toUserId", json!(payee.user_id))
}

/// A correction against the user.
pub fn debit(reference: &str, user: &User, amount: i64) -> Value {
    with(booking(reference, "adjustment", user, amount), "/direction", json!("debit"))
}

/// Books it; gives what was answered.
pub async fn booked(app: &TestApp, finance: &User, body: &Value) -> Value {
    app.post(finance, "/finance/transactions", body).await.expect(201).body
}

fn reversal(reference: &str) -> Value {
    json!({ "clientReference": reference, "reason": "Booked by mistake" })
}

fn reverse_path(transaction: &Value) -> String {
    format!("/finance/transactions/{}/reverse", transaction["transactionId"].as_str().unwrap())
}

/// Wallets and ledger, to compare with later.
async fn books(app: &TestApp) -> (Vec<Document>, Vec<Document>) {
    (app.all("wallets", doc! {}).await, app.all("ledger_transactions", doc! {}).await)
}

/// Accounts and amounts of a transaction's lines.
fn lines(transaction: &Value) -> Vec<(String, i64)> {
    let line = |line: &Value| (line["account"].as_str().unwrap().to_owned(), line["amount"].as_i64().unwrap());
    transaction["lines"].as_array().unwrap().iter().map(line).collect()
}

fn line(account: &str, amount: i64) -> (String, i64) {
    (account.to_owned(), amount)
}

#[tokio::test]
async fn finance_books_recharges_corrections_and_transfers() {
    let app = TestApp::start().await;
    let (finance, asha, ravi) = (app.user(Role::Finance).await, app.merchant_with(0).await, app.merchant_with(0).await);

    let recharge = booked(&app, &finance, &booking("NEFT-1", "recharge", &asha, 1_000)).await;
    assert_eq!(lines(&recharge), [line("wallet.available", 1_000), line("settlement.cash", -1_000)]);
    assert_eq!(recharge["reference"], json!({ "type": "finance", "id": "NEFT-1", "kind": "transaction" }));
    for (field, value) in [
        ("kind", json!("recharge")),
        ("userId", json!(asha.user_id)),
        ("amount", json!(1_000)),
        ("currency", json!("INR")),
        ("sequence", json!(1)),
        ("availableAfter", json!(1_000)),
        ("clientReference", json!("NEFT-1")),
        ("reason", json!("For a test")),
        ("actor", json!(finance.user_id)),
        ("reverses", Value::Null),
        ("holdId", Value::Null),
    ] {
        assert_eq!(recharge[field], value, "{field}");
    }

    let up = booked(&app, &finance, &booking("ADJ-1", "adjustment", &asha, 50)).await;
    assert_eq!(lines(&up), [line("wallet.available", 50), line("adjustments", -50)]);
    let down = booked(&app, &finance, &debit("ADJ-2", &asha, 30)).await;
    assert_eq!(lines(&down), [line("wallet.available", -30), line("adjustments", 30)]);
    assert_eq!((&down["amount"], &down["sequence"], &down["availableAfter"]), (&json!(-30), &json!(3), &json!(1_020)));

    let sent = booked(&app, &finance, &transfer("TR-1", &asha, &ravi, 20)).await;
    assert_eq!(lines(&sent), [line("wallet.available", -20), line("transfers", 20)]);
    assert_eq!((app.balance(&asha).await, app.balance(&ravi).await), ((1_000, 0), (20, 0)));
    let received = app.get(&ravi, "/wallet/ledger").await.expect(200).body["items"][0].clone();
    assert_eq!((&received["amount"], &received["reference"]["kind"]), (&json!(20), &json!("transfer_in")));

    // Down to the last paisa, and not below.
    let answer = app.post(&finance, "/finance/transactions", &debit("ADJ-3", &asha, 1_001)).await.expect(402);
    assert_eq!(answer.code(), "wallet.insufficient_funds");
    assert_eq!(answer.body["needed"], json!({ "amount": 1_001, "currency": "INR" }));
    assert_eq!(answer.body["available"], json!({ "amount": 1_000, "currency": "INR" }));
    app.post(&finance, "/finance/transactions", &transfer("TR-2", &ravi, &asha, 21)).await.expect(402);
    booked(&app, &finance, &debit("ADJ-3", &asha, 1_000)).await;
    assert_eq!((app.balance(&asha).await, app.balance(&ravi).await), ((0, 0), (20, 0)));
    app.finish().await;
}

#[tokio::test]
async fn the_same_reference_is_the_same_transaction_for_ever() {
    let app = TestApp::start().await;
    let (finance, other_clerk) = (app.user(Role::Finance).await, app.user(Role::Finance).await);
    let (asha, ravi) = (app.merchant_with(1_000).await, app.merchant_with(0).await);
    for body in [booking("B-1", "recharge", &asha, 5), debit("B-2", &asha, 5), transfer("B-3", &asha, &ravi, 5)] {
        let answers = join_all((0..20).map(|_| app.post(&finance, "/finance/transactions", &body))).await;
        let first = answers.iter().find(|answer| answer.status == 201).expect("one is booked").body.clone();
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{body}");
        let later = app.post(&other_clerk, "/finance/transactions", &body).await;
        for answer in answers.into_iter().chain([later]) {
            assert_eq!(answer.body, first);
            let replayed = answer.headers.get("idempotent-replayed").map(|value| value.to_str().unwrap());
            assert_eq!(replayed, (answer.status == 200).then_some("true"), "{}", answer.text);
        }
    }
    assert_eq!((app.balance(&asha).await, app.balance(&ravi).await), ((995, 0), (5, 0)));
    assert_eq!(
        app.all("ledger_transactions", doc! {}).await.len(),
        5,
        "the credit, three, and a transfer's other half"
    );

    // Defaults spelled out mean the same.
    let plain = booking("B-4", "adjustment", &asha, 7);
    booked(&app, &finance, &plain).await;
    app.post(&finance, "/finance/transactions", &with(plain, "/direction", json!("credit"))).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn a_reference_with_another_meaning_is_refused_and_nothing_is_booked() {
    let app = TestApp::start().await;
    let finance = app.user(Role::Finance).await;
    let (asha, ravi, third) = (app.merchant().await, app.merchant().await, app.merchant().await);
    let recharge = booking("R", "recharge", &asha, 100);
    let adjustment = booking("A", "adjustment", &asha, 100);
    let moved = transfer("T", &asha, &ravi, 100);
    for body in [&recharge, &adjustment, &moved] {
        booked(&app, &finance, body).await;
    }
    let before = books(&app).await;
    let mut to_third = moved.clone();
    remove(&mut to_third, "/toUserId");
    for (what, body) in [
        ("kind", with(recharge.clone(), "/kind", json!("adjustment"))),
        ("user", with(recharge.clone(), "/userId", json!(ravi.user_id))),
        ("amount", with(recharge.clone(), "/amount/amount", json!(101))),
        ("currency", with(recharge.clone(), "/amount/currency", json!("KWD"))),
        ("reason", with(recharge.clone(), "/reason", json!("For a  test"))),
        ("direction", with(adjustment.clone(), "/direction", json!("debit"))),
        ("a recharge of a correction", with(adjustment.clone(), "/kind", json!("recharge"))),
        ("payee", with(moved.clone(), "/toUserId", json!(third.user_id))),
        ("payer", with(moved.clone(), "/userId", json!(third.user_id))),
        ("both turned round", transfer("T", &ravi, &asha, 100)),
        ("no transfer", with(to_third, "/kind", json!("recharge"))),
        ("a transfer", transfer("R", &asha, &ravi, 100)),
    ] {
        let answer = app.post(&finance, "/finance/transactions", &body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (422, "finance.idempotency_mismatch"), "{what}");
    }
    assert_eq!(books(&app).await, before);
    app.finish().await;
}

#[tokio::test]
async fn a_recharge_and_a_correction_are_reversed_once() {
    let app = TestApp::start().await;
    let (finance, user) = (app.user(Role::Finance).await, app.merchant_with(1_000).await);
    for (n, (body, balance)) in [
        (booking("A", "recharge", &user, 100), 1_100),
        (booking("B", "adjustment", &user, 100), 1_100),
        (debit("C", &user, 100), 900),
    ]
    .into_iter()
    .enumerate()
    {
        let original = booked(&app, &finance, &body).await;
        assert_eq!(app.balance(&user).await, (balance, 0));
        let path = reverse_path(&original);
        let name = format!("REV-{n}");
        let body = reversal(&name);
        let requests = (0..10).map(|_| app.post(&finance, &path, &body));
        // Ten at once: one is booked, the others are told of it.
        let answers = join_all(requests).await;
        let reversed = answers.iter().find(|answer| answer.status == 201).expect("one is booked").body.clone();
        assert_eq!(reversed["reverses"], original["transactionId"]);
        assert_eq!((&reversed["kind"], &reversed["reason"]), (&json!("reversal"), &json!("Booked by mistake")));
        let opposite: Vec<_> = lines(&original).into_iter().map(|(account, amount)| (account, -amount)).collect();
        assert_eq!(lines(&reversed), opposite);
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        let later = [app.post(&finance, &path, &body).await];
        for answer in answers.into_iter().filter(|answer| answer.status != 201).chain(later) {
            let answer = answer.expect(200);
            assert_eq!(answer.headers["idempotent-replayed"], "true");
            assert_eq!(answer.body, reversed);
        }
        let under_another = app.post(&finance, &path, &reversal("X")).await.expect(409);
        assert_eq!(
            (under_another.code(), &under_another.body["transactionId"]),
            ("finance.already_reversed", &reversed["transactionId"])
        );
        assert_eq!(app.balance(&user).await, (1_000, 0), "{n}");
        let again = app.post(&finance, &reverse_path(&reversed), &reversal("AGAIN")).await.expect(409);
        assert_eq!(again.code(), "finance.not_reversible", "a reversal stays");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_reference_stands_for_one_booking_or_one_reversal() {
    let app = TestApp::start().await;
    let (finance, user) = (app.user(Role::Finance).await, app.merchant_with(1_000).await);
    let one = booked(&app, &finance, &booking("A", "recharge", &user, 100)).await;
    let two = booked(&app, &finance, &booking("B", "recharge", &user, 100)).await;
    app.post(&finance, &reverse_path(&one), &reversal("REV")).await.expect(201);
    let before = books(&app).await;
    let mut reworded = reversal("REV");
    reworded["reason"] = json!("For another reason");
    let reverse = |original: &Value, body: Value| (reverse_path(original), body);
    let book = |body: Value| ("/finance/transactions".to_owned(), body);
    for (what, (path, body)) in [
        ("a reversal of another", reverse(&two, reversal("REV"))),
        ("another reason", reverse(&one, reworded)),
        ("a booking's", reverse(&two, reversal("A"))),
        ("its own booking's", reverse(&two, reversal("B"))),
        ("a booking with a reversal's", book(booking("REV", "recharge", &user, 100))),
    ] {
        let answer = app.post(&finance, &path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (422, "finance.idempotency_mismatch"), "{what}");
    }
    assert_eq!(books(&app).await, before);

    // What was booked before names were noted.
    app.db().collection::<bson::Document>("finance_references").drop().await.unwrap();
    app.post(&finance, &reverse_path(&one), &reversal("REV")).await.expect(200);
    let taken = app.post(&finance, &reverse_path(&two), &reversal("A")).await.expect(422);
    assert_eq!(taken.code(), "finance.idempotency_mismatch");
    app.post(&finance, &reverse_path(&two), &reversal("REV-2")).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn what_is_spent_or_belongs_to_an_order_is_not_reversed() {
    let app = TestApp::start().await;
    let (finance, auditor) = (app.user(Role::Finance).await, app.user(Role::Auditor).await);
    let (asha, ravi) = (app.merchant_with(0).await, app.merchant_with(0).await);
    let recharge = booked(&app, &finance, &booking("A", "recharge", &asha, PLENTY)).await;
    let sent = booked(&app, &finance, &transfer("B", &asha, &ravi, 1)).await;
    let before = books(&app).await;
    let spent = app.post(&finance, &reverse_path(&recharge), &reversal("R")).await.expect(402);
    assert_eq!(spent.code(), "wallet.insufficient_funds");
    assert_eq!(
        app.post(&finance, &reverse_path(&sent), &reversal("R")).await.expect(409).code(),
        "finance.not_reversible"
    );
    for nothing in ["txn_00000000000000000000000000000000", "txn_1", "%7B%22$ne%22:1%7D"] {
        let path = format!("/finance/transactions/{nothing}/reverse");
        assert_eq!(app.post(&finance, &path, &reversal("R")).await.expect(404).code(), "finance.not_found");
    }
    for (body, blamed) in [
        (json!({ "clientReference": "R" }), "reason:required"),
        (json!({ "clientReference": "R", "reason": "no" }), "reason:length"),
        (json!({ "clientReference": "", "reason": "A reason" }), "clientReference:format"),
        (json!({ "clientReference": "R", "reason": "A reason", "amount": 1 }), "amount:unknown"),
    ] {
        assert_eq!(app.post(&finance, &reverse_path(&recharge), &body).await.expect(422).blamed(), [blamed]);
    }
    assert_eq!(books(&app).await, before);

    booked(&app, &finance, &booking("C", "recharge", &asha, 1)).await;
    app.confirmed(&asha, "c-1").await;
    let all = app.get(&auditor, "/finance/ledger?referenceType=order").await.expect(200).body;
    let kinds: Vec<_> = all["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["freight_capture", "freight_hold"]);
    for of_order in all["items"].as_array().unwrap() {
        let refused = app.post(&finance, &reverse_path(of_order), &reversal("R")).await.expect(409);
        assert_eq!(refused.code(), "finance.not_reversible", "{of_order}");
    }
    app.finish().await;
}

#[tokio::test]
async fn what_is_not_acceptable_is_named_and_nothing_is_booked() {
    let app = TestApp::start().await;
    let (finance, user, other) = (app.user(Role::Finance).await, app.merchant().await, app.merchant().await);
    let good = booking("B-1", "recharge", &user, 5);
    let nobody = json!(new_id("usr"));
    let before = books(&app).await;
    for (pointer, value, blamed) in [
        ("/userId", nobody.clone(), "userId:unknown_value"),
        ("/userId", json!("usr_1"), "userId:format"),
        ("/userId", json!({ "$ne": 1 }), "userId:type"),
        ("/amount/amount", json!(0), "amount.amount:range"),
        ("/amount/amount", json!(-1), "amount.amount:range"),
        ("/amount/amount", json!(1_000_000_000_000_001_i64), "amount.amount:range"),
        ("/amount/amount", json!("5"), "amount.amount:type"),
        ("/amount/amount", json!(1.5), "amount.amount:type"),
        ("/amount/amount", Value::Null, "amount.amount:type"),
        ("/amount/currency", json!("ZZZ"), "amount.currency:format"),
        ("/amount/currency", json!("inr"), "amount.currency:format"),
        ("/amount/currency", json!("XAU"), "amount.currency:format"),
        ("/amount/scale", json!(2), "amount.scale:unknown"),
        ("/kind", json!("freight_hold"), "kind:unknown_value"),
        ("/direction", json!("debit"), "direction:not_applicable"),
        ("/toUserId", json!(other.user_id), "toUserId:not_applicable"),
        ("/clientReference", json!(""), "clientReference:format"),
        ("/clientReference", json!("a b"), "clientReference:format"),
        ("/clientReference", json!("x".repeat(129)), "clientReference:format"),
        ("/reason", json!("no"), "reason:length"),
        ("/reason", json!("two\nlines"), "reason:format"),
        ("/at", json!("2020-01-01T00:00:00Z"), "at:unknown"),
    ] {
        let body = with(good.clone(), pointer, value.clone());
        let answer = app.post(&finance, "/finance/transactions", &body).await;
        assert_eq!((answer.status.as_u16(), answer.blamed()), (422, vec![blamed.to_owned()]), "{pointer}: {value}");
    }
    for number in ["9223372036854775808", "1e3", "5.0", "-0.0"] {
        let body = good.to_string().replace("\"amount\":5", &format!("\"amount\":{number}"));
        assert_ne!(body, good.to_string());
        let answer = app.post_text(&finance, "/finance/transactions", body).await.expect(422);
        assert_eq!(answer.blamed(), ["amount.amount:type"], "{number}");
    }
    let moved = transfer("B-1", &user, &other, 5);
    for (body, blamed) in [
        (with(moved.clone(), "/toUserId", nobody), "toUserId:unknown_value"),
        (with(moved.clone(), "/toUserId", json!(user.user_id)), "toUserId:not_applicable"),
        (with(moved.clone(), "/direction", json!("credit")), "direction:not_applicable"),
        (booking("B-1", "transfer", &user, 5), "toUserId:required"),
    ] {
        let answer = app.post(&finance, "/finance/transactions", &body).await.expect(422);
        assert_eq!(answer.blamed(), [blamed], "{body}");
    }
    assert_eq!(books(&app).await, before);
    booked(&app, &finance, &good).await;
    app.finish().await;
}

#[tokio::test]
async fn only_finance_books_and_only_finance_and_auditors_look() {
    let app = TestApp::start().await;
    let (merchant, finance) = (app.merchant().await, app.user(Role::Finance).await);
    let recharge = booked(&app, &finance, &booking("A", "recharge", &merchant, 5)).await;
    let before = books(&app).await;
    let wallet = format!("/finance/wallets/{}", merchant.user_id);
    let one = format!("/finance/transactions/{}", recharge["transactionId"].as_str().unwrap());
    assert_eq!(app.get(&finance, &one).await.expect(200).body, recharge);
    let none = app.get(&finance, "/finance/transactions/txn_0").await.expect(404);
    assert_eq!(none.code(), "finance.not_found");
    for role in [Role::Merchant, Role::Auditor, Role::Admin] {
        let user = app.user(role).await;
        app.post(&user, "/finance/transactions", &booking("B", "recharge", &merchant, 5)).await.expect(403);
        app.post(&user, &reverse_path(&recharge), &reversal("R")).await.expect(403);
        // Who may not is told so before the body is read.
        app.post_text(&user, "/finance/transactions", "{").await.expect(403);
        for path in ["/finance/ledger", "/finance/ledger/export", "/finance/trial-balance", &wallet, &one] {
            let answer = app.get(&user, path).await;
            assert_eq!(answer.status.as_u16(), if role == Role::Auditor { 200 } else { 403 }, "{path}");
        }
    }
    for path in ["/wallet", "/wallet/ledger", "/wallet/statement"] {
        app.get(&finance, path).await.expect(403);
        app.request(Method::GET, path, None, None).await.expect(401);
    }
    assert_eq!(books(&app).await, before);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_wallets_that_pay_each_other_a_hundred_times_at_once_come_through() {
    const EACH: usize = 100;
    let app = TestApp::start().await;
    let finance = app.user(Role::Finance).await;
    // Enough for some only, so that some are refused on the way.
    let (asha, ravi) = (app.merchant_with(1_000).await, app.merchant_with(1_000).await);
    let there: Vec<_> = (0..EACH).map(|n| transfer(&format!("there-{n}"), &asha, &ravi, 70)).collect();
    let back: Vec<_> = (0..EACH).map(|n| transfer(&format!("back-{n}"), &ravi, &asha, 50)).collect();
    let all = there.iter().zip(&back).flat_map(|(there, back)| [there, back]);
    let answers = join_all(all.map(|body| app.post(&finance, "/finance/transactions", body))).await;
    let (mut sent, mut returned) = (0, 0);
    for (n, answer) in answers.into_iter().enumerate() {
        match (answer.status.as_u16(), n % 2) {
            (201, 0) => sent += 1,
            (201, _) => returned += 1,
            (402, _) => assert_eq!(answer.code(), "wallet.insufficient_funds"),
            (status, _) => panic!("{status}: {}", answer.text),
        }
    }
    assert!(sent >= 14 && returned >= 14, "{sent} and {returned}");
    let (hers, his) = (1_000 - 70 * sent + 50 * returned, 1_000 + 70 * sent - 50 * returned);
    assert_eq!((app.balance(&asha).await, app.balance(&ravi).await), ((hers, 0), (his, 0)));
    app.finish().await;
}

#[tokio::test]
async fn every_booking_of_finance_leaves_one_audit_event_with_who_and_why() {
    let app = TestApp::start().await;
    let (finance, auditor) = (app.user(Role::Finance).await, app.user(Role::Auditor).await);
    let (asha, ravi) = (app.merchant_with(0).await, app.merchant_with(0).await);
    let body = booking("NEFT-1", "recharge", &asha, 1_000);
    let recharge = booked(&app, &finance, &body).await;
    app.post(&finance, "/finance/transactions", &body).await.expect(200);
    app.post(&finance, "/finance/transactions", &booking("NEFT-1", "recharge", &asha, 1_001)).await.expect(422);
    app.post(&finance, "/finance/transactions", &debit("A-1", &ravi, 5)).await.expect(402);
    booked(&app, &finance, &transfer("T-1", &asha, &ravi, 300)).await;
    let correction = booked(&app, &finance, &debit("A-2", &ravi, 100)).await;
    let reversed = app.post(&finance, &reverse_path(&correction), &reversal("R-1")).await.expect(201).body;
    app.post(&finance, &reverse_path(&correction), &reversal("R-2")).await.expect(409);

    let told = app.get(&auditor, &format!("/audit/events?actorId={}&order=oldest", finance.user_id)).await.expect(200);
    let events = told.body["items"].as_array().unwrap().clone();
    let bookings: Vec<_> =
        events.iter().filter(|event| event["action"].as_str().unwrap().starts_with("wallet.")).collect();
    let seen: Vec<_> = bookings
        .iter()
        .map(|event| {
            let (user, change) = (&event["userId"], event["after"]["changeOfAvailable"].as_i64().unwrap());
            (event["action"].as_str().unwrap(), user == &json!(asha.user_id), change)
        })
        .collect();
    let mut expected = vec![
        ("wallet.booked", true, 1_000),
        ("wallet.booked", true, -300),
        ("wallet.booked", false, 300),
        ("wallet.booked", false, -100),
        ("wallet.reversed", false, 100),
    ];
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    for event in &bookings {
        assert_eq!(event["actor"]["id"], json!(finance.user_id));
        assert!(event["actor"]["address"].is_string() && event["actor"]["requestId"].is_string(), "{event}");
        assert_eq!((&event["resourceType"], &event["outcome"]), (&json!("ledger_transaction"), &json!("done")));
    }
    for (transaction, reason) in [(&recharge, "For a test"), (&reversed, "Booked by mistake")] {
        let id = transaction["transactionId"].as_str().unwrap();
        let found = app.get(&auditor, &format!("/audit/events?resourceId={id}")).await.expect(200).body;
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
        assert_eq!(found["items"][0]["reason"], reason);
    }
    app.finish().await;
}
