//! Whether whoever asks may still do it. An access token says who somebody was when it was issued; what finance and
//! administrators do asks the database, in the transaction that does it.

use super::{
    api_keys::{ApiKey, KeyFault},
    model::User,
    store::{API_KEYS, user_key},
};
use crate::platform::{
    batch::{Command, Key, View},
    error::{AppError, ErrorKind},
    identity::{CurrentUser, token_revoked},
};

/// Why an access token that has not expired is good for nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Revoked {
    /// The user has been disabled.
    #[error("the account is disabled")]
    Disabled,
    /// The user is gone, has another role, or every session was ended.
    #[error("the access token is void")]
    Void,
}

impl From<Revoked> for AppError {
    fn from(revoked: Revoked) -> Self {
        match revoked {
            Revoked::Disabled => Self::new(
                ErrorKind::Forbidden,
                "auth.account_disabled",
                "This account is disabled; ask an administrator.",
            ),
            Revoked::Void => token_revoked(),
        }
    }
}

/// A command that is carried out only while its user may still come in with the token or API key that was shown: both are read
/// in its transaction.
#[derive(Debug)]
pub struct AsUser<C> {
    user: CurrentUser,
    command: C,
}

impl<C> AsUser<C> {
    /// `command`, for `user`.
    #[must_use]
    pub fn new(user: &CurrentUser, command: C) -> Self {
        Self { user: user.clone(), command }
    }

    fn standing(&self, view: &View) -> Result<(), Revoked> {
        let user = view.by_id::<User>(&self.user.user_id).ok_or(Revoked::Void)?;
        if let Some(key_id) = &self.user.key_id {
            let key = view.by_id::<ApiKey>(key_id).ok_or(Revoked::Void)?;
            return key.is_good_for(&user, view.now()).map_err(|fault| match fault {
                KeyFault::Disabled => Revoked::Disabled,
                KeyFault::Revoked | KeyFault::Expired => Revoked::Void,
            });
        }
        if user.disabled_at.is_some() {
            Err(Revoked::Disabled)
        } else if user.role != self.user.role || user.access_version != self.user.access_version {
            Err(Revoked::Void)
        } else {
            Ok(())
        }
    }
}

impl<C: Command> Command for AsUser<C> {
    type Reply = Result<C::Reply, Revoked>;

    fn reads(&self) -> Vec<Key> {
        let mut keys = self.command.reads();
        keys.push(user_key(&self.user.user_id));
        keys.extend(self.user.key_id.iter().map(|key_id| Key::id(API_KEYS, key_id)));
        keys
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        self.standing(view)?;
        Ok(self.command.decide(view))
    }

    fn bytes(&self) -> usize {
        self.command.bytes()
    }
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;
    use crate::platform::identity::Role;

    struct Yes;

    impl Command for Yes {
        type Reply = ();

        fn reads(&self) -> Vec<Key> {
            Vec::new()
        }

        fn decide(&self, _: &mut View) {}
    }

    #[test]
    fn only_who_still_is_what_the_token_says_may_do_it() {
        let at = DateTime::from_millis(0);
        let user = User { access_version: 3, ..User::of_a_test(Role::Finance) };
        let asking = CurrentUser {
            user_id: "usr_1".into(),
            role: Role::Finance,
            access_version: 3,
            tenant_id: None,
            key_id: None,
            address: None,
            request_id: "rqs_1".into(),
        };
        let decide = |stored: Option<&User>| {
            let mut view = View::new(at);
            match stored {
                Some(user) => view.put_read(user),
                None => view.put_absent(user_key("usr_1")),
            }
            AsUser::new(&asking, Yes).decide(&mut view)
        };
        assert_eq!(decide(Some(&user)), Ok(()));
        assert_eq!(decide(Some(&User { disabled_at: Some(at), ..user.clone() })), Err(Revoked::Disabled));
        assert_eq!(decide(Some(&User { role: Role::Merchant, ..user.clone() })), Err(Revoked::Void));
        assert_eq!(decide(Some(&User { access_version: 4, ..user.clone() })), Err(Revoked::Void));
        assert_eq!(decide(None), Err(Revoked::Void));
        assert_eq!(AsUser::new(&asking, Yes).reads(), [user_key("usr_1")]);
    }
}
