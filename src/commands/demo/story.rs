//! The chapters.

use bson::{Bson, Document, doc};
use serde_json::Value;

use super::client::{Answer, DemoClient};
use crate::{
    app::App,
    modules::audit::{AuditStore, ProviderRequestLog, ProviderResponseLog},
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
    let first = story.create().await?;
    story.replay(&first).await?;
    story.mismatch().await?;
    story.fails_twice().await?;
    story.refused().await?;
    story.lost_answer().await?;
    story.cancelled(&first).await?;
    story.tables().await
}

fn claim(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("this was expected and did not happen: {what}")) }
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

    async fn create(&mut self) -> Result<String, String> {
        self.chapter("It creates an order; the answer does not wait for the carrier");
        let order_id = self.create_order("c-1001", 450).await?;
        let order = self.settled(&order_id).await?;
        println!("   a moment later: {}, AWB {}", short(&order), text(&order["shipment"], "awb"));
        claim(order["status"] == "confirmed", "the order is confirmed")?;
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
        println!("   POST /orders/cancel c-1001 again -> {}\n", again.status);
        claim(answer.status == 202 && again.status == 200 && order["status"] == "cancelled", "cancelled once")
    }

    async fn tables(&self) -> Result<(), String> {
        println!("What is in the database              and in the carrier's books");
        let count = async |collection: &str, filter: Document| {
            self.app.db.collection::<Document>(collection).count_documents(filter).await.map_err(|e| e.to_string())
        };
        let books = self.client.books(None).await?;
        let status = |status: &str| doc! { "status": status };
        let confirmed = count("orders", status("confirmed")).await?;
        let cancelled = count("orders", status("cancelled")).await?;
        let failed = count("orders", status("failed")).await?;
        let requests = count("provider_request_logs", doc! {}).await?;
        let responses = count("provider_response_logs", doc! {}).await?;
        let rows = [
            ("orders confirmed", confirmed, "shipments", books["shipments"].to_string()),
            ("orders cancelled", cancelled, "of these cancelled", books["cancelled"].to_string()),
            ("orders failed", failed, "bought twice", books["duplicates"].to_string()),
            ("provider requests on record", requests, "calls received", books["calls"].to_string()),
            ("provider responses on record", responses, "", String::new()),
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
        println!("Nothing lost, nothing doubled, every call on record.");
        Ok(())
    }

    async fn create_order(&self, client_order_id: &str, weight_grams: i64) -> Result<String, String> {
        let Answer { status, body, .. } = self.client.create(client_order_id, weight_grams).await?;
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
        Ok((requests, responses))
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

/// Some fields of a stored body.
fn excerpt(body: &Bson, fields: &[&str]) -> String {
    let Some(body) = body.as_document() else { return body.to_string() };
    let shown: Vec<_> =
        fields.iter().filter_map(|field| body.get(field).map(|value| format!("{field}: {value}"))).collect();
    shown.join(", ")
}
