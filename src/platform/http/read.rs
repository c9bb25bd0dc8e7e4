//! Reading requests strictly: bodies, queries and paths.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderValue, header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use validator::Validate;

use super::{
    fields::{data_error, field_errors, unknown_field},
    not_found,
};
use crate::platform::{
    error::{AppError, ErrorKind},
    json::Strict,
};

/// Largest request body: an order with its hundred items of the longest names fits.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// A body that takes longer to arrive is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
const JSON: &str = "application/json";

/// A JSON body, read strictly and validated: unknown fields, wrong types and failed rules are 422 and name
/// the field; what is not JSON is 400; what has more than `BYTES_MAX` bytes is 413.
#[derive(Debug)]
pub struct ApiJson<T, const BYTES_MAX: usize = BODY_BYTES_MAX>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Validate, const BYTES_MAX: usize> FromRequest<S> for ApiJson<T, BYTES_MAX> {
    type Rejection = AppError;

    async fn from_request(request: Request, _: &S) -> Result<Self, AppError> {
        if !is_json(request.headers().get(header::CONTENT_TYPE)) {
            return Err(AppError::new(
                ErrorKind::UnsupportedMediaType,
                "request.media_type",
                "Send the body as `Content-Type: application/json`.",
            ));
        }
        let bytes = read_body(request.into_body(), BYTES_MAX).await?;
        let value = parse_json::<T>(&bytes)?;
        value.validate().map_err(|errors| AppError::invalid(field_errors(&errors)))?;
        Ok(Self(value))
    }
}

/// A body as it came, byte by byte, for what is signed as a whole; more than `BYTES_MAX` bytes are 413.
#[derive(Debug)]
pub struct RawBody<const BYTES_MAX: usize>(pub bytes::Bytes);

impl<S: Send + Sync, const BYTES_MAX: usize> FromRequest<S> for RawBody<BYTES_MAX> {
    type Rejection = AppError;

    async fn from_request(request: Request, _: &S) -> Result<Self, AppError> {
        read_body(request.into_body(), BYTES_MAX).await.map(Self)
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

/// No query parameters: the first one there is gets 422 and is named. Comes after who asks and before the body.
#[derive(Clone, Copy, Debug)]
pub struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AppError> {
        match url_pairs(parts.uri.query().unwrap_or_default()).next() {
            None => Ok(Self),
            Some((name, _)) => Err(AppError::invalid(vec![unknown_field(name)])),
        }
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
    content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(JSON)))
}

async fn read_body(body: Body, bytes_max: usize) -> Result<bytes::Bytes, AppError> {
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(AppError::new(
            ErrorKind::TooLarge,
            "request.too_large",
            format!("The body is over the limit of {bytes_max} bytes."),
        )),
        Ok(Err(_)) => Err(AppError::new(ErrorKind::Unreadable, "request.cut_off", "The body was cut off.")),
        Err(_) => Err(AppError::new(ErrorKind::Unreadable, "request.too_slow", "The body did not arrive in time.")),
    }
}

/// Reads JSON strictly; the parser limits how deep it may be nested to 128.
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
