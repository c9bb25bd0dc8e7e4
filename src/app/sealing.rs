//! The sealer, put together.

use std::{sync::Arc, time::Duration};

use mongodb::Database;

use crate::{
    config::{Config, StartupSecrets},
    modules::audit::seals::{AnchorTargets, Sealer, SealerKeys},
    platform::{clock::Clock, exchange::ExchangeClient},
};

/// Posting an anchor takes at most this long; the sealer waits meanwhile.
const ANCHOR_DEADLINE: Duration = Duration::from_secs(3);

/// The sealer of audit records; none without a signing key.
pub(super) fn sealer(
    config: &Config,
    secrets: &StartupSecrets,
    db: &Database,
    clock: &Clock,
) -> reqwest::Result<Option<Arc<Sealer>>> {
    let Some(signer) = secrets.audit.signer.clone() else {
        return Ok(None);
    };
    let settings = &config.audit;
    let places = AnchorTargets {
        file: settings.audit_anchor_file.clone().filter(|path| !path.as_os_str().is_empty()),
        url: settings.audit_anchor_url.clone().filter(|url| !url.is_empty()),
        every: Duration::from_millis(settings.audit_anchor_every_ms),
    };
    let keys = SealerKeys { signer, public: secrets.audit.public.clone(), sealing: Arc::clone(&secrets.sealing) };
    Ok(Some(Arc::new(Sealer::new(
        db.clone(),
        keys,
        clock.clone(),
        Duration::from_millis(settings.audit_seal_every_ms),
        places,
        ExchangeClient::new(ANCHOR_DEADLINE)?,
    ))))
}
