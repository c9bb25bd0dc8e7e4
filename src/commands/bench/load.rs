//! Merchants who create orders.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use waybill_client::{Method, Waybill};

use crate::modules::providers::Declaration;

/// How fast orders come.
#[derive(Clone, Copy, Debug)]
pub(super) enum LoadRate {
    /// Each connection creates the next one as soon as it has an answer.
    Flat,
    /// So many a second, over all connections.
    Rate(f64),
}

/// Results of one round of load.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadResult {
    /// 201.
    pub(super) acknowledged: u64,
    /// Answered otherwise.
    pub(super) refused: u64,
    /// Not answered.
    pub(super) unanswered: u64,
    /// The answer to the first order that was refused.
    pub(super) refusal: Option<String>,
    pub(super) took: Duration,
    pub(super) latencies_ms: Vec<f64>,
}

/// Merchants, each with a token.
#[derive(Clone)]
pub(super) struct Fleet {
    merchants: Arc<[Waybill]>,
    order: Arc<Value>,
    /// Orders that were acknowledged, over all rounds.
    pub(super) counted: Arc<AtomicU64>,
}

impl Fleet {
    pub(super) fn new(api: Waybill, (carrier, tokens): (&Declaration, &[String])) -> Self {
        let merchants = tokens.iter().map(|token| api.clone().with_token(token.clone())).collect();
        Self { merchants, order: Arc::new(order(carrier.name)), counted: Arc::default() }
    }

    /// One merchant of them.
    pub(super) fn only(&self, number: usize) -> Self {
        Self { merchants: self.merchants[number..=number].into(), ..self.clone() }
    }

    /// Creates orders whose ids begin with `prefix`, for so long.
    pub(super) async fn run(
        &self,
        prefix: &'static str,
        pace: LoadRate,
        length: Duration,
        connections: usize,
    ) -> LoadResult {
        let (began, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            clients.spawn(self.clone().client(prefix, pace, began, length, Arc::clone(&next)));
        }
        let mut made = LoadResult::default();
        while let Some(one) = clients.join_next().await {
            made.add(one.unwrap_or_default());
        }
        made
    }

    async fn client(
        self,
        prefix: &'static str,
        pace: LoadRate,
        began: Instant,
        length: Duration,
        next: Arc<AtomicUsize>,
    ) -> LoadResult {
        let mut made = LoadResult::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if let LoadRate::Rate(rate) = pace {
                let due = Duration::from_secs_f64(number as f64 / rate).min(length);
                tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
            }
            if began.elapsed() >= length {
                made.took = began.elapsed();
                return made;
            }
            self.create(&format!("{prefix}-{number}"), &self.merchants[number % self.merchants.len()], &mut made).await;
        }
    }

    async fn create(&self, id: &str, merchant: &Waybill, made: &mut LoadResult) {
        let mut order = (*self.order).clone();
        order["clientOrderId"] = id.into();
        let asked = Instant::now();
        let answer = match merchant.call(Method::POST, "/orders/create") {
            Ok(call) => merchant.exchange(&call.json(&order)).await,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(answer) if answer.status == 201 => {
                made.acknowledged += 1;
                made.latencies_ms.push(asked.elapsed().as_secs_f64() * 1_000.0);
                self.counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => {
                made.refused += 1;
                let said = || format!("HTTP {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
                made.refusal.get_or_insert_with(said);
            }
            Err(failure) => {
                made.unanswered += 1;
                made.refusal.get_or_insert_with(|| failure.to_string());
            }
        }
    }
}

fn order(carrier: &str) -> Value {
    let address = json!({
        "name": "Asha Rao", "phone": "9876543210", "line1": "12 MG Road", "city": "Bengaluru", "state": "Karnataka",
        "pincode": "560001",
    });
    json!({
        "clientOrderId": "", "provider": carrier,
        "shipment": {
            "paymentMode": "prepaid", "weightGrams": 450, "dimensionsCm": { "length": 20, "width": 15, "height": 8 },
            "consignee": address, "pickup": address,
            "items": [{ "sku": "TS-BLK-M", "name": "T-shirt", "quantity": 2, "unitPrice": 49_900 }],
        },
    })
}
