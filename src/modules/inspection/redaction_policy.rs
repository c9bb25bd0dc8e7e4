//! `/audit/redaction-policy`: what may be stored of calls to providers, and how the rest is hidden.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    modules::providers::{Policy, policies},
    platform::{error::AppError, exchange::Redaction, http::NoQuery, identity::AdminReader},
};

/// The route.
pub fn redaction_policy_router() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(get_redaction_policy))
}

/// What may be stored of calls to providers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PolicyResponse {
    /// What becomes of everything that is not named.
    otherwise: &'static str,
    /// Headers of answers that are stored; of requests, credentials are named and never shown.
    response_headers: &'static [&'static str],
    operations: Vec<OperationPolicy>,
}

/// What may be stored of one operation. Paths are as in the body: `data.awb_number`, `products[].product_sku`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OperationPolicy {
    #[schema(example = "parcelx")]
    provider: &'static str,
    #[schema(example = "create_order")]
    operation: &'static str,
    /// Fields of the request's body that are stored whole.
    request: &'static [&'static str],
    /// Fields of the answer's body that are stored whole.
    response: &'static [&'static str],
    /// Fields of either that are stored without addresses, long numbers and tax numbers.
    free_text: &'static [&'static str],
    /// Parameters of the address that are stored.
    query: &'static [&'static str],
}

impl From<Policy> for OperationPolicy {
    fn from(policy: Policy) -> Self {
        let Redaction { request, response, free_text, query } = policy.redaction;
        Self { provider: policy.provider, operation: policy.operation, request, response, free_text, query }
    }
}

/// What may be stored of calls to providers, as the adapters declare it. The service itself goes by the same lists.
#[utoipa::path(get, path = "/audit/redaction-policy", tag = "audit", security(("bearer" = [])),
    responses((status = 200, body = PolicyResponse)))]
async fn get_redaction_policy(_: AdminReader, _: NoQuery) -> Result<Json<PolicyResponse>, AppError> {
    Ok(Json(PolicyResponse {
        otherwise: "stored as its type and length only",
        response_headers: Redaction::RESPONSE_HEADERS,
        operations: policies().into_iter().map(Into::into).collect(),
    }))
}
