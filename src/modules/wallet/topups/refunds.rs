//! Giving a payment back to its payer, at the gateway. It is asked for under a reference of ours, and again only where a look-up
//! under that reference finds nothing.

use std::sync::Arc;

use bson::{DateTime, doc};

use super::{
    REFUND_KIND,
    commands::{record, write},
    model::{Refund, RefundStatus, Topup},
    payee::Payees,
};
use crate::{
    modules::{
        audit::{Call, ErrorClass, Verdict},
        providers::{
            AttemptDecision, Failure, Outcome, Provider, Retry, StoredFailure,
            call_job::{self, Author, CallJob, CallSubject, NextStep},
            payments::{self, PaymentGateway, REFUND_PAYMENT, RefundToSend},
        },
        queue::{Job, JobEnd, JobError, QueueConfig, RetryRefused},
        wallet::{self, Account, LedgerEntry, LedgerKind, LedgerReference},
    },
    platform::{
        batch::View,
        exchange::{Answer, Outbound},
        ids::sibling_id,
        money::Money,
    },
};

/// The call: a refund, or a look-up of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefundCall {
    reference: String,
    amount: Money,
    looks_up: bool,
}

/// An answer about a refund; none where the gateway has no such refund.
pub(super) type RefundAnswered<'a> = call_job::Answered<'a, RefundCall, Option<payments::GatewayRefund>>;

/// Gives a payment back.
pub(super) struct RefundJob {
    pub(super) gateway: Arc<dyn PaymentGateway>,
    pub(super) queue: QueueConfig,
    pub(super) payees: Payees,
}

/// The refund of a payment that has to be called about.
fn open_refund(topup: &mut Topup) -> Option<&mut Refund> {
    topup.refund.as_mut().filter(|refund| refund.status == RefundStatus::Requested)
}

/// The job is done with the refund as it stands.
fn done(topup: &Topup, event: Option<&'static str>) -> AttemptDecision {
    let refund = topup.refund.as_ref();
    let result = doc! {
        "refund": refund.map(|refund| refund.status.as_str()),
        "refundId": refund.and_then(|refund| refund.refund_id.clone()),
    };
    AttemptDecision { end: JobEnd::Done { result: Some(result) }, event }
}

/// Decides by an answer; changes the payment. `book` books the money that has left and gives the transaction's id.
pub(super) fn follow(
    topup: &mut Topup,
    answered: &RefundAnswered<'_>,
    book: impl FnOnce(&Topup) -> String,
) -> AttemptDecision {
    topup.updated_at = answered.timing.now;
    let Some(refund) = open_refund(topup) else { return done(topup, None) };
    match answered.outcome {
        Outcome::Done(Some(found)) => {
            refund.refund_id = Some(found.refund_id.clone());
            refund.in_doubt = true;
            match found.status {
                payments::GatewayRefundStatus::Refunded => {
                    let transaction_id = book(topup);
                    settle(topup, transaction_id);
                    done(topup, Some("TopupRefunded"))
                }
                payments::GatewayRefundStatus::Pending => {
                    let text = "The gateway has the refund, and the payer not yet the money.";
                    retry(topup, answered, &Failure::new("provider.refund_pending", text), Retry::Deferred)
                }
                payments::GatewayRefundStatus::Failed => {
                    // Asked for again, it is another refund: this one has ended at the gateway.
                    refund.number += 1;
                    refund.in_doubt = false;
                    refund.refund_id = None;
                    let text = "The payer's bank did not take the refund.";
                    give_up(topup, &Failure::new("provider.refund_failed", text), ErrorClass::Fatal)
                }
                payments::GatewayRefundStatus::Unknown => {
                    let text = "The refund has a status that we don't know.";
                    retry(topup, answered, &Failure::new("provider.unknown_status", text), Retry::Counted)
                }
            }
        }
        Outcome::Done(None) => {
            refund.in_doubt = false;
            let text = "The gateway has no such refund; it is asked for again.";
            retry(topup, answered, &Failure::new("provider.no_refund", text), Retry::Counted)
        }
        Outcome::Retryable(failure, how) => retry(topup, answered, failure, *how),
        Outcome::Unknown(failure) => {
            refund.in_doubt = true;
            retry(topup, answered, failure, Retry::Counted)
        }
        Outcome::Refused(failure) | Outcome::Unauthorized(failure) => give_up(topup, failure, ErrorClass::Fatal),
    }
}

fn settle(topup: &mut Topup, transaction_id: String) {
    if let Some(refund) = open_refund(topup) {
        refund.status = RefundStatus::Done;
        refund.failure = None;
        refund.transaction_id = Some(transaction_id);
    }
}

fn retry(topup: &mut Topup, answered: &RefundAnswered<'_>, failure: &Failure, how: Retry) -> AttemptDecision {
    match how.end(answered.job, ErrorClass::Retryable, failure, &answered.timing) {
        Some(end) => end.into(),
        None => give_up(topup, failure, ErrorClass::Retryable),
    }
}

/// A person has to look.
fn give_up(topup: &mut Topup, failure: &Failure, class: ErrorClass) -> AttemptDecision {
    let Some(refund) = open_refund(topup) else { return done(topup, None) };
    refund.status = RefundStatus::NeedsAttention;
    refund.failure = Some(StoredFailure::new(class, failure));
    AttemptDecision::dead(class, failure, "TopupRefundNeedsAttention")
}

/// Books that the money has left; gives the transaction's id.
fn book(view: &mut View, topup: &Topup, by: Author<'_>) -> String {
    let entry = LedgerEntry {
        transaction_id: &sibling_id("txn", by.event_id),
        kind: LedgerKind::GatewayRefund,
        reference: LedgerReference::new("topup", &*topup.id, "refund"),
        client_reference: None,
        reason: None,
        actor: by.actor,
    };
    let accounts = (Account::refunds(), Account::SettlementCash);
    wallet::pass_on(view, &topup.user_id, topup.money(), accounts, &entry).expect("what was paid can be booked").id
}

impl CallJob for RefundJob {
    type Subject = Topup;
    type CallSpec = RefundCall;
    /// None where the gateway has no such refund.
    type Done = Option<payments::GatewayRefund>;

    fn kind(&self) -> &'static str {
        REFUND_KIND
    }

    fn queue(&self) -> &QueueConfig {
        &self.queue
    }

    fn provider(&self) -> &dyn Provider {
        &*self.gateway
    }

    fn subject_field(&self) -> &'static str {
        "topupId"
    }

    fn gone(&self) -> (&'static str, &'static str) {
        ("topups.gone", "The payment is not there.")
    }

    fn concerns(&self, topup: &Topup) -> CallSubject {
        CallSubject { user_id: topup.user_id.clone(), resource_id: Some(topup.id.clone()), ..CallSubject::default() }
    }

    fn step(&self, topup: &mut Topup, _: &Job, _: DateTime) -> NextStep<(Outbound, RefundCall)> {
        let (Some(reference), amount) = (topup.refund_reference(), topup.money()) else {
            return NextStep::End(done(topup, None));
        };
        let Some(looks_up) = open_refund(topup).map(|refund| refund.in_doubt) else {
            return NextStep::End(done(topup, None));
        };
        let Some(payment_id) = topup.payment_id.as_deref() else {
            return NextStep::Fail(JobError::new(
                "payload",
                "topups.no_payment",
                "The payment has no name at the gateway.",
            ));
        };
        let outbound = if looks_up {
            self.gateway.look_up_refund_request(&reference)
        } else {
            self.gateway.refund_request(&RefundToSend { reference: &reference, payment_id, amount })
        };
        NextStep::Call((outbound, RefundCall { reference, amount, looks_up }))
    }

    fn open_call<'a>(&self, topup: &'a mut Topup) -> &'a mut Option<Call> {
        &mut topup.open_calls.refund
    }

    fn link(&self, topup: &mut Topup, call: &Call, response_id: Option<&str>, now: DateTime) {
        topup.link(call, response_id, now);
    }

    /// The gateway promises that it is; money that leaves is looked up first all the same.
    fn is_safe_to_repeat(&self, operation: &str) -> bool {
        operation != REFUND_PAYMENT
    }

    fn unanswered(&self, topup: &mut Topup, _: &Call, _: DateTime) {
        if let Some(refund) = open_refund(topup) {
            refund.in_doubt = true;
        }
    }

    fn is_in_doubt(&self, topup: &Topup) -> bool {
        topup.refund.as_ref().is_some_and(|refund| refund.in_doubt)
    }

    fn read(&self, _: &Job, _: &str, asked: &RefundCall, answer: &Answer) -> Outcome<Option<payments::GatewayRefund>> {
        if asked.looks_up {
            self.gateway.read_refund_look_up(&asked.reference, asked.amount, answer)
        } else {
            self.gateway.read_refund(&asked.reference, asked.amount, answer).map(Some)
        }
    }

    fn describe(&self, asked: &RefundCall, refund: &Option<payments::GatewayRefund>) -> Verdict {
        Verdict::done(match refund {
            None => "absent",
            Some(_) if asked.looks_up => "found",
            Some(_) => "done",
        })
    }

    fn follow(
        &self,
        view: &mut View,
        topup: &mut Topup,
        answered: &RefundAnswered<'_>,
        by: Author<'_>,
    ) -> AttemptDecision {
        follow(topup, answered, |topup| book(view, topup, by))
    }

    fn give_up(&self, _: &mut View, topup: &mut Topup, failure: &Failure, _: Author<'_>) -> AttemptDecision {
        give_up(topup, failure, ErrorClass::Unknown)
    }

    fn write(&self, view: &mut View, topup: Topup, decision: &AttemptDecision, by: Author<'_>) -> Option<&'static str> {
        write(view, topup, decision, &self.payees, by)
    }

    fn revive(&self, view: &mut View, mut topup: Topup, _: &Job, by: Author<'_>) -> Result<(), RetryRefused> {
        let refund = topup.refund.as_mut().filter(|refund| refund.status == RefundStatus::NeedsAttention);
        let Some(refund) = refund else { return Err(RetryRefused { reason: "The refund has ended." }) };
        refund.status = RefundStatus::Requested;
        refund.failure = None;
        record(view, by.event_id, "TopupRetried", &mut topup, by.actor);
        view.update(&topup);
        Ok(())
    }
}
