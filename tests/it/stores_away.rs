//! Life without Redis, without MongoDB, and before `waybill migrate`.

use std::time::{Duration, Instant};

use bson::doc;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use waybill::{
    app::App,
    platform::{
        clock::Clock,
        identity::{
            Role,
            tokens::{AccessToken, TokenKeys},
        },
    },
};

use crate::support::{
    Answer, JWT_SECRET, PASSWORD, TestApp, User, drive::closed_port, eventually, http_client, orders::order,
    proxy::Proxy, read, serve, server, test_config, unique, with_database,
};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn without_redis_everything_works() {
    let uri = with_database(&server("MONGODB_URI"), &unique("waybill"));
    let app =
        TestApp::over(uri, format!("redis://127.0.0.1:{}", closed_port()), &["--poll-ms=100", "--rate-limit=on"]).await;
    let user = app.merchant().await;
    let worker = app.start_worker();
    let order_id = app.created(&user, "c-1").await;
    eventually("it is polled for", SOON, async || app.order(&user, &order_id).await["status"] == "confirmed").await;
    app.cancel(&user, "c-1").await.expect(202);
    eventually("and taken back", SOON, async || app.order(&user, &order_id).await["status"] == "cancelled").await;
    worker.stop().await;

    let login = json!({ "email": user.email, "password": PASSWORD });
    let tokens = app.request(Method::POST, "/auth/login", None, Some(&login)).await.expect(200).body;
    let refresh = json!({ "refreshToken": tokens["refreshToken"] });
    app.request(Method::POST, "/auth/refresh", None, Some(&refresh)).await.expect(200);
    let wrong = json!({ "email": user.email, "password": "not this one" });
    for _ in 0..20 {
        app.request(Method::POST, "/auth/login", None, Some(&wrong)).await.expect(401);
    }
    app.request(Method::POST, "/auth/login", None, Some(&wrong)).await.expect(429);

    let ready = app.request(Method::GET, "/readyz", None, None).await.expect(200).body;
    let lag_ms = ready["relayLagMs"].as_u64().expect("how long the oldest event waits");
    let up = json!({ "status": "degraded", "mongodb": "up", "indexes": "up", "redis": "down", "relay": "up", "relayLagMs": lag_ms });
    assert_eq!(ready, up);
    app.finish().await;
}

/// An API over a database that nobody has prepared, or that is not there.
struct Bare {
    base: String,
    client: reqwest::Client,
    app: App,
}

impl Bare {
    async fn over(mongodb_uri: &str) -> Self {
        let carrier = format!("http://127.0.0.1:{}/api/v3", closed_port());
        let config = test_config(mongodb_uri, &server("REDIS_URL"), &unique("p"), &carrier, &[]);
        let app = App::build(config).await.expect("it starts while the stores are away");
        let base = serve(&app).await;
        Self { base, client: http_client(Duration::from_secs(30)), app }
    }

    fn token(role: Role) -> String {
        let now_ms = bson::DateTime::now().timestamp_millis();
        let access = AccessToken { user_id: "usr_1".into(), role, access_version: 0, tenant_id: None, only: None };
        TokenKeys::new(&SecretString::from(JWT_SECRET), None, Clock::default()).issue(access, now_ms).unwrap()
    }

    async fn send(&self, method: Method, path: &str, role: Role, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(Self::token(role));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        read(request.send().await.unwrap()).await
    }
}

fn retry_after(answer: &Answer) -> u64 {
    answer.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn before_migrate_writes_wait_and_say_why() {
    let uri = with_database(&server("MONGODB_URI"), &unique("waybill"));
    let bare = Bare::over(&uri).await;
    for (path, body) in [("/orders/create", order("c-1")), ("/orders/cancel", json!({ "clientOrderId": "c-1" }))] {
        let answer = bare.send(Method::POST, path, Role::Merchant, Some(body)).await.expect(503);
        assert_eq!((answer.code(), retry_after(&answer)), ("service.not_migrated", 2));
    }
    let ready = bare.send(Method::GET, "/readyz", Role::Merchant, None).await.expect(503);
    assert_eq!((ready.code(), ready.blamed()), ("service.not_ready", vec!["indexes:missing".to_owned()]));
    assert!(bare.app.db.list_collection_names().await.unwrap().is_empty(), "nothing was written");

    // Another process migrates; this one notices.
    bare.app.start_background();
    waybill::app::migrate(&bare.app.db).await.unwrap();
    eventually("it lets writes in, of whom is verified", SOON, async || {
        bare.send(Method::POST, "/orders/create", Role::Merchant, Some(order("c-1"))).await.status == 403
    })
    .await;
    bare.send(Method::GET, "/readyz", Role::Merchant, None).await.expect(200);
    bare.app.db.drop().await.unwrap();
}

#[tokio::test]
async fn without_the_database_every_answer_is_503_with_retry_after() {
    let uri =
        format!("mongodb://127.0.0.1:{}/waybill?directConnection=true&serverSelectionTimeoutMS=300", closed_port());
    let bare = Bare::over(&uri).await;
    let requests = [
        (Method::GET, "/orders", Role::Merchant, None),
        (Method::GET, "/orders/ord_1", Role::Merchant, None),
        (Method::GET, "/orders/ord_1/timeline", Role::Merchant, None),
        (Method::POST, "/orders/create", Role::Merchant, Some(order("c-1"))),
        (Method::POST, "/orders/cancel", Role::Merchant, Some(json!({ "clientOrderId": "c-1" }))),
        (Method::GET, "/auth/me", Role::Merchant, None),
        (Method::POST, "/auth/login", Role::Merchant, Some(json!({ "email": "a@example.com", "password": PASSWORD }))),
        (
            Method::POST,
            "/auth/register",
            Role::Merchant,
            Some(json!({ "email": "a@example.com", "password": PASSWORD, "name": "A" })),
        ),
        (Method::GET, "/overview", Role::Admin, None),
        (Method::GET, "/queues", Role::Admin, None),
        (Method::GET, "/queues/jobs/job_1", Role::Admin, None),
        (Method::DELETE, "/queues/jobs/job_1", Role::Admin, None),
        (Method::POST, "/queues/parcelx-orders-queue/pause", Role::Admin, None),
    ];
    // All at once: a write waits for ten seconds.
    let answers = requests.map(|(method, path, role, body)| {
        let bare = &bare;
        async move { (path, bare.send(method, path, role, body).await) }
    });
    for (path, answer) in futures_util::future::join_all(answers).await {
        let answer = answer.expect(503);
        assert!(["database.unavailable", "service.not_migrated"].contains(&answer.code()), "{path}: {}", answer.text);
        assert!(retry_after(&answer) >= 1, "{path}");
        assert!(!answer.text.to_lowercase().contains("mongo"), "{path}: nothing of the inside: {}", answer.text);
    }
    // What needs no database is answered as ever.
    bare.send(Method::POST, "/orders/create", Role::Merchant, Some(json!({}))).await.expect(422);
    bare.send(Method::GET, "/healthz", Role::Merchant, None).await.expect(200);
    // Refresh tokens that are not ours never reach it.
    for (path, status) in [("/auth/refresh", 401), ("/auth/logout", 204)] {
        let forged = json!({ "refreshToken": "A".repeat(70) });
        bare.send(Method::POST, path, Role::Merchant, Some(forged)).await.expect(status);
    }
    let ready = bare.send(Method::GET, "/readyz", Role::Merchant, None).await.expect(503);
    assert_eq!(ready.blamed(), ["indexes:missing", "mongodb:down"]);
}

#[tokio::test]
async fn a_database_that_goes_away_and_comes_back_loses_and_doubles_nothing() {
    let uri = server("MONGODB_URI");
    let (scheme, rest) = uri.split_once("://").unwrap();
    let host = rest.split(['/', ',', '?']).next().unwrap().rsplit('@').next().unwrap().to_owned();
    let proxy = Proxy::start(host).await;
    let through = format!(
        "{scheme}://127.0.0.1:{}/{}?directConnection=true&serverSelectionTimeoutMS=300",
        proxy.port,
        unique("waybill")
    );
    let app = TestApp::over(through, server("REDIS_URL"), &[]).await;
    let user: User = app.merchant().await;
    let (admin, before) = (app.admin().await, app.created(&user, "before").await);

    proxy.cut();
    let asked = Instant::now();
    assert_eq!(app.get(&admin, "/overview").await.expect(503).code(), "database.unavailable");
    let path = format!("/orders/{before}");
    let (write, read, ()) = tokio::join!(app.create(&user, "meanwhile"), app.get(&user, &path), app.expect_alive());
    for answer in [write.expect(503), read.expect(503)] {
        assert_eq!(answer.code(), "database.unavailable");
        assert!(retry_after(&answer) >= 1);
    }
    let ready = app.request(Method::GET, "/readyz", None, None).await.expect(503);
    assert_eq!(ready.blamed(), ["mongodb:down"]);

    proxy.mend();
    eventually("it is back", SOON, async || app.create(&user, "meanwhile").await.status.is_success()).await;
    // That there was no overview serves everybody for ten seconds, as one would.
    if asked.elapsed() < Duration::from_secs(8) {
        app.get(&admin, "/overview").await.expect(503);
    }
    app.create(&user, "before").await.expect(200);
    app.run_jobs().await;
    assert_eq!(app.all("orders", doc! { "status": "confirmed" }).await.len(), 2);
    assert_eq!(app.carrier.books().await["shipments"], 2);
    app.finish().await;
}
