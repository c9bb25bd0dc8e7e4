//! Cache of recommendations in Redis. Without Redis they are computed each time.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    modules::events::{Event, EventHandler, EventHead, HandlerAttempt, HandlerError},
    platform::redis::Redis,
};

/// Longest age of a cached answer.
const FRESH_FOR: Duration = Duration::from_secs(600);
/// For so long after a purchase nothing is kept: what was being found then may not know of it. A search takes less, by far.
const UNSETTLED_FOR: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(super) struct Cache(Redis);

impl Cache {
    pub(super) const fn new(redis: Redis) -> Self {
        Self(redis)
    }

    fn key(&self, user_id: &str) -> String {
        self.0.key(&format!("recommendations:{user_id}"))
    }

    /// Products that were found, the best first.
    pub(super) async fn get(&self, user_id: &str) -> Option<Vec<String>> {
        let kept = self.0.run::<Option<String>>(redis::cmd("GET").arg(self.key(user_id))).await;
        // No text says that nothing may be kept now.
        serde_json::from_str(&kept.ok().flatten()?).ok()
    }

    /// Keeps them, where nothing is kept.
    pub(super) async fn put(&self, user_id: &str, ids: &[String]) {
        let Ok(text) = serde_json::to_string(ids) else { return };
        let mut set = redis::cmd("SET");
        set.arg(self.key(user_id)).arg(text).arg("NX").arg("PX").arg(FRESH_FOR.as_millis() as u64);
        let _ = self.0.run::<Option<String>>(&set).await;
    }

    async fn forget(&self, user_id: &str) {
        let mut set = redis::cmd("SET");
        set.arg(self.key(user_id)).arg("").arg("PX").arg(UNSETTLED_FOR.as_millis() as u64);
        // A Redis that is away holds nothing longer than it is fresh, and what the caller bought is left out of every answer.
        let _ = self.0.run::<Option<String>>(&set).await;
    }
}

/// Has what was found for a buyer forgotten when the buyer has bought something, or given it back.
#[derive(Clone, Debug)]
pub struct ForgetRecommendations(Cache);

impl ForgetRecommendations {
    /// In `redis`.
    #[must_use]
    pub const fn new(redis: Redis) -> Self {
        Self(Cache::new(redis))
    }
}

#[async_trait]
impl EventHandler for ForgetRecommendations {
    fn name(&self) -> &'static str {
        "forget-recommendations"
    }

    fn wants(&self, kind: &str) -> bool {
        matches!(kind, "CheckoutPaid" | "CheckoutCancelled")
    }

    /// To a merchant, whose server checks out for others, nothing is recommended.
    fn wants_one(&self, head: &EventHead) -> bool {
        head.buyer_id.as_ref() != Some(&head.user_id)
    }

    async fn handle(&self, event: &Event, _: &HandlerAttempt<'_>) -> Result<(), HandlerError> {
        let buyer_id = event.data.get_str("buyerId").map_err(|_| HandlerError::Invalid {
            code: "events.invalid_checkout",
            message: "The event names no buyer.".into(),
        })?;
        self.0.forget(buyer_id).await;
        Ok(())
    }
}
