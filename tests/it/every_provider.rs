//! Every provider of orders in the registry, through the API and against its stand-in: whatever goes wrong on the way, an order of its
//! kind is placed once, and taken back where it can be; nothing secret and nobody's name stays in logs; an account can be tried.
//! What can go wrong at one provider only is in the `cases.json` of its folder, where it needs no more than a rule.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use bson::doc;
use serde::Deserialize;
use serde_json::{Value, json};
use waybill::modules::providers::{Declaration, PricedBy, ProviderSettings, registry::PROVIDERS};

use crate::support::{TestApp, User, orders, stand::Stand};

/// What leaves open whether a call was executed, though it was or was not, and what asks for patience.
const FAULTS: [&str; 3] = ["500_after_work", "drop", "429"];
/// Longer than any token lasts.
const TOKENS_LAST: Duration = Duration::from_secs(31 * 24 * 3600);
/// Fields of people in orders of any kind.
const PERSONAL: [&str; 5] = ["firstName", "lastName", "phone", "email", "line1"];

/// `cases.json` of a provider's folder; one without has none of its own.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Cases {
    /// Fields of its detail object in place of the usual ones of its kind, where it would not take these.
    detail: serde_json::Map<String, Value>,
    /// What its stand-in is told beforehand, by the path below `_control`.
    stand_in: BTreeMap<String, Value>,
    faults: Vec<FaultCase>,
}

/// What a rule of the stand-in leads to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultCase {
    rule: Value,
    status: String,
    /// Of the order's failure.
    code: Option<String>,
}

struct Trial<'a> {
    app: &'a TestApp,
    provider: &'static Declaration,
    stand: Stand,
    cases: Cases,
    user: User,
    orders: u32,
}

impl<'a> Trial<'a> {
    async fn of(app: &'a TestApp, provider: &'static Declaration) -> Self {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("src/modules/providers").join(provider.name).join("cases.json");
        let cases = if file.exists() {
            let text = fs::read_to_string(&file).unwrap();
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        } else {
            Cases::default()
        };
        let user = app.merchant_with(0).await;
        if let PricedBy::RateCard(card) = provider.priced_by {
            let card: Value = serde_json::from_str(card).unwrap();
            app.credit_in(&user, 1_000_000_000, card["currency"].as_str().unwrap()).await;
        }
        let stand = Stand::beside(&app.carrier, provider.name);
        for (path, what) in &cases.stand_in {
            stand.control(path, what.clone(), 204).await;
        }
        Self { app, provider, stand, cases, user, orders: 0 }
    }

    /// What an order is in the end, once all is done for it that is done by itself.
    fn placed(&self) -> &'static str {
        let adapter = (self.provider.adapter)(&ProviderSettings::default());
        if adapter.polling().is_some() { "delivered" } else { "confirmed" }
    }

    fn takes_back(&self) -> bool {
        (self.provider.adapter)(&ProviderSettings::default()).cancelling().is_some()
    }

    fn body(&mut self) -> Value {
        self.orders += 1;
        let mut body = orders::of(self.provider, &format!("{}-{}", self.provider.name, self.orders));
        for (field, value) in &self.cases.detail {
            body[self.provider.kind.detail_name()][field] = value.clone();
        }
        body
    }

    /// So many orders as they are in the end, under these rules.
    async fn orders_under(&mut self, rules: &[Value], count: usize) -> Vec<Value> {
        self.stand.behave().await;
        for rule in rules {
            self.stand.rule(rule.clone()).await;
        }
        let mut ids = Vec::new();
        for _ in 0..count {
            let body = self.body();
            let created = self.app.post(&self.user, "/orders/create", &body).await.expect(201).body;
            ids.push(created["orderId"].as_str().unwrap().to_owned());
        }
        self.app.run_jobs_to_the_end().await;
        self.orders(&ids).await
    }

    async fn orders(&self, ids: &[String]) -> Vec<Value> {
        let mut orders = Vec::new();
        for id in ids {
            orders.push(self.app.order(&self.user, id).await);
        }
        orders
    }

    /// Orders are placed once and, where they can be, taken back, though calls go wrong by these rules, each of which is used up.
    async fn come_and_go(&mut self, rules: &[Value]) {
        let name = self.provider.name;
        let orders = self.orders_under(rules, rules.len().max(1)).await;
        let ids: Vec<String> = orders.iter().map(|order| order["orderId"].as_str().unwrap().to_owned()).collect();
        for order in &orders {
            assert_eq!(
                (&order["status"], order["reference"].is_string()),
                (&json!(self.placed()), true),
                "{name}: {order}"
            );
            assert_eq!(self.stand.alive(order["orderId"].as_str().unwrap()).await, 1, "{name}: {order}");
        }
        if self.takes_back() {
            for order in &orders {
                self.app.cancel(&self.user, order["clientOrderId"].as_str().unwrap()).await.expect(202);
            }
            self.app.run_jobs_to_the_end().await;
            for order in self.orders(&ids).await {
                assert_eq!(order["status"], "cancelled", "{name}: {order}");
                assert_eq!(self.stand.alive(order["orderId"].as_str().unwrap()).await, 0, "{name}: {order}");
            }
        }
        let unused: Vec<Value> = self.stand.rules().await.into_iter().filter(|rule| rule["timesLeft"] != 0).collect();
        assert!(unused.is_empty(), "{name}: these tested nothing: {unused:?}");
    }

    /// Nothing that is logged of its calls names people, or what calls were signed with.
    async fn logs_name_nobody(&mut self) {
        let (mut unwanted, name) = (vec![secret_of(self.provider.name)], self.provider.name);
        walk(&self.body()[self.provider.kind.detail_name()], &mut |field, text| {
            if PERSONAL.contains(&field) {
                unwanted.push(text.to_owned());
            }
        });
        for collection in ["provider_request_logs", "provider_response_logs"] {
            let logs = self.app.all(collection, doc! { "provider": name }).await;
            assert!(!logs.is_empty(), "{name} has no {collection}");
            for log in logs {
                let text = log.to_string();
                let found = unwanted.iter().find(|word| text.contains(word.as_str()));
                assert_eq!(found, None, "{name}: {text}");
            }
        }
    }
}

fn walk(value: &Value, see: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) => see(name, text),
                    None => walk(value, see),
                }
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| walk(entry, see)),
        _ => {}
    }
}

/// The last of the credentials that a provider is called with.
fn secret_of(provider: &str) -> String {
    format!("hush-{provider}-hush")
}

#[tokio::test]
async fn whatever_goes_wrong_at_a_provider_an_order_is_placed_once() {
    let secret = |provider: &&Declaration| {
        let field = provider.credential_fields.last().expect("a field").env.to_lowercase().replace('_', "-");
        format!("--{}-{field}={}", provider.name, secret_of(provider.name))
    };
    let flags: Vec<String> = PROVIDERS.iter().map(secret).collect();
    let app = TestApp::with(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let admin = app.admin().await;
    for provider in PROVIDERS {
        let mut trial = Trial::of(&app, provider).await;
        trial.come_and_go(&[]).await;
        app.app.clock.advance(TOKENS_LAST);
        let books = trial.stand.books().await;
        let operations = books["callsByOperation"].as_object().expect("operations").keys();
        let rule = |operation: &String, mode: &str| json!({ "operation": operation, "mode": mode, "times": 1 });
        let rules: Vec<Value> =
            operations.flat_map(|operation| FAULTS.iter().map(move |mode| rule(operation, mode))).collect();
        trial.come_and_go(&rules).await;
        for FaultCase { rule, status, code } in std::mem::take(&mut trial.cases.faults) {
            let order = trial.orders_under(std::slice::from_ref(&rule), 1).await.remove(0);
            assert_eq!(order["status"], *status, "{} under {rule}: {order}", provider.name);
            assert_eq!(order["failure"]["code"], json!(code), "{} under {rule}: {order}", provider.name);
        }
        trial.stand.behave().await;
        trial.logs_name_nobody().await;
        let adapter = (provider.adapter)(&ProviderSettings::default());
        if adapter.testing().is_some() {
            let tested =
                app.post(&admin, &format!("/provider-accounts/{}/default/test", provider.name), &json!({})).await;
            let tested = tested.expect(200).body;
            assert_eq!(tested["works"], true, "{}: {tested}", provider.name);
        }
    }
    app.finish().await;
}
