//! The chapters.

mod erp;
mod mail;
mod outage;
mod schedule;
mod shop;
mod webhook;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use serde_json::Value;

use super::{
    audit,
    claim::claim,
    client::{ApiReply, DemoClient},
    extract,
};
use crate::{
    app::App,
    modules::{
        audit::{AuditStore, ProviderRequestLog, ProviderResponseLog},
        inspection::check_all,
        wallet::WalletStore,
    },
    platform::{
        differences::{Difference, Differences},
        money::{Currency, Money},
    },
};

struct Story<'a> {
    app: &'a App,
    client: DemoClient,
    chapter: u32,
}

/// Tells the story; fails at the first claim that does not hold.
pub(super) async fn tell(app: &App, api: &str, simulators: &str) -> Result<(), String> {
    let mut story = Story { app, client: DemoClient::new(api, simulators)?, chapter: 0 };
    story.register().await?;
    story.verify().await?;
    story.top_up().await?;
    let first = story.create().await?;
    story.replay(&first).await?;
    story.mismatch().await?;
    story.fails_twice().await?;
    story.refused().await?;
    story.mail().await?;
    story.lost_answer().await?;
    story.too_little_money().await?;
    story.outage().await?;
    story.cancelled(&first).await?;
    story.sale().await?;
    story.shop().await?;
    story.webhook().await?;
    story.schedule().await?;
    story.chapter("It orders an extract from the property register, which takes its time and comes as a file");
    extract::tell(app, &story.client).await?;
    story.chapter("Somebody changes what is on record, and an auditor is told what");
    audit::tell(app, &first).await?;
    story.tables().await
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("-")
}

fn short(body: &Value) -> String {
    format!("status={}, providerSyncStatus={}", text(body, "status"), text(body, "providerSyncStatus"))
}

impl Story<'_> {
    fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        println!("{}. {title}", self.chapter);
    }

    async fn register(&mut self) -> Result<(), String> {
        self.chapter("A merchant registers");
        let answer = self.client.register().await?;
        println!("   POST /auth/register -> {} {}\n", answer.status, text(&answer.body, "userId"));
        claim(answer.status == 201, "201")
    }

    async fn verify(&mut self) -> Result<(), String> {
        self.chapter("Nobody knows it yet, so its order is refused; it hands in its papers and is verified");
        let refused = self.client.create("c-1001", 450).await?;
        println!("   POST /orders/create c-1001 -> {} {}", refused.status, text(&refused.body, "code"));
        println!("   {}", text(&refused.body, "nextStep"));
        let draft = self.client.fill_in_application().await?;
        println!(
            "   PUT /kyc -> {} pan {}, aadhaar {}, account {}",
            draft.status,
            text(&draft.body, "pan"),
            text(&draft.body, "aadhaar"),
            text(&draft.body["bankAccount"], "accountNumber"),
        );
        let early = self.client.submit_application().await?;
        let missing = early.body["errors"].as_array().cloned().unwrap_or_default();
        let missing: Vec<_> = missing.iter().map(|error| text(error, "field")).collect();
        println!("   POST /kyc/submit -> {} {}: {}", early.status, text(&early.body, "code"), missing.join(", "));
        for kind in ["pan_card", "cancelled_cheque", "address_proof"] {
            let answer = self.client.upload(kind).await?;
            println!("   POST /kyc/documents {kind} -> {}", answer.status);
            claim(answer.status == 201, "the document is taken")?;
        }
        let submitted = self.client.submit_application().await?;
        println!("   POST /kyc/submit -> {} {}", submitted.status, text(&submitted.body, "state"));
        let verified = self.client.await_application("verified").await?;
        let checks = verified["checks"].as_array().cloned().unwrap_or_default();
        let checks: Vec<_> =
            checks.iter().map(|check| format!("{} {}", text(check, "check"), text(check, "status"))).collect();
        println!("   a moment later: {} ({})\n", text(&verified, "state"), checks.join(", "));
        claim(refused.status == 403 && refused.body["code"] == "kyc.not_verified", "403 before it is verified")?;
        claim(early.status == 422 && missing.len() == 3, "what is missing is named")?;
        claim(submitted.status == 202 && checks.len() == 2, "two checks passed")
    }

    async fn top_up(&mut self) -> Result<(), String> {
        self.chapter("It tops its wallet up; the payment gateway calls back twice");
        let answer = self.client.top_up("t-1", 20_000).await?;
        let topup_id = text(&answer.body, "topupId").to_owned();
        println!("   POST /wallet/topups t-1 ({}) -> {} {topup_id}", rupees(20_000), answer.status);
        let started = self.client.await_top_up(&topup_id, "pending").await?;
        println!("   a moment later it can be paid at {}", text(&started, "paymentUrl"));
        let paid = self.client.pay(&topup_id, 2).await?;
        println!("   the gateway's two callbacks were answered {}", paid.body["answers"]);
        self.client.await_top_up(&topup_id, "paid").await?;
        let wallet = self.wallet().await?;
        println!();
        claim(answer.status == 201 && paid.body["answers"] == serde_json::json!([200, 200]), "both are taken")?;
        claim(wallet == (20_000, 0), "the wallet is credited once")
    }

    async fn too_little_money(&mut self) -> Result<(), String> {
        self.chapter("An order that the wallet can't pay is not taken; after a top-up the same id is");
        let refused = self.client.create("c-1005", 9_000).await?;
        println!(
            "   POST /orders/create c-1005 (9 kg) -> {} {}: needed {}, available {}",
            refused.status,
            text(&refused.body, "code"),
            rupees(refused.body["needed"]["amount"].as_i64().unwrap_or(-1)),
            rupees(refused.body["available"]["amount"].as_i64().unwrap_or(-1)),
        );
        let topup = self.client.top_up("t-2", 100_000).await?;
        let topup_id = text(&topup.body, "topupId").to_owned();
        self.client.await_top_up(&topup_id, "pending").await?;
        self.client.pay(&topup_id, 1).await?;
        self.client.await_top_up(&topup_id, "paid").await?;
        let order_id = self.create_order("c-1005", 9_000).await?;
        let order = self.settled(&order_id).await?;
        println!("   {}, AWB {}", short(&order), text(&order["shipment"], "awb"));
        self.wallet().await?;
        println!();
        claim(refused.status == 402 && refused.body["code"] == "wallet.insufficient_funds", "402")?;
        claim(order["status"] == "confirmed", "the order is confirmed")
    }

    async fn wallet(&self) -> Result<(i64, i64), String> {
        let (available, held) = self.client.wallet().await?;
        println!("   wallet: available {}, held {}", rupees(available), rupees(held));
        Ok((available, held))
    }

    async fn create(&mut self) -> Result<String, String> {
        self.chapter("It creates an order; the answer does not wait for the carrier");
        let order_id = self.create_order("c-1001", 450).await?;
        let order = self.settled(&order_id).await?;
        println!("   a moment later: {}, AWB {}", short(&order), text(&order["shipment"], "awb"));
        claim(order["status"] == "confirmed", "the order is confirmed")?;
        let price = order["charge"]["amount"].as_i64().unwrap_or(-1);
        println!("   its price of {} was held with the order and is owed to the carrier now", rupees(price));
        claim(self.wallet().await? == (20_000 - price, 0), "the price is taken once")?;
        let (requests, responses) = self.logs(&order_id).await?;
        println!("   what went to the carrier, as stored (names, telephone numbers and streets are not):");
        for (request, response) in requests.iter().zip(&responses) {
            println!("     {}  {} {}", request.id, request.method, request.url);
            println!(
                "       {}",
                excerpt(
                    &request.body,
                    &[
                        "client_order_id",
                        "invoice_number",
                        "consignee_name",
                        "consignee_pincode",
                        "order_amount",
                        "shipment_weight"
                    ]
                )
            );
            println!(
                "     {}  {} after {} ms: {}",
                response.id,
                response.http_status.unwrap_or_default(),
                response.latency_ms,
                response.outcome
            );
            println!("       {}", excerpt(&response.body, &["status", "responsemsg"]));
        }
        println!();
        claim(requests.len() == 1 && responses.len() == 1, "one request, one answer, both on record")?;
        Ok(order_id)
    }

    async fn replay(&mut self, order_id: &str) -> Result<(), String> {
        self.chapter("The network was bad, so the client sends the same create again");
        let answer = self.client.create("c-1001", 450).await?;
        println!(
            "   POST /orders/create c-1001 -> {}, Idempotent-Replayed: {}, the same {}",
            answer.status,
            answer.replayed,
            text(&answer.body, "orderId")
        );
        let calls = self.client.books(Some(order_id)).await?;
        println!("   the carrier was called {} time(s) for it\n", calls["createCalls"]);
        claim(answer.status == 200 && answer.replayed && answer.body["orderId"] == order_id, "a replay")?;
        claim(calls["createCalls"] == 1, "one call")
    }

    async fn mismatch(&mut self) -> Result<(), String> {
        self.chapter("The same id with another content is a mistake, and is told so");
        let answer = self.client.create("c-1001", 900).await?;
        println!("   POST /orders/create c-1001 (900 g) -> {} {}\n", answer.status, text(&answer.body, "code"));
        claim(answer.status == 422 && answer.body["code"] == "orders.idempotency_mismatch", "422")
    }

    async fn fails_twice(&mut self) -> Result<(), String> {
        self.chapter("The carrier fails twice (500) and then accepts");
        println!("   a 500 may come after the work was done: before sending again, Waybill looks the order up");
        self.client.misbehave("500", 2).await?;
        let order_id = self.create_order("c-1002", 450).await?;
        let order = self.settled(&order_id).await?;
        self.calls(&order_id).await?;
        println!("   {}, AWB {}\n", short(&order), text(&order["shipment"], "awb"));
        claim(order["status"] == "confirmed", "the order is confirmed")?;
        claim(self.shipments(&order_id).await? == 1, "one shipment")
    }

    async fn refused(&mut self) -> Result<(), String> {
        self.chapter("The carrier refuses for good");
        let before = self.client.wallet().await?;
        self.client.misbehave("refuse", 1).await?;
        let order_id = self.create_order("c-1003", 450).await?;
        let order = self.settled(&order_id).await?;
        self.calls(&order_id).await?;
        println!(
            "   {}, failure: {} \"{}\"\n",
            short(&order),
            text(&order["failure"], "code"),
            text(&order["failure"], "message")
        );
        claim(self.client.wallet().await? == before, "its price went back")?;
        claim(order["status"] == "failed", "the order has failed")?;
        claim(self.shipments(&order_id).await? == 0, "no shipment")
    }

    async fn lost_answer(&mut self) -> Result<(), String> {
        self.chapter("The carrier does the work and drops the line before it answers");
        self.client.misbehave("drop_after_work", 1).await?;
        let order_id = self.create_order("c-1004", 450).await?;
        let order = self.settled(&order_id).await?;
        self.calls(&order_id).await?;
        let books = self.client.books(Some(&order_id)).await?;
        println!(
            "   {}: found by look-up, sent {} time, {} shipment at the carrier\n",
            short(&order),
            books["createCalls"],
            self.shipments(&order_id).await?
        );
        claim(order["status"] == "confirmed", "the order is confirmed")?;
        claim(books["createCalls"] == 1 && self.shipments(&order_id).await? == 1, "it was not sent twice")
    }

    async fn cancelled(&mut self, order_id: &str) -> Result<(), String> {
        self.chapter("The merchant cancels the first order");
        let before = self.client.wallet().await?;
        let answer = self.client.cancel("c-1001").await?;
        println!(
            "   POST /orders/cancel c-1001 -> {}, cancellation {}",
            answer.status,
            text(&answer.body["cancellation"], "status")
        );
        let order = self.client.await_order(order_id, |order| order["cancellation"]["status"] == "done").await?;
        let again = self.client.cancel("c-1001").await?;
        println!(
            "   a moment later: status={}, cancellation {}",
            text(&order, "status"),
            text(&order["cancellation"], "status")
        );
        println!("   POST /orders/cancel c-1001 again -> {}", again.status);
        let price = order["charge"]["amount"].as_i64().unwrap_or(-1);
        let wallet = self.wallet().await?;
        println!();
        claim(wallet == (before.0 + price, before.1), "its price went back once")?;
        claim(answer.status == 202 && again.status == 200 && order["status"] == "cancelled", "cancelled once")
    }

    async fn tables(&self) -> Result<(), String> {
        println!("What is in the database              and in the carrier's books");
        let count = async |collection: &str, filter: Document| {
            self.app.db.collection::<Document>(collection).count_documents(filter).await.map_err(|e| e.to_string())
        };
        let books = self.client.books(None).await?;
        let status = |status: &str| doc! { "status": status, "provider": "parcelx" };
        let confirmed = count("orders", status("confirmed")).await?;
        let cancelled = count("orders", status("cancelled")).await?;
        let failed = count("orders", status("failed")).await?;
        let carrier = doc! { "provider": "parcelx" };
        let requests = count("provider_request_logs", carrier.clone()).await?;
        let responses = count("provider_response_logs", carrier).await?;
        let rows = [
            ("orders confirmed", confirmed, "shipments", books["shipments"].to_string()),
            ("orders cancelled", cancelled, "of these cancelled", books["cancelled"].to_string()),
            ("orders failed", failed, "bought twice", books["duplicates"].to_string()),
            ("carrier requests on record", requests, "calls received", books["calls"].to_string()),
            ("carrier responses on record", responses, "", String::new()),
            ("events", count("events", doc! {}).await?, "", String::new()),
            ("jobs done", count("jobs", doc! { "state": "done" }).await?, "", String::new()),
            ("jobs dead, for a person to see", count("jobs", doc! { "state": "dead" }).await?, "", String::new()),
        ];
        for (ours, count, theirs, number) in rows {
            println!("  {ours:<30} {count:>4}     {theirs:<20} {number:>4}");
        }
        println!();
        claim(requests == responses && books["calls"] == requests, "every call is on record, with its answer")?;
        claim(books["duplicates"] == 0 && books["shipments"] == confirmed + cancelled, "the books agree")?;
        self.books().await?;
        println!("Nothing lost, nothing doubled, debits equal credits, every call on record.");
        Ok(())
    }

    /// The ledger's accounts, and what a reconciliation finds.
    async fn books(&self) -> Result<(), String> {
        let ledger = self.app.db.collection::<Document>("ledger_transactions");
        let by_account = [
            doc! { "$unwind": "$lines" },
            doc! { "$group": { "_id": "$lines.account", "sum": { "$sum": "$lines.amount" } } },
            doc! { "$sort": { "_id": 1 } },
        ];
        let found = ledger.aggregate(by_account).await.map_err(|error| error.to_string())?;
        let accounts: Vec<Document> = found.try_collect().await.map_err(|error| error.to_string())?;
        println!("The ledger                         debit        credit");
        let mut total = 0;
        for account in &accounts {
            let sum = account.get_i64("sum").unwrap_or_default();
            total += sum;
            let (debit, credit) = if sum < 0 { (rupees(-sum), String::new()) } else { (String::new(), rupees(sum)) };
            println!("  {:<26} {debit:>12}  {credit:>12}", account.get_str("_id").unwrap_or_default());
        }
        let mut counted = DifferenceCount::default();
        let store = WalletStore::new(self.app.db.clone());
        check_all(&store, &mut counted).await.map_err(|error| error.to_string())?;
        println!("  differences between ledger, wallets, holds, orders and logs: {}\n", counted.0);
        claim(total == 0 && !accounts.is_empty(), "debits equal credits")?;
        claim(counted.0 == 0, "the books agree")
    }

    async fn create_order(&self, client_order_id: &str, weight_grams: i64) -> Result<String, String> {
        let ApiReply { status, body, .. } = self.client.create(client_order_id, weight_grams).await?;
        let order_id = text(&body, "orderId").to_owned();
        println!("   POST /orders/create {client_order_id} -> {status} {order_id}, {}", short(&body));
        claim(status == 201, "201")?;
        Ok(order_id)
    }

    async fn settled(&self, order_id: &str) -> Result<Value, String> {
        self.client.await_order(order_id, |order| order["status"] != "created").await
    }

    async fn shipments(&self, order_id: &str) -> Result<usize, String> {
        Ok(self.client.books(Some(order_id)).await?["shipments"].as_array().map_or(0, Vec::len))
    }

    async fn logs(&self, order_id: &str) -> Result<(Vec<ProviderRequestLog>, Vec<ProviderResponseLog>), String> {
        let store = AuditStore::new(self.app.db.clone());
        let requests = store.list_requests(order_id).await.map_err(|error| error.to_string())?;
        let responses = store.list_responses(order_id).await.map_err(|error| error.to_string())?;
        Ok((requests.records, responses.records))
    }

    /// One line per call, from the logs.
    async fn calls(&self, order_id: &str) -> Result<(), String> {
        let (requests, responses) = self.logs(order_id).await?;
        for request in requests {
            let answer = responses.iter().find(|response| response.request_ref_id == request.id);
            let (status, outcome) = answer.map_or((None, "no answer yet"), |a| (a.http_status, &*a.outcome));
            let status = status.map_or_else(|| "---".to_owned(), |status| status.to_string());
            let message = answer.and_then(|answer| answer.error_message.clone()).unwrap_or_default();
            println!("     {:<14} {status}  {outcome:<10} {message}", request.operation);
        }
        Ok(())
    }
}

/// Counts what a reconciliation finds.
#[derive(Default)]
struct DifferenceCount(u64);

impl Differences for DifferenceCount {
    fn add(&mut self, difference: Difference) {
        println!("  {difference:?}");
        self.0 += 1;
    }

    fn looked_at(&mut self, _: &'static str, _: u64) {}
}

fn rupees(paise: i64) -> String {
    Money::new(paise, Currency::INR).to_string()
}

fn excerpt(body: &Bson, fields: &[&str]) -> String {
    let Some(body) = body.as_document() else { return body.to_string() };
    let shown: Vec<_> =
        fields.iter().filter_map(|field| body.get(field).map(|value| format!("{field}: {value}"))).collect();
    shown.join(", ")
}
