//! Group commit: concurrent commands share a transaction.
//!
//! A [`Command`] decides, purely, over a [`View`] of the database. A [`Lane`] takes whatever is queued, reads once what
//! the commands expect to need, lets them decide one after the other (so the second of two duplicates sees the first),
//! writes with one statement per collection, commits, and answers each. Idle, a command goes alone at once; under load a
//! batch is what queued up while the last commit was in flight, and those of its callers who come back at once.
//!
//! Invariants: a reply is given only after its writes are committed by a majority and journaled. A command that panics or
//! can't be written takes no neighbour along. Every try of a batch that writes inserts the batch's marker, so at most one
//! of them commits; once a commit was sent whose result is not known, the batch keeps its members until that is known, and
//! its marker tells which try's replies are true.

mod command;
mod journal;
mod slots;
mod turns;
mod view;
mod write;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bson::doc;
use futures_util::FutureExt;
use mongodb::{Client, ClientSession, Database, options::ReadConcern};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    clock::Clock,
    crash,
    error::{AppError, ErrorKind},
    mongo::{self, slow},
    orphans,
    redis::Redis,
    traces,
};
use command::{BatchError, COMMIT_TIME_MAX};
use slots::{Batch, CommandSlot, Slot, SlotQueue};
use turns::DocumentTurns;

pub use command::{BATCH_MAX, Command, LaneError, PATIENCE};
pub use journal::{BATCHES, COLLECTIONS, Journal, LeafHash, OUTBOX, SEAL_QUEUE, Written, indexes};
pub use view::{Entity, Key, View};

/// Commands that may wait; beyond it the answer is 503.
pub const QUEUE_MAX: usize = 4096;
/// Memory for the commands of a lane, waiting or under way; beyond it the answer is 503 too.
pub const LANE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Memory of a command with its caller and its reply, besides its [client data](Command::bytes).
const COMMAND_BYTES: usize = 4 * 1024;
/// After a batch of so many, those who were just answered are about to ask again.
const CROWD: usize = 8;
/// They are waited for until as many are there, for at most this part of the time that their batch took: without it, two halves
/// of the callers take turns, and each pays for a transaction.
const CROWD_PATIENCE: u32 = 2;
/// Nor longer than this.
const CROWD_PAUSE_MAX: Duration = Duration::from_millis(10);
/// The reason of a [`LaneError::Failed`] whose decision panicked.
pub const PANICKED: &str = "it panicked";
/// Rounds of reading: a command may look for more after it has seen the first documents. Running a dead job again takes
/// five: the job, its order, the merchant's application, the hold, the wallet.
const READ_ROUNDS_MAX: usize = 6;
/// The reason of a [`LaneError::Failed`] that went on looking for more.
const INSATIABLE: &str = "it looked for new documents in every round";
/// A unique index may refuse a batch so often before it counts as the command's own fault.
const DUPLICATE_RETRIES_MAX: u32 = 3;

/// A batch that keeps losing to another writer is taken apart after this long: a document may be locked by a process that
/// was killed, until its transaction is ended. Long enough for the crowd at a document that many want.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// The same while somebody waits for a lock already.
const LOCK_PATIENCE_IN_TROUBLE: Duration = Duration::from_millis(100);
/// A batch that lost to another writer tries again within some 5 ms, which is about how long a transaction takes: with longer
/// pauses the others, who come back at once, would keep it out.
const CONFLICT_PAUSE_TRIES: u32 = 2;
/// Commands that wait for a lock beside the lane; beyond it the answer is 503.
const ASIDE_MAX: usize = 64;

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
    name: &'static str,
    sender: mpsc::Sender<Box<dyn Slot>>,
    /// Of [`LANE_BYTES_MAX`].
    room: Arc<Semaphore>,
}

impl Lane {
    /// Starts the committer as a task of its own; it ends when the last handle is gone.
    #[must_use]
    pub fn start(name: &'static str, db: Database, clock: Clock, journal: Journal) -> Self {
        Self::start_with(name, db, clock, journal, DocumentTurns::default())
    }

    /// The same for a lane whose processes want the same documents: at those that they conflict over they take turns, which
    /// Redis gives.
    #[must_use]
    pub fn start_in_turns(name: &'static str, db: Database, clock: Clock, journal: Journal, redis: Redis) -> Self {
        Self::start_with(name, db, clock, journal, DocumentTurns::over(redis))
    }

    fn start_with(name: &'static str, db: Database, clock: Clock, journal: Journal, turns: DocumentTurns) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let aside = Arc::new(Semaphore::new(ASIDE_MAX));
        let committer = Committer { name, client: db.client().clone(), db, clock, journal, aside, turns };
        tokio::spawn(Arc::new(committer).run(receiver));
        Self { name, sender, room: Arc::new(Semaphore::new(LANE_BYTES_MAX)) }
    }

    /// Has `command` carried out. Dropping the future does not take it back.
    ///
    /// # Errors
    /// [`LaneError`]; after `Away` it is not known whether the command was carried out.
    pub async fn submit<C: Command>(&self, command: C) -> Result<C::Reply, LaneError> {
        let (answer, answered) = oneshot::channel();
        let bytes = u32::try_from(COMMAND_BYTES + command.bytes()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| LaneError::Busy)?;
        let slot = CommandSlot::new(command, Instant::now(), answer, traces::current(), room);
        self.sender.try_send(Box::new(slot)).map_err(|_| LaneError::Busy)?;
        let commit = traces::commit(self.name);
        let reply = answered.await.unwrap_or(Err(LaneError::Away));
        if let (Some(commit), Err(error)) = (&commit, &reply) {
            commit.failed(error.code());
        }
        reply
    }
}

/// Why a batch is not committed.
enum NotCommitted {
    Spoiled(String),
    /// Somebody else has locked what one of it wants.
    Locked,
    /// Out of time.
    Away,
}

/// Result of a commit.
enum CommitOutcome {
    Done,
    /// The server says that it is not there and never will be.
    Never(mongodb::error::Error),
    /// It may be there, or may still come.
    Unknown(mongodb::error::Error),
}

struct Committer {
    name: &'static str,
    client: Client,
    db: Database,
    clock: Clock,
    journal: Journal,
    aside: Arc<Semaphore>,
    turns: DocumentTurns,
}

impl Committer {
    async fn run(self: Arc<Self>, mut queue: SlotQueue) {
        let mut waiting = Vec::with_capacity(BATCH_MAX);
        while !waiting.is_empty() || queue.recv_many(&mut waiting, BATCH_MAX).await > 0 {
            let size = waiting.len();
            metrics::histogram!("waybill_batch_size", "lane" => self.name).record(size as f64);
            let started = Instant::now();
            // What waited too long behind an outage is turned away, not carried out for nobody.
            for mut slot in waiting.extract_if(.., |slot| slot.submitted() + PATIENCE <= started) {
                slot.fail(LaneError::Away);
            }
            self.settle(Batch::of(std::mem::take(&mut waiting)), &mut queue).await;
            let took = started.elapsed();
            metrics::histogram!("waybill_batch_commit_seconds", "lane" => self.name).record(took);
            if size >= CROWD {
                let pause = (took / CROWD_PATIENCE).min(CROWD_PAUSE_MAX);
                let _ = tokio::time::timeout(pause, gather(&mut queue, &mut waiting, size)).await;
            }
        }
    }

    /// Carries the batch out, splitting it where one of it spoils the rest. Every slot has its answer afterwards, or waits
    /// for a lock beside the lane.
    async fn settle(self: &Arc<Self>, batch: Batch, queue: &mut SlotQueue) {
        let mut lock_patience =
            if self.aside.available_permits() < ASIDE_MAX { LOCK_PATIENCE_IN_TROUBLE } else { LOCK_PATIENCE };
        let mut parts = vec![batch];
        let mut whole = true;
        while let Some(mut part) = parts.pop() {
            let Some(deadline) = part.deadline() else { continue };
            let whole = std::mem::take(&mut whole);
            match self.persist(&mut part, deadline, lock_patience, whole.then_some(&mut *queue)).await {
                Ok(number) => part.answer(number),
                // What became of it may come to light later, but nobody runs it again.
                Err(_) if part.in_doubt => part.fail(&LaneError::Away),
                Err(NotCommitted::Away) => {
                    // Only those whose own time is up; the younger ones have some left.
                    let now = Instant::now();
                    part.slots.sort_by_key(|slot| slot.submitted());
                    let expired = part.slots.partition_point(|slot| slot.submitted() + PATIENCE <= now).max(1);
                    parts.push(Batch::of(part.slots.split_off(expired)));
                    part.fail(&LaneError::Away);
                }
                Err(NotCommitted::Spoiled(reason)) if part.slots.len() > 1 => {
                    tracing::warn!(
                        lane = self.name,
                        size = part.slots.len(),
                        reason,
                        "splitting a batch that can't be written"
                    );
                    parts.push(Batch::of(part.slots.split_off(part.slots.len() / 2)));
                    parts.push(Batch::of(part.slots));
                }
                Err(NotCommitted::Spoiled(reason)) => part.fail(&LaneError::Failed(reason)),
                Err(NotCommitted::Locked) if part.slots.len() > 1 => {
                    tracing::warn!(
                        lane = self.name,
                        size = part.slots.len(),
                        "taking a batch apart: something in it is locked"
                    );
                    lock_patience = Duration::ZERO;
                    parts.extend(part.slots.into_iter().rev().map(|slot| Batch::of(vec![slot])));
                }
                Err(NotCommitted::Locked) => self.set_aside(part),
            }
        }
    }

    /// Goes on trying beside the lane, so that nobody else waits for the lock.
    fn set_aside(self: &Arc<Self>, mut batch: Batch) {
        let Ok(permit) = Arc::clone(&self.aside).try_acquire_owned() else {
            return batch.fail(&LaneError::Busy);
        };
        let committer = Arc::clone(self);
        tokio::spawn(async move {
            let Some(deadline) = batch.deadline() else { return };
            match committer.persist(&mut batch, deadline, PATIENCE, None).await {
                Ok(number) => batch.answer(number),
                Err(NotCommitted::Spoiled(reason)) if !batch.in_doubt => batch.fail(&LaneError::Failed(reason)),
                Err(_) => batch.fail(&LaneError::Away),
            }
            drop(permit);
        });
    }

    /// Tries a batch until one of its tries is committed, and gives its number; or until it is broken, locked for
    /// `lock_patience`, or out of time. Whatever panics in there, the lane lives on: without it the process could not write
    /// any more.
    async fn persist(
        &self,
        batch: &mut Batch,
        deadline: Instant,
        lock_patience: Duration,
        queue: Option<&mut SlotQueue>,
    ) -> Result<u32, NotCommitted> {
        let tries = AssertUnwindSafe(self.try_until(batch, deadline, lock_patience, queue)).catch_unwind().await;
        tries.unwrap_or_else(|_| Err(NotCommitted::Spoiled(PANICKED.into())))
    }

    async fn try_until(
        &self,
        batch: &mut Batch,
        deadline: Instant,
        lock_patience: Duration,
        mut queue: Option<&mut SlotQueue>,
    ) -> Result<u32, NotCommitted> {
        let mut locked_since = None;
        for tries in 0_u32.. {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NotCommitted::Away);
            }
            let hot = self.turns.contended_documents(&batch.slots);
            let turn = self.turns.take(hot).await;
            // What came while others had their turn goes along: each turn is one transaction's.
            if let Some(queue) =
                queue.as_deref_mut().filter(|_| !batch.in_doubt && (turn.is_some() || locked_since.is_some()))
            {
                batch.fill_up(queue);
            }
            let tried = tokio::time::timeout(left, self.try_once(batch, deadline)).await;
            drop(turn);
            let trouble = match tried {
                Ok(Ok(number)) => return Ok(number),
                Ok(Err(trouble)) => trouble,
                Err(_) => return Err(NotCommitted::Away),
            };
            metrics::counter!("waybill_batch_retries_total", "lane" => self.name).increment(1);
            let locked_for = match &trouble {
                BatchError::Again(error) if mongo::is_write_conflict(error) => {
                    Some(locked_since.get_or_insert_with(Instant::now).elapsed())
                }
                _ => None,
            };
            if locked_for.is_some_and(|locked_for| locked_for >= orphans::SUSPECTED_AFTER) {
                orphans::look_for(&self.db);
            }
            match trouble {
                trouble if batch.in_doubt => {
                    tracing::debug!(lane = self.name, tries, ?trouble, "what became of a commit is not known yet");
                }
                BatchError::Broken(reason) => return Err(NotCommitted::Spoiled(reason)),
                BatchError::Duplicate(reason) => {
                    batch.collisions += 1;
                    if batch.collisions > DUPLICATE_RETRIES_MAX {
                        return Err(NotCommitted::Spoiled(reason));
                    }
                }
                BatchError::Again(_) if locked_for.is_some_and(|locked_for| locked_for >= lock_patience) => {
                    return Err(NotCommitted::Locked);
                }
                BatchError::Again(error) | BatchError::Away(error) => {
                    tracing::debug!(lane = self.name, tries, %error, "running a batch again");
                }
            }
            if locked_for.is_some() {
                self.turns.lost(&batch.changes);
            }
            let crowded = locked_for.is_some_and(|locked_for| locked_for < orphans::SUSPECTED_AFTER);
            tokio::time::sleep(pause(if crowded { tries.min(CONFLICT_PAUSE_TRIES) } else { tries })).await;
        }
        Err(NotCommitted::Away)
    }

    /// Looks whether an earlier try was committed after all, else makes one; gives the number of the one that was.
    async fn try_once(&self, batch: &mut Batch, deadline: Instant) -> Result<u32, BatchError> {
        if batch.in_doubt
            && let Some(number) = journal::committed_try(&self.db, &batch.id).await?
        {
            return Ok(number);
        }
        self.attempt(batch, deadline).await
    }

    /// One transaction: read, decide, write, commit.
    async fn attempt(&self, batch: &mut Batch, deadline: Instant) -> Result<u32, BatchError> {
        batch.tries += 1;
        let number = batch.tries;
        let mut session = self.client.start_session().await?;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(mongo::durable())
            .max_commit_time(COMMIT_TIME_MAX)
            .await?;
        let (wrote, has_events) = match self.decide_and_write(batch, &mut session).await {
            Ok(written) => written,
            Err(trouble) => {
                let _ = session.abort_transaction().await;
                batch.slots.iter_mut().for_each(|slot| slot.forget(number));
                return Err(trouble);
            }
        };
        crash::point("before_commit");
        // Whoever stops waiting from here on does not know. What was only read may be read again.
        let in_doubt_before = batch.in_doubt;
        batch.in_doubt |= wrote;
        match commit(&mut session, deadline).await {
            CommitOutcome::Done => {
                crash::point("after_commit");
                if has_events {
                    self.journal.announce();
                }
                Ok(number)
            }
            CommitOutcome::Never(error) => {
                batch.in_doubt = in_doubt_before;
                batch.slots.iter_mut().for_each(|slot| slot.forget(number));
                Err(BatchError::Again(error))
            }
            CommitOutcome::Unknown(error) => Err(BatchError::Again(error)),
        }
    }

    /// Whether anything was written, and whether events were.
    async fn decide_and_write(
        &self,
        batch: &mut Batch,
        session: &mut ClientSession,
    ) -> Result<(bool, bool), BatchError> {
        let now = self.clock.now();
        let mut view = if batch.collisions == 0 { View::new(now) } else { View::after_collision(now) };
        let mut wanted: Vec<Key> = batch.slots.iter().flat_map(|slot| slot.reads()).collect();
        for round in 1..=READ_ROUNDS_MAX {
            write::load(&self.db, session, &mut view, wanted).await?;
            wanted = self.decide(batch, &mut view);
            if wanted.is_empty() || round == READ_ROUNDS_MAX {
                break;
            }
            view.undo_to(0);
        }
        let marker = doc! { "_id": &batch.id, "try": i64::from(batch.tries), "at": view.now() };
        // Where an earlier try may be there, this one has to collide with it, also if it has nothing to write.
        let marker = (batch.in_doubt || view.has_changes()).then_some(marker);
        let wrote = marker.is_some();
        batch.changes = view.changes().collect();
        let has_events = view.appended.iter().any(|appended| self.journal.are_events(appended.collection));
        write::flush(&self.db, session, view, &self.journal, marker).await?;
        Ok((wrote, has_events))
    }

    /// Lets each command decide over what those before it left, and gives what they looked for and was not read. What such
    /// commands did is undone.
    fn decide(&self, batch: &mut Batch, view: &mut View) -> Vec<Key> {
        let mut wanted = Vec::new();
        for slot in &mut batch.slots {
            let mark = view.mark();
            view.in_trace(slot.trace());
            let decided = catch_unwind(AssertUnwindSafe(|| slot.decide(batch.tries, view)));
            let unread = view.take_unread();
            if !unread.is_empty() {
                view.undo_to(mark);
                slot.refuse(batch.tries, INSATIABLE);
                wanted.extend(unread);
            } else if decided.is_err() {
                view.undo_to(mark);
                slot.refuse(batch.tries, PANICKED);
                tracing::error!(lane = self.name, "a command panicked while deciding");
            }
        }
        wanted
    }
}

/// Takes what comes, until there are `size`.
async fn gather(queue: &mut SlotQueue, waiting: &mut Vec<Box<dyn Slot>>, size: usize) {
    while waiting.len() < size && queue.recv_many(waiting, BATCH_MAX - waiting.len()).await > 0 {}
}

/// Commits, again where the result is not known: the server answers a repeated commit with the first one's result.
async fn commit(session: &mut ClientSession, deadline: Instant) -> CommitOutcome {
    let mut tries = 0;
    loop {
        let timed = slow::CommandTimer::begin();
        let committed = session.commit_transaction().await;
        timed.end("commitTransaction", "", String::new);
        match committed {
            Ok(()) => return CommitOutcome::Done,
            Err(error) if mongo::is_unknown_commit(&error) && Instant::now() < deadline => {
                tracing::debug!(%error, "the commit's result is not known; committing again");
                tokio::time::sleep(pause(tries)).await;
                tries += 1;
            }
            Err(error) if mongo::is_labelled_transient(&error) => return CommitOutcome::Never(error),
            Err(error) => return CommitOutcome::Unknown(error),
        }
    }
}

/// Grows from about a millisecond to about 200, with jitter so that two processes don't meet again.
fn pause(tries: u32) -> Duration {
    let most_us = 1_000_u64 << tries.min(8);
    Duration::from_micros(most_us / 4 + rand::random_range(0..most_us))
}
