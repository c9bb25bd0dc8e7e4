//! Keys that sign and check seals.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::modules::audit::{
    proof::{PublicKeys, SigningKey},
    retention::PurgeKeys,
};

#[derive(Clone, Debug)]
pub struct AuditKeys {
    pub signer: Option<Arc<SigningKey>>,
    /// Public keys that check seals, the signer's among them.
    pub public: PublicKeys,
}

impl AuditKeys {
    /// Keys of the purge; none without a signing key.
    #[must_use]
    pub fn purge_keys(&self) -> Option<PurgeKeys> {
        Some(PurgeKeys { signer: Arc::clone(self.signer.as_ref()?), public: self.public.clone() })
    }

    pub(super) fn read(signing_key: Option<&SecretString>, public_keys: &str) -> Result<Self, String> {
        // Compose files hand on variables that nobody set as empty ones.
        let key = signing_key.filter(|key| !key.expose_secret().is_empty());
        let signer = key.map(SigningKey::new).transpose().map_err(|error| format!("AUDIT_SIGNING_KEY {error}"))?;
        let mut public = PublicKeys::default();
        for key in public_keys.split(',').map(str::trim).filter(|key| !key.is_empty()) {
            public.add(key.parse().map_err(|error| format!("AUDIT_PUBLIC_KEYS: {error}"))?);
        }
        if let Some(signer) = &signer {
            public.add(signer.public());
        }
        Ok(Self { signer: signer.map(Arc::new), public })
    }
}
