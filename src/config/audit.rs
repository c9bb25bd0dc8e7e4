//! Settings of the audit: who signs seals, and by which keys they are checked.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};

use super::{AuditExportArgs, EraseArgs, PurgeArgs};
use crate::modules::audit::proof::{PublicKeys, SigningKey};

/// `waybill audit ...`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
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
    /// Signs audit seals; 64 hex digits. Without it nothing is sealed.
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

/// Keys of the audit.
#[derive(Clone, Debug)]
pub struct AuditKeys {
    /// Signs.
    pub signer: Option<Arc<SigningKey>>,
    /// Those by which seals are checked, the signer's among them.
    pub public: PublicKeys,
}

impl AuditArgs {
    /// The keys.
    ///
    /// # Errors
    /// Names the variable and what is wrong.
    pub fn keys(&self) -> Result<AuditKeys, String> {
        // Compose files hand on variables that nobody set as empty ones.
        let key = self.audit_signing_key.as_ref().filter(|key| !key.expose_secret().is_empty());
        let signer = key.map(SigningKey::new).transpose().map_err(|error| format!("AUDIT_SIGNING_KEY {error}"))?;
        let mut public = PublicKeys::default();
        for key in self.audit_public_keys.split(',').map(str::trim).filter(|key| !key.is_empty()) {
            public.add(key.parse().map_err(|error| format!("AUDIT_PUBLIC_KEYS: {error}"))?);
        }
        if let Some(signer) = &signer {
            public.add(signer.public());
        }
        Ok(AuditKeys { signer: signer.map(Arc::new), public })
    }
}
