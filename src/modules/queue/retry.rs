//! Running a dead job again, because a person says so.

use std::sync::Arc;

use super::{
    JOBS,
    handler::{Handlers, JobHandler, RetryRefused},
    model::{Job, JobState},
};
use crate::platform::{
    batch::{Command, Key, View},
    identity::Actor,
};

/// Revives a dead job and its subject, or says why not.
pub struct RetryJob {
    pub job_id: String,
    /// Id of the event, where the subject records one.
    pub event_id: String,
    pub actor: Actor,
    /// Handlers of such jobs.
    pub handlers: Arc<Handlers>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Retried {
    /// It is ready again.
    Revived(Box<Job>),
    /// There is no such job.
    NotFound,
    /// It isn't dead.
    NotDead(JobState),
    /// Its subject has ended, or nobody runs such jobs.
    Refused(RetryRefused),
}

impl RetryJob {
    fn handler(&self, job: &Job) -> Option<Arc<dyn JobHandler>> {
        self.handlers.get(&(job.queue.as_str(), job.kind.as_str())).cloned()
    }
}

impl Command for RetryJob {
    type Reply = Retried;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(JOBS, &*self.job_id)]
    }

    fn decide(&self, view: &mut View) -> Retried {
        let Some(mut job) = view.by_id::<Job>(&self.job_id) else { return Retried::NotFound };
        if job.state != JobState::Dead {
            return Retried::NotDead(job.state);
        }
        let Some(handler) = self.handler(&job) else {
            return Retried::Refused(RetryRefused { reason: "No worker handles jobs of this kind." });
        };
        if let Err(refused) = handler.revive(view, &job, &self.actor, &self.event_id) {
            return Retried::Refused(refused);
        }
        job.revive(view.now());
        view.update(&job);
        Retried::Revived(Box::new(job))
    }
}
