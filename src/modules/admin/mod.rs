//! The console at `/admin`, for people: pages over the API.
//!
//! Invariants:
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
mod area;
mod areas;
mod assets;
mod chart;
mod console;
mod cookies;
mod escape;
mod form;
mod live;
mod page;
mod render;
mod sign_in;
mod web;

use axum::Router;

pub use console::ConsoleParts;

/// The routes under `/admin`.
pub fn router(parts: ConsoleParts) -> Router {
    web::router(console::Console::new(parts))
}
