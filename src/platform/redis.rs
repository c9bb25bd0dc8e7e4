//! Redis, for what may be lost: wake-ups and counters. Nobody waits long for it, and nobody fails because of it: after a
//! failure everybody goes on without it, and one probe at a time, which nobody waits for, finds out when it is back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    Client, FromRedisValue, IntoConnectionInfo, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig, PubSub},
    io::tcp::TcpSettings,
};

/// How long one command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);
/// Between two probes of a Redis that is away.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A connection on which nothing is acknowledged for this long is given up by the kernel: on one that swallows packets a
/// probe would never learn that Redis is back.
const SWALLOWED_AFTER: Duration = Duration::from_secs(1);
/// A Redis that comes and goes is complained of this often.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Redis can't be used now; go on without it.
#[derive(Debug, thiserror::Error)]
#[error("redis is away")]
pub struct RedisUnavailable(#[source] pub Option<RedisError>);

/// A handle that is cheap to clone and connects when it is first used.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    manager: ConnectionManager,
    prefix: Arc<str>,
    state: Arc<ConnectionState>,
}

#[derive(Debug)]
struct ConnectionState {
    started: Instant,
    away: AtomicBool,
    /// When it was complained of last; 0 for never.
    warned_ms: AtomicI64,
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
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(SWALLOWED_AFTER);
        let client = Client::open(url.into_connection_info()?.set_tcp_settings(tcp))?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(COMMAND_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        let state =
            ConnectionState { started: Instant::now(), away: AtomicBool::new(false), warned_ms: AtomicI64::new(0) };
        Ok(Self { client, manager, prefix: prefix.into(), state: Arc::new(state) })
    }

    /// The full name of a key or channel.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Runs one command.
    ///
    /// # Errors
    /// [`RedisUnavailable`], at once while Redis is known to be away, else within half a second.
    pub async fn run<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, RedisUnavailable> {
        self.guard(async { command.query_async(&mut self.manager.clone()).await }).await
    }

    /// Runs a script.
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn script<T: FromRedisValue>(&self, script: &redis::ScriptInvocation<'_>) -> Result<T, RedisUnavailable> {
        self.guard(async { script.invoke_async(&mut self.manager.clone()).await }).await
    }

    /// Opens a connection for subscribing.
    ///
    /// # Errors
    /// [`RedisUnavailable`] when there is none within two seconds.
    pub async fn subscribe(&self, channel: &str) -> Result<PubSub, RedisUnavailable> {
        let connect = async {
            let mut subscription = self.client.get_async_pubsub().await?;
            subscription.subscribe(self.key(channel)).await?;
            Ok::<_, RedisError>(subscription)
        };
        match tokio::time::timeout(Duration::from_secs(2), connect).await {
            Ok(Ok(subscription)) => Ok(subscription),
            Ok(Err(error)) => Err(RedisUnavailable(Some(error))),
            Err(_) => Err(RedisUnavailable(None)),
        }
    }

    /// Whether it answers now.
    ///
    /// # Errors
    /// [`RedisUnavailable`].
    pub async fn ping(&self) -> Result<(), RedisUnavailable> {
        self.run::<String>(&redis::cmd("PING")).await.map(drop)
    }

    async fn guard<T>(&self, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisUnavailable> {
        if self.state.away.load(Ordering::Relaxed) {
            return Err(RedisUnavailable(None));
        }
        let error = match tokio::time::timeout(COMMAND_TIMEOUT * 2, work).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        if !self.state.away.swap(true, Ordering::Relaxed) {
            self.warn(error.as_ref());
            tokio::spawn(self.clone().probe());
        }
        Err(RedisUnavailable(error))
    }

    fn warn(&self, error: Option<&RedisError>) {
        let now_ms = self.state.started.elapsed().as_millis() as i64 + 1;
        let warned_ms = self.state.warned_ms.load(Ordering::Relaxed);
        if warned_ms == 0 || now_ms - warned_ms > WARN_EVERY.as_millis() as i64 {
            self.state.warned_ms.store(now_ms, Ordering::Relaxed);
            tracing::warn!(error = error.map(tracing::field::display), "redis is away; going on without it");
        }
    }

    /// Asks now and then until it answers. There is one of these while Redis is away.
    async fn probe(self) {
        loop {
            tokio::time::sleep(PROBE_EVERY).await;
            let (mut connection, ping) = (self.manager.clone(), redis::cmd("PING"));
            let asking = ping.query_async::<String>(&mut connection);
            if let Ok(Ok(_)) = tokio::time::timeout(COMMAND_TIMEOUT * 2, asking).await {
                break self.state.away.store(false, Ordering::Relaxed);
            }
        }
    }
}
