//! The route on which gateways call back. No token: the signature over the raw body says who it is.

use axum::{Extension, Json, extract::State, http::HeaderMap};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::service::{CallbackSender, TopupService};
use crate::platform::{
    error::{AppError, Problem},
    http::{ApiPath, ClientAddr, NoQuery, RawBody, RequestId},
};

/// Largest callback: a gateway's event is below a kilobyte.
const CALLBACK_BYTES_MAX: usize = 64 * 1024;

pub fn router(service: TopupService) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(take_callback)).with_state(service)
}

/// A callback that is written down.
#[derive(Debug, Serialize, ToSchema)]
struct CallbackResponse {
    /// Always true; there is no need to send it again.
    received: bool,
}

/// Takes what a payment gateway tells: who it is, says its signature over the raw body. Safe to repeat.
#[utoipa::path(post, path = "/webhooks/payments/{provider}", tag = "webhooks", security(("payment_signature" = [])),
    params(("provider" = String, Path, description = "The gateway's name, as in top-ups.")),
    request_body(content = Object, content_type = "application/json", description = "The gateway's callback; at most 64 KiB."),
    responses(
        (status = 200, description = "Written down, now or before.", body = CallbackResponse),
        (status = 401, description = "Not signed, not by the gateway, or not just now.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such gateway, or no such payment.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "More than 64 KiB.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Signed, but not readable.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Send it again.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn take_callback(
    State(service): State<TopupService>,
    ApiPath(provider): ApiPath<String>,
    _: NoQuery,
    address: Option<Extension<ClientAddr>>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: RawBody<CALLBACK_BYTES_MAX>,
) -> Result<Json<CallbackResponse>, AppError> {
    let RawBody(body) = body;
    let signature = headers.get(service.signature_header()).and_then(|value| value.to_str().ok());
    let sender = CallbackSender {
        address: address.map(|Extension(ClientAddr(address))| address.to_string()),
        request_id: request_id.0.to_string(),
    };
    service.take_callback(&provider, signature, &body, sender).await?;
    Ok(Json(CallbackResponse { received: true }))
}
