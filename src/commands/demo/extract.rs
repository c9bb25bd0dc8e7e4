//! The chapter about an order that takes its time.

use super::{claim::claim, client::DemoClient};
use crate::{
    app::App,
    platform::{
        money::{Currency, Money},
        secret::sha256_hex,
    },
};

/// Roubles of the merchant, in kopecks.
const CREDIT: i64 = 100_000;

/// Tells it; fails at the first claim that does not hold.
pub(super) async fn tell(app: &App, client: &DemoClient) -> Result<(), String> {
    let roubles = Currency::from_code("RUB").ok_or("there are no roubles")?;
    let shown = |kopecks| Money::new(kopecks, roubles).to_string();
    let me = client.me().await?;
    let user_id = me["userId"].as_str().unwrap_or_default();
    let credit = app.wallets.open_with(user_id, Money::new(CREDIT, roubles)).await;
    credit.map_err(|error| error.to_string())?;
    println!("   finance gives it {}", shown(CREDIT));
    let created = client.create_extract("x-1001").await?;
    let order_id = created.body["orderId"].as_str().unwrap_or_default().to_owned();
    let fee = created.body["charge"]["amount"].as_i64().unwrap_or(-1);
    println!("   POST /orders/create x-1001 -> {} {order_id}", created.status);
    let held = client.roubles().await?;
    println!("   wallet: available {}, held {}", shown(held.0), shown(held.1));
    for status in ["confirmed", "in_progress", "delivered"] {
        let order = client.await_order(&order_id, |order| is_at_least(order["status"].as_str(), status)).await?;
        println!("   a moment later: {}", order["status"].as_str().unwrap_or("-"));
    }
    let files = client.files(&order_id).await?;
    let file = files.first().ok_or("there is no file")?;
    let file_id = file["fileId"].as_str().unwrap_or_default();
    println!("   GET /orders/{order_id}/files -> {} {} bytes", file["name"], file["size"]);
    let (content, disposition) = client.download(&order_id, file_id).await?;
    println!("   GET .../files/{file_id} -> {} bytes, sha256 as listed", content.len());
    println!("   {disposition}");
    let paid = client.roubles().await?;
    println!("   wallet: available {}, held {}\n", shown(paid.0), shown(paid.1));
    claim(created.status == 201 && held == (CREDIT - fee, fee), "the fee is held")?;
    claim(file["sha256"] == sha256_hex(&content), "the file is whole")?;
    claim(disposition.starts_with("attachment"), "the file is kept, not shown")?;
    claim(paid == (CREDIT - fee, 0), "the fee is paid once it is delivered")
}

/// Whether an order has come as far as `wanted`.
fn is_at_least(status: Option<&str>, wanted: &str) -> bool {
    const WAY: [&str; 4] = ["created", "confirmed", "in_progress", "delivered"];
    let place = |status: &str| WAY.iter().position(|step| *step == status);
    status.and_then(place) >= place(wanted)
}
