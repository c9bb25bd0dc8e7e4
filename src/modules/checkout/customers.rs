//! Profiles of customers for their next checkouts: names and addresses. Personal, so it is in no event and no record, and `waybill
//! audit erase` deletes it.

use bson::{Bson, DateTime, doc};
use mongodb::{Database, error::Result};
use serde::{Deserialize, Serialize};

use super::{
    fulfilment::FULFILMENT,
    model::{CUSTOMERS, ShippingAddress},
};
use crate::{
    modules::audit::retention::{Belonging, Eraser, ErasureError, ErasureSubject},
    platform::{
        batch::{Command, Entity, Key, View},
        mongo::READ_TIME_MAX,
    },
};

/// An address that a customer keeps.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptAddress {
    /// The customer's name for it.
    pub(super) label: Option<String>,
    /// Whether it is the one that is meant where none is named. One is, unless there is none.
    pub(super) is_default: bool,
    pub(super) address: ShippingAddress,
}

/// A customer's profile, as stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CustomerProfile {
    /// The customer, `usr_...`
    #[serde(rename = "_id")]
    pub(super) user_id: String,
    pub(super) name: String,
    /// `+` and digits.
    pub(super) phone: Option<String>,
    pub(super) addresses: Vec<KeptAddress>,
    pub(super) created_at: DateTime,
    pub(super) updated_at: DateTime,
}

impl Entity for CustomerProfile {
    const COLLECTION: &'static str = CUSTOMERS;

    fn id(&self) -> &str {
        &self.user_id
    }

    fn unique_keys(&self) -> Vec<Key> {
        Vec::new()
    }
}

/// Replaces what a customer keeps. What is the same already is no change.
pub(super) struct PutProfile {
    /// As it will be, but for its times.
    pub(super) profile: CustomerProfile,
}

impl Command for PutProfile {
    type Reply = CustomerProfile;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(CUSTOMERS, &*self.profile.user_id)]
    }

    fn decide(&self, view: &mut View) -> CustomerProfile {
        let now = view.now();
        let Some(kept) = view.by_id::<CustomerProfile>(&self.profile.user_id) else {
            let profile = CustomerProfile { created_at: now, updated_at: now, ..self.profile.clone() };
            view.insert(&profile);
            return profile;
        };
        let wanted =
            CustomerProfile { created_at: kept.created_at, updated_at: kept.updated_at, ..self.profile.clone() };
        if wanted == kept {
            return kept;
        }
        let profile = CustomerProfile { updated_at: now.max(kept.updated_at), ..wanted };
        view.update(&profile);
        profile
    }

    fn bytes(&self) -> usize {
        self.profile.addresses.len() * 512
    }
}

pub(super) async fn find_profile(db: &Database, user_id: &str) -> Result<Option<CustomerProfile>> {
    let profiles = db.collection::<CustomerProfile>(CUSTOMERS);
    profiles.find_one(doc! { "_id": user_id }).max_time(READ_TIME_MAX).await
}

/// Deletes what the subject keeps for checkouts, unless a hold covers it: of who buys addresses, of who sells the warehouse's; whether
/// there was anything.
///
/// # Errors
/// [`ErasureError`].
pub async fn erase_profile(
    db: &Database,
    eraser: &Eraser,
    subject: &ErasureSubject,
    reason: &str,
) -> std::result::Result<bool, ErasureError> {
    let ErasureSubject::User(user_id) = subject else { return Ok(false) };
    let all = [
        Belonging { collection: CUSTOMERS, filter: doc! { "_id": user_id }, set: None },
        Belonging {
            collection: FULFILMENT,
            filter: doc! { "_id": user_id, "pickup": { "$ne": null } },
            set: Some(doc! { "pickup": null }),
        },
    ];
    let mut kept = Vec::new();
    for belonging in all {
        let documents = db.collection::<Bson>(belonging.collection);
        if documents.count_documents(belonging.filter.clone()).await? > 0 {
            kept.push(belonging);
        }
    }
    if kept.is_empty() {
        return Ok(false);
    }
    eraser.erase_belongings(subject, reason, (user_id, user_id), &kept).await?;
    Ok(true)
}
