//! The provider's books: what it was asked to do and what it did, per reference. They show no identifier in full, and
//! keep none.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    answers::{self, Finding},
    contract::{Operation, Request},
};
use crate::{answer::Answer, stand::Books};

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

/// The provider's books.
#[derive(Default)]
pub struct Checks {
    entries: BTreeMap<String, Entry>,
    /// Rupees transferred. Apart from the entries, so that it would show if one of them forgot.
    deposits: BTreeMap<String, u64>,
    conflicts: u64,
}

impl Checks {
    /// Notes a call under its reference, whatever becomes of it.
    pub fn note(&mut self, request: &Request) {
        let entry = self.entry_mut(request.operation, &request.reference);
        entry.calls += 1;
        // Once done, it is about what was done.
        if entry.done.is_none() {
            entry.is_about(request);
        }
    }

    fn entry_mut(&mut self, operation: Operation, reference: &str) -> &mut Entry {
        let new = || Entry { operation, identifier: None, calls: 0, done: None };
        self.entries.entry(reference.to_owned()).or_insert_with(new)
    }

    /// Notes a call that cannot be read, if it has a reference.
    pub fn note_unreadable(&mut self, operation: Operation, reference: Option<&str>) {
        if let Some(reference) = reference {
            self.entry_mut(operation, reference).calls += 1;
        }
    }

    /// Finds something out, once per reference, and gives the answer. What could not be found out is not remembered.
    pub fn verify(&mut self, request: &Request, finding: &Finding) -> Result<Value, Answer> {
        let fingerprint = request.fingerprint();
        // Made anew where the books were cleared since the call was noted.
        let entry = self.entry_mut(request.operation, &request.reference);
        if let Some(done) = &entry.done {
            if done.fingerprint == fingerprint {
                return Ok(done.answer.clone());
            }
            self.conflicts += 1;
            let message = "A verification of something else has this reference";
            return Err(answers::refusal(StatusCode::CONFLICT, "reference_conflict", message));
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
}

impl Books for Checks {
    fn totals(&self) -> Value {
        let repeated: Vec<_> = self.deposits.iter().filter(|(_, times)| **times > 1).map(|(name, _)| name).collect();
        json!({
            "references": self.entries.len(),
            "deposits": {"done": self.deposits.values().sum::<u64>(), "repeated": repeated},
            "conflicts": self.conflicts,
        })
    }

    fn entry(&self, reference: &str) -> Option<Value> {
        self.entries.get(reference).map(|entry| self.check_view(reference, entry))
    }

    fn entries(&self) -> Vec<Value> {
        self.entries.iter().map(|(reference, entry)| self.check_view(reference, entry)).collect()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
