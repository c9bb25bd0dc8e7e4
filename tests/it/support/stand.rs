//! A provider's stand-in in the carrier's process, with books of its own.

use serde_json::Value;
use waybill::modules::providers::{BASE_URL, CALL_DEADLINE_MS, Declaration, registry::PROVIDERS};

use super::Carrier;

/// Where the carrier's API is in the stand-ins' process.
const CARRIER: &str = "/parcelx/api/v3";

pub struct Stand {
    url: String,
    client: reqwest::Client,
}

/// Where the stand-ins are whose carrier has this base URL; none where the carrier is another one.
fn root(carrier: &str) -> Option<&str> {
    carrier.strip_suffix(CARRIER)
}

/// Settings for all providers of orders beside the carrier whose base URL this is.
pub fn provider_flags(carrier: &str) -> Vec<String> {
    let Some(root) = root(carrier) else { return Vec::new() };
    PROVIDERS.iter().filter(|provider| provider.stand_in != CARRIER).flat_map(|one| flags_of(one, root)).collect()
}

/// The account that calls is `shop`, where its credentials are a name and a secret.
fn flags_of(provider: &Declaration, root: &str) -> Vec<String> {
    let flag = |setting: &str, value: &str| {
        format!("--{}-{}={value}", provider.name, setting.to_lowercase().replace('_', "-"))
    };
    let mut flags = vec![flag(BASE_URL, &format!("{root}{}", provider.stand_in)), flag(CALL_DEADLINE_MS, "2000")];
    let names = provider.credential_fields.len() - 1;
    flags.extend(
        provider
            .credential_fields
            .iter()
            .enumerate()
            .map(|(at, field)| flag(field.env, if at < names { "shop" } else { "secret" })),
    );
    if provider.settings.iter().any(|setting| setting.name == "POLL_MS") {
        flags.push(flag("POLL_MS", "1000"));
    }
    flags
}

/// The number under which an order is at the ERP.
pub fn document_number(order_id: &str) -> &str {
    order_id.strip_prefix("ord_").expect("an order's id")
}

impl Stand {
    /// The stand-in of `provider`.
    pub fn beside(carrier: &Carrier, provider: &str) -> Self {
        let base = carrier.base_url();
        let root = root(&base).expect("the carrier's path");
        Self { url: format!("{root}/{provider}"), client: carrier.client.clone() }
    }

    /// Adds a rule; see the stand-ins' `rules`, `transport` and the provider's `modes`.
    pub async fn rule(&self, rule: Value) {
        self.control("rules", rule, 201).await;
    }

    /// Has something happen there.
    pub async fn control(&self, path: &str, what: Value, status: u16) {
        let request = self.client.post(format!("{}/_control/{path}", self.url));
        let response = request.header("content-type", "application/json").body(what.to_string()).send().await.unwrap();
        assert_eq!(response.status(), status, "{what}: {}", response.text().await.unwrap());
    }

    /// The rules as they are now.
    pub async fn rules(&self) -> Vec<Value> {
        self.read("/_control/rules").await.as_array().cloned().unwrap_or_default()
    }

    /// Forgets the rules.
    pub async fn behave(&self) {
        self.client.delete(format!("{}/_control/rules", self.url)).send().await.unwrap();
    }

    pub async fn books(&self) -> Value {
        self.read("/_books").await
    }

    /// When calls arrived, by account.
    pub async fn traffic(&self) -> Value {
        self.read("/_traffic").await
    }

    /// What is there under a number of ours; null where it was never heard of. `name` is what entries are called.
    pub async fn entry(&self, name: &str, number: &str) -> Value {
        self.read(&format!("/_books/{name}/{number}")).await
    }

    /// How much of what it has for an order of ours is alive, by our id or the part of it that a provider has room for.
    pub async fn alive(&self, order_id: &str) -> u64 {
        let mut alive = 0;
        for number in [order_id, document_number(order_id)] {
            if alive == 0 {
                alive = self.read(&format!("/_alive/{number}")).await.as_u64().expect("a number");
            }
        }
        alive
    }

    /// What an ERP has of an order of ours.
    pub async fn orders_of(&self, order_id: &str) -> Vec<Value> {
        let entry = self.entry("orders", document_number(order_id)).await;
        entry["orders"].as_array().cloned().unwrap_or_default()
    }

    async fn read(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        if response.status() == 404 {
            return Value::Null;
        }
        serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default()
    }
}
