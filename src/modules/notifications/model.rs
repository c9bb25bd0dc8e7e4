//! Stored mails: that a mail exists, and whether the server has taken it. Neither address nor text.

use bson::{DateTime, doc};
use serde::{Deserialize, Serialize};

use super::MAILS_KEPT;
use crate::{
    modules::audit::Call,
    platform::{
        batch::{Entity, Key},
        mongo::Index,
    },
};

pub const MAILS: &str = "mails";
pub const COLLECTIONS: &[&str] = &[MAILS];

#[must_use]
pub fn indexes() -> Vec<Index> {
    vec![Index::new(MAILS, "kept", doc! { "updatedAt": 1 }).expires_after(MAILS_KEPT)]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MailStatus {
    /// The server has not taken it, as far as we know.
    Pending,
    /// The server has taken it.
    Sent,
    /// The server has refused it for good.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredMail {
    /// Subject and letter: `evt_....order-failed-mail`, the first half of its `Message-ID`.
    #[serde(rename = "_id")]
    pub(super) id: String,
    /// The user it is for; empty where that is no user.
    pub(super) user_id: String,
    pub(super) status: MailStatus,
    pub(super) attempts: i32,
    /// A conversation whose end is not written down yet.
    pub(super) open_call: Option<Call>,
    pub(super) created_at: DateTime,
    /// Last change.
    pub(super) updated_at: DateTime,
}

impl Entity for StoredMail {
    const COLLECTION: &'static str = MAILS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        Vec::new()
    }
}
