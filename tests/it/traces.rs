//! Traces, as a stand-in of a collector sees them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use bson::doc;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as AnyValue, trace::v1::Span,
};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{
    TestApp, User, eventually,
    liar::{Liar, Said},
    orders::order,
    process::Launch,
    receiver::Receiver,
    server, unique, with_database,
};

const SOON: Duration = Duration::from_secs(30);
const CLIENTS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Collector {
    base: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let router = Router::new().route("/v1/traces", post(collect)).with_state(Arc::clone(&spans));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, spans }
    }

    /// The spans of this name in the order in which they came.
    fn named(&self, name: &str) -> Vec<Span> {
        self.spans.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }
}

async fn collect(State(spans): State<Arc<Mutex<Vec<Span>>>>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("an export");
    let all = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    spans.lock().unwrap().extend(all.flat_map(|scope| scope.spans));
}

fn text(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(AnyValue::StringValue(text)) => text.clone(),
        Some(AnyValue::IntValue(number)) => number.to_string(),
        other => panic!("{key} is {other:?} in {span:?}"),
    }
}

async fn send(app: &TestApp, base: &str, user: &User, path: &str, body: &Value) -> reqwest::Response {
    let request = app.client.post(format!("{base}{path}")).bearer_auth(&user.token).header("traceparent", CLIENTS);
    request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
}

fn launch(app: &TestApp, liar: &Liar, collector: &str) -> Launch {
    let flags = [liar.flags(), vec!["--webhook-allow-private=true".into(), "--poll-ms=100".into()]].concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Launch::all(app, &flags).env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_BSP_SCHEDULE_DELAY", "100")
}

#[tokio::test]
async fn one_trace_leads_from_the_request_to_the_carrier_and_the_webhook() {
    let (app, collector, liar) = (TestApp::start().await, Collector::start().await, Liar::start().await);
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&calls);
    liar.says(move |asked| {
        noted.lock().unwrap().push(asked.whole.clone());
        Said::json(200, &asked.honest())
    });
    let (user, receiver) = (app.merchant().await, Receiver::start().await);
    let mut process = launch(&app, &liar, &collector.base).start().await;
    let endpoint = json!({ "url": receiver.url, "types": ["order.confirmed"] });
    assert_eq!(send(&app, &process.base, &user, "/webhook-endpoints", &endpoint).await.status(), 201);
    assert_eq!(send(&app, &process.base, &user, "/orders/create", &order("c-1")).await.status(), 201);
    let post = "webhooks deliver_event";
    // Its job ends after it.
    eventually("the webhook was posted", SOON, async || !collector.named("job deliver-event").is_empty()).await;
    let [request] = &collector.named("POST /orders/create")[..] else { panic!("one request") };
    assert_eq!(
        (text(request, "http.response.status_code"), text(request, "http.route")),
        ("201".into(), "/orders/create".into())
    );
    // The client's trace is linked and decides nothing.
    assert!(request.parent_span_id.is_empty());
    let link = request.links.first().expect("a link");
    assert!(CLIENTS.contains(&hex::encode(&link.trace_id)) && link.trace_id != request.trace_id);
    let find = |name: &str| {
        let found = collector.named(name).into_iter().find(|span| span.trace_id == request.trace_id);
        let names: Vec<_> = collector.spans.lock().unwrap().iter().map(|span| span.name.clone()).collect();
        found.unwrap_or_else(|| panic!("no {name} in the trace: {names:?}"))
    };
    eventually("the relay is there", SOON, async || {
        !collector.named("relay OrderCreated").is_empty() && !collector.named("relay OrderConfirmed").is_empty()
    })
    .await;
    let (job, relayed) = (find("job create-order"), find("relay OrderCreated"));
    assert_eq!([&job.parent_span_id, &relayed.parent_span_id], [&request.span_id; 2]);
    let call = find("parcelx create_order");
    assert_eq!((&call.parent_span_id, text(&call, "http.response.status_code")), (&job.span_id, "200".into()));
    // What follows from the answer goes on from the attempt that got it.
    let delivery = find("job deliver-event");
    assert_eq!([&find("relay OrderConfirmed").parent_span_id, &delivery.parent_span_id], [&job.span_id; 2]);
    assert_eq!(find(post).parent_span_id, delivery.span_id);
    find("commit");
    // Nothing of the order is in it, and nobody outside is told of it.
    let whole = format!("{:?}", collector.spans.lock().unwrap());
    for word in ["Asha", "9876543210", "MG Road", "560001", &user.token, &user.email] {
        assert!(!whole.contains(word), "{word} is in a span");
    }
    assert!(calls.lock().unwrap().iter().all(|call| !call.contains("traceparent")), "{calls:?}");
    assert!(receiver.received().iter().all(|received| received.header("traceparent").is_empty()));
    process.terminate().await;

    let mut process =
        launch(&app, &liar, &collector.base).env("TRACE_PROVIDERS", "on").env("TRACE_INCOMING", "parent").start().await;
    assert_eq!(send(&app, &process.base, &user, "/orders/create", &order("c-2")).await.status(), 201);
    let trace = CLIENTS.split('-').nth(1).unwrap();
    eventually("the carrier was told of the trusted client's trace", SOON, async || {
        calls.lock().unwrap().iter().any(|call| call.contains("traceparent") && call.contains(trace))
    })
    .await;
    process.terminate().await;
    let stored = app.all("jobs", doc! { "kind": "create-order" }).await;
    assert!(stored.iter().all(|job| job.get_str("trace").is_ok()), "{stored:?}");
    app.finish_unchecked().await;
}

#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_nothing_else() {
    let (app, liar) = (TestApp::start().await, Liar::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf = format!("http://{}", listener.local_addr().unwrap());
    let user = app.merchant().await;
    let launched = launch(&app, &liar, &deaf).env("OTEL_EXPORTER_OTLP_TIMEOUT", "300");
    let mut process = launched.start().await;
    let began = Instant::now();
    for n in 0..20 {
        assert_eq!(send(&app, &process.base, &user, "/orders/create", &order(&format!("c-{n}"))).await.status(), 201);
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    eventually("an export was given up", SOON, async || {
        let metrics = app.client.get(format!("{}/metrics", process.base)).send().await.unwrap().text().await.unwrap();
        metrics.contains("waybill_trace_exports_failed_total")
    })
    .await;
    let took = process.terminate().await;
    assert!(took < Duration::from_secs(15), "spans kept it from ending: {took:?}");
    assert!(process.log().contains("spans can't be exported"), "{}", process.log());
    drop(listener);
    app.finish_unchecked().await;
}

#[tokio::test]
async fn log_lines_carry_the_id_of_the_trace() {
    let (app, collector, liar) = (TestApp::start().await, Collector::start().await, Liar::start().await);
    let user = app.merchant().await;
    // Nobody has prepared this database: orders are turned away, and that is logged.
    let empty = with_database(&server("MONGODB_URI"), &unique("waybill"));
    let process = launch(&app, &liar, &collector.base).env("MONGODB_URI", &empty).env("LOG_JSON", "true").spawn();
    eventually("it serves", SOON, async || {
        app.client.get(format!("{}/healthz", process.base)).send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    assert_eq!(send(&app, &process.base, &user, "/orders/create", &order("c-1")).await.status(), 503);
    let failed = "POST /orders/create";
    eventually("its span is there", SOON, async || !collector.named(failed).is_empty()).await;
    let span = &collector.named(failed)[0];
    assert_eq!(text(span, "error.type"), "service.not_migrated");
    let log = process.log();
    let line = log.lines().find(|line| line.contains("request turned away")).expect("a line");
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["span"]["trace.id"], hex::encode(&span.trace_id), "{line}");
    app.finish().await;
}
