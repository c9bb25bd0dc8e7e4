//! Routes of orders' files. What staff read of them is recorded before it is shown.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{model::OrderFile, service::OrderService};
use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, Problem},
    http::{ApiPath, NoQuery, disposition, transfers},
    identity::MerchantOrReader,
};

pub(super) fn router() -> OpenApiRouter<OrderService> {
    OpenApiRouter::new().routes(routes!(list_order_files)).routes(routes!(get_order_file))
}

/// A file of an order, without its content.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderFileResponse {
    #[schema(example = "fil_0192d4a1c2b37d3e8f9a0b1c2d3e4f5a")]
    file_id: String,
    #[schema(example = "extract.pdf")]
    name: String,
    #[schema(example = "application/pdf")]
    content_type: String,
    /// Bytes.
    size: i64,
    /// SHA-256 of the content, in hex.
    sha256: String,
    stored_at: Rfc3339Time,
    /// Time at which its content was erased; it can't be downloaded any more.
    erased_at: Option<Rfc3339Time>,
}

/// Files of an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OrderFileListResponse {
    /// Files in the order in which they came.
    items: Vec<OrderFileResponse>,
}

impl From<&OrderFile> for OrderFileResponse {
    fn from(file: &OrderFile) -> Self {
        Self {
            file_id: file.id.clone(),
            name: file.name.clone(),
            content_type: file.content_type.clone(),
            size: file.bytes,
            sha256: file.sha256.clone(),
            stored_at: Rfc3339Time(file.stored_at),
            erased_at: file.erased_at.map(Rfc3339Time),
        }
    }
}

/// Files of one of your orders; for administrators and auditors, of anybody's, which is recorded.
#[utoipa::path(get, path = "/orders/{orderId}/files", tag = "orders", security(("bearer" = [])),
    params(("orderId" = String, Path, description = "`ord_...`")),
    responses(
        (status = 200, body = OrderFileListResponse),
        (status = 404, description = "No such order of yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_order_files(
    State(service): State<OrderService>,
    MerchantOrReader(user): MerchantOrReader,
    _: NoQuery,
    ApiPath(order_id): ApiPath<String>,
) -> Result<Json<OrderFileListResponse>, AppError> {
    let order = service.files_of(&user, &order_id).await?;
    Ok(Json(OrderFileListResponse { items: order.files().iter().map(Into::into).collect() }))
}

/// The content of a file of one of your orders; for administrators and auditors, of anybody's, which is recorded.
#[utoipa::path(get, path = "/orders/{orderId}/files/{fileId}", tag = "orders", security(("bearer" = [])),
    params(
        ("orderId" = String, Path, description = "`ord_...`"),
        ("fileId" = String, Path, description = "`fil_...`"),
    ),
    responses(
        (status = 200, description = "The file, as an attachment.", body = String, content_type = "application/octet-stream"),
        (status = 404, description = "No such file of an order of yours, or its content was erased.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_order_file(
    State(service): State<OrderService>,
    MerchantOrReader(user): MerchantOrReader,
    _: NoQuery,
    ApiPath((order_id, file_id)): ApiPath<(String, String)>,
) -> Result<Response, AppError> {
    let turn = service.transfers.turn(&user).await.map_err(super::OrderError::from)?;
    let (file, content) = service.file(&user, &order_id, &file_id).await?;
    let headers = [
        (header::CONTENT_TYPE, file.content_type.clone()),
        (header::CONTENT_LENGTH, file.bytes.to_string()),
        (header::CONTENT_DISPOSITION, disposition(&file.name)),
        // Somebody else made it: a browser that shows it all the same must not run it.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned()),
    ];
    let bytes = u64::try_from(file.bytes).unwrap_or_default();
    Ok((headers, transfers::body_of(content, bytes, turn)).into_response())
}
