//! Uploads: forms with a file (`multipart/form-data`, RFC 7578), read strictly and within limits.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::BodyDataStream,
    extract::Request,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use futures_util::StreamExt;
use multer::{Constraints, Field, Multipart, SizeLimit};
use tokio::time::{Instant, timeout_at};

use crate::platform::error::{AppError, ErrorKind, FieldError};

use super::{
    fields::unknown_field,
    read::{ensure_plain, is_utf8},
};

/// An upload that takes longer to arrive is given up.
const FORM_TIMEOUT: Duration = Duration::from_secs(25);
/// Longest text field.
const TEXT_BYTES_MAX: u64 = 256;
/// Bytes of boundaries, headers and text fields beside the file.
const OVERHEAD_BYTES_MAX: u64 = 16 * 1024;
/// The name of the file's part.
const FILE: &str = "file";
/// After a refusal the body is read for this long, and so many bytes, so that the answer is not lost with the connection.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug)]
pub struct MultipartForm {
    pub texts: BTreeMap<&'static str, String>,
    /// Content of the part `file`.
    pub file: Bytes,
}

/// Reads a form of the text fields `names`, all of them required, and a file of at most `file_bytes_max` bytes. What is
/// refused is read to its end all the same, as far as that is not too much.
///
/// # Errors
/// 415 for another media type, 413 over the limit, 400 for what is cut off, too slow or no form, 422 naming fields.
pub async fn read_form(
    request: Request,
    names: &'static [&'static str],
    file_bytes_max: usize,
) -> Result<MultipartForm, AppError> {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let end = Instant::now() + FORM_TIMEOUT;
    match timeout_at(end, read_parts(&parts.headers, &mut body, names, file_bytes_max)).await {
        Ok(Ok(form)) => Ok(form),
        Ok(Err(refusal)) => {
            drain(body, end.min(Instant::now() + DRAIN_TIMEOUT)).await;
            Err(refusal)
        }
        Err(_) => Err(unreadable("request.too_slow", "The upload did not arrive in time.")),
    }
}

async fn read_parts(
    headers: &HeaderMap,
    body: &mut BodyDataStream,
    names: &'static [&'static str],
    file_bytes_max: usize,
) -> Result<MultipartForm, AppError> {
    let boundary = boundary(headers)?;
    ensure_plain(headers)?;
    let whole_max = file_bytes_max as u64 + OVERHEAD_BYTES_MAX;
    if announced(headers).is_some_and(|length| length > whole_max) {
        return Err(too_large(file_bytes_max));
    }
    let limits =
        SizeLimit::new().whole_stream(whole_max).per_field(TEXT_BYTES_MAX).for_field(FILE, file_bytes_max as u64);
    let form = Multipart::with_constraints(body, boundary, Constraints::new().size_limit(limits));
    collect(form, names, file_bytes_max).await
}

fn boundary(headers: &HeaderMap) -> Result<String, AppError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    multer::parse_boundary(content_type).ok().filter(|_| is_utf8(content_type)).ok_or_else(|| {
        let detail = "Send a form as `Content-Type: multipart/form-data; boundary=...`, in UTF-8.";
        AppError::new(ErrorKind::UnsupportedMediaType, "request.media_type", detail)
    })
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn collect(
    mut form: Multipart<'_>,
    names: &'static [&'static str],
    file_bytes_max: usize,
) -> Result<MultipartForm, AppError> {
    let failed = |error| form_error(&error, file_bytes_max);
    let mut texts = BTreeMap::new();
    let mut file = None;
    while let Some(field) = form.next_field().await.map_err(failed)? {
        let name = field.name().unwrap_or_default().to_owned();
        let known = names.iter().find(|known| **known == name);
        let repeated = known.is_some_and(|known| texts.contains_key(known)) || (name == FILE && file.is_some());
        if repeated {
            return Err(AppError::invalid(vec![FieldError::new(name, "duplicate", "is given twice")]));
        }
        match known {
            Some(known) => {
                texts.insert(*known, text(field, known, file_bytes_max).await?);
            }
            None if name == FILE => file = Some(field.bytes().await.map_err(failed)?),
            None => return Err(AppError::invalid(vec![unknown_field(name)])),
        }
    }
    let missing = names.iter().filter(|name| !texts.contains_key(*name)).copied();
    let missing: Vec<_> = missing.chain(file.is_none().then_some(FILE)).collect();
    match file {
        Some(file) if missing.is_empty() => Ok(MultipartForm { texts, file }),
        _ => Err(AppError::invalid(
            missing.into_iter().map(|name| FieldError::new(name, "required", "is required")).collect(),
        )),
    }
}

async fn text(field: Field<'_>, name: &str, file_bytes_max: usize) -> Result<String, AppError> {
    let content_type = field.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if !content_type.is_none_or(is_utf8) {
        let detail = format!("The field {name} has to be in UTF-8.");
        return Err(AppError::new(ErrorKind::UnsupportedMediaType, "request.media_type", detail));
    }
    match field.bytes().await {
        Ok(bytes) => String::from_utf8(bytes.into())
            .map_err(|_| AppError::invalid(vec![FieldError::new(name, "type", "must be text in UTF-8")])),
        Err(multer::Error::FieldSizeExceeded { .. }) => {
            let message = format!("must have at most {TEXT_BYTES_MAX} bytes");
            Err(AppError::invalid(vec![FieldError::new(name, "length", message)]))
        }
        Err(error) => Err(form_error(&error, file_bytes_max)),
    }
}

fn form_error(error: &multer::Error, file_bytes_max: usize) -> AppError {
    match error {
        multer::Error::FieldSizeExceeded { .. } | multer::Error::StreamSizeExceeded { .. } => too_large(file_bytes_max),
        multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteHeaders
        | multer::Error::IncompleteStream
        | multer::Error::StreamReadFailed(_) => unreadable("request.cut_off", "The upload was cut off."),
        _ => unreadable("request.not_a_form", "The body is not a well-formed form."),
    }
}

fn too_large(file_bytes_max: usize) -> AppError {
    let detail = format!("The file is over the limit of {file_bytes_max} bytes.");
    AppError::new(ErrorKind::TooLarge, "request.too_large", detail)
}

fn unreadable(code: &'static str, detail: &'static str) -> AppError {
    AppError::new(ErrorKind::Unreadable, code, detail)
}

/// Reads and forgets, for so long.
async fn drain(mut body: BodyDataStream, until: Instant) {
    let reading = async {
        let mut read = 0;
        while let Some(Ok(chunk)) = body.next().await {
            read += chunk.len();
            if read > DRAIN_BYTES_MAX {
                break;
            }
        }
    };
    let _ = timeout_at(until, reading).await;
}
