//! What the API decides: asking for a top-up, in one transaction. And what all decisions write.

use std::time::Duration;

use bson::doc;

use super::{
    CHECK_KIND, START_KIND,
    error::TopupError,
    model::{OpenCalls, Topup, TopupStatus},
};
use crate::{
    modules::{
        events::{self, Actor, Event},
        kyc::{KycGate, Verified},
        queue::{Job, QueueConfig},
        wallet::{self, Account, Entry, LedgerKind, LedgerTransaction, Refusal, Wallet, wallet_key},
    },
    platform::{
        batch::{Command, Key, View},
        clock::after,
        ids::sibling_id,
        money::Money,
    },
};

/// Asks for a top-up, or finds that it was asked for.
pub(super) struct RequestTopup {
    pub(super) gate: KycGate,
    /// What the wallet of a customer who is not verified may come to; none for merchants.
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
        let wallet = self.unverified_max.as_ref().map(|_| wallet_key(&self.user_id, self.money.currency));
        [topup, self.gate.key(&self.user_id)].into_iter().chain(wallet).collect()
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
    fn admit(&self, view: &View) -> Result<Verified, TopupError> {
        let verified = self.gate.verify(view, &self.user_id);
        let Some(limits) = self.unverified_max.as_ref().filter(|_| verified.is_err()) else { return Ok(verified?) };
        let admitted = self.gate.admit_buyer(view, &self.user_id)?;
        let currency = self.money.currency;
        let limit = limits.iter().find(|limit| limit.currency == currency).map_or(0, |limit| limit.amount);
        let available =
            view.by_id::<Wallet>(&Wallet::id_of(&self.user_id, currency)).map_or(0, |wallet| wallet.available);
        if self.money.amount > limit.saturating_sub(available) {
            return Err(TopupError::OverLimit { limit: Money::new(limit, currency) });
        }
        Ok(admitted)
    }

    /// A new top-up with its event and its jobs, for a merchant who may do business.
    fn begin(&self, view: &mut View, _: Verified) -> Topup {
        let now = view.now();
        let mut topup = Topup {
            id: self.topup_id.clone(),
            user_id: self.user_id.clone(),
            client_topup_id: self.client_topup_id.clone(),
            provider: self.provider.into(),
            status: TopupStatus::Created,
            amount: self.money.amount,
            currency: self.money.currency,
            payment_id: None,
            payment_url: None,
            failure: None,
            disputed: false,
            transaction_id: None,
            provider_request_ref_id: None,
            provider_response_ref_id: None,
            start_job_id: self.start_job_id.clone(),
            check_job_id: self.check_job_id.clone(),
            open_calls: OpenCalls::default(),
            events: 0,
            correlation_id: self.correlation_id.clone(),
            expires_at: after(now, self.expires_in),
            last_look_at: None,
            created_at: now,
            updated_at: now,
        };
        let job = |id: &str, kind| {
            Job::new(id.to_owned(), &self.queue, kind, doc! { "topupId": &self.topup_id }, &self.correlation_id, now)
                .owned_by(&self.user_id)
        };
        let mut check = job(&self.check_job_id, CHECK_KIND);
        check.schedule(topup.expires_at, now);
        record(view, &self.event_id, "TopupRequested", &mut topup, &self.actor);
        view.insert(&topup);
        view.insert(&job(&self.start_job_id, START_KIND));
        view.insert(&check);
        topup
    }
}

/// Books the money of a top-up, once; gives the transaction's id.
///
/// # Errors
/// What the ledger says.
pub(super) fn credit(view: &mut View, topup: &Topup, event_id: &str, actor: &Actor) -> Result<String, Refusal> {
    let reference = Topup::reference(&topup.id);
    if let Some(booked) = view.find::<LedgerTransaction>(&reference.key()) {
        return Ok(booked.id);
    }
    let entry = Entry {
        transaction_id: &sibling_id("txn", event_id),
        kind: LedgerKind::Recharge,
        reference,
        client_reference: None,
        reason: Some("Top-up"),
        actor,
    };
    wallet::credit(view, &topup.user_id, topup.money(), Account::SettlementCash, &entry).map(|booked| booked.id)
}

/// Records what happened to a top-up, which is to be written afterwards.
pub(super) fn record(view: &mut View, event_id: &str, kind: &str, topup: &mut Topup, actor: &Actor) {
    topup.events += 1;
    let event = Event {
        id: event_id.to_owned(),
        kind: kind.into(),
        subject_id: topup.id.clone(),
        user_id: topup.user_id.clone(),
        seq: topup.events,
        actor: actor.clone(),
        data: doc! {
            "clientTopupId": &topup.client_topup_id,
            "provider": &topup.provider,
            "status": topup.status.as_str(),
            "paymentId": topup.payment_id.clone(),
            "failureCode": topup.failure.as_ref().map(|failure| failure.code.clone()),
        },
        at: view.now(),
    };
    events::record(view, &event);
}
