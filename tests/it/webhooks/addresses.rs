//! Where nothing is posted: this machine, private networks, and what only seems to be elsewhere.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bson::DateTime;
use reqwest::Method;
use serde_json::json;
use waybill::{
    modules::audit::Call,
    platform::{
        batch::View,
        exchange::{AddressPolicy, Answer, ExchangeClient, LookUp, NotSent, Outbound, Prepared, Redaction},
    },
};

use crate::support::{TestApp, receiver::Receiver};

/// Every spelling is in the unit tests of `platform::exchange`; this is what the API says.
#[tokio::test]
async fn nothing_may_be_posted_to_this_network() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    for url in [
        "https://localhost/hook",
        "https://0x7f.1/hook",
        "https://2130706433/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.7:8443/",
    ] {
        let refused = app.post(&user, "/webhook-endpoints", &json!({ "url": url })).await.expect(422);
        assert_eq!(
            (refused.code(), refused.blamed()),
            ("webhooks.address_refused", vec!["url:webhooks.address_refused".to_owned()]),
            "{url}"
        );
    }
    for url in ["http://hooks.example.com/", "https://user:pass@hooks.example.com/", "https://hooks.example.com:25/"] {
        let refused = app.post(&user, "/webhook-endpoints", &json!({ "url": url })).await.expect(422);
        assert_eq!(refused.blamed(), ["url:format"], "{url}");
    }
    let made = app.post(&user, "/webhook-endpoints", &json!({ "url": "https://hooks.example.com/" })).await.expect(201);
    let path = format!("/webhook-endpoints/{}", made.body["endpointId"].as_str().unwrap());
    let body = json!({ "url": "https://192.168.1.1/" });
    app.request(Method::PATCH, &path, Some(&user.token), Some(&body)).await.expect(422);
    assert_eq!(app.get(&user, &path).await.body["url"], "https://hooks.example.com/");
    app.finish().await;
}

/// A look-up that gives these addresses, one list after the other.
fn answering(lists: Vec<Vec<SocketAddr>>) -> (LookUp, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let look_up: LookUp = Arc::new(move |_| {
        let nth = count.fetch_add(1, Ordering::SeqCst);
        let found: io::Result<Vec<SocketAddr>> = Ok(lists[nth.min(lists.len() - 1)].clone());
        Box::pin(async move { found })
    });
    (look_up, asked)
}

async fn post(exchange: &ExchangeClient, url: &str) -> Answer {
    let outbound = Outbound {
        provider: "webhooks",
        operation: "deliver_event",
        method: Method::POST,
        url: url.to_owned(),
        body: Some(json!({})),
        redaction: &Redaction::NOTHING,
    };
    let call = Call {
        request_ref_id: "req_1".into(),
        order_id: None,
        user_id: "usr_1".into(),
        client_order_id: None,
        resource_id: None,
        provider: "webhooks".into(),
        operation: "deliver_event".into(),
        attempt: 1,
        job_id: "job_1".into(),
        worker_id: "wrk_1".into(),
        account_id: "whe_1".into(),
        correlation_id: "rqs_1".into(),
        sent_at: DateTime::from_millis(0),
    };
    let mut view = View::new(DateTime::from_millis(0));
    let logged = waybill::modules::audit::record_request(&mut view, &call, Prepared::new(outbound, &[]));
    exchange.send(&logged, Vec::new(), Instant::now()).await.answer
}

/// The name was good when it was saved, and means something else when the socket is opened.
#[tokio::test]
async fn a_name_that_answers_a_private_address_the_second_time_is_not_called() {
    let receiver = Receiver::start().await;
    let here: SocketAddr = receiver.url[7..receiver.url.len() - 5].parse().unwrap();
    // Nobody is there: a documentation address would be refused, and this one is not routed here.
    let public: SocketAddr = "192.0.1.1:443".parse().unwrap();
    let deadline = Duration::from_millis(300);
    let (look_up, asked) = answering(vec![vec![public], vec![here]]);
    let exchange = ExchangeClient::to_others(deadline, AddressPolicy::Public, look_up).unwrap();
    let url = format!("https://rebind.example.com:{}/hook", here.port());
    let first = post(&exchange, &url).await;
    assert!(
        matches!(first, Answer::NotSent(NotSent::NotConnected) | Answer::Lost(_)),
        "it was allowed, and nobody was there: {first:?}"
    );
    assert_eq!(post(&exchange, &url).await, Answer::NotSent(NotSent::NotPublic));
    assert_eq!(asked.load(Ordering::SeqCst), 2, "asked for each connection");
    // What is written as an address is looked at too, however it got into the database.
    let literal = post(&exchange, &format!("https://127.0.0.1:{}/", here.port())).await;
    assert_eq!(literal, Answer::NotSent(NotSent::NotPublic));
    assert_eq!(post(&exchange, &receiver.url).await, Answer::NotSent(NotSent::NotPublic), "http");
    assert_eq!(receiver.at_once_max(), 0, "no connection was opened");

    let (look_up, _) = answering(vec![vec![here]]);
    let anywhere = ExchangeClient::to_others(deadline, AddressPolicy::Anywhere, look_up).unwrap();
    let answer = post(&anywhere, &format!("http://rebind.example.com:{}/hook", here.port())).await;
    assert!(matches!(answer, Answer::Http { status: 200, .. }), "{answer:?}");
}
