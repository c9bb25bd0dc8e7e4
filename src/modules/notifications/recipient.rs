//! Finds the address of a mail's user, as it is now.

use lettre::message::Mailbox;
use mongodb::Database;

use super::{buyer::Buyer, letter_data::away};
use crate::modules::{
    auth::{MailTopic, User, find_user, find_user_by_email},
    events::HandlerError,
};

#[derive(Clone, Copy, Debug)]
pub enum Addressee<'a> {
    /// A user, at the address that it has now.
    User(&'a str),
    /// A buyer, at the address that the checkout names.
    Buyer(&'a Buyer),
    /// An address of the configuration: who runs the service.
    Operator(&'a Mailbox),
}

impl Addressee<'_> {
    /// The user whose records it belongs to; empty for an operator.
    pub(super) fn user_id(&self) -> &str {
        match self {
            Self::User(user_id) => user_id,
            Self::Buyer(buyer) => &buyer.asked_by,
            Self::Operator(_) => "",
        }
    }
}

/// Somebody who gets a mail.
#[derive(Clone)]
pub(super) struct Recipient {
    pub(super) name: String,
    pub(super) mailbox: Mailbox,
    /// None for an operator, and where the address is nobody's account.
    pub(super) user: Option<User>,
}

/// The address; none for a user who is disabled or does not want mail about this.
pub(super) async fn recipient(
    db: &Database,
    to: Addressee<'_>,
    topic: MailTopic,
) -> Result<Option<Recipient>, HandlerError> {
    let user = match to {
        Addressee::User(user_id) => {
            let user = find_user(db, user_id).await.map_err(|error| away(&error))?;
            let Some(user) = user else { return Ok(None) };
            (user.name.clone(), user.email.clone(), Some(user))
        }
        Addressee::Buyer(buyer) => {
            let user = find_user_by_email(db, &buyer.email).await.map_err(|error| away(&error))?;
            (buyer.name.clone(), buyer.email.clone(), user.filter(|user| decides_for(user, buyer)))
        }
        Addressee::Operator(mailbox) => {
            let name = mailbox.name.clone().unwrap_or_else(|| "operator".into());
            return Ok(Some(Recipient { name, mailbox: mailbox.clone(), user: None }));
        }
    };
    let (name, email, user) = user;
    let wants = |user: &User| user.disabled_at.is_none() && user.mail.wants(topic);
    Ok(if user.as_ref().is_none_or(wants) { written_to(name, &email, user) } else { None })
}

/// Whether what an account says of letters counts for its address: who bought with it, or has shown to read what is sent there.
/// Anybody may open an account with somebody else's address.
fn decides_for(user: &User, buyer: &Buyer) -> bool {
    user.id == buyer.asked_by || user.email_verified_at.is_some()
}

/// None where the address can't be written to: it was taken when less was asked of addresses.
fn written_to(name: String, email: &str, user: Option<User>) -> Option<Recipient> {
    let (local, domain) = email.rsplit_once('@')?;
    let domain = idna::domain_to_ascii(domain).ok()?;
    let user_id = user.as_ref().map(|user| user.id.as_str());
    let address = lettre::Address::new(local, domain);
    let address = address.inspect_err(|_| tracing::warn!(user.id = user_id, "an address can't be written to")).ok()?;
    Some(Recipient { mailbox: Mailbox::new(Some(name.clone()), address), name, user })
}
