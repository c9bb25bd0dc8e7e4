//! `/webhook-endpoints`.

use axum::{Json, extract::State, http::StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    deliveries_http::DeliveryResponse,
    model::{DisabledReason, Endpoint, EndpointStatus, Replay},
    owner::{Owner, tenant_of},
    requests::{ChangeEndpointRequest, CreateEndpointRequest, ReplayRequest, RotateSecretRequest},
    service::{RangeFault, WebhookService},
};
use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, FieldError, Problem},
    http::{ApiJson, ApiPath, NoQuery},
};

const BODY_BYTES_MAX: usize = 32 * 1024;

pub(super) fn router() -> OpenApiRouter<WebhookService> {
    OpenApiRouter::new()
        .routes(routes!(create_endpoint, list_endpoints))
        .routes(routes!(get_endpoint, change_endpoint, delete_endpoint))
        .routes(routes!(rotate_secret))
        .routes(routes!(test_endpoint))
        .routes(routes!(replay_to_endpoint))
}

/// An endpoint, as answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EndpointResponse {
    endpoint_id: String,
    /// The tenant, where it is a tenant's.
    tenant_id: Option<String>,
    url: String,
    /// Empty for all types.
    types: Vec<String>,
    description: Option<String>,
    status: EndpointStatus,
    /// Reason for which it is disabled.
    disabled_reason: Option<DisabledReason>,
    /// Time since which nothing could be delivered; after five days the endpoint is disabled.
    failing_since: Option<Rfc3339Time>,
    /// Calls are held back until then, because several failed.
    held_until: Option<Rfc3339Time>,
    /// The replay under way.
    replay: Option<ReplayResponse>,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
}

/// A replay under way.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReplayResponse {
    from: Rfc3339Time,
    to: Rfc3339Time,
    only_failed: bool,
    /// Deliveries begun so far.
    deliveries: i64,
}

/// An endpoint with its secret.
#[derive(Debug, Serialize, ToSchema)]
struct EndpointWithSecretResponse {
    #[serde(flatten)]
    endpoint: EndpointResponse,
    /// Signs what is posted. It is shown here and nowhere again.
    #[schema(example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")]
    secret: String,
}

/// Endpoints.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EndpointListResponse {
    items: Vec<EndpointResponse>,
    /// Always null: there are twenty at most.
    next_cursor: Option<String>,
}

impl From<Endpoint> for EndpointResponse {
    fn from(endpoint: Endpoint) -> Self {
        let trouble = endpoint.trouble.as_ref();
        Self {
            failing_since: trouble.map(|trouble| Rfc3339Time(trouble.since)),
            held_until: trouble.and_then(|trouble| trouble.retry_at).map(Rfc3339Time),
            endpoint_id: endpoint.id,
            tenant_id: tenant_of(&endpoint.owner_id).map(str::to_owned),
            url: endpoint.url,
            types: endpoint.types,
            description: endpoint.description,
            status: endpoint.status,
            disabled_reason: endpoint.disabled_reason,
            replay: endpoint.replay.map(|Replay { from, to, only_failed, count, .. }| ReplayResponse {
                from: Rfc3339Time(from),
                to: Rfc3339Time(to),
                only_failed,
                deliveries: count,
            }),
            created_at: Rfc3339Time(endpoint.created_at),
            updated_at: Rfc3339Time(endpoint.updated_at),
        }
    }
}

impl EndpointWithSecretResponse {
    fn new((endpoint, secret): (Endpoint, SecretString)) -> Self {
        Self { endpoint: endpoint.into(), secret: secret.expose_secret().to_owned() }
    }
}

/// Adds an endpoint: what happens from now on is posted to it, signed with the secret that the answer has, and no other. A manager's is
/// the tenant's: what happens to orders that members create is posted to it. An API key has to read elsewhere what it has posted, as at
/// `GET /webhook-events`; without `types` that is everything.
#[utoipa::path(post, path = "/webhook-endpoints", tag = "webhooks", security(("bearer" = [])),
    request_body = CreateEndpointRequest, responses(
        (status = 201, body = EndpointWithSecretResponse),
        (status = 404, description = "`webhooks.no_tenant`: a manager without a tenant.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "You have twenty endpoints already (`webhooks.too_many_endpoints`).", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable; nothing may be posted to this machine or network (`webhooks.address_refused`).", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create_endpoint(
    State(service): State<WebhookService>,
    owner: Owner,
    _: NoQuery,
    ApiJson(request): ApiJson<CreateEndpointRequest, BODY_BYTES_MAX>,
) -> Result<(StatusCode, Json<EndpointWithSecretResponse>), AppError> {
    let url = request.url.clone();
    let (types, description) = request.types_and_words();
    let created = service.create(&owner, &url, types, description).await?;
    Ok((StatusCode::CREATED, Json(EndpointWithSecretResponse::new(created))))
}

/// Your endpoints, the oldest first.
#[utoipa::path(get, path = "/webhook-endpoints", tag = "webhooks", security(("bearer" = [])),
    responses(
        (status = 200, body = EndpointListResponse),
        (status = 404, description = "`webhooks.no_tenant`: a manager without a tenant.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_endpoints(
    State(service): State<WebhookService>,
    owner: Owner,
    _: NoQuery,
) -> Result<Json<EndpointListResponse>, AppError> {
    let items = service.list(&owner).await?.into_iter().map(Into::into).collect();
    Ok(Json(EndpointListResponse { items, next_cursor: None }))
}

/// One of your endpoints.
#[utoipa::path(get, path = "/webhook-endpoints/{endpointId}", tag = "webhooks", security(("bearer" = [])),
    params(("endpointId" = String, Path, description = "`whe_...`")), responses(
        (status = 200, body = EndpointResponse),
        (status = 404, description = "No such endpoint of yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_endpoint(
    State(service): State<WebhookService>,
    owner: Owner,
    _: NoQuery,
    ApiPath(endpoint_id): ApiPath<String>,
) -> Result<Json<EndpointResponse>, AppError> {
    Ok(Json(service.get(&owner, &endpoint_id).await?.into()))
}

/// Changes an endpoint. What is left out stays. Enabling it, or giving it another URL, lets calls be made at once. Safe to repeat.
#[utoipa::path(patch, path = "/webhook-endpoints/{endpointId}", tag = "webhooks", security(("bearer" = [])),
    params(("endpointId" = String, Path, description = "`whe_...`")), request_body = ChangeEndpointRequest, responses(
        (status = 200, body = EndpointResponse),
        (status = 404, description = "No such endpoint of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable; nothing may be posted to this machine or network (`webhooks.address_refused`).", body = Problem, content_type = "application/problem+json"),
    ))]
async fn change_endpoint(
    State(service): State<WebhookService>,
    owner: Owner,
    _: NoQuery,
    ApiPath(endpoint_id): ApiPath<String>,
    ApiJson(request): ApiJson<ChangeEndpointRequest, BODY_BYTES_MAX>,
) -> Result<Json<EndpointResponse>, AppError> {
    let endpoint = service.change(&owner, endpoint_id, request.into_change()).await?;
    Ok(Json(endpoint.into()))
}

/// Deletes an endpoint with its secrets. Deliveries that wait fail.
#[utoipa::path(delete, path = "/webhook-endpoints/{endpointId}", tag = "webhooks", security(("bearer" = [])),
    params(("endpointId" = String, Path, description = "`whe_...`")), responses(
        (status = 204, description = "Deleted."),
        (status = 404, description = "No such endpoint of yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete_endpoint(
    State(service): State<WebhookService>,
    owner: Owner,
    _: NoQuery,
    ApiPath(endpoint_id): ApiPath<String>,
) -> Result<StatusCode, AppError> {
    service.delete(&owner, endpoint_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives an endpoint a new secret. Meanwhile the secrets before sign too, so that no delivery is refused while you change yours.
#[utoipa::path(post, path = "/webhook-endpoints/{endpointId}/rotate-secret", tag = "webhooks", security(("bearer" = [])),
    params(("endpointId" = String, Path, description = "`whe_...`")), request_body = RotateSecretRequest, responses(
        (status = 200, body = EndpointWithSecretResponse),
        (status = 404, description = "No such endpoint of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The secret was changed at the same time by somebody else (`webhooks.rotated_meanwhile`).", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn rotate_secret(
    State(service): State<WebhookService>,
    owner: Owner,
    _: NoQuery,
    ApiPath(endpoint_id): ApiPath<String>,
    ApiJson(request): ApiJson<RotateSecretRequest, BODY_BYTES_MAX>,
) -> Result<Json<EndpointWithSecretResponse>, AppError> {
    let rotated = service.rotate_secret(&owner, endpoint_id, request.grace_hours).await?;
    Ok(Json(EndpointWithSecretResponse::new(rotated)))
}

/// Posts a `webhook.test` to an endpoint, at once.
#[utoipa::path(post, path = "/webhook-endpoints/{endpointId}/test", tag = "webhooks", security(("bearer" = [])),
    params(("endpointId" = String, Path, description = "`whe_...`")), responses(
        (status = 202, description = "Its delivery; see how it goes at `/webhook-deliveries/{deliveryId}`.", body = DeliveryResponse),
        (status = 404, description = "No such endpoint of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The endpoint is disabled (`webhooks.endpoint_disabled`).", body = Problem, content_type = "application/problem+json"),
    ))]
async fn test_endpoint(
    State(service): State<WebhookService>,
    owner: Owner,
    _: NoQuery,
    ApiPath(endpoint_id): ApiPath<String>,
) -> Result<(StatusCode, Json<DeliveryResponse>), AppError> {
    let delivery = service.test(&owner, endpoint_id).await?;
    Ok((StatusCode::ACCEPTED, Json(delivery.into())))
}

/// Delivers again what happened in a range of time, under the same `webhook-id`s: also what was delivered before, and what happened
/// before there was the endpoint. What is going to be delivered anyway is left alone. The order is not kept.
#[utoipa::path(post, path = "/webhook-endpoints/{endpointId}/replay", tag = "webhooks", security(("bearer" = [])),
    params(("endpointId" = String, Path, description = "`whe_...`")), request_body = ReplayRequest, responses(
        (status = 202, description = "The replay has begun; the endpoint's `replay` shows its progress.", body = EndpointResponse),
        (status = 404, description = "No such endpoint of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The endpoint is disabled (`webhooks.endpoint_disabled`), or another replay is under way (`webhooks.replay_under_way`).", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn replay_to_endpoint(
    State(service): State<WebhookService>,
    owner: Owner,
    _: NoQuery,
    ApiPath(endpoint_id): ApiPath<String>,
    ApiJson(request): ApiJson<ReplayRequest, BODY_BYTES_MAX>,
) -> Result<(StatusCode, Json<EndpointResponse>), AppError> {
    let range = service.range(request.from.0, request.to.map(|to| to.0));
    let range = range
        .map_err(|RangeFault(field, message)| AppError::invalid(vec![FieldError::new(field, "range", message)]))?;
    let endpoint = service.replay(&owner, endpoint_id, range, request.only_failed).await?;
    Ok((StatusCode::ACCEPTED, Json(endpoint.into())))
}
