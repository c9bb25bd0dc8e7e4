//! Commands that wait for a lane or are tried together, each with its caller.

use std::{sync::Arc, time::Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{BATCH_MAX, Command, Key, LaneError, PATIENCE, View};
use crate::platform::ids::new_id;

/// Commands that wait for a lane.
pub(super) type SlotQueue = mpsc::Receiver<Box<dyn Slot>>;

/// Where a caller waits.
type ReplySender<R> = oneshot::Sender<Result<R, LaneError>>;

/// A command with its caller. Each try leaves a reply; one of them is given in the end.
pub(super) trait Slot: Send {
    fn submitted(&self) -> Instant;
    /// The context of its caller's trace.
    fn trace(&self) -> Option<Arc<str>>;
    fn reads(&self) -> Vec<Key>;
    fn decide(&mut self, number: u32, view: &mut View);
    /// Drops the decision of this try: it can't be carried out.
    fn refuse(&mut self, number: u32, reason: &str);
    /// This try was not committed.
    fn forget(&mut self, number: u32);
    /// Gives the reply of the try that was committed.
    fn answer(&mut self, number: u32);
    fn fail(&mut self, error: LaneError);
}

pub(super) struct CommandSlot<C: Command> {
    command: C,
    submitted: Instant,
    /// By the number of the try.
    replies: Vec<(u32, Result<C::Reply, LaneError>)>,
    answer: Option<ReplySender<C::Reply>>,
    trace: Option<Arc<str>>,
    /// Given back when the command is gone.
    _room: OwnedSemaphorePermit,
}

impl<C: Command> CommandSlot<C> {
    pub(super) const fn new(
        command: C,
        submitted: Instant,
        answer: ReplySender<C::Reply>,
        trace: Option<Arc<str>>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self { command, submitted, replies: Vec::new(), answer: Some(answer), trace, _room: room }
    }

    fn give(&mut self, reply: Result<C::Reply, LaneError>) {
        if let Some(answer) = self.answer.take() {
            // The caller may have hung up; what was committed stays committed.
            let _ = answer.send(reply);
        }
    }
}

impl<C: Command> Slot for CommandSlot<C> {
    fn submitted(&self) -> Instant {
        self.submitted
    }

    fn trace(&self) -> Option<Arc<str>> {
        self.trace.clone()
    }

    fn reads(&self) -> Vec<Key> {
        self.command.reads()
    }

    fn decide(&mut self, number: u32, view: &mut View) {
        self.forget(number);
        let reply = self.command.decide(view);
        self.replies.push((number, Ok(reply)));
    }

    fn refuse(&mut self, number: u32, reason: &str) {
        self.forget(number);
        self.replies.push((number, Err(LaneError::Failed(reason.to_owned()))));
    }

    fn forget(&mut self, number: u32) {
        self.replies.retain(|(of, _)| *of != number);
    }

    fn answer(&mut self, number: u32) {
        let position = self.replies.iter().position(|(of, _)| *of == number);
        let reply = position.map_or(Err(LaneError::Away), |position| self.replies.swap_remove(position).1);
        self.give(reply);
    }

    fn fail(&mut self, error: LaneError) {
        self.give(Err(error));
    }
}

/// Commands that are tried together. From the first commit whose result is not known they stay together, under one id,
/// until it is known which of their tries was committed: another batch might do again what was done.
pub(super) struct Batch {
    /// The `_id` of the marker that every try inserts.
    pub(super) id: String,
    pub(super) slots: Vec<Box<dyn Slot>>,
    pub(super) tries: u32,
    /// Whether a commit was sent whose result is not known.
    pub(super) in_doubt: bool,
    /// Tries that a unique index has refused.
    pub(super) collisions: u32,
    /// Documents that the last try was going to change, as `collection/_id`.
    pub(super) changes: Vec<String>,
}

impl Batch {
    pub(super) fn of(slots: Vec<Box<dyn Slot>>) -> Self {
        Self { id: new_id("bat"), slots, tries: 0, in_doubt: false, collisions: 0, changes: Vec::new() }
    }

    /// Takes in what waits, as far as there is room.
    pub(super) fn fill_up(&mut self, queue: &mut SlotQueue) {
        while self.slots.len() < BATCH_MAX
            && let Ok(slot) = queue.try_recv()
        {
            self.slots.push(slot);
        }
    }

    /// When the first of them is out of time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.slots.iter().map(|slot| slot.submitted() + PATIENCE).min()
    }

    pub(super) fn answer(&mut self, number: u32) {
        self.slots.iter_mut().for_each(|slot| slot.answer(number));
    }

    pub(super) fn fail(&mut self, error: &LaneError) {
        self.slots.iter_mut().for_each(|slot| slot.fail(error.clone()));
    }
}
