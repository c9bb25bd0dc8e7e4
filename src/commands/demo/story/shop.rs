//! Chapters: two buyers, the last piece, and everything that follows.

use serde_json::Value;

use super::{Story, rupees, text};
use crate::commands::demo::claim::claim;

fn status(checkout: &Value) -> &str {
    text(checkout, "status")
}

/// The orders that carry it out, as `provider status`.
fn parts(checkout: &Value) -> Vec<String> {
    let parts = checkout["parts"].as_array().into_iter().flatten();
    parts.map(|part| format!("{} {}", text(part, "provider"), text(part, "status"))).collect()
}

impl Story<'_> {
    pub(super) async fn shop(&mut self) -> Result<(), String> {
        self.chapter("The merchant puts two lamps on sale, and a customer buys one at the payment gateway");
        let product = self.client.put_on_sale("LAMP-1", "Lamp", 2).await?;
        let product_id = text(&product, "productId").to_owned();
        let set_up = self.client.set_up_fulfilment(true).await?;
        println!("   POST /products LAMP-1 -> {product_id}, 2 pieces at {}", rupees(49_900));
        println!("   PUT /fulfilment -> {}: what is paid is booked in the ERP and sent by the carrier", set_up.status);
        let ben = self.client.customer("Ben").await?;
        let bought = ben.buy("k-1", &product_id, "gateway").await?;
        let checkout_id = text(&bought.body, "checkoutId").to_owned();
        println!("   POST /checkout k-1 -> {} {checkout_id}, {}", bought.status, status(&bought.body));
        let waiting = ben.await_checkout(&checkout_id, |checkout| !checkout["payment"]["url"].is_null()).await?;
        println!("   Ben pays at {}", text(&waiting["payment"], "url"));
        ben.pay_at(text(&waiting["payment"], "url")).await?;
        let done = ben.await_checkout(&checkout_id, |checkout| checkout["status"] == "completed").await?;
        println!("   a moment later: {}; {}", status(&done), parts(&done).join(", "));
        let mail = self.client.await_mail(&format!("Your order {} with Asha", text(&done, "orderNumber"))).await?;
        println!("   mail to {}: {}", text(&mail, "headerTo"), text(&mail, "subject"));
        let low = self.client.await_mail("1 left of Lamp").await?;
        println!("   mail to {}: {}\n", text(&low, "headerTo"), text(&low, "subject"));
        claim(bought.status == 202 && bought.body["status"] == "pending", "it waits for its payment")?;
        claim(done["payment"]["url"].is_null(), "there is nothing to pay any more")?;
        claim(done["orders"].as_array().is_some_and(|orders| orders.len() == 2), "a sale and a parcel")?;
        claim(self.client.stock(&product_id).await? == 1, "one lamp is left")?;
        self.last_piece(&product_id).await
    }

    async fn last_piece(&mut self, product_id: &str) -> Result<(), String> {
        self.chapter("Two customers want the last lamp; one gets it, and changes her mind");
        self.client.set_up_fulfilment(false).await?;
        let buyers = [self.client.customer("Carla").await?, self.client.customer("Dinesh").await?];
        for (number, buyer) in buyers.iter().enumerate() {
            let topup = buyer.top_up(&format!("t-{number}"), 50_000).await?;
            let topup_id = text(&topup.body, "topupId").to_owned();
            buyer.await_top_up(&topup_id, "pending").await?;
            buyer.pay(&topup_id, 1).await?;
            buyer.await_top_up(&topup_id, "paid").await?;
        }
        let [one, other] = &buyers;
        let (first, second) =
            tokio::try_join!(one.buy("k-2", product_id, "wallet"), other.buy("k-2", product_id, "wallet"))?;
        let names = if first.status == 202 { ["Carla", "Dinesh"] } else { ["Dinesh", "Carla"] };
        let (lucky, got, short) = if first.status == 202 { (one, first, second) } else { (other, second, first) };
        let checkout_id = text(&got.body, "checkoutId").to_owned();
        println!("   {}: POST /checkout k-2 -> {} {}", names[0], got.status, status(&got.body));
        println!(
            "   {}: POST /checkout k-2 -> {} {}, available {}",
            names[1],
            short.status,
            text(&short.body, "code"),
            short.body["items"][0]["available"]
        );
        let sent = lucky.await_checkout(&checkout_id, |checkout| checkout["status"] == "completed").await?;
        println!("   a moment later: {}; {}", status(&sent), parts(&sent).join(", "));
        let cancel = lucky.cancel_checkout("k-2").await?;
        println!("   POST /checkout/cancel k-2 -> {} {}", cancel.status, status(&cancel.body));
        let back = lucky.await_checkout(&checkout_id, |checkout| checkout["status"] == "cancelled").await?;
        let (available, _) = lucky.wallet().await?;
        let stock = self.client.stock(product_id).await?;
        println!(
            "   a moment later: {}; {}; {} in the wallet again, {stock} lamp in stock again\n",
            status(&back),
            parts(&back).join(", "),
            rupees(available)
        );
        claim(got.status == 202 && short.status == 409, "one of two gets it")?;
        claim(short.body["code"] == "checkout.out_of_stock", "the other is told why")?;
        claim(cancel.status == 202 && available == 50_000 && stock == 1, "money and stock come back once")
    }
}
