//! The role x route matrix of docs/access.md, walked: every described route with every role.

use reqwest::Method;
use waybill::platform::identity::Role;

use crate::support::TestApp;

const ALL: &[Role] = &[Role::Merchant, Role::Finance, Role::Auditor, Role::Admin, Role::Manager, Role::Customer];

/// Who may use the route; `None` where no token is needed. The longest matching prefix counts; a row with a method is for
/// that method only and counts before one without.
const MATRIX: &[(&str, Option<&[Role]>)] = &[
    ("/healthz", None),
    ("/readyz", None),
    ("/auth/register", None),
    ("/auth/login", None),
    ("/auth/refresh", None),
    ("/auth/logout", None),
    ("/auth/me", Some(ALL)),
    ("/auth/api-keys", Some(ALL)),
    ("/auth/totp", Some(ALL)),
    ("/auth/password", Some(ALL)),
    ("/auth/password/forgot", None),
    ("/auth/password/reset", None),
    ("/auth/email/verify", None),
    ("/auth/email/send-verification", Some(ALL)),
    ("/unsubscribe", None),
    ("/users", Some(&[Role::Admin])),
    ("/rates", Some(ALL)),
    ("/orders", Some(&[Role::Merchant])),
    ("GET /orders/{orderId}/files", Some(&[Role::Merchant, Role::Auditor, Role::Admin])),
    ("PATCH /orders", Some(&[Role::Admin])),
    ("POST /orders/{orderId}/mark-failed", Some(&[Role::Admin])),
    ("POST /orders/{orderId}/retry", Some(&[Role::Admin])),
    ("/wallet", Some(&[Role::Merchant, Role::Customer])),
    ("/wallet/topups", Some(&[Role::Merchant, Role::Customer])),
    ("/webhooks/payments", None),
    ("/finance", Some(&[Role::Finance, Role::Auditor])),
    ("POST /finance", Some(&[Role::Finance])),
    ("/kyc", Some(&[Role::Merchant])),
    ("GET /kyc/documents/{documentId}", Some(&[Role::Merchant, Role::Admin])),
    ("GET /kyc/applications", Some(&[Role::Auditor, Role::Admin])),
    ("POST /kyc/applications", Some(&[Role::Admin])),
    ("/audit", Some(&[Role::Auditor, Role::Admin])),
    ("POST /audit", Some(&[Role::Admin])),
    ("DELETE /audit", Some(&[Role::Admin])),
    ("/.well-known/waybill-audit-keys", None),
    ("/provider-accounts", Some(&[Role::Auditor, Role::Admin])),
    ("POST /provider-accounts", Some(&[Role::Admin])),
    ("PUT /provider-accounts", Some(&[Role::Admin])),
    ("DELETE /provider-accounts", Some(&[Role::Admin])),
    ("/webhook-endpoints", Some(&[Role::Merchant, Role::Manager])),
    ("/webhook-deliveries", Some(&[Role::Merchant, Role::Manager])),
    ("/webhook-events", Some(&[Role::Merchant, Role::Manager])),
    ("/products", Some(ALL)),
    ("POST /products", Some(&[Role::Merchant])),
    ("PATCH /products", Some(&[Role::Merchant])),
    ("GET /products/{productId}/movements", Some(&[Role::Merchant, Role::Auditor, Role::Admin])),
    ("/checkout", Some(&[Role::Merchant, Role::Customer])),
    ("/recommendations", Some(&[Role::Customer])),
    ("/customers", Some(&[Role::Customer])),
    ("POST /checkouts/{checkoutId}/fulfil", Some(&[Role::Merchant])),
    ("/fulfilment", Some(&[Role::Merchant])),
    ("/queues", Some(&[Role::Admin])),
    ("/schedules", Some(&[Role::Admin])),
    ("/alerts", Some(&[Role::Admin])),
    ("/tenants", Some(&[Role::Admin, Role::Manager])),
    ("POST /tenants", Some(&[Role::Admin])),
    ("PATCH /tenants", Some(&[Role::Admin])),
    ("PUT /tenants", Some(&[Role::Admin])),
    ("DELETE /tenants", Some(&[Role::Admin])),
    ("/events", Some(&[Role::Admin])),
    ("/overview", Some(&[Role::Auditor, Role::Admin])),
    ("/search", Some(ALL)),
    ("/analytics", Some(&[Role::Merchant, Role::Finance, Role::Admin, Role::Manager])),
];

/// Method, if the row has one, and prefix.
fn method_and_prefix(row: &str) -> (Option<&str>, &str) {
    row.split_once(' ').map_or((None, row), |(method, prefix)| (Some(method), prefix))
}

/// The row that decides about a route.
pub fn rule(method: &Method, path: &str) -> Option<Option<&'static [Role]>> {
    let rows = MATRIX.iter().filter_map(|(row, allowed)| {
        let (only, prefix) = method_and_prefix(row);
        let applies = path.starts_with(prefix) && only.is_none_or(|only| only == method.as_str());
        applies.then_some(((prefix.len(), only.is_some()), *allowed))
    });
    rows.max_by_key(|(weight, _)| *weight).map(|(_, allowed)| allowed)
}

#[tokio::test]
async fn every_route_lets_in_exactly_the_roles_of_the_matrix() {
    let app = TestApp::start().await;
    let mut users = Vec::new();
    for role in ALL {
        users.push((*role, app.user(*role).await));
    }
    let description = app.request(Method::GET, "/openapi.json", None, None).await.expect(200).body;
    let mut walked = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        let concrete = path.replace("{queue}", "parcelx-orders-queue").replace(['{', '}'], "");
        for method in operations.as_object().unwrap().keys() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            let allowed = rule(&method, path).unwrap_or_else(|| panic!("{method} {path} is in no row of the matrix"));
            walked += 1;
            let anonymous = app.request(method.clone(), &concrete, None, None).await.status.as_u16();
            assert_eq!(anonymous == 401, allowed.is_some(), "{method} {path} without a token: {anonymous}");
            for (role, user) in &users {
                let status = app.request(method.clone(), &concrete, Some(&user.token), None).await.status.as_u16();
                let may = allowed.is_none_or(|roles| roles.contains(role));
                assert_eq!(status != 403, may, "{method} {path} as {}: {status}", role.as_str());
                assert_ne!(status, 401, "{method} {path} as {}", role.as_str());
                assert!(status < 500, "{method} {path} as {}: {status}", role.as_str());
            }
        }
    }
    assert!(walked >= 20, "only {walked} routes were walked");
    app.finish().await;
}

#[test]
fn the_matrix_is_the_one_in_docs() {
    let page = include_str!("../../docs/access.md").split("## Roles and routes").nth(1).unwrap();
    for (name, allowed) in MATRIX {
        let row = page
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`{name}")))
            .unwrap_or_else(|| panic!("{name} has no row in docs/access.md"));
        let cells: Vec<&str> = row.split('|').map(str::trim).skip(2).collect();
        for (column, role) in [None].into_iter().chain(ALL.iter().map(Some)).enumerate() {
            let may = role.map_or(allowed.is_none(), |role| allowed.is_none_or(|roles| roles.contains(role)));
            assert_eq!(!cells[column].is_empty(), may, "{name}, column {column} in: {row}");
        }
    }
}
