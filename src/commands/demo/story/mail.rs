//! A chapter: what the merchant finds in the mailbox.

use super::{Story, text};
use crate::commands::demo::claim::claim;

impl Story<'_> {
    pub(super) async fn mail(&mut self) -> Result<(), String> {
        self.chapter("Its merchant is told by mail that the order has failed");
        let mail = self.client.await_mail("Order c-1003 has failed").await?;
        println!("   To: {}", text(&mail, "headerTo"));
        println!("   Subject: {}", text(&mail, "subject"));
        println!("   Message-ID: {}", text(&mail, "messageId"));
        for line in text(&mail, "text").lines().filter(|line| !line.is_empty()).take(4) {
            println!("   | {line}");
        }
        println!("   the mailbox, with every mail: {}\n", self.client.mailbox());
        claim(text(&mail, "text").contains("are available in your wallet again"), "it says what becomes of the money")
    }
}
