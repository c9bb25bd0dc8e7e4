//! Routes of what follows from paid checkouts, for merchants.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    parts::PartKind,
    settings::{CarrierSettings, ErpSettings, FulfilmentSettings},
};
use crate::{
    modules::{
        checkout::{http, service::CheckoutService},
        orders::{PartyRequest, address_fault},
        providers::{Party, ProviderName, Service},
    },
    platform::{
        clock::Rfc3339Time,
        error::{AppError, Problem},
        http::{
            ApiJson, ApiPath, NoQuery,
            checks::{fault, fault_of},
        },
        identity::Merchant,
    },
};

const BODY_BYTES_MAX: usize = 16 * 1024;

pub fn router(service: CheckoutService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(get_fulfilment, put_fulfilment))
        .routes(routes!(fulfil_checkout))
        .with_state(service)
}

/// The ERP in which sales are booked.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct FulfilmentErpRequest {
    /// An ERP.
    #[validate(custom(function = "is_erp"))]
    provider: ProviderName,
}

/// The carrier.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct FulfilmentCarrierRequest {
    /// A carrier.
    #[validate(custom(function = "is_carrier"))]
    provider: ProviderName,
    /// The service; `surface` where it is left out.
    service: Option<Service>,
}

/// `PUT /fulfilment`: all of it is replaced.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[validate(schema(function = "carrier_has_pickup"))]
struct FulfilmentRequest {
    /// Null: no sale is booked.
    #[validate(nested)]
    erp: Option<FulfilmentErpRequest>,
    /// Null: nothing is carried.
    #[validate(nested)]
    carrier: Option<FulfilmentCarrierRequest>,
    /// Your warehouse, from which the carrier takes parcels; required with a carrier.
    #[validate(nested)]
    pickup: Option<PartyRequest>,
}

#[derive(Debug, Serialize, ToSchema)]
struct FulfilmentErpResponse {
    provider: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct FulfilmentCarrierResponse {
    provider: String,
    service: Service,
}

#[derive(Debug, Serialize, ToSchema)]
struct PickupResponse {
    name: String,
    phone: String,
    email: Option<String>,
    line1: String,
    line2: Option<String>,
    city: String,
    state: String,
    pincode: String,
    country: String,
}

/// Fulfilment settings.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FulfilmentResponse {
    erp: Option<FulfilmentErpResponse>,
    carrier: Option<FulfilmentCarrierResponse>,
    pickup: Option<PickupResponse>,
    /// Null where nothing was ever set up.
    updated_at: Option<Rfc3339Time>,
}

impl From<FulfilmentSettings> for FulfilmentResponse {
    fn from(settings: FulfilmentSettings) -> Self {
        let is_set = settings.updated_at.timestamp_millis() > 0;
        Self {
            erp: settings.erp.map(|erp| FulfilmentErpResponse { provider: erp.provider }),
            carrier: settings
                .carrier
                .map(|carrier| FulfilmentCarrierResponse { provider: carrier.provider, service: carrier.service }),
            pickup: settings.pickup.map(|pickup| {
                let Party { name, phone, email, line1, line2, city, state, pincode, country } = pickup;
                PickupResponse { name, phone, email, line1, line2, city, state, pincode, country }
            }),
            updated_at: is_set.then_some(Rfc3339Time(settings.updated_at)),
        }
    }
}

/// Your fulfilment settings; with none, a paid checkout is completed at once.
#[utoipa::path(get, path = "/fulfilment", tag = "checkout", security(("bearer" = [])),
    responses((status = 200, body = FulfilmentResponse)))]
async fn get_fulfilment(
    State(service): State<CheckoutService>,
    Merchant(user): Merchant,
    _: NoQuery,
) -> Result<Json<FulfilmentResponse>, AppError> {
    Ok(Json(service.fulfilment(&user).await?.into()))
}

/// Sets up what follows from your paid checkouts: an order with your ERP, one with your carrier, both or none. What was sent stays as it
/// is; what is sent from now on, also again, goes by these.
#[utoipa::path(put, path = "/fulfilment", tag = "checkout", security(("bearer" = [])), request_body = FulfilmentRequest,
    responses(
        (status = 200, body = FulfilmentResponse),
        (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn put_fulfilment(
    State(service): State<CheckoutService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiJson(request): ApiJson<FulfilmentRequest, BODY_BYTES_MAX>,
) -> Result<Json<FulfilmentResponse>, AppError> {
    let pickup: Option<Party> = request.pickup.map(Into::into);
    let fault = pickup.as_ref().and_then(|pickup| address_fault("pickup", pickup));
    if let Some(fault) = fault {
        return Err(AppError::invalid(vec![fault]));
    }
    let settings = FulfilmentSettings {
        erp: request.erp.map(|erp| ErpSettings { provider: erp.provider.as_str().to_owned() }),
        carrier: request.carrier.map(|carrier| CarrierSettings {
            provider: carrier.provider.as_str().to_owned(),
            service: carrier.service.unwrap_or_default(),
        }),
        pickup,
        ..FulfilmentSettings::nothing(&user.user_id)
    };
    Ok(Json(service.set_fulfilment(&user, settings).await?.into()))
}

/// Sends again what of a checkout of your products came to nothing (`parts`), by your settings of today, once you have put right what was
/// wrong. What was placed is never placed twice. Safe to repeat.
#[utoipa::path(post, path = "/checkouts/{checkoutId}/fulfil", tag = "checkout", security(("bearer" = [])),
    params(("checkoutId" = String, Path, description = "`chk_...`")),
    responses(
        (status = 202, description = "The parts will be sent.", body = http::CheckoutResponse),
        (status = 200, description = "It is being fulfilled.", body = http::CheckoutResponse),
        (status = 404, description = "No such checkout of your products.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`checkout.not_fulfillable`, `checkout.nothing_to_fulfil`, `checkout.too_many_orders`", body = Problem, content_type = "application/problem+json"),
    ))]
async fn fulfil_checkout(
    State(service): State<CheckoutService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiPath(checkout_id): ApiPath<String>,
) -> Result<Response, AppError> {
    let reply = service.fulfil_again(&user, checkout_id).await?;
    let status = if reply.replayed { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(http::CheckoutResponse::of(reply.checkout, &user))).into_response())
}

fn of_kind(provider: ProviderName, kind: PartKind, message: &'static str) -> Result<(), ValidationError> {
    if provider.declaration().kind == kind.of_providers() {
        return Ok(());
    }
    Err(fault("kind", message))
}

fn is_erp(provider: &ProviderName) -> Result<(), ValidationError> {
    of_kind(*provider, PartKind::Erp, "must be an ERP")
}

fn is_carrier(provider: &ProviderName) -> Result<(), ValidationError> {
    of_kind(*provider, PartKind::Carrier, "must be a carrier")
}

fn carrier_has_pickup(request: &FulfilmentRequest) -> Result<(), ValidationError> {
    if request.carrier.is_none() || request.pickup.is_some() {
        return Ok(());
    }
    Err(fault_of("pickup", "required", "is required with a carrier"))
}
