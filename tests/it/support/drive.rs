//! Shorthands over [`TestApp`]: workers that run on their own, orders brought to a state, requests byte by byte.

use std::time::Duration;

use bson::{Bson, Document, doc};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use waybill::platform::identity::Role;

use super::{Answer, TestApp, User, orders, read};

/// A worker as in production: it polls, is woken, and heeds pauses.
pub struct RunningWorker {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RunningWorker {
    /// Lets it finish what it runs.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

/// A port on this machine where nobody listens.
pub fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `value` with `change` applied to the order that [`orders::order`] gives.
pub fn changed(client_order_id: &str, pointer: &str, value: Value) -> Value {
    let mut order = orders::order(client_order_id);
    set(&mut order, pointer, value);
    order
}

/// Sets what `pointer` names; the parent has to be there.
pub fn set(body: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is not there")) {
        Value::Object(fields) => drop(fields.insert(name.to_owned(), value)),
        Value::Array(entries) => entries[name.parse::<usize>().unwrap()] = value,
        other => panic!("{parent} is {other}"),
    }
}

/// Removes what `pointer` names.
pub fn remove(body: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
}

/// The state of something that was counted, to compare with later.
pub type Counts = Vec<(String, u64)>;

impl TestApp {
    pub async fn admin(&self) -> User {
        self.user(Role::Admin).await
    }

    /// The price of [`super::orders::order`], in paise.
    pub async fn quote(&self, user: &User) -> i64 {
        let parcel = "service=surface&weightGrams=450&length=20&width=15&height=8&pickupPincode=110020&pickupState=Delhi\
            &deliveryPincode=560001&deliveryState=Karnataka";
        let quoted = self.get(user, &format!("/rates?{parcel}")).await.expect(200).body;
        quoted["items"][0]["total"]["amount"].as_i64().unwrap()
    }

    /// Documents of a collection, but for the events that say that a test has users, and that its merchant is known already.
    pub async fn all_but_grants(&self, collection: &str) -> Vec<Document> {
        self.all(collection, doc! { "type": { "$nin": ["KycGranted", "UserCreated"] } }).await
    }

    /// A new order; gives its id.
    pub async fn created(&self, user: &User, client_order_id: &str) -> String {
        let order = self.create(user, client_order_id).await.expect(201).body;
        order["orderId"].as_str().unwrap().to_owned()
    }

    /// A new order that the carrier has; gives its id.
    pub async fn confirmed(&self, user: &User, client_order_id: &str) -> String {
        let order_id = self.created(user, client_order_id).await;
        self.run_jobs().await;
        assert_eq!(self.order(user, &order_id).await["status"], "confirmed");
        order_id
    }

    /// The first `times` calls of `operation` for the order with this `clientOrderId` behave like `mode`.
    pub async fn misbehave_for(&self, client_order_id: &str, operation: &str, mode: &str, times: Option<u32>) {
        let rule = serde_json::json!({ "operation": operation, "invoiceNumber": client_order_id, "mode": mode, "times": times });
        self.carrier.rule(rule).await;
    }

    /// A person lets a queue go on, and the accounts of its provider.
    pub async fn resume(&self, admin: &User, queue: &str) {
        self.request(Method::POST, &format!("/queues/{queue}/resume"), Some(&admin.token), None).await.expect(200);
    }

    /// The breakers of the accounts that run a queue's jobs, as `account: state reason`.
    pub async fn breakers(&self, admin: &User, queue: &str) -> Vec<String> {
        let queues = self.get(admin, "/queues").await.expect(200).body;
        let queue = queues["items"].as_array().unwrap().iter().find(|known| known["name"] == queue).unwrap().clone();
        let text = |account: &Value, field: &str| account[field].as_str().unwrap_or("-").to_owned();
        let shown = |account| ["accountId", "breaker", "reason"].map(|field| text(account, field)).join(" ");
        queue["accounts"].as_array().unwrap().iter().map(shown).collect()
    }

    /// Jobs about an order, oldest first.
    pub async fn jobs_of(&self, order_id: &str, kind: &str) -> Vec<Document> {
        self.all("jobs", doc! { "payload.orderId": order_id, "kind": kind }).await
    }

    pub async fn create_job(&self, order_id: &str) -> Document {
        self.jobs_of(order_id, "create-order").await.pop().expect("every order has its job")
    }

    /// Answers of the carrier about an order, as logged, oldest first.
    pub async fn answers(&self, order_id: &str) -> Vec<Document> {
        self.all("provider_response_logs", doc! { "orderId": order_id }).await
    }

    /// How many documents there are of what a request may write.
    pub async fn counts(&self) -> Counts {
        let mut counts = Vec::new();
        for name in ["orders", "jobs", "events", "users", "sessions"] {
            let documents = self.db().collection::<Document>(name).count_documents(doc! {}).await.unwrap();
            counts.push((name.to_owned(), documents));
        }
        counts
    }

    /// A worker that says that it serves these queues; without any, all.
    pub async fn beat(&self, queues: &[&str]) {
        let beat = doc! { "_id": "wrk_1", "inStep": true, "queues": queues };
        let seen = vec![doc! { "$replaceWith": { "$mergeObjects": [beat, { "seenAt": "$$NOW" }] } }];
        let workers = self.db().collection::<Document>("workers");
        workers.update_one(doc! { "_id": "wrk_1" }, seen).upsert(true).await.unwrap();
    }

    /// Changes one document by hand.
    pub async fn update_one(&self, collection: &str, filter: Document, set: Document) {
        let documents = self.db().collection::<Document>(collection);
        let updated = documents.update_one(filter, doc! { "$set": set }).await.unwrap();
        assert_eq!(updated.matched_count, 1);
    }

    /// What is answered, and how many keys and documents the server looked at for it.
    pub async fn cost_of(&self, user: &User, path: &str) -> (Value, i64) {
        let db = self.db();
        db.run_command(doc! { "profile": 2 }).await.unwrap();
        let answer = self.get(user, path).await.expect(200).body;
        db.run_command(doc! { "profile": 0 }).await.unwrap();
        let number = |document: &Document, field| match document.get(field) {
            Some(Bson::Int32(number)) => i64::from(*number),
            Some(Bson::Int64(number)) => *number,
            _ => 0,
        };
        let carried_out = self.all("system.profile", doc! { "ns": { "$ne": format!("{}.system.profile", db.name()) } });
        let carried_out = carried_out.await;
        assert!(!carried_out.is_empty(), "{path} reads nothing");
        let cost = carried_out.iter().map(|read| number(read, "docsExamined") + number(read, "keysExamined")).sum();
        db.collection::<Document>("system.profile").drop().await.unwrap();
        (answer, cost)
    }

    /// A worker that runs on its own until it is stopped.
    pub fn start_worker(&self) -> RunningWorker {
        let (stop, stopped) = oneshot::channel();
        let worker = self.app.worker();
        let task = tokio::spawn(async move {
            worker.run(async { drop(stopped.await) }).await;
        });
        RunningWorker { stop, task }
    }

    /// Sends `body` as it is.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        user: Option<&User>,
        content_type: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        if let Some(user) = user {
            request = request.bearer_auth(&user.token);
        }
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        read(request.send().await.expect("the api answers")).await
    }

    /// Sends JSON, spelled as it is.
    pub async fn post_text(&self, user: &User, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(Method::POST, path, Some(user), Some("application/json"), body).await
    }

    /// A connection to the API, for what no HTTP client would send.
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.base.strip_prefix("http://").unwrap()).await.unwrap()
    }

    /// Writes `bytes`, closes this direction, and reads what comes back, if anything.
    pub async fn exchange_raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may stop reading, and even close, before everything is written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("an end");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The server is alive and well.
    pub async fn expect_alive(&self) {
        let answer = self.request(Method::GET, "/healthz", None, None).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}
