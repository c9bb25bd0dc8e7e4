//! The HTTP edge: reading requests strictly, answering problems uniformly, serving with limits.

mod attachment;
pub mod checks;
pub mod cursor;
mod faults;
mod fields;
mod form;
mod peers;
mod proxies;
mod read;
mod serve;
mod stall;
pub mod transfers;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

pub use attachment::{CSV, NDJSON, attachment, disposition};
pub use faults::FAULTS_MAX;
pub use fields::field_errors;
pub use form::{MultipartForm, read_form};
pub use peers::PeerLimit;
pub use proxies::TrustedProxies;
pub use read::{ApiJson, ApiPath, ApiQuery, BODY_BYTES_MAX, JsonOrForm, NoQuery, RawBody, read_json};
pub use serve::serve;

use super::{
    error::{AppError, ErrorKind, Problem},
    rate_limit::{CountedLimits, LimitedClient, RequestLimits},
    scrub::is_request_id,
    traces,
};

/// A request that is not answered by then is answered 503; whether it was carried out is not known.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// `X-Request-Id` of a request: the client's where it is well-formed and looks like no secret, else ours.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// The client's address: the peer's, or what trusted proxies say of it.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddr(pub IpAddr);

fn not_found() -> AppError {
    AppError::new(ErrorKind::NotFound, "request.not_found", "There is nothing at this path.")
}

#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub proxies: TrustedProxies,
    /// How many requests each may make; none where that is not limited.
    pub limits: Option<RequestLimits>,
}

/// Routes that are asked by those who watch over the process: they are never limited, and no trace is made of them.
const PROBES: &[&str] = &["/healthz", "/readyz", "/metrics"];

/// Closes a router: problems for unknown paths and methods, panics, request ids, clients' addresses, limits on requests, metrics.
pub fn finish(router: Router, edge_settings: Edge) -> Router {
    router
        .fallback(|| async { not_found() })
        .method_not_allowed_fallback(|| async {
            AppError::new(
                ErrorKind::MethodNotAllowed,
                "request.method_not_allowed",
                "This path exists, but not with this method; see `Allow`.",
            )
        })
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a panic without words");
            AppError::internal(std::io::Error::other(text.to_owned())).into_response()
        }))
        .layer(axum::middleware::from_fn_with_state(Arc::new(edge_settings), edge))
}

/// The outermost layer: gives the request its id, renders problems, counts and logs.
async fn edge(State(settings): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let started = std::time::Instant::now();
    let id = RequestId(
        request
            .headers()
            .get("x-request-id")
            .and_then(|value| value.to_str().ok())
            .filter(|value| is_request_id(value))
            .map_or_else(|| super::ids::new_id("rqs").into(), Into::into),
    );
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    request.extensions_mut().insert(id.clone());
    if let Some(ClientAddr(peer)) = request.extensions().get().copied() {
        let client = settings.proxies.client(peer, request.headers());
        request.extensions_mut().insert(ClientAddr(client));
    }
    let is_probe = PROBES.contains(&&*route);
    let trace = if is_probe { None } else { traces::request(method_label(&method), &route, &id.0, request.headers()) };
    let counted = settings.limits.as_ref().filter(|_| !is_probe).map(|_| CountedLimits::default());
    let mut response = match let_in(settings.limits.as_ref(), counted.as_ref(), &mut request) {
        Ok(()) => {
            let answering = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request));
            traces::within(trace.as_ref(), answering).await.unwrap_or_else(|_| {
                let detail = "This took too long; try again with the same ids.";
                AppError::unavailable("service.timeout", detail).into_response()
            })
        }
        Err(refused) => refused.into_response(),
    };
    if let Some(error) = response.extensions_mut().remove::<Arc<AppError>>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem(&error, &id);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        match &trace {
            Some(trace) => trace.scope(|| log(&error, &id, &route)),
            None => log(&error, &id, &route),
        }
        if let Some(trace) = trace.as_ref().filter(|_| error.kind.status().is_server_error()) {
            trace.failed(error.code);
        }
    }
    if let Some(trace) = trace {
        trace.set("http.response.status_code", i64::from(response.status().as_u16()));
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert("x-request-id", value);
    }
    if let Some(counted) = &counted {
        counted.tell(response.headers_mut());
    }
    harden(response.headers_mut());
    metrics::histogram!("waybill_http_request_seconds", "route" => route, "method" => method_label(&method),
        "status" => response.status().as_str().to_owned())
    .record(started.elapsed());
    response
}

/// Logs errors that are ours.
fn log(error: &AppError, id: &RequestId, route: &str) {
    let source = error.source.as_ref().map(tracing::field::display);
    match error.kind {
        ErrorKind::Internal => {
            tracing::error!(request.id = %id.0, http.route = route, error.code = error.code, error = source, "request failed");
        }
        ErrorKind::Unavailable => {
            tracing::warn!(request.id = %id.0, http.route = route, error.code = error.code, error = source, "request turned away");
        }
        _ => {}
    }
}

/// Counts a request against the client's address, before anything else is done for it.
fn let_in(
    limits: Option<&RequestLimits>,
    counted: Option<&CountedLimits>,
    request: &mut Request,
) -> Result<(), AppError> {
    let (Some(limits), Some(counted)) = (limits, counted) else { return Ok(()) };
    request.extensions_mut().insert(counted.clone());
    let address = request.extensions().get::<ClientAddr>();
    address.map_or(Ok(()), |address| limits.count(LimitedClient::Address(address.0), Some(counted)))
}

/// An answer to a request that is safe to repeat: `fresh`, or 200 with `Idempotent-Replayed: true` where it had been
/// carried out before.
#[must_use]
pub fn answered(replayed: bool, fresh: StatusCode, body: impl serde::Serialize) -> Response {
    if replayed {
        let header = (HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
        (StatusCode::OK, [header], axum::Json(body)).into_response()
    } else {
        (fresh, axum::Json(body)).into_response()
    }
}

/// Headers of every answer: no sniffing of types, and no caching unless the answer allows it.
fn harden(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Metric labels are a closed set; a client may invent methods.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        _ => "other",
    }
}

fn problem(error: &AppError, id: &RequestId) -> Response {
    let status = error.kind.status();
    let body = Problem {
        type_uri: "about:blank",
        title: error.kind.title(),
        status: status.as_u16(),
        code: error.code,
        detail: error.detail.clone(),
        request_id: id.0.to_string(),
        errors: error.fields.clone(),
        members: (*error.members).clone(),
    };
    let mut response = (status, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    let limited = (error.kind == ErrorKind::RateLimited).then_some(Duration::ZERO);
    if let Some(after) = error.retry_after.or(limited) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil().max(1.0) as u64));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
