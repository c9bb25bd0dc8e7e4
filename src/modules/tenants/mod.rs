//! Tenants: users who belong together, looked after by a manager.
//!
//! Invariants: a user belongs to one tenant or none. What a member creates is stamped with the tenant of that moment, and
//! stays there when the member leaves; no list crosses a tenant. Joining and leaving end the user's access, because the
//! tenant is in the access token. Tenants are never deleted.
//!
//! Collection: `tenants`; the members are in `users`. Events: `TenantCreated`.

mod commands;
mod http;
mod model;
mod service;
mod store;

pub use http::router;
pub use model::{TENANTS, Tenant, TenantSettings};
pub use service::{TenantService, ensure_readable};
pub use store::{COLLECTIONS, TenantStore, indexes};
