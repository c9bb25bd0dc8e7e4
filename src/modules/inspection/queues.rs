//! `/queues`: counts, jobs, retry, delete, pause.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::queue_changes::{AuditContext, DeleteJob, Deleted, RetryDeadJob, SetPaused};
use crate::{
    modules::{
        auth::AsUser,
        orders::OrderStore,
        providers::{
            Dispatcher,
            dispatch::{AccountOverview, BreakerReason, BreakerState},
        },
        queue::{
            DeadJobs, Handlers, Heartbeat, Job, JobState, Pulse, QueueConfig, QueueStore, QueueWatch, Retried,
            RetryJob, RetryRefused, UNREADABLE, Waker,
        },
    },
    platform::{
        batch::{Command, Lane},
        clock::{Clock, Rfc3339Time},
        error::{AppError, ErrorKind, FieldError, Problem},
        http::{ApiPath, ApiQuery, NoQuery, cursor},
        identity::{Actor, Admin, CurrentUser},
        ids::new_id,
    },
};

const PAGE: usize = 20;

/// State of the routes.
#[derive(Clone)]
pub struct QueueBoard {
    /// Reads.
    pub store: QueueStore,
    /// Reads what operators note about orders.
    pub orders: OrderStore,
    /// Writes.
    pub lane: Lane,
    /// Time.
    pub clock: Clock,
    /// Wakes workers after a revival.
    pub waker: Waker,
    /// States of accounts.
    pub dispatch: Dispatcher,
    /// The changes that boards follow.
    pub watch: QueueWatch,
    /// Queues there are.
    pub queues: Arc<Vec<QueueConfig>>,
    /// Handlers by kind: they decide whether a job may run again.
    pub handlers: Arc<Handlers>,
}

/// The routes.
pub fn queue_router(board: QueueBoard) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_queues))
        .routes(routes!(get_pulse))
        .routes(routes!(get_queue))
        .routes(routes!(list_jobs))
        .routes(routes!(get_job, delete_job))
        .routes(routes!(retry_job))
        .routes(routes!(pause_queue))
        .routes(routes!(resume_queue))
        .with_state(board)
}

#[derive(Debug, Serialize, ToSchema)]
struct QueueListResponse {
    items: Vec<QueueResponse>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueueResponse {
    name: String,
    paused: bool,
    /// `paused by usr_...`.
    paused_reason: Option<String>,
    /// No account of its provider may be called before.
    throttled_until: Option<Rfc3339Time>,
    counts: QueueCounts,
    /// Time since which the job that has waited longest is due, of the first 100,000.
    oldest_due_at: Option<Rfc3339Time>,
    /// Workers that are alive and take its jobs.
    workers: usize,
    /// Accounts that its jobs run with: those of the platform, and of merchants' own those that are not called now.
    accounts: Vec<QueueAccount>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueueAccount {
    account_id: String,
    /// State of the breaker: closed: calls are made: yes; open: no; half_open: one, to see whether the provider is back.
    breaker: BreakerState,
    /// Reason for which calls are not made. Refused credentials wait for a person: new ones, or a resume.
    reason: Option<BreakerReason>,
    /// Time of the next call.
    retry_at: Option<Rfc3339Time>,
    /// The provider asked not to be called before.
    throttled_until: Option<Rfc3339Time>,
}

impl From<AccountOverview> for QueueAccount {
    fn from(account: AccountOverview) -> Self {
        Self {
            account_id: account.account_id,
            breaker: account.breaker,
            reason: account.reason,
            retry_at: account.retry_at.map(Rfc3339Time),
            throttled_until: account.throttled_until.map(Rfc3339Time),
        }
    }
}

/// Jobs of a queue, each number counted to 100,000.
#[derive(Debug, Serialize, ToSchema)]
struct QueueCounts {
    /// Due now.
    ready: u64,
    /// Jobs that workers run.
    active: u64,
    /// Waiting for their time.
    delayed: u64,
    /// Given up; they stay until a person acts.
    dead: u64,
    /// Ended well; trimmed after a day or ten thousand.
    done: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobResponse {
    job_id: String,
    queue: String,
    kind: String,
    state: JobState,
    /// Ids only.
    #[schema(value_type = Object)]
    payload: serde_json::Value,
    priority: i32,
    run_at: Rfc3339Time,
    attempts: i32,
    max_attempts: i32,
    deferrals: i32,
    lease_owner: Option<String>,
    lease_until: Option<Rfc3339Time>,
    last_error: Option<JobErrorResponse>,
    #[schema(value_type = Option<Object>)]
    result: Option<serde_json::Value>,
    history: Vec<HistoryResponse>,
    /// An operator's note about its order.
    comment: Option<String>,
    correlation_id: String,
    created_at: Rfc3339Time,
}

#[derive(Debug, Serialize, ToSchema)]
struct JobErrorResponse {
    class: String,
    code: String,
    message: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HistoryResponse {
    attempt: i32,
    worker_id: Option<String>,
    at: Rfc3339Time,
    end: String,
    code: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobListResponse {
    items: Vec<JobResponse>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListJobsQuery {
    /// Jobs on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "job_cursor"))]
    cursor: Option<String>,
    /// State.
    state: Option<JobState>,
    /// Kind, of dead jobs.
    #[validate(length(min = 1, max = 64))]
    kind: Option<String>,
    /// Code of the last error, of dead jobs.
    #[validate(length(min = 1, max = 128))]
    error_code: Option<String>,
}

fn job_cursor(cursor: &str) -> Result<(), ValidationError> {
    cursor::check_id("job", cursor)
}

impl From<Job> for JobResponse {
    fn from(job: Job) -> Self {
        let json = |document: bson::Document| bson::Bson::Document(document).into_relaxed_extjson();
        Self {
            job_id: job.id,
            queue: job.queue,
            kind: job.kind,
            state: job.state,
            payload: json(job.payload),
            priority: job.priority,
            run_at: Rfc3339Time(job.run_at),
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            deferrals: job.deferrals,
            lease_owner: job.lease_owner,
            lease_until: job.lease_until.map(Rfc3339Time),
            last_error: job.last_error.map(|error| JobErrorResponse {
                class: error.class,
                code: error.code,
                message: error.message,
            }),
            result: job.result.map(json),
            history: job
                .history
                .into_iter()
                .map(|entry| HistoryResponse {
                    attempt: entry.attempt,
                    worker_id: entry.worker_id,
                    at: Rfc3339Time(entry.at),
                    end: entry.end,
                    code: entry.code,
                })
                .collect(),
            comment: None,
            correlation_id: job.correlation_id,
            created_at: Rfc3339Time(job.created_at),
        }
    }
}

/// Deferred jobs are made due a thousand at a time; a call makes due at most so many times that.
const PROMOTE_PAGES: usize = 200;

impl QueueBoard {
    pub(super) fn queue(&self, name: &str) -> Result<&'static str, AppError> {
        self.queues.iter().map(|queue| queue.name).find(|queue| *queue == name).ok_or_else(|| {
            AppError::new(ErrorKind::NotFound, "queues.not_found", "There is no queue of this name; see GET /queues.")
        })
    }

    async fn describe(&self, name: &'static str) -> Result<QueueResponse, AppError> {
        let alive = self.store.list_alive().await?;
        self.describe_with(name, &alive).await
    }

    async fn describe_with(&self, name: &'static str, alive: &[Heartbeat]) -> Result<QueueResponse, AppError> {
        let now = self.clock.now();
        let summary = self.store.summary(name, now).await?;
        let oldest = if summary.ready == 0 { None } else { self.store.oldest_due(name, now).await? };
        let controls = self.store.controls(name).await?;
        let accounts = self.dispatch.overview(name).await?;
        // None goes first: one account that may be called is enough.
        let throttled_until = accounts.iter().map(|account| account.throttled_until).min().flatten();
        Ok(QueueResponse {
            name: name.into(),
            paused: controls.paused,
            paused_reason: controls.paused_reason,
            throttled_until: throttled_until.map(Rfc3339Time),
            oldest_due_at: oldest.map(Rfc3339Time),
            workers: alive.iter().filter(|beat| beat.queues.iter().any(|queue| queue == name)).count(),
            accounts: accounts.into_iter().map(Into::into).collect(),
            counts: QueueCounts {
                ready: summary.ready,
                active: summary.active,
                delayed: summary.delayed,
                dead: summary.dead,
                done: summary.done,
            },
        })
    }

    /// Jobs with what operators note about their orders.
    async fn describe_jobs(&self, jobs: Vec<Job>) -> Result<Vec<JobResponse>, AppError> {
        let order_of = |job: &Job| job.payload.get_str("orderId").ok().map(str::to_owned);
        let order_ids: Vec<String> = jobs.iter().filter_map(order_of).collect();
        let comments = self.orders.comments(&order_ids).await?;
        let described = jobs.into_iter().map(|job| {
            let comment = order_of(&job).and_then(|order_id| comments.get(&order_id).cloned());
            JobResponse { comment, ..job.into() }
        });
        Ok(described.collect())
    }

    async fn describe_job(&self, job: Job) -> Result<JobResponse, AppError> {
        self.describe_jobs(vec![job]).await?.pop().ok_or_else(job_not_found)
    }

    /// Has something done that `user` wants, who has to be an administrator still.
    pub(super) async fn submit<C: Command>(
        &self,
        user: &CurrentUser,
        command: impl FnOnce(AuditContext) -> C,
    ) -> Result<C::Reply, AppError> {
        let doing = AuditContext { actor: Actor::from(user), event_id: new_id("aud") };
        Ok(self.lane.submit(AsUser::new(user, command(doing))).await??)
    }

    pub(super) async fn retry(&self, job_id: &str, user: &CurrentUser) -> Result<Retried, AppError> {
        self.retry_with(job_id, user, |retry| retry).await
    }

    /// The same as a part of another command.
    pub(super) async fn retry_with<C: Command<Reply = Retried>>(
        &self,
        job_id: &str,
        user: &CurrentUser,
        command: impl FnOnce(RetryDeadJob) -> C,
    ) -> Result<Retried, AppError> {
        let readable = match self.store.find(job_id).await? {
            None => return Ok(Retried::NotFound),
            Some(job) => job.last_error.is_none_or(|error| error.code != UNREADABLE),
        };
        if !readable {
            return Ok(Retried::Refused(RetryRefused { reason: "The job can't be read; look at it and delete it." }));
        }
        let job = RetryJob {
            job_id: job_id.to_owned(),
            event_id: new_id("evt"),
            actor: Actor::from(user),
            handlers: Arc::clone(&self.handlers),
        };
        let retried = self.submit(user, |doing| command(RetryDeadJob { job, doing })).await?;
        if let Retried::Revived(job) = &retried {
            self.waker.wake(&job.queue);
        }
        Ok(retried)
    }
}

/// The job that runs again, or why none does.
pub(super) fn answer_retry(retried: Retried) -> Result<Job, AppError> {
    let conflict = |code, detail: String| Err(AppError::new(ErrorKind::Conflict, code, detail));
    match retried {
        Retried::Revived(job) => Ok(*job),
        Retried::NotFound => Err(job_not_found()),
        Retried::NotDead(state) => {
            conflict("queues.not_dead", format!("Only dead jobs can be run again; this one is {}.", state.as_str()))
        }
        Retried::Refused(refused) => conflict("queues.retry_refused", refused.reason.into()),
    }
}

fn job_not_found() -> AppError {
    AppError::new(ErrorKind::NotFound, "queues.job_not_found", "There is no such job; done ones are trimmed.")
}

/// All queues with their counts.
#[utoipa::path(get, path = "/queues", tag = "queues", security(("bearer" = [])),
    responses((status = 200, body = QueueListResponse)))]
async fn list_queues(
    State(board): State<QueueBoard>,
    _: Admin,
    _: NoQuery,
) -> Result<Json<QueueListResponse>, AppError> {
    let mut items = Vec::new();
    let alive = board.store.list_alive().await?;
    for queue in board.queues.iter() {
        items.push(board.describe_with(queue.name, &alive).await?);
    }
    Ok(Json(QueueListResponse { items }))
}

/// All queues at a moment, for boards that follow them: one question to the database a second in each process, however many ask.
#[utoipa::path(get, path = "/queues/pulse", tag = "queues", security(("bearer" = [])),
    responses((status = 200, body = Pulse)))]
async fn get_pulse(State(board): State<QueueBoard>, _: Admin, _: NoQuery) -> Result<Json<Pulse>, AppError> {
    let pulse = board.watch.latest().await;
    let pulse =
        pulse.ok_or_else(|| AppError::unavailable("queues.unavailable", "The queues can't be looked at now."))?;
    Ok(Json(Pulse::clone(&pulse)))
}

/// One queue with its counts.
#[utoipa::path(get, path = "/queues/{queue}", tag = "queues", security(("bearer" = [])),
    params(("queue" = String, Path)),
    responses((status = 200, body = QueueResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_queue(
    State(board): State<QueueBoard>,
    _: Admin,
    _: NoQuery,
    ApiPath(queue): ApiPath<String>,
) -> Result<Json<QueueResponse>, AppError> {
    let queue = board.queue(&queue)?;
    Ok(Json(board.describe(queue).await?))
}

/// Jobs of a queue, oldest first.
#[utoipa::path(get, path = "/queues/{queue}/jobs", tag = "queues", security(("bearer" = [])),
    params(("queue" = String, Path), ListJobsQuery),
    responses((status = 200, body = JobListResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn list_jobs(
    State(board): State<QueueBoard>,
    _: Admin,
    ApiPath(queue): ApiPath<String>,
    ApiQuery(query): ApiQuery<ListJobsQuery>,
) -> Result<Json<JobListResponse>, AppError> {
    let queue = board.queue(&queue)?;
    let such = DeadJobs { kind: query.kind, error_code: query.error_code };
    let (after, limit) = (query.cursor.as_deref(), query.limit.unwrap_or(PAGE));
    let page = match query.state {
        Some(JobState::Dead) => board.store.list_dead(queue, &such, after, limit).await?,
        state if such.are_all() => board.store.list(queue, state, after, limit).await?,
        _ => {
            let of_dead_ones = |field| FieldError::new(field, "not_together", "is for dead jobs; say `state=dead` too");
            let given = [("kind", such.kind.is_some()), ("errorCode", such.error_code.is_some())];
            return Err(AppError::invalid(
                given.iter().filter(|g| g.1).map(|(field, _)| of_dead_ones(*field)).collect(),
            ));
        }
    };
    Ok(Json(JobListResponse { items: board.describe_jobs(page.items).await?, next_cursor: page.next }))
}

/// One job.
#[utoipa::path(get, path = "/queues/jobs/{jobId}", tag = "queues", security(("bearer" = [])),
    params(("jobId" = String, Path)),
    responses((status = 200, body = JobResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn get_job(
    State(board): State<QueueBoard>,
    _: Admin,
    _: NoQuery,
    ApiPath(job_id): ApiPath<String>,
) -> Result<Json<JobResponse>, AppError> {
    let job = board.store.find(&job_id).await?.ok_or_else(job_not_found)?;
    Ok(Json(board.describe_job(job).await?))
}

/// Deletes a job that is done or dead.
#[utoipa::path(delete, path = "/queues/jobs/{jobId}", tag = "queues", security(("bearer" = [])),
    params(("jobId" = String, Path)),
    responses((status = 204),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The job hasn't ended.", body = Problem, content_type = "application/problem+json")))]
async fn delete_job(
    State(board): State<QueueBoard>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(job_id): ApiPath<String>,
) -> Result<StatusCode, AppError> {
    match board.submit(&user, |doing| DeleteJob { job_id, doing }).await? {
        Deleted::Gone => Ok(StatusCode::NO_CONTENT),
        Deleted::NotFound => Err(job_not_found()),
        Deleted::NotEnded => {
            let detail = "Only jobs that are done or dead can be deleted.";
            Err(AppError::new(ErrorKind::Conflict, "queues.not_ended", detail))
        }
    }
}

/// Runs a dead job again.
#[utoipa::path(post, path = "/queues/jobs/{jobId}/retry", tag = "queues", security(("bearer" = [])),
    params(("jobId" = String, Path)),
    responses((status = 200, body = JobResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The job isn't dead, or its order does not allow it.", body = Problem,
            content_type = "application/problem+json")))]
async fn retry_job(
    State(board): State<QueueBoard>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(job_id): ApiPath<String>,
) -> Result<Json<JobResponse>, AppError> {
    let job = answer_retry(board.retry(&job_id, &user).await?)?;
    Ok(Json(board.describe_job(job).await?))
}

/// Keeps workers from claiming jobs of a queue. What runs is finished.
#[utoipa::path(post, path = "/queues/{queue}/pause", tag = "queues", security(("bearer" = [])),
    params(("queue" = String, Path)),
    responses((status = 200, body = QueueResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn pause_queue(
    State(board): State<QueueBoard>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(queue): ApiPath<String>,
) -> Result<Json<QueueResponse>, AppError> {
    let queue = board.queue(&queue)?;
    board.submit(&user, |doing| SetPaused { queue, paused: true, doing }).await?;
    Ok(Json(board.describe(queue).await?))
}

/// Lets workers claim again: accounts of the queue's provider are called whatever was learned of them, and jobs that wait because
/// it was away or throttled us are due now.
#[utoipa::path(post, path = "/queues/{queue}/resume", tag = "queues", security(("bearer" = [])),
    params(("queue" = String, Path)),
    responses((status = 200, body = QueueResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn resume_queue(
    State(board): State<QueueBoard>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(queue): ApiPath<String>,
) -> Result<Json<QueueResponse>, AppError> {
    let queue = board.queue(&queue)?;
    board.submit(&user, |doing| SetPaused { queue, paused: false, doing }).await?;
    board.dispatch.resume(queue).await?;
    let routes = board.store.ready_routes(queue).await?;
    for _ in 0..PROMOTE_PAGES {
        if board.store.promote_deferred(queue, &routes, board.clock.now()).await? == 0 {
            break;
        }
    }
    board.waker.wake(queue);
    Ok(Json(board.describe(queue).await?))
}
