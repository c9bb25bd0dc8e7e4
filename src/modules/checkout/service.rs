//! The use cases of checkouts, one method each.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    commands::{CancelCheckout, CheckoutReply, CreateCheckout},
    customers::{CustomerProfile, PutProfile, find_profile},
    error::CheckoutError,
    fulfilment::{FulfilAgain, FulfilmentSettings, PartKind, SetUp},
    model::{Checkout, NewCheckout, PaymentMethod, PaymentStatus, fingerprint},
    store::{CheckoutFilter, CheckoutOwner, CheckoutStore},
};
use crate::{
    modules::{
        events::Actor,
        kyc::KycGate,
        orders::OrderService,
        queue::{QueueConfig, Waker},
        wallet::topups::PaymentSettings,
    },
    platform::{
        batch::Lane,
        error::FieldError,
        identity::{CurrentUser, Role},
        ids::{is_id, new_id},
        walk::Paged,
    },
};

/// Why orders of a checkout are cancelled that is; its own reason is for who gave it.
const CANCELLED: &str = "The checkout was cancelled.";

/// Checkouts, as the API offers them.
#[derive(Clone)]
pub struct CheckoutService {
    pub lane: Lane,
    /// Keeps merchants from selling who may not do business.
    pub gate: KycGate,
    pub store: CheckoutStore,
    /// Orders of the merchants, which carry checkouts out.
    pub orders: OrderService,
    pub waker: Waker,
    /// [`super::CHECKOUTS_QUEUE`].
    pub queue: QueueConfig,
    /// How payments at the gateway begin; none where no gateway is configured.
    pub gateway: Option<PaymentSettings>,
    /// Where refunds are asked for.
    pub payments: QueueConfig,
    /// Nothing is written before.
    pub indexes_present: Arc<AtomicBool>,
}

/// The checkouts that `user` may see: a customer its own, a merchant those of its products.
const fn whose(user: &CurrentUser) -> CheckoutOwner<'_> {
    match user.role {
        Role::Merchant => CheckoutOwner::Seller(user.user_id.as_str()),
        _ => CheckoutOwner::Buyer(user.user_id.as_str()),
    }
}

/// A customer pays from the own wallet, and everybody at the gateway. That something was paid elsewhere only the merchant can say, who
/// got the money.
fn ensure_may_pay_so(user: &CurrentUser, method: PaymentMethod) -> Result<(), CheckoutError> {
    let message = match (user.role, method) {
        (_, PaymentMethod::Gateway) => return Ok(()),
        (Role::Merchant, PaymentMethod::External) | (Role::Customer, PaymentMethod::Wallet) => return Ok(()),
        (Role::Merchant, _) => "a merchant checks out what was paid elsewhere (external), or has it paid (gateway)",
        (_, _) => "a customer pays from the wallet or at the gateway",
    };
    Err(CheckoutError::Method(FieldError::new("payment.method", "not_allowed", message)))
}

impl CheckoutService {
    fn ensure_ready(&self) -> Result<(), CheckoutError> {
        if self.indexes_present.load(Ordering::Relaxed) { Ok(()) } else { Err(CheckoutError::NotReady) }
    }

    /// Buys all of a cart or nothing, or answers what the same request bought before.
    pub(super) async fn create(&self, user: &CurrentUser, new: NewCheckout) -> Result<CheckoutReply, CheckoutError> {
        self.ensure_ready()?;
        ensure_may_pay_so(user, new.method)?;
        let gateway = match new.method {
            PaymentMethod::Gateway => Some(self.gateway.clone().ok_or(CheckoutError::NoGateway)?),
            PaymentMethod::Wallet | PaymentMethod::External => None,
        };
        let queue = gateway.as_ref().map_or(self.queue.name, |gateway| gateway.queue.name);
        let command = CreateCheckout {
            gate: self.gate,
            user_id: user.user_id.clone(),
            only_of: (user.role == Role::Merchant).then(|| user.user_id.clone()),
            tenant_id: user.tenant_id.clone().filter(|_| user.role == Role::Merchant),
            fingerprint: fingerprint(&new),
            client_order_id: new.client_order_id,
            lines: new.lines,
            customer: new.customer,
            shipping_address: new.shipping_address,
            method: new.method,
            payment_id: new.payment_id,
            priority: new.priority,
            currency: new.currency,
            actor: Actor::from(user),
            correlation_id: user.request_id.clone(),
            queue: self.queue.clone(),
            checkout_id: new_id("chk"),
            job_id: new_id("job"),
            event_ids: [new_id("evt"), new_id("evt")],
            gateway,
        };
        let reply = self.lane.submit(command).await??;
        if !reply.replayed {
            self.waker.wake(queue);
        }
        Ok(reply)
    }

    /// Takes back a checkout that the caller asked for.
    pub(super) async fn cancel(
        &self,
        user: &CurrentUser,
        client_order_id: String,
        reason: Option<String>,
    ) -> Result<CheckoutReply, CheckoutError> {
        self.ensure_ready()?;
        let actor = Actor::from(user);
        let why = Some(CANCELLED.to_owned());
        let cancelling = |_| self.orders.cancelling(why.clone(), actor.clone(), &user.request_id);
        let command = CancelCheckout {
            orders: PartKind::ALL.iter().map(cancelling).collect(),
            user_id: user.user_id.clone(),
            client_order_id,
            reason,
            actor: actor.clone(),
            event_id: new_id("evt"),
            payments: self.payments.clone(),
        };
        let reply = self.lane.submit(command).await??;
        for part in reply.checkout.parts.iter().filter(|_| !reply.replayed) {
            if let Some(at) = self.orders.providers.get(&part.provider) {
                self.waker.wake(at.create.name);
                self.waker.wake(at.cancel.name);
            }
        }
        if !reply.replayed && reply.checkout.payment.status == PaymentStatus::Refunding {
            self.waker.wake(self.payments.name);
        }
        Ok(reply)
    }

    /// The merchant's fulfilment settings.
    pub(super) async fn fulfilment(&self, user: &CurrentUser) -> Result<FulfilmentSettings, CheckoutError> {
        let found = self.store.fulfilment(&user.user_id).await?;
        Ok(found.unwrap_or_else(|| FulfilmentSettings::nothing(&user.user_id)))
    }

    pub(super) async fn set_fulfilment(
        &self,
        user: &CurrentUser,
        settings: FulfilmentSettings,
    ) -> Result<FulfilmentSettings, CheckoutError> {
        self.ensure_ready()?;
        let command = SetUp { settings, actor: Actor::from(user), audit_id: new_id("aud") };
        Ok(self.lane.submit(command).await?)
    }

    /// Sends again what of a checkout of the merchant's products came to nothing.
    pub(super) async fn fulfil_again(
        &self,
        user: &CurrentUser,
        checkout_id: String,
    ) -> Result<CheckoutReply, CheckoutError> {
        self.ensure_ready()?;
        if !is_id("chk", &checkout_id) {
            return Err(CheckoutError::NotFound);
        }
        let command = FulfilAgain {
            seller_id: user.user_id.clone(),
            checkout_id,
            actor: Actor::from(user),
            correlation_id: user.request_id.clone(),
            queue: self.queue.clone(),
            job_id: new_id("job"),
            event_ids: std::array::from_fn(|_| new_id("evt")),
        };
        let reply = self.lane.submit(command).await??;
        if !reply.replayed {
            self.waker.wake(self.queue.name);
        }
        Ok(reply)
    }

    /// The caller's profile.
    pub(super) async fn profile(&self, user: &CurrentUser) -> Result<Option<CustomerProfile>, CheckoutError> {
        Ok(find_profile(self.store.db(), &user.user_id).await?)
    }

    pub(super) async fn put_profile(&self, profile: CustomerProfile) -> Result<CustomerProfile, CheckoutError> {
        self.ensure_ready()?;
        Ok(self.lane.submit(PutProfile { profile }).await?)
    }

    /// One of the caller's checkouts.
    pub(super) async fn get(&self, user: &CurrentUser, checkout_id: &str) -> Result<Checkout, CheckoutError> {
        let found = if is_id("chk", checkout_id) { self.store.find(whose(user), checkout_id).await? } else { None };
        found.ok_or(CheckoutError::NotFound)
    }

    /// The caller's checkouts, newest first.
    pub(super) async fn list(
        &self,
        user: &CurrentUser,
        filter: &CheckoutFilter,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Paged<Checkout>, CheckoutError> {
        Ok(self.store.list(whose(user), filter, before_id, limit).await?)
    }
}
