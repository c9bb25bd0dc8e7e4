//! `/analytics/daily`, `/analytics/earnings`

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use bson::{Document, doc};
use futures_util::StreamExt;
use mongodb::Database;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    super::counters,
    count::{CHECKOUTS, day_of},
    store::DAILY,
};
use crate::{
    modules::events::counters::whole,
    platform::{
        clock::{Clock, Rfc3339Time},
        error::{AppError, ErrorKind, FieldError, Problem},
        http::ApiQuery,
        identity::{CurrentUser, Role, SumsReader},
        ids::is_id,
        money::{Currency, Money},
        mongo::READ_TIME_MAX,
    },
};

const DAY_MS: i64 = 24 * 3_600_000;
/// Days of an answer, where none are asked for.
const DAYS: i64 = 30;
/// Days of an answer, at most: all merchants' sums of so many are added up for it.
const DAYS_MAX: i64 = 92;

/// Reads sums for the routes.
#[derive(Clone, Debug)]
pub struct AnalyticsReader {
    pub db: Database,
    pub clock: Clock,
}

pub fn router(reader: AnalyticsReader) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_daily)).routes(routes!(list_earnings)).with_state(reader)
}

/// `GET /analytics/daily`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DailyQuery {
    /// First day (UTC); 29 days before the last one by default.
    #[validate(custom(function = "day_shape"))]
    #[param(example = "2026-01-31")]
    from: Option<String>,
    /// Last day (UTC); today by default. At most 92 days.
    #[validate(custom(function = "day_shape"))]
    #[param(example = "2026-01-31")]
    to: Option<String>,
    /// Merchant. A merchant sees its own orders only, a manager those of the tenant.
    #[validate(custom(function = "user_id_shape"))]
    user_id: Option<String>,
}

fn fault(message: &'static str) -> ValidationError {
    ValidationError::new("invalid").with_message(message.into())
}

fn user_id_shape(text: &str) -> Result<(), ValidationError> {
    if is_id("usr", text) { Ok(()) } else { Err(fault("must be the id of a user, usr_...")) }
}

fn day_shape(text: &str) -> Result<(), ValidationError> {
    day(text).map(drop).ok_or_else(|| fault("must be a day such as 2026-01-31"))
}

/// The days from 1970 to this one.
fn day(text: &str) -> Option<i64> {
    let midnight: Rfc3339Time = format!("{text}T00:00:00Z").parse().ok()?;
    Some(midnight.0.timestamp_millis().div_euclid(DAY_MS)).filter(|_| text.len() == 10)
}

/// Days, oldest first.
#[derive(Debug, Serialize, ToSchema)]
struct DailyResponse {
    items: Vec<DayResponse>,
}

/// Orders of one provider on one day.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DayResponse {
    /// The day in UTC.
    #[schema(example = "2026-01-31")]
    day: String,
    provider: String,
    orders: OrderSums,
    /// Charges for orders, by currency.
    charged: Vec<Money>,
    /// Refunds of them, by currency.
    refunded: Vec<Money>,
    confirmation: ConfirmationTimes,
}

/// Orders that reached this on that day; one that reached it again counts again.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OrderSums {
    created: i64,
    confirmed: i64,
    delivered: i64,
    failed: i64,
    cancelled: i64,
    needs_attention: i64,
}

/// Times from an order's creation to its confirmation, in milliseconds.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ConfirmationTimes {
    count: i64,
    sum_ms: i64,
    max_ms: i64,
    /// None where none was confirmed.
    average_ms: Option<i64>,
}

/// Sums of a day and provider, over merchants.
#[derive(Default)]
struct DaySums {
    orders: OrderSums,
    charged: BTreeMap<String, i64>,
    refunded: BTreeMap<String, i64>,
    confirmation: ConfirmationTimes,
}

impl DaySums {
    fn add(&mut self, sums: &Document) {
        let orders = &mut self.orders;
        for (sum, field) in [
            (&mut orders.created, "created"),
            (&mut orders.confirmed, "confirmed"),
            (&mut orders.delivered, "delivered"),
            (&mut orders.failed, "failed"),
            (&mut orders.cancelled, "cancelled"),
            (&mut orders.needs_attention, "needsAttention"),
            (&mut self.confirmation.count, "confirmTimes"),
            (&mut self.confirmation.sum_ms, "confirmMs"),
        ] {
            *sum = sum.saturating_add(whole(sums, field));
        }
        self.confirmation.max_ms = self.confirmation.max_ms.max(whole(sums, "confirmMaxMs"));
        for (all, field) in [(&mut self.charged, "charged"), (&mut self.refunded, "refunded")] {
            let Ok(amounts) = sums.get_document(field) else { continue };
            for currency in amounts.keys() {
                let sum = all.entry(currency.clone()).or_default();
                *sum = sum.saturating_add(whole(amounts, currency));
            }
        }
    }

    fn shown(self, day: String, provider: String) -> DayResponse {
        let money = |amounts: BTreeMap<String, i64>| {
            let known = |(code, amount): (String, i64)| Some(Money::new(amount, Currency::from_code(&code)?));
            amounts.into_iter().filter_map(known).collect()
        };
        let ConfirmationTimes { count, sum_ms, .. } = self.confirmation;
        let average_ms = (count > 0).then(|| sum_ms / count);
        DayResponse {
            day,
            provider,
            orders: self.orders,
            charged: money(self.charged),
            refunded: money(self.refunded),
            confirmation: ConfirmationTimes { average_ms, ..self.confirmation },
        }
    }
}

/// Earnings by day and currency, and in all.
#[derive(Debug, Serialize, ToSchema)]
struct EarningsResponse {
    /// Oldest day first; only days on which something was sold or taken back.
    items: Vec<DayEarningsResponse>,
    /// Totals of all these days, by currency.
    totals: Vec<EarningsSums>,
}

/// Earnings of one day in one currency.
#[derive(Debug, Serialize, ToSchema)]
struct DayEarningsResponse {
    /// The day in UTC.
    #[schema(example = "2026-01-31")]
    day: String,
    #[serde(flatten)]
    sums: EarningsSums,
}

/// Checkouts that were paid, and those of them that were cancelled: a refund counts on the day on which it was made, so a day's `net`
/// may be below zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EarningsSums {
    currency: Currency,
    /// Checkouts that were paid.
    sales: i64,
    /// Checkouts that were paid and then cancelled.
    taken_back: i64,
    /// Minor units.
    gross: i64,
    /// Minor units.
    refunds: i64,
    /// `gross` less `refunds`.
    net: i64,
}

impl EarningsSums {
    const fn nothing(currency: Currency) -> Self {
        Self { currency, sales: 0, taken_back: 0, gross: 0, refunds: 0, net: 0 }
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.sales, other.sales),
            (&mut self.taken_back, other.taken_back),
            (&mut self.gross, other.gross),
            (&mut self.refunds, other.refunds),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.net = self.gross.saturating_sub(self.refunds);
    }
}

/// The sums of a document, by currency.
fn earnings_of(sums: &Document) -> Vec<EarningsSums> {
    let mut found: BTreeMap<String, EarningsSums> = BTreeMap::new();
    for field in ["sales", "takenBack", "gross", "refunds"] {
        let Ok(by_currency) = sums.get_document(field) else { continue };
        for code in by_currency.keys() {
            let Some(currency) = Currency::from_code(code) else { continue };
            let value = whole(by_currency, code);
            let mut one = EarningsSums::nothing(currency);
            match field {
                "sales" => one.sales = value,
                "takenBack" => one.taken_back = value,
                "gross" => one.gross = value,
                _ => one.refunds = value,
            }
            found.entry(code.clone()).or_insert_with(|| EarningsSums::nothing(currency)).add(&one);
        }
    }
    found.into_values().collect()
}

/// Filter of sums by owner; all where nothing is named.
struct SumsFilter {
    tenant_id: Option<String>,
    user_id: Option<String>,
}

impl SumsFilter {
    /// Sums that the user may see, narrowed to `asked`.
    fn asked_by(user: CurrentUser, asked: Option<String>) -> Result<Self, AppError> {
        let nobody = || AppError::new(ErrorKind::NotFound, "analytics.not_found", "There is no such merchant here.");
        match user.role {
            Role::Merchant if asked.as_ref().is_some_and(|asked| *asked != user.user_id) => Err(nobody()),
            Role::Merchant => Ok(Self { tenant_id: None, user_id: Some(user.user_id) }),
            Role::Manager => Ok(Self { tenant_id: Some(user.tenant_id.ok_or_else(nobody)?), user_id: asked }),
            _ => Ok(Self { tenant_id: None, user_id: asked }),
        }
    }
}

impl AnalyticsReader {
    /// Gives the sums of these days that are of orders, or of checkouts.
    async fn each(
        &self,
        (from, to): (&str, &str),
        whose: &SumsFilter,
        of_checkouts: bool,
        mut each: impl FnMut(&Document) + Send,
    ) -> mongodb::error::Result<()> {
        let generation = counters::read(&self.db, None).await?.analytics.generation;
        let provider = if of_checkouts {
            doc! { "$eq": CHECKOUTS }
        } else {
            doc! { "$ne": CHECKOUTS }
        };
        let mut filter = doc! { "generation": generation, "day": { "$gte": from, "$lte": to }, "provider": provider };
        for (field, id) in [("tenantId", &whose.tenant_id), ("userId", &whose.user_id)] {
            filter.extend(id.as_ref().map(|id| (field.to_owned(), id.into())));
        }
        let daily = self.db.collection::<Document>(DAILY);
        let mut found = daily.find(filter).max_time(READ_TIME_MAX).batch_size(1_000).await?;
        while let Some(sums) = found.next().await.transpose()? {
            each(&sums);
        }
        Ok(())
    }

    async fn days(&self, days: (&str, &str), whose: &SumsFilter) -> mongodb::error::Result<Vec<DayResponse>> {
        let mut found: BTreeMap<(String, String), DaySums> = BTreeMap::new();
        let add = |sums: &Document| {
            let text = |field: &str| sums.get_str(field).unwrap_or_default().to_owned();
            found.entry((text("day"), text("provider"))).or_default().add(sums);
        };
        self.each(days, whose, false, add).await?;
        Ok(found.into_iter().map(|((day, provider), sums)| sums.shown(day, provider)).collect())
    }

    async fn earnings(&self, days: (&str, &str), whose: &SumsFilter) -> mongodb::error::Result<EarningsResponse> {
        let mut found: BTreeMap<(String, &'static str), EarningsSums> = BTreeMap::new();
        let mut totals: BTreeMap<&'static str, EarningsSums> = BTreeMap::new();
        let add = |sums: &Document| {
            let day = sums.get_str("day").unwrap_or_default();
            for one in earnings_of(sums) {
                let nothing = EarningsSums::nothing(one.currency);
                let code = one.currency.code();
                found.entry((day.to_owned(), code)).or_insert(nothing).add(&one);
                totals.entry(code).or_insert(nothing).add(&one);
            }
        };
        self.each(days, whose, true, add).await?;
        let items = found.into_iter().map(|((day, _), sums)| DayEarningsResponse { day, sums }).collect();
        Ok(EarningsResponse { items, totals: totals.into_values().collect() })
    }

    /// The first and the last day that are asked for.
    fn range(&self, query: &DailyQuery) -> Result<(String, String), AppError> {
        let to = query.to.as_deref().and_then(day).unwrap_or_else(|| self.clock.now_ms().div_euclid(DAY_MS));
        let from = query.from.as_deref().and_then(day).unwrap_or(to - DAYS + 1);
        if !(from..from + DAYS_MAX).contains(&to) {
            let message = "must not be after to, nor more than 91 days before it";
            return Err(AppError::invalid(vec![FieldError::new("from", "invalid", message)]));
        }
        let name = |day: i64| day_of(bson::DateTime::from_millis(day * DAY_MS));
        Ok((name(from), name(to)))
    }
}

/// Orders, money and times to confirmation by day and provider: a merchant's own; for a manager those that members created in the
/// tenant; for finance and administrators all merchants'; of one merchant where it is asked for.
#[utoipa::path(get, path = "/analytics/daily", tag = "analytics", security(("bearer" = [])), params(DailyQuery),
    responses((status = 200, body = DailyResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn list_daily(
    State(reader): State<AnalyticsReader>,
    SumsReader(user): SumsReader,
    ApiQuery(query): ApiQuery<DailyQuery>,
) -> Result<Json<DailyResponse>, AppError> {
    let (from, to) = reader.range(&query)?;
    let whose = SumsFilter::asked_by(user, query.user_id)?;
    let items = reader.days((&from, &to), &whose).await?;
    Ok(Json(DailyResponse { items }))
}

/// Earnings from checkouts, by day and currency: of a merchant's own products; for a manager of those that members put on sale in
/// the tenant; for finance and administrators of all; of one merchant where it is asked for. What is relayed counts, so the last
/// seconds may be missing.
#[utoipa::path(get, path = "/analytics/earnings", tag = "analytics", security(("bearer" = [])), params(DailyQuery),
    responses((status = 200, body = EarningsResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn list_earnings(
    State(reader): State<AnalyticsReader>,
    SumsReader(user): SumsReader,
    ApiQuery(query): ApiQuery<DailyQuery>,
) -> Result<Json<EarningsResponse>, AppError> {
    let (from, to) = reader.range(&query)?;
    let whose = SumsFilter::asked_by(user, query.user_id)?;
    Ok(Json(reader.earnings((&from, &to), &whose).await?))
}
