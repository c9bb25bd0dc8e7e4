//! The console's links: whoever sees one may open what it leads to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{Browser, PASSWORD, TestApp, User, kyc, seals::seal_all};

/// Pages of one kind that are opened for each role: those behind them look the same.
const OF_A_KIND: usize = 3;
const PAGES_MAX: usize = 300;

/// Addresses of the console on a page.
fn links(page: &str) -> BTreeSet<String> {
    let hrefs = page.split("href=\"").skip(1).filter_map(|part| part.split('"').next());
    let plain = hrefs.map(|href| href.replace("&amp;", "&").replace("&#x2f;", "/"));
    plain.filter(|href| href.starts_with("/admin") && !href.starts_with("/admin/assets/")).collect()
}

/// A path without what is somebody's or something's own.
fn kind(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let is_own = |part: &&str| part.contains(['_', '%', '-']) || part.bytes().any(|byte| byte.is_ascii_digit());
    let parts: Vec<_> = path.split('/').map(|part| if is_own(&part) { "*" } else { part }).collect();
    let names: Vec<_> = query.split('&').filter_map(|pair| pair.split('=').next()).collect();
    format!("{}?{}", parts.join("/"), names.join("&"))
}

/// Everything that a role comes to from its first page and from a search for each of `ids`; gives the kinds of pages that it saw.
async fn walk(app: &TestApp, user: &User, ids: &[String]) -> BTreeSet<String> {
    let browser = Browser::new(app);
    assert_eq!(browser.sign_in(&user.email, PASSWORD).await.to(), "/admin");
    let mut ahead: VecDeque<(String, String)> = VecDeque::from([("/admin".to_owned(), "the start".to_owned())]);
    ahead.extend(ids.iter().map(|id| (format!("/admin/search?q={}", id.replace('@', "%40")), "the start".to_owned())));
    let (mut seen, mut kinds): (BTreeSet<String>, BTreeMap<String, usize>) = Default::default();
    while let Some((path, from)) = ahead.pop_front() {
        let count = kinds.entry(kind(&path)).or_default();
        if *count == OF_A_KIND || !seen.insert(path.clone()) {
            continue;
        }
        *count += 1;
        assert!(seen.len() <= PAGES_MAX, "there is no end of pages: {kinds:?}");
        let page = browser.get(&path).await;
        let status = page.status.as_u16();
        assert!(status != 403 && status < 500, "{path}, linked from {from}, answers {status} to {}", user.email);
        if status == 303 {
            ahead.push_back((page.to().to_owned(), path.clone()));
        } else if page.headers["content-type"].to_str().unwrap().starts_with("text/html") {
            ahead.extend(links(&page.text).into_iter().map(|link| (link, path.clone())));
        }
    }
    kinds.into_keys().collect()
}

#[tokio::test]
async fn no_link_on_any_page_leads_where_its_reader_may_not_go() {
    let app = TestApp::with(&["--webhook-allow-private=true"]).await;
    let (merchant, admin) = (app.merchant().await, app.admin().await);
    let order_id = app.confirmed(&merchant, "c-1").await;
    app.misbehave_for("c-2", "create", "401", Some(1)).await;
    let odd = app.created(&merchant, "c-2").await;
    app.run_jobs().await;
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let tenant = app.post(&admin, "/tenants", &json!({ "name": "Ours", "slug": "ours" })).await.expect(201).body;
    let product = json!({ "sku": "B-1", "name": "Book", "price": { "amount": 500, "currency": "INR" } });
    let product = app.post(&merchant, "/products", &product).await.expect(201).body;
    let stock = json!({ "delta": 5, "kind": "receipt", "reason": "New.", "clientReference": "r-1" });
    app.post(&merchant, &format!("/products/{}/stock", text(&product, "productId")), &stock).await.expect(201);
    let endpoint = json!({ "url": "http://127.0.0.1:9/hook" });
    let endpoint = app.post(&merchant, "/webhook-endpoints", &endpoint).await.expect(201).body;
    let test = format!("/webhook-endpoints/{}/test", text(&endpoint, "endpointId"));
    app.post(&merchant, &test, &json!({})).await;
    let key = json!({ "name": "Server", "scopes": ["orders:read"], "currentPassword": PASSWORD });
    app.post(&merchant, "/auth/api-keys", &key).await.expect(201);
    let applicant = app.applicant(&kyc::individual()).await;
    seal_all(&app).await;
    let job_id = app.create_job(&odd).await.get_str("_id").unwrap().to_owned();
    let transaction = app.all("ledger_transactions", bson::doc! { "referenceId": &order_id }).await;
    let transaction = transaction[0].get_str("_id").unwrap().to_owned();
    let order = app.order(&merchant, &order_id).await;
    let ids = [
        order_id,
        odd,
        job_id,
        transaction,
        text(&order, "providerRequestRefId"),
        merchant.email.clone(),
        text(&product, "productId"),
        applicant.user_id,
    ];
    let manager = app.user(Role::Manager).await;
    for member in [&merchant, &manager] {
        let path = format!("/tenants/{}/members/{}", text(&tenant, "tenantId"), member.user_id);
        app.request(reqwest::Method::PUT, &path, Some(&admin.token), None).await.expect(200);
    }
    for (user, sees) in [
        (&admin, &["/admin/queues/*?", "/admin/jobs/*?", "/admin/users/*?", "/admin/orders/*?"][..]),
        (&app.user(Role::Auditor).await, &["/admin/orders/*?", "/admin/logs/*?", "/admin/ledger/transactions/*?"][..]),
        (&app.user(Role::Finance).await, &["/admin/ledger/transactions/*?", "/admin/ledger/wallets/*?"][..]),
        (&manager, &["/admin/tenants/*?", "/admin/my/keys?"][..]),
        (&merchant, &["/admin/my/orders/*?", "/admin/webhooks/*?", "/admin/products/*?"][..]),
    ] {
        let kinds = walk(&app, user, &ids).await;
        for kind in sees {
            assert!(kinds.contains(*kind), "{} has not come to {kind} but to {kinds:?}", user.email);
        }
    }
    app.finish_unchecked().await;
}

#[tokio::test]
async fn a_sign_in_that_lacks_its_second_factor_shows_the_page_for_that_alone() {
    let app = TestApp::with(&["--staff-totp=required"]).await;
    let admin = app.admin().await;
    let browser = Browser::new(&app);
    let own = browser.sign_in(&admin.email, PASSWORD).await.to().to_owned();
    let page = browser.get(&own).await.expect(200);
    assert_eq!(links(&page.text), BTreeSet::from(["/admin".to_owned(), own.clone()]));
    assert_eq!(browser.get("/admin").await.to(), own);
    app.finish().await;
}
