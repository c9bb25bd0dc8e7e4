//! Actors: the user behind a request, its role, and how both are named in events and records.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::erased;

/// The role of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends parcels; sees its own data only.
    Merchant,
    /// Reads and corrects money.
    Finance,
    /// Reads everything, writes nothing.
    Auditor,
    /// Runs the place: queues, review, users.
    Admin,
    /// Looks after the members of a tenant; sees their orders and wallets.
    Manager,
    /// Buys from merchants; sees its own data only.
    Customer,
}

impl Role {
    /// As in tokens and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merchant => "merchant",
            Self::Finance => "finance",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Customer => "customer",
        }
    }

    /// Whether it is a role of those who work here: what others may do concerns their own data only, and anybody may open an
    /// account for it.
    #[must_use]
    pub const fn is_staff(self) -> bool {
        match self {
            Self::Merchant | Self::Customer => false,
            Self::Finance | Self::Auditor | Self::Admin | Self::Manager => true,
        }
    }
}

/// Actor of the movement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// `user`, `worker`, `provider`, `command_line`, `system`; `anonymous` of who was turned away unknown.
    pub kind: String,
    /// User id or worker id.
    pub id: String,
    /// The user's role, else null.
    pub role: Option<String>,
    /// The user's network address, else null.
    #[serde(default, deserialize_with = "erased::text")]
    pub address: Option<String>,
    /// `X-Request-Id` of the request behind it.
    pub request_id: Option<String>,
    /// The API key with which the user asked; absent where it was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
}

impl Actor {
    /// A command of an operator on the machine.
    #[must_use]
    pub fn command_line(command: &str) -> Self {
        Self {
            kind: "command_line".into(),
            id: command.into(),
            role: None,
            address: None,
            request_id: None,
            key_id: None,
        }
    }

    /// Waybill itself, by a rule that nobody asks for each time.
    #[must_use]
    pub fn system(rule: &str) -> Self {
        Self { kind: "system".into(), id: rule.into(), role: None, address: None, request_id: None, key_id: None }
    }

    /// A worker process, on behalf of the request `correlation_id`.
    #[must_use]
    pub fn worker(worker_id: &str, correlation_id: &str) -> Self {
        Self {
            kind: "worker".into(),
            id: worker_id.into(),
            role: None,
            address: None,
            request_id: Some(correlation_id.into()),
            key_id: None,
        }
    }
}

impl From<&CurrentUser> for Actor {
    fn from(user: &CurrentUser) -> Self {
        Self {
            kind: "user".into(),
            id: user.user_id.clone(),
            role: Some(user.role.as_str().into()),
            address: user.address.map(|address| address.to_string()),
            request_id: Some(user.request_id.clone()),
            key_id: user.key_id.clone(),
        }
    }
}

/// The caller, its address and the request: goes into events and audit records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentUser {
    /// `usr_...`
    pub user_id: String,
    pub role: Role,
    pub access_version: i64,
    pub tenant_id: Option<String>,
    /// `key_...` of the API key that was shown; none with an access token.
    pub key_id: Option<String>,
    /// The peer's address.
    pub address: Option<IpAddr>,
    /// `X-Request-Id`.
    pub request_id: String,
}
