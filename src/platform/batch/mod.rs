//! Group commit: concurrent commands share a transaction.
//!
//! A [`Command`] says what it reads and decides, purely, over a [`View`] of what was read. A [`Lane`] takes
//! whatever is queued, reads once, lets the commands decide one after the other (so the second of two duplicates
//! sees the first), writes with one statement per collection, commits, and answers each. Idle, a command goes alone
//! at once; under load a batch is what queued up while the last commit was in flight, and in the millisecond after it.
//!
//! Invariants: a reply is given only after its writes are committed by a majority and journaled. Running a
//! batch again gives the same result, because ids are made before the first try and a command that finds its own
//! id has succeeded. A command that panics or can't be written takes no neighbour along.

mod view;
mod write;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use mongodb::{Client, ClientSession, Database, options::ReadConcern};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use view::{Entity, Key, View};
pub use write::{LATE_RECORDS, append_alone};

use super::{
    clock::Clock,
    crash,
    error::{AppError, ErrorKind},
    mongo,
};

/// Commands in one transaction, at most.
pub const BATCH_MAX: usize = 64;
/// Commands that may wait; beyond it the answer is 503.
pub const QUEUE_MAX: usize = 4096;
/// After a batch of so many, those who were just answered are about to ask again.
const CROWD: usize = 8;
/// They are waited for so long: without it, two halves of the callers take turns, and each pays for a transaction.
const CROWD_PAUSE: Duration = Duration::from_millis(1);
/// A command that is not committed this long after it was submitted is answered 503, waiting included.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The reason of a [`LaneError::Failed`] whose decision panicked.
pub const PANICKED: &str = "it panicked";
/// A commit that takes longer ends as one whose result is not known.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(5);
/// Rounds of reading: a command may ask for more after it has seen the first documents.
const READ_ROUNDS_MAX: usize = 4;
/// A unique index may refuse a batch so often before it counts as the command's own fault.
const DUPLICATE_RETRIES_MAX: u32 = 3;

/// A batch that keeps losing to another writer is taken apart after this long: a document may be locked by a process that
/// was killed, until the server ends its transaction. Long enough for the crowd at a document that many want.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// The same while somebody waits for a lock already.
const LOCK_PATIENCE_IN_TROUBLE: Duration = Duration::from_millis(100);
/// Commands that wait for a lock beside the lane; beyond it the answer is 503.
const ASIDE_MAX: usize = 64;

/// One decision over the database.
pub trait Command: Send + 'static {
    /// What the caller learns.
    type Reply: Send + 'static;

    /// What has to be read before deciding, given what was read so far. Asked again until nothing is new.
    fn reads(&self, view: &View) -> Vec<Key>;

    /// Decides. Pure: no IO, no clock but `view.now()`, no fresh ids; may run several times.
    fn decide(&self, view: &mut View) -> Self::Reply;
}

/// Why a command has no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LaneError {
    /// The queue is full.
    #[error("too many commands are waiting")]
    Busy,
    /// The database did not take it in time. Whether it did is not known; asking again is safe.
    #[error("the database did not answer in time")]
    Away,
    /// The command itself can't be carried out; a bug.
    #[error("the command failed: {0}")]
    Failed(String),
}

impl From<LaneError> for AppError {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Busy => {
                Self::unavailable("service.overloaded", "Too much is going on at the moment; try again.")
                    .retry_after(Duration::from_secs(1))
            }
            LaneError::Away => Self::unavailable(
                "database.unavailable",
                "The database can't be reached at the moment; try again with the same ids.",
            ),
            LaneError::Failed(_) => Self::new(
                ErrorKind::Internal,
                "internal",
                "This is our fault. Try again; if it stays, tell us the request id.",
            )
            .caused_by(error),
        }
    }
}

/// A queue of commands with one committer. Cloning gives the same lane.
#[derive(Clone, Debug)]
pub struct Lane {
    sender: mpsc::Sender<Box<dyn Slot>>,
}

impl Lane {
    /// Starts the committer as a task of its own; it ends when the last handle is gone.
    #[must_use]
    pub fn start(name: &'static str, db: Database, clock: Clock) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let aside = Arc::new(Semaphore::new(ASIDE_MAX));
        tokio::spawn(Arc::new(Committer { name, client: db.client().clone(), db, clock, aside }).run(receiver));
        Self { sender }
    }

    /// Has `command` carried out. Dropping the future does not take it back.
    ///
    /// # Errors
    /// [`LaneError`]; after `Away` it is not known whether the command was carried out.
    pub async fn submit<C: Command>(&self, command: C) -> Result<C::Reply, LaneError> {
        let (answer, answered) = oneshot::channel();
        let slot = Typed { command, submitted: Instant::now(), reply: None, answer: Some(answer) };
        self.sender.try_send(Box::new(slot)).map_err(|_| LaneError::Busy)?;
        answered.await.unwrap_or(Err(LaneError::Away))
    }
}

trait Slot: Send {
    fn submitted(&self) -> Instant;
    fn reads(&self, view: &View) -> Vec<Key>;
    fn decide(&mut self, view: &mut View);
    fn succeed(&mut self);
    fn fail(&mut self, error: LaneError);
    /// Whether it has its answer: nothing of it may be written any more.
    fn is_answered(&self) -> bool;
}

struct Typed<C: Command> {
    command: C,
    submitted: Instant,
    reply: Option<C::Reply>,
    answer: Option<oneshot::Sender<Result<C::Reply, LaneError>>>,
}

impl<C: Command> Slot for Typed<C> {
    fn submitted(&self) -> Instant {
        self.submitted
    }

    fn reads(&self, view: &View) -> Vec<Key> {
        self.command.reads(view)
    }

    fn decide(&mut self, view: &mut View) {
        self.reply = None;
        self.reply = Some(self.command.decide(view));
    }

    fn succeed(&mut self) {
        if let (Some(answer), Some(reply)) = (self.answer.take(), self.reply.take()) {
            // The caller may have hung up; what was committed stays committed.
            let _ = answer.send(Ok(reply));
        }
    }

    fn fail(&mut self, error: LaneError) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(Err(error));
        }
    }

    fn is_answered(&self) -> bool {
        self.answer.is_none()
    }
}

fn slot_expired(mut slot: Box<dyn Slot>) {
    slot.fail(LaneError::Away);
}

/// How a try of a batch ended short of success.
#[derive(Debug)]
enum Trouble {
    /// Run it again: conflicts, a new primary.
    Again(mongodb::error::Error),
    /// A unique index refused something that was not there when we read.
    Duplicate(String),
    /// The database can't be reached.
    Away(mongodb::error::Error),
    /// Not a matter of trying again.
    Broken(String),
}

impl From<mongodb::error::Error> for Trouble {
    fn from(error: mongodb::error::Error) -> Self {
        if mongo::is_transient(&error) {
            Self::Again(error)
        } else if mongo::is_duplicate_key(&error) {
            Self::Duplicate(error.to_string())
        } else if mongo::is_away(&error) {
            Self::Away(error)
        } else {
            Self::Broken(error.to_string())
        }
    }
}

/// Why a part of a batch is not committed.
enum Stop {
    /// One of it spoils the rest.
    Spoiled(String),
    /// Somebody else has locked what one of it wants.
    Locked,
    /// Out of time.
    Away,
}

struct Committer {
    name: &'static str,
    client: Client,
    db: Database,
    clock: Clock,
    aside: Arc<Semaphore>,
}

impl Committer {
    async fn run(self: Arc<Self>, mut receiver: mpsc::Receiver<Box<dyn Slot>>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
            metrics::histogram!("waybill_batch_size", "lane" => self.name).record(batch.len() as f64);
            let started = Instant::now();
            // What waited too long behind an outage is turned away, not carried out for nobody.
            for slot in batch.extract_if(.., |slot| slot.submitted() + PATIENCE <= started) {
                slot_expired(slot);
            }
            let crowded = batch.len() >= CROWD;
            self.settle(std::mem::take(&mut batch)).await;
            metrics::histogram!("waybill_batch_commit_seconds", "lane" => self.name).record(started.elapsed());
            batch.clear();
            if crowded {
                tokio::time::sleep(CROWD_PAUSE).await;
            }
        }
    }

    /// Carries the batch out, splitting it where one of it spoils the rest. Every slot has its answer afterwards, or waits
    /// for a lock beside the lane.
    async fn settle(self: &Arc<Self>, batch: Vec<Box<dyn Slot>>) {
        let mut lock_patience =
            if self.aside.available_permits() < ASIDE_MAX { LOCK_PATIENCE_IN_TROUBLE } else { LOCK_PATIENCE };
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let Some(oldest) = part.iter().map(|slot| slot.submitted()).min() else { continue };
            match self.persist(&mut part, oldest + PATIENCE, lock_patience).await {
                Ok(()) => part.iter_mut().for_each(|slot| slot.succeed()),
                Err(Stop::Away) => {
                    // Only those whose own time is up; the younger ones have some left.
                    let now = Instant::now();
                    part.sort_by_key(|slot| slot.submitted());
                    let expired = part.partition_point(|slot| slot.submitted() + PATIENCE <= now).max(1);
                    parts.push(part.split_off(expired));
                    part.iter_mut().for_each(|slot| slot.fail(LaneError::Away));
                }
                Err(Stop::Spoiled(reason)) if part.len() > 1 => {
                    tracing::warn!(
                        lane = self.name,
                        size = part.len(),
                        reason,
                        "splitting a batch that can't be written"
                    );
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Err(Stop::Spoiled(reason)) => {
                    part.iter_mut().for_each(|slot| slot.fail(LaneError::Failed(reason.clone())));
                }
                Err(Stop::Locked) if part.len() > 1 => {
                    tracing::warn!(
                        lane = self.name,
                        size = part.len(),
                        "taking a batch apart: something in it is locked"
                    );
                    lock_patience = Duration::ZERO;
                    parts.extend(part.into_iter().rev().map(|slot| vec![slot]));
                }
                Err(Stop::Locked) => part.into_iter().for_each(|slot| self.set_aside(slot)),
            }
        }
    }

    /// Goes on trying beside the lane, so that nobody else waits for the lock.
    fn set_aside(self: &Arc<Self>, mut slot: Box<dyn Slot>) {
        let Ok(permit) = Arc::clone(&self.aside).try_acquire_owned() else {
            return slot.fail(LaneError::Busy);
        };
        let committer = Arc::clone(self);
        tokio::spawn(async move {
            let deadline = slot.submitted() + PATIENCE;
            let mut alone = [slot];
            let persisted = committer.persist(&mut alone, deadline, PATIENCE).await;
            let [slot] = &mut alone;
            match persisted {
                Ok(()) => slot.succeed(),
                Err(Stop::Spoiled(reason)) => slot.fail(LaneError::Failed(reason)),
                Err(Stop::Locked | Stop::Away) => slot.fail(LaneError::Away),
            }
            drop(permit);
        });
    }

    /// Tries a part of a batch until it is committed, broken, locked for `lock_patience`, or out of time. Whatever panics
    /// in there, the lane lives on: without it the process could not write any more.
    async fn persist(
        &self,
        part: &mut [Box<dyn Slot>],
        deadline: Instant,
        lock_patience: Duration,
    ) -> Result<(), Stop> {
        let tries = AssertUnwindSafe(self.try_until(part, deadline, lock_patience)).catch_unwind().await;
        tries.unwrap_or_else(|_| Err(Stop::Spoiled(PANICKED.into())))
    }

    async fn try_until(
        &self,
        part: &mut [Box<dyn Slot>],
        deadline: Instant,
        lock_patience: Duration,
    ) -> Result<(), Stop> {
        let mut duplicates = 0;
        let mut locked_since = None;
        for tries in 0_u32.. {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Stop::Away);
            }
            let trouble = match tokio::time::timeout(left, self.attempt(part, deadline)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(trouble)) => trouble,
                Err(_) => return Err(Stop::Away),
            };
            metrics::counter!("waybill_batch_retries_total", "lane" => self.name).increment(1);
            match trouble {
                Trouble::Broken(reason) => return Err(Stop::Spoiled(reason)),
                Trouble::Duplicate(reason) => {
                    duplicates += 1;
                    if duplicates > DUPLICATE_RETRIES_MAX {
                        return Err(Stop::Spoiled(reason));
                    }
                }
                Trouble::Again(error) if mongo::is_write_conflict(&error) => {
                    if locked_since.get_or_insert_with(Instant::now).elapsed() >= lock_patience {
                        return Err(Stop::Locked);
                    }
                }
                Trouble::Again(error) | Trouble::Away(error) => {
                    tracing::debug!(lane = self.name, tries, %error, "running a batch again");
                }
            }
            tokio::time::sleep(pause(tries)).await;
        }
        Err(Stop::Away)
    }

    /// One transaction: read, decide, write, commit.
    async fn attempt(&self, batch: &mut [Box<dyn Slot>], deadline: Instant) -> Result<(), Trouble> {
        let mut session = self.client.start_session().await?;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(mongo::durable())
            .max_commit_time(COMMIT_TIME_MAX)
            .await?;
        let written = self.decide_and_write(batch, &mut session).await;
        if let Err(trouble) = written {
            let _ = session.abort_transaction().await;
            return Err(trouble);
        }
        crash::point("before_commit");
        commit(&mut session, deadline).await?;
        crash::point("after_commit");
        Ok(())
    }

    async fn decide_and_write(&self, batch: &mut [Box<dyn Slot>], session: &mut ClientSession) -> Result<(), Trouble> {
        let mut view = View::new(self.clock.now());
        for _ in 0..READ_ROUNDS_MAX {
            let wanted: Vec<Key> =
                batch.iter().flat_map(|slot| slot.reads(&view)).filter(|key| !view.has_read(key)).collect();
            if wanted.is_empty() {
                break;
            }
            write::load(&self.db, session, &mut view, wanted).await?;
        }
        for slot in batch.iter_mut().filter(|slot| !slot.is_answered()) {
            view.begin();
            if catch_unwind(AssertUnwindSafe(|| slot.decide(&mut view))).is_err() {
                view.undo();
                tracing::error!(lane = self.name, "a command panicked while deciding");
                slot.fail(LaneError::Failed(PANICKED.into()));
            }
        }
        write::flush(&self.db, session, view).await
    }
}

/// Commits, again where the result is not known: the server answers a repeated commit with the first one's result.
async fn commit(session: &mut ClientSession, deadline: Instant) -> Result<(), Trouble> {
    for tries in 0_u32.. {
        match session.commit_transaction().await {
            Ok(()) => return Ok(()),
            Err(error) if mongo::is_unknown_commit(&error) && Instant::now() < deadline => {
                tracing::debug!(%error, "the commit's result is not known; committing again");
                tokio::time::sleep(pause(tries)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Grows from about a millisecond to about 200, with jitter so that two processes don't meet again.
fn pause(tries: u32) -> Duration {
    let most_us = 1_000_u64 << tries.min(8);
    Duration::from_micros(most_us / 4 + rand::random_range(0..most_us))
}
