//! How a use case of KYC may fail.

use super::model::KycState;
use crate::{
    modules::{audit::retention::UnderLegalHold, auth::Revoked},
    platform::{
        batch::LaneError,
        error::{AppError, ErrorKind, FieldError},
        http::transfers::Busy,
        kept_secret::KeptSecretError,
        sealing::OpenError,
    },
};

/// Each variant is a decision for the caller.
#[derive(Debug, thiserror::Error)]
pub enum KycError {
    /// It was handed in; the fields that are named can't be changed now.
    #[error("fields are locked in the state {}", .0.as_str())]
    Locked(KycState, Vec<FieldError>),
    /// Something is missing or contradicts.
    #[error("the application is not complete")]
    Incomplete(Vec<FieldError>),
    /// It can't be handed in in this state.
    #[error("an application can't be handed in in the state {}", .0.as_str())]
    NotSubmittable(KycState),
    /// It was decided, or is not there to be decided.
    #[error("that can't be decided in the state {}", .0.as_str())]
    NotDecidable(KycState),
    /// It was handed in again since the reviewer looked: this is its submission now.
    #[error("it was handed in again")]
    Changed(i32),
    /// You can't decide about your own application.
    #[error("it is the reviewer's own application")]
    OwnApplication,
    /// Somebody else has to approve too.
    #[error("another reviewer has to approve")]
    SecondPersonNeeded,
    #[error("there are too many documents")]
    TooManyDocuments,
    /// It is no PDF, PNG or JPEG.
    #[error("the content is of no type that is taken")]
    UnknownContent,
    /// Too many uploads at once.
    #[error("too many uploads are under way")]
    Busy,
    /// Absent, or somebody else's.
    #[error("there is no such application")]
    NotFound,
    /// Absent, or somebody else's.
    #[error("there is no such document")]
    NoDocument,
    /// Only rejected applications can be erased.
    #[error("an application can't be erased in the state {}", .0.as_str())]
    NotErasable(KycState),
    /// A legal hold keeps what was to go.
    #[error(transparent)]
    Held(#[from] UnderLegalHold),
    /// A sealed value can't be opened here.
    #[error(transparent)]
    Sealed(#[from] OpenError),
    /// Unique indexes are missing. Run `waybill migrate`.
    #[error("required indexes are missing")]
    NotReady,
    /// The batch lane could not carry it out.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The caller's access was revoked in the meantime.
    #[error(transparent)]
    Revoked(#[from] Revoked),
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
}

fn conflict(code: &'static str, detail: String, state: KycState) -> AppError {
    AppError::new(ErrorKind::Conflict, code, detail).with("state", state)
}

impl From<KeptSecretError> for KycError {
    fn from(error: KeptSecretError) -> Self {
        match error {
            KeptSecretError::Database(error) => error.into(),
            KeptSecretError::Sealed(error) => error.into(),
        }
    }
}

impl From<Busy> for KycError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

impl From<KycError> for AppError {
    fn from(error: KycError) -> Self {
        match error {
            KycError::Locked(state, fields) => {
                let detail =
                    format!("The application is {}; the fields named in errors can't be changed.", state.as_str());
                Self { fields, ..conflict("kyc.field_locked", detail, state) }
            }
            KycError::Incomplete(fields) => Self {
                fields,
                ..Self::new(ErrorKind::Invalid, "kyc.incomplete", "Something is missing or contradicts; see errors.")
            },
            KycError::NotSubmittable(state) => conflict(
                "kyc.not_submittable",
                format!("The application is {}. {}", state.as_str(), state.next_step()),
                state,
            ),
            KycError::NotDecidable(state) => conflict(
                "kyc.not_decidable",
                format!("The application is {}; this can't be decided about it now.", state.as_str()),
                state,
            ),
            KycError::Changed(submission) => Self::new(
                ErrorKind::Conflict,
                "kyc.changed",
                "The application was handed in again since you looked at it; look at it again.",
            )
            .with("submission", submission),
            KycError::OwnApplication => {
                Self::new(ErrorKind::Forbidden, "kyc.own_application", "You can't decide about your own application.")
            }
            KycError::SecondPersonNeeded => Self::new(
                ErrorKind::Conflict,
                "kyc.second_person_needed",
                "The decision before was yours; another reviewer has to agree.",
            ),
            KycError::TooManyDocuments => Self::new(
                ErrorKind::Conflict,
                "kyc.too_many_documents",
                format!("An application has at most {} documents; remove one first.", super::draft::DOCUMENTS_MAX),
            ),
            KycError::UnknownContent => Self::invalid(vec![FieldError::new(
                "file",
                "content",
                "must be a PDF, a PNG or a JPEG; its content says that it is none of them",
            )]),
            KycError::Busy => Self::unavailable("kyc.uploads_busy", "Too many uploads are under way; try again."),
            KycError::NotFound => Self::new(ErrorKind::NotFound, "kyc.not_found", "There is no such application."),
            KycError::NoDocument => {
                Self::new(ErrorKind::NotFound, "kyc.document_not_found", "There is no such document.")
            }
            KycError::NotErasable(state) => conflict(
                "kyc.not_erasable",
                format!("The application is {}; only a rejected one is erased.", state.as_str()),
                state,
            ),
            // Why is not the merchant's to know.
            KycError::Held(UnderLegalHold) => Self::new(
                ErrorKind::Conflict,
                "audit.held",
                "A legal hold keeps this; nothing of it can be removed or erased until the hold is released.",
            ),
            KycError::Sealed(error @ OpenError::UnknownKey(_)) => Self::unavailable(
                "kyc.sealing_key_missing",
                "This record is sealed under a key that is not configured here; an operator has to add it.",
            )
            .caused_by(error),
            KycError::Sealed(error @ OpenError::Damaged) => Self::internal(error),
            KycError::NotReady => Self::not_migrated(),
            KycError::Lane(error) => error.into(),
            KycError::Revoked(revoked) => revoked.into(),
            KycError::Database(error) => error.into(),
        }
    }
}
