//! Settings of outgoing mail.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use lettre::message::Mailbox;
use secrecy::{ExposeSecret, SecretString};

use super::base_url::check_base_url;
use crate::{modules::notifications, platform::exchange::SmtpServer};

/// Settings of outgoing mail.
#[derive(Clone, Debug, Args)]
pub struct MailArgs {
    /// The server that takes outgoing mail: `smtp://user:password@host:587?tls=required`, or `smtps://`. Without it no mail is
    /// sent. The same for all processes.
    #[arg(long, env = "SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<SecretString>,
    /// Sender of mail, e.g. `Waybill <no-reply@example.com>`.
    #[arg(long, env = "MAIL_FROM")]
    pub mail_from: Option<String>,
    /// A folder with templates that replace those that are built in. They are tried at the start.
    #[arg(long, env = "MAIL_TEMPLATES")]
    pub mail_templates: Option<PathBuf>,
    /// Where users reach this service, e.g. `https://waybill.example.com`: the beginning of links in mails, what posts of alerts name,
    /// and the origin that forms of the console may come from.
    #[arg(long, env = "PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Address of the operator, who gets mail when alerts fire and when they are resolved. By default none.
    #[arg(long, env = "ALERT_MAIL_TO")]
    pub alert_mail_to: Option<String>,
    /// A conversation with the mail server that has not ended by then is broken off.
    #[arg(long, env = "MAIL_DEADLINE_MS", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(10..=120_000))]
    pub mail_deadline_ms: u64,
    /// Mails that one worker sends at once.
    #[arg(long, env = "MAIL_CONCURRENCY", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub mail_concurrency: u16,
}

/// Settings of the mail server and sender.
#[derive(Clone, Debug)]
pub struct MailSettings {
    pub server: SmtpServer,
    pub sender: notifications::MailSender,
    /// See [`MailArgs::alert_mail_to`].
    pub alert_to: Option<Mailbox>,
    /// See [`MailArgs::mail_templates`].
    pub templates: Option<PathBuf>,
    /// See [`MailArgs::public_url`]; without a slash at its end.
    pub public_url: String,
    /// See [`MailArgs::mail_deadline_ms`].
    pub deadline: Duration,
}

/// Compose files hand on variables that nobody set as empty ones.
fn given(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

impl MailArgs {
    /// Settings of mail; none where none is sent.
    pub(super) fn check(&self, wrong: &mut Vec<String>) -> Option<MailSettings> {
        let url = self.smtp_url.as_ref().filter(|url| !url.expose_secret().is_empty())?;
        let complaints = wrong.len();
        let server = SmtpServer::parse(url).map_err(|error| wrong.push(format!("SMTP_URL {error}"))).ok();
        let sender = match given(self.mail_from.as_ref()) {
            None => {
                wrong.push("MAIL_FROM is not set: mail needs a sender".into());
                None
            }
            Some(from) => {
                let sender = notifications::MailSender::parse(from);
                sender.map_err(|error| wrong.push(format!("MAIL_FROM {error}"))).ok()
            }
        };
        let public_url = given(self.public_url.as_ref());
        match public_url {
            None => wrong.push("PUBLIC_URL is not set: links in mails have to lead somewhere".into()),
            Some(url) => check_base_url("PUBLIC_URL", url, wrong),
        }
        let alert_to = given(self.alert_mail_to.as_ref()).and_then(|address| {
            let read =
                address.parse::<Mailbox>().map_err(|_| wrong.push("ALERT_MAIL_TO must be an e-mail address".into()));
            read.ok()
        });
        let (server, sender, public_url) = (server?, sender?, public_url?);
        (wrong.len() == complaints).then(|| MailSettings {
            server,
            sender,
            alert_to,
            templates: self.mail_templates.clone().filter(|folder| !folder.as_os_str().is_empty()),
            public_url: public_url.trim_end_matches('/').to_owned(),
            deadline: self.deadline(),
        })
    }

    /// See [`MailArgs::mail_deadline_ms`].
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        Duration::from_millis(self.mail_deadline_ms)
    }
}
