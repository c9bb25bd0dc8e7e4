//! Redis, for what may be lost: wake-ups and counters. Nobody waits long for it, and nobody fails
//! because of it: after a failure it is left alone for a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    Client, FromRedisValue, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig, PubSub},
};

/// How long one command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);
/// How long Redis is left alone after a failure.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Redis can't be used now; go on without it.
#[derive(Debug, thiserror::Error)]
#[error("redis is away")]
pub struct Away(#[source] pub Option<RedisError>);

/// A handle that is cheap to clone and connects when it is first used.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    manager: ConnectionManager,
    prefix: Arc<str>,
    started: Instant,
    resting_until_ms: Arc<AtomicI64>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Redis {
    /// Makes a handle; `prefix` stands before every key and channel. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the URL can't be read.
    pub fn new(url: &str, prefix: &str) -> Result<Self, RedisError> {
        let client = Client::open(url)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(COMMAND_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok(Self { client, manager, prefix: prefix.into(), started: Instant::now(), resting_until_ms: Arc::default() })
    }

    /// The full name of a key or channel.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Runs one command.
    ///
    /// # Errors
    /// [`Away`], at once while Redis is left alone after a failure, else within 250 ms.
    pub async fn run<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Away> {
        self.guard(async { command.query_async(&mut self.manager.clone()).await }).await
    }

    /// Runs a script.
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn script<T: FromRedisValue>(&self, script: &redis::ScriptInvocation<'_>) -> Result<T, Away> {
        self.guard(async { script.invoke_async(&mut self.manager.clone()).await }).await
    }

    /// Opens a connection for subscribing.
    ///
    /// # Errors
    /// [`Away`] when there is none within two seconds.
    pub async fn subscribe(&self, channel: &str) -> Result<PubSub, Away> {
        let connect = async {
            let mut subscription = self.client.get_async_pubsub().await?;
            subscription.subscribe(self.key(channel)).await?;
            Ok::<_, RedisError>(subscription)
        };
        match tokio::time::timeout(Duration::from_secs(2), connect).await {
            Ok(Ok(subscription)) => Ok(subscription),
            Ok(Err(error)) => Err(Away(Some(error))),
            Err(_) => Err(Away(None)),
        }
    }

    /// Whether it answers now.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn ping(&self) -> Result<(), Away> {
        self.run::<String>(&redis::cmd("PING")).await.map(drop)
    }

    async fn guard<T>(&self, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, Away> {
        let now_ms = self.started.elapsed().as_millis() as i64;
        if now_ms < self.resting_until_ms.load(Ordering::Relaxed) {
            return Err(Away(None));
        }
        let outcome = tokio::time::timeout(COMMAND_TIMEOUT * 2, work).await;
        let error = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let until = self.started.elapsed().as_millis() as i64 + REST_AFTER_FAILURE.as_millis() as i64;
        if self.resting_until_ms.swap(until, Ordering::Relaxed) + 60_000 < until {
            tracing::warn!(error = error.as_ref().map(tracing::field::display), "redis is away; going on without it");
        }
        Err(Away(error))
    }
}
