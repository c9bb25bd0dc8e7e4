//! Mail to users: what somebody waits for, or has to act upon.
//!
//! Invariants: a letter about an event is one message, whose `Message-ID` is made of the event and the letter, however often it is
//! sent: a server that knows what it has taken delivers it once. Once the server has taken it, it is never sent again. Every
//! conversation with the server is on record before it begins and closed in the end, like a call to a provider, and no record,
//! log or job holds an address, a link or a word of a message. Users that are disabled get none, nor does a user of what it does not want
//! (`auth::MailTopics`); what somebody may not want says how to leave it. Who buys is written to at the address that the checkout names,
//! until it is erased; where that is somebody's account, the account's wishes count.
//!
//! A letter speaks of what is now: where what it is about has gone on since, it is not sent. Letters are a table ([`LETTERS`]);
//! what they say is in templates, which operators may replace ([`Templates`]). Collection: `mails` (kept for [`MAILS_KEPT`]
//! after their last change). Jobs, on `mail-queue`: `handle-event` and `send-report`. No events. For operators: docs/mail.md.

mod attempt;
mod buyer;
mod handler;
mod judge;
mod letter_data;
mod letters;
mod mailer;
mod message;
mod model;
mod recipient;
mod report;
mod report_file;
mod report_orders;
mod report_stock;
mod templates;

use std::time::Duration;

pub use buyer::Buyer;
pub use handler::MailHandler;
pub use letters::{LETTERS, Letter};
pub use mailer::{Mail, Mailer, MailerParts};
pub use message::{Attachment, MailSender, POLICY};
pub use model::{COLLECTIONS, indexes};
pub use recipient::Addressee;
pub use report::{DailyReports, ReportKind, SEND_REPORT_KIND, SendReport};
pub use templates::Templates;

use crate::modules::queue::{Backoff, QueueConfig};

pub const MAIL_QUEUE: &str = "mail-queue";
/// That a mail was sent is remembered for so long: longer than its job.
pub const MAILS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// The queue of mail: nine more attempts over a day, because a mail server may be away for as long. `deadline` is a
/// conversation's.
#[must_use]
pub fn queue(concurrency: usize, deadline: Duration) -> QueueConfig {
    QueueConfig {
        concurrency,
        max_attempts: 10,
        backoff: Backoff { base: Duration::from_secs(30), factor: 4, max: Duration::from_secs(4 * 3_600) },
        timeout: deadline + Duration::from_secs(40),
        keep_done_for: Duration::from_secs(7 * 86_400),
        keep_done_count: 1_000,
        ..QueueConfig::named(MAIL_QUEUE)
    }
}
