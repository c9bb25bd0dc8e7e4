//! `waybill demo`: the main job on real servers, told as a story. Every chapter checks what it claims; the demo fails
//! where a claim does not hold.

mod audit;
mod claim;
mod client;
mod extract;
mod story;

use std::{path::Path, time::Duration};

use tokio::sync::watch;

use super::{
    dev::dev_config,
    embedded::{Programs, Servers, make_folder},
    serve::{self, Shutdown, ShutdownStage},
};
use crate::{app::App, config::DemoArgs};

pub(super) async fn run(args: DemoArgs) -> Result<(), String> {
    let folder = make_folder(&args.home.join(format!("demo-{}", std::process::id())))?;
    let mut servers = Servers::default();
    let outcome = tokio::select! {
        outcome = play(&args, &folder, &mut servers) => outcome,
        () = Shutdown::on_signals(Duration::ZERO)?.wait() => Err("interrupted".into()),
    };
    servers.stop().await;
    if outcome.is_ok() {
        let _ = std::fs::remove_dir_all(&folder);
    } else {
        eprintln!("what the servers said is under {}", folder.display());
    }
    outcome
}

async fn play(args: &DemoArgs, folder: &Path, servers: &mut Servers) -> Result<(), String> {
    let programs =
        Programs { home: args.home.clone(), mongod: args.mongod.clone(), redis_server: args.redis_server.clone() };
    println!(
        "Starting a MongoDB replica set, a Redis and stand-ins for the carrier, the ERP, the payment gateway, the verification provider and the mail server, all on this machine ..."
    );
    let mongodb = servers.start_mongod(&programs, folder).await?;
    let redis = servers.start_redis(&programs, folder).await?;
    let listener = serve::listen(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let simulators = servers.start_simulators(address).await?;
    // Times are shorter than in production, so that the story is told in seconds.
    let config = dev_config(
        &[
            format!("--mongodb-uri={mongodb}waybill?replicaSet=rs0"),
            format!("--redis-url={redis}"),
            format!("--http-addr={address}"),
            "--backoff-base-ms=500".into(),
            "--settling-delay-ms=1000".into(),
            "--call-deadline-ms=2000".into(),
            "--lease-ms=5000".into(),
            "--heartbeat-ms=1000".into(),
            "--audit-seal-every-ms=500".into(),
            "--rosreestr-poll-ms=300".into(),
            "--webhook-retries-ms=500,500,500".into(),
            format!("--public-url=http://{address}"),
        ],
        &simulators,
    )?;
    let app = App::build(config).await.map_err(|error| error.to_string())?;
    app.migrate().await.map_err(|error| format!("migrating failed: {error}"))?;
    app.start_background();
    let (stop, stopped) = watch::channel(ShutdownStage::Running);
    let serving = tokio::spawn({
        let app = app.clone();
        async move { serve::run_all(&app, listener, Shutdown::on(stopped)).await }
    });
    println!("API and worker are up at http://{address}\n");
    let told = story::tell(&app, &format!("http://{address}"), &simulators.url).await;
    let _ = stop.send(ShutdownStage::Stopping);
    let _ = tokio::time::timeout(Duration::from_secs(10), serving).await;
    told
}
