//! Answers that are kept as files.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use crate::platform::error::AppError;

/// RFC 4180, with the first row saying what is in the others.
pub const CSV: &str = "text/csv; charset=utf-8; header=present";
/// A JSON value per line.
pub const NDJSON: &str = "application/x-ndjson";

/// An answer that browsers keep as a file.
///
/// # Errors
/// 500 where the name can't stand in a header.
pub fn attachment(content_type: &'static str, file_name: &str, body: Body) -> Result<Response, AppError> {
    let disposition = format!("attachment; filename=\"{file_name}\"");
    let disposition = HeaderValue::from_str(&disposition).map_err(AppError::internal)?;
    let content_type = HeaderValue::from_static(content_type);
    Ok(([(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, disposition)], body).into_response())
}
