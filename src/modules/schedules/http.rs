//! `/schedules`: what is due when, what came of it, run now, pause.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    ScheduleStore,
    commands::{PauseSchedule, RunIds, RunNow, ScheduleAuthor, Starting},
    model::{MissedRuns, RunState, Schedule, ScheduleConfig, ScheduleRun, Trigger},
};
use crate::{
    modules::{
        auth::AsUser,
        queue::{QueueConfig, Waker},
    },
    platform::{
        batch::{Command, Lane},
        clock::{Clock, Rfc3339Time},
        error::{AppError, ErrorKind, Problem},
        http::{ApiPath, ApiQuery, NoQuery, cursor},
        identity::{Actor, Admin, CurrentUser},
        ids::new_id,
    },
};

const PAGE: usize = 20;

/// Reads and changes schedules for the routes.
#[derive(Clone)]
pub struct ScheduleBoard {
    pub store: ScheduleStore,
    pub lane: Lane,
    /// Tells workers of runs.
    pub waker: Waker,
    pub clock: Clock,
    pub plans: Arc<Vec<ScheduleConfig>>,
    /// Where runs go.
    pub queue: QueueConfig,
}

pub fn router(board: ScheduleBoard) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_schedules))
        .routes(routes!(list_schedule_runs))
        .routes(routes!(run_schedule))
        .routes(routes!(pause_schedule))
        .routes(routes!(resume_schedule))
        .with_state(board)
}

#[derive(Debug, Serialize, ToSchema)]
struct ScheduleListResponse {
    items: Vec<ScheduleResponse>,
}

/// Work that is due by the calendar.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ScheduleResponse {
    #[schema(example = "ledger-check")]
    name: String,
    description: String,
    /// Minute, hour, day of the month, month, day of the week.
    #[schema(example = "0 2 * * *")]
    cron: String,
    #[schema(example = "Europe/Moscow")]
    timezone: String,
    /// The rule for times that no worker was there for.
    missed: MissedRuns,
    paused: bool,
    /// User id of who paused it.
    paused_by: Option<String>,
    /// Time of the next run; null where it is paused, or has no further time.
    next_at: Option<Rfc3339Time>,
    last_run: Option<RunResponse>,
}

/// A run of a schedule.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RunResponse {
    #[schema(example = "srn_0198f0c2b1e07c3e8a41b5d0f3a2c4e6")]
    run_id: String,
    schedule: String,
    trigger: Trigger,
    /// User id of the person who wanted it.
    requested_by: Option<String>,
    /// The time that it is for; null where a person wanted it.
    due_at: Option<Rfc3339Time>,
    state: RunState,
    /// Its job; see `/queues/jobs/{jobId}`.
    job_id: Option<String>,
    attempts: i32,
    #[schema(value_type = Option<Object>)]
    result: Option<serde_json::Value>,
    /// An alert from the run, for a person.
    alert: Option<String>,
    /// Reason for which it failed or was left out.
    error: Option<String>,
    started_at: Rfc3339Time,
    ended_at: Option<Rfc3339Time>,
}

impl From<ScheduleRun> for RunResponse {
    fn from(run: ScheduleRun) -> Self {
        Self {
            run_id: run.id,
            schedule: run.schedule,
            trigger: run.trigger,
            requested_by: run.requested_by,
            due_at: run.due_at.map(Rfc3339Time),
            state: run.state,
            job_id: run.job_id,
            attempts: run.attempts,
            result: run.result.map(|result| bson::Bson::Document(result).into_relaxed_extjson()),
            alert: run.alert,
            error: run.error,
            started_at: Rfc3339Time(run.started_at),
            ended_at: run.ended_at.map(Rfc3339Time),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RunListResponse {
    /// Newest first.
    items: Vec<RunResponse>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListRunsQuery {
    /// Runs on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "run_cursor"))]
    cursor: Option<String>,
}

fn run_cursor(cursor: &str) -> Result<(), ValidationError> {
    cursor::check_id("srn", cursor)
}

impl ScheduleBoard {
    fn plan(&self, name: &str) -> Result<&ScheduleConfig, AppError> {
        self.plans.iter().find(|plan| plan.name == name).ok_or_else(|| {
            let detail = "There is no schedule of this name; see GET /schedules.";
            AppError::new(ErrorKind::NotFound, "schedules.not_found", detail)
        })
    }

    async fn describe(&self, plans: &[ScheduleConfig]) -> Result<Vec<ScheduleResponse>, AppError> {
        let mut schedules = self.store.schedules().await?;
        let last: Vec<String> = schedules.values().filter_map(|schedule| schedule.last_run_id.clone()).collect();
        let mut runs = self.store.runs(&last).await?;
        let described = plans.iter().map(|plan| {
            // One that no worker has looked at yet is as it will be then.
            let known = schedules.remove(plan.name).unwrap_or_else(|| Schedule::new(plan, self.clock.now()));
            ScheduleResponse {
                name: plan.name.into(),
                description: plan.description.into(),
                cron: plan.calendar.expression().into(),
                timezone: plan.calendar.zone().into(),
                missed: plan.missed,
                paused: known.paused_by.is_some(),
                next_at: known.next_at.filter(|_| known.paused_by.is_none()).map(Rfc3339Time),
                paused_by: known.paused_by,
                last_run: known.last_run_id.and_then(|id| runs.remove(&id)).map(Into::into),
            }
        });
        Ok(described.collect())
    }

    async fn describe_one(&self, plan: &ScheduleConfig) -> Result<ScheduleResponse, AppError> {
        let described = self.describe(std::slice::from_ref(plan)).await?;
        Ok(described.into_iter().next().expect("a description for every plan"))
    }

    /// Has something done that `user` wants, who has to be an administrator still.
    async fn submit<C: Command>(
        &self,
        user: &CurrentUser,
        command: impl FnOnce(ScheduleAuthor) -> C,
    ) -> Result<C::Reply, AppError> {
        let wish = ScheduleAuthor { actor: Actor::from(user), event_id: new_id("aud") };
        Ok(self.lane.submit(AsUser::new(user, command(wish))).await??)
    }

    async fn set_paused(&self, user: &CurrentUser, name: &str, paused: bool) -> Result<ScheduleResponse, AppError> {
        let plan = self.plan(name)?;
        self.submit(user, |wish| PauseSchedule { plan: plan.clone(), paused, wish }).await?;
        self.describe_one(plan).await
    }
}

/// All schedules, with their last runs.
#[utoipa::path(get, path = "/schedules", tag = "schedules", security(("bearer" = [])),
    responses((status = 200, body = ScheduleListResponse)))]
async fn list_schedules(
    State(board): State<ScheduleBoard>,
    _: Admin,
    _: NoQuery,
) -> Result<Json<ScheduleListResponse>, AppError> {
    Ok(Json(ScheduleListResponse { items: board.describe(&board.plans).await? }))
}

/// Runs of a schedule, newest first; kept for 400 days.
#[utoipa::path(get, path = "/schedules/{name}/runs", tag = "schedules", security(("bearer" = [])),
    params(("name" = String, Path), ListRunsQuery),
    responses((status = 200, body = RunListResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn list_schedule_runs(
    State(board): State<ScheduleBoard>,
    _: Admin,
    ApiPath(name): ApiPath<String>,
    ApiQuery(query): ApiQuery<ListRunsQuery>,
) -> Result<Json<RunListResponse>, AppError> {
    let plan = board.plan(&name)?;
    let limit = query.limit.unwrap_or(PAGE);
    let runs = board.store.list_runs(plan.name, query.cursor.as_deref(), limit).await?;
    let next_cursor = runs.last().filter(|_| runs.len() == limit).map(|run| run.id.clone());
    Ok(Json(RunListResponse { items: runs.into_iter().map(Into::into).collect(), next_cursor }))
}

/// Starts a run now, also of a schedule that is paused.
#[utoipa::path(post, path = "/schedules/{name}/run", tag = "schedules", security(("bearer" = [])),
    params(("name" = String, Path)),
    responses((status = 202, body = RunResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run before has not ended.", body = Problem,
            content_type = "application/problem+json")))]
async fn run_schedule(
    State(board): State<ScheduleBoard>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(name): ApiPath<String>,
) -> Result<(StatusCode, Json<RunResponse>), AppError> {
    let plan = board.plan(&name)?.clone();
    let ids = RunIds { run: new_id("srn"), job: new_id("job") };
    let starting = Starting { plan, queue: board.queue.clone(), ids };
    let started = board.submit(&user, |wish| RunNow { starting, wish }).await?;
    let Some(run) = started else {
        let detail = "The run before has not ended; see its job at /queues.";
        return Err(AppError::new(ErrorKind::Conflict, "schedules.still_running", detail));
    };
    board.waker.wake(board.queue.name);
    Ok((StatusCode::ACCEPTED, Json(run.into())))
}

/// Leaves out the times of a schedule until it is resumed. A run that was started goes on.
#[utoipa::path(post, path = "/schedules/{name}/pause", tag = "schedules", security(("bearer" = [])),
    params(("name" = String, Path)),
    responses((status = 200, body = ScheduleResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn pause_schedule(
    State(board): State<ScheduleBoard>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(name): ApiPath<String>,
) -> Result<Json<ScheduleResponse>, AppError> {
    Ok(Json(board.set_paused(&user, &name, true).await?))
}

/// Goes on with the next time of a schedule.
#[utoipa::path(post, path = "/schedules/{name}/resume", tag = "schedules", security(("bearer" = [])),
    params(("name" = String, Path)),
    responses((status = 200, body = ScheduleResponse),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn resume_schedule(
    State(board): State<ScheduleBoard>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(name): ApiPath<String>,
) -> Result<Json<ScheduleResponse>, AppError> {
    Ok(Json(board.set_paused(&user, &name, false).await?))
}
