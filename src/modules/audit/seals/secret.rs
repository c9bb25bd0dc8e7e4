//! The secret behind commitments: made once, at random, by the first sealer, and kept sealed in the database, so that it
//! outlives every change of keys. Whoever writes records reads it, and hashes them on the way.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bson::{Document, doc};
use mongodb::Database;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    super::proof::{CommitmentKey, LeafHasher, Record, Scopes, commitment_key},
    store::{AUDIT_KEYS, SealStore, id_of},
};
use crate::platform::{
    batch::LeafHash,
    mongo,
    sealing::{OpenError, Sealed, SealingKeys},
};

/// `_id` of the secret, and its place among sealed values.
const ID: &str = "commitment_secret";
const PLACE: &str = "audit_keys/commitment_secret";
/// Somebody who writes looks for the key so often, until it has it.
const LOOKED_FOR_EVERY: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct StoredSecret {
    #[serde(rename = "_id")]
    id: String,
    sealed: Sealed,
}

/// Why there is no commitment key.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// What the driver says.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    /// There are seals, made with one.
    #[error(
        "the audit's commitment secret is not in the collection audit_keys, but there are seals: restore that collection from a backup. \
         Without it no personal field can be verified, and another one would not fit"
    )]
    Lost,
    /// The stored secret can't be opened.
    #[error("the audit's commitment secret: {0}")]
    Sealed(#[from] OpenError),
}

/// The commitment key of this database; makes its secret where there is none yet and nothing is sealed.
///
/// # Errors
/// [`SecretError`].
pub async fn commitment_key_of(db: &Database, keys: &SealingKeys) -> Result<CommitmentKey, SecretError> {
    let secrets = db.collection::<StoredSecret>(AUDIT_KEYS);
    let stored = match secrets.find_one(doc! { "_id": ID }).await? {
        Some(stored) => stored,
        None if SealStore::new(db.clone()).last().await?.is_some() => {
            return Err(SecretError::Lost);
        }
        None => {
            let secret = hex::encode(rand::random::<[u8; 32]>());
            let made = StoredSecret { id: ID.into(), sealed: keys.seal(PLACE, secret.as_bytes()) };
            match secrets.insert_one(&made).await {
                Err(error) if !mongo::is_duplicate_key(&error) => return Err(error.into()),
                Ok(_) => made,
                // Somebody else was first. Until a majority has theirs, neither counts.
                Err(error) => secrets.find_one(doc! { "_id": ID }).await?.ok_or(error)?,
            }
        }
    };
    let secret: SecretString = keys.open_text(PLACE, &stored.sealed)?;
    Ok(commitment_key(&secret))
}

/// The same, where the secret is there; makes none.
///
/// # Errors
/// [`SecretError`].
pub async fn find_commitment_key(db: &Database, keys: &SealingKeys) -> Result<Option<CommitmentKey>, SecretError> {
    let Some(stored) = db.collection::<StoredSecret>(AUDIT_KEYS).find_one(doc! { "_id": ID }).await? else {
        return Ok(None);
    };
    let secret: SecretString = keys.open_text(PLACE, &stored.sealed)?;
    Ok(Some(commitment_key(&secret)))
}

/// Hashes what this process writes, so that the sealer need not read it, from when the commitment key is there. It is
/// looked for in the background; the sealer reads what was written before.
pub fn leaf_hashes(db: &Database, keys: &Arc<SealingKeys>) -> LeafHash {
    let known: Arc<OnceLock<CommitmentKey>> = Arc::default();
    let (found, db, keys) = (Arc::clone(&known), db.clone(), Arc::clone(keys));
    tokio::spawn(async move {
        loop {
            match find_commitment_key(&db, &keys).await {
                Ok(Some(key)) => return drop(found.set(key)),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "no commitment key yet"),
            }
            tokio::time::sleep(LOOKED_FOR_EVERY).await;
        }
    });
    Arc::new(move |collection, document| {
        let (commitments, scope) = (known.get()?, Scopes::standard().of_collection(collection)?);
        let record = Record { scope, id: id_of(document)?, document };
        let Ok(hash) = LeafHasher::new().hash(&record, commitments);
        Some(hash.0)
    })
}

/// Wraps the secret under today's sealing key; whether that changed anything.
///
/// # Errors
/// [`SecretError`].
pub async fn rotate_commitment_secret(db: &Database, keys: &SealingKeys) -> Result<bool, SecretError> {
    let Some(stored) = db.collection::<StoredSecret>(AUDIT_KEYS).find_one(doc! { "_id": ID }).await? else {
        return Ok(false);
    };
    let Some(envelope) = keys.rewrap(PLACE, stored.sealed.envelope())? else {
        return Ok(false);
    };
    let envelope = bson::serialize_to_bson(&envelope).map_err(mongodb::error::Error::from)?;
    let change = doc! { "$set": { "sealed.envelope": envelope } };
    db.collection::<Document>(AUDIT_KEYS).update_one(doc! { "_id": ID }, change).await?;
    Ok(true)
}
