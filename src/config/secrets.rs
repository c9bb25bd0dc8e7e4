//! Checks at the start that every secret is present and strong enough.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::{AuditKeys, Config, MailSettings};
use crate::{modules::alerts::Channel, platform::sealing::SealingKeys};

/// Everything that the programs need to start, checked.
#[derive(Clone, Debug)]
pub struct StartupSecrets {
    /// Signs access tokens.
    pub jwt: SecretString,
    /// The one before.
    pub jwt_previous: Option<SecretString>,
    pub sealing: Arc<SealingKeys>,
    /// Sign and check the audit's seals.
    pub audit: AuditKeys,
    /// Settings of mail; none where none is sent.
    pub mail: Option<MailSettings>,
    pub alert_channels: Vec<Channel>,
}

const JWT_SECRET_BYTES_MIN: usize = 32;

/// A secret for tokens that is there and long enough.
///
/// # Errors
/// Names the variable and what is wrong.
pub fn strong_jwt_secret(secret: Option<&SecretString>) -> Result<SecretString, String> {
    match secret {
        None => Err("JWT_SECRET is not set; make one with `openssl rand -hex 32`".into()),
        Some(secret) if secret.expose_secret().len() < JWT_SECRET_BYTES_MIN => {
            Err(format!("JWT_SECRET is too short: it needs at least {JWT_SECRET_BYTES_MIN} bytes"))
        }
        Some(secret) => Ok(secret.clone()),
    }
}

impl Config {
    /// Checks what clap can't, and gives the secrets.
    ///
    /// # Errors
    /// One line per thing that is wrong, each naming its variable.
    pub fn check(&self) -> Result<StartupSecrets, String> {
        let mut wrong = Vec::new();
        let jwt = strong_jwt_secret(self.jwt_secret.as_ref()).map_err(|error| wrong.push(error)).ok();
        let sealing = self.sealing_keys().map_err(|error| wrong.push(error)).ok();
        if self.jwt_secret_previous.as_ref().is_some_and(|s| s.expose_secret().len() < JWT_SECRET_BYTES_MIN) {
            wrong.push(format!("JWT_SECRET_PREVIOUS is too short: it needs at least {JWT_SECRET_BYTES_MIN} bytes"));
        }
        self.providers.check(&mut wrong);
        let mail = self.mail.check(&mut wrong);
        let alert_channels = self.alerts.check(&mut wrong);
        let audit = self.audit.keys().map_err(|error| wrong.push(error)).ok();
        let worker = &self.worker;
        if worker.lease_ms <= worker.call_deadline_ms + 1_000 {
            wrong.push(
                "LEASE_MS must be at least a second longer than CALL_DEADLINE_MS: a lease has to outlast a call".into(),
            );
        }
        if worker.heartbeat_ms * 2 >= worker.lease_ms {
            wrong.push("HEARTBEAT_MS must be less than half of LEASE_MS".into());
        }
        let longest = self.longest_call().as_millis();
        if worker.shutdown_ms.is_some_and(|ms| u128::from(ms) < longest) {
            wrong.push(format!(
                "SHUTDOWN_MS must be at least {longest}, as long as a call may take: else a call that runs is cut off"
            ));
        }
        match (jwt, sealing, audit) {
            (Some(jwt), Some(sealing), Some(audit)) if wrong.is_empty() => {
                let jwt_previous = self.jwt_secret_previous.clone();
                Ok(StartupSecrets { jwt, jwt_previous, sealing: Arc::new(sealing), audit, mail, alert_channels })
            }
            _ => Err(wrong.join("\n")),
        }
    }

    /// The keys that seal what is personal.
    ///
    /// # Errors
    /// Names the variable and what is wrong.
    fn sealing_keys(&self) -> Result<SealingKeys, String> {
        let key = self.sealing_key.as_ref().ok_or("SEALING_KEY is not set; make one with `openssl rand -hex 32`")?;
        // Compose files hand on variables that nobody set as empty ones.
        let previous = self.sealing_key_previous.as_ref().filter(|key| !key.expose_secret().is_empty());
        SealingKeys::new(key, previous)
    }
}
