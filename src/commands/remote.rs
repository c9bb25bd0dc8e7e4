//! The API of a Waybill elsewhere, for programs that run on somebody's own machine.

use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::RemoteArgs;

/// The API has so long to answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(15);

/// Why a request brought nothing.
pub(super) enum Trouble {
    /// The API can't be reached, or asks to be left alone.
    Away(String),
    /// The token is not good any more.
    SignedOut,
    /// Asking again makes no sense.
    Refused(String),
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        Self::Away(error.without_url().to_string())
    }
}

impl Trouble {
    /// In words.
    pub(super) fn said(self) -> String {
        match self {
            Self::Away(reason) => format!("the API can't be reached ({reason})"),
            Self::SignedOut => {
                "the token is not good any more; give another one, or --email and WAYBILL_PASSWORD".into()
            }
            Self::Refused(reason) => reason,
        }
    }
}

/// Asks the API as somebody.
pub(super) struct Remote {
    args: RemoteArgs,
    pub(super) http: Client,
    token: SecretString,
}

impl Remote {
    pub(super) fn new(args: RemoteArgs) -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().timeout(DEADLINE).redirect(reqwest::redirect::Policy::none());
        let http = http.build().map_err(|error| error.to_string())?;
        Ok(Self { token: args.token.clone().unwrap_or_default(), http, args })
    }

    /// Whether it signs in by itself.
    pub(super) const fn signs_in(&self) -> bool {
        self.args.token.is_none()
    }

    pub(super) async fn sign_in(&mut self) -> Result<(), Trouble> {
        let (Some(email), Some(password)) = (&self.args.email, &self.args.password) else {
            return Err(Trouble::Refused("give --token, or --email and WAYBILL_PASSWORD".into()));
        };
        let body = json!({ "email": email, "password": password.expose_secret() });
        let request = self.http.post(self.at("/auth/login")).header(header::CONTENT_TYPE, "application/json");
        let answer = answered(request.body(body.to_string()).send().await?).await;
        let answer = answer.map_err(|trouble| match trouble {
            Trouble::SignedOut => Trouble::Refused("the e-mail address or the password is wrong".into()),
            other => other,
        })?;
        let signed_in: Value = read(answer).await?;
        let token = signed_in["accessToken"].as_str().unwrap_or_default();
        self.token = SecretString::from(token.to_owned());
        Ok(())
    }

    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.args.url.trim_end_matches('/'))
    }

    /// Asks for something with the token that there is.
    pub(super) async fn ask(&self, method: Method, path: &str) -> Result<Response, Trouble> {
        let request = self.http.request(method, self.at(path)).bearer_auth(self.token.expose_secret());
        answered(request.send().await?).await
    }

    /// The same as what it says; signs in first where that is needed, and again where the token has run out.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, method: Method, path: &str) -> Result<T, Trouble> {
        if self.signs_in() && self.token.expose_secret().is_empty() {
            self.sign_in().await?;
        }
        let answer = match self.ask(method.clone(), path).await {
            Err(Trouble::SignedOut) if self.signs_in() => {
                self.sign_in().await?;
                self.ask(method, path).await?
            }
            answered => answered?,
        };
        read(answer).await
    }
}

/// An answer that is one.
async fn answered(answer: Response) -> Result<Response, Trouble> {
    let status = answer.status();
    match status {
        StatusCode::UNAUTHORIZED => Err(Trouble::SignedOut),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Err(Trouble::Away(format!("it answers {status}")))
        }
        _ if status.is_server_error() => Err(Trouble::Away(format!("it answers {status}"))),
        _ if status.is_success() => Ok(answer),
        _ => {
            let problem: Value = read(answer).await.unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or("no Waybill is there").to_owned();
            Err(Trouble::Refused(format!("the API refuses ({status}): {detail}")))
        }
    }
}

pub(super) async fn read<T: DeserializeOwned>(answer: Response) -> Result<T, Trouble> {
    let bytes = answer.bytes().await?;
    serde_json::from_slice(&bytes).map_err(|_| Trouble::Away("its answer can't be read".into()))
}
