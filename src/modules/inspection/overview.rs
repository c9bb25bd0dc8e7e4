//! `/overview`: how everything is, at a glance. What it costs is bounded: where there are many calls a sample of them is looked at
//! (`call_sample.rs`), and an answer, or that there is none, serves everybody for some seconds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, time::Instant};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::call_sample::{CallFigures, CallPart, CallSample, ProviderPace, Window, read_calls};
use crate::{
    modules::{
        audit::seals::SealStore,
        events::EventStatsReader,
        orders::OrderStore,
        providers::{
            Dispatcher,
            dispatch::{BreakerReason, BreakerState},
        },
        queue::{QueueConfig, QueueStore},
        wallet::WALLETS,
    },
    platform::{
        clock::{Clock, Rfc3339Time},
        error::{AppError, Problem},
        http::ApiQuery,
        identity::AdminReader,
        mongo::READ_TIME_MAX,
    },
};

/// Wallets that are added up.
const WALLETS_MAX: i64 = 100_000;
/// So long an answer serves.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// State of the route.
#[derive(Clone)]
pub struct Overviews {
    /// Where calls and wallets are.
    pub db: Database,
    /// Time.
    pub clock: Clock,
    /// Event counts.
    pub events: EventStatsReader,
    /// Orders that wait for a person.
    pub orders: OrderStore,
    /// Workers.
    pub queue_store: QueueStore,
    /// Accounts at providers.
    pub dispatch: Dispatcher,
    /// Queues there are.
    pub queues: Arc<Vec<QueueConfig>>,
    /// The latest answers.
    pub latest: LatestOverviews,
}

/// The latest answer for each window, or why there is none: a database that is slow is not asked again by each. Who asks for one
/// that is old makes the next, and the others wait for it.
#[derive(Clone, Debug, Default)]
pub struct LatestOverviews(Arc<Mutex<BTreeMap<Window, Latest>>>);

type Latest = (Instant, std::result::Result<OverviewResponse, AppError>);

/// The route.
pub fn overview_router(overviews: Overviews) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(get_overview)).with_state(overviews)
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OverviewQuery {
    /// The last hour, day or month.
    #[serde(default)]
    #[param(inline)]
    window: Window,
}

/// An overview.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverviewResponse {
    window: Window,
    /// Time of the overview.
    at: Rfc3339Time,
    /// Orders that wait for a person, counted to 100,000.
    needing_attention: u64,
    /// Workers that are alive.
    workers: usize,
    /// Events that nobody has relayed yet.
    relay: Waiting,
    /// Records that are not sealed yet.
    sealer: Waiting,
    /// Accounts that are not called now.
    breakers: Vec<OpenBreaker>,
    /// Available balances of wallets, by currency; of 100,000 wallets at most.
    wallets: Vec<WalletSum>,
    /// The sample behind `providers` and `series`.
    sample: CallSample,
    /// Calls, by provider.
    providers: Vec<ProviderPace>,
    /// The same by parts of the time, oldest first.
    series: Vec<CallPart>,
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    /// About how many.
    waiting: u64,
    /// Age of the oldest.
    oldest_seconds: f64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OpenBreaker {
    account_id: String,
    breaker: BreakerState,
    reason: Option<BreakerReason>,
    retry_at: Option<Rfc3339Time>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
struct WalletSum {
    currency: String,
    /// Minor units.
    available: i64,
    /// Number of wallets.
    count: i64,
}

impl Overviews {
    async fn look(&self, window: Window) -> Result<OverviewResponse> {
        let now = self.clock.now();
        let seals = SealStore::new(self.db.clone());
        let (needing_attention, alive, depth, lag, sealing, oldest_ms, wallets, calls, last_used) = tokio::try_join!(
            self.orders.count_needing_attention(),
            self.queue_store.list_alive(),
            self.events.depth(),
            self.events.lag(),
            seals.queue_depth(),
            seals.queue_age_ms(now.timestamp_millis()),
            self.wallets(),
            read_calls(&self.db, window, now),
            self.dispatch.last_used(),
        )?;
        let CallFigures { sample, providers, series } = calls.add_up(&last_used);
        Ok(OverviewResponse {
            window,
            at: Rfc3339Time(now),
            needing_attention,
            workers: alive.len(),
            relay: Waiting { waiting: depth, oldest_seconds: lag.as_secs_f64() },
            sealer: Waiting { waiting: sealing, oldest_seconds: oldest_ms as f64 / 1_000.0 },
            breakers: self.breakers().await?,
            wallets,
            sample,
            providers,
            series,
        })
    }

    async fn breakers(&self) -> Result<Vec<OpenBreaker>> {
        let mut open = BTreeMap::new();
        for queue in self.queues.iter() {
            for account in self.dispatch.overview(queue.name).await? {
                if account.breaker != BreakerState::Closed {
                    open.insert(account.account_id.clone(), account);
                }
            }
        }
        let told = open.into_values().map(|account| OpenBreaker {
            account_id: account.account_id,
            breaker: account.breaker,
            reason: account.reason,
            retry_at: account.retry_at.map(Rfc3339Time),
        });
        Ok(told.collect())
    }

    async fn wallets(&self) -> Result<Vec<WalletSum>> {
        let sums = doc! { "_id": "$currency", "available": { "$sum": "$available" }, "count": { "$sum": 1_i64 } };
        let stages = [doc! { "$limit": WALLETS_MAX }, doc! { "$group": sums }, doc! { "$sort": { "_id": 1 } }];
        let found = self.db.collection::<Document>(WALLETS).aggregate(stages).max_time(READ_TIME_MAX).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let sum = |found: &Document| WalletSum {
            currency: found.get_str("_id").unwrap_or_default().to_owned(),
            available: found.get_i64("available").unwrap_or_default(),
            count: found.get_i64("count").unwrap_or_default(),
        };
        Ok(found.iter().map(sum).collect())
    }

    /// The latest answer for a window, or a new one.
    async fn latest(&self, window: Window) -> std::result::Result<OverviewResponse, AppError> {
        let mut latest = self.latest.0.lock().await;
        if let Some((_, answer)) = latest.get(&window).filter(|(at, _)| at.elapsed() < FRESH_FOR) {
            return answer.clone();
        }
        let answer = self.look(window).await.map_err(AppError::from);
        latest.insert(window, (Instant::now(), answer.clone()));
        answer
    }
}

/// An overview: waiting work, workers, providers that are not called, balances of wallets, and the calls to providers in the
/// last hour, day or month. Of up to 10,000 calls the figures are exact; of more they are estimated from a sample in which every call is
/// as likely as any other (`sample`). An answer serves everybody for ten seconds, and so does a failure.
#[utoipa::path(get, path = "/overview", tag = "overview", security(("bearer" = [])), params(OverviewQuery),
    responses(
        (status = 200, body = OverviewResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_overview(
    State(overviews): State<Overviews>,
    _: AdminReader,
    ApiQuery(query): ApiQuery<OverviewQuery>,
) -> std::result::Result<Json<OverviewResponse>, AppError> {
    // Whoever waits no longer leaves the answer to the others.
    let looking = tokio::spawn(async move { overviews.latest(query.window).await });
    Ok(Json(looking.await.map_err(AppError::internal)??))
}
