//! Outgoing mail, put together.

use mongodb::Database;

use super::BuildError;
use crate::{
    config::{MailSettings, Secrets},
    modules::{
        auth::LinkKeys,
        notifications::{Mailer, MailerParts, Templates},
    },
    platform::{batch::Lane, clock::Clock, exchange::Smtp},
};

/// What sends mail; none where no server is configured.
pub(super) fn mailer(
    secrets: &Secrets,
    db: &Database,
    lane: &Lane,
    links: &LinkKeys,
    clock: &Clock,
) -> Result<Option<Mailer>, BuildError> {
    let Some(MailSettings { server, sender, templates, public_url, deadline }) = secrets.mail.clone() else {
        return Ok(None);
    };
    let templates = Templates::load(templates.as_deref()).map_err(BuildError::Config)?;
    let smtp = Smtp::new(server, sender.domain(), deadline).map_err(BuildError::Config)?;
    let (db, lane, links, clock) = (db.clone(), lane.clone(), links.clone(), clock.clone());
    Ok(Some(Mailer::new(MailerParts { db, lane, smtp, sender, templates, public_url, links, clock })))
}
