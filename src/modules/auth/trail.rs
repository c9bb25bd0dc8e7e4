//! What the audit trail says of accounts: who, when, and states. No password, e-mail address, name or token.

use bson::{DateTime, Document, doc};

use super::model::{Session, User};
use crate::{
    modules::audit::{AuditEvent, AuditOutcome},
    platform::{
        identity::{Actor, Caller},
        ids::new_id,
    },
};

/// What was done to a user, with its state before and after.
pub(super) fn of_user(
    action: &str,
    user_id: &str,
    actor: &Actor,
    (before, after): (Option<Document>, Option<Document>),
    at: DateTime,
) -> AuditEvent {
    AuditEvent {
        id: new_id("aud"),
        actor: actor.clone(),
        action: action.into(),
        resource_type: "user".into(),
        resource_id: user_id.into(),
        user_id: Some(user_id.into()),
        outcome: AuditOutcome::Done,
        reason: None,
        before,
        after,
        at,
    }
}

/// What was done to the family of a session.
pub(super) fn of_session(action: &str, session: &Session, actor: Actor, at: DateTime) -> AuditEvent {
    AuditEvent {
        resource_type: "session".into(),
        resource_id: session.family_id.clone(),
        ..of_user(action, &session.user_id, &actor, (None, None), at)
    }
}

/// The same under an id that was made before the transaction, which may run twice.
pub(super) fn with_id(event: AuditEvent, id: String) -> AuditEvent {
    AuditEvent { id, ..event }
}

/// Somebody did not know the password of a user.
pub(super) fn wrong_password(user: &User, actor: &Actor, at: DateTime) -> AuditEvent {
    AuditEvent {
        outcome: AuditOutcome::Denied,
        ..of_user("session.refused", &user.id, actor, (None, Some(doc! { "because": "wrong_password" })), at)
    }
}

/// A refresh token was presented that had been used, or had ended.
pub(super) fn spent_token(action: &str, session: &Session, caller: &Caller, at: DateTime) -> AuditEvent {
    AuditEvent {
        outcome: AuditOutcome::Denied,
        after: Some(doc! { "because": "spent_token" }),
        // Whoever has it need not be the user.
        ..of_session(action, session, caller.anonymous(), at)
    }
}
