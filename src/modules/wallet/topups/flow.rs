//! The way of a top-up at its gateway, decided purely: what an attempt does, and what follows from an answer.
//! Every attempt makes at most one call.

use std::time::Duration;

use bson::{DateTime, doc};

use super::{
    model::{Topup, TopupStatus},
    transitions::{TopupCommand, next},
};
use crate::{
    modules::{
        audit::ErrorClass,
        providers::{
            AttemptDecision, Failure, Outcome, Retry, StoredFailure, call_job, job_error,
            payments::{GatewayPayment, GatewayPaymentStatus},
        },
        queue::JobEnd,
        wallet::LedgerRefusal,
    },
    platform::{clock::after, money::Money},
};

/// A payment whose time is over and that the gateway still calls open is looked at again, after as long as it has been over.
const OPEN_LOOK_MIN: Duration = Duration::from_secs(60);
/// The same, at most.
const OPEN_LOOK_MAX: Duration = Duration::from_secs(3_600);
/// Open for longer than this it is a matter for a person.
const OPEN_MAX: Duration = Duration::from_secs(3 * 86_400);
/// A payment that came to nothing is looked at once more after this: banks settle late.
const LAST_LOOK_AFTER: Duration = Duration::from_secs(86_400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentJobKind {
    Start,
    /// Looks it up when its time is over, until the gateway says what came of it, and a day later.
    Check,
}

/// An answer about a payment; none where the gateway has no such payment. What is asked is the amount.
pub type PaymentAnswered<'a> = call_job::Answered<'a, Money, Option<GatewayPayment>>;

/// The job is done with the top-up as it stands.
pub fn done(topup: &Topup, event: Option<&'static str>) -> AttemptDecision {
    let result = doc! { "status": topup.status.as_str(), "paymentId": topup.payment_id.clone() };
    AttemptDecision { end: JobEnd::Done { result: Some(result) }, event }
}

/// Whether an attempt that begins now has to call the gateway.
#[must_use]
pub fn has_to_call(topup: &Topup, kind: PaymentJobKind, now: DateTime) -> bool {
    match (kind, topup.status) {
        // What is too late to be paid is not started; the look-up settles it.
        (PaymentJobKind::Start, TopupStatus::Created) => now < topup.expires_at,
        (PaymentJobKind::Start, _) => false,
        // Left to a person.
        (PaymentJobKind::Check, _) if topup.disputed => false,
        (PaymentJobKind::Check, TopupStatus::Created | TopupStatus::Pending | TopupStatus::NeedsAttention) => true,
        // The payer may have tried again on the same page, and the word of it may have been lost.
        (PaymentJobKind::Check, TopupStatus::Failed) => topup.payment_id.is_some(),
        // Money may come late.
        (PaymentJobKind::Check, TopupStatus::Expired) => true,
        (PaymentJobKind::Check, TopupStatus::Paid) => false,
    }
}

/// The outcome of crediting money that is at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreditOutcome {
    Credited,
    Before,
    /// Another payment was credited before: left to a person.
    Twice(Failure),
    /// The wallet can't take it: left to a person.
    Refused(LedgerRefusal),
    /// It had been left to a person before.
    Disputed,
}

/// The gateway has the money that we asked for, by this payment. `credit` books it and gives the transaction's id.
pub fn receive(
    topup: &mut Topup,
    payment_id: &str,
    credit: impl FnOnce(&mut Topup) -> Result<String, LedgerRefusal>,
) -> CreditOutcome {
    if topup.disputed {
        return CreditOutcome::Disputed;
    }
    let Some(paid) = next(topup.status, TopupCommand::Pay) else {
        if topup.payment_id.as_deref().is_none_or(|credited| credited == payment_id) {
            return CreditOutcome::Before;
        }
        let text = format!("The payment {payment_id} was paid too, after the one that is credited.");
        let twice = Failure::new("topups.paid_twice", text);
        dispute(topup, &twice);
        return CreditOutcome::Twice(twice);
    };
    match credit(topup) {
        Ok(transaction_id) => {
            topup.status = paid;
            topup.payment_id = Some(payment_id.to_owned());
            topup.failure = None;
            topup.transaction_id = Some(transaction_id);
            CreditOutcome::Credited
        }
        Err(refusal) => {
            dispute(topup, &not_credited(&refusal));
            CreditOutcome::Refused(refusal)
        }
    }
}

fn not_credited(refusal: &LedgerRefusal) -> Failure {
    Failure::new("topups.not_credited", format!("The payment was paid, but the wallet can't take it: {refusal}."))
}

/// Money is there that can't be credited as it was asked for: from here on a person decides.
pub fn dispute(topup: &mut Topup, failure: &Failure) {
    if let Some(status) = next(topup.status, TopupCommand::Dispute) {
        topup.status = status;
        topup.disputed = true;
        topup.failure = Some(StoredFailure::new(ErrorClass::Fatal, failure));
    }
}

/// The payer tried in vain; whether that changes anything.
pub fn decline(topup: &mut Topup) -> bool {
    let failure = Failure::new("topups.declined", "The payment was tried in vain.");
    end_without_money(topup, TopupCommand::Fail, Some(&failure))
}

/// Drops a payment that is not wanted any more: nobody is shown its page from here on. It is looked up all the same when its time is over,
/// because it may be paid. Says whether that changes anything.
pub fn drop(topup: &mut Topup, now: DateTime) -> bool {
    let dropped = end_without_money(topup, TopupCommand::Expire, None);
    if dropped {
        topup.updated_at = now;
    }
    dropped
}

/// The gateway says that nobody paid in time, or knows no such payment.
fn expire(topup: &mut Topup, kind: PaymentJobKind, now: DateTime) -> AttemptDecision {
    let expired = end_without_money(topup, TopupCommand::Expire, None);
    closed(topup, kind, now, expired.then_some("TopupExpired"))
}

/// It came to nothing, says the gateway: one more look is left.
fn closed(topup: &mut Topup, kind: PaymentJobKind, now: DateTime, event: Option<&'static str>) -> AttemptDecision {
    if kind == PaymentJobKind::Start || topup.last_look_at.is_some() || !has_to_call(topup, kind, now) {
        return done(topup, event);
    }
    let at = after(now, LAST_LOOK_AFTER);
    topup.last_look_at = Some(at);
    AttemptDecision { end: JobEnd::Retry { at, error: None, counts: false }, event }
}

/// Its time is over, and the gateway has not ended it: money may still come.
fn still_open(topup: &mut Topup, now: DateTime) -> AttemptDecision {
    if !has_to_call(topup, PaymentJobKind::Check, now) {
        return done(topup, None);
    }
    let overdue_ms = now.timestamp_millis().saturating_sub(topup.expires_at.timestamp_millis());
    let overdue = Duration::from_millis(u64::try_from(overdue_ms).unwrap_or(0));
    if overdue >= OPEN_MAX {
        let text = "The gateway calls the payment open, days after its time is over.";
        return give_up(
            topup,
            PaymentJobKind::Check,
            &Failure::new("topups.still_open", text),
            ErrorClass::Unknown,
            now,
        );
    }
    let at = after(now, overdue.clamp(OPEN_LOOK_MIN, OPEN_LOOK_MAX));
    JobEnd::Retry { at, error: None, counts: false }.into()
}

fn end_without_money(topup: &mut Topup, command: TopupCommand, failure: Option<&Failure>) -> bool {
    if topup.disputed {
        return false;
    }
    let Some(status) = next(topup.status, command) else { return false };
    topup.status = status;
    topup.failure = failure.map(|failure| StoredFailure::new(ErrorClass::Fatal, failure));
    true
}

/// Decides by an answer; changes the top-up. `credit` books the money and gives the transaction's id.
pub fn follow(
    topup: &mut Topup,
    kind: PaymentJobKind,
    answered: &PaymentAnswered<'_>,
    credit: impl FnOnce(&mut Topup) -> Result<String, LedgerRefusal>,
) -> AttemptDecision {
    let now = answered.timing.now;
    topup.updated_at = now;
    match answered.outcome {
        Outcome::Done(Some(payment)) => {
            learn(topup, payment);
            match (payment.status, kind) {
                (GatewayPaymentStatus::Paid, _) => follow_received(topup, &payment.payment_id, credit),
                (GatewayPaymentStatus::Failed, _) => {
                    let declined = decline(topup);
                    closed(topup, kind, now, declined.then_some("TopupFailed"))
                }
                (GatewayPaymentStatus::Expired, _) => expire(topup, kind, now),
                (GatewayPaymentStatus::Created, PaymentJobKind::Check) => still_open(topup, now),
                (GatewayPaymentStatus::Unknown, PaymentJobKind::Check) => {
                    let text = "The payment has a status that we don't know.";
                    again(topup, kind, answered, &Failure::new("provider.unknown_status", text))
                }
                (GatewayPaymentStatus::Created | GatewayPaymentStatus::Unknown, PaymentJobKind::Start)
                    if topup.payment_url.is_none() =>
                {
                    let text = "The payment was started, but has no page.";
                    again(topup, kind, answered, &Failure::new("provider.no_page", text))
                }
                (GatewayPaymentStatus::Created | GatewayPaymentStatus::Unknown, PaymentJobKind::Start) => {
                    started(topup)
                }
            }
        }
        Outcome::Done(None) => expire(topup, kind, now),
        Outcome::Retryable(failure, how) => retry(topup, kind, answered, failure, *how),
        Outcome::Unknown(failure) => again(topup, kind, answered, failure),
        Outcome::Refused(failure) => match kind {
            PaymentJobKind::Start => {
                let refused = end_without_money(topup, TopupCommand::Refuse, Some(failure));
                let end = JobEnd::Dead { error: job_error(ErrorClass::Fatal, failure) };
                AttemptDecision { end, event: refused.then_some("TopupFailed") }
            }
            // A failed look-up says nothing, whatever it says.
            PaymentJobKind::Check => again(topup, kind, answered, failure),
        },
        Outcome::Unauthorized(failure) => give_up(topup, kind, failure, ErrorClass::Fatal, now),
    }
}

/// Keeps the gateway's names for the payment.
fn learn(topup: &mut Topup, payment: &GatewayPayment) {
    topup.payment_id.get_or_insert_with(|| payment.payment_id.clone());
    if topup.payment_url.is_none() {
        topup.payment_url.clone_from(&payment.payment_url);
    }
}

/// A top-up that went on while the answer was on its way stays where it is.
fn started(topup: &mut Topup) -> AttemptDecision {
    let from = topup.status;
    if let Some(status) = next(from, TopupCommand::Start) {
        topup.status = status;
        topup.failure = None;
    }
    let event = (topup.status != from).then_some("TopupStarted");
    done(topup, event)
}

fn follow_received(
    topup: &mut Topup,
    payment_id: &str,
    credit: impl FnOnce(&mut Topup) -> Result<String, LedgerRefusal>,
) -> AttemptDecision {
    match receive(topup, payment_id, credit) {
        CreditOutcome::Credited => done(topup, Some("TopupPaid")),
        CreditOutcome::Before | CreditOutcome::Disputed => done(topup, None),
        CreditOutcome::Twice(failure) => AttemptDecision::dead(ErrorClass::Fatal, &failure, "TopupNeedsAttention"),
        CreditOutcome::Refused(refusal) => {
            AttemptDecision::dead(ErrorClass::Fatal, &not_credited(&refusal), "TopupNeedsAttention")
        }
    }
}

fn again(
    topup: &mut Topup,
    kind: PaymentJobKind,
    answered: &PaymentAnswered<'_>,
    failure: &Failure,
) -> AttemptDecision {
    retry(topup, kind, answered, failure, Retry::Counted)
}

fn retry(
    topup: &mut Topup,
    kind: PaymentJobKind,
    answered: &PaymentAnswered<'_>,
    failure: &Failure,
    how: Retry,
) -> AttemptDecision {
    let PaymentAnswered { job, timing, .. } = answered;
    if !is_wanted(topup, kind, timing.now) {
        return done(topup, None);
    }
    match how.end(job, ErrorClass::Retryable, failure, timing) {
        Some(end) => end.into(),
        None => give_up(topup, kind, failure, ErrorClass::Retryable, timing.now),
    }
}

/// Whether the job still has a purpose: the top-up may have gone on while an answer was on its way.
fn is_wanted(topup: &Topup, kind: PaymentJobKind, now: DateTime) -> bool {
    match kind {
        PaymentJobKind::Start => topup.status == TopupStatus::Created,
        PaymentJobKind::Check => has_to_call(topup, kind, now),
    }
}

/// A person has to look.
pub fn give_up(
    topup: &mut Topup,
    kind: PaymentJobKind,
    failure: &Failure,
    class: ErrorClass,
    now: DateTime,
) -> AttemptDecision {
    let status = if is_wanted(topup, kind, now) { next(topup.status, TopupCommand::GiveUp) } else { None };
    let Some(status) = status else { return done(topup, None) };
    topup.updated_at = now;
    topup.status = status;
    topup.failure = Some(StoredFailure::new(class, failure));
    AttemptDecision::dead(class, failure, "TopupNeedsAttention")
}

/// A person has the job tried again; the words to refuse it with, where the top-up has ended.
///
/// # Errors
/// A sentence for the operator.
pub fn try_again(topup: &mut Topup, kind: PaymentJobKind, now: DateTime) -> Result<(), &'static str> {
    if topup.disputed {
        return Err("Money came that could not be credited as asked: finance has to book it by hand.");
    }
    let Some(mut status) = next(topup.status, TopupCommand::Retry) else {
        return Err("The top-up has ended.");
    };
    match kind {
        PaymentJobKind::Start if topup.payment_url.is_some() => return Err("The payment is started already."),
        PaymentJobKind::Start if topup.expires_at <= now => {
            return Err("Its time is over; have the look-up tried again.");
        }
        PaymentJobKind::Start | PaymentJobKind::Check => {}
    }
    if topup.payment_url.is_some() {
        status = next(status, TopupCommand::Start).unwrap_or(status);
    }
    topup.status = status;
    topup.failure = None;
    topup.updated_at = now;
    Ok(())
}
