//! Who did what, and who read what: audit events. Appended, never changed.

use bson::{DateTime, Document};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::{erased, identity::Actor};

/// Whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It was not allowed.
    Denied,
    /// It was tried in vain.
    Failed,
}

impl AuditOutcome {
    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// One thing that somebody did to something, or read of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// `aud_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// Who, with address and request id.
    pub actor: Actor,
    /// `kyc.application_read`, ...: module and verb in the past tense, with a dot between them, which types of events lack.
    pub action: String,
    /// `kyc_application`, ...
    pub resource_type: String,
    /// Its id.
    pub resource_id: String,
    /// Whose it is.
    pub user_id: Option<String>,
    /// Whether it was done.
    pub outcome: AuditOutcome,
    /// Why, in the words of whoever did it.
    #[serde(default, deserialize_with = "erased::text")]
    pub reason: Option<String>,
    /// Changed fields before; ids and states, never personal data.
    pub before: Option<Document>,
    /// The same fields after.
    pub after: Option<Document>,
    /// When.
    pub at: DateTime,
}
