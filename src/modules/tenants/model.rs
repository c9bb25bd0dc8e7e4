//! Tenants as stored, and the rules of their fields. Pure.

use bson::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::ValidationError;

use crate::platform::{
    batch::{Entity, Key},
    http::checks::{ensure, fault, fault_of},
    text::{free_text, holds_unseen, normal_email},
};

pub const TENANTS: &str = "tenants";

/// Settings of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantSettings {
    /// Time zone of its days, such as `Asia/Kolkata`.
    #[serde(default = "utc")]
    #[schema(default = "UTC", max_length = 64)]
    pub timezone: String,
    /// Address for its members' questions.
    #[serde(default)]
    #[schema(max_length = 254)]
    pub support_email: Option<String>,
}

fn utc() -> String {
    "UTC".into()
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self { timezone: utc(), support_email: None }
    }
}

/// Users who belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// `ten_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// For addresses of pages; unique, for ever.
    pub slug: String,
    /// As shown to people.
    pub name: String,
    pub settings: TenantSettings,
    /// Events of it so far.
    pub events: i64,
    pub created_at: DateTime,
    /// Last change.
    pub updated_at: DateTime,
}

impl Entity for Tenant {
    const COLLECTION: &'static str = TENANTS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        vec![Self::slug_key(&self.slug)]
    }
}

impl Tenant {
    /// The key under which a slug is found.
    #[must_use]
    pub fn slug_key(slug: &str) -> Key {
        Key::unique(TENANTS, &["slug"], vec![slug.to_owned()])
    }
}

pub(super) fn check_slug(slug: &str) -> Result<(), ValidationError> {
    let is_plain = slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let begins = slug.starts_with(|c: char| c.is_ascii_lowercase());
    if (2..=40).contains(&slug.len()) && is_plain && begins && !slug.ends_with('-') {
        free_text(slug)
    } else {
        let message = "must be 2 to 40 of a-z, 0-9 and -, begin with a letter and not end with -";
        Err(fault("format", message))
    }
}

pub(super) fn check_name(name: &str) -> Result<(), ValidationError> {
    ensure(!holds_unseen(name), "characters", "must hold no control characters")?;
    free_text(name)
}

pub(super) fn check_settings(settings: &TenantSettings) -> Result<(), ValidationError> {
    let blame = |field, message| fault_of(field, "format", message);
    if settings.timezone.len() > 64 || TimeZone::get(&settings.timezone).is_err() {
        return Err(blame("timezone", "must be the name of a time zone, such as Asia/Kolkata"));
    }
    match &settings.support_email {
        Some(email) if normal_email(email).as_deref() != Some(email) => {
            Err(blame("supportEmail", "must be an e-mail address"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_what_an_address_can_hold() {
        for good in ["ab", "kiran-stores", "a42", "a1-b2"] {
            assert!(check_slug(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-ab", "ab-", "Ab", "a b", "a_b", "ä1", "42", &"a".repeat(41)] {
            assert!(check_slug(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_hold_a_zone_and_an_address() {
        let settings = |timezone: &str, email: Option<&str>| TenantSettings {
            timezone: timezone.into(),
            support_email: email.map(Into::into),
        };
        assert!(check_settings(&TenantSettings::default()).is_ok());
        assert!(check_settings(&settings("Asia/Kolkata", Some("help@example.com"))).is_ok());
        assert!(check_settings(&settings("Mars/Olympus", None)).is_err());
        assert!(check_settings(&settings("UTC", Some("nobody"))).is_err());
    }
}
