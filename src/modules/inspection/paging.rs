//! Parameters that lists of `/audit` share: order, limit and cursor.

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, FieldError},
    http::cursor,
    secret::sha256_hex,
    walk::{Direction, TimeRange},
};

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ListOrder {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
}

impl From<ListOrder> for Direction {
    fn from(order: ListOrder) -> Self {
        match order {
            ListOrder::Newest => Self::Newest,
            ListOrder::Oldest => Self::Oldest,
        }
    }
}

/// The time that was looked at; null where there is no bound.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RangeResponse {
    from: Option<Rfc3339Time>,
    to: Option<Rfc3339Time>,
}

impl From<TimeRange> for RangeResponse {
    fn from(range: TimeRange) -> Self {
        Self { from: range.from.map(Rfc3339Time), to: range.to.map(Rfc3339Time) }
    }
}

/// The scope of a list: a cursor goes with the filters under which it was given. `asked` without its cursor and
/// its limit.
pub(super) fn scope_of(list: &str, reader: &str, asked: &impl Serialize) -> String {
    let asked = serde_json::to_string(asked).expect("what was read from a query can be written");
    format!("{list} {reader} {}", sha256_hex(asked.as_bytes()))
}

/// Position in a list: the range of time of its first page, and the last id.
pub(super) struct PagePosition {
    /// Of the whole list.
    pub(super) range: TimeRange,
    /// Of the last record that was looked at.
    pub(super) id: String,
}

impl PagePosition {
    /// As a cursor of `scope`.
    pub(super) fn seal(&self, scope: &str) -> String {
        let number = |time: Option<DateTime>| time.map(|time| time.timestamp_millis().to_string()).unwrap_or_default();
        cursor::seal(scope, &format!("{}|{}|{}", number(self.range.from), number(self.range.to), self.id))
    }

    /// Out of a cursor of `scope`, if one is given.
    ///
    /// # Errors
    /// 422 for one that is not ours, or was given to somebody else or with other filters; and where the range that is
    /// asked for ends before it begins.
    pub(super) fn open(scope: &str, text: Option<&str>, asked: TimeRange) -> Result<Option<Self>, AppError> {
        if let (Some(from), Some(to)) = (asked.from, asked.to)
            && from >= to
        {
            return Err(AppError::invalid(vec![FieldError::new("to", "range", "must be later than from")]));
        }
        let Some(text) = text else { return Ok(None) };
        let place = cursor::open(scope, text).ok_or_else(|| {
            let message = "must be the nextCursor of the page before, asked for by the same user with the same filters";
            AppError::invalid(vec![FieldError::new("cursor", "format", message)])
        })?;
        let mut parts = place.splitn(3, '|');
        let mut time = || parts.next().and_then(|part| part.parse().ok()).map(DateTime::from_millis);
        let range = TimeRange { from: time(), to: time() };
        Ok(Some(Self { range, id: parts.next().unwrap_or_default().to_owned() }))
    }
}
