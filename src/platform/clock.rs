//! Time, as everything in here reads it: the database's wall clock, carried forward by the local
//! monotonic clock between two looks at it. So `runAt`, leases and events of all processes follow one
//! clock, and a step of a host's wall clock moves nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bson::{DateTime, doc};
use serde::{Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::ids;

/// How often a process looks at the database's clock again.
pub const SYNC_EVERY: Duration = Duration::from_secs(30);
/// A look that took longer says too little about the time.
const ROUND_TRIP_MS_MAX: i64 = 500;
/// After the first look the clock moves by at most this much per look, so that leases of two processes, which look at
/// different moments, never disagree by more than a little: also when a new primary has another time.
const SLEW_MS_MAX: i64 = 1_000;

/// A shared clock. Cloning gives the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    started_ms: i64,
    shared: Arc<ClockState>,
}

#[derive(Debug, Default)]
struct ClockState {
    offset_ms: AtomicI64,
    /// Offset set by tests.
    advanced_ms: AtomicI64,
    synced: AtomicBool,
}

impl Default for Clock {
    fn default() -> Self {
        let started_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        Self { started: Instant::now(), started_ms, shared: Arc::default() }
    }
}

impl Clock {
    /// Now, in milliseconds since the epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.local_ms()
            + self.shared.offset_ms.load(Ordering::Relaxed)
            + self.shared.advanced_ms.load(Ordering::Relaxed)
    }

    fn local_ms(&self) -> i64 {
        self.started_ms + self.started.elapsed().as_millis() as i64
    }

    /// Now, as the database stores it.
    #[must_use]
    pub fn now(&self) -> DateTime {
        DateTime::from_millis(self.now_ms())
    }

    /// Moves the clock; for tests.
    pub fn advance(&self, by: Duration) {
        let by_ms = by.as_millis() as i64;
        ids::allow_for(self.shared.advanced_ms.fetch_add(by_ms, Ordering::Relaxed) + by_ms);
    }

    /// Moves the clock back; for tests.
    pub fn set_back(&self, by: Duration) {
        let by_ms = by.as_millis() as i64;
        ids::allow_for(self.shared.advanced_ms.fetch_sub(by_ms, Ordering::Relaxed) - by_ms);
    }

    /// Looks at the database's clock and follows it. The error is at most half the round trip.
    ///
    /// # Errors
    /// What the driver says when the database can't be asked; the clock then goes on as it was.
    pub async fn sync(&self, db: &mongodb::Database) -> mongodb::error::Result<()> {
        if let Some(theirs) = look(db).await? {
            self.follow(theirs.now_ms - self.local_ms());
            // At once: nobody holds leases by ids, but they are looked for where their time is.
            ids::follow(theirs.now_ms);
        }
        Ok(())
    }

    /// How far this clock is ahead of the database's, without following it; none where a look took too long to tell.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn offset(&self, db: &mongodb::Database) -> mongodb::error::Result<Option<Offset>> {
        let theirs = look(db).await?;
        Ok(theirs.map(|theirs| Offset { ahead_ms: self.now_ms() - theirs.now_ms, primary: theirs.primary }))
    }

    /// Whether the database's clock was seen. Before, this is the host's.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.shared.synced.load(Ordering::Acquire)
    }

    fn follow(&self, seen_ms: i64) {
        let known_ms = self.shared.offset_ms.load(Ordering::Relaxed);
        let next_ms =
            if self.is_synced() { seen_ms.clamp(known_ms - SLEW_MS_MAX, known_ms + SLEW_MS_MAX) } else { seen_ms };
        self.shared.offset_ms.store(next_ms, Ordering::Relaxed);
        self.shared.synced.store(true, Ordering::Release);
    }
}

/// How far a clock is ahead of the database's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Milliseconds; below zero where it is behind.
    pub ahead_ms: i64,
    /// The primary, by its election: offsets from different ones can't be compared.
    pub primary: String,
}

/// The database's time at the moment of its answer.
struct DatabaseTime {
    now_ms: i64,
    primary: String,
}

/// None where the answer came too late to say anything about the time.
async fn look(db: &mongodb::Database) -> mongodb::error::Result<Option<DatabaseTime>> {
    let asked = Instant::now();
    let hello = db.run_command(doc! { "hello": 1 }).await?;
    let round_trip_ms = asked.elapsed().as_millis() as i64;
    let at = hello.get_datetime("localTime").ok().filter(|_| round_trip_ms <= ROUND_TRIP_MS_MAX);
    let primary = hello.get_object_id("electionId").map(|id| id.to_hex()).unwrap_or_default();
    Ok(at.map(|at| DatabaseTime { now_ms: at.timestamp_millis() + round_trip_ms / 2, primary }))
}

/// `at` plus `by`, saturating.
#[must_use]
pub fn after(at: DateTime, by: Duration) -> DateTime {
    DateTime::from_millis(at.timestamp_millis().saturating_add(by.as_millis() as i64))
}

/// A point in time at the boundary: RFC 3339, UTC, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rfc3339Time(pub DateTime);

impl std::fmt::Display for Rfc3339Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0.timestamp_millis();
        let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000) else {
            return f.write_str("0001-01-01T00:00:00.000Z");
        };
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }
}

/// A text is no point in time that can be written in RFC 3339.
#[derive(Debug, thiserror::Error)]
#[error("must be an RFC 3339 time such as 2026-01-31T12:00:00Z")]
pub struct TimeOutOfRange;

impl std::str::FromStr for Rfc3339Time {
    type Err = TimeOutOfRange;

    fn from_str(text: &str) -> Result<Self, TimeOutOfRange> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimeOutOfRange)?;
        // With its offset it may be in a year that UTC writes with a sign or with five digits.
        let at =
            at.checked_to_offset(UtcOffset::UTC).filter(|at| (0..=9999).contains(&at.year())).ok_or(TimeOutOfRange)?;
        Ok(Self(DateTime::from_millis((at.unix_timestamp_nanos() / 1_000_000) as i64)))
    }
}

impl Serialize for Rfc3339Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Rfc3339Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Rfc3339Time {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for Rfc3339Time {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_milliseconds_and_read_back() {
        let at = Rfc3339Time(DateTime::from_millis(1_767_225_600_042));
        assert_eq!(at.to_string(), "2026-01-01T00:00:00.042Z");
        assert_eq!("2026-01-01T05:30:00.042+05:30".parse::<Rfc3339Time>().ok(), Some(at));
        for text in ["yesterday", "9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
            assert!(text.parse::<Rfc3339Time>().is_err(), "{text}");
        }
        for text in ["9999-12-31T23:59:59.999Z", "0000-01-01T00:00:00.000Z"] {
            assert_eq!(text.parse::<Rfc3339Time>().map(|at| at.to_string()).ok().as_deref(), Some(text));
        }
    }

    #[test]
    fn the_first_look_counts_whole_and_later_ones_move_the_clock_gently() {
        let clock = Clock::default();
        let offset = || clock.shared.offset_ms.load(Ordering::Relaxed);
        clock.follow(90_000);
        assert_eq!((offset(), clock.is_synced()), (90_000, true));
        clock.follow(-90_000);
        assert_eq!(offset(), 89_000);
        clock.follow(89_400);
        assert_eq!(offset(), 89_400);
    }

    #[test]
    fn a_moved_clock_moves_for_everybody() {
        let clock = Clock::default();
        let other = clock.clone();
        let before = other.now_ms();
        clock.advance(Duration::from_secs(60));
        assert!(other.now_ms() - before >= 60_000);
    }
}
