//! Writes of accounts, each in one transaction with the audit event that tells of it.

use bson::{Document, doc};

use super::{
    api_keys::{ApiKey, end_key},
    model::User,
    session::Session,
    store::{API_KEYS, SESSIONS, TOTP, USERS, user_key},
    totp::{SecondFactorProof, spend},
    trail,
};
use crate::{
    modules::{
        audit::{AuditEvent, record_event},
        events::{self, Event},
    },
    platform::{
        batch::{Command, Entity, Key, View},
        identity::{Actor, Role},
        ids::sibling_id,
    },
};

impl Entity for User {
    const COLLECTION: &'static str = USERS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        vec![email_key(&self.email)]
    }
}

impl Entity for Session {
    const COLLECTION: &'static str = SESSIONS;

    fn id(&self) -> &str {
        &self.id
    }
}

fn email_key(email: &str) -> Key {
    Key::unique(USERS, &["email"], vec![email.to_owned()])
}

/// Adds a user; false where the e-mail address belongs to somebody.
pub(super) struct AddUser {
    pub(super) user: User,
    pub(super) actor: Actor,
}

impl Command for AddUser {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        vec![email_key(&self.user.email)]
    }

    fn decide(&self, view: &mut View) -> bool {
        let Self { user, actor } = self;
        if view.contains(&email_key(&user.email)) {
            return false;
        }
        let (mut user, state) = (user.clone(), doc! { "role": user.role.as_str() });
        let event_id = sibling_id("aud", &user.id);
        tell(view, &mut user, "UserCreated", actor, &event_id, state.clone());
        view.insert(&user);
        let event = trail::of_user("user.created", &user.id, actor, view.now()).after(state);
        record_event(view, &event.with_id(event_id));
        true
    }
}

/// Appends an event about a user, beside the audit event of this id; the user is stored by the caller.
pub(super) fn tell(view: &mut View, user: &mut User, kind: &str, actor: &Actor, audit_id: &str, data: Document) {
    user.events += 1;
    let event = Event {
        id: sibling_id("evt", audit_id),
        kind: kind.into(),
        subject_id: user.id.clone(),
        user_id: user.id.clone(),
        seq: user.events,
        actor: actor.clone(),
        data,
        at: view.now(),
    };
    events::record(view, &event);
}

/// Proof that the user may change the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordProof {
    Password,
    /// A link that was sent to the user's address, which is thereby verified.
    Link,
}

/// Why a password was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordKept {
    /// The user's access was ended since it was shown, or there is no such user.
    OtherAccess,
    /// The keys to revoke are not all of them: another one was made meanwhile.
    OtherKeys,
}

/// Changes a password, which ends every session, and API keys where they are named.
pub(super) struct ChangePassword {
    pub(super) user_id: String,
    pub(super) access_version: i64,
    pub(super) shown: PasswordProof,
    pub(super) hash: String,
    /// All keys of the user, which end too, each with the new id of its audit event; none where they are left.
    pub(super) keys: Option<Vec<(String, String)>>,
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl Command for ChangePassword {
    type Reply = Result<User, PasswordKept>;

    fn reads(&self) -> Vec<Key> {
        let keys = self.keys.iter().flatten().map(|(key_id, _)| Key::id(API_KEYS, &**key_id));
        std::iter::once(user_key(&self.user_id)).chain(keys).collect()
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let user = view.by_id::<User>(&self.user_id);
        let user = user.filter(|user| user.access_version == self.access_version);
        let mut user = user.ok_or(PasswordKept::OtherAccess)?;
        if let Some(keys) = &self.keys {
            let found = keys.iter().filter_map(|(key_id, event_id)| Some((view.by_id::<ApiKey>(key_id)?, event_id)));
            let live: Vec<_> = found.filter(|(key, _)| key.revoked_at.is_none()).collect();
            if i32::try_from(live.len()) != Ok(user.api_keys) {
                return Err(PasswordKept::OtherKeys);
            }
            for (key, event_id) in live {
                end_key(view, key, &self.actor, event_id);
            }
            user.api_keys = 0;
        }
        user.password_hash.clone_from(&self.hash);
        let (action, by) = match self.shown {
            PasswordProof::Password => ("user.password_changed", "user"),
            PasswordProof::Link => ("user.password_reset", "link"),
        };
        if self.shown == PasswordProof::Link && user.email_verified_at.is_none() {
            user.email_verified_at = Some(view.now());
        }
        tell(view, &mut user, "PasswordChanged", &self.actor, &self.event_id, doc! { "by": by });
        end_access(view, &mut user, action, &self.actor, &self.event_id, None);
        Ok(user)
    }
}

/// Makes what the user came in by void, and records why; `states`: what of the user was changed, before and after.
pub(super) fn end_access(
    view: &mut View,
    user: &mut User,
    action: &str,
    actor: &Actor,
    event_id: &str,
    states: Option<(Document, Document)>,
) {
    let version = |version: i64| doc! { "accessVersion": version };
    let (mut before, mut after) = states.unwrap_or_default();
    before.extend(version(user.access_version));
    user.end_access(view.now());
    after.extend(version(user.access_version));
    view.update(user);
    let event = trail::of_user(action, &user.id, actor, view.now()).before(before).after(after);
    record_event(view, &event.with_id(event_id.to_owned()));
}

/// Has a user sent a link to set another password, which is good while the access version is what it is now; the user is stored
/// by the caller.
pub(super) fn ask_for_reset(view: &mut View, user: &mut User, by: &str, actor: &Actor, audit_id: &str) {
    let data = doc! { "by": by, "accessVersion": user.access_version };
    tell(view, user, "PasswordResetRequested", actor, audit_id, data);
}

/// Changes by an administrator to another user's account.
#[derive(Debug)]
pub(super) enum UserChange {
    Update {
        role: Option<Role>,
        disabled: Option<bool>,
    },
    EndSessions,
    /// Another password; the user may be sent a link to set one.
    ResetPassword {
        hash: String,
        send_link: bool,
    },
    /// No second factor is asked for any more.
    ResetTotp,
    /// It belongs to this tenant from now on.
    Join {
        tenant_id: String,
    },
    /// It no longer belongs to this tenant.
    Leave {
        tenant_id: String,
    },
}

/// Changes an account. Whatever is changed, but for letting somebody in again, ends every session.
pub(super) struct ChangeUser {
    pub(super) user_id: String,
    pub(super) change: UserChange,
    pub(super) actor: Actor,
    /// Ids of the audit events, new.
    pub(super) event_ids: [String; 2],
}

/// Why an account was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserNotChanged {
    NoUser,
    /// Nobody locks out or promotes oneself.
    OwnAccount,
    /// It belongs to another tenant.
    OtherTenant,
    /// It does not belong to the tenant.
    NoMember,
}

impl Command for ChangeUser {
    /// The user, and whether access was ended.
    type Reply = Result<(User, bool), UserNotChanged>;

    fn reads(&self) -> Vec<Key> {
        let totp = matches!(self.change, UserChange::ResetTotp).then(|| Key::id(TOTP, &*self.user_id));
        [user_key(&self.user_id)].into_iter().chain(totp).collect()
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let Self { user_id, change, actor, event_ids: [first, second] } = self;
        let mut user = view.by_id::<User>(user_id).ok_or(UserNotChanged::NoUser)?;
        if actor.id == user.id {
            return Err(UserNotChanged::OwnAccount);
        }
        let version = user.access_version;
        match change {
            UserChange::EndSessions => end_access(view, &mut user, "user.sessions_ended", actor, first, None),
            UserChange::ResetPassword { hash, send_link } => {
                user.password_hash.clone_from(hash);
                end_access(view, &mut user, "user.password_reset", actor, first, None);
                if *send_link {
                    ask_for_reset(view, &mut user, "admin", actor, first);
                } else {
                    tell(view, &mut user, "PasswordChanged", actor, first, doc! { "by": "admin" });
                }
                view.update(&user);
            }
            UserChange::ResetTotp => {
                if view.contains(&Key::id(TOTP, user_id)) {
                    view.remove(TOTP, user_id);
                }
                if user.totp_since.take().is_some() {
                    end_access(view, &mut user, "user.totp_reset", actor, first, None);
                }
            }
            UserChange::Join { tenant_id } => match &user.tenant_id {
                Some(own) if own == tenant_id => {}
                Some(_) => return Err(UserNotChanged::OtherTenant),
                None => {
                    user.tenant_id = Some(tenant_id.clone());
                    user.tenant_since = Some(view.now());
                    let states = (doc! { "tenantId": null }, doc! { "tenantId": tenant_id });
                    end_access(view, &mut user, "user.tenant_changed", actor, first, Some(states));
                }
            },
            UserChange::Leave { tenant_id } => {
                if user.tenant_id.as_ref() != Some(tenant_id) {
                    return Err(UserNotChanged::NoMember);
                }
                user.tenant_id = None;
                user.tenant_since = None;
                let states = (doc! { "tenantId": tenant_id }, doc! { "tenantId": null });
                end_access(view, &mut user, "user.tenant_changed", actor, first, Some(states));
            }
            UserChange::Update { role, disabled } => {
                if let Some(role) = role.filter(|role| *role != user.role) {
                    let told = |role: Role| doc! { "role": role.as_str() };
                    let states = (told(user.role), told(role));
                    user.role = role;
                    end_access(view, &mut user, "user.role_changed", actor, first, Some(states));
                }
                match disabled {
                    Some(true) if user.disabled_at.is_none() => {
                        user.disabled_at = Some(view.now());
                        end_access(view, &mut user, "user.disabled", actor, second, None);
                    }
                    Some(false) if user.disabled_at.is_some() => {
                        user.disabled_at = None;
                        user.updated_at = view.now();
                        view.update(&user);
                        let event = trail::of_user("user.enabled", &user.id, actor, view.now());
                        record_event(view, &event.with_id(second.clone()));
                    }
                    _ => {}
                }
            }
        }
        let access_ended = user.access_version != version;
        Ok((user, access_ended))
    }
}

/// Gives a user another name; the user, none where there is no such user or it is disabled.
pub(super) struct Rename {
    pub(super) user_id: String,
    pub(super) name: String,
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl Command for Rename {
    type Reply = Option<User>;

    fn reads(&self) -> Vec<Key> {
        vec![user_key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> Option<User> {
        let mut user = view.by_id::<User>(&self.user_id).filter(|user| user.disabled_at.is_none())?;
        if user.name != self.name {
            user.name.clone_from(&self.name);
            user.updated_at = view.now();
            view.update(&user);
            // That it was changed; names themselves are not for the trail.
            let after = doc! { "changed": ["name"] };
            let event = trail::of_user("user.renamed", &user.id, &self.actor, view.now()).after(after);
            record_event(view, &event.with_id(self.event_id.clone()));
        }
        Some(user)
    }
}

/// Stores a new session; false, and nothing, where the second factor that was shown for it is spent.
pub(super) struct OpenSession {
    pub(super) session: Session,
    pub(super) actor: Actor,
    /// The secret and the proof of a second factor; none where none is required.
    pub(super) second_factor: Option<(String, SecondFactorProof)>,
}

impl Command for OpenSession {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        let totp = self.second_factor.as_ref().map(|_| Key::id(TOTP, &*self.session.user_id));
        [Key::id(SESSIONS, &*self.session.id)].into_iter().chain(totp).collect()
    }

    fn decide(&self, view: &mut View) -> bool {
        let Self { session, actor, second_factor } = self;
        if view.contains(&Key::id(SESSIONS, &*session.id)) {
            return true;
        }
        let mut event = trail::of_session("session.opened", session, actor.clone(), view.now());
        if let Some(shown) = second_factor {
            let Some(totp) = spend(view, &session.user_id, shown) else { return false };
            let left = totp.recovery_codes_left();
            event = event.after(doc! { "secondFactor": shown.1.as_str(), "recoveryCodesLeft": left });
        }
        view.insert(session);
        record_event(view, &event.with_id(sibling_id("aud", &session.id)));
        true
    }
}

/// Ends a session, and records it; false, and nothing, where it had ended before.
pub(super) struct EndSession {
    pub(super) session_id: String,
    pub(super) event: AuditEvent,
}

impl Command for EndSession {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(SESSIONS, &*self.session_id)]
    }

    fn decide(&self, view: &mut View) -> bool {
        let session = view.by_id::<Session>(&self.session_id);
        let Some(mut session) = session.filter(|session| session.ended_at.is_none()) else { return false };
        session.ended_at = Some(view.now());
        view.update(&session);
        record_event(view, &self.event);
        true
    }
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;
    use crate::modules::audit::AUDIT_EVENTS;

    fn decide(view: &mut View, change: UserChange, by: &str) -> Result<User, UserNotChanged> {
        let actor = Actor { id: by.into(), ..Actor::command_line("test") };
        let event_ids = ["aud_1".into(), "aud_2".into()];
        ChangeUser { user_id: "usr_1".into(), change, actor, event_ids }.decide(view).map(|(user, _)| user)
    }

    #[test]
    fn whatever_takes_something_away_ends_access_and_is_recorded_once() {
        let update = |role, disabled| UserChange::Update { role, disabled };
        for (change, actions, versions) in [
            (update(None, Some(true)), vec!["user.disabled"], 1),
            (update(Some(Role::Auditor), None), vec!["user.role_changed"], 1),
            (update(Some(Role::Auditor), Some(true)), vec!["user.role_changed", "user.disabled"], 2),
            (update(Some(Role::Finance), Some(false)), vec![], 0),
            (update(None, None), vec![], 0),
            (UserChange::EndSessions, vec!["user.sessions_ended"], 1),
            (UserChange::ResetPassword { hash: "new".into(), send_link: false }, vec!["user.password_reset"], 1),
        ] {
            let mut view = View::new(DateTime::from_millis(1_000));
            view.put_read(&User::of_a_test(Role::Finance));
            let shown = format!("{change:?}");
            let changed = decide(&mut view, change, "usr_2").expect("somebody else's");
            assert_eq!(changed.access_version, 4 + versions, "{shown}");
            assert_eq!(changed.access_changed_at.is_some(), versions > 0, "{shown}");
            let recorded: Vec<_> =
                view.appended_to(AUDIT_EVENTS).map(|event| event.get_str("action").expect("an action")).collect();
            assert_eq!(recorded, actions, "{shown}");
        }
    }

    #[test]
    fn whoever_is_let_in_again_has_to_sign_in() {
        let mut view = View::new(DateTime::from_millis(1_000));
        view.put_read(&User::of_a_test(Role::Finance));
        let update = |disabled| UserChange::Update { role: None, disabled: Some(disabled) };
        let disabled = decide(&mut view, update(true), "usr_2").expect("somebody else's");
        let enabled = decide(&mut view, update(false), "usr_2").expect("somebody else's");
        assert_eq!((enabled.disabled_at, enabled.access_version), (None, disabled.access_version));
    }

    #[test]
    fn nobody_changes_the_own_account_this_way() {
        let mut view = View::new(DateTime::from_millis(1_000));
        view.put_read(&User::of_a_test(Role::Admin));
        for change in [
            UserChange::Update { role: Some(Role::Finance), disabled: None },
            UserChange::EndSessions,
            UserChange::ResetPassword { hash: "new".into(), send_link: false },
        ] {
            assert_eq!(decide(&mut view, change, "usr_1").err(), Some(UserNotChanged::OwnAccount));
        }
        assert_eq!(view.appended_to(AUDIT_EVENTS).count(), 0);
    }
}
