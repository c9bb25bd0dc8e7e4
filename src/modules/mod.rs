//! The platform's business, a module for each part. Who may use whom is in ARCHITECTURE.md and held by a test.

pub mod admin;
pub mod alerts;
pub mod audit;
pub mod auth;
pub mod catalog;
pub mod checkout;
pub mod events;
pub mod inspection;
pub mod kyc;
pub mod notifications;
pub mod orders;
pub mod providers;
pub mod queue;
pub mod schedules;
pub mod tenants;
pub mod wallet;
pub mod webhooks;
