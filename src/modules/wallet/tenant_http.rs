//! Wallets of a tenant's members, for its manager.

use axum::{Extension, Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    http::{WalletQuery, WalletResponse},
    service::WalletService,
};
use crate::{
    modules::{auth::Users, tenants},
    platform::{
        error::{AppError, Problem},
        http::{ApiPath, ApiQuery},
        identity::{About, TenantReader},
        money::Currency,
    },
};

/// Reads sums for the routes.
#[derive(Clone)]
pub struct TenantWallets {
    pub service: WalletService,
    pub users: Users,
}

pub fn tenant_router(wallets: TenantWallets) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(get_member_wallet)).with_state(wallets)
}

/// The wallet of a member. Reading is recorded.
#[utoipa::path(get, path = "/tenants/{tenantId}/members/{userId}/wallet", tag = "tenants", security(("bearer" = [])),
    params(("tenantId" = String, Path, description = "`ten_...`"), ("userId" = String, Path, description = "`usr_...`"), WalletQuery),
    responses(
        (status = 200, body = WalletResponse),
        (status = 404, description = "No such tenant, not yours, or no member of it.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_member_wallet(
    State(wallets): State<TenantWallets>,
    reader: TenantReader,
    ApiPath((tenant_id, user_id)): ApiPath<(String, String)>,
    ApiQuery(query): ApiQuery<WalletQuery>,
) -> Result<(Extension<About>, Json<WalletResponse>), AppError> {
    tenants::ensure_readable(&reader, &tenant_id)?;
    let user_id = wallets.users.member(&tenant_id, &user_id).await?.id;
    let balance = wallets.service.balance(&user_id, query.currency.unwrap_or(Currency::INR), None).await?;
    Ok((Extension(About::new(None, Some(&user_id))), Json(WalletResponse::new(user_id, balance))))
}
