//! Outside services. An adapter builds requests, reads answers and classifies errors; it never sees the
//! database and never sends: [`crate::platform::exchange`] does.
//!
//! Invariants: a provider's secrets are fetched right before sending and never stored. What an adapter does not
//! understand is `unknown`, never a guess. Nothing outside of a provider's folder and [`registry`] names a provider.
//! Collections: those of [`accounts`] and [`dispatch`].

pub mod accounts;
mod adapter;
mod attempt;
pub mod call_handler;
pub mod call_job;
pub mod checks;
mod declaration;
mod detail;
pub mod dispatch;
mod kind;
mod log_in;
mod outcome;
pub mod payments;
mod policy;
mod progress;
mod reading;
mod refusal;
pub mod registry;
mod secrets;
#[cfg(test)]
mod status_tests;
mod transport;

pub use accounts::{
    AccountChange, AccountChanged, AccountFilter, AccountStatus, Accounts, ChangeAccount, CreateAccount,
    EnvironmentAccount, NotCreated, ProviderAccount, ValueChange, default_account,
};
pub use adapter::{
    CancellableOrders, LogIn, Operation, OrderProvider, OrderToPlace, PlacedOrder, PolledOrders, Provider, Testing,
    Token, TwoStepOrders,
};
pub use declaration::{
    AccountLimits, BASE_URL, CALL_DEADLINE_MS, CredentialField, Declaration, PricedBy, ProviderSettings, QueuePolicy,
    RATE_PER_SECOND, SecretDeclaration, ServiceDeclaration, SettingDeclaration,
};
pub use detail::{
    Detail, Extract, ExtractType, Gender, ParcelDimensions, Party, PaymentMode, Sale, SaleAddress, SaleCustomer,
    SaleLine, Service, Shipment, ShipmentItem,
};
pub use dispatch::Dispatcher;
pub use kind::ProviderKind;
pub use outcome::{AttemptDecision, Failure, Outcome, Placed, Retry, StoredFailure, Timing, job_error};
pub use policy::{Policy, not_personal, policies};
pub use progress::{NamedFile, PollSchedule, Progress};
pub use registry::{Configured, ProviderName, Providers};
pub use secrets::AccountSecrets;
