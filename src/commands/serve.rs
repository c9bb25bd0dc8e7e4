//! API and worker.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    app::App,
    config::Config,
    modules::audit::seals::Sealer,
    platform::{http, open_files},
};

/// Resolves at SIGTERM or SIGINT, for everybody who holds a clone.
#[derive(Clone, Debug)]
pub(super) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens to the signals.
    pub(super) fn on_signals() -> Result<Self, String> {
        let failed = |error| format!("signals can't be listened to: {error}");
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            let _ = sender.send(true);
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// One that is triggered by the sender.
    pub(super) const fn on(receiver: watch::Receiver<bool>) -> Self {
        Self(receiver)
    }

    pub(super) async fn wait(mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

pub(super) async fn api(config: Config) -> Result<(), String> {
    let shutdown = Shutdown::on_signals()?;
    let app = start(config).await?;
    let listener = listen(app.config.http_addr).await?;
    tracing::info!(address = %app.config.http_addr, "api is up");
    serve(&app, listener, shutdown).await;
    Ok(())
}

pub(super) async fn worker(config: Config) -> Result<(), String> {
    let shutdown = Shutdown::on_signals()?;
    let app = start(config).await?;
    let sealer = sealer_of(&app)?;
    if let Some(address) = app.config.metrics_addr {
        serve_in_background(address, app.metrics_router(), shutdown.clone()).await?;
    }
    tracing::info!("worker is up");
    run_worker(&app, &sealer, shutdown).await;
    Ok(())
}

/// Who seals what a worker's transactions write.
fn sealer_of(app: &App) -> Result<Arc<Sealer>, String> {
    app.sealer().ok_or_else(|| {
        "AUDIT_SIGNING_KEY is not set: a worker seals audit records with it; make one with `openssl rand -hex 32`"
            .into()
    })
}

/// The worker, the sealer, the relay and the scheduler, from the moment at which time is the database's.
async fn run_worker(app: &App, sealer: &Sealer, shutdown: Shutdown) {
    tokio::select! {
        () = app.clock_synced() => {}
        () = shutdown.clone().wait() => return,
    }
    let relay = app.relay();
    let worker = app.worker();
    let scheduler = app.scheduler();
    let work = async {
        tokio::join!(
            worker.run(shutdown.clone().wait()),
            sealer.run(shutdown.clone().wait()),
            relay.run(shutdown.clone().wait()),
            scheduler.run(shutdown.clone().wait())
        )
    };
    tokio::select! {
        _ = work => {}
        () = app.keep_reporting() => {}
    }
}

pub(super) async fn all(config: Config) -> Result<(), String> {
    let shutdown = Shutdown::on_signals()?;
    let app = start(config).await?;
    let listener = listen(app.config.http_addr).await?;
    tracing::info!(address = %app.config.http_addr, "api and worker are up");
    run_all(&app, listener, shutdown).await
}

/// API and worker over one set of parts, until `shutdown`.
///
/// # Errors
/// In words, where it can't begin.
pub(super) async fn run_all(app: &App, listener: TcpListener, shutdown: Shutdown) -> Result<(), String> {
    let sealer = sealer_of(app)?;
    tokio::join!(serve(app, listener, shutdown.clone()), run_worker(app, &sealer, shutdown));
    Ok(())
}

/// Serves the API, and follows whose access is ended meanwhile.
async fn serve(app: &App, listener: TcpListener, shutdown: Shutdown) {
    tokio::select! {
        () = http::serve(listener, app.router(), shutdown.wait(), grace(app)) => {}
        () = app.users.follow_access() => {}
    }
}

async fn start(config: Config) -> Result<App, String> {
    open_files::raise_limit();
    let app = App::build(config).await.map_err(|error| error.to_string())?;
    app.start_background();
    Ok(app)
}

pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("{address} can't be listened on: {error}"))
}

async fn serve_in_background(address: SocketAddr, router: Router, shutdown: Shutdown) -> Result<(), String> {
    let listener = listen(address).await?;
    tokio::spawn(async move { http::serve(listener, router, shutdown.wait(), Duration::from_secs(1)).await });
    Ok(())
}

fn grace(app: &App) -> Duration {
    app.config.shutdown()
}
