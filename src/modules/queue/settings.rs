//! Times and limits of a worker.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// `wrk_...`
    pub worker_id: String,
    /// A silent worker's jobs return after this long.
    pub lease: Duration,
    /// Leases are extended this often.
    pub heartbeat: Duration,
    /// Without a wake-up, it is asked this often which queues have jobs.
    pub poll: Duration,
    /// Time for running attempts at SIGTERM.
    pub shutdown: Duration,
}
