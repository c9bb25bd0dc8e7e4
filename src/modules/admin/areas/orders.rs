//! Orders, their stories, and those that wait for a person.

use axum::http::Method;

use crate::{
    modules::admin::{
        action::{Action, Kind},
        area::Area,
        page::{Get, Page},
    },
    platform::identity::Role,
};

const ADMIN: &[Role] = &[Role::Admin];
const READERS: &[Role] = &[Role::Admin, Role::Auditor];

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("/orders", "Orders", "orders.html", READERS)
            .nav("Work", "Orders")
            .get(Get::new("orders", "/audit/orders?status&userId&clientOrderId&provider&from&to&cursor&limit=50")),
        Page::new("/attention", "Needs attention", "attention.html", READERS)
            .nav("Work", "Needs attention")
            .get(Get::new("orders", "/audit/orders?status=needs_attention&cursor&limit=50")),
        Page::new("/orders/{orderId}", "Order", "order.html", READERS)
            .get(Get::new("story", "/audit/orders/{orderId}"))
            .get(Get::new("exchanges", "/audit/orders/{orderId}/exchanges").optional())
            .get(Get::new("job", "/queues/jobs/{story.jobId}").only(ADMIN).optional()),
    ];
    let actions = vec![
        Action::new("retry-order", Method::POST, "/orders/{orderId}/retry", ADMIN, "{answer.orderId} is tried again by {answer.jobId}.")
            .question("Try {orderId} again? Where an earlier call may have been carried out the order is looked up first, and sent only where the provider surely does not have it.")
            .asking("reason", "Why"),
        Action::new("mark-failed", Method::POST, "/orders/{orderId}/mark-failed", ADMIN, "{answer.orderId} has failed, and what it cost went back.")
            .question("Say that {orderId} came to nothing? What it cost goes back to the merchant. Make sure with the provider first: nobody asks it here.")
            .asking("reason", "Why, and how you have made sure"),
        Action::new("comment-order", Method::PATCH, "/orders/{orderId}/comment", ADMIN, "The note is kept.")
            .field("comment", Kind::Nullable),
    ];
    Area { pages, actions, downloads: Vec::new(), templates: templates!["orders.html", "attention.html", "order.html"] }
}
