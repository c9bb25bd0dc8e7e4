//! Tokens of a sign-in, kept in a file that only its owner can read.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::error::CommandError;
use crate::{commands::sign_in::TokenPair, config::CallerArgs};

/// An access token is renewed so long before it expires.
const EARLY_SECONDS: u64 = 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SavedTokens {
    url: String,
    access_token: SecretString,
    refresh_token: Option<SecretString>,
    /// When the access token expires, in seconds since 1970.
    expires_at: Option<u64>,
}

pub(super) fn file(args: &CallerArgs) -> Result<PathBuf, CommandError> {
    let words =
        "there is no folder for it: neither HOME nor XDG_CONFIG_HOME is set. Give the token in WAYBILL_TOKEN instead";
    args.credentials_file().ok_or_else(|| CommandError::Here(words.into()))
}

pub(super) fn forget(file: &Path) -> Result<(), CommandError> {
    fs::remove_file(file).map_err(|error| odd(file, &error))
}

fn odd(file: &Path, error: &dyn std::fmt::Display) -> CommandError {
    CommandError::Here(format!("{}: {error}", file.display()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl SavedTokens {
    /// A token that is given by hand: an API key.
    pub(super) fn token(url: &str, token: &SecretString) -> Self {
        Self { url: url.to_owned(), access_token: token.clone(), refresh_token: None, expires_at: None }
    }

    /// The tokens of a sign-in.
    pub(super) fn tokens(url: &str, tokens: &TokenPair) -> Self {
        Self {
            url: url.to_owned(),
            access_token: tokens.access_token.clone(),
            refresh_token: Some(tokens.refresh_token.clone()),
            expires_at: Some(now() + tokens.expires_in),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn is_for(&self, url: &str) -> bool {
        self.url.trim_end_matches('/') == url.trim_end_matches('/')
    }

    pub(super) const fn access_token(&self) -> &SecretString {
        &self.access_token
    }

    pub(super) const fn refresh_token(&self) -> Option<&SecretString> {
        self.refresh_token.as_ref()
    }

    /// The token that renews it, where it is time to.
    pub(super) fn to_renew(&self) -> Option<&SecretString> {
        self.refresh_token.as_ref().filter(|_| self.expires_at.is_some_and(|at| now() + EARLY_SECONDS >= at))
    }

    /// None where nothing is kept. A file that others can read is not believed.
    pub(super) fn read(file: &Path) -> Result<Option<Self>, CommandError> {
        let mode = match fs::metadata(file) {
            Ok(about) => about.mode(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(odd(file, &error)),
        };
        if mode & 0o077 != 0 {
            return Err(odd(file, &"others on this machine can read it: chmod 600, and change what is in it"));
        }
        let text = fs::read_to_string(file).map_err(|error| odd(file, &error))?;
        let read = serde_json::from_str(&text);
        read.map(Some).map_err(|error| odd(file, &format!("it can't be read ({error}); run `waybill api login` again")))
    }

    /// All of it or nothing, and never readable to others.
    pub(super) fn write(&self, file: &Path) -> Result<(), CommandError> {
        let folder = file.parent().unwrap_or(file);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| odd(folder, &error))?;
        let beside = file.with_extension(format!("{}.new", std::process::id()));
        let text = json!({
            "url": self.url, "accessToken": self.access_token.expose_secret(),
            "refreshToken": self.refresh_token.as_ref().map(ExposeSecret::expose_secret), "expiresAt": self.expires_at,
        });
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).and_then(
            |mut open| {
                // One that was there keeps the mode it had.
                open.set_permissions(Permissions::from_mode(0o600))?;
                writeln!(open, "{text}")?;
                open.sync_all()?;
                fs::rename(&beside, file)
            },
        );
        written.map_err(|error| {
            let _ = fs::remove_file(&beside);
            odd(file, &error)
        })
    }
}
