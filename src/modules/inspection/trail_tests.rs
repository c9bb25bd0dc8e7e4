use bson::{DateTime, bson, doc};

use super::*;
use crate::platform::identity::Actor;

fn event(id: &str, subject_id: &str, data: bson::Document) -> Event {
    Event {
        id: id.into(),
        kind: "OrderCreated".into(),
        subject_id: subject_id.into(),
        seq: 1,
        user_id: "usr_1".into(),
        actor: Actor::worker("wrk_1", "rqs_1"),
        data,
        at: DateTime::from_millis(1),
    }
}

fn walked(ids: &[&str], ended_at: Option<&str>) -> Walked<AuditEvent> {
    let found = ids.iter().map(|id| told(event(id, "ord_1", doc! {}))).collect();
    Walked { found, ended_at: ended_at.map(str::to_owned) }
}

fn page(books: [Walked<AuditEvent>; 2], direction: Direction, limit: usize) -> (Vec<String>, Option<String>, bool) {
    let page = merged(books, direction, limit);
    (page.records.into_iter().map(|record| record.id).collect(), page.next, page.partial)
}

fn expected(ids: &[&str], next: Option<&str>, partial: bool) -> (Vec<String>, Option<String>, bool) {
    (ids.iter().map(|id| (*id).to_owned()).collect(), next.map(str::to_owned), partial)
}

#[test]
fn two_books_are_one_in_the_order_of_time() {
    let books = || [walked(&["aud_5", "aud_3", "aud_1"], None), walked(&["evt_4", "evt_3", "evt_2"], None)];
    let all = ["aud_5", "evt_4", "evt_3", "aud_3", "evt_2", "aud_1"];
    assert_eq!(page(books(), Direction::Newest, 6), expected(&all, None, false));
    assert_eq!(page(books(), Direction::Newest, 3), expected(&all[..3], Some("evt_3"), false));
    let backwards: Vec<&str> = all.iter().rev().copied().collect();
    assert_eq!(page(books(), Direction::Oldest, 9), expected(&backwards, None, false));
    assert_eq!(page([walked(&[], None), walked(&[], None)], Direction::Newest, 1), expected(&[], None, false));
}

#[test]
fn nothing_is_shown_from_beyond_where_looking_ended_in_either_book() {
    let books = || [walked(&["aud_9"], Some("aud_6")), walked(&["evt_8", "evt_6", "evt_5"], None)];
    let shown = expected(&["aud_9", "evt_8", "evt_6"], Some("aud_6"), true);
    assert_eq!(page(books(), Direction::Newest, 9), shown, "evt_6 comes before aud_6");
    assert_eq!(page(books(), Direction::Newest, 2), expected(&["aud_9", "evt_8"], Some("evt_8"), false));
    let both = [walked(&[], Some("aud_6")), walked(&["evt_8"], Some("evt_7"))];
    assert_eq!(page(both, Direction::Newest, 9), expected(&["evt_8"], Some("evt_7"), true), "the nearer end counts");
    let both = [walked(&[], Some("aud_6")), walked(&["evt_5", "evt_6"], Some("evt_7"))];
    assert_eq!(page(both, Direction::Oldest, 9), expected(&["evt_5"], Some("aud_6"), true), "evt_6 follows aud_6");
}

#[test]
fn what_no_record_of_a_book_can_be_like_is_not_looked_for_there() {
    let filter = |action: Option<&str>, outcome| TrailFilter {
        action: action.map(str::to_owned),
        outcome,
        ..TrailFilter::default()
    };
    for (filter, audit, events) in [
        (filter(None, None), true, true),
        (filter(None, Some(AuditOutcome::Done)), true, true),
        (filter(None, Some(AuditOutcome::Denied)), true, false),
        (filter(None, Some(AuditOutcome::Failed)), true, false),
        (filter(Some("request.read"), None), true, false),
        (filter(Some("OrderCreated"), None), false, true),
        (filter(Some("OrderCreated"), Some(AuditOutcome::Denied)), false, false),
    ] {
        assert_eq!(
            (filter.through_audit().is_some(), filter.through_events().is_some()),
            (audit, events),
            "{filter:?}"
        );
    }
    let done = filter(None, Some(AuditOutcome::Done)).through_events().expect("events are done");
    assert!(done.rest.is_empty(), "all events are: {:?}", done.rest);
}

#[test]
fn an_event_is_something_that_was_done() {
    let data = doc! { "state": "rejected", "reason": "A forgery.", "submission": 1 };
    let shown = told(event("evt_1", "kyc_1", data));
    assert_eq!(
        (&*shown.action, &*shown.resource_type, &*shown.resource_id),
        ("OrderCreated", "kyc_application", "kyc_1")
    );
    assert_eq!((shown.reason.as_deref(), shown.outcome), (Some("A forgery."), AuditOutcome::Done));
    assert_eq!(shown.after, bson!({ "state": "rejected", "submission": 1 }).as_document().cloned());
    assert_eq!((resource_type("ord_1"), resource_type("top_1"), resource_type("new_1")), ("order", "topup", "new"));
    assert_eq!(told(event("evt_1", "ord_1", doc! { "reason": bson::Bson::Null })).reason, None);
}
