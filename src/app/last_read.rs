//! When the gauges of what all processes share were last read.

use std::{sync::Arc, time::Instant};

use tokio::sync::Mutex;

#[derive(Debug, Default)]
pub(super) struct ReadTimes {
    pub(super) all: Option<Instant>,
    pub(super) wallets: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct LastRead(pub(super) Arc<Mutex<ReadTimes>>);
