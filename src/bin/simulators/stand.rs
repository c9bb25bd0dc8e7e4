//! The skeleton of a stand-in: what a provider has to say about itself, and what happens to a call.
//!
//! The order of events: counted, credentials checked, read against the contract and noted in the books, fault chosen,
//! latency, work, answer. From the latency on it runs in a task of its own: a client that gives up waiting does not stop
//! a provider from doing what it was asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{RawPathParams, State},
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, Refusal},
    contract::{Deviating, Deviation},
    rules::{Fault, Mode, OwnMode, Rules, Subject},
    traffic::Traffic,
};

/// The name by which every rule may ask for the caller's user name.
pub const ACCOUNT: &str = "account";
/// Deviations kept; more than that say nothing new.
const VIOLATIONS_MAX: usize = 1_000;
/// In front of the same API without faults, so that a client that follows a redirect shows up in the books instead of
/// running in a circle.
const MOVED: &str = "/moved";

/// Books of a provider: what it was asked to do, and did.
pub trait Books {
    /// The sums a test asserts on.
    fn totals(&self) -> Value;

    fn entry(&self, reference: &str) -> Option<Value>;

    /// Everything known, by reference.
    fn entries(&self) -> Vec<Value>;

    /// Of what is there for an order of the client's, so much is to be carried out, or was; none where it takes no orders.
    fn alive(&self, _reference: &str) -> usize {
        0
    }

    /// Forgets everything.
    fn clear(&mut self);
}

/// A provider: its contract and its own modes, beside its books.
pub trait Provider: Books + Send + Sized + 'static {
    /// Its path, and its name in logs.
    const NAME: &'static str;
    /// Where its API is below that path.
    const API: &'static str;
    /// Paths below the API. `{name}` stands for any one segment.
    const CALLS: &'static [(MethodFilter, &'static str, OperationOf<Self>)];
    /// The name of the books' entries in paths.
    const ENTRIES: &'static str;
    /// Names by which rules may ask what a call is about, beside `account`.
    const SUBJECT: &'static [&'static str];

    type Mode: OwnMode;
    /// A call as agreed.
    type Request: Send + Sync + 'static;

    /// The credentials of a call; `None` where that is not well-formed.
    fn credentials(headers: &HeaderMap) -> Option<String>;

    /// Reads a call and notes it in the books, whatever becomes of it.
    fn read(&mut self, operation: OperationOf<Self>, call: &Call) -> Result<(Self::Request, Subject), Deviating>;

    /// Does what is asked and gives the proper answer.
    fn work(
        stand: &Stand<Self>,
        request: &Self::Request,
        fault: &Fault<Self::Mode>,
    ) -> impl Future<Output = Answer> + Send;

    /// The answer to a call that goes wrong in a way of its own. `worked` is the proper one, where the work was done.
    fn reply(mode: Self::Mode, request: &Self::Request, message: Option<&str>, worked: Option<Answer>) -> Answer;

    /// The refusal of a call that is not as agreed.
    fn object(deviations: &[Deviation]) -> Answer;

    /// A refusal in its own words, unless there is a message.
    fn refuse(refusal: Refusal, message: Option<&str>) -> Answer;

    /// Routes beside those that every stand-in has.
    fn routes() -> Router<Stand<Self>> {
        Router::new()
    }
}

pub type OperationOf<P> = <<P as Provider>::Mode as OwnMode>::Operation;

pub struct Call {
    pub headers: HeaderMap,
    /// Path and query below the API.
    pub uri: Uri,
    pub body: Bytes,
    /// Where the stand-in is, as seen by who calls.
    pub home: String,
    /// The user name of who calls; empty where credentials have none.
    pub account: String,
    parameters: Vec<(String, String)>,
}

impl Call {
    /// The value of `{name}` in the path.
    pub fn parameter(&self, name: &str) -> String {
        let found = self.parameters.iter().find(|(is, _)| is == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

/// Where a stand-in is made.
#[derive(Default)]
pub struct World<'a> {
    /// The path in front of those of all stand-ins.
    pub base: &'a str,
    /// Where callbacks go from the start, and what they are signed with.
    pub callbacks: Option<&'a (String, String)>,
}

/// Everything one stand-in knows.
pub struct Known<P: Provider> {
    pub provider: P,
    pub rules: Rules<P::Mode>,
    /// Those of all accounts; `None` accepts any that are well-formed.
    pub expected: Option<Vec<String>>,
    calls: BTreeMap<OperationOf<P>, u64>,
    unauthorized: u64,
    violations: Vec<Value>,
}

/// A stand-in, shared by all its handlers.
pub struct Stand<P: Provider> {
    known: Arc<Mutex<Known<P>>>,
    pub traffic: Traffic,
    /// Its path, with that of its namespace.
    base: Arc<str>,
}

impl<P: Provider> Clone for Stand<P> {
    fn clone(&self) -> Self {
        Self { known: self.known.clone(), traffic: self.traffic.clone(), base: self.base.clone() }
    }
}

impl<P: Provider> Stand<P> {
    /// A stand-in in this world. `expected` are its credentials until somebody sets others.
    pub fn new(provider: P, world: &World<'_>, expected: Option<&str>) -> Self {
        let known = Known {
            provider,
            rules: Rules::default(),
            expected: expected.map(|expected| vec![expected.to_owned()]),
            calls: BTreeMap::new(),
            unauthorized: 0,
            violations: Vec::new(),
        };
        let base = format!("{}/{}", world.base, P::NAME).into();
        Self { known: Arc::new(Mutex::new(known)), traffic: Traffic::default(), base }
    }

    pub fn lock(&self) -> MutexGuard<'_, Known<P>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider's API, relative to its path.
    pub fn api(&self) -> Router {
        let calls = |faults_apply: bool| {
            P::CALLS.iter().fold(Router::new(), |router, (method, path, operation)| {
                let operation = *operation;
                let handler = async move |State(stand): State<Self>,
                                          uri: Uri,
                                          parameters: RawPathParams,
                                          headers: HeaderMap,
                                          body: Bytes| {
                    let parameters = parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                    let credentials = P::credentials(&headers).filter(|shown| !shown.is_empty());
                    let account = credentials.as_deref().and_then(|shown| shown.split_once(':'));
                    let call = Call {
                        home: stand.home(&headers),
                        account: account.map_or("", |(user, _)| user).to_owned(),
                        parameters: parameters.collect(),
                        headers,
                        uri,
                        body,
                    };
                    let open = stand.traffic.begin(json!(operation), &call.account);
                    open.hold(stand.answer(operation, call, credentials, faults_apply).await)
                };
                router.route(path, on(*method, handler))
            })
        };
        Router::new()
            .nest(P::API, calls(true))
            .nest(&format!("{MOVED}{}", P::API), calls(false))
            .merge(P::routes())
            .with_state(self.clone())
            .fallback(|| async { P::refuse(Refusal::NoSuchPath, None) })
    }

    fn home(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        format!("http://{host}{}", self.base)
    }

    async fn answer(
        self,
        operation: OperationOf<P>,
        call: Call,
        credentials: Option<String>,
        faults_apply: bool,
    ) -> Response {
        let (request, fault) = {
            let mut known = self.lock();
            if !known.admits(operation, credentials) {
                return P::refuse(Refusal::Unauthorized, None).into_response();
            }
            match known.provider.read(operation, &call) {
                Err(deviating) => return known.object(operation, deviating).into_response(),
                Ok((request, _)) if !faults_apply => (request, Fault::none()),
                Ok((request, mut subject)) => {
                    subject.push((ACCOUNT, json!(call.account)));
                    (request, known.rules.pick(operation, &subject, rand::random))
                }
            }
        };
        tracing::debug!(provider = P::NAME, ?operation, mode = ?fault.mode, "call");
        let moved_to = format!("{}{MOVED}{}{}", self.base, P::API, call.uri);
        let request = Arc::new(request);
        let task = tokio::spawn(async move {
            if !fault.latency.is_zero() {
                tokio::time::sleep(fault.latency).await;
            }
            let worked = if fault.after_work { Some(P::work(&self, &request, &fault).await) } else { None };
            if let Some(delay) = fault.work_after {
                let (request, fault) = (request.clone(), fault.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    P::work(&self, &request, &fault).await
                });
            }
            (request, fault, worked)
        });
        match task.await {
            Ok((request, fault, worked)) => {
                let message = fault.message.as_deref();
                match fault.mode {
                    Mode::Own(mode) => P::reply(mode, &request, message, worked).into_response(),
                    Mode::Transport(mode) => {
                        let refuse = |refusal| P::refuse(refusal, message);
                        mode.respond(worked, fault.retry_after.clone(), &moved_to, refuse).await
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "the stand-in itself failed");
                P::refuse(Refusal::SimulatorFailed, None).into_response()
            }
        }
    }
}

impl<P: Provider> Known<P> {
    /// Counts the call and checks its credentials.
    fn admits(&mut self, operation: OperationOf<P>, credentials: Option<String>) -> bool {
        *self.calls.entry(operation).or_default() += 1;
        let accepted =
            credentials.is_some_and(|shown| self.expected.as_ref().is_none_or(|expected| expected.contains(&shown)));
        self.unauthorized += u64::from(!accepted);
        accepted
    }

    /// Records deviations and refuses the call for them.
    fn object(&mut self, operation: OperationOf<P>, deviating: Deviating) -> Answer {
        #[derive(Serialize)]
        struct Violation<'a, O> {
            operation: O,
            reference: Option<&'a str>,
            #[serde(flatten)]
            deviation: &'a Deviation,
        }
        for deviation in &deviating.deviations {
            tracing::warn!(provider = P::NAME, ?operation, field = deviation.field, "off contract");
            if self.violations.len() < VIOLATIONS_MAX {
                let reference = deviating.reference.as_deref();
                self.violations.push(json!(Violation { operation, reference, deviation }));
            }
        }
        P::object(&deviating.deviations)
    }

    /// The provider's sums, and those that every stand-in has.
    pub fn totals(&self) -> Value {
        let mut by_operation: BTreeMap<_, u64> = P::CALLS.iter().map(|(_, _, operation)| (*operation, 0)).collect();
        by_operation.extend(&self.calls);
        let mut totals = self.provider.totals();
        totals["calls"] = json!(self.calls.values().sum::<u64>());
        totals["callsByOperation"] = json!(by_operation);
        totals["unauthorized"] = json!(self.unauthorized);
        totals["violations"] = json!(self.violations);
        totals
    }

    /// Forgets what is in the books; rules and credentials stay.
    pub fn clear_books(&mut self) {
        self.provider.clear();
        self.calls.clear();
        self.unauthorized = 0;
        self.violations.clear();
    }
}
