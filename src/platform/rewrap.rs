//! Wrapping again what is sealed under the service's previous key.

use std::collections::BTreeSet;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};

use super::{
    kept_secret::{KeptSecret, KeptSecretError},
    sealing::{Envelope, OpenError, SealingKeys},
};

/// Values written during a pass are met by the next one.
const PASSES_MAX: usize = 10;

/// A field of documents that holds a sealed value. A large collection needs an index on its `envelope.keyId`.
#[derive(Clone, Copy, Debug)]
pub struct SealedField {
    pub collection: &'static str,
    pub path: &'static str,
    /// The place for which the value of the document with this `_id` is sealed.
    pub place: fn(&str) -> String,
}

/// How far a rotation came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Values that are wrapped by today's key now.
    pub wrapped: u64,
    /// Values that could not be wrapped: sealed under an unknown key, damaged, or still being written under another key.
    pub failed: u64,
}

/// Is told of every value that could not be opened (its place and why), and of every thousandth that was.
type OnRotated<'a> = dyn FnMut(Rotated, Option<(&str, &OpenError)>) + Send + 'a;

/// Wraps values under today's key. They stay readable meanwhile, and it can be stopped and run again at any time.
pub struct Rotation<'a> {
    db: &'a Database,
    keys: &'a SealingKeys,
    total: Rotated,
    /// A later pass meets what could not be opened again; it is named once.
    named: BTreeSet<String>,
    progress: Box<OnRotated<'a>>,
}

impl<'a> Rotation<'a> {
    /// A rotation that has done nothing yet.
    pub fn new(
        db: &'a Database,
        keys: &'a SealingKeys,
        progress: impl FnMut(Rotated, Option<(&str, &OpenError)>) + Send + 'a,
    ) -> Self {
        Self { db, keys, total: Rotated::default(), named: BTreeSet::new(), progress: Box::new(progress) }
    }

    /// The totals so far.
    #[must_use]
    pub const fn total(&self) -> Rotated {
        self.total
    }

    /// Wraps every value of a field.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn field(&mut self, field: &SealedField) -> Result<()> {
        for pass in 1..=PASSES_MAX {
            let before = self.total;
            let missed = self.pass(field).await?;
            let met = missed + self.total.wrapped - before.wrapped;
            // Only a pass that meets nothing says that nothing is left: others write meanwhile, perhaps under the old key.
            if met == 0 {
                break;
            }
            // The next pass meets what could not be opened again; after the last one, what it met may not be all.
            self.total.failed = if pass < PASSES_MAX { before.failed } else { self.total.failed + met };
        }
        Ok(())
    }

    /// Wraps a secret of the service's own.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn kept_secret(&mut self, secret: KeptSecret) -> Result<()> {
        match secret.rewrap(self.db, self.keys).await {
            Ok(changed) => self.total.wrapped += u64::from(changed),
            Err(KeptSecretError::Database(error)) => return Err(error),
            Err(KeptSecretError::Sealed(error)) => {
                self.trouble(&format!("{}/{}", secret.collection, secret.id), &error)
            }
        }
        Ok(())
    }

    fn trouble(&mut self, place: &str, error: &OpenError) {
        self.total.failed += 1;
        if self.named.insert(place.to_owned()) {
            (self.progress)(self.total, Some((place, error)));
        }
    }

    /// One pass over a field; gives how many values were changed by somebody else meanwhile.
    async fn pass(&mut self, field: &SealedField) -> Result<u64> {
        const EVERY: u64 = 1_000;
        let documents = self.db.collection::<Document>(field.collection);
        let envelope_path = format!("{}.envelope", field.path);
        let key_path = format!("{envelope_path}.keyId");
        let old = doc! { &key_path: { "$exists": true, "$ne": self.keys.current_id() } };
        let mut found = documents.find(old).projection(doc! { &envelope_path: 1 }).await?;
        let mut missed = 0;
        while let Some(document) = found.try_next().await? {
            let Ok(id) = document.get_str("_id") else { continue };
            let place = (field.place)(id);
            let Some(envelope) = envelope_at(&document, &envelope_path) else {
                self.trouble(&place, &OpenError::Damaged);
                continue;
            };
            match self.keys.rewrap(&place, &envelope) {
                Ok(Some(again)) => {
                    let unchanged = doc! { "_id": id, format!("{envelope_path}.wrappedKey"): &envelope.wrapped_key };
                    let fields = doc! { "keyId": again.key_id, "wrappedKey": again.wrapped_key };
                    let updated = documents.update_one(unchanged, doc! { "$set": { &envelope_path: fields } }).await?;
                    self.total.wrapped += updated.modified_count;
                    missed += 1 - updated.modified_count;
                    if self.total.wrapped.is_multiple_of(EVERY) {
                        (self.progress)(self.total, None);
                    }
                }
                Ok(None) => {}
                Err(error) => self.trouble(&place, &error),
            }
        }
        Ok(missed)
    }
}

fn envelope_at(document: &Document, path: &str) -> Option<Envelope> {
    let mut at = document;
    for step in path.split('.') {
        at = at.get_document(step).ok()?;
    }
    bson::deserialize_from_document(at.clone()).ok()
}
