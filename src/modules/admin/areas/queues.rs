//! Queues and their jobs.

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

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("/queues", "Queues", "queues.html", ADMIN)
            .nav("Work", "Queues")
            .get(Get::new("queues", "/queues"))
            .get(Get::new("paces", "/queues/pace").optional()),
        Page::new("/queues/{queue}", "{queue}", "queue.html", ADMIN)
            .get(Get::new("queue", "/queues/{queue}"))
            .get(Get::new("jobs", "/queues/{queue}/jobs?state&kind&errorCode&cursor&limit=50"))
            .get(Get::new("pace", "/queues/{queue}/pace").optional()),
        Page::new("/jobs/{jobId}", "Job {jobId}", "job.html", ADMIN)
            .get(Get::new("job", "/queues/jobs/{jobId}"))
            .get(Get::new("calls", "/audit/provider-requests?correlationId={job.correlationId}&limit=50").optional())
            .get(Get::new("story", "/audit/orders/{job.payload.orderId}").optional()),
    ];
    let actions = vec![
        Action::new(
            "pause-queue",
            Method::POST,
            "/queues/{queue}/pause",
            ADMIN,
            "{queue} is paused: what runs is finished, and nothing new begins.",
        )
        .question("Pause {queue}? Nothing new is begun until somebody lets it go on."),
        Action::new("resume-queue", Method::POST, "/queues/{queue}/resume", ADMIN, "{queue} goes on."),
        Action::new("retry-job", Method::POST, "/queues/jobs/{jobId}/retry", ADMIN, "{jobId} runs again."),
        Action::new("delete-job", Method::DELETE, "/queues/jobs/{jobId}", ADMIN, "{jobId} is deleted.")
            .question("Delete {jobId}? It can't be brought back.")
            .then("/queues/{queue}"),
        Action::new(
            "retry-dead",
            Method::POST,
            "/queues/{queue}/retry-dead?kind&errorCode",
            ADMIN,
            "{answer.retried} jobs run again; {answer.refused} may not, {answer.failed} were not reached.",
        )
        .preview("/queues/{queue}/dead-count?kind&errorCode")
        .question("Run {preview.count} dead jobs of {queue} again?"),
        Action::new(
            "delete-dead",
            Method::POST,
            "/queues/{queue}/delete-dead?kind&errorCode&all&expected",
            ADMIN,
            "{answer.deleted} jobs are deleted; {answer.failed} were not reached.",
        )
        .preview("/queues/{queue}/dead-count?kind&errorCode")
        .agreeing("expected", "{preview.count}")
        .question("Delete {preview.count} dead jobs of {queue}? They can't be brought back."),
    ];
    Area { pages, actions, downloads: Vec::new(), templates: templates!["queues.html", "queue.html", "job.html"] }
}
