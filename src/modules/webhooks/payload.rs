//! Bodies of deliveries: public types of events, and the public fields of each. Pure.

use std::sync::LazyLock;

use bson::{Bson, DateTime, Document};
use serde_json::{Map, Value, json};

use crate::{
    modules::{auth::Scope, events::Event, providers::Policy},
    platform::{clock::Rfc3339Time, exchange::Redaction},
};

/// As in logs.
pub const PROVIDER: &str = "webhooks";
/// As in logs.
pub const OPERATION: &str = "deliver_event";
/// The type of what `POST /webhook-endpoints/{endpointId}/test` has posted; no event.
pub(super) const TEST_TYPE: &str = "webhook.test";

/// Public fields of one kind of events: the name of the id, and the fields that the API shows the owner.
struct PayloadFields {
    /// None where the API has no id of it.
    id: Option<&'static str>,
    fields: &'static [&'static str],
    /// With which an API key reads such things elsewhere; none where there is only a state, which no route has for keys.
    scope: Option<Scope>,
}

const ORDER: &PayloadFields = &PayloadFields {
    id: Some("orderId"),
    fields: &["clientOrderId", "provider", "status", "reference", "failureCode"],
    scope: Some(Scope::OrdersRead),
};
const TOPUP: &PayloadFields = &PayloadFields {
    id: Some("topupId"),
    fields: &["clientTopupId", "status", "failureCode"],
    scope: Some(Scope::WalletRead),
};
const CHECKOUT: &PayloadFields = &PayloadFields {
    id: Some("checkoutId"),
    fields: &["clientOrderId", "buyerId", "status", "method", "total", "currency", "failureCode"],
    scope: Some(Scope::CheckoutsRead),
};
const PRODUCT: &PayloadFields = &PayloadFields {
    id: Some("productId"),
    fields: &["status", "stock", "lowStockAt"],
    scope: Some(Scope::CatalogRead),
};
const APPLICATION: &PayloadFields = &PayloadFields { id: None, fields: &["state", "submission"], scope: None };

/// The stored part of a delivery; of an answer only length and shape. The test below compares it with the bodies.
pub const REDACTION: Redaction = Redaction {
    not_personal: &[
        "type",
        "timestamp",
        "data.orderId",
        "data.topupId",
        "data.checkoutId",
        "data.productId",
        "data.endpointId",
        "data.userId",
        "data.provider",
        "data.status",
        "data.state",
        "data.submission",
        "data.failureCode",
        "data.method",
        "data.total",
        "data.currency",
        "data.stock",
        "data.lowStockAt",
    ],
    request: &["data.buyerId", "data.clientOrderId", "data.clientTopupId", "data.reference"],
    response: &[],
    free_text: &[],
    query: &[],
};

/// The same, as it is shown.
pub const POLICY: Policy = Policy { provider: PROVIDER, operation: OPERATION, redaction: &REDACTION };

/// Events that are posted: their type inside, their type outside, and what is said of them.
const TYPES: &[(&str, &str, &PayloadFields)] = &[
    ("OrderCreated", "order.created", ORDER),
    ("OrderConfirmed", "order.confirmed", ORDER),
    ("OrderInProgress", "order.in_progress", ORDER),
    ("OrderDelivered", "order.delivered", ORDER),
    ("OrderFailed", "order.failed", ORDER),
    ("OrderNeedsAttention", "order.needs_attention", ORDER),
    ("OrderResent", "order.resent", ORDER),
    ("OrderCancelled", "order.cancelled", ORDER),
    ("CancellationRequested", "order.cancellation_requested", ORDER),
    ("CancellationRefused", "order.cancellation_refused", ORDER),
    ("CancellationNeedsAttention", "order.cancellation_needs_attention", ORDER),
    ("TopupRequested", "topup.requested", TOPUP),
    ("TopupStarted", "topup.started", TOPUP),
    ("TopupPaid", "topup.paid", TOPUP),
    ("TopupFailed", "topup.failed", TOPUP),
    ("TopupExpired", "topup.expired", TOPUP),
    ("TopupNeedsAttention", "topup.needs_attention", TOPUP),
    ("CheckoutCreated", "checkout.created", CHECKOUT),
    ("CheckoutPaid", "checkout.paid", CHECKOUT),
    ("CheckoutCompleted", "checkout.completed", CHECKOUT),
    ("CheckoutNeedsAttention", "checkout.needs_attention", CHECKOUT),
    ("CheckoutResumed", "checkout.resumed", CHECKOUT),
    ("CheckoutCancellationRequested", "checkout.cancellation_requested", CHECKOUT),
    ("CheckoutCancellationRefused", "checkout.cancellation_refused", CHECKOUT),
    ("CheckoutCancelled", "checkout.cancelled", CHECKOUT),
    ("CheckoutPaymentFailed", "checkout.payment_failed", CHECKOUT),
    ("CheckoutRefunded", "checkout.refunded", CHECKOUT),
    ("StockLow", "product.stock_low", PRODUCT),
    ("KycSubmitted", "kyc.submitted", APPLICATION),
    ("KycReferred", "kyc.under_review", APPLICATION),
    ("KycVerified", "kyc.verified", APPLICATION),
    ("KycApproved", "kyc.verified", APPLICATION),
    ("KycGranted", "kyc.verified", APPLICATION),
    ("KycRejected", "kyc.rejected", APPLICATION),
    ("KycClarificationNeeded", "kyc.needs_clarification", APPLICATION),
    ("KycClarificationAsked", "kyc.needs_clarification", APPLICATION),
    ("KycSuspended", "kyc.suspended", APPLICATION),
    ("KycReinstated", "kyc.reinstated", APPLICATION),
];

fn of_event(kind: &str) -> Option<&'static (&'static str, &'static str, &'static PayloadFields)> {
    TYPES.iter().find(|(inside, ..)| *inside == kind)
}

/// The public name of this type of events; none where they are not posted.
pub(super) fn outside(kind: &str) -> Option<&'static str> {
    of_event(kind).map(|(_, outside, _)| *outside)
}

/// Types of events that are posted, as they are called inside.
pub(super) fn inside() -> Vec<&'static str> {
    TYPES.iter().map(|(inside, ..)| *inside).collect()
}

/// Types of events that are posted, as they are called outside.
pub(super) fn known() -> &'static [&'static str] {
    static KNOWN: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let mut known: Vec<_> = TYPES.iter().map(|(_, outside, _)| *outside).collect();
        known.dedup();
        known
    });
    &KNOWN
}

/// The scope with which an API key reads what is posted under this type, as it is called outside: a manager's, what becomes of members'
/// orders.
pub(super) fn scope_of(outside: &str, to_tenant: bool) -> Option<Scope> {
    let (.., about) = TYPES.iter().find(|(_, own, _)| *own == outside)?;
    about.scope.map(|scope| if to_tenant { Scope::TenantsRead } else { scope })
}

/// The body of an event, for a tenant with the member's id: the same bytes each time. None for events that are not posted.
pub(super) fn of(event: &Event, to_tenant: bool) -> Option<Value> {
    let (_, outside, about) = of_event(&event.kind)?;
    let mut data = Map::new();
    if let Some(id) = about.id {
        data.insert(id.into(), json!(event.subject_id));
    }
    if to_tenant {
        data.insert("userId".into(), json!(event.user_id));
    }
    data.extend(about.fields.iter().map(|field| ((*field).to_owned(), shown(&event.data, field))));
    Some(envelope(outside, event.at, data.into()))
}

pub(super) fn of_test(endpoint_id: &str, at: DateTime) -> Value {
    envelope(TEST_TYPE, at, json!({ "endpointId": endpoint_id }))
}

fn envelope(kind: &str, at: DateTime, data: Value) -> Value {
    json!({ "type": kind, "timestamp": Rfc3339Time(at).to_string(), "data": data })
}

/// A field of an event: a text, a whole number, or null.
fn shown(data: &Document, field: &str) -> Value {
    match data.get(field) {
        Some(Bson::String(text)) => json!(text),
        Some(Bson::Int32(number)) => json!(number),
        Some(Bson::Int64(number)) => json!(number),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::platform::identity::Actor;

    fn event(kind: &str, subject_id: &str, data: Document) -> Event {
        Event {
            id: "evt_1".into(),
            kind: kind.into(),
            subject_id: subject_id.into(),
            user_id: "usr_1".into(),
            seq: 1,
            actor: Actor::worker("wrk_1", "rqs_1"),
            data,
            at: DateTime::from_millis(1_767_225_600_042),
        }
    }

    #[test]
    fn an_event_says_what_the_api_shows_and_nothing_else() {
        let data = doc! { "clientOrderId": "c-1", "provider": "parcelx", "status": "failed", "failureCode": "provider.refused", "reason": "words", "more": 1 };
        let expected = json!({
            "type": "order.failed", "timestamp": "2026-01-01T00:00:00.042Z",
            "data": { "orderId": "ord_1", "clientOrderId": "c-1", "provider": "parcelx", "status": "failed", "reference": null, "failureCode": "provider.refused" },
        });
        let failed = event("OrderFailed", "ord_1", data);
        assert_eq!(of(&failed, false), Some(expected.clone()));
        let mut to_tenant = expected;
        to_tenant["data"]["userId"] = json!("usr_1");
        assert_eq!(of(&failed, true), Some(to_tenant));
        let data = doc! { "clientTopupId": "t-1", "status": "paid", "paymentId": "pay_1" };
        let paid = of(&event("TopupPaid", "top_1", data), false).expect("it is posted");
        assert_eq!(
            paid["data"],
            json!({ "topupId": "top_1", "clientTopupId": "t-1", "status": "paid", "failureCode": null })
        );
        let approved =
            of(&event("KycApproved", "app_1", doc! { "state": "verified", "submission": 2, "reason": "ok" }), false);
        let approved = approved.expect("it is posted");
        assert_eq!(
            (&approved["type"], &approved["data"]),
            (&json!("kyc.verified"), &json!({ "state": "verified", "submission": 2 }))
        );
        assert_eq!(of(&event("KycDraftSaved", "app_1", doc! {}), false), None);
    }

    #[test]
    fn what_is_posted_is_what_the_redaction_names() {
        let mut posted = vec!["type".to_owned(), "timestamp".into(), "data.endpointId".into(), "data.userId".into()];
        for about in [ORDER, TOPUP, CHECKOUT, PRODUCT, APPLICATION] {
            posted.extend(about.id.iter().chain(about.fields).map(|field| format!("data.{field}")));
        }
        posted.sort();
        posted.dedup();
        let mut named = [REDACTION.not_personal, REDACTION.request].concat();
        named.sort_unstable();
        assert_eq!(posted, named);
    }

    #[test]
    fn types_have_one_name_each() {
        let mut names: Vec<_> = inside();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TYPES.len());
        assert!(known().contains(&"kyc.verified") && !known().contains(&TEST_TYPE));
        assert_eq!(known().iter().filter(|kind| **kind == "kyc.verified").count(), 1);
    }
}
