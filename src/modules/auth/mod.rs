//! Users, passwords and sessions: who somebody is, and how long we believe it.
//!
//! Invariants:
//!
//! - An e-mail address, trimmed and in lower case, belongs to one user (unique index).
//! - A password is stored as an argon2id hash alone, a refresh token not at all.
//! - A refresh token is good once. Repeating a refresh whose answer was lost gives the same successor, for 30 s and while nobody
//!   used that one. Every other reuse ends the whole session.
//! - One session has one live token, however many refreshes run at once and wherever a process dies, and ends 30 days after the
//!   sign-in. It is one document.
//! - Under which key the live token was made is decided once, where the one before is spent. A process that doesn't have that
//!   key (the secret is being changed) refuses, and never stores another.
//! - A change of the password or the role, disabling a user and ending the sessions make every session and access token of the
//!   user void in the same write: they carry the access version that they were opened with. Commands of finance and
//!   administrators read the user in their transaction ([`AsUser`]); everything else learns of it within seconds, from what
//!   each API process reads from the database every second ([`Users::follow_access`]).
//! - A guess counts before it is known whether it is right: against the account from its network, the network, and the account.
//!   Strangers' guesses shut out nobody who has signed in on the same device before.
//! - Every change of a user, and the opening and ending of a session, has an audit event in its transaction; refreshing
//!   goes on with a session and has none. A wrong password for a known user is recorded as far as there is room.
//!
//! - A browser's session has no refresh token but a cookie, which stays the same, for half an hour without a request and twelve hours at
//!   most. That it has ended counts from its next request on.
//! - A link in a letter is authenticated and stored nowhere. One that sets a password is good for an hour, until the password, the
//!   role or the address changes, or the sessions are ended; opening a link changes nothing. Whether an address is anybody's, no
//!   answer says.
//!
//! - An API key is stored as a hash. It does what its scopes name, on routes that a scope is written down for, while its user is
//!   there, enabled and in the role in which it was made; it outlives a change of the password. Each process remembers good keys
//!   for a minute, and forgets one as fast as it learns of ended access.
//!
//! - A second factor is asked for after the right password. Its secret is sealed, a code and a recovery code are good once, and
//!   wrong ones have limits of their own. Where staff has to have one, who has none gets tokens that open `/auth/totp` alone.
//!   Beginning and ending with one ends every session.
//!
//! Collections: `users`, `sessions`, `api_keys`, `totp`. No jobs. Events: `UserCreated`, `PasswordResetRequested`, `PasswordChanged`,
//! `EmailVerificationRequested`; no address, link or password is in them.

mod access_check;
mod api_keys;
mod attempts;
mod browser;
mod commands;
mod device;
mod error;
mod http;
mod links;
mod mail_commands;
mod mail_http;
mod mail_topics;
mod model;
mod pages;
mod password;
mod recovery;
mod service;
mod session;
mod store;
mod totp;
mod trail;
mod users;
mod users_http;

pub use access_check::{AsUser, Revoked};
pub use api_keys::{ApiKey, KeyRing, KeyRingParts, Scope, api_keys_router};
pub use attempts::AttemptLimits;
pub use browser::{BrowserSession, BrowserSessions};
pub use device::DeviceKeys;
pub use error::AuthError;
pub use http::router;
pub use links::LinkKeys;
pub use mail_http::mail_router;
pub use mail_topics::{MailTopic, MailTopics};
pub use model::User;
pub use password::PasswordCost;
pub use service::{AuthParts, AuthService, Tokens};
pub use session::{PresentedToken, RefreshKeys, RefreshTokenState, Session, judge};
pub use store::{
    COLLECTIONS, UserFilter, find_user, find_user_by_email, indexes, scopes_of_key, user_exists, user_id_of, user_key,
    users_who_want_reports,
};
pub use totp::{SecondFactor, rotate, totp_router};
pub use users::{Requester, Users};
pub use users_http::users_router;
