//! `waybill analytics rebuild`.

use crate::{config::Stores, modules::events::analytics, platform::mongo};

/// Counts all events anew.
pub(super) async fn rebuild(stores: &Stores) -> Result<(), String> {
    let db =
        mongo::connect(&stores.mongodb_uri).await.map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    let rebuilt = analytics::rebuild(&db).await.map_err(|error| error.to_string())?;
    println!("{} events looked at, {} of them left to the relay", rebuilt.events, rebuilt.left_to_relay);
    Ok(())
}
