//! Notes of operators about orders. Staff see them beside the order and its jobs; the merchant does not.

use axum::{Json, extract::State};
use bson::doc;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    error::OrderError,
    model::{ORDERS, Order, OrderStatus},
};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, record_event},
        auth::AsUser,
        kyc::identifiers::no_secrets,
    },
    platform::{
        batch::{Command, Key, Lane, View},
        error::{AppError, Problem},
        http::{ApiJson, ApiPath, NoQuery},
        identity::{Actor, Admin},
        ids::new_id,
        text::lines,
    },
};

const BODY_BYTES_MAX: usize = 8 * 1024;

pub fn comment_router(lane: Lane) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(comment_order)).with_state(lane)
}

/// `PATCH /orders/{orderId}/comment`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CommentRequest {
    /// A note for staff; `null` removes it.
    #[serde(deserialize_with = "lines")]
    #[validate(length(max = 500), custom(function = "note"))]
    #[schema(example = "The registry wants another number; asked the client.")]
    comment: Option<String>,
}

/// An order with what an operator notes about it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CommentedOrder {
    order_id: String,
    order_number: String,
    user_id: String,
    client_order_id: String,
    provider: String,
    status: OrderStatus,
    comment: Option<String>,
}

fn note(text: &str) -> Result<(), ValidationError> {
    no_secrets(text)
}

/// Notes something about an order.
struct CommentOrder {
    order_id: String,
    comment: Option<String>,
    actor: Actor,
    event_id: String,
}

impl Command for CommentOrder {
    /// The order; none where there is no such.
    type Reply = Option<Order>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ORDERS, &*self.order_id)]
    }

    fn decide(&self, view: &mut View) -> Option<Order> {
        let mut order = view.by_id::<Order>(&self.order_id)?;
        if order.comment != self.comment {
            let had_comment = order.comment.is_some();
            order.comment.clone_from(&self.comment);
            view.update(&order);
            // That there is one, and no words: what is on record is kept for years.
            let told = |has: bool| doc! { "comment": has };
            let order_id = ("order", &*order.id);
            let event =
                AuditEvent::new(AuditOutcome::Done, self.actor.clone(), "order.commented", order_id, view.now())
                    .with_id(self.event_id.clone())
                    .of_user(order.user_id.clone())
                    .before(told(had_comment))
                    .after(told(order.comment.is_some()));
            record_event(view, &event);
        }
        Some(order)
    }
}

/// Notes something about an order, for staff. Safe to repeat.
#[utoipa::path(patch, path = "/orders/{orderId}/comment", tag = "orders", security(("bearer" = [])),
    params(("orderId" = String, Path, description = "`ord_...`")), request_body = CommentRequest,
    responses(
        (status = 200, body = CommentedOrder),
        (status = 404, description = "No such order.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The comment holds personal data or secrets.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn comment_order(
    State(lane): State<Lane>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(order_id): ApiPath<String>,
    ApiJson(request): ApiJson<CommentRequest, BODY_BYTES_MAX>,
) -> Result<Json<CommentedOrder>, AppError> {
    let comment = request.comment.filter(|comment| !comment.is_empty());
    let command = CommentOrder { order_id, comment, actor: Actor::from(&user), event_id: new_id("aud") };
    let order = lane.submit(AsUser::new(&user, command)).await??.ok_or(OrderError::NotFound)?;
    Ok(Json(CommentedOrder {
        order_id: order.id,
        order_number: order.order_number,
        user_id: order.user_id,
        client_order_id: order.client_order_id,
        provider: order.provider,
        status: order.status,
        comment: order.comment,
    }))
}
