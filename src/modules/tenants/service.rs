//! Use cases of tenants.

use super::{
    TenantStore,
    commands::{CreateTenant, UpdateTenant},
    model::{Tenant, TenantSettings},
};
use crate::{
    modules::auth::{AsUser, Requester, User, Users},
    platform::{
        batch::Lane,
        error::{AppError, ErrorKind},
        identity::{Actor, CurrentUser, Role, TenantReader},
        ids::{is_id, new_id},
    },
};

/// Members of a tenant, at most: its manager's lists stay lists.
const MEMBERS_MAX: u64 = 10_000;

/// Tenants and their members.
#[derive(Clone)]
pub struct TenantService {
    pub store: TenantStore,
    pub lane: Lane,
    pub users: Users,
}

/// That a manager reads the own tenant, or an administrator any.
///
/// # Errors
/// 404, as for a tenant that is not there.
pub fn ensure_readable(reader: &TenantReader, tenant_id: &str) -> Result<(), AppError> {
    if is_id("ten", tenant_id) && reader.reads(tenant_id) { Ok(()) } else { Err(not_found()) }
}

fn not_found() -> AppError {
    AppError::new(ErrorKind::NotFound, "tenants.not_found", "There is no such tenant.")
}

impl TenantService {
    /// Creates a tenant.
    ///
    /// # Errors
    /// 409 where another has the slug; as [`Lane::submit`].
    pub async fn create(
        &self,
        admin: &CurrentUser,
        slug: String,
        name: String,
        settings: TenantSettings,
    ) -> Result<Tenant, AppError> {
        let command = CreateTenant {
            tenant_id: new_id("ten"),
            event_id: new_id("evt"),
            audit_id: new_id("aud"),
            slug,
            name,
            settings,
            actor: Actor::from(admin),
        };
        self.lane.submit(AsUser::new(admin, command)).await??.ok_or_else(|| {
            AppError::new(
                ErrorKind::Conflict,
                "tenants.slug_taken",
                "Another tenant has this slug; choose another one.",
            )
        })
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// 404; as [`Lane::submit`].
    pub async fn update(
        &self,
        admin: &CurrentUser,
        tenant_id: String,
        name: Option<String>,
        settings: Option<TenantSettings>,
    ) -> Result<Tenant, AppError> {
        let command = UpdateTenant { tenant_id, audit_id: new_id("aud"), name, settings, actor: Actor::from(admin) };
        self.lane.submit(AsUser::new(admin, command)).await??.ok_or_else(not_found)
    }

    /// A tenant that `reader` may read.
    ///
    /// # Errors
    /// 404; what the driver says.
    pub async fn get(&self, reader: &TenantReader, tenant_id: &str) -> Result<Tenant, AppError> {
        ensure_readable(reader, tenant_id)?;
        self.store.find(tenant_id).await?.ok_or_else(not_found)
    }

    /// Tenants that `reader` may read, newest first, older than `after`; at most `limit`.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list(
        &self,
        reader: &TenantReader,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Tenant>, AppError> {
        if reader.0.role == Role::Admin {
            return Ok(self.store.list(after, limit).await?);
        }
        match reader.0.tenant_id.as_deref().filter(|own| after.is_none_or(|after| *own < after)) {
            Some(own) => Ok(self.store.find(own).await?.into_iter().collect()),
            None => Ok(Vec::new()),
        }
    }

    /// Has a user belong to a tenant; doing it again changes nothing.
    ///
    /// # Errors
    /// 404 for no such tenant or user, 409 where the user belongs to another one or the tenant is full.
    pub async fn join(&self, admin: &CurrentUser, tenant_id: &str, user_id: &str) -> Result<User, AppError> {
        self.store.find(tenant_id).await?.ok_or_else(not_found)?;
        if self.users.count_members(tenant_id).await? >= MEMBERS_MAX {
            let detail = format!("A tenant has at most {MEMBERS_MAX} members.");
            return Err(AppError::new(ErrorKind::Conflict, "tenants.full", detail));
        }
        Ok(self.users.join(Requester::User(admin), user_id, tenant_id).await?)
    }

    /// Has a member leave.
    ///
    /// # Errors
    /// 404 where it is no member.
    pub async fn leave(&self, admin: &CurrentUser, tenant_id: &str, user_id: &str) -> Result<(), AppError> {
        self.users.leave(Requester::User(admin), user_id, tenant_id).await?;
        Ok(())
    }
}
