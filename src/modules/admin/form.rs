//! Forms and queries of browsers, and where one wants to go on.

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, Limited};

use super::render;

/// Longest form: a reason, a filter, a letter's text.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// Fields of a form or a query, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(pub(super) Vec<(String, String)>);

impl Form {
    pub(super) fn read(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

pub(super) async fn read_form(request: Request) -> Result<(HeaderMap, Form), Box<Response>> {
    let refuse =
        |status: StatusCode, text: &'static str| Err(Box::new(render::hardened((status, text).into_response())));
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/x-www-form-urlencoded") {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send a form.");
    }
    match Limited::new(body, FORM_BYTES_MAX).collect().await {
        Ok(body) => Ok((parts.headers, Form::read(&body.to_bytes()))),
        Err(_) => refuse(StatusCode::PAYLOAD_TOO_LARGE, "The form is too long, or was cut off."),
    }
}

/// Where somebody wanted to go: a page of the console and nothing else.
pub(super) fn next_page(next: &str) -> String {
    let is_ours = next == "/admin" || next.starts_with("/admin/") || next.starts_with("/admin?");
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') && next.len() < 2_000;
    if is_ours && is_plain && !next.starts_with("/admin/sign-in") { next.to_owned() } else { "/admin".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere_after_signing_in() {
        assert_eq!(next_page("/admin/queues/a?state=dead"), "/admin/queues/a?state=dead");
        for bad in [
            "",
            "//evil.example",
            "https://evil.example",
            "/admin.evil",
            "/admin\\x",
            "/admin/sign-in",
            "/a",
            "/admin/\r\n",
        ] {
            assert_eq!(next_page(bad), "/admin", "{bad}");
        }
    }
}
