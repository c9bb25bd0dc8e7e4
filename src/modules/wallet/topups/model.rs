//! Stored types of top-ups.

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::model::LedgerReference;
use crate::{
    modules::{
        audit::Call,
        providers::{
            StoredFailure,
            payments::{CallbackKind, GatewayPaymentStatus},
        },
    },
    platform::{
        batch::{Entity, Key},
        ids::nth_id,
        money::{Currency, Money},
    },
};

/// Top-ups.
pub const TOPUPS: &str = "topups";
/// Open top-ups of customers who are not verified.
pub const OPEN_TOPUPS: &str = "open_topups";
/// Callbacks of gateways.
pub const CALLBACKS: &str = "payment_callbacks";

/// Status of a top-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopupStatus {
    /// The payment is not started yet.
    Created,
    /// The payment waits for the payer on its page.
    Pending,
    /// The money is in the wallet.
    Paid,
    /// The gateway refused it, or the payer tried in vain.
    Failed,
    /// Nobody paid in time.
    Expired,
    /// A person has to look.
    NeedsAttention,
}

impl TopupStatus {
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Pending, Self::Paid, Self::Failed, Self::Expired, Self::NeedsAttention];

    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::NeedsAttention => "needs_attention",
        }
    }
}

/// Calls whose answers are not written down yet: one per job, because both jobs may call at the same time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenCalls {
    /// Of the job that starts the payment.
    pub start: Option<Call>,
    /// Of the job that looks it up.
    pub check: Option<Call>,
    /// Of the job that gives it back.
    #[serde(default)]
    pub refund: Option<Call>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// The gateway is asked for it.
    Requested,
    /// The payer has the money.
    Done,
    /// A person has to look.
    NeedsAttention,
}

impl RefundStatus {
    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Done => "done",
            Self::NeedsAttention => "needs_attention",
        }
    }
}

/// A payment on its way back to its payer, all of it. It is asked for once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refund {
    pub status: RefundStatus,
    /// Counts the references: a refund that the gateway calls failed is asked for again under another one.
    pub number: u32,
    /// It may be at the gateway: it is looked up before it is asked for again.
    pub in_doubt: bool,
    /// The gateway's name for it, once it has one.
    pub refund_id: Option<String>,
    pub job_id: String,
    /// Why it has not come to an end.
    pub failure: Option<StoredFailure>,
    /// The booking that says that the money has left.
    pub transaction_id: Option<String>,
    pub requested_at: DateTime,
}

/// A payment at the gateway: a top-up of a wallet, or for a checkout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topup {
    /// `top_...`, or `pmt_...` of a checkout; our reference at the gateway.
    #[serde(rename = "_id")]
    pub id: String,
    /// The user of the wallet, or the buyer.
    pub user_id: String,
    /// The user's own id; that of a payment for a checkout nobody can choose.
    pub client_topup_id: String,
    /// The checkout that is paid, where it is no top-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout_id: Option<String>,
    /// The gateway: `paygate`.
    pub provider: String,
    pub status: TopupStatus,
    /// Minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: Currency,
    /// The gateway's name for the payment, once it has one.
    pub payment_id: Option<String>,
    /// The page on which it is paid: who has it may pay.
    pub payment_url: Option<String>,
    /// Why it did not come to money.
    pub failure: Option<StoredFailure>,
    /// Money came that could not be credited as it was asked for: left to a person.
    pub disputed: bool,
    /// The booking of the money.
    pub transaction_id: Option<String>,
    /// The latest call about it.
    pub provider_request_ref_id: Option<String>,
    pub provider_response_ref_id: Option<String>,
    pub start_job_id: String,
    /// Looks it up when its time is over, until the gateway says what came of it.
    pub check_job_id: String,
    /// Calls under way.
    pub open_calls: OpenCalls,
    /// The money goes back, or went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<Refund>,
    /// Events of it so far.
    #[serde(default)]
    pub events: i64,
    /// `X-Request-Id` of the request behind it.
    pub correlation_id: String,
    /// End of the time in which it can be paid.
    pub expires_at: DateTime,
    /// The gateway has said that it came to nothing; then it is asked for the last time.
    #[serde(default)]
    pub last_look_at: Option<DateTime>,
    pub created_at: DateTime,
    /// Last change.
    pub updated_at: DateTime,
}

impl Topup {
    /// The key of a merchant's top-up by its own id.
    #[must_use]
    pub fn key(user_id: &str, client_topup_id: &str) -> Key {
        Key::unique(TOPUPS, &["userId", "clientTopupId"], vec![user_id.into(), client_topup_id.into()])
    }

    #[must_use]
    pub const fn money(&self) -> Money {
        Money::new(self.amount, self.currency)
    }

    /// Whether somebody may be about to pay it: also where paying was tried in vain, as long as its page is there.
    #[must_use]
    pub fn may_be_paid(&self, now: DateTime) -> bool {
        match self.status {
            TopupStatus::Created | TopupStatus::Pending => true,
            TopupStatus::NeedsAttention => !self.disputed,
            TopupStatus::Failed => now < self.expires_at,
            TopupStatus::Paid | TopupStatus::Expired => false,
        }
    }

    /// Shows the latest call about it; an answer to an earlier one is in the logs alone.
    pub(super) fn link(&mut self, call: &Call, response_id: Option<&str>, now: DateTime) {
        if response_id.is_none() {
            self.provider_request_ref_id = Some(call.request_ref_id.clone());
        }
        if self.provider_request_ref_id.as_deref() == Some(&*call.request_ref_id) {
            self.provider_response_ref_id = response_id.map(str::to_owned);
        }
        self.updated_at = now;
    }

    /// Our reference of its refund at the gateway.
    #[must_use]
    pub fn refund_reference(&self) -> Option<String> {
        self.refund.as_ref().map(|refund| nth_id("rfd", &self.id, refund.number))
    }

    /// The reference of its credit, which is booked once.
    #[must_use]
    pub fn reference(topup_id: &str) -> LedgerReference {
        LedgerReference::new("topup", topup_id, "payment")
    }
}

impl Entity for Topup {
    const COLLECTION: &'static str = TOPUPS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        vec![Self::key(&self.user_id, &self.client_topup_id)]
    }
}

/// Top-ups that may still be paid into a wallet whose owner is not verified: what is asked for meanwhile is asked for in one place, so
/// that several at once don't come to more than is allowed. Those that have ended are forgotten with the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenTopups {
    /// The wallet's.
    #[serde(rename = "_id")]
    pub id: String,
    /// `top_...`
    pub topup_ids: Vec<String>,
}

impl Entity for OpenTopups {
    const COLLECTION: &'static str = OPEN_TOPUPS;

    fn id(&self) -> &str {
        &self.id
    }
}

/// The outcome of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackOutcome {
    /// The money is in the wallet now.
    Credited,
    /// The top-up is failed now.
    Failed,
    /// It says nothing that counts: the top-up has ended, or the event is none of ours.
    Ignored,
    /// Another amount or currency than we asked for; nothing is credited.
    AmountDiffers,
    /// The wallet can't take it.
    NotCredited,
    /// Another payment than the one that is credited; nothing more is credited.
    PaidTwice,
    /// The top-up is left to a person.
    Disputed,
}

impl CallbackOutcome {
    /// As stored and counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credited => "credited",
            Self::Failed => "failed",
            Self::Ignored => "ignored",
            Self::AmountDiffers => "amount_differs",
            Self::NotCredited => "not_credited",
            Self::PaidTwice => "paid_twice",
            Self::Disputed => "disputed",
        }
    }
}

/// A callback that the gateway signed. Never changed, never deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentCallback {
    /// `cbk_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// The gateway: `paygate`.
    pub provider: String,
    /// The gateway's id of the event: taken once.
    pub event_id: String,
    pub topup_id: String,
    /// The gateway's name for the payment.
    pub payment_id: String,
    /// `payment.paid`, `payment.failed`, `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of the payment, in our words.
    pub status: String,
    /// Minor units, as the gateway says.
    pub amount: i64,
    /// ISO 4217, as the gateway says.
    pub currency: Currency,
    /// Its outcome.
    pub outcome: CallbackOutcome,
    /// `X-Request-Id` of its request.
    pub correlation_id: String,
    /// When it was written down.
    pub received_at: DateTime,
}

impl PaymentCallback {
    /// The key of a gateway's event.
    #[must_use]
    pub fn key(provider: &str, event_id: &str) -> Key {
        Key::unique(CALLBACKS, &["provider", "eventId"], vec![provider.into(), event_id.into()])
    }
}

impl Entity for PaymentCallback {
    const COLLECTION: &'static str = CALLBACKS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        vec![Self::key(&self.provider, &self.event_id)]
    }
}

pub(super) const fn kind_word(kind: CallbackKind) -> &'static str {
    match kind {
        CallbackKind::Paid => "payment.paid",
        CallbackKind::Failed => "payment.failed",
        CallbackKind::Unknown => "unknown",
    }
}

/// A payment's status, as stored.
pub(super) const fn status_word(status: GatewayPaymentStatus) -> &'static str {
    match status {
        GatewayPaymentStatus::Created => "created",
        GatewayPaymentStatus::Paid => "paid",
        GatewayPaymentStatus::Failed => "failed",
        GatewayPaymentStatus::Expired => "expired",
        GatewayPaymentStatus::Unknown => "unknown",
    }
}
