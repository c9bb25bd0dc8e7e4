//! A carrier of another shape, built for these tests: a token by login that lasts ten days, an order and its waybill number in two
//! calls, cancels by its own order numbers.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bson::{Document, doc};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use waybill::{
    modules::{
        audit,
        kyc::KycGate,
        orders::{OrderJobs, handlers},
        providers::{
            AccountSecrets, CancellableOrders, Configured, Failure, LogIn, Operation, OrderProvider, OrderToPlace,
            Outcome, Placed, PlacedOrder, Provider, Retry, Token, TwoStepOrders,
        },
        queue::{Worker, WorkerParts},
    },
    platform::{
        batch::Lane,
        exchange::{Answer, AnswerBody, Credentials, ExchangeClient, Lost, Outbound, Redaction},
    },
};

use crate::support::{TestApp, User, differences};

const QUEUE: &str = "parcelx-orders-queue";
const DAY: Duration = Duration::from_secs(24 * 3600);
const PASSWORD: &str = "secret";

/// What goes wrong with the next call of a path.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Nothing is done.
    Before(u16),
    /// It is done, and nobody hears of it.
    After(u16),
}

#[derive(Clone)]
struct Kept {
    reference: String,
    awb: Option<String>,
    cancelled: bool,
}

#[derive(Default)]
struct Shop {
    tokens: BTreeSet<String>,
    issued: Vec<String>,
    logins: usize,
    refuses_logins: bool,
    takes_no_token: bool,
    orders: Vec<Kept>,
    faults: VecDeque<(&'static str, Fault)>,
    calls: Vec<String>,
}

type Shared = Arc<Mutex<Shop>>;

impl Shop {
    fn answer(&mut self, path: &'static str, headers: &HeaderMap, body: &Value) -> Response {
        self.calls.push(path.to_owned());
        if path == "login" {
            return self.log_in(body);
        }
        let shown = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_known = shown.strip_prefix("Bearer ").is_some_and(|token| self.tokens.contains(token));
        if self.takes_no_token || !is_known {
            return (StatusCode::UNAUTHORIZED, Json(json!({ "message": "Token expired" }))).into_response();
        }
        let fault = self.faults.iter().position(|(at, _)| *at == path).and_then(|at| self.faults.remove(at));
        if let Some((_, Fault::Before(status))) = fault {
            return refusal(status);
        }
        let done = self.work(path, body);
        match fault {
            Some((_, Fault::After(status))) => refusal(status),
            _ => Json(done).into_response(),
        }
    }

    fn log_in(&mut self, body: &Value) -> Response {
        self.logins += 1;
        if self.refuses_logins || body["password"] != PASSWORD {
            return refusal(401);
        }
        let token = format!("tkn-{}-{}", self.logins, "x".repeat(20));
        self.tokens = BTreeSet::from([token.clone()]);
        self.issued.push(token.clone());
        Json(json!({ "token": token })).into_response()
    }

    fn work(&mut self, path: &str, body: &Value) -> Value {
        let number = |field: &str| body[field].as_str().and_then(|id| id.parse::<usize>().ok()).unwrap_or_default();
        match path {
            "orders" => {
                let reference = body["reference"].as_str().unwrap_or_default().to_owned();
                self.orders.push(Kept { reference, awb: None, cancelled: false });
                json!({ "orderId": (self.orders.len() - 1).to_string() })
            }
            "awb" => {
                let id = number("orderId");
                let awb = self.orders[id].awb.get_or_insert_with(|| format!("AWB{id}")).clone();
                json!({ "orderId": id.to_string(), "awb": awb })
            }
            "cancel" => {
                self.orders[number("orderId")].cancelled = true;
                json!({})
            }
            _ => {
                let named = body["reference"].as_str().unwrap_or_default();
                let found = self.orders.iter().position(|order| order.reference == named);
                let shown = found.map(|id| {
                    let order = &self.orders[id];
                    json!({ "orderId": id.to_string(), "awb": order.awb, "cancelled": order.cancelled })
                });
                json!({ "found": shown })
            }
        }
    }
}

fn refusal(status: u16) -> Response {
    let message = Json(json!({ "message": "No courier goes there" }));
    (StatusCode::from_u16(status).unwrap(), message).into_response()
}

async fn shop() -> (Shared, String) {
    let shop = Shared::default();
    let at = |path: &'static str| {
        post(move |State(shop): State<Shared>, headers: HeaderMap, Json(body): Json<Value>| async move {
            shop.lock().unwrap().answer(path, &headers, &body)
        })
    };
    let track = get(
        |State(shop): State<Shared>, headers: HeaderMap, Query(query): Query<HashMap<String, String>>| async move {
            shop.lock().unwrap().answer("track", &headers, &json!(query))
        },
    );
    let router = Router::new()
        .route("/login", at("login"))
        .route("/orders", at("orders"))
        .route("/awb", at("awb"))
        .route("/cancel", at("cancel"))
        .route("/track", track)
        .with_state(Arc::clone(&shop));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (shop, base)
}

/// Its adapter. In logs it is the carrier whose queues it works on.
struct Adapter {
    base: String,
}

static REDACTION: Redaction =
    Redaction { not_personal: &[], request: &["reference"], response: &["orderId", "awb"], free_text: &[], query: &[] };

impl Adapter {
    fn outbound(&self, operation: Operation, method: Method, path: &str, body: Option<Value>) -> Outbound {
        let url = format!("{}{path}", self.base);
        Outbound { provider: "parcelx", operation: operation.as_str(), method, url, body, redaction: &REDACTION }
    }
}

fn read(answer: &Answer) -> Outcome<&Value> {
    match answer {
        Answer::Http { status: 200, body: AnswerBody::Json(body), .. } => Outcome::Done(body),
        Answer::Http { status: 401, .. } => Outcome::Unauthorized(Failure::new("provider.unauthorized", "401")),
        Answer::Http { status: 422, .. } => Outcome::refused("provider.refused", "No courier goes there"),
        Answer::NotSent(_) => Outcome::Retryable(Failure::new("exchange.not_sent", "Not sent."), Retry::Deferred),
        Answer::Lost(Lost::TimedOut) => Outcome::unknown("exchange.timed_out", "No answer."),
        _ => Outcome::unknown("provider.server_error", "Nobody knows."),
    }
}

fn placed(body: &Value) -> Placed {
    let text = |field: &str| body[field].as_str().map(str::to_owned);
    Placed {
        reference: text("awb").unwrap_or_default(),
        courier_name: None,
        provider_order_id: text("orderId"),
        cancelled: body["cancelled"] == true,
        unfinished: text("awb").is_none(),
    }
}

impl Provider for Adapter {
    fn name(&self) -> &'static str {
        "parcelx"
    }

    fn credential_headers(&self) -> &'static [&'static str] {
        &["authorization"]
    }

    fn sign(&self, secrets: &AccountSecrets) -> Option<Credentials> {
        secrets.bearer()
    }

    fn log_in(&self) -> Option<&dyn LogIn> {
        Some(self)
    }
}

impl LogIn for Adapter {
    fn log_in_request(&self, secrets: &AccountSecrets) -> Option<(Outbound, Credentials)> {
        let body = json!({ "email": secrets.get("accessKey")?, "password": secrets.get("secretKey")? });
        Some((self.outbound(Operation::LogIn, Method::POST, "/login", Some(body)), Vec::new()))
    }

    fn read_log_in(&self, answer: &Answer) -> Outcome<Token> {
        read(answer).map(|body| Token::new(SecretString::from(body["token"].as_str().unwrap().to_owned()), 10 * DAY))
    }
}

impl OrderProvider for Adapter {
    fn create_request(&self, order: &OrderToPlace<'_>) -> Option<Outbound> {
        let body = json!({ "reference": order.order_id });
        Some(self.outbound(Operation::Create, Method::POST, "/orders", Some(body)))
    }

    fn read_create(&self, _: &str, answer: &Answer) -> Outcome<Placed> {
        read(answer).map(placed)
    }

    fn look_up_request(&self, order_id: &str) -> Outbound {
        self.outbound(Operation::LookUp, Method::GET, &format!("/track?reference={order_id}"), None)
    }

    fn read_look_up(&self, _: &str, answer: &Answer) -> Outcome<Option<Placed>> {
        read(answer).map(|body| Some(&body["found"]).filter(|found| !found.is_null()).map(placed))
    }

    fn cancelling(&self) -> Option<&dyn CancellableOrders> {
        Some(self)
    }

    fn finishing(&self) -> Option<&dyn TwoStepOrders> {
        Some(self)
    }
}

impl TwoStepOrders for Adapter {
    fn finish_request(&self, order: &PlacedOrder<'_>) -> Option<Outbound> {
        let body = json!({ "orderId": order.provider_order_id? });
        Some(self.outbound(Operation::Finish, Method::POST, "/awb", Some(body)))
    }

    fn read_finish(&self, answer: &Answer) -> Outcome<Placed> {
        read(answer).map(placed)
    }
}

impl CancellableOrders for Adapter {
    fn cancel_request(&self, order: &PlacedOrder<'_>) -> Option<Outbound> {
        let body = json!({ "orderId": order.provider_order_id? });
        Some(self.outbound(Operation::Cancel, Method::POST, "/cancel", Some(body)))
    }

    fn read_cancel(&self, answer: &Answer) -> Outcome<()> {
        read(answer).map(drop)
    }
}

/// The application with this carrier in the place of the other one.
struct Trial {
    app: TestApp,
    shop: Shared,
    base: String,
    worker: Worker,
    user: User,
}

/// A worker whose carrier is at `base`.
fn worker(app: &TestApp, base: &str) -> Worker {
    let app = &app.app;
    let lane = |name| Lane::start(name, app.db.clone(), app.clock.clone(), audit::journal());
    let adapter = Arc::new(Adapter { base: base.to_owned() });
    let provider = Configured { adapter, ..app.providers.get("parcelx").unwrap().clone() };
    let queues = vec![provider.create.clone(), provider.cancel.clone()];
    let jobs = OrderJobs {
        lane: lane("begin"),
        exchange: ExchangeClient::new(Duration::from_secs(2)).unwrap(),
        provider,
        accounts: app.accounts.clone(),
        dispatch: app.dispatch.clone(),
        settling_delay: Duration::from_secs(5),
        clock: app.clock.clone(),
        gate: KycGate::new(true),
        files: Arc::new(app.orders.files.clone()),
    };
    Worker::new(WorkerParts {
        settings: app.config.worker_settings(),
        store: app.queue_store.clone(),
        lane: lane("complete"),
        clock: app.clock.clone(),
        waker: app.waker.clone(),
        dispatch: Arc::new(app.dispatch.clone()),
        queues,
        handlers: handlers(jobs),
    })
}

impl Trial {
    async fn start() -> Self {
        let app = TestApp::start().await;
        let (shop, base) = shop().await;
        let (worker, user) = (worker(&app, &base), app.merchant().await);
        Self { app, shop, base, worker, user }
    }

    fn shop(&self) -> MutexGuard<'_, Shop> {
        self.shop.lock().unwrap()
    }

    async fn run(&self) {
        while self.worker.run_due().await > 0 {}
    }

    /// Runs what is due, and what comes due within minutes.
    async fn settle(&self) {
        for _ in 0..12 {
            self.run().await;
            self.app.app.clock.advance(Duration::from_secs(20));
        }
    }

    async fn order(&self, order_id: &str) -> Value {
        self.app.order(&self.user, order_id).await
    }

    /// An order that is placed without delay.
    async fn place(&self, client_order_id: &str) -> Value {
        let order_id = self.app.created(&self.user, client_order_id).await;
        self.settle().await;
        self.order(&order_id).await
    }

    async fn logins(&self) -> Vec<Document> {
        self.app.all("provider_response_logs", doc! { "operation": "log_in" }).await
    }
}

#[tokio::test]
async fn workers_share_a_token_and_renew_it_before_its_end_or_when_refused() {
    const ORDERS: usize = 12;
    let trial = Trial::start().await;
    let beside = trial.app.beside(&[]).await;
    let other = worker(&beside, &trial.base);
    let mut orders = Vec::new();
    for n in 0..ORDERS {
        orders.push(trial.app.created(&trial.user, &format!("c-{n}")).await);
    }
    for _ in 0..200 {
        let (ours, theirs) = tokio::join!(trial.worker.run_due(), other.run_due());
        if ours + theirs == 0 {
            break;
        }
        // What found no token in time comes back after a second.
        trial.app.app.clock.advance(Duration::from_secs(1));
        beside.app.clock.advance(Duration::from_secs(1));
    }
    for order_id in &orders {
        assert_eq!(trial.order(order_id).await["status"], "confirmed");
    }
    let logged = trial.logins().await.len();
    assert_eq!((trial.shop().logins, logged), (1, 1), "one login for all");

    trial.app.app.clock.advance(9 * DAY + Duration::from_secs(3600));
    assert_eq!(trial.place("later").await["status"], "confirmed");
    assert_eq!(trial.shop().logins, 2, "renewed before it ends");
    trial.app.app.clock.advance(DAY);
    trial.shop().tokens.clear();
    assert_eq!(trial.place("revoked").await["status"], "confirmed");
    assert_eq!(trial.shop().logins, 3, "renewed once it is refused");

    // Nowhere in clear.
    let mut stored = Vec::new();
    for name in trial.app.db().list_collection_names().await.unwrap() {
        for document in trial.app.all(&name, doc! {}).await {
            stored.extend(bson::serialize_to_vec(&document).unwrap());
        }
    }
    let issued = trial.shop().issued.clone();
    for secret in issued.iter().map(String::as_bytes) {
        assert!(!stored.windows(secret.len()).any(|window| window == secret), "a token is stored in clear");
    }
    let request = trial.app.all("provider_request_logs", doc! { "operation": "log_in" }).await.remove(0);
    assert_eq!(request.get_str("accountId").unwrap(), "parcelx/default");
    assert!(!request.to_string().contains(PASSWORD), "{request}");
    beside.finish_unchecked().await;
    trial.app.finish_unchecked().await;
}

#[tokio::test]
async fn a_token_that_is_never_taken_is_renewed_once_and_then_a_person_acts() {
    let trial = Trial::start().await;
    let admin = trial.app.admin().await;
    trial.shop().takes_no_token = true;
    let refused = trial.place("c-1").await;
    assert_eq!((&refused["status"], trial.shop().logins), (&json!("needs_attention"), 2));
    assert_eq!(trial.app.breakers(&admin, QUEUE).await, ["parcelx/default open credentials"]);

    // A refused login: nothing is sent, and what waits has used up nothing.
    trial.app.resume(&admin, QUEUE).await;
    (trial.shop().refuses_logins, trial.shop().takes_no_token) = (true, false);
    trial.app.app.clock.advance(11 * DAY);
    let order_id = trial.app.created(&trial.user, "c-2").await;
    trial.settle().await;
    let answers = trial.app.answers(&order_id).await.len();
    assert_eq!((trial.shop().logins, answers), (3, 0));
    assert_eq!(trial.app.breakers(&admin, QUEUE).await, ["parcelx/default open credentials"]);
    let job = trial.app.create_job(&order_id).await;
    assert_eq!((job.get_str("state").unwrap(), job.get_i32("attempts").unwrap()), ("ready", 0));
    trial.shop().refuses_logins = false;
    trial.app.resume(&admin, QUEUE).await;
    trial.settle().await;
    assert_eq!(trial.order(&order_id).await["status"], "confirmed");
    trial.app.finish_unchecked().await;
}

#[tokio::test]
async fn an_order_is_placed_with_two_calls_whatever_becomes_of_the_second() {
    let trial = Trial::start().await;
    for (n, (fault, status, calls)) in [
        (None, "confirmed", &["orders", "awb"][..]),
        (Some(Fault::Before(500)), "confirmed", &["orders", "awb", "track", "awb"]),
        (Some(Fault::After(500)), "confirmed", &["orders", "awb", "track"]),
        (Some(Fault::Before(422)), "failed", &["orders", "awb"]),
    ]
    .into_iter()
    .enumerate()
    {
        trial.shop().calls.clear();
        trial.shop().faults.extend(fault.map(|fault| ("awb", fault)));
        let order = trial.place(&format!("c-{n}")).await;
        assert_eq!(order["status"], status, "{order}");
        let awb = if status == "confirmed" { json!(format!("AWB{n}")) } else { Value::Null };
        assert_eq!(order["shipment"]["awb"], awb);
        let mut seen = trial.shop().calls.clone();
        seen.retain(|call| call != "login");
        assert_eq!(seen, calls, "{n}");
    }
    assert_eq!(differences(trial.app.db()).await, [], "half an order is no word of the provider");
    // A person may have the second call made again, once it can be.
    let admin = trial.app.admin().await;
    let failed = trial.app.all("orders", doc! { "status": "failed" }).await.remove(0);
    let retry = format!("/queues/jobs/{}/retry", failed.get_str("jobId").unwrap());
    trial.app.post(&admin, &retry, &json!({})).await.expect(200);
    trial.settle().await;
    assert_eq!(trial.order(failed.get_str("_id").unwrap()).await["shipment"]["awb"], "AWB3");
    assert_eq!(trial.shop().orders.len(), 4, "no order twice");
    trial.app.finish_unchecked().await;
}

#[tokio::test]
async fn what_was_placed_by_half_is_taken_back_by_the_provider_s_own_number() {
    let trial = Trial::start().await;
    let (before, _) = trial.app.balance(&trial.user).await;
    // The second call is throttled: meanwhile the merchant changes its mind.
    trial.shop().faults.push_back(("awb", Fault::Before(500)));
    trial.shop().faults.push_back(("track", Fault::Before(500)));
    let order_id = trial.app.created(&trial.user, "c-1").await;
    trial.run().await;
    assert_eq!(trial.order(&order_id).await["status"], "created");
    trial.app.cancel(&trial.user, "c-1").await.expect(202);
    trial.settle().await;
    let order = trial.order(&order_id).await;
    assert_eq!((&order["status"], &order["cancellation"]["status"]), (&json!("cancelled"), &json!("done")));
    assert!(trial.shop().orders[0].cancelled && trial.shop().orders[0].awb.is_none());
    assert_eq!(trial.app.balance(&trial.user).await, (before, 0));

    let placed = trial.place("c-2").await;
    assert_eq!(placed["status"], "confirmed");
    trial.app.cancel(&trial.user, "c-2").await.expect(202);
    trial.settle().await;
    assert_eq!(trial.order(placed["orderId"].as_str().unwrap()).await["status"], "cancelled");
    assert!(trial.shop().orders[1].cancelled);
    trial.app.finish_unchecked().await;
}
