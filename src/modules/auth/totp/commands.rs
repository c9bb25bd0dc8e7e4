//! Writes of second factors, each in one transaction with its audit event.

use bson::{Binary, doc};

use super::{
    super::{
        commands::end_access,
        model::User,
        store::{TOTP, user_key},
        trail,
    },
    model::{SecondFactorProof, Totp, spend},
};
use crate::{
    modules::audit::record_event,
    platform::{
        batch::{Command, Entity, Key, View},
        identity::Actor,
    },
};

impl Entity for Totp {
    const COLLECTION: &'static str = TOTP;

    fn id(&self) -> &str {
        &self.user_id
    }
}

/// Stores a secret that is not asked for yet, in place of another such; false where one is asked for already.
pub(super) struct BeginTotp {
    pub(super) totp: Totp,
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl Command for BeginTotp {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(TOTP, &*self.totp.user_id)]
    }

    fn decide(&self, view: &mut View) -> bool {
        let Self { totp, actor, event_id } = self;
        match view.by_id::<Totp>(&totp.user_id) {
            Some(there) if there.confirmed_at.is_some() => return false,
            // Decided once already: the commit's answer was lost.
            Some(there) if there.secret_id == totp.secret_id => return true,
            Some(_) => view.update(totp),
            None => view.insert(totp),
        }
        let event = trail::of_user("user.totp_begun", &totp.user_id, actor, view.now());
        record_event(view, &event.with_id(event_id.clone()));
        true
    }
}

/// Asks for the second factor from now on, which ends every session; none where the code was used or the secret is another.
pub(super) struct ConfirmTotp {
    pub(super) user_id: String,
    pub(super) secret_id: String,
    pub(super) step: i64,
    pub(super) recovery: Vec<Binary>,
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl Command for ConfirmTotp {
    type Reply = Option<User>;

    fn reads(&self) -> Vec<Key> {
        vec![user_key(&self.user_id), Key::id(TOTP, &*self.user_id)]
    }

    fn decide(&self, view: &mut View) -> Option<User> {
        let mut user = view.by_id::<User>(&self.user_id)?;
        let mut totp = view.by_id::<Totp>(&self.user_id).filter(|totp| totp.secret_id == self.secret_id)?;
        if totp.confirmed_at.is_some() {
            return None;
        }
        totp.confirmed_at = Some(view.now());
        totp.last_step = self.step;
        totp.recovery.clone_from(&self.recovery);
        view.update(&totp);
        user.totp_since = Some(view.now());
        end_access(view, &mut user, "user.totp_confirmed", &self.actor, &self.event_id, None);
        Some(user)
    }
}

/// Puts other recovery codes in the place of those that are left; false where what was shown is spent.
pub(super) struct RenewRecoveryCodes {
    pub(super) user_id: String,
    pub(super) shown: (String, SecondFactorProof),
    pub(super) recovery: Vec<Binary>,
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl Command for RenewRecoveryCodes {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(TOTP, &*self.user_id)]
    }

    fn decide(&self, view: &mut View) -> bool {
        let Self { user_id, shown, recovery, actor, event_id } = self;
        // Decided once already: the commit's answer was lost.
        if view.by_id::<Totp>(user_id).is_some_and(|totp| totp.recovery == *recovery) {
            return true;
        }
        let Some(mut totp) = spend(view, user_id, shown) else { return false };
        let left = totp.recovery_codes_left();
        totp.recovery.clone_from(recovery);
        view.update(&totp);
        let event = trail::of_user("user.recovery_codes_renewed", user_id, actor, view.now());
        let event = event.before(doc! { "recoveryCodesLeft": left });
        let after = doc! { "secondFactor": shown.1.as_str(), "recoveryCodesLeft": totp.recovery_codes_left() };
        record_event(view, &event.after(after).with_id(event_id.clone()));
        true
    }
}

/// Asks for no second factor any more, which ends every session; none where what was shown is spent.
pub(super) struct RemoveTotp {
    pub(super) user_id: String,
    pub(super) shown: (String, SecondFactorProof),
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl Command for RemoveTotp {
    type Reply = Option<User>;

    fn reads(&self) -> Vec<Key> {
        vec![user_key(&self.user_id), Key::id(TOTP, &*self.user_id)]
    }

    fn decide(&self, view: &mut View) -> Option<User> {
        let mut user = view.by_id::<User>(&self.user_id)?;
        spend(view, &self.user_id, &self.shown)?;
        view.remove(TOTP, &self.user_id);
        user.totp_since = None;
        end_access(view, &mut user, "user.totp_removed", &self.actor, &self.event_id, None);
        Some(user)
    }
}
