//! Users: who may come in, and as what.

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

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("/users", "Users", "users.html", ADMIN)
            .nav("People", "Users")
            .get(Get::new("users", "/users?email&role&disabled&cursor&limit=50")),
        Page::new("/users/{userId}", "User {userId}", "user.html", ADMIN)
            .get(Get::new("user", "/users/{userId}"))
            .get(Get::new("keys", "/users/{userId}/api-keys").optional())
            .get(Get::new("trail", "/audit/events?userId={userId}&limit=20").optional()),
    ];
    let change = |name, done| Action::new(name, Method::PATCH, "/users/{userId}", ADMIN, done);
    let actions = vec![
        change("disable-user", "{userId} is disabled, and every session has ended.")
            .field("disabled", Kind::Flag)
            .question("Disable {userId}? Every session ends, and nobody signs in."),
        change("enable-user", "{userId} may sign in again.").field("disabled", Kind::Flag),
        change("set-role", "{userId} has another role, and every session has ended.")
            .field("role", Kind::Text)
            .question("Give {userId} the role {role}? Every session ends."),
        Action::new("end-sessions", Method::POST, "/users/{userId}/end-sessions", ADMIN, "Every session has ended.")
            .question("End every session of {userId}?"),
        Action::new(
            "send-password-link",
            Method::POST,
            "/users/{userId}/reset-password?sendLink=true",
            ADMIN,
            "{userId} has a letter with a link to set another password, and every session has ended.",
        )
        .question("Send {userId} a link to set another password? Every session ends."),
        Action::new(
            "revoke-user-key",
            Method::DELETE,
            "/users/{userId}/api-keys/{keyId}",
            ADMIN,
            "The key opens nothing any more.",
        )
        .question("Revoke this key of {userId}? What uses it is turned away within seconds."),
    ];
    Area { pages, actions, downloads: Vec::new(), templates: templates!["users.html", "user.html"] }
}
