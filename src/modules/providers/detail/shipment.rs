//! A shipment in our own words: what carriers carry. The enums are those of requests and answers too.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::text::{normal, normal_email};

/// The service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// By road.
    #[default]
    Surface,
    /// By air.
    Air,
}

impl Service {
    pub const ALL: [Self; 2] = [Self::Surface, Self::Air];
}

/// How the goods are paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PaymentMode {
    /// Paid already.
    #[default]
    Prepaid,
    /// Cash on delivery.
    Cod,
}

/// Outer dimensions of the parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParcelDimensions {
    /// Centimetres.
    pub length: i32,
    /// Centimetres.
    pub width: i32,
    /// Centimetres.
    pub height: i32,
}

/// A sender or a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    pub name: String,
    /// Ten digits.
    pub phone: String,
    /// E-mail, where given.
    pub email: Option<String>,
    pub line1: String,
    pub line2: Option<String>,
    pub city: String,
    pub state: String,
    /// Postal code.
    pub pincode: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShipmentItem {
    /// The merchant's article number.
    pub sku: String,
    pub name: String,
    pub quantity: i64,
    /// Minor units each.
    pub unit_price: i64,
}

/// A parcel and its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shipment {
    pub service: Service,
    pub payment_mode: PaymentMode,
    /// ISO 4217.
    pub currency: String,
    /// Minor units to collect; 0 unless cash on delivery.
    pub cod_amount: i64,
    /// Dead weight.
    pub weight_grams: i64,
    /// Outer dimensions.
    pub dimensions_cm: ParcelDimensions,
    pub consignee: Party,
    pub pickup: Party,
    pub items: Vec<ShipmentItem>,
}

impl Party {
    /// As a request is read today: text in its normal form, an empty second line as none.
    fn normalized(&self) -> Self {
        let text = |text: &String| normal(text).into_owned();
        Self {
            name: text(&self.name),
            phone: self.phone.clone(),
            email: self.email.as_ref().map(|email| normal_email(email).unwrap_or_else(|| email.clone())),
            line1: text(&self.line1),
            line2: self.line2.as_ref().map(text).filter(|line| !line.is_empty()),
            city: text(&self.city),
            state: text(&self.state),
            pincode: self.pincode.clone(),
            country: self.country.clone(),
        }
    }
}

impl Shipment {
    /// The same as a request for it is read today: what is stored may have been written before there was a normal form.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let item = |item: &ShipmentItem| {
            let (sku, name) = (normal(&item.sku).into_owned(), normal(&item.name).into_owned());
            ShipmentItem { sku, name, ..item.clone() }
        };
        Self {
            consignee: self.consignee.normalized(),
            pickup: self.pickup.normalized(),
            items: self.items.iter().map(item).collect(),
            ..self.clone()
        }
    }

    /// Value of the goods in minor units; `None` on overflow, which validation has excluded for stored shipments.
    #[must_use]
    pub fn goods_value_minor(&self) -> Option<i64> {
        self.items.iter().try_fold(0_i64, |sum, item| sum.checked_add(item.quantity.checked_mul(item.unit_price)?))
    }
}
