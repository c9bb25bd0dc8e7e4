//! Where alerts go.

use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use standardwebhooks::Webhook;

use crate::modules::alerts::Channel;

/// Where alerts go besides ALERT_MAIL_TO.
#[derive(Clone, Debug, Args)]
pub struct AlertArgs {
    /// Where alerts are posted to, like webhooks, when they fire and when they are resolved; an address of the internal network too. By default
    /// nowhere. The same for all processes.
    #[arg(long, env = "ALERT_WEBHOOK_URL", hide_env_values = true)]
    pub alert_webhook_url: Option<SecretString>,
    /// Signs these posts, like webhooks: `whsec_` and 24 to 64 random bytes in base64.
    #[arg(long, env = "ALERT_WEBHOOK_SECRET", hide_env_values = true)]
    pub alert_webhook_secret: Option<SecretString>,
    /// The address of an incoming webhook of Slack, or of whatever else takes `{"text": "..."}`: it is told the same.
    #[arg(long, env = "ALERT_SLACK_URL", hide_env_values = true)]
    pub alert_slack_url: Option<SecretString>,
    /// A post of an alert that is not answered by then has failed; it is repeated every minute, for an hour.
    #[arg(long, env = "ALERT_DEADLINE_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..=20_000))]
    pub alert_deadline_ms: u64,
}

/// Compose files hand on variables that nobody set as empty ones.
fn given(text: Option<&SecretString>) -> Option<SecretString> {
    text.filter(|text| !text.expose_secret().is_empty()).cloned()
}

impl AlertArgs {
    pub(super) fn check(&self, wrong: &mut Vec<String>) -> Vec<Channel> {
        let secret = given(self.alert_webhook_secret.as_ref());
        if secret.as_ref().is_some_and(|secret| Webhook::new(secret.expose_secret()).is_err()) {
            wrong.push("ALERT_WEBHOOK_SECRET must be `whsec_` and 24 to 64 bytes in base64".into());
        }
        let webhook = given(self.alert_webhook_url.as_ref())
            .map(|url| Channel::webhook(url, secret).map_err(|why| format!("ALERT_WEBHOOK_URL {why}")));
        let slack = given(self.alert_slack_url.as_ref())
            .map(|url| Channel::slack(url).map_err(|why| format!("ALERT_SLACK_URL {why}")));
        let channels = webhook.into_iter().chain(slack);
        channels.filter_map(|channel| channel.map_err(|why| wrong.push(why)).ok()).collect()
    }

    /// See [`AlertArgs::alert_deadline_ms`].
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        Duration::from_millis(self.alert_deadline_ms)
    }
}
