//! With which account of a provider jobs run: the worker asks before it claims, [`Dispatch`] decides.

use std::time::Instant;

use async_trait::async_trait;

/// An account that may take jobs of a queue now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// The account; empty where jobs need none.
    pub account_id: String,
    /// Routes of jobs that it may run.
    pub routes: Vec<String>,
    /// It is tried with one job, to see whether its provider is back. Where none is due, one that was deferred is.
    pub is_probe: bool,
    /// Its jobs place new orders, of which the account may have only so many in progress.
    pub opens: bool,
}

/// The right to run one job with an account. To be given back by [`Dispatch::release`].
#[derive(Clone, Debug, Default)]
pub struct Permit {
    /// The account; empty where the job needs none.
    pub account_id: String,
    pub worker_id: String,
    /// The account's breaker has closed so often: what is learned from the call counts for this period only.
    pub epoch: i64,
    /// It is for a new order of an account that may have only so many: from the call on, the job is bound to the account, by
    /// which it is counted.
    pub opens: bool,
    pub probe: Option<String>,
    /// The grant that its place belongs to, where the account has few.
    pub place: Option<String>,
    /// When the call may be sent, where the account has a rate: not before the first time, nor after the second.
    pub send_between: Option<(Instant, Instant)>,
}

/// Decides which accounts take jobs, and how many.
#[async_trait]
pub trait Dispatch: Send + Sync + 'static {
    /// Accounts that may take jobs of `queue` now; `ready` are the routes of its jobs that have not been taken.
    async fn candidates(&self, queue: &str, ready: &[String]) -> Vec<Candidate>;

    /// The right to run up to `wanted` jobs that are due, for `worker_id`; fewer where there is no room.
    async fn admit(&self, queue: &str, candidate: &Candidate, worker_id: &str, wanted: usize) -> Vec<Permit>;

    /// Takes permits back, used or not.
    async fn release(&self, permits: &[Permit]);

    /// Keeps the places of a worker that is alive.
    async fn extend(&self, worker_id: &str);
}

/// For queues whose jobs need no account.
#[derive(Clone, Copy, Debug)]
pub struct NoAccounts;

#[async_trait]
impl Dispatch for NoAccounts {
    async fn candidates(&self, _: &str, ready: &[String]) -> Vec<Candidate> {
        vec![Candidate { routes: ready.to_vec(), ..Candidate::default() }]
    }

    async fn admit(&self, _: &str, _: &Candidate, _: &str, wanted: usize) -> Vec<Permit> {
        vec![Permit::default(); wanted]
    }

    async fn release(&self, _: &[Permit]) {}

    async fn extend(&self, _: &str) {}
}
