//! Secrets that the service makes for itself: once, at random, kept sealed in the database, so that they outlive every change of
//! keys in the configuration.

use bson::{Document, doc};
use mongodb::Database;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    mongo,
    sealing::{OpenError, Sealed, SealingKeys},
};

#[derive(Clone, Copy, Debug)]
pub struct KeptSecret {
    pub collection: &'static str,
    /// `_id` there.
    pub id: &'static str,
}

/// Why a secret is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum KeptSecretError {
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    /// It can't be opened.
    #[error(transparent)]
    Sealed(#[from] OpenError),
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    #[serde(rename = "_id")]
    id: String,
    sealed: Sealed,
}

impl KeptSecret {
    /// Its place among sealed values.
    fn place(self) -> String {
        format!("{}/{}", self.collection, self.id)
    }

    async fn stored(self, db: &Database) -> mongodb::error::Result<Option<StoredKey>> {
        db.collection(self.collection).find_one(doc! { "_id": self.id }).max_time(mongo::READ_TIME_MAX).await
    }

    /// The secret, where there is one.
    ///
    /// # Errors
    /// [`KeptSecretError`].
    pub async fn find(self, db: &Database, keys: &SealingKeys) -> Result<Option<SecretString>, KeptSecretError> {
        let stored = self.stored(db).await?;
        Ok(stored.map(|stored| keys.open_text(&self.place(), &stored.sealed)).transpose()?)
    }

    /// The secret; makes it where there is none.
    ///
    /// # Errors
    /// [`KeptSecretError`].
    pub async fn ensure(self, db: &Database, keys: &SealingKeys) -> Result<SecretString, KeptSecretError> {
        let stored = match self.stored(db).await? {
            Some(stored) => stored,
            None => {
                let secret = hex::encode(rand::random::<[u8; 32]>());
                let made = StoredKey { id: self.id.into(), sealed: keys.seal(&self.place(), secret.as_bytes()) };
                match db.collection::<StoredKey>(self.collection).insert_one(&made).await {
                    Err(error) if !mongo::is_duplicate_key(&error) => return Err(error.into()),
                    Ok(_) => made,
                    // Somebody else was first. Until a majority has theirs, neither counts.
                    Err(error) => self.stored(db).await?.ok_or(error)?,
                }
            }
        };
        Ok(keys.open_text(&self.place(), &stored.sealed)?)
    }

    /// Wraps it under today's sealing key; whether that changed anything.
    ///
    /// # Errors
    /// [`KeptSecretError`].
    pub async fn rewrap(self, db: &Database, keys: &SealingKeys) -> Result<bool, KeptSecretError> {
        let Some(stored) = self.stored(db).await? else { return Ok(false) };
        let Some(envelope) = keys.rewrap(&self.place(), stored.sealed.envelope())? else { return Ok(false) };
        let envelope = bson::serialize_to_bson(&envelope).map_err(mongodb::error::Error::from)?;
        let change = doc! { "$set": { "sealed.envelope": envelope } };
        db.collection::<Document>(self.collection).update_one(doc! { "_id": self.id }, change).await?;
        Ok(true)
    }
}
