//! Users who belong together.

use axum::http::Method;

use crate::{
    modules::admin::{
        action::{Action, Kind},
        area::Area,
        page::{Get, Page},
    },
    platform::identity::Role,
};

const READERS: &[Role] = &[Role::Admin, Role::Manager];
const ADMIN: &[Role] = &[Role::Admin];

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("/tenants", "Tenants", "tenants.html", READERS)
            .nav("People", "Tenants")
            .get(Get::new("tenants", "/tenants?cursor&limit=50")),
        Page::new("/tenants/{tenantId}", "Tenant {tenantId}", "tenant.html", READERS)
            .get(Get::new("tenant", "/tenants/{tenantId}"))
            .get(Get::new("members", "/tenants/{tenantId}/members?cursor&limit=50"))
            .get(Get::new("orders", "/tenants/{tenantId}/orders?limit=20").optional()),
    ];
    let actions = vec![
        Action::new("create-tenant", Method::POST, "/tenants", ADMIN, "{answer.name} is there.")
            .field("name", Kind::Text)
            .field("slug", Kind::Text)
            .then("/tenants/{answer.tenantId}"),
        Action::new("rename-tenant", Method::PATCH, "/tenants/{tenantId}", ADMIN, "The tenant has another name.")
            .field("name", Kind::Text),
        Action::new("add-member", Method::PUT, "/tenants/{tenantId}/members/{userId}", ADMIN, "{userId} is a member."),
        Action::new(
            "remove-member",
            Method::DELETE,
            "/tenants/{tenantId}/members/{userId}",
            ADMIN,
            "{userId} is no member any more.",
        )
        .question("Take {userId} out of the tenant?"),
    ];
    Area { pages, actions, downloads: Vec::new(), templates: templates!["tenants.html", "tenant.html"] }
}
