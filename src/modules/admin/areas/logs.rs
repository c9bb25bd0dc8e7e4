//! Calls to providers, who did what, and the proofs that none of it was changed.

use crate::{
    modules::admin::{
        area::{Area, Download},
        page::{Get, Page},
    },
    platform::identity::Role,
};

const READERS: &[Role] = &[Role::Admin, Role::Auditor];

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("/logs", "Provider logs", "logs.html", READERS).nav("Records", "Provider logs").get(Get::new(
            "calls",
            "/audit/provider-requests?orderId&userId&clientOrderId&correlationId&awb&provider&operation&accountId\
             &outcome&errorClass&httpStatus&from&to&order&cursor&limit=50",
        )),
        Page::new("/logs/{requestRefId}", "Call", "log.html", READERS)
            .get(Get::new("call", "/audit/provider-requests/{requestRefId}")),
        Page::new("/audit", "Who did what", "audit.html", READERS).nav("Records", "Who did what").get(Get::new(
            "events",
            "/audit/events?resourceId&requestId&actorId&userId&action&outcome&from&to&order&cursor&limit=50",
        )),
        Page::new("/audit/{recordId}", "Record", "record.html", READERS)
            .get(Get::new("proof", "/audit/proofs/{recordId}")),
        Page::new("/seals", "Seals", "seals.html", READERS)
            .nav("Records", "Seals")
            .get(Get::new("seals", "/audit/seals?order&cursor&limit=50")),
        Page::new("/seals/check", "Check of the seals", "seals-check.html", READERS)
            .get(Get::new("checked", "/audit/verification?from&to&fromSeal")),
    ];
    let downloads = vec![Download {
        name: "audit-export",
        path: "/audit/export?format&orderId&userId&clientOrderId&provider&operation&awb&correlationId&collection&from&to",
        roles: READERS,
    }];
    Area {
        pages,
        actions: Vec::new(),
        downloads,
        templates: templates!["logs.html", "log.html", "audit.html", "record.html", "seals.html", "seals-check.html"],
    }
}
