//! Applications of merchants, and what reviewers decide.

use axum::http::Method;

use crate::{
    modules::admin::{
        action::{Action, Kind},
        area::{Area, Download},
        page::{Get, Page},
    },
    platform::identity::Role,
};

const READERS: &[Role] = &[Role::Admin, Role::Auditor];
const ADMIN: &[Role] = &[Role::Admin];

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("/kyc", "Applications", "applications.html", READERS)
            .nav("People", "Applications")
            .get(Get::new("applications", "/kyc/applications?state&from&to&cursor&limit=50")),
        Page::new("/kyc/{userId}", "Application of {userId}", "application.html", READERS)
            .get(Get::new("application", "/kyc/applications/{userId}")),
    ];
    let decision = |name, question| {
        Action::new(name, Method::POST, "/kyc/applications/{userId}/decision", ADMIN, "Decided: {decision}.")
            .field("decision", Kind::Text)
            .field("submission", Kind::Number)
            .asking("reason", "Why")
            .question(question)
    };
    let actions = vec![
        decision("decide-application", "{decision} the application of {userId}?"),
        decision("clarify-application", "Ask {userId} for more?")
            .field("requirements.0.field", Kind::Text)
            .field("requirements.0.code", Kind::Text)
            .field("requirements.0.reason", Kind::Text),
        Action::new(
            "erase-application",
            Method::POST,
            "/kyc/applications/{userId}/erasure",
            ADMIN,
            "What was personal in the application of {userId} is erased.",
        )
        .asking("reason", "Why")
        .question("Erase what is personal in the application of {userId}, for good?"),
    ];
    let downloads = vec![Download { name: "kyc-document", path: "/kyc/documents/{documentId}", roles: ADMIN }];
    Area { pages, actions, downloads, templates: templates!["applications.html", "application.html"] }
}
