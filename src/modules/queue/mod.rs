//! The job queue: jobs are documents, committed with what causes them.
//!
//! Invariants: a job is run by one worker at a time, the one whose lease token it carries; only the holder of
//! the token ends an attempt, in the transaction that writes the attempt's result. A killed worker's job returns
//! when its lease ends. A job that ended stays ended. Dead jobs stay until a person acts. Nothing depends on Redis:
//! it only shortens the wait.
//!
//! Collections: `jobs`, `queues` (pause and throttle), `workers` (who is alive). Other modules insert jobs in their own
//! transactions with [`Job::new`] and run them with a [`JobHandler`].

mod complete;
mod handler;
mod model;
mod retry;
mod store;
mod wake;
mod worker;

pub use complete::{holds_lease, settle_job};
pub use handler::{Attempt, Concluded, Conclusion, JobHandler, RetryRefused};
pub use model::{Backoff, Job, JobEnd, JobError, JobState, QueueConfig};
pub use retry::{Retried, RetryJob};
pub use store::{JobPage, QueueStore, QueueSummary};
pub use wake::Waker;
pub use worker::{Lease, Worker, WorkerSettings};

/// The collection of jobs.
pub const JOBS: &str = "jobs";
