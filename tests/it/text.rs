//! What every route does with what clients write, walked over the description of the API: a new route is covered by itself.

use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::{
    kyc_documents::{FORM, upload_of},
    redaction::{good_body, leaves, other_bodies},
    roles::rule,
    support::{
        Answer, TestApp, User,
        drive::{changed, set},
        kyc,
        orders::order,
        read,
    },
};

/// Taken as they are, whatever is in them.
const VERBATIM: &[&str] =
    &["username", "password", "currentPassword", "newPassword", "refreshToken", "token", "otp", "code"];

/// A route that takes JSON, who may use it, and what it takes.
struct Route {
    method: Method,
    path: String,
    user: Option<User>,
    good: Value,
}

impl Route {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Where there are texts, numbers and switches.
    fn leaves(&self) -> Vec<String> {
        let mut found = Vec::new();
        leaves(&self.good, String::new(), &mut found);
        found.retain(|pointer| !VERBATIM.iter().any(|name| pointer.ends_with(&format!("/{name}"))));
        found
    }

    async fn send(&self, app: &TestApp, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = app.client.request(self.method.clone(), format!("{}{}", app.base, self.path));
        if let Some(user) = &self.user {
            request = request.bearer_auth(&user.token);
        }
        if headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header("content-type", "application/json");
        }
        request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        read(request.body(body.to_string()).send().await.unwrap()).await
    }
}

/// `/shipment/items/0/sku` as problems name it.
fn field(pointer: &str) -> String {
    let mut name = String::new();
    for part in pointer.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(index) => name.push_str(&format!("[{index}]")),
            Err(_) if name.is_empty() => name.push_str(part),
            Err(_) => name.push_str(&format!(".{part}")),
        }
    }
    name
}

/// Every described route with a body in JSON, but for callbacks, which machines sign.
async fn routes(app: &TestApp) -> Vec<Route> {
    let mut users = vec![(Role::Merchant, app.merchant().await)];
    for role in [Role::Finance, Role::Auditor, Role::Admin, Role::Customer] {
        users.push((role, app.user(role).await));
    }
    let description = app.request(Method::GET, "/openapi.json", None, None).await.expect(200).body;
    let mut routes = Vec::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let takes_json = operation["requestBody"]["content"].get("application/json").is_some();
            if !takes_json || path.starts_with("/webhooks/") {
                continue;
            }
            let good = good_body(method, path, &users[0].1).unwrap_or_else(|| panic!("{method} {path} is in no list"));
            let all = [vec![good], other_bodies(method, path)].concat();
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let roles = rule(&method, path).unwrap();
            let may = |role: &Role| roles.is_some_and(|roles| roles.contains(role));
            let user = users.iter().find(|(role, _)| may(role)).map(|(_, user)| user.clone());
            for good in all {
                let good = serde_json::from_str(&good.to_string().replace('#', "1")).unwrap();
                let (method, user) = (method.clone(), user.clone());
                routes.push(Route { method, path: path.replace(['{', '}'], ""), user, good });
            }
        }
    }
    assert!(routes.len() >= 15, "only {} routes were found", routes.len());
    routes
}

#[tokio::test]
async fn no_text_holds_what_nobody_can_see() {
    let app = TestApp::start().await;
    let mut unseen = "\u{202e}\u{2066}\u{200e}\u{200b}\u{2028}\u{feff}\u{ad}\u{e0041}\u{0}\u{85}".chars().cycle();
    for route in routes(&app).await {
        for pointer in route.leaves() {
            let Some(text) = route.good.pointer(&pointer).and_then(Value::as_str) else { continue };
            let c = unseen.next().unwrap();
            let (mut body, (head, tail)) = (route.good.clone(), text.split_at(1));
            set(&mut body, &pointer, json!(format!("{head}{c}{tail}")));
            let answer = route.send(&app, &body, &[]).await;
            let what = format!("{} {pointer} with {c:?}", route.name());
            assert_eq!(answer.status, 422, "{what}: {}", answer.text);
            let blamed = answer.blamed();
            let named = format!("{}:", field(&pointer));
            assert!(blamed.len() <= 2 && blamed.iter().all(|blamed| blamed.starts_with(&named)), "{what}: {blamed:?}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn no_text_holds_an_identity_number() {
    let app = TestApp::start().await;
    let spellings = [
        "9999 4105 7058",
        "९९९९ ४१०५ ७०५८",
        "９９９９\u{3000}４１０５\u{3000}７０５８",
        "9999\u{a0}4105\u{a0}7058",
        "9999.4105.7058 ?",
        "9999/4105/7058 ?",
    ];
    let mut spellings = spellings.into_iter().cycle();
    for route in routes(&app).await {
        // The number itself, and a name under which nothing is found, are in no free text.
        for pointer in route.leaves().into_iter().filter(|pointer| !["/aadhaar", "/id"].contains(&pointer.as_str())) {
            if route.good.pointer(&pointer).is_some_and(Value::is_string) {
                let (mut body, number) = (route.good.clone(), spellings.next().unwrap());
                set(&mut body, &pointer, json!(number));
                let answer = route.send(&app, &body, &[]).await;
                let what = format!("{} {pointer} as {number}", route.name());
                assert_eq!(answer.status, 422, "{what}: {}", answer.text);
                let named = format!("{}:", field(&pointer));
                assert!(
                    answer.blamed().iter().any(|blamed| blamed.starts_with(&named)),
                    "{what}: {:?}",
                    answer.blamed()
                );
            }
        }
    }
    // Where the same digits are something else, they are taken.
    let user = app.merchant().await;
    let other = app.newcomer().await;
    let mut body = changed("999941057058", "/shipment/consignee/phone", json!("919876543210"));
    set(&mut body, "/shipment/items/0/sku", json!("719710571235"));
    set(&mut body, "/shipment/consignee/line2", json!("call +91 98765 43210"));
    app.post(&user, "/orders/create", &body).await.expect(201);
    let reason = "AWB 999941057058 came twice";
    app.post(&user, "/orders/cancel", &json!({ "clientOrderId": "999941057058", "reason": reason })).await.expect(202);
    let mut draft = kyc::individual();
    set(&mut draft, "/bankAccount/accountNumber", json!("999941057058"));
    app.save(&other, draft).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn all_wrong_types_are_named_at_once_and_for_people() {
    let app = TestApp::start().await;
    for route in routes(&app).await {
        let mut body = route.good.clone();
        let mut all = Vec::new();
        leaves(&route.good, String::new(), &mut all);
        all.iter().for_each(|pointer| set(&mut body, pointer, json!({ "expected": true })));
        let answer = route.send(&app, &body, &[]).await;
        assert_eq!(answer.status, 422, "{}: {}", route.name(), answer.text);
        for error in answer.body["errors"].as_array().unwrap() {
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with("must be "), "{}: {error}", route.name());
            for jargon in ["expected", "i64", "i32", "u64", "struct", "string", "variant", "sequence"] {
                assert!(!message.contains(jargon), "{}: {error}", route.name());
            }
        }
        let mut expected: Vec<_> = all.iter().map(|pointer| format!("{}:type", field(pointer))).collect();
        expected.sort();
        assert_eq!(answer.blamed(), expected, "{}", route.name());
    }
    app.finish().await;
}

#[tokio::test]
async fn bodies_are_read_as_they_come_or_not_at_all() {
    let app = TestApp::start().await;
    for route in routes(&app).await {
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("content-encoding", "br"),
            ("content-encoding", "identity, deflate"),
            ("content-type", "application/json; charset=ISO-8859-1"),
            ("content-type", "application/json; charset=utf-16"),
            ("content-type", "application/json; charset=utf-8; charset=latin1"),
        ] {
            let answer = route.send(&app, &route.good, &[(name, value)]).await;
            assert_eq!(answer.status, 415, "{} with {value}: {}", route.name(), answer.text);
        }
    }
    let (user, body) = (app.merchant().await, order("c-1"));
    let create = Route { method: Method::POST, path: "/orders/create".into(), user: Some(user.clone()), good: body };
    for (name, value, status) in [
        ("content-encoding", "identity", 201),
        ("content-encoding", "", 200),
        ("content-type", "application/json; charset=\"UTF-8\"", 200),
        ("content-type", "application/json; charset=utf8", 200),
        ("content-type", "application/json; charset=us-ascii", 415),
    ] {
        let answer = create.send(&app, &create.good, &[(name, value)]).await;
        assert_eq!(answer.status, status, "{value}: {}", answer.text);
    }
    let form = upload_of("pan_card", "a.pdf", "application/pdf", &kyc::pdf("x"));
    let upload = app.client.post(format!("{}/kyc/documents", app.base)).bearer_auth(&user.token);
    let upload = upload.header("content-type", FORM).header("content-encoding", "gzip").body(form);
    read(upload.send().await.unwrap()).await.expect(415);
    let callback =
        app.client.post(format!("{}/webhooks/payments/paygate", app.base)).header("content-encoding", "gzip");
    read(callback.body("{}").send().await.unwrap()).await.expect(415);
    app.finish().await;
}

#[tokio::test]
async fn the_same_order_typed_on_another_telephone_is_the_same_order() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let first = app.post(&user, "/orders/create", &changed("c-1", "/shipment/consignee/name", json!("José Rao"))).await;
    let order_id = first.expect(201).body["orderId"].as_str().unwrap().to_owned();
    for (pointer, value) in [
        ("/clientOrderId", json!(" c-1 ")),
        ("/shipment/consignee/name", json!("Jose\u{301} Rao ")),
        ("/shipment/consignee/phone", json!("+91 98765 43210")),
        ("/shipment/consignee/phone", json!("0091-9876543210")),
        ("/shipment/pickup/phone", json!("098123-45678")),
        ("/shipment/consignee/pincode", json!("560 001")),
        ("/shipment/consignee/line2", json!("\u{a0}")),
        ("/shipment/items/0/name", json!("  T-shirt")),
    ] {
        let mut body = changed("c-1", "/shipment/consignee/name", json!("José Rao"));
        set(&mut body, pointer, value.clone());
        let again = app.post(&user, "/orders/create", &body).await;
        assert_eq!((again.status.as_u16(), &again.body["orderId"]), (200, &json!(order_id)), "{pointer} {value}");
        assert_eq!(again.headers["idempotent-replayed"], "true");
    }
    let spelled = changed("c-2", "/shipment/consignee/phone", json!("(+91) 98765-43210"));
    let answer = app.post(&user, "/orders/create", &spelled).await.expect(201);
    let id = answer.body["orderId"].as_str().unwrap().to_owned();
    app.run_jobs().await;
    assert_eq!(app.order(&user, &id).await["shipment"]["consignee"]["phone"], "9876543210");
    assert_eq!(app.carrier.order(&id).await["lastBody"]["consignee_mobile"], "9876543210");
    app.finish().await;
}
