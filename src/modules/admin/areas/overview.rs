//! How everything is, where something is, and the providers.

use axum::http::Method;

use crate::{
    modules::admin::{
        action::Action,
        area::Area,
        page::{EVERYBODY, Get, Page},
    },
    platform::identity::Role,
};

const ADMIN: &[Role] = &[Role::Admin];
const READERS: &[Role] = &[Role::Admin, Role::Auditor];
const SUMS: &[Role] = &[Role::Admin, Role::Finance];

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("", "Overview", "overview.html", &[Role::Admin, Role::Auditor])
            .nav("Work", "Overview")
            .get(Get::new("overview", "/overview?window"))
            .get(Get::new("pulse", "/queues/pulse").only(ADMIN).optional())
            .get(Get::new("events", "/events/stats").only(ADMIN).optional())
            .get(Get::new("schedules", "/schedules").only(ADMIN).optional())
            .get(Get::new("daily", "/analytics/daily").only(SUMS).optional())
            .get(Get::new("seals", "/audit/seals?limit=1").only(READERS).optional()),
        Page::new("/search", "Search", "search.html", EVERYBODY).get(Get::new("found", "/search?q={q}").optional()),
        Page::new("/providers", "Providers", "providers.html", READERS)
            .nav("Work", "Providers")
            .get(Get::new("accounts", "/provider-accounts?provider&cursor&limit=50")),
        Page::new("/providers/{accountId}", "{account.label}", "provider.html", READERS)
            .get(Get::new("account", "/provider-accounts/{accountId}"))
            .get(Get::new("calls", "/audit/provider-requests?accountId={accountId}&limit=20").optional()),
    ];
    let actions = vec![
        Action::new(
            "activate-account",
            Method::POST,
            "/provider-accounts/{accountId}/activate",
            ADMIN,
            "{accountId} is in use again.",
        ),
        Action::new(
            "deactivate-account",
            Method::DELETE,
            "/provider-accounts/{accountId}",
            ADMIN,
            "{accountId} takes nothing new.",
        )
        .question("Take {accountId} out of use? What was placed with it is finished; it takes nothing new."),
        Action::new("test-account", Method::POST, "/provider-accounts/{accountId}/test", ADMIN, "Test call")
            .shows("provider-test.html"),
    ];
    Area {
        pages,
        actions,
        downloads: Vec::new(),
        templates: templates!["overview.html", "search.html", "providers.html", "provider.html", "provider-test.html"],
    }
}
