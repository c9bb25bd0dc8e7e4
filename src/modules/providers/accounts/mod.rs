//! Accounts at providers: with which credentials they are called, and how often.
//!
//! Invariants: credentials are sealed before they reach a transaction, opened right before a call, and never shown, logged
//! or recorded, user names included. Every change has its audit event in its own transaction, which names the fields and no
//! credential. The version of the credentials grows whenever they are changed.
//!
//! Collections: `provider_accounts` and `provider_sessions`, written by commands. What changes with every call is the dispatch's.

mod commands;
mod model;
mod service;
mod sessions;
mod trial;
mod trial_end;

pub use commands::{
    AccountChange, AccountChanged, AccountNotChanged, ChangeAccount, CreateAccount, NotCreated, ValueChange,
};
pub use model::{
    AccountStatus, AccountTest, CREDENTIAL_CHARS_MAX, ProviderAccount, default_account, is_account_id,
    is_default_account,
};
pub use service::{AccountFilter, Accounts, COLLECTIONS, EnvironmentAccount, indexes};
pub use sessions::{BeginLogIn, BegunLogIn, EndLogIn, ProviderSessionState, Sessions};
pub use trial::{BeginTest, EndTest, NotTested, TEST_EVERY, test_wait};
pub use trial_end::CloseTests;

use crate::platform::rewrap::Rotation;

/// Wraps the credentials of all accounts, and the tokens of their sessions, under today's key.
///
/// # Errors
/// Errors of the database driver.
pub async fn rotate(rotation: &mut Rotation<'_>) -> mongodb::error::Result<()> {
    model::rotate(rotation).await?;
    sessions::rotate(rotation).await
}
