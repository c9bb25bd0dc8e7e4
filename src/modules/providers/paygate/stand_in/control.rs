//! Where callbacks go, and what happens to payments.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use serde_json::Number;

use super::{
    books::{Gateway, PayerAction, Sign, Target},
    callbacks::{self, Plan},
};
use crate::{control::failed, stand::Stand};

/// Deliveries of one event; more than that prove nothing new.
const TIMES_MAX: u32 = 100;

pub fn router() -> Router<Stand<Gateway>> {
    Router::new()
        .route("/_control/callback", post(set_callback))
        .route("/_control/auto", post(set_auto))
        .route("/_control/payments/{reference}", post(change_payment))
}

async fn set_callback(State(stand): State<Stand<Gateway>>, Json(target): Json<Target>) -> Response {
    if !reqwest::Url::parse(&target.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        return failed(StatusCode::UNPROCESSABLE_ENTITY, "url must be an absolute http or https address");
    }
    if target.secret.is_empty() {
        return failed(StatusCode::UNPROCESSABLE_ENTITY, "secret must not be empty");
    }
    stand.lock().provider.callbacks = Some(target);
    StatusCode::NO_CONTENT.into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetAuto {
    /// Null pays nothing by itself.
    delay_ms: Option<u64>,
}

async fn set_auto(State(stand): State<Stand<Gateway>>, Json(asked): Json<SetAuto>) -> StatusCode {
    stand.lock().provider.auto_after = asked.delay_ms.map(Duration::from_millis);
    StatusCode::NO_CONTENT
}

/// An action on a payment. Absent and null mean the default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Change {
    #[serde(rename = "do")]
    deed: PayerAction,
    times: Option<u32>,
    at_once: Option<bool>,
    sign: Option<Sign>,
    amount: Option<Number>,
    deliver: Option<bool>,
    event_id: Option<String>,
    retry: Option<bool>,
    signed_at_seconds: Option<i64>,
}

async fn change_payment(
    State(stand): State<Stand<Gateway>>,
    Path(reference): Path<String>,
    Json(change): Json<Change>,
) -> Response {
    let times = change.times.unwrap_or(1);
    if !(1..=TIMES_MAX).contains(&times) {
        return failed(StatusCode::UNPROCESSABLE_ENTITY, &format!("times must be between 1 and {TIMES_MAX}"));
    }
    let sign = change.sign.unwrap_or(Sign::Valid);
    let plan = Plan {
        deed: change.deed,
        deliver: change.deliver.unwrap_or(true),
        sign,
        times,
        at_once: change.at_once.unwrap_or(false),
        // A bad signature stays bad: trying it again would only make its test slow.
        retry: change.retry.unwrap_or(sign == Sign::Valid),
        amount: change.amount,
        event_id: change.event_id,
        signed_at_seconds: change.signed_at_seconds,
    };
    match callbacks::carry_out(&stand, &reference, plan).await {
        Ok(told) => Json(told).into_response(),
        Err(problem) => failed(problem.status(), problem.text()),
    }
}
