//! The mail servers of the namespaces, with their mails and rules.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{books::Mails, modes::Reply};
use crate::rules::Rules;

/// The mails of one namespace.
#[derive(Default)]
pub(super) struct Known {
    pub(super) mails: Mails,
    pub(super) rules: Rules<Reply>,
    pub(super) deduplicates: bool,
}

/// The mail server of one namespace.
#[derive(Clone, Default)]
pub(super) struct Post(Arc<Mutex<Known>>);

impl Post {
    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mail servers of all namespaces, by name; each is made at its first use, by HTTP or by SMTP.
#[derive(Clone, Default)]
pub struct Posts(Arc<Mutex<HashMap<String, Post>>>);

impl Posts {
    pub(super) fn of(&self, name: &str) -> Post {
        let mut posts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        posts.entry(name.to_owned()).or_default().clone()
    }
}
