//! Settings of the audit: who signs seals, and by which keys they are checked.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};

use super::{AuditExportArgs, EraseArgs, PurgeArgs, Stores, audit_keys::AuditKeys};
use crate::{modules::audit::proof::PublicKeys, platform::sealing::SealingKeys};

/// `waybill audit ...`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that nothing that is sealed was changed, removed, inserted or moved: in the database, or in an exported file,
    /// for which neither a database nor a secret is needed. Exits with 0 where everything is as it was sealed, with 1 and
    /// the first finding where something is not, and with 2 where it could not be checked.
    Verify(VerifyArgs),
    /// Write sealed records to a file that can be checked with the public keys alone, ending in a signed manifest.
    Export(Box<AuditExportArgs>),
    /// Remove records that are older than they are kept and under no legal hold, as the worker does every hour. Goes on
    /// beside everything else, and can be stopped and run again.
    Purge(PurgeArgs),
    /// Erase what is personal in the records of one user or one order, for good. The records stay, and so do their proofs.
    Erase(EraseArgs),
}

/// Settings of the audit.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// Signs audit seals and purge records; 64 hex digits. Workers need it; the API signs exports with it.
    #[arg(long, env = "AUDIT_SIGNING_KEY", hide_env_values = true)]
    pub audit_signing_key: Option<SecretString>,
    /// Public keys by which older seals are checked, as `/.well-known/waybill-audit-keys` shows them (base64url), separated
    /// by commas: put the public key here when AUDIT_SIGNING_KEY changes.
    #[arg(long, env = "AUDIT_PUBLIC_KEYS", default_value = "")]
    pub audit_public_keys: String,
    /// A file outside of the database to which the number and hash of the latest seal are appended, a line of JSON each.
    #[arg(long, env = "AUDIT_ANCHOR_FILE")]
    pub audit_anchor_file: Option<PathBuf>,
    /// A URL to which the same is posted.
    #[arg(long, env = "AUDIT_ANCHOR_URL")]
    pub audit_anchor_url: Option<String>,
    /// The latest seal is anchored this often.
    #[arg(long, env = "AUDIT_ANCHOR_EVERY_MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub audit_anchor_every_ms: u64,
    /// The sealer looks for new records this often.
    #[arg(long, env = "AUDIT_SEAL_EVERY_MS", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(50..=5_000))]
    pub audit_seal_every_ms: u64,
}

impl AuditArgs {
    /// The keys.
    ///
    /// # Errors
    /// Names the variable and what is wrong.
    pub fn keys(&self) -> Result<AuditKeys, String> {
        AuditKeys::read(self.audit_signing_key.as_ref(), &self.audit_public_keys)
    }
}

/// `waybill audit verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Stores.
    #[command(flatten)]
    pub stores: Stores,
    /// Opens the secret of personal fields; 64 hex digits.
    #[arg(long, env = "SEALING_KEY", hide_env_values = true)]
    pub sealing_key: Option<SecretString>,
    /// The sealing key before.
    #[arg(long, env = "SEALING_KEY_PREVIOUS", hide_env_values = true)]
    pub sealing_key_previous: Option<SecretString>,
    /// Its public key is trusted; 64 hex digits.
    #[arg(long, env = "AUDIT_SIGNING_KEY", hide_env_values = true)]
    pub audit_signing_key: Option<SecretString>,
    /// Further public keys that are trusted (base64url), separated by commas.
    #[arg(long, env = "AUDIT_PUBLIC_KEYS", default_value = "")]
    pub audit_public_keys: String,
    /// Trust the public keys in this file instead: the JSON of `/.well-known/waybill-audit-keys`.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Anchors, a line of JSON each, as AUDIT_ANCHOR_FILE has them. Without them a chain whose end was cut off looks whole.
    #[arg(long, value_name = "FILE")]
    pub anchors: Option<PathBuf>,
    /// Begin at this seal, and believe the one before.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "export")]
    pub from_seal: Option<i64>,
    /// End with this seal.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "export")]
    pub to_seal: Option<i64>,
    /// Check this export (lines of JSON) instead of a database; `-` reads it from stdin.
    #[arg(long, value_name = "FILE", requires = "keys")]
    pub export: Option<PathBuf>,
    /// Print the result as a line of JSON.
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    /// The public keys of the settings; [`VerifyArgs::keys`] is not read here.
    ///
    /// # Errors
    /// Names the variable and what is wrong.
    pub fn configured_keys(&self) -> Result<PublicKeys, String> {
        let keys = AuditKeys::read(self.audit_signing_key.as_ref(), &self.audit_public_keys)?.public;
        if keys == PublicKeys::default() {
            return Err(
                "there is no key to check by: set AUDIT_SIGNING_KEY or AUDIT_PUBLIC_KEYS, or give --keys".into()
            );
        }
        Ok(keys)
    }

    /// The keys that open the secret of personal fields.
    ///
    /// # Errors
    /// Names the variable and what is wrong.
    pub fn sealing_keys(&self) -> Result<SealingKeys, String> {
        let given = |key: &Option<SecretString>| key.clone().filter(|key| !key.expose_secret().is_empty());
        let key = given(&self.sealing_key).ok_or("SEALING_KEY is not set; records with personal fields need it")?;
        SealingKeys::new(&key, given(&self.sealing_key_previous).as_ref())
    }
}
