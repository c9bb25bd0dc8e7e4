//! Signing in to an API: by password, with the code of a second factor where the account has one, which is asked for where somebody is
//! there to answer; and staying signed in.

use std::io::{BufRead, IsTerminal, Write};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use waybill_client::{Failure, Method, Waybill};

/// Codes that are asked for before somebody has to begin again.
const CODES_MAX: usize = 3;
/// The password was right, and there is a second factor.
const CODE_NEEDED: &str = "auth.otp_required";
const CODE_WRONG: &str = "auth.wrong_otp";

/// The tokens of a sign-in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenPair {
    pub(super) access_token: SecretString,
    pub(super) refresh_token: SecretString,
    pub(super) expires_in: u64,
}

/// Credentials of a sign-in.
pub(super) struct SigningIn<'a> {
    pub(super) email: &'a str,
    pub(super) password: &'a SecretString,
    /// The code of the second factor, where it is known.
    pub(super) otp: Option<&'a str>,
    /// Whether somebody may be asked for it.
    pub(super) may_ask: bool,
}

/// Why nobody has signed in.
pub(super) enum NotSignedIn {
    /// In words, with what to do.
    Refused(String),
    Failure(Failure),
}

async fn try_once(api: &Waybill, who: &SigningIn<'_>, otp: Option<&str>) -> Result<TokenPair, Failure> {
    let mut body = json!({ "email": who.email, "password": who.password.expose_secret() });
    if let Some(otp) = otp {
        body["otp"] = otp.trim().into();
    }
    api.send(&api.call(Method::POST, "/auth/login")?.json(&body)).await?.json()
}

fn code_of(failure: &Failure) -> &str {
    match failure {
        Failure::Problem(problem) => &problem.code,
        _ => "",
    }
}

/// Signs in.
pub(super) async fn sign_in(api: &Waybill, who: &SigningIn<'_>) -> Result<TokenPair, NotSignedIn> {
    let mut tried = try_once(api, who, who.otp).await;
    for _ in 0..CODES_MAX {
        let question = match &tried {
            Err(failure) if code_of(failure) == CODE_NEEDED => "Code from your authenticator, or a recovery code: ",
            Err(failure) if code_of(failure) == CODE_WRONG => "That code is wrong, or was used before. The next one: ",
            _ => break,
        };
        let Some(code) = ask(who.may_ask, question).await else { break };
        tried = try_once(api, who, Some(&code)).await;
    }
    tried.map_err(|failure| match (code_of(&failure), who.may_ask) {
        (CODE_NEEDED, true) => NotSignedIn::Refused(
            "the account has a second factor: give its code by --otp (WAYBILL_OTP), or use an API key in WAYBILL_TOKEN"
                .into(),
        ),
        (CODE_NEEDED, false) => NotSignedIn::Refused("the session has ended; start again to sign in".into()),
        (CODE_WRONG, _) => NotSignedIn::Refused("the code is wrong, or was used before: wait for the next one".into()),
        _ => NotSignedIn::Failure(failure),
    })
}

/// The next tokens for a refresh token.
pub(super) async fn refresh(api: &Waybill, refresh_token: &SecretString) -> Result<TokenPair, Failure> {
    let body = json!({ "refreshToken": refresh_token.expose_secret() });
    api.send_safely(&api.call(Method::POST, "/auth/refresh")?.json(&body)).await?.json()
}

/// The text that somebody types, where somebody is there.
async fn ask(may_ask: bool, question: &'static str) -> Option<String> {
    if !may_ask || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let asked = tokio::task::spawn_blocking(move || {
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "{question}").and_then(|()| stderr.flush()).ok()?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).ok()?;
        Some(line.trim().to_owned()).filter(|line| !line.is_empty())
    });
    asked.await.ok().flatten()
}
