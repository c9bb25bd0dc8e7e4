//! Rate cards in the database: they are added, never changed.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Collection, Database, error::Result};
use serde::de::Error as _;

use super::cards::{Card, parse_card};
use crate::{
    modules::providers::{PricedBy, registry::PROVIDERS},
    platform::mongo::{self, Index},
};

pub const COLLECTIONS: &[&str] = &[RATE_CARDS];
const RATE_CARDS: &str = "rate_cards";
/// Cards that are read, the newest of all providers first: prices change a few times a year.
const CARDS_MAX: i64 = 1_000;

/// Why a card was not added.
#[derive(Debug, thiserror::Error)]
pub enum RateCardError {
    /// The card itself is wrong: correct it.
    #[error("the rate card is not usable: {0}")]
    Invalid(String),
    /// The version is there, with other prices: give the card a new version.
    #[error("the rate card {0} exists with another content; a card is never changed, so use the next version")]
    Exists(String),
    /// There is a higher version, so this one would never be in force: give it a higher one.
    #[error("the highest version is {highest}; use {} or more", highest.saturating_add(1))]
    NotHigher {
        /// The provider's highest version.
        highest: i64,
    },
    /// The database could not be asked.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
}

#[must_use]
pub fn indexes() -> Vec<Index> {
    vec![Index::new(RATE_CARDS, "version", doc! { "provider": 1, "version": 1 }).unique()]
}

/// Adds the default card of each provider where that version is not there; changes none that is.
///
/// # Errors
/// Errors of the database driver.
pub async fn ensure_defaults(db: &Database) -> Result<()> {
    for provider in PROVIDERS {
        let PricedBy::RateCard(json) = provider.priced_by else { continue };
        let card = parse_card(json).map_err(unusable)?;
        if let Err(error) = cards(db).insert_one(card.stored()?).await {
            if !mongo::is_duplicate_key(&error) {
                return Err(error);
            }
            if find(db, &card).await?.is_some_and(|stored| stored != card) {
                tracing::warn!(rate_card.id = card.id(), "the stored rate card differs from the default and stays");
            }
        }
    }
    Ok(())
}

/// Adds a card; false where the same one is there already.
///
/// # Errors
/// [`RateCardError`]; nothing is changed then.
pub async fn insert_card(db: &Database, card: &Card) -> std::result::Result<bool, RateCardError> {
    card.check().map_err(RateCardError::Invalid)?;
    if let Some(stored) = find(db, card).await? {
        return same(&stored, card).map(|()| false);
    }
    let newest = cards(db)
        .find_one(doc! { "provider": card.provider() })
        .max_time(mongo::READ_TIME_MAX)
        .sort(doc! { "version": -1 })
        .await?;
    let newest = newest.map(Card::read).transpose().map_err(mongodb::error::Error::from)?;
    if let Some(newest) = newest.filter(|newest| newest.version() >= card.version()) {
        return Err(RateCardError::NotHigher { highest: newest.version() });
    }
    // Whoever adds a higher version in this moment wins: that one is in force, and this one does no harm.
    match cards(db).insert_one(card.stored().map_err(mongodb::error::Error::from)?).await {
        Ok(_) => Ok(true),
        Err(error) if mongo::is_duplicate_key(&error) => match find(db, card).await? {
            Some(stored) => same(&stored, card).map(|()| false),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// All cards, checked. One that can't be used fails all: a price by an older version would be a wrong one.
///
/// # Errors
/// What the driver says, or which card is not usable.
pub(super) async fn load(db: &Database) -> Result<Vec<Card>> {
    let newest_first = doc! { "version": -1 };
    let found: Vec<Document> = cards(db)
        .find(doc! {})
        .max_time(mongo::READ_TIME_MAX)
        .sort(newest_first)
        .limit(CARDS_MAX)
        .await?
        .try_collect()
        .await?;
    let found: Vec<Card> = found.into_iter().map(Card::read).collect::<std::result::Result<_, _>>()?;
    for card in &found {
        card.check().map_err(|fault| unusable(format!("rate card {}: {fault}", card.id())))?;
    }
    Ok(found)
}

fn cards(db: &Database) -> Collection<Document> {
    db.collection(RATE_CARDS)
}

async fn find(db: &Database, card: &Card) -> Result<Option<Card>> {
    let found = cards(db)
        .find_one(doc! { "provider": card.provider(), "version": card.version() })
        .max_time(mongo::READ_TIME_MAX)
        .await?;
    Ok(found.map(Card::read).transpose()?)
}

fn same(stored: &Card, card: &Card) -> std::result::Result<(), RateCardError> {
    if stored == card { Ok(()) } else { Err(RateCardError::Exists(card.id().to_owned())) }
}

/// Not a matter of the connection: trying again does not help.
fn unusable(fault: String) -> mongodb::error::Error {
    bson::error::Error::custom(fault).into()
}
