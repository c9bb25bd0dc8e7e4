//! Reads the values that alert rules are judged by.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use bson::DateTime;

use super::{
    App,
    gauges::{QueueStanding, ScheduleStanding},
};
use crate::{
    modules::{
        alerts::{self, Reading, Readings},
        audit::{AuditStore, seals::SealStore},
        notifications,
        orders::OrderStore,
        providers::dispatch::BreakerState,
        webhooks,
    },
    platform::error::AppError,
};

/// Each part of what is looked at has so long; all are looked at at once.
const READING_TIME_MAX: Duration = Duration::from_secs(15);
/// Failures are counted over so long.
const LATELY_MS: i64 = 15 * 60_000;
/// Of the answers of that time so many are counted, the latest.
const ANSWERS_MAX: i64 = 2_000;
/// A provider that was called less often has no rate.
const CALLS_MIN: i64 = 20;

impl App {
    /// Looks at everything that rules are about, once a minute, if no other process does. The first look is a minute after the start, when workers
    /// have said that they are there.
    pub async fn watch_alerts(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = tokio::time::sleep(alerts::EVERY) => {}
                () = &mut shutdown => break,
            }
            let looked = async { if self.alerts.is_on_duty().await? { self.check_alerts().await } else { Ok(0) } };
            tokio::select! {
                looked = looked => if let Err(error) = looked {
                    tracing::warn!(%error, "alert rules could not be evaluated");
                },
                () = &mut shutdown => break,
            }
        }
        let _ = self.alerts.lease.release().await;
    }

    /// Looks once, whoever's turn it is; gives how many alerts fired or were resolved.
    ///
    /// # Errors
    /// The database is away, or took too long.
    pub async fn check_alerts(&self) -> Result<usize, AppError> {
        self.alerts.heed(self.readings().await).await
    }

    /// Everything that rules are about. What can't be read, or not in time, silences its own rules and no others.
    async fn readings(&self) -> Readings {
        let (queues, dead, accounts, orders, seals, events, schedules, calls) = tokio::join!(
            in_time(self.read_queues()),
            in_time(self.read_dead_jobs()),
            in_time(self.read_accounts()),
            in_time(self.read_orders()),
            in_time(self.read_seals()),
            in_time(self.read_events()),
            in_time(self.read_schedules()),
            in_time(self.read_calls()),
        );
        let parts: [(&'static str, &'static [&'static str], _); 8] = [
            ("queues", &["no-worker", "queue-unworked", "jobs-wait", "queue-paused"], queues),
            ("dead-jobs", &["jobs-die"], dead),
            ("accounts", &["breaker-open"], accounts),
            ("orders", &["needs-attention"], orders),
            ("seals", &["sealer-behind"], seals),
            ("events", &["relay-behind"], events),
            ("schedules", &["books-differ"], schedules),
            ("calls", &["provider-fails", "unknown-outcomes"], calls),
        ];
        let mut readings = Readings::default();
        for (about, rules, read) in parts {
            match read {
                Ok(taken) => readings.taken.extend(taken),
                Err(error) => {
                    tracing::error!(about, error, "what alerts are judged by can't be read");
                    metrics::counter!("waybill_alert_readings_failed_total", "about" => about).increment(1);
                    readings.missing.push((about, rules));
                }
            }
        }
        readings
    }

    async fn read_queues(&self) -> mongodb::error::Result<Vec<Reading>> {
        let (queues, workers_alive) = self.queue_standings().await?;
        Ok(of_queues(&queues, workers_alive))
    }

    async fn read_dead_jobs(&self) -> mongodb::error::Result<Vec<Reading>> {
        let mut readings = Vec::new();
        for queue in self.all_queues() {
            let died = self.queue_store.count_dead_since(queue.name, self.lately()).await?;
            readings.push(reading("jobs-die", queue.name, died as f64));
        }
        Ok(readings)
    }

    async fn read_accounts(&self) -> mongodb::error::Result<Vec<Reading>> {
        let mut readings: Vec<Reading> = Vec::new();
        for queue in self.all_queues() {
            for account in self.dispatch.overview(queue.name).await? {
                let is_known = readings.iter().any(|known| known.about == account.account_id);
                if account.breaker != BreakerState::Closed && !account.is_own && !is_known {
                    readings.push(reading("breaker-open", &account.account_id, 1.0));
                }
            }
        }
        Ok(readings)
    }

    async fn read_orders(&self) -> mongodb::error::Result<Vec<Reading>> {
        let count = OrderStore::new(self.db.clone()).count_needing_attention().await?;
        Ok(vec![reading("needs-attention", "orders", count as f64)])
    }

    async fn read_seals(&self) -> mongodb::error::Result<Vec<Reading>> {
        let age_ms = SealStore::new(self.db.clone()).queue_age_ms(self.clock.now_ms()).await?;
        Ok(vec![reading("sealer-behind", "audit", age_ms as f64 / 1_000.0)])
    }

    async fn read_events(&self) -> mongodb::error::Result<Vec<Reading>> {
        let lag = self.event_stats().lag().await?;
        Ok(vec![reading("relay-behind", "events", lag.as_secs_f64())])
    }

    async fn read_schedules(&self) -> mongodb::error::Result<Vec<Reading>> {
        let of = |schedule: ScheduleStanding| Reading {
            note: schedule.alert.as_ref().map(|alert| format!("{}: {alert}", schedule.name)),
            ..reading("books-differ", schedule.name, f64::from(u8::from(schedule.alert.is_some())))
        };
        Ok(self.schedule_standings().await?.into_iter().map(of).collect())
    }

    async fn read_calls(&self) -> mongodb::error::Result<Vec<Reading>> {
        let mut readings = Vec::new();
        let outcomes = AuditStore::new(self.db.clone()).count_outcomes(self.lately(), ANSWERS_MAX).await?;
        let mut by_provider: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
        // Others' servers are no providers of ours.
        let others = [webhooks::POLICY.provider, alerts::POLICY.provider];
        for of in outcomes.into_iter().filter(|of| !others.contains(&&*of.provider)) {
            let (all, failed, unknown) = by_provider.entry(of.provider).or_default();
            *all += of.count;
            *failed += if matches!(&*of.outcome, "retryable" | "unknown") { of.count } else { 0 };
            *unknown += if of.outcome == "unknown" { of.count } else { 0 };
        }
        for (provider, (all, failed, unknown)) in by_provider {
            if all >= CALLS_MIN {
                readings.push(reading("provider-fails", &provider, failed as f64 / all as f64));
            }
            // Of mail it is not asked whether it was carried out.
            if provider != notifications::POLICY.provider {
                readings.push(reading("unknown-outcomes", &provider, unknown as f64));
            }
        }
        Ok(readings)
    }

    fn lately(&self) -> DateTime {
        DateTime::from_millis(self.clock.now_ms() - LATELY_MS)
    }
}

/// The value, or a sentence that says why it could not be read.
async fn in_time(
    reading: impl Future<Output = mongodb::error::Result<Vec<Reading>>>,
) -> std::result::Result<Vec<Reading>, String> {
    match tokio::time::timeout(READING_TIME_MAX, reading).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("it took too long".to_owned()),
    }
}

fn reading(rule: &'static str, about: &str, value: f64) -> Reading {
    Reading { rule, about: about.to_owned(), value, note: None }
}

/// Readings of the state of queues. Without any worker all of them wait, which is one alert and not one for each.
fn of_queues(queues: &[QueueStanding], workers_alive: usize) -> Vec<Reading> {
    let is_nobody_there = workers_alive == 0;
    let mut readings = vec![reading("no-worker", "workers", f64::from(u8::from(is_nobody_there)))];
    for queue in queues {
        let is_worked = queue.workers > 0;
        readings.push(reading("queue-paused", queue.name, f64::from(u8::from(queue.is_paused))));
        if !is_worked && !is_nobody_there {
            readings.push(reading("queue-unworked", queue.name, queue.summary.ready as f64));
        }
        if is_worked && !queue.is_paused {
            readings.push(reading("jobs-wait", queue.name, queue.oldest_due_ms as f64 / 1_000.0));
        }
    }
    readings
}
