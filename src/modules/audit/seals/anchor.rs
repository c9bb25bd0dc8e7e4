//! Anchors: number and hash of the latest seal, kept outside of the database, so that a cut tail shows.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::super::proof::Anchor;
use crate::platform::exchange::Exchange;

/// Where anchors are kept.
#[derive(Clone, Debug, Default)]
pub struct AnchorPlaces {
    /// A file to which a line of JSON is appended.
    pub file: Option<PathBuf>,
    /// A URL to which the same is posted.
    pub url: Option<String>,
    /// How often.
    pub every: Duration,
}

/// Writes anchors.
#[derive(Debug)]
pub(super) struct Anchors {
    places: AnchorPlaces,
    exchange: Exchange,
    /// What was written last, and when.
    written: Option<(Anchor, Instant)>,
}

impl Anchors {
    pub(super) const fn new(places: AnchorPlaces, exchange: Exchange) -> Self {
        Self { places, exchange, written: None }
    }

    /// Writes the latest seal down where it is time to. What fails is tried again at the next call.
    pub(super) async fn keep(&mut self, latest: Anchor) {
        let current = |(anchor, at): (Anchor, Instant)| anchor == latest || at.elapsed() < self.places.every;
        if self.written.is_some_and(current) {
            return;
        }
        let in_file = match self.places.file.clone() {
            Some(path) => match tokio::task::spawn_blocking(move || append(&path, latest)).await {
                Ok(Ok(())) => true,
                Ok(Err(error)) => failed("file", &error),
                Err(error) => failed("file", &error),
            },
            None => true,
        };
        let posted = match &self.places.url {
            Some(url) => match self.exchange.post(url, &latest).await {
                Ok(()) => true,
                Err(error) => failed("webhook", &error),
            },
            None => true,
        };
        if in_file && posted {
            self.written = Some((latest, Instant::now()));
        }
    }
}

fn failed(place: &str, error: &dyn std::fmt::Display) -> bool {
    metrics::counter!("waybill_audit_anchor_failures_total").increment(1);
    tracing::warn!(place, %error, "an anchor could not be written; the next pass tries again");
    false
}

fn append(path: &Path, anchor: Anchor) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(&anchor)?;
    line.push(b'\n');
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    // One write, so that two processes do not mix their lines.
    file.write_all(&line)?;
    file.sync_data()
}
