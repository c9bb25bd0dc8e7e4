//! Steps of a conversation, and what can become of one.

use serde::{Deserialize, Serialize};

use crate::{
    rules::{Fault, Mode, OwnMode, Work},
    transport::Transport,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Auth,
    Mail,
    Rcpt,
    Data,
    /// The mail itself, with its last dot.
    Message,
}

/// A refusal. A mail is kept all the same only where a rule says `afterWork`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Reply {
    #[serde(rename = "421")]
    Closing,
    #[serde(rename = "450")]
    MailboxBusy,
    #[serde(rename = "451")]
    LocalError,
    #[serde(rename = "452")]
    Full,
    #[serde(rename = "535")]
    BadCredentials,
    #[serde(rename = "550")]
    NoSuchMailbox,
    #[serde(rename = "552")]
    TooLarge,
    #[serde(rename = "554")]
    Rejected,
}

impl OwnMode for Reply {
    type Operation = Step;

    fn work(self) -> Work {
        Work::LeftOut
    }
}

impl Reply {
    /// The line that says so. It repeats the address, as servers do.
    pub fn line(self, message: Option<&str>, recipient: &str) -> String {
        let (code, words) = match self {
            Self::Closing => ("421", "4.3.2 Closing the channel"),
            Self::MailboxBusy => ("450", "4.2.1 Mailbox busy, try later"),
            Self::LocalError => ("451", "4.3.0 Local error, try later"),
            Self::Full => ("452", "4.3.1 No room, try later"),
            Self::BadCredentials => ("535", "5.7.8 Credentials are not good"),
            Self::NoSuchMailbox => ("550", "5.1.1 No such mailbox"),
            Self::TooLarge => ("552", "5.3.4 Message too large"),
            Self::Rejected => ("554", "5.7.1 Rejected"),
        };
        format!("{code} {} <{recipient}>", message.unwrap_or(words))
    }
}

/// The fate of a step.
pub enum Fate {
    Proper,
    Says(Reply),
    /// No answer.
    Hangs,
    /// The connection ends.
    Drops,
}

/// The meaning of a rule here; none where it has none for a mail server.
pub fn fate(mode: Mode<Reply>) -> Option<Fate> {
    Some(match mode {
        Mode::Own(reply) => Fate::Says(reply),
        Mode::Transport(Transport::Ok) => Fate::Proper,
        Mode::Transport(Transport::Hang | Transport::HangAfterWork) => Fate::Hangs,
        Mode::Transport(Transport::Drop | Transport::DropAfterWork) => Fate::Drops,
        Mode::Transport(_) => return None,
    })
}

/// Whether a mail is kept although it goes wrong, or because it does not.
pub fn is_kept(fault: &Fault<Reply>) -> bool {
    fault.after_work
}
