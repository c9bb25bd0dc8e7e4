//! A sale in our own words: what is stored, and what the adapters of ERPs translate.

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::{
    money::Currency,
    text::{international, normal, normal_email},
};

/// Form of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gender {
    /// As a man.
    Male,
    /// As a woman.
    Female,
    /// Otherwise.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SaleCustomer {
    /// How to address them; none where they did not say.
    pub gender: Option<Gender>,
    pub first_name: String,
    pub last_name: String,
    /// E-mail.
    pub email: String,
    /// `+` and digits.
    pub phone: String,
}

/// A postal address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaleAddress {
    pub line1: String,
    pub line2: Option<String>,
    pub city: String,
    /// Postal code.
    pub postcode: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SaleLine {
    /// The merchant's article number.
    pub sku: String,
    pub name: String,
    pub quantity: i64,
    /// Minor units each.
    pub unit_price: i64,
}

/// Goods that were sold and paid for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sale {
    pub currency: Currency,
    pub ordered_at: DateTime,
    /// The payment's name where it was paid.
    pub payment_id: String,
    pub customer: SaleCustomer,
    pub billing_address: SaleAddress,
    /// Where it goes; none where that is the billing address.
    pub shipping_address: Option<SaleAddress>,
    pub lines: Vec<SaleLine>,
    /// Minor units.
    pub shipping_cost: i64,
}

impl SaleLine {
    /// Minor units; `None` on overflow, which validation has excluded for stored sales.
    #[must_use]
    pub const fn amount_minor(&self) -> Option<i64> {
        self.quantity.checked_mul(self.unit_price)
    }
}

impl SaleAddress {
    fn normalized(&self) -> Self {
        let text = |text: &String| normal(text).into_owned();
        Self {
            line1: text(&self.line1),
            line2: self.line2.as_ref().map(text).filter(|line| !line.is_empty()),
            city: text(&self.city),
            postcode: text(&self.postcode),
            country: self.country.clone(),
        }
    }
}

impl Sale {
    /// The same as a request for it is read today: what is stored may have been written before a change of the normal form.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let text = |text: &String| normal(text).into_owned();
        let line = |line: &SaleLine| SaleLine { sku: text(&line.sku), name: text(&line.name), ..line.clone() };
        let SaleCustomer { gender, first_name, last_name, email, phone } = &self.customer;
        Self {
            customer: SaleCustomer {
                gender: *gender,
                first_name: text(first_name),
                last_name: text(last_name),
                email: normal_email(email).unwrap_or_else(|| email.clone()),
                phone: international(phone).unwrap_or_else(|| phone.clone()),
            },
            billing_address: self.billing_address.normalized(),
            shipping_address: self.shipping_address.as_ref().map(SaleAddress::normalized),
            lines: self.lines.iter().map(line).collect(),
            ..self.clone()
        }
    }

    /// Lines and shipping in minor units; `None` on overflow, which validation has excluded for stored sales.
    #[must_use]
    pub fn total_minor(&self) -> Option<i64> {
        self.lines.iter().try_fold(self.shipping_cost, |sum, line| sum.checked_add(line.amount_minor()?))
    }
}
