//! `/audit/redaction-policy`: what may be stored of calls to providers, how the rest is hidden, and how long it is kept.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    modules::{
        alerts,
        audit::retention::{RecordClass, Retention},
        notifications,
        providers::{Policy, policies},
        webhooks,
    },
    platform::{error::AppError, exchange::Redaction, http::NoQuery, identity::AdminReader},
};

/// The route.
pub fn redaction_policy_router(retention: Retention) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(get_redaction_policy)).with_state(retention)
}

/// The stored parts of calls to providers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PolicyResponse {
    /// The treatment of everything that is not named.
    otherwise: &'static str,
    /// Headers of answers that are stored; of requests, credentials are named and never shown.
    response_headers: &'static [&'static str],
    operations: Vec<OperationPolicy>,
    /// Retention of records that are not kept for ever. A legal hold keeps them longer.
    retention: Vec<RetentionPolicy>,
}

/// Retention of a class of records.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RetentionPolicy {
    #[schema(example = "provider_calls")]
    class: &'static str,
    collections: &'static [&'static str],
    /// The audit events of the class; null where it has all records of its collections.
    actions: Option<&'static [&'static str]>,
    /// Null is for ever.
    #[schema(example = 1095)]
    days: Option<u64>,
}

impl RetentionPolicy {
    fn of(class: RecordClass, retention: Retention) -> Self {
        let days = retention.of(class).map(|kept| kept.as_secs() / 86_400);
        Self { class: class.name(), collections: class.collections(), actions: class.actions(), days }
    }
}

/// The stored part of one operation. Paths are as in the body: `data.awb_number`, `products[].product_sku`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OperationPolicy {
    #[schema(example = "parcelx")]
    provider: &'static str,
    #[schema(example = "create_order")]
    operation: &'static str,
    /// Fields of the request's body that are stored whole.
    request: Vec<&'static str>,
    /// Fields of the answer's body that are stored whole.
    response: Vec<&'static str>,
    /// Fields that stay when a record is erased; everything else in a body is erased.
    not_personal: &'static [&'static str],
    /// Fields of either that are stored without addresses, long numbers and tax numbers.
    free_text: &'static [&'static str],
    /// Parameters of the address that are stored.
    query: &'static [&'static str],
}

impl From<Policy> for OperationPolicy {
    fn from(policy: Policy) -> Self {
        let Redaction { not_personal, request, response, free_text, query } = policy.redaction;
        Self {
            provider: policy.provider,
            operation: policy.operation,
            request: [*not_personal, request].concat(),
            response: [*not_personal, response].concat(),
            not_personal,
            free_text,
            query,
        }
    }
}

/// The stored parts of calls to providers, as the adapters declare them, and their retention. The service itself goes by the same lists.
#[utoipa::path(get, path = "/audit/redaction-policy", tag = "audit", security(("bearer" = [])),
    responses((status = 200, body = PolicyResponse)))]
async fn get_redaction_policy(
    State(retention): State<Retention>,
    _: AdminReader,
    _: NoQuery,
) -> Result<Json<PolicyResponse>, AppError> {
    Ok(Json(PolicyResponse {
        otherwise: "stored as its type and length only",
        response_headers: Redaction::RESPONSE_HEADERS,
        operations: policies()
            .into_iter()
            .chain([webhooks::POLICY, notifications::POLICY, alerts::POLICY])
            .map(Into::into)
            .collect(),
        retention: RecordClass::ALL.map(|class| RetentionPolicy::of(class, retention)).into(),
    }))
}
