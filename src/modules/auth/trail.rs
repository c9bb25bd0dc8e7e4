//! Audit events of accounts: actor, time and states. No password, e-mail address, name or token.

use bson::{DateTime, doc};

use super::{api_keys::ApiKey, model::User, session::Session};
use crate::{
    modules::audit::{AuditEvent, AuditOutcome},
    platform::identity::{Actor, Caller},
};

pub(super) fn of_user(action: &str, user_id: &str, actor: &Actor, at: DateTime) -> AuditEvent {
    AuditEvent::new(AuditOutcome::Done, actor.clone(), action, ("user", user_id), at).of_user(user_id.to_owned())
}

pub(super) fn of_session(action: &str, session: &Session, actor: Actor, at: DateTime) -> AuditEvent {
    about_session(AuditOutcome::Done, action, session, actor, at)
}

fn about_session(outcome: AuditOutcome, action: &str, session: &Session, actor: Actor, at: DateTime) -> AuditEvent {
    AuditEvent::new(outcome, actor, action, ("session", &session.id), at).of_user(session.user_id.clone())
}

pub(super) fn of_key(action: &str, key: &ApiKey, actor: &Actor, at: DateTime) -> AuditEvent {
    AuditEvent::new(AuditOutcome::Done, actor.clone(), action, ("api_key", &key.id), at).of_user(key.user_id.clone())
}

/// Somebody did not know the password of a user.
pub(super) fn wrong_password(user: &User, actor: &Actor, at: DateTime) -> AuditEvent {
    refused(user, actor, "wrong_password", at)
}

/// Somebody did not have the second factor of a user.
pub(super) fn wrong_code(user: &User, actor: &Actor, at: DateTime) -> AuditEvent {
    refused(user, actor, "wrong_code", at)
}

fn refused(user: &User, actor: &Actor, because: &str, at: DateTime) -> AuditEvent {
    AuditEvent::new(AuditOutcome::Denied, actor.clone(), "session.refused", ("user", &user.id), at)
        .of_user(user.id.clone())
        .after(doc! { "because": because })
}

/// A refresh token was presented that had been used, or had ended.
pub(super) fn spent_token(action: &str, session: &Session, caller: &Caller, at: DateTime) -> AuditEvent {
    // Whoever has it need not be the user.
    about_session(AuditOutcome::Denied, action, session, caller.anonymous(), at)
        .after(doc! { "because": "spent_token" })
}
