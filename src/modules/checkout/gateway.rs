//! The effect of a payment at the gateway on its checkout, in the payment's transaction: it is paid once, however often and in whichever
//! order the gateway says so; it comes to nothing, with its stock back; and money that comes too late goes back to the payer.

use super::{
    CHECKOUTS_QUEUE,
    commands::pay,
    events::record,
    model::{Checkout, PaymentStatus},
    reversal::give_back,
    transitions::{CheckoutCommand, next},
};
use crate::{
    modules::{
        providers::call_job::Author,
        queue::QueueConfig,
        wallet::{
            self, Account, LedgerEntry, LedgerKind, LedgerReference, LedgerRefusal,
            topups::{self, Payee, Topup},
        },
    },
    platform::{
        batch::View,
        ids::{nth_id, sibling_id},
    },
};

#[derive(Debug)]
pub struct CheckoutPayments {
    /// [`CHECKOUTS_QUEUE`].
    pub queue: QueueConfig,
    /// Where refunds are asked for.
    pub payments: QueueConfig,
}

fn checkout_of(view: &View, payment: &Topup) -> Option<Checkout> {
    payment.checkout_id.as_deref().and_then(|id| view.by_id(id))
}

impl Payee for CheckoutPayments {
    fn receive(&self, view: &mut View, payment: &mut Topup, by: Author<'_>) -> Result<String, LedgerRefusal> {
        let checkout = checkout_of(view, payment);
        let is_awaited =
            checkout.as_ref().is_some_and(|checkout| next(checkout.status, CheckoutCommand::Pay).is_some());
        let transaction_id = sibling_id("txn", by.event_id);
        let entry = |kind, reference| LedgerEntry {
            transaction_id: &transaction_id,
            kind,
            reference,
            client_reference: None,
            reason: None,
            actor: by.actor,
        };
        let (user_id, money) = (payment.user_id.clone(), payment.money());
        let event_id = nth_id("evt", by.event_id, 1);
        match checkout {
            Some(mut checkout) if is_awaited => {
                let entry = entry(LedgerKind::Purchase, LedgerReference::new("checkout", &*checkout.id, "payment"));
                let accounts = (Account::SettlementCash, Account::merchant(&checkout.seller_id));
                let booked = wallet::pass_on(view, &user_id, money, accounts, &entry)?;
                checkout.payment.transaction_id = Some(booked.id.clone());
                let job_id = sibling_id("job", by.event_id);
                pay(view, &mut checkout, Author { actor: by.actor, event_id: &event_id }, &job_id, &self.queue);
                view.update(&checkout);
                Ok(booked.id)
            }
            // It was cancelled or given up meanwhile.
            late => {
                let entry = entry(LedgerKind::LatePayment, Topup::reference(&payment.id));
                let accounts = (Account::SettlementCash, Account::refunds());
                let booked = wallet::pass_on(view, &user_id, money, accounts, &entry)?;
                topups::begin_refund(view, payment, &self.payments, by);
                if let Some(mut checkout) = late {
                    checkout.payment.status = PaymentStatus::Refunding;
                    checkout.updated_at = view.now();
                    record(view, &mut checkout, &event_id, "CheckoutPaidLate", by.actor);
                    view.update(&checkout);
                }
                Ok(booked.id)
            }
        }
    }

    fn follow(&self, view: &mut View, payment: &Topup, event: &str, by: Author<'_>) {
        match event {
            "TopupStarted" => self.show_page(view, payment),
            "TopupFailed" | "TopupExpired" => self.fail(view, payment, by),
            // Money came that is not what was asked for: whose it is a person decides, and the goods are free for others.
            "TopupNeedsAttention" if payment.disputed => self.fail(view, payment, by),
            "TopupRefunded" => self.refunded(view, payment, by),
            _ => {}
        }
    }

    fn queue(&self) -> Option<&'static str> {
        Some(CHECKOUTS_QUEUE)
    }
}

impl CheckoutPayments {
    fn show_page(&self, view: &mut View, payment: &Topup) {
        if let Some(mut checkout) = checkout_of(view, payment).filter(Checkout::waits_for_payment) {
            checkout.payment.url.clone_from(&payment.payment_url);
            checkout.updated_at = view.now();
            view.update(&checkout);
        }
    }

    fn fail(&self, view: &mut View, payment: &Topup, by: Author<'_>) {
        let Some(mut checkout) = checkout_of(view, payment) else { return };
        let Some(failed) = next(checkout.status, CheckoutCommand::FailPayment) else { return };
        let event_id = nth_id("evt", by.event_id, 1);
        let by = Author { actor: by.actor, event_id: &event_id };
        if let Err(error) = give_back(view, &mut checkout, &self.payments, by) {
            // The stock is full of others: the merchant corrects it, and this has to be settled all the same.
            tracing::error!(checkout.id = checkout.id, %error, "the stock does not come back");
        }
        checkout.status = failed;
        checkout.payment.abandon();
        checkout.updated_at = view.now();
        record(view, &mut checkout, &event_id, "CheckoutPaymentFailed", by.actor);
        view.update(&checkout);
    }

    fn refunded(&self, view: &mut View, payment: &Topup, by: Author<'_>) {
        if let Some(mut checkout) = checkout_of(view, payment) {
            checkout.payment.status = PaymentStatus::Refunded;
            checkout.updated_at = view.now();
            record(view, &mut checkout, &nth_id("evt", by.event_id, 1), "CheckoutRefunded", by.actor);
            view.update(&checkout);
        }
    }
}
