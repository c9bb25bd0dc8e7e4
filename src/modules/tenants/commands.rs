//! Commands of administrators on tenants, each in one transaction with its audit event.

use bson::doc;

use super::model::{TENANTS, Tenant, TenantSettings};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, record_event},
        events::{self, Event},
    },
    platform::{
        batch::{Command, Key, View},
        identity::Actor,
    },
};

/// Creates a tenant; none where the slug is another's.
pub(super) struct CreateTenant {
    pub(super) tenant_id: String,
    pub(super) event_id: String,
    pub(super) audit_id: String,
    pub(super) slug: String,
    pub(super) name: String,
    pub(super) settings: TenantSettings,
    pub(super) actor: Actor,
}

impl Command for CreateTenant {
    type Reply = Option<Tenant>;

    fn reads(&self) -> Vec<Key> {
        vec![Tenant::slug_key(&self.slug)]
    }

    fn decide(&self, view: &mut View) -> Option<Tenant> {
        let now = view.now();
        if view.find::<Tenant>(&Tenant::slug_key(&self.slug)).is_some() {
            return None;
        }
        let tenant = Tenant {
            id: self.tenant_id.clone(),
            slug: self.slug.clone(),
            name: self.name.clone(),
            settings: self.settings.clone(),
            events: 1,
            created_at: now,
            updated_at: now,
        };
        view.insert(&tenant);
        let event = Event {
            id: self.event_id.clone(),
            kind: "TenantCreated".into(),
            subject_id: tenant.id.clone(),
            user_id: self.actor.id.clone(),
            seq: tenant.events,
            actor: self.actor.clone(),
            data: doc! {},
            at: now,
        };
        events::record(view, &event);
        record(view, &self.actor, &self.audit_id, "tenant.created", &tenant.id, None);
        Some(tenant)
    }
}

/// Changes what is given of a tenant; none where there is no such tenant.
pub(super) struct UpdateTenant {
    pub(super) tenant_id: String,
    pub(super) audit_id: String,
    pub(super) name: Option<String>,
    pub(super) settings: Option<TenantSettings>,
    pub(super) actor: Actor,
}

impl Command for UpdateTenant {
    type Reply = Option<Tenant>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(TENANTS, &*self.tenant_id)]
    }

    fn decide(&self, view: &mut View) -> Option<Tenant> {
        let tenant = view.by_id::<Tenant>(&self.tenant_id)?;
        let mut changed = tenant.clone();
        let mut fields = Vec::new();
        if let Some(name) = self.name.as_ref().filter(|name| **name != tenant.name) {
            changed.name.clone_from(name);
            fields.push("name");
        }
        if let Some(settings) = self.settings.as_ref().filter(|settings| **settings != tenant.settings) {
            changed.settings = settings.clone();
            fields.push("settings");
        }
        if fields.is_empty() {
            return Some(tenant);
        }
        changed.updated_at = view.now();
        view.update(&changed);
        record(view, &self.actor, &self.audit_id, "tenant.updated", &changed.id, Some(doc! { "changed": fields }));
        Some(changed)
    }
}

fn record(
    view: &mut View,
    actor: &Actor,
    audit_id: &str,
    action: &str,
    tenant_id: &str,
    after: Option<bson::Document>,
) {
    let event = AuditEvent::new(AuditOutcome::Done, actor.clone(), action, ("tenant", tenant_id), view.now())
        .with_id(audit_id.to_owned())
        .after(after);
    record_event(view, &event);
}
