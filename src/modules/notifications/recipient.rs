//! Who gets a mail: the user as it is now.

use lettre::message::Mailbox;
use mongodb::Database;

use super::facts::away;
use crate::modules::{
    auth::{MailTopic, User, find_user},
    events::HandlerError,
};

/// Whom a mail is for.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// A user, at the address that it has now.
    User(&'a str),
    /// An address of the configuration: who runs the service.
    Operator(&'a Mailbox),
}

impl To<'_> {
    /// The user's id; empty for an operator.
    pub(super) fn user_id(&self) -> &str {
        match self {
            Self::User(user_id) => user_id,
            Self::Operator(_) => "",
        }
    }
}

/// Somebody who gets a mail.
#[derive(Clone)]
pub(super) struct Recipient {
    pub(super) name: String,
    pub(super) mailbox: Mailbox,
    /// None for an operator.
    pub(super) user: Option<User>,
}

/// Who gets it; none where nobody does: a user who is disabled, or does not want mail about this.
pub(super) async fn recipient(db: &Database, to: To<'_>, topic: MailTopic) -> Result<Option<Recipient>, HandlerError> {
    let user_id = match to {
        To::User(user_id) => user_id,
        To::Operator(mailbox) => {
            let name = mailbox.name.clone().unwrap_or_else(|| "operator".into());
            return Ok(Some(Recipient { name, mailbox: mailbox.clone(), user: None }));
        }
    };
    let user = find_user(db, user_id).await.map_err(|error| away(&error))?;
    Ok(user.filter(|user| user.disabled_at.is_none() && user.mail.wants(topic)).and_then(of_user))
}

/// None where the address can't be written to: it was taken when less was asked of addresses.
fn of_user(user: User) -> Option<Recipient> {
    let (local, domain) = user.email.rsplit_once('@')?;
    let domain = idna::domain_to_ascii(domain).ok()?;
    let address = lettre::Address::new(local, domain);
    let address = address.inspect_err(|_| tracing::warn!(user.id, "the user's address can't be written to")).ok()?;
    Some(Recipient {
        name: user.name.clone(),
        mailbox: Mailbox::new(Some(user.name.clone()), address),
        user: Some(user),
    })
}
