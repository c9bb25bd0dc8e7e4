//! How queues have got on: of each the jobs that ended in every minute of the last hour.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::queues::QueueBoard;
use crate::platform::{
    error::{AppError, Problem},
    http::{ApiPath, NoQuery},
    identity::Admin,
};

/// The routes.
pub fn queue_pace_router(board: QueueBoard) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_paces)).routes(routes!(get_pace)).with_state(board)
}

/// Throughput of a queue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PaceResponse {
    /// Jobs that ended well in each of the last sixty minutes, the present one last.
    per_minute: Vec<u64>,
    /// Size of the sample behind the other figures, the latest first.
    sample: usize,
    /// The median time from creation to the end; null where there are none.
    p50_ms: Option<i64>,
    /// The same, for 95 percent.
    p95_ms: Option<i64>,
    /// The same, for 99 percent.
    p99_ms: Option<i64>,
    /// Attempts that one took, on average.
    attempts: Option<f64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PaceListResponse {
    items: Vec<QueuePace>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueuePace {
    /// The queue.
    #[schema(example = "mail-queue")]
    name: String,
    /// Jobs that ended well in each of the last sixty minutes, the present one last; of the latest 20,000.
    per_minute: Vec<u64>,
}

/// Throughput of all queues in the last hour, by their jobs that ended well and are still there.
#[utoipa::path(get, path = "/queues/pace", tag = "queues", security(("bearer" = [])),
    responses((status = 200, body = PaceListResponse)))]
async fn list_paces(State(board): State<QueueBoard>, _: Admin, _: NoQuery) -> Result<Json<PaceListResponse>, AppError> {
    let mut paces = board.store.paces(&board.queues, board.clock.now()).await?;
    let items = board
        .queues
        .iter()
        .map(|queue| QueuePace { name: queue.name.into(), per_minute: paces.remove(queue.name).unwrap_or_default() });
    Ok(Json(PaceListResponse { items: items.collect() }))
}

/// Throughput of a queue in the last hour, by its jobs that ended well and are still there.
#[utoipa::path(get, path = "/queues/{queue}/pace", tag = "queues", security(("bearer" = [])),
    params(("queue" = String, Path)),
    responses((status = 200, body = PaceResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_pace(
    State(board): State<QueueBoard>,
    _: Admin,
    _: NoQuery,
    ApiPath(queue): ApiPath<String>,
) -> Result<Json<PaceResponse>, AppError> {
    let pace = board.store.pace(board.queue(&queue)?, board.clock.now()).await?;
    let [p50_ms, p95_ms, p99_ms] = [50, 95, 99].map(|percent| pace.percentile_ms(percent));
    let sample = pace.latencies_ms.len();
    let attempts = (sample > 0).then(|| pace.attempts as f64 / sample as f64);
    Ok(Json(PaceResponse { per_minute: pace.per_minute, sample, p50_ms, p95_ms, p99_ms, attempts }))
}
