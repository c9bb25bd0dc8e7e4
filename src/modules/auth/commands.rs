//! Writes of accounts, each in one transaction with the audit event that tells of it.

use bson::doc;

use super::{
    model::{Session, User},
    store::{SESSIONS, USERS, user_key},
    trail,
};
use crate::{
    modules::audit::record_event,
    platform::{
        batch::{Command, Entity, Key, View},
        identity::Actor,
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
    /// Who makes the user.
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
        view.insert(user);
        let after = doc! { "role": user.role.as_str() };
        let event = trail::of_user("user.created", &user.id, actor, view.now()).after(after);
        record_event(view, &event.with_id(sibling_id("aud", &user.id)));
        true
    }
}

/// Changes a password, and with it the version that makes older sessions void; false where it is not of `version` any more.
pub(super) struct ChangePassword {
    pub(super) user_id: String,
    pub(super) version: i64,
    pub(super) hash: String,
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl Command for ChangePassword {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        vec![user_key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> bool {
        let Some(mut user) = view.by_id::<User>(&self.user_id).filter(|user| user.password_version == self.version)
        else {
            return false;
        };
        user.password_hash.clone_from(&self.hash);
        user.password_version += 1;
        user.updated_at = view.now();
        view.update(&user);
        let version = |version: i64| doc! { "passwordVersion": version };
        let event = trail::of_user("user.password_changed", &user.id, &self.actor, view.now())
            .before(version(self.version))
            .after(version(user.password_version));
        record_event(view, &event.with_id(self.event_id.clone()));
        true
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

/// Stores the first session of a family.
pub(super) struct OpenSession {
    pub(super) session: Session,
    pub(super) actor: Actor,
}

impl Command for OpenSession {
    type Reply = ();

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(SESSIONS, &*self.session.id)]
    }

    fn decide(&self, view: &mut View) {
        let Self { session, actor } = self;
        if !view.contains(&Key::id(SESSIONS, &*session.id)) {
            view.insert(session);
            let event = trail::of_session("session.opened", session, actor.clone(), view.now());
            record_event(view, &event.with_id(sibling_id("aud", &session.family_id)));
        }
    }
}
