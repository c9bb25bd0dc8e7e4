//! `/customers/me`

use axum::{Json, extract::State};
use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    customers::{CustomerProfile, KeptAddress},
    http::ShippingAddressResponse,
    requests::{ShippingAddressRequest, phone_number},
    service::CheckoutService,
};
use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, Problem},
    http::{ApiJson, NoQuery, checks::fault_of},
    identity::Customer,
    text::{free_text, read_international_phone_if_any},
};

/// Twenty addresses of the longest lines, escaped.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(super) fn router() -> OpenApiRouter<CheckoutService> {
    OpenApiRouter::new().routes(routes!(get_customer, put_customer))
}

/// An address to keep.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeptAddressRequest {
    /// Your name for it.
    #[validate(length(max = 60), custom(function = "free_text"))]
    #[schema(example = "Home", max_length = 60)]
    label: Option<String>,
    /// Whether it is the default address. Without one it is the first.
    #[serde(default)]
    is_default: bool,
    /// As `shippingAddress` of a checkout.
    #[validate(nested)]
    address: ShippingAddressRequest,
}

/// `PUT /customers/me`
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[validate(schema(function = "one_is_the_default"))]
struct CustomerProfileRequest {
    #[validate(length(min = 1, max = 100), custom(function = "free_text"))]
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Telephone number with the country's code, in any usual spelling.
    #[serde(default, deserialize_with = "read_international_phone_if_any")]
    #[validate(custom(function = "phone_number"))]
    #[schema(example = "+4930123456", max_length = 30)]
    phone: Option<String>,
    #[serde(default)]
    #[validate(nested, length(max = 20))]
    #[schema(max_items = 20)]
    addresses: Vec<KeptAddressRequest>,
}

fn one_is_the_default(request: &CustomerProfileRequest) -> Result<(), ValidationError> {
    if request.addresses.iter().filter(|kept| kept.is_default).count() > 1 {
        return Err(fault_of("addresses", "ambiguous", "must have one default at most"));
    }
    Ok(())
}

impl CustomerProfileRequest {
    /// The profile to keep, but for its times.
    fn into_profile(self, user_id: String) -> CustomerProfile {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let has_default = self.addresses.iter().any(|kept| kept.is_default);
        let addresses = self.addresses.into_iter().enumerate().map(|(number, kept)| KeptAddress {
            label: given(kept.label),
            is_default: kept.is_default || (!has_default && number == 0),
            address: kept.address.into(),
        });
        let unset = DateTime::from_millis(0);
        CustomerProfile {
            user_id,
            name: self.name,
            phone: given(self.phone),
            addresses: addresses.collect(),
            created_at: unset,
            updated_at: unset,
        }
    }
}

/// An address that is kept.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct KeptAddressResponse {
    label: Option<String>,
    is_default: bool,
    /// The address, as a checkout takes it.
    address: ShippingAddressResponse,
}

/// A customer's profile.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CustomerProfileResponse {
    /// Null before anything was kept.
    name: Option<String>,
    phone: Option<String>,
    /// Addresses in the order in which they were sent; one is the default.
    addresses: Vec<KeptAddressResponse>,
    /// Null before anything was kept.
    updated_at: Option<Rfc3339Time>,
}

impl From<CustomerProfile> for CustomerProfileResponse {
    fn from(profile: CustomerProfile) -> Self {
        let shown = |kept: KeptAddress| KeptAddressResponse {
            label: kept.label,
            is_default: kept.is_default,
            address: kept.address.into(),
        };
        Self {
            name: Some(profile.name),
            phone: profile.phone,
            addresses: profile.addresses.into_iter().map(shown).collect(),
            updated_at: Some(Rfc3339Time(profile.updated_at)),
        }
    }
}

/// Your profile for checkouts: name, telephone number and addresses.
#[utoipa::path(get, path = "/customers/me", tag = "checkout", security(("bearer" = [])), responses(
    (status = 200, description = "Empty before anything was kept.", body = CustomerProfileResponse),
    (status = 403, description = "You are no customer.", body = Problem, content_type = "application/problem+json"),
))]
async fn get_customer(
    State(service): State<CheckoutService>,
    Customer(user): Customer,
    _: NoQuery,
) -> Result<Json<CustomerProfileResponse>, AppError> {
    Ok(Json(service.profile(&user).await?.map(Into::into).unwrap_or_default()))
}

/// Replaces what you keep for your checkouts. Checkouts of before stay as they are.
#[utoipa::path(put, path = "/customers/me", tag = "checkout", security(("bearer" = [])), request_body = CustomerProfileRequest, responses(
    (status = 200, body = CustomerProfileResponse),
    (status = 403, description = "You are no customer.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
))]
async fn put_customer(
    State(service): State<CheckoutService>,
    Customer(user): Customer,
    _: NoQuery,
    ApiJson(request): ApiJson<CustomerProfileRequest, BODY_BYTES_MAX>,
) -> Result<Json<CustomerProfileResponse>, AppError> {
    Ok(Json(service.put_profile(request.into_profile(user.user_id)).await?.into()))
}
