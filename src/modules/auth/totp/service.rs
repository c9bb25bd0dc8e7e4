//! The use cases of second factors, and what a sign-in asks of them.

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use super::{
    super::{
        access_check::AsUser, attempts::AttemptSource, error::AuthError, model::User, service::AuthService,
        store::TOTP, trail,
    },
    commands::{BeginTotp, ConfirmTotp, RemoveTotp, RenewRecoveryCodes},
    model::{SECRET_BYTES, SecondFactorProof, Totp, described, recovery_codes},
};
use crate::{
    modules::audit::Sender,
    platform::{
        error::{AppError, FieldError},
        identity::{Actor, CurrentUser},
        ids::new_id,
        rewrap::{Rotation, SealedField},
    },
};

/// Time to type the first code.
const BEGUN_MS: i64 = 60 * 60 * 1000;

/// A secret that a user is to put into an authenticator.
pub(super) struct TotpEnrolment {
    /// In base 32.
    pub(super) secret: SecretString,
    /// `otpauth://totp/...`
    pub(super) uri: SecretString,
}

impl AuthService {
    /// Gives whoever asks, and knows the password, a secret for an authenticator. Nothing is asked for before it is confirmed.
    /// Doing it again gives another one.
    ///
    /// # Errors
    /// [`AuthError::WrongPassword`], [`AuthError::TotpOn`], [`AuthError::Revoked`], [`AuthError::TooManyAttempts`].
    pub(super) async fn begin_totp(
        &self,
        asking: &CurrentUser,
        password: &SecretString,
    ) -> Result<TotpEnrolment, AuthError> {
        let user = self.active_user(&asking.user_id).await?;
        if user.totp_since.is_some() {
            return Err(AuthError::TotpOn);
        }
        let actor = Actor::from(asking);
        self.check_password(&user, password, &actor).await?;
        let secret = Zeroizing::new(rand::random::<[u8; SECRET_BYTES]>());
        let (shown, uri) = described(&*secret, &user.email).map_err(AppError::internal)?;
        let totp = Totp {
            user_id: user.id.clone(),
            secret_id: new_id("otp"),
            secret: self.second_factor.sealing.seal(&Totp::place(&user.id), &*secret),
            confirmed_at: None,
            last_step: 0,
            recovery: Vec::new(),
            created_at: self.clock.now(),
        };
        let begin = BeginTotp { totp, actor, event_id: new_id("aud") };
        if !self.lane.submit(AsUser::new(asking, begin)).await?? {
            return Err(AuthError::TotpOn);
        }
        Ok(TotpEnrolment { secret: shown, uri })
    }

    /// Asks the user for codes from now on, and ends every session; gives the recovery codes, which are not to be had again.
    ///
    /// # Errors
    /// [`AuthError::WrongCode`], [`AuthError::TotpOn`], [`AuthError::TotpNotBegun`], [`AuthError::TooManyAttempts`].
    pub(super) async fn confirm_totp(
        &self,
        asking: &CurrentUser,
        code: &SecretString,
    ) -> Result<Vec<SecretString>, AuthError> {
        let user = self.active_user(&asking.user_id).await?;
        if user.totp_since.is_some() {
            return Err(AuthError::TotpOn);
        }
        let actor = Actor::from(asking);
        let now_ms = self.clock.now_ms();
        let begun = self.store.find_totp(&user.id).await?;
        let begun = begun.filter(|totp| now_ms.saturating_sub(totp.created_at.timestamp_millis()) < BEGUN_MS);
        let totp = begun.ok_or(AuthError::TotpNotBegun)?;
        let Some(SecondFactorProof::Code { step }) = self.shown(&user, &totp, code, &actor).await? else {
            return Err(AuthError::WrongCode);
        };
        let (codes, recovery) = recovery_codes(&user.id);
        let confirm = ConfirmTotp {
            user_id: user.id.clone(),
            secret_id: totp.secret_id,
            step,
            recovery,
            actor,
            event_id: new_id("aud"),
        };
        let confirmed = self.lane.submit(AsUser::new(asking, confirm)).await??;
        self.ended(&confirmed.ok_or(AuthError::WrongCode)?).await;
        tracing::info!(user.id = user.id, "second factor confirmed");
        Ok(codes)
    }

    /// Asks for no codes any more, and ends every session.
    ///
    /// # Errors
    /// [`AuthError::WrongPassword`], [`AuthError::WrongCode`], [`AuthError::TotpOff`], [`AuthError::TooManyAttempts`].
    pub(super) async fn remove_totp(
        &self,
        asking: &CurrentUser,
        password: &SecretString,
        code: &SecretString,
    ) -> Result<(), AuthError> {
        let shown = self.show_again(asking, password, Some(code)).await?.ok_or(AuthError::TotpOff)?;
        let (user_id, actor) = (asking.user_id.clone(), Actor::from(asking));
        let remove = RemoveTotp { user_id, shown, actor, event_id: new_id("aud") };
        let removed = self.lane.submit(AsUser::new(asking, remove)).await??;
        self.ended(&removed.ok_or(AuthError::WrongCode)?).await;
        tracing::info!(user.id = asking.user_id, "second factor removed");
        Ok(())
    }

    /// Gives other recovery codes; those of before are void. They are not to be had again.
    ///
    /// # Errors
    /// As [`AuthService::remove_totp`].
    pub(super) async fn renew_recovery_codes(
        &self,
        asking: &CurrentUser,
        password: &SecretString,
        code: &SecretString,
    ) -> Result<Vec<SecretString>, AuthError> {
        let shown = self.show_again(asking, password, Some(code)).await?.ok_or(AuthError::TotpOff)?;
        let (user_id, actor) = (asking.user_id.clone(), Actor::from(asking));
        let (codes, recovery) = recovery_codes(&user_id);
        let renew = RenewRecoveryCodes { user_id, shown, recovery, actor, event_id: new_id("aud") };
        if !self.lane.submit(AsUser::new(asking, renew)).await?? {
            return Err(AuthError::WrongCode);
        }
        tracing::info!(user.id = asking.user_id, "recovery codes renewed");
        Ok(codes)
    }

    /// Has whoever has signed in show once more who it is, before what outlives the session: the password and, where there is a
    /// second factor, a code, which is to be used up by what it is shown for.
    ///
    /// # Errors
    /// [`AuthError::WrongPassword`], [`AuthError::WrongCode`], [`AuthError::Invalid`] where a code is needed and there is none,
    /// [`AuthError::TooManyAttempts`].
    pub(in super::super) async fn show_again(
        &self,
        asking: &CurrentUser,
        password: &SecretString,
        code: Option<&SecretString>,
    ) -> Result<Option<(String, SecondFactorProof)>, AuthError> {
        let user = self.active_user(&asking.user_id).await?;
        let actor = Actor::from(asking);
        self.check_password(&user, password, &actor).await?;
        if user.totp_since.is_none() {
            return Ok(None);
        }
        let missing =
            || AuthError::Invalid(vec![FieldError::new("code", "required", "is required: you have a second factor")]);
        let shown = self.prove(&user, code.ok_or_else(missing)?, &actor).await?;
        shown.ok_or(AuthError::WrongCode).map(Some)
    }

    /// The proof in `typed` of the user's second factor, which is to be used up by whatever it is shown for; none where it is wrong.
    /// It counts as a guess at this user's, wherever it comes from: whoever has the password, or can reset it, can come by devices
    /// as many as they like.
    pub(in super::super) async fn prove(
        &self,
        user: &User,
        typed: &SecretString,
        actor: &Actor,
    ) -> Result<Option<(String, SecondFactorProof)>, AuthError> {
        let Some(totp) = self.store.find_totp(&user.id).await? else { return Ok(None) };
        let proof = self.shown(user, &totp, typed, actor).await?;
        Ok(proof.map(|proof| (totp.secret_id, proof)))
    }

    async fn shown(
        &self,
        user: &User,
        totp: &Totp,
        typed: &SecretString,
        actor: &Actor,
    ) -> Result<Option<SecondFactorProof>, AuthError> {
        // A code has a million values, and whoever guesses here has the password: there is no limit per network besides.
        let guesser = format!("otp:{}", user.id);
        let counters = self.attempts.counters(AttemptSource::Known(&guesser));
        self.attempts.take(&counters).await?;
        let secret = self.second_factor.sealing.open(&Totp::place(&user.id), &totp.secret);
        let secret = secret.map_err(AppError::internal)?;
        let proof = totp.judge(&secret, typed.expose_secret(), self.clock.now_ms());
        if proof.is_some() {
            self.attempts.give_back_attempt(&counters).await;
        } else {
            tracing::info!(user.id = user.id, "wrong code");
            let refused = trail::wrong_code(user, actor, self.clock.now());
            self.refusals.note(Sender::user(&user.id, user.role), refused);
        }
        Ok(proof)
    }
}

const SEALED: SealedField = SealedField { collection: TOTP, path: "secret", place: Totp::place };

/// Wraps every secret of this module under today's key.
///
/// # Errors
/// Errors of the database driver.
pub async fn rotate(rotation: &mut Rotation<'_>) -> mongodb::error::Result<()> {
    rotation.field(&SEALED).await
}
