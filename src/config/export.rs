//! `waybill audit export`.

use clap::Args;
use secrecy::SecretString;

use super::{AuditKeys, Stores};
use crate::{
    modules::audit::export::{ExportFilter, ExportFormat},
    platform::clock::Rfc3339Time,
};

/// `waybill audit export`
#[derive(Debug, Args)]
pub struct AuditExportArgs {
    /// Stores.
    #[command(flatten)]
    pub stores: Stores,
    /// Keeps the secret behind salts; 64 hex digits.
    #[arg(long, env = "SEALING_KEY", hide_env_values = true)]
    pub sealing_key: SecretString,
    /// The key before.
    #[arg(long, env = "SEALING_KEY_PREVIOUS", hide_env_values = true)]
    pub sealing_key_previous: Option<SecretString>,
    /// Signs the manifest; 64 hex digits.
    #[arg(long, env = "AUDIT_SIGNING_KEY", hide_env_values = true)]
    pub audit_signing_key: SecretString,
    /// Public keys by which older seals are signed (base64url), separated by commas.
    #[arg(long, env = "AUDIT_PUBLIC_KEYS", default_value = "")]
    pub audit_public_keys: String,
    /// The file to write, or - for stdout. While it is written it is called FILE.part; FILE.manifest.json gets the manifest.
    #[arg(long)]
    pub out: String,
    /// File format.
    #[arg(long, value_enum, default_value_t = ExportFormat::Ndjson)]
    pub format: ExportFormat,
    /// Records to export.
    #[command(flatten)]
    pub filter: ExportFilterArgs,
}

impl AuditExportArgs {
    /// The keys, one that signs among them.
    ///
    /// # Errors
    /// Names the variable and what is wrong.
    pub fn keys(&self) -> Result<AuditKeys, String> {
        let keys = AuditKeys::read(Some(&self.audit_signing_key), &self.audit_public_keys)?;
        if keys.signer.is_some() { Ok(keys) } else { Err("AUDIT_SIGNING_KEY must be 64 hex digits".into()) }
    }
}

/// Filter of records. With none of them, or with times only, whole seals with all their records.
#[derive(Debug, Args)]
pub struct ExportFilterArgs {
    /// About this order.
    #[arg(long)]
    pub order_id: Option<String>,
    /// User.
    #[arg(long)]
    pub user_id: Option<String>,
    /// About the order that its merchant calls so; calls to providers only.
    #[arg(long)]
    pub client_order_id: Option<String>,
    /// Provider; calls only.
    #[arg(long)]
    pub provider: Option<String>,
    /// Operation; calls only.
    #[arg(long)]
    pub operation: Option<String>,
    /// Answered with this shipment; calls only.
    #[arg(long)]
    pub awb: Option<String>,
    /// Following from the request with this id (X-Request-Id).
    #[arg(long)]
    pub correlation_id: Option<String>,
    /// In this collection; several with commas between.
    #[arg(long, value_delimiter = ',')]
    pub collection: Vec<String>,
    /// Start of the period, RFC 3339: without other filters seals that were sealed then, else records by the time of their ids.
    #[arg(long)]
    pub from: Option<Rfc3339Time>,
    /// Before then, RFC 3339.
    #[arg(long)]
    pub to: Option<Rfc3339Time>,
}

impl From<ExportFilterArgs> for ExportFilter {
    fn from(args: ExportFilterArgs) -> Self {
        Self {
            order_id: args.order_id,
            user_id: args.user_id,
            client_order_id: args.client_order_id,
            provider: args.provider,
            operation: args.operation,
            awb: args.awb,
            correlation_id: args.correlation_id,
            collections: args.collection,
            from: args.from,
            to: args.to,
        }
    }
}
