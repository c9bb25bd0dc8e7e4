//! The API of a Waybill elsewhere, for programs that go on asking it as somebody.

use std::time::Duration;

use serde::de::DeserializeOwned;
use waybill_client::{Failure, Method, Waybill};

use super::{api::sign_in, follow::Trouble};
use crate::config::RemoteArgs;

/// The API has so long to answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(15);

/// What is there, asked as nobody.
pub(super) fn at(url: &str) -> Result<Waybill, String> {
    Waybill::new(url).map(|there| there.with_deadline(DEADLINE)).map_err(|error| error.to_string())
}

/// The API as whoever asks; `refused` says that the token was not good any more.
pub(super) async fn caller(api: &Waybill, args: &RemoteArgs, refused: Option<Failure>) -> Result<Waybill, Trouble> {
    let unusable = |words: &str| Trouble::Refused(Failure::Unusable(words.into()));
    match (&args.token, &args.email, &args.password) {
        (None, Some(email), Some(password)) => {
            let tokens = sign_in(api, email, password).await.map_err(|failure| match Trouble::from(failure) {
                Trouble::SignedOut(_) => unusable("the e-mail address or the password is wrong"),
                other => other,
            })?;
            Ok(api.clone().with_token(tokens.access_token))
        }
        (Some(token), ..) if refused.is_none() => Ok(api.clone().with_token(token.clone())),
        _ => Err(unusable("the token is not good any more; give another one, or --email and WAYBILL_PASSWORD")),
    }
}

/// Asks the API as somebody; signs in first where that is needed, and again where the token has run out.
pub(super) struct Remote {
    args: RemoteArgs,
    api: Waybill,
    signed_in: Option<Waybill>,
}

impl Remote {
    pub(super) fn new(args: RemoteArgs) -> Result<Self, String> {
        Ok(Self { api: at(&args.url)?, args, signed_in: None })
    }

    pub(super) async fn ask<T: DeserializeOwned>(&mut self, method: Method, path: &str) -> Result<T, Trouble> {
        let mut refused = None;
        loop {
            let (api, is_fresh) = match &self.signed_in {
                Some(api) => (api.clone(), false),
                None => (caller(&self.api, &self.args, refused.take()).await?, true),
            };
            let answered = api.send(&api.call(method.clone(), path)?).await.map_err(Trouble::from);
            match answered {
                Err(Trouble::SignedOut(failure)) if !is_fresh => (self.signed_in, refused) = (None, Some(failure)),
                Err(trouble) => return Err(trouble),
                Ok(answer) => {
                    self.signed_in = Some(api);
                    return Ok(answer.json()?);
                }
            }
        }
    }
}
