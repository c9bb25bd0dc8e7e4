//! Heeds what was read, and tells whoever is to be told.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::{
    commands::{BeginPost, EndPost, Heed, TRIES_MAX},
    model::{Alert, AlertStep, AlertStore, News},
    posting::{Channel, OPERATION, PROVIDER, judge},
    rules::{Readings, judge as judge_readings},
};
use crate::{
    modules::audit::Call,
    platform::{
        batch::Lane,
        clock::Clock,
        error::AppError,
        exchange::{Answer, ExchangeClient, NotSent, Reply},
        ids::new_id,
        singleton::Singleton,
    },
};

/// How often somebody looks.
pub const EVERY: Duration = Duration::from_secs(60);
/// Tries to write down the outcome of a post.
const END_TRIES: u32 = 5;

/// The outcome of news at a channel. Of one that is not configured here, or not any more, the latest waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChannelResult {
    Taken,
    /// It answered, and not well; or somebody else tells it just now.
    Refused,
    NotAnswered,
}

/// Looks after alerts. One per process; the one whose turn it is looks for all.
#[derive(Clone)]
pub struct AlertWatch {
    /// Reads.
    pub store: AlertStore,
    /// Writes.
    pub lane: Lane,
    /// The right to look.
    pub lease: Singleton,
    /// Time.
    pub clock: Clock,
    /// Posts.
    pub exchange: ExchangeClient,
    /// Receivers.
    pub channels: Vec<Channel>,
    /// Where users reach the service, so that whoever is told knows which one it is.
    pub public_url: String,
}

impl AlertWatch {
    /// Whether it is this process's turn; the others' comes when this one was silent for longer than it looks.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn is_on_duty(&self) -> mongodb::error::Result<bool> {
        self.lease.hold().await
    }

    /// Heeds what was read, and tells whoever is to be told; gives how many alerts fired or were resolved. Two processes that do so at once tell
    /// nobody twice.
    ///
    /// # Errors
    /// The database is away, or took too long.
    pub async fn heed(&self, readings: Readings) -> Result<usize, AppError> {
        let (found, unknown) = judge_readings(readings);
        let open = self.store.open().await?;
        let ids: BTreeSet<String> =
            open.iter().map(|alert| alert.id.clone()).chain(found.iter().map(super::rules::Condition::id)).collect();
        let mut changed = 0;
        if !ids.is_empty() {
            let alerts = ids.into_iter().map(|id| (id, new_id("evt"))).collect();
            let channels = self.channels.iter().map(|channel| channel.name).collect();
            let told = self.lane.submit(Heed { alerts, found, unknown, channels }).await?;
            for (rule, step) in &told {
                let is_firing = *step == AlertStep::Fire;
                tracing::warn!(rule, is_firing, "an alert has changed");
            }
            changed = told.len();
        }
        let open = self.store.open().await?;
        for told in join_all(self.channels.iter().map(|channel| self.tell_all(channel, &open))).await {
            told?;
        }
        Ok(changed)
    }

    /// Tells a channel what it has not taken yet, until it does not answer: then it is asked again with the next look, and so it takes
    /// no longer than one deadline.
    async fn tell_all(&self, channel: &Channel, open: &[Alert]) -> Result<(), AppError> {
        let first = |alert: &Alert| alert.news.iter().position(|news| news.channel == channel.name);
        let mut waiting: Vec<(&Alert, usize)> = open.iter().filter_map(|alert| Some((alert, first(alert)?))).collect();
        let since = Instant::now();
        // The same one must not be in the way of all others each time.
        waiting.sort_by_key(|(alert, index)| alert.news[*index].tries);
        for (alert, index) in waiting {
            if since.elapsed() > self.exchange.deadline() {
                break;
            }
            // What is resolved is told after what fired, or the receiver would keep it for ever.
            for news in alert.news[index..].iter().filter(|news| news.channel == channel.name) {
                match self.tell(channel, alert, news).await? {
                    ChannelResult::Taken => {}
                    ChannelResult::Refused => break,
                    ChannelResult::NotAnswered => return Ok(()),
                }
            }
        }
        Ok(())
    }

    fn call(&self, alert: &Alert, channel: &Channel) -> Call {
        Call {
            request_ref_id: new_id("req"),
            order_id: None,
            user_id: String::new(),
            client_order_id: None,
            resource_id: Some(alert.id.clone()),
            provider: PROVIDER.into(),
            operation: OPERATION.into(),
            attempt: 0,
            job_id: String::new(),
            worker_id: String::new(),
            account_id: channel.name.into(),
            correlation_id: alert.id.clone(),
            sent_at: self.clock.now(),
        }
    }

    async fn tell(&self, channel: &Channel, alert: &Alert, news: &News) -> Result<ChannelResult, AppError> {
        let begin = BeginPost {
            alert_id: alert.id.clone(),
            event_id: news.event_id.clone(),
            channel: channel.name,
            call: self.call(alert, channel),
            prepared: channel.prepared(alert, news, &self.public_url),
            deadline: self.exchange.deadline(),
            closing_response_id: new_id("res"),
        };
        let Some(begun) = self.lane.submit(begin).await? else { return Ok(ChannelResult::Refused) };
        let (logged, call) = *begun;
        let since = Instant::now();
        let body = logged.outbound().body.as_ref().map(ToString::to_string).unwrap_or_default();
        let Reply { answer, record } = match channel.sign(&news.event_id, self.clock.now(), &body) {
            Some(credentials) => self.exchange.send(&logged, credentials, since).await,
            None => Reply::not_sent(NotSent::NoCredentials),
        };
        let verdict = judge(&answer);
        metrics::histogram!("waybill_provider_call_seconds",
            "provider" => PROVIDER, "operation" => OPERATION, "outcome" => verdict.outcome)
        .record(record.latency_ms as f64 / 1_000.0);
        if let Some(why) = &verdict.error_message {
            let gives_up = call.attempt >= TRIES_MAX;
            tracing::error!(alert.id, channel = channel.name, why, gives_up, "an alert could not be posted");
        }
        let response_id = new_id("res");
        for _ in 0..END_TRIES {
            let end = EndPost {
                alert_id: alert.id.clone(),
                event_id: news.event_id.clone(),
                channel: channel.name,
                call: call.clone(),
                record: record.clone(),
                verdict: verdict.clone(),
                response_id: response_id.clone(),
            };
            if self.lane.submit(end).await.is_ok() {
                break;
            }
        }
        Ok(match (&verdict.error_class, &answer) {
            (None, _) => ChannelResult::Taken,
            (Some(_), Answer::Http { .. }) => ChannelResult::Refused,
            (Some(_), Answer::Lost(_) | Answer::NotSent(_)) => ChannelResult::NotAnswered,
        })
    }
}
