//! The accept loop. It differs from `axum::serve` in one thing: a handler can have the connection
//! closed without any answer, which no HTTP response can express.

use std::{fmt, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::ServiceExt;

/// Pause after a failed accept (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Marks a response that must never be written: the connection is closed instead.
#[derive(Clone, Copy, Debug)]
pub struct HangUp;

impl HangUp {
    /// A response that carries the mark.
    pub fn response() -> Response {
        let mut response = ().into_response();
        response.extensions_mut().insert(Self);
        response
    }
}

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl std::error::Error for HangUp {}

/// Serves `router` on `listener` until the future is dropped.
pub async fn serve(listener: TcpListener, router: Router) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let router = router.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(router.clone(), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

/// An error from a hyper service closes the connection before a byte of the answer is written.
async fn answer(router: Router, request: Request<hyper::body::Incoming>) -> Result<Response, HangUp> {
    let Ok(response) = router.oneshot(request.map(Body::new)).await;
    match response.extensions().get::<HangUp>() {
        Some(hang_up) => Err(*hang_up),
        None => Ok(response),
    }
}
