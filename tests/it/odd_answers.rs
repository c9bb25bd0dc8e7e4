//! Answers as the field writes them, through the whole program: what is placed is charged once, what is not is paid back, and
//! what nobody can tell is looked up. How each is read is in the adapters' own tables.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use flate2::{Compression, write::GzEncoder};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    TestApp, User,
    liar::{Asked, Liar, Said},
};

/// What the carrier was asked, in order: operation and reference.
type Calls = Arc<Mutex<Vec<(&'static str, String)>>>;

/// A carrier that answers with `script`, and what it is asked.
fn tells(liar: &Liar, script: impl Fn(&Asked) -> Said + Send + 'static) -> Calls {
    let calls = Calls::default();
    let seen = Arc::clone(&calls);
    liar.says(move |asked| {
        seen.lock().unwrap().push((asked.operation, asked.reference.clone()));
        script(asked)
    });
    calls
}

fn count(calls: &Calls, operation: &str) -> usize {
    calls.lock().unwrap().iter().filter(|(is, _)| *is == operation).count()
}

async fn app_of(liar: &Liar, more: &[&str]) -> TestApp {
    let flags = liar.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    TestApp::with(&flags).await
}

fn raw(content_type: &str, body: impl Into<Vec<u8>>) -> Said {
    Said { status: 200, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A look-up's answer about a shipment under this number.
fn tracked(awb: &str, code: &str) -> Said {
    Said::json(200, &json!({ "status": true, "awb_number": awb, "current_status": { "status_code": code } }))
}

/// `text` with one more field before the others.
fn with_field(text: &str, field: &str) -> String {
    text.replacen('{', &format!("{{{field},"), 1)
}

/// How a create is answered, and what becomes of the order: status, code of its failure, creates and look-ups.
type Case = (&'static str, fn(&Asked) -> Said, &'static str, Option<&'static str>, usize, usize);

const CASES: &[Case] = &[
    (
        "marks",
        |asked| raw("text/html; charset=ISO-8859-1", format!("\u{feff}\u{feff}{}", asked.honest())),
        "confirmed",
        None,
        1,
        0,
    ),
    (
        "packed, unasked",
        |asked| raw("application/json", gzip(asked.honest().to_string().as_bytes())),
        "confirmed",
        None,
        1,
        0,
    ),
    (
        "half a character",
        |asked| raw("application/json", asked.honest().to_string().replace("Swift", r"Swift \ud83d")),
        "confirmed",
        None,
        1,
        0,
    ),
    (
        "words for flags",
        |asked| raw("application/json", asked.honest().to_string().replace("true", "\"true\"")),
        "confirmed",
        None,
        1,
        0,
    ),
    (
        "contradiction",
        |asked| raw("application/json", with_field(&asked.honest().to_string(), "\"status\":false")),
        "confirmed",
        None,
        1,
        1,
    ),
    (
        "equal repeats",
        |asked| raw("application/json", with_field(&asked.honest().to_string(), "\"status\":true")),
        "confirmed",
        None,
        1,
        0,
    ),
    ("a bomb", |_| raw("application/json", gzip(&vec![b' '; 2 << 20])), "confirmed", None, 1, 1),
    (
        "refused by a number",
        |_| Said::json(200, &json!({ "status": 0, "responsemsg": { "pin": ["is not served"] } })),
        "failed",
        Some("provider.refused"),
        1,
        0,
    ),
    (
        "refused with 409",
        |_| Said::json(409, &json!({ "status": false, "errors": [["Not served"]] })),
        "failed",
        Some("provider.refused"),
        1,
        0,
    ),
    (
        "cancelled there",
        |asked| {
            let mut body = asked.honest();
            body["data"]["status_code"] = json!("227.0");
            body["data"] = json!([body["data"]]);
            Said::json(200, &body)
        },
        "needs_attention",
        Some("provider.cancelled_there"),
        1,
        0,
    ),
];

#[tokio::test]
async fn money_follows_what_is_placed_however_it_is_written() {
    let liar = Liar::start().await;
    let app = app_of(&liar, &[]).await;
    let user = app.merchant().await;
    let price = app.quote(&user).await;
    for (name, create, status, code, creates, look_ups) in CASES {
        let calls = tells(&liar, |asked| match asked.operation {
            "create_order" => create(asked),
            // Whatever was not refused was done.
            _ => tracked(&asked.awb(), "221"),
        });
        let before = app.balance(&user).await;
        let order_id = app.created(&user, &name.replace([' ', ','], "-")).await;
        app.run_jobs_to_the_end().await;
        let order = app.order(&user, &order_id).await;
        assert_eq!((&order["status"], &order["failure"]["code"]), (&json!(status), &json!(code)), "{name}: {order}");
        assert_eq!((count(&calls, "create_order"), count(&calls, "look_up_order")), (*creates, *look_ups), "{name}");
        let (available, held) = match *status {
            "confirmed" => (price, 0),
            "needs_attention" => (price, price),
            _ => (0, 0),
        };
        assert_eq!(app.balance(&user).await, (before.0 - available, before.1 + held), "{name}");
    }
    let refused = app.get(&user, "/orders?status=failed").await.expect(200).body;
    let told: Vec<_> = refused["items"].as_array().unwrap().iter().map(|it| it["failure"]["message"].clone()).collect();
    assert_eq!(told, ["Not served", "pin: is not served"], "in the carrier's own words");
    app.finish_unchecked().await;
}

#[tokio::test]
async fn a_look_up_that_contradicts_itself_sends_nothing_again() {
    let liar = Liar::start().await;
    let app = app_of(&liar, &[]).await;
    let user = app.merchant().await;
    let looks = Mutex::new(0);
    let calls = tells(&liar, move |asked| {
        let both = r#"{"status":true,"awb_number":"A1","status":false,"responsemsg":"No record found"}"#;
        *looks.lock().unwrap() += 1;
        match (asked.operation, *looks.lock().unwrap()) {
            ("create_order", _) => Said::json(500, &Value::Null),
            (_, ..=3) => raw("application/json", both),
            _ => tracked("A1", "221"),
        }
    });
    let order_id = app.created(&user, "c-1").await;
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &order_id).await["shipment"]["awb"], "A1");
    assert_eq!(count(&calls, "create_order"), 1);
    let answers = app.answers(&order_id).await;
    let body = answers[1].get_document("body").unwrap();
    let statuses: Vec<_> = body
        .get_array("contradictory")
        .unwrap()
        .iter()
        .map(|reading| reading.as_document().unwrap().get_bool("status").unwrap())
        .collect();
    assert_eq!(statuses, [true, false], "both are on record");
    app.finish_unchecked().await;
}

#[tokio::test]
async fn a_number_longer_than_a_machines_is_kept_digit_for_digit() {
    const AWB: &str = "18446744073709551616";
    let liar = Liar::start().await;
    let app = app_of(&liar, &[]).await;
    let user = app.merchant().await;
    let calls = tells(&liar, |asked| match asked.operation {
        "create_order" => raw("application/json", format!(r#"{{"status":true,"data":{{"awb_number":{AWB}}}}}"#)),
        _ => Said::json(200, &asked.honest()),
    });
    let order_id = app.confirmed(&user, "c-1").await;
    assert_eq!(app.order(&user, &order_id).await["shipment"]["awb"], AWB);
    let log = app.answers(&order_id).await.remove(0);
    assert_eq!(log.get_document("body").unwrap().get_document("data").unwrap().get_str("awb_number").unwrap(), AWB);
    app.cancel(&user, "c-1").await.expect(202);
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "cancelled");
    assert!(calls.lock().unwrap().contains(&("cancel_order", AWB.to_owned())));
    app.finish_unchecked().await;
}

/// A confirmed order of a merchant who has paid for it.
async fn paid(app: &TestApp, liar: &Liar, user: &User, client_order_id: &str) -> String {
    liar.says(|asked| Said::json(200, &asked.honest()));
    app.confirmed(user, client_order_id).await
}

#[tokio::test]
async fn a_refused_cancel_is_looked_up_before_money_is_kept_or_given_back() {
    fn no(status: u16, words: &str) -> Said {
        Said::json(status, &json!({ "status": false, "responsemsg": words }))
    }
    type Script = fn(&Asked) -> Said;
    const NONE: [&str; 2] = ["", ""];
    let alive: Script = |asked| tracked(&asked.awb(), "221");
    // Answers to the cancel and to the look-up; status of the cancellation, code and words of its failure.
    let both: Script = |_| raw("application/json", r#"{"status":true,"status":false,"responsemsg":"No"}"#);
    let cases: [(&str, Script, Script, &str, [&str; 2]); 9] = [
        ("gone", |_| no(200, "This order is in cancelled state"), |asked| tracked(&asked.awb(), "227"), "done", NONE),
        ("conflict", |_| no(409, "Order already cancelled"), alive, "done", NONE),
        ("both-gone", both, |asked| tracked(&asked.awb(), "227"), "done", NONE),
        (
            "both-alive",
            both,
            alive,
            "needs_attention",
            ["provider.contradiction", "Answered 200 with a body that contradicts itself."],
        ),
        ("alive", |_| no(200, "Picked up"), alive, "refused", ["provider.refused", "Picked up"]),
        ("alive-409", |_| no(409, "Picked up"), alive, "refused", ["provider.refused", "Picked up"]),
        (
            "other",
            |_| no(200, "No"),
            |_| tracked("X1", "227"),
            "needs_attention",
            ["provider.other_shipment", "The provider cancels nothing, and names another shipment."],
        ),
        (
            "absent",
            |_| no(404, "Unknown"),
            |_| no(200, "No record found"),
            "needs_attention",
            ["provider.no_record", "The provider cancels nothing, and has no record of the order."],
        ),
        (
            "unclear",
            |_| no(200, "No"),
            |_| Said::json(500, &Value::Null),
            "needs_attention",
            ["provider.refused", "No"],
        ),
    ];
    let liar = Liar::start().await;
    // A day of backoff in a few rounds.
    let app = app_of(&liar, &["--backoff-base-ms=21600000", "--backoff-max-ms=21600000"]).await;
    let user = app.merchant().await;
    let price = app.quote(&user).await;
    for (name, cancel, look_up, status, failure) in cases {
        let order_id = paid(&app, &liar, &user, name).await;
        let before = app.balance(&user).await.0;
        let calls =
            tells(&liar, move |asked| if asked.operation == "cancel_order" { cancel(asked) } else { look_up(asked) });
        let asked = app.cancel(&user, name).await.expect(202).body;
        assert_eq!(asked["cancellation"]["failure"], Value::Null, "{name}");
        app.run_jobs_to_the_end().await;
        let order = app.order(&user, &order_id).await;
        let cancellation = &order["cancellation"];
        assert_eq!(cancellation["status"], status, "{name}: {order}");
        let told = ["code", "message"].map(|part| cancellation["failure"][part].as_str().unwrap_or_default());
        assert_eq!(told, failure, "{name}");
        let (cancels, clear) = (count(&calls, "cancel_order"), !name.starts_with("both"));
        assert!(if clear { cancels == 1 } else { cancels > 2 }, "{name}: {cancels}; once is enough where it is clear");
        let back = if status == "done" { price } else { 0 };
        assert_eq!(app.balance(&user).await.0, before + back, "{name}");
        assert_eq!(order["status"], if status == "done" { "cancelled" } else { "confirmed" }, "{name}");
    }
    app.finish_unchecked().await;
}

#[tokio::test]
async fn a_waybill_number_is_one_live_orders() {
    let liar = Liar::start().await;
    let app = app_of(&liar, &[]).await;
    let (user, other, admin) = (app.merchant().await, app.merchant().await, app.admin().await);
    let price = app.quote(&user).await;
    let mine = Arc::new(Mutex::new(Vec::<String>::new()));
    let shared = Arc::clone(&mine);
    let calls = tells(&liar, move |asked| {
        let is_shared = shared.lock().unwrap().contains(&asked.reference);
        let awb = if is_shared { "PX0001".to_owned() } else { asked.awb() };
        match asked.operation {
            "create_order" => Said::json(200, &json!({ "status": true, "data": { "awb_number": awb } })),
            "look_up_order" => tracked(&awb, "221"),
            _ => Said::json(200, &asked.honest()),
        }
    });
    // All three are answered together; two with the same number.
    let ids = [app.created(&user, "c-1").await, app.created(&other, "c-2").await, app.created(&user, "c-3").await];
    mine.lock().unwrap().extend_from_slice(&ids[..2]);
    app.run_jobs_to_the_end().await;
    let [one, two, third] =
        [app.order(&user, &ids[0]).await, app.order(&other, &ids[1]).await, app.order(&user, &ids[2]).await];
    assert_eq!(third["status"], "confirmed", "its neighbours' trouble is not its own");
    let (first, second) =
        if one["status"] == "confirmed" { ((&user, one), (&other, two)) } else { ((&other, two), (&user, one)) };
    assert_eq!((&first.1["status"], &first.1["shipment"]["awb"]), (&json!("confirmed"), &json!("PX0001")));
    let (taker, taken) = (second.0, second.1);
    assert_eq!((&taken["status"], &taken["shipment"]["awb"]), (&json!("needs_attention"), &Value::Null));
    assert_eq!(taken["failure"]["code"], "provider.reference_taken");
    assert_eq!(app.balance(taker).await.1, price, "kept until a person decides");
    assert_eq!(count(&calls, "create_order"), 3);

    // Cancelling the one does not cancel the other's.
    let taken_id = taken["clientOrderId"].as_str().unwrap();
    app.cancel(taker, taken_id).await.expect(202);
    app.run_jobs_to_the_end().await;
    let taken = app.order(taker, taken["orderId"].as_str().unwrap()).await;
    assert_eq!(
        (&taken["status"], &taken["cancellation"]["status"]),
        (&json!("needs_attention"), &json!("needs_attention"))
    );
    assert_eq!(taken["cancellation"]["failure"]["code"], "provider.reference_taken");
    assert_eq!(count(&calls, "cancel_order"), 0);

    // Once the number is free again, a person may have it looked up again.
    app.cancel(first.0, first.1["clientOrderId"].as_str().unwrap()).await.expect(202);
    app.run_jobs_to_the_end().await;
    assert_eq!(count(&calls, "cancel_order"), 1);
    app.request(Method::POST, "/queues/parcelx-order-cancellation-queue/retry-dead", Some(&admin.token), None)
        .await
        .expect(200);
    app.run_jobs_to_the_end().await;
    let taken = app.order(taker, taken["orderId"].as_str().unwrap()).await;
    assert_eq!((&taken["status"], &taken["cancellation"]["status"]), (&json!("cancelled"), &json!("done")), "{taken}");
    app.finish_unchecked().await;
}
