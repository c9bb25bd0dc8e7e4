//! Reading requests strictly: bodies, queries and paths.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use validator::Validate;

use super::{
    faults::{FAULTS_MAX, SentValue, read},
    fields::{field_errors, unknown_field},
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
const FORM: &str = "application/x-www-form-urlencoded";

/// A JSON body, read strictly and validated: unknown fields, wrong types and failed rules are 422 and name
/// the fields, all of them; what is not JSON is 400; what has more than `BYTES_MAX` bytes is 413.
#[derive(Debug)]
pub struct ApiJson<T, const BYTES_MAX: usize = BODY_BYTES_MAX>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Validate, const BYTES_MAX: usize> FromRequest<S> for ApiJson<T, BYTES_MAX> {
    type Rejection = AppError;

    async fn from_request(request: Request, _: &S) -> Result<Self, AppError> {
        if !is_of_type(request.headers(), JSON) {
            return Err(AppError::new(
                ErrorKind::UnsupportedMediaType,
                "request.media_type",
                "Send the body as `Content-Type: application/json`, in UTF-8.",
            ));
        }
        ensure_plain(request.headers())?;
        let bytes = read_body(request.into_body(), BYTES_MAX).await?;
        read_json(&bytes).map(Self)
    }
}

/// A body in JSON, as [`ApiJson`] reads it; or the same fields from a form on a page of ours. What is wrong with a form is left
/// to say to the handler, for whoever filled it in reads pages.
#[derive(Debug)]
pub enum JsonOrForm<T, const BYTES_MAX: usize = BODY_BYTES_MAX> {
    Json(T),
    Form(Result<T, AppError>),
}

impl<S: Send + Sync, T: DeserializeOwned + Validate, const BYTES_MAX: usize> FromRequest<S>
    for JsonOrForm<T, BYTES_MAX>
{
    type Rejection = AppError;

    async fn from_request(request: Request, state: &S) -> Result<Self, AppError> {
        if !is_of_type(request.headers(), FORM) {
            let ApiJson(value) = ApiJson::<T, BYTES_MAX>::from_request(request, state).await?;
            return Ok(Self::Json(value));
        }
        ensure_plain(request.headers())?;
        let bytes = read_body(request.into_body(), BYTES_MAX).await?;
        let pairs: Vec<_> = form_urlencoded::parse(&bytes).collect();
        Ok(Self::Form(read(SentValue::Query(&pairs)).map_err(AppError::invalid)))
    }
}

/// A body as it came, byte by byte, for what is signed as a whole; more than `BYTES_MAX` bytes are 413.
#[derive(Debug)]
pub struct RawBody<const BYTES_MAX: usize>(pub bytes::Bytes);

impl<S: Send + Sync, const BYTES_MAX: usize> FromRequest<S> for RawBody<BYTES_MAX> {
    type Rejection = AppError;

    async fn from_request(request: Request, _: &S) -> Result<Self, AppError> {
        ensure_plain(request.headers())?;
        read_body(request.into_body(), BYTES_MAX).await.map(Self)
    }
}

/// Query parameters, read strictly and validated: unknown and out-of-range ones are 422 and named.
#[derive(Debug)]
pub struct ApiQuery<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Validate> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AppError> {
        let pairs: Vec<_> = url_pairs(parts.uri.query().unwrap_or_default()).collect();
        read(SentValue::Query(&pairs)).map(Self).map_err(AppError::invalid)
    }
}

/// No query parameters: those that are there are 422 and named. Comes after who asks and before the body.
#[derive(Clone, Copy, Debug)]
pub struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AppError> {
        let unknown: Vec<_> = url_pairs(parts.uri.query().unwrap_or_default())
            .take(FAULTS_MAX)
            .map(|(name, _)| unknown_field(name))
            .collect();
        if unknown.is_empty() { Ok(Self) } else { Err(AppError::invalid(unknown)) }
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

/// Of this media type, named once, in no other encoding of characters than UTF-8.
fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(Ok(only)), None) = (types.next().map(HeaderValue::to_str), types.next()) else { return false };
    only.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type)) && is_utf8(only)
}

/// Whether the parameters of a content type name no encoding of characters but UTF-8.
pub(super) fn is_utf8(content_type: &str) -> bool {
    let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset")).all(|(_, value)| {
        let value = value.trim().trim_matches('"');
        value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
    })
}

/// A body is read as it comes: what was compressed, or changed in any other way, is not guessed at.
///
/// # Errors
/// 415.
pub(super) fn ensure_plain(headers: &HeaderMap) -> Result<(), AppError> {
    let is_plain = |value: &HeaderValue| {
        value.to_str().is_ok_and(|codings| {
            codings
                .split(',')
                .all(|coding| matches!(coding.trim(), "") || coding.trim().eq_ignore_ascii_case("identity"))
        })
    };
    if headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        return Ok(());
    }
    Err(AppError::new(
        ErrorKind::UnsupportedMediaType,
        "request.content_encoding",
        "Send the body as it is, without a `Content-Encoding`.",
    ))
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

/// Reads JSON strictly and holds it to its rules; the parser limits how deep it may be nested to 128.
///
/// # Errors
/// 400 for what is not JSON, 422 naming every field that is wrong.
pub fn read_json<T: DeserializeOwned + Validate>(bytes: &[u8]) -> Result<T, AppError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    match T::deserialize(Strict::new(&mut json)) {
        Ok(value) => {
            json.end().map_err(|error| not_json(&error))?;
            value.validate().map_err(|errors| AppError::invalid(field_errors(&errors)))?;
            Ok(value)
        }
        Err(error) if error.is_data() => {
            let whole: &RawValue = serde_json::from_slice(bytes).map_err(|error| not_json(&error))?;
            read(SentValue::Json(whole)).map_err(AppError::invalid)
        }
        Err(error) => Err(not_json(&error)),
    }
}

fn not_json(error: &serde_json::Error) -> AppError {
    AppError::new(
        ErrorKind::Unreadable,
        "request.not_json",
        format!("The body is not well-formed JSON (line {}, column {}).", error.line(), error.column()),
    )
}
