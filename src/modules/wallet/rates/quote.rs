//! The price of a parcel by a rate card. Pure: no clock, no database, integers only.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::card::{CodFee, RateCard, SlabPrice, Zone, state_key};
use crate::{
    modules::providers::{ParcelDimensions, PaymentMode, Service, Shipment},
    platform::{
        india::{pincodes, states::State},
        money::{AMOUNT_MAX, Money},
    },
};

const GRAMS_PER_KILOGRAM: i64 = 1_000;
/// Hundredths of a percent in the whole.
const BASIS_POINTS: i64 = 10_000;
/// The first digits of a postal code name its sorting district, which is a city or a part of the country.
const DISTRICT_DIGITS: usize = 3;

/// A parcel as far as its price depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PricedParcel<'a> {
    pub service: Service,
    /// Whether cash is to be collected.
    pub payment_mode: PaymentMode,
    /// ISO 4217, of `cod_amount`.
    pub currency: &'a str,
    /// Minor units to collect; looked at for cash on delivery only.
    pub cod_amount: i64,
    /// Dead weight.
    pub weight_grams: i64,
    /// Outer dimensions in centimetres.
    pub dimensions: ParcelDimensions,
    /// Postal code from where.
    pub pickup: &'a str,
    /// Postal code to where.
    pub delivery: &'a str,
}

impl<'a> From<&'a Shipment> for PricedParcel<'a> {
    fn from(shipment: &'a Shipment) -> Self {
        Self {
            service: shipment.service,
            payment_mode: shipment.payment_mode,
            currency: &shipment.currency,
            cod_amount: shipment.cod_amount,
            weight_grams: shipment.weight_grams,
            dimensions: shipment.dimensions_cm,
            pickup: &shipment.pickup.pincode,
            delivery: &shipment.consignee.pincode,
        }
    }
}

/// How a price came about; kept with the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pricing {
    /// The card, which never changes.
    #[schema(example = "parcelx-1")]
    pub rate_card: String,
    /// How far; none where a fee is fixed.
    #[serde(default)]
    pub zone: Option<Zone>,
    /// The greater of dead and volumetric weight, in full slabs.
    pub chargeable_weight_grams: i64,
    /// Slabs in it.
    pub slabs: i64,
    /// Minor units, for carriage, or the fixed fee.
    pub freight: i64,
    /// Minor units, for collecting cash; 0 when prepaid.
    pub cod_fee: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Freight and fee together, at most [`AMOUNT_MAX`]; 0 only where a fixed fee is.
    pub total: Money,
    pub pricing: Pricing,
}

/// Why a parcel has no price. With a card that passed its check and a validated parcel, none of these happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// This of the parcel makes no sense.
    #[error("the parcel's {0} makes no sense")]
    Parcel(&'static str),
    /// The card is in another currency.
    #[error("the rate card is in another currency than the parcel")]
    Currency,
    #[error("the rate card has no fee for this type")]
    NoFee,
    /// Over what can be counted or booked.
    #[error("the price is too high to be counted")]
    Overflow,
}

/// Prices `parcel` by `card`.
///
/// Paid for are slabs of dead or volumetric weight, whichever is more: the first slab of the zone, and each additional
/// one. For cash on delivery there is the fee besides.
///
/// # Errors
/// [`QuoteError`].
pub fn quote(card: &RateCard, parcel: &PricedParcel<'_>) -> Result<Quote, QuoteError> {
    if parcel.currency != card.currency.code() {
        return Err(QuoteError::Currency);
    }
    let zone = zone_between(card, parcel.pickup, parcel.delivery)?;
    let slabs = slabs(card, parcel)?;
    let freight = freight(card.services.get(parcel.service).get(zone), slabs).ok_or(QuoteError::Overflow)?;
    let cod_fee = match parcel.payment_mode {
        PaymentMode::Prepaid => 0,
        PaymentMode::Cod if parcel.cod_amount < 1 => return Err(QuoteError::Parcel("amount to collect")),
        PaymentMode::Cod => cod_fee(card.cod_fee, parcel.cod_amount).ok_or(QuoteError::Overflow)?,
    };
    let total = freight.checked_add(cod_fee).filter(|total| *total <= AMOUNT_MAX).ok_or(QuoteError::Overflow)?;
    let pricing = Pricing {
        rate_card: card.id.clone(),
        zone: Some(zone),
        chargeable_weight_grams: slabs.checked_mul(card.slab_grams).ok_or(QuoteError::Overflow)?,
        slabs,
        freight,
        cod_fee,
    };
    Ok(Quote { total: Money::new(total, card.currency), pricing })
}

/// The zone between two postal codes. What else an address says is not looked at, or a merchant could write itself a
/// cheaper price. Each code is in one state ([`pincodes::priced_state`]), also where its first digits are shared by two.
/// The first rule that holds decides, and the last one always does:
///
/// 1. A: both are in one sorting district, that is, they share the first three digits.
/// 2. B: both are in one state. So a way within a special state is B, not E.
/// 3. E: one of them, or both, is in a special place or state.
/// 4. C: both are in metros.
/// 5. D: everything else.
///
/// # Errors
/// [`QuoteError::Parcel`] for a postal code that is not six digits.
pub fn zone_between(card: &RateCard, pickup: &str, delivery: &str) -> Result<Zone, QuoteError> {
    if district(pickup)? == district(delivery)? {
        return Ok(Zone::A);
    }
    let (from, to) = (pincodes::priced_state(pickup), pincodes::priced_state(delivery));
    // Two of the army's post offices are in no state, and so in none together.
    if from == to && from.is_some() {
        return Ok(Zone::B);
    }
    let special = |pincode: &str, state: Option<&State>| {
        starts_with_any(pincode, &card.special_pincode_prefixes)
            || state.is_some_and(|state| card.special_states.contains(&state_key(state.name)))
    };
    if special(pickup, from) || special(delivery, to) {
        return Ok(Zone::E);
    }
    let metro = |pincode: &str| starts_with_any(pincode, &card.metro_pincode_prefixes);
    Ok(if metro(pickup) && metro(delivery) { Zone::C } else { Zone::D })
}

fn district(pincode: &str) -> Result<&str, QuoteError> {
    let digits = pincode.len() == 6 && pincode.bytes().all(|b| b.is_ascii_digit());
    pincode.get(..DISTRICT_DIGITS).filter(|_| digits).ok_or(QuoteError::Parcel("postal code"))
}

fn starts_with_any(pincode: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| pincode.starts_with(prefix.as_str()))
}

/// Slabs of the greater weight. Volumetric grams are L x W x H x 1000 / divisor; they are never rounded on their own,
/// because what is a hair over a border must be in the next slab.
fn slabs(card: &RateCard, parcel: &PricedParcel<'_>) -> Result<i64, QuoteError> {
    let ParcelDimensions { length, width, height } = parcel.dimensions;
    if parcel.weight_grams < 1 {
        return Err(QuoteError::Parcel("weight"));
    }
    if length < 1 || width < 1 || height < 1 {
        return Err(QuoteError::Parcel("dimensions"));
    }
    let volumetric = || {
        let volume = i64::from(length).checked_mul(i64::from(width))?.checked_mul(i64::from(height))?;
        let divisor = card.volumetric_divisor.checked_mul(card.slab_grams)?;
        div_up(volume.checked_mul(GRAMS_PER_KILOGRAM)?, divisor)
    };
    let dead = div_up(parcel.weight_grams, card.slab_grams).ok_or(QuoteError::Overflow)?;
    Ok(dead.max(volumetric().ok_or(QuoteError::Overflow)?))
}

fn freight(price: SlabPrice, slabs: i64) -> Option<i64> {
    slabs.checked_sub(1)?.checked_mul(price.additional_slab)?.checked_add(price.first_slab)
}

fn cod_fee(fee: CodFee, cod_amount: i64) -> Option<i64> {
    let share = div_up(cod_amount.checked_mul(fee.basis_points)?, BASIS_POINTS)?;
    Some(share.max(fee.flat))
}

/// Divides what is not negative and rounds up; `None` when dividing by zero.
fn div_up(dividend: i64, divisor: i64) -> Option<i64> {
    let whole = dividend.checked_div(divisor)?;
    if dividend.checked_rem(divisor)? == 0 { Some(whole) } else { whole.checked_add(1) }
}
