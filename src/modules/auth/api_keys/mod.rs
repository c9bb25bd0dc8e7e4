//! Keys with which servers ask: made and revoked by people who have signed in, shown once.

mod commands;
mod http;
mod model;
mod ring;
mod scopes;

pub(super) use commands::end_key;
pub use http::api_keys_router;
pub(super) use model::KEYS_MAX;
pub(super) use model::REVOKED;
pub use model::{ApiKey, KeyFault};
pub use ring::{KeyRing, KeyRingParts};
pub use scopes::Scope;
