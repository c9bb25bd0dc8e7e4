//! The watch over alerts, with its settings.

use std::time::Duration;

use super::BuildError;
use crate::{
    config::Config,
    modules::alerts::{AlertStore, AlertWatch, Channel},
    platform::{
        batch::Lane,
        clock::Clock,
        exchange::{AddressPolicy, ExchangeClient, system_look_up},
        singleton::Singleton,
    },
};

/// A process that was silent for so long is not on duty any more: longer than from one look to the next.
const DUTY: Duration = Duration::from_secs(100);

/// Watches for alerts, with its settings.
pub(super) fn watch(
    config: &Config,
    channels: Vec<Channel>,
    db: &mongodb::Database,
    lane: &Lane,
    clock: &Clock,
) -> Result<AlertWatch, BuildError> {
    Ok(AlertWatch {
        store: AlertStore::new(db.clone()),
        lane: lane.clone(),
        lease: Singleton::new(db.clone(), "alerts").lasting(DUTY),
        clock: clock.clone(),
        exchange: ExchangeClient::to_others(config.alerts.deadline(), AddressPolicy::Anywhere, system_look_up())?,
        channels,
        public_url: config.mail.public_url.clone().unwrap_or_default(),
    })
}
