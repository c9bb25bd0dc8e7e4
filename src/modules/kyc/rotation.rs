//! Wrapping again what is sealed under the service's previous key.

use std::collections::BTreeSet;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;

use super::{
    model::{APPLICATIONS, DOCUMENTS, document_place, field_place},
    papers::{KYC_KEYS, PAPERS_KEY},
};
use crate::platform::{
    kept_secret::KeptSecretError,
    sealing::{Envelope, OpenError, SealingKeys},
};

/// Where values are sealed: the collection, the path of the value, and the name that its place goes by.
const SEALED: [(&str, &str, &str); 4] = [
    (APPLICATIONS, "pan.sealed", "pan"),
    (APPLICATIONS, "gstin.sealed", "gstin"),
    (APPLICATIONS, "bankAccount.number.sealed", "accountNumber"),
    (DOCUMENTS, "content", "content"),
];
/// What is written meanwhile is met by the next pass.
const PASSES_MAX: usize = 10;

/// How far a rotation came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Values that are wrapped by today's key now.
    pub wrapped: u64,
    /// Values that could not be wrapped: sealed under an unknown key, damaged, or still being written under another key.
    pub failed: u64,
}

/// Wraps every value under today's key. Values stay readable meanwhile, and it can be stopped and run again at any time.
/// `progress` is told of every value that could not be opened (its place and why), and of every thousandth that was.
///
/// # Errors
/// What the driver says.
pub async fn rotate(
    db: &Database,
    keys: &SealingKeys,
    mut progress: impl FnMut(Rotated, Option<(&str, &OpenError)>),
) -> mongodb::error::Result<Rotated> {
    let mut total = Rotated::default();
    // A later pass meets what could not be opened again; it is named once.
    let mut named = BTreeSet::new();
    let mut progress = |so_far: Rotated, trouble: Option<(&str, &OpenError)>| {
        if trouble.is_none_or(|(place, _)| named.insert(place.to_owned())) {
            progress(so_far, trouble);
        }
    };
    for (collection, path, name) in SEALED {
        for pass in 1..=PASSES_MAX {
            let before = total;
            let missed = wrap_all(db, keys, (collection, path, name), &mut total, &mut progress).await?;
            let met = missed + total.wrapped - before.wrapped;
            // Only a pass that meets nothing says that nothing is left: others write meanwhile, perhaps under the old key.
            if met == 0 {
                break;
            }
            // The next pass meets what could not be opened again; after the last one, what it met may not be all.
            total.failed = if pass < PASSES_MAX { before.failed } else { total.failed + met };
        }
    }
    match PAPERS_KEY.rewrap(db, keys).await {
        Ok(changed) => total.wrapped += u64::from(changed),
        Err(KeptSecretError::Database(error)) => return Err(error),
        Err(KeptSecretError::Sealed(error)) => {
            total.failed += 1;
            progress(total, Some((&format!("{KYC_KEYS}/{}", PAPERS_KEY.id), &error)));
        }
    }
    Ok(total)
}

/// One pass over a field; gives how many values were changed by somebody else meanwhile.
async fn wrap_all(
    db: &Database,
    keys: &SealingKeys,
    (collection, path, name): (&str, &str, &str),
    total: &mut Rotated,
    progress: &mut impl FnMut(Rotated, Option<(&str, &OpenError)>),
) -> mongodb::error::Result<u64> {
    const EVERY: u64 = 1_000;
    let documents = db.collection::<Document>(collection);
    let envelope_path = format!("{path}.envelope");
    let key_path = format!("{envelope_path}.keyId");
    let old = doc! { &key_path: { "$exists": true, "$ne": keys.current_id() } };
    let mut found = documents.find(old).projection(doc! { &envelope_path: 1 }).await?;
    let mut missed = 0;
    while let Some(document) = found.try_next().await? {
        let Ok(id) = document.get_str("_id") else { continue };
        let place = if collection == DOCUMENTS { document_place(id) } else { field_place(id, name) };
        let Some(envelope) = envelope_at(&document, &envelope_path) else {
            total.failed += 1;
            progress(*total, Some((&place, &OpenError::Damaged)));
            continue;
        };
        match keys.rewrap(&place, &envelope) {
            Ok(Some(again)) => {
                let unchanged = doc! { "_id": id, format!("{envelope_path}.wrappedKey"): &envelope.wrapped_key };
                let fields = doc! { "keyId": again.key_id, "wrappedKey": again.wrapped_key };
                let updated = documents.update_one(unchanged, doc! { "$set": { &envelope_path: fields } }).await?;
                total.wrapped += updated.modified_count;
                missed += 1 - updated.modified_count;
                if total.wrapped.is_multiple_of(EVERY) {
                    progress(*total, None);
                }
            }
            Ok(None) => {}
            Err(error) => {
                total.failed += 1;
                progress(*total, Some((&place, &error)));
            }
        }
    }
    Ok(missed)
}

fn envelope_at(document: &Document, path: &str) -> Option<Envelope> {
    let mut at = document;
    for step in path.split('.') {
        at = at.get_document(step).ok()?;
    }
    bson::deserialize_from_document(at.clone()).ok()
}
