//! A chapter: the carrier is away for a while, and comes back.

use std::time::Duration;

use super::{Story, text};
use crate::commands::demo::claim::{claim, failed};
use crate::modules::providers::{dispatch::BreakerState, registry::PROVIDERS};

/// Enough different orders to tell a provider that is away from one poisonous order.
const ORDERS: u32 = 4;
/// Looks at the breaker, a tenth of a second apart.
const LOOKS_MAX: u32 = 200;
/// How long the carrier stays away once nobody calls it any more.
const AWAY: Duration = Duration::from_secs(4);

impl Story<'_> {
    pub(super) async fn outage(&mut self) -> Result<(), String> {
        self.chapter("The carrier is away and comes back: its breaker opens and closes, and no order is lost");
        self.client.misbehave_always("500").await?;
        let before = self.carrier_calls().await?;
        let mut orders = Vec::new();
        for number in 1..=ORDERS {
            orders.push(self.create_order(&format!("c-20{number:02}"), 450).await?);
        }
        self.await_breaker(|breaker| breaker != BreakerState::Closed).await?;
        let opened = self.carrier_calls().await?;
        println!(
            "   every call is answered 500: after {} calls for {ORDERS} orders the breaker is open",
            opened - before
        );
        tokio::time::sleep(AWAY).await;
        let probes = self.carrier_calls().await? - opened;
        println!("   {} s later the carrier has seen {probes} more calls: probes", AWAY.as_secs());
        self.client.behave().await?;
        println!("   it is back");
        self.await_breaker(|breaker| breaker == BreakerState::Closed).await?;
        let mut confirmed = 0;
        for order_id in &orders {
            let order = self.settled(order_id).await?;
            confirmed += u32::from(order["status"] == "confirmed");
            println!("     {order_id}: {}, AWB {}", text(&order, "status"), text(&order["shipment"], "awb"));
            claim(self.shipments(order_id).await? == 1, "one shipment")?;
        }
        println!("   the breaker is closed\n");
        claim(probes <= 10, "while it is away it is hardly called")?;
        claim(confirmed == ORDERS, "all are confirmed, by themselves")
    }

    async fn carrier_calls(&self) -> Result<u64, String> {
        let books = self.client.books(None).await?;
        books["calls"].as_u64().ok_or_else(|| format!("the books hold no calls: {books}"))
    }

    async fn await_breaker(&self, is_there: impl Fn(BreakerState) -> bool) -> Result<(), String> {
        for _ in 0..LOOKS_MAX {
            let accounts = self.app.dispatch.overview(PROVIDERS[0].create_queue).await.map_err(failed)?;
            if accounts.iter().all(|account| is_there(account.breaker)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the breaker stayed where it was".into())
    }
}
