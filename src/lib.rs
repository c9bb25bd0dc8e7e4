//! Waybill: a provider integration platform on MongoDB with audit logging.
//!
//! The map is ARCHITECTURE.md; the way of an order is WORKFLOW.md.

pub mod app;
pub mod commands;
pub mod config;
pub mod modules;
pub mod platform;
pub mod telemetry;
