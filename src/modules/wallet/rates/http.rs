//! The route of quotes.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    cache::RateCards,
    card::{RateCard, Zone},
    quote::{PricedParcel, QuoteError, quote},
};
use crate::{
    modules::providers::{ParcelDimensions, PaymentMode, ProviderKind, ProviderName, Service},
    platform::{
        error::{AppError, FieldError, Problem},
        http::{
            ApiQuery,
            checks::{ensure, fault_of, pincode},
        },
        identity::CurrentUser,
        india::pincodes,
        money::Money,
        text::{holds_unseen, read_pincode},
    },
};

pub fn router(rates: RateCards) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_rates)).with_state(rates)
}

/// `GET /rates`: what a price depends on, with the limits that an order has.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[validate(schema(function = "cod_matches_mode"))]
pub(super) struct ListRatesQuery {
    /// The carrier; the first of the list by default.
    #[param(inline)]
    provider: Option<ProviderName>,
    /// The service; all services by default.
    #[param(inline)]
    service: Option<Service>,
    /// How the goods are paid for; prepaid by default.
    #[param(inline)]
    payment_mode: Option<PaymentMode>,
    /// Minor units to collect: above 0 with `cod`, 0 or absent with `prepaid`.
    #[validate(range(min = 0, max = 1_000_000_000_i64))]
    #[param(default = 0, minimum = 0, maximum = 1_000_000_000)]
    cod_amount: Option<i64>,
    /// Dead weight in grams.
    #[validate(range(min = 1, max = 100_000))]
    #[param(minimum = 1, maximum = 100_000, example = 450)]
    weight_grams: i64,
    /// Centimetres.
    #[validate(range(min = 1, max = 300))]
    #[param(minimum = 1, maximum = 300, example = 20)]
    length: i32,
    /// Centimetres.
    #[validate(range(min = 1, max = 300))]
    #[param(minimum = 1, maximum = 300, example = 15)]
    width: i32,
    /// Centimetres.
    #[validate(range(min = 1, max = 300))]
    #[param(minimum = 1, maximum = 300, example = 8)]
    height: i32,
    /// Six digits, the first not 0.
    #[serde(deserialize_with = "read_pincode")]
    #[validate(custom(function = "pincode"))]
    #[param(example = "110020")]
    pickup_pincode: String,
    /// State, in any usual spelling; one that the pincode can be of. It does not change the price.
    #[validate(length(min = 1, max = 80), custom(function = "text"))]
    #[param(min_length = 1, max_length = 80, example = "Delhi")]
    pickup_state: String,
    /// Six digits, the first not 0.
    #[serde(deserialize_with = "read_pincode")]
    #[validate(custom(function = "pincode"))]
    #[param(example = "560001")]
    delivery_pincode: String,
    /// State, in any usual spelling; one that the pincode can be of. It does not change the price.
    #[validate(length(min = 1, max = 80), custom(function = "text"))]
    #[param(min_length = 1, max_length = 80, example = "Karnataka")]
    delivery_state: String,
}

/// Quotes by service.
#[derive(Debug, Serialize, ToSchema)]
struct RateListResponse {
    items: Vec<RateResponse>,
}

/// The quote of one service for a parcel, in minor units.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RateResponse {
    provider: ProviderName,
    service: Service,
    zone: Zone,
    /// The greater of dead and volumetric weight, in full slabs.
    chargeable_weight_grams: i64,
    /// Slabs in it.
    slabs: i64,
    /// The charge for carriage.
    freight: i64,
    /// The fee for collecting cash; 0 when prepaid.
    cod_fee: i64,
    /// The amount that an order would hold.
    total: Money,
    /// The card that says so.
    #[schema(example = "parcelx-1")]
    rate_card: String,
}

impl ListRatesQuery {
    fn faults(&self) -> Vec<FieldError> {
        let ends = [
            ("pickup", &self.pickup_pincode, &self.pickup_state),
            ("delivery", &self.delivery_pincode, &self.delivery_state),
        ];
        let fault = |(end, pincode, state): (&str, &String, &String)| {
            let mismatch = pincodes::check_state(pincode, state).err()?;
            Some(mismatch.fault(format!("{end}Pincode"), format!("{end}State")))
        };
        ends.into_iter().filter_map(fault).collect()
    }

    fn price(&self, card: &RateCard, service: Service) -> Result<RateResponse, QuoteError> {
        let parcel = PricedParcel {
            service,
            payment_mode: self.payment_mode.unwrap_or_default(),
            // A quote is in the currency of the card.
            currency: card.currency.code(),
            cod_amount: self.cod_amount.unwrap_or_default(),
            weight_grams: self.weight_grams,
            dimensions: ParcelDimensions { length: self.length, width: self.width, height: self.height },
            pickup: &self.pickup_pincode,
            delivery: &self.delivery_pincode,
        };
        let quoted = quote(card, &parcel)?;
        Ok(RateResponse {
            provider: self.provider.unwrap_or_default(),
            service,
            zone: quoted.pricing.zone.ok_or(QuoteError::Parcel("zone"))?,
            chargeable_weight_grams: quoted.pricing.chargeable_weight_grams,
            slabs: quoted.pricing.slabs,
            freight: quoted.pricing.freight,
            cod_fee: quoted.pricing.cod_fee,
            total: quoted.total,
            rate_card: quoted.pricing.rate_card,
        })
    }
}

/// Quotes for an order, with one service or with each. The order itself is priced anew when it is taken.
#[utoipa::path(get, path = "/rates", tag = "orders", security(("bearer" = [])), params(ListRatesQuery),
    responses(
        (status = 200, body = RateListResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "There are no prices at the moment; try again.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_rates(
    State(rates): State<RateCards>,
    _: CurrentUser,
    ApiQuery(query): ApiQuery<ListRatesQuery>,
) -> Result<Json<RateListResponse>, AppError> {
    let faults = query.faults();
    if !faults.is_empty() {
        return Err(AppError::invalid(faults));
    }
    let provider = query.provider.unwrap_or_default();
    if provider.declaration().kind != ProviderKind::Carrier {
        let fault =
            FieldError::new("provider", "no_rates", "must be a carrier: this provider has no rate card for parcels");
        return Err(AppError::invalid(vec![fault]));
    }
    let provider = provider.as_str();
    let card = rates.parcels(provider).await?.ok_or_else(|| {
        AppError::unavailable(
            "rates.unavailable",
            "There is no rate card in effect for this provider; try again later.",
        )
    })?;
    let asked = query.service.map(|service| vec![service]).unwrap_or_else(|| Service::ALL.to_vec());
    let items: Result<_, _> = asked.into_iter().map(|service| query.price(&card, service)).collect();
    // The parcel is validated and the card is checked: what is left is a bug.
    Ok(Json(RateListResponse { items: items.map_err(AppError::internal)? }))
}

fn text(text: &str) -> Result<(), ValidationError> {
    ensure(!text.trim().is_empty(), "blank", "must not be blank")?;
    ensure(!holds_unseen(text), "characters", "must not hold control characters or others that nobody can see")
}

fn cod_matches_mode(query: &ListRatesQuery) -> Result<(), ValidationError> {
    let message = match (query.payment_mode.unwrap_or_default(), query.cod_amount.unwrap_or_default()) {
        (PaymentMode::Prepaid, 0) | (PaymentMode::Cod, 1..) => return Ok(()),
        (PaymentMode::Prepaid, _) => "must be 0 or absent when prepaid",
        (PaymentMode::Cod, _) => "must be above 0 for cash on delivery",
    };
    Err(fault_of("codAmount", "cod", message))
}
