//! Books of a provider that has things under numbers of the client's: what it was asked under each, and what it has there.
//! Upper and lower case are the same number; each account has its own.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use crate::stand::Books;

/// A thing at a provider that has a number.
pub trait Placed: Send + 'static {
    const NUMBER: &'static str;
    /// The name of such things.
    const NAME: &'static str;

    fn account(&self) -> &str;

    /// Whether it is to be carried out, or was: neither taken back nor come to nothing.
    fn is_alive(&self) -> bool;

    /// As the books show it.
    fn shown(&self) -> Value;
}

struct Entry<T> {
    /// As it was first sent.
    number: String,
    calls: BTreeMap<String, u64>,
    placed: Vec<T>,
    last_body: Option<Box<RawValue>>,
}

/// The books, by number.
pub struct Entries<T> {
    entries: BTreeMap<String, Entry<T>>,
    /// How often a number was asked for that its account has already.
    conflicts: u64,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), conflicts: 0 }
    }
}

impl<T: Placed> Entries<T> {
    /// Notes a call under its number, if it has one, whatever becomes of it.
    pub fn note(&mut self, number: Option<&str>, operation: impl Serialize, body: &Bytes) {
        let Some(number) = number else {
            return;
        };
        let entry = self.entry_mut(number);
        *entry.calls.entry(json!(operation).as_str().unwrap_or_default().to_owned()).or_default() += 1;
        if !body.is_empty() {
            entry.last_body = serde_json::from_slice(body).ok();
        }
    }

    fn entry_mut(&mut self, number: &str) -> &mut Entry<T> {
        let new = || Entry { number: number.to_owned(), calls: BTreeMap::new(), placed: vec![], last_body: None };
        self.entries.entry(number.to_uppercase()).or_insert_with(new)
    }

    /// Has it under this number from now on; `None` where its account has something there.
    pub fn place(&mut self, number: &str, placed: T) -> Option<&T> {
        if self.of(placed.account(), number).is_some() {
            self.conflicts += 1;
            return None;
        }
        let all = &mut self.entry_mut(number).placed;
        all.push(placed);
        all.last()
    }

    pub fn of(&self, account: &str, number: &str) -> Option<&T> {
        self.entries.get(&number.to_uppercase())?.placed.iter().find(|placed| placed.account() == account)
    }

    /// All that accounts have under this number.
    pub fn all_of(&mut self, number: &str) -> &mut [T] {
        self.entries.get_mut(&number.to_uppercase()).map(|entry| entry.placed.as_mut_slice()).unwrap_or_default()
    }
}

impl<T: Placed> Entry<T> {
    fn shown(&self) -> Value {
        json!({
            T::NUMBER: self.number,
            "calls": self.calls,
            T::NAME: self.placed.iter().map(T::shown).collect::<Vec<_>>(),
            "lastBody": self.last_body,
        })
    }
}

impl<T: Placed> Books for Entries<T> {
    fn totals(&self) -> Value {
        let per_number = || self.entries.values().map(|entry| entry.placed.len());
        json!({
            "numbers": self.entries.len(),
            T::NAME: per_number().sum::<usize>(),
            "duplicates": per_number().map(|placed| placed.saturating_sub(1)).sum::<usize>(),
            "conflicts": self.conflicts,
        })
    }

    fn entry(&self, number: &str) -> Option<Value> {
        self.entries.get(&number.to_uppercase()).map(Entry::shown)
    }

    fn entries(&self) -> Vec<Value> {
        self.entries.values().map(Entry::shown).collect()
    }

    fn alive(&self, number: &str) -> usize {
        let entry = self.entries.get(&number.to_uppercase());
        entry.map_or(0, |entry| entry.placed.iter().filter(|placed| placed.is_alive()).count())
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
