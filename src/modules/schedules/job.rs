//! Runs the task of a schedule, and writes down what came of it.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use bson::{DateTime, Document, doc};

use super::{
    RUN_KIND,
    model::{RunState, ScheduleRun},
};
use crate::{
    modules::{
        events::{self, Event},
        queue::{Attempt, Concluded, Conclusion, Job, JobEnd, JobError, JobHandler, Lease, QueueConfig, RetryRefused},
    },
    platform::{
        batch::{Key, View},
        clock::after,
        identity::Actor,
        ids::new_id,
    },
};

/// Something that a person should know: an event says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureAlert {
    /// The event's type: `LedgerDiffers`.
    pub kind: &'static str,
    /// In a sentence, without anybody's data.
    pub message: String,
}

/// Result of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finished {
    /// Counts and ids worth showing.
    pub result: Document,
    /// An alert for a person, if there is one.
    pub alert: Option<FailureAlert>,
}

/// The work of a schedule. Safe to run again: a worker may be killed at any moment of it.
#[async_trait]
pub trait Task: Send + Sync + 'static {
    /// Does it.
    ///
    /// # Errors
    /// Why it could not be finished, in a sentence; it is tried again, and then given up until the next time.
    async fn run(&self) -> Result<Finished, String>;
}

/// Runs jobs of `schedules-queue`.
pub struct RunScheduleJobs {
    /// By the plan's name.
    pub tasks: HashMap<&'static str, Arc<dyn Task>>,
    pub queue: QueueConfig,
}

struct RunEnded {
    run_id: String,
    outcome: Result<Finished, JobError>,
    /// Where there may be another attempt: how long it waits.
    retry_after: std::time::Duration,
    event_id: String,
    worker_id: String,
}

fn run_id(job: &Job) -> Option<String> {
    job.payload.get_str("runId").ok().map(str::to_owned)
}

impl RunScheduleJobs {
    fn ended(&self, job: &Job, outcome: Result<Finished, JobError>) -> Option<Box<dyn Conclusion>> {
        Some(Box::new(RunEnded {
            run_id: run_id(job)?,
            outcome,
            retry_after: self.queue.backoff.delay(job.attempts, rand::random()),
            event_id: new_id("evt"),
            worker_id: job.lease_owner.clone().unwrap_or_default(),
        }))
    }
}

#[async_trait]
impl JobHandler for RunScheduleJobs {
    fn kind(&self) -> &'static str {
        RUN_KIND
    }

    fn queue(&self) -> &'static str {
        self.queue.name
    }

    async fn run(&self, job: &Job, _: &Lease) -> Attempt {
        let task = job.payload.get_str("schedule").ok().and_then(|name| self.tasks.get(name));
        let Some(task) = task else {
            return Attempt::Failed(JobError::new(
                "fatal",
                "schedules.unknown",
                "This worker knows no schedule of that name.",
            ));
        };
        let outcome = task.run().await.map_err(|why| JobError::new("retryable", "schedules.failed", why));
        match self.ended(job, outcome) {
            Some(ended) => Attempt::Concluded(ended),
            None => Attempt::Failed(JobError::new("payload", "schedules.no_run", "The job names no run.")),
        }
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        self.ended(job, Err(error))
    }

    fn revive(&self, view: &mut View, job: &Job, _: &Actor, _: &str) -> Result<(), RetryRefused> {
        let run = run_id(job).and_then(|id| view.by_id::<ScheduleRun>(&id));
        let Some(mut run) = run else { return Err(RetryRefused { reason: "Its run is gone." }) };
        run.state = RunState::Started;
        run.ended_at = None;
        view.update(&run);
        Ok(())
    }
}

impl Conclusion for RunEnded {
    fn reads(&self) -> Vec<Key> {
        vec![ScheduleRun::key(&self.run_id)]
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let now = view.now();
        let run = view.by_id::<ScheduleRun>(&self.run_id);
        let end = match &self.outcome {
            Ok(finished) => JobEnd::Done { result: Some(finished.result.clone()) },
            Err(error) if job.is_last_attempt() || error.class == "fatal" => JobEnd::Dead { error: error.clone() },
            Err(error) => JobEnd::Retry { at: after(now, self.retry_after), error: Some(error.clone()), counts: true },
        };
        if let Some(mut run) = run {
            run.attempts = job.attempts;
            match &self.outcome {
                Ok(finished) => self.finish(view, &mut run, finished, job, now),
                Err(error) => {
                    run.error = Some(error.message.clone());
                    if matches!(end, JobEnd::Dead { .. }) {
                        run.state = RunState::Failed;
                        run.ended_at = Some(now);
                    }
                }
            }
            let outcome = if run.alert.is_some() { "alert" } else { end.as_str() };
            metrics::counter!("waybill_schedule_runs_total", "schedule" => run.schedule.clone(), "outcome" => outcome)
                .increment(1);
            view.update(&run);
        }
        end.into()
    }
}

impl RunEnded {
    fn finish(&self, view: &mut View, run: &mut ScheduleRun, finished: &Finished, job: &Job, now: DateTime) {
        run.state = RunState::Done;
        run.error = None;
        run.ended_at = Some(now);
        run.result = Some(finished.result.clone());
        let Some(alert) = &finished.alert else { return };
        run.alert = Some(alert.message.clone());
        tracing::error!(schedule = run.schedule, run.id = run.id, "{}", alert.message);
        let event = Event {
            id: self.event_id.clone(),
            kind: alert.kind.into(),
            subject_id: run.id.clone(),
            user_id: String::new(),
            seq: 1,
            actor: Actor::worker(&self.worker_id, &job.correlation_id),
            data: doc! { "schedule": &run.schedule, "message": &alert.message },
            at: now,
        };
        events::record(view, &event);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::modules::{queue::JobState, schedules::Trigger};

    const NOW: DateTime = DateTime::from_millis(60_000);

    fn scene(attempts: i32) -> (View, Job) {
        let queue = QueueConfig { max_attempts: 2, ..QueueConfig::named("schedules-queue") };
        let payload = doc! { "runId": "srn_1", "schedule": "check" };
        let mut job = Job::new("job_1".into(), &queue, RUN_KIND, payload, "rqs_1", NOW);
        job.state = JobState::Active;
        job.attempts = attempts;
        let mut view = View::new(NOW);
        view.put_read(&ScheduleRun {
            id: "srn_1".into(),
            schedule: "check".into(),
            trigger: Trigger::Calendar,
            requested_by: None,
            due_at: Some(NOW),
            state: RunState::Started,
            job_id: Some("job_1".into()),
            attempts: 0,
            result: None,
            alert: None,
            error: None,
            started_at: NOW,
            ended_at: None,
        });
        (view, job)
    }

    fn failed() -> RunEnded {
        RunEnded {
            run_id: "srn_1".into(),
            outcome: Err(JobError::new("retryable", "schedules.failed", "The database was away.")),
            retry_after: Duration::from_secs(60),
            event_id: "evt_1".into(),
            worker_id: "wrk_1".into(),
        }
    }

    #[test]
    fn a_run_that_fails_is_tried_again_and_then_given_up() {
        for (attempt, state, ended) in [(1, RunState::Started, None), (2, RunState::Failed, Some(NOW))] {
            let (mut view, job) = scene(attempt);
            let concluded = failed().conclude(&mut view, &job);
            assert_eq!(matches!(concluded.end, JobEnd::Dead { .. }), attempt == 2);
            let run = view.by_id::<ScheduleRun>("srn_1").expect("the run");
            assert_eq!((run.state, run.ended_at, run.attempts), (state, ended, attempt));
            assert_eq!(run.error.as_deref(), Some("The database was away."));
        }
    }

    #[test]
    fn a_run_that_was_given_up_can_be_run_again_by_a_person() {
        let (mut view, job) = scene(2);
        let _ = failed().conclude(&mut view, &job);
        let jobs = RunScheduleJobs { tasks: HashMap::new(), queue: QueueConfig::named("schedules-queue") };
        jobs.revive(&mut view, &job, &Actor::system("test"), "evt_2").expect("it may");
        let run = view.by_id::<ScheduleRun>("srn_1").expect("the run");
        assert_eq!((run.state, run.ended_at), (RunState::Started, None));
    }
}
