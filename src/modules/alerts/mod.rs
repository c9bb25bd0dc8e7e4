//! Alerts: rules over what all processes share, looked at once a minute by one process for all.
//!
//! Invariants: an alert fires once, and again only after it was resolved; each time its event is in the transaction that says so, and
//! mail follows from that event. Posts are made by the process that looks and not by jobs, because what they tell of may be that nobody runs
//! jobs; each is on record before it leaves, and repeated every minute until it is taken. A channel that hangs holds up no other, and
//! what can't be read leaves alerts about it as they are, and all others alone. Collection: `alerts`. Events: `AlertFired`,
//! `AlertResolved`. No jobs.

mod commands;
mod http;
mod model;
mod posting;
mod rules;
mod watch;

pub use http::{AlertBoard, router};
pub use model::{ALERTS, AlertStore};
pub use posting::{Channel, POLICY};
pub use rules::{RULES, Reading, Readings, Rule, Severity};
pub use watch::{AlertWatch, EVERY};
