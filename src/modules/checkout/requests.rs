//! Requests of buyers, and their rules.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::{Validate, ValidationError};

use super::model::{CartLine, CheckoutCustomer, CheckoutStatus, NewCheckout, PaymentMethod, Priority, ShippingAddress};
use crate::{
    modules::catalog::QUANTITY_MAX,
    platform::{
        http::{
            checks::{client_id, country_code, email_address, ensure, fault_of},
            cursor,
        },
        money::Currency,
        text::{POSTCODE_CHARS_MAX, free_text, international, read_email, read_international_phone_if_any},
    },
};

/// One line of a cart.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CartLineRequest {
    #[validate(length(min = 1, max = 64))]
    #[schema(example = "prd_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", min_length = 1, max_length = 64)]
    product_id: String,
    /// Pieces. Lines of one product count together.
    #[validate(range(min = 1, max = QUANTITY_MAX))]
    #[schema(minimum = 1, maximum = 10_000)]
    quantity: i64,
}

/// The buyer.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BuyerRequest {
    #[validate(length(min = 1, max = 100), custom(function = "free_text"))]
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    #[serde(deserialize_with = "read_email")]
    #[validate(length(max = 254), custom(function = "email_address"))]
    #[schema(max_length = 254)]
    email: String,
    /// Telephone number with the country's code, in any usual spelling.
    #[serde(default, deserialize_with = "read_international_phone_if_any")]
    #[validate(custom(function = "phone_number"))]
    #[schema(example = "+4930123456", max_length = 30)]
    phone: Option<String>,
}

/// The address.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShippingAddressRequest {
    /// Name of the receiver; by default the customer's.
    #[validate(length(max = 100), custom(function = "free_text"))]
    #[schema(max_length = 100)]
    name: Option<String>,
    /// The receiver's, as the carrier wants it; by default the customer's.
    #[validate(length(max = 30), custom(function = "free_text"))]
    #[schema(max_length = 30)]
    phone: Option<String>,
    #[validate(length(min = 1, max = 100), custom(function = "free_text"))]
    #[schema(min_length = 1, max_length = 100)]
    line1: String,
    #[validate(length(max = 100), custom(function = "free_text"))]
    #[schema(max_length = 100)]
    line2: Option<String>,
    #[validate(length(min = 1, max = 60), custom(function = "free_text"))]
    #[schema(min_length = 1, max_length = 60)]
    city: String,
    #[validate(length(max = 60), custom(function = "free_text"))]
    #[schema(max_length = 60)]
    state: Option<String>,
    /// `pincode`, as shipments call it, is the same.
    #[serde(alias = "pincode")]
    #[validate(length(min = 1, max = POSTCODE_CHARS_MAX), custom(function = "free_text"))]
    #[schema(min_length = 1, max_length = 10)]
    postcode: String,
    /// ISO 3166-1 alpha-2.
    #[validate(custom(function = "country_code"))]
    #[schema(example = "DE", pattern = "^[A-Z]{2}$")]
    country: String,
}

/// An empty text is none.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl From<ShippingAddressRequest> for ShippingAddress {
    fn from(request: ShippingAddressRequest) -> Self {
        let ShippingAddressRequest { name, phone, line1, line2, city, state, postcode, country } = request;
        let (name, phone, line2, state) = (given(name), given(phone), given(line2), given(state));
        Self { name, phone, line1, line2, city, state, postcode, country }
    }
}

/// The way to pay.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[validate(schema(function = "payment_id_fits"))]
pub(super) struct PaymentRequest {
    method: PaymentMethod,
    /// Your id of an external payment. It pays one checkout, ever.
    #[validate(custom(function = "payment_id_shape"))]
    #[schema(example = "pay_1", min_length = 1, max_length = 128)]
    payment_id: Option<String>,
}

/// `POST /checkout`
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CheckoutRequest {
    /// Your id of the checkout: the same id is the same checkout, for ever.
    #[validate(custom(function = "client_id"))]
    #[schema(example = "c-1001", min_length = 1, max_length = 128)]
    client_order_id: String,
    /// The cart: products of one merchant, in one currency.
    #[validate(nested, length(min = 1, max = 100))]
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<CartLineRequest>,
    #[validate(nested)]
    customer: BuyerRequest,
    #[validate(nested)]
    shipping_address: ShippingAddressRequest,
    #[validate(nested)]
    payment: PaymentRequest,
    /// `rush` goes through payment and fulfilment before what is no rush.
    #[schema(default = "normal")]
    priority: Option<Priority>,
    /// Currency of the payment; by default that of the first product's `price`. Every product needs a price in it.
    currency: Option<Currency>,
}

impl CheckoutRequest {
    pub(super) fn into_checkout(self) -> NewCheckout {
        let BuyerRequest { name, email, phone } = self.customer;
        let lines = self.items.into_iter();
        NewCheckout {
            client_order_id: self.client_order_id,
            lines: lines.map(|line| CartLine { product_id: line.product_id, quantity: line.quantity }).collect(),
            customer: CheckoutCustomer { name, email, phone: given(phone) },
            shipping_address: self.shipping_address.into(),
            method: self.payment.method,
            priority: self.priority.unwrap_or_default(),
            currency: self.currency,
            payment_id: self.payment.payment_id,
        }
    }
}

/// `POST /checkout/cancel`
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CancelCheckoutRequest {
    /// The id under which it was asked for.
    #[validate(custom(function = "client_id"))]
    pub(super) client_order_id: String,
    /// The reason; for your own records.
    #[validate(length(max = 300), custom(function = "free_text"))]
    #[schema(max_length = 300)]
    pub(super) reason: Option<String>,
}

/// `GET /checkouts`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListCheckoutsQuery {
    /// Checkouts on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    pub(super) limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "checkout_cursor"))]
    pub(super) cursor: Option<String>,
    /// The id under which it was asked for.
    #[validate(custom(function = "client_id"))]
    pub(super) client_order_id: Option<String>,
    /// Status.
    pub(super) status: Option<CheckoutStatus>,
}

pub(super) fn phone_number(phone: &str) -> Result<(), ValidationError> {
    let is_one = phone.is_empty() || international(phone).as_deref() == Some(phone);
    ensure(is_one, "phone", "must be a telephone number with the country's code, such as +4930123456")
}

fn payment_id_shape(id: &str) -> Result<(), ValidationError> {
    let is_one = (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    ensure(is_one, "format", "must be 1 to 128 printable ASCII characters without blanks")
}

fn payment_id_fits(payment: &PaymentRequest) -> Result<(), ValidationError> {
    match (payment.method == PaymentMethod::External, payment.payment_id.is_some()) {
        (true, false) => Err(fault_of("paymentId", "required", "is required for an external payment")),
        (false, true) => Err(fault_of("paymentId", "unexpected", "is for external payments only")),
        _ => Ok(()),
    }
}

fn checkout_cursor(cursor: &str) -> Result<(), ValidationError> {
    cursor::check_id("chk", cursor)
}
