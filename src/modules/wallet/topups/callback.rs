//! Decisions by callbacks of gateways: verified already, taken once, each in one transaction.

use super::{
    commands::record,
    flow::{CreditOutcome, decline, dispute, receive},
    model::{CallbackOutcome, PaymentCallback, TOPUPS, Topup, TopupStatus, kind_word, status_word},
    payee::Payees,
};
use crate::{
    modules::{
        events::Actor,
        providers::{
            Failure,
            call_job::Author,
            payments::{Callback, CallbackKind},
        },
    },
    platform::batch::{Command, Key, View},
};

/// Takes a callback whose signature was verified.
pub(super) struct TakeCallback {
    pub(super) provider: &'static str,
    pub(super) callback: Callback,
    pub(super) actor: Actor,
    pub(super) correlation_id: String,
    pub(super) callback_id: String,
    pub(super) event_id: String,
    pub(super) payees: Payees,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallbackRecorded {
    /// It is written down now.
    New(CallbackOutcome),
    /// This event was written down before.
    Replay,
    /// It is about no top-up of ours.
    UnknownPayment,
}

impl TakeCallback {
    fn seen_key(&self) -> Key {
        PaymentCallback::key(self.provider, &self.callback.event_id)
    }

    fn by(&self) -> Author<'_> {
        Author { actor: &self.actor, event_id: &self.event_id }
    }

    /// Its outcome for the top-up, and the event to record.
    fn apply(&self, view: &mut View, topup: &mut Topup) -> (CallbackOutcome, Option<&'static str>) {
        let payment = &self.callback.payment;
        let differs = payment.amount != topup.money();
        match self.callback.kind {
            CallbackKind::Unknown => (CallbackOutcome::Ignored, None),
            CallbackKind::Failed if topup.status == TopupStatus::Paid => (CallbackOutcome::Ignored, None),
            CallbackKind::Paid | CallbackKind::Failed if topup.disputed => (CallbackOutcome::Disputed, None),
            CallbackKind::Paid if differs && topup.status != TopupStatus::Paid => {
                let text = format!("{} was paid where {} was asked for.", payment.amount, topup.money());
                dispute(topup, &Failure::new("topups.amount_differs", text));
                (CallbackOutcome::AmountDiffers, Some("TopupNeedsAttention"))
            }
            // No money came, so nothing has to be settled.
            CallbackKind::Failed if differs => (CallbackOutcome::AmountDiffers, None),
            CallbackKind::Paid => {
                self.learn(topup);
                let payee = self.payees.of(topup);
                match receive(topup, &payment.payment_id, |topup| payee.receive(view, topup, self.by())) {
                    CreditOutcome::Credited => (CallbackOutcome::Credited, Some("TopupPaid")),
                    CreditOutcome::Twice(_) => (CallbackOutcome::PaidTwice, Some("TopupNeedsAttention")),
                    CreditOutcome::Refused(_) => (CallbackOutcome::NotCredited, Some("TopupNeedsAttention")),
                    CreditOutcome::Before => (CallbackOutcome::Ignored, None),
                    CreditOutcome::Disputed => (CallbackOutcome::Disputed, None),
                }
            }
            CallbackKind::Failed => {
                self.learn(topup);
                if decline(topup) {
                    (CallbackOutcome::Failed, Some("TopupFailed"))
                } else {
                    (CallbackOutcome::Ignored, None)
                }
            }
        }
    }

    fn learn(&self, topup: &mut Topup) {
        topup.payment_id.get_or_insert_with(|| self.callback.payment.payment_id.clone());
    }

    fn record_of(&self, view: &View, topup: &Topup, outcome: CallbackOutcome) -> PaymentCallback {
        let Callback { event_id, kind, payment, .. } = &self.callback;
        PaymentCallback {
            id: self.callback_id.clone(),
            provider: self.provider.into(),
            event_id: event_id.clone(),
            topup_id: topup.id.clone(),
            payment_id: payment.payment_id.clone(),
            kind: kind_word(*kind).into(),
            status: status_word(payment.status).into(),
            amount: payment.amount.amount,
            currency: payment.amount.currency,
            outcome,
            correlation_id: self.correlation_id.clone(),
            received_at: view.now(),
        }
    }
}

impl Command for TakeCallback {
    type Reply = CallbackRecorded;

    fn reads(&self) -> Vec<Key> {
        vec![
            self.seen_key(),
            Key::id(TOPUPS, &*self.callback.reference),
            Topup::reference(&self.callback.reference).key(),
        ]
    }

    fn decide(&self, view: &mut View) -> CallbackRecorded {
        if view.contains(&self.seen_key()) {
            return CallbackRecorded::Replay;
        }
        let topup = view.by_id::<Topup>(&self.callback.reference).filter(|topup| topup.provider == self.provider);
        let Some(mut topup) = topup else { return CallbackRecorded::UnknownPayment };
        let (outcome, event) = self.apply(view, &mut topup);
        if let Some(kind) = event {
            topup.updated_at = view.now();
            record(view, &self.event_id, kind, &mut topup, &self.actor);
            self.payees.of(&topup).follow(view, &topup, kind, self.by());
        }
        view.update(&topup);
        let taken = self.record_of(view, &topup, outcome);
        view.insert(&taken);
        CallbackRecorded::New(outcome)
    }
}
