//! A checkout as stored. Pure.

use std::collections::BTreeMap;

use bson::{DateTime, doc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fulfilment::Part;
use crate::{
    modules::queue::{Job, QueueConfig},
    platform::{
        batch::{Entity, Key},
        money::{Currency, Money},
        secret::sha256_hex,
    },
};

pub const CHECKOUTS: &str = "checkouts";
pub(super) const CUSTOMERS: &str = "customers";

/// Status of a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutStatus {
    /// Its stock is taken, and it waits for its payment.
    Pending,
    /// Paid; what follows is under way.
    Paid,
    /// All that follows is done.
    Completed,
    /// Not paid; its stock came back.
    PaymentFailed,
    /// Taken back; its stock came back, and its money goes back.
    Cancelled,
    /// Paid, and a part of what follows came to nothing, or is not known: see the parts.
    NeedsAttention,
    /// It is to be taken back, and waits for what comes of its orders.
    Cancelling,
}

impl CheckoutStatus {
    /// Every status, in the order of the table in docs/checkout.md.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Paid,
        Self::Completed,
        Self::PaymentFailed,
        Self::Cancelled,
        Self::NeedsAttention,
        Self::Cancelling,
    ];

    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Completed => "completed",
            Self::PaymentFailed => "payment_failed",
            Self::Cancelled => "cancelled",
            Self::NeedsAttention => "needs_attention",
            Self::Cancelling => "cancelling",
        }
    }

    /// Whether its goods are the buyer's; else they are in stock again.
    #[must_use]
    pub const fn holds_stock(self) -> bool {
        match self {
            Self::Pending | Self::Paid | Self::Completed | Self::NeedsAttention | Self::Cancelling => true,
            Self::PaymentFailed | Self::Cancelled => false,
        }
    }
}

/// Priority of a checkout's payment and fulfilment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// In its turn.
    #[default]
    Normal,
    /// Before those that are no rush.
    Rush,
}

impl Priority {
    /// Whether it is [`Priority::Rush`].
    #[must_use]
    pub const fn is_rush(self) -> bool {
        matches!(self, Self::Rush)
    }
}

/// A way to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMethod {
    /// At the payment gateway, on a page of its own.
    Gateway,
    /// From the customer's own wallet, at once.
    Wallet,
    /// Elsewhere; the merchant names the payment.
    External,
}

impl PaymentMethod {
    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Wallet => "wallet",
            Self::External => "external",
        }
    }
}

/// Status of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Not made yet.
    Pending,
    /// Made.
    Paid,
    /// Not made, and won't be.
    Failed,
    /// Made, and on its way back: the gateway is asked for it.
    Refunding,
    /// Made, and given back.
    Refunded,
}

impl PaymentStatus {
    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Failed => "failed",
            Self::Refunding => "refunding",
            Self::Refunded => "refunded",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    pub method: PaymentMethod,
    pub status: PaymentStatus,
    /// The merchant's name of an external one.
    pub payment_id: Option<String>,
    /// The ledger transaction that took the money, from the wallet or at the gateway.
    pub transaction_id: Option<String>,
    /// The ledger transaction that took it from the merchant again.
    pub refund_id: Option<String>,
    /// Until when it can be made; none once it is.
    pub expires_at: Option<DateTime>,
    /// Our record of one at the gateway, `pmt_...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_payment: Option<String>,
    /// The page on which it is made, as long as it can be: who has it may pay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Payment {
    /// It is not made and won't be.
    pub fn abandon(&mut self) {
        self.status = PaymentStatus::Failed;
        self.url = None;
        self.expires_at = None;
    }
}

/// A line of the checkout, as the product was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutItem {
    pub product_id: String,
    /// The merchant's article number.
    pub sku: String,
    pub product_name: String,
    pub quantity: i64,
    /// Minor units each.
    pub unit_price: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutCustomer {
    pub name: String,
    /// E-mail.
    pub email: String,
    /// `+` and digits.
    pub phone: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippingAddress {
    /// Receiver, where it is not the customer.
    #[serde(default)]
    pub name: Option<String>,
    /// The receiver's.
    #[serde(default)]
    pub phone: Option<String>,
    pub line1: String,
    pub line2: Option<String>,
    pub city: String,
    pub state: Option<String>,
    /// Postal code.
    pub postcode: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// Status of a cancellation that waits for orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutCancellationStatus {
    /// The orders are being cancelled.
    Requested,
    /// Something could not be taken back: the checkout stays.
    Refused,
    /// It is cancelled.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutCancellation {
    pub status: CheckoutCancellationStatus,
    pub requested_at: DateTime,
}

/// One line of a cart, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CartLine {
    pub product_id: String,
    pub quantity: i64,
}

/// A request for a checkout, after validation.
#[derive(Debug)]
pub(super) struct NewCheckout {
    pub(super) client_order_id: String,
    pub(super) lines: Vec<CartLine>,
    pub(super) customer: CheckoutCustomer,
    pub(super) shipping_address: ShippingAddress,
    pub(super) method: PaymentMethod,
    pub(super) payment_id: Option<String>,
    pub(super) priority: Priority,
    /// In which it is paid.
    pub(super) currency: Option<Currency>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkout {
    /// `chk_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// A number for people to read out.
    pub order_number: String,
    /// The user who created it: the customer, or the merchant of the products.
    pub user_id: String,
    /// The merchant whose products they are.
    pub seller_id: String,
    /// The tenant in which it was sold: that of the merchant who asked for it, else that in which the product was put on sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The asker's id; unique per asker, for ever.
    pub client_order_id: String,
    /// Fingerprint of the request's meaning.
    pub fingerprint: String,
    pub status: CheckoutStatus,
    /// How soon. Every job about it is `hurried(checkout.priority.is_rush())` where it is made; nothing else is needed.
    #[serde(default)]
    pub priority: Priority,
    pub currency: Currency,
    /// Minor units.
    pub total: i64,
    pub items: Vec<CheckoutItem>,
    /// The customer; none once erased.
    pub customer: Option<CheckoutCustomer>,
    /// Where it goes; none once it is erased.
    pub shipping_address: Option<ShippingAddress>,
    pub erased_at: Option<DateTime>,
    pub payment: Payment,
    /// See [`Checkout::payment_key`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_payment: Option<String>,
    /// Orders that fulfil it; empty before they are made, and without fulfilment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The last cancellation that had to wait for orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<CheckoutCancellation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<DateTime>,
    /// The words of who cancelled it.
    pub cancel_reason: Option<String>,
    /// Events of it so far.
    pub events: i64,
    /// `X-Request-Id` of the request for it.
    pub correlation_id: String,
    pub created_at: DateTime,
    /// Last change.
    pub updated_at: DateTime,
}

impl Checkout {
    /// The key under which an asker's id is found.
    #[must_use]
    pub fn key(user_id: &str, client_order_id: &str) -> Key {
        Key::unique(CHECKOUTS, &["userId", "clientOrderId"], vec![user_id.to_owned(), client_order_id.to_owned()])
    }

    /// The key of what an external payment pays: one checkout of its seller, ever.
    #[must_use]
    pub fn payment_key(external_payment: &str) -> Key {
        Key::unique(CHECKOUTS, &["externalPayment"], vec![external_payment.to_owned()])
    }

    /// The key of a seller's external payment.
    #[must_use]
    pub fn external_payment_of(seller_id: &str, payment_id: &str) -> String {
        format!("{seller_id}/{payment_id}")
    }

    /// Whether somebody may be about to pay it at the gateway.
    #[must_use]
    pub fn waits_for_payment(&self) -> bool {
        self.status == CheckoutStatus::Pending && self.payment.method == PaymentMethod::Gateway
    }

    #[must_use]
    pub const fn money(&self) -> Money {
        Money::new(self.total, self.currency)
    }

    /// Sets the status of its cancellation, where there is one that waits for orders.
    pub(super) fn cancellation_is(&mut self, status: CheckoutCancellationStatus) {
        self.cancellation.iter_mut().for_each(|cancellation| cancellation.status = status);
    }

    /// Why a part of it is not carried out; the first one's.
    #[must_use]
    pub fn failure_code(&self) -> Option<&str> {
        let needs_attention = self.status == CheckoutStatus::NeedsAttention;
        let mut failures = self.parts.iter().filter_map(|part| part.failure.as_ref());
        failures.next().filter(|_| needs_attention).map(|failure| failure.code.as_str())
    }

    pub fn orders(&self) -> impl Iterator<Item = &String> {
        self.parts.iter().flat_map(|part| &part.orders)
    }

    /// The job that carries it out.
    pub(super) fn fulfil_job(&self, job_id: &str, queue: &QueueConfig, correlation_id: &str, now: DateTime) -> Job {
        let payload = doc! { "checkoutId": &self.id };
        let job = Job::new(job_id.to_owned(), queue, FULFIL_KIND, payload, correlation_id, now);
        job.owned_by(&self.seller_id).hurried(self.priority.is_rush())
    }

    /// Pieces of each product.
    #[must_use]
    pub fn quantities(&self) -> BTreeMap<&str, i64> {
        sums(self.items.iter().map(|item| (item.product_id.as_str(), item.quantity)))
    }
}

/// Pieces of each product; lines of one product count together. Quantities are bounded, so the sums are.
pub(super) fn sums<'a>(lines: impl Iterator<Item = (&'a str, i64)>) -> BTreeMap<&'a str, i64> {
    let mut sums = BTreeMap::new();
    for (product_id, quantity) in lines {
        *sums.entry(product_id).or_insert(0) += quantity;
    }
    sums
}

impl Entity for Checkout {
    const COLLECTION: &'static str = CHECKOUTS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        let payment = self.external_payment.as_deref().map(Self::payment_key);
        [Self::key(&self.user_id, &self.client_order_id)].into_iter().chain(payment).collect()
    }
}

/// The meaning of a request: SHA-256 over what was parsed. Catalog prices are no part of it. What was left out is not there, so that
/// requests from before it could be given mean what they did.
pub(super) fn fingerprint(new: &NewCheckout) -> String {
    let NewCheckout { lines, customer, shipping_address, method, payment_id, priority, currency, .. } = new;
    let canonical = serde_json::to_vec(&(lines, customer, shipping_address, method, payment_id));
    let mut canonical = canonical.expect("what came as JSON is JSON");
    if priority.is_rush() {
        canonical.extend(b"/rush");
    }
    if let Some(currency) = currency {
        canonical.extend(format!("/{}", currency.code()).bytes());
    }
    sha256_hex(&canonical)
}

/// The queue of what follows from a payment.
pub const CHECKOUTS_QUEUE: &str = "checkouts-queue";

/// Kind of the jobs that carry out what was paid.
pub const FULFIL_KIND: &str = "fulfil-checkout";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_means_is_all_of_it() {
        let new = || NewCheckout {
            client_order_id: "k-1".into(),
            lines: vec![CartLine { product_id: "prd_1".into(), quantity: 1 }],
            customer: CheckoutCustomer { name: "Eva Muster".into(), email: "eva@example.com".into(), phone: None },
            shipping_address: ShippingAddress {
                name: None,
                phone: None,
                line1: "Hauptstr. 4".into(),
                line2: None,
                city: "Berlin".into(),
                state: None,
                postcode: "10115".into(),
                country: "DE".into(),
            },
            method: PaymentMethod::Wallet,
            payment_id: None,
            priority: Priority::Normal,
            currency: None,
        };
        assert_eq!(fingerprint(&NewCheckout { client_order_id: "k-2".into(), ..new() }), fingerprint(&new()));
        let others = [
            NewCheckout { lines: vec![CartLine { product_id: "prd_1".into(), quantity: 2 }], ..new() },
            NewCheckout { method: PaymentMethod::External, ..new() },
            NewCheckout { payment_id: Some("pay_1".into()), ..new() },
            NewCheckout { priority: Priority::Rush, ..new() },
            NewCheckout { currency: Some(Currency::INR), ..new() },
            NewCheckout { priority: Priority::Rush, currency: Some(Currency::INR), ..new() },
        ];
        let mut prints: Vec<_> = others.iter().chain([&new()]).map(fingerprint).collect();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), others.len() + 1);
        // As those that are stored.
        let stored = sha256_hex(
            br#"[[{"productId":"prd_1","quantity":1}],{"name":"Eva Muster","email":"eva@example.com","phone":null},{"name":null,"phone":null,"line1":"Hauptstr. 4","line2":null,"city":"Berlin","state":null,"postcode":"10115","country":"DE"},"wallet",null]"#,
        );
        assert_eq!(fingerprint(&new()), stored);
    }
}
