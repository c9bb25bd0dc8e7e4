//! What finance and auditors read: search, export, trial balance, and that the books agree at every moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bson::{Bson, Document, doc};
use futures_util::{TryStreamExt, future::join_all};
use serde_json::{Value, json};
use waybill::platform::{identity::Role, ids::new_id};

use crate::{
    finance::{booked, booking, debit, transfer, with},
    finance_export::pad,
    support::{Answer, TestApp, User},
};

pub const LEDGER: &str = "ledger_transactions";

fn items(page: &Value) -> Vec<Value> {
    page["items"].as_array().unwrap_or_else(|| panic!("{page} is no page")).clone()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text")).to_owned()
}

pub fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is not a number"))
}

pub fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| text(&item["transactionId"])).collect()
}

/// Transactions of an NDJSON file.
pub fn json_lines(file: &str) -> Vec<Value> {
    file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Everything that a search finds, page by page.
async fn found(app: &TestApp, user: &User, query: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(user, &format!("/finance/ledger?limit={limit}&{query}{cursor}")).await.expect(200).body;
        assert!(items(&page).len() <= limit);
        all.extend(items(&page));
        let Some(next) = page["nextCursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

/// A shop with a bit of everything: three users, two currencies, orders that were held twice and cancelled.
pub struct Shop {
    pub app: TestApp,
    pub finance: User,
    pub auditor: User,
    pub merchants: [User; 3],
    /// Held twice.
    pub order_id: String,
}

impl Shop {
    pub async fn open() -> Self {
        let app = TestApp::start().await;
        let (finance, auditor) = (app.user(Role::Finance).await, app.user(Role::Auditor).await);
        let merchants = [app.merchant().await, app.merchant().await, app.merchant_with(0).await];
        for n in 0..12 {
            let user = &merchants[n % 3];
            booked(&app, &finance, &booking(&format!("in-{n}"), "recharge", user, 10_000)).await;
            let kuwait = with(booking(&format!("kw-{n}"), "adjustment", user, 70), "/amount/currency", json!("KWD"));
            booked(&app, &finance, &kuwait).await;
            booked(&app, &finance, &debit(&format!("out-{n}"), user, 300)).await;
            app.app.clock.advance(Duration::from_secs(600));
        }
        booked(&app, &finance, &transfer("tr-1", &merchants[0], &merchants[2], 500)).await;
        let admin = app.admin().await;
        app.misbehave_for("c-1", "create", "refuse", Some(1)).await;
        let order_id = app.created(&merchants[0], "c-1").await;
        app.run_jobs().await;
        let job = app.create_job(&order_id).await;
        let retry = format!("/queues/jobs/{}/retry", job.get_str("_id").unwrap());
        app.post(&admin, &retry, &json!({})).await.expect(200);
        app.run_jobs().await;
        app.confirmed(&merchants[1], "c-2").await;
        app.cancel(&merchants[1], "c-2").await.expect(202);
        app.run_jobs().await;
        app.app.clock.advance(Duration::from_secs(600));
        app.created(&merchants[1], "c-3").await;
        Self { app, finance, auditor, merchants, order_id }
    }

    /// All transactions, oldest first.
    async fn all(&self) -> Vec<Value> {
        json_lines(&self.app.get(&self.auditor, "/finance/ledger/export").await.expect(200).text)
    }
}

#[tokio::test]
async fn a_search_finds_what_it_names_in_pages_newest_first() {
    let shop = Shop::open().await;
    let all = shop.all().await;
    let (asha, moment) = (&shop.merchants[0].user_id, text(&all[all.len() / 2]["at"]));
    let order_id = &shop.order_id;
    type Test<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let searches: Vec<(String, Test)> = vec![
        (String::new(), Box::new(|_| true)),
        (format!("userId={asha}"), Box::new(|t| t["userId"] == **asha)),
        (format!("userId={asha}&currency=KWD"), Box::new(|t| t["userId"] == **asha && t["currency"] == "KWD")),
        (format!("userId={asha}&from={moment}"), Box::new(|t| t["userId"] == **asha && text(&t["at"]) >= moment)),
        ("currency=KWD".into(), Box::new(|t| t["currency"] == "KWD")),
        ("kind=freight_hold".into(), Box::new(|t| t["kind"] == "freight_hold")),
        ("referenceType=order".into(), Box::new(|t| t["reference"]["type"] == "order")),
        (format!("referenceId={order_id}"), Box::new(|t| text(&t["reference"]["id"]).starts_with(order_id))),
        (
            format!("referenceType=order&referenceId={order_id}&kind=freight_hold"),
            Box::new(|t| text(&t["reference"]["id"]).starts_with(order_id) && t["kind"] == "freight_hold"),
        ),
        (format!("referenceId={order_id}%232"), Box::new(|t| t["reference"]["id"] == format!("{order_id}#2"))),
        (format!("referenceId={order_id}&to={moment}"), Box::new(|_| false)),
        (format!("referenceType=finance&referenceId={order_id}"), Box::new(|_| false)),
        ("referenceId=in-1".into(), Box::new(|t| t["reference"]["id"] == "in-1")),
        ("referenceId=tr-1".into(), Box::new(|t| t["reference"]["id"] == "tr-1")),
        ("account=payable.parcelx".into(), Box::new(|t| t["lines"].to_string().contains("payable.parcelx"))),
        ("account=transfers".into(), Box::new(|t| t["kind"] == "transfer")),
        (format!("from={moment}"), Box::new(|t| text(&t["at"]) >= moment)),
        (format!("to={moment}"), Box::new(|t| text(&t["at"]) < moment)),
        (format!("from={moment}&to={moment}"), Box::new(|_| false)),
        (format!("userId={}", new_id("usr")), Box::new(|_| false)),
    ];
    for (query, test) in searches {
        let mut expected = ids(&all.iter().filter(|transaction| test(transaction)).cloned().collect::<Vec<_>>());
        expected.reverse();
        for limit in [1, 3, 100] {
            let found = ids(&found(&shop.app, &shop.auditor, &query, limit).await);
            assert_eq!(found, expected, "{query} by {limit}");
        }
    }
    let of_order = found(&shop.app, &shop.auditor, &format!("referenceId={order_id}"), 100).await;
    let kinds: Vec<_> = of_order.iter().map(|t| text(&t["reference"]["kind"])).collect();
    assert_eq!(kinds, ["capture", "hold", "release", "hold"]);
    shop.app.finish().await;
}

#[tokio::test]
async fn parameters_of_finance_reports_are_named_where_they_are_not_acceptable() {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    let backwards = "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z";
    let long = "x".repeat(161);
    for (query, blamed) in [
        ("ledger?limit=0", "limit:range"),
        ("ledger?limit=101", "limit:range"),
        ("ledger?cursor=x", "cursor:format"),
        ("ledger?userId=usr_1", "userId:format"),
        ("ledger?userId[$ne]=x", "userId[$ne]:unknown"),
        ("ledger?currency=rupee", "currency:format"),
        ("ledger?kind=gift", "kind:unknown_value"),
        ("ledger?referenceType=ORDER", "referenceType:format"),
        ("ledger?referenceType=%24ne", "referenceType:format"),
        ("ledger?referenceId=", "referenceId:format"),
        ("ledger?referenceId=a%24b", "referenceId:format"),
        (&format!("ledger?referenceId={long}"), "referenceId:format"),
        ("ledger?account=cash", "account:format"),
        ("ledger?account=payable.", "account:format"),
        ("ledger?from=now", "from:format"),
        (&format!("ledger?{backwards}"), "from:range"),
        ("ledger?format=csv", "format:unknown"),
        ("ledger/export?format=xlsx", "format:unknown_value"),
        ("ledger/export?limit=1", "limit:unknown"),
        ("ledger/export?kind=recharge", "kind:unknown"),
        (&format!("ledger/export?{backwards}"), "from:range"),
        ("trial-balance?asOf=2099-01-01T00:00:00Z", "asOf:range"),
        ("trial-balance?asOf=now", "asOf:format"),
        ("trial-balance?currency=", "currency:format"),
        ("trial-balance?from=2020-01-01T00:00:00Z", "from:unknown"),
    ] {
        assert_eq!(app.get(&auditor, &format!("/finance/{query}")).await.expect(422).blamed(), [blamed], "{query}");
    }
    app.finish().await;
}

/// How the server carried out what `path` asks of the ledger: plan and keys looked at, for each read.
async fn plans(app: &TestApp, user: &User, path: &str) -> Vec<Document> {
    let profile = async |level: i32| app.db().run_command(doc! { "profile": level }).await.unwrap();
    profile(0).await;
    app.db().collection::<Document>("system.profile").drop().await.unwrap();
    profile(2).await;
    app.get(user, path).await.expect(200);
    profile(0).await;
    let reads = doc! { "ns": format!("{}.{LEDGER}", app.db().name()) };
    let reads = app.db().collection::<Document>("system.profile").find(reads).await.unwrap();
    reads.try_collect().await.unwrap()
}

/// Whether a read asked for a snapshot. One that asks for less sees a moment of its own, session or not.
fn is_of_a_snapshot(read: &Document) -> bool {
    let concern = read.get_document("command").unwrap().get_document("readConcern").unwrap();
    concern.get_str("level").unwrap() == "snapshot"
}

#[tokio::test]
async fn no_search_reads_the_whole_ledger_or_sorts_it() {
    const OWNER: &str = "IXSCAN { userId: 1, _id: -1 }";
    const TIME: &str = "IXSCAN { at: 1, _id: 1 }";
    const REFERENCE: &str = "IXSCAN { referenceType: 1, referenceKind: 1, referenceId: 1 }";
    const STATEMENT: &str = "IXSCAN { userId: 1, currency: 1, at: 1, walletSeq: 1 }";
    let shop = Shop::open().await;
    let many: Vec<_> = (0..300).map(|n| booking(&format!("many-{n}"), "recharge", &shop.merchants[n % 2], 1)).collect();
    for some in many.chunks(100) {
        join_all(some.iter().map(|body| booked(&shop.app, &shop.finance, body))).await;
    }
    let total = shop.all().await.len() as i64;
    let (user, order_id) = (&shop.merchants[2].user_id, &shop.order_id);
    let middle = found(&shop.app, &shop.auditor, "", 100).await;
    let period = format!("from={}&to={}", text(&middle.last().unwrap()["at"]), text(&middle[20]["at"]));

    // Every combination of what the search takes, each with and without a cursor.
    let filters = [
        format!("&userId={user}"),
        "&currency=INR".to_owned(),
        "&kind=recharge".to_owned(),
        "&referenceType=finance".to_owned(),
        format!("&referenceId={order_id}"),
        "&account=settlement.cash".to_owned(),
        format!("&{period}"),
    ];
    let next = |answer: &Answer| answer.body["nextCursor"].as_str().map(|cursor| format!("&cursor={cursor}"));
    let of_user = shop.app.get(&shop.auditor, &format!("/finance/ledger?limit=2&userId={user}")).await;
    let cursor = next(&of_user.expect(200)).unwrap();
    for chosen in 0..1_u32 << filters.len() {
        let with = |n: usize| chosen & (1 << n) != 0;
        let query: String = (0..filters.len()).filter(|n| with(*n)).map(|n| filters[n].as_str()).collect();
        let expected = if with(4) {
            REFERENCE
        } else if with(0) {
            OWNER
        } else {
            TIME
        };
        for cursor in ["", &cursor] {
            let path = format!("/finance/ledger?limit=5{query}{cursor}");
            for read in plans(&shop.app, &shop.auditor, &path).await {
                assert_eq!(read.get_str("planSummary").unwrap(), expected, "{path}: {read}");
                assert!(!read.contains_key("hasSortStage"), "{path} sorts: {read}");
                let keys = read.get_i32("keysExamined").unwrap();
                assert!(!with(4) || keys < 40, "{path}: {keys} keys for one reference");
            }
        }
    }

    let merchant = &shop.merchants[2];
    let own = [("/wallet/ledger?limit=5", OWNER), ("/wallet/statement?limit=5", STATEMENT)];
    for (path, expected) in own.map(|(path, plan)| (path.to_owned(), plan)) {
        let more = next(&shop.app.get(merchant, &path).await.expect(200)).unwrap();
        for path in [format!("{path}&{period}"), format!("{path}{more}"), path] {
            let reads = plans(&shop.app, merchant, &path).await;
            assert!(!reads.is_empty());
            for read in reads {
                assert_eq!(read.get_str("planSummary").unwrap(), expected, "{path}: {read}");
                assert!(!read.contains_key("hasSortStage"), "{path} sorts: {read}");
                assert_eq!(path.starts_with("/wallet/statement"), is_of_a_snapshot(&read), "{path}: {read}");
                let looked_at = read.get_i32("docsExamined").unwrap();
                assert!(i64::from(looked_at) < total / 4, "{path}: {looked_at} of {total}");
            }
        }
    }
    for (query, expected) in [("", TIME), (&format!("&userId={user}"), OWNER), (&format!("&{period}"), TIME)] {
        for read in plans(&shop.app, &shop.auditor, &format!("/finance/ledger/export?format=csv{query}")).await {
            assert!(is_of_a_snapshot(&read), "{query}: {read}");
            let plan = read.get_str("planSummary").unwrap();
            assert!(plan == expected || plan == TIME, "{query}: {read}");
            assert!(!read.contains_key("hasSortStage"), "{query} sorts: {read}");
        }
    }
    shop.app.finish().await;
}

/// Sums by currency and account.
type Sums = BTreeMap<String, BTreeMap<String, i64>>;

/// What the lines of the transactions up to `moment` come to.
fn replay(all: &[Value], moment: &str) -> Sums {
    let mut sums = Sums::new();
    for transaction in all.iter().filter(|transaction| text(&transaction["at"]).as_str() <= moment) {
        for line in transaction["lines"].as_array().unwrap() {
            let accounts = sums.entry(text(&line["currency"])).or_default();
            *accounts.entry(text(&line["account"])).or_default() += number(&line["amount"]);
        }
    }
    sums
}

/// What a trial balance says, after it was checked in itself.
fn sums(balance: &Value) -> Sums {
    let mut sums = Sums::new();
    for currency in balance["currencies"].as_array().unwrap() {
        assert_eq!(currency["balanced"], true, "{balance}");
        assert_eq!(currency["totalDebit"], currency["totalCredit"]);
        let mut debits = 0;
        for account in currency["accounts"].as_array().unwrap() {
            let (debit, credit) = (number(&account["debit"]), number(&account["credit"]));
            assert!(debit >= 0 && credit >= 0 && (debit == 0 || credit == 0), "{account}");
            debits += debit;
            let accounts = sums.entry(text(&currency["currency"])).or_default();
            accounts.insert(text(&account["account"]), credit - debit);
        }
        assert_eq!(debits, number(&currency["totalDebit"]));
    }
    sums
}

#[tokio::test]
async fn the_books_at_any_moment_are_the_lines_up_to_then() {
    let shop = Shop::open().await;
    let (app, auditor) = (&shop.app, &shop.auditor);
    let all = shop.all().await;
    let mut moments: BTreeSet<String> = all.iter().map(|transaction| text(&transaction["at"])).collect();
    moments.insert("2020-01-01T00:00:00.000Z".into());
    for moment in &moments {
        let balance = app.get(auditor, &format!("/finance/trial-balance?asOf={moment}")).await.expect(200).body;
        assert_eq!(balance["asOf"], **moment);
        let expected = replay(&all, moment);
        assert_eq!(sums(&balance), expected, "{moment}");
        let only =
            app.get(auditor, &format!("/finance/trial-balance?asOf={moment}&currency=KWD")).await.expect(200).body;
        assert_eq!(sums(&only).get("KWD"), expected.get("KWD"));
        assert!(sums(&only).len() <= 1);
        for currency in ["INR", "KWD"] {
            let mut together = (0, 0);
            for user in &shop.merchants {
                let own: Vec<_> = all.iter().filter(|t| t["userId"] == *user.user_id).cloned().collect();
                let own = replay(&own, moment).remove(currency).unwrap_or_default();
                let path = format!("/finance/wallets/{}?asOf={moment}&currency={currency}", user.user_id);
                let wallet = app.get(auditor, &path).await.expect(200).body;
                let (available, held) = (number(&wallet["available"]), number(&wallet["held"]));
                let of = |account| own.get(account).copied().unwrap_or(0);
                assert_eq!((available, held), (of("wallet.available"), of("wallet.held")), "{path}");
                assert_eq!(number(&wallet["posted"]), available + held);
                together = (together.0 + available, together.1 + held);
            }
            let of = |account| expected.get(currency).and_then(|sums| sums.get(account)).copied().unwrap_or(0);
            assert_eq!(together, (of("wallet.available"), of("wallet.held")), "{currency} at {moment}");
        }
    }
    shop.app.finish().await;
}

#[tokio::test]
async fn the_books_of_now_agree_with_every_wallet_and_are_final_after_a_while() {
    let shop = Shop::open().await;
    let (app, auditor) = (&shop.app, &shop.auditor);
    let now = app.get(auditor, "/finance/trial-balance").await.expect(200).body;
    assert_eq!(now["final"], false, "something may still be committing");
    let balances = sums(&now);
    let mut wallets = (0, 0);
    for user in &shop.merchants {
        let wallet = app.get(auditor, &format!("/finance/wallets/{}", user.user_id)).await.expect(200).body;
        wallets = (wallets.0 + number(&wallet["available"]), wallets.1 + number(&wallet["held"]));
    }
    assert!(wallets.1 > 0, "an order is under way");
    assert_eq!((balances["INR"]["wallet.available"], balances["INR"]["wallet.held"]), wallets);
    assert_eq!(balances["INR"]["transfers"], 0);
    assert!(balances["INR"]["payable.parcelx"] > 0);
    let codes: Vec<_> =
        now["currencies"].as_array().unwrap().iter().map(|currency| text(&currency["currency"])).collect();
    assert_eq!(codes, ["INR", "KWD"]);

    let as_of = text(&now["asOf"]);
    app.app.clock.advance(Duration::from_secs(16));
    let then = app.get(auditor, &format!("/finance/trial-balance?asOf={as_of}")).await.expect(200).body;
    assert_eq!((&then["final"], sums(&then)), (&json!(true), balances));
    let none = app.get(auditor, "/finance/trial-balance?currency=JPY").await.expect(200).body;
    assert_eq!(none["currencies"], json!([]));
    shop.app.finish().await;
}

#[tokio::test]
async fn a_sum_that_no_number_holds_is_no_answer() {
    let app = TestApp::start().await;
    let (auditor, _) = (app.user(Role::Auditor).await, app.merchant_with(5).await);
    pad(&app, 1).await;
    let lines = |amount: i64| -> Bson {
        let line = |account: &str, amount: i64| doc! { "account": account, "amount": amount, "currency": "INR" };
        vec![line("wallet.available", amount), line("settlement.cash", -amount)].into()
    };
    let ledger = app.db().collection::<Document>(LEDGER);
    ledger.update_many(doc! {}, doc! { "$set": { "lines": lines(i64::MAX / 2) } }).await.unwrap();
    app.get(&auditor, "/finance/trial-balance").await.expect(200);
    ledger.update_many(doc! {}, doc! { "$set": { "lines": lines(i64::MAX) } }).await.unwrap();
    app.get(&auditor, "/finance/trial-balance").await.expect(500);
    app.finish_unchecked().await;
}
