//! How long records are kept, and the commands that remove and erase them.

use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use super::{AuditKeys, Stores};
use crate::{
    modules::audit::retention::{PurgeKeys, Retention},
    platform::text::{holds_identity_number, holds_unseen, normal},
};

/// How long records are kept. Everything else is kept for ever: events, the ledger, and who did what.
#[derive(Clone, Debug, Args)]
pub struct RetentionArgs {
    /// Calls to providers and their answers are kept so many days; 0 is for ever.
    #[arg(long, env = "RETENTION_PROVIDER_CALLS_DAYS", default_value_t = 1_095, value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub retention_provider_calls_days: u32,
    /// Records of who read what and who was turned away are kept so many days; 0 is for ever.
    #[arg(long, env = "RETENTION_ACCESS_DAYS", default_value_t = 1_095, value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub retention_access_days: u32,
}

impl RetentionArgs {
    /// The same for the purge.
    #[must_use]
    pub fn retention(&self) -> Retention {
        let kept = |days: u32| (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400));
        Retention { provider_calls: kept(self.retention_provider_calls_days), access: kept(self.retention_access_days) }
    }
}

/// `waybill audit purge`
#[derive(Debug, Args)]
pub struct PurgeArgs {
    /// Stores.
    #[command(flatten)]
    pub stores: Stores,
    /// How long records are kept.
    #[command(flatten)]
    pub retention: RetentionArgs,
    /// Signs purge records; 64 hex digits.
    #[arg(long, env = "AUDIT_SIGNING_KEY", hide_env_values = true)]
    pub audit_signing_key: Option<SecretString>,
    /// Public keys by which older seals and purge records are checked (base64url), separated by commas.
    #[arg(long, env = "AUDIT_PUBLIC_KEYS", default_value = "")]
    pub audit_public_keys: String,
    /// Only say what would go.
    #[arg(long)]
    pub dry_run: bool,
}

impl PurgeArgs {
    /// The keys.
    ///
    /// # Errors
    /// Names the variable and what is wrong.
    pub fn keys(&self) -> Result<PurgeKeys, String> {
        let keys = AuditKeys::read(self.audit_signing_key.as_ref(), &self.audit_public_keys)?;
        keys.purge_keys().ok_or_else(|| {
            "AUDIT_SIGNING_KEY is not set: nothing is purged without it, because what declares a purge has to be signed"
                .into()
        })
    }
}

/// `waybill audit erase`
#[derive(Debug, Args)]
pub struct EraseArgs {
    /// Stores.
    #[command(flatten)]
    pub stores: Stores,
    /// Seals the secret behind commitments; 64 hex digits.
    #[arg(long, env = "SEALING_KEY", hide_env_values = true)]
    pub sealing_key: SecretString,
    /// The key before.
    #[arg(long, env = "SEALING_KEY_PREVIOUS", hide_env_values = true)]
    pub sealing_key_previous: Option<SecretString>,
    /// The user of the records: `usr_...`
    #[arg(long, required_unless_present = "order", conflicts_with = "order")]
    pub user: Option<String>,
    /// The records about which order, `ord_...`, or which checkout, `chk_...`
    #[arg(long)]
    pub order: Option<String>,
    /// Why; it is recorded, so name nobody in it.
    #[arg(long, value_parser = reason)]
    pub reason: String,
}

fn reason(text: &str) -> Result<String, String> {
    let text = normal(text);
    if !(3..=300).contains(&text.chars().count()) || holds_unseen(&text) {
        return Err("write 3 to 300 characters, none of them control characters or others that nobody can see".into());
    }
    if holds_identity_number(&text) {
        return Err("write no Aadhaar number".into());
    }
    Ok(text.into_owned())
}
