//! The provider's books: what it was asked to do and what it did, per reference. They show no identifier in full, and
//! keep none.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    answers::{self, Finding, Refusal},
    contract::{self, Deviation, Operation, Request},
};

/// Deviations kept; more than that say nothing new.
const DEVIATIONS_MAX: usize = 1_000;

/// A verification that was done.
struct Done {
    fingerprint: [u8; 32],
    answer: Value,
}

/// All calls of one reference.
struct Entry {
    operation: Operation,
    /// Masked; `None` where no call could be read.
    identifier: Option<String>,
    calls: u64,
    done: Option<Done>,
}

impl Entry {
    fn is_about(&mut self, request: &Request) {
        self.operation = request.operation;
        self.identifier = Some(request.masked());
    }
}

/// A deviation from the contract, and in which call.
#[derive(Clone, Serialize)]
struct Deviated {
    operation: Operation,
    reference: Option<String>,
    #[serde(flatten)]
    deviation: Deviation,
}

/// The provider's books.
#[derive(Default)]
pub struct Books {
    /// Calls refused for their key.
    pub unauthorized: u64,
    calls: BTreeMap<Operation, u64>,
    entries: BTreeMap<String, Entry>,
    /// Rupees transferred. Apart from the entries, so that it would show if one of them forgot.
    deposits: BTreeMap<String, u64>,
    conflicts: u64,
    deviations: Vec<Deviated>,
}

impl Books {
    /// Counts a call, whatever becomes of it.
    pub fn count(&mut self, operation: Operation) {
        *self.calls.entry(operation).or_default() += 1;
    }

    /// Notes a call under its reference, whatever becomes of it.
    pub fn note(&mut self, request: &Request) {
        let entry = self.entry(request.operation, &request.reference);
        entry.calls += 1;
        // Once done, it is about what was done.
        if entry.done.is_none() {
            entry.is_about(request);
        }
    }

    fn entry(&mut self, operation: Operation, reference: &str) -> &mut Entry {
        let new = || Entry { operation, identifier: None, calls: 0, done: None };
        self.entries.entry(reference.to_owned()).or_insert_with(new)
    }

    /// Records deviations, notes the call under its reference, if it has one, and refuses it.
    pub fn object(&mut self, operation: Operation, reference: Option<String>, deviations: Vec<Deviation>) -> Response {
        if let Some(reference) = &reference {
            self.entry(operation, reference).calls += 1;
        }
        let messages: Vec<String> = deviations.iter().map(Deviation::to_string).collect();
        let (status, code) = contract::refused_with(&deviations);
        for deviation in deviations {
            tracing::warn!(?operation, %deviation, "off contract");
            if self.deviations.len() < DEVIATIONS_MAX {
                self.deviations.push(Deviated { operation, reference: reference.clone(), deviation });
            }
        }
        Refusal::new(status, code, &messages.join("; ")).into_response()
    }

    /// Finds something out, once per reference, and gives the answer. What could not be found out is not remembered.
    pub fn verify(&mut self, request: &Request, finding: &Finding) -> Result<Value, Refusal> {
        let fingerprint = request.fingerprint();
        // Made anew where the books were cleared since the call was noted.
        let entry = self.entry(request.operation, &request.reference);
        if let Some(done) = &entry.done {
            if done.fingerprint == fingerprint {
                return Ok(done.answer.clone());
            }
            self.conflicts += 1;
            return Err(Refusal::reference_conflict());
        }
        let answer = answers::found(request, finding);
        if finding.standing.is_final() {
            entry.is_about(request);
            entry.done = Some(Done { fingerprint, answer: answer.clone() });
        }
        if finding.costs(request.operation) {
            *self.deposits.entry(request.reference.clone()).or_default() += 1;
        }
        Ok(answer)
    }

    /// The sums a test asserts on.
    pub fn totals(&self) -> Value {
        let calls: BTreeMap<_, _> = Operation::ALL
            .map(|operation| (operation.word(), self.calls.get(&operation).copied().unwrap_or_default()))
            .into();
        let repeated: Vec<_> = self.deposits.iter().filter(|(_, times)| **times > 1).map(|(name, _)| name).collect();
        json!({
            "calls": calls,
            "references": self.entries.len(),
            "deposits": {"done": self.deposits.values().sum::<u64>(), "repeated": repeated},
            "conflicts": self.conflicts,
            "deviations": self.deviations,
            "unauthorized": self.unauthorized,
        })
    }

    /// Everything known of one reference.
    pub fn check(&self, reference: &str) -> Option<Value> {
        self.entries.get(reference).map(|entry| self.check_view(reference, entry))
    }

    /// Everything known, by reference.
    pub fn checks(&self) -> Vec<Value> {
        self.entries.iter().map(|(reference, entry)| self.check_view(reference, entry)).collect()
    }

    fn check_view(&self, reference: &str, entry: &Entry) -> Value {
        json!({
            "reference": reference,
            "operation": entry.operation,
            "identifier": entry.identifier,
            "calls": entry.calls,
            "done": entry.done.is_some(),
            "deposits": self.deposits.get(reference).copied().unwrap_or_default(),
            "result": entry.done.as_ref().map(|done| &done.answer),
        })
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
