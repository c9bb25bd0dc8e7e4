//! `/overview`: how everything is, at a glance. What it costs is bounded: of calls a sample of each part of the time is looked at, and
//! an answer serves everybody for some seconds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, time::Instant};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use crate::{
    modules::{
        audit::{RESPONSE_LOGS, seals::SealStore},
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
        ids::first_id_at,
        mongo::READ_TIME_MAX,
    },
};

/// Calls that are looked at in each part of the time.
const SAMPLE: i64 = 300;
/// Wallets that are added up.
const WALLETS_MAX: i64 = 100_000;
/// So long an answer serves.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// What the route needs.
#[derive(Clone)]
pub struct Overviews {
    /// Where calls and wallets are.
    pub db: Database,
    /// Time.
    pub clock: Clock,
    /// What happened.
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

/// The latest answer for each window. Who asks for one that is old makes the next, and the others wait for it.
#[derive(Clone, Debug, Default)]
pub struct LatestOverviews(Arc<Mutex<BTreeMap<Window, (Instant, OverviewResponse)>>>);

/// The route.
pub fn overview_router(overviews: Overviews) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(get_overview)).with_state(overviews)
}

/// The time that is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// In parts of two minutes.
    #[default]
    Hour,
    /// In parts of half an hour.
    Day,
    /// In parts of a day.
    Month,
}

impl Window {
    /// How many parts, and how long each, in milliseconds.
    const fn parts(self) -> (i64, i64) {
        match self {
            Self::Hour => (30, 2 * 60_000),
            Self::Day => (48, 30 * 60_000),
            Self::Month => (30, 24 * 3_600_000),
        }
    }
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

/// How everything is.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverviewResponse {
    window: Window,
    /// When it was looked at.
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
    /// What is free in wallets, by currency; of 100,000 wallets at most.
    wallets: Vec<WalletSum>,
    /// Calls, by provider, of the sample.
    providers: Vec<ProviderPace>,
    /// The same by parts of the time, oldest first.
    series: Vec<CallPart>,
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    /// About how many.
    waiting: u64,
    /// For how long the oldest has waited.
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
    /// How many wallets.
    count: i64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProviderPace {
    provider: String,
    /// Calls that were looked at.
    calls: usize,
    /// Of these, those that went well.
    well: usize,
    /// Half of them were answered within.
    p50_ms: i64,
    /// 95 percent were.
    p95_ms: i64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallPart {
    /// When it began.
    at: Rfc3339Time,
    /// Calls that were looked at.
    calls: usize,
    /// Of these, those that went well, in percent; 100 where there were none.
    well_percent: f64,
    retryable: usize,
    fatal: usize,
    unknown: usize,
    /// 95 percent were answered within; 0 where there were none.
    p95_ms: i64,
}

/// Calls of one provider with one class of error, in one part of the time.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sampled {
    part: i64,
    provider: String,
    error_class: Option<String>,
    latencies: Vec<i64>,
}

impl Overviews {
    async fn look(&self, window: Window) -> Result<OverviewResponse> {
        let now = self.clock.now();
        let seals = SealStore::new(self.db.clone());
        let (needing_attention, alive, depth, lag, sealing, oldest_ms, wallets, sampled) = tokio::try_join!(
            self.orders.count_needing_attention(),
            self.queue_store.list_alive(),
            self.events.depth(),
            self.events.lag(),
            seals.queue_depth(),
            seals.queue_age_ms(now.timestamp_millis()),
            self.wallets(),
            self.sample(window, now),
        )?;
        let (providers, series) = add_up(window, now, &sampled);
        Ok(OverviewResponse {
            window,
            at: Rfc3339Time(now),
            needing_attention,
            workers: alive.len(),
            relay: Waiting { waiting: depth, oldest_seconds: lag.as_secs_f64() },
            sealer: Waiting { waiting: sealing, oldest_seconds: oldest_ms as f64 / 1_000.0 },
            breakers: self.breakers().await?,
            wallets,
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

    async fn sample(&self, window: Window, now: DateTime) -> Result<Vec<Sampled>> {
        let (parts, length_ms) = window.parts();
        let first = first_part(window, now);
        let pipeline = |part: i64| {
            let begin = first + part * length_ms;
            let ids = doc! { "$gte": first_id_at("res", begin), "$lt": first_id_at("res", begin + length_ms) };
            let group = doc! { "provider": "$provider", "errorClass": "$errorClass" };
            vec![
                doc! { "$match": { "_id": ids } },
                doc! { "$limit": SAMPLE },
                doc! { "$group": { "_id": group, "latencies": { "$push": "$latencyMs" } } },
                doc! { "$project": { "_id": 0, "part": { "$literal": part }, "provider": "$_id.provider",
                "errorClass": { "$ifNull": ["$_id.errorClass", null] }, "latencies": 1 } },
            ]
        };
        let mut stages = pipeline(0);
        stages.extend(
            (1..parts).map(|part| doc! { "$unionWith": { "coll": RESPONSE_LOGS, "pipeline": pipeline(part) } }),
        );
        let calls = self.db.collection::<Document>(RESPONSE_LOGS);
        calls.aggregate(stages).with_type::<Sampled>().max_time(READ_TIME_MAX).await?.try_collect().await
    }
}

/// When the first part began: the last one is the present one.
fn first_part(window: Window, now: DateTime) -> i64 {
    let (parts, length_ms) = window.parts();
    (now.timestamp_millis() / length_ms - parts + 1) * length_ms
}

fn percentile(latencies: &mut [i64], percent: usize) -> i64 {
    latencies.sort_unstable();
    let rank = (latencies.len() * percent).div_ceil(100).max(1);
    latencies.get(rank - 1).copied().unwrap_or_default()
}

fn add_up(window: Window, now: DateTime, sampled: &[Sampled]) -> (Vec<ProviderPace>, Vec<CallPart>) {
    let (parts, length_ms) = window.parts();
    let first = first_part(window, now);
    let mut by_provider: BTreeMap<&str, (usize, Vec<i64>)> = BTreeMap::new();
    for one in sampled {
        let (well, latencies) = by_provider.entry(&one.provider).or_default();
        *well += if one.error_class.is_none() { one.latencies.len() } else { 0 };
        latencies.extend(&one.latencies);
    }
    let providers = by_provider.into_iter().map(|(provider, (well, mut latencies))| ProviderPace {
        provider: provider.to_owned(),
        calls: latencies.len(),
        well,
        p50_ms: percentile(&mut latencies, 50),
        p95_ms: percentile(&mut latencies, 95),
    });
    let series = (0..parts).map(|part| {
        let own: Vec<_> = sampled.iter().filter(|one| one.part == part).collect();
        let of = |class: Option<&str>| {
            own.iter().filter(|one| one.error_class.as_deref() == class).map(|one| one.latencies.len()).sum::<usize>()
        };
        let mut latencies: Vec<i64> = own.iter().flat_map(|one| one.latencies.iter().copied()).collect();
        let calls = latencies.len();
        let well_percent = (of(None) * 1000).checked_div(calls).map_or(100.0, |tenths| tenths as f64 / 10.0);
        CallPart {
            at: Rfc3339Time(DateTime::from_millis(first + part * length_ms)),
            calls,
            well_percent,
            retryable: of(Some("retryable")),
            fatal: of(Some("fatal")),
            unknown: of(Some("unknown")),
            p95_ms: percentile(&mut latencies, 95),
        }
    });
    (providers.collect(), series.collect())
}

/// How everything is: what waits, who works, which providers are not called, what is in wallets, and how calls to providers went in the
/// last hour, day or month, by a sample of each part of it. An answer serves everybody for ten seconds.
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
    let mut latest = overviews.latest.0.lock().await;
    if let Some((_, overview)) = latest.get(&query.window).filter(|(at, _)| at.elapsed() < FRESH_FOR) {
        return Ok(Json(overview.clone()));
    }
    let overview = overviews.look(query.window).await?;
    latest.insert(query.window, (Instant::now(), overview.clone()));
    Ok(Json(overview))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_added_up_by_provider_and_by_part() {
        let sampled = |part, provider: &str, class: Option<&str>, latencies: &[i64]| Sampled {
            part,
            provider: provider.into(),
            error_class: class.map(str::to_owned),
            latencies: latencies.to_vec(),
        };
        let all = [
            sampled(0, "a", None, &[10, 30, 20]),
            sampled(0, "a", Some("fatal"), &[40]),
            sampled(29, "b", Some("unknown"), &[5, 6]),
        ];
        let (providers, series) = add_up(Window::Hour, DateTime::from_millis(7_200_000), &all);
        let told: Vec<_> = providers.iter().map(|p| (&*p.provider, p.calls, p.well, p.p50_ms, p.p95_ms)).collect();
        assert_eq!(told, [("a", 4, 3, 20, 40), ("b", 2, 0, 5, 6)]);
        assert_eq!(series.len(), 30);
        assert_eq!((series[0].calls, series[0].well_percent, series[0].fatal, series[0].p95_ms), (4, 75.0, 1, 40));
        assert_eq!((series[1].calls, series[1].well_percent, series[1].p95_ms), (0, 100.0, 0));
        assert_eq!((series[29].unknown, series[29].well_percent), (2, 0.0));
        assert_eq!(series[29].at.0.timestamp_millis(), 7_200_000, "the present part");
    }
}
