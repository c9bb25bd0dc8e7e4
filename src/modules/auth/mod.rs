//! Users, passwords and sessions: who somebody is, and how long we believe it.
//!
//! What holds:
//!
//! - An e-mail address, trimmed and in lower case, belongs to one user (unique index).
//! - A password is stored as an argon2id hash alone, a refresh token as its SHA-256 alone.
//! - A refresh token is good once. Its successor is derived from it, so repeating a refresh whose answer was
//!   lost gives the same successor, for 30 s and while nobody used that one. Every other reuse ends the whole family.
//! - Which successor a token has is decided once, where it is marked used. A process that can't derive that one (the
//!   secret is being changed) refuses, and never stores another.
//! - One family has at most one live token, however many refreshes run at once and wherever a process dies.
//! - A change of the password ends every session of the user in the same write: sessions carry the version of the
//!   password they were opened with.
//! - A wrong password is counted before (account) or before the next guess (address) can be verified.
//! - Every change of a user, and the opening and ending of a session, has an audit event in its transaction; refreshing
//!   goes on with a session and has none. A wrong password for a known user is recorded as far as there is room.
//!
//! Collections: `users`, `sessions`. No jobs, no events.

mod attempts;
mod commands;
mod error;
mod http;
mod model;
mod password;
mod service;
mod store;
mod trail;

pub use attempts::Limits;
pub use error::AuthError;
pub use http::router;
pub use model::{RefreshKeys, Session, User, Verdict, judge};
pub use service::{AuthParts, AuthService, Tokens};
pub use store::{COLLECTIONS, indexes, user_exists, user_id_of, user_key};
