//! The HTTP edge: reading requests strictly, answering problems uniformly, serving with limits.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{FromRequest, FromRequestParts, MatchedPath, Request},
    http::{HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use serde::de::DeserializeOwned;
use tokio::{net::TcpListener, sync::Semaphore};
use tower::ServiceExt;
use validator::{Validate, ValidationErrors, ValidationErrorsKind};

use super::{
    error::{AppError, ErrorKind, FieldError, Problem},
    json::Strict,
};

/// Largest request body: an order with its hundred items of the longest names fits.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// A body that takes longer to arrive is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// A request that is not answered by then is answered 503; whether it was carried out is not known.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A client has this long to send the head of a request, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Open connections; beyond it new ones wait.
const CONNECTIONS_MAX: usize = 10_000;
/// Depth of nesting in a JSON body is limited to 128 by the parser.
const JSON: &str = "application/json";

/// `X-Request-Id` of a request: the client's where it is well-formed, else ours.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// The peer's address.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddr(pub IpAddr);

/// A JSON body, read strictly and validated: unknown fields, wrong types and failed rules are 422 and name
/// the field; what is not JSON is 400.
#[derive(Debug)]
pub struct ApiJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Validate> FromRequest<S> for ApiJson<T> {
    type Rejection = AppError;

    async fn from_request(request: Request, _: &S) -> Result<Self, AppError> {
        if !is_json(request.headers().get(header::CONTENT_TYPE)) {
            return Err(AppError::new(
                ErrorKind::UnsupportedMediaType,
                "request.media_type",
                "Send the body as `Content-Type: application/json`.",
            ));
        }
        let bytes = read_body(request.into_body()).await?;
        let value = parse_json::<T>(&bytes)?;
        value.validate().map_err(|errors| AppError::invalid(field_errors(&errors)))?;
        Ok(Self(value))
    }
}

/// Query parameters, read strictly and validated: unknown and out-of-range ones are 422 and named.
#[derive(Debug)]
pub struct ApiQuery<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Validate> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AppError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(url_pairs(query));
        let value: T = serde_path_to_error::deserialize(pairs).map_err(|error| {
            let path = error.path().to_string();
            AppError::invalid(vec![data_error(path, &error.into_inner().to_string())])
        })?;
        value.validate().map_err(|errors| AppError::invalid(field_errors(&errors)))?;
        Ok(Self(value))
    }
}

fn url_pairs(query: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.as_bytes())
}

/// Segments of the path; whatever can't be read names nothing that exists.
#[derive(Debug)]
pub struct ApiPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for ApiPath<T> {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(_) => Err(not_found()),
        }
    }
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    content_type.and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(JSON))
    })
}

async fn read_body(body: Body) -> Result<bytes::Bytes, AppError> {
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(AppError::new(
            ErrorKind::TooLarge,
            "request.too_large",
            format!("The body is over the limit of {BODY_BYTES_MAX} bytes."),
        )),
        Ok(Err(_)) => Err(AppError::new(ErrorKind::Unreadable, "request.cut_off", "The body was cut off.")),
        Err(_) => Err(AppError::new(ErrorKind::Unreadable, "request.too_slow", "The body did not arrive in time.")),
    }
}

/// Reads JSON strictly.
///
/// # Errors
/// 400 for what is not JSON, 422 naming the field for what is JSON of another shape.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, AppError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Strict(&mut json)).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() { AppError::invalid(vec![data_error(path, &inner.to_string())]) } else { not_json(&inner) }
    })?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> AppError {
    AppError::new(
        ErrorKind::Unreadable,
        "request.not_json",
        format!("The body is not well-formed JSON (line {}, column {}).", error.line(), error.column()),
    )
}

/// Turns serde's sentence into a field error. Serde has no codes, so its fixed phrases stand in for them; the
/// offending value is never repeated.
fn data_error(path: String, sentence: &str) -> FieldError {
    // The whole body has no name.
    let path = if path == "." { String::new() } else { path };
    let named = || sentence.split('`').nth(1).unwrap_or_default();
    let join = |name: &str| match path.as_str() {
        "" | "?" => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    if sentence.starts_with("missing field") {
        FieldError::new(join(named()), "required", "is required")
    } else if sentence.starts_with("unknown field") {
        FieldError::new(join(named()), "unknown", "is not a field here")
    } else if sentence.starts_with("duplicate field") {
        FieldError::new(join(named()), "duplicate", "is given twice")
    } else if sentence.starts_with("unknown variant") {
        let options = sentence.split_once("expected ").map_or("", |(_, rest)| rest);
        let options = options.split(" at line ").next().unwrap_or_default().replace('`', "");
        FieldError::new(path, "unknown_value", format!("must be {options}"))
    } else if let Some(("", own)) = sentence.split_once("must be ") {
        let own = own.split(" at line ").next().unwrap_or_default();
        FieldError::new(path, "format", format!("must be {own}"))
    } else {
        let expected = sentence.rsplit_once("expected ").map_or("another type", |(_, rest)| rest);
        let expected = expected.split(" at line ").next().unwrap_or_default();
        let expected = if expected.starts_with("struct ") { "an object" } else { expected };
        FieldError::new(path, "type", format!("has the wrong type: expected {expected}"))
    }
}

/// Flattens what `validator` found into paths as the client wrote them.
#[must_use]
pub fn field_errors(errors: &ValidationErrors) -> Vec<FieldError> {
    let mut out = Vec::new();
    flatten(errors, "", &mut out);
    out.sort_by(|a, b| a.field.cmp(&b.field));
    out
}

fn flatten(errors: &ValidationErrors, prefix: &str, out: &mut Vec<FieldError>) {
    for (name, kind) in errors.errors() {
        let name = camel_case(name);
        let path = match (prefix, name.as_str()) {
            (prefix, "__all__") => prefix.to_owned(),
            ("", name) => name.to_owned(),
            (prefix, name) => format!("{prefix}.{name}"),
        };
        match kind {
            ValidationErrorsKind::Field(list) => out.extend(list.iter().map(|error| {
                let path = match error.params.get("field").and_then(|field| field.as_str()) {
                    Some(field) if path.is_empty() => field.to_owned(),
                    Some(field) => format!("{path}.{field}"),
                    None => path.clone(),
                };
                let message = error.message.clone().unwrap_or_else(|| default_message(error).into());
                FieldError::new(path, error.code.clone(), message)
            })),
            ValidationErrorsKind::Struct(inner) => flatten(inner, &path, out),
            ValidationErrorsKind::List(items) => {
                for (index, inner) in items {
                    flatten(inner, &format!("{path}[{index}]"), out);
                }
            }
        }
    }
}

fn default_message(error: &validator::ValidationError) -> String {
    let bound = |name| error.params.get(name).map(ToString::to_string);
    match (error.code.as_ref(), bound("min"), bound("max")) {
        ("length", Some(min), Some(max)) => format!("must have between {min} and {max} characters or entries"),
        ("length", None, Some(max)) => format!("must have at most {max} characters or entries"),
        ("length", Some(min), None) => format!("must have at least {min} characters or entries"),
        ("range", Some(min), Some(max)) => format!("must be between {min} and {max}"),
        ("range", None, Some(max)) => format!("must be at most {max}"),
        ("range", Some(min), None) => format!("must be at least {min}"),
        ("email", ..) => "must be an e-mail address".into(),
        (code, ..) => format!("is not acceptable ({code})"),
    }
}

fn camel_case(name: &str) -> String {
    if name == "__all__" {
        return name.into();
    }
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

fn not_found() -> AppError {
    AppError::new(ErrorKind::NotFound, "request.not_found", "There is nothing at this path.")
}

/// Closes a router: problems for unknown paths and methods, panics, request ids, metrics.
pub fn finish(router: Router) -> Router {
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
        .layer(axum::middleware::from_fn(edge))
}

/// The outermost layer: gives the request its id, renders problems, counts and logs.
async fn edge(mut request: Request, next: Next) -> Response {
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
    let mut response = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
        AppError::unavailable("service.timeout", "This took too long; try again with the same ids.").into_response()
    });
    if let Some(error) = response.extensions_mut().remove::<Arc<AppError>>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem(&error, &id);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if error.kind == ErrorKind::Internal {
            tracing::error!(request.id = %id.0, http.route = route, error.code = error.code,
                error = error.source.as_ref().map(tracing::field::display), "request failed");
        } else if error.kind == ErrorKind::Unavailable {
            tracing::warn!(request.id = %id.0, http.route = route, error.code = error.code,
                error = error.source.as_ref().map(tracing::field::display), "request turned away");
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert("x-request-id", value);
    }
    metrics::histogram!("waybill_http_request_seconds", "route" => route, "method" => method_label(&method),
        "status" => response.status().as_str().to_owned())
    .record(started.elapsed());
    response
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

fn is_request_id(value: &str) -> bool {
    (8..=64).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
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
    };
    let mut response = (status, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(after) = error.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil().max(1.0) as u64));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Serves `router` until `shutdown` resolves, then finishes the requests that run, for at most `grace`.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>, grace: Duration) {
    let connections = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(64);
    tokio::pin!(shutdown);
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => permit,
            () = &mut shutdown => break,
        };
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
        let _ = stream.set_nodelay(true);
        let address = ClientAddr(peer.ip());
        let service = router.clone().map_request(move |request: Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(address);
            request
        });
        let connection =
            connections.watch(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
        tokio::spawn(async move {
            // A broken connection is the client's business; its request, if any, ran in a task of its own.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
