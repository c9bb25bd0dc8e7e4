//! The console's cookies.

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};

/// Names and attributes. Where pages are reached by HTTPS the name says so: a browser then takes it from no other host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cookies {
    /// Sent over HTTPS only.
    pub(super) secure: bool,
}

impl Cookies {
    const fn session(self) -> &'static str {
        if self.secure { "__Host-waybill-console" } else { "waybill-console" }
    }

    const fn before(self) -> &'static str {
        if self.secure { "__Host-waybill-sign-in" } else { "waybill-sign-in" }
    }

    const fn said(self) -> &'static str {
        if self.secure { "__Host-waybill-said" } else { "waybill-said" }
    }

    fn set(self, name: &str, value: &str, seconds: Option<u32>) -> String {
        let age = seconds.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{name}={value}{age}; Path=/; HttpOnly; SameSite=Strict{secure}")
    }

    /// The session; gone with the browser.
    pub(super) fn set_session(self, value: &str) -> String {
        self.set(self.session(), value, None)
    }

    pub(super) fn drop_session(self) -> String {
        self.set(self.session(), "", Some(0))
    }

    pub(super) fn session_of(self, headers: &HeaderMap) -> Option<&str> {
        find(headers, self.session())
    }

    /// The cookie that ties the form for signing in to this browser.
    pub(super) fn set_before(self, value: &str) -> String {
        self.set(self.before(), value, Some(3600))
    }

    pub(super) fn before_of(self, headers: &HeaderMap) -> Option<&str> {
        find(headers, self.before())
    }

    /// The cookie with the message of the next page.
    pub(super) fn set_said(self, value: &str) -> String {
        self.set(self.said(), value, Some(60))
    }

    pub(super) fn drop_said(self) -> String {
        self.set(self.said(), "", Some(0))
    }

    pub(super) fn said_of(self, headers: &HeaderMap) -> Option<&str> {
        find(headers, self.said())
    }
}

fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(own, value)| *own == name && !value.is_empty()).map(|(_, value)| value)
}

pub(super) fn append_cookie(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
