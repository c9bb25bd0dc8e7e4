//! Ending an attempt, in one transaction with its results.

use std::sync::Arc;

use super::{
    handler::Conclusion,
    model::{Job, JobEnd, JobState},
};
use crate::platform::batch::{Command, Key, View};

/// Whether the job is still in the hands of whoever carries `token`.
#[must_use]
pub fn holds_lease(job: &Job, token: &str) -> bool {
    job.state == JobState::Active && job.lease_token.as_deref() == Some(token)
}

/// Ends a job inside somebody else's transaction.
pub fn settle_job(view: &mut View, mut job: Job, end: &JobEnd) {
    let now = view.now();
    job.end(end, now);
    view.update(&job);
}

/// The command that ends an attempt.
pub(super) struct CompleteJob {
    pub(super) job_id: String,
    pub(super) token: String,
    pub(super) conclusion: Arc<dyn Conclusion>,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Completed {
    /// Ended now: how, and which queue to wake.
    Ended(&'static str, Option<&'static str>),
    /// Ended before, by this very attempt.
    Already,
    /// The lease had been lost.
    Late,
}

enum Standing {
    Held(Box<Job>),
    Already,
    Lost,
}

impl CompleteJob {
    fn standing(&self, view: &View) -> Standing {
        match view.by_id::<Job>(&self.job_id) {
            Some(job) if holds_lease(&job, &self.token) => Standing::Held(Box::new(job)),
            Some(job) if job.ended_by.as_deref() == Some(&*self.token) => Standing::Already,
            _ => Standing::Lost,
        }
    }
}

impl Command for CompleteJob {
    type Reply = Completed;

    fn reads(&self, view: &View) -> Vec<Key> {
        let job = Key::id(super::JOBS, &*self.job_id);
        if !view.has_read(&job) {
            let mut keys = self.conclusion.reads();
            keys.push(job);
            return keys;
        }
        match self.standing(view) {
            Standing::Lost => self.conclusion.late_reads(),
            Standing::Held(_) | Standing::Already => Vec::new(),
        }
    }

    fn decide(&self, view: &mut View) -> Completed {
        match self.standing(view) {
            Standing::Held(job) => {
                let concluded = self.conclusion.conclude(view, &job);
                settle_job(view, *job, &concluded.end);
                Completed::Ended(concluded.end.as_str(), concluded.wake)
            }
            Standing::Already => Completed::Already,
            Standing::Lost => {
                self.conclusion.conclude_late(view);
                Completed::Late
            }
        }
    }
}
