//! Pages of the user's own: a merchant's orders, wallet, keys, webhooks, letters; everybody's second factor.

use axum::http::Method;

use crate::{
    modules::admin::{
        action::{Action, Kind},
        area::{Area, Download},
        page::{Get, Page},
    },
    platform::identity::Role,
};

const MERCHANT: &[Role] = &[Role::Merchant];
/// Merchants' own, and managers' for their tenant.
const OWNERS: &[Role] = &[Role::Merchant, Role::Manager];
/// Everybody who has pages.
const ALL: &[Role] = &[Role::Merchant, Role::Manager, Role::Finance, Role::Auditor, Role::Admin];

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("/my/orders", "My orders", "my-orders.html", MERCHANT)
            .nav("Mine", "Orders")
            .get(Get::new("orders", "/orders?status&provider&clientOrderId&from&to&cursor&limit=50")),
        Page::new("/my/orders/{orderId}", "Order {orderId}", "my-order.html", MERCHANT)
            .get(Get::new("order", "/orders/{orderId}"))
            .get(Get::new("timeline", "/orders/{orderId}/timeline")),
        Page::new("/my/wallet", "My wallet", "my-wallet.html", MERCHANT)
            .nav("Mine", "Wallet")
            .get(Get::new("wallet", "/wallet?currency"))
            .get(Get::new("ledger", "/wallet/ledger?currency&kind&from&to&cursor&limit=50"))
            .get(Get::new("topups", "/wallet/topups?limit=10").optional()),
        Page::new("/my/verification", "Verification", "my-verification.html", MERCHANT)
            .nav("Mine", "Verification")
            .get(Get::new("application", "/kyc")),
        Page::new("/my/letters", "Letters", "my-letters.html", OWNERS)
            .nav("Mine", "Letters")
            .get(Get::new("wanted", "/auth/me/mail")),
        Page::new("/my/keys", "API keys", "my-keys.html", OWNERS)
            .nav("Mine", "API keys")
            .get(Get::new("keys", "/auth/api-keys"))
            .get(Get::new("me", "/auth/me")),
        Page::new("/my/second-factor", "Second factor", "second-factor.html", ALL).nav("Mine", "Second factor"),
        Page::new("/webhooks", "Webhooks", "webhooks.html", OWNERS)
            .nav("Mine", "Webhooks")
            .get(Get::new("endpoints", "/webhook-endpoints")),
        Page::new("/webhooks/{endpointId}", "Endpoint {endpointId}", "webhook.html", OWNERS)
            .get(Get::new("endpoint", "/webhook-endpoints/{endpointId}"))
            .get(Get::new("deliveries", "/webhook-deliveries?endpointId={endpointId}&status&cursor&limit=50")),
        Page::new("/webhooks/deliveries/{deliveryId}", "Delivery {deliveryId}", "delivery.html", OWNERS)
            .get(Get::new("delivery", "/webhook-deliveries/{deliveryId}")),
    ];
    let endpoint = |name, method, path, done| Action::new(name, method, path, OWNERS, done);
    let actions = vec![
        Action::new("cancel-order", Method::POST, "/orders/cancel", MERCHANT, "{clientOrderId} is being cancelled.")
            .field("clientOrderId", Kind::Text)
            .asking("reason", "Why")
            .question("Cancel {clientOrderId}?"),
        Action::new("keep-letters", Method::PUT, "/auth/me/mail", OWNERS, "Your wishes are kept.")
            .field("orders", Kind::Flag)
            .field("payments", Kind::Flag)
            .field("kyc", Kind::Flag)
            .field("webhooks", Kind::Flag)
            .field("sales", Kind::Flag)
            .field("stock", Kind::Flag)
            .field("reports", Kind::Flag),
        Action::new("create-key", Method::POST, "/auth/api-keys", OWNERS, "The key is there.")
            .field("name", Kind::Text)
            .field("scopes", Kind::Lines)
            .field("expiresAt", Kind::Text)
            .field("currentPassword", Kind::Typed)
            .field("code", Kind::Text)
            .shows("secret.html"),
        Action::new("revoke-key", Method::DELETE, "/auth/api-keys/{keyId}", OWNERS, "The key opens nothing any more.")
            .question("Revoke this key? What uses it is turned away within seconds."),
        Action::new("begin-totp", Method::POST, "/auth/totp", ALL, "Put this into your authenticator")
            .field("currentPassword", Kind::Typed)
            .shows("totp.html"),
        Action::new("confirm-totp", Method::POST, "/auth/totp/confirm", ALL, "Your second factor is on")
            .field("code", Kind::Text)
            .shows("recovery-codes.html"),
        Action::new("renew-codes", Method::POST, "/auth/totp/recovery-codes", ALL, "Your recovery codes")
            .field("currentPassword", Kind::Typed)
            .field("code", Kind::Text)
            .shows("recovery-codes.html"),
        Action::new("remove-totp", Method::DELETE, "/auth/totp", ALL, "Your second factor is off.")
            .field("currentPassword", Kind::Typed)
            .field("code", Kind::Text),
        endpoint("create-endpoint", Method::POST, "/webhook-endpoints", "The endpoint is there.")
            .field("url", Kind::Text)
            .field("description", Kind::Text)
            .field("types", Kind::Lines)
            .shows("secret.html"),
        endpoint(
            "rotate-secret",
            Method::POST,
            "/webhook-endpoints/{endpointId}/rotate-secret",
            "There is a new secret; the one before signs too for a day.",
        )
        .field("graceHours", Kind::Number)
        .question("Make a new secret? The one before signs too, for a day.")
        .shows("secret.html"),
        endpoint("test-endpoint", Method::POST, "/webhook-endpoints/{endpointId}/test", "A test is on its way."),
        endpoint("set-endpoint-status", Method::PATCH, "/webhook-endpoints/{endpointId}", "The endpoint is {status}.")
            .field("status", Kind::Text),
        endpoint("delete-endpoint", Method::DELETE, "/webhook-endpoints/{endpointId}", "The endpoint is gone.")
            .question("Delete this endpoint? What waits for it is not posted.")
            .then("/webhooks"),
        endpoint(
            "replay-endpoint",
            Method::POST,
            "/webhook-endpoints/{endpointId}/replay",
            "What happened is posted again.",
        )
        .field("from", Kind::Text)
        .field("onlyFailed", Kind::Flag)
        .question("Post everything since {from} again?"),
        endpoint(
            "retry-delivery",
            Method::POST,
            "/webhook-deliveries/{deliveryId}/retry",
            "{deliveryId} is made again.",
        ),
    ];
    let downloads =
        vec![Download { name: "statement", path: "/wallet/statement?currency&from&to&format=csv", roles: MERCHANT }];
    let templates = templates![
        "my-orders.html",
        "my-order.html",
        "my-wallet.html",
        "my-verification.html",
        "my-keys.html",
        "my-letters.html",
        "webhooks.html",
        "webhook.html",
        "delivery.html",
        "secret.html",
        "second-factor.html",
        "totp.html",
        "recovery-codes.html",
    ];
    Area { pages, actions, downloads, templates }
}
