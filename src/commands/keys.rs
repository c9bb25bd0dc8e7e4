//! `waybill keys rotate`.

use std::io::IsTerminal;

use secrecy::ExposeSecret;

use crate::{
    config::RotateArgs,
    modules::{audit::seals, kyc},
    platform::{mongo, sealing::SealingKeys},
};

/// Wraps everything that is sealed under today's key; an error where something could not be opened.
pub(super) async fn rotate(args: &RotateArgs) -> Result<(), String> {
    // Compose files hand on variables that nobody set as empty ones.
    let previous = args.sealing_key_previous.as_ref().filter(|key| !key.expose_secret().is_empty());
    let keys = SealingKeys::new(&args.sealing_key, previous)?;
    let db = mongo::connect(&args.stores.mongodb_uri)
        .await
        .map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    let terminal = std::io::stderr().is_terminal();
    let rotated = kyc::rotate(&db, &keys, |so_far, trouble| match trouble {
        Some((place, error)) => eprintln!("{place}: {error}"),
        None if terminal => eprintln!("  {} values wrapped", so_far.wrapped),
        None => {}
    })
    .await
    .map_err(|error| format!("the rotation stopped: {error}; run it again"))?;
    let commitments = seals::rotate_commitment_secret(&db, &keys).await;
    if let Err(error) = &commitments {
        eprintln!("{error}");
    }
    let wrapped = rotated.wrapped + u64::from(matches!(commitments, Ok(true)));
    println!("{wrapped} value(s) wrapped under the key {}", keys.current_id());
    match rotated.failed + u64::from(commitments.is_err()) {
        0 => {
            println!("nothing needs SEALING_KEY_PREVIOUS any more; take it away everywhere");
            Ok(())
        }
        failed => Err(format!("{failed} value(s) could not be opened; keep SEALING_KEY_PREVIOUS")),
    }
}
