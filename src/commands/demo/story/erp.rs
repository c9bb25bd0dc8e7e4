//! A chapter: a sale goes to an ERP.

use serde_json::Value;

use super::{Story, excerpt, short, text};
use crate::commands::demo::claim::claim;

impl Story<'_> {
    pub(super) async fn sale(&mut self) -> Result<(), String> {
        self.chapter(
            "It sells to Berlin: the sale goes to an ERP, which does the work and drops the line before it answers",
        );
        let before = self.client.wallet().await?;
        self.client.misbehave_at("xapi", "drop_after_work", 1).await?;
        let created = self.client.sell("s-1").await?;
        let order_id = text(&created.body, "orderId").to_owned();
        println!(
            "   POST /orders/create s-1 (provider xapi) -> {} {order_id}, {}",
            created.status,
            short(&created.body)
        );
        let order = self.settled(&order_id).await?;
        self.calls(&order_id).await?;
        let number = order_id.trim_start_matches("ord_");
        let books = self.client.books_at("xapi", &format!("orders/{number}")).await?;
        println!(
            "   {}: found by our number {number}, sent {} time, {} there",
            short(&order),
            books["calls"]["create"],
            text(&order, "reference")
        );
        let (requests, _) = self.logs(&order_id).await?;
        println!("   what went to the ERP, as stored (who has bought and where they live is not):");
        let shown =
            ["externalDocumentNumber", "orderDate", "currencyCode", "customer", "totalAmount", "paymentReference"];
        println!("     {}", excerpt(&requests[0].body, &shown));
        let late = self.client.cancel("s-1").await?;
        println!(
            "   POST /orders/cancel s-1 -> {} {}: an ERP takes nothing back\n",
            late.status,
            text(&late.body, "code")
        );
        claim(created.status == 201 && order["status"] == "confirmed", "the sale is placed")?;
        claim(
            books["calls"]["create"] == 1 && books["orders"].as_array().map_or(0, Vec::len) == 1,
            "it was sent once",
        )?;
        claim(
            order["charge"] == Value::Null && self.client.wallet().await? == before,
            "it costs the merchant nothing",
        )?;
        claim(order["sale"]["lines"].as_array().map_or(0, Vec::len) == 2, "the order answers with its lines")?;
        claim(late.status == 409 && late.body["code"] == "orders.not_cancellable", "what was sent is not taken back")
    }
}
