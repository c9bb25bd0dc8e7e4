//! Routes of finance and auditors: search, export, trial balance.

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    export::{FileFormat, LedgerFile},
    parts::{PAGE, Reports, body_of, ensure_period},
    search::{LedgerFilter, Position, newest},
    trial_balance::{FINAL_AFTER, TrialBalance, trial_balance},
};
use crate::{
    modules::wallet::{
        error::WalletError,
        http::TransactionResponse,
        model::{Account, LedgerKind},
    },
    platform::{
        clock::{Rfc3339Time, after},
        error::{AppError, FieldError, Problem},
        http::{ApiPath, ApiQuery, CSV, NDJSON, NoQuery, attachment},
        identity::{About, FinanceReader},
        ids::is_id,
        money::Currency,
    },
};

/// Cursors of the search. They name a place in the whole ledger, which all its readers share.
const SCOPE: &str = "finance ledger";

pub(super) fn router(reports: Reports) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(search_ledger))
        .routes(routes!(get_transaction))
        .routes(routes!(export_ledger))
        .routes(routes!(get_trial_balance))
        .with_state(reports)
}

/// `GET /finance/ledger`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LedgerSearchQuery {
    /// The user of the wallet.
    #[validate(custom(function = "user_id_shape"))]
    user_id: Option<String>,
    /// ISO 4217; all by default.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
    /// The kind of transaction.
    kind: Option<LedgerKind>,
    /// The type of its reference: `order`, `topup`, `finance`, `transaction`, `user`.
    #[validate(custom(function = "reference_type_shape"))]
    #[param(example = "order")]
    reference_type: Option<String>,
    /// The id of that; an order's finds all its bookings.
    #[validate(custom(function = "reference_id_shape"))]
    reference_id: Option<String>,
    /// Transactions with a line on this account.
    #[validate(custom(function = "account_shape"))]
    #[param(example = "payable.parcelx")]
    account: Option<String>,
    /// Booked at or after (RFC 3339).
    #[param(value_type = Option<String>)]
    from: Option<Rfc3339Time>,
    /// Booked before (RFC 3339).
    #[param(value_type = Option<String>)]
    to: Option<Rfc3339Time>,
    /// Transactions on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// File format of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum LedgerExportFormat {
    /// A transaction per line, as JSON.
    #[default]
    Ndjson,
    /// A line of a transaction per row.
    Csv,
}

/// `GET /finance/ledger/export`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LedgerExportQuery {
    /// `ndjson` by default.
    #[param(inline)]
    format: Option<LedgerExportFormat>,
    /// The user of the wallet.
    #[validate(custom(function = "user_id_shape"))]
    user_id: Option<String>,
    /// ISO 4217; all by default.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
    /// Booked at or after (RFC 3339).
    #[param(value_type = Option<String>)]
    from: Option<Rfc3339Time>,
    /// Booked before (RFC 3339).
    #[param(value_type = Option<String>)]
    to: Option<Rfc3339Time>,
}

/// `GET /finance/trial-balance`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TrialBalanceQuery {
    /// The moment of the balance (RFC 3339); now by default.
    #[param(value_type = Option<String>)]
    as_of: Option<Rfc3339Time>,
    /// ISO 4217; all by default.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
}

fn fault(message: &'static str) -> ValidationError {
    ValidationError::new("format").with_message(message.into())
}

fn user_id_shape(text: &str) -> Result<(), ValidationError> {
    if is_id("usr", text) { Ok(()) } else { Err(fault("must be the id of a user, usr_...")) }
}

fn reference_type_shape(text: &str) -> Result<(), ValidationError> {
    let word = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if word { Ok(()) } else { Err(fault("must be the type of a reference, such as order")) }
}

/// Ids of ours and of finance; `#` numbers the later holds of an order.
fn reference_id_shape(text: &str) -> Result<(), ValidationError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/-#".contains(&b);
    let sound = (1..=160).contains(&text.len()) && text.bytes().all(allowed);
    if sound { Ok(()) } else { Err(fault("must be 1 to 160 of A-Z a-z 0-9 . _ : / - #")) }
}

fn account_shape(name: &str) -> Result<(), ValidationError> {
    // Names of providers are short; a limit on length belongs to every text that goes into a query.
    let known = name.len() <= 64 && Account::try_from(name.to_owned()).is_ok();
    if known { Ok(()) } else { Err(fault("must be the name of an account, such as wallet.available or revenue")) }
}

/// A page of the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LedgerResponse {
    items: Vec<TransactionResponse>,
    /// Send it as `cursor` for the next page; null on the last one. Before that a page may have fewer than asked for, or none.
    next_cursor: Option<String>,
}

/// The balances of all accounts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TrialBalanceResponse {
    as_of: Rfc3339Time,
    /// Whether the balance is final: transactions of the last seconds may still be committing.
    #[serde(rename = "final")]
    is_final: bool,
    currencies: Vec<CurrencyBalanceResponse>,
}

/// The accounts of one currency, in minor units.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CurrencyBalanceResponse {
    currency: String,
    /// Balances by name of the account; all users' wallets together are `wallet.available` and `wallet.held`.
    accounts: Vec<AccountBalanceResponse>,
    total_debit: i64,
    total_credit: i64,
    balanced: bool,
}

/// The balance of an account: on one side, the other is 0.
#[derive(Debug, Serialize, ToSchema)]
struct AccountBalanceResponse {
    #[schema(example = "settlement.cash")]
    account: String,
    debit: i64,
    credit: i64,
}

impl CurrencyBalanceResponse {
    fn new(currency: String, balance: TrialBalance) -> Self {
        let accounts = balance.accounts.into_iter().map(|account| AccountBalanceResponse {
            account: account.account,
            debit: account.debit,
            credit: account.credit,
        });
        Self {
            currency,
            accounts: accounts.collect(),
            total_debit: balance.total_debit,
            total_credit: balance.total_credit,
            balanced: balance.total_debit == balance.total_credit,
        }
    }
}

/// Transactions of all users with all their lines, newest first.
///
/// A search that neither `referenceId`, `userId` nor a period narrows down looks backwards in time, at 4,000 transactions a
/// page: where it is rare, a page may have fewer than asked for, or none, and a cursor to go on.
#[utoipa::path(get, path = "/finance/ledger", tag = "finance", security(("bearer" = [])), params(LedgerSearchQuery),
    responses(
        (status = 200, body = LedgerResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The search would take too long.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn search_ledger(
    State(reports): State<Reports>,
    _: FinanceReader,
    ApiQuery(query): ApiQuery<LedgerSearchQuery>,
) -> Result<(Extension<About>, Json<LedgerResponse>), AppError> {
    ensure_period(query.from, query.to)?;
    let before = query.cursor.map(|cursor| Position::open(SCOPE, &cursor)).transpose()?;
    let filter = LedgerFilter {
        user_id: query.user_id,
        currency: query.currency,
        kind: query.kind,
        reference_type: query.reference_type,
        reference_id: query.reference_id,
        account: query.account,
        from: query.from.map(|time| time.0),
        to: query.to.map(|time| time.0),
        until: None,
    };
    let (page, next) = newest(&reports.store, &filter, before.as_ref(), query.limit.unwrap_or(PAGE)).await?;
    let next_cursor = next.map(|place| place.seal(SCOPE));
    let shown = page.iter().map(|booked| (Some(&*booked.reference_id), Some(&*booked.user_id)));
    let about = About::shared(shown).or(About::new(filter.reference_id.as_deref(), filter.user_id.as_deref()));
    let page = LedgerResponse { items: page.into_iter().map(Into::into).collect(), next_cursor };
    Ok((Extension(about), Json(page)))
}

/// One transaction.
#[utoipa::path(get, path = "/finance/transactions/{transactionId}", tag = "finance", security(("bearer" = [])),
    params(("transactionId" = String, Path, description = "`txn_...`")),
    responses(
        (status = 200, body = TransactionResponse),
        (status = 404, description = "No such transaction.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_transaction(
    State(reports): State<Reports>,
    _: FinanceReader,
    _: NoQuery,
    ApiPath(transaction_id): ApiPath<String>,
) -> Result<(Extension<About>, Json<TransactionResponse>), AppError> {
    let booked = reports.store.transaction(&transaction_id).await?.ok_or(WalletError::NotFound)?;
    let about = About::new(Some(&booked.reference_id), Some(&booked.user_id));
    Ok((Extension(about), Json(booked.into())))
}

/// The ledger as a file, oldest first, as it was when it was asked for. A file that ends before the answer does is not
/// whole: ask again.
#[utoipa::path(get, path = "/finance/ledger/export", tag = "finance", security(("bearer" = [])), params(LedgerExportQuery),
    responses(
        (status = 200, description = "A transaction per line as JSON, or with `csv` a line of a transaction per row.",
            content((TransactionResponse = "application/x-ndjson"), (String = "text/csv"))),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn export_ledger(
    State(reports): State<Reports>,
    _: FinanceReader,
    ApiQuery(query): ApiQuery<LedgerExportQuery>,
) -> Result<Response, AppError> {
    ensure_period(query.from, query.to)?;
    let about = About::new(None, query.user_id.as_deref());
    let filter = LedgerFilter {
        user_id: query.user_id,
        currency: query.currency,
        from: query.from.map(|time| time.0),
        to: query.to.map(|time| time.0),
        ..LedgerFilter::default()
    };
    let (format, content_type) = match query.format.unwrap_or_default() {
        LedgerExportFormat::Ndjson => (FileFormat::Ndjson, NDJSON),
        LedgerExportFormat::Csv => (FileFormat::Csv, CSV),
    };
    let name = LedgerFile::name(format, reports.clock.now());
    let file = LedgerFile::begin(reports.store, filter, format).await?;
    let file = attachment(content_type, &name, body_of(file).await?)?;
    Ok((Extension(about), file).into_response())
}

/// The trial balance: every account's, from the lines, now or at a moment in the past. It reads the whole ledger: expect seconds
/// per million transactions.
#[utoipa::path(get, path = "/finance/trial-balance", tag = "finance", security(("bearer" = [])),
    params(TrialBalanceQuery),
    responses(
        (status = 200, body = TrialBalanceResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The search would take too long.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_trial_balance(
    State(reports): State<Reports>,
    _: FinanceReader,
    ApiQuery(query): ApiQuery<TrialBalanceQuery>,
) -> Result<Json<TrialBalanceResponse>, AppError> {
    let now: DateTime = reports.clock.now();
    let as_of = query.as_of.map(|time| time.0);
    if as_of.is_some_and(|as_of| as_of > now) {
        return Err(AppError::invalid(vec![FieldError::new("asOf", "range", "must not be in the future")]));
    }
    let currencies = trial_balance(&reports.store, as_of, query.currency).await?;
    let as_of = as_of.unwrap_or(now);
    Ok(Json(TrialBalanceResponse {
        as_of: Rfc3339Time(as_of),
        is_final: after(as_of, FINAL_AFTER) <= now,
        currencies: currencies.into_iter().map(|(code, sums)| CurrencyBalanceResponse::new(code, sums)).collect(),
    }))
}
