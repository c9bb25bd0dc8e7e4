//! Cards of all kinds: how they are read, stored and chosen.

use std::sync::Arc;

use bson::{DateTime, Document};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    card::{CardFile, RateCard, ensure, is_name},
    fees::{FeeCard, FeeCardFile},
};
use crate::platform::{json::Strict, money::Currency};

/// Whether a file is one of fixed fees.
#[derive(Deserialize)]
struct Peek {
    fees: Option<IgnoredAny>,
}

/// A card of either kind: they are told apart by `fees`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Card {
    Parcels(Arc<RateCard>),
    Fees(Arc<FeeCard>),
}

impl Card {
    /// A card as it is stored.
    ///
    /// # Errors
    /// What of it can't be read.
    pub fn read(stored: Document) -> Result<Self, bson::error::Error> {
        Ok(if stored.contains_key("fees") {
            Self::Fees(Arc::new(bson::deserialize_from_document(stored)?))
        } else {
            Self::Parcels(Arc::new(bson::deserialize_from_document(stored)?))
        })
    }

    /// As it is stored.
    ///
    /// # Errors
    /// Never for a card that was read.
    pub fn stored(&self) -> Result<Document, bson::error::Error> {
        match self {
            Self::Parcels(card) => bson::serialize_to_document(&**card),
            Self::Fees(card) => bson::serialize_to_document(&**card),
        }
    }

    /// Provider and version.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Parcels(card) => &card.id,
            Self::Fees(card) => &card.id,
        }
    }

    #[must_use]
    pub fn provider(&self) -> &str {
        match self {
            Self::Parcels(card) => &card.provider,
            Self::Fees(card) => &card.provider,
        }
    }

    #[must_use]
    pub fn currency(&self) -> Currency {
        match self {
            Self::Parcels(card) => card.currency,
            Self::Fees(card) => card.currency,
        }
    }

    /// Counts up per provider, from 1.
    #[must_use]
    pub fn version(&self) -> i64 {
        match self {
            Self::Parcels(card) => card.version,
            Self::Fees(card) => card.version,
        }
    }

    /// In force from then on, until a higher version is.
    #[must_use]
    pub fn effective_from(&self) -> DateTime {
        match self {
            Self::Parcels(card) => card.effective_from,
            Self::Fees(card) => card.effective_from,
        }
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// A sentence that names the first field that is wrong.
    pub fn check(&self) -> Result<(), String> {
        ensure(is_name(self.provider()), || "provider: must be lower case letters, digits or _".into())?;
        ensure(self.version() >= 1, || "version: must be 1 or more".into())?;
        ensure(self.id() == format!("{}-{}", self.provider(), self.version()), || {
            format!("_id: `{}` must be the provider, a hyphen and the version", self.id())
        })?;
        match self {
            Self::Parcels(card) => card.check(),
            Self::Fees(card) => card.check(),
        }
    }
}

impl From<RateCard> for Card {
    fn from(card: RateCard) -> Self {
        Self::Parcels(Arc::new(card))
    }
}

impl From<FeeCard> for Card {
    fn from(card: FeeCard) -> Self {
        Self::Fees(Arc::new(card))
    }
}

/// Reads a card from a file like `data/rate-cards/parcelx-1.json` and checks it.
///
/// # Errors
/// A sentence for the operator that names what is wrong, and where.
pub fn parse_card(json: &str) -> Result<Card, String> {
    let has_fees = serde_json::from_str::<Peek>(json).is_ok_and(|peek| peek.fees.is_some());
    let mut text = serde_json::Deserializer::from_str(json);
    let strict = Strict::new(&mut text);
    let card: Card = if has_fees {
        let file: FeeCardFile = serde_path_to_error::deserialize(strict).map_err(|error| error.to_string())?;
        FeeCard::from(file).into()
    } else {
        let file: CardFile = serde_path_to_error::deserialize(strict).map_err(|error| error.to_string())?;
        file.into_card()?.into()
    };
    text.end().map_err(|error| error.to_string())?;
    card.check()?;
    Ok(card)
}

/// The card by which is priced at `now`: the highest version of `provider` that is in effect.
#[must_use]
pub fn in_force<'a>(cards: &'a [Card], provider: &str, now: DateTime) -> Option<&'a Card> {
    let in_effect = |card: &&Card| card.provider() == provider && card.effective_from() <= now;
    cards.iter().filter(in_effect).max_by_key(|card| card.version())
}
