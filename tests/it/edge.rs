//! What clients, broken or hostile, may send: never a 5xx, always a problem.

use std::time::Duration;

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use waybill::platform::identity::Role;

use crate::support::{PASSWORD, TestApp, User, eventually, orders::order, read};

const JSON: Option<&str> = Some("application/json");

/// A request, byte by byte; `length` is what it claims of its body.
fn raw_create(user: &User, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /orders/create HTTP/1.1\r\nHost: waybill\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n",
        user.token
    );
    [head.as_bytes(), body].concat()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test]
async fn bodies_that_are_no_order_are_refused() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let whole = order("c-1").to_string();
    let deep_object = format!("{}1{}", "{\"shipment\":".repeat(10_000), "}".repeat(10_000));
    for (what, body, status, code) in [
        ("empty", String::new(), 400, "request.not_json"),
        ("white space", " \n ".into(), 400, "request.not_json"),
        ("cut off", whole[..whole.len() - 1].to_owned(), 400, "request.not_json"),
        ("something behind it", format!("{whole} x"), 400, "request.not_json"),
        ("twice", format!("{whole}{whole}"), 400, "request.not_json"),
        ("a comment", format!("{whole}// c"), 400, "request.not_json"),
        ("a comma too many", whole.replace("\"items\":[{", "\"items\":[{,"), 400, "request.not_json"),
        ("single quotes", whole.replace('"', "'"), 400, "request.not_json"),
        ("a byte order mark", format!("\u{feff}{whole}"), 400, "request.not_json"),
        ("half a surrogate", whole.replace("Asha", "\\ud800"), 400, "request.not_json"),
        ("a raw line break in text", whole.replace("Asha", "As\nha"), 400, "request.not_json"),
        ("null", "null".into(), 422, "request.invalid"),
        ("a number", "5".into(), 422, "request.invalid"),
        ("text", "\"c-1\"".into(), 422, "request.invalid"),
        ("an array", format!("[{whole}]"), 422, "request.invalid"),
        ("an empty array", "[]".into(), 422, "request.invalid"),
        (
            "the fields without their names",
            format!("[\"c-1\",\"parcelx\",{}]", order("c-1")["shipment"]),
            422,
            "request.invalid",
        ),
        ("an empty object", "{}".into(), 422, "request.invalid"),
        ("a key twice", whole.replacen('{', "{\"clientOrderId\":\"c-2\",", 1), 422, "request.invalid"),
        (
            "an inner key twice",
            whole.replace("\"weightGrams\":450", "\"weightGrams\":450,\"weightGrams\":450"),
            422,
            "request.invalid",
        ),
        ("arrays, deeply nested", nested(10_000), 422, "request.invalid"),
        ("an unknown field, deeply nested", format!("{{\"x\":{}}}", nested(10_000)), 422, "request.invalid"),
        ("objects, deeply nested", deep_object, 422, "request.invalid"),
        (
            "items, deeply nested",
            whole.replace("\"items\":[", &format!("\"items\":[{},", nested(10_000))),
            422,
            "request.invalid",
        ),
    ] {
        let answer = app.post_text(&user, "/orders/create", body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        assert_eq!(answer.expect(status).code(), code, "{what}");
    }
    let not_utf8: Vec<u8> = whole.replace("Asha", "A\u{1}sha").bytes().map(|b| if b == 1 { 0xff } else { b }).collect();
    assert_eq!(app.post_text(&user, "/orders/create", not_utf8).await.expect(400).code(), "request.not_json");
    assert!(app.all("orders", doc! {}).await.is_empty());
    app.finish().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whatever_its_size() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    for size in [257 * 1024, 300 * 1024, 2 * 1024 * 1024, 10 * 1024 * 1024] {
        for _ in 0..5 {
            let body = format!("{{\"clientOrderId\":\"{}\"}}", "x".repeat(size));
            assert_eq!(
                app.post_text(&user, "/orders/create", body).await.expect(413).code(),
                "request.too_large",
                "{size}"
            );
        }
    }
    let padded = format!("{}{}", " ".repeat(200 * 1024), order("c-1"));
    app.post_text(&user, "/orders/create", padded).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn only_json_is_read() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let body = order("c-1").to_string();
    for content_type in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonp"),
        Some("json"),
    ] {
        let answer = app.send(Method::POST, "/orders/create", Some(&user), content_type, body.clone()).await;
        assert_eq!(answer.expect(415).code(), "request.media_type", "{content_type:?}");
    }
    for (content_type, status) in
        [("application/json; charset=utf-8", 201), ("Application/JSON", 200), ("application/json;", 200)]
    {
        app.send(Method::POST, "/orders/create", Some(&user), Some(content_type), body.clone()).await.expect(status);
    }
    app.finish().await;
}

#[tokio::test]
async fn who_comes_before_what() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    for (path, body) in
        [("/orders/create", "{"), ("/orders/cancel", "{"), ("/auth/password", "{"), ("/orders/create", "")]
    {
        for content_type in [JSON, None] {
            app.send(Method::POST, path, None, content_type, body).await.expect(401);
        }
    }
    app.send(Method::GET, "/orders?limit=0", None, None, "").await.expect(401);
    for (path, content_type) in [("/orders/create", JSON), ("/orders/cancel", JSON), ("/orders/create", None)] {
        let answer = app.send(Method::POST, path, Some(&admin), content_type, "{").await.expect(403);
        assert_eq!(answer.code(), "auth.forbidden");
    }
    app.get(&admin, "/orders?limit=0").await.expect(403);
    app.get(&user, "/queues?limit=0").await.expect(403);
    let huge = "x".repeat(1024 * 1024);
    app.send(Method::POST, "/orders/create", None, JSON, huge).await.expect(401);
    app.finish().await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    for path in [
        "/nope",
        "/",
        "/orders/",
        "/orders/create/",
        "//orders",
        "/ORDERS",
        "/orders/x/y",
        "/orders/ord_1/timeline/x",
        "/%FF",
        "/orders/create%00",
    ] {
        let answer = app.get(&user, path).await;
        assert!(answer.status == 404 || path.starts_with("/orders/create%"), "{path}: {}", answer.text);
        answer.expect(404);
    }
    app.get(&user, "/orders/%FF%FE").await.expect(404);
    app.get(&user, &format!("/orders/{}", "x".repeat(10_000))).await.expect(404);
    for (method, path, allow) in [
        ("GET", "/orders/create", "POST"),
        ("PUT", "/orders/create", "POST"),
        ("POST", "/orders", "GET,HEAD"),
        ("DELETE", "/orders/ord_1", "GET,HEAD"),
        ("OPTIONS", "/orders/cancel", "POST"),
        ("BREW", "/auth/login", "POST"),
        ("PUT", "/auth/me", "GET,HEAD,PATCH"),
        ("POST", "/healthz", "GET,HEAD"),
        ("POST", "/metrics", "GET,HEAD"),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = app.send(method.clone(), path, Some(&user), None, "").await.expect(405);
        assert_eq!(answer.code(), "request.method_not_allowed", "{method} {path}");
        let mut allowed: Vec<_> = answer.headers["allow"].to_str().unwrap().split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{method} {path}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_request_keeps_its_well_formed_id_and_gets_a_new_one_otherwise() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let send = async |id: &[u8]| {
        let request = app.client.get(format!("{}/orders", app.base)).bearer_auth(&user.token);
        let value = reqwest::header::HeaderValue::from_bytes(id).unwrap();
        read(request.header("x-request-id", value).send().await.unwrap()).await.expect(200).headers["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    for good in ["0123abcd", "a-b_c-D-e-f", &"x".repeat(64)] {
        assert_eq!(send(good.as_bytes()).await, good);
    }
    let long = "x".repeat(65);
    for bad in [
        &b""[..],
        b"short",
        b"with blanks in it",
        b"<script>alert",
        b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8",
        b"quote\"quote",
        long.as_bytes(),
    ] {
        let given = send(bad).await;
        assert!(given.starts_with("rqs_") && given.len() == 36, "{given}");
    }
    let sent = app
        .client
        .post(format!("{}/orders/create", app.base))
        .bearer_auth(&user.token)
        .header("x-request-id", "from-the-client-1");
    let sent = sent.header("content-type", "application/json").body(order("c-1").to_string());
    let order_id = read(sent.send().await.unwrap()).await.expect(201).body["orderId"].as_str().unwrap().to_owned();
    app.run_jobs().await;
    // The thread from the client's request to the provider's answer.
    for collection in ["orders", "jobs", "provider_request_logs", "provider_response_logs"] {
        assert_eq!(
            app.all(collection, doc! {}).await[0].get_str("correlationId").unwrap(),
            "from-the-client-1",
            "{collection}"
        );
    }
    let events = app.all("events", doc! { "subjectId": order_id }).await;
    assert!(
        events
            .iter()
            .all(|event| event.get_document("actor").unwrap().get_str("requestId").unwrap() == "from-the-client-1")
    );
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_http_breaks_nothing() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let body = order("c-1").to_string();
    let head = format!(
        "POST /orders/create HTTP/1.1\r\nHost: w\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        user.token
    );
    let many: String = (0..200).map(|n| format!("X-H-{n}: v\r\n")).collect();
    for (what, bytes) in [
        ("a body cut off", raw_create(&user, body.len(), &body.as_bytes()[..body.len() / 2])),
        ("no body at all", raw_create(&user, body.len(), b"")),
        ("a chunk that is none", format!("{head}Transfer-Encoding: chunked\r\n\r\nZZ\r\n{body}").into_bytes()),
        ("chunks cut off", format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"cli").into_bytes()),
        (
            "two lengths",
            format!("{head}Content-Length: 5\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        ),
        ("a length that is none", format!("{head}Content-Length: -1\r\n\r\n{body}").into_bytes()),
        ("a head cut off", head.clone().into_bytes()),
        ("bytes in the path", b"GET /orders/\xff\xfe HTTP/1.1\r\nHost: w\r\n\r\n".to_vec()),
        ("a blank in the path", b"GET /orders/a b HTTP/1.1\r\nHost: w\r\n\r\n".to_vec()),
        ("a long path", format!("GET /{} HTTP/1.1\r\nHost: w\r\n\r\n", "x".repeat(100_000)).into_bytes()),
        (
            "a long header",
            format!("GET /orders HTTP/1.1\r\nHost: w\r\nX-Long: {}\r\n\r\n", "x".repeat(1_000_000)).into_bytes(),
        ),
        ("many headers", format!("GET /orders HTTP/1.1\r\nHost: w\r\n{many}\r\n").into_bytes()),
        ("another protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("nothing", Vec::new()),
        ("HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
    ] {
        let answer = app.exchange_raw(&bytes).await;
        let status = answer.split(' ').nth(1).unwrap_or("none");
        assert!(matches!(status, "none" | "400" | "401" | "404" | "414" | "431"), "{what}: {answer}");
        app.expect_alive().await;
    }
    assert!(app.all("orders", doc! {}).await.is_empty());
    app.create(&user, "c-1").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_long_header_that_fits_is_just_a_header() {
    let app = TestApp::start().await;
    let long = "x".repeat(100_000);
    let answer = app.request(Method::GET, "/orders", Some(&long), None).await;
    assert_eq!(answer.expect(401).code(), "auth.invalid_token");
    app.finish().await;
}

/// Everything of an order, or nothing.
async fn expect_whole(app: &TestApp) {
    let orders = app.all("orders", doc! {}).await;
    for order in &orders {
        let id = order.get_str("_id").unwrap();
        assert_eq!(app.jobs_of(id, "create-order").await.len(), 1);
        assert_eq!(app.all("events", doc! { "subjectId": id }).await.len(), 1);
    }
    assert_eq!(app.all("jobs", doc! {}).await.len(), orders.len());
    assert_eq!(app.all_but_grants("events").await.len(), orders.len());
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_a_whole_order_or_none() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    for n in 0..50 {
        let body = order(&format!("c-{n}")).to_string();
        if n % 2 == 0 {
            let mut stream = app.connect().await;
            stream.write_all(&raw_create(&user, body.len(), body.as_bytes())).await.unwrap();
            if n % 4 == 0 {
                // Not even a farewell: the connection is reset.
                stream.set_zero_linger().unwrap();
            }
        } else {
            let sending = app.post_text(&user, "/orders/create", body);
            let _ = tokio::time::timeout(Duration::from_micros(n * 200), sending).await;
        }
    }
    for n in 0..50 {
        let answer = app.create(&user, &format!("c-{n}")).await;
        assert!(matches!(answer.status.as_u16(), 200 | 201), "{}", answer.text);
    }
    assert_eq!(app.all("orders", doc! {}).await.len(), 50);
    expect_whole(&app).await;
    app.run_jobs().await;
    assert_eq!(app.carrier.books().await["shipments"], 50);
    app.finish().await;
}

#[tokio::test]
async fn who_hangs_up_on_a_wrong_password_is_counted_all_the_same() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let login = async |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password });
        app.request(Method::POST, "/auth/login", None, Some(&body)).await.status.as_u16()
    };
    assert_eq!(login(&user.email, PASSWORD).await, 200);
    for guess in 0..20 {
        let body = json!({ "email": user.email, "password": format!("guess {guess}") }).to_string();
        let head = "POST /auth/login HTTP/1.1\r\nHost: w\r\nContent-Type: application/json\r\nContent-Length:";
        let mut stream = app.connect().await;
        stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    }
    // Not by signing in: a right password gives back what was counted.
    eventually("twenty were wrong", Duration::from_secs(20), async || {
        let metrics = app.request(Method::GET, "/metrics", None, None).await.text;
        metrics.contains("waybill_logins_total{result=\"wrong\"} 20\n")
    })
    .await;
    assert_eq!(login(&user.email, PASSWORD).await, 429);
    app.finish().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_counts_for_itself() {
    let wrong = async |app: &TestApp, guess: usize, forwarded_for: &str| {
        let body = json!({ "email": "a@example.com", "password": format!("guess {guess}") }).to_string();
        let request = app.client.post(format!("{}/auth/login", app.base)).header("x-forwarded-for", forwarded_for);
        read(request.header("content-type", "application/json").body(body).send().await.unwrap()).await.status.as_u16()
    };
    let behind = TestApp::with(&["--trusted-proxies=10.0.0.0/8,127.0.0.1"]).await;
    for guess in 0..20 {
        // What the client wrote itself stands on the left, and changes nothing.
        let forwarded_for = format!("192.0.2.{guess}, 203.0.113.7, 10.1.2.3");
        assert_eq!(wrong(&behind, guess, &forwarded_for).await, 401);
    }
    assert_eq!(wrong(&behind, 20, "203.0.113.8, 203.0.113.7, 10.1.2.3").await, 429);
    assert_eq!(wrong(&behind, 20, "203.0.113.7, 203.0.113.8, 10.1.2.3").await, 401);
    behind.finish().await;

    let open = TestApp::start().await;
    for guess in 0..20 {
        assert_eq!(wrong(&open, guess, &format!("203.0.113.{guess}")).await, 401);
    }
    assert_eq!(wrong(&open, 20, "203.0.113.20").await, 429, "nobody is trusted: the header says nothing");
    open.finish().await;
}

#[tokio::test]
async fn every_route_blames_a_query_parameter_that_it_does_not_know() {
    let app = TestApp::start().await;
    let mut users = Vec::new();
    for role in [Role::Merchant, Role::Finance, Role::Auditor, Role::Admin, Role::Customer] {
        users.push(app.user(role).await);
    }
    let openapi = app.request(Method::GET, "/openapi.json", None, None).await.expect(200).body;
    let paths = openapi["paths"].as_object().unwrap().iter();
    // Probes add parameters of their own.
    for (path, item) in paths.filter(|(path, _)| !["/healthz", "/readyz"].contains(&path.as_str())) {
        let url: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        let url = format!("{}?unknown=1", url.join("/"));
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            // A gateway's signature is over the body, which comes last.
            if operation["security"][0]["bearer"].is_array() {
                app.send(method.clone(), &url, None, JSON, "{").await.expect(401);
            }
            let mut allowed = 0;
            for user in &users {
                // The query comes before the body, which is none here.
                let answer = app.send(method.clone(), &url, Some(user), JSON, "{").await;
                if answer.status != 403 {
                    allowed += 1;
                    // Beside what the route requires.
                    let mut blamed = answer.expect(422).blamed();
                    blamed.retain(|blamed| !blamed.ends_with(":required"));
                    assert_eq!(blamed, ["unknown:unknown"], "{method} {path}");
                }
            }
            assert!(allowed > 0, "nobody may {method} {path}");
        }
    }
    app.request(Method::GET, "/healthz?unknown=1", None, None).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn every_answer_is_what_it_says_and_kept_by_nobody() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    for (method, path, status) in [
        ("GET", "/orders", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200),
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/nope", 404),
        ("PUT", "/orders", 405),
        ("GET", "/queues", 403),
        ("POST", "/orders/create", 415),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = app.send(method.clone(), path, Some(&user), None, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{method} {path}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{method} {path}");
    }
    app.finish().await;
}

#[tokio::test]
async fn health_readiness_and_metrics_tell_how_it_is() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    app.confirmed(&user, "c-1").await;
    app.create(&user, "c-1").await.expect(200);
    app.create(&user, "c-2").await.expect(201);
    app.get(&user, "/no/such/path/c-1").await.expect(404);
    let health = app.request(Method::GET, "/healthz", None, None).await.expect(200);
    assert_eq!(health.body, json!({ "status": "alive" }));
    let ready = app.request(Method::GET, "/readyz", None, None).await.expect(200);
    let lag_ms = ready.body["relayLagMs"].as_u64().expect("how long the oldest event waits");
    let up = json!({ "status": "ready", "mongodb": "up", "indexes": "up", "redis": "up", "relay": "up", "relayLagMs": lag_ms });
    assert_eq!(ready.body, up);
    let metrics = app.request(Method::GET, "/metrics", None, None).await.expect(200);
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    for line in [
        "waybill_http_request_seconds_count{route=\"/orders/create\",method=\"POST\",status=\"201\"}",
        "waybill_http_request_seconds_count{route=\"unmatched\",method=\"GET\",status=\"404\"}",
        "waybill_jobs_total{queue=\"parcelx-orders-queue\",result=\"done\"}",
        "waybill_provider_call_seconds_count{provider=\"parcelx\",operation=\"create_order\",outcome=\"done\"}",
        "waybill_batch_size_count{lane=\"api\"}",
        "waybill_order_creates_total{provider=\"parcelx\",result=\"created\"} 2",
        "waybill_order_creates_total{provider=\"parcelx\",result=\"replayed\"} 1",
    ] {
        assert!(metrics.text.contains(line), "{line} is not in\n{}", metrics.text);
    }
    assert!(!metrics.text.contains("ord_") && !metrics.text.contains("c-1"), "no ids in labels");
    // Nobody waits for the sums of all wallets.
    let (available, held) = app.balance(&user).await;
    assert!(held > 0);
    let totals = [("available", available), ("held", held)]
        .map(|(what, sum)| format!("waybill_wallet_{what}_minor{{currency=\"INR\"}} {sum}\n"));
    eventually("wallets are summed up", Duration::from_secs(10), async || {
        let metrics = app.request(Method::GET, "/metrics", None, None).await.text;
        totals.iter().all(|total| metrics.contains(total))
    })
    .await;
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn problems_say_what_they_must_and_no_more() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let mut body = order("c-1");
    body["shipment"]["consignee"]["pincode"] = json!("SECRET-VALUE");
    let problem = app.post(&user, "/orders/create", &body).await.expect(422);
    let mut fields: Vec<_> = problem.body.as_object().unwrap().keys().cloned().collect();
    fields.sort();
    assert_eq!(fields, ["code", "detail", "errors", "requestId", "status", "title", "type"]);
    assert!(!problem.text.contains("SECRET-VALUE"));
    assert_eq!(problem.headers["cache-control"], "no-store");
    body["shipment"]["weightGrams"] = json!("SECRET-VALUE");
    assert!(!app.post(&user, "/orders/create", &body).await.expect(422).text.contains("SECRET-VALUE"));
    let absent = app.get(&user, "/orders/ord_1").await.expect(404).body;
    assert_eq!(absent.get("errors"), None::<&Value>);
    app.finish().await;
}
