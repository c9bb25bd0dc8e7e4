//! Jobs and how their attempts end. Pure.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::{
    batch::{Entity, Key},
    clock::after,
};

/// Attempts that the history keeps.
const HISTORY_MAX: usize = 20;
/// Failures that use up no attempt (not connected, throttled) are put up with for so long.
pub const DEFERRING_MAX: Duration = Duration::from_secs(24 * 3600);

/// Jobs whose last call may have been executed run before the others of their queue: their priority is lower by this.
pub const IN_DOUBT: i32 = 1;
/// Urgent jobs run before all that are not: their priority is lower by this.
pub(super) const RUSH: i32 = 2;

/// Code of a job document that is not a job.
pub const UNREADABLE: &str = "queue.unreadable";

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for its time or for a worker.
    Ready,
    /// In the hands of a worker.
    Active,
    /// Given up; stays until a person acts.
    Dead,
    /// Ended well; trimmed in the background.
    Done,
}

impl JobState {
    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Active => "active",
            Self::Dead => "dead",
            Self::Done => "done",
        }
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// `retryable`, `unknown`, `fatal`, `lease`, `panic`, `payload`.
    pub class: String,
    /// `provider.timeout`, ...
    pub code: String,
    pub message: String,
}

impl JobError {
    pub fn new(class: &str, code: &str, message: impl Into<String>) -> Self {
        Self { class: class.into(), code: code.into(), message: message.into() }
    }
}

/// One attempt that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    pub attempt: i32,
    pub worker_id: Option<String>,
    pub at: DateTime,
    /// `done`, `next`, `retry`, `dead`.
    pub end: String,
    /// The error's code, where there was one.
    pub code: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// `job_...`
    #[serde(rename = "_id")]
    pub id: String,
    pub queue: String,
    /// Chooses the handler.
    pub kind: String,
    /// Ids only.
    pub payload: Document,
    pub state: JobState,
    /// Lower goes first.
    pub priority: i32,
    /// It goes before what is no rush, whatever becomes of its priority; see [`Job::hurried`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rush: bool,
    /// The route: any account of a pool, or one account; see [`super::Dispatch`]. Empty where no account is needed, and once the
    /// job is done.
    #[serde(default)]
    pub route: String,
    /// The owner: claims take turns over owners. None where the job belongs to no one.
    #[serde(default)]
    pub owner: Option<String>,
    /// The owner once the job is due, until it has ended: what claims go round by. None while it waits for its time.
    #[serde(default)]
    pub turn: Option<String>,
    /// Not before this time; for ended jobs, when they ended.
    pub run_at: DateTime,
    pub attempts: i32,
    pub max_attempts: i32,
    /// Failures in a row that used up no attempt.
    pub deferrals: i32,
    pub deferring_since: Option<DateTime>,
    /// Token of the lease, whose holder may end this attempt.
    pub lease_token: Option<String>,
    /// The worker behind it.
    pub lease_owner: Option<String>,
    /// Until then.
    pub lease_until: Option<DateTime>,
    /// The token under which the last attempt ended: finding one's own there means success.
    pub ended_by: Option<String>,
    /// Why the last attempt failed.
    pub last_error: Option<JobError>,
    /// Result of the handler.
    pub result: Option<Document>,
    /// Attempts that ended, latest last.
    pub history: Vec<HistoryEntry>,
    /// Its place in a line, until its first attempt has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<JobSequence>,
    /// At most one job of a queue that hasn't ended has this key. Left out of the document where there is none,
    /// so that the unique index stays small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// Goes with the job to every log: `X-Request-Id` of the request behind it.
    pub correlation_id: String,
    pub created_at: DateTime,
    /// The context of the trace in which it was made, which its attempts go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Entity for Job {
    const COLLECTION: &'static str = super::JOBS;
    const KEEPS_TRACE: bool = true;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        self.dedupe_key.iter().map(|key| Self::dedupe(&self.queue, key)).collect()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum JobEnd {
    Done {
        /// Ids and states worth showing.
        result: Option<Document>,
    },
    /// Well, and its next step is to be made: attempts are counted from the beginning again.
    Next {
        /// Not before.
        at: DateTime,
    },
    /// To be tried again.
    Retry {
        /// Not before.
        at: DateTime,
        /// Why; none where it only goes on with its next step.
        error: Option<JobError>,
        /// Whether the attempt is used up.
        counts: bool,
    },
    Dead {
        error: JobError,
    },
}

impl JobEnd {
    /// As in history and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Next { .. } => "next",
            Self::Retry { .. } => "retry",
            Self::Dead { .. } => "dead",
        }
    }
}

impl Job {
    /// A job that is due at once, and nobody's in particular.
    #[must_use]
    pub fn new(
        id: String,
        queue: &QueueConfig,
        kind: &str,
        payload: Document,
        correlation_id: &str,
        now: DateTime,
    ) -> Self {
        Self {
            id,
            queue: queue.name.into(),
            kind: kind.into(),
            payload,
            state: JobState::Ready,
            priority: queue.priority,
            rush: false,
            route: queue.route.into(),
            owner: None,
            turn: Some(String::new()),
            run_at: now,
            attempts: 0,
            max_attempts: queue.max_attempts,
            deferrals: 0,
            deferring_since: None,
            lease_token: None,
            lease_owner: None,
            lease_until: None,
            ended_by: None,
            last_error: None,
            result: None,
            history: Vec::new(),
            line: None,
            dedupe_key: None,
            correlation_id: correlation_id.into(),
            created_at: now,
            trace: None,
        }
    }

    /// The same, as the work of `owner`.
    #[must_use]
    pub fn owned_by(mut self, owner: &str) -> Self {
        self.owner = Some(owner.to_owned());
        self.turn = self.turn.and(self.owner.clone());
        self
    }

    /// The same, before all that is no rush, where `rush`. Nothing else is needed for a job to be one: claims go by the priority, and
    /// whoever sets another one later (what is in doubt goes first) does not take this away.
    #[must_use]
    pub const fn hurried(mut self, rush: bool) -> Self {
        if rush && !self.rush {
            self.rush = true;
            self.priority -= RUSH;
        }
        self
    }

    /// Gives it a priority among its like.
    pub(super) const fn prioritise(&mut self, priority: i32) {
        self.priority = if self.rush { priority - RUSH } else { priority };
    }

    /// The same, in a trace. Jobs that a command inserts are in the command's.
    #[must_use]
    pub fn traced(self, trace: Option<&str>) -> Self {
        Self { trace: trace.map(str::to_owned), ..self }
    }

    /// The same, in a line: its first attempt is made when those of the jobs before it in the line, by `seq`, have ended.
    /// Jobs in lines are inserted by [`super::insert_in_lines`].
    #[must_use]
    pub fn in_line(mut self, line: String, seq: i64) -> Self {
        self.line = Some(JobSequence::new(line, seq));
        self
    }

    /// Has it run at `at`, at once where that is no later than `now`.
    pub fn schedule(&mut self, at: DateTime, now: DateTime) {
        self.run_at = at;
        self.turn = (at <= now).then(|| self.owner.clone().unwrap_or_default());
    }

    /// Shows a stored document that is not a job as a dead one, with the document as its payload.
    #[must_use]
    pub fn unreadable(document: Document, reason: &str, now: DateTime) -> Self {
        let text = |field: &str| document.get_str(field).unwrap_or_default().to_owned();
        let queue = QueueConfig::named("");
        Self {
            queue: text("queue"),
            state: JobState::Dead,
            turn: None,
            last_error: Some(JobError::new("payload", UNREADABLE, reason)),
            payload: doc! { "unreadable": document.clone() },
            ..Self::new(text("_id"), &queue, &text("kind"), Document::new(), &text("correlationId"), now)
        }
    }

    /// The key under which a job of `queue` that hasn't ended is found by its dedupe key.
    #[must_use]
    pub fn dedupe(queue: &str, key: &str) -> Key {
        Key::unique(super::JOBS, &["queue", "dedupeKey"], vec![queue.into(), key.into()])
    }

    /// Whether no worker ever took it.
    #[must_use]
    pub fn never_attempted(&self) -> bool {
        self.state == JobState::Ready && self.attempts == 0 && self.deferrals == 0 && self.history.is_empty()
    }

    /// Whether the attempt that runs is the last one.
    #[must_use]
    pub const fn is_last_attempt(&self) -> bool {
        self.attempts >= self.max_attempts
    }

    /// Whether failures that use up no attempt have gone on for too long.
    #[must_use]
    pub fn deferred_too_long(&self, now: DateTime) -> bool {
        self.deferring_since.is_some_and(|since| after(since, DEFERRING_MAX) <= now)
    }

    /// Ends the attempt that runs.
    pub fn end(&mut self, end: &JobEnd, now: DateTime) {
        let (state, error) = match end {
            JobEnd::Done { .. } => (JobState::Done, None),
            JobEnd::Dead { error } => (JobState::Dead, Some(error)),
            JobEnd::Next { .. } => (JobState::Ready, None),
            JobEnd::Retry { error, .. } => (JobState::Ready, error.as_ref()),
        };
        self.history.push(HistoryEntry {
            attempt: self.attempts,
            worker_id: self.lease_owner.take(),
            at: now,
            end: end.as_str().into(),
            code: error.map(|error| error.code.clone()),
        });
        if self.history.len() > HISTORY_MAX {
            self.history.remove(0);
        }
        self.state = state;
        self.last_error = error.cloned().or_else(|| self.last_error.take().filter(|_| state == JobState::Ready));
        self.run_at = now;
        self.turn = None;
        self.ended_by = self.lease_token.take();
        self.lease_until = None;
        match end {
            JobEnd::Done { result } => {
                self.result.clone_from(result);
                self.dedupe_key = None;
                // Done jobs of a priority are trimmed together, whoever ran them.
                self.route.clear();
            }
            JobEnd::Dead { .. } => self.dedupe_key = None,
            JobEnd::Next { at } => {
                self.schedule(*at, now);
                self.attempts = 0;
                self.deferrals = 0;
                self.deferring_since = None;
                self.last_error = None;
            }
            JobEnd::Retry { at, counts, error } => {
                self.schedule(*at, now);
                if *counts {
                    self.deferrals = 0;
                    self.deferring_since = None;
                } else {
                    self.attempts = (self.attempts - 1).max(0);
                    if error.is_some() {
                        self.deferrals += 1;
                        self.deferring_since.get_or_insert(now);
                    } else {
                        // It got on: whatever was deferred before is no longer in a row with what comes.
                        self.deferring_since = None;
                    }
                }
            }
        }
    }

    /// Takes it from whoever has it, without an attempt: it is due for those who run jobs of `route`.
    pub fn move_to(&mut self, route: String, now: DateTime) {
        self.state = JobState::Ready;
        self.attempts = (self.attempts - 1).max(0);
        self.route = route;
        self.schedule(now, now);
        (self.lease_token, self.lease_owner, self.lease_until) = (None, None, None);
    }

    /// Puts a dead job back to the start.
    pub fn revive(&mut self, now: DateTime) {
        self.state = JobState::Ready;
        self.schedule(now, now);
        self.attempts = 0;
        self.deferrals = 0;
        self.deferring_since = None;
        self.result = None;
    }
}

/// Exponential backoff with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub base: Duration,
    /// How many times as long after each further one.
    pub factor: u32,
    /// At most.
    pub max: Duration,
}

impl Backoff {
    /// Delay after the `failures`-th failure in a row (from 1): `base` times `factor` for each before it, up to `max`, of
    /// which between half and all is waited; `jitter` is in `0.0..1.0`.
    #[must_use]
    pub fn delay(&self, failures: i32, jitter: f64) -> Duration {
        let earlier = u32::try_from(failures.max(1) - 1).unwrap_or_default();
        let full = self.base.saturating_mul(self.factor.saturating_pow(earlier)).min(self.max);
        full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// A queue's settings.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Its name, as in the database and in paths.
    pub name: &'static str,
    /// Jobs that one worker runs at once.
    pub concurrency: usize,
    /// Route of new jobs.
    pub route: &'static str,
    pub max_attempts: i32,
    /// Between attempts.
    pub backoff: Backoff,
    /// Of new jobs; lower goes first.
    pub priority: i32,
    /// An attempt is given up after this long.
    pub timeout: Duration,
    /// How long done jobs are kept.
    pub keep_done_for: Duration,
    /// How many done jobs are kept at most.
    pub keep_done_count: u64,
}

impl QueueConfig {
    /// The defaults under a name.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            concurrency: 64,
            route: "",
            max_attempts: 8,
            backoff: Backoff { base: Duration::from_secs(2), factor: 2, max: Duration::from_secs(300) },
            priority: 0,
            timeout: Duration::from_secs(60),
            keep_done_for: Duration::from_secs(24 * 3600),
            keep_done_count: 10_000,
        }
    }

    /// The end of an attempt that failed: a retry after backoff, while attempts are left and another one may go better. `jitter` is in
    /// `0.0..1.0`.
    #[must_use]
    pub fn end_of_failed(&self, job: &Job, error: JobError, jitter: f64, now: DateTime) -> JobEnd {
        if matches!(&*error.class, "payload" | "fatal") || job.is_last_attempt() {
            return JobEnd::Dead { error };
        }
        JobEnd::Retry { at: after(now, self.backoff.delay(job.attempts, jitter)), error: Some(error), counts: true }
    }
}

pub const JOBS: &str = "jobs";

/// A job's place in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSequence {
    pub name: String,
    /// Lower goes first.
    pub seq: i64,
    /// The job whose first attempt it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The job that waits for its first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Nobody has joined behind it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

impl JobSequence {
    pub(super) const fn new(name: String, seq: i64) -> Self {
        Self { name, seq, after: None, next: None, last: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime {
        DateTime::from_millis(ms)
    }

    fn active() -> Job {
        let mut job = Job::new("job_1".into(), &QueueConfig::named("q"), "kind", doc! {}, "rqs_1", at(0));
        job.state = JobState::Active;
        job.attempts = 1;
        job.lease_token = Some("token".into());
        job.lease_owner = Some("wrk_1".into());
        job
    }

    #[test]
    fn only_attempts_that_do_not_count_are_given_back() {
        let error = Some(JobError::new("retryable", "provider.throttled", "429"));
        let mut job = active();
        job.end(&JobEnd::Retry { at: at(50), error: error.clone(), counts: false }, at(10));
        assert_eq!((job.attempts, job.deferrals, job.deferring_since, job.run_at), (0, 1, Some(at(10)), at(50)));
        assert!(!job.never_attempted(), "it may have been sent");
        job.attempts = 1;
        job.end(&JobEnd::Retry { at: at(90), error, counts: true }, at(20));
        assert_eq!((job.attempts, job.deferrals, job.deferring_since), (1, 0, None));
    }

    #[test]
    fn deferring_ends_after_a_day() {
        let mut job = active();
        let error = Some(JobError::new("retryable", "provider.not_connected", "refused"));
        job.end(&JobEnd::Retry { at: at(50), error, counts: false }, at(0));
        assert!(!job.deferred_too_long(at(24 * 3_600_000 - 1)));
        assert!(job.deferred_too_long(at(24 * 3_600_000)));
    }

    #[test]
    fn a_step_that_went_well_ends_the_row_of_deferrals() {
        let mut job = active();
        let error = Some(JobError::new("retryable", "provider.not_connected", "refused"));
        job.end(&JobEnd::Retry { at: at(50), error, counts: false }, at(0));
        job.end(&JobEnd::Retry { at: at(60), error: None, counts: false }, at(60));
        assert_eq!((job.deferring_since, job.deferrals), (None, 1));
        assert!(!job.deferred_too_long(at(48 * 3_600_000)));
    }

    #[test]
    fn a_step_that_went_well_leaves_the_next_one_all_attempts() {
        let mut job = active();
        let error = Some(JobError::new("retryable", "provider.not_connected", "refused"));
        job.end(&JobEnd::Retry { at: at(50), error, counts: false }, at(0));
        job.attempts = 3;
        job.end(&JobEnd::Next { at: at(90) }, at(60));
        assert_eq!((job.state, job.run_at, job.attempts, job.deferrals), (JobState::Ready, at(90), 0, 0));
        assert_eq!((job.deferring_since, job.last_error, job.turn), (None, None, None));
    }

    #[test]
    fn an_ended_job_remembers_under_which_token() {
        let mut job = active();
        job.end(&JobEnd::Done { result: None }, at(5));
        assert_eq!((job.state, job.ended_by.as_deref(), job.lease_token), (JobState::Done, Some("token"), None));
        assert_eq!(job.history.len(), 1);
        assert_eq!(job.history[0].worker_id.as_deref(), Some("wrk_1"));
    }

    #[test]
    fn a_rush_stays_one_when_its_priority_changes() {
        let queue = QueueConfig { priority: 7, ..QueueConfig::named("q") };
        let new = || Job::new("job_1".into(), &queue, "kind", doc! {}, "rqs_1", at(0));
        let (mut rush, mut normal) = (new().hurried(true).hurried(true), new().hurried(false));
        assert_eq!((rush.priority, normal.priority), (5, 7));
        for job in [&mut rush, &mut normal] {
            job.prioritise(7 - IN_DOUBT);
        }
        assert_eq!((rush.priority, normal.priority), (4, 6), "in doubt, they go before their like");
    }

    #[test]
    fn history_is_bounded() {
        let mut job = active();
        for _ in 0..50 {
            job.end(&JobEnd::Retry { at: at(1), error: None, counts: true }, at(1));
        }
        assert_eq!(job.history.len(), HISTORY_MAX);
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let backoff = Backoff { base: Duration::from_secs(2), factor: 2, max: Duration::from_secs(300) };
        let full = |failures| backoff.delay(failures, 1.0).as_secs();
        assert_eq!([1, 2, 3, 4, 8, 9, 100].map(full), [2, 4, 8, 16, 256, 300, 300]);
        assert_eq!(backoff.delay(1, 0.0), Duration::from_secs(1));
        assert_eq!(backoff.delay(i32::MIN, 0.0), Duration::from_secs(1));
    }
}
