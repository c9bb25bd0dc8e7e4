//! The gate: who is not verified moves neither parcels nor money.

use super::model::{Application, KycState};
use crate::platform::{
    batch::{Key, View},
    error::{AppError, ErrorKind},
};

/// Proof that a user may do business. Only [`KycGate::verify`] gives one, from what the same transaction has read.
#[derive(Debug)]
pub struct Verified(());

/// The user may not do business in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not verified: {}", .0.as_str())]
pub struct NotVerified(pub KycState);

impl From<NotVerified> for AppError {
    fn from(NotVerified(state): NotVerified) -> Self {
        let next_step = state.next_step();
        let detail = match state {
            KycState::Suspended => format!("Your account is suspended. {next_step}"),
            _ => format!("You have to be verified first. {next_step}"),
        };
        Self::new(ErrorKind::Forbidden, "kyc.not_verified", detail).with("state", state).with("nextStep", next_step)
    }
}

/// Lets verified merchants through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KycGate {
    required: bool,
}

impl KycGate {
    /// A gate for those who are verified; for everybody who is not suspended, where that is not `required`.
    #[must_use]
    pub const fn new(required: bool) -> Self {
        Self { required }
    }

    /// The key that [`KycGate::verify`] reads.
    #[must_use]
    pub fn key(self, user_id: &str) -> Key {
        Application::key(user_id)
    }

    /// Lets a user through.
    ///
    /// # Errors
    /// [`NotVerified`] with the user's state.
    pub fn verify(self, view: &View, user_id: &str) -> Result<Verified, NotVerified> {
        let state = view.text(&self.key(user_id), "state");
        // A state that this version doesn't know lets nobody through.
        let unknown = KycState::UnderReview;
        let state = state.map_or(KycState::NotStarted, |name| KycState::from_name(name).unwrap_or(unknown));
        match state {
            KycState::Verified => Ok(Verified(())),
            KycState::Suspended => Err(NotVerified(state)),
            _ if self.required => Err(NotVerified(state)),
            _ => Ok(Verified(())),
        }
    }

    /// Lets somebody through who buys and does not sell: whoever is not suspended. What it may do unverified the caller limits.
    ///
    /// # Errors
    /// As [`KycGate::verify`].
    pub fn admit_buyer(self, view: &View, user_id: &str) -> Result<Verified, NotVerified> {
        Self { required: false }.verify(view, user_id)
    }
}
