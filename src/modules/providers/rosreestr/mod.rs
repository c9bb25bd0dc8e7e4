//! Rosreestr, a gateway to the Russian property register: extracts take minutes to weeks, and come as files.
//!
//! A docflow is visible only to the account that placed it. Our order id is the request id, which the gateway takes once (409):
//! so after a create whose answer is missing, a look-up tells what happened. What was placed can't be taken back.

mod wire;

/// Another program's, see `build.rs`; here for `cargo fmt`.
#[cfg(false)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::Value;

use crate::{
    modules::{
        providers::{
            AccountLimits, AccountSecrets, CredentialField, Declaration, Operation, OrderProvider, OrderToPlace,
            Outcome, Placed, PollSchedule, PolledOrders, PricedBy, Progress, Provider, ProviderKind, QueuePolicy,
            SettingDeclaration, Testing,
            reading::{part, sentences},
            transport::{json, segment, unexpected},
        },
        queue::Backoff,
    },
    platform::exchange::{Answer, AnswerBody, Credentials, Lost, Outbound, ReceivedFile},
};

/// As in orders and logs.
pub const NAME: &str = "rosreestr";
/// A file is as large as this at most.
const FILE_BYTES_MAX: u64 = 50 * 1024 * 1024;
/// Between the first polls of an order.
const POLL_MS: &str = "POLL_MS";

pub static DECLARATION: Declaration = Declaration {
    name: NAME,
    title: "Rosreestr",
    kind: ProviderKind::Registry,
    create_queue: "rosreestr-orders-queue",
    cancel_queue: "rosreestr-order-cancellation-queue",
    queue_policy: QueuePolicy {
        max_attempts: Some(3),
        backoff: Some(Backoff { base: Duration::from_secs(2), factor: 2, max: Duration::from_secs(300) }),
        // A file may take as long as a call may.
        timeout: Some(Duration::from_secs(100)),
        keep_done_count: None,
    },
    call_deadline: Some(Duration::from_secs(60)),
    priced_by: PricedBy::RateCard(include_str!("../../../../data/rate-cards/rosreestr-1.json")),
    operations: &[
        (Operation::Create, &wire::CREATE),
        (Operation::LookUp, &wire::LOOK_UP),
        (Operation::Poll, &wire::POLL),
        (Operation::Fetch, &wire::FETCH),
    ],
    base_url: None,
    stand_in: "/rosreestr/v1",
    credential_fields: &[
        CredentialField { name: USERNAME, env: "USERNAME" },
        CredentialField { name: PASSWORD, env: "PASSWORD" },
    ],
    limits: AccountLimits { concurrency: Some(1), rate_per_second: None, open_orders: None },
    settings: &[SettingDeclaration {
        name: POLL_MS,
        default: Some("30000"),
        help: "Milliseconds between the first polls of an order; later ones are further apart, up to ten minutes",
    }],
    adapter: |settings| {
        let every = Duration::from_millis(settings.number(POLL_MS).unwrap_or(30_000));
        Arc::new(Rosreestr::new(&settings.base_url(), PollSchedule { every }))
    },
};

const USERNAME: &str = "username";
const PASSWORD: &str = "password";

#[derive(Debug)]
pub struct Rosreestr {
    base_url: String,
    schedule: PollSchedule,
}

impl Rosreestr {
    /// An adapter for the API under `base_url` (`https://.../v1`).
    #[must_use]
    pub fn new(base_url: &str, schedule: PollSchedule) -> Self {
        Self { base_url: base_url.trim_end_matches('/').to_owned(), schedule }
    }

    fn outbound(&self, operation: Operation, method: Method, path: &str, body: Option<Value>) -> Outbound {
        DECLARATION.outbound(operation, method, format!("{}{path}", self.base_url), body)
    }
}

impl Provider for Rosreestr {
    fn name(&self) -> &'static str {
        NAME
    }

    fn credential_headers(&self) -> &'static [&'static str] {
        &["authorization"]
    }

    fn sign(&self, secrets: &AccountSecrets) -> Option<Credentials> {
        secrets.basic(USERNAME, PASSWORD)
    }
}

impl OrderProvider for Rosreestr {
    fn create_request(&self, order: &OrderToPlace<'_>) -> Option<Outbound> {
        let body = wire::create_body(order.order_id, order.detail.extract()?);
        Some(self.outbound(Operation::Create, Method::POST, "/docflows/object_request", Some(body)))
    }

    fn read_create(&self, _: &str, answer: &Answer) -> Outcome<Placed> {
        reply(answer).and_then(|reply| match reply {
            Ok(body) => wire::docflow_id(body).map_or_else(no_docflow, |id| Outcome::Done(placed(id))),
            Err(refusal) if refusal.status == 409 => Outcome::unknown("provider.already_exists", refusal.text),
            Err(refusal) if matches!(refusal.status, 400 | 422) => Outcome::refused("provider.refused", refusal.text),
            Err(refusal) => unexpected(refusal.status),
        })
    }

    fn look_up_request(&self, order_id: &str) -> Outbound {
        // Our ids are made of letters, digits and `_`: nothing to escape.
        self.outbound(Operation::LookUp, Method::GET, &format!("/docflows?requestId={order_id}"), None)
    }

    fn read_look_up(&self, order_id: &str, answer: &Answer) -> Outcome<Option<Placed>> {
        reply(answer).and_then(|reply| match reply {
            Ok(body) => wire::found(order_id, body).map(|found| found.map(placed)),
            Err(refusal) => Outcome::unknown("provider.look_up_refused", refusal.text),
        })
    }

    fn polling(&self) -> Option<&dyn PolledOrders> {
        Some(self)
    }

    fn testing(&self) -> Option<&dyn Testing> {
        Some(self)
    }
}

impl Testing for Rosreestr {}

impl PolledOrders for Rosreestr {
    fn schedule(&self) -> PollSchedule {
        self.schedule
    }

    fn poll_request(&self, reference: &str) -> Outbound {
        self.outbound(Operation::Poll, Method::GET, &format!("/docflows/{}", segment(reference)), None)
    }

    fn read_poll(&self, reference: &str, answer: &Answer) -> Outcome<Progress> {
        reply(answer).and_then(|reply| match reply {
            Ok(body) => match wire::docflow_id(body) {
                Some(id) if id == reference => wire::progress(body),
                Some(_) => Outcome::unknown("provider.wrong_order", "The answer is about another docflow."),
                None => no_docflow(),
            },
            Err(refusal) => Outcome::refused("provider.poll_refused", refusal.text),
        })
    }

    fn file_request(&self, reference: &str, file_id: &str) -> Outbound {
        let path = format!("/docflows/{}/files/{}", segment(reference), segment(file_id));
        self.outbound(Operation::Fetch, Method::GET, &path, None)
    }

    fn file_bytes_max(&self) -> u64 {
        FILE_BYTES_MAX
    }

    fn read_file(&self, answer: &Answer) -> Outcome<ReceivedFile> {
        match answer {
            Answer::Http { status: 200, body: AnswerBody::File(file), .. } if file.bytes > 0 => {
                Outcome::Done(file.clone())
            }
            Answer::Http { status: 200, body: AnswerBody::File(_), .. } => {
                Outcome::unknown("provider.empty_file", "The file has no content.")
            }
            // It will be as large the next time.
            Answer::Lost(Lost::TooLarge) => {
                Outcome::refused("provider.file_too_large", "The file is larger than 50 MiB.")
            }
            _ => reply(answer).and_then(|reply| match reply {
                Ok(_) => Outcome::unknown("provider.no_file", "Answered with something else than a file."),
                Err(refusal) => Outcome::unknown("provider.no_file", refusal.text),
            }),
        }
    }
}

fn placed(reference: String) -> Placed {
    Placed { reference, ..Placed::default() }
}

fn no_docflow<T>() -> Outcome<T> {
    Outcome::unknown("provider.no_docflow", "Answered without a usable docflowId.")
}

/// An answer that refuses.
struct RegistryRefusal {
    status: u16,
    text: String,
}

/// A body of a 2xx, or a refusal in the gateway's own words; on a 400 and a 422, which are about what was sent, the status is
/// enough.
fn reply(answer: &Answer) -> Outcome<Result<&Value, RegistryRefusal>> {
    json(answer).and_then(|(status, body)| match (status, sentences(body)) {
        (200..=299, _) => Outcome::Done(Ok(part(body))),
        (_, Some(text)) => Outcome::Done(Err(RegistryRefusal { status, text })),
        (400 | 422, None) => {
            Outcome::Done(Err(RegistryRefusal { status, text: format!("Refused with {status}, without a reason.") }))
        }
        (_, None) => unexpected(status),
    })
}
