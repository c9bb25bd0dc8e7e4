//! Routes of the catalog.

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    categories::CategoryCount,
    model::{MovementKind, PieceParcel, Product, ProductStatus, StockMovement},
    requests::{
        CategoriesQuery, ChangeProductRequest, CreateProductRequest, ListMovementsQuery, ListProductsQuery,
        MoveStockRequest,
    },
    service::{CatalogService, sees_business_fields},
    store::ProductFilter,
};
use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, FieldError, Problem},
    http::{ApiJson, ApiPath, ApiQuery, NoQuery, answered, cursor},
    identity::{About, CurrentUser, Merchant, MerchantOrReader},
    money::Money,
};

const PAGE: usize = 20;
/// The longest description, escaped.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub fn router(service: CatalogService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create_product, list_products))
        .routes(routes!(list_categories))
        .routes(routes!(get_product, change_product))
        .routes(routes!(move_stock))
        .routes(routes!(list_movements))
        .with_state(service)
}

#[derive(Debug, Serialize, ToSchema)]
struct ParcelDimensionsResponse {
    length: i32,
    width: i32,
    height: i32,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ParcelResponse {
    weight_grams: i64,
    dimensions_cm: ParcelDimensionsResponse,
}

impl From<PieceParcel> for ParcelResponse {
    fn from(parcel: PieceParcel) -> Self {
        let size = parcel.dimensions_cm;
        let dimensions_cm = ParcelDimensionsResponse { length: size.length, width: size.width, height: size.height };
        Self { weight_grams: parcel.weight_grams, dimensions_cm }
    }
}

/// A product.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductResponse {
    #[schema(example = "prd_0198f0c2b1e07c3e8a41b5d0f3a2c4e6")]
    product_id: String,
    /// The merchant.
    seller_id: String,
    sku: String,
    name: String,
    description: Option<String>,
    category: Option<String>,
    price: Money,
    /// Prices in other currencies.
    prices: Vec<Money>,
    status: ProductStatus,
    /// Pieces that are there.
    stock: i64,
    /// Null for who is not the seller.
    low_stock_at: Option<i64>,
    parcel: Option<ParcelResponse>,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
}

impl ProductResponse {
    /// The product as `reader` may see it.
    #[must_use]
    pub fn of(product: Product, reader: &CurrentUser) -> Self {
        Self {
            low_stock_at: sees_business_fields(reader, &product).then_some(product.low_stock_at),
            product_id: product.id,
            seller_id: product.seller_id,
            sku: product.sku,
            name: product.name,
            description: product.description,
            category: product.category,
            price: product.price,
            prices: product.prices,
            status: product.status,
            stock: product.stock,
            parcel: product.parcel.map(Into::into),
            created_at: Rfc3339Time(product.created_at),
            updated_at: Rfc3339Time(product.updated_at),
        }
    }
}

/// A page of products.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProductListResponse {
    /// Newest first.
    items: Vec<ProductResponse>,
    /// Send it as `cursor` for the next page; null on the last one. With several words, or words and other filters, a page may have
    /// fewer products than asked for, or none, before the last one.
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CategoryResponse {
    /// Null for products that are in none.
    category: Option<String>,
    /// Products that are offered.
    count: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct CategoryListResponse {
    /// Categories, those with the most products first, 500 at most.
    items: Vec<CategoryResponse>,
}

/// A movement of a product's stock.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MovementResponse {
    movement_id: String,
    product_id: String,
    kind: MovementKind,
    /// Pieces; above zero they came in.
    delta: i64,
    /// The product's stock after it.
    stock_after: i64,
    /// Yours; null for what a checkout moved.
    client_reference: Option<String>,
    /// The checkout that moved it; null for your own movements.
    checkout_id: Option<String>,
    reason: Option<String>,
    at: Rfc3339Time,
}

impl From<StockMovement> for MovementResponse {
    fn from(moved: StockMovement) -> Self {
        let is_own = matches!(moved.kind, MovementKind::Receipt | MovementKind::Correction);
        let (client_reference, checkout_id) =
            if is_own { (Some(moved.reference_id), None) } else { (None, Some(moved.reference_id)) };
        Self {
            movement_id: moved.id,
            product_id: moved.product_id,
            kind: moved.kind,
            delta: moved.delta,
            stock_after: moved.after,
            client_reference,
            checkout_id,
            reason: moved.reason,
            at: Rfc3339Time(moved.at),
        }
    }
}

/// A page of movements.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MovementListResponse {
    /// Newest first.
    items: Vec<MovementResponse>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Adds a product. Its stock is 0; see `/products/{productId}/stock`.
#[utoipa::path(post, path = "/products", tag = "catalog", security(("bearer" = [])), request_body = CreateProductRequest,
    responses(
        (status = 201, body = ProductResponse),
        (status = 409, description = "`catalog.sku_taken`, with the `productId` that has it.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create_product(
    State(service): State<CatalogService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiJson(request): ApiJson<CreateProductRequest, BODY_BYTES_MAX>,
) -> Result<(StatusCode, Json<ProductResponse>), AppError> {
    let product = service.create(&user, request.into_product()).await?;
    Ok((StatusCode::CREATED, Json(ProductResponse::of(product, &user))))
}

/// Products that are offered, by everybody, newest first; of your own also those that are archived.
#[utoipa::path(get, path = "/products", tag = "catalog", security(("bearer" = [])), params(ListProductsQuery), responses(
    (status = 200, body = ProductListResponse),
    (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
))]
async fn list_products(
    State(service): State<CatalogService>,
    user: CurrentUser,
    ApiQuery(query): ApiQuery<ListProductsQuery>,
) -> Result<Json<ProductListResponse>, AppError> {
    let filter =
        ProductFilter { words: query.q, category: query.category, seller_id: query.seller_id, archived: false };
    let page = service.list(&user, filter, query.cursor.as_deref(), query.limit.unwrap_or(PAGE)).await?;
    let items = page.shown.into_iter().map(|product| ProductResponse::of(product, &user)).collect();
    Ok(Json(ProductListResponse { items, next_cursor: page.next }))
}

/// Categories of what is offered, and how many products each has; a change shows a moment later.
#[utoipa::path(get, path = "/products/categories", tag = "catalog", security(("bearer" = [])), params(CategoriesQuery), responses(
    (status = 200, body = CategoryListResponse),
    (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
))]
async fn list_categories(
    State(service): State<CatalogService>,
    _: CurrentUser,
    ApiQuery(query): ApiQuery<CategoriesQuery>,
) -> Result<Json<CategoryListResponse>, AppError> {
    let counts = service.categories(query.seller_id.as_deref()).await?;
    let items = counts.into_iter().map(|CategoryCount { category, count }| CategoryResponse { category, count });
    Ok(Json(CategoryListResponse { items: items.collect() }))
}

/// One product.
#[utoipa::path(get, path = "/products/{productId}", tag = "catalog", security(("bearer" = [])),
    params(("productId" = String, Path, description = "`prd_...`")), responses(
        (status = 200, body = ProductResponse),
        (status = 404, description = "No such product, or archived and not yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_product(
    State(service): State<CatalogService>,
    user: CurrentUser,
    _: NoQuery,
    ApiPath(product_id): ApiPath<String>,
) -> Result<Json<ProductResponse>, AppError> {
    let product = service.get(&user, &product_id).await?;
    Ok(Json(ProductResponse::of(product, &user)))
}

/// Changes a product of yours, or archives it. What was bought before keeps its price.
#[utoipa::path(patch, path = "/products/{productId}", tag = "catalog", security(("bearer" = [])),
    params(("productId" = String, Path, description = "`prd_...`")), request_body = ChangeProductRequest, responses(
        (status = 200, body = ProductResponse),
        (status = 404, description = "No such product of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn change_product(
    State(service): State<CatalogService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiPath(product_id): ApiPath<String>,
    ApiJson(request): ApiJson<ChangeProductRequest, BODY_BYTES_MAX>,
) -> Result<Json<ProductResponse>, AppError> {
    let product = service.change(&user, product_id, request.into_change()).await?;
    Ok(Json(ProductResponse::of(product, &user)))
}

/// Moves the stock of a product of yours: goods came in, or you have counted. Safe to repeat with the same `clientReference`.
#[utoipa::path(post, path = "/products/{productId}/stock", tag = "catalog", security(("bearer" = [])),
    params(("productId" = String, Path, description = "`prd_...`")), request_body = MoveStockRequest, responses(
        (status = 201, body = MovementResponse),
        (status = 200, description = "Replay: the movement, with `Idempotent-Replayed: true`.", body = MovementResponse),
        (status = 404, description = "No such product of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The stock would be below zero (`catalog.below_zero`, with `available`), or too large.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable, or the `clientReference` stands for another movement.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn move_stock(
    State(service): State<CatalogService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiPath(product_id): ApiPath<String>,
    ApiJson(request): ApiJson<MoveStockRequest, BODY_BYTES_MAX>,
) -> Result<Response, AppError> {
    let (moved, replayed) = service.move_stock(&user, product_id, request.into_movement()).await?;
    Ok(answered(replayed, StatusCode::CREATED, MovementResponse::from(moved)))
}

/// Stock movements of a product, newest first. Reading by staff is recorded.
#[utoipa::path(get, path = "/products/{productId}/movements", tag = "catalog", security(("bearer" = [])),
    params(("productId" = String, Path, description = "`prd_...`"), ListMovementsQuery), responses(
        (status = 200, body = MovementListResponse),
        (status = 404, description = "No such product of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_movements(
    State(service): State<CatalogService>,
    MerchantOrReader(user): MerchantOrReader,
    ApiPath(product_id): ApiPath<String>,
    ApiQuery(query): ApiQuery<ListMovementsQuery>,
) -> Result<(Extension<About>, Json<MovementListResponse>), AppError> {
    let scope = format!("movements {product_id}");
    let before = query.cursor.map(|cursor| open(&scope, &cursor)).transpose()?;
    let limit = query.limit.unwrap_or(PAGE);
    let (product, movements, more) = service.movements(&user, &product_id, before, limit).await?;
    let last = movements.last().filter(|_| more);
    let next_cursor = last.map(|moved| cursor::seal(&scope, &moved.seq.to_string()));
    let answer = MovementListResponse { items: movements.into_iter().map(Into::into).collect(), next_cursor };
    Ok((Extension(About::new(None, Some(&product.seller_id))), Json(answer)))
}

/// The number in a cursor of a product's movements.
fn open(scope: &str, sealed: &str) -> Result<i64, AppError> {
    cursor::open(scope, sealed).and_then(|seq| seq.parse().ok()).ok_or_else(|| {
        AppError::invalid(vec![FieldError::new("cursor", "format", "must be the nextCursor of the page before")])
    })
}
