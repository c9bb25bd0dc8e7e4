//! Money of merchants: prepaid wallets over a double-entry ledger, holds, the rate card.
//!
//! Invariants: every transaction's lines sum to zero in each currency. A reference (type, id, kind) is booked once. A
//! wallet's `available` is the sum of its lines, never below zero, and its lines carry the wallet's version as their
//! sequence and a time that never runs backwards. What is held is the sum of the open holds. A hold is captured or
//! released once, and refunded at most once after a capture. Transactions are appended, never changed; a correction is a
//! reversal.
//!
//! Only holding, releasing, refunding and finance touch the wallet's document. A full capture flips the hold and books
//! held -> payable without it, so workers that capture and an API that holds don't fight over a merchant's wallet.
//!
//! Collections: `wallets`, `holds`, `ledger_transactions`, `rate_cards`.

mod check;
mod commands;
mod error;
mod http;
mod ledger;
mod model;
pub mod rates;
mod reports;
mod service;
mod store;
mod tenant_http;
pub mod topups;

#[cfg(test)]
mod ledger_tests;

pub use check::check_ledger;
pub use commands::{BookFinance, Booked, Booking, Reverse, Reversed};
pub use http::router;
pub use ledger::{
    LedgerEntry, LedgerRefusal, Share, capture, check_credit, credit, debit, open_hold, pass_on, refund, release,
    reverse, wallet_key,
};
pub use model::{
    Account, HOLDS, Hold, HoldState, LEDGER, LedgerKind, LedgerLine, LedgerReference, LedgerTransaction, WALLETS,
    Wallet,
};
pub use reports::router as reports_router;
pub use service::WalletService;
pub use store::{Balance, WalletStore};
pub use tenant_http::{TenantWallets, tenant_router};
