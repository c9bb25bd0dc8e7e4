//! Consumers: effects of events that are written in the transaction that relays them.

use async_trait::async_trait;
use bson::{DateTime, Document};
use mongodb::{ClientSession, Database, error::Result};

/// Follows from events. There are few: what is done about single events is an [`super::EventHandler`].
#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// In statistics, metrics and logs.
    fn name(&self) -> &'static str;

    /// Whether it wants to see events of this type at all; asked before anything is read.
    fn wants(&self, kind: &str) -> bool;

    /// Writes what follows into the transaction. May run again with the same heads after a transaction that was not
    /// committed. Gives the queues to wake after the commit.
    async fn take(&self, db: &Database, session: &mut ClientSession, heads: &[EventHead]) -> Result<Vec<&'static str>>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHead {
    /// `evt_...`
    pub id: String,
    /// `OrderCreated`, ...
    pub kind: String,
    pub subject_id: String,
    pub user_id: String,
    /// The tenant in which it was made, where it was made in one.
    pub tenant_id: Option<String>,
    /// The checkout that its subject carries out.
    pub checkout_id: Option<String>,
    /// The buyer, where the event is of a checkout.
    pub buyer_id: Option<String>,
    /// Its number among the events of its subject.
    pub seq: i64,
    /// When its transaction was made.
    pub at: DateTime,
    /// The context of the trace in which it happened.
    pub trace: Option<String>,
}

impl EventHead {
    /// As an entry of the outbox names it; none where it has neither id nor type. What an older version did not write is
    /// empty.
    pub(super) fn read(head: &Document, at: DateTime) -> Option<Self> {
        let text = |field: &str| head.get_str(field).ok().map(str::to_owned);
        Some(Self {
            id: text("id")?,
            kind: text("type")?,
            subject_id: text("subjectId").unwrap_or_default(),
            user_id: text("userId").unwrap_or_default(),
            tenant_id: text("tenantId"),
            checkout_id: text("checkoutId"),
            buyer_id: text("buyerId"),
            seq: head.get("seq").and_then(|seq| seq.as_i64().or(seq.as_i32().map(i64::from))).unwrap_or_default(),
            at,
            trace: text("trace"),
        })
    }

    /// As its event names it.
    pub(super) fn of_event(event: &Document) -> Option<Self> {
        let mut head = event.clone();
        head.insert("id", event.get("_id").cloned());
        for field in ["tenantId", "checkoutId", "buyerId"] {
            head.insert(field, event.get_document("data").ok().and_then(|data| data.get(field).cloned()));
        }
        Self::read(&head, event.get_datetime("at").copied().unwrap_or(DateTime::MIN))
    }

    /// Whether an older version wrote it: the rest of it is in its event.
    pub(super) const fn is_short(&self) -> bool {
        self.subject_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_head_needs_id_and_type_and_may_lack_newer_fields() {
        let at = DateTime::from_millis(5);
        let full = doc! { "id": "evt_1", "type": "Tested", "subjectId": "ord_1", "userId": "usr_1", "seq": 2_i64 };
        let head = EventHead::read(&full, at).expect("a head");
        assert_eq!((&*head.subject_id, &*head.user_id, head.seq, head.is_short()), ("ord_1", "usr_1", 2, false));
        let short = EventHead::read(&doc! { "id": "evt_1", "type": "Tested" }, at).expect("a head");
        assert!(short.is_short() && short.seq == 0);
        for bad in [doc! {}, doc! { "id": "evt_1" }, doc! { "type": "Tested" }, doc! { "id": 1, "type": "Tested" }] {
            assert_eq!(EventHead::read(&bad, at), None);
        }
    }
}
