//! Parts of a checkout, and what each is at. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    modules::{
        orders::{Order, OrderStatus},
        providers::{ProviderKind, StoredFailure},
    },
    platform::error::AppError,
};

/// Fields that a reason names at most.
const FIELDS_NAMED_MAX: usize = 5;

/// A kind of order that fulfils a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// The sale in the merchant's books.
    Erp,
    /// The parcel.
    Carrier,
}

impl PartKind {
    /// Both, in the order in which they are sent.
    pub const ALL: [Self; 2] = [Self::Erp, Self::Carrier];

    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Erp => "erp",
            Self::Carrier => "carrier",
        }
    }

    #[must_use]
    pub const fn of_providers(self) -> ProviderKind {
        match self {
            Self::Erp => ProviderKind::Erp,
            Self::Carrier => ProviderKind::Carrier,
        }
    }
}

/// Status of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartStatus {
    /// Its order is to be made.
    Waiting,
    /// There is an order, which is under way.
    Placed,
    /// The provider has it.
    Confirmed,
    /// No order could be made, or it was refused for good: it can be sent again.
    Failed,
    /// Whether the provider has it is not known: a person decides.
    NeedsAttention,
    /// It is being taken back.
    Cancelling,
    /// It was taken back.
    Cancelled,
    /// It came to nothing, and the merchant does not want it any more.
    Skipped,
}

impl PartStatus {
    /// Whether nothing of it is, or can come to be, at the provider without another order.
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        match self {
            Self::Failed | Self::Cancelled | Self::Skipped => true,
            Self::Waiting | Self::Placed | Self::Confirmed | Self::NeedsAttention | Self::Cancelling => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFailure {
    /// `wallet.insufficient_funds`, `provider.refused`, ...
    pub code: String,
    /// A sentence for the merchant; null once it is erased.
    pub message: Option<String>,
}

impl PartFailure {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: Some(message.into()) }
    }
}

impl From<&StoredFailure> for PartFailure {
    fn from(failure: &StoredFailure) -> Self {
        Self::new(&failure.code, &*failure.message)
    }
}

/// As whoever asks for an order is told: the fields to blame, by their names in a request for one, and no values.
impl From<AppError> for PartFailure {
    fn from(error: AppError) -> Self {
        if error.fields.is_empty() {
            return Self::new(error.code, error.detail);
        }
        let named = error.fields.iter().take(FIELDS_NAMED_MAX);
        let named: Vec<_> = named.map(|fault| format!("{} {}", fault.field, fault.message)).collect();
        Self::new("checkout.not_acceptable", format!("{}.", named.join("; ")))
    }
}

/// A part of a checkout as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    pub kind: PartKind,
    pub provider: String,
    pub status: PartStatus,
    /// The order that carries it out; none where it is to be made, or could not be made.
    pub order_id: Option<String>,
    /// All orders that were made for it, the last one last.
    pub orders: Vec<String>,
    /// The number of its next order, from 1.
    pub next_number: i64,
    /// Why it failed, or was not taken back.
    pub failure: Option<PartFailure>,
}

impl Part {
    /// To be sent to `provider`.
    pub(super) fn new(kind: PartKind, provider: &str) -> Self {
        Self {
            kind,
            provider: provider.to_owned(),
            status: PartStatus::Waiting,
            order_id: None,
            orders: Vec::new(),
            next_number: 1,
            failure: None,
        }
    }

    /// The merchant's id of its next order: nobody else can take it, see [`crate::modules::orders::PlacementTerms::order`].
    pub(super) fn client_order_id(&self, checkout_id: &str) -> String {
        match self.next_number {
            1 => format!("{checkout_id}:{}", self.kind.as_str()),
            number => format!("{checkout_id}:{}:{number}", self.kind.as_str()),
        }
    }

    /// The last order that was made for it, wherever that has come to.
    pub(super) fn last_order(&self) -> Option<&str> {
        self.orders.last().map(String::as_str)
    }

    /// Brings it to where its last order is; whether that is news. An order that came to nothing before the part was to be sent again
    /// says nothing new.
    pub(super) fn follow(&mut self, order: &Order) -> bool {
        let (status, failure) = part_status(order);
        if self.last_order() != Some(&*order.id) || (self.order_id.is_none() && status.is_nothing()) {
            return false;
        }
        let before = self.clone();
        self.order_id = Some(order.id.clone());
        self.provider.clone_from(&order.provider);
        self.status = status;
        self.failure = failure;
        *self != before
    }

    /// It can't be sent.
    pub(super) fn fail(&mut self, failure: PartFailure) {
        self.status = PartStatus::Failed;
        self.failure = Some(failure);
    }
}

fn part_status(order: &Order) -> (PartStatus, Option<PartFailure>) {
    let failure = || order.failure.as_ref().map(PartFailure::from);
    match order.status {
        OrderStatus::Cancelled => (PartStatus::Cancelled, None),
        OrderStatus::Failed => (PartStatus::Failed, failure()),
        _ if order.cancellation_pending() => (PartStatus::Cancelling, None),
        OrderStatus::Created => (PartStatus::Placed, None),
        OrderStatus::NeedsAttention => (PartStatus::NeedsAttention, failure()),
        OrderStatus::Confirmed | OrderStatus::InProgress | OrderStatus::Delivered => {
            let refused = order.cancellation.as_ref().and_then(|cancellation| cancellation.failure.as_ref());
            (PartStatus::Confirmed, refused.map(PartFailure::from))
        }
    }
}
