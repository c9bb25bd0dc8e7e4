//! Answers that are kept as files.

use std::fmt::Write;

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

/// The `Content-Disposition` of a file with this name (RFC 6266): the name itself, and one in ASCII for who can't read
/// that.
#[must_use]
pub fn disposition(name: &str) -> String {
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%');
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut disposition = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        disposition.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            // attr-char of RFC 8187, section 3.2.1.
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                disposition.push(char::from(byte));
            } else {
                let _ = write!(disposition, "%{byte:02X}");
            }
        }
    }
    disposition
}

/// An answer that browsers keep as a file.
///
/// # Errors
/// 500 where the name can't stand in a header.
pub fn attachment(content_type: &'static str, file_name: &str, body: Body) -> Result<Response, AppError> {
    let disposition = HeaderValue::from_str(&disposition(file_name)).map_err(AppError::internal)?;
    let content_type = HeaderValue::from_static(content_type);
    Ok(([(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, disposition)], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_value_of_one_header_whatever_it_is() {
        for (name, expected) in [
            ("ledger 1.csv", "attachment; filename=\"ledger 1.csv\""),
            ("Я.pdf", "attachment; filename=\"_.pdf\"; filename*=UTF-8''%D0%AF.pdf"),
            ("a\";b\\.pdf", "attachment; filename=\"a_;b_.pdf\"; filename*=UTF-8''a%22%3Bb%5C.pdf"),
            ("100%.pdf", "attachment; filename=\"100_.pdf\"; filename*=UTF-8''100%25.pdf"),
            ("a\r\nX: b", "attachment; filename=\"a__X: b\"; filename*=UTF-8''a%0D%0AX%3A%20b"),
        ] {
            assert_eq!(disposition(name), expected, "{name:?}");
            assert!(HeaderValue::from_str(&disposition(name)).is_ok(), "{name:?}");
        }
    }
}
