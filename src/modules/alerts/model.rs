//! An alert as stored, and what becomes of it. Pure but for the store.

use std::time::Duration;

use bson::{DateTime, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rules::{Condition, Severity};
use crate::{
    modules::audit::Call,
    platform::{batch::Entity, clock::after, mongo::READ_TIME_MAX},
};

/// The collection.
pub const ALERTS: &str = "alerts";
/// An alert that has been quiet for so long is resolved; one that comes and goes meanwhile stays one alert.
const CALM: Duration = Duration::from_secs(300);
/// News of one alert that a channel has not taken; the oldest are dropped.
const NEWS_MAX: usize = 20;
/// Alerts that are read at once.
const ALERTS_MAX: i64 = 1_000;

/// State of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Not for long enough that somebody is told.
    Pending,
    /// Somebody was told.
    Firing,
    /// It is over, and whoever was told of it was told so.
    Resolved,
}

impl AlertState {
    /// As stored.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// News for a channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct News {
    /// The event.
    pub(super) event_id: String,
    /// Receivers.
    pub(super) channel: String,
    /// Firing or resolved.
    pub(super) state: AlertState,
    /// In a sentence.
    pub(super) message: String,
    /// Since when.
    pub(super) at: DateTime,
    /// Posts so far.
    pub(super) tries: i32,
    /// One that is under way.
    pub(super) open_call: Option<Call>,
}

/// An alert as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert {
    /// `jobs-die:mail-queue`: the rule, and what it is about.
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) rule: String,
    pub(super) about: String,
    pub(super) severity: Severity,
    pub(super) state: AlertState,
    /// Time since which it is in this state.
    pub(super) since: DateTime,
    /// Time at which somebody was last told.
    pub(super) fired_at: Option<DateTime>,
    /// Since when it is quiet, while it fires.
    pub(super) calm_since: Option<DateTime>,
    /// How much it is, or was when it was last seen.
    pub(super) value: f64,
    pub(super) message: String,
    /// Its events so far.
    pub(super) events: i64,
    pub(super) news: Vec<News>,
}

impl Entity for Alert {
    const COLLECTION: &'static str = ALERTS;

    fn id(&self) -> &str {
        &self.id
    }
}

/// The effect of a look on an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AlertStep {
    /// Nothing.
    Stay,
    /// It is noted, and nobody is told.
    Note,
    /// It fires.
    Fire,
    /// It is resolved.
    Resolve,
}

impl Alert {
    /// One that was never there.
    pub(super) fn new(condition: &Condition, now: DateTime) -> Self {
        Self {
            id: condition.id(),
            rule: condition.rule.name.into(),
            about: condition.about.clone(),
            severity: condition.rule.severity,
            state: AlertState::Resolved,
            since: now,
            fired_at: None,
            calm_since: None,
            value: 0.0,
            message: String::new(),
            events: 0,
            news: Vec::new(),
        }
    }

    /// Applies what was found, or that nothing was.
    pub(super) fn heed(&mut self, found: Option<&Condition>, now: DateTime) -> AlertStep {
        match (self.state, found) {
            (AlertState::Resolved, None) => AlertStep::Stay,
            (AlertState::Resolved, Some(condition)) => {
                self.go(AlertState::Pending, now);
                self.fire_if_due(condition, now, AlertStep::Note)
            }
            (AlertState::Pending, Some(condition)) => self.fire_if_due(condition, now, AlertStep::Stay),
            // Nobody was told.
            (AlertState::Pending, None) => {
                self.go(AlertState::Resolved, now);
                AlertStep::Note
            }
            (AlertState::Firing, Some(condition)) => {
                let was_calm = self.calm_since.take().is_some();
                let is_news = self.value != condition.value || self.message != condition.message;
                self.tell_of(condition);
                if was_calm || is_news { AlertStep::Note } else { AlertStep::Stay }
            }
            (AlertState::Firing, None) => match self.calm_since {
                None => {
                    self.calm_since = Some(now);
                    AlertStep::Note
                }
                Some(since) if after(since, CALM) > now => AlertStep::Stay,
                Some(_) => {
                    self.go(AlertState::Resolved, now);
                    AlertStep::Resolve
                }
            },
        }
    }

    fn fire_if_due(&mut self, condition: &Condition, now: DateTime, otherwise: AlertStep) -> AlertStep {
        if after(self.since, condition.rule.after) > now {
            return otherwise;
        }
        self.go(AlertState::Firing, now);
        self.fired_at = Some(now);
        self.tell_of(condition);
        AlertStep::Fire
    }

    /// How much it is now.
    fn tell_of(&mut self, condition: &Condition) {
        self.severity = condition.rule.severity;
        self.value = condition.value;
        self.message.clone_from(&condition.message);
    }

    fn go(&mut self, state: AlertState, now: DateTime) {
        self.state = state;
        self.since = now;
        self.calm_since = None;
    }

    /// Every channel is to be told how it is now.
    pub(super) fn tell(&mut self, channels: &[&'static str], event_id: &str, now: DateTime) {
        let (state, message) = (self.state, &self.message);
        let news = channels.iter().map(|channel| News {
            event_id: event_id.to_owned(),
            channel: (*channel).to_owned(),
            state,
            message: message.clone(),
            at: now,
            tries: 0,
            open_call: None,
        });
        self.news.extend(news);
        // One that is under way stays until it is known what came of it.
        while self.news.len() > NEWS_MAX {
            let Some(oldest) = self.news.iter().position(|news| news.open_call.is_none()) else { break };
            self.news.remove(oldest);
        }
    }
}

/// Reads alerts.
#[derive(Clone, Debug)]
pub struct AlertStore {
    db: Database,
}

impl AlertStore {
    /// Collections of this module.
    pub const COLLECTIONS: &[&str] = &[ALERTS];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    /// Those that are not over, or of which a channel has to be told.
    pub(super) async fn open(&self) -> Result<Vec<Alert>> {
        let open = doc! { "$or": [{ "state": { "$ne": "resolved" } }, { "news.0": { "$exists": true } }] };
        let found = self.db.collection(ALERTS).find(open).limit(ALERTS_MAX).max_time(READ_TIME_MAX).await?;
        found.try_collect().await
    }

    /// The latest, those that fire first.
    pub(super) async fn list(&self, state: Option<AlertState>, limit: i64) -> Result<Vec<Alert>> {
        let asked = state.map_or_else(|| doc! {}, |state| doc! { "state": state.as_str() });
        let alerts = self.db.collection(ALERTS);
        let found = alerts.find(asked).sort(doc! { "state": 1, "since": -1, "_id": 1 });
        found.limit(limit).max_time(READ_TIME_MAX).await?.try_collect().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::alerts::rules::{Reading, conditions};

    fn at(minutes: i64) -> DateTime {
        DateTime::from_millis(minutes * 60_000)
    }

    fn condition(rule: &'static str, value: f64) -> Condition {
        conditions([Reading { rule, about: "q".into(), value, note: None }]).pop().expect("too much")
    }

    /// The step of each minute's look; `x` where something is found.
    fn steps(rule: &'static str, looks: &str) -> String {
        let found = condition(rule, 1_000.0);
        let mut alert = Alert::new(&found, at(0));
        let step = |(minute, look): (usize, char)| {
            let found = (look == 'x').then_some(&found);
            match alert.heed(found, at(minute as i64)) {
                AlertStep::Stay => '.',
                AlertStep::Note => 'n',
                AlertStep::Fire => 'F',
                AlertStep::Resolve => 'R',
            }
        };
        looks.chars().enumerate().map(step).collect()
    }

    #[test]
    fn it_fires_once_and_is_resolved_once() {
        // Three minutes before it is told, five of calm before it is over.
        assert_eq!(steps("jobs-wait", "xxxxxxx      xx"), "n..F...n....Rn.");
        assert_eq!(steps("jobs-die", "xxx       x"), "F..n....R.F");
    }

    #[test]
    fn while_it_fires_it_says_how_much_it_is_now_and_nobody_is_told() {
        let mut alert = Alert::new(&condition("jobs-die", 12.0), at(0));
        assert_eq!(alert.heed(Some(&condition("jobs-die", 12.0)), at(0)), AlertStep::Fire);
        assert_eq!(alert.heed(Some(&condition("jobs-die", 30.0)), at(1)), AlertStep::Note);
        assert!(alert.value == 30.0 && alert.message.starts_with("30 jobs of q"), "{}", alert.message);
        assert_eq!(alert.heed(Some(&condition("jobs-die", 30.0)), at(2)), AlertStep::Stay);
        assert_eq!(alert.fired_at, Some(at(0)));
    }

    #[test]
    fn what_comes_and_goes_is_one_alert_or_none() {
        assert_eq!(steps("jobs-wait", "x x x x "), "nnnnnnnn");
        assert_eq!(steps("jobs-die", "x x x x x      "), "Fnnnnnnnnn....R");
    }

    #[test]
    fn a_channel_that_is_away_does_not_collect_news_for_ever() {
        let mut alert = Alert::new(&condition("jobs-die", 1_000.0), at(0));
        for n in 0..50 {
            alert.tell(&["alert-webhook"], &format!("evt_{n}"), at(n));
        }
        assert_eq!((alert.news.len(), &*alert.news[0].event_id), (NEWS_MAX, "evt_30"));
    }
}
