//! The style and the script, under addresses that name their content.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use crate::platform::secret::sha256_hex;

const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");

/// Where they are.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) style: String,
    pub(super) script: String,
}

pub(super) static ADDRESSES: LazyLock<Addresses> = LazyLock::new(|| {
    let hash = |text: &str| sha256_hex(text.as_bytes())[..16].to_owned();
    Addresses {
        style: format!("/admin/assets/console-{}.css", hash(STYLE)),
        script: format!("/admin/assets/console-{}.js", hash(SCRIPT)),
    }
});

/// One of them, which whoever has it never asks for again.
pub(super) fn find(path: &str) -> Option<Response> {
    let (kind, text) = if path == ADDRESSES.style {
        ("text/css; charset=utf-8", STYLE)
    } else if path == ADDRESSES.script {
        ("text/javascript; charset=utf-8", SCRIPT)
    } else {
        return None;
    };
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let cache = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    Some(response)
}
