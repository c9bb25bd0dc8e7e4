//! The shop: products, their stock, checkouts.

use axum::http::Method;

use crate::{
    modules::admin::{
        action::{Action, Kind},
        area::Area,
        page::{EVERYBODY, Get, Page},
    },
    platform::identity::Role,
};

const MERCHANT: &[Role] = &[Role::Merchant];
const STOCK: &[Role] = &[Role::Merchant, Role::Admin, Role::Auditor];

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("/products", "Products", "products.html", EVERYBODY)
            .nav("Shop", "Products")
            .get(Get::new("products", "/products?q&category&sellerId&cursor&limit=50")),
        Page::new("/products/{productId}", "Product {productId}", "product.html", EVERYBODY)
            .get(Get::new("product", "/products/{productId}"))
            .get(Get::new("movements", "/products/{productId}/movements?cursor&limit=50").optional().only(STOCK)),
        Page::new("/checkouts", "Checkouts", "checkouts.html", MERCHANT)
            .nav("Shop", "Checkouts")
            .get(Get::new("checkouts", "/checkouts?status&clientOrderId&cursor&limit=50")),
        Page::new("/checkouts/{checkoutId}", "Checkout {checkoutId}", "checkout.html", MERCHANT)
            .get(Get::new("checkout", "/checkouts/{checkoutId}")),
    ];
    let actions = vec![
        Action::new(
            "move-stock",
            Method::POST,
            "/products/{productId}/stock",
            MERCHANT,
            "There are {answer.stockAfter} in stock.",
        )
        .field("delta", Kind::Number)
        .field("kind", Kind::Text)
        .field("reason", Kind::Text)
        .field("clientReference", Kind::Text),
        Action::new("set-product-status", Method::PATCH, "/products/{productId}", MERCHANT, "The product is {status}.")
            .field("status", Kind::Text)
            .question("Make {productId} {status}?"),
        Action::new(
            "cancel-checkout",
            Method::POST,
            "/checkout/cancel",
            MERCHANT,
            "{clientOrderId} is being cancelled.",
        )
        .field("clientOrderId", Kind::Text)
        .asking("reason", "Why")
        .question("Cancel {clientOrderId}?"),
        Action::new(
            "fulfil-checkout",
            Method::POST,
            "/checkouts/{checkoutId}/fulfil",
            MERCHANT,
            "What came to nothing is sent again.",
        )
        .question("Send what came to nothing again?"),
    ];
    let templates = templates!["products.html", "product.html", "checkouts.html", "checkout.html"];
    Area { pages, actions, downloads: Vec::new(), templates }
}
