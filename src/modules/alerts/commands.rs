//! Commands of a look and of a post, each in one transaction.

use std::time::Duration;

use bson::{DateTime, doc};

use super::{
    model::{ALERTS, Alert, AlertState, AlertStep, News},
    rules::Condition,
};
use crate::{
    modules::{
        audit::{self, Call, ErrorClass, ProviderResponseLog, Verdict},
        events::{self, Actor, Event},
    },
    platform::{
        batch::{Command, Entity, Key, View},
        clock::after,
        exchange::{Logged, Prepared, ResponseRecord},
    },
};

/// A post whose process died is made again this long after its deadline.
const MARGIN: Duration = Duration::from_secs(30);
/// A channel that did not take news so often, a minute apart, is not told.
pub(super) const TRIES_MAX: i32 = 60;

/// Heeds what a look has found.
pub(super) struct Heed {
    /// Alerts that are open, or found; with the id of the event that may come of each.
    pub(super) alerts: Vec<(String, String)>,
    pub(super) found: Vec<Condition>,
    /// Rules of which nobody knows now: their alerts stay as they are.
    pub(super) unknown: Vec<&'static str>,
    pub(super) channels: Vec<&'static str>,
}

impl Command for Heed {
    /// Rules that fired and that were resolved.
    type Reply = Vec<(&'static str, AlertStep)>;

    fn reads(&self) -> Vec<Key> {
        self.alerts.iter().map(|(id, _)| Key::id(ALERTS, &**id)).collect()
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mut told = Vec::new();
        for (id, event_id) in &self.alerts {
            let now = view.now();
            let found = self.found.iter().find(|condition| condition.id() == *id);
            let known = view.by_id::<Alert>(id);
            if found.is_none()
                && known.as_ref().is_some_and(|alert| self.unknown.iter().any(|rule| *rule == alert.rule))
            {
                continue;
            }
            let is_new = known.is_none();
            let Some(mut alert) = known.or_else(|| found.map(|condition| Alert::new(condition, now))) else { continue };
            let step = alert.heed(found, now);
            if step == AlertStep::Stay {
                continue;
            }
            if matches!(step, AlertStep::Fire | AlertStep::Resolve) {
                alert.events += 1;
                alert.tell(&self.channels, event_id, now);
                events::record(view, &event(&alert, event_id, now));
                told.extend(super::rules::Rule::named(&alert.rule).map(|rule| (rule.name, step)));
            }
            if is_new {
                view.insert(&alert);
            } else {
                view.update(&alert);
            }
        }
        told
    }
}

fn event(alert: &Alert, event_id: &str, now: DateTime) -> Event {
    let kind = if alert.state == AlertState::Firing { "AlertFired" } else { "AlertResolved" };
    Event {
        id: event_id.to_owned(),
        kind: kind.into(),
        subject_id: alert.id.clone(),
        user_id: String::new(),
        seq: alert.events,
        actor: Actor::system("alerts"),
        data: doc! {
            "rule": &alert.rule, "about": &alert.about, "severity": alert.severity.as_str(), "value": alert.value,
            "message": &alert.message,
        },
        at: now,
    }
}

fn of_channel<'a>(alert: &'a mut Alert, event_id: &str, channel: &str) -> Option<&'a mut News> {
    alert.news.iter_mut().find(|news| news.event_id == event_id && news.channel == channel)
}

/// Puts a post on record, unless it is made already.
pub(super) struct BeginPost {
    pub(super) alert_id: String,
    pub(super) event_id: String,
    pub(super) channel: &'static str,
    /// `sent_at` is this transaction's.
    pub(super) call: Call,
    pub(super) prepared: Prepared,
    pub(super) deadline: Duration,
    pub(super) closing_response_id: String,
}

impl Command for BeginPost {
    type Reply = Option<Box<(Logged, Call)>>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ALERTS, &*self.alert_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let now = view.now();
        let mut alert = view.by_id::<Alert>(&self.alert_id)?;
        let news = of_channel(&mut alert, &self.event_id, self.channel)?;
        if let Some(open) = &news.open_call {
            if after(open.sent_at, self.deadline + MARGIN) > now {
                return None; // Under way.
            }
            let response_id = self.closing_response_id.clone();
            let log = ProviderResponseLog::without_answer(response_id, open, ErrorClass::Retryable, now);
            audit::record_response(view, &log);
        }
        let call = Call { sent_at: now, attempt: news.tries + 1, ..self.call.clone() };
        news.open_call = Some(call.clone());
        news.tries += 1;
        let logged = audit::record_request(view, &call, self.prepared.clone());
        view.update(&alert);
        Some(Box::new((logged, call)))
    }
}

/// Puts on record what came of it. What is taken, or was tried in vain for too long, is no news any more.
pub(super) struct EndPost {
    pub(super) alert_id: String,
    pub(super) event_id: String,
    pub(super) channel: &'static str,
    pub(super) call: Call,
    pub(super) record: ResponseRecord,
    pub(super) verdict: Verdict,
    pub(super) response_id: String,
}

impl Command for EndPost {
    type Reply = ();

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ALERTS, &*self.alert_id), Key::id(ProviderResponseLog::COLLECTION, &*self.response_id)]
    }

    fn decide(&self, view: &mut View) {
        if view.by_id::<ProviderResponseLog>(&self.response_id).is_some() {
            return; // Written by an earlier submission.
        }
        let now = view.now();
        let mut alert = view.by_id::<Alert>(&self.alert_id);
        let is_taken = self.verdict.error_class.is_none();
        let mut late = true;
        if let Some(alert) = &mut alert {
            if let Some(news) = of_channel(alert, &self.event_id, self.channel)
                && news.open_call.as_ref().is_some_and(|open| open.request_ref_id == self.call.request_ref_id)
            {
                news.open_call = None;
                late = false;
            }
            let (event_id, channel) = (&self.event_id, self.channel);
            let is_over = |news: &News| {
                news.event_id == *event_id && news.channel == channel && (is_taken || news.tries >= TRIES_MAX)
            };
            alert.news.retain(|news| !is_over(news));
            view.update(&*alert);
        }
        let log =
            ProviderResponseLog::new(self.response_id.clone(), &self.call, &self.record, self.verdict.clone(), now);
        audit::record_response(view, &ProviderResponseLog { late, ..log });
    }
}
