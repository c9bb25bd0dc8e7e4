//! A merchant's settings for fulfilment of paid checkouts.

use bson::{DateTime, doc};
use serde::{Deserialize, Serialize};

use super::parts::PartKind;
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, record_event},
        providers::{Party, Service},
    },
    platform::{
        batch::{Command, Entity, Key, View},
        identity::Actor,
    },
};

pub const FULFILMENT: &str = "fulfilment_settings";

/// The ERP in which sales are booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErpSettings {
    /// One of the registry's.
    pub provider: String,
}

/// The carrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarrierSettings {
    /// One of the registry's.
    pub provider: String,
    pub service: Service,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FulfilmentSettings {
    #[serde(rename = "_id")]
    pub seller_id: String,
    /// None where no sale is booked.
    pub erp: Option<ErpSettings>,
    /// None where nothing is carried.
    pub carrier: Option<CarrierSettings>,
    pub pickup: Option<Party>,
    /// Last change.
    pub updated_at: DateTime,
}

impl FulfilmentSettings {
    /// The key of a merchant's.
    #[must_use]
    pub fn key(seller_id: &str) -> Key {
        Key::id(FULFILMENT, seller_id)
    }

    /// Settings of a merchant without fulfilment.
    pub(in crate::modules::checkout) fn nothing(seller_id: &str) -> Self {
        Self {
            seller_id: seller_id.to_owned(),
            erp: None,
            carrier: None,
            pickup: None,
            updated_at: DateTime::from_millis(0),
        }
    }

    /// The provider for parts of this kind; none where there are none.
    pub(super) fn provider(&self, kind: PartKind) -> Option<&str> {
        match kind {
            PartKind::Erp => self.erp.as_ref().map(|erp| erp.provider.as_str()),
            PartKind::Carrier => self.carrier.as_ref().map(|carrier| carrier.provider.as_str()),
        }
    }
}

impl Entity for FulfilmentSettings {
    const COLLECTION: &'static str = FULFILMENT;

    fn id(&self) -> &str {
        &self.seller_id
    }
}

/// Replaces a merchant's settings, on record. The same again is no change.
pub(in crate::modules::checkout) struct SetUp {
    pub(in crate::modules::checkout) settings: FulfilmentSettings,
    pub(in crate::modules::checkout) actor: Actor,
    pub(in crate::modules::checkout) audit_id: String,
}

impl Command for SetUp {
    type Reply = FulfilmentSettings;

    fn reads(&self) -> Vec<Key> {
        vec![FulfilmentSettings::key(&self.settings.seller_id)]
    }

    fn decide(&self, view: &mut View) -> FulfilmentSettings {
        let before = view.by_id::<FulfilmentSettings>(&self.settings.seller_id);
        let updated_at = before.as_ref().map_or_else(|| view.now(), |before| before.updated_at);
        let settings = FulfilmentSettings { updated_at, ..self.settings.clone() };
        if before.as_ref() == Some(&settings) {
            return settings;
        }
        let settings = FulfilmentSettings { updated_at: view.now(), ..settings };
        match &before {
            Some(_) => view.update(&settings),
            None => view.insert(&settings),
        }
        // Whose warehouse it is, and where, is nobody's to read there.
        let told = |settings: &FulfilmentSettings| {
            doc! { "erp": settings.provider(PartKind::Erp), "carrier": settings.provider(PartKind::Carrier) }
        };
        let about = ("fulfilment", settings.seller_id.as_str());
        let event = AuditEvent::new(AuditOutcome::Done, self.actor.clone(), "fulfilment.changed", about, view.now())
            .with_id(self.audit_id.clone())
            .of_user(settings.seller_id.clone())
            .before(before.as_ref().map(told))
            .after(told(&settings));
        record_event(view, &event);
        settings
    }
}
