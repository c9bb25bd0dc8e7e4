//! The description of the API is the API.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use waybill::modules::providers::registry::PROVIDERS;

use crate::support::{TestApp, drive::set, orders};

/// Every route there is, but for the description itself and `/metrics`, and whether it takes a token.
pub const ROUTES: &[(&str, &str, bool)] = &[
    ("post", "/auth/register", false),
    ("post", "/auth/login", false),
    ("post", "/auth/refresh", false),
    ("post", "/auth/logout", false),
    ("post", "/auth/password", true),
    ("post", "/auth/password/forgot", false),
    ("get", "/auth/password/reset", false),
    ("post", "/auth/password/reset", false),
    ("get", "/auth/email/verify", false),
    ("post", "/auth/email/verify", false),
    ("post", "/auth/email/send-verification", true),
    ("get", "/auth/me/mail", true),
    ("put", "/auth/me/mail", true),
    ("get", "/unsubscribe", false),
    ("post", "/unsubscribe", false),
    ("get", "/auth/me", true),
    ("patch", "/auth/me", true),
    ("post", "/auth/api-keys", true),
    ("get", "/auth/api-keys", true),
    ("delete", "/auth/api-keys/{keyId}", true),
    ("post", "/auth/totp", true),
    ("delete", "/auth/totp", true),
    ("post", "/auth/totp/confirm", true),
    ("post", "/auth/totp/recovery-codes", true),
    ("get", "/users", true),
    ("get", "/users/{userId}", true),
    ("patch", "/users/{userId}", true),
    ("post", "/users/{userId}/end-sessions", true),
    ("post", "/users/{userId}/reset-password", true),
    ("delete", "/users/{userId}/totp", true),
    ("get", "/users/{userId}/api-keys", true),
    ("delete", "/users/{userId}/api-keys/{keyId}", true),
    ("post", "/orders/create", true),
    ("post", "/orders/cancel", true),
    ("get", "/orders", true),
    ("get", "/orders/{orderId}", true),
    ("get", "/orders/{orderId}/timeline", true),
    ("get", "/orders/{orderId}/files", true),
    ("get", "/orders/{orderId}/files/{fileId}", true),
    ("patch", "/orders/{orderId}/comment", true),
    ("post", "/orders/{orderId}/mark-failed", true),
    ("post", "/orders/{orderId}/retry", true),
    ("get", "/audit/orders", true),
    ("get", "/search", true),
    ("get", "/overview", true),
    ("get", "/audit/orders/{orderId}/exchanges", true),
    ("get", "/rates", true),
    ("get", "/wallet", true),
    ("get", "/wallet/ledger", true),
    ("get", "/wallet/statement", true),
    ("get", "/finance/ledger", true),
    ("get", "/finance/ledger/export", true),
    ("get", "/finance/trial-balance", true),
    ("post", "/wallet/topups", true),
    ("get", "/wallet/topups", true),
    ("get", "/wallet/topups/{topupId}", true),
    ("post", "/webhooks/payments/{provider}", true),
    ("get", "/finance/wallets/{userId}", true),
    ("post", "/finance/transactions", true),
    ("get", "/finance/transactions/{transactionId}", true),
    ("post", "/finance/transactions/{transactionId}/reverse", true),
    ("get", "/finance/reconciliation", true),
    ("get", "/kyc", true),
    ("put", "/kyc", true),
    ("get", "/kyc/documents", true),
    ("post", "/kyc/documents", true),
    ("get", "/kyc/documents/{documentId}", true),
    ("delete", "/kyc/documents/{documentId}", true),
    ("post", "/kyc/submit", true),
    ("post", "/kyc/erasure", true),
    ("get", "/kyc/applications", true),
    ("get", "/kyc/applications/{userId}", true),
    ("post", "/kyc/applications/{userId}/decision", true),
    ("post", "/kyc/applications/{userId}/erasure", true),
    ("get", "/audit/provider-requests", true),
    ("get", "/audit/provider-requests/{requestRefId}", true),
    ("get", "/audit/provider-responses/{responseRefId}", true),
    ("get", "/audit/orders/{orderId}", true),
    ("get", "/audit/events", true),
    ("get", "/audit/legal-holds", true),
    ("post", "/audit/legal-holds", true),
    ("delete", "/audit/legal-holds/{holdId}", true),
    ("get", "/audit/redaction-policy", true),
    ("get", "/audit/seals", true),
    ("get", "/audit/proofs/{recordId}", true),
    ("get", "/.well-known/waybill-audit-keys", false),
    ("get", "/audit/export", true),
    ("get", "/audit/verification", true),
    ("post", "/provider-accounts", true),
    ("get", "/provider-accounts", true),
    ("get", "/provider-accounts/{accountId}", true),
    ("put", "/provider-accounts/{accountId}", true),
    ("delete", "/provider-accounts/{accountId}", true),
    ("post", "/provider-accounts/{accountId}/activate", true),
    ("post", "/provider-accounts/{accountId}/test", true),
    ("get", "/events/stats", true),
    ("get", "/analytics/daily", true),
    ("get", "/analytics/earnings", true),
    ("post", "/webhook-endpoints", true),
    ("get", "/webhook-endpoints", true),
    ("get", "/webhook-endpoints/{endpointId}", true),
    ("patch", "/webhook-endpoints/{endpointId}", true),
    ("delete", "/webhook-endpoints/{endpointId}", true),
    ("post", "/webhook-endpoints/{endpointId}/rotate-secret", true),
    ("post", "/webhook-endpoints/{endpointId}/test", true),
    ("post", "/webhook-endpoints/{endpointId}/replay", true),
    ("get", "/webhook-deliveries", true),
    ("get", "/webhook-deliveries/{deliveryId}", true),
    ("post", "/webhook-deliveries/{deliveryId}/retry", true),
    ("get", "/webhook-events", true),
    ("post", "/products", true),
    ("get", "/products", true),
    ("get", "/products/categories", true),
    ("get", "/products/{productId}", true),
    ("patch", "/products/{productId}", true),
    ("post", "/products/{productId}/stock", true),
    ("get", "/products/{productId}/movements", true),
    ("post", "/checkout", true),
    ("post", "/checkout/cancel", true),
    ("get", "/checkouts", true),
    ("get", "/checkouts/{checkoutId}", true),
    ("get", "/recommendations", true),
    ("get", "/customers/me", true),
    ("put", "/customers/me", true),
    ("post", "/checkouts/{checkoutId}/fulfil", true),
    ("get", "/fulfilment", true),
    ("put", "/fulfilment", true),
    ("get", "/queues", true),
    ("get", "/queues/{queue}/jobs", true),
    ("get", "/queues/jobs/{jobId}", true),
    ("delete", "/queues/jobs/{jobId}", true),
    ("post", "/queues/jobs/{jobId}/retry", true),
    ("post", "/queues/{queue}/pause", true),
    ("post", "/queues/{queue}/resume", true),
    ("post", "/queues/{queue}/retry-dead", true),
    ("post", "/queues/{queue}/delete-dead", true),
    ("get", "/queues/{queue}/dead-count", true),
    ("get", "/queues/{queue}/pace", true),
    ("get", "/queues/{queue}", true),
    ("get", "/queues/pace", true),
    ("get", "/queues/pulse", true),
    ("post", "/tenants", true),
    ("get", "/tenants", true),
    ("get", "/tenants/{tenantId}", true),
    ("patch", "/tenants/{tenantId}", true),
    ("get", "/tenants/{tenantId}/members", true),
    ("put", "/tenants/{tenantId}/members/{userId}", true),
    ("delete", "/tenants/{tenantId}/members/{userId}", true),
    ("get", "/tenants/{tenantId}/members/{userId}/wallet", true),
    ("get", "/tenants/{tenantId}/orders", true),
    ("get", "/alerts", true),
    ("get", "/schedules", true),
    ("get", "/schedules/{name}/runs", true),
    ("post", "/schedules/{name}/run", true),
    ("post", "/schedules/{name}/pause", true),
    ("post", "/schedules/{name}/resume", true),
    ("get", "/healthz", false),
    ("get", "/readyz", false),
];

async fn description(app: &TestApp) -> Value {
    let answer = app.request(Method::GET, "/openapi.json", None, None).await.expect(200);
    assert_eq!(answer.headers["content-type"], "application/json");
    answer.body
}

/// Operations of the description, as (method, path, operation).
fn operations(openapi: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in openapi["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    operations
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let app = TestApp::start().await;
    let openapi = description(&app).await;
    let described: BTreeSet<_> =
        operations(&openapi).into_iter().map(|(method, path, op)| (method, path, op["security"].is_array())).collect();
    let expected: BTreeSet<_> =
        ROUTES.iter().map(|(method, path, secured)| ((*method).to_owned(), (*path).to_owned(), *secured)).collect();
    let missing: Vec<_> = expected.difference(&described).collect();
    let unexpected: Vec<_> = described.difference(&expected).collect();
    assert!(missing.is_empty() && unexpected.is_empty(), "not described: {missing:?}; not expected: {unexpected:?}");
    app.finish().await;
}

#[tokio::test]
async fn what_is_described_is_there_and_guarded_as_described() {
    let app = TestApp::start().await;
    for (method, path, operation) in operations(&description(&app).await) {
        let url = path
            .replace("{orderId}", "ord_1")
            .replace("{jobId}", "job_1")
            .replace("{queue}", "parcelx-orders-queue")
            .replace("{provider}", "paygate");
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let answer = app.send(method.clone(), &url, None, None, "").await;
        let status = answer.status.as_u16();
        assert!(!matches!(status, 404 | 405), "{method} {path}: {status}");
        assert_eq!(status == 401, operation["security"].is_array(), "{method} {path}: {status}");
        if status >= 400 {
            answer.expect(status);
        }
    }
    app.finish().await;
}

/// What `value` refers to, or itself.
fn referred<'a>(openapi: &'a Value, value: &'a Value) -> &'a Value {
    value["$ref"].as_str().map_or(value, |reference| openapi.pointer(reference.trim_start_matches('#')).unwrap())
}

/// Every `$ref` within.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(entries) => entries.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_description_is_complete_in_itself() {
    let app = TestApp::start().await;
    let openapi = description(&app).await;
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(openapi["info"]["title"], "Waybill");
    assert_eq!(openapi["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let mut refs = BTreeSet::new();
    references(&openapi, &mut refs);
    assert!(!refs.is_empty());
    for reference in refs {
        let pointer = reference.strip_prefix('#').expect("all references are local");
        assert!(openapi.pointer(pointer).is_some(), "{reference} leads nowhere");
    }

    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&openapi) {
        let what = format!("{method} {path}");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{what} has no summary");
        assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{what} has no tag");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{what}: its operation id is not its own"
        );
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{what} never succeeds");
        for (status, response) in responses {
            let content = referred(&openapi, response)["content"].as_object();
            if status.starts_with(['4', '5']) {
                let content = content.unwrap_or_else(|| panic!("{what} {status} has no content"));
                assert!(content.contains_key("application/problem+json"), "{what} {status} is no problem");
            } else if status != "204" {
                // What is streamed has a line for each entry; a document is whatever somebody has uploaded.
                let expected = match path.as_str() {
                    "/kyc/documents/{documentId}" | "/orders/{orderId}/files/{fileId}" => "application/octet-stream",
                    path if path.ends_with("/export") => "application/x-ndjson",
                    "/auth/password/reset" | "/auth/email/verify" | "/unsubscribe" => "text/html",
                    _ => "application/json",
                };
                assert!(
                    content.is_some_and(|content| content.contains_key(expected)),
                    "{what} {status} has no content"
                );
            }
        }
        let in_path: BTreeSet<_> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let described: BTreeSet<_> =
            parameters.iter().filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(described, in_path, "{what}");
    }
    app.finish().await;
}

/// The detail objects of all kinds of providers.
const DETAILS: [&str; 3] = ["shipment", "sale", "extract"];

/// Names of properties, those of the parts of a schema included.
fn properties<'a>(openapi: &'a Value, schema: &'a Value, found: &mut BTreeSet<&'a String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let named = openapi.pointer(reference.trim_start_matches('#')).unwrap();
        return properties(openapi, named, found);
    }
    found.extend(schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys()));
    for parts in [&schema["allOf"], &schema["oneOf"]] {
        parts.as_array().into_iter().flatten().for_each(|part| properties(openapi, part, found));
    }
}

/// A client needs no second look to know what an order for a provider has to hold.
#[tokio::test]
async fn an_order_to_create_is_described_by_provider() {
    let app = TestApp::start().await;
    let openapi = description(&app).await;
    let shapes = openapi["components"]["schemas"]["CreateOrderRequest"]["oneOf"].as_array().unwrap();
    assert_eq!(shapes.len(), PROVIDERS.len());
    for (shape, provider) in shapes.iter().zip(PROVIDERS) {
        let detail = provider.kind.detail_name();
        assert_eq!(shape["properties"]["provider"]["enum"], json!([provider.name]));
        assert!(shape["required"].as_array().unwrap().contains(&json!(detail)), "{shape}");
        let reference = shape["properties"][detail]["$ref"].as_str().unwrap();
        assert!(openapi.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    app.finish().await;
}

#[tokio::test]
async fn an_order_is_described_field_by_field() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.confirmed(&user, "c-1").await;
    let openapi = description(&app).await;
    let answered = app.order(&user, &order_id).await;
    let mut sale = orders::sale("s-1");
    sale["sale"]["shippingAddress"] = sale["sale"]["billingAddress"].clone();
    let sold = app.post(&user, "/orders/create", &sale).await.expect(201).body;
    app.run_jobs().await;
    for (schema, value) in [
        ("OrderResponse", &sold),
        ("SaleResponse", &sold["sale"]),
        ("CustomerResponse", &sold["sale"]["customer"]),
        ("SaleAddressResponse", &sold["sale"]["shippingAddress"]),
        ("SaleLineResponse", &sold["sale"]["lines"][0]),
        ("OrderResponse", &answered),
        ("ShipmentResponse", &answered["shipment"]),
        ("PartyResponse", &answered["shipment"]["pickup"]),
        ("ItemResponse", &answered["shipment"]["items"][0]),
    ] {
        let mut described = BTreeSet::new();
        properties(&openapi, &openapi["components"]["schemas"][schema], &mut described);
        // Of the detail objects an order has one.
        described.retain(|name| value.get(*name).is_some() || !DETAILS.contains(&name.as_str()));
        let there: BTreeSet<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(described, there, "{schema}: null, never absent");
    }
    app.finish().await;
}

/// What `schema` stands for: what it refers to, or the part of it that is not null.
fn resolved<'a>(openapi: &'a Value, schema: &'a Value) -> &'a Value {
    let parts = schema["oneOf"].as_array().into_iter().flatten();
    match (schema["$ref"].as_str(), parts.into_iter().find(|part| part["type"] != "null")) {
        (Some(reference), _) => openapi.pointer(reference.trim_start_matches('#')).unwrap(),
        (None, Some(part)) => resolved(openapi, part),
        (None, None) => schema,
    }
}

/// Texts in `body` that have no form of their own, with how long they may be.
fn texts(openapi: &Value, schema: &Value, body: &Value, at: &str, found: &mut Vec<(String, Option<usize>)>) {
    let schema = resolved(openapi, schema);
    match body {
        Value::Object(fields) => {
            for (name, value) in fields {
                texts(openapi, &schema["properties"][name], value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(entries) => {
            for (index, value) in entries.iter().enumerate() {
                texts(openapi, &schema["items"], value, &format!("{at}/{index}"), found);
            }
        }
        Value::String(_) if ["enum", "pattern", "format"].iter().all(|form| schema.get(form).is_none()) => {
            found.push((at.to_owned(), schema["maxLength"].as_u64().map(|max| max as usize)));
        }
        _ => {}
    }
}

#[tokio::test]
async fn how_long_texts_of_an_order_may_be_is_described() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let openapi = description(&app).await;
    let shapes = openapi["components"]["schemas"]["CreateOrderRequest"]["oneOf"].as_array().unwrap();
    for body in [orders::order("c-1"), orders::sale("s-1")] {
        let shape = shapes.iter().find(|shape| shape["properties"]["provider"]["enum"][0] == body["provider"]).unwrap();
        let mut found = Vec::new();
        texts(&openapi, shape, &body, "", &mut found);
        assert!(found.len() > 8, "{found:?}");
        for (pointer, max) in found {
            let mut longer = body.clone();
            set(&mut longer, &pointer, json!("x".repeat(max.unwrap_or_else(|| panic!("{pointer} has no end")) + 1)));
            let blamed = app.post(&user, "/orders/create", &longer).await.expect(422).blamed();
            let field = pointer[1..].replace('/', ".").replace(".0", "[0]").replace(".1", "[1]");
            assert!(blamed.iter().all(|blamed| blamed.starts_with(&format!("{field}:"))), "{pointer}: {blamed:?}");
        }
    }
    app.finish().await;
}
