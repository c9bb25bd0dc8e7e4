//! The second factor of a sign-in: codes of an authenticator (TOTP, RFC 6238), and recovery codes for who has lost it. For
//! everybody who wants it, and for staff where the installation says so.

mod commands;
mod http;
mod model;
mod service;

pub use http::totp_router;
pub use model::SecondFactor;
pub(super) use model::{SecondFactorProof, TOTP_ROUTES, Totp, spend};
pub use service::rotate;
