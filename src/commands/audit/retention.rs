//! `waybill audit purge` and `waybill audit erase`.

use bson::doc;
use mongodb::Database;
use secrecy::ExposeSecret;

use crate::{
    config::{EraseArgs, PurgeArgs, Stores},
    modules::{
        alerts,
        audit::{
            AuditOutcome, AuditStore,
            retention::{Eraser, ErasureError, ErasureSubject, Purger},
            seals::commitment_key_of,
        },
        auth,
        checkout::{self, CHECKOUTS, Checkout},
        notifications,
        orders::{self, ORDERS, Order},
        providers::{self, Policy},
        webhooks,
    },
    platform::{clock::Clock, ids::is_id, mongo, sealing::SealingKeys},
};

/// The database, and its clock: what is old is old by that, and records' ids carry it.
async fn open(stores: &Stores) -> Result<(Database, Clock), String> {
    let db =
        mongo::connect(&stores.mongodb_uri).await.map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    let clock = Clock::default();
    clock.sync(&db).await.map_err(|error| format!("the database's clock can't be read: {error}"))?;
    if clock.is_synced() { Ok((db, clock)) } else { Err("the database's clock answers too slowly; try again".into()) }
}

pub(super) async fn purge(args: &PurgeArgs) -> Result<(), String> {
    let keys = args.keys()?;
    let (db, clock) = open(&args.stores).await?;
    let purger = Purger::new(db, clock, args.retention.retention(), keys);
    let done = if args.dry_run { purger.preview().await.map(Some) } else { purger.run_on_request().await };
    let done = done.map_err(|error| format!("the purge stopped: {error}; run it again"))?;
    let report = done.ok_or("a worker is purging at the moment")?;
    let verb = if args.dry_run { "would go" } else { "gone" };
    for of in &report.collections {
        println!("{:<24} {} {verb}, {} under a legal hold, {} seals", of.collection, of.records, of.held, of.seals);
    }
    if report.more {
        println!("there is more; run it again");
    }
    println!("{} record(s) {verb}", report.records());
    Ok(())
}

pub(super) async fn erase(args: &EraseArgs) -> Result<(), String> {
    // Compose files hand on variables that nobody set as empty ones.
    let previous = args.sealing_key_previous.as_ref().filter(|key| !key.expose_secret().is_empty());
    let keys = SealingKeys::new(&args.sealing_key, previous)?;
    let (db, clock) = open(&args.stores).await?;
    let subject = subject(&db, args).await?;
    let key = commitment_key_of(&db, &keys).await.map_err(|error| error.to_string())?;
    let eraser = Eraser::new(db.clone(), key, clock.clone(), not_personal);
    let erased = match eraser.erase(&subject, &args.reason).await {
        Err(ErasureError::Held(hold)) => {
            let refused = subject.event(AuditOutcome::Failed, &args.reason, doc! { "holdId": &hold }, clock.now());
            let recorded = AuditStore::new(db.clone()).record(&refused).await;
            recorded.map_err(|error| format!("the refusal could not be written down: {error}"))?;
            Err(ErasureError::Held(hold))
        }
        ended => ended,
    };
    let erased = erased.map_err(|error| error.to_string())?;
    let with_files = orders::erase_files(&db, &eraser, &subject, &args.reason, clock.now()).await;
    let with_files = with_files.map_err(|error| error.to_string())?;
    if with_files > 0 {
        println!("{:<24} {with_files} order(s)", "files");
    }
    let checkouts = checkout::erase(&db, &eraser, &subject, &args.reason, clock.now()).await;
    let checkouts = checkouts.map_err(|error| error.to_string())?;
    if checkouts > 0 {
        println!("{:<24} {checkouts} checkout(s)", "names and addresses");
    }
    let profile = checkout::erase_profile(&db, &eraser, &subject, &args.reason).await;
    if profile.map_err(|error| error.to_string())? {
        println!("{:<24} of the user", "kept for checkouts");
    }
    let pickups = orders::erase_pickups(&db, &eraser, &subject, &args.reason).await;
    let (pickups, mut under_way) = pickups.map_err(|error| error.to_string())?;
    if pickups > 0 {
        println!("{:<24} of {pickups} order(s)", "pickup addresses");
    }
    for order_id in checkout::orders_of(&db, &subject).await.map_err(|error| error.to_string())? {
        let done = orders::erase_receiver(&db, &eraser, &order_id, &args.reason).await;
        under_way += u64::from(!done.map_err(|error| error.to_string())?);
    }
    if under_way > 0 {
        println!("{under_way} order(s) of checkouts are still to be placed; run it again then");
    }
    for (collection, records) in &erased.records {
        println!("{collection:<24} {records} record(s)");
    }
    println!("{} field(s) erased of {}", erased.fields, subject.id());
    Ok(())
}

/// The parts of a call's bodies that are not personal.
fn not_personal(provider: &str, operation: &str) -> &'static [&'static str] {
    let is_of = |policy: &Policy| (policy.provider, policy.operation) == (provider, operation);
    let own = [webhooks::POLICY, notifications::POLICY, alerts::POLICY].into_iter().find(is_of);
    own.map_or_else(|| providers::not_personal(provider, operation), |policy| policy.redaction.not_personal)
}

async fn subject(db: &Database, args: &EraseArgs) -> Result<ErasureSubject, String> {
    let failed = |error: mongodb::error::Error| format!("the database can't be read: {error}");
    if let Some(id) = &args.user {
        let exists = auth::user_exists(db, id).await.map_err(failed)?;
        return if exists { Ok(ErasureSubject::User(id.clone())) } else { Err(format!("there is no user {id}")) };
    }
    let id = args.order.clone().ok_or("name a user or an order")?;
    if is_id("chk", &id) {
        let checkout = db.collection::<Checkout>(CHECKOUTS).find_one(doc! { "_id": &id }).await.map_err(failed)?;
        let user_id = checkout.ok_or_else(|| format!("there is no checkout {id}"))?.user_id;
        return Ok(ErasureSubject::Order { id, user_id });
    }
    let order = db.collection::<Order>(ORDERS).find_one(doc! { "_id": &id }).await.map_err(failed)?;
    let user_id = order.ok_or_else(|| format!("there is no order {id}"))?.user_id;
    Ok(ErasureSubject::Order { id, user_id })
}
