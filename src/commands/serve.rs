//! API and worker.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

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

/// How far a process is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ShutdownStage {
    /// Not at all.
    Running,
    /// It still answers, but asks whoever sends it requests to go elsewhere.
    Leaving,
    /// It takes nothing new.
    Stopping,
}

/// Says when the process has to end, to everybody who holds a clone.
#[derive(Clone, Debug)]
pub(super) struct Shutdown(watch::Receiver<ShutdownStage>);

impl Shutdown {
    /// Listens to the signals. SIGTERM comes from whoever also takes the process out of a balancer, so it leaves `notice` for
    /// that; SIGINT comes from a terminal, and a second signal from somebody who has no patience: they stop it at once.
    pub(super) fn on_signals(notice: Duration) -> Result<Self, String> {
        let failed = |error| format!("signals can't be listened to: {error}");
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let (sender, receiver) = watch::channel(ShutdownStage::Running);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {
                    let _ = sender.send(ShutdownStage::Leaving);
                    tokio::select! {
                        () = tokio::time::sleep(notice) => {}
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                }
                _ = interrupt.recv() => {}
            }
            let _ = sender.send(ShutdownStage::Stopping);
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// One that is triggered by the sender.
    pub(super) const fn on(receiver: watch::Receiver<ShutdownStage>) -> Self {
        Self(receiver)
    }

    /// Resolves when nothing new is to be taken.
    pub(super) async fn wait(self) {
        self.reach(ShutdownStage::Stopping).await;
    }

    /// Resolves when the end is known, at the latest with [`Shutdown::wait`].
    async fn announced(self) {
        self.reach(ShutdownStage::Leaving).await;
    }

    async fn reach(mut self, stage: ShutdownStage) {
        let _ = self.0.wait_for(|reached| *reached >= stage).await;
    }
}

pub(super) async fn api(config: Config) -> Result<(), String> {
    let shutdown = Shutdown::on_signals(config.drain())?;
    let app = start(config).await?;
    let listener = listen(app.config.http_addr).await?;
    tracing::info!(address = %app.config.http_addr, "api is up");
    let alerts = app.watch_alerts(shutdown.clone().announced());
    tokio::join!(serve(&app, listener, shutdown), alerts);
    Ok(())
}

pub(super) async fn worker(config: Config) -> Result<(), String> {
    // Nobody sends it requests: what it has is finished, and nothing new claimed, from the signal on.
    let shutdown = Shutdown::on_signals(Duration::ZERO)?;
    let app = start(config).await?;
    let sealer = sealer_of(&app)?;
    if let Some(address) = app.config.metrics_addr {
        serve_until_the_end(address, app.worker_router()).await?;
    }
    announce(&app, &shutdown);
    tracing::info!("worker is up");
    run_worker(&app, &sealer, shutdown).await;
    Ok(())
}

/// The sealer for records that a worker writes.
fn sealer_of(app: &App) -> Result<Arc<Sealer>, String> {
    app.sealer().ok_or_else(|| {
        "AUDIT_SIGNING_KEY is not set: a worker seals audit records with it; make one with `openssl rand -hex 32`"
            .into()
    })
}

/// From the moment at which the end is known `/readyz` says so.
fn announce(app: &App, shutdown: &Shutdown) {
    let (leaving, announced) = (app.leaving(), shutdown.clone().announced());
    tokio::spawn(async move {
        announced.await;
        leaving.store(true, Ordering::Relaxed);
    });
}

/// The worker, the sealer, the relay and the scheduler, from the moment at which time is the database's. They need no notice.
async fn run_worker(app: &App, sealer: &Sealer, shutdown: Shutdown) {
    tokio::select! {
        () = app.clock_synced() => {}
        () = shutdown.clone().announced() => return,
    }
    let relay = app.relay();
    let worker = app.worker();
    let scheduler = app.scheduler();
    let work = async {
        tokio::join!(
            worker.run(shutdown.clone().announced()),
            sealer.run(shutdown.clone().announced()),
            relay.run(shutdown.clone().announced()),
            scheduler.run(shutdown.clone().announced()),
            app.watch_alerts(shutdown.clone().announced())
        )
    };
    tokio::select! {
        _ = work => {}
        () = app.keep_reporting() => {}
    }
}

pub(super) async fn all(config: Config) -> Result<(), String> {
    let shutdown = Shutdown::on_signals(config.drain())?;
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
    announce(app, &shutdown);
    tokio::select! {
        () = http::serve(listener, app.router(), app.config.peer_limit(), shutdown.wait(), grace(app)) => {}
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

/// A worker shows how it is for as long as it finishes what it has.
async fn serve_until_the_end(address: SocketAddr, router: Router) -> Result<(), String> {
    let listener = listen(address).await?;
    tokio::spawn(http::serve(listener, router, http::PeerLimit::default(), std::future::pending(), Duration::ZERO));
    Ok(())
}

fn grace(app: &App) -> Duration {
    app.config.shutdown()
}
