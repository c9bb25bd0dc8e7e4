//! Which seals were sealed within some time. What a seal says of its time counts only where a known key has signed it.

use bson::{DateTime, Document, RawDocumentBuf, doc};
use mongodb::{Database, error::Result};
use serde::Deserialize;

use super::super::{
    proof::{PublicKeys, SealHeader},
    seals::AUDIT_SEALS,
};

/// Numbers of the first and the last seal to be checked, so that all that were sealed from `from` on and before `to` are
/// checked; none where the chain has none, up to its end. Where none was sealed within the time, it is the one after it:
/// that tells whether there was one, and has the records of that time.
///
/// The seal before the first is for the check to look at. The one after the last is looked at here: where it is not there,
/// or no known key has signed it, it belongs to what is checked, and is found.
///
/// # Errors
/// What the driver says.
pub async fn sealed_between(
    db: &Database,
    keys: &PublicKeys,
    from: DateTime,
    to: DateTime,
) -> Result<Option<(i64, i64)>> {
    let Some(last) = sealed_at(db, doc! { "$gte": 0_i64 }, -1).await? else { return Ok(None) };
    let (first, after) = (sealed_since(db, from, &last).await?, sealed_since(db, to, &last).await?);
    let is_end = is_end(db, after).await?;
    if first >= after {
        return Ok((!is_end).then_some((first, first.max(after))));
    }
    let ends_before = is_end || is_sealed_since(db, keys, after, to).await?;
    Ok(Some((first, if ends_before { after - 1 } else { after })))
}

/// Whether no seal has this number or a later one, whatever else it says.
async fn is_end(db: &Database, number: i64) -> Result<bool> {
    let seals = db.collection::<Document>(AUDIT_SEALS);
    let later = seals.find_one(doc! { "_id": { "$gte": number } });
    Ok(later.projection(doc! { "_id": 1 }).await?.is_none())
}

/// Whether the seal of this number is there and signed, and was sealed then or later.
async fn is_sealed_since(db: &Database, keys: &PublicKeys, number: i64, at: DateTime) -> Result<bool> {
    let seals = db.collection::<RawDocumentBuf>(AUDIT_SEALS);
    let Some(stored) = seals.find_one(doc! { "_id": number }).projection(doc! { "leaves": 0 }).await? else {
        return Ok(false);
    };
    let header = bson::deserialize_from_slice::<SealHeader>(stored.as_bytes());
    Ok(header.is_ok_and(|header| header.sealed_at >= at && header.check_signature(keys).is_ok()))
}

/// What a seal says about itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SealedAt {
    #[serde(rename = "_id")]
    number: i64,
    sealed_at: DateTime,
}

/// The first or the last seal whose number is in this range. Those that can't be read are passed over: checking finds
/// them.
async fn sealed_at(db: &Database, numbers: Document, direction: i32) -> Result<Option<SealedAt>> {
    let mut filter = doc! { "_id": numbers, "sealedAt": { "$type": "date" } };
    filter.insert("$expr", doc! { "$in": [{ "$type": "$_id" }, ["int", "long"]] });
    let seals = db.collection::<SealedAt>(AUDIT_SEALS);
    seals.find_one(filter).sort(doc! { "_id": direction }).projection(doc! { "sealedAt": 1 }).await
}

/// Number of the first seal that was sealed then or later, else the one after the last, by what the seals say. Later seals
/// are sealed later: halving finds it among millions with some twenty look-ups. The seal before it says that it was sealed
/// earlier, or there is none.
async fn sealed_since(db: &Database, at: DateTime, last: &SealedAt) -> Result<i64> {
    let (mut low, mut high) = (1, last.number.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match sealed_at(db, doc! { "$gte": middle, "$lt": high }, 1).await? {
            Some(seal) if seal.sealed_at < at => low = seal.number + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}
