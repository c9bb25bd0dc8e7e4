//! Schedules and their runs, as stored. Pure.

use std::time::Duration;

use bson::{DateTime, Document};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Calendar;
use crate::platform::{
    batch::{Entity, Key},
    clock::after,
};

pub const SCHEDULES: &str = "schedules";
pub const SCHEDULE_RUNS: &str = "schedule_runs";
/// A run that begins no later than this is on time.
const LATE_AFTER: Duration = Duration::from_secs(300);

/// The rule for times that nobody was there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Missed)]
pub enum MissedRuns {
    /// They are left out.
    Skip,
    /// One run makes up for all of them.
    Once,
}

#[derive(Clone, Debug)]
pub struct ScheduleConfig {
    /// As in paths: `ledger-check`.
    pub name: &'static str,
    /// Description in a sentence.
    pub description: &'static str,
    pub calendar: Calendar,
    /// Handling of missed times.
    pub missed: MissedRuns,
}

/// A schedule as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// The plan's name.
    #[serde(rename = "_id")]
    pub name: String,
    /// The calendar by which `next_at` was found.
    pub cron: String,
    pub zone: String,
    /// When it is due; none where the calendar has no further time.
    pub next_at: Option<DateTime>,
    /// User id of who paused it; none while it goes on.
    pub paused_by: Option<String>,
    pub last_run_id: Option<String>,
    /// Last change.
    pub updated_at: DateTime,
}

impl Entity for Schedule {
    const COLLECTION: &'static str = SCHEDULES;

    fn id(&self) -> &str {
        &self.name
    }
}

/// The next action of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleDue {
    /// Nothing.
    No,
    Run(DateTime),
    /// This time is left out, because nobody was there.
    Missed(DateTime),
    /// This time is left out, because a person paused it.
    Paused(DateTime),
}

impl Schedule {
    /// One that was never run.
    #[must_use]
    pub fn new(plan: &ScheduleConfig, now: DateTime) -> Self {
        Self {
            name: plan.name.into(),
            cron: plan.calendar.expression().into(),
            zone: plan.calendar.zone().into(),
            next_at: plan.calendar.next_after(now),
            paused_by: None,
            last_run_id: None,
            updated_at: now,
        }
    }

    /// Whether it follows another calendar than `plan`'s.
    #[must_use]
    pub fn is_outdated(&self, plan: &ScheduleConfig) -> bool {
        self.cron != plan.calendar.expression() || self.zone != plan.calendar.zone()
    }

    /// Follows `plan`'s calendar from now on.
    pub fn follow(&mut self, plan: &ScheduleConfig, now: DateTime) {
        self.cron = plan.calendar.expression().into();
        self.zone = plan.calendar.zone().into();
        self.next_at = plan.calendar.next_after(now);
        self.updated_at = now;
    }

    /// The next action; advances the schedule to the next time.
    pub fn advance(&mut self, plan: &ScheduleConfig, now: DateTime) -> ScheduleDue {
        let Some(due_at) = self.next_at.filter(|at| *at <= now) else { return ScheduleDue::No };
        let another_passed = plan.calendar.next_after(due_at).is_some_and(|next| next <= now);
        let is_late = another_passed || after(due_at, LATE_AFTER) < now;
        self.next_at = plan.calendar.next_after(now);
        self.updated_at = now;
        if self.paused_by.is_some() {
            ScheduleDue::Paused(due_at)
        } else if is_late && plan.missed == MissedRuns::Skip {
            ScheduleDue::Missed(due_at)
        } else {
            ScheduleDue::Run(due_at)
        }
    }
}

/// The cause of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The calendar.
    Calendar,
    /// A person.
    Person,
}

/// State of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Waits for a worker, or is at one.
    Started,
    /// Ended well.
    Done,
    /// Given up; `error` says why.
    Failed,
    /// Left out; `error` says why.
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRun {
    /// `srn_...`
    #[serde(rename = "_id")]
    pub id: String,
    pub schedule: String,
    pub trigger: Trigger,
    /// User id of the person.
    pub requested_by: Option<String>,
    /// The time that it is for; none where a person wanted it.
    pub due_at: Option<DateTime>,
    pub state: RunState,
    pub job_id: Option<String>,
    pub attempts: i32,
    pub result: Option<Document>,
    /// An alert for a person, in a sentence.
    pub alert: Option<String>,
    /// Reason for which it failed or was left out.
    pub error: Option<String>,
    pub started_at: DateTime,
    pub ended_at: Option<DateTime>,
}

impl Entity for ScheduleRun {
    const COLLECTION: &'static str = SCHEDULE_RUNS;

    fn id(&self) -> &str {
        &self.id
    }
}

impl ScheduleRun {
    #[must_use]
    pub fn key(id: &str) -> Key {
        Key::id(SCHEDULE_RUNS, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn at(hours: f64) -> DateTime {
        DateTime::from_millis((hours * HOUR_MS as f64) as i64)
    }

    fn hourly(missed: MissedRuns) -> ScheduleConfig {
        let calendar = Calendar::parse("0 * * * *", "UTC").expect("a calendar");
        ScheduleConfig { name: "check", description: "", calendar, missed }
    }

    #[test]
    fn each_time_is_run_once() {
        let plan = hourly(MissedRuns::Skip);
        let mut schedule = Schedule::new(&plan, at(0.5));
        assert_eq!(schedule.advance(&plan, at(0.9)), ScheduleDue::No);
        assert_eq!(schedule.advance(&plan, at(1.01)), ScheduleDue::Run(at(1.0)));
        assert_eq!(schedule.advance(&plan, at(1.02)), ScheduleDue::No);
        // A clock that was set back makes no time come again.
        assert_eq!(schedule.advance(&plan, at(0.7)), ScheduleDue::No);
        assert_eq!(schedule.advance(&plan, at(2.0)), ScheduleDue::Run(at(2.0)));
    }

    #[test]
    fn after_a_long_sleep_one_run_makes_up_or_none() {
        for (missed, due) in
            [(MissedRuns::Once, ScheduleDue::Run(at(1.0))), (MissedRuns::Skip, ScheduleDue::Missed(at(1.0)))]
        {
            let plan = hourly(missed);
            let mut schedule = Schedule::new(&plan, at(0.5));
            assert_eq!(schedule.advance(&plan, at(7.5)), due);
            assert_eq!(schedule.next_at, Some(at(8.0)), "and then the next time, not those between");
        }
    }

    #[test]
    fn times_while_it_is_paused_are_left_out() {
        let plan = hourly(MissedRuns::Once);
        let mut schedule = Schedule::new(&plan, at(0.5));
        schedule.paused_by = Some("usr_1".into());
        assert_eq!(schedule.advance(&plan, at(1.0)), ScheduleDue::Paused(at(1.0)));
        schedule.paused_by = None;
        assert_eq!(schedule.advance(&plan, at(2.0)), ScheduleDue::Run(at(2.0)));
    }

    #[test]
    fn another_calendar_begins_now() {
        let plan = hourly(MissedRuns::Once);
        let mut schedule = Schedule::new(&plan, at(0.5));
        let daily = ScheduleConfig { calendar: Calendar::parse("0 6 * * *", "UTC").expect("a calendar"), ..plan };
        assert!(schedule.is_outdated(&daily));
        schedule.follow(&daily, at(7.0));
        assert_eq!((schedule.next_at, schedule.is_outdated(&daily)), (Some(at(30.0)), false));
    }
}
