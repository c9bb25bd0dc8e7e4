//! Times by a cron expression in a time zone. Pure.

use bson::DateTime;
use croner::{Cron, parser::CronParser};
use jiff::{Timestamp, tz::TimeZone};

/// Why a calendar can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// Not a cron expression.
    #[error("`{0}` is no cron expression (minute hour day month weekday, such as `30 2 * * *`): {1}")]
    Cron(String, String),
    /// Not a time zone.
    #[error("`{0}` is no time zone; one has a name such as `Europe/Moscow`, `Asia/Kolkata` or `UTC`")]
    Zone(String),
}

/// Five fields (minute, hour, day of the month, month, day of the week) in a time zone. A time that daylight saving leaves out is
/// made up for right after the gap, and one that comes twice counts once.
#[derive(Clone, Debug)]
pub struct Calendar {
    cron: Cron,
    expression: String,
    zone: TimeZone,
    zone_name: String,
}

impl Calendar {
    /// Reads an expression and the name of a zone in the IANA database.
    ///
    /// # Errors
    /// [`CalendarError`], with what is wrong in words.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, CalendarError> {
        let cron = CronParser::builder()
            .seconds(croner::parser::Seconds::Disallowed)
            .year(croner::parser::Year::Disallowed)
            .build()
            .parse(expression)
            .map_err(|error| CalendarError::Cron(expression.to_owned(), error.to_string()))?;
        let read_zone = TimeZone::get(zone).map_err(|_| CalendarError::Zone(zone.to_owned()))?;
        Ok(Self { cron, expression: expression.to_owned(), zone: read_zone, zone_name: zone.to_owned() })
    }

    /// As written.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// The first time after `at`; none where there is none for years to come, such as 30 February.
    #[must_use]
    pub fn next_after(&self, at: DateTime) -> Option<DateTime> {
        let at = Timestamp::from_millisecond(at.timestamp_millis()).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&at, false).ok()?;
        Some(DateTime::from_millis(next.timestamp().as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime {
        let at: Timestamp = text.parse().expect("a time");
        DateTime::from_millis(at.as_millisecond())
    }

    fn times(expression: &str, zone: &str, from: &str, count: usize) -> Vec<DateTime> {
        let calendar = Calendar::parse(expression, zone).expect("a calendar");
        let mut from = at(from);
        std::iter::repeat_with(|| {
            from = calendar.next_after(from).expect("a next time");
            from
        })
        .take(count)
        .collect()
    }

    #[test]
    fn a_time_of_day_is_the_zones() {
        assert_eq!(
            times("30 2 * * *", "Asia/Kolkata", "2026-03-01T00:00:00Z", 2),
            [at("2026-03-01T21:00:00Z"), at("2026-03-02T21:00:00Z")]
        );
    }

    #[test]
    fn the_hour_that_is_left_out_in_spring_is_made_up_for_once() {
        // Berlin goes from 02:00 to 03:00 on 29 March 2026, which is 01:00 UTC.
        let found = times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert!(
            found[0] >= at("2026-03-29T01:00:00Z") && found[0] <= at("2026-03-29T01:30:00Z"),
            "{:?}",
            found[0].try_to_rfc3339_string()
        );
        assert_eq!(found[1], at("2026-03-30T00:30:00Z"));
    }

    #[test]
    fn the_hour_that_comes_twice_in_autumn_counts_once() {
        // Berlin goes from 03:00 back to 02:00 on 25 October 2026, which is 01:00 UTC.
        let found = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert!([at("2026-10-25T00:30:00Z"), at("2026-10-25T01:30:00Z")].contains(&found[0]), "{found:?}");
        assert_eq!(found[1], at("2026-10-26T01:30:00Z"));
    }

    #[test]
    fn what_can_not_be_read_is_said_in_words() {
        for wrong in ["", "60 * * * *", "every day", "* * * * * *", "1 2 3"] {
            let error = Calendar::parse(wrong, "UTC").expect_err(wrong);
            assert!(error.to_string().contains("no cron expression"), "{error}");
        }
        let error = Calendar::parse("0 0 * * *", "Mars/Olympus").expect_err("no such zone");
        assert!(error.to_string().contains("Mars/Olympus"), "{error}");
    }

    #[test]
    fn a_day_that_never_comes_has_no_time() {
        let never = Calendar::parse("0 0 30 2 *", "UTC").expect("an expression");
        assert_eq!(never.next_after(at("2026-01-01T00:00:00Z")), None);
    }
}
