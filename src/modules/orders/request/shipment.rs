//! A parcel, as merchants write it.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use super::checks::{article_number, null_is_default, text};
use crate::{
    modules::providers::{ParcelDimensions, Party, PaymentMode, Service, Shipment, ShipmentItem},
    platform::{
        http::checks::{email_address, ensure, fault_of, pincode},
        text::{free_text, read_email_if_any, read_phone, read_pincode},
    },
};

/// Goods of one order are worth at most this, in minor units: ten million in the major unit.
const GOODS_VALUE_MAX: i64 = 1_000_000_000;

/// A parcel and its way.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[validate(schema(function = "cod_matches_mode"), schema(function = "goods_value_is_sane"))]
pub struct ShipmentRequest {
    /// The service.
    #[serde(default, deserialize_with = "null_is_default")]
    pub service: Service,
    /// How the goods are paid for.
    pub payment_mode: PaymentMode,
    /// ISO 4217; this carrier takes rupees only.
    #[serde(default = "rupees", deserialize_with = "null_is_rupees")]
    #[validate(custom(function = "inr"))]
    #[schema(example = "INR", default = "INR", pattern = "^INR$")]
    pub currency: String,
    /// Minor units to collect: above 0 with `cod`, 0 or absent with `prepaid`.
    #[serde(default, deserialize_with = "null_is_default")]
    #[validate(range(min = 0, max = 1_000_000_000_i64))]
    #[schema(minimum = 0, maximum = 1_000_000_000_i64)]
    pub cod_amount: i64,
    /// Dead weight.
    #[validate(range(min = 1, max = 100_000))]
    #[schema(minimum = 1, maximum = 100_000)]
    pub weight_grams: i64,
    /// Outer dimensions.
    #[validate(nested)]
    pub dimensions_cm: DimensionsRequest,
    /// The receiver.
    #[validate(nested)]
    pub consignee: PartyRequest,
    /// The address to pick up from.
    #[validate(nested)]
    pub pickup: PartyRequest,
    /// Content of the parcel.
    #[validate(nested, length(min = 1, max = 100))]
    #[schema(min_items = 1, max_items = 100)]
    pub items: Vec<ItemRequest>,
}

/// Outer dimensions in centimetres.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DimensionsRequest {
    /// Centimetres.
    #[validate(range(min = 1, max = 300))]
    #[schema(minimum = 1, maximum = 300)]
    pub length: i32,
    /// Centimetres.
    #[validate(range(min = 1, max = 300))]
    #[schema(minimum = 1, maximum = 300)]
    pub width: i32,
    /// Centimetres.
    #[validate(range(min = 1, max = 300))]
    #[schema(minimum = 1, maximum = 300)]
    pub height: i32,
}

/// A sender or a recipient.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartyRequest {
    /// Name.
    #[validate(length(min = 1, max = 120), custom(function = "text"))]
    #[schema(min_length = 1, max_length = 120)]
    pub name: String,
    /// Mobile number: ten digits, the first 6 to 9, in any usual spelling (`+91 98765 43210`).
    #[serde(deserialize_with = "read_phone")]
    #[validate(custom(function = "phone"))]
    #[schema(example = "9876543210", max_length = 30)]
    pub phone: String,
    /// E-mail.
    #[serde(default, deserialize_with = "read_email_if_any")]
    #[validate(custom(function = "email_address"))]
    #[schema(max_length = 254)]
    pub email: Option<String>,
    /// Street.
    #[validate(length(min = 3, max = 200), custom(function = "text"))]
    #[schema(min_length = 3, max_length = 200)]
    pub line1: String,
    /// More of it.
    #[validate(length(max = 200), custom(function = "free_text"))]
    #[schema(max_length = 200)]
    pub line2: Option<String>,
    /// City.
    #[validate(length(min = 1, max = 80), custom(function = "text"))]
    #[schema(min_length = 1, max_length = 80)]
    pub city: String,
    /// State or union territory, in any usual spelling; one that the pincode can be of.
    #[validate(length(min = 1, max = 80), custom(function = "text"))]
    #[schema(min_length = 1, max_length = 80)]
    pub state: String,
    /// Six digits, the first not 0; blanks don't count.
    #[serde(deserialize_with = "read_pincode")]
    #[validate(custom(function = "pincode"))]
    #[schema(example = "560001", max_length = 20)]
    pub pincode: String,
    /// ISO 3166-1 alpha-2; this carrier stays in India.
    #[serde(default = "india", deserialize_with = "null_is_india")]
    #[validate(custom(function = "country"))]
    #[schema(example = "IN", default = "IN", pattern = "^IN$")]
    pub country: String,
}

/// An article in the parcel.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ItemRequest {
    /// Your article number.
    #[validate(length(min = 1, max = 64), custom(function = "article_number"))]
    #[schema(min_length = 1, max_length = 64)]
    pub sku: String,
    /// Its name.
    #[validate(length(min = 1, max = 200), custom(function = "text"))]
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// Quantity.
    #[validate(range(min = 1, max = 10_000))]
    #[schema(minimum = 1, maximum = 10_000)]
    pub quantity: i64,
    /// Minor units each.
    #[validate(range(min = 0, max = 1_000_000_000_i64))]
    #[schema(minimum = 0, maximum = 1_000_000_000_i64)]
    pub unit_price: i64,
}

impl From<ShipmentRequest> for Shipment {
    fn from(request: ShipmentRequest) -> Self {
        Self {
            service: request.service,
            payment_mode: request.payment_mode,
            currency: request.currency,
            cod_amount: request.cod_amount,
            weight_grams: request.weight_grams,
            dimensions_cm: ParcelDimensions {
                length: request.dimensions_cm.length,
                width: request.dimensions_cm.width,
                height: request.dimensions_cm.height,
            },
            consignee: request.consignee.into(),
            pickup: request.pickup.into(),
            items: request.items.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<PartyRequest> for Party {
    fn from(request: PartyRequest) -> Self {
        let PartyRequest { name, phone, email, line1, line2, city, state, pincode, country } = request;
        // An empty second line is no second line: both mean the same.
        let line2 = line2.filter(|line| !line.is_empty());
        Self { name, phone, email, line1, line2, city, state, pincode, country }
    }
}

impl From<ItemRequest> for ShipmentItem {
    fn from(request: ItemRequest) -> Self {
        let ItemRequest { sku, name, quantity, unit_price } = request;
        Self { sku, name, quantity, unit_price }
    }
}

fn null_is_rupees<'de, D: Deserializer<'de>>(field: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(field)?.unwrap_or_else(rupees))
}

fn null_is_india<'de, D: Deserializer<'de>>(field: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(field)?.unwrap_or_else(india))
}

fn rupees() -> String {
    "INR".into()
}

fn india() -> String {
    "IN".into()
}

fn phone(phone: &str) -> Result<(), ValidationError> {
    let digits = phone.len() == 10 && phone.bytes().all(|b| b.is_ascii_digit());
    ensure(
        digits && phone.as_bytes()[0] >= b'6',
        "format",
        "must be an Indian mobile number: ten digits, the first 6 to 9",
    )
}

fn country(country: &str) -> Result<(), ValidationError> {
    ensure(country == "IN", "country", "must be IN: this carrier stays in India")
}

fn inr(currency: &str) -> Result<(), ValidationError> {
    ensure(currency == "INR", "currency", "must be INR: this carrier takes rupees only")
}

fn cod_matches_mode(shipment: &ShipmentRequest) -> Result<(), ValidationError> {
    match (shipment.payment_mode, shipment.cod_amount) {
        (PaymentMode::Prepaid, 0) | (PaymentMode::Cod, 1..) => Ok(()),
        (PaymentMode::Prepaid, _) => Err(fault_of("codAmount", "cod", "must be 0 or absent when prepaid")),
        (PaymentMode::Cod, _) => Err(fault_of("codAmount", "cod", "must be above 0 for cash on delivery")),
    }
}

fn goods_value_is_sane(shipment: &ShipmentRequest) -> Result<(), ValidationError> {
    let value =
        shipment.items.iter().try_fold(0_i64, |sum, item| sum.checked_add(item.quantity.checked_mul(item.unit_price)?));
    match value {
        Some(value) if value <= GOODS_VALUE_MAX => Ok(()),
        _ => Err(fault_of("items", "total", "are worth more than 1000000000 minor units together")),
    }
}
