//! `waybill-simulators`: stand-ins for the outside providers, for development, demos and tests.
//!
//! Each provider lives under its name as a path prefix with its real wire shapes, keeps books of what it
//! was asked to do, checks what it receives, and misbehaves on request. `/mail` is the mailbox of a mail server that
//! listens on a port of its own, see [`smtp`].
//!
//! A provider's stand-in is in the provider's folder, `stand_in/`, and on the list that `build.rs` makes of the registry. It is
//! a [`stand::Provider`]: its contract, its books and its own modes. Credentials, rules
//! ([`rules`]), what goes wrong on the way ([`transport`]), when calls arrive ([`traffic`]), the control API ([`control`]) and
//! the order of events in a call ([`stand`]) are the same for all of them. All of them exist once more in each namespace, under `/ns/{name}`, see [`namespace`].
//!
//! Nothing here uses the `waybill` library: a stand-in that shared code with its client would share
//! its misunderstandings too.

mod answer;
mod contract;
mod control;
mod entries;
mod namespace;
mod payload;
mod rules;
mod server;
mod smtp;
mod stand;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod traffic;
mod transport;

use std::{
    error::Error,
    io::{Read, Write},
};

use axum::Router;
use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::EnvFilter;

// Their modules, and `stand_ins`, which serves them all.
include!(concat!(env!("OUT_DIR"), "/stand_ins.rs"));

/// Stand-ins for the outside providers, with books of their own and faults on request.
#[derive(Parser)]
#[command(name = "waybill-simulators", version)]
struct Cli {
    /// Where to listen; port 0 takes a free one. The address is printed as one JSON line.
    #[arg(long, env = "SIMULATORS_ADDR", default_value = "127.0.0.1:4900")]
    addr: String,

    /// Where the mail server listens; port 0 takes a free one.
    #[arg(long, env = "SIMULATORS_SMTP_ADDR", default_value = "127.0.0.1:0")]
    smtp_addr: String,

    /// Exit when standard input ends, so that the stand-ins never outlive who started them.
    #[arg(long)]
    exit_with_stdin: bool,

    /// Where PayGate's callbacks go from the start; its control API can change it.
    #[arg(long, env = "PAYGATE_CALLBACK_URL", requires = "paygate_callback_secret")]
    paygate_callback_url: Option<String>,

    /// The secret that signs callbacks.
    #[arg(long, env = "PAYGATE_CALLBACK_SECRET", hide_env_values = true)]
    paygate_callback_secret: Option<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener =
        TcpListener::bind(&cli.addr).await.map_err(|error| format!("cannot listen on {}: {error}", cli.addr))?;
    let smtp = TcpListener::bind(&cli.smtp_addr)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", cli.smtp_addr))?;
    announce(&listener, &smtp)?;

    let callbacks = cli.paygate_callback_url.zip(cli.paygate_callback_secret);
    let posts = smtp::Posts::default();
    let post = posts.clone();
    let router = namespace::router(move |base| {
        stand_ins(&stand::World { base, callbacks: callbacks.as_ref() }).merge(post.router(base))
    });
    tokio::select! {
        () = server::serve(listener, router) => {}
        () = posts.serve(smtp) => {}
        _ = terminate.recv() => tracing::info!("terminated"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
        () = end_of_stdin(cli.exit_with_stdin) => tracing::info!("standard input ended"),
    }
    Ok(())
}

/// Prints the one line a parent process waits for.
fn announce(listener: &TcpListener, smtp: &TcpListener) -> Result<(), Box<dyn Error>> {
    let (listening, smtp) = (format!("http://{}", listener.local_addr()?), smtp.local_addr()?.to_string());
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::json!({ "listening": listening, "smtp": smtp }))?;
    stdout.flush()?;
    Ok(())
}

/// Resolves when standard input ends; never, if that is not watched.
async fn end_of_stdin(watched: bool) {
    if !watched {
        return std::future::pending().await;
    }
    let (ended, end) = oneshot::channel();
    // A thread of its own, not the runtime's blocking pool: a pending read there would hold up exit.
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 512];
        let mut stdin = std::io::stdin().lock();
        while matches!(stdin.read(&mut buffer), Ok(read) if read > 0) {}
        let _ = ended.send(());
    });
    let _ = end.await;
}
