//! Routes of wallets and of what finance books.

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    commands::Booking,
    model::{LedgerKind, LedgerTransaction},
    service::{NewBooking, WalletService},
    store::Balance,
};
use crate::{
    modules::auth,
    platform::{
        clock::Rfc3339Time,
        error::{AppError, ErrorKind, FieldError, Problem},
        http::{
            ApiJson, ApiPath, ApiQuery, NoQuery, answered,
            checks::{ensure, fault_of},
        },
        identity::{About, Finance, FinanceReader, MerchantOrCustomer},
        ids::is_id,
        money::{AMOUNT_MAX, Currency, Money},
        text::{free_text, holds_unseen},
    },
};

pub fn router(service: WalletService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(get_wallet))
        .routes(routes!(get_user_wallet))
        .routes(routes!(book_transaction))
        .routes(routes!(reverse_transaction))
        .with_state(service)
}

/// An amount, as clients write it.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AmountRequest {
    /// Minor units.
    #[validate(range(min = 1, max = AMOUNT_MAX))]
    #[schema(example = 50_000, minimum = 1, maximum = 1_000_000_000_000_000_i64)]
    pub amount: i64,
    /// ISO 4217.
    pub currency: Currency,
}

impl AmountRequest {
    /// The same as money.
    #[must_use]
    pub const fn money(&self) -> Money {
        Money::new(self.amount, self.currency)
    }
}

/// `GET /wallet`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WalletQuery {
    /// ISO 4217; INR by default.
    #[param(value_type = Option<String>)]
    pub(super) currency: Option<Currency>,
}

/// `GET /finance/wallets/{userId}`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UserWalletQuery {
    /// ISO 4217; INR by default.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
    /// The balance as it was then; now by default.
    #[param(value_type = Option<String>)]
    as_of: Option<Rfc3339Time>,
}

/// A balance in minor units.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WalletResponse {
    user_id: String,
    currency: Currency,
    /// `available` and `held` together.
    posted: i64,
    /// Set aside for orders that are under way.
    held: i64,
    /// The available balance.
    available: i64,
    /// Transactions that changed `available` so far.
    version: i64,
}

impl WalletResponse {
    pub(super) fn new(user_id: String, balance: Balance) -> Self {
        Self {
            user_id,
            currency: balance.currency,
            posted: balance.posted(),
            held: balance.held,
            available: balance.available,
            version: balance.version,
        }
    }
}

/// Bookings that finance makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BookingKind {
    /// Money came in over the bank.
    Recharge,
    /// A correction.
    Adjustment,
    /// From one wallet to another.
    Transfer,
}

/// The direction of a correction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AdjustmentDirection {
    /// The wallet gets more.
    #[default]
    Credit,
    /// The wallet gets less.
    Debit,
}

/// `POST /finance/transactions`
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[validate(schema(function = "booking_fits_kind"))]
struct BookRequest {
    /// Your id, of all bookings and reversals of finance: the same id is the same one, for ever.
    #[validate(custom(function = "client_reference"))]
    #[schema(example = "NEFT-2026-11-21-0042", min_length = 1, max_length = 128)]
    client_reference: String,
    kind: BookingKind,
    /// The user of the wallet; with `transfer` the payer.
    #[validate(custom(function = "user_id"))]
    user_id: String,
    /// The user who gets the money; with `transfer` only.
    #[validate(custom(function = "user_id"))]
    to_user_id: Option<String>,
    /// The direction, with `adjustment` only; credit by default.
    direction: Option<AdjustmentDirection>,
    #[validate(nested)]
    amount: AmountRequest,
    /// The reason; it is shown to the merchant.
    #[validate(length(min = 3, max = 300), custom(function = "reason"))]
    reason: String,
}

impl BookRequest {
    fn into_booking(self) -> NewBooking {
        let booking = match (self.kind, self.direction, self.to_user_id) {
            (BookingKind::Transfer, _, Some(to_user_id)) => Booking::Transfer { to_user_id },
            (BookingKind::Adjustment, Some(AdjustmentDirection::Debit), _) => Booking::AdjustDown,
            (BookingKind::Adjustment, _, _) => Booking::AdjustUp,
            (BookingKind::Recharge | BookingKind::Transfer, _, _) => Booking::Recharge,
        };
        NewBooking {
            client_reference: self.client_reference,
            booking,
            user_id: self.user_id,
            money: self.amount.money(),
            reason: self.reason,
        }
    }
}

/// `POST /finance/transactions/{transactionId}/reverse`
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReverseRequest {
    /// Your id, of all bookings and reversals of finance: the same id is the same one, for ever.
    #[validate(custom(function = "client_reference"))]
    #[schema(example = "NEFT-2026-11-21-0042-R", min_length = 1, max_length = 128)]
    client_reference: String,
    /// The reason; it is shown to the merchant.
    #[validate(length(min = 3, max = 300), custom(function = "reason"))]
    reason: String,
}

fn client_reference(text: &str) -> Result<(), ValidationError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/-".contains(&b);
    let is_one = (1..=128).contains(&text.len()) && text.bytes().all(allowed);
    ensure(is_one, "format", "must be 1 to 128 of A-Z a-z 0-9 . _ : / -")
}

fn user_id(text: &str) -> Result<(), ValidationError> {
    ensure(is_id("usr", text), "format", "must be the id of a user, usr_...")
}

fn reason(text: &str) -> Result<(), ValidationError> {
    ensure(!holds_unseen(text), "format", "must hold no control characters")?;
    free_text(text)
}

fn booking_fits_kind(request: &BookRequest) -> Result<(), ValidationError> {
    let blame = |field, message| Err(fault_of(field, "not_applicable", message));
    match (request.kind, &request.to_user_id) {
        (BookingKind::Transfer, None) => {
            return Err(fault_of("toUserId", "required", "is required for a transfer"));
        }
        (BookingKind::Transfer, Some(to)) if *to == request.user_id => {
            return blame("toUserId", "must be another user than `userId`");
        }
        (BookingKind::Recharge | BookingKind::Adjustment, Some(_)) => {
            return blame("toUserId", "goes with a transfer only");
        }
        (BookingKind::Transfer, Some(_)) | (BookingKind::Recharge | BookingKind::Adjustment, None) => {}
    }
    match (request.kind, request.direction) {
        (BookingKind::Recharge | BookingKind::Transfer, Some(_)) => blame("direction", "goes with an adjustment only"),
        (BookingKind::Adjustment, _) | (BookingKind::Recharge | BookingKind::Transfer, None) => Ok(()),
    }
}

/// A booked transaction.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransactionResponse {
    transaction_id: String,
    kind: LedgerKind,
    user_id: String,
    /// The change of the user's available balance.
    amount: i64,
    currency: Currency,
    /// All lines; they sum to zero.
    lines: Vec<LineResponse>,
    reference: ReferenceResponse,
    /// Position among the transactions that changed `available`; null for the others.
    sequence: Option<i64>,
    /// `available` after it.
    available_after: Option<i64>,
    hold_id: Option<String>,
    /// The transaction that it takes back.
    reverses: Option<String>,
    client_reference: Option<String>,
    reason: Option<String>,
    /// The actor: a user id, a worker, a program.
    actor: String,
    at: Rfc3339Time,
}

/// One side of a transaction: above zero a credit to the account, below a debit.
#[derive(Debug, Serialize, ToSchema)]
struct LineResponse {
    #[schema(example = "wallet.available")]
    account: String,
    amount: i64,
    currency: Currency,
}

/// The reference of a booking.
#[derive(Debug, Serialize, ToSchema)]
struct ReferenceResponse {
    #[serde(rename = "type")]
    #[schema(example = "order")]
    kind_of_thing: String,
    id: String,
    /// The kind of booking.
    #[schema(example = "hold")]
    kind: String,
}

impl From<LedgerTransaction> for TransactionResponse {
    fn from(booked: LedgerTransaction) -> Self {
        Self {
            amount: booked.change_of_available(),
            transaction_id: booked.id,
            kind: booked.kind,
            user_id: booked.user_id,
            currency: booked.currency,
            lines: booked
                .lines
                .into_iter()
                .map(|line| LineResponse {
                    account: line.account.to_string(),
                    amount: line.amount,
                    currency: line.currency,
                })
                .collect(),
            reference: ReferenceResponse {
                kind_of_thing: booked.reference_type,
                id: booked.reference_id,
                kind: booked.reference_kind,
            },
            sequence: booked.wallet_seq,
            available_after: booked.available_after,
            hold_id: booked.hold_id,
            reverses: booked.reverses,
            client_reference: booked.client_reference,
            reason: booked.reason,
            actor: booked.actor.id,
            at: Rfc3339Time(booked.at),
        }
    }
}

/// Your balance.
#[utoipa::path(get, path = "/wallet", tag = "wallet", security(("bearer" = [])), params(WalletQuery),
    responses((status = 200, body = WalletResponse)))]
async fn get_wallet(
    State(service): State<WalletService>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    ApiQuery(query): ApiQuery<WalletQuery>,
) -> Result<Json<WalletResponse>, AppError> {
    let balance = service.balance(&user.user_id, query.currency.unwrap_or(Currency::INR), None).await?;
    Ok(Json(WalletResponse::new(user.user_id, balance)))
}

/// A user's balance, now or at a moment in the past.
#[utoipa::path(get, path = "/finance/wallets/{userId}", tag = "finance", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`"), UserWalletQuery),
    responses(
        (status = 200, body = WalletResponse),
        (status = 404, description = "No such user.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_user_wallet(
    State(service): State<WalletService>,
    _: FinanceReader,
    ApiPath(user_id): ApiPath<String>,
    ApiQuery(query): ApiQuery<UserWalletQuery>,
) -> Result<(Extension<About>, Json<WalletResponse>), AppError> {
    if !is_id("usr", &user_id) || !auth::user_exists(service.store().db(), &user_id).await? {
        return Err(AppError::new(ErrorKind::NotFound, "finance.no_user", "There is no such user."));
    }
    let as_of = query.as_of.map(|time| time.0);
    if as_of.is_some_and(|as_of| as_of > service.now()) {
        return Err(AppError::invalid(vec![FieldError::new("asOf", "range", "must not be in the future")]));
    }
    let balance = service.balance(&user_id, query.currency.unwrap_or(Currency::INR), as_of).await?;
    Ok((Extension(About::new(None, Some(&user_id))), Json(WalletResponse::new(user_id, balance))))
}

/// Books a recharge, a correction or a transfer. Safe to repeat with the same `clientReference`.
#[utoipa::path(post, path = "/finance/transactions", tag = "finance", security(("bearer" = [])),
    request_body = BookRequest,
    responses(
        (status = 201, description = "Booked.", body = TransactionResponse),
        (status = 200, description = "Replay: booked before, with `Idempotent-Replayed: true`.", body = TransactionResponse),
        (status = 402, description = "The wallet has too little money.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable, or the reference stands for something else.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn book_transaction(
    State(service): State<WalletService>,
    Finance(user): Finance,
    _: NoQuery,
    ApiJson(request): ApiJson<BookRequest>,
) -> Result<Response, AppError> {
    let (booked, replayed) = service.book(&user, request.into_booking()).await?;
    Ok(answered(replayed, StatusCode::CREATED, TransactionResponse::from(booked)))
}

/// Books the opposite of a recharge or a correction: the whole of it, once. Safe to repeat with the same `clientReference`.
#[utoipa::path(post, path = "/finance/transactions/{transactionId}/reverse", tag = "finance",
    security(("bearer" = [])), params(("transactionId" = String, Path, description = "`txn_...`")),
    request_body = ReverseRequest,
    responses(
        (status = 201, description = "Booked.", body = TransactionResponse),
        (status = 200, description = "Replay: booked before, with `Idempotent-Replayed: true`.", body = TransactionResponse),
        (status = 402, description = "The money is spent.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such transaction.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Reversed before under another reference (`transactionId` names the reversal), or not reversible.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable, or the reference stands for another booking or reversal (`finance.idempotency_mismatch`).", body = Problem, content_type = "application/problem+json"),
    ))]
async fn reverse_transaction(
    State(service): State<WalletService>,
    Finance(user): Finance,
    ApiPath(transaction_id): ApiPath<String>,
    _: NoQuery,
    ApiJson(request): ApiJson<ReverseRequest>,
) -> Result<Response, AppError> {
    let (booked, replayed) = service.reverse(&user, transaction_id, request.client_reference, request.reason).await?;
    Ok(answered(replayed, StatusCode::CREATED, TransactionResponse::from(booked)))
}
