//! Orders that take their time at their provider: how they are getting on, and what comes of them.

use std::time::Duration;

use bson::DateTime;

use crate::platform::clock::after;

/// Longest time between two polls, unless an operator wants it longer.
const INTERVAL_MAX: Duration = Duration::from_secs(600);
/// So many polls in the time that an order has taken so far.
const POLLS_IN_AGE: u32 = 20;
/// An order that takes longer is for a person to look at.
const PATIENCE: Duration = Duration::from_secs(30 * 24 * 3600);
/// After the first files, further ones are awaited for this long.
const MORE_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// A file of an order, as its provider names it. All of it came from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The provider's id of it.
    pub id: String,
    pub name: String,
    pub content_type: String,
}

/// How an order is getting on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The provider has not begun.
    Waiting,
    /// It is at it, or waits for somebody else.
    Working,
    /// It says something that nobody agreed upon.
    Unclear,
    /// It is done: these are the files, all that there will be where `last`.
    Complete {
        /// At least one.
        files: Vec<NamedFile>,
        /// Nothing will be added.
        last: bool,
    },
    /// It came to nothing, for good.
    Failed(String),
}

impl Progress {
    /// As it is logged.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Working => "working",
            Self::Unclear => "unclear",
            Self::Complete { .. } => "complete",
            Self::Failed(_) => "ended_in_error",
        }
    }
}

/// How often an order is asked about, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollSchedule {
    /// Between the first polls.
    pub every: Duration,
}

impl PollSchedule {
    /// When an order that has taken its time since `since` is asked about again: the less often the longer it takes. None once it
    /// has taken too long.
    #[must_use]
    pub fn next(self, since: DateTime, now: DateTime) -> Option<DateTime> {
        let age = age(since, now);
        let interval = (age / POLLS_IN_AGE).min(INTERVAL_MAX).max(self.every);
        (age < PATIENCE).then(|| after(now, interval))
    }

    /// The same of an order that was complete at `since`, but may get more.
    #[must_use]
    pub fn next_for_more(self, since: DateTime, now: DateTime) -> Option<DateTime> {
        self.next(since, now).filter(|_| age(since, now) < MORE_WITHIN)
    }
}

fn age(since: DateTime, now: DateTime) -> Duration {
    Duration::from_millis(u64::try_from(now.timestamp_millis() - since.timestamp_millis()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_slow_down_with_age_and_end() {
        let schedule = PollSchedule { every: Duration::from_secs(30) };
        let wait = |age_s: i64| {
            let now = DateTime::from_millis(age_s * 1_000);
            let next = schedule.next(DateTime::from_millis(0), now)?;
            Some((next.timestamp_millis() - now.timestamp_millis()) / 1_000)
        };
        const DAY: i64 = 24 * 3600;
        for (age, expected) in [
            (-5, Some(30)),
            (0, Some(30)),
            (600, Some(30)),
            (1_200, Some(60)),
            (12_000, Some(600)),
            (20 * DAY, Some(600)),
            (30 * DAY - 1, Some(600)),
            (30 * DAY, None),
        ] {
            assert_eq!(wait(age), expected, "{age} s");
        }
        let rare = PollSchedule { every: Duration::from_secs(3600) };
        let at = |ms| DateTime::from_millis(ms);
        assert_eq!(rare.next(at(0), at(0)), Some(at(3_600_000)), "an operator's word counts");
        assert!(schedule.next_for_more(at(0), at(DAY * 1_000 - 1)).is_some());
        assert_eq!(schedule.next_for_more(at(0), at(DAY * 1_000)), None);
    }
}
