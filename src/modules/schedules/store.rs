//! Reads schedules and their runs.

use std::{collections::HashMap, time::Duration};

use bson::doc;
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};

use super::model::{SCHEDULE_RUNS, SCHEDULES, Schedule, ScheduleRun};
use crate::platform::mongo::{Index, READ_TIME_MAX};

/// Runs are kept so long.
const RUNS_KEPT: Duration = Duration::from_secs(400 * 24 * 3_600);

/// Reads schedules and their runs.
#[derive(Clone, Debug)]
pub struct ScheduleStore {
    db: Database,
}

impl ScheduleStore {
    pub const COLLECTIONS: &[&str] = &[SCHEDULES, SCHEDULE_RUNS];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(SCHEDULE_RUNS, "schedule", doc! { "schedule": 1, "_id": 1 }),
            Index::new(SCHEDULE_RUNS, "schedule_runs_expiry", doc! { "startedAt": 1 }).expires_after(RUNS_KEPT),
        ]
    }

    /// Every schedule that was ever due, by name.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn schedules(&self) -> Result<HashMap<String, Schedule>> {
        let found = self.db.collection::<Schedule>(SCHEDULES).find(doc! {}).max_time(READ_TIME_MAX).await?;
        let schedules: Vec<Schedule> = found.try_collect().await?;
        Ok(schedules.into_iter().map(|schedule| (schedule.name.clone(), schedule)).collect())
    }

    /// These runs, by id.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn runs(&self, ids: &[String]) -> Result<HashMap<String, ScheduleRun>> {
        let asked = doc! { "_id": { "$in": ids } };
        let found = self.db.collection::<ScheduleRun>(SCHEDULE_RUNS).find(asked).max_time(READ_TIME_MAX).await?;
        let runs: Vec<ScheduleRun> = found.try_collect().await?;
        Ok(runs.into_iter().map(|run| (run.id.clone(), run)).collect())
    }

    /// Runs of a schedule, newest first, that were started before the run `before`.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list_runs(&self, schedule: &str, before: Option<&str>, limit: usize) -> Result<Vec<ScheduleRun>> {
        let mut asked = doc! { "schedule": schedule };
        if let Some(before) = before {
            asked.insert("_id", doc! { "$lt": before });
        }
        let runs = self.db.collection::<ScheduleRun>(SCHEDULE_RUNS);
        let found = runs.find(asked).sort(doc! { "_id": -1 });
        found.limit(limit as i64).max_time(READ_TIME_MAX).await?.try_collect().await
    }
}
