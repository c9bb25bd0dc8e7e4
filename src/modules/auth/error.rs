//! How signing in can fail. Variants are decisions; the edge sees [`AppError`].

use std::time::Duration;

use super::{
    access_check::Revoked,
    api_keys::{KEYS_MAX, KeyFault, Scope},
};
use crate::platform::{
    batch::LaneError,
    error::{AppError, ErrorKind, FieldError},
};

/// Errors of this module.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Fields of a user are not acceptable.
    #[error("some fields are not acceptable")]
    Invalid(Vec<FieldError>),
    /// Another user has this e-mail address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// No such user, or another password: which of the two is not said.
    #[error("wrong e-mail address or password")]
    InvalidCredentials,
    /// The current password, given to change it, is not the user's.
    #[error("wrong current password")]
    WrongPassword,
    /// The password was right, and a code of the authenticator is asked for too.
    #[error("a second factor is asked for")]
    OtpRequired,
    /// The password was right, and the code that came with it is wrong or spent.
    #[error("wrong code")]
    WrongOtp,
    /// A code, given to begin or end with the second factor, is wrong or spent.
    #[error("wrong code")]
    WrongCode,
    /// The second factor is asked for already.
    #[error("the second factor is on")]
    TotpOn,
    /// No second factor is asked for.
    #[error("the second factor is off")]
    TotpOff,
    /// There is no secret to confirm, or it is too old.
    #[error("no second factor was begun")]
    TotpNotBegun,
    /// Staff has to have a second factor here, and the key's user has none.
    #[error("the user has no second factor")]
    TotpRequired,
    /// The user exists and may not come in.
    #[error("the account is disabled")]
    Disabled,
    /// The access token is good, but its user is gone.
    #[error("no such user")]
    UserGone,
    /// There is no user with this id, for an administrator.
    #[error("no such user")]
    NoUser,
    /// An administrator's own account: another one has to change it.
    #[error("the own account")]
    OwnAccount,
    /// A user belongs to one tenant or none, and this one to another.
    #[error("a member of another tenant")]
    OtherTenant,
    /// A link of a letter that is not ours, not for this, over, used, or of a user who may not come in: which is not said.
    #[error("the link is not good any more")]
    InvalidLink,
    /// No mail is sent here, so nobody would get a link.
    #[error("no mail is sent")]
    NoMail,
    /// The address is verified already.
    #[error("the address is verified already")]
    EmailVerified,
    /// Too many wrong passwords, letters, new accounts or refreshes.
    #[error("too many attempts")]
    TooManyAttempts {
        /// When one more is allowed.
        retry_after: Duration,
    },
    /// The refresh token is unknown or expired.
    #[error("the refresh token is unknown or expired")]
    InvalidRefresh,
    /// The refresh token was used before, or its family has ended.
    #[error("the refresh token was used before or has been revoked")]
    RefreshReused,
    /// The API key is unknown or malformed.
    #[error("no such API key")]
    InvalidKey,
    /// The API key opens nothing any more.
    #[error("the API key is not good any more")]
    Key(KeyFault),
    /// The API key has not the scope that the route asks for.
    #[error("the API key lacks the scope {}", .0.as_str())]
    NoScope(Scope),
    /// No API key may use the route.
    #[error("not with an API key")]
    NotWithKey,
    /// The user has as many API keys as anybody may have.
    #[error("too many API keys")]
    TooManyKeys,
    /// There is no such API key of this user.
    #[error("no such API key of the user")]
    NoKey,
    /// More passwords are waiting to be hashed than we let wait, or others kept us from finishing.
    #[error("too busy")]
    Busy,
    /// The caller's access was revoked in the meantime.
    #[error(transparent)]
    Revoked(#[from] Revoked),
    /// The database said no.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    /// Everything else that is not the caller's fault.
    #[error(transparent)]
    Internal(#[from] AppError),
}

impl From<LaneError> for AuthError {
    fn from(error: LaneError) -> Self {
        Self::Internal(error.into())
    }
}

impl From<AuthError> for AppError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Invalid(fields) => Self::invalid(fields),
            AuthError::EmailTaken => {
                let mut taken = Self::new(
                    ErrorKind::Conflict,
                    "auth.email_taken",
                    "There is an account with this e-mail address already; sign in instead.",
                );
                taken.fields = vec![FieldError::new("email", "taken", "belongs to another account")];
                taken
            }
            AuthError::InvalidCredentials => Self::new(
                ErrorKind::Unauthenticated,
                "auth.invalid_credentials",
                "The e-mail address or the password is wrong.",
            ),
            // Not 401: the access token is fine, and clients sign out on 401.
            AuthError::WrongPassword => {
                let mut wrong =
                    Self::new(ErrorKind::Invalid, "auth.wrong_password", "The current password is not the right one.");
                wrong.fields = vec![FieldError::new("currentPassword", "wrong", "is not the current password")];
                wrong
            }
            AuthError::OtpRequired => Self::new(
                ErrorKind::Unauthenticated,
                "auth.otp_required",
                "The password is right; send `otp` too: the authenticator's code, or a recovery code.",
            ),
            AuthError::WrongOtp => Self::new(
                ErrorKind::Unauthenticated,
                "auth.wrong_otp",
                "The code is wrong or was used before; wait for the authenticator's next one.",
            ),
            AuthError::WrongCode => {
                let detail = "The code is wrong or was used before; wait for the authenticator's next one.";
                let mut wrong = Self::new(ErrorKind::Invalid, "auth.wrong_code", detail);
                wrong.fields = vec![FieldError::new("code", "wrong", "is wrong or was used before")];
                wrong
            }
            AuthError::TotpOn => Self::new(
                ErrorKind::Conflict,
                "auth.totp_on",
                "A second factor is asked for already; remove it before you begin with another one.",
            ),
            AuthError::TotpOff => Self::new(ErrorKind::Conflict, "auth.totp_off", "No second factor is asked for."),
            AuthError::TotpNotBegun => Self::new(
                ErrorKind::Conflict,
                "auth.totp_not_begun",
                "There is no secret to confirm, or it is more than an hour old; begin again with POST /auth/totp.",
            ),
            AuthError::TotpRequired => Self::new(
                ErrorKind::Forbidden,
                "auth.totp_required",
                "Staff needs a second factor: sign in, and begin with POST /auth/totp.",
            ),
            AuthError::Disabled => Revoked::Disabled.into(),
            AuthError::UserGone => Self::new(
                ErrorKind::Unauthenticated,
                "auth.invalid_token",
                "The access token is not valid; sign in again.",
            ),
            AuthError::NoUser => Self::new(ErrorKind::NotFound, "users.not_found", "There is no such user."),
            AuthError::OwnAccount => Self::new(
                ErrorKind::Conflict,
                "users.own_account",
                "This is your own account; another administrator has to change it.",
            ),
            AuthError::OtherTenant => Self::new(
                ErrorKind::Conflict,
                "tenants.other_tenant",
                "The user belongs to another tenant and has to leave it first.",
            ),
            AuthError::InvalidLink => {
                let mut invalid = Self::new(
                    ErrorKind::Invalid,
                    "auth.invalid_link",
                    "This link is not good any more: it was used, has expired, or is not complete. Ask for a new one.",
                );
                invalid.fields = vec![FieldError::new("token", "invalid", "was used, has expired, or is not complete")];
                invalid
            }
            AuthError::NoMail => Self::new(
                ErrorKind::Conflict,
                "users.no_mail",
                "No link can be sent: SMTP_URL is not set. Without sendLink the answer has a temporary password.",
            ),
            AuthError::EmailVerified => {
                Self::new(ErrorKind::Conflict, "auth.email_verified", "The e-mail address is verified already.")
            }
            AuthError::Revoked(revoked) => revoked.into(),
            AuthError::TooManyAttempts { retry_after } => Self::new(
                ErrorKind::RateLimited,
                "auth.too_many_attempts",
                "Too many attempts; wait before the next one.",
            )
            .retry_after(retry_after),
            AuthError::InvalidRefresh => Self::new(
                ErrorKind::Unauthenticated,
                "auth.invalid_refresh",
                "The refresh token is unknown or expired; sign in again.",
            ),
            AuthError::RefreshReused => Self::new(
                ErrorKind::Unauthenticated,
                "auth.refresh_reused",
                "The refresh token was used before or has been revoked; sign in again.",
            ),
            AuthError::InvalidKey => Self::new(
                ErrorKind::Unauthenticated,
                "auth.invalid_key",
                "There is no such API key; see that it was copied whole, or make another one.",
            ),
            AuthError::Key(KeyFault::Disabled) => Revoked::Disabled.into(),
            AuthError::Key(KeyFault::Revoked) => Self::new(
                ErrorKind::Unauthenticated,
                "auth.key_revoked",
                "This API key was revoked, or its user has another role; make another one.",
            ),
            AuthError::Key(KeyFault::Expired) => {
                Self::new(ErrorKind::Unauthenticated, "auth.key_expired", "This API key has expired; make another one.")
            }
            AuthError::NoScope(scope) => Self::new(
                ErrorKind::Forbidden,
                "auth.scope_missing",
                format!("This API key has not the scope {}, which this asks for; make one that has.", scope.as_str()),
            ),
            AuthError::NotWithKey => Self::new(
                ErrorKind::Forbidden,
                "auth.not_with_key",
                "This is not for API keys, whatever their scopes: sign in.",
            ),
            AuthError::TooManyKeys => Self::new(
                ErrorKind::Conflict,
                "auth.too_many_keys",
                format!("There are {KEYS_MAX} API keys already; revoke one first."),
            ),
            AuthError::NoKey => Self::new(ErrorKind::NotFound, "auth.no_such_key", "There is no such API key."),
            AuthError::Busy => Self::unavailable("auth.busy", "Too many people sign in at this moment; try again."),
            AuthError::Database(error) => error.into(),
            AuthError::Internal(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decision_has_its_kind_and_code() {
        let retry_after = Duration::from_secs(45);
        for (error, kind, code) in [
            (AuthError::Invalid(Vec::new()), ErrorKind::Invalid, "request.invalid"),
            (AuthError::EmailTaken, ErrorKind::Conflict, "auth.email_taken"),
            (AuthError::InvalidCredentials, ErrorKind::Unauthenticated, "auth.invalid_credentials"),
            (AuthError::WrongPassword, ErrorKind::Invalid, "auth.wrong_password"),
            (AuthError::OtpRequired, ErrorKind::Unauthenticated, "auth.otp_required"),
            (AuthError::WrongOtp, ErrorKind::Unauthenticated, "auth.wrong_otp"),
            (AuthError::WrongCode, ErrorKind::Invalid, "auth.wrong_code"),
            (AuthError::TotpOn, ErrorKind::Conflict, "auth.totp_on"),
            (AuthError::TotpOff, ErrorKind::Conflict, "auth.totp_off"),
            (AuthError::TotpNotBegun, ErrorKind::Conflict, "auth.totp_not_begun"),
            (AuthError::TotpRequired, ErrorKind::Forbidden, "auth.totp_required"),
            (AuthError::Disabled, ErrorKind::Forbidden, "auth.account_disabled"),
            (AuthError::UserGone, ErrorKind::Unauthenticated, "auth.invalid_token"),
            (AuthError::NoUser, ErrorKind::NotFound, "users.not_found"),
            (AuthError::OwnAccount, ErrorKind::Conflict, "users.own_account"),
            (AuthError::OtherTenant, ErrorKind::Conflict, "tenants.other_tenant"),
            (AuthError::InvalidLink, ErrorKind::Invalid, "auth.invalid_link"),
            (AuthError::EmailVerified, ErrorKind::Conflict, "auth.email_verified"),
            (AuthError::Revoked(Revoked::Disabled), ErrorKind::Forbidden, "auth.account_disabled"),
            (AuthError::Revoked(Revoked::Void), ErrorKind::Unauthenticated, "auth.token_revoked"),
            (AuthError::TooManyAttempts { retry_after }, ErrorKind::RateLimited, "auth.too_many_attempts"),
            (AuthError::InvalidRefresh, ErrorKind::Unauthenticated, "auth.invalid_refresh"),
            (AuthError::RefreshReused, ErrorKind::Unauthenticated, "auth.refresh_reused"),
            (AuthError::InvalidKey, ErrorKind::Unauthenticated, "auth.invalid_key"),
            (AuthError::Key(KeyFault::Disabled), ErrorKind::Forbidden, "auth.account_disabled"),
            (AuthError::Key(KeyFault::Revoked), ErrorKind::Unauthenticated, "auth.key_revoked"),
            (AuthError::Key(KeyFault::Expired), ErrorKind::Unauthenticated, "auth.key_expired"),
            (AuthError::NoScope(Scope::OrdersRead), ErrorKind::Forbidden, "auth.scope_missing"),
            (AuthError::NotWithKey, ErrorKind::Forbidden, "auth.not_with_key"),
            (AuthError::TooManyKeys, ErrorKind::Conflict, "auth.too_many_keys"),
            (AuthError::NoKey, ErrorKind::NotFound, "auth.no_such_key"),
            (AuthError::Busy, ErrorKind::Unavailable, "auth.busy"),
        ] {
            let wanted_wait = match &error {
                AuthError::TooManyAttempts { retry_after } => Some(*retry_after),
                AuthError::Busy => Some(Duration::from_secs(2)),
                _ => None,
            };
            let error = AppError::from(error);
            assert_eq!((error.kind, error.code, error.retry_after), (kind, code, wanted_wait));
        }
    }
}
