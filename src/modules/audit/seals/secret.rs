//! The commitment secret: made at random by the first sealer and kept in the database, encrypted under SEALING_KEY, so that it outlives every
//! change of signing keys. Processes that write records read it, and hash the records as they write them.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use mongodb::Database;

use super::{
    super::proof::{CommitmentKey, Record, Scopes, commitment_key, leaf_hash},
    store::{AUDIT_KEYS, SealStore, id_of},
};
use crate::platform::{
    batch::LeafHash,
    kept_secret::{KeptSecret, KeptSecretError},
    sealing::{OpenError, SealingKeys},
};

const SECRET: KeptSecret = KeptSecret { collection: AUDIT_KEYS, id: "commitment_secret" };
/// Somebody who writes looks for the key so often, until it has it.
const LOOKED_FOR_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    /// There are seals, made with one.
    #[error(
        "the audit's commitment secret is not in the collection audit_keys, but there are seals: restore that collection from a backup. \
         Without it no personal field can be verified, and another one would not fit"
    )]
    Lost,
    #[error("the audit's commitment secret: {0}")]
    Sealed(#[from] OpenError),
}

impl From<KeptSecretError> for SecretError {
    fn from(error: KeptSecretError) -> Self {
        match error {
            KeptSecretError::Database(error) => Self::Database(error),
            KeptSecretError::Sealed(error) => Self::Sealed(error),
        }
    }
}

/// The commitment key of this database; makes its secret where there is none yet and nothing is sealed.
pub async fn commitment_key_of(db: &Database, keys: &SealingKeys) -> Result<CommitmentKey, SecretError> {
    if let Some(key) = find_commitment_key(db, keys).await? {
        return Ok(key);
    }
    if SealStore::new(db.clone()).last().await?.is_some() {
        return Err(SecretError::Lost);
    }
    Ok(commitment_key(&SECRET.ensure(db, keys).await?))
}

/// The same, where the secret is there; makes none.
pub async fn find_commitment_key(db: &Database, keys: &SealingKeys) -> Result<Option<CommitmentKey>, SecretError> {
    Ok(SECRET.find(db, keys).await?.map(|secret| commitment_key(&secret)))
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
        let Ok(hash) = leaf_hash(&record, commitments);
        Some(hash.0)
    })
}

/// Wraps the secret under today's sealing key; whether that changed anything.
pub async fn rotate_commitment_secret(db: &Database, keys: &SealingKeys) -> Result<bool, SecretError> {
    Ok(SECRET.rewrap(db, keys).await?)
}
