//! The routes of the API, put together and described.

use std::{
    sync::{Arc, LazyLock, atomic::Ordering},
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    extract::State,
    http::header,
    middleware::{from_fn_with_state, map_response},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    description::{self, ApiDoc, DESCRIPTION_PATH},
    problems::only_listed,
};
use crate::{
    modules::{
        admin::{self, ConsoleParts},
        alerts::{self, AlertBoard},
        audit::{AuditStore, CallSearch},
        auth, catalog,
        checkout::{self, Recommendations},
        events::{
            self, EventStore,
            analytics::{self, AnalyticsReader},
        },
        inspection::{
            AccessLog, AccountBoard, AccountTester, AuditTrail, LegalHolds, OrderStories, Overviews, ProviderCalls,
            QueueBoard, Reconciler, SealReader, Searching, Verifications, audit_event_router, audit_export_router,
            dead_jobs_router, legal_hold_router, order_list_router, order_story_router, overview_router,
            provider_account_router, provider_account_test_router, provider_call_router, queue_pace_router,
            queue_router, reconciliation_router, record_access, redaction_policy_router, seal_router, search_router,
            verification_router,
        },
        kyc,
        orders::{self, OrderStore},
        queue::{QueueStore, by_queue_and_kind},
        schedules::{self, ScheduleBoard, ScheduleStore},
        tenants::{self, TenantService, TenantStore},
        wallet::{self, TenantWallets, WalletStore, rates, topups},
        webhooks,
    },
    platform::{
        error::{AppError, ErrorKind, FieldError, Problem},
        http,
        identity::Gate,
        mongo, process_metrics,
    },
};

/// A check of `/readyz` that takes longer counts as down.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// Events that wait for longer in the outbox have nobody who relays them.
const RELAY_LATE: Duration = Duration::from_secs(60);

impl App {
    pub fn router(&self) -> Router {
        let routes = self.described_routes().split_for_parts().0;
        // Megabytes that most processes are never asked for: made again where one is.
        let app = self.clone();
        let json = Arc::new(LazyLock::new(move || app.openapi().to_json().expect("the description has JSON")));
        let limits = self.request_limits.clone();
        let gate = Gate {
            tokens: Arc::clone(&self.tokens),
            revocations: self.revocations.clone(),
            api_keys: Some(Arc::new(self.keys.clone())),
            limits: limits.clone(),
        };
        let routes = routes
            .route(
                DESCRIPTION_PATH,
                get(move || async move { ([(header::CONTENT_TYPE, "application/json")], (**json).clone()) }),
            )
            .merge(description::page())
            .merge(self.metrics_router());
        let access = AccessLog::new(AuditStore::new(self.db.clone()), self.refusals.clone(), self.clock.clone());
        let routes = routes.layer(from_fn_with_state(access, record_access)).layer(map_response(only_listed));
        let routes = routes.layer(Extension(gate));
        // The console asks the API as everybody does, but for the network between.
        let console = admin::router(ConsoleParts {
            api: http::finish(routes.clone(), http::Edge::default()),
            sessions: self.browser_sessions.clone(),
            queues: self.queue_watch(),
            sealing: Arc::clone(&self.sealing),
            clock: self.clock.clone(),
            environment: self.config.environment.clone(),
            public_url: self.config.mail.public_url.clone(),
        });
        http::finish(routes.merge(console), http::Edge { proxies: self.config.trusted_proxies.clone(), limits })
    }

    /// Routes of the worker on METRICS_ADDR.
    pub fn worker_router(&self) -> Router {
        let states = Router::new().route("/healthz", get(health)).route("/readyz", get(ready));
        http::finish(self.metrics_router().merge(states.with_state(self.clone())), http::Edge::default())
    }

    fn metrics_router(&self) -> Router {
        Router::new().route("/metrics", get(show_metrics)).with_state(self.clone())
    }

    fn described_routes(&self) -> OpenApiRouter {
        let board = QueueBoard {
            // Not over the lanes' connections, as a worker's is: who looks at lists must not keep writes from one.
            store: QueueStore::new(self.db.clone()),
            orders: OrderStore::new(self.db.clone()),
            lane: self.api_lane.clone(),
            clock: self.clock.clone(),
            waker: self.waker.clone(),
            dispatch: self.dispatch.clone(),
            watch: self.queue_watch(),
            queues: Arc::new(self.all_queues()),
            handlers: Arc::new(by_queue_and_kind(&self.job_handlers())),
        };
        OpenApiRouter::with_openapi(ApiDoc::openapi())
            .merge(auth::router(Arc::clone(&self.auth)))
            .merge(auth::mail_router(Arc::clone(&self.auth)))
            .merge(auth::users_router(self.users.clone()))
            .merge(auth::api_keys_router(self.keys.clone(), Arc::clone(&self.auth)))
            .merge(auth::totp_router(Arc::clone(&self.auth)))
            .merge(orders::router(self.orders.clone()))
            .merge(orders::comment_router(self.api_lane.clone()))
            .merge(orders::attention_router(self.api_lane.clone()))
            .merge(rates::router(self.rates.clone()))
            .merge(wallet::router(self.wallets.clone()))
            .merge(wallet::reports_router(self.wallets.store().clone(), self.clock.clone()))
            .merge(topups::router(self.topups.clone()))
            .merge(topups::webhook_router(self.topups.clone()))
            .merge(kyc::router(self.kyc.clone()))
            .merge(kyc::review_router(self.kyc.clone()))
            .merge(catalog::router(self.catalog.clone()))
            .merge(checkout::router(self.checkouts.clone()))
            .merge(checkout::recommendations_router(Recommendations::new(&self.db, &self.redis)))
            .merge(checkout::fulfilment_router(self.checkouts.clone()))
            .merge(webhooks::router(self.webhooks.clone()))
            .merge(reconciliation_router(Reconciler {
                store: WalletStore::new(self.db.clone()),
                clock: self.clock.clone(),
            }))
            .merge(provider_account_router(AccountBoard {
                accounts: self.accounts.clone(),
                dispatch: self.dispatch.clone(),
                lane: self.api_lane.clone(),
                clock: self.clock.clone(),
            }))
            .merge(provider_account_test_router(AccountTester {
                accounts: self.accounts.clone(),
                dispatch: self.dispatch.clone(),
                providers: self.providers.clone(),
                lane: self.api_lane.clone(),
                exchange: self.test_exchange.clone(),
            }))
            .merge(provider_call_router(ProviderCalls {
                search: CallSearch::new(self.db.clone()),
                clock: self.clock.clone(),
            }))
            .merge(redaction_policy_router(self.config.retention.retention()))
            .merge(seal_router(SealReader {
                db: self.db.clone(),
                sealing: Arc::clone(&self.sealing),
                keys: self.audit_keys.public.clone(),
            }))
            .merge(audit_export_router(self.exports.clone()))
            .merge(audit_event_router(AuditTrail { db: self.db.clone(), clock: self.clock.clone() }))
            .merge(legal_hold_router(LegalHolds {
                db: self.db.clone(),
                lane: self.guard_lane.clone(),
                indexes_present: Arc::clone(&self.indexes_present),
            }))
            .merge(verification_router(Verifications::new(
                self.db.clone(),
                self.audit_keys.public.clone(),
                Arc::clone(&self.sealing),
                self.clock.clone(),
            )))
            .merge(order_story_router(OrderStories {
                db: self.db.clone(),
                events: EventStore::new(self.db.clone()),
                audit: AuditStore::new(self.db.clone()),
                wallets: WalletStore::new(self.db.clone()),
            }))
            .merge(search_router(Searching { db: self.db.clone() }))
            .merge(overview_router(Overviews {
                db: self.db.clone(),
                clock: self.clock.clone(),
                events: self.event_stats(),
                orders: OrderStore::new(self.db.clone()),
                queue_store: board.store.clone(),
                dispatch: self.dispatch.clone(),
                queues: Arc::clone(&board.queues),
                latest: Default::default(),
            }))
            .merge(dead_jobs_router(board.clone()))
            .merge(queue_pace_router(board.clone()))
            .merge(order_list_router(board.clone()))
            .merge(queue_router(board))
            .merge(tenants::router(TenantService {
                store: TenantStore::new(self.db.clone()),
                lane: self.api_lane.clone(),
                users: self.users.clone(),
            }))
            .merge(orders::tenant_router(OrderStore::new(self.db.clone())))
            .merge(wallet::tenant_router(TenantWallets { service: self.wallets.clone(), users: self.users.clone() }))
            .merge(schedules::router(ScheduleBoard {
                store: ScheduleStore::new(self.db.clone()),
                lane: self.api_lane.clone(),
                waker: self.waker.clone(),
                clock: self.clock.clone(),
                plans: Arc::clone(&self.plans),
                queue: self.config.schedules.queue(),
            }))
            .merge(alerts::router(AlertBoard { store: self.alerts.store.clone() }))
            .merge(events::router(self.event_stats()))
            .merge(analytics::router(AnalyticsReader { db: self.db.clone(), clock: self.clock.clone() }))
            .merge(OpenApiRouter::new().routes(routes!(health)).routes(routes!(ready)).with_state(self.clone()))
    }

    /// The OpenAPI description, for tests and tools.
    #[must_use]
    pub fn openapi(&self) -> utoipa::openapi::OpenApi {
        let mut openapi = self.described_routes().split_for_parts().1;
        description::complete(&mut openapi);
        openapi
    }
}

async fn show_metrics(State(app): State<App>) -> impl IntoResponse {
    app.look_up_gauges().await;
    process_metrics::look();
    app.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}

#[derive(Serialize, ToSchema)]
struct HealthResponse {
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReadyResponse {
    /// `ready`, or `degraded` without Redis or where events wait.
    status: &'static str,
    mongodb: &'static str,
    indexes: &'static str,
    redis: &'static str,
    /// `up`, or `behind` where events have waited in the outbox for more than a minute: no worker relays them.
    relay: &'static str,
    /// Age of the oldest event of the outbox.
    relay_lag_ms: u64,
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, body = HealthResponse)))]
async fn health() -> Json<HealthResponse> {
    Json(HealthResponse { status: "alive" })
}

/// Readiness: whether requests can be served, and what is down. Without Redis, and while events wait for a worker, they can. A process that
/// is about to end serves them still, and says here that the next ones should go elsewhere.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = 200, body = ReadyResponse),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn ready(State(app): State<App>) -> Result<Json<ReadyResponse>, AppError> {
    let stats = app.event_stats();
    let (mongodb, redis, lag) = tokio::join!(
        tokio::time::timeout(READY_TIMEOUT, mongo::ping(&app.db)),
        tokio::time::timeout(READY_TIMEOUT, app.redis.ping()),
        tokio::time::timeout(READY_TIMEOUT, stats.lag()),
    );
    let mut down = Vec::new();
    if app.leaving.load(Ordering::Relaxed) {
        down.push(FieldError::new("process", "stopping", "is about to end; send requests elsewhere"));
    }
    if !matches!(mongodb, Ok(Ok(()))) {
        down.push(FieldError::new("mongodb", "down", "does not answer"));
    }
    if !app.indexes_present.load(Ordering::Relaxed) {
        down.push(FieldError::new("indexes", "missing", "required indexes are not there; run `waybill migrate`"));
    }
    let redis_up = matches!(redis, Ok(Ok(())));
    let lag = lag.ok().and_then(Result::ok).unwrap_or_default();
    let relay_up = lag < RELAY_LATE;
    if down.is_empty() {
        return Ok(Json(ReadyResponse {
            status: if redis_up && relay_up { "ready" } else { "degraded" },
            mongodb: "up",
            indexes: "up",
            redis: if redis_up { "up" } else { "down" },
            relay: if relay_up { "up" } else { "behind" },
            relay_lag_ms: lag.as_millis() as u64,
        }));
    }
    if !redis_up {
        down.push(FieldError::new("redis", "down", "does not answer; Waybill works without it, slower"));
    }
    let error =
        AppError::new(ErrorKind::Unavailable, "service.not_ready", "Something that is needed is down; see errors.");
    Err(AppError { fields: down, ..error.retry_after(Duration::from_secs(2)) })
}
