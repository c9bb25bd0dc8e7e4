//! Pages to which links in letters lead, for people without a program of their own. A page shows what a link is for and has a
//! button: opening a link changes nothing, because programs open links before people do. Nothing on them comes from elsewhere.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use minijinja::{Environment, value::Serde};
use sha2::{Digest, Sha256};

use super::mail_topics::MailTopic;
use crate::platform::error::AppError;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;color:#1c1c1e;background:#f4f4f6;margin:0}\
main{max-width:26rem;margin:12vh auto;padding:2rem;background:#fff;border-radius:.5rem}\
h1{font-size:1.35rem;margin-top:0}label{display:block;margin-bottom:.25rem}\
input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;margin-bottom:1rem;border:1px solid #8e8e93;border-radius:.25rem}\
input[type=checkbox]{width:auto}\
button{font:inherit;padding:.5rem 1.25rem;border:0;border-radius:.25rem;background:#0b57d0;color:#fff;cursor:pointer}\
.problem{color:#b3261e}";

/// Nothing is loaded or run, and forms go where the page is from; the style is known by its hash.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
});

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.add_template("page.html", include_str!("page.html")).expect("the template is well-formed");
    templates
});

#[derive(Default, serde::Serialize)]
struct AuthPage<'a> {
    title: &'a str,
    texts: Vec<&'a str>,
    problems: Vec<String>,
    form: Option<AuthForm<'a>>,
    style: &'static str,
}

#[derive(serde::Serialize)]
struct AuthForm<'a> {
    /// Where it is none, the page's own address has it.
    token: Option<&'a str>,
    password: bool,
    button: &'a str,
}

impl AuthPage<'_> {
    fn answer(self, status: StatusCode) -> Result<Response, AppError> {
        let values = Serde(AuthPage { style: STYLE, ..self });
        let template = TEMPLATES.get_template("page.html").map_err(AppError::internal)?;
        let page = template.render(values).map_err(AppError::internal)?;
        let mut response = (status, Html(page)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(&POLICY).map_err(AppError::internal)?);
        // The address of the page holds a secret.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        Ok(response)
    }
}

const RESET: &str = "Set a new password";

/// Asks for another password; with what was wrong with the one before.
pub(super) fn new_password(token: &str, refused: Option<&AppError>) -> Result<Response, AppError> {
    let status = refused.map_or(StatusCode::OK, |error| error.kind.status());
    let problems = refused.map_or_else(Vec::new, said);
    let form = Some(AuthForm { token: Some(token), password: true, button: "Set the password" });
    let texts = vec![
        "At least ten characters. You will have to sign in again wherever you are signed in, and your API keys are revoked.",
    ];
    AuthPage { title: RESET, texts, problems, form, ..AuthPage::default() }.answer(status)
}

pub(super) fn password_set() -> Result<Response, AppError> {
    let texts = vec!["You can sign in with the new password now. Every session of before has ended."];
    AuthPage { title: "Your password is set", texts, ..AuthPage::default() }.answer(StatusCode::OK)
}

/// Asks whether the address is the reader's.
pub(super) fn confirm_email(token: &str) -> Result<Response, AppError> {
    let form = Some(AuthForm { token: Some(token), password: false, button: "Yes, this is my address" });
    let texts = vec!["Somebody has opened an account with your e-mail address. Was it you?"];
    AuthPage { title: "Confirm your e-mail address", texts, form, ..AuthPage::default() }.answer(StatusCode::OK)
}

/// The address was verified.
pub(super) fn email_confirmed() -> Result<Response, AppError> {
    let texts = vec!["Thank you. Nothing else is left to do."];
    AuthPage { title: "Your e-mail address is confirmed", texts, ..AuthPage::default() }.answer(StatusCode::OK)
}

fn about(topic: MailTopic) -> &'static str {
    match topic {
        MailTopic::Account => "your account",
        MailTopic::Orders => "orders",
        MailTopic::Payments => "payments",
        MailTopic::Kyc => "your application",
        MailTopic::Webhooks => "webhooks",
        MailTopic::Sales => "sales",
        MailTopic::Stock => "stock",
        MailTopic::Reports => "reports",
    }
}

/// Asks whether the reader wants no more letters. The page's own address has the token.
pub(super) fn confirm_unsubscribe(topic: MailTopic) -> Result<Response, AppError> {
    let form = Some(AuthForm { token: None, password: false, button: "Unsubscribe" });
    let text = format!("Do you want no more mail about {}?", about(topic));
    AuthPage { title: "Unsubscribe", texts: vec![&text], form, ..AuthPage::default() }.answer(StatusCode::OK)
}

/// No more letters are sent.
pub(super) fn unsubscribed(topic: MailTopic) -> Result<Response, AppError> {
    let text = format!("You will get no more mail about {}.", about(topic));
    AuthPage { title: "You are unsubscribed", texts: vec![&text], ..AuthPage::default() }.answer(StatusCode::OK)
}

/// It did not work.
pub(super) fn refused(error: &AppError) -> Result<Response, AppError> {
    let page = AuthPage { title: "This did not work", problems: said(error), ..AuthPage::default() };
    page.answer(error.kind.status())
}

/// The error as sentences for a person.
fn said(error: &AppError) -> Vec<String> {
    let fields = error.fields.iter().filter(|field| field.field == "password");
    let fields: Vec<_> = fields.map(|field| format!("The password {}.", field.message)).collect();
    if fields.is_empty() { vec![error.detail.to_string()] } else { fields }
}
