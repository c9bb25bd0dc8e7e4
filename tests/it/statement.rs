//! What merchants read of their money: pages that add up, whatever is booked meanwhile, and files that are read back.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use bson::doc;
use futures_util::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::{
    finance::{booked, booking, debit, transfer, with},
    support::{TestApp, User},
};

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text")).to_owned()
}

fn lines(page: &Value) -> Vec<Value> {
    page["lines"].as_array().unwrap().clone()
}

/// By how much a line changes the balance.
fn change(line: &Value) -> i64 {
    let amount = number(&line["amount"]);
    assert!(amount > 0, "{line}");
    if line["direction"] == "credit" { amount } else { -amount }
}

/// Asserts that a page adds up, line by line.
fn assert_adds_up(page: &Value) {
    let mut balance = number(&page["opening"]);
    for line in lines(page) {
        balance += change(&line);
        assert_eq!(balance, number(&line["balanceAfter"]), "{line}");
    }
    assert_eq!(balance, number(&page["closing"]));
}

async fn pages(app: &TestApp, user: &User, query: &str, limit: usize) -> Vec<Value> {
    let first = app.get(user, &format!("/wallet/statement?limit={limit}&{query}")).await.expect(200).body;
    pages_from(app, user, first, limit).await
}

/// `first` and the pages behind it; each begins where the one before has ended.
async fn pages_from(app: &TestApp, user: &User, first: Value, limit: usize) -> Vec<Value> {
    assert_adds_up(&first);
    let mut pages = vec![first];
    loop {
        let before = pages.last().unwrap();
        let Some(cursor) = before["nextCursor"].as_str() else { return pages };
        let path = format!("/wallet/statement?limit={limit}&cursor={cursor}");
        let page = app.get(user, &path).await.expect(200).body;
        assert_adds_up(&page);
        assert_eq!(before["closing"], page["opening"]);
        for same in ["currency", "from", "to"] {
            assert_eq!(before[same], page[same]);
        }
        pages.push(page);
    }
}

/// Books something by chance; what is refused for want of money is no loss.
async fn book_anything(app: &TestApp, finance: &User, users: &[User; 2], name: &str, chance: &mut StdRng) {
    let user = &users[chance.random_range(0..2)];
    let amount = chance.random_range(1..5_000);
    let body = match chance.random_range(0..4) {
        0 => booking(name, "recharge", user, amount),
        1 => booking(name, "adjustment", user, amount),
        2 => debit(name, user, amount),
        _ => transfer(name, &users[0], &users[1], amount),
    };
    let answer = app.post(finance, "/finance/transactions", &body).await;
    assert!(matches!(answer.status.as_u16(), 201 | 402), "{}", answer.text);
}

#[tokio::test]
async fn pages_add_up_and_never_shift_while_bookings_go_on() {
    let app = TestApp::start().await;
    let (finance, users) = (app.user(Role::Finance).await, [app.merchant().await, app.merchant_with(0).await]);
    let mut chance = StdRng::seed_from_u64(7);
    for n in 0..60 {
        book_anything(&app, &finance, &users, &format!("before-{n}"), &mut chance).await;
    }
    app.confirmed(&users[0], "c-1").await;
    app.created(&users[0], "c-2").await;
    app.cancel(&users[0], "c-2").await.expect(202);

    let (reading, written) = (Cell::new(true), Cell::new(0));
    let write = async {
        let mut chance = StdRng::seed_from_u64(8);
        while reading.get() {
            book_anything(&app, &finance, &users, &format!("meanwhile-{}", written.get()), &mut chance).await;
            written.set(written.get() + 1);
        }
    };
    let read = async {
        let mut read = Vec::new();
        // Until enough was booked beside it, however fast it is.
        while written.get() <= 20 {
            for user in &users {
                for size in [1, 7, 100] {
                    let version = async || number(&app.get(user, "/wallet").await.expect(200).body["version"]);
                    let before = version().await;
                    let first = app.get(user, &format!("/wallet/statement?limit={size}")).await.expect(200).body;
                    let after = version().await;
                    let whole = pages_from(&app, user, first, size).await;
                    let last = whole.iter().flat_map(lines).map(|line| number(&line["sequence"])).max().unwrap();
                    assert!((before..=after).contains(&last), "{last} is not what was there at the first page");
                    read.push(whole);
                }
            }
        }
        reading.set(false);
        read
    };
    let ((), read) = tokio::join!(write, read);
    for pages in read {
        assert_eq!(pages[0]["opening"], 0);
        let all: Vec<_> = pages.iter().flat_map(lines).collect();
        let sequences: Vec<_> = all.iter().map(|line| number(&line["sequence"])).collect();
        assert_eq!(sequences, (1..=all.len() as i64).collect::<Vec<_>>(), "each once, in order, none left out");
        let times: Vec<_> = all.iter().map(|line| text(&line["at"])).collect();
        assert!(times.is_sorted());
        assert_eq!(pages[0]["from"], times[0], "it begins with the wallet");
        assert!(text(&pages[0]["to"]) > *times.last().unwrap());
    }
    app.finish().await;
}

#[tokio::test]
async fn a_period_is_the_lines_between_two_balances() {
    let app = TestApp::start().await;
    let (finance, users) = (app.user(Role::Finance).await, [app.merchant().await, app.merchant_with(9_000).await]);
    let mut chance = StdRng::seed_from_u64(17);
    for n in 0..40 {
        book_anything(&app, &finance, &users, &format!("b-{n}"), &mut chance).await;
        app.app.clock.advance(Duration::from_millis(chance.random_range(0..3) * 1_800_000));
    }
    app.app.clock.advance(Duration::from_secs(60));
    let user = &users[1];
    let whole: Vec<_> = pages(&app, user, "", 100).await.iter().flat_map(lines).collect();
    let mut moments: BTreeSet<String> = whole.iter().map(|line| text(&line["at"])).collect();
    moments.extend(["2020-01-01T00:00:00.000Z".to_owned(), "2099-01-01T00:00:00.000Z".to_owned()]);
    let moments: Vec<_> = moments.into_iter().collect();
    for _ in 0..60 {
        let (a, b) = (chance.random_range(0..moments.len()), chance.random_range(0..moments.len()));
        let (from, to) = (&moments[a.min(b)], &moments[a.max(b)]);
        let expected: Vec<_> = whole.iter().filter(|line| (from..to).contains(&&text(&line["at"]))).cloned().collect();
        let before: i64 = whole.iter().filter(|line| text(&line["at"]) < *from).map(change).sum();
        let pages = pages(&app, user, &format!("from={from}&to={to}"), 3).await;
        assert_eq!(pages.iter().flat_map(lines).collect::<Vec<_>>(), expected, "{from} to {to}");
        assert_eq!(number(&pages[0]["opening"]), before, "{from} to {to}");
        let after = before + expected.iter().map(change).sum::<i64>();
        assert_eq!(number(&pages.last().unwrap()["closing"]), after, "{from} to {to}");
        assert_eq!((&pages[0]["from"], &pages[0]["to"]), (&json!(from), &json!(to)));
    }
    // One that begins in the future is empty, whatever this server thinks of the time.
    let empty = app.get(user, "/wallet/statement?from=2099-01-01T00:00:00Z").await.expect(200).body;
    assert_eq!((empty["lines"].as_array().unwrap().len(), &empty["opening"]), (0, &empty["closing"]));
    assert_eq!(number(&empty["closing"]), app.balance(user).await.0);
    app.finish().await;
}

#[tokio::test]
async fn a_statement_without_a_wallet_is_empty() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let page = app.get(&user, "/wallet/statement?currency=KWD").await.expect(200).body;
    assert_eq!((&page["opening"], &page["closing"], &page["lines"]), (&json!(0), &json!(0), &json!([])));
    assert_eq!((&page["currency"], &page["from"], &page["nextCursor"]), (&json!("KWD"), &page["to"], &Value::Null));
    let file = app.get(&user, "/wallet/statement?format=csv").await.expect(200).text;
    assert_eq!(file.lines().count(), 3, "names, opening, closing: {file}");
    let ledger = app.get(&user, "/wallet/ledger").await.expect(200).body;
    assert_eq!(ledger, json!({ "items": [], "nextCursor": null }));
    app.finish().await;
}

/// Rows of a CSV file as objects.
pub fn rows(file: &str) -> Vec<Value> {
    let mut reader = csv::Reader::from_reader(file.as_bytes());
    let names = reader.headers().unwrap().clone();
    let object = |row: csv::StringRecord| -> Value {
        let cells = names.iter().zip(&row).map(|(name, cell)| (name.to_owned(), json!(cell)));
        Value::Object(cells.collect())
    };
    reader.records().map(|row| object(row.unwrap())).collect()
}

#[tokio::test]
async fn the_file_has_the_whole_period_and_no_formulas() {
    let app = TestApp::start().await;
    let (finance, user) = (app.user(Role::Finance).await, app.merchant_with(0).await);
    let formula = "=HYPERLINK(\"http://x\",\"y\")";
    for (n, reason) in [formula, "+1+1", "-1+1", "@SUM(A1)", "plain, \"quoted\"", "₹ 5"].into_iter().enumerate() {
        let body = booking(&format!("-b-{n}"), "recharge", &user, 123);
        booked(&app, &finance, &with(body, "/reason", json!(reason))).await;
    }
    booked(&app, &finance, &debit("out", &user, 38)).await;
    // More than is in memory at a time.
    let many: Vec<_> = (0..600).map(|n| booking(&format!("many-{n}"), "recharge", &user, 1)).collect();
    for some in many.chunks(100) {
        join_all(some.iter().map(|body| booked(&app, &finance, body))).await;
    }

    let answer = app.get(&user, "/wallet/statement?format=csv&currency=INR").await.expect(200);
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8; header=present");
    let disposition = answer.headers["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment; filename=\"statement-INR-"), "{disposition}");
    let rows = rows(&answer.text);
    let (opening, closing) = (&rows[0], rows.last().unwrap());
    assert_eq!(
        (&opening["record"], &opening["balanceMinor"], &opening["balance"]),
        (&json!("opening"), &json!("0"), &json!("0.00"))
    );
    let balance = 6 * 123 - 38 + 600;
    assert_eq!(app.balance(&user).await, (balance, 0));
    assert_eq!((&closing["record"], &closing["balanceMinor"]), (&json!("closing"), &json!(balance.to_string())));
    assert_eq!(closing["balance"], "13.00");

    let pages = pages(&app, &user, "", 100).await;
    let lines: Vec<_> = pages.iter().flat_map(lines).collect();
    assert_eq!(rows.len(), lines.len() + 2);
    for (row, line) in rows[1..].iter().zip(&lines) {
        assert_eq!(row["record"], "line");
        for (name, field) in [("sequence", "sequence"), ("amountMinor", "amount"), ("balanceMinor", "balanceAfter")] {
            assert_eq!(text(&row[name]), number(&line[field]).to_string(), "{name}");
        }
        for name in ["at", "kind", "direction", "transactionId"] {
            assert_eq!(row[name], line[name], "{name}");
        }
        assert_eq!(
            (&row["referenceType"], &row["referenceKind"]),
            (&line["reference"]["type"], &line["reference"]["kind"])
        );
        assert_eq!(row["currency"], "INR");
    }
    let reasons: Vec<_> = rows[1..7].iter().map(|row| text(&row["reason"])).collect();
    let formula = format!("'{formula}");
    assert_eq!(reasons, [&formula, "'+1+1", "'-1+1", "'@SUM(A1)", "plain, \"quoted\"", "₹ 5"]);
    assert_eq!(lines[0]["reason"], formula[1..], "only in the file");
    assert_eq!(rows[1]["referenceId"], "'-b-0");
    assert_eq!(
        (&rows[7]["direction"], &rows[7]["amount"], &rows[7]["balance"]),
        (&json!("debit"), &json!("0.38"), &json!("7.00"))
    );
    app.finish().await;
}

#[tokio::test]
async fn a_currency_has_a_statement_and_decimals_of_its_own() {
    let app = TestApp::start().await;
    let (finance, user) = (app.user(Role::Finance).await, app.merchant_with(100).await);
    for currency in ["KWD", "JPY"] {
        let body = with(booking(currency, "recharge", &user, 12_345), "/amount/currency", json!(currency));
        booked(&app, &finance, &body).await;
    }
    for (currency, decimal) in [("INR", "1.00"), ("KWD", "12.345"), ("JPY", "12345")] {
        let file = app.get(&user, &format!("/wallet/statement?format=csv&currency={currency}")).await.expect(200).text;
        let rows = rows(&file);
        assert_eq!((rows.len(), &rows[1]["amount"], &rows[1]["sequence"]), (3, &json!(decimal), &json!("1")));
        let ledger = app.get(&user, &format!("/wallet/ledger?currency={currency}")).await.expect(200).body;
        assert_eq!(ledger["items"].as_array().unwrap().len(), 1, "{currency}");
    }
    app.finish().await;
}

#[tokio::test]
async fn cursors_that_are_not_ones_own_are_refused() {
    let app = TestApp::start().await;
    let finance = app.user(Role::Finance).await;
    let (user, other) = (app.merchant_with(100).await, app.merchant_with(100).await);
    for n in 0..3 {
        booked(&app, &finance, &booking(&format!("a-{n}"), "recharge", &user, 1)).await;
        booked(&app, &finance, &booking(&format!("b-{n}"), "recharge", &other, 1)).await;
    }
    let first = app.get(&user, "/wallet/statement?limit=1").await.expect(200).body;
    let (mine, from, to) = (text(&first["nextCursor"]), text(&first["from"]), text(&first["to"]));
    let theirs = text(&app.get(&other, "/wallet/statement?limit=1").await.expect(200).body["nextCursor"]);
    let of_ledger = text(&app.get(&user, "/wallet/ledger?limit=1").await.expect(200).body["nextCursor"]);
    let theirs_of_ledger = text(&app.get(&other, "/wallet/ledger?limit=1").await.expect(200).body["nextCursor"]);
    for bad in [&theirs, &of_ledger, &mine[1..], &mine[..mine.len() - 2], "", "1", "%7B%7D", "txn_1"] {
        let answer = app.get(&user, &format!("/wallet/statement?cursor={bad}")).await.expect(422);
        assert_eq!(answer.blamed(), ["cursor:format"], "{bad}");
    }
    for bad in [&theirs_of_ledger, &mine, "", "txn_00000000000000000000000000000000"] {
        let answer = app.get(&user, &format!("/wallet/ledger?cursor={bad}")).await.expect(422);
        assert_eq!(answer.blamed(), ["cursor:format"], "{bad}");
    }
    for another in ["currency=KWD", "from=2020-01-01T00:00:00Z", "to=2099-01-01T00:00:00Z"] {
        let answer = app.get(&user, &format!("/wallet/statement?{another}&cursor={mine}")).await.expect(422);
        assert_eq!(answer.blamed(), ["cursor:not_applicable"], "{another}");
    }
    let same = format!("/wallet/statement?currency=INR&from={from}&to={to}&cursor={mine}");
    let next = app.get(&user, &same).await.expect(200).body;
    assert_eq!(lines(&next).len(), 3, "the same period spelled out");
    app.finish().await;
}

#[tokio::test]
async fn parameters_of_wallet_reports_are_named_where_they_are_not_acceptable() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let backwards = "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z";
    for (query, blamed) in [
        ("limit=0", "limit:range"),
        ("limit=101", "limit:range"),
        ("limit=ten", "limit:type"),
        ("currency=inr", "currency:format"),
        ("currency=XAU", "currency:format"),
        ("from=yesterday", "from:format"),
        (backwards, "from:range"),
        ("userId=usr_1", "userId:unknown"),
        ("account=revenue", "account:unknown"),
    ] {
        for path in ["/wallet/ledger", "/wallet/statement"] {
            let answer = app.get(&user, &format!("{path}?{query}")).await.expect(422);
            assert_eq!(answer.blamed(), [blamed], "{path}?{query}");
        }
    }
    for (query, blamed) in [
        ("ledger?kind=gift", "kind:unknown_value"),
        ("statement?kind=recharge", "kind:unknown"),
        ("statement?format=xml", "format:unknown_value"),
        ("statement?format=csv&limit=10", "limit:not_applicable"),
        ("statement?format=csv&cursor=x", "cursor:not_applicable"),
    ] {
        assert_eq!(app.get(&user, &format!("/wallet/{query}")).await.expect(422).blamed(), [blamed], "{query}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_merchant_sees_its_own_wallet_and_nothing_behind_it() {
    let app = TestApp::start().await;
    let (finance, other) = (app.user(Role::Finance).await, app.merchant().await);
    let user = app.merchant().await;
    let order_id = app.confirmed(&user, "c-1").await;
    booked(&app, &finance, &transfer("T-1", &other, &user, 5)).await;
    app.confirmed(&other, "c-1").await;

    let answer = app.get(&user, "/wallet/ledger").await.expect(200);
    let items = answer.body["items"].as_array().unwrap();
    let kinds: Vec<_> = items.iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["transfer", "freight_capture", "freight_hold", "recharge"]);
    for hidden in ["payable", "revenue", "settlement", "transfers", "actor", "worker", &other.user_id, &finance.user_id]
    {
        assert!(!answer.text.contains(hidden), "{hidden} in {}", answer.text);
    }
    let (capture, hold) = (&items[1], &items[2]);
    let price = -number(&hold["amount"]);
    assert_eq!(
        hold["lines"],
        json!([
        { "account": "wallet.available", "amount": -price }, { "account": "wallet.held", "amount": price }])
    );
    assert_eq!(hold["reference"], json!({ "type": "order", "id": order_id, "kind": "hold" }));
    assert_eq!(capture["lines"], json!([{ "account": "wallet.held", "amount": -price }]));
    assert_eq!(
        (&capture["amount"], &capture["sequence"], &capture["availableAfter"]),
        (&json!(0), &Value::Null, &Value::Null)
    );

    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&user, &format!("/wallet/ledger?limit=1{cursor}")).await.expect(200).body;
        seen.extend(page["items"].as_array().unwrap().clone());
        // What arrives meanwhile is newer than all that is still to come.
        booked(&app, &finance, &booking(&format!("late-{}", seen.len()), "recharge", &user, 1)).await;
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(&seen, items);
    let only = app.get(&user, "/wallet/ledger?kind=freight_hold").await.expect(200).body;
    assert_eq!(only["items"], json!([hold]));
    let (from, to) = (text(&hold["at"]), text(&capture["at"]));
    let between = app.get(&user, &format!("/wallet/ledger?from={from}&to={to}")).await.expect(200).body;
    assert!(between["items"].as_array().unwrap().contains(hold));
    assert!(!between["items"].as_array().unwrap().contains(capture));
    app.finish().await;
}

#[tokio::test]
async fn lines_that_do_not_add_up_are_not_handed_out() {
    let app = TestApp::start().await;
    let (finance, user) = (app.user(Role::Finance).await, app.merchant_with(100).await);
    for n in 0..3 {
        booked(&app, &finance, &booking(&format!("b-{n}"), "recharge", &user, 1)).await;
    }
    let second = doc! { "userId": &user.user_id, "walletSeq": 2_i64 };
    app.update_one("ledger_transactions", second.clone(), doc! { "availableAfter": 500_i64 }).await;
    app.get(&user, "/wallet/statement").await.expect(500);
    app.get(&user, "/wallet/statement?format=csv").await.expect(500);
    app.update_one("ledger_transactions", second.clone(), doc! { "availableAfter": 101_i64 }).await;
    app.get(&user, "/wallet/statement").await.expect(200);
    app.db().collection::<bson::Document>("ledger_transactions").delete_one(second).await.unwrap();
    app.get(&user, "/wallet/statement").await.expect(500);
    app.finish_unchecked().await;
}
