//! Work that is due by the calendar: checks at night, the purge, reports.
//!
//! Invariants: of all workers one starts a run, in the transaction that moves the schedule to its next time, so each time
//! is run once; a schedule has at most one run that has not ended; every run is on record, those that were left out too.
//!
//! Collections: `schedules` (one document per schedule), `schedule_runs`. Jobs: `run-schedule` on `schedules-queue`. Events:
//! what a task found that a person should know (`LedgerDiffers`, `AuditDiffers`).

mod calendar;
mod commands;
mod http;
mod job;
mod model;
mod scheduler;
mod store;

pub use calendar::{Calendar, CalendarError};
pub use http::{ScheduleBoard, router};
pub use job::{FailureAlert, Finished, RunScheduleJobs, Task};
pub use model::{MissedRuns, RunState, SCHEDULE_RUNS, SCHEDULES, Schedule, ScheduleConfig, ScheduleRun, Trigger};
pub use scheduler::Scheduler;
pub use store::ScheduleStore;

pub const SCHEDULES_QUEUE: &str = "schedules-queue";
pub const RUN_KIND: &str = "run-schedule";
