//! Classifies answers of the mail server. Pure.

use std::time::Duration;

use crate::{
    modules::{
        audit::{ErrorClass, Verdict},
        events::HandlerError,
    },
    platform::exchange::{MailAnswer, NotSent, SmtpStep},
};

/// Result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SendOutcome {
    Taken,
    /// It was provably not taken; another time.
    NotTaken {
        /// `mail.not_connected`, ...
        code: &'static str,
        message: String,
    },
    /// The server may have taken it. It is sent again under the same `Message-ID`.
    Unknown,
    /// The server has refused it for good.
    Refused {
        message: String,
    },
}

/// Classifies an answer. A refusal of the mail itself is final if the server says so; a refusal of us (connection, TLS, sign-in) is about
/// the configuration, which somebody will put right.
pub(super) fn judge(answer: &MailAnswer) -> SendOutcome {
    let not_taken = |code, message: String| SendOutcome::NotTaken { code, message };
    match answer {
        MailAnswer::Taken => SendOutcome::Taken,
        MailAnswer::Lost(_) => SendOutcome::Unknown,
        MailAnswer::NotSent(NotSent::NoTime) => {
            not_taken("mail.no_time", "The lease would not have outlasted the conversation.".into())
        }
        MailAnswer::NotSent(_) | MailAnswer::Broken(SmtpStep::Connect) => {
            not_taken("mail.not_connected", "No conversation with the mail server.".into())
        }
        MailAnswer::Broken(step) => {
            not_taken("mail.broken_off", format!("The conversation broke at {}.", step.as_str()))
        }
        MailAnswer::Refused { step, code } => {
            let message = format!("The mail server answered {code} at {}.", step.as_str());
            match step {
                SmtpStep::Connect | SmtpStep::StartTls | SmtpStep::Auth => not_taken("mail.not_admitted", message),
                _ if *code >= 500 => SendOutcome::Refused { message },
                _ => not_taken("mail.try_later", message),
            }
        }
    }
}

impl SendOutcome {
    /// As it is logged.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Taken => Verdict::done("done"),
            Self::NotTaken { code, message } => Verdict::failed(ErrorClass::Retryable, code, message),
            Self::Unknown => Verdict::failed(
                ErrorClass::Unknown,
                "mail.unknown",
                "No answer to the message: the server may have taken it. It is sent again under the same Message-ID.",
            ),
            Self::Refused { message } => Verdict::failed(ErrorClass::Fatal, "mail.refused", message),
        }
    }

    /// The end of the job.
    pub(super) fn result(self, after: Option<Duration>) -> Result<(), HandlerError> {
        match self {
            Self::Taken => Ok(()),
            Self::NotTaken { code, message } => Err(HandlerError::Retryable { code, message, after }),
            Self::Unknown => Err(HandlerError::Retryable {
                code: "mail.unknown",
                message: "The mail server may have taken the message.".into(),
                after,
            }),
            Self::Refused { message } => Err(HandlerError::Invalid { code: "mail.refused", message }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::exchange::Lost;

    #[test]
    fn a_mail_handed_over_is_unknown_and_only_its_refusal_is_final() {
        let told = |answer: MailAnswer| match judge(&answer) {
            SendOutcome::Taken => "taken",
            SendOutcome::NotTaken { code, .. } => code,
            SendOutcome::Unknown => "unknown",
            SendOutcome::Refused { .. } => "refused",
        };
        let refused = |step, code| MailAnswer::Refused { step, code };
        for (answer, expected) in [
            (MailAnswer::Taken, "taken"),
            (MailAnswer::Lost(Lost::ConnectionLost), "unknown"),
            (MailAnswer::Lost(Lost::TimedOut), "unknown"),
            (MailAnswer::NotSent(NotSent::NoTime), "mail.no_time"),
            (MailAnswer::Broken(SmtpStep::Connect), "mail.not_connected"),
            (MailAnswer::Broken(SmtpStep::StartTls), "mail.broken_off"),
            (MailAnswer::Broken(SmtpStep::Data), "mail.broken_off"),
            (refused(SmtpStep::Connect, 554), "mail.not_admitted"),
            (refused(SmtpStep::StartTls, 454), "mail.not_admitted"),
            (refused(SmtpStep::Auth, 535), "mail.not_admitted"),
            (refused(SmtpStep::Mail, 451), "mail.try_later"),
            (refused(SmtpStep::Mail, 552), "refused"),
            (refused(SmtpStep::Rcpt, 450), "mail.try_later"),
            (refused(SmtpStep::Rcpt, 550), "refused"),
            (refused(SmtpStep::Data, 421), "mail.try_later"),
            (refused(SmtpStep::Data, 554), "refused"),
            (refused(SmtpStep::Message, 451), "mail.try_later"),
            (refused(SmtpStep::Message, 550), "refused"),
        ] {
            assert_eq!(told(answer.clone()), expected, "{answer:?}");
        }
    }
}
