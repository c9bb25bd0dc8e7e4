//! Operations: schedules, mail, alerts.

use axum::http::Method;

use crate::{
    modules::admin::{
        action::Action,
        area::Area,
        page::{Get, Page},
    },
    platform::identity::Role,
};

const ADMIN: &[Role] = &[Role::Admin];
const READERS: &[Role] = &[Role::Admin, Role::Auditor];

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("/alerts", "Alerts", "alerts.html", ADMIN)
            .nav("Work", "Alerts")
            .get(Get::new("alerts", "/alerts?state")),
        Page::new("/schedules", "Schedules", "schedules.html", ADMIN)
            .nav("Work", "Schedules")
            .get(Get::new("schedules", "/schedules")),
        Page::new("/schedules/{name}", "{name}", "schedule.html", ADMIN)
            .get(Get::new("schedules", "/schedules"))
            .get(Get::new("runs", "/schedules/{name}/runs?cursor&limit=50")),
        Page::new("/mail", "Mail", "mail.html", READERS)
            .nav("Work", "Mail")
            .get(Get::new("queue", "/queues/mail-queue").optional().only(ADMIN))
            .get(Get::new("calls", "/audit/provider-requests?provider=smtp&outcome&userId&from&to&cursor&limit=50")),
    ];
    let actions = vec![
        Action::new("run-schedule", Method::POST, "/schedules/{name}/run", ADMIN, "{name} runs: {answer.runId}."),
        Action::new("pause-schedule", Method::POST, "/schedules/{name}/pause", ADMIN, "{name} is paused.")
            .question("Pause {name}? What is due meanwhile is left out."),
        Action::new("resume-schedule", Method::POST, "/schedules/{name}/resume", ADMIN, "{name} goes on."),
    ];
    let templates = templates!["alerts.html", "schedules.html", "schedule.html", "mail.html"];
    Area { pages, actions, downloads: Vec::new(), templates }
}
