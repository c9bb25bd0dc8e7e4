//! Many dead jobs of a queue at once: how many such there are, running them again, deleting them.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::{
    queue_changes::{DeleteJob, Deleted},
    queues::QueueBoard,
};
use crate::{
    modules::queue::{DeadJobs, Retried},
    platform::{
        error::{AppError, ErrorKind, FieldError, Problem},
        http::{ApiPath, ApiQuery},
        identity::Admin,
    },
};

/// Dead jobs that one call looks at, in pages.
const DEAD_PAGE: usize = 500;
const DEAD_PAGES: usize = 10;

/// The routes.
pub fn dead_jobs_router(board: QueueBoard) -> OpenApiRouter {
    let routes = OpenApiRouter::new().routes(routes!(count_dead)).routes(routes!(retry_dead));
    routes.routes(routes!(delete_dead)).with_state(board)
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeadJobsQuery {
    /// Kind of job.
    #[validate(length(min = 1, max = 64))]
    kind: Option<String>,
    /// Only those that failed with this code last.
    #[validate(length(min = 1, max = 128))]
    error_code: Option<String>,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteDeadQuery {
    /// Kind of job.
    #[validate(length(min = 1, max = 64))]
    kind: Option<String>,
    /// Only those that failed with this code last.
    #[validate(length(min = 1, max = 128))]
    error_code: Option<String>,
    /// Deletes all dead jobs; needed where neither `kind` nor `errorCode` is given, together with `expected`.
    all: Option<bool>,
    /// Their number, as `dead-count` has said: where it is another by now, nothing is deleted.
    expected: Option<u64>,
}

impl DeleteDeadQuery {
    /// The filter of the jobs that are meant.
    fn such(&self) -> Result<DeadJobs, AppError> {
        let such = DeadJobs { kind: self.kind.clone(), error_code: self.error_code.clone() };
        let mut missing = Vec::new();
        if such.are_all() && self.all != Some(true) {
            let words = "say which ones by `kind` or `errorCode`, or `all=true` and how many they are";
            missing.push(FieldError::new("all", "required", words));
        }
        if such.are_all() && self.expected.is_none() {
            let words = "say how many `GET /queues/{queue}/dead-count` has counted";
            missing.push(FieldError::new("expected", "required", words));
        }
        if missing.is_empty() { Ok(such) } else { Err(AppError::invalid(missing)) }
    }
}

impl From<DeadJobsQuery> for DeadJobs {
    fn from(query: DeadJobsQuery) -> Self {
        Self { kind: query.kind, error_code: query.error_code }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct DeadCountResponse {
    /// Counted to 100,000.
    count: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct RetryDeadResponse {
    /// Jobs that are ready again.
    retried: usize,
    /// Jobs whose subject does not allow it; they stay dead.
    refused: usize,
    /// Jobs that the database did not take in time; call again.
    failed: usize,
    /// Whether there are more than one call takes; call again.
    more: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct DeleteDeadResponse {
    /// Jobs that are gone.
    deleted: usize,
    /// Jobs that the database did not take in time; call again.
    failed: usize,
    /// Whether there are more than one call takes; call again.
    more: bool,
}

/// Number of a queue's dead jobs.
#[utoipa::path(get, path = "/queues/{queue}/dead-count", tag = "queues", security(("bearer" = [])),
    params(("queue" = String, Path), DeadJobsQuery),
    responses((status = 200, body = DeadCountResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn count_dead(
    State(board): State<QueueBoard>,
    _: Admin,
    ApiQuery(query): ApiQuery<DeadJobsQuery>,
    ApiPath(queue): ApiPath<String>,
) -> Result<Json<DeadCountResponse>, AppError> {
    let queue = board.queue(&queue)?;
    Ok(Json(DeadCountResponse { count: board.store.count_dead(queue, &query.into()).await? }))
}

/// Runs dead jobs of a queue again, at most five thousand a call.
#[utoipa::path(post, path = "/queues/{queue}/retry-dead", tag = "queues", security(("bearer" = [])),
    params(("queue" = String, Path), DeadJobsQuery),
    responses((status = 200, body = RetryDeadResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn retry_dead(
    State(board): State<QueueBoard>,
    Admin(user): Admin,
    ApiQuery(query): ApiQuery<DeadJobsQuery>,
    ApiPath(queue): ApiPath<String>,
) -> Result<Json<RetryDeadResponse>, AppError> {
    let (queue, such) = (board.queue(&queue)?, DeadJobs::from(query));
    let (mut retried, mut refused, mut failed) = (0, 0, 0);
    let mut after: Option<String> = None;
    let mut more = true;
    // Refused ones stay dead, so the way goes on past them, page by page.
    for _ in 0..DEAD_PAGES {
        let page = board.store.list_dead(queue, &such, after.as_deref(), DEAD_PAGE).await?;
        let retries = page.items.iter().map(|job| board.retry(&job.id, &user));
        for result in futures_util::future::join_all(retries).await {
            match result {
                Ok(Retried::Revived(_)) => retried += 1,
                Ok(Retried::NotFound | Retried::NotDead(_) | Retried::Refused(_)) => refused += 1,
                // Whoever may not do it any more is told so.
                Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Unauthenticated) => {
                    return Err(error);
                }
                Err(_) => failed += 1,
            }
        }
        after = page.next;
        more = after.is_some();
        if !more || failed > 0 {
            break;
        }
    }
    Ok(Json(RetryDeadResponse { retried, refused, failed, more: more || failed > 0 }))
}

/// Deletes dead jobs of a queue, at most five thousand a call: those of a kind or an error, or all of them, which has to be said.
#[utoipa::path(post, path = "/queues/{queue}/delete-dead", tag = "queues", security(("bearer" = [])),
    params(("queue" = String, Path), DeleteDeadQuery),
    responses((status = 200, body = DeleteDeadResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`queues.count_changed`: there are not as many as `expected`; nothing was deleted.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Neither `kind` nor `errorCode` nor `all=true` with `expected` is given.", body = Problem, content_type = "application/problem+json")))]
async fn delete_dead(
    State(board): State<QueueBoard>,
    Admin(user): Admin,
    ApiQuery(query): ApiQuery<DeleteDeadQuery>,
    ApiPath(queue): ApiPath<String>,
) -> Result<Json<DeleteDeadResponse>, AppError> {
    let (queue, such) = (board.queue(&queue)?, query.such()?);
    if let Some(expected) = query.expected {
        let count = board.store.count_dead(queue, &such).await?;
        if count != expected {
            let detail = format!("There are {count} such jobs now, not {expected}: nothing was deleted. Look again.");
            return Err(AppError::new(ErrorKind::Conflict, "queues.count_changed", detail));
        }
    }
    let (mut deleted, mut failed) = (0, 0);
    let mut after: Option<String> = None;
    let mut more = true;
    for _ in 0..DEAD_PAGES {
        // Not more than somebody has agreed to, however many die meanwhile.
        let left = query
            .expected
            .map_or(DEAD_PAGE, |expected| DEAD_PAGE.min(expected.saturating_sub(deleted as u64) as usize));
        if left == 0 {
            break;
        }
        let page = board.store.list_dead(queue, &such, after.as_deref(), left).await?;
        let deletions =
            page.items.into_iter().map(|job| board.submit(&user, |doing| DeleteJob { job_id: job.id, doing }));
        for result in futures_util::future::join_all(deletions).await {
            match result {
                Ok(Deleted::Gone) => deleted += 1,
                // Somebody else was faster, or it runs again.
                Ok(Deleted::NotFound | Deleted::NotEnded) => {}
                // Whoever may not do it any more is told so.
                Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Unauthenticated) => {
                    return Err(error);
                }
                Err(_) => failed += 1,
            }
        }
        after = page.next;
        more = after.is_some();
        if !more || failed > 0 {
            break;
        }
    }
    Ok(Json(DeleteDeadResponse { deleted, failed, more: more || failed > 0 }))
}
