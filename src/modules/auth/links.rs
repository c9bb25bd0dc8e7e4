//! Links in letters. What a link proves is in it, authenticated (HMAC), so nothing of it is stored: of one event a letter that is
//! sent again holds the same link. A link is good for one purpose, until its end, and while what it was made for is as it was then:
//! one that changes a password is spent by the change. No IO, no clock.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bson::DateTime;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{mail_topics::MailTopic, model::User};
use crate::{
    modules::events::Event,
    platform::{
        clock::after,
        secret::{MacKey, derive_key},
    },
};

/// A link to set another password ends so long after it was asked for.
const RESET_TTL: Duration = Duration::from_secs(60 * 60);
/// A link to verify an address does.
const VERIFICATION_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const ID_PREFIX: &str = "usr_";
const PURPOSE_BYTES: usize = 1;
const ID_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const STATE_BYTES: usize = 16;
const NAMED_BYTES: usize = PURPOSE_BYTES + ID_BYTES + TIME_BYTES + STATE_BYTES;
const MAC_BYTES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkPurpose {
    /// Setting another password.
    PasswordReset,
    /// Showing that the address is read.
    EmailVerification,
    /// Getting no more letters about this.
    Unsubscribe(MailTopic),
}

impl LinkPurpose {
    /// In links that are out there: never given to another purpose.
    const fn number(self) -> u8 {
        match self {
            Self::PasswordReset => 1,
            Self::EmailVerification => 2,
            Self::Unsubscribe(MailTopic::Account) => 16,
            Self::Unsubscribe(MailTopic::Orders) => 17,
            Self::Unsubscribe(MailTopic::Payments) => 18,
            Self::Unsubscribe(MailTopic::Kyc) => 19,
            Self::Unsubscribe(MailTopic::Webhooks) => 20,
            Self::Unsubscribe(MailTopic::Reports) => 21,
            Self::Unsubscribe(MailTopic::Sales) => 22,
            Self::Unsubscribe(MailTopic::Stock) => 23,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        let topics = MailTopic::CHOSEN.map(Self::Unsubscribe);
        [Self::PasswordReset, Self::EmailVerification].into_iter().chain(topics).find(|it| it.number() == number)
    }

    fn state(self, user: &User) -> String {
        match self {
            Self::PasswordReset => format!("{} {}", user.access_version, user.email),
            Self::EmailVerification => user.email.clone(),
            Self::Unsubscribe(_) => String::new(),
        }
    }
}

/// The content of a link that we made.
#[derive(Clone, Debug)]
pub(super) struct Link {
    purpose: LinkPurpose,
    /// `usr_...`
    pub(super) user_id: String,
    expires_at: DateTime,
    state: [u8; STATE_BYTES],
    key: MacKey,
}

impl Link {
    pub(super) const fn purpose(&self) -> LinkPurpose {
        self.purpose
    }

    pub(super) fn is_over(&self, now: DateTime) -> bool {
        self.expires_at <= now
    }

    /// Whether its user is as it was when the link was made, as far as that matters.
    pub(super) fn fits(&self, user: &User) -> bool {
        state_tag(&self.key, self.purpose, user).ct_eq(&self.state).into()
    }
}

fn state_tag(key: &MacKey, purpose: LinkPurpose, user: &User) -> [u8; STATE_BYTES] {
    let state = format!("state {} {} {}", purpose.number(), user.id, purpose.state(user));
    let mac = key.mac(state.as_bytes());
    std::array::from_fn(|byte| mac[byte])
}

/// Keys of links: today's, and the one before.
#[derive(Clone, Debug)]
pub struct LinkKeys {
    current: MacKey,
    previous: Option<MacKey>,
}

impl LinkKeys {
    /// Keys of their own, derived from the secrets that sign access tokens.
    #[must_use]
    pub fn derive(secret: &SecretString, previous: Option<&SecretString>) -> Self {
        let derive = |secret| MacKey::new(&derive_key(secret, "waybill links v1"));
        Self { current: derive(secret), previous: previous.map(derive) }
    }

    /// The path of a link by which `user` sets another password, as `asked` wants it; none where it could not be used any more.
    #[must_use]
    pub fn password_reset(&self, user: &User, asked: &Event, now: DateTime) -> Option<String> {
        let is_as_then = asked.data.get_i64("accessVersion").is_ok_and(|version| version == user.access_version);
        let ends = after(asked.at, RESET_TTL);
        let token = self.token(LinkPurpose::PasswordReset, user, ends).filter(|_| is_as_then && ends > now)?;
        Some(format!("/auth/password/reset?token={token}"))
    }

    /// The path of a link by which `user` shows to read what is sent to the address; asked for at `asked_at`, and none where that
    /// is too long ago.
    #[must_use]
    pub fn email_verification(&self, user: &User, asked_at: DateTime, now: DateTime) -> Option<String> {
        let ends = after(asked_at, VERIFICATION_TTL);
        let token = self.token(LinkPurpose::EmailVerification, user, ends).filter(|_| ends > now)?;
        Some(format!("/auth/email/verify?token={token}"))
    }

    /// The path of a link by which `user` gets no more letters about `topic`, without end; none where they are always sent.
    #[must_use]
    pub fn unsubscribe(&self, user: &User, topic: MailTopic) -> Option<String> {
        let is_chosen = MailTopic::CHOSEN.contains(&topic);
        let token = self.token(LinkPurpose::Unsubscribe(topic), user, DateTime::MAX).filter(|_| is_chosen)?;
        Some(format!("/unsubscribe?token={token}"))
    }

    fn token(&self, purpose: LinkPurpose, user: &User, expires_at: DateTime) -> Option<String> {
        let id = hex::decode(user.id.strip_prefix(ID_PREFIX)?).ok().filter(|id| id.len() == ID_BYTES)?;
        let mut bytes = vec![purpose.number()];
        bytes.extend(id);
        bytes.extend(expires_at.timestamp_millis().to_be_bytes());
        bytes.extend(state_tag(&self.current, purpose, user));
        let mac = self.current.mac(&bytes);
        bytes.extend(mac);
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The content of a token; none if it is not ours.
    pub(super) fn read(&self, token: &SecretString) -> Option<Link> {
        let bytes = URL_SAFE_NO_PAD.decode(token.expose_secret()).ok()?;
        if bytes.len() != NAMED_BYTES + MAC_BYTES {
            return None;
        }
        let (named, mac) = bytes.split_at(NAMED_BYTES);
        let is_of = |key: &&MacKey| key.mac(named).as_slice().ct_eq(mac).into();
        let key = std::iter::once(&self.current).chain(&self.previous).find(is_of)?;
        let (purpose, rest) = named.split_first()?;
        let (id, rest) = rest.split_at(ID_BYTES);
        let (time, state) = rest.split_at(TIME_BYTES);
        Some(Link {
            purpose: LinkPurpose::of_number(*purpose)?,
            user_id: format!("{ID_PREFIX}{}", hex::encode(id)),
            expires_at: DateTime::from_millis(i64::from_be_bytes(time.try_into().ok()?)),
            state: state.try_into().ok()?,
            key: key.clone(),
        })
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
