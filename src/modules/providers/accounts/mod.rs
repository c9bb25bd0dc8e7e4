//! Accounts at providers: with which credentials they are called, and how often.
//!
//! Invariants: credentials are sealed before they reach a transaction, opened right before a call, and never shown, logged
//! or recorded, user names included. Every change has its audit event in its own transaction, which names the fields and no
//! credential. The version of the credentials grows whenever they are changed.
//!
//! Collection: `provider_accounts`, written by commands. What changes with every call is the dispatch's.

mod commands;
mod model;
mod service;

pub use commands::{AccountChange, AccountChanged, ChangeAccount, CreateAccount, NotChanged, NotCreated, ValueChange};
pub use model::{
    AccountStatus, CREDENTIAL_CHARS_MAX, ProviderAccount, default_account, is_account_id, is_default_account, rotate,
};
pub use service::{AccountFilter, Accounts, COLLECTIONS, EnvironmentAccount, indexes};
