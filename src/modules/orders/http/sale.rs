//! A sale, as answered.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    modules::providers::{Gender, Sale, SaleAddress, SaleCustomer, SaleLine},
    platform::{clock::Rfc3339Time, money::Currency},
};

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SaleResponse {
    currency: Currency,
    ordered_at: Rfc3339Time,
    payment_id: String,
    customer: CustomerResponse,
    billing_address: SaleAddressResponse,
    /// Null where it is the billing address.
    shipping_address: Option<SaleAddressResponse>,
    lines: Vec<SaleLineResponse>,
    shipping_cost: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CustomerResponse {
    gender: Option<Gender>,
    first_name: String,
    last_name: String,
    email: String,
    phone: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct SaleAddressResponse {
    line1: String,
    line2: Option<String>,
    city: String,
    postcode: String,
    country: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SaleLineResponse {
    sku: String,
    name: String,
    quantity: i64,
    unit_price: i64,
}

impl From<Sale> for SaleResponse {
    fn from(sale: Sale) -> Self {
        let SaleCustomer { gender, first_name, last_name, email, phone } = sale.customer;
        Self {
            currency: sale.currency,
            ordered_at: Rfc3339Time(sale.ordered_at),
            payment_id: sale.payment_id,
            customer: CustomerResponse { gender, first_name, last_name, email, phone },
            billing_address: sale.billing_address.into(),
            shipping_address: sale.shipping_address.map(Into::into),
            lines: sale.lines.into_iter().map(Into::into).collect(),
            shipping_cost: sale.shipping_cost,
        }
    }
}

impl From<SaleAddress> for SaleAddressResponse {
    fn from(address: SaleAddress) -> Self {
        let SaleAddress { line1, line2, city, postcode, country } = address;
        Self { line1, line2, city, postcode, country }
    }
}

impl From<SaleLine> for SaleLineResponse {
    fn from(line: SaleLine) -> Self {
        let SaleLine { sku, name, quantity, unit_price } = line;
        Self { sku, name, quantity, unit_price }
    }
}
