//! A rate card: as stored, as written in a file, and what makes it fit for use.

use bson::DateTime;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use utoipa::ToSchema;

use crate::{
    modules::providers::Service,
    platform::{clock::Rfc3339Time, india::states, money::Currency},
};

/// One slab, or the flat fee, costs at most this, in minor units: ten million in the major unit. With the limits on slab
/// and divisor, no acceptable parcel then costs more than [`crate::platform::money::AMOUNT_MAX`].
const PRICE_MAX: i64 = 1_000_000_000;
/// Grams. Below, a parcel has too many slabs; above, nearly every parcel is one slab, which is more likely a mistake.
const SLAB_GRAMS: std::ops::RangeInclusive<i64> = 100..=10_000;
/// Cubic centimetres per kilogram; carriers use 4000 to 6000.
const VOLUMETRIC_DIVISOR: std::ops::RangeInclusive<i64> = 1_000..=10_000;
/// Hundredths of a percent; the whole of it is 100 %.
const BASIS_POINTS_MAX: i64 = 10_000;
/// Entries of a list of the card: there are 780 sorting districts, and 36 states.
const ENTRIES_MAX: usize = 1_000;

/// Zone of a parcel's way, as carriers count it, in the order of the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Zone {
    /// Within a city.
    A,
    /// Within a state.
    B,
    /// From metro to metro.
    C,
    /// The rest of India.
    D,
    /// From or to a place that is hard to reach: the North-East, Jammu and Kashmir, Kerala, ...
    E,
}

impl Zone {
    /// Every zone, near to far.
    pub const ALL: [Self; 5] = [Self::A, Self::B, Self::C, Self::D, Self::E];
}

/// Price by weight, in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlabPrice {
    /// The first slab, begun or full.
    pub first_slab: i64,
    /// Each further one.
    pub additional_slab: i64,
}

/// A price per zone: a document with the keys `A` to `E`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE", deny_unknown_fields)]
pub struct ZonePrices {
    /// [`Zone::A`].
    pub a: SlabPrice,
    /// [`Zone::B`].
    pub b: SlabPrice,
    /// [`Zone::C`].
    pub c: SlabPrice,
    /// [`Zone::D`].
    pub d: SlabPrice,
    /// [`Zone::E`].
    pub e: SlabPrice,
}

impl ZonePrices {
    /// The price in `zone`.
    #[must_use]
    pub const fn get(&self, zone: Zone) -> SlabPrice {
        match zone {
            Zone::A => self.a,
            Zone::B => self.b,
            Zone::C => self.c,
            Zone::D => self.d,
            Zone::E => self.e,
        }
    }
}

/// Prices per service. Fields and not a map: a card without a service or a zone can't be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Services {
    /// By road.
    pub surface: ZonePrices,
    /// By air.
    pub air: ZonePrices,
}

impl Services {
    /// The prices of `service`.
    #[must_use]
    pub const fn get(&self, service: Service) -> &ZonePrices {
        match service {
            Service::Surface => &self.surface,
            Service::Air => &self.air,
        }
    }
}

/// The fee for collecting cash: the greater of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CodFee {
    /// At least this, in minor units.
    pub flat: i64,
    /// Of the amount to collect, in hundredths of a percent; rounded up to the minor unit.
    pub basis_points: i64,
}

/// A rate card as stored. Names of states are in the form of [`state_key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateCard {
    /// Provider and version: `parcelx-1`.
    #[serde(rename = "_id")]
    pub id: String,
    pub provider: String,
    /// Counts up per provider, from 1.
    pub version: i64,
    /// Of every price in it.
    pub currency: Currency,
    /// In force from then on, until a higher version is.
    pub effective_from: DateTime,
    /// Weight is paid for in steps of so many grams.
    pub slab_grams: i64,
    /// Cubic centimetres that count as a kilogram.
    pub volumetric_divisor: i64,
    /// Prices of carriage.
    pub services: Services,
    /// The fee for collecting cash.
    pub cod_fee: CodFee,
    /// Beginnings of the postal codes of metros.
    pub metro_pincode_prefixes: Vec<String>,
    /// Beginnings of the postal codes of places that are hard to reach.
    pub special_pincode_prefixes: Vec<String>,
    /// States that are hard to reach.
    pub special_states: Vec<String>,
}

/// A rate card as people write it: times in RFC 3339, states as on a map.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CardFile {
    provider: String,
    version: i64,
    currency: Currency,
    effective_from: Rfc3339Time,
    slab_grams: i64,
    volumetric_divisor: i64,
    services: Services,
    cod_fee: CodFee,
    metro_pincode_prefixes: Vec<String>,
    special_pincode_prefixes: Vec<String>,
    special_states: Vec<String>,
    /// Cards named other spellings of states before a parcel was priced by its postal codes alone.
    #[serde(default, rename = "stateAliases")]
    _state_aliases: IgnoredAny,
}

impl CardFile {
    pub(super) fn into_card(self) -> Result<RateCard, String> {
        let special_state = |name: &String| {
            let state = states::find(name).ok_or_else(|| format!("specialStates: `{name}` is no state"))?;
            Ok(state_key(state.name))
        };
        Ok(RateCard {
            id: format!("{}-{}", self.provider, self.version),
            provider: self.provider,
            version: self.version,
            currency: self.currency,
            effective_from: self.effective_from.0,
            slab_grams: self.slab_grams,
            volumetric_divisor: self.volumetric_divisor,
            services: self.services,
            cod_fee: self.cod_fee,
            metro_pincode_prefixes: self.metro_pincode_prefixes,
            special_pincode_prefixes: self.special_pincode_prefixes,
            special_states: self.special_states.iter().map(special_state).collect::<Result<_, String>>()?,
        })
    }
}

impl RateCard {
    /// Whether it can be used: prices above zero and below the limit, sane slabs, lists that can match something.
    ///
    /// # Errors
    /// A sentence that names the first field that is wrong.
    pub fn check(&self) -> Result<(), String> {
        within("slabGrams", self.slab_grams, *SLAB_GRAMS.start(), *SLAB_GRAMS.end())?;
        let divisor = VOLUMETRIC_DIVISOR;
        within("volumetricDivisor", self.volumetric_divisor, *divisor.start(), *divisor.end())?;
        self.check_prices()?;
        check_prefixes("metroPincodePrefixes", &self.metro_pincode_prefixes)?;
        check_prefixes("specialPincodePrefixes", &self.special_pincode_prefixes)?;
        self.check_states()
    }

    fn check_prices(&self) -> Result<(), String> {
        for (service, prices) in [("surface", &self.services.surface), ("air", &self.services.air)] {
            for zone in Zone::ALL {
                let SlabPrice { first_slab, additional_slab } = prices.get(zone);
                within(&format!("services.{service}.{zone:?}.firstSlab"), first_slab, 1, PRICE_MAX)?;
                within(&format!("services.{service}.{zone:?}.additionalSlab"), additional_slab, 1, PRICE_MAX)?;
            }
        }
        // A card may collect cash for nothing, and by one of the two rules alone.
        within("codFee.flat", self.cod_fee.flat, 0, PRICE_MAX)?;
        within("codFee.basisPoints", self.cod_fee.basis_points, 0, BASIS_POINTS_MAX)
    }

    fn check_states(&self) -> Result<(), String> {
        ensure(self.special_states.len() <= ENTRIES_MAX, || format!("specialStates: more than {ENTRIES_MAX}"))?;
        self.special_states.iter().try_for_each(|name| {
            ensure(!name.is_empty() && *name == state_key(name), || {
                format!("specialStates: `{name}` must be lower case letters only")
            })
        })
    }
}

/// Lower case letters, digits and `_`.
pub(super) fn is_name(name: &str) -> bool {
    let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !name.is_empty() && name.chars().all(named)
}

/// How a card names a state: its name in lower case, letters only.
pub(super) fn state_key(name: &str) -> String {
    name.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
}

fn check_prefixes(field: &str, prefixes: &[String]) -> Result<(), String> {
    ensure(prefixes.len() <= ENTRIES_MAX, || format!("{field}: more than {ENTRIES_MAX}"))?;
    prefixes.iter().try_for_each(|prefix| {
        let digits = (1..=6).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit());
        ensure(digits && !prefix.starts_with('0'), || {
            format!("{field}: `{prefix}` must be one to six digits, the first not 0")
        })
    })
}

pub(super) fn within(field: &str, value: i64, min: i64, max: i64) -> Result<(), String> {
    ensure((min..=max).contains(&value), || format!("{field}: {value} must be between {min} and {max}"))
}

pub(super) fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}
