//! Connections, and the limits on them.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::ServiceExt;

use super::{
    ClientAddr, PeerLimit, RequestId,
    peers::{PeerSlot, Peers},
    problem,
    stall::WriteStall,
};
use crate::platform::{error::AppError, ids::new_id, open_files};

/// A client has this long to send the head of a request, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Of an answer that the client doesn't read at all for so long, the rest is dropped, and the connection.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// Buffer of a connection: the longest head, and a piece of a body or an answer.
const BUFFER_BYTES_MAX: usize = 128 * 1024;
const HEADERS_MAX: usize = 64;
/// Open connections; beyond it new ones wait.
const CONNECTIONS_MAX: u64 = 10_000;
/// Files that are not clients' connections: stores, providers, the process itself.
const OTHER_FILES: u64 = 256;
/// Even where hardly any files may be open, somebody gets in.
const CONNECTIONS_MIN: u64 = 16;

/// Limits of a connection.
#[derive(Clone, Debug)]
struct ConnectionLimits {
    connections: usize,
    peers: PeerLimit,
    head_timeout: Duration,
    write_patience: Duration,
}

/// Serves `router` until `shutdown` resolves, then finishes the requests that run, for at most `grace`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    peers: PeerLimit,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) {
    let limits = ConnectionLimits {
        connections: connections_max(open_files::limit()),
        peers,
        head_timeout: HEAD_TIMEOUT,
        write_patience: WRITE_PATIENCE,
    };
    serve_within(limits, listener, router, shutdown, grace).await;
}

fn connections_max(open_files: u64) -> usize {
    let connections = open_files.saturating_sub(OTHER_FILES).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

async fn serve_within(
    limits: ConnectionLimits,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) {
    let connections = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(limits.connections));
    let peers = Peers::new(limits.peers.clone(), limits.connections);
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    tokio::pin!(shutdown);
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => permit,
            () = &mut shutdown => break,
        };
        let Ok(permit) = permit else { break };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        // Closed at once: there is nobody yet who could read an answer, and nothing is kept for it.
        let Some(place) = peers.take(peer.ip()) else { continue };
        let _ = stream.set_nodelay(true);
        let (router, permit, address) = (router.clone(), Arc::new((permit, place)), peer.ip());
        let service = service_fn(move |request| answer(router.clone(), request, address, Arc::clone(&permit)));
        let stream = TokioIo::new(WriteStall::new(stream, limits.write_patience));
        let connection = connections.watch(server.serve_connection(stream, service));
        tokio::spawn(async move {
            // A broken connection is the client's business; a request that it brought runs on in its own task.
            let _ = connection.await;
        });
    }
    drop(listener);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let finished = async {
        connections.shutdown().await;
        // Requests whose clients have left hold the permits of their connections.
        drop(room.acquire_many(all).await);
    };
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

/// Answers in a task of its own: a client that hangs up ends the connection, and with it this future, but not what
/// it asked for. Else hanging up in time would leave a wrong password uncounted and a commit's outcome unseen. The
/// task holds the connection's permit, so that requests without a client are limited too; it ends by
/// [`super::REQUEST_TIMEOUT`].
fn answer(
    router: Router,
    request: Request<Incoming>,
    address: IpAddr,
    permit: Arc<(OwnedSemaphorePermit, PeerSlot)>,
) -> impl Future<Output = Result<Response, Infallible>> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ClientAddr(address));
    // Started here and not when the future is first polled: the connection may end before that.
    let task = tokio::spawn(async move {
        let Ok(response) = router.oneshot(request).await;
        drop(permit);
        response
    });
    async move {
        // Handlers' panics are answered inside; this is a panic of the edge itself, or the end of the process.
        Ok(task.await.unwrap_or_else(|error| problem(&AppError::internal(error), &RequestId(new_id("rqs").into()))))
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
