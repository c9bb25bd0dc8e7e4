//! `waybill keys rotate`.

use std::io::IsTerminal;

use bson::doc;
use secrecy::ExposeSecret;

use crate::{
    config::RotateArgs,
    modules::{
        audit::{AuditEvent, AuditOutcome, AuditStore, seals},
        auth, kyc, orders,
        providers::accounts,
        webhooks,
    },
    platform::{clock::Clock, identity::Actor, mongo, rewrap::Rotation, sealing::SealingKeys},
};

/// Wraps everything that is sealed under today's key; an error where something could not be opened.
pub(super) async fn rotate(args: &RotateArgs) -> Result<(), String> {
    // Compose files hand on variables that nobody set as empty ones.
    let previous = args.sealing_key_previous.as_ref().filter(|key| !key.expose_secret().is_empty());
    let keys = SealingKeys::new(&args.sealing_key, previous)?;
    let db = mongo::connect(&args.stores.mongodb_uri)
        .await
        .map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    let clock = Clock::default();
    clock.sync(&db).await.map_err(|error| format!("the database's clock can't be read: {error}"))?;
    let terminal = std::io::stderr().is_terminal();
    let mut rotation = Rotation::new(&db, &keys, |so_far, trouble| match trouble {
        Some((place, error)) => eprintln!("{place}: {error}"),
        None if terminal => eprintln!("  {} values wrapped", so_far.wrapped),
        None => {}
    });
    let rotated = async {
        auth::rotate(&mut rotation).await?;
        kyc::rotate(&mut rotation).await?;
        orders::rotate(&mut rotation).await?;
        accounts::rotate(&mut rotation).await?;
        webhooks::rotate(&mut rotation).await?;
        Ok::<_, mongodb::error::Error>(rotation.total())
    }
    .await;
    drop(rotation);
    let commitments = match rotated {
        Ok(_) => seals::rotate_commitment_secret(&db, &keys).await.map(u64::from).map_err(|error| eprintln!("{error}")),
        Err(_) => Err(()),
    };
    let counted = rotated.as_ref().ok().map(|rotated| {
        let failed = rotated.failed + u64::from(commitments.is_err());
        (rotated.wrapped + commitments.unwrap_or_default(), failed)
    });
    let recorded = AuditStore::new(db).record(&event(&keys, counted, &clock)).await;
    rotated.map_err(|error| format!("the rotation stopped: {error}; run it again"))?;
    let (wrapped, failed) = counted.unwrap_or_default();
    println!("{wrapped} value(s) wrapped under the key {}", keys.current_id());
    recorded.map_err(|error| format!("the rotation could not be written down: {error}; run it again"))?;
    if failed > 0 {
        return Err(format!("{failed} value(s) could not be opened; keep SEALING_KEY_PREVIOUS"));
    }
    println!("nothing needs SEALING_KEY_PREVIOUS any more; take it away everywhere");
    Ok(())
}

/// The audit event of a key rotation: the key's id, and how many values were rewrapped and how many could not be; without numbers
/// if it was interrupted.
fn event(keys: &SealingKeys, counted: Option<(u64, u64)>, clock: &Clock) -> AuditEvent {
    let outcome = if matches!(counted, Some((_, 0))) { AuditOutcome::Done } else { AuditOutcome::Failed };
    let (actor, key) = (Actor::command_line("keys rotate"), ("sealing_key", keys.current_id()));
    AuditEvent::new(outcome, actor, "keys.rotated", key, clock.now())
        .after(counted.map(|(wrapped, failed)| doc! { "wrapped": wrapped as i64, "failed": failed as i64 }))
}
