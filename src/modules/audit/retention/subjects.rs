//! Orders and users that a record is about, by which legal holds cover it.

use std::collections::{HashMap, HashSet};

use bson::{Document, doc};
use futures_util::StreamExt;
use mongodb::{ClientSession, Database, error::Result};

use super::LEGAL_HOLDS;
use crate::platform::ids::is_id;

/// Fields that name an order or a user: the order of a call, the subject of an event, the resource of an audit event, the reference of a
/// ledger transaction. The actor and the order that was read (`after.orderId`) count too.
const FIELDS: [&str; 5] = ["orderId", "userId", "subjectId", "resourceId", "referenceId"];

/// The fields to read of a record to know its subjects.
pub(super) fn projection() -> Document {
    let mut fields: Document = FIELDS.iter().map(|field| ((*field).to_owned(), 1.into())).collect();
    fields.insert("actor.id", 1);
    fields.insert("after.orderId", 1);
    fields
}

/// Ids of the orders and users that a record is about.
pub(super) fn subjects(record: &Document) -> impl Iterator<Item = &str> {
    let actor = record.get_document("actor").ok().and_then(|actor| actor.get_str("id").ok());
    let read = record.get_document("after").ok().and_then(|after| after.get_str("orderId").ok());
    let named = FIELDS.iter().filter_map(|field| record.get_str(field).ok()).chain(read).chain(actor);
    // Later bookings for an order refer to it as `ord_...#2`.
    named.map(|id| id.split('#').next().unwrap_or_default()).filter(|id| is_id("ord", id) || is_id("usr", id))
}

/// The records that are covered by holds in force, as this transaction sees them: by position, the id of a hold.
pub(super) async fn held(
    db: &Database,
    session: &mut ClientSession,
    records: &[Document],
) -> Result<HashMap<usize, String>> {
    let named: HashSet<&str> = records.iter().flat_map(subjects).collect();
    let in_force = doc! { "inForce": { "$in": named.into_iter().collect::<Vec<_>>() } };
    let holds = db.collection::<Document>(LEGAL_HOLDS);
    let mut found = holds.find(in_force).projection(doc! { "inForce": 1 }).session(&mut *session).await?;
    let mut by_subject = HashMap::new();
    let mut stream = found.stream(session);
    while let Some(hold) = stream.next().await.transpose()? {
        if let (Ok(subject), Ok(id)) = (hold.get_str("inForce"), hold.get_str("_id")) {
            by_subject.insert(subject.to_owned(), id.to_owned());
        }
    }
    let covered = |record: &Document| subjects(record).find_map(|subject| by_subject.get(subject).cloned());
    Ok(records.iter().enumerate().filter_map(|(at, record)| Some((at, covered(record)?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_about_every_order_and_user_it_names() {
        let (order, user, admin) =
            (format!("ord_{}", "1".repeat(32)), format!("usr_{}", "2".repeat(32)), "3".repeat(32));
        let all = |record: Document| subjects(&record).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(all(doc! { "orderId": &order, "userId": &user, "jobId": "job_1" }), [order.clone(), user.clone()]);
        assert_eq!(all(doc! { "orderId": null, "resourceId": &order, "userId": null }), std::slice::from_ref(&order));
        assert_eq!(all(doc! { "referenceId": format!("{order}#2") }), std::slice::from_ref(&order));
        let read = doc! { "resourceId": "/audit/events", "actor": { "id": format!("usr_{admin}"), "kind": "user" } };
        assert_eq!(all(read), [format!("usr_{admin}")]);
        let sub_resource =
            doc! { "resourceId": "req_1", "userId": &user, "after": { "orderId": &order, "route": "/" } };
        assert_eq!(all(sub_resource), [user.clone(), order.clone()]);
        assert_eq!(all(doc! { "userId": 1, "orderId": "ord_1", "actor": "usr", "after": null }), Vec::<String>::new());
    }
}
