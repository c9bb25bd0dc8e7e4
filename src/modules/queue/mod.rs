//! The job queue: jobs are documents, committed with what causes them.
//!
//! Invariants: a job is run by one worker at a time, the one whose lease token it carries; only the holder of
//! the token ends an attempt, in the transaction that writes the attempt's result. A killed worker's job returns
//! when its lease ends. A job that ended stays ended. Dead jobs stay until a person acts. Claims take turns over the owners
//! of due jobs, so a long backlog of one holds up no other. First attempts of jobs in a line go one after the other. Nothing depends on Redis: it only shortens the wait.
//!
//! Collections: `jobs`, `queues` (pause), `workers` (who is alive, and how far its clock is off). Other modules insert jobs in their own
//! transactions with [`Job::new`] and run them with a [`JobHandler`].

use crate::platform::batch::View;

mod claim;
mod complete;
mod dispatch;
mod handler;
mod lease;
mod model;
mod pace;
mod pulse;
mod retry;
mod rounds;
mod sequence;
mod settings;
mod store;
mod upkeep;
mod wake;
mod worker;
mod workers;

pub use claim::{ClaimQuery, ClaimTerms, DueJobs, Front, LastServed};
pub use complete::{holds_lease, move_job, settle_job};
pub use dispatch::{Candidate, Dispatch, NoAccounts, Permit};
pub use handler::{Attempt, Concluded, Conclusion, EndOnly, Handlers, JobHandler, RetryRefused, by_queue_and_kind};
pub use lease::{CALL_MARGIN, EffectRecorded, Lease};
pub use model::JobSequence;
pub use model::{Backoff, IN_DOUBT, JOBS, Job, JobEnd, JobError, JobState, QueueConfig, UNREADABLE};
pub use pace::{DeadJobs, PACE_MINUTES, Throughput};
pub use pulse::{Pulse, PulseSubscription, QueuePulse, QueueWatch};
pub use retry::{Retried, RetryJob};
pub use sequence::insert_in_lines;
pub use settings::WorkerSettings;
pub use store::{Controls, JobPage, QUEUES, QueueStore, QueueSummary};
pub use wake::Waker;
pub use worker::{Worker, WorkerParts};
pub use workers::Heartbeat;

/// Inserts `job` unless a job of its queue with its dedupe key hasn't ended yet; says whether it did. The command has
/// to read [`Job::dedupe`] first.
pub fn insert_once(view: &mut View, job: &Job) -> bool {
    let twin = job.dedupe_key.as_deref().and_then(|key| view.find::<Job>(&Job::dedupe(&job.queue, key)));
    if twin.is_none() {
        view.insert(job);
    }
    twin.is_none()
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, doc};

    use super::*;

    fn job(id: &str, key: &str) -> Job {
        let queue = QueueConfig::named("q");
        let mut job = Job::new(id.into(), &queue, "kind", doc! {}, "rqs_1", DateTime::from_millis(0));
        job.dedupe_key = Some(key.into());
        job
    }

    #[test]
    fn of_two_jobs_with_one_dedupe_key_the_first_stays() {
        let mut view = View::new(DateTime::from_millis(0));
        view.put_absent(Job::dedupe("q", "a"));
        view.put_absent(Job::dedupe("q", "b"));
        assert!(insert_once(&mut view, &job("job_1", "a")));
        assert!(!insert_once(&mut view, &job("job_2", "a")));
        assert!(insert_once(&mut view, &job("job_3", "b")));
    }

    #[test]
    fn an_ended_job_no_longer_stands_in_the_way() {
        let mut ended = job("job_1", "a");
        ended.end(&JobEnd::Done { result: None }, DateTime::from_millis(1));
        assert_eq!(ended.dedupe_key, None);
    }
}
