//! An order as stored.

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::file_names::{harmless_name, harmless_type};
use crate::{
    modules::{
        audit::Call,
        providers::{Detail, NamedFile, Placed, StoredFailure, dispatch::pool},
        wallet::rates::Pricing,
    },
    platform::{
        batch::{Entity, Key},
        exchange::is_page,
        money::Money,
        secret::sha256_hex,
    },
};

pub const ORDERS: &str = "orders";
/// The field of [`Order::reference_key`].
const LIVE_REFERENCE: &[&str] = &["liveReference"];
/// Version of [`fingerprint`]; raised when its meaning changes.
const FINGERPRINT_VERSION: u32 = 2;

/// Status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Acknowledged; the provider has not accepted it yet.
    Created,
    /// The provider has accepted it.
    Confirmed,
    /// The provider is at it, and takes its time.
    InProgress,
    /// All that was ordered is here.
    Delivered,
    /// Taken back.
    Cancelled,
    /// Refused for good.
    Failed,
    /// Not known, or not possible, after every attempt: a person decides.
    NeedsAttention,
}

impl OrderStatus {
    /// Every status, in the order of the table in WORKFLOW.md.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Confirmed,
        Self::InProgress,
        Self::Delivered,
        Self::Cancelled,
        Self::Failed,
        Self::NeedsAttention,
    ];

    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Confirmed => "confirmed",
            Self::InProgress => "in_progress",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::NeedsAttention => "needs_attention",
        }
    }
}

/// Agreement of our record with the provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderSyncStatus {
    /// Not sent yet.
    Pending,
    /// A call is under way.
    InProgress,
    /// Provably not executed; will be sent again.
    Retrying,
    /// It may have been executed; will be looked up.
    Unknown,
    /// Both sides agree: they have it, or nobody wants it any more.
    Synced,
    /// They don't, or nobody knows and a person has to look.
    Failed,
}

/// Status of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancellationStatus {
    /// Asked for.
    Requested,
    /// The provider is being asked.
    InProgress,
    /// Cancelled.
    Done,
    /// The provider refused; it may be asked again.
    Refused,
    /// Not known, or not possible, after every attempt: a person decides, or it is asked again.
    NeedsAttention,
}

impl CancellationStatus {
    /// Whether it is still to be carried out.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Requested | Self::InProgress)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancellation {
    pub status: CancellationStatus,
    /// The merchant's words.
    pub reason: Option<String>,
    pub requested_at: DateTime,
    /// Last request to the provider.
    pub request_ref_id: Option<String>,
    pub response_ref_id: Option<String>,
    /// The job that carries it out, once there is one.
    pub job_id: Option<String>,
    /// Why it was refused or given up. While it is pending: why the provider has not cancelled it, which is still to be checked.
    pub failure: Option<StoredFailure>,
    /// `X-Request-Id` of the request for it.
    pub correlation_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRefs {
    pub courier_name: Option<String>,
    /// Their order number, besides the reference.
    pub provider_order_id: Option<String>,
}

/// How an order is paid for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Billing {
    pub hold_id: String,
    /// Holds so far: a second one where it is sent again after the first was released.
    pub holds: i32,
    pub pricing: Pricing,
}

/// A create that may have been executed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uncertain {
    pub request_ref_id: String,
    /// Since then an absence in a look-up is awaited.
    pub since: DateTime,
    /// It was the last attempt: where it turns out not to be executed, nothing is sent any more.
    #[serde(default)]
    pub last: bool,
    /// It was refused, after an earlier one was sent: final where a look-up finds neither.
    #[serde(default)]
    pub refusal: Option<StoredFailure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// `ord_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// A number for people to read out.
    pub order_number: String,
    pub user_id: String,
    /// The tenant that the owner belonged to when it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The owner's id; unique per owner, for ever.
    pub client_order_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout_id: Option<String>,
    /// The order that took its place, for the same checkout: this one is not sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
    /// One of the registry's.
    pub provider: String,
    pub status: OrderStatus,
    /// Agreement of our record with the provider's.
    pub provider_sync_status: ProviderSyncStatus,
    /// Last request of the create, look-ups included.
    pub provider_request_ref_id: Option<String>,
    pub provider_response_ref_id: Option<String>,
    pub detail: Detail,
    /// The account with which it was sent last: that account looks it up and takes it back.
    #[serde(default)]
    pub account_id: Option<String>,
    /// It goes to the merchant's own account with the provider, and costs nothing here.
    #[serde(default)]
    pub own_account: bool,
    /// The provider's name for it: a waybill number, an order number, ...
    #[serde(default)]
    pub reference: Option<String>,
    pub refs: ProviderRefs,
    /// Account and reference while the order lives: no two orders share them. See [`Order::claim_reference`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_reference: Option<String>,
    /// How far it is with a provider that takes its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed: Option<OrderProgress>,
    /// The provider has it, and lacks what a second call brings.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// The charge; none for orders from before there were wallets.
    pub charge: Option<Money>,
    /// How it is paid for; none where it costs nothing.
    #[serde(default)]
    pub billing: Option<Billing>,
    pub cancellation: Option<Cancellation>,
    /// Why it did not go through.
    pub failure: Option<StoredFailure>,
    /// Note of an operator; not for the merchant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Calls that tried to place it.
    pub attempts: i32,
    /// Events of it so far.
    #[serde(default)]
    pub events: i64,
    pub job_id: String,
    /// A create that may have been executed.
    pub uncertain: Option<Uncertain>,
    /// There was such a create, and no final answer since.
    #[serde(default)]
    pub doubted: bool,
    /// A call whose answer is not written down yet.
    pub open_call: Option<Call>,
    pub fingerprint_version: u32,
    /// Meaning of the create request.
    pub fingerprint: String,
    /// `X-Request-Id` of the create.
    pub correlation_id: String,
    pub created_at: DateTime,
    /// Last change.
    pub updated_at: DateTime,
}

impl Order {
    #[must_use]
    pub fn key(user_id: &str, client_order_id: &str) -> Key {
        Key::unique(ORDERS, &["userId", "clientOrderId"], vec![user_id.into(), client_order_id.into()])
    }

    /// Whether the create request with this fingerprint means this order. The stored order is read and fingerprinted again
    /// by today's code before it is refused, so a change of the normal form or of the fingerprint refuses no retry.
    #[must_use]
    pub fn means(&self, fingerprint: &str) -> bool {
        (self.fingerprint_version == FINGERPRINT_VERSION && self.fingerprint == fingerprint)
            || self::fingerprint(&self.provider, &self.detail.normalized()) == fingerprint
    }

    /// Takes over what an answer names; a look-up names less and takes nothing away.
    pub fn learn(&mut self, placed: &Placed) {
        self.unfinished = placed.unfinished;
        if !placed.unfinished {
            self.reference = Some(placed.reference.clone());
        }
        let refs = &mut self.refs;
        refs.courier_name = placed.courier_name.clone().or_else(|| refs.courier_name.take());
        refs.provider_order_id = placed.provider_order_id.clone().or_else(|| refs.provider_order_id.take());
    }

    /// The key of the live order that the provider knows as `reference` with this order's account; none where this one was
    /// never sent.
    #[must_use]
    pub fn reference_key(&self, reference: &str) -> Option<Key> {
        Some(Key::unique(ORDERS, LIVE_REFERENCE, vec![self.live_as(reference)?]))
    }

    #[must_use]
    pub fn files(&self) -> &[OrderFile] {
        self.followed.as_ref().map_or(&[], |followed| &followed.files)
    }

    /// Claims its reference where the order lives, else gives it up. To be called whenever either may have changed.
    pub fn claim_reference(&mut self) {
        let is_live = !matches!(self.status, OrderStatus::Cancelled | OrderStatus::Failed);
        self.live_reference = self.reference.as_ref().filter(|_| is_live).and_then(|reference| self.live_as(reference));
    }

    fn live_as(&self, reference: &str) -> Option<String> {
        Some(format!("{}/{reference}", self.account_id.as_ref()?))
    }

    pub fn link_response(&mut self, request_ref_id: &str, response_ref_id: &str) {
        if self.provider_request_ref_id.as_deref() == Some(request_ref_id) {
            self.provider_response_ref_id = Some(response_ref_id.to_owned());
        }
        if let Some(cancellation) = &mut self.cancellation
            && cancellation.request_ref_id.as_deref() == Some(request_ref_id)
        {
            cancellation.response_ref_id = Some(response_ref_id.to_owned());
        }
    }

    /// The create `call` may have been executed: it is looked up before anything else.
    pub fn doubt(&mut self, call: &Call, now: DateTime, last: bool) {
        self.provider_sync_status = ProviderSyncStatus::Unknown;
        self.doubted = true;
        self.uncertain =
            Some(Uncertain { request_ref_id: call.request_ref_id.clone(), since: now, last, refusal: None });
    }

    /// Why the provider has not cancelled it, while it is not known yet whether the shipment is alive.
    #[must_use]
    pub fn failed_cancel(&self) -> Option<&StoredFailure> {
        let is_open = self.cancellation_pending() && self.uncertain.is_none();
        self.cancellation.as_ref().filter(|_| is_open)?.failure.as_ref()
    }

    /// Whether the provider has it, or nobody knows that it has not.
    #[must_use]
    pub const fn may_be_placed(&self) -> bool {
        self.reference.is_some() || self.unfinished || self.uncertain.is_some() || self.open_call.is_some()
    }

    /// The accounts that may take it.
    #[must_use]
    pub fn pool(&self) -> String {
        pool(&self.provider, self.own_account.then_some(&*self.user_id))
    }

    /// Whether the merchant has asked for a cancellation that is still open.
    #[must_use]
    pub fn cancellation_pending(&self) -> bool {
        self.cancellation.as_ref().is_some_and(|cancellation| cancellation.status.is_pending())
    }
}

impl Entity for Order {
    const COLLECTION: &'static str = ORDERS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        let claim = self.live_reference.clone().map(|claim| Key::unique(ORDERS, LIVE_REFERENCE, vec![claim]));
        [Self::key(&self.user_id, &self.client_order_id)].into_iter().chain(claim).collect()
    }
}

/// Version of what [`fingerprint`] gives.
#[must_use]
pub const fn fingerprint_version() -> u32 {
    FINGERPRINT_VERSION
}

/// The meaning of a create request: SHA-256 over the parsed request in canonical form. Order of keys, white space, nulls
/// and spelled-out defaults don't count, because they are gone after parsing.
///
/// # Panics
/// Never for a detail object that was parsed.
#[must_use]
pub fn fingerprint(provider: &str, detail: &Detail) -> String {
    let canonical = serde_json::to_vec(&(provider, detail)).expect("a detail object is JSON: it came as JSON");
    sha256_hex(&canonical)
}

/// How far an order is with its provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderProgress {
    /// It has taken its time since then.
    pub since: DateTime,
    /// The provider knew nothing of it when it was asked: it is looked up.
    pub missing: bool,
    /// It was complete since then.
    pub complete_at: Option<DateTime>,
    /// Nothing will be added.
    pub last: bool,
    /// Files that the provider has named and that are not here yet.
    pub to_fetch: Vec<FileToFetch>,
    pub files: Vec<OrderFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileToFetch {
    /// The provider's id of it.
    pub id: String,
    /// Its name, made harmless.
    pub name: String,
    /// Content type, restricted to harmless ones.
    pub content_type: String,
    /// It is said to be a page, or JSON.
    pub is_page: bool,
}

/// A file that is here; its content is kept sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderFile {
    /// `fil_...`
    pub id: String,
    pub provider_file_id: String,
    /// Its name, made harmless.
    pub name: String,
    /// Content type, restricted to harmless ones.
    pub content_type: String,
    pub bytes: i64,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
    pub stored_at: DateTime,
    #[serde(default)]
    pub erased_at: Option<DateTime>,
}

impl From<&NamedFile> for FileToFetch {
    fn from(named: &NamedFile) -> Self {
        let content_type = harmless_type(&named.content_type);
        Self {
            id: named.id.clone(),
            name: harmless_name(&named.name, content_type),
            content_type: content_type.to_owned(),
            is_page: is_page(&named.content_type),
        }
    }
}

impl OrderProgress {
    pub(super) const fn from(since: DateTime) -> Self {
        Self { since, missing: false, complete_at: None, last: false, to_fetch: Vec::new(), files: Vec::new() }
    }
}
