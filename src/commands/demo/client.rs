//! A merchant's mobile client, and a look into the providers' books.

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};

/// An order that doesn't get where it should by then fails the demo.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct DemoClient {
    http: Client,
    api: String,
    simulators: String,
    token: String,
}

/// Status, whether it was a replay, body.
pub(super) struct ApiReply {
    pub(super) status: u16,
    pub(super) replayed: bool,
    pub(super) body: Value,
}

impl DemoClient {
    pub(super) fn new(api: &str, simulators: &str) -> Result<Self, String> {
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        Ok(Self {
            http: http.map_err(|error| error.to_string())?,
            api: api.to_owned(),
            simulators: simulators.to_owned(),
            token: String::new(),
        })
    }

    /// The client of somebody else.
    pub(super) fn with_token(&self, token: String) -> Self {
        Self { http: self.http.clone(), api: self.api.clone(), simulators: self.simulators.clone(), token }
    }

    pub(super) async fn run_schedule(&self, name: &str) -> Result<ApiReply, String> {
        self.send(Method::POST, &format!("{}/schedules/{name}/run", self.api), None).await
    }

    /// The run once it has ended.
    pub(super) async fn await_run(&self, schedule: &str, run_id: &str) -> Result<Value, String> {
        let run = |runs: &Value| runs["items"].as_array()?.iter().find(|run| run["runId"] == run_id).cloned();
        let has_ended = |runs: &Value| run(runs).is_some_and(|run| run["state"] != "started");
        let runs = self.await_at(&format!("/schedules/{schedule}/runs"), has_ended).await?;
        run(&runs).ok_or_else(|| format!("there is no run {run_id}"))
    }

    pub(super) async fn schedules(&self) -> Result<Vec<Value>, String> {
        let list = self.send(Method::GET, &format!("{}/schedules", self.api), None).await?.body;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    pub(super) async fn register(&mut self) -> Result<ApiReply, String> {
        let body = json!({ "email": "asha@example.com", "password": "correct horse battery", "name": "Asha" });
        let answer = self.post("/auth/register", &body).await?;
        self.token = answer.body["accessToken"].as_str().unwrap_or_default().to_owned();
        Ok(answer)
    }

    pub(super) async fn customer(&self, name: &str) -> Result<Self, String> {
        let email = format!("{}@example.com", name.to_lowercase());
        let body = json!({ "email": email, "password": "correct horse battery", "name": name, "role": "customer" });
        let answer = self.post("/auth/register", &body).await?;
        Ok(self.with_token(answer.body["accessToken"].as_str().unwrap_or_default().to_owned()))
    }

    /// Puts a product on sale, with so many pieces.
    pub(super) async fn put_on_sale(&self, sku: &str, name: &str, pieces: i64) -> Result<Value, String> {
        let body = json!({
            "sku": sku, "name": name, "price": { "amount": 49_900, "currency": "INR" }, "lowStockAt": 2,
            "parcel": { "weightGrams": 450, "dimensionsCm": { "length": 20, "width": 15, "height": 8 } },
        });
        let product = self.post("/products", &body).await?.body;
        let movement =
            json!({ "clientReference": format!("in-{sku}"), "delta": pieces, "reason": "From the supplier." });
        let path = format!("/products/{}/stock", product["productId"].as_str().unwrap_or_default());
        self.post(&path, &movement).await?;
        Ok(product)
    }

    pub(super) async fn stock(&self, product_id: &str) -> Result<i64, String> {
        let product = self.send(Method::GET, &format!("{}/products/{product_id}", self.api), None).await?.body;
        Ok(product["stock"].as_i64().unwrap_or(-1))
    }

    /// Sets up fulfilment of paid checkouts: a parcel, and a sale in the ERP where `books`.
    pub(super) async fn set_up_fulfilment(&self, books: bool) -> Result<ApiReply, String> {
        let erp = books.then(|| json!({ "provider": "xapi" }));
        let body = json!({
            "erp": erp, "carrier": { "provider": "parcelx", "service": "surface" },
            "pickup": {
                "name": "Kiran Stores", "phone": "9812345678", "line1": "Plot 7, Okhla Phase 2", "city": "New Delhi",
                "state": "Delhi", "pincode": "110020",
            },
        });
        self.send(Method::PUT, &format!("{}/fulfilment", self.api), Some(&body)).await
    }

    pub(super) async fn buy(&self, client_order_id: &str, product_id: &str, method: &str) -> Result<ApiReply, String> {
        let me = self.me().await?;
        let body = json!({
            "clientOrderId": client_order_id, "items": [{ "productId": product_id, "quantity": 1 }],
            "customer": { "name": me["name"], "email": me["email"], "phone": "+919876543210" },
            "shippingAddress": {
                "line1": "12 MG Road", "city": "Bengaluru", "state": "Karnataka", "postcode": "560001", "country": "IN",
            },
            "payment": { "method": method },
        });
        self.post("/checkout", &body).await
    }

    pub(super) async fn cancel_checkout(&self, client_order_id: &str) -> Result<ApiReply, String> {
        self.post("/checkout/cancel", &json!({ "clientOrderId": client_order_id })).await
    }

    /// The checkout once `there` holds.
    pub(super) async fn await_checkout(&self, id: &str, there: impl Fn(&Value) -> bool) -> Result<Value, String> {
        self.await_at(&format!("/checkouts/{id}"), there).await
    }

    /// A person presses the button on the gateway's page.
    pub(super) async fn pay_at(&self, page: &str) -> Result<u16, String> {
        let form = self.http.post(page).header("content-type", "application/x-www-form-urlencoded").body("do=pay");
        Ok(form.send().await.map_err(|error| error.to_string())?.status().as_u16())
    }

    pub(super) async fn fill_in_application(&self) -> Result<ApiReply, String> {
        let body = json!({
            "businessType": "individual", "legalName": "Asha Rao", "pan": "ABCPR1234F", "aadhaar": "9999 4105 7058",
            "bankAccount": { "accountNumber": "123456789012", "ifsc": "HDFC0000123" },
            "address": { "line1": "12 MG Road", "city": "Bengaluru", "state": "Karnataka", "pincode": "560001" },
        });
        self.send(Method::PUT, &format!("{}/kyc", self.api), Some(&body)).await
    }

    /// Uploads a paper of one page.
    pub(super) async fn upload(&self, kind: &str) -> Result<ApiReply, String> {
        const BOUNDARY: &str = "paper";
        let part = |name: &str, content: &str| {
            format!("--{BOUNDARY}\r\ncontent-disposition: form-data; {name}\r\n\r\n{content}\r\n")
        };
        let file = part("name=\"file\"; filename=\"paper.pdf\"", &format!("%PDF-1.4\n{kind}\n%%EOF\n"));
        let form = [part("name=\"kind\"", kind), file, format!("--{BOUNDARY}--\r\n")].concat();
        let request = self.http.post(format!("{}/kyc/documents", self.api)).bearer_auth(&self.token);
        let media_type = format!("multipart/form-data; boundary={BOUNDARY}");
        read(request.header("content-type", media_type).body(form)).await
    }

    pub(super) async fn submit_application(&self) -> Result<ApiReply, String> {
        self.send(Method::POST, &format!("{}/kyc/submit", self.api), None).await
    }

    /// The application once it is in the state.
    pub(super) async fn await_application(&self, state: &str) -> Result<Value, String> {
        self.await_at("/kyc", |application| application["state"] == state).await
    }

    pub(super) async fn top_up(&self, client_topup_id: &str, paise: i64) -> Result<ApiReply, String> {
        let amount = json!({ "amount": paise, "currency": "INR" });
        self.post("/wallet/topups", &json!({ "clientTopupId": client_topup_id, "amount": amount })).await
    }

    /// The top-up once it has the status.
    pub(super) async fn await_top_up(&self, topup_id: &str, status: &str) -> Result<Value, String> {
        self.await_at(&format!("/wallet/topups/{topup_id}"), |topup| topup["status"] == status).await
    }

    /// Somebody pays on the gateway's page, and the gateway says so `times` times.
    pub(super) async fn pay(&self, topup_id: &str, times: u32) -> Result<ApiReply, String> {
        let url = format!("{}/paygate/_control/payments/{topup_id}", self.simulators);
        self.send(Method::POST, &url, Some(&json!({ "do": "pay", "times": times }))).await
    }

    /// Available and held money, in paise.
    pub(super) async fn wallet(&self) -> Result<(i64, i64), String> {
        let wallet = self.send(Method::GET, &format!("{}/wallet", self.api), None).await?.body;
        let paise = |name: &str| wallet[name].as_i64().unwrap_or(-1);
        Ok((paise("available"), paise("held")))
    }

    pub(super) async fn create(&self, client_order_id: &str, weight_grams: i64) -> Result<ApiReply, String> {
        self.post("/orders/create", &order(client_order_id, weight_grams)).await
    }

    /// An order of another kind, for an ERP.
    pub(super) async fn sell(&self, client_order_id: &str) -> Result<ApiReply, String> {
        self.post("/orders/create", &sale(client_order_id)).await
    }

    pub(super) async fn cancel(&self, client_order_id: &str) -> Result<ApiReply, String> {
        self.post("/orders/cancel", &json!({ "clientOrderId": client_order_id, "reason": "changed my mind" })).await
    }

    /// The order once `there` holds.
    pub(super) async fn await_order(&self, order_id: &str, there: impl Fn(&Value) -> bool) -> Result<Value, String> {
        self.await_at(&format!("/orders/{order_id}"), there).await
    }

    async fn await_at(&self, path: &str, there: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let began = Instant::now();
        loop {
            let answer = self.send(Method::GET, &format!("{}{path}", self.api), None).await?;
            if there(&answer.body) {
                return Ok(answer.body);
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{path} did not get there in {PATIENCE:?}: {}", answer.body));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn me(&self) -> Result<Value, String> {
        Ok(self.send(Method::GET, &format!("{}/auth/me", self.api), None).await?.body)
    }

    /// Where mails are read.
    pub(super) fn mailbox(&self) -> String {
        format!("{}/mail", self.simulators)
    }

    /// The mail with this subject, once it is there.
    pub(super) async fn await_mail(&self, subject: &str) -> Result<Value, String> {
        let url = format!("{}/_books/mails", self.mailbox());
        let began = Instant::now();
        loop {
            let mails = self.send(Method::GET, &url, None).await?.body;
            let found =
                mails.as_array().and_then(|mails| mails.iter().find(|mail| mail["subject"] == subject).cloned());
            match found {
                Some(mail) => return Ok(mail),
                None if began.elapsed() > PATIENCE => return Err(format!("no mail with the subject {subject} came")),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Orders an extract from the property register.
    pub(super) async fn create_extract(&self, client_order_id: &str) -> Result<ApiReply, String> {
        let extract = json!({ "cadastralNumber": "50:33:0000000:98325", "type": "base" });
        let body = json!({ "clientOrderId": client_order_id, "provider": "rosreestr", "extract": extract });
        self.post("/orders/create", &body).await
    }

    /// Asks to be told of what happens.
    pub(super) async fn add_endpoint(&self, url: &str, kind: &str) -> Result<ApiReply, String> {
        self.post("/webhook-endpoints", &json!({ "url": url, "types": [kind] })).await
    }

    /// The deliveries once there is one in this status.
    pub(super) async fn await_delivery(&self, status: &str) -> Result<Value, String> {
        let is_there = |page: &Value| page["items"].as_array().is_some_and(|items| !items.is_empty());
        self.await_at(&format!("/webhook-deliveries?status={status}"), is_there).await
    }

    /// Available and held money, in kopecks.
    pub(super) async fn roubles(&self) -> Result<(i64, i64), String> {
        let wallet = self.send(Method::GET, &format!("{}/wallet?currency=RUB", self.api), None).await?.body;
        let kopecks = |name: &str| wallet[name].as_i64().unwrap_or(-1);
        Ok((kopecks("available"), kopecks("held")))
    }

    pub(super) async fn files(&self, order_id: &str) -> Result<Vec<Value>, String> {
        let listed = self.send(Method::GET, &format!("{}/orders/{order_id}/files", self.api), None).await?.body;
        Ok(listed["items"].as_array().cloned().unwrap_or_default())
    }

    /// The content of a file of an order, and how it is to be kept.
    pub(super) async fn download(&self, order_id: &str, file_id: &str) -> Result<(Vec<u8>, String), String> {
        let url = format!("{}/orders/{order_id}/files/{file_id}", self.api);
        let response = self.http.get(url).bearer_auth(&self.token).send().await.map_err(|error| error.to_string())?;
        let disposition = response.headers().get("content-disposition").and_then(|value| value.to_str().ok());
        let disposition = disposition.unwrap_or_default().to_owned();
        let content = response.bytes().await.map_err(|error| error.to_string())?;
        Ok((content.to_vec(), disposition))
    }

    /// Tells the carrier how to misbehave the next `times` creates.
    pub(super) async fn misbehave(&self, mode: &str, times: u32) -> Result<(), String> {
        self.misbehave_at("parcelx", mode, times).await
    }

    /// Has every call to the carrier go wrong, until it behaves again.
    pub(super) async fn misbehave_always(&self, mode: &str) -> Result<(), String> {
        self.control("parcelx", Method::POST, Some(&json!({ "mode": mode }))).await
    }

    /// Has the carrier behave again.
    pub(super) async fn behave(&self) -> Result<(), String> {
        self.control("parcelx", Method::DELETE, None).await
    }

    async fn control(&self, provider: &str, method: Method, rule: Option<&Value>) -> Result<(), String> {
        let url = format!("{}/{provider}/_control/rules", self.simulators);
        let answer = self.send(method, &url, rule).await?;
        if matches!(answer.status, 200..=299) { Ok(()) } else { Err(format!("the stand-in refused: {}", answer.body)) }
    }

    /// Tells a provider the same.
    pub(super) async fn misbehave_at(&self, provider: &str, mode: &str, times: u32) -> Result<(), String> {
        let rule = json!({ "operation": "create", "mode": mode, "times": times });
        self.control(provider, Method::POST, Some(&rule)).await
    }

    /// The carrier's books, in all or of one order.
    pub(super) async fn books(&self, order_id: Option<&str>) -> Result<Value, String> {
        self.books_at("parcelx", &order_id.map_or_else(String::new, |id| format!("orders/{id}"))).await
    }

    /// The document at `path` of a provider's books.
    pub(super) async fn books_at(&self, provider: &str, path: &str) -> Result<Value, String> {
        let url = format!("{}/{provider}/_books/{path}", self.simulators);
        Ok(self.send(Method::GET, url.trim_end_matches('/'), None).await?.body)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<ApiReply, String> {
        self.send(Method::POST, &format!("{}{path}", self.api), Some(body)).await
    }

    async fn send(&self, method: Method, url: &str, body: Option<&Value>) -> Result<ApiReply, String> {
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        read(request).await
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<ApiReply, String> {
    let response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let replayed = response.headers().contains_key("idempotent-replayed");
    let text = response.text().await.map_err(|error| error.to_string())?;
    Ok(ApiReply { status, replayed, body: serde_json::from_str(&text).unwrap_or_default() })
}

fn order(client_order_id: &str, weight_grams: i64) -> Value {
    json!({
        "clientOrderId": client_order_id,
        "shipment": {
            "paymentMode": "prepaid", "weightGrams": weight_grams,
            "dimensionsCm": { "length": 20, "width": 15, "height": 8 },
            "consignee": {
                "name": "Asha Rao", "phone": "9876543210", "line1": "12 MG Road", "city": "Bengaluru",
                "state": "Karnataka", "pincode": "560001",
            },
            "pickup": {
                "name": "Kiran Stores", "phone": "9812345678", "line1": "Plot 7, Okhla Phase 2", "city": "New Delhi",
                "state": "Delhi", "pincode": "110020",
            },
            "items": [{ "sku": "TS-BLK-M", "name": "T-shirt black M", "quantity": 2, "unitPrice": 49900 }],
        },
    })
}

fn sale(client_order_id: &str) -> Value {
    json!({
        "clientOrderId": client_order_id, "provider": "xapi",
        "sale": {
            "currency": "EUR", "orderedAt": "2026-11-29T10:00:00Z", "paymentId": "pay_1",
            "customer": {
                "gender": "female", "firstName": "Eva", "lastName": "Muster", "email": "eva@example.com",
                "phone": "+49 30 123456",
            },
            "billingAddress": { "line1": "Hauptstraße 4/1", "city": "Berlin", "postcode": "10115", "country": "DE" },
            "lines": [
                { "sku": "A-1", "name": "Buch", "quantity": 2, "unitPrice": 1999 },
                { "sku": "A-2", "name": "Heft", "quantity": 1, "unitPrice": 290 },
            ],
            "shippingCost": 490,
        },
    })
}
