//! Audit events of refused requests, rate-limited so that a flood of them fills neither the database nor hides other senders.
//! They are written outside of any transaction, since nothing else happens.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bson::Document;
use parking_lot::Mutex;

use super::{event::AuditEvent, store::AuditStore};
use crate::platform::{
    identity::Role,
    rate_limit::{Limit, LocalLimits},
};

/// Refusals of one kind of sender that a process records: a hundred at once, then ten a second. More of them are counted.
const OF_KIND: Limit = Limit { count: 100, period: Duration::from_secs(10) };
/// Those of one known sender: a tenth of it. More at once than the wrong passwords that an account allows.
const OF_SENDER: Limit = Limit { count: 30, period: Duration::from_secs(30) };
/// Senders of a kind whose refusals are counted while there is no room for them; those of more are counted together.
const SENDERS_MAX: usize = 4_096;
/// These.
const OTHERS: &str = "others";
/// A refusal that can't be written by then is lost: nothing waits for it.
const WRITING_MAX: Duration = Duration::from_secs(10);

/// Senders of refused requests. Each kind has room of its own, so strangers can't hide what users try; and since anybody can become a
/// merchant, merchants can't hide what staff try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender<'a> {
    /// Nobody knows who.
    Stranger,
    /// This merchant or customer.
    Merchant(&'a str),
    /// This user of another role.
    Staff(&'a str),
}

impl<'a> Sender<'a> {
    #[must_use]
    pub const fn user(user_id: &'a str, role: Role) -> Self {
        if role.is_staff() { Self::Staff(user_id) } else { Self::Merchant(user_id) }
    }
}

/// Records refusals. Cloning shares the room: one per process.
#[derive(Clone, Debug)]
pub struct Refusals {
    store: AuditStore,
    limits: Arc<LocalLimits>,
    /// Refusals that were not recorded since the last one that was, by kind and sender.
    suppressed: Arc<Mutex<HashMap<&'static str, HashMap<String, i64>>>>,
}

impl Refusals {
    #[must_use]
    pub fn new(store: AuditStore) -> Self {
        Self { store, limits: Arc::default(), suppressed: Arc::default() }
    }

    /// Writes down that `sender` was turned away, while there is room; never in the way of the answer. `after` of the event
    /// says how many were left out before it (`suppressedBefore`), where any were.
    pub fn note(&self, sender: Sender<'_>, mut event: AuditEvent) {
        let Some(suppressed) = self.take(sender) else {
            metrics::counter!("waybill_audit_denied_suppressed_total").increment(1);
            return;
        };
        if suppressed > 0 {
            event.after.get_or_insert_with(Document::new).insert("suppressedBefore", suppressed);
        }
        let store = self.store.clone();
        tokio::spawn(async move {
            let writing = tokio::time::timeout(WRITING_MAX, store.record(&event));
            if !matches!(writing.await, Ok(Ok(()))) {
                tracing::warn!(action = event.action, "a refusal could not be written down");
            }
        });
    }

    /// Takes room for one; gives how many of this sender's were left out since its last one.
    fn take(&self, sender: Sender<'_>) -> Option<i64> {
        let (kind, id) = match sender {
            Sender::Stranger => ("stranger", None),
            Sender::Merchant(id) => ("merchant", Some(id)),
            Sender::Staff(id) => ("staff", Some(id)),
        };
        let sender = id.map_or_else(|| kind.to_owned(), |id| format!("{kind}/{id}"));
        let mut counters = vec![(kind, OF_KIND)];
        counters.extend(id.map(|_| (&*sender, OF_SENDER)));
        let mut suppressed = self.suppressed.lock();
        // No kind takes the room of another. Of one that has used its own up, further senders are counted together.
        let own = suppressed.entry(kind).or_default();
        if self.limits.take(&counters).is_ok() {
            return Some(own.remove(&sender).or_else(|| own.remove(OTHERS)).unwrap_or_default());
        }
        let counted = if own.len() < SENDERS_MAX || own.contains_key(&sender) { sender } else { OTHERS.to_owned() };
        *own.entry(counted).or_default() += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusals() -> Refusals {
        let client = mongodb::Client::with_uri_str("mongodb://127.0.0.1:1").await.expect("a well-formed URI");
        Refusals::new(AuditStore::new(client.database("nowhere")))
    }

    fn recorded(refusals: &Refusals, sender: Sender<'_>, tries: usize) -> usize {
        (0..tries).filter(|_| refusals.take(sender).is_some()).count()
    }

    #[tokio::test]
    async fn one_noisy_user_does_not_hide_another() {
        let refusals = refusals().await;
        let (noisy, quiet) = (Sender::Merchant("usr_noisy"), Sender::Merchant("usr_quiet"));
        assert!((30..40).contains(&recorded(&refusals, noisy, 500)));
        assert_eq!(recorded(&refusals, quiet, 20), 20);
        assert!(refusals.suppressed.lock()["merchant"]["merchant/usr_noisy"] >= 460);
        refusals.suppressed.lock().get_mut("merchant").expect("one").insert("merchant/usr_quiet".into(), 7);
        assert_eq!(refusals.take(quiet), Some(7), "the next one says how many it stands for");
        assert_eq!(refusals.take(quiet), Some(0));
    }

    #[tokio::test]
    async fn strangers_merchants_and_staff_have_rooms_of_their_own() {
        let refusals = refusals().await;
        assert!((100..110).contains(&recorded(&refusals, Sender::Stranger, 500)));
        let names: Vec<String> = (0..500).map(|n| format!("usr_{n}")).collect();
        let merchants = names.iter().filter(|name| refusals.take(Sender::user(name, Role::Merchant)).is_some());
        assert!((100..110).contains(&merchants.count()), "all together have a bound too");
        for role in [Role::Auditor, Role::Finance, Role::Admin] {
            assert_eq!(recorded(&refusals, Sender::user("usr_staff", role), 10), 10, "{role:?}");
        }
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let refusals = refusals().await;
        for n in 0..SENDERS_MAX + 200 {
            refusals.take(Sender::Merchant(&format!("usr_{n}")));
        }
        assert!(refusals.suppressed.lock()["merchant"].len() == SENDERS_MAX + 1);
    }
}
