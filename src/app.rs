//! The composition root: every concrete part, put together once.

mod alert_watch;
mod alerts;
mod callers;
mod database;
mod description;
mod error;
mod following;
mod gauges;
mod last_read;
mod mail;
mod problems;
mod routes;
mod schedules;
mod sealing;
mod shop;
mod webhooks;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics_exporter_prometheus::PrometheusHandle;
use mongodb::Database;

use crate::{
    config::{AuditKeys, Config, Enforcement, OnOff, StartupSecrets},
    modules::{
        alerts::AlertWatch,
        audit::{
            self, AuditStore, Refusals,
            export::Exporter,
            retention::Purger,
            seals::{Sealer, leaf_hashes},
            verification::{ChainError, ChainPart, Report, verify_chain},
        },
        auth::{self, AuthService, BrowserSessions, KeyRing, Users},
        catalog::CatalogService,
        checkout::{self, CheckoutService, FollowOrders, ForgetRecommendations, FulfilCheckouts},
        events::{self, Consumer, EventHandler, EventStore, RELAY},
        inspection::{AuditExports, TEST_DEADLINE},
        kyc::{self, KycGate, KycService, KycStore},
        notifications::{MAIL_QUEUE, Mailer},
        orders::{OrderFiles, OrderService, OrderStore},
        providers::{Accounts, Dispatcher, Providers, accounts::CloseTests, registry::VERIFIER},
        queue::{JobHandler, QueueConfig, QueueStore, QueueWatch, Waker, Worker, WorkerParts},
        schedules::{RunScheduleJobs, ScheduleConfig, ScheduleStore, Scheduler},
        wallet::{
            WalletService, WalletStore,
            rates::RateCards,
            topups::{self, TopupService, TopupStore},
        },
        webhooks::WebhookService,
    },
    platform::{
        batch::Lane,
        clock::{Clock, SYNC_EVERY},
        exchange::ExchangeClient,
        http::transfers::Transfers,
        identity::{Revocations, tokens::TokenKeys},
        metrics, mongo,
        rate_limit::{RateLimiter, RequestLimits},
        redis::Redis,
        sealing::SealingKeys,
        singleton::Singleton,
    },
};

pub use database::{collections, indexes, migrate};
pub use error::BuildError;
pub use problems::{PROBLEM_CODES, ProblemCode, problem_code, problem_table};

/// How often a process looks whether the unique indexes are there, until they are.
const INDEX_CHECK_EVERY: Duration = Duration::from_secs(2);
/// Until a process has seen the database's clock it looks this often.
const FIRST_LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a process looks what has become of accounts at providers.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(1);
/// How often samples of histograms are put into their buckets.
const METRICS_UPKEEP_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct App {
    pub config: Arc<Config>,
    pub db: Database,
    /// The same database over the connections of lanes, whose commands nobody watches.
    lanes: Database,
    pub redis: Redis,
    pub clock: Clock,
    /// Users and sessions.
    pub auth: Arc<AuthService>,
    /// Everybody's accounts, for administrators.
    pub users: Users,
    /// Everybody's API keys.
    pub keys: KeyRing,
    pub orders: OrderService,
    /// Wallets and the ledger.
    pub wallets: WalletService,
    /// Top-ups of wallets.
    pub topups: TopupService,
    pub kyc: KycService,
    /// Products of merchants.
    pub catalog: CatalogService,
    pub checkouts: CheckoutService,
    /// Endpoints of merchants, and what is posted to them.
    pub webhooks: WebhookService,
    /// Mail to users; none where no mail server is configured.
    pub mailer: Option<Mailer>,
    /// Watches for alerts, with its settings.
    pub alerts: AlertWatch,
    pub accounts: Accounts,
    /// Sends test calls of these.
    test_exchange: ExchangeClient,
    pub queue_store: QueueStore,
    pub waker: Waker,
    /// With which accounts jobs run.
    pub dispatch: Dispatcher,
    pub providers: Providers,
    pub payments: QueueConfig,
    pub checks: QueueConfig,
    /// Scheduled jobs.
    pub plans: Arc<Vec<ScheduleConfig>>,
    browser_sessions: BrowserSessions,
    queue_watch: Arc<OnceLock<QueueWatch>>,
    exports: AuditExports,
    rates: RateCards,
    tokens: Arc<TokenKeys>,
    revocations: Revocations,
    request_limits: Option<RequestLimits>,
    refusals: Refusals,
    handlers: Vec<Arc<dyn JobHandler>>,
    event_handlers: Vec<Arc<dyn EventHandler>>,
    consumers: Vec<Arc<dyn Consumer>>,
    api_lane: Lane,
    /// For what writes the guard of legal holds, which a purge writes too.
    guard_lane: Lane,
    completion_lane: Lane,
    sealer: Option<Arc<Sealer>>,
    audit_keys: AuditKeys,
    sealing: Arc<SealingKeys>,
    indexes_present: Arc<AtomicBool>,
    leaving: Arc<AtomicBool>,
    last_look: last_read::LastRead,
    metrics: PrometheusHandle,
}

fn purger(config: &Config, keys: &AuditKeys, db: &Database, clock: &Clock) -> Option<Purger> {
    let keys = keys.purge_keys()?;
    Some(Purger::new(db.clone(), clock.clone(), config.retention.retention(), keys))
}

impl App {
    /// Puts the parts together; connects lazily, so it succeeds while the stores are away.
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        let secrets = config.check().map_err(BuildError::Config)?;
        mongo::slow::log_slower_than(Duration::from_millis(config.slow_query_ms));
        let db = mongo::connect_watched(&config.stores.mongodb_uri).await?;
        // Connections of their own: who polls lists must not keep writes from one.
        let lanes = mongo::connect(&config.stores.mongodb_uri).await?;
        let redis = Redis::new(&config.stores.redis_url, &config.stores.redis_prefix)?;
        Self::assemble(config, &secrets, db, &lanes, redis)
    }

    fn assemble(
        config: Config,
        secrets: &StartupSecrets,
        db: Database,
        lanes: &Database,
        redis: Redis,
    ) -> Result<Self, BuildError> {
        let clock = Clock::default();
        let tokens = Arc::new(TokenKeys::new(&secrets.jwt, secrets.jwt_previous.as_ref(), clock.clone()));
        let limiter = RateLimiter::new(redis.clone());
        let request_limits = config.request_limits(&limiter);
        let waker = Waker::new(redis.clone());
        let queue_store = QueueStore::new(lanes.clone());
        let providers = config.order_providers();
        let indexes_present = Arc::new(AtomicBool::new(false));
        let relay_waker = waker.clone();
        let journal = audit::journal()
            .hashing(leaf_hashes(&db, &secrets.sealing))
            .announcing(Arc::new(move || relay_waker.wake(RELAY)));
        let lane = |name| Lane::start(name, lanes.clone(), clock.clone(), journal.clone());
        let api_lane = Lane::start_in_turns("api", lanes.clone(), clock.clone(), journal.clone(), redis.clone());
        let guard_lane = lane("guard");
        let rates = RateCards::new(db.clone(), clock.clone());
        let refusals = Refusals::new(AuditStore::new(db.clone()));
        let revocations = Revocations::default();
        let users =
            Users::new(db.clone(), api_lane.clone(), clock.clone(), revocations.clone(), secrets.mail.is_some());
        let limits =
            auth::AttemptLimits { requests_limited: config.rate_limit == OnOff::On, ..auth::AttemptLimits::default() };
        let second_factor = auth::SecondFactor {
            sealing: Arc::clone(&secrets.sealing),
            required_of_staff: config.staff_totp == Enforcement::Required,
        };
        let keys = KeyRing::new(auth::KeyRingParts {
            db: db.clone(),
            lane: api_lane.clone(),
            clock: clock.clone(),
            revocations: revocations.clone(),
            limiter: limiter.clone(),
            limits,
            second_factor: second_factor.clone(),
        });
        let link_keys = auth::LinkKeys::derive(&secrets.jwt, secrets.jwt_previous.as_ref());
        let auth = Arc::new(AuthService::new(auth::AuthParts {
            db: db.clone(),
            lane: api_lane.clone(),
            refusals: refusals.clone(),
            clock: clock.clone(),
            tokens: Arc::clone(&tokens),
            limiter,
            refresh_keys: auth::RefreshKeys::derive(&secrets.jwt, secrets.jwt_previous.as_ref()),
            device_keys: auth::DeviceKeys::derive(&secrets.jwt, secrets.jwt_previous.as_ref()),
            link_keys: link_keys.clone(),
            revocations: revocations.clone(),
            limits,
            password_cost: config.password_cost,
            second_factor,
        }));
        let browser_sessions = auth.browser_sessions(&secrets.jwt, secrets.jwt_previous.as_ref());
        let gate = KycGate::new(config.kyc_required);
        let environment = config.providers.accounts();
        let accounts = Accounts::new(&db, Arc::clone(&secrets.sealing), clock.clone(), environment);
        let dispatch = callers::dispatcher(&config, &accounts, &db, &clock, &queue_store, &waker);
        let transfers = Transfers::default();
        let orders = OrderService {
            lane: api_lane.clone(),
            gate,
            store: OrderStore::new(db.clone()),
            events: EventStore::new(db.clone()),
            audit: AuditStore::new(db.clone()),
            waker: waker.clone(),
            providers: providers.clone(),
            dispatch: dispatch.clone(),
            rates: rates.clone(),
            files: OrderFiles::new(db.clone(), Arc::clone(&secrets.sealing), clock.clone()),
            transfers: transfers.clone(),
            indexes_present: Arc::clone(&indexes_present),
        };
        let wallets = WalletService::new(
            api_lane.clone(),
            WalletStore::new(db.clone()),
            clock.clone(),
            Arc::clone(&indexes_present),
        );
        let payments = config.payments_queue();
        let gateway = callers::gateway(&config);
        let topups = TopupService {
            lane: api_lane.clone(),
            gate,
            store: TopupStore::new(db.clone()),
            waker: waker.clone(),
            queue: payments.clone(),
            gateway: gateway.clone(),
            expires_in: Duration::from_millis(config.topup_expires_ms),
            payees: shop::payees(&config),
            customer_max: config.customer_topup_max.clone(),
            clock: clock.clone(),
            indexes_present: Arc::clone(&indexes_present),
        };
        let checks = config.kyc_queue();
        let kyc = KycService {
            lane: api_lane.clone(),
            documents_lane: lane("documents"),
            guard_lane: guard_lane.clone(),
            store: KycStore::new(db.clone()),
            audit: AuditStore::new(db.clone()),
            waker: waker.clone(),
            queue: config.providers.of_service(VERIFIER).map(|_| checks.clone()),
            keys: Arc::clone(&secrets.sealing),
            papers_key: Arc::default(),
            four_eyes: config.kyc_four_eyes,
            name_match_min_percent: config.kyc_name_match_min_percent,
            clock: clock.clone(),
            transfers,
            indexes_present: Arc::clone(&indexes_present),
        };
        let (catalog, checkouts) = shop::services(&config, &db, &api_lane, &orders);
        let sealer = sealing::sealer(&config, secrets, lanes, &clock)?;
        let exporter = Exporter::new(
            db.clone(),
            Arc::clone(&secrets.sealing),
            secrets.audit.signer.clone(),
            secrets.audit.public.clone(),
        );
        let exports = AuditExports::new(exporter, clock.clone());
        let (completion_lane, begin_lane) = (lane("complete"), lane("begin"));
        let mut handlers = callers::handlers(&config, secrets, &accounts, gateway, &begin_lane, &clock, &orders)?;
        let mailer = mail::mailer(secrets, &db, &begin_lane, &link_keys, &clock)?;
        let mut event_handlers = callers::event_handlers(&config, secrets, &db, mailer.as_ref());
        if let Some(mailer) = &mailer {
            handlers.push(Arc::new(mail::reports(&config, &db, mailer, &clock)));
        }
        let plans = schedules::plans(&config.schedules, mailer.is_some());
        let plans = plans.map_err(|error| BuildError::Config(error.to_string()))?;
        let tasks = schedules::tasks(schedules::TaskParts {
            db: db.clone(),
            keys: secrets.audit.public.clone(),
            sealing: Arc::clone(&secrets.sealing),
            purger: purger(&config, &secrets.audit, &db, &clock),
            daily_reports: mailer.as_ref().map(|_| mail::daily_reports(&config, &db, &begin_lane, &clock, &waker)),
        });
        handlers.push(Arc::new(RunScheduleJobs { tasks, queue: config.schedules.queue() }));
        handlers.push(Arc::new(FulfilCheckouts { orders: orders.clone() }));
        handlers.push(Arc::new(CloseTests { queue: events::queue() }));
        let webhooks = webhooks::service(&config, secrets, &db, &api_lane, &clock, &waker, &indexes_present);
        handlers.extend(webhooks::handlers(&config, &webhooks, &begin_lane)?);
        let consumers = callers::consumers(&config, &clock);
        let alerts = alert_watch::watch(&config, secrets.alert_channels.clone(), &db, &completion_lane, &clock)?;
        event_handlers.push(webhooks::sample_endpoint(secrets, &begin_lane));
        event_handlers.push(Arc::new(ForgetRecommendations::new(redis.clone())));
        event_handlers.push(Arc::new(FollowOrders { lane: begin_lane.clone(), payments: payments.clone() }));
        Ok(Self {
            config: Arc::new(config),
            db,
            lanes: lanes.clone(),
            redis,
            clock,
            auth,
            users,
            keys,
            orders,
            wallets,
            topups,
            kyc,
            catalog,
            checkouts,
            webhooks,
            accounts,
            test_exchange: ExchangeClient::new(TEST_DEADLINE)?,
            browser_sessions,
            queue_watch: Arc::default(),
            exports,
            rates,
            queue_store,
            waker,
            dispatch,
            providers,
            payments,
            checks,
            plans: Arc::new(plans),
            tokens,
            revocations,
            request_limits,
            refusals,
            handlers,
            mailer,
            alerts,
            event_handlers,
            consumers,
            api_lane,
            guard_lane,
            completion_lane,
            sealer,
            audit_keys: secrets.audit.clone(),
            sealing: Arc::clone(&secrets.sealing),
            indexes_present,
            leaving: Arc::default(),
            last_look: last_read::LastRead::default(),
            metrics: metrics::install(),
        })
    }

    /// The reader of queue figures that all open boards share.
    fn queue_watch(&self) -> QueueWatch {
        let (store, clock) = (self.queue_store.clone(), self.clock.clone());
        self.queue_watch.get_or_init(|| QueueWatch::new(store, clock, self.all_queues(), self.leaving())).clone()
    }

    /// Keys that encrypt personal data at rest.
    #[must_use]
    pub const fn sealing(&self) -> &Arc<SealingKeys> {
        &self.sealing
    }

    /// Seals are signed and checked by these.
    #[must_use]
    pub const fn audit_keys(&self) -> &AuditKeys {
        &self.audit_keys
    }

    /// Set once this process is about to end: `/readyz` then sends whoever asks elsewhere.
    #[must_use]
    pub fn leaving(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.leaving)
    }

    /// Creates what is missing in the database and lets writes in.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn migrate(&self) -> mongodb::error::Result<()> {
        migrate(&self.db).await?;
        self.indexes_present.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Says that a user need not be verified; for whoever has the command line.
    ///
    /// # Errors
    /// As [`kyc::grant`].
    pub async fn grant_kyc(&self, user_id: &str) -> Result<(), kyc::KycError> {
        kyc::grant(&self.api_lane, user_id).await
    }

    /// The queues of all providers of orders.
    fn order_queues(&self) -> Vec<QueueConfig> {
        self.providers.all().flat_map(|provider| [provider.create.clone(), provider.cancel.clone()]).collect()
    }

    /// Queues whose jobs every worker can run, with those that event handlers bring.
    fn own_queues(&self) -> Vec<QueueConfig> {
        let mut queues =
            vec![checkout::queue(), events::queue(), self.webhooks.queue.clone(), self.config.schedules.queue()];
        for queue in self.event_handlers.iter().map(|handler| handler.queue()) {
            if queue.name != MAIL_QUEUE && queues.iter().all(|known| known.name != queue.name) {
                queues.push(queue);
            }
        }
        queues
    }

    /// Every queue, whoever runs its jobs.
    #[must_use]
    pub fn all_queues(&self) -> Vec<QueueConfig> {
        let others = [self.payments.clone(), self.checks.clone(), self.config.mail_queue()].into_iter();
        let others = others.chain(self.own_queues()).collect();
        [self.order_queues(), others].concat()
    }

    /// Queues whose jobs somebody here can run: without a payment gateway, payments wait for a worker that has
    /// one, and so do applications without a verification provider.
    fn worked_queues(&self) -> Vec<QueueConfig> {
        let mut queues = self.order_queues();
        let has = |kind| self.handlers.iter().any(|handler| handler.kind() == kind);
        if has(topups::START_KIND) {
            queues.push(self.payments.clone());
        }
        if has(kyc::VERIFY_KIND) {
            queues.push(self.checks.clone());
        }
        if self.mailer.is_some() {
            queues.push(self.config.mail_queue());
        }
        queues.extend(self.own_queues());
        queues
    }

    /// A worker over these parts.
    #[must_use]
    pub fn worker(&self) -> Worker {
        Worker::new(WorkerParts {
            settings: self.config.worker_settings(),
            store: self.queue_store.clone(),
            lane: self.completion_lane.clone(),
            clock: self.clock.clone(),
            waker: self.waker.clone(),
            dispatch: Arc::new(self.webhooks.dispatch(Arc::new(self.dispatch.clone()))),
            queues: self.worked_queues(),
            handlers: self.job_handlers(),
        })
    }

    /// The sealer of audit records; none without a signing key.
    #[must_use]
    pub fn sealer(&self) -> Option<Arc<Sealer>> {
        self.sealer.clone()
    }

    /// Deletes audit records past their retention; none without a key to sign purge records.
    #[must_use]
    pub fn purger(&self) -> Option<Purger> {
        purger(&self.config, &self.audit_keys, &self.db, &self.clock)
    }

    /// Starts scheduled jobs.
    #[must_use]
    pub fn scheduler(&self) -> Scheduler {
        Scheduler {
            store: ScheduleStore::new(self.db.clone()),
            lane: self.completion_lane.clone(),
            lease: Singleton::new(self.db.clone(), "schedules"),
            clock: self.clock.clone(),
            waker: self.waker.clone(),
            plans: Arc::clone(&self.plans),
            queue: self.config.schedules.queue(),
            since: Arc::default(),
        }
    }

    /// Checks the audit's seals with the keys of the configuration.
    ///
    /// # Errors
    /// [`ChainError`] where they could not be checked; what is wrong is in the report.
    pub async fn verify_audit(&self, part: ChainPart) -> Result<Report, ChainError> {
        verify_chain(&self.db, &self.audit_keys.public, &self.sealing, part, |_| {}).await
    }

    /// Resolves once the database's clock was seen: no lease may be judged by the host's. [`App::start_background`] looks.
    pub async fn clock_synced(&self) {
        while !self.clock.is_synced() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Looks what has become of the accounts at providers. [`App::start_background`] does so every second; where the database
    /// is away they stay as they were: nothing is called then either.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn refresh_accounts(&self) -> mongodb::error::Result<()> {
        self.dispatch.set_accounts(self.accounts.facts().await?);
        Ok(())
    }

    /// Background work of every process: following the database's clock and the accounts at providers, waiting for
    /// indexes, publishing wake-ups.
    pub fn start_background(&self) {
        let (clock, db) = (self.clock.clone(), self.db.clone());
        tokio::spawn(async move {
            loop {
                let pause = match clock.sync(&db).await {
                    Ok(()) if clock.is_synced() => SYNC_EVERY,
                    // It took too long to tell the time, and workers wait for that.
                    Ok(()) => FIRST_LOOK_EVERY,
                    Err(error) => {
                        tracing::debug!(%error, "the database's clock can't be read");
                        INDEX_CHECK_EVERY
                    }
                };
                tokio::time::sleep(pause).await;
            }
        });
        let (present, db) = (Arc::clone(&self.indexes_present), self.db.clone());
        tokio::spawn(async move {
            let indexes = indexes();
            while !present.load(Ordering::Relaxed) {
                match mongo::missing_unique_indexes(&db, &indexes).await {
                    Ok(missing) if missing.is_empty() => present.store(true, Ordering::Relaxed),
                    Ok(missing) => {
                        tracing::warn!(missing = missing.join(", "), "writes wait for `waybill migrate`");
                        tokio::time::sleep(INDEX_CHECK_EVERY).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the database is away");
                        tokio::time::sleep(INDEX_CHECK_EVERY).await;
                    }
                }
            }
        });
        let waker = self.waker.clone();
        tokio::spawn(async move { waker.run_publisher().await });
        let app = self.clone();
        tokio::spawn(async move {
            loop {
                if let Err(error) = app.refresh_accounts().await {
                    tracing::debug!(%error, "accounts at providers can't be read");
                }
                tokio::time::sleep(ACCOUNTS_EVERY).await;
            }
        });
        let recorder = self.metrics.clone();
        tokio::spawn(async move {
            // Samples pile up until they are put into their buckets, also where nobody scrapes.
            loop {
                tokio::time::sleep(METRICS_UPKEEP_EVERY).await;
                recorder.run_upkeep();
            }
        });
    }
}
