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
            Decision, Failure, Outcome, Provider, Retry, StoredFailure,
            call_job::{self, By, CallJob, Concerned, Step},
            payments::{self, PaymentGateway, REFUND_PAYMENT, RefundToSend},
        },
        queue::{Job, JobEnd, JobError, QueueConfig, RetryRefused},
        wallet::{self, Account, Entry, LedgerKind, Reference},
    },
    platform::{
        batch::View,
        exchange::{Answer, Outbound},
        ids::sibling_id,
        money::Money,
    },
};

/// What is asked: a refund, or what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    reference: String,
    amount: Money,
    looks_up: bool,
}

/// An answer about a refund; none where the gateway has no such refund.
pub(super) type Answered<'a> = call_job::Answered<'a, Asked, Option<payments::Refund>>;

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
fn done(topup: &Topup, event: Option<&'static str>) -> Decision {
    let refund = topup.refund.as_ref();
    let result = doc! {
        "refund": refund.map(|refund| refund.status.as_str()),
        "refundId": refund.and_then(|refund| refund.refund_id.clone()),
    };
    Decision { end: JobEnd::Done { result: Some(result) }, event }
}

/// What follows from an answer; changes the payment. `book` books the money that has left and gives the transaction's id.
pub(super) fn follow(topup: &mut Topup, answered: &Answered<'_>, book: impl FnOnce(&Topup) -> String) -> Decision {
    topup.updated_at = answered.timing.now;
    let Some(refund) = open_refund(topup) else { return done(topup, None) };
    match answered.outcome {
        Outcome::Done(Some(found)) => {
            refund.refund_id = Some(found.refund_id.clone());
            refund.in_doubt = true;
            match found.status {
                payments::RefundStatus::Refunded => {
                    let transaction_id = book(topup);
                    settle(topup, transaction_id);
                    done(topup, Some("TopupRefunded"))
                }
                payments::RefundStatus::Pending => {
                    let text = "The gateway has the refund, and the payer not yet the money.";
                    retry(topup, answered, &Failure::new("provider.refund_pending", text), Retry::Deferred)
                }
                payments::RefundStatus::Failed => {
                    // Asked for again, it is another refund: this one has ended at the gateway.
                    refund.number += 1;
                    refund.in_doubt = false;
                    refund.refund_id = None;
                    let text = "The payer's bank did not take the refund.";
                    give_up(topup, &Failure::new("provider.refund_failed", text), ErrorClass::Fatal)
                }
                payments::RefundStatus::Unknown => {
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

fn retry(topup: &mut Topup, answered: &Answered<'_>, failure: &Failure, how: Retry) -> Decision {
    match how.end(answered.job, ErrorClass::Retryable, failure, &answered.timing) {
        Some(end) => end.into(),
        None => give_up(topup, failure, ErrorClass::Retryable),
    }
}

/// A person has to look.
fn give_up(topup: &mut Topup, failure: &Failure, class: ErrorClass) -> Decision {
    let Some(refund) = open_refund(topup) else { return done(topup, None) };
    refund.status = RefundStatus::NeedsAttention;
    refund.failure = Some(StoredFailure::new(class, failure));
    Decision::dead(class, failure, "TopupRefundNeedsAttention")
}

/// Books that the money has left; gives the transaction's id.
fn book(view: &mut View, topup: &Topup, by: By<'_>) -> String {
    let entry = Entry {
        transaction_id: &sibling_id("txn", by.event_id),
        kind: LedgerKind::GatewayRefund,
        reference: Reference::new("topup", &*topup.id, "refund"),
        client_reference: None,
        reason: None,
        actor: by.actor,
    };
    let accounts = (Account::refunds(), Account::SettlementCash);
    wallet::pass_on(view, &topup.user_id, topup.money(), accounts, &entry).expect("what was paid can be booked").id
}

impl CallJob for RefundJob {
    type Subject = Topup;
    type Asked = Asked;
    /// None where the gateway has no such refund.
    type Done = Option<payments::Refund>;

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

    fn concerns(&self, topup: &Topup) -> Concerned {
        Concerned { user_id: topup.user_id.clone(), resource_id: Some(topup.id.clone()), ..Concerned::default() }
    }

    fn step(&self, topup: &mut Topup, _: &Job, _: DateTime) -> Step<(Outbound, Asked)> {
        let (Some(reference), amount) = (topup.refund_reference(), topup.money()) else {
            return Step::End(done(topup, None));
        };
        let Some(looks_up) = open_refund(topup).map(|refund| refund.in_doubt) else {
            return Step::End(done(topup, None));
        };
        let Some(payment_id) = topup.payment_id.as_deref() else {
            return Step::Fail(JobError::new(
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
        Step::Call((outbound, Asked { reference, amount, looks_up }))
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

    fn read(&self, _: &Job, _: &str, asked: &Asked, answer: &Answer) -> Outcome<Option<payments::Refund>> {
        if asked.looks_up {
            self.gateway.read_refund_look_up(&asked.reference, asked.amount, answer)
        } else {
            self.gateway.read_refund(&asked.reference, asked.amount, answer).map(Some)
        }
    }

    fn describe(&self, asked: &Asked, refund: &Option<payments::Refund>) -> Verdict {
        Verdict::done(match refund {
            None => "absent",
            Some(_) if asked.looks_up => "found",
            Some(_) => "done",
        })
    }

    fn follow(&self, view: &mut View, topup: &mut Topup, answered: &Answered<'_>, by: By<'_>) -> Decision {
        follow(topup, answered, |topup| book(view, topup, by))
    }

    fn give_up(&self, _: &mut View, topup: &mut Topup, failure: &Failure, _: By<'_>) -> Decision {
        give_up(topup, failure, ErrorClass::Unknown)
    }

    fn write(&self, view: &mut View, topup: Topup, decision: &Decision, by: By<'_>) -> Option<&'static str> {
        write(view, topup, decision, &self.payees, by)
    }

    fn revive(&self, view: &mut View, mut topup: Topup, _: &Job, by: By<'_>) -> Result<(), RetryRefused> {
        let refund = topup.refund.as_mut().filter(|refund| refund.status == RefundStatus::NeedsAttention);
        let Some(refund) = refund else { return Err(RetryRefused { reason: "The refund has ended." }) };
        refund.status = RefundStatus::Requested;
        refund.failure = None;
        record(view, by.event_id, "TopupRetried", &mut topup, by.actor);
        view.update(&topup);
        Ok(())
    }
}
