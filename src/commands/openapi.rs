//! `waybill openapi`.

use super::{dev::dev_config, embedded::StandIns};
use crate::app::App;

/// The description. The stores that are named here are not asked: an app connects when it has to.
pub(super) async fn describe() -> Result<utoipa::openapi::OpenApi, String> {
    let nowhere = StandIns { url: "http://127.0.0.1:9".into(), smtp_url: "smtp://127.0.0.1:9".into() };
    let settings =
        ["mongodb-uri=mongodb://127.0.0.1:9/waybill", "redis-url=redis://127.0.0.1:9", "public-url=http://127.0.0.1:9"];
    let settings = settings.map(|setting| format!("--{setting}"));
    let app = App::build(dev_config(&settings, &nowhere)?).await.map_err(|error| error.to_string())?;
    Ok(app.openapi())
}

pub(super) async fn print() -> Result<(), String> {
    println!("{}", describe().await?.to_pretty_json().map_err(|error| error.to_string())?);
    Ok(())
}
