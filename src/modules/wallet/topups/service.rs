//! The use cases of top-ups, one method each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    callback::{CallbackRecorded, TakeCallback},
    commands::RequestTopup,
    error::{CallbackError, TopupError},
    model::{CallbackOutcome, Topup, TopupStatus},
    payee::Payees,
    store::TopupStore,
};
use crate::{
    modules::{
        events::Actor,
        kyc::KycGate,
        providers::{
            payments::{CallbackRefused, PaymentGateway},
            registry::PAYMENT_GATEWAY,
        },
        queue::{QueueConfig, Waker},
    },
    platform::{
        batch::Lane,
        clock::Clock,
        identity::{CurrentUser, Role},
        ids::new_id,
        money::Money,
        walk::{Paged, paged},
    },
};

/// Top-ups, as the API offers them.
#[derive(Clone, Debug)]
pub struct TopupService {
    pub lane: Lane,
    /// Keeps out merchants who may not do business.
    pub gate: KycGate,
    pub store: TopupStore,
    pub waker: Waker,
    /// [`super::PAYMENTS_QUEUE`].
    pub queue: QueueConfig,
    /// None where no gateway is configured: what is there can be read, and nothing new is taken.
    pub gateway: Option<Arc<dyn PaymentGateway>>,
    /// A payment can't be paid later.
    pub expires_in: Duration,
    pub payees: Payees,
    /// The most that the wallet of a customer who is not verified may reach, by currency; in a currency that is not named, nothing.
    pub customer_max: Vec<Money>,
    pub clock: Clock,
    /// Nothing is written before.
    pub indexes_present: Arc<AtomicBool>,
}

/// A merchant's request, after validation.
#[derive(Debug)]
pub struct NewTopup {
    /// The merchant's id.
    pub client_topup_id: String,
    pub money: Money,
}

/// The sender of a callback, as the edge saw it.
#[derive(Debug)]
pub struct CallbackSender {
    pub address: Option<String>,
    /// `X-Request-Id` of its request.
    pub request_id: String,
}

impl TopupService {
    /// Asks for a top-up; `true` where it was asked for before.
    ///
    /// # Errors
    /// [`TopupError::NotConfigured`], [`TopupError::NotVerified`], [`TopupError::OverLimit`], [`TopupError::IdempotencyMismatch`], [`TopupError::NotReady`], [`TopupError::Lane`].
    pub async fn request(&self, user: &CurrentUser, new: NewTopup) -> Result<(Topup, bool), TopupError> {
        if self.gateway.is_none() {
            return Err(TopupError::NotConfigured);
        }
        if !self.indexes_present.load(Ordering::Relaxed) {
            return Err(TopupError::NotReady);
        }
        let command = RequestTopup {
            gate: self.gate,
            unverified_max: (user.role == Role::Customer).then(|| self.customer_max.clone()),
            user_id: user.user_id.clone(),
            client_topup_id: new.client_topup_id,
            provider: PAYMENT_GATEWAY.name,
            money: new.money,
            expires_in: self.expires_in,
            actor: Actor::from(user),
            correlation_id: user.request_id.clone(),
            queue: self.queue.clone(),
            topup_id: new_id("top"),
            start_job_id: new_id("job"),
            check_job_id: new_id("job"),
            event_id: new_id("evt"),
        };
        let (topup, replayed) = self.lane.submit(command).await??;
        if !replayed {
            self.waker.wake(self.queue.name);
        }
        Ok((topup, replayed))
    }

    /// One of the caller's top-ups.
    ///
    /// # Errors
    /// [`TopupError::NotFound`], [`TopupError::Database`].
    pub async fn get(&self, user: &CurrentUser, topup_id: &str) -> Result<Topup, TopupError> {
        self.store.find(&user.user_id, topup_id).await?.ok_or(TopupError::NotFound)
    }

    /// The caller's top-ups, newest first.
    ///
    /// # Errors
    /// [`TopupError::Database`].
    pub async fn list(
        &self,
        user: &CurrentUser,
        status: Option<TopupStatus>,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Paged<Topup>, TopupError> {
        let found = self.store.list(&user.user_id, status, before_id, limit).await?;
        Ok(paged(found, limit, None, |topup| &topup.id))
    }

    /// The header in which the gateway signs its callbacks.
    pub(super) fn signature_header(&self) -> &'static str {
        self.gateway.as_ref().map_or("", |gateway| gateway.signature_header())
    }

    /// Takes what the gateway `provider` tells, if the gateway signed it just now.
    ///
    /// # Errors
    /// [`CallbackError`].
    pub async fn take_callback(
        &self,
        provider: &str,
        signature: Option<&str>,
        body: &[u8],
        sender: CallbackSender,
    ) -> Result<(), CallbackError> {
        let taken = self.judge_callback(provider, signature, body, sender).await;
        let outcome = match &taken {
            Ok(CallbackRecorded::New(outcome)) => outcome.as_str(),
            Ok(CallbackRecorded::Replay) => "replay",
            Ok(CallbackRecorded::UnknownPayment) | Err(CallbackError::UnknownPayment) => "unknown_payment",
            Err(CallbackError::UnknownProvider) => "unknown_provider",
            Err(CallbackError::Refused(CallbackRefused::Unsigned)) => "unsigned",
            Err(CallbackError::Refused(CallbackRefused::BadSignature)) => "bad_signature",
            Err(CallbackError::Refused(CallbackRefused::Stale)) => "stale",
            Err(CallbackError::Refused(CallbackRefused::Unreadable(_))) => "unreadable",
            Err(CallbackError::NotReady | CallbackError::Lane(_)) => "not_taken",
        };
        metrics::counter!("waybill_payment_callbacks_total", "provider" => PAYMENT_GATEWAY.name, "outcome" => outcome)
            .increment(1);
        match taken? {
            CallbackRecorded::New(_) | CallbackRecorded::Replay => Ok(()),
            CallbackRecorded::UnknownPayment => Err(CallbackError::UnknownPayment),
        }
    }

    async fn judge_callback(
        &self,
        provider: &str,
        signature: Option<&str>,
        body: &[u8],
        sender: CallbackSender,
    ) -> Result<CallbackRecorded, CallbackError> {
        let gateway = self.gateway.as_ref().filter(|_| provider == PAYMENT_GATEWAY.name);
        let gateway = gateway.ok_or(CallbackError::UnknownProvider)?;
        let callback = gateway.verify_callback(signature, body, self.clock.now_ms())?;
        if !self.indexes_present.load(Ordering::Relaxed) {
            return Err(CallbackError::NotReady);
        }
        let topup_id = callback.reference.clone();
        let command = TakeCallback {
            provider: PAYMENT_GATEWAY.name,
            callback,
            actor: Actor {
                kind: "provider".into(),
                id: PAYMENT_GATEWAY.name.into(),
                role: None,
                address: sender.address,
                request_id: Some(sender.request_id.clone()),
                key_id: None,
            },
            correlation_id: sender.request_id,
            callback_id: new_id("cbk"),
            event_id: new_id("evt"),
            payees: self.payees.clone(),
        };
        let taken = self.lane.submit(command).await?;
        if let (CallbackRecorded::New(CallbackOutcome::Credited), Some(queue)) = (taken, self.payees.checkouts.queue())
        {
            self.waker.wake(queue);
        }
        if let CallbackRecorded::New(
            outcome @ (CallbackOutcome::AmountDiffers | CallbackOutcome::NotCredited | CallbackOutcome::PaidTwice),
        ) = taken
        {
            tracing::error!(
                topup.id = topup_id,
                outcome = outcome.as_str(),
                "a payment could not be credited as asked"
            );
        }
        Ok(taken)
    }
}
