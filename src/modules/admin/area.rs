//! A part of the console: pages and actions.

use super::{action::Action, page::Page};
use crate::platform::identity::Role;

/// A part of the console.
#[derive(Debug, Default)]
pub(super) struct Area {
    pub(super) pages: Vec<Page>,
    pub(super) actions: Vec<Action>,
    /// Under `/admin/file/`.
    pub(super) downloads: Vec<Download>,
    /// By name.
    pub(super) templates: &'static [(&'static str, &'static str)],
}

/// A download: the API's answer, as it comes.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) name: &'static str,
    /// As of a page's question; placeholders are of the address' query.
    pub(super) path: &'static str,
    pub(super) roles: &'static [Role],
}
