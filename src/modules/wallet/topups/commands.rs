//! The API's command: asking for a top-up, in one transaction. And the writes that all decisions share.

use std::time::Duration;

use bson::{DateTime, doc};

use super::{
    CHECK_KIND, REFUND_KIND, START_KIND,
    error::TopupError,
    flow,
    model::{OPEN_TOPUPS, OpenCalls, OpenTopups, Refund, RefundStatus, Topup, TopupStatus},
    payee::Payees,
};
use crate::{
    modules::{
        events::{self, Actor, Event},
        kyc::{KycGate, Verified},
        providers::{AttemptDecision, call_job::Author},
        queue::{Job, QueueConfig},
        wallet::{Wallet, wallet_key},
    },
    platform::{
        batch::{Command, Key, View},
        clock::after,
        ids::{nth_id, sibling_id},
        money::Money,
    },
};

/// Top-ups of a customer who is not verified that may wait to be paid at the same time.
const OPEN_TOPUPS_MAX: usize = 100;

/// Asks for a top-up, or finds that it was asked for.
pub(super) struct RequestTopup {
    pub(super) gate: KycGate,
    /// The most that the wallet of a customer who is not verified may reach; none for merchants.
    pub(super) unverified_max: Option<Vec<Money>>,
    pub(super) user_id: String,
    pub(super) client_topup_id: String,
    pub(super) provider: &'static str,
    pub(super) money: Money,
    pub(super) expires_in: Duration,
    pub(super) actor: Actor,
    pub(super) correlation_id: String,
    pub(super) queue: QueueConfig,
    pub(super) topup_id: String,
    pub(super) start_job_id: String,
    pub(super) check_job_id: String,
    pub(super) event_id: String,
}

impl Command for RequestTopup {
    /// The top-up, and whether it was there.
    type Reply = Result<(Topup, bool), TopupError>;

    fn reads(&self) -> Vec<Key> {
        let topup = Topup::key(&self.user_id, &self.client_topup_id);
        let mut keys = vec![topup, self.gate.key(&self.user_id)];
        if self.unverified_max.is_some() {
            keys.push(wallet_key(&self.user_id, self.money.currency));
            keys.push(Key::id(OPEN_TOPUPS, Wallet::id_of(&self.user_id, self.money.currency)));
        }
        keys
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        match view.find::<Topup>(&Topup::key(&self.user_id, &self.client_topup_id)) {
            Some(existing) if existing.money() == self.money => Ok((existing, true)),
            Some(_) => Err(TopupError::IdempotencyMismatch),
            None => {
                let verified = self.admit(view)?;
                Ok((self.begin(view, verified), false))
            }
        }
    }
}

impl RequestTopup {
    /// A merchant has to be verified. A customer need not, as long as little money comes together.
    fn admit(&self, view: &mut View) -> Result<Verified, TopupError> {
        let verified = self.gate.verify(view, &self.user_id);
        let Some(limits) = self.unverified_max.as_ref().filter(|_| verified.is_err()) else { return Ok(verified?) };
        let admitted = self.gate.admit_buyer(view, &self.user_id)?;
        let currency = self.money.currency;
        let limit = limits.iter().find(|limit| limit.currency == currency).map_or(0, |limit| limit.amount);
        let wallet_id = Wallet::id_of(&self.user_id, currency);
        let available = view.by_id::<Wallet>(&wallet_id).map_or(0, |wallet| wallet.available);
        let known = view.by_id::<OpenTopups>(&wallet_id);
        let is_new = known.is_none();
        let listed = known.map(|open| open.topup_ids).unwrap_or_default();
        // What may still be paid counts like what is paid: the snapshot has each top-up in one of the two.
        let open: Vec<Topup> = listed.iter().filter_map(|id| view.by_id(id)).collect();
        let open: Vec<Topup> = open.into_iter().filter(|topup| topup.may_be_paid(view.now())).collect();
        let promised = open.iter().fold(available, |sum, topup| sum.saturating_add(topup.amount));
        if self.money.amount > limit.saturating_sub(promised) || open.len() >= OPEN_TOPUPS_MAX {
            return Err(TopupError::OverLimit { limit: Money::new(limit, currency) });
        }
        let topup_ids = open.into_iter().map(|topup| topup.id).chain([self.topup_id.clone()]).collect();
        let open = OpenTopups { id: wallet_id, topup_ids };
        if is_new {
            view.insert(&open)
        } else {
            view.update(&open)
        }
        Ok(admitted)
    }

    /// A new top-up with its event and its jobs, for a merchant who may do business.
    fn begin(&self, view: &mut View, verified: Verified) -> Topup {
        let new = NewPayment {
            id: self.topup_id.clone(),
            user_id: self.user_id.clone(),
            client_topup_id: self.client_topup_id.clone(),
            checkout_id: None,
            money: self.money,
            rush: false,
            start_job_id: self.start_job_id.clone(),
            check_job_id: self.check_job_id.clone(),
            correlation_id: self.correlation_id.clone(),
        };
        let settings =
            PaymentSettings { provider: self.provider, queue: self.queue.clone(), expires_in: self.expires_in };
        begin(view, new, &settings, Author { actor: &self.actor, event_id: &self.event_id }, verified)
    }
}

#[derive(Clone, Debug)]
pub struct PaymentSettings {
    pub provider: &'static str,
    /// [`super::PAYMENTS_QUEUE`].
    pub queue: QueueConfig,
    /// A payment can't be paid later.
    pub expires_in: Duration,
}

pub(super) struct NewPayment {
    pub(super) id: String,
    pub(super) user_id: String,
    pub(super) client_topup_id: String,
    pub(super) checkout_id: Option<String>,
    pub(super) money: Money,
    pub(super) rush: bool,
    pub(super) start_job_id: String,
    pub(super) check_job_id: String,
    pub(super) correlation_id: String,
}

/// A new payment with its event and its jobs, on behalf of somebody who may do business.
fn begin(view: &mut View, new: NewPayment, settings: &PaymentSettings, by: Author<'_>, _: Verified) -> Topup {
    let now = view.now();
    let mut topup = Topup {
        id: new.id,
        user_id: new.user_id,
        client_topup_id: new.client_topup_id,
        checkout_id: new.checkout_id,
        provider: settings.provider.into(),
        status: TopupStatus::Created,
        amount: new.money.amount,
        currency: new.money.currency,
        payment_id: None,
        payment_url: None,
        failure: None,
        disputed: false,
        transaction_id: None,
        provider_request_ref_id: None,
        provider_response_ref_id: None,
        start_job_id: new.start_job_id,
        check_job_id: new.check_job_id,
        open_calls: OpenCalls::default(),
        refund: None,
        events: 0,
        correlation_id: new.correlation_id,
        expires_at: after(now, settings.expires_in),
        last_look_at: None,
        created_at: now,
        updated_at: now,
    };
    let mut check = job(&topup, &topup.check_job_id, &settings.queue, CHECK_KIND, now);
    check.schedule(topup.expires_at, now);
    record(view, by.event_id, "TopupRequested", &mut topup, by.actor);
    view.insert(&topup);
    view.insert(&job(&topup, &topup.start_job_id, &settings.queue, START_KIND, now).hurried(new.rush));
    view.insert(&check);
    topup
}

fn job(topup: &Topup, id: &str, queue: &QueueConfig, kind: &str, now: DateTime) -> Job {
    let payload = doc! { "topupId": &topup.id };
    Job::new(id.to_owned(), queue, kind, payload, &topup.correlation_id, now).owned_by(&topup.user_id)
}

/// A checkout that is to be paid at the gateway.
#[derive(Clone, Copy, Debug)]
pub struct CheckoutToPay<'a> {
    /// `chk_...`
    pub checkout_id: &'a str,
    pub user_id: &'a str,
    pub money: Money,
    /// Whether it goes before what is no rush.
    pub rush: bool,
    /// `X-Request-Id` of the request for it.
    pub correlation_id: &'a str,
}

/// Begins the payment of a checkout, in the checkout's transaction; its ids go with the event's. The proof is the seller's.
pub fn begin_for_checkout(
    view: &mut View,
    checkout: &CheckoutToPay<'_>,
    settings: &PaymentSettings,
    by: Author<'_>,
    seller: Verified,
) -> Topup {
    let new = NewPayment {
        id: sibling_id("pmt", by.event_id),
        user_id: checkout.user_id.to_owned(),
        // No user can write this one: it has a slash.
        client_topup_id: format!("checkout/{}", checkout.checkout_id),
        checkout_id: Some(checkout.checkout_id.to_owned()),
        money: checkout.money,
        rush: checkout.rush,
        start_job_id: sibling_id("job", by.event_id),
        check_job_id: nth_id("job", by.event_id, 1),
        correlation_id: checkout.correlation_id.to_owned(),
    };
    begin(view, new, settings, by, seller)
}

/// Nobody is to pay this any more. What is paid all the same its payee learns. Reads the payment.
pub fn drop_payment(view: &mut View, topup_id: &str, by: Author<'_>) {
    let Some(mut topup) = view.by_id::<Topup>(topup_id) else { return };
    if flow::drop(&mut topup, view.now()) {
        record(view, by.event_id, "TopupExpired", &mut topup, by.actor);
        view.update(&topup);
    }
}

/// All of a payment is to go back to its payer; the payment is written afterwards. Nothing where it was asked for before.
pub fn begin_refund(view: &mut View, topup: &mut Topup, queue: &QueueConfig, by: Author<'_>) {
    let now = view.now();
    if topup.refund.is_some() {
        return;
    }
    let job_id = sibling_id("job", by.event_id);
    view.insert(&job(topup, &job_id, queue, REFUND_KIND, now));
    topup.refund = Some(Refund {
        status: RefundStatus::Requested,
        number: 0,
        in_doubt: false,
        refund_id: None,
        job_id,
        failure: None,
        transaction_id: None,
        requested_at: now,
    });
    topup.updated_at = now;
}

/// The same, and says so. Reads the payment.
pub fn request_refund(view: &mut View, topup_id: &str, queue: &QueueConfig, by: Author<'_>) {
    let Some(mut topup) = view.by_id::<Topup>(topup_id).filter(|topup| topup.refund.is_none()) else { return };
    begin_refund(view, &mut topup, queue, by);
    record(view, by.event_id, "TopupRefundRequested", &mut topup, by.actor);
    view.update(&topup);
}

/// Writes a payment that an attempt has changed, with its event and with what that means for its payee; gives the queue to wake.
pub(super) fn write(
    view: &mut View,
    mut topup: Topup,
    decision: &AttemptDecision,
    payees: &Payees,
    by: Author<'_>,
) -> Option<&'static str> {
    let payee = payees.of(&topup);
    if let Some(event) = decision.event {
        record(view, by.event_id, event, &mut topup, by.actor);
        payee.follow(view, &topup, event, by);
    }
    view.update(&topup);
    payee.queue().filter(|_| decision.event == Some("TopupPaid"))
}

/// Records what happened to a top-up, which is to be written afterwards.
pub(super) fn record(view: &mut View, event_id: &str, kind: &str, topup: &mut Topup, actor: &Actor) {
    topup.events += 1;
    let mut data = match &topup.checkout_id {
        Some(checkout_id) => doc! { "checkoutId": checkout_id },
        None => doc! { "clientTopupId": &topup.client_topup_id },
    };
    data.extend(doc! {
        "provider": &topup.provider,
        "status": topup.status.as_str(),
        "paymentId": topup.payment_id.clone(),
        "failureCode": topup.failure.as_ref().map(|failure| failure.code.clone()),
    });
    if let Some(refund) = &topup.refund {
        data.insert("refund", refund.status.as_str());
    }
    // Who pays a checkout tops nothing up.
    let kind = if topup.checkout_id.is_some() { kind.replacen("Topup", "Payment", 1) } else { kind.to_owned() };
    let event = Event {
        id: event_id.to_owned(),
        kind,
        subject_id: topup.id.clone(),
        user_id: topup.user_id.clone(),
        seq: topup.events,
        actor: actor.clone(),
        data,
        at: view.now(),
    };
    events::record(view, &event);
}
