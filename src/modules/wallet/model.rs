//! Stored types of the ledger.

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    modules::events::Actor,
    platform::{
        batch::{Entity, Key},
        erased,
        money::{Currency, Money},
    },
};

/// Balances that can be spent.
pub const WALLETS: &str = "wallets";
/// Money set aside.
pub const HOLDS: &str = "holds";
pub const LEDGER: &str = "ledger_transactions";
/// Names that finance gave to what it booked.
pub const FINANCE_REFERENCES: &str = "finance_references";

/// An account of the ledger. The wallet's two accounts belong to the transaction's user; the others are the house's, are
/// derived from lines, and have no document that could be contended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Account {
    /// Money that the user can spend: a liability.
    Available,
    /// Money held for the user's open holds: a liability.
    Held,
    /// Money at our bank and payment providers: an asset.
    SettlementCash,
    /// Money owed to a provider for freight, to a merchant for sales, or to payers for refunds: a liability.
    Payable(String),
    /// Our revenue.
    Revenue,
    /// Corrections by finance.
    Adjustments,
    /// Between the two halves of a transfer; zero when both are booked.
    Transfers,
}

impl Account {
    /// Money owed to a merchant for sales.
    #[must_use]
    pub fn merchant(user_id: &str) -> Self {
        Self::Payable(format!("merchant:{user_id}"))
    }

    /// Money owed to payers for refunds at the gateway.
    #[must_use]
    pub fn refunds() -> Self {
        Self::Payable("refunds".into())
    }

    /// Whether the account is one of the user's.
    #[must_use]
    pub const fn is_wallet(&self) -> bool {
        matches!(self, Self::Available | Self::Held)
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Available => f.write_str("wallet.available"),
            Self::Held => f.write_str("wallet.held"),
            Self::SettlementCash => f.write_str("settlement.cash"),
            Self::Payable(provider) => write!(f, "payable.{provider}"),
            Self::Revenue => f.write_str("revenue"),
            Self::Adjustments => f.write_str("adjustments"),
            Self::Transfers => f.write_str("transfers"),
        }
    }
}

impl From<Account> for String {
    fn from(account: Account) -> Self {
        account.to_string()
    }
}

impl TryFrom<String> for Account {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Ok(match name.as_str() {
            "wallet.available" => Self::Available,
            "wallet.held" => Self::Held,
            "settlement.cash" => Self::SettlementCash,
            "revenue" => Self::Revenue,
            "adjustments" => Self::Adjustments,
            "transfers" => Self::Transfers,
            other => match other.strip_prefix("payable.").filter(|provider| !provider.is_empty()) {
                Some(provider) => Self::Payable(provider.to_owned()),
                None => return Err(format!("no account is called {name}")),
            },
        })
    }
}

/// The kind of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LedgerKind {
    /// Money came in.
    Recharge,
    /// Set aside for an order.
    FreightHold,
    /// The provider took the order: what was set aside is owed to it.
    FreightCapture,
    /// The order came to nothing: what was set aside is free again.
    FreightRelease,
    /// The order was taken back after the capture.
    FreightRefund,
    /// A correction by finance.
    Adjustment,
    /// One half of a transfer between two wallets.
    Transfer,
    /// The opposite of another transaction.
    Reversal,
    /// Bought from a merchant: what was paid is owed to it.
    Purchase,
    /// A purchase was refunded.
    PurchaseRefund,
    /// Paid at the gateway for something that can't be bought any more.
    LatePayment,
    /// The gateway has given a payment back.
    GatewayRefund,
}

impl LedgerKind {
    pub const ALL: [Self; 12] = [
        Self::Recharge,
        Self::FreightHold,
        Self::FreightCapture,
        Self::FreightRelease,
        Self::FreightRefund,
        Self::Adjustment,
        Self::Transfer,
        Self::Reversal,
        Self::Purchase,
        Self::PurchaseRefund,
        Self::LatePayment,
        Self::GatewayRefund,
    ];

    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recharge => "recharge",
            Self::FreightHold => "freight_hold",
            Self::FreightCapture => "freight_capture",
            Self::FreightRelease => "freight_release",
            Self::FreightRefund => "freight_refund",
            Self::Adjustment => "adjustment",
            Self::Transfer => "transfer",
            Self::Reversal => "reversal",
            Self::Purchase => "purchase",
            Self::PurchaseRefund => "purchase_refund",
            Self::LatePayment => "late_payment",
            Self::GatewayRefund => "gateway_refund",
        }
    }

    /// Whether finance may book the opposite. What orders and checkouts book, their own life takes back.
    #[must_use]
    pub const fn is_reversible(self) -> bool {
        match self {
            Self::Recharge | Self::Adjustment => true,
            Self::FreightHold
            | Self::FreightCapture
            | Self::FreightRelease
            | Self::FreightRefund
            | Self::Transfer
            | Self::Reversal
            | Self::Purchase
            | Self::PurchaseRefund
            | Self::LatePayment
            | Self::GatewayRefund => false,
        }
    }
}

/// The reference of a transaction. Each is booked once: a unique index over all three.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LedgerReference {
    /// `order`, `topup`, `checkout`, `finance`, `transaction`, ...
    pub kind_of_thing: &'static str,
    /// The thing's id.
    pub id: String,
    /// The kind of booking: `hold`, `capture`, ...
    pub booking: &'static str,
}

impl LedgerReference {
    /// The booking `booking` of the thing `id`.
    pub fn new(kind_of_thing: &'static str, id: impl Into<String>, booking: &'static str) -> Self {
        Self { kind_of_thing, id: id.into(), booking }
    }

    #[must_use]
    pub fn key(&self) -> Key {
        reference_key(self.kind_of_thing, &self.id, self.booking)
    }
}

fn reference_key(kind_of_thing: &str, id: &str, booking: &str) -> Key {
    const FIELDS: &[&str] = &["referenceType", "referenceKind", "referenceId"];
    Key::unique(LEDGER, FIELDS, vec![kind_of_thing.into(), booking.into(), id.into()])
}

/// One side of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    pub account: Account,
    /// Minor units; above zero is a credit to the account, below a debit. Never zero.
    pub amount: i64,
    /// ISO 4217.
    pub currency: Currency,
}

/// A booked transaction. Never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerTransaction {
    /// `txn_...`
    #[serde(rename = "_id")]
    pub id: String,
    pub kind: LedgerKind,
    /// The user whose wallet it concerns.
    pub user_id: String,
    pub currency: Currency,
    /// At least two; they sum to zero.
    pub lines: Vec<LedgerLine>,
    /// See [`LedgerReference`].
    pub reference_type: String,
    /// See [`LedgerReference`].
    pub reference_id: String,
    /// See [`LedgerReference`].
    pub reference_kind: String,
    /// The wallet's version after it, from 1 without gaps; null where `available` was not touched.
    pub wallet_seq: Option<i64>,
    /// `available` after it; null where it was not touched.
    pub available_after: Option<i64>,
    /// The hold it opened, captured or gave back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_id: Option<String>,
    /// The transaction that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverses: Option<String>,
    /// The id that finance gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_reference: Option<String>,
    /// In the words of whoever asked for it.
    #[serde(default, deserialize_with = "erased::text", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Actor of the movement.
    pub actor: Actor,
    /// When; in the order of `wallet_seq` within a wallet.
    pub at: DateTime,
}

impl LedgerTransaction {
    /// Its reference: type, id, kind.
    #[must_use]
    pub fn reference(&self) -> (&str, &str, &str) {
        (&self.reference_type, &self.reference_id, &self.reference_kind)
    }

    /// The change of the user's available balance.
    #[must_use]
    pub fn change_of_available(&self) -> i64 {
        self.sum_of(&Account::Available)
    }

    /// Of one that a wallet's statement has: its number there, and what could be spent after it.
    ///
    /// # Panics
    /// For one that changed no wallet.
    #[must_use]
    pub fn statement_line(&self) -> (i64, i64) {
        self.wallet_seq.zip(self.available_after).expect("what is in a statement is numbered")
    }

    /// The sum of its lines on `account`.
    #[must_use]
    pub fn sum_of(&self, account: &Account) -> i64 {
        self.lines.iter().filter(|line| line.account == *account).map(|line| line.amount).sum()
    }
}

impl Entity for LedgerTransaction {
    const COLLECTION: &'static str = LEDGER;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        vec![reference_key(&self.reference_type, &self.reference_id, &self.reference_kind)]
    }
}

/// A name that finance gave to a booking or to a reversal: it stands for that one, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinanceReference {
    #[serde(rename = "_id")]
    pub id: String,
    pub transaction_id: String,
}

impl FinanceReference {
    pub fn key(client_reference: &str) -> Key {
        Key::id(FINANCE_REFERENCES, client_reference)
    }
}

impl Entity for FinanceReference {
    const COLLECTION: &'static str = FINANCE_REFERENCES;

    fn id(&self) -> &str {
        &self.id
    }
}

/// A user's money in one currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wallet {
    /// See [`Wallet::id_of`].
    #[serde(rename = "_id")]
    pub id: String,
    pub user_id: String,
    /// ISO 4217.
    pub currency: Currency,
    /// Minor units; never below zero.
    pub available: i64,
    /// Transactions that touched `available` so far.
    pub version: i64,
    pub last_at: DateTime,
    pub created_at: DateTime,
}

impl Wallet {
    /// The id of a user's wallet: one per currency, so that it is found without a search and can't be there twice.
    #[must_use]
    pub fn id_of(user_id: &str, currency: Currency) -> String {
        let body = user_id.strip_prefix("usr_").unwrap_or(user_id);
        format!("wal_{body}_{}", currency.code())
    }
}

impl Entity for Wallet {
    const COLLECTION: &'static str = WALLETS;

    fn id(&self) -> &str {
        &self.id
    }
}

/// Where a hold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// The money is set aside.
    Open,
    /// It is owed, wholly or in part; the rest went back.
    Captured,
    /// All of it went back.
    Released,
    /// The captured amount was refunded.
    Refunded,
}

/// Money set aside for one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// `hld_...`
    #[serde(rename = "_id")]
    pub id: String,
    pub user_id: String,
    /// ISO 4217.
    pub currency: Currency,
    /// Minor units set aside; above zero.
    pub amount: i64,
    /// Minor units captured; 0 unless captured or refunded.
    pub captured: i64,
    pub state: HoldState,
    /// `order`, ...
    pub reference_type: String,
    /// The thing's id; `#2` and so on after it where the thing holds again.
    pub reference_id: String,
    pub created_at: DateTime,
    /// Last change.
    pub updated_at: DateTime,
}

impl Hold {
    #[must_use]
    pub const fn money(&self) -> Money {
        Money::new(self.amount, self.currency)
    }
}

impl Entity for Hold {
    const COLLECTION: &'static str = HOLDS;

    fn id(&self) -> &str {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_stored_by_name() {
        for account in [
            Account::Available,
            Account::Held,
            Account::SettlementCash,
            Account::Payable("parcelx".into()),
            Account::Revenue,
            Account::Adjustments,
            Account::Transfers,
        ] {
            assert_eq!(Account::try_from(String::from(account.clone())), Ok(account));
        }
        for bad in ["", "payable.", "wallet", "cash"] {
            assert!(Account::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wallet_is_found_by_its_owner_and_currency() {
        assert_eq!(Wallet::id_of("usr_0198", Currency::INR), "wal_0198_INR");
    }
}
