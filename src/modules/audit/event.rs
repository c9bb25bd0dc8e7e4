//! Audit events: who did or read what. Appended, never changed.

use bson::{DateTime, Document};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::{erased, identity::Actor, ids::new_id};

/// Outcome.
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
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// An audit event: something that was done or read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    #[serde(rename = "_id")]
    pub id: String,
    /// The actor, with address and request id.
    pub actor: Actor,
    /// `kyc.application_read`, ...: module and verb in the past tense, with a dot between them, which types of events lack.
    pub action: String,
    /// `kyc_application`, ...
    pub resource_type: String,
    pub resource_id: String,
    pub user_id: Option<String>,
    /// Outcome.
    pub outcome: AuditOutcome,
    #[serde(default, deserialize_with = "erased::text")]
    pub reason: Option<String>,
    /// Changed fields before; ids and states, never personal data.
    pub before: Option<Document>,
    pub after: Option<Document>,
    pub at: DateTime,
}

impl AuditEvent {
    /// That an actor did something to a resource (type and id), or tried to, at a time. Nothing is said of why, of whose it
    /// is, and of what changed.
    pub fn new(
        outcome: AuditOutcome,
        actor: Actor,
        action: impl Into<String>,
        (resource_type, resource_id): (&str, &str),
        at: DateTime,
    ) -> Self {
        Self {
            id: new_id("aud"),
            actor,
            action: action.into(),
            resource_type: resource_type.to_owned(),
            resource_id: resource_id.to_owned(),
            user_id: None,
            outcome,
            reason: None,
            before: None,
            after: None,
            at,
        }
    }

    /// Under an id that was made before: a transaction that may run twice inserts the same.
    #[must_use]
    pub fn with_id(self, id: String) -> Self {
        Self { id, ..self }
    }

    #[must_use]
    pub fn of_user(self, user_id: impl Into<Option<String>>) -> Self {
        Self { user_id: user_id.into(), ..self }
    }

    #[must_use]
    pub fn because(self, reason: impl Into<Option<String>>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// The state before the change.
    #[must_use]
    pub fn before(self, before: impl Into<Option<Document>>) -> Self {
        Self { before: before.into(), ..self }
    }

    /// The state after the change, or other details.
    #[must_use]
    pub fn after(self, after: impl Into<Option<Document>>) -> Self {
        Self { after: after.into(), ..self }
    }
}
