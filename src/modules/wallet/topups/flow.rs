//! The way of a top-up at its gateway, decided purely: what an attempt does, and what follows from an answer.
//! Every attempt makes at most one call.

use bson::{DateTime, doc};

use super::{
    model::{Topup, TopupFailure, TopupStatus},
    transitions::{TopupCommand, next},
};
use crate::modules::{
    audit::ErrorClass,
    providers::{
        Failure, NextTry, Repeat, job_error,
        paygate::{Payment, PaymentLookUp, PaymentStatus, StartOutcome},
    },
    queue::{Backoff, Job, JobEnd},
    wallet::Refusal,
};

/// The two kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Starts the payment.
    Start,
    /// Looks it up when its time is over.
    Check,
}

/// What the gateway's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of a start.
    Start(StartOutcome),
    /// Of a look-up.
    LookUp(PaymentLookUp),
}

/// What a decision needs besides the top-up.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Now.
    pub now: DateTime,
    /// Jitter of the backoff, in `0.0..1.0`.
    pub jitter: f64,
    /// Backoff of the queue.
    pub backoff: Backoff,
}

/// What a decision led to, besides the changed top-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// What becomes of the job.
    pub end: JobEnd,
    /// The event to record, where the top-up's status changed.
    pub event: Option<&'static str>,
}

impl Followed {
    /// The job is done with the top-up as it stands.
    pub fn done(topup: &Topup, event: Option<&'static str>) -> Self {
        let result = doc! { "status": topup.status.as_str(), "paymentId": topup.payment_id.clone() };
        Self { end: JobEnd::Done { result: Some(result) }, event }
    }

    fn dead(class: ErrorClass, failure: &Failure, event: Option<&'static str>) -> Self {
        Self { end: JobEnd::Dead { error: job_error(class, failure) }, event }
    }
}

/// Whether an attempt that begins now has to call the gateway.
#[must_use]
pub fn has_to_call(topup: &Topup, errand: Errand, now: DateTime) -> bool {
    match (errand, topup.status) {
        // What is too late to be paid is not started; the look-up settles it.
        (Errand::Start, TopupStatus::Created) => now < topup.expires_at,
        (Errand::Start, _) => false,
        // Left to a person.
        (Errand::Check, _) if topup.disputed => false,
        (Errand::Check, TopupStatus::Created | TopupStatus::Pending | TopupStatus::NeedsAttention) => true,
        // The payer may have tried again on the same page, and the word of it may have been lost.
        (Errand::Check, TopupStatus::Failed) => topup.payment_id.is_some(),
        (Errand::Check, TopupStatus::Paid | TopupStatus::Expired) => false,
    }
}

/// What became of money that is at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is credited now.
    Credited,
    /// It was credited before.
    Before,
    /// The wallet can't take it: left to a person.
    Refused(Refusal),
    /// It had been left to a person before.
    Disputed,
}

/// The gateway has the money that we asked for. `credit` books it and gives the transaction's id.
pub fn receive(topup: &mut Topup, credit: impl FnOnce(&Topup) -> Result<String, Refusal>) -> Received {
    if topup.disputed {
        return Received::Disputed;
    }
    let Some(paid) = next(topup.status, TopupCommand::Pay) else { return Received::Before };
    match credit(topup) {
        Ok(transaction_id) => {
            topup.status = paid;
            topup.failure = None;
            topup.transaction_id = Some(transaction_id);
            Received::Credited
        }
        Err(refusal) => {
            dispute(topup, &not_credited(&refusal));
            Received::Refused(refusal)
        }
    }
}

fn not_credited(refusal: &Refusal) -> Failure {
    Failure::new("topups.not_credited", format!("The payment was paid, but the wallet can't take it: {refusal}."))
}

/// Money is there that can't be credited as it was asked for: from here on a person decides.
pub fn dispute(topup: &mut Topup, failure: &Failure) {
    if let Some(status) = next(topup.status, TopupCommand::Dispute) {
        topup.status = status;
        topup.disputed = true;
        topup.failure = Some(TopupFailure::new(ErrorClass::Fatal, failure));
    }
}

/// The payer tried in vain; whether that changes anything.
pub fn decline(topup: &mut Topup) -> bool {
    let failure = Failure::new("topups.declined", "The payment was tried in vain.");
    end_without_money(topup, TopupCommand::Fail, Some(&failure))
}

fn expire(topup: &mut Topup) -> Followed {
    let expired = end_without_money(topup, TopupCommand::Expire, None);
    Followed::done(topup, expired.then_some("TopupExpired"))
}

fn end_without_money(topup: &mut Topup, command: TopupCommand, failure: Option<&Failure>) -> bool {
    if topup.disputed {
        return false;
    }
    let Some(status) = next(topup.status, command) else { return false };
    topup.status = status;
    topup.failure = failure.map(|failure| TopupFailure::new(ErrorClass::Fatal, failure));
    true
}

/// What follows from an answer. Changes the top-up; `job` is the job as the attempt found it.
pub fn follow(
    topup: &mut Topup,
    job: &Job,
    outcome: &Outcome,
    at: &Circumstances,
    credit: impl FnOnce(&Topup) -> Result<String, Refusal>,
) -> Followed {
    topup.updated_at = at.now;
    match outcome {
        Outcome::Start(outcome) => follow_start(topup, job, outcome, at, credit),
        Outcome::LookUp(outcome) => follow_look_up(topup, job, outcome, at, credit),
    }
}

fn follow_start(
    topup: &mut Topup,
    job: &Job,
    outcome: &StartOutcome,
    at: &Circumstances,
    credit: impl FnOnce(&Topup) -> Result<String, Refusal>,
) -> Followed {
    match outcome {
        StartOutcome::Started(payment) => {
            learn(topup, payment);
            match payment.status {
                PaymentStatus::Paid => follow_received(topup, credit),
                PaymentStatus::Failed => follow_declined(topup),
                PaymentStatus::Expired => expire(topup),
                PaymentStatus::Created | PaymentStatus::Unknown if topup.payment_url.is_none() => {
                    let failure = Failure::new("provider.no_page", "The payment was started, but has no page.");
                    retry(topup, Errand::Start, job, &failure, Repeat::Counted, at)
                }
                PaymentStatus::Created | PaymentStatus::Unknown => started(topup),
            }
        }
        StartOutcome::Retryable(failure, repeat) => retry(topup, Errand::Start, job, failure, *repeat, at),
        StartOutcome::Refused(failure) => {
            let refused = end_without_money(topup, TopupCommand::Refuse, Some(failure));
            Followed::dead(ErrorClass::Fatal, failure, refused.then_some("TopupFailed"))
        }
        StartOutcome::Unauthorized(failure) => give_up(topup, Errand::Start, failure, ErrorClass::Fatal),
    }
}

fn follow_look_up(
    topup: &mut Topup,
    job: &Job,
    outcome: &PaymentLookUp,
    at: &Circumstances,
    credit: impl FnOnce(&Topup) -> Result<String, Refusal>,
) -> Followed {
    match outcome {
        PaymentLookUp::Found(payment) => {
            learn(topup, payment);
            match payment.status {
                PaymentStatus::Paid => follow_received(topup, credit),
                PaymentStatus::Failed => follow_declined(topup),
                PaymentStatus::Created | PaymentStatus::Expired => expire(topup),
                PaymentStatus::Unknown => {
                    let failure =
                        Failure::new("provider.unknown_status", "The payment has a status that we don't know.");
                    retry(topup, Errand::Check, job, &failure, Repeat::Counted, at)
                }
            }
        }
        PaymentLookUp::Absent => expire(topup),
        PaymentLookUp::Failed(failure, repeat) => retry(topup, Errand::Check, job, failure, *repeat, at),
        PaymentLookUp::Unauthorized(failure) => give_up(topup, Errand::Check, failure, ErrorClass::Fatal),
    }
}

/// Keeps the gateway's names for the payment.
fn learn(topup: &mut Topup, payment: &Payment) {
    topup.payment_id.get_or_insert_with(|| payment.payment_id.clone());
    if topup.payment_url.is_none() {
        topup.payment_url.clone_from(&payment.payment_url);
    }
}

/// A top-up that went on while the answer was on its way stays where it is.
fn started(topup: &mut Topup) -> Followed {
    let from = topup.status;
    if let Some(status) = next(from, TopupCommand::Start) {
        topup.status = status;
        topup.failure = None;
    }
    let event = (topup.status != from).then_some("TopupStarted");
    Followed::done(topup, event)
}

fn follow_received(topup: &mut Topup, credit: impl FnOnce(&Topup) -> Result<String, Refusal>) -> Followed {
    match receive(topup, credit) {
        Received::Credited => Followed::done(topup, Some("TopupPaid")),
        Received::Before | Received::Disputed => Followed::done(topup, None),
        Received::Refused(refusal) => {
            Followed::dead(ErrorClass::Fatal, &not_credited(&refusal), Some("TopupNeedsAttention"))
        }
    }
}

fn follow_declined(topup: &mut Topup) -> Followed {
    let declined = decline(topup);
    Followed::done(topup, declined.then_some("TopupFailed"))
}

fn retry(
    topup: &mut Topup,
    errand: Errand,
    job: &Job,
    failure: &Failure,
    repeat: Repeat,
    at: &Circumstances,
) -> Followed {
    if !is_wanted(topup, errand) {
        return Followed::done(topup, None);
    }
    match repeat.next_try(job, at.backoff, at.jitter, at.now) {
        Some(NextTry { at, counts }) => {
            let error = Some(job_error(ErrorClass::Retryable, failure));
            Followed { end: JobEnd::Retry { at, error, counts }, event: None }
        }
        None => give_up(topup, errand, failure, ErrorClass::Retryable),
    }
}

/// Whether the errand still has a purpose: the top-up may have gone on while an answer was on its way.
fn is_wanted(topup: &Topup, errand: Errand) -> bool {
    match errand {
        Errand::Start => topup.status == TopupStatus::Created,
        Errand::Check => has_to_call(topup, errand, topup.updated_at),
    }
}

/// A person has to look.
pub fn give_up(topup: &mut Topup, errand: Errand, failure: &Failure, class: ErrorClass) -> Followed {
    let status = if is_wanted(topup, errand) { next(topup.status, TopupCommand::GiveUp) } else { None };
    let Some(status) = status else { return Followed::done(topup, None) };
    topup.status = status;
    topup.failure = Some(TopupFailure::new(class, failure));
    Followed::dead(class, failure, Some("TopupNeedsAttention"))
}

/// A person has the job tried again; the words to refuse it with, where the top-up has ended.
///
/// # Errors
/// A sentence for the operator.
pub fn try_again(topup: &mut Topup, errand: Errand, now: DateTime) -> Result<(), &'static str> {
    if topup.disputed {
        return Err("Money came that could not be credited as asked: finance has to book it by hand.");
    }
    let Some(mut status) = next(topup.status, TopupCommand::Retry) else {
        return Err("The top-up has ended.");
    };
    match errand {
        Errand::Start if topup.payment_url.is_some() => return Err("The payment is started already."),
        Errand::Start if topup.expires_at <= now => return Err("Its time is over; have the look-up tried again."),
        Errand::Start | Errand::Check => {}
    }
    if topup.payment_url.is_some() {
        status = next(status, TopupCommand::Start).unwrap_or(status);
    }
    topup.status = status;
    topup.failure = None;
    topup.updated_at = now;
    Ok(())
}
