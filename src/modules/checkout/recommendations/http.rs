//! The route of recommendations.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::finding::Recommendations;
use crate::{
    modules::catalog::ProductResponse,
    platform::{error::AppError, http::NoQuery, identity::Customer},
};

pub fn router(recommendations: Recommendations) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_recommendations)).with_state(recommendations)
}

#[derive(Debug, Serialize, ToSchema)]
struct RecommendationListResponse {
    /// The best first, 20 at most.
    items: Vec<ProductResponse>,
}

/// Products that at least two other buyers have bought who also bought what you did; not those that you have asked for yourself. What others
/// buy shows after ten minutes at the latest.
#[utoipa::path(get, path = "/recommendations", tag = "checkout", security(("bearer" = [])), responses(
    (status = 200, body = RecommendationListResponse),
))]
async fn list_recommendations(
    State(recommendations): State<Recommendations>,
    Customer(user): Customer,
    _: NoQuery,
) -> Result<Json<RecommendationListResponse>, AppError> {
    let products = recommendations.products(&user.user_id).await?;
    let items = products.into_iter().map(|product| ProductResponse::of(product, &user)).collect();
    Ok(Json(RecommendationListResponse { items }))
}
