//! When what is due by the calendar is due.

use std::time::Duration;

use clap::Args;

use crate::modules::{
    queue::{Backoff, QueueConfig},
    schedules::{Calendar, CalendarError, SCHEDULES_QUEUE},
};

/// Checks of a long history take hours.
const RUN_TIME_MAX: Duration = Duration::from_secs(6 * 3_600);

/// When schedules are due: cron expressions (minute, hour, day of the month, month, day of the week); `never` switches one off.
#[derive(Clone, Debug, Args)]
pub struct ScheduleArgs {
    /// Time zone of all schedules, such as `Europe/Moscow` or `Asia/Kolkata`.
    #[arg(long, env = "SCHEDULE_TIMEZONE", default_value = "UTC")]
    pub schedule_timezone: String,
    /// When the ledger is checked, as by `waybill ledger check`; a cron expression, or `never`.
    #[arg(long, env = "LEDGER_CHECK_CRON", default_value = "0 2 * * *")]
    pub ledger_check_cron: String,
    /// When stock is checked, as by `waybill stock check`; a cron expression, or `never`.
    #[arg(long, env = "STOCK_CHECK_CRON", default_value = "15 2 * * *")]
    pub stock_check_cron: String,
    /// When the audit's seals are verified, as by `waybill audit verify`; a cron expression, or `never`.
    #[arg(long, env = "AUDIT_VERIFY_CRON", default_value = "30 2 * * *")]
    pub audit_verify_cron: String,
    /// When records past their retention are deleted; a cron expression, or `never`.
    #[arg(long, env = "AUDIT_PURGE_CRON", default_value = "17 * * * *")]
    pub audit_purge_cron: String,
    /// When yesterday's orders are mailed to those who want reports; a cron expression, or `never`.
    #[arg(long, env = "DAILY_ORDERS_CRON", default_value = "0 6 * * *")]
    pub daily_orders_cron: String,
    /// When yesterday's stock is mailed to merchants who want reports; a cron expression, or `never`.
    #[arg(long, env = "DAILY_STOCK_CRON", default_value = "10 6 * * *")]
    pub daily_stock_cron: String,
}

impl ScheduleArgs {
    /// The calendar of an expression; none for `never`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn calendar(&self, cron: &str) -> Result<Option<Calendar>, CalendarError> {
        if cron == "never" { Ok(None) } else { Calendar::parse(cron, &self.schedule_timezone).map(Some) }
    }

    /// The queue of runs: one after the other, so that checks don't take the database from orders.
    #[must_use]
    pub fn queue(&self) -> QueueConfig {
        QueueConfig {
            concurrency: 1,
            max_attempts: 3,
            backoff: Backoff { base: Duration::from_secs(60), factor: 5, max: Duration::from_secs(1_800) },
            timeout: RUN_TIME_MAX,
            keep_done_for: Duration::from_secs(30 * 24 * 3_600),
            keep_done_count: 1_000,
            ..QueueConfig::named(SCHEDULES_QUEUE)
        }
    }
}
