//! Routes of a merchant: its own lines, and its statement.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    parts::{PAGE, Reports, body_of, ensure_period},
    search::{LedgerFilter, Position, newest},
    snapshot::Snapshot,
    statement::Statement,
    statement_csv::StatementFile,
};
use crate::{
    modules::wallet::model::{LedgerKind, LedgerTransaction},
    platform::{
        clock::Rfc3339Time,
        error::{AppError, FieldError, Problem},
        http::{ApiQuery, CSV, attachment, checks::fault_of},
        identity::MerchantOrCustomer,
        money::Currency,
    },
};

pub(super) fn router(reports: Reports) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_own_ledger)).routes(routes!(get_statement)).with_state(reports)
}

/// `GET /wallet/ledger`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OwnLedgerQuery {
    /// ISO 4217; INR by default.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
    /// The kind of transaction.
    kind: Option<LedgerKind>,
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

/// File format of a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StatementFormat {
    /// In pages.
    #[default]
    Json,
    /// The whole period as a file.
    Csv,
}

/// `GET /wallet/statement`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[validate(schema(function = "files_have_no_pages"))]
struct StatementQuery {
    /// ISO 4217; INR by default.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
    /// Lines at or after (RFC 3339); the wallet's beginning by default.
    #[param(value_type = Option<String>)]
    from: Option<Rfc3339Time>,
    /// Lines before (RFC 3339); now by default, as it was at the first page.
    #[param(value_type = Option<String>)]
    to: Option<Rfc3339Time>,
    /// Lines on a page; not with `csv`.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the page before, which stands for the other parameters too; not with `csv`.
    cursor: Option<String>,
    /// `json` by default.
    #[param(inline)]
    format: Option<StatementFormat>,
}

fn files_have_no_pages(query: &StatementQuery) -> Result<(), ValidationError> {
    let unwanted = match (query.format, query.limit, &query.cursor) {
        (Some(StatementFormat::Csv), Some(_), _) => "limit",
        (Some(StatementFormat::Csv), None, Some(_)) => "cursor",
        _ => return Ok(()),
    };
    Err(fault_of(unwanted, "not_applicable", "does not go with csv, which has the whole period"))
}

/// A transaction, as its merchant sees it: what happened to the wallet, and not who did it or where the money is with us.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OwnTransactionResponse {
    transaction_id: String,
    kind: LedgerKind,
    /// The change of the available balance; 0 where what was set aside went to the carrier.
    amount: i64,
    currency: Currency,
    /// The wallet's lines.
    lines: Vec<OwnLineResponse>,
    reference: BookedForResponse,
    /// Position among the transactions that changed `available`; null for the others.
    sequence: Option<i64>,
    /// `available` after it; null where it was not touched.
    available_after: Option<i64>,
    /// The transaction that it takes back.
    reverses: Option<String>,
    reason: Option<String>,
    at: Rfc3339Time,
}

/// A change of one of the wallet's balances.
#[derive(Debug, Serialize, ToSchema)]
struct OwnLineResponse {
    /// `wallet.available` or `wallet.held`.
    #[schema(example = "wallet.available")]
    account: String,
    /// Minor units; above zero is more, below less.
    amount: i64,
}

/// The reference of a transaction.
#[derive(Debug, Serialize, ToSchema)]
struct BookedForResponse {
    #[serde(rename = "type")]
    #[schema(example = "order")]
    kind_of_thing: String,
    id: String,
    /// The kind of booking.
    #[schema(example = "hold")]
    kind: String,
}

impl From<LedgerTransaction> for OwnTransactionResponse {
    fn from(booked: LedgerTransaction) -> Self {
        Self {
            amount: booked.change_of_available(),
            transaction_id: booked.id,
            kind: booked.kind,
            currency: booked.currency,
            lines: booked
                .lines
                .into_iter()
                .filter(|line| line.account.is_wallet())
                .map(|line| OwnLineResponse { account: line.account.to_string(), amount: line.amount })
                .collect(),
            reference: BookedForResponse {
                kind_of_thing: booked.reference_type,
                id: booked.reference_id,
                kind: booked.reference_kind,
            },
            sequence: booked.wallet_seq,
            available_after: booked.available_after,
            reverses: booked.reverses,
            reason: booked.reason,
            at: Rfc3339Time(booked.at),
        }
    }
}

/// A page of a merchant's transactions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OwnLedgerResponse {
    items: Vec<OwnTransactionResponse>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Direction of a movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Movement {
    /// More.
    Credit,
    /// Less.
    Debit,
}

/// A change of what can be spent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StatementLineResponse {
    /// Number of the line, from 1, without gaps.
    sequence: i64,
    at: Rfc3339Time,
    kind: LedgerKind,
    direction: Movement,
    /// Minor units, above zero.
    amount: i64,
    /// The available balance afterwards.
    balance_after: i64,
    transaction_id: String,
    reference: BookedForResponse,
    reason: Option<String>,
}

impl From<LedgerTransaction> for StatementLineResponse {
    fn from(booked: LedgerTransaction) -> Self {
        let change = booked.change_of_available();
        let (sequence, balance_after) = booked.statement_line();
        Self {
            sequence,
            at: Rfc3339Time(booked.at),
            kind: booked.kind,
            direction: if change > 0 { Movement::Credit } else { Movement::Debit },
            amount: change.saturating_abs(),
            balance_after,
            transaction_id: booked.id,
            reference: BookedForResponse {
                kind_of_thing: booked.reference_type,
                id: booked.reference_id,
                kind: booked.reference_kind,
            },
            reason: booked.reason,
        }
    }
}

/// A page of a statement: `opening` and its lines come to `closing`, which is the `opening` of the next page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StatementResponse {
    currency: Currency,
    /// The period's beginning.
    from: Rfc3339Time,
    /// The period's end; no line is at it.
    to: Rfc3339Time,
    /// The available balance before the first line of the page.
    opening: i64,
    /// The available balance after the last one.
    closing: i64,
    /// Oldest first.
    lines: Vec<StatementLineResponse>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Your transactions, newest first: all that changed what you can spend or what is set aside.
#[utoipa::path(get, path = "/wallet/ledger", tag = "wallet", security(("bearer" = [])), params(OwnLedgerQuery),
    responses(
        (status = 200, body = OwnLedgerResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_own_ledger(
    State(reports): State<Reports>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    ApiQuery(query): ApiQuery<OwnLedgerQuery>,
) -> Result<Json<OwnLedgerResponse>, AppError> {
    ensure_period(query.from, query.to)?;
    let scope = format!("ledger {}", user.user_id);
    let before = query.cursor.map(|cursor| Position::open(&scope, &cursor)).transpose()?;
    let filter = LedgerFilter {
        user_id: Some(user.user_id),
        currency: Some(query.currency.unwrap_or(Currency::INR)),
        kind: query.kind,
        from: query.from.map(|time| time.0),
        to: query.to.map(|time| time.0),
        ..LedgerFilter::default()
    };
    let (page, next) = newest(&reports.store, &filter, before.as_ref(), query.limit.unwrap_or(PAGE)).await?;
    let next_cursor = next.map(|place| place.seal(&scope));
    Ok(Json(OwnLedgerResponse { items: page.into_iter().map(Into::into).collect(), next_cursor }))
}

/// A statement: changes of your available balance in a period, oldest first, between the balances before and after. The
/// first `opening` and the last `closing` are the period's; what is booked while you read changes nothing of it.
#[utoipa::path(get, path = "/wallet/statement", tag = "wallet", security(("bearer" = [])), params(StatementQuery),
    responses(
        (status = 200, description = "A page, or with `csv` the whole period as a file.",
            content((StatementResponse = "application/json"), (String = "text/csv"))),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_statement(
    State(reports): State<Reports>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    ApiQuery(query): ApiQuery<StatementQuery>,
) -> Result<Response, AppError> {
    ensure_period(query.from, query.to)?;
    let mut snapshot = Snapshot::take(&reports.store).await?;
    let mut statement = if let Some(cursor) = &query.cursor {
        let statement = Statement::resume(&mut snapshot, &user.user_id, cursor).await?;
        ensure_same_period(&query, &statement)?;
        statement
    } else {
        let wallet = (user.user_id.as_str(), query.currency.unwrap_or(Currency::INR));
        let period = (query.from.map(|time| time.0), query.to.map(|time| time.0));
        Statement::begin(&mut snapshot, wallet, period, reports.clock.now()).await?
    };
    if query.format == Some(StatementFormat::Csv) {
        let name = StatementFile::name(&statement);
        return attachment(CSV, &name, body_of(StatementFile::new(reports.store, statement)).await?);
    }
    let opening = statement.balance();
    let lines = statement.read(&mut snapshot, query.limit.unwrap_or(PAGE)).await?;
    let page = StatementResponse {
        currency: statement.currency,
        from: Rfc3339Time(statement.from),
        to: Rfc3339Time(statement.to),
        opening,
        closing: statement.balance(),
        lines: lines.into_iter().map(Into::into).collect(),
        next_cursor: statement.cursor(),
    };
    Ok(Json(page).into_response())
}

/// A cursor goes on with its own period. Parameters may be left out then; where they are sent again they have to be the
/// same.
fn ensure_same_period(query: &StatementQuery, statement: &Statement) -> Result<(), AppError> {
    let same = query.currency.is_none_or(|currency| currency == statement.currency)
        && query.from.is_none_or(|from| from.0 == statement.from)
        && query.to.is_none_or(|to| to.0 == statement.to);
    if same {
        return Ok(());
    }
    let message = "goes on with another currency or period than `currency`, `from` and `to` say";
    Err(AppError::invalid(vec![FieldError::new("cursor", "not_applicable", message)]))
}
