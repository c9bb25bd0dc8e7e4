//! A sale as clients write it, and its rules. Texts are as long as a Dynamics NAV has room for, which would cut or refuse
//! longer ones.

#[cfg(test)]
mod tests;

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use super::checks::{article_number, null_is_default, text};
use crate::{
    modules::providers::{Gender, Sale, SaleAddress, SaleCustomer, SaleLine},
    platform::{
        clock::Rfc3339Time,
        http::checks::{country_code, email_address, ensure, fault_of},
        money::{AMOUNT_MAX, Currency},
        text::{POSTCODE_CHARS_MAX, free_text, international, read_email, read_international_phone},
    },
};

/// The first day that an ERP's calendar has, 1753-01-01: the first full year of today's calendar in all countries.
const FIRST_DAY_MS: i64 = -6_847_804_800_000;

/// Goods that were sold and paid for.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[validate(schema(function = "total_is_sane"))]
#[schema(example = json!({
    "currency": "EUR", "orderedAt": "2026-11-29T10:00:00Z", "paymentId": "pay_1",
    "customer": {
        "gender": "female", "firstName": "Eva", "lastName": "Muster", "email": "eva@example.com", "phone": "+4930123456",
    },
    "billingAddress": {
        "line1": "Hauptstraße 4/1", "line2": null, "city": "Berlin", "postcode": "10115", "country": "DE",
    },
    "shippingAddress": null,
    "lines": [{ "sku": "A-1", "name": "Buch", "quantity": 2, "unitPrice": 1999 }],
    "shippingCost": 0,
}))]
pub struct SaleRequest {
    /// Currency of all amounts.
    pub currency: Currency,
    /// Time of the order.
    #[validate(custom(function = "in_calendar"))]
    pub ordered_at: Rfc3339Time,
    /// The payment's name where it was paid.
    #[validate(custom(function = "payment_id_shape"))]
    #[schema(example = "pay_1", min_length = 1, max_length = 128)]
    pub payment_id: String,
    /// The buyer.
    #[validate(nested)]
    pub customer: CustomerRequest,
    /// The billing address.
    #[validate(nested)]
    pub billing_address: SaleAddressRequest,
    /// The address to ship to; the billing address where this is null or absent.
    #[validate(nested)]
    pub shipping_address: Option<SaleAddressRequest>,
    /// An article that was bought.
    #[validate(nested, length(min = 1, max = 500))]
    #[schema(min_items = 1, max_items = 500)]
    pub lines: Vec<SaleLineRequest>,
    /// Minor units.
    #[serde(default, deserialize_with = "null_is_default")]
    #[validate(range(min = 0, max = 1_000_000_000_000_000_i64))]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub shipping_cost: i64,
}

/// The buyer.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomerRequest {
    /// Form of address; null or absent where they did not say.
    pub gender: Option<Gender>,
    /// First name.
    #[validate(length(min = 1, max = 50), custom(function = "text"))]
    #[schema(min_length = 1, max_length = 50)]
    pub first_name: String,
    /// Last name.
    #[validate(length(min = 1, max = 50), custom(function = "text"))]
    #[schema(min_length = 1, max_length = 50)]
    pub last_name: String,
    /// E-mail.
    #[serde(deserialize_with = "read_email")]
    #[validate(length(max = 80), custom(function = "email_address"))]
    #[schema(max_length = 80)]
    pub email: String,
    /// Telephone number with the country's code, in any usual spelling (`+49 30 123456`, `0049 30 123456`).
    #[serde(deserialize_with = "read_international_phone")]
    #[validate(custom(function = "international_phone"))]
    #[schema(example = "+4930123456", max_length = 30)]
    pub phone: String,
}

/// A postal address.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SaleAddressRequest {
    /// Street.
    #[validate(length(min = 1, max = 100), custom(function = "text"))]
    #[schema(min_length = 1, max_length = 100)]
    pub line1: String,
    /// More of it.
    #[validate(length(max = 50), custom(function = "free_text"))]
    #[schema(max_length = 50)]
    pub line2: Option<String>,
    /// City.
    #[validate(length(min = 1, max = 30), custom(function = "text"))]
    #[schema(min_length = 1, max_length = 30)]
    pub city: String,
    /// Postal code.
    #[validate(length(min = 1, max = POSTCODE_CHARS_MAX), custom(function = "text"))]
    #[schema(min_length = 1, max_length = 10)]
    pub postcode: String,
    /// ISO 3166-1 alpha-2.
    #[validate(custom(function = "country_code"))]
    #[schema(example = "DE", pattern = "^[A-Z]{2}$")]
    pub country: String,
}

/// An article that was bought.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SaleLineRequest {
    /// Your article number, as the ERP has it.
    #[validate(length(min = 1, max = 64), custom(function = "article_number"))]
    #[schema(min_length = 1, max_length = 64)]
    pub sku: String,
    /// Its name.
    #[validate(length(min = 1, max = 100), custom(function = "text"))]
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// Quantity.
    #[validate(range(min = 1, max = 1_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub quantity: i64,
    /// Minor units each.
    #[validate(range(min = 0, max = 1_000_000_000_000_000_i64))]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub unit_price: i64,
}

impl From<SaleRequest> for Sale {
    fn from(request: SaleRequest) -> Self {
        let CustomerRequest { gender, first_name, last_name, email, phone } = request.customer;
        Self {
            currency: request.currency,
            ordered_at: request.ordered_at.0,
            payment_id: request.payment_id,
            customer: SaleCustomer { gender, first_name, last_name, email, phone },
            billing_address: request.billing_address.into(),
            shipping_address: request.shipping_address.map(Into::into),
            lines: request.lines.into_iter().map(Into::into).collect(),
            shipping_cost: request.shipping_cost,
        }
    }
}

impl From<SaleAddressRequest> for SaleAddress {
    fn from(request: SaleAddressRequest) -> Self {
        let SaleAddressRequest { line1, line2, city, postcode, country } = request;
        // An empty second line is no second line: both mean the same.
        Self { line1, line2: line2.filter(|line| !line.is_empty()), city, postcode, country }
    }
}

impl From<SaleLineRequest> for SaleLine {
    fn from(request: SaleLineRequest) -> Self {
        let SaleLineRequest { sku, name, quantity, unit_price } = request;
        Self { sku, name, quantity, unit_price }
    }
}

fn in_calendar(at: &Rfc3339Time) -> Result<(), ValidationError> {
    ensure(at.0 >= DateTime::from_millis(FIRST_DAY_MS), "range", "must be in 1753 or later")
}

/// Name of a payment at a payment service; it may have twelve digits.
fn payment_id_shape(id: &str) -> Result<(), ValidationError> {
    ensure(
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()),
        "format",
        "must be 1 to 128 printable ASCII characters without blanks",
    )
}

fn international_phone(phone: &str) -> Result<(), ValidationError> {
    ensure(
        international(phone).as_deref() == Some(phone),
        "format",
        "must be a telephone number with the country's code: +, and 7 to 15 digits",
    )
}

/// Also in the sum of an amount.
fn total_is_sane(request: &SaleRequest) -> Result<(), ValidationError> {
    let total = request
        .lines
        .iter()
        .try_fold(request.shipping_cost, |sum, line| sum.checked_add(line.quantity.checked_mul(line.unit_price)?));
    match total {
        Some(total) if total <= AMOUNT_MAX => Ok(()),
        _ => {
            Err(fault_of("lines", "total", "are worth more than 1000000000000000 minor units together, with shipping"))
        }
    }
}
