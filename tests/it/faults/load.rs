//! Clients as they are in the field: several at once, each order sent again with the same id until it is acknowledged.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bson::doc;
use tokio::task::JoinHandle;

use super::{confirmed_once, settled};
use crate::support::{TestApp, User, orders, read};

/// Between two tries of one request.
const PAUSE: Duration = Duration::from_millis(50);
/// A client that is not served for so long reports it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client learned.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub client_order_id: String,
    pub order_id: String,
    /// 201, or 200 where an earlier try got through unheard.
    pub status: u16,
    pub tries: u32,
    pub slowest: Duration,
}

/// Clients that create one order after the other until they are told to stop.
pub struct Load {
    going: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Acknowledged>>>,
}

impl Load {
    /// `count` clients of one merchant, on the API at `base`.
    pub fn start(app: &TestApp, user: &User, base: &str, count: usize) -> Self {
        Self::over(app, user, &[base], count)
    }

    /// The same, who take turns over several API processes.
    pub fn over(app: &TestApp, user: &User, bases: &[&str], count: usize) -> Self {
        let (going, acknowledged) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..count)
            .map(|client| {
                let (going, acknowledged) = (Arc::clone(&going), Arc::clone(&acknowledged));
                let (http, base, token) =
                    (app.client.clone(), bases[client % bases.len()].to_owned(), user.token.clone());
                tokio::spawn(async move {
                    let mut all = Vec::new();
                    while going.load(Ordering::Relaxed) {
                        let id = format!("c-{client}-{}", all.len());
                        all.push(create(&http, &base, &token, id).await);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        // Fast clients on a slow machine would only measure the machine.
                        tokio::time::sleep(Duration::from_millis(80)).await;
                    }
                    all
                })
            })
            .collect();
        Self { going, acknowledged, clients }
    }

    /// Waits until so many more orders are acknowledged.
    pub async fn acknowledges(&self, more: usize) {
        let until = self.acknowledged.load(Ordering::Relaxed) + more;
        let what = format!("{more} more orders are acknowledged");
        crate::support::eventually(&what, PATIENCE, async || self.acknowledged.load(Ordering::Relaxed) >= until).await;
    }

    /// Waits for the last answers.
    pub async fn stop(self) -> Vec<Acknowledged> {
        self.going.store(false, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            all.extend(client.await.unwrap());
        }
        all
    }
}

async fn create(http: &reqwest::Client, base: &str, token: &str, client_order_id: String) -> Acknowledged {
    let began = Instant::now();
    let body = orders::order(&client_order_id).to_string();
    let mut slowest = Duration::ZERO;
    for tries in 1.. {
        let request = http
            .post(format!("{base}/orders/create"))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(body.clone());
        let sent = Instant::now();
        let answer = match request.send().await {
            Ok(response) => Some(read(response).await),
            Err(_) => None,
        };
        slowest = slowest.max(sent.elapsed());
        match answer.as_ref().map(|answer| answer.status.as_u16()) {
            Some(status @ (200 | 201)) => {
                // A status may arrive without its body; then nothing is acknowledged.
                if let Some(order_id) = answer.as_ref().unwrap().body["orderId"].as_str() {
                    return Acknowledged { client_order_id, order_id: order_id.to_owned(), status, tries, slowest };
                }
            }
            Some(503) | None => {}
            Some(other) => panic!("{client_order_id}: {other} {}", answer.as_ref().unwrap().text),
        }
        assert!(began.elapsed() < PATIENCE, "{client_order_id} is not served: {answer:?}");
        // A client that was turned away waits before it asks again: what is tested, not how it is waited for.
        tokio::time::sleep(PAUSE).await;
    }
    unreachable!()
}

/// Every acknowledged order is there once, and at the carrier once; there are no others.
pub async fn all_confirmed_once(app: &TestApp, user: &User, all: &[Acknowledged]) {
    settled(app).await;
    let stored: HashMap<String, String> = app
        .all("orders", doc! {})
        .await
        .iter()
        .map(|order| (order.get_str("clientOrderId").unwrap().to_owned(), order.get_str("_id").unwrap().to_owned()))
        .collect();
    assert_eq!(stored.len(), all.len(), "as many as were acknowledged");
    for acknowledged in all {
        assert_eq!(stored.get(&acknowledged.client_order_id), Some(&acknowledged.order_id), "{acknowledged:?}");
    }
    for (filter, what) in [(doc! {}, "jobs"), (doc! { "type": "OrderCreated" }, "events")] {
        assert_eq!(app.all(what, filter).await.len(), all.len(), "{what}");
    }
    for acknowledged in all {
        confirmed_once(app, user, &acknowledged.order_id, &acknowledged.client_order_id).await;
    }
}

/// The time within which 99 of 100 were acknowledged, counting each one's slowest try.
pub fn p99(all: &[Acknowledged]) -> Duration {
    let mut times: Vec<_> = all.iter().map(|acknowledged| acknowledged.slowest).collect();
    times.sort_unstable();
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}
