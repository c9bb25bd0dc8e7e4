//! Every provider. A new one is a folder beside this file and a line in the list.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use super::{
    Declaration, OrderProvider, ProviderSettings, ServiceDeclaration, checks::Verifier, payments::PaymentGateway,
};
use crate::{modules::queue::QueueConfig, platform::json::one_of};

#[path = "idcheck/mod.rs"]
mod idcheck;
#[path = "parcelx/mod.rs"]
pub mod parcelx;
#[path = "paygate/mod.rs"]
mod paygate;
#[path = "rosreestr/mod.rs"]
pub mod rosreestr;
#[path = "xapi/mod.rs"]
pub mod xapi;

/// Providers of orders.
pub static PROVIDERS: &[&Declaration] = &[
    &parcelx::DECLARATION, // the default
    &xapi::DECLARATION,
    &rosreestr::DECLARATION,
];

/// Takes the money of top-ups.
pub static PAYMENT_GATEWAY: &ServiceDeclaration<dyn PaymentGateway> = &paygate::DECLARATION;

/// Checks merchants' numbers.
pub static VERIFIER: &ServiceDeclaration<dyn Verifier> = &idcheck::DECLARATION;

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| PROVIDERS.iter().map(|provider| provider.name).collect());

#[must_use]
pub fn find(name: &str) -> Option<&'static Declaration> {
    PROVIDERS.iter().find(|provider| provider.name == name).copied()
}

/// A provider in a request or an answer: one of the list.
#[derive(Clone, Copy, Debug)]
pub struct ProviderName(&'static Declaration);

impl ProviderName {
    #[must_use]
    pub const fn declaration(self) -> &'static Declaration {
        self.0
    }

    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0.name
    }
}

impl Default for ProviderName {
    fn default() -> Self {
        Self(PROVIDERS[0])
    }
}

impl Serialize for ProviderName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name)
    }
}

impl<'de> Deserialize<'de> for ProviderName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = one_of(deserializer, &NAMES)?;
        Ok(Self(find(name).expect("a name of the list")))
    }
}

impl PartialSchema for ProviderName {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A provider that orders can be sent to."))
            .enum_values(Some(NAMES.iter().copied()))
            .into()
    }
}

impl ToSchema for ProviderName {}

/// A provider as this installation works with it.
#[derive(Clone)]
pub struct Configured {
    pub declaration: &'static Declaration,
    /// Speaks its words.
    pub adapter: Arc<dyn OrderProvider>,
    /// Places orders.
    pub create: QueueConfig,
    /// Takes them back.
    pub cancel: QueueConfig,
    /// An answer is lost after this long.
    pub call_deadline: Duration,
}

impl fmt::Debug for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configured").field("provider", &self.declaration.name).finish_non_exhaustive()
    }
}

/// Every provider of the list, by name.
#[derive(Clone, Debug)]
pub struct Providers(Arc<HashMap<&'static str, Configured>>);

impl Providers {
    /// All of them, with what an operator has set: of each its settings, and what its queues begin with.
    #[must_use]
    pub fn new(
        settings: impl Fn(&'static Declaration) -> ProviderSettings,
        queue: impl Fn(&'static Declaration, &'static str) -> QueueConfig,
        call_deadline: Duration,
    ) -> Self {
        let configured = |declaration: &'static Declaration| {
            let queue = |name| {
                let mut queue = queue(declaration, name);
                declaration.queue_policy.apply_to(&mut queue);
                queue
            };
            let settings = settings(declaration);
            Configured {
                declaration,
                adapter: (declaration.adapter)(&settings),
                create: queue(declaration.create_queue),
                cancel: queue(declaration.cancel_queue),
                call_deadline: settings.call_deadline().or(declaration.call_deadline).unwrap_or(call_deadline),
            }
        };
        Self(Arc::new(PROVIDERS.iter().map(|declaration| (declaration.name, configured(declaration))).collect()))
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Configured> {
        self.0.get(name)
    }

    /// All of them, in the order of the list.
    pub fn all(&self) -> impl Iterator<Item = &Configured> {
        PROVIDERS.iter().filter_map(|declaration| self.0.get(declaration.name))
    }
}

/// An order of this kind, for the tests of adapters.
#[cfg(test)]
pub fn example(kind: super::ProviderKind) -> super::Detail {
    use super::ProviderKind;
    let party = serde_json::json!({
        "name": "Asha Rao", "phone": "9876543210", "email": null, "line1": "12 MG Road", "line2": null, "city": "Bengaluru",
        "state": "Karnataka", "pincode": "560001", "country": "IN",
    });
    let address = serde_json::json!({
        "line1": "Hauptstraße 4/1", "line2": null, "city": "Berlin", "postcode": "10115", "country": "DE",
    });
    let detail = match kind {
        ProviderKind::Carrier => serde_json::json!({
            "service": "surface", "paymentMode": "prepaid", "currency": "INR", "codAmount": 0, "weightGrams": 450,
            "dimensionsCm": { "length": 20, "width": 15, "height": 8 }, "consignee": party, "pickup": party,
            "items": [{ "sku": "TS-BLK-M", "name": "T-shirt", "quantity": 2, "unitPrice": 49_900 }],
        }),
        ProviderKind::Erp => serde_json::json!({
            "currency": "EUR", "orderedAt": { "$date": { "$numberLong": "1795946400000" } }, "paymentId": "pay_1",
            "customer": { "gender": "female", "firstName": "Eva", "lastName": "Muster", "email": "eva@example.com", "phone": "+4930123456" },
            "billingAddress": address, "shippingAddress": null,
            "lines": [{ "sku": "A-1", "name": "Buch", "quantity": 2, "unitPrice": 1999 }], "shippingCost": 0,
        }),
        ProviderKind::Registry => serde_json::json!({ "cadastralNumber": "50:33:0000000:98325", "type": "base" }),
    };
    serde_json::from_value(serde_json::json!({ kind.detail_name(): detail })).expect("a detail object")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        modules::providers::{Operation, OrderToPlace, Outcome, PlacedOrder},
        platform::exchange::{Answer, AnswerBody, Lost, NotSent},
    };

    fn in_words<T>(outcome: Outcome<T>) -> String {
        outcome.in_words(|_| "done".into())
    }

    fn http(status: u16, body: AnswerBody) -> Answer {
        Answer::Http { status, retry_after: Some(Duration::from_secs(7)), body }
    }

    /// A fault on the way says nothing of the provider, so it means the same for every one: whether the create may have
    /// been executed. Columns: a create; what is safe to repeat.
    #[test]
    fn every_adapter_tells_faults_on_the_way_apart() {
        const DEFERRED: &str = "deferred exchange.not_connected";
        let faults = [
            (Answer::NotSent(NotSent::NotConnected), DEFERRED, DEFERRED),
            (Answer::NotSent(NotSent::NoTime), "deferred exchange.no_time", "deferred exchange.no_time"),
            (
                Answer::NotSent(NotSent::NoCredentials),
                "unauthorized provider.no_credentials",
                "unauthorized provider.no_credentials",
            ),
            (Answer::Lost(Lost::TimedOut), "unknown exchange.timed_out", "counted exchange.timed_out"),
            (
                Answer::Lost(Lost::ConnectionLost),
                "unknown exchange.connection_lost",
                "counted exchange.connection_lost",
            ),
            (Answer::Lost(Lost::TooLarge), "unknown exchange.answer_too_large", "counted exchange.answer_too_large"),
            (http(429, AnswerBody::NotJson), "in 7 s provider.throttled", "in 7 s provider.throttled"),
            (
                http(401, AnswerBody::NotJson),
                "unauthorized provider.unauthorized",
                "unauthorized provider.unauthorized",
            ),
            (http(403, AnswerBody::NotJson), "unknown provider.blocked", "counted provider.blocked"),
            (http(500, AnswerBody::NotJson), "unknown provider.server_error", "counted provider.server_error"),
            (
                http(503, AnswerBody::Json(serde_json::json!({}))),
                "unknown provider.server_error",
                "counted provider.server_error",
            ),
            (
                http(302, AnswerBody::NotJson),
                "unknown provider.unexpected_status",
                "counted provider.unexpected_status",
            ),
            (
                http(408, AnswerBody::NotJson),
                "unknown provider.unexpected_status",
                "counted provider.unexpected_status",
            ),
            (http(200, AnswerBody::NotJson), "unknown provider.not_json", "counted provider.not_json"),
            (http(404, AnswerBody::NotJson), "unknown provider.not_json", "counted provider.not_json"),
            (http(200, AnswerBody::Contradictory), "unknown provider.contradiction", "counted provider.contradiction"),
        ];
        for provider in PROVIDERS {
            let adapter = (provider.adapter)(&ProviderSettings::default());
            for (answer, create, others) in &faults {
                let said = [
                    in_words(adapter.read_create("ord_1", answer)),
                    in_words(adapter.read_look_up("ord_1", answer).or_repeat()),
                ];
                assert_eq!(said, [*create, *others], "{}: {answer:?}", provider.name);
                if let Some(finishing) = adapter.finishing() {
                    let said = in_words(finishing.read_finish(answer));
                    assert_eq!(said, *create, "{}: {answer:?}", provider.name);
                }
                if let Some(cancelling) = adapter.cancelling() {
                    assert_eq!(
                        in_words(cancelling.read_cancel(answer).or_repeat()),
                        *others,
                        "{}: {answer:?}",
                        provider.name
                    );
                }
            }
        }
    }

    #[test]
    fn an_adapter_asks_only_what_its_provider_declares_and_where_it_is() {
        for provider in PROVIDERS {
            let address = vec![("BASE_URL", "https://provider.example/v1/".to_owned().into())];
            let adapter = (provider.adapter)(&ProviderSettings::new(address));
            assert_eq!(adapter.name(), provider.name);
            assert!(adapter.sign(&crate::modules::providers::AccountSecrets::default()).is_none(), "{}", provider.name);
            let placed = PlacedOrder { reference: Some("REF-1"), provider_order_id: Some("77") };
            let cancel = adapter.cancelling().and_then(|cancelling| cancelling.cancel_request(&placed));
            let finish = adapter.finishing().and_then(|finishing| finishing.finish_request(&placed));
            let detail = example(provider.kind);
            let create =
                adapter.create_request(&OrderToPlace { order_id: "ord_1", client_order_id: "c-1", detail: &detail });
            assert!(create.is_some(), "{} takes its own kind", provider.name);
            for call in [create, Some(adapter.look_up_request("ord_1")), cancel, finish].into_iter().flatten() {
                assert!(call.url.starts_with("https://provider.example/v1/"), "{}", call.url);
                assert_eq!(call.provider, provider.name);
                assert!(
                    provider.operations.iter().any(|(known, _)| known.as_str() == call.operation),
                    "{}",
                    call.operation
                );
            }
        }
    }

    #[test]
    fn names_queues_and_credentials_are_as_operators_expect_them() {
        let mut names = HashSet::new();
        for provider in PROVIDERS {
            let name = provider.name;
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{name}");
            assert!(names.insert(name), "{name} is there twice");
            assert_eq!(provider.create_queue, format!("{name}-orders-queue"));
            assert_eq!(provider.cancel_queue, format!("{name}-order-cancellation-queue"));
            assert!(!provider.credential_fields.is_empty(), "{name}");
            for operation in [Operation::Create, Operation::LookUp] {
                assert!(provider.operations.iter().any(|(known, _)| *known == operation), "{name}: {operation:?}");
            }
        }
    }

    #[test]
    fn a_name_is_read_and_written_as_it_is() {
        for provider in PROVIDERS {
            let name: ProviderName = serde_json::from_value(provider.name.into()).expect("a provider");
            assert_eq!(serde_json::to_value(name).expect("JSON"), provider.name);
        }
        let unknown = serde_json::from_value::<ProviderName>("nobody".into()).expect_err("no provider");
        assert!(unknown.to_string().contains("unknown variant"), "{unknown}");
    }
}
