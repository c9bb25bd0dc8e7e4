//! The API of a Waybill elsewhere, for programs that go on asking it as somebody.

use std::time::Duration;

use secrecy::SecretString;
use serde::de::DeserializeOwned;
use waybill_client::{Failure, Method, Waybill};

use super::{
    follow::PollError,
    sign_in::{NotSignedIn, SigningIn, TokenPair, refresh, sign_in},
};
use crate::config::RemoteArgs;

/// The API has so long to answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(15);

/// Connects without a token.
pub(super) fn at(url: &str) -> Result<Waybill, String> {
    Waybill::new(url).map(|there| there.with_deadline(DEADLINE)).map_err(|error| error.to_string())
}

fn unusable(words: impl Into<String>) -> PollError {
    PollError::Refused(Failure::Unusable(words.into()))
}

/// A caller of the API.
pub(super) struct RemoteCaller {
    args: RemoteArgs,
    api: Waybill,
    /// The token that renews the session: a code of a second factor is good for one sign-in.
    refresh_token: Option<SecretString>,
    /// Whether somebody may be asked for a code.
    may_ask: bool,
}

impl RemoteCaller {
    pub(super) fn new(args: RemoteArgs) -> Result<Self, String> {
        Ok(Self { api: at(&args.url)?, args, refresh_token: None, may_ask: true })
    }

    /// The API as whoever asks; `refused` says that the token was not good any more.
    pub(super) async fn renew(&mut self, refused: Option<Failure>) -> Result<Waybill, PollError> {
        let RemoteArgs { token, email, password, .. } = &self.args;
        match (token, email, password) {
            (None, Some(email), Some(password)) => {
                let tokens = match self.refreshed().await? {
                    Some(tokens) => tokens,
                    None => self.signed_in(email, password).await?,
                };
                self.refresh_token = Some(tokens.refresh_token);
                // A code is good once.
                self.args.otp = None;
                Ok(self.api.clone().with_token(tokens.access_token))
            }
            (Some(token), ..) if refused.is_none() => Ok(self.api.clone().with_token(token.clone())),
            _ => Err(unusable("the token is not good any more; give another one, or --email and WAYBILL_PASSWORD")),
        }
    }

    /// None where there is no session, or it has ended.
    async fn refreshed(&self) -> Result<Option<TokenPair>, PollError> {
        let Some(refresh_token) = &self.refresh_token else { return Ok(None) };
        match refresh(&self.api, refresh_token).await.map_err(PollError::from) {
            Ok(tokens) => Ok(Some(tokens)),
            Err(PollError::SignedOut(_)) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    async fn signed_in(&self, email: &str, password: &SecretString) -> Result<TokenPair, PollError> {
        let who = SigningIn { email, password, otp: self.args.otp.as_deref(), may_ask: self.may_ask };
        sign_in(&self.api, &who).await.map_err(|refused| match refused {
            NotSignedIn::Refused(words) => unusable(words),
            NotSignedIn::Failure(failure) => match PollError::from(failure) {
                PollError::SignedOut(_) => unusable("the e-mail address or the password is wrong"),
                other => other,
            },
        })
    }
}

/// Asks the API as somebody; signs in first where that is needed, and again where the token has run out.
pub(super) struct Remote {
    caller: RemoteCaller,
    signed_in: Option<Waybill>,
}

impl Remote {
    pub(super) fn new(args: RemoteArgs) -> Result<Self, String> {
        Ok(Self { caller: RemoteCaller::new(args)?, signed_in: None })
    }

    /// From now on nobody is asked for anything: the screen is taken.
    pub(super) const fn ask_nobody(&mut self) {
        self.caller.may_ask = false;
    }

    pub(super) async fn ask<T: DeserializeOwned>(&mut self, method: Method, path: &str) -> Result<T, PollError> {
        let mut refused = None;
        loop {
            let (api, is_fresh) = match &self.signed_in {
                Some(api) => (api.clone(), false),
                None => (self.caller.renew(refused.take()).await?, true),
            };
            let answered = api.send(&api.call(method.clone(), path)?).await.map_err(PollError::from);
            match answered {
                Err(PollError::SignedOut(failure)) if !is_fresh => (self.signed_in, refused) = (None, Some(failure)),
                Err(trouble) => return Err(trouble),
                Ok(answer) => {
                    self.signed_in = Some(api);
                    return Ok(answer.json()?);
                }
            }
        }
    }
}
