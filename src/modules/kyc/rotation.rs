//! Wrapping again what applications and documents hold sealed.

use super::{
    model::{APPLICATIONS, DOCUMENTS, document_place, field_place},
    papers::PAPERS_KEY,
};
use crate::platform::rewrap::{Rotation, SealedField};

const SEALED: [SealedField; 4] = [
    SealedField { collection: APPLICATIONS, path: "pan.sealed", place: |id| field_place(id, "pan") },
    SealedField { collection: APPLICATIONS, path: "gstin.sealed", place: |id| field_place(id, "gstin") },
    SealedField {
        collection: APPLICATIONS,
        path: "bankAccount.number.sealed",
        place: |id| field_place(id, "accountNumber"),
    },
    SealedField { collection: DOCUMENTS, path: "content", place: document_place },
];

/// Wraps every value of this module under today's key.
///
/// # Errors
/// Errors of the database driver.
pub async fn rotate(rotation: &mut Rotation<'_>) -> mongodb::error::Result<()> {
    for field in &SEALED {
        rotation.field(field).await?;
    }
    rotation.kept_secret(PAPERS_KEY).await
}
