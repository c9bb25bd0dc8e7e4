//! Lets a person give up an order that needs attention, where asking the provider again leads nowhere.

use axum::{Json, extract::State};
use bson::doc;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    charging,
    commands::record,
    error::OrderError,
    jobs::settle_dead_create,
    model::{ORDERS, Order, OrderStatus, ProviderSyncStatus},
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, ErrorClass, record_event},
        auth::AsUser,
        kyc::identifiers::no_secrets,
        providers::StoredFailure,
        queue::JOBS,
    },
    platform::{
        batch::{Command, Key, Lane, View},
        error::{AppError, Problem},
        http::{ApiJson, ApiPath, NoQuery},
        identity::{Actor, Admin},
        ids::new_id,
        money::Money,
        text::lines,
    },
};

const BODY_BYTES_MAX: usize = 8 * 1024;

pub fn attention_router(lane: Lane) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(mark_failed)).with_state(lane)
}

/// `POST /orders/{orderId}/mark-failed`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MarkFailedRequest {
    /// The reason; it is recorded.
    #[serde(deserialize_with = "lines")]
    #[validate(length(min = 3, max = 300), custom(function = "harmless"))]
    #[schema(example = "The carrier has no record of it, by telephone.")]
    reason: String,
}

fn harmless(text: &str) -> Result<(), ValidationError> {
    no_secrets(text)
}

/// An order that came to nothing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FailedOrder {
    order_id: String,
    order_number: String,
    user_id: String,
    client_order_id: String,
    provider: String,
    status: OrderStatus,
    /// The charge that was given back.
    charge: Option<Money>,
}

/// Says that an order which needs attention came to nothing, and gives back what it cost.
struct MarkFailed {
    order_id: String,
    reason: String,
    actor: Actor,
    event_id: String,
}

impl Command for MarkFailed {
    type Reply = Result<Order, OrderError>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ORDERS, &*self.order_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mut order = view.by_id::<Order>(&self.order_id).ok_or(OrderError::NotFound)?;
        // Looked for together, because what is looked for one after the other is read one after the other.
        for key in charging::keys(&order).iter().chain([&Key::id(JOBS, &*order.job_id)]) {
            let _ = view.contains(key);
        }
        let was = order.status;
        // What the provider is known to have has not come to nothing: it is cancelled there.
        let under_way = order.open_call.is_some() || order.cancellation_pending() || order.reference.is_some();
        let status = next(was, OrderCommand::MarkFailed).filter(|_| !under_way);
        order.status = status.ok_or(OrderError::NotMarkable(was.as_str()))?;
        order.provider_sync_status = ProviderSyncStatus::Failed;
        order.failure = Some(StoredFailure {
            class: ErrorClass::Fatal,
            code: "orders.marked_failed".into(),
            message: "A person has decided that it came to nothing.".into(),
        });
        order.updated_at = view.now();
        order.claim_reference();
        let booked = charging::settle(view, &order, &self.event_id, &self.actor);
        // A provider's word is not forgotten for the books' sake; a person's can be said again.
        if !charging::is_settled_in(view, &order) {
            return Err(OrderError::NotSettled);
        }
        record(view, &self.event_id, "OrderFailed", &mut order, &self.actor, booked);
        view.update(&order);
        // Whoever runs all dead jobs again does not mean this one.
        settle_dead_create(view, &order);
        let told = |status: OrderStatus| doc! { "status": status.as_str() };
        let event = AuditEvent::new(
            AuditOutcome::Done,
            self.actor.clone(),
            "order.marked_failed",
            ("order", &*order.id),
            view.now(),
        );
        let event = event
            .with_id(self.event_id.replacen("evt_", "aud_", 1))
            .of_user(order.user_id.clone())
            .because(self.reason.clone())
            .before(told(was))
            .after(told(order.status));
        record_event(view, &event);
        Ok(order)
    }
}

/// Says that an order which needs attention came to nothing, with the reason, and gives back what it cost. To be called by who has made
/// sure of it: the provider is not asked. It is final; what the provider is known to have is cancelled instead.
#[utoipa::path(post, path = "/orders/{orderId}/mark-failed", tag = "orders", security(("bearer" = [])),
    params(("orderId" = String, Path, description = "`ord_...`")), request_body = MarkFailedRequest,
    responses(
        (status = 200, body = FailedOrder),
        (status = 404, description = "No such order.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`orders.not_markable`: it does not need attention, the provider has it, or something is under way. `orders.not_settled`: what it cost can't be given back as the books stand; nothing was changed.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is missing, or holds personal data or secrets.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn mark_failed(
    State(lane): State<Lane>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(order_id): ApiPath<String>,
    ApiJson(request): ApiJson<MarkFailedRequest, BODY_BYTES_MAX>,
) -> Result<Json<FailedOrder>, AppError> {
    let command = MarkFailed { order_id, reason: request.reason, actor: Actor::from(&user), event_id: new_id("evt") };
    let order = lane.submit(AsUser::new(&user, command)).await???;
    Ok(Json(FailedOrder {
        order_id: order.id,
        order_number: order.order_number,
        user_id: order.user_id,
        client_order_id: order.client_order_id,
        provider: order.provider,
        status: order.status,
        charge: order.charge,
    }))
}
