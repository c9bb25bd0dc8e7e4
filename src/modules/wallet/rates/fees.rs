//! Fixed fees: a price per type of what is ordered.

use std::collections::BTreeMap;

use bson::DateTime;
use serde::{Deserialize, Serialize};

use super::{
    card::{ensure, is_name, within},
    quote::{Pricing, Quote, QuoteError},
};
use crate::platform::{
    clock::Rfc3339Time,
    money::{AMOUNT_MAX, Currency, Money},
};

/// Types of what one provider sells.
const FEES_MAX: usize = 100;

/// A card of fixed fees as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeeCard {
    /// Provider and version: `rosreestr-1`.
    #[serde(rename = "_id")]
    pub id: String,
    pub provider: String,
    /// Counts up per provider, from 1.
    pub version: i64,
    pub currency: Currency,
    /// In force from then on, until a higher version is.
    pub effective_from: DateTime,
    /// Minor units, by type; 0 is for nothing.
    pub fees: BTreeMap<String, i64>,
}

/// The same as people write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FeeCardFile {
    provider: String,
    version: i64,
    currency: Currency,
    effective_from: Rfc3339Time,
    fees: BTreeMap<String, i64>,
}

impl From<FeeCardFile> for FeeCard {
    fn from(file: FeeCardFile) -> Self {
        Self {
            id: format!("{}-{}", file.provider, file.version),
            provider: file.provider,
            version: file.version,
            currency: file.currency,
            effective_from: file.effective_from.0,
            fees: file.fees,
        }
    }
}

impl FeeCard {
    /// Whether it can be used.
    ///
    /// # Errors
    /// A sentence that names the first field that is wrong.
    pub fn check(&self) -> Result<(), String> {
        ensure((1..=FEES_MAX).contains(&self.fees.len()), || format!("fees: must be 1 to {FEES_MAX}"))?;
        self.fees.iter().try_for_each(|(kind, fee)| {
            ensure(is_name(kind), || format!("fees: `{kind}` must be lower case letters, digits or _"))?;
            within(&format!("fees.{kind}"), *fee, 0, AMOUNT_MAX)
        })
    }

    /// The price of something of this type.
    ///
    /// # Errors
    /// [`QuoteError::NoFee`].
    pub fn quote(&self, kind: &str) -> Result<Quote, QuoteError> {
        let fee = *self.fees.get(kind).ok_or(QuoteError::NoFee)?;
        let pricing = Pricing {
            rate_card: self.id.clone(),
            zone: None,
            chargeable_weight_grams: 0,
            slabs: 0,
            freight: fee,
            cod_fee: 0,
        };
        Ok(Quote { total: Money::new(fee, self.currency), pricing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::wallet::rates::{Card, parse_card};

    const DEFAULT: &str = include_str!("../../../../data/rate-cards/rosreestr-1.json");

    fn card() -> FeeCard {
        match parse_card(DEFAULT) {
            Ok(Card::Fees(card)) => (*card).clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_default_fees_are_as_agreed() {
        let priced = |kind| card().quote(kind).map(|quote| (quote.total.amount, quote.total.currency.code()));
        assert_eq!(priced("info"), Ok((0, "RUB")));
        assert_eq!(priced("base"), Ok((29_000, "RUB")));
        assert_eq!(priced("ownership"), Ok((46_000, "RUB")));
        assert_eq!(priced("another"), Err(QuoteError::NoFee));
        let pricing = card().quote("base").expect("a fee").pricing;
        assert_eq!((&*pricing.rate_card, pricing.freight, pricing.cod_fee), ("rosreestr-1", 29_000, 0));
    }

    #[test]
    fn a_card_survives_the_database() {
        let stored = bson::serialize_to_document(&card()).expect("a document");
        assert_eq!(Card::read(stored).expect("a card"), Card::Fees(card().into()));
    }

    #[test]
    fn a_card_that_can_price_nothing_is_refused() {
        let edited = |from: &str, to: &str| parse_card(&DEFAULT.replace(from, to)).expect_err(to);
        assert_eq!(edited("29000", "-1"), "fees.base: -1 must be between 0 and 1000000000000000");
        assert_eq!(edited("\"base\"", "\"Base\""), "fees: `Base` must be lower case letters, digits or _");
        assert!(edited("29000", "290.5").starts_with("fees.base: "), "no fractions");
        assert!(edited("\"version\": 1", "\"version\": 0").starts_with("version: "));
        assert!(edited("\"version\": 1", "\"version\": 1, \"slabGrams\": 500").starts_with("slabGrams: unknown field"));
        let none = DEFAULT.split("{ \"info\"").next().map(|start| format!("{start}{{}}}}")).expect("a start");
        assert_eq!(parse_card(&none).expect_err("no fees"), "fees: must be 1 to 100");
    }
}
