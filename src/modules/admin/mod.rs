//! The console at `/admin`, for people: pages over the API.
//!
//! What holds:
//!
//! - A page shows what the API answers to whoever has signed in, and a click is one request to it, through the very router that serves
//!   the API and with the user's own access token. Roles, rules, records of access and of what was done are the API's; nothing here
//!   reads or writes the database but the session itself.
//! - What a page shows is escaped. Nothing on it comes from elsewhere, and no script or style is in it.
//! - A form is carried out for the session whose page it is on, and for no other; what cannot be undone is asked first.
//!
//! Collections, jobs, events: none of its own.

mod action;
mod api;
mod areas;
mod assets;
mod chart;
mod cookies;
mod live;
mod page;
mod render;
mod sign_in;
mod web;

use std::sync::Arc;

use axum::Router;

use crate::{
    modules::{auth::BrowserSessions, queue::QueueWatch},
    platform::{clock::Clock, sealing::SealingKeys},
};

/// What the console is made of.
#[derive(Clone, Debug)]
pub struct ConsoleParts {
    /// The API.
    pub api: Router,
    /// Who has signed in.
    pub sessions: BrowserSessions,
    /// News of the queues.
    pub queues: QueueWatch,
    /// What is between the two steps of signing in is sealed under these.
    pub sealing: Arc<SealingKeys>,
    /// Time.
    pub clock: Clock,
    /// What this installation is called, on every page; `production` in red.
    pub environment: String,
    /// Where users reach it, where that is set.
    pub public_url: Option<String>,
}

/// The routes under `/admin`.
///
/// # Panics
/// When a template is wrong, which a test would have found.
pub fn router(parts: ConsoleParts) -> Router {
    web::router(web::Console::new(parts))
}
