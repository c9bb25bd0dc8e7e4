//! Interfaces between the queue and the modules that run its jobs.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;

use super::{
    lease::Lease,
    model::{Job, JobEnd, JobError},
};
use crate::platform::{
    batch::{Key, View},
    identity::Actor,
};

/// How an attempt concluded, and which queues have new work because of it.
#[derive(Debug)]
pub struct Concluded {
    pub end: JobEnd,
    /// Queues to wake.
    pub wake: Vec<&'static str>,
    /// The job's priority among its like from now on; lower goes first. None where it stays.
    pub priority: Option<i32>,
    /// The route of the job from now on. None where that stays.
    pub route: Option<String>,
}

impl From<JobEnd> for Concluded {
    fn from(end: JobEnd) -> Self {
        Self { end, wake: Vec::new(), priority: None, route: None }
    }
}

/// The results of an attempt, committed together with its end. Pure, like every command; may be asked several times.
pub trait Conclusion: Send + Sync + 'static {
    /// Keys that it will read besides the job, as far as known beforehand.
    fn reads(&self) -> Vec<Key>;

    /// Writes the results and decides what becomes of the job.
    fn conclude(&self, view: &mut View, job: &Job) -> Concluded;

    /// Writes what must not be lost although the lease was: the answer, marked late. Changes nothing else.
    fn conclude_late(&self, _view: &mut View) {}
}

/// The conclusion of an attempt that concerns nothing but its job.
#[derive(Clone, Debug)]
pub struct EndOnly(pub JobEnd);

impl Conclusion for EndOnly {
    fn reads(&self) -> Vec<Key> {
        Vec::new()
    }

    fn conclude(&self, _: &mut View, _: &Job) -> Concluded {
        self.0.clone().into()
    }
}

/// How running an attempt went.
pub enum Attempt {
    Concluded(Box<dyn Conclusion>),
    /// It was ended already, in a transaction of its own.
    Settled,
    /// It can't be carried out: a payload nobody can read, a decision that panics.
    Failed(JobError),
    /// The lease was lost before anything was done; whoever has it now goes on.
    LeaseLost,
    /// The database was away before anything was done: the job goes back and the attempt isn't used up.
    NotBegun,
}

/// Why a dead job may not be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryRefused {
    /// A sentence for the operator.
    pub reason: &'static str,
}

/// Runs the jobs of one kind in one queue.
#[async_trait]
pub trait JobHandler: Send + Sync + 'static {
    fn kind(&self) -> &'static str;

    fn queue(&self) -> &'static str;

    async fn run(&self, job: &Job, lease: &Lease) -> Attempt;

    /// The conclusion of an attempt that panicked or timed out, or of a job whose attempts were used up by workers
    /// that died. `None` where it concerns nothing but its job, see [`super::QueueConfig::end_of_failed`].
    fn failed(&self, _job: &Job, _error: JobError) -> Option<Box<dyn Conclusion>> {
        None
    }

    /// Decides whether a dead job may run again and brings its subject back to where it can.
    ///
    /// # Errors
    /// When the subject has ended, or is on another way.
    fn revive(&self, view: &mut View, job: &Job, actor: &Actor, event_id: &str) -> Result<(), RetryRefused>;
}

/// Handlers by queue and kind.
pub type Handlers = HashMap<(&'static str, &'static str), Arc<dyn JobHandler>>;

/// The same by queue and kind.
#[must_use]
pub fn by_queue_and_kind(handlers: &[Arc<dyn JobHandler>]) -> Handlers {
    handlers.iter().map(|handler| ((handler.queue(), handler.kind()), Arc::clone(handler))).collect()
}
