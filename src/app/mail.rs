//! Outgoing mail, put together.

use mongodb::Database;

use super::BuildError;
use crate::{
    config::{Config, MailSettings, StartupSecrets},
    modules::{
        auth::LinkKeys,
        catalog::CatalogStore,
        notifications::{DailyReports, Mailer, MailerParts, SendReport, Templates},
        orders::OrderStore,
        queue::Waker,
    },
    platform::{batch::Lane, clock::Clock, exchange::Smtp},
};

/// The mailer; none where no mail server is configured.
pub(super) fn mailer(
    secrets: &StartupSecrets,
    db: &Database,
    lane: &Lane,
    links: &LinkKeys,
    clock: &Clock,
) -> Result<Option<Mailer>, BuildError> {
    let Some(MailSettings { server, sender, templates, public_url, deadline, .. }) = secrets.mail.clone() else {
        return Ok(None);
    };
    let templates = Templates::load(templates.as_deref()).map_err(BuildError::Config)?;
    let smtp = Smtp::new(server, sender.domain(), deadline).map_err(BuildError::Config)?;
    let (db, lane, links, clock) = (db.clone(), lane.clone(), links.clone(), clock.clone());
    Ok(Some(Mailer::new(MailerParts { db, lane, smtp, sender, templates, public_url, links, clock })))
}

pub(super) fn daily_reports(config: &Config, db: &Database, lane: &Lane, clock: &Clock, waker: &Waker) -> DailyReports {
    let zone = config.schedules.schedule_timezone.clone();
    let (db, lane, clock, waker) = (db.clone(), lane.clone(), clock.clone(), waker.clone());
    DailyReports { db, lane, clock, zone, queue: config.mail_queue(), waker }
}

pub(super) fn reports(config: &Config, db: &Database, mailer: &Mailer, clock: &Clock) -> SendReport {
    let (orders, catalog) = (OrderStore::new(db.clone()), CatalogStore::new(db.clone()));
    SendReport {
        mailer: mailer.clone(),
        db: db.clone(),
        orders,
        catalog,
        queue: config.mail_queue(),
        clock: clock.clone(),
    }
}
