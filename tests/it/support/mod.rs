//! A whole application per test: its own database, its own key prefix, its own carrier. Workers are driven by
//! [`TestApp::run_jobs`]; the clock can be moved; [`TestApp::finish`] checks what must hold after every test.

#![allow(dead_code)]

pub mod browser;
pub mod carrier;
pub mod chromium;
pub mod databases;
pub mod drive;
pub mod gateway;
pub mod held;
pub mod kyc;
pub mod ledger_chance;
pub mod ledger_model;
pub mod liar;
pub mod mailbox;
pub mod orders;
pub mod process;
pub mod proxy;
pub mod receiver;
pub mod registry;
pub mod retention;
pub mod seals;
pub mod secrets;
pub mod servers;
pub mod snapshot;
pub mod stand;
pub mod totp;
pub mod verify;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use reqwest::{Method, StatusCode, header::HeaderMap};
use secrecy::SecretString;
use serde_json::Value;
use waybill::{
    app::{App, problem_code},
    config::{Config, config_from},
    modules::{
        auth::PasswordCost,
        catalog::{CatalogStore, check_stock},
        inspection::check_all,
        providers::registry::PROVIDERS,
        queue::Worker,
        wallet::WalletStore,
    },
    platform::{
        differences::{Difference, Differences},
        identity::{Role, tokens::TokenKeys},
        money::{Currency, Money},
    },
};

pub use browser::Browser;
pub use carrier::Carrier;
use databases::Taken;
pub use gateway::Gateway;
pub use kyc::IdCheck;
pub use registry::Registry;
use stand::Stand;

/// Short: to tell whether a password is a likely one takes the longer the more parts it has, for each of hundreds of users.
pub const PASSWORD: &str = "k7Vq2xRm9tZw";
/// Opening credit of a test's merchant, in paise.
pub const PLENTY: i64 = 1_000_000_000;
/// Signs the audit's seals of a test.
pub const SIGNING_KEY: &str = "5555555555555555555555555555555555555555555555555555555555555555";
/// How often [`eventually`] looks, at first and at last.
const POLL_MIN: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_millis(200);
pub const JWT_SECRET: &str = "test-secret-test-secret-test-secret-test";

/// A user of a test and its access token.
#[derive(Clone, Debug)]
pub struct User {
    pub user_id: String,
    pub email: String,
    pub token: String,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// `code` of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Fields that a problem blames, as `field:code`, sorted.
    pub fn blamed(&self) -> Vec<String> {
        let errors = self.body["errors"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut blamed: Vec<_> =
            errors.iter().map(|error| format!("{}:{}", text(&error["field"]), text(&error["code"]))).collect();
        blamed.sort();
        blamed
    }

    /// Asserts status and that an error is a well-formed problem.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert!(self.headers.contains_key("x-request-id"), "every answer has a request id");
        if status >= 400 {
            assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
            assert_eq!(self.body["status"], status, "{}", self.text);
            assert_eq!(self.body["requestId"], self.headers["x-request-id"].to_str().unwrap());
            let listed = problem_code(self.code()).map(|known| known.status);
            assert_eq!(listed, Some(status), "{} is to be in the table of codes", self.code());
        }
        self
    }
}

/// The application under test.
pub struct TestApp {
    pub app: App,
    pub worker: Worker,
    pub carrier: Arc<Carrier>,
    pub gateway: Gateway,
    pub idcheck: IdCheck,
    pub base: String,
    pub client: reqwest::Client,
    pub mongodb_uri: String,
    pub redis_url: String,
    pub redis_prefix: String,
    /// Applicants so far: each has papers of its own.
    applicants: Arc<std::sync::atomic::AtomicUsize>,
    took_database: bool,
    finished: bool,
}

/// The environment that `scripts/test` sets.
pub fn server(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with scripts/test"))
}

/// A client for tests. Reading the root certificates takes its time, and nobody here speaks TLS.
pub fn http_client(timeout: Duration) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(timeout).build().unwrap()
}

/// A name that no other test has.
pub fn unique(prefix: &str) -> String {
    let id = waybill::platform::ids::new_id("t");
    format!("{prefix}_{}", &id[id.len() - 20..])
}

/// `uri` with the database `name` in its path.
pub fn with_database(uri: &str, name: &str) -> String {
    let (hosts, options) = uri.split_once("/?").map_or((uri.trim_end_matches('/'), ""), |(h, o)| (h, o));
    format!("{hosts}/{name}?{options}")
}

impl TestApp {
    /// With settings for tests: short backoff, no rate limit.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with further flags.
    pub async fn with(flags: &[&str]) -> Self {
        let taken = databases::take().await;
        let mongodb_uri = with_database(&server("MONGODB_URI"), &taken.name);
        Self::begin(mongodb_uri, server("REDIS_URL"), flags, Some(taken)).await
    }

    /// With a database of its own in the mongod of this URI.
    pub async fn on(mongodb_uri: &str, flags: &[&str]) -> Self {
        if mongodb_uri == server("MONGODB_URI") {
            Self::with(flags).await
        } else {
            Self::over(with_database(mongodb_uri, &unique("waybill")), server("REDIS_URL"), flags).await
        }
    }

    /// Over given stores. The database stays: its server has few of them, or ends with the test.
    pub async fn over(mongodb_uri: String, redis_url: String, flags: &[&str]) -> Self {
        Self::begin(mongodb_uri, redis_url, flags, None).await
    }

    async fn begin(mongodb_uri: String, redis_url: String, flags: &[&str], taken: Option<Taken>) -> Self {
        let (carrier, redis_prefix) = (Arc::new(Carrier::start().await), unique("p"));
        let app = Self::build(carrier, mongodb_uri, redis_url, redis_prefix, flags, taken).await;
        app.gateway.calls_back(&app.base).await;
        app
    }

    /// Another one over the same stores and stand-ins, with settings of its own. The first one is to be finished.
    pub async fn beside(&self, flags: &[&str]) -> Self {
        let (uri, url, prefix) = (self.mongodb_uri.clone(), self.redis_url.clone(), self.redis_prefix.clone());
        let mut other = Self::build(Arc::clone(&self.carrier), uri, url, prefix, flags, None).await;
        other.finished = true;
        other.applicants = Arc::clone(&self.applicants);
        other
    }

    async fn build(
        carrier: Arc<Carrier>,
        mongodb_uri: String,
        redis_url: String,
        redis_prefix: String,
        flags: &[&str],
        taken: Option<Taken>,
    ) -> Self {
        let config = test_config(&mongodb_uri, &redis_url, &redis_prefix, &carrier.base_url(), flags);
        let app = App::build(config).await.expect("the parts fit together");
        if taken.as_ref().is_some_and(|taken| taken.is_left) {
            databases::prepare_again(&app.db).await;
            app.orders.indexes_present.store(true, Ordering::Relaxed);
        } else {
            app.migrate().await.expect("the database can be prepared");
        }
        let base = serve(&app).await;
        let gateway = Gateway::beside(&carrier);
        let idcheck = IdCheck::beside(&carrier);
        let client = carrier.client.clone();
        let worker = app.worker();
        Self {
            app,
            worker,
            carrier,
            gateway,
            idcheck,
            base,
            client,
            mongodb_uri,
            redis_url,
            redis_prefix,
            applicants: Default::default(),
            took_database: taken.is_some(),
            finished: false,
        }
    }

    pub fn db(&self) -> &Database {
        &self.app.db
    }

    /// Runs what is due until nothing is.
    pub async fn run_jobs(&self) {
        let began = Instant::now();
        while self.worker.run_due().await > 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "jobs don't come to an end");
        }
    }

    /// Moves the clock past every backoff and runs what is due then, until nothing is left to wait for but the payment
    /// gateway, which has a clock of its own.
    pub async fn run_jobs_to_the_end(&self) {
        let mut last = None;
        for _ in 0..200 {
            self.run_jobs().await;
            let jobs = self.db().collection::<Document>("jobs");
            let waiting = doc! { "state": "ready", "kind": { "$ne": "check-payment" } };
            let next = jobs.find_one(waiting).sort(doc! { "runAt": 1 }).await.unwrap();
            let Some(next) = next else { return };
            // Longer than any backoff, so that a throttled queue is not in the way, or until the next job's time.
            let until = next.get_datetime("runAt").unwrap().timestamp_millis() - self.app.clock.now_ms();
            self.app.clock.advance(Duration::from_millis(until.max(400_000) as u64));
            last = Some(next);
        }
        panic!("jobs don't come to an end, such as {last:?}");
    }

    /// A new merchant with a token, and with money for all that a test does.
    pub async fn merchant(&self) -> User {
        self.merchant_with(PLENTY).await
    }

    /// A new merchant with a token and so many rupees, in paise; verified.
    pub async fn merchant_with(&self, amount: i64) -> User {
        let user = self.user(Role::Merchant).await;
        self.app.grant_kyc(&user.user_id).await.expect("known already");
        if amount > 0 {
            self.credit(&user, amount).await;
        }
        user
    }

    /// Gives an existing user money.
    pub async fn credit(&self, user: &User, amount: i64) {
        let credit = Money::new(amount, Currency::INR);
        self.app.wallets.open_with(&user.user_id, credit).await.expect("a credit");
    }

    /// Gives an existing user money of another currency.
    pub async fn credit_in(&self, user: &User, amount: i64, currency: &str) {
        let credit = Money::new(amount, Currency::from_code(currency).expect("a currency"));
        self.app.wallets.open_with(&user.user_id, credit).await.expect("a credit");
    }

    /// What a merchant has: available and held.
    pub async fn balance(&self, user: &User) -> (i64, i64) {
        let wallet = self.get(user, "/wallet").await.expect(200).body;
        (wallet["available"].as_i64().unwrap(), wallet["held"].as_i64().unwrap())
    }

    /// A new user of any role with a token.
    pub async fn user(&self, role: Role) -> User {
        let email = format!("{}@example.com", unique(role.as_str()));
        let password = SecretString::from(PASSWORD);
        let created = self.app.auth.create_user(&email, &password, "Test User", role).await;
        let (user, _) = created.expect("a user can be created");
        // Tests move the clock, by a year at most, and their users stay signed in.
        let keys = TokenKeys::new(&SecretString::from(JWT_SECRET), None, self.app.clock.clone());
        let token = keys.issue(user.access_token(), self.app.clock.now_ms() + 2 * 366 * 86_400_000).unwrap();
        User { user_id: user.id, email, token }
    }

    pub async fn request(&self, method: Method, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        read(request.send().await.expect("the api answers")).await
    }

    pub async fn get(&self, user: &User, path: &str) -> Answer {
        self.request(Method::GET, path, Some(&user.token), None).await
    }

    pub async fn post(&self, user: &User, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, Some(&user.token), Some(body)).await
    }

    pub async fn create(&self, user: &User, client_order_id: &str) -> Answer {
        self.post(user, "/orders/create", &orders::order(client_order_id)).await
    }

    pub async fn cancel(&self, user: &User, client_order_id: &str) -> Answer {
        self.post(user, "/orders/cancel", &serde_json::json!({ "clientOrderId": client_order_id })).await
    }

    /// The order as it stands.
    pub async fn order(&self, user: &User, order_id: &str) -> Value {
        self.get(user, &format!("/orders/{order_id}")).await.expect(200).body
    }

    pub async fn all(&self, collection: &str, filter: Document) -> Vec<Document> {
        let collection = self.db().collection::<Document>(collection);
        collection.find(filter).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
    }

    /// Checks what must hold after every test, and leaves the database.
    pub async fn finish(mut self) {
        self.finished = true;
        check_invariants(self.db(), &self.carrier).await;
        assert_eq!(
            self.gateway.books().await["violations"],
            serde_json::json!([]),
            "the gateway saw malformed requests"
        );
        let identity = self.idcheck.books().await;
        let wrong = [&identity["violations"], &identity["conflicts"], &identity["deposits"]["repeated"]];
        assert_eq!(
            serde_json::json!(wrong),
            serde_json::json!([[], 0, []]),
            "the verification provider saw malformed or doubled requests"
        );
        self.leave_database().await;
    }

    /// Ends a test whose carrier was told to break the invariants.
    pub async fn finish_unchecked(mut self) {
        self.finished = true;
        self.leave_database().await;
    }

    async fn leave_database(&self) {
        if self.took_database {
            databases::leave(self.db()).await;
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        assert!(self.finished || std::thread::panicking(), "a test ends with finish()");
    }
}

/// What must hold once the dust has settled:
/// every request log is closed; nobody holds a lease; every order is at its provider at most once, exactly once where it is
/// confirmed; what is cancelled or failed is not alive there; every order has its event and its job's end; no provider saw
/// anything malformed; debits equal credits, balances equal their lines, and every hold is where its order wants it; no
/// application waits for checks that nobody makes.
pub async fn check_invariants(db: &Database, carrier: &Carrier) {
    let all = async |name: &str| -> Vec<Document> {
        let documents = db.collection::<Document>(name);
        documents.find(doc! {}).await.unwrap().try_collect().await.unwrap()
    };
    assert_eq!(differences(db).await, [], "the books differ");
    for provider in PROVIDERS {
        let books = Stand::beside(carrier, provider.name).books().await;
        let wrong = serde_json::json!([books["violations"], books["duplicates"]]);
        assert_eq!(wrong, serde_json::json!([[], 0]), "{}: malformed or doubled requests: {books}", provider.name);
    }
    let answered: std::collections::HashSet<String> =
        all("provider_response_logs").await.iter().map(|log| log.get_str("requestRefId").unwrap().to_owned()).collect();
    for request in all("provider_request_logs").await {
        assert!(answered.contains(request.get_str("_id").unwrap()), "a request log was left open: {request}");
    }
    let jobs = all("jobs").await;
    for job in &jobs {
        assert_ne!(job.get_str("state").unwrap(), "active", "a job is still in somebody's hands: {job}");
    }
    for application in all("kyc_applications").await {
        let id = application.get_str("_id").unwrap();
        let job = jobs.iter().find(|job| job.get_str("_id").ok() == application.get_str("jobId").ok());
        let is_made = job.is_some_and(|job| job.get_str("state").unwrap() != "done");
        assert!(is_made || application.get_str("state").unwrap() != "submitted", "nobody checks {id}");
        assert_eq!(application.get("openCall"), Some(&bson::Bson::Null), "{id} has a call that nobody closed");
    }
    let events = all("events").await;
    // By this it is told in which of the two books an action can be.
    let has_dot = |event: &Document| event.get_str("type").unwrap().contains('.');
    assert!(!events.iter().any(has_dot), "types of events have no dot: {events:?}");
    let acts = db.collection::<Document>("audit_events");
    let dotless = acts.count_documents(doc! { "action": { "$not": { "$regex": "\\." } } }).await.unwrap();
    assert_eq!(dotless, 0, "actions of audit events have a dot");
    let created: std::collections::HashSet<String> = events
        .iter()
        .filter(|event| event.get_str("type").unwrap() == "OrderCreated")
        .map(|event| event.get_str("subjectId").unwrap().to_owned())
        .collect();
    for order in all("orders").await {
        let id = order.get_str("_id").unwrap();
        assert!(created.contains(id), "an order without its event: {id}");
        let provider = order.get_str("provider").unwrap();
        let alive = Stand::beside(carrier, provider).alive(id).await;
        match order.get_str("status").unwrap() {
            "confirmed" => assert_eq!(alive, 1, "{id} is confirmed, {provider} has so many alive"),
            "cancelled" | "failed" => assert_eq!(alive, 0, "{id} has ended, {provider} has so many alive"),
            _ => assert!(alive <= 1, "{id}: {provider} has {alive} alive"),
        }
        assert_eq!(order.get("openCall"), Some(&bson::Bson::Null), "{id} has a call that nobody closed");
    }
}

/// What a reconciliation finds.
pub async fn differences(db: &Database) -> Vec<Difference> {
    struct Found(Vec<Difference>);
    impl Differences for Found {
        fn add(&mut self, difference: Difference) {
            self.0.push(difference);
        }

        fn looked_at(&mut self, _: &'static str, _: u64) {}
    }
    let mut found = Found(Vec::new());
    check_all(&WalletStore::new(db.clone()), &mut found).await.expect("the books can be read");
    check_stock(&CatalogStore::new(db.clone()), &mut found).await.expect("stock can be read");
    found.0
}

pub fn test_config(mongodb_uri: &str, redis_url: &str, redis_prefix: &str, carrier: &str, flags: &[&str]) -> Config {
    let config = config_from(test_flags(mongodb_uri, redis_url, redis_prefix, carrier, flags));
    // A fifth of what a small test computes would be hashes of its users' passwords.
    Config { password_cost: PasswordCost { memory_kib: 8, passes: 1 }, ..config.expect("well-formed flags") }
}

/// The same as flags; later ones override earlier ones of the same name.
pub fn test_flags(
    mongodb_uri: &str,
    redis_url: &str,
    redis_prefix: &str,
    carrier: &str,
    flags: &[&str],
) -> Vec<String> {
    let mut all = vec![
        format!("--mongodb-uri={mongodb_uri}"),
        format!("--redis-url={redis_url}"),
        format!("--redis-prefix={redis_prefix}"),
        format!("--jwt-secret={JWT_SECRET}"),
        format!("--sealing-key={}", "0".repeat(64)),
        format!("--audit-signing-key={SIGNING_KEY}"),
        "--parcelx-access-key=key".to_owned(),
        "--parcelx-secret-key=secret".to_owned(),
        format!("--parcelx-base-url={carrier}"),
        "--rate-limit=off".to_owned(),
        "--call-deadline-ms=2000".to_owned(),
        "--lease-ms=5000".to_owned(),
        "--heartbeat-ms=1000".to_owned(),
        "--shutdown-ms=10000".to_owned(),
        "--drain-ms=0".to_owned(),
    ];
    all.extend(gateway::gateway_flags(carrier));
    all.extend(kyc::idcheck_flags(carrier));
    all.extend(stand::provider_flags(carrier));
    for flag in flags {
        let name = flag.split('=').next().unwrap();
        all.retain(|have| have.split('=').next() != Some(name));
        all.push((*flag).to_owned());
    }
    all
}

/// Serves the API of `app` on a free port.
pub async fn serve(app: &App) -> String {
    serve_router(app.router()).await
}

/// Serves what a worker shows at METRICS_ADDR on a free port.
pub async fn serve_worker(app: &App) -> String {
    serve_router(app.worker_router()).await
}

async fn serve_router(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let peers = waybill::platform::http::PeerLimit::default();
        waybill::platform::http::serve(listener, router, peers, std::future::pending(), Duration::from_secs(1)).await;
    });
    base
}

pub async fn read(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap_or_default();
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
}

/// Polls until `check` holds, for at most `limit`: the less often the longer it takes, or who waits would keep the database
/// from what is waited for.
pub async fn eventually(what: &str, limit: Duration, check: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !check().await {
        assert!(began.elapsed() < limit, "gave up waiting: {what}");
        tokio::time::sleep((began.elapsed() / 10).clamp(POLL_MIN, POLL_MAX)).await;
    }
}
