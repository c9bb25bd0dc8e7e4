//! Writes that have to do with letters: that one was asked for, that an address is read, which letters a user wants.

use bson::{Document, doc};

use super::{
    commands::{ask_for_reset, tell},
    mail_topics::{MailChange, MailTopic, MailTopics},
    model::User,
    store::user_key,
    trail,
};
use crate::{
    modules::audit::record_event,
    platform::{
        batch::{Command, Key, View},
        identity::Actor,
    },
};

/// Somebody wants another password for a user; false where nobody may come in.
pub(super) struct AskForReset {
    pub(super) user_id: String,
    pub(super) actor: Actor,
    /// Id of the event, new. It is what is on record.
    pub(super) event_id: String,
}

impl Command for AskForReset {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        vec![user_key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> bool {
        let Some(mut user) = active(view, &self.user_id) else { return false };
        ask_for_reset(view, &mut user, "user", &self.actor, &self.event_id);
        view.update(&user);
        true
    }
}

/// A user wants to verify the address; false where there is nothing to verify.
pub(super) struct AskForVerification {
    pub(super) user_id: String,
    pub(super) actor: Actor,
    /// Id of the event, new. It is what is on record.
    pub(super) event_id: String,
}

impl Command for AskForVerification {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        vec![user_key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> bool {
        let user = active(view, &self.user_id).filter(|user| user.email_verified_at.is_none());
        let Some(mut user) = user else { return false };
        tell(view, &mut user, "EmailVerificationRequested", &self.actor, &self.event_id, doc! {});
        view.update(&user);
        true
    }
}

/// A user has shown to read what is sent to this address; false where it is not the user's any more.
pub(super) struct VerifyEmail {
    pub(super) user_id: String,
    pub(super) email: String,
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl Command for VerifyEmail {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        vec![user_key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> bool {
        let user = active(view, &self.user_id).filter(|user| user.email == self.email);
        let Some(mut user) = user else { return false };
        if user.email_verified_at.is_none() {
            user.email_verified_at = Some(view.now());
            user.updated_at = view.now();
            view.update(&user);
            let event = trail::of_user("user.email_verified", &user.id, &self.actor, view.now());
            record_event(view, &event.with_id(self.event_id.clone()));
        }
        true
    }
}

/// Changes which letters a user wants; none where there is no such user.
pub(super) struct ChangeMail {
    pub(super) user_id: String,
    pub(super) change: MailChange,
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl Command for ChangeMail {
    type Reply = Option<MailTopics>;

    fn reads(&self) -> Vec<Key> {
        vec![user_key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> Option<MailTopics> {
        let mut user = view.by_id::<User>(&self.user_id)?;
        let (before, after) = (user.mail, user.mail.with(self.change));
        if before != after {
            user.mail = after;
            user.updated_at = view.now();
            view.update(&user);
            let event = trail::of_user("user.mail_changed", &user.id, &self.actor, view.now());
            let event = event.before(topics_document(before)).after(topics_document(after));
            record_event(view, &event.with_id(self.event_id.clone()));
        }
        Some(after)
    }
}

fn active(view: &View, user_id: &str) -> Option<User> {
    view.by_id::<User>(user_id).filter(|user| user.disabled_at.is_none())
}

fn topics_document(topics: MailTopics) -> Document {
    MailTopic::CHOSEN.iter().map(|topic| (topic.as_str().to_owned(), topics.wants(*topic).into())).collect()
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;
    use crate::{
        modules::{audit::AUDIT_EVENTS, events::EVENTS},
        platform::identity::Role,
    };

    fn view(user: &User) -> View {
        let mut view = View::new(DateTime::from_millis(1_000));
        view.put_read(user);
        view
    }

    fn actor() -> Actor {
        Actor::system("test")
    }

    #[test]
    fn what_is_asked_for_is_counted_and_says_no_address() {
        let user = User::of_a_test(Role::Merchant);
        let mut view = view(&user);
        let reset = AskForReset { user_id: "usr_1".into(), actor: actor(), event_id: "evt_1".into() };
        let verification = AskForVerification { user_id: "usr_1".into(), actor: actor(), event_id: "evt_2".into() };
        assert!(reset.decide(&mut view) && verification.decide(&mut view));
        let events: Vec<_> = view.appended_to(EVENTS).collect();
        let told: Vec<_> = events
            .iter()
            .map(|event| (event.get_str("type").expect("a type"), event.get_i64("seq").expect("a number")))
            .collect();
        assert_eq!(told, [("PasswordResetRequested", 2), ("EmailVerificationRequested", 3)]);
        let data = events[0].get_document("data").expect("data");
        assert_eq!((data.get_str("by").ok(), data.get_i64("accessVersion").ok()), (Some("user"), Some(4)));
        assert!(!events.iter().any(|event| format!("{event:?}").contains("example.com")));
    }

    #[test]
    fn disabled_users_get_no_mail_and_an_address_is_verified_once() {
        let at = Some(DateTime::from_millis(0));
        let disabled = User { disabled_at: at, ..User::of_a_test(Role::Merchant) };
        let verified = User { email_verified_at: at, ..User::of_a_test(Role::Merchant) };
        let reset = AskForReset { user_id: "usr_1".into(), actor: actor(), event_id: "evt_1".into() };
        let verification = AskForVerification { user_id: "usr_1".into(), actor: actor(), event_id: "evt_2".into() };
        let mut of_disabled = view(&disabled);
        assert!(!reset.decide(&mut of_disabled) && !verification.decide(&mut of_disabled));
        assert!(!verification.decide(&mut view(&verified)));
        assert_eq!(of_disabled.appended_to(EVENTS).count(), 0);
    }

    #[test]
    fn an_address_is_verified_once_and_only_if_it_is_still_the_user_s() {
        let mut view = view(&User::of_a_test(Role::Merchant));
        let verify = |email: &str| VerifyEmail {
            user_id: "usr_1".into(),
            email: email.into(),
            actor: actor(),
            event_id: "aud_1".into(),
        };
        assert!(!verify("b@example.com").decide(&mut view));
        assert!(verify("a@example.com").decide(&mut view) && verify("a@example.com").decide(&mut view));
        assert!(view.by_id::<User>("usr_1").is_some_and(|user| user.email_verified_at.is_some()));
        assert_eq!(view.appended_to(AUDIT_EVENTS).count(), 1);
    }
}
