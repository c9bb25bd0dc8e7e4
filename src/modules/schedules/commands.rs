//! Commands that start runs and pause schedules, each in one transaction with its audit event.

use bson::{DateTime, doc};

use super::{
    RUN_KIND,
    model::{RunState, SCHEDULES, Schedule, ScheduleConfig, ScheduleDue, ScheduleRun, Trigger},
};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, record_event},
        queue::{Job, QueueConfig, insert_once},
    },
    platform::{
        batch::{Command, Key, View},
        identity::Actor,
    },
};

const STILL_RUNNING: &str = "The run before has not ended.";
const NOBODY_WAS_THERE: &str = "No worker was there at its time.";

/// Ids of a run that may be started.
#[derive(Clone, Debug)]
pub(super) struct RunIds {
    /// `srn_...`
    pub(super) run: String,
    /// `job_...`
    pub(super) job: String,
}

/// A run of a plan that may be started, and where its job goes.
#[derive(Clone, Debug)]
pub(super) struct Starting {
    pub(super) plan: ScheduleConfig,
    pub(super) queue: QueueConfig,
    pub(super) ids: RunIds,
}

impl Starting {
    fn reads(&self) -> Vec<Key> {
        vec![Key::id(SCHEDULES, self.plan.name), Job::dedupe(self.queue.name, self.plan.name)]
    }

    fn run(&self, view: &View, state: RunState) -> ScheduleRun {
        ScheduleRun {
            id: self.ids.run.clone(),
            schedule: self.plan.name.into(),
            trigger: Trigger::Calendar,
            requested_by: None,
            due_at: None,
            state,
            job_id: None,
            attempts: 0,
            result: None,
            alert: None,
            error: None,
            started_at: view.now(),
            ended_at: None,
        }
    }

    /// Inserts the run and its job; false where the run before has not ended.
    fn start(&self, view: &mut View, schedule: &mut Schedule, mut run: ScheduleRun, correlation_id: &str) -> bool {
        let payload = doc! { "runId": &run.id, "schedule": self.plan.name };
        let mut job = Job::new(self.ids.job.clone(), &self.queue, RUN_KIND, payload, correlation_id, view.now());
        job.dedupe_key = Some(self.plan.name.into());
        if !insert_once(view, &job) {
            return false;
        }
        run.job_id = Some(job.id);
        schedule.last_run_id = Some(run.id.clone());
        schedule.updated_at = view.now();
        view.insert(&run);
        true
    }
}

/// Moves a schedule on to its next time and starts what is due; says whether it did.
pub(super) struct Advance {
    pub(super) starting: Starting,
    /// From when on times count of a schedule that was never due.
    pub(super) since: DateTime,
}

impl Command for Advance {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        self.starting.reads()
    }

    fn decide(&self, view: &mut View) -> bool {
        let (starting, plan, now) = (&self.starting, &self.starting.plan, view.now());
        let known = view.by_id::<Schedule>(plan.name);
        let is_known = known.is_some();
        let mut schedule = known.unwrap_or_else(|| Schedule::new(plan, self.since));
        if schedule.is_outdated(plan) {
            schedule.follow(plan, now);
            view.update(&schedule);
            return false;
        }
        let skip = |view: &mut View, due_at, why: &str| {
            let run = ScheduleRun {
                due_at: Some(due_at),
                error: Some(why.into()),
                ended_at: Some(now),
                ..starting.run(view, RunState::Skipped)
            };
            view.insert(&run);
        };
        let started = match schedule.advance(plan, now) {
            ScheduleDue::No => return false,
            ScheduleDue::Paused(_) => false,
            ScheduleDue::Missed(due_at) => {
                skip(view, due_at, NOBODY_WAS_THERE);
                false
            }
            ScheduleDue::Run(due_at) => {
                let run = ScheduleRun { due_at: Some(due_at), ..starting.run(view, RunState::Started) };
                let started = starting.start(view, &mut schedule, run, &starting.ids.run);
                if !started {
                    skip(view, due_at, STILL_RUNNING);
                }
                started
            }
        };
        if is_known {
            view.update(&schedule);
        } else {
            view.insert(&schedule);
        }
        started
    }
}

/// A person who wants something of a schedule, and the id under which it is recorded.
pub(super) struct ScheduleAuthor {
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

impl ScheduleAuthor {
    fn record(&self, view: &mut View, action: &str, schedule: &str, after: bson::Document) {
        let resource = ("schedule", schedule);
        let event = AuditEvent::new(AuditOutcome::Done, self.actor.clone(), action, resource, view.now())
            .with_id(self.event_id.clone())
            .after(after);
        record_event(view, &event);
    }
}

/// Starts a run now, whether or not the schedule is paused; none where the run before has not ended.
pub(super) struct RunNow {
    pub(super) starting: Starting,
    pub(super) wish: ScheduleAuthor,
}

impl Command for RunNow {
    type Reply = Option<ScheduleRun>;

    fn reads(&self) -> Vec<Key> {
        self.starting.reads()
    }

    fn decide(&self, view: &mut View) -> Option<ScheduleRun> {
        let plan = &self.starting.plan;
        let known = view.by_id::<Schedule>(plan.name);
        let is_known = known.is_some();
        let mut schedule = known.unwrap_or_else(|| Schedule::new(plan, view.now()));
        let actor = &self.wish.actor;
        let run = ScheduleRun {
            trigger: Trigger::Person,
            requested_by: Some(actor.id.clone()),
            ..self.starting.run(view, RunState::Started)
        };
        let correlation_id = actor.request_id.clone().unwrap_or_else(|| run.id.clone());
        let id = run.id.clone();
        if !self.starting.start(view, &mut schedule, run, &correlation_id) {
            return None;
        }
        if is_known {
            view.update(&schedule);
        } else {
            view.insert(&schedule);
        }
        self.wish.record(view, "schedule.run_requested", plan.name, doc! { "runId": &id });
        view.by_id::<ScheduleRun>(&id)
    }
}

/// Pauses a schedule, or lets it go on with its next time.
pub(super) struct PauseSchedule {
    pub(super) plan: ScheduleConfig,
    pub(super) paused: bool,
    pub(super) wish: ScheduleAuthor,
}

impl Command for PauseSchedule {
    type Reply = ();

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(SCHEDULES, self.plan.name)]
    }

    fn decide(&self, view: &mut View) {
        let now = view.now();
        let known = view.by_id::<Schedule>(self.plan.name);
        let is_known = known.is_some();
        let mut schedule = known.unwrap_or_else(|| Schedule::new(&self.plan, now));
        if schedule.paused_by.is_some() == self.paused && is_known {
            return;
        }
        if !self.paused {
            // What was due meanwhile was left out on purpose.
            schedule.follow(&self.plan, now);
        }
        schedule.paused_by = self.paused.then(|| self.wish.actor.id.clone());
        schedule.updated_at = now;
        if is_known {
            view.update(&schedule);
        } else {
            view.insert(&schedule);
        }
        let action = if self.paused { "schedule.paused" } else { "schedule.resumed" };
        self.wish.record(view, action, self.plan.name, doc! { "paused": self.paused });
    }
}
