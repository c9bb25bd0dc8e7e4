//! Where states of accounts are kept.

use std::{collections::HashMap, time::Duration};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{
    Collection, Database,
    error::{Error, Result},
    options::ReturnDocument,
};

use super::{
    room::{Grant, RoomRequest, extending, granting, leaving},
    state::AccountState,
};
use crate::platform::mongo::{READ_TIME_MAX, is_duplicate_key};

pub(super) const STATES: &str = "provider_account_states";
/// Others changed the same state meanwhile: so often it is read again.
const CHANGES_MAX: usize = 20;

#[derive(Clone, Debug)]
pub(super) struct StateStore {
    states: Collection<Document>,
}

fn read(document: Document) -> Result<AccountState> {
    bson::deserialize_from_document(document).map_err(Error::custom)
}

/// Projection of the fields of an [`AccountState`].
fn shape() -> Document {
    doc! { "revision": 1, "breaker": 1, "throttledUntil": 1, "probe": 1, "lastUsedAt": 1 }
}

impl StateStore {
    pub(super) fn new(db: &Database) -> Self {
        Self { states: db.collection(STATES) }
    }

    /// States of these accounts; most have none.
    pub(super) async fn find(&self, account_ids: &[&str]) -> Result<HashMap<String, AccountState>> {
        let filter = doc! { "_id": { "$in": account_ids } };
        let found: Vec<Document> =
            self.states.find(filter).projection(shape()).max_time(READ_TIME_MAX).await?.try_collect().await?;
        let states = found
            .into_iter()
            .map(|document| Ok((document.get_str("_id").map_err(Error::custom)?.to_owned(), read(document)?)));
        states.collect()
    }

    /// Changes a state as `change` says; nothing is written where that changes nothing.
    pub(super) async fn change<T>(
        &self,
        account_id: &str,
        change: impl Fn(&mut AccountState) -> T,
    ) -> Result<(AccountState, T)> {
        for _ in 0..CHANGES_MAX {
            let found =
                self.states.find_one(doc! { "_id": account_id }).max_time(READ_TIME_MAX).projection(shape()).await?;
            let before = found.map(read).transpose()?.unwrap_or_else(|| AccountState::of(account_id));
            let mut state = before.clone();
            let said = change(&mut state);
            if state == before {
                return Ok((state, said));
            }
            state.revision += 1;
            let known = if before.revision == 0 { bson::Bson::Null } else { before.revision.into() };
            let set = doc! { "$set": {
                "revision": state.revision,
                "breaker": bson::serialize_to_bson(&state.breaker)?,
                "throttledUntil": state.throttled_until,
                "probe": bson::serialize_to_bson(&state.probe)?,
            } };
            let same = doc! { "_id": account_id, "revision": known };
            match self.states.update_one(same, set).upsert(before.revision == 0).await {
                Ok(result) if result.matched_count + u64::from(result.upserted_id.is_some()) > 0 => {
                    return Ok((state, said));
                }
                Ok(_) => {}
                Err(error) if is_duplicate_key(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::custom("the account's state is being changed by too many others"))
    }

    /// How many attempts to place an order have ended with an account that may have only so many.
    pub(super) async fn ended(&self, account_id: &str) -> Result<i64> {
        let found = self.states.find_one(doc! { "_id": account_id }).projection(doc! { "ended": 1 });
        let state = found.max_time(READ_TIME_MAX).await?;
        Ok(state.and_then(|state| state.get_i64("ended").ok()).unwrap_or_default())
    }

    pub(super) async fn grant(&self, account_id: &str, ask: &RoomRequest<'_>) -> Result<Grant> {
        let updating = self.states.find_one_and_update(doc! { "_id": account_id }, granting(ask));
        let after =
            updating.upsert(true).return_document(ReturnDocument::After).projection(doc! { "grant": 1 }).await?;
        let grant = after.and_then(|mut state| state.remove("grant"));
        bson::deserialize_from_bson(grant.unwrap_or(bson::Bson::Null)).map_err(Error::custom)
    }

    /// Leaves `count` places to a grant; the others come free.
    pub(super) async fn leave(&self, account_id: &str, grant: &str, count: usize) -> Result<()> {
        let theirs = doc! { "_id": account_id, "places.grant": grant };
        self.states.update_one(theirs, leaving(grant, count)).await.map(drop)
    }

    /// Keeps `count` places of a grant; whether it still had them.
    pub(super) async fn extend(&self, account_id: &str, grant: &str, count: usize, lease: Duration) -> Result<bool> {
        let theirs = doc! { "_id": account_id, "places.grant": grant };
        let updating = self.states.find_one_and_update(theirs, extending(grant, count, lease));
        let after = updating.return_document(ReturnDocument::After).projection(doc! { "places.grant": 1 }).await?;
        let places = after.as_ref().and_then(|state| state.get_array("places").ok());
        let grants = places.into_iter().flatten().filter_map(|place| place.as_document()?.get_str("grant").ok());
        Ok(grants.into_iter().any(|known| known == grant))
    }

    /// Notes that an account is in use.
    pub(super) async fn touch(&self, account_id: &str) -> Result<()> {
        let now = vec![doc! { "$set": { "lastUsedAt": "$$NOW" } }];
        self.states.update_one(doc! { "_id": account_id }, now).upsert(true).await.map(drop)
    }
}
