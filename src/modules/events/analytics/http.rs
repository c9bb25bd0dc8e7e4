//! `/analytics/daily`

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use bson::{Document, doc};
use futures_util::StreamExt;
use mongodb::Database;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{super::counters, count::day_of, store::DAILY};
use crate::platform::{
    clock::{Clock, Rfc3339Time},
    error::{AppError, ErrorKind, FieldError, Problem},
    http::ApiQuery,
    identity::{CurrentUser, Role, SumsReader},
    ids::is_id,
    money::{Currency, Money},
    mongo::READ_TIME_MAX,
};

const DAY_MS: i64 = 24 * 3_600_000;
/// Days of an answer, where none are asked for.
const DAYS: i64 = 30;
/// Days of an answer, at most: all merchants' sums of so many are added up for it.
const DAYS_MAX: i64 = 92;

/// What the route needs.
#[derive(Clone, Debug)]
pub struct AnalyticsReader {
    /// The database.
    pub db: Database,
    /// Time.
    pub clock: Clock,
}

/// The route.
pub fn router(reader: AnalyticsReader) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_daily)).with_state(reader)
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
    /// Of this merchant's orders. A merchant sees its own only, a manager those of the tenant.
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

/// What happened to the orders of one provider on one day.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DayResponse {
    /// In UTC.
    #[schema(example = "2026-01-31")]
    day: String,
    provider: String,
    orders: OrderSums,
    /// What was charged for orders, by currency.
    charged: Vec<Money>,
    /// What was given back of it, by currency.
    refunded: Vec<Money>,
    confirmation: ConfirmationTimes,
}

/// How many orders came to this on that day; one that came to it again counts again.
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

fn whole(document: &Document, field: &str) -> i64 {
    document.get(field).and_then(|value| value.as_i64().or_else(|| value.as_i32().map(i64::from))).unwrap_or_default()
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

/// Whose orders; all where nothing is named.
struct Whose {
    tenant_id: Option<String>,
    user_id: Option<String>,
}

impl Whose {
    /// Those that the user may see, of `asked` only where that is named.
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
    async fn days(&self, from: &str, to: &str, whose: &Whose) -> mongodb::error::Result<Vec<DayResponse>> {
        let generation = counters::read(&self.db, None).await?.analytics.generation;
        let mut filter = doc! { "generation": generation, "day": { "$gte": from, "$lte": to } };
        for (field, id) in [("tenantId", &whose.tenant_id), ("userId", &whose.user_id)] {
            filter.extend(id.as_ref().map(|id| (field.to_owned(), id.into())));
        }
        let daily = self.db.collection::<Document>(DAILY);
        let mut found = daily.find(filter).max_time(READ_TIME_MAX).batch_size(1_000).await?;
        let mut days: BTreeMap<(String, String), DaySums> = BTreeMap::new();
        while let Some(sums) = found.next().await.transpose()? {
            let text = |field: &str| sums.get_str(field).unwrap_or_default().to_owned();
            days.entry((text("day"), text("provider"))).or_default().add(&sums);
        }
        Ok(days.into_iter().map(|((day, provider), sums)| sums.shown(day, provider)).collect())
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
    let whose = Whose::asked_by(user, query.user_id)?;
    let to = query.to.as_deref().and_then(day).unwrap_or_else(|| reader.clock.now_ms().div_euclid(DAY_MS));
    let from = query.from.as_deref().and_then(day).unwrap_or(to - DAYS + 1);
    if !(from..from + DAYS_MAX).contains(&to) {
        let message = "must not be after to, nor more than 91 days before it";
        return Err(AppError::invalid(vec![FieldError::new("from", "invalid", message)]));
    }
    let name = |day: i64| day_of(bson::DateTime::from_millis(day * DAY_MS));
    let items = reader.days(&name(from), &name(to), &whose).await?;
    Ok(Json(DailyResponse { items }))
}
