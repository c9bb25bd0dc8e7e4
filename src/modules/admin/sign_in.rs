//! Coming in and going out. Who somebody is, how often may be guessed and whether a code is asked for is the API's: the page sends what
//! was filled in to `POST /auth/login`, and makes the session that it gives a browser's.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    api::Refused,
    console::Console,
    cookies::append_cookie,
    form::{Form, next_page},
    render,
};
use crate::platform::{identity::Caller, sealing::Sealed, secret::sha256_hex};

/// The API's path of a sign-in, and its problem where a code is needed too.
const LOGIN: &str = "/auth/login";
const CODE_NEEDED: &str = "auth.otp_required";
/// Where a second factor is set up.
pub(super) const SECOND_FACTOR: &str = "/admin/my/second-factor";
/// The password was right, and the code was not.
const CODE_WRONG: &str = "auth.wrong_otp";
/// The password is not, or not any more.
const PASSWORD_WRONG: &str = "auth.invalid_credentials";
/// Longer passwords and addresses are none.
const FIELD_BYTES_MAX: usize = 1024;
/// Time for the code; after it one begins again.
const CODE_MS_MAX: i64 = 5 * 60 * 1000;
/// The first step of a sign-in, while the code is asked for. It goes to the browser and back, sealed for that browser.
#[derive(Serialize, Deserialize)]
struct FirstStep {
    email: String,
    password: String,
    until_ms: i64,
}

impl Console {
    /// The form, with what was wrong before.
    pub(super) fn show_sign_in(&self, headers: &HeaderMap, next: &str, status: StatusCode, values: Value) -> Response {
        // A form that another site has somebody send has no such cookie to go with it.
        let (value, is_new) = match self.cookies.before_of(headers) {
            Some(value) => (value.to_owned(), false),
            None => (hex::encode(rand::random::<[u8; 16]>()), true),
        };
        let mut page = json!({
            "c": self.common("Sign in"),
            "next": next,
            "token": sha256_hex(format!("console sign-in {value}").as_bytes()),
        });
        if let (Value::Object(page), Value::Object(values)) = (&mut page, values) {
            page.extend(values);
        }
        let mut response = self.page("sign-in.html", status, &page);
        if is_new {
            append_cookie(&mut response, &self.cookies.set_before(&value));
        }
        response
    }

    /// The form of the first or of the second step.
    pub(super) async fn sign_in(&self, headers: &HeaderMap, caller: &Caller, form: &Form) -> Response {
        let next = next_page(form.text("next"));
        let refuse = |status, detail: &str, values: Value| {
            let mut values = values;
            values["problem"] = json!({ "detail": detail });
            self.show_sign_in(headers, &next, status, values)
        };
        let expected =
            self.cookies.before_of(headers).map(|value| sha256_hex(format!("console sign-in {value}").as_bytes()));
        if expected.as_deref() != Some(form.text("token")) || !self.is_from_here(headers) {
            let detail = "This form had expired. Please sign in again.";
            return refuse(StatusCode::FORBIDDEN, detail, json!({ "email": form.text("email") }));
        }
        let step = match form.text("step") {
            "" => FirstStep {
                email: form.text("email").to_owned(),
                password: form.text("password").to_owned(),
                until_ms: self.clock.now_ms() + CODE_MS_MAX,
            },
            sealed => match self.open_step(sealed, form.text("token")) {
                Some(step) => step,
                None => {
                    let detail = "That took too long, or began in another browser. Please begin again.";
                    return refuse(StatusCode::FORBIDDEN, detail, json!({}));
                }
            },
        };
        if step.email.len().max(step.password.len()) > FIELD_BYTES_MAX {
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, "That is too long.", json!({}));
        }
        let mut body = json!({ "email": step.email, "password": step.password });
        let code: String = form.text("otp").chars().filter(|c| !c.is_whitespace()).collect();
        if !code.is_empty() {
            body["otp"] = json!(code);
        }
        let mut sent = HeaderMap::new();
        if let Some(cookie) = headers.get(header::COOKIE) {
            sent.insert(header::COOKIE, cookie.clone());
        }
        match self.api.send_as_nobody(caller, LOGIN, sent, &body).await {
            Ok((tokens, answer)) => self.let_in(headers, caller, &next, &tokens, &answer).await,
            Err(refused)
                if [CODE_NEEDED, CODE_WRONG].contains(&refused.code())
                    || !(form.text("step").is_empty() || refused.code() == PASSWORD_WRONG) =>
            {
                let mut values = json!({ "step": self.seal_step(&step, form.text("token")), "email": step.email });
                if refused.code() != CODE_NEEDED {
                    values["problem"] = refused.problem;
                }
                self.show_sign_in(headers, &next, refused.status, values)
            }
            Err(refused) => {
                let values = json!({ "email": step.email, "problem": refused.problem });
                self.show_sign_in(headers, &next, refused.status, values)
            }
        }
    }

    async fn let_in(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        next: &str,
        tokens: &Value,
        answer: &HeaderMap,
    ) -> Response {
        let refresh = SecretString::from(tokens["refreshToken"].as_str().unwrap_or_default());
        let begun = async {
            let cookie = self.sessions.begin(&refresh).await.map_err(crate::platform::error::AppError::from)?;
            let session = self.sessions.find(&cookie, true).await.map_err(crate::platform::error::AppError::from)?;
            Ok::<_, Refused>((cookie, session))
        };
        let (cookie, session) = match begun.await {
            Ok((cookie, Some(session))) => (cookie, session),
            Ok((_, None)) => return self.show_sign_in(headers, next, StatusCode::UNAUTHORIZED, json!({})),
            Err(refused) => {
                return self.show_sign_in(headers, next, refused.status, json!({ "problem": refused.problem }));
            }
        };
        if !self.has_pages(session.user.role) {
            if let Err(error) = self.sessions.end(&session, caller).await {
                tracing::warn!(%error, "a session that opens nothing was not ended");
            }
            let problem = json!({ "detail": "There is nothing here for your role." });
            return self.show_sign_in(headers, next, StatusCode::FORBIDDEN, json!({ "problem": problem }));
        }
        // Who has to have a second factor first can do nothing else.
        let next = if tokens["only"].is_string() { SECOND_FACTOR } else { next };
        let mut response = render::hardened(Redirect::to(next).into_response());
        append_cookie(&mut response, &self.cookies.set_session(&cookie));
        // That the device is known keeps strangers from shutting its user out; here it comes back to this path.
        for device in answer.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            append_cookie(&mut response, &device.replace("Path=/auth", "Path=/admin"));
        }
        response
    }

    fn seal_step(&self, step: &FirstStep, token: &str) -> String {
        let plain = serde_json::to_vec(step).unwrap_or_default();
        self.sealing.seal(&place(token), &plain).to_text()
    }

    fn open_step(&self, sealed: &str, token: &str) -> Option<FirstStep> {
        let plain = self.sealing.open_text(&place(token), &Sealed::from_text(sealed)?).ok()?;
        let step: FirstStep = serde_json::from_str(plain.expose_secret()).ok()?;
        (step.until_ms > self.clock.now_ms()).then_some(step)
    }
}

/// Where a step is sealed. The form's token, which was compared with the browser's cookie before, is part of it: in another browser the
/// step opens nothing.
fn place(token: &str) -> String {
    format!("console/sign-in/{token}")
}
