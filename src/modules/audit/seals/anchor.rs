//! Anchors: number and hash of the latest seal, kept outside of the database, so that a cut tail shows.

use std::{
    io::{self, BufRead, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::super::proof::Anchor;
use crate::platform::exchange::ExchangeClient;

#[derive(Clone, Debug, Default)]
pub struct AnchorTargets {
    /// A file to which a line of JSON is appended.
    pub file: Option<PathBuf>,
    /// A URL to which the same is posted.
    pub url: Option<String>,
    pub every: Duration,
}

#[derive(Debug)]
pub(super) struct Anchors {
    targets: AnchorTargets,
    exchange: ExchangeClient,
    /// The last anchor that was written, and when.
    written: Option<(Anchor, Instant)>,
    /// A write that has not ended yet: a disk that hangs must not stop the sealing.
    writing: Option<JoinHandle<io::Result<()>>>,
}

/// How long a file may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// An anchor has a hundred bytes.
const LINE_BYTES_MAX: u64 = 1_000;
/// An anchor a minute for some ten years, and some 300 MB while they are compared.
const ANCHORS_MAX: usize = 5_000_000;

impl Anchors {
    pub(super) const fn new(targets: AnchorTargets, exchange: ExchangeClient) -> Self {
        Self { targets, exchange, written: None, writing: None }
    }

    /// Writes the latest anchor if it is due. A failed write is repeated at the next call.
    pub(super) async fn keep(&mut self, latest: Anchor) {
        let current = |(anchor, at): (Anchor, Instant)| anchor == latest || at.elapsed() < self.targets.every;
        if self.written.is_some_and(current) {
            return;
        }
        let in_file = match self.targets.file.clone() {
            Some(path) => self.append(path, latest).await.map_or_else(|error| failed("file", &error), |()| true),
            None => true,
        };
        let posted = match &self.targets.url {
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

impl Anchors {
    async fn append(&mut self, path: PathBuf, latest: Anchor) -> io::Result<()> {
        // Whichever line it is: the next pass writes the latest.
        let begun = self.writing.take().unwrap_or_else(|| tokio::task::spawn_blocking(move || append(&path, latest)));
        within(self.writing.insert(begun)).await.inspect(|()| self.writing = None).inspect_err(|error| {
            if error.kind() != io::ErrorKind::TimedOut {
                self.writing = None;
            }
        })
    }

    /// The anchor in the file's last line; none where there is no file, or, with a warning, where it can't be read.
    pub(super) async fn latest(&self) -> Option<Anchor> {
        let path = self.targets.file.clone()?;
        let mut reading = tokio::task::spawn_blocking(move || read_last(&path));
        within(&mut reading).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the file of anchors can't be read; whether the chain was cut is not looked at");
            None
        })
    }
}

async fn within<T>(work: &mut JoinHandle<io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(io::Error::other).flatten(),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the file's disk does not answer")),
    }
}

fn read_last(path: &Path) -> io::Result<Option<Anchor>> {
    let mut file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(LINE_BYTES_MAX)))?;
    let mut tail = String::new();
    file.take(LINE_BYTES_MAX).read_to_string(&mut tail)?;
    let last = tail.lines().rev().find(|line| !line.trim().is_empty());
    last.map(|line| serde_json::from_str(line).map_err(io::Error::from)).transpose()
}

fn failed(place: &str, error: &dyn std::fmt::Display) -> bool {
    metrics::counter!("waybill_audit_anchor_failures_total").increment(1);
    tracing::warn!(place, %error, "an anchor could not be written; the next pass tries again");
    false
}

fn append(path: &Path, anchor: Anchor) -> io::Result<()> {
    let mut line = serde_json::to_vec(&anchor)?;
    line.push(b'\n');
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    // One write, so that two processes do not mix their lines.
    file.write_all(&line)?;
    file.sync_data()
}

/// Reads anchors, a line of JSON each: `{"number":12,"headerHash":"<hex>"}`. Empty lines are skipped.
///
/// # Errors
/// Names the line that can't be read.
pub fn read_anchors(mut input: impl BufRead) -> Result<Vec<Anchor>, String> {
    let mut anchors = Vec::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let mut limited = Read::take(&mut input, LINE_BYTES_MAX);
        let wrong = |reason: &dyn std::fmt::Display| format!("line {number} is no anchor: {reason}");
        if limited.read_line(&mut line).map_err(|error| wrong(&error))? == 0 {
            break;
        }
        if line.len() as u64 >= LINE_BYTES_MAX {
            return Err(wrong(&"it is too long"));
        }
        if line.trim().is_empty() {
            continue;
        }
        anchors.push(serde_json::from_str(line.trim()).map_err(|error| wrong(&error))?);
        if anchors.len() > ANCHORS_MAX {
            return Err(format!("there are more than {ANCHORS_MAX} anchors; leave out older ones"));
        }
    }
    Ok(anchors)
}
