//! What is secret stays where it belongs: sent to every route in every place, it turns up in no log, no metric, no record
//! and no answer to an auditor. What providers say is in `redaction_providers.rs`.

use std::time::Duration;

use bson::doc;
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::{
    openapi::ROUTES,
    roles::rule,
    support::{
        Answer, JWT_SECRET, PASSWORD, TestApp, User,
        drive::{changed, set},
        eventually, gateway, kyc, orders,
        process::Launch,
        read,
        secrets::{Kept, Search, Secret, marked, percent_encoded},
    },
};

/// Where what was sent belongs.
const KEPT: &[Kept] = &[
    Kept {
        collection: "orders",
        field: "detail",
        why: "the merchant's own order: who gets what, in the merchant's words",
    },
    Kept {
        collection: "orders",
        field: "cancellation.reason",
        why: "for the merchant's own records, shown to nobody else",
    },
    Kept {
        collection: "orders",
        field: "comment",
        why: "an operator's own words, in which files have their numbers; no PAN, no Aadhaar number, no key",
    },
    Kept { collection: "users", field: "name", why: "how somebody wants to be called" },
    Kept { collection: "tenants", field: "name", why: "an administrator's own words" },
    Kept {
        collection: "kyc_applications",
        field: "legalName",
        why: "the applicant's own words, seen by who reviews; no PAN, no Aadhaar number",
    },
    Kept { collection: "kyc_applications", field: "address", why: "the same" },
    Kept {
        collection: "provider_accounts",
        field: "label",
        why: "an administrator's own words, in which contracts have their numbers; no PAN, no Aadhaar number, no key",
    },
    Kept { collection: "provider_accounts", field: "comment", why: "the same" },
    Kept { collection: "checkouts", field: "customer", why: "who gets it, in the buyer's words, for buyer and seller" },
    Kept { collection: "checkouts", field: "shippingAddress", why: "the same" },
    Kept { collection: "checkouts", field: "cancelReason", why: "for the buyer's own records, shown to nobody else" },
    Kept {
        collection: "fulfilment_settings",
        field: "pickup",
        why: "the merchant's own warehouse, in the merchant's words",
    },
    Kept {
        collection: "checkouts",
        field: "payment.paymentId",
        why: "the merchant's name of a payment, which may be any word and pays once",
    },
    Kept { collection: "checkouts", field: "externalPayment", why: "the same" },
    Kept { collection: "customers", field: "name", why: "what a customer keeps for checkouts, shown to nobody else" },
    Kept { collection: "customers", field: "addresses", why: "the same" },
    Kept {
        collection: "products",
        field: "sku",
        why: "the merchant's own words for everybody to read: articles have numbers as long as accounts'",
    },
    Kept { collection: "products", field: "name", why: "the same" },
    Kept { collection: "products", field: "description", why: "the same" },
    Kept { collection: "products", field: "category", why: "the same" },
    Kept { collection: "products", field: "terms", why: "the words of all these" },
    Kept { collection: "category_products", field: "category", why: "the product's" },
    Kept { collection: "category_counts", field: "category", why: "the same" },
    Kept { collection: "category_counts", field: "_id", why: "the category is part of it" },
    Kept {
        collection: "webhook_endpoints",
        field: "url",
        why: "the merchant's own address, shown to nobody else; logs have its host alone",
    },
    Kept {
        collection: "ledger_transactions",
        field: "reason",
        why: "finance's words for the merchant: numbers of transfers are their business",
    },
];

/// Requests under way.
const AT_ONCE: usize = 8;

/// Fields that hold amounts, which may be any number.
const AMOUNTS: &[&str] = &["/amount", "/unitPrice", "/shippingCost", "/delta", "/lowStockAt"];

/// Names that somebody gives to what is theirs. They may be any word, and are the names under which it is found again.
const NAMES: &[&str] = &["clientOrderId", "clientTopupId", "clientReference"];

/// A body that each route takes, with `#` where it has to be new every time; none where it takes none. A route whose
/// description has a body and that is not here fails the test.
pub fn good_body(method: &str, path: &str, merchant: &User) -> Option<Value> {
    let user_id = &merchant.user_id;
    let amount = json!({ "amount": 1000, "currency": "INR" });
    Some(match (method, path) {
        ("post", "/auth/register") => {
            json!({ "email": "new#@example.com", "password": PASSWORD, "name": "New", "role": "customer" })
        }
        ("post", "/auth/login") => json!({ "email": merchant.email, "password": PASSWORD, "otp": "081804" }),
        ("post", "/auth/refresh" | "/auth/logout") => json!({ "refreshToken": "x".repeat(43) }),
        // Not the right one: whoever changes the password is signed out.
        ("post", "/auth/password") => {
            json!({ "currentPassword": "not this one", "newPassword": "another horse battery", "revokeApiKeys": true })
        }
        ("post", "/auth/password/forgot") => json!({ "email": merchant.email }),
        ("post", "/auth/password/reset") => {
            json!({ "token": "x".repeat(98), "password": "another horse battery", "keepApiKeys": true })
        }
        ("post", "/auth/email/verify") => json!({ "token": "x".repeat(98) }),
        ("put", "/auth/me/mail") => json!({ "orders": true, "reports": false }),
        // Not the right one: a second factor signs out, and would be asked for from then on.
        ("post", "/auth/totp") => json!({ "currentPassword": "not this one" }),
        ("post", "/auth/totp/confirm") => json!({ "code": "081804" }),
        ("delete", "/auth/totp") | ("post", "/auth/totp/recovery-codes") => {
            json!({ "currentPassword": "not this one", "code": "081804" })
        }
        ("post", "/auth/api-keys") => {
            json!({ "name": "Server", "scopes": ["orders:read"], "expiresAt": "2099-01-01T00:00:00Z",
                "currentPassword": PASSWORD, "code": "081804" })
        }
        ("patch", "/auth/me") => json!({ "name": "Renamed" }),
        ("patch", "/users/{userId}") => json!({ "role": "merchant", "disabled": false }),
        ("post", "/orders/create") => changed("c-#", "/shipment/consignee/line2", json!("Second floor")),
        ("post", "/orders/cancel") => json!({ "clientOrderId": "c-1", "reason": "Not needed." }),
        ("post", "/orders/{orderId}/mark-failed" | "/orders/{orderId}/retry") => json!({ "reason": "By telephone." }),
        ("patch", "/orders/{orderId}/comment") => json!({ "comment": "Asked the client." }),
        ("post", "/wallet/topups") => json!({ "clientTopupId": "t-#", "amount": amount }),
        ("post", "/finance/transactions") => {
            json!({ "clientReference": "f-#", "kind": "recharge", "userId": user_id, "amount": amount, "reason": "By transfer." })
        }
        ("post", "/finance/transactions/{transactionId}/reverse") => {
            json!({ "clientReference": "r-#", "reason": "Twice." })
        }
        ("put", "/kyc") => kyc::individual(),
        ("post", "/kyc/erasure" | "/kyc/applications/{userId}/erasure") => json!({ "reason": "Asked for." }),
        ("post", "/kyc/applications/{userId}/decision") => json!({
            "decision": "clarify", "reason": "Not to be read.", "submission": 1,
            "requirements": [{ "field": "pan", "code": "document.illegible", "reason": "Not to be read." }],
        }),
        ("post", "/audit/legal-holds") => json!({ "kind": "user", "id": user_id, "reason": "A court asks." }),
        ("delete", "/audit/legal-holds/{holdId}") => json!({ "reason": "It has asked." }),
        ("post", "/provider-accounts") => json!({
            "provider": "xapi", "label": "Second", "credentials": { "username": "user", "password": PASSWORD },
            "comment": "For the north.", "ownerUserId": user_id,
            "limits": { "concurrency": 5, "ratePerSecond": 10, "openOrders": 100 },
        }),
        ("put", "/provider-accounts/{accountId}") => json!({
            "label": "Third", "credentials": { "username": "user", "password": PASSWORD }, "comment": "For the south.",
            "limits": { "concurrency": 5, "ratePerSecond": 10, "openOrders": 100 },
        }),
        ("post", "/tenants") => json!({
            "slug": "ten-#", "name": "Stores", "settings": { "timezone": "UTC", "supportEmail": "help@example.com" },
        }),
        ("patch", "/tenants/{tenantId}") => json!({ "name": "Other stores" }),
        ("post", "/checkout") => json!({
            "clientOrderId": "k-#", "items": [{ "productId": "prd_1", "quantity": 1 }],
            "customer": { "name": "Eva Muster", "email": "eva@example.com", "phone": "+4930123456" },
            "shippingAddress": { "name": "Eva Muster", "phone": "+4930123456", "line1": "Hauptstr. 4", "line2": "2nd floor", "city": "Berlin", "state": "Berlin",
                "postcode": "10115", "country": "DE" },
            "payment": { "method": "external", "paymentId": "pay_#" }, "priority": "rush", "currency": "INR",
        }),
        ("put", "/customers/me") => json!({
            "name": "Eva Muster", "phone": "+4930123456",
            "addresses": [{ "label": "Home", "isDefault": true, "address": {
                "name": "Eva", "phone": "+4930123457", "line1": "Hauptstr. 4", "line2": "Hof", "city": "Berlin", "state": "Berlin",
                "postcode": "10115", "country": "DE" } }],
        }),
        ("put", "/fulfilment") => json!({
            "erp": { "provider": "xapi" }, "carrier": { "provider": "parcelx", "service": "surface" },
            "pickup": { "name": "Kiran Stores", "phone": "9812345678", "email": "kiran@example.com", "line1": "Plot 7", "line2": "Gate 2",
                "city": "New Delhi", "state": "Delhi", "pincode": "110020", "country": "IN" },
        }),
        ("post", "/checkout/cancel") => json!({ "clientOrderId": "k-1", "reason": "Not needed." }),
        ("post", "/products") => json!({
            "sku": "sku-#", "name": "Watch", "description": "Shows the time.", "category": "Watches",
            "price": { "amount": 49_900, "currency": "INR" }, "prices": [{ "amount": 600, "currency": "EUR" }], "lowStockAt": 5,
            "parcel": { "weightGrams": 400, "dimensionsCm": { "length": 10, "width": 10, "height": 8 } },
        }),
        ("patch", "/products/{productId}") => json!({
            "name": "Clock", "description": "Shows the time.", "category": "Clocks",
            "price": { "amount": 49_900, "currency": "INR" }, "prices": [], "lowStockAt": 5, "status": "active",
        }),
        ("post", "/products/{productId}/stock") => {
            json!({ "clientReference": "in-#", "delta": 10, "kind": "receipt", "reason": "From the supplier." })
        }
        ("post", "/webhook-endpoints") => {
            json!({ "url": "https://hooks.example.com/waybill", "types": ["order.created"], "description": "The shop's own." })
        }
        ("patch", "/webhook-endpoints/{endpointId}") => {
            json!({ "url": "https://hooks.example.com/waybill", "types": [], "description": "The shop's own.", "status": "enabled" })
        }
        ("post", "/webhook-endpoints/{endpointId}/rotate-secret") => json!({ "graceHours": 1 }),
        ("post", "/webhook-endpoints/{endpointId}/replay") => {
            json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "onlyFailed": true })
        }
        ("post", "/webhooks/payments/{provider}") => gateway::event("evt_of_a_test", "paid", "top_1", 1000, "INR"),
        _ => return None,
    })
}

/// Bodies of other kinds that a route takes too.
pub fn other_bodies(method: &str, path: &str) -> Vec<Value> {
    match (method, path) {
        ("post", "/orders/create") => vec![orders::sale("s-#")],
        _ => Vec::new(),
    }
}

/// What stands in a path where nothing is hidden there.
fn usual(parameter: &str, order_id: &str, merchant: &User) -> String {
    match parameter {
        "{orderId}" => order_id.to_owned(),
        "{userId}" => merchant.user_id.clone(),
        "{queue}" => "parcelx-orders-queue".to_owned(),
        "{provider}" => "paygate".to_owned(),
        other => format!("{}_1", other.trim_matches(['{', '}']).to_lowercase().chars().take(3).collect::<String>()),
    }
}

/// Everything that hides one secret in requests to one process.
struct Sender<'a> {
    app: &'a TestApp,
    /// Of every role; first a merchant who is still applying.
    users: Vec<(Role, User)>,
    merchant: User,
    order_id: String,
    description: Value,
    sent: std::sync::atomic::AtomicUsize,
}

impl Sender<'_> {
    fn number(&self) -> usize {
        self.sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    fn is_newcomer(&self, user: &User) -> bool {
        user.user_id == self.users[0].1.user_id
    }

    /// Who may use the route; and nobody.
    fn senders(&self, method: &Method, path: &str) -> Vec<Option<&User>> {
        let allowed = rule(method, path).expect("every route is in the matrix");
        // Where everybody may, nobody in particular does.
        let may = |role: &Role| allowed.is_some_and(|roles| roles.contains(role));
        let users = self.users.iter().filter(|(role, _)| may(role)).map(|(_, user)| Some(user));
        users.chain([None]).collect()
    }

    async fn send(&self, method: Method, path: String, user: Option<&User>, body: Option<String>, hidden: &Secret) {
        // What a process does only a few times at once is asked for again.
        eventually("it is not busy any more", Duration::from_secs(20), async || {
            let answer = self.send_once(&method, &path, user, body.as_deref(), hidden).await;
            let busy = answer.status.as_u16() == 503;
            assert!(busy || answer.status.as_u16() < 500, "{method} {path}: {}", answer.text);
            !busy
        })
        .await;
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &str,
        user: Option<&User>,
        body: Option<&str>,
        hidden: &Secret,
    ) -> Answer {
        let mut request = self.app.client.request(method.clone(), format!("{}{path}", self.app.base));
        request = match user {
            Some(user) => request.bearer_auth(&user.token),
            None => request.header("authorization", format!("Bearer {}", hidden.value)),
        };
        for name in [
            "x-request-id",
            "user-agent",
            "idempotency-key",
            "x-idempotency-key",
            "referer",
            "cookie",
            "origin",
            "x-api-key",
            "x-forwarded-for",
            "forwarded",
            "traceparent",
            "accept-language",
            "paygate-signature",
            "if-none-match",
        ] {
            // A request id is a random word of its sender's: so is a good password, and by its shape it can't be told from one.
            if name != "x-request-id" || hidden.kind != "a password" {
                request = request.header(name, &hidden.value);
            }
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        read(request.send().await.expect("the api answers")).await
    }

    /// The path with its open parts filled in, or each of them hiding the secret.
    fn paths(&self, path: &str, hidden: &Secret) -> (String, Option<String>) {
        let fill = |with: &dyn Fn(&str) -> String| {
            let parts = path.split('/').map(|part| if part.starts_with('{') { with(part) } else { part.to_owned() });
            parts.collect::<Vec<_>>().join("/")
        };
        let usual = fill(&|part| match part {
            // Nobody: this one's sessions must not end.
            "{userId}" if path.starts_with("/users") => "usr_1".to_owned(),
            part => usual(part, &self.order_id, &self.merchant),
        });
        let hiding = fill(&|_| percent_encoded(&hidden.value));
        let differs = usual != hiding;
        (usual, differs.then_some(hiding))
    }

    /// One secret in the places of one route. Each place meets three of the nine kinds, one of them a number, and each kind a
    /// third of all places: what is read by the same code everywhere need not meet all of them everywhere.
    async fn hide(&self, (route, kind): (usize, usize), method: &str, path: &str, hidden: &Secret) {
        let operation = &self.description["paths"][path][method];
        assert!(operation.is_object(), "{method} {path} is not described");
        let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let good = good_body(method, path, &self.merchant);
        let takes_json = operation["requestBody"]["content"].get("application/json").is_some();
        assert_eq!(takes_json, good.is_some(), "{method} {path}: say in good_body what it takes");
        let (usual, hiding) = self.paths(path, hidden);
        let value = percent_encoded(&hidden.value);
        let unknown = [format!("access_token={value}&{value}={value}")];
        let parameters = operation["parameters"].as_array().into_iter().flatten().filter(|p| p["in"] == "query");
        let known = parameters.map(|p| format!("{}={value}", p["name"].as_str().unwrap()));
        let queries: Vec<String> = known.chain(unknown.clone()).collect();
        let mut requests = Vec::new();
        let senders = self.senders(&verb, path);
        // Who is still applying writes applications; nobody gets as far as to a body, where a token is needed.
        let writers =
            senders.iter().filter(|user| path.starts_with("/kyc") || user.is_some_and(|user| !self.is_newcomer(user)));
        let writer = writers.copied().next().unwrap_or(None);
        for (nth, user) in senders.into_iter().enumerate().filter(|_| route % 3 == kind % 3) {
            for path in [Some(&usual), hiding.as_ref()].into_iter().flatten() {
                requests.push((user, path.clone(), good.as_ref().map(ToString::to_string)));
            }
            let queries = if nth == 0 { &queries[..] } else { &unknown };
            requests.extend(queries.iter().map(|query| (user, format!("{usual}?{query}"), None)));
        }
        // Why something is held names files by their numbers, which nothing tells from numbers of accounts and cards.
        let is_file =
            path.starts_with("/audit/legal-holds") && matches!(hidden.kind, "an account number" | "a card number");
        let all = good.into_iter().chain(other_bodies(method, path)).filter(|_| !is_file);
        let bodies = all.flat_map(|good| bodies(&good, (route, kind), &hidden.value));
        requests.extend(bodies.map(|body| (writer, usual.clone(), Some(body))));
        let sent = requests.into_iter().map(|(user, path, body)| {
            let body = body.map(|body| body.replace('#', &self.number().to_string()));
            self.send(verb.clone(), path, user, body, hidden)
        });
        stream::iter(sent).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// A callback that the gateway has signed, with the secret wherever it may say something.
    async fn hide_in_callback(&self, topup_id: &str, hidden: &Secret) {
        let mut event = gateway::event(&format!("evt_{}", self.number()), "failed", topup_id, 50_000, "INR");
        for pointer in ["/payment/paymentId", "/payment/paymentUrl", "/payment/method", "/note", "/createdAt"] {
            set(&mut event, pointer, json!(format!("{} {}", hidden.value, hidden.value)));
        }
        self.app.call_back(&event).await;
        // Not in the event's id: that is the gateway's name for it, by which it is taken once, and may be any word.
        for pointer in ["/type", "/payment/reference", "/payment/status"] {
            let mut event = event.clone();
            set(&mut event, "/payment/paymentId", json!("pay_1"));
            set(&mut event, pointer, json!(hidden.value));
            self.app.call_back(&event).await;
        }
    }

    /// A form with the secret in names, kinds and contents.
    async fn hide_in_form(&self, hidden: &Secret) {
        let form = crate::kyc_documents::upload_of;
        let name = format!("{}.pdf", hidden.value);
        for body in [
            form("pan_card", &name, "application/pdf", &kyc::pdf(&hidden.value)),
            form(&hidden.value, &name, &hidden.value, hidden.value.as_bytes()),
        ] {
            assert!(self.app.post_form(&self.merchant, body).await.status.as_u16() < 500);
        }
    }
}

/// `good` with the secret in every third text, as a number, beside what is known, in place of everything; and broken.
fn bodies(good: &Value, (route, kind): (usize, usize), hidden: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut pointers = Vec::new();
    leaves(good, String::new(), &mut pointers);
    pointers.retain(|pointer| NAMES.iter().all(|name| !pointer.ends_with(&format!("/{name}"))));
    for pointer in pointers.iter().skip(kind % 3).step_by(3) {
        let mut body = good.clone();
        set(&mut body, pointer, json!(hidden));
        all.push(body.to_string());
        // A number in place of an amount is an amount.
        let is_amount = AMOUNTS.iter().any(|name| pointer.ends_with(name));
        if let Some(number) = hidden.parse::<i64>().ok().filter(|_| !is_amount) {
            set(&mut body, pointer, json!(number));
            all.push(body.to_string());
        }
    }
    let mut more = good.clone();
    set(&mut more, "/password", json!(hidden));
    let whole = json!({ "reason": hidden, "name": hidden }).to_string();
    let not_as_described = [
        more.to_string(),
        json!({ hidden: hidden }).to_string(),
        json!([hidden]).to_string(),
        json!(hidden).to_string(),
        whole[..whole.len() - 1].to_owned(),
        whole.replace(':', ";"),
        hidden.to_owned(),
    ];
    all.extend(not_as_described.into_iter().skip((route + kind) % 3).step_by(3));
    all
}

/// Where texts, numbers and switches are.
pub fn leaves(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaves(value, format!("{pointer}/{name}"), found));
        }
        Value::Array(entries) => {
            entries.iter().enumerate().for_each(|(n, value)| leaves(value, format!("{pointer}/{n}"), found));
        }
        Value::Null => {}
        Value::Bool(_) | Value::String(_) | Value::Number(_) => found.push(pointer),
    }
}

impl TestApp {
    /// All that auditors are answered about calls, orders and who did what.
    pub async fn audit_answers(&self, auditor: &User) -> Vec<(String, String)> {
        let mut answers = Vec::new();
        for path in ["/audit/events?limit=100", "/audit/provider-requests?limit=100"] {
            let mut cursor = String::new();
            loop {
                let page = self.get(auditor, &format!("{path}{cursor}")).await.expect(200);
                let next = page.body["nextCursor"].as_str().map(str::to_owned);
                answers.push((path.to_owned(), page.text));
                match next {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
        }
        let id = |document: &bson::Document| document.get_str("_id").unwrap().to_owned();
        for (collection, path) in [
            ("provider_request_logs", "/audit/provider-requests"),
            ("provider_response_logs", "/audit/provider-responses"),
            ("orders", "/audit/orders"),
        ] {
            for document in self.all(collection, doc! {}).await.iter().rev().take(100) {
                let path = format!("{path}/{}", id(document));
                answers.push((path.clone(), self.get(auditor, &path).await.expect(200).text));
            }
        }
        answers
    }

    /// No record, no log, no metric and no answer to an auditor has one of the secrets, but where it belongs.
    pub async fn expect_kept_to_itself(&self, search: &Search, kept: &[Kept], log: &str, metrics: &str) {
        search.expect_clean("the log", log.as_bytes());
        search.expect_clean("metrics", metrics.as_bytes());
        let auditor = self.user(Role::Auditor).await;
        for (path, text) in self.audit_answers(&auditor).await {
            search.expect_clean(&path, text.as_bytes());
        }
        assert!(self.expect_clean_database(search, kept).await > 50);
    }
}

#[tokio::test]
async fn the_search_finds_what_was_planted() {
    let app = TestApp::start().await;
    let secrets = marked();
    let search = Search::of(&secrets);
    assert_eq!(secrets[1].value.len(), 70, "as long as ours");
    search.expect_clean("nothing", b"");
    for Secret { kind, value } in &secrets {
        for text in [value.clone(), format!("x{value}y"), percent_encoded(value), hex::encode(value)] {
            assert!(search.find(text.as_bytes()).is_some(), "{kind} in {text}");
        }
        let binary = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: value.clone().into_bytes() };
        let number = value.parse::<i64>().map_or(bson::Bson::Null, bson::Bson::Int64);
        let mut planted = vec![
            doc! { "a": [{ "b": format!("about {value}.") }] },
            doc! { "a": { format!("x{value}").replace('.', "_"): 1, "b": value } },
            doc! { "a": binary },
        ];
        planted.extend(number.as_i64().map(|number| doc! { "a": { "b": [number] } }));
        planted.extend(number.as_i64().map(|number| doc! { "a": number as f64 }));
        for leak in planted {
            app.db().collection::<bson::Document>("planted").insert_one(&leak).await.unwrap();
            assert!(app.holds_secret(&search, "planted").await, "{kind} in {leak}");
            app.db().collection::<bson::Document>("planted").drop().await.unwrap();
        }
    }
    assert!(!app.holds_secret(&search, "users").await);
    app.finish().await;
}

#[tokio::test]
async fn no_route_keeps_or_tells_what_is_secret() {
    let mut app = TestApp::start().await;
    let mut process =
        Launch::all(&app, &["--poll-ms=50", "--backoff-base-ms=50"]).env("RUST_LOG", "trace").start().await;
    let ours = std::mem::replace(&mut app.base, process.base.clone());
    let merchant = app.merchant().await;
    let order = app.post(&merchant, "/orders/create", &orders::order("c-1")).await.expect(201);
    let order_id = order.body["orderId"].as_str().unwrap().to_owned();
    let signed_in = app.post(&merchant, "/auth/login", &json!({ "email": merchant.email, "password": PASSWORD })).await;
    let topup_id = app.requested(&merchant, "t-1").await;
    // Under the id that the bodies name.
    let product_id = app.stocked(&merchant, "A-1", 1_000_000).await;
    let mut product = app.all("products", doc! { "_id": product_id }).await.remove(0);
    product.extend(doc! { "_id": "prd_1", "sku": "A-2" });
    app.db().collection::<bson::Document>("products").insert_one(product).await.unwrap();
    let mut users = vec![(Role::Merchant, app.newcomer().await), (Role::Merchant, merchant.clone())];
    for role in [Role::Finance, Role::Auditor, Role::Admin, Role::Customer] {
        users.push((role, app.user(role).await));
    }
    let description = app.request(Method::GET, "/openapi.json", None, None).await.expect(200).body;
    let mut secrets = marked();
    {
        let sent = std::sync::atomic::AtomicUsize::new(0);
        let sender =
            Sender { app: &app, users: users.clone(), merchant, order_id: order_id.clone(), description, sent };
        for (kind, hidden) in secrets.iter().enumerate() {
            for (route, (method, path, _)) in ROUTES.iter().enumerate() {
                sender.hide((route, kind), method, path, hidden).await;
            }
            sender.hide_in_callback(&topup_id, hidden).await;
            sender.hide_in_form(hidden).await;
        }
    }
    // An operator's words are shown to auditors as they are (see KEPT): which were the last ones is a matter of chance here.
    let admin = users.iter().find(|(role, _)| *role == Role::Admin).map(|(_, user)| user.token.clone());
    let path = format!("/orders/{order_id}/comment");
    app.request(Method::PATCH, &path, admin.as_deref(), Some(&json!({ "comment": null }))).await.expect(200);
    // What really is in use was sent too.
    for token in [&signed_in.body["accessToken"], &signed_in.body["refreshToken"]] {
        secrets.push(Secret { kind: "a token in use", value: token.as_str().unwrap().to_owned() });
    }
    secrets.extend(users.iter().map(|(_, user)| Secret { kind: "a token of a test", value: user.token.clone() }));
    secrets.push(Secret { kind: "the key of tokens", value: JWT_SECRET.to_owned() });
    secrets.push(Secret { kind: "a password in use", value: PASSWORD.to_owned() });
    secrets.push(Secret { kind: "the secret of callbacks", value: gateway::SECRET.to_owned() });
    let search = Search::of(&secrets);
    let metrics = app.request(Method::GET, "/metrics", None, None).await.text;
    assert!(metrics.contains("waybill_http_request_seconds"), "{metrics}");
    process.terminate().await;
    let log = process.log();
    assert!(log.contains("TRACE"), "it logs everything");
    app.base = ours;
    for collection in ["orders", "products", "checkouts", "customers"] {
        assert!(app.holds_secret(&search, collection).await, "what was sent has arrived in {collection}");
    }
    app.expect_kept_to_itself(&search, KEPT, &log, &metrics).await;
    app.finish_unchecked().await;
}
