//! Creating and cancelling, decided over a view without a database.

use bson::Document;

use super::{
    charging_tests::quote,
    commands::{CancelOrder, CreateOrder, OrderReply},
    error::OrderError,
    flow::OrderJobKind,
    flow_tests::{
        NOW, active_job, before_now, cancellation, carrier, detail, fresh_job, order, providers, shipment, uncertain,
    },
    model::{Cancellation, CancellationStatus, Order, OrderStatus, ProviderSyncStatus, fingerprint},
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        events::{Actor, EVENTS},
        kyc::KycGate,
        providers::{Detail, Service, Shipment},
        queue::{Job, JobEnd, JobError, JobState},
        wallet::{LedgerRefusal, Wallet},
    },
    platform::{
        batch::{Command, View},
        clock::after,
        error::FieldError,
        money::{Currency, Money},
    },
};

/// Decides; what the test has not put there is absent.
pub(super) fn decide<C: Command>(view: &mut View, command: &C) -> C::Reply {
    command.decide(view)
}

/// A view in which an order and its jobs were read.
pub(super) fn view_of(order: &Order, jobs: &[&Job]) -> View {
    let mut view = rich();
    view.put_read(order);
    jobs.iter().for_each(|job| view.put_read(*job));
    view
}

pub(super) fn appended(view: &View, collection: &str) -> Vec<Document> {
    view.appended_to(collection).map(|raw| Document::try_from(raw.clone()).expect("a document")).collect()
}

/// Types of the events that a view would append.
pub(super) fn event_types(view: &View) -> Vec<String> {
    appended(view, EVENTS).iter().map(|event| event.get_str("type").expect("a type").to_owned()).collect()
}

/// A job that a view has read or would insert.
pub(super) fn find_job(view: &View, id: &str) -> Option<Job> {
    view.by_id(id)
}

fn merchant(id: &str) -> Actor {
    let (role, address, request_id) = (Some("merchant".into()), Some("192.0.2.1".into()), Some("rqs_cancel".into()));
    Actor { kind: "user".into(), id: id.into(), role, address, request_id, key_id: None }
}

pub(super) fn create(number: u32) -> CreateOrder {
    CreateOrder {
        gate: KycGate::new(false),
        user_id: "usr_1".into(),
        tenant_id: None,
        client_order_id: "c-1001".into(),
        provider: "parcelx",
        detail: detail(),
        quote: Some(quote()),
        contradictions: Vec::new(),
        part_of: None,
        fingerprint: fingerprint("parcelx", &detail()),
        actor: merchant("usr_1"),
        correlation_id: format!("rqs_{number}"),
        queue: carrier().create,
        own_account: false,
        order_id: format!("ord_{number}"),
        job_id: format!("job_{number}"),
        event_id: format!("evt_{number}"),
    }
}

fn create_of_other_meaning(number: u32) -> CreateOrder {
    let detail = Detail::Shipment(Shipment { service: Service::Air, ..shipment() });
    CreateOrder { fingerprint: fingerprint("parcelx", &detail), detail, ..create(number) }
}

fn cancel(number: u32) -> CancelOrder {
    CancelOrder {
        user_id: "usr_1".into(),
        client_order_id: "c-1001".into(),
        reason: Some("Out of stock".into()),
        actor: merchant("usr_1"),
        correlation_id: "rqs_cancel".into(),
        providers: providers(),
        job_id: format!("job_cancel_{number}"),
        event_ids: [format!("evt_{number}a"), format!("evt_{number}b")],
    }
}

/// A view in which the merchants of these tests have money.
pub(super) fn rich() -> View {
    let mut view = View::new(NOW);
    for user_id in ["usr_1", "usr_2"] {
        view.put_read(&wallet(user_id, 1_000_000));
    }
    view
}

fn wallet(user_id: &str, available: i64) -> Wallet {
    Wallet {
        id: Wallet::id_of(user_id, Currency::INR),
        user_id: user_id.into(),
        currency: Currency::INR,
        available,
        version: 1,
        last_at: NOW,
        created_at: NOW,
    }
}

/// The reply in a word, and the id of the order that it names.
pub(super) fn created(reply: Result<OrderReply, OrderError>) -> (&'static str, String) {
    match reply {
        Ok(OrderReply { order, replayed, .. }) => (if replayed { "replay" } else { "new" }, order.id),
        Err(OrderError::IdempotencyMismatch) => ("mismatch", String::new()),
        Err(OrderError::Unpaid(_)) => ("unpaid", String::new()),
        Err(OrderError::NotVerified(_)) => ("not verified", String::new()),
        Err(other) => panic!("{other}"),
    }
}

/// The order whose cancellation was asked for now, and the queue to wake.
fn asked(reply: Result<OrderReply, OrderError>) -> Option<(Order, Option<&'static str>)> {
    reply.ok().filter(|reply| !reply.replayed).map(|reply| (reply.order, reply.wake))
}

fn replayed(reply: Result<OrderReply, OrderError>) -> Option<Order> {
    reply.ok().filter(|reply| reply.replayed).map(|reply| reply.order)
}

#[test]
fn an_order_is_written_with_its_job_and_its_event() {
    let mut view = rich();
    assert_eq!(created(decide(&mut view, &create(1))), ("new", "ord_1".into()));
    let stored = view.find::<Order>(&Order::key("usr_1", "c-1001")).expect("the order");
    assert_eq!(stored, view.by_id("ord_1").expect("the same order by its id"));
    assert_eq!(
        (stored.status, stored.provider_sync_status, &*stored.provider, &*stored.job_id, stored.attempts),
        (OrderStatus::Created, ProviderSyncStatus::Pending, "parcelx", "job_1", 0)
    );
    assert_eq!((stored.created_at, stored.updated_at, &stored.detail), (NOW, NOW, &detail()));
    assert_eq!(stored.order_number.len(), 14);
    let job = find_job(&view, "job_1").expect("the job");
    assert!(job.never_attempted());
    assert_eq!(
        (&*job.queue, &*job.kind, job.run_at, &*job.correlation_id),
        ("parcelx-orders-queue", "create-order", NOW, "rqs_1")
    );
    assert_eq!(job.payload, bson::doc! { "orderId": "ord_1" }, "ids only");
    let events = appended(&view, EVENTS);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].get_str("_id").expect("an id"), "evt_1");
    assert_eq!(events[0].get_str("type").expect("a type"), "OrderCreated");
    assert_eq!(events[0].get_str("subjectId").expect("a subject"), "ord_1");
    assert_eq!(events[0].get_document("actor").expect("an actor").get_str("role").expect("a role"), "merchant");
}

#[test]
fn of_creates_with_one_key_in_one_batch_the_first_wins() {
    let mut view = rich();
    let other_user = CreateOrder { user_id: "usr_2".into(), ..create_of_other_meaning(4) };
    let other_id = CreateOrder { client_order_id: "c-1002".into(), ..create_of_other_meaning(5) };
    for (command, reply) in [
        (create(1), ("new", "ord_1")),
        (create(2), ("replay", "ord_1")),
        (create_of_other_meaning(3), ("mismatch", "")),
        (other_user, ("new", "ord_4")),
        (other_id, ("new", "ord_5")),
    ] {
        assert_eq!(created(decide(&mut view, &command)), (reply.0, reply.1.to_owned()), "{}", command.order_id);
    }
    assert_eq!(event_types(&view), ["OrderCreated"; 3]);
    let jobs = [1, 2, 3, 4, 5].map(|number| find_job(&view, &format!("job_{number}")).is_some());
    assert_eq!(jobs, [true, false, false, true, true]);
}

#[test]
fn a_stored_order_is_answered_as_it_stands() {
    let moved_on = Order { status: OrderStatus::Confirmed, attempts: 3, ..order() };
    let before_change = Order { fingerprint_version: 0, fingerprint: "of another code".into(), ..moved_on.clone() };
    // As it was stored when text was taken as it came.
    let mut typed = shipment();
    typed.consignee.name = format!(" {} ", typed.consignee.name);
    typed.pickup.line2 = typed.pickup.line2.or_else(|| Some(" ".into()));
    let mut as_typed = Order { detail: Detail::Shipment(typed), ..moved_on.clone() };
    as_typed.fingerprint = fingerprint("parcelx", &as_typed.detail);
    for (stored, command, reply) in [
        (&as_typed, create(2), "replay"),
        (&as_typed, create_of_other_meaning(2), "mismatch"),
        (&moved_on, create(2), "replay"),
        (&moved_on, create_of_other_meaning(2), "mismatch"),
        (&before_change, create(2), "replay"),
        (&before_change, create_of_other_meaning(2), "mismatch"),
    ] {
        let mut view = view_of(stored, &[]);
        let found = decide(&mut view, &command);
        if let Ok(reply) = &found {
            assert_eq!(&reply.order, stored);
        }
        assert_eq!(created(found).0, reply);
        assert_eq!(view.by_id::<Order>("ord_1").as_ref(), Some(stored), "nothing is changed");
        assert_eq!((event_types(&view).len(), find_job(&view, "job_2")), (0, None), "nothing is written");
    }
}

/// An order from before addresses had to fit their postal codes is still the same order.
#[test]
fn an_address_that_does_not_fit_is_refused_but_replayed() {
    let contradictions = vec![FieldError::new("shipment.pickup.state", "pincode_differs", "can't be")];
    let contradictory = CreateOrder { contradictions: contradictions.clone(), ..create(2) };
    let mut view = rich();
    assert!(
        matches!(decide(&mut view, &contradictory), Err(OrderError::Contradictory(named)) if named == contradictions)
    );
    assert_eq!((event_types(&view).len(), find_job(&view, "job_2")), (0, None), "nothing is written");
    assert_eq!(created(decide(&mut view, &create(1))).0, "new");
    assert_eq!(created(decide(&mut view, &contradictory)), ("replay", "ord_1".into()));
}

/// A create job in backoff after one failure that counted, or did not.
fn in_backoff(counts: bool) -> Job {
    let mut job = active_job(OrderJobKind::Create);
    let error = Some(JobError::new("retryable", "a.b", "c"));
    job.end(&JobEnd::Retry { at: after(NOW, std::time::Duration::from_secs(60)), error, counts }, before_now(1_000));
    job
}

fn create_job_in(state: JobState) -> Job {
    Job { state, ..active_job(OrderJobKind::Create) }
}

#[test]
fn what_a_cancel_does_depends_on_how_far_the_create_is() {
    use OrderStatus::{Cancelled, Confirmed, Created as New, NeedsAttention};
    let fresh = fresh_job(OrderJobKind::Create);
    let scheduled = Job { run_at: after(NOW, std::time::Duration::from_secs(60)), ..fresh.clone() };
    let overdue = Job { run_at: before_now(500), ..in_backoff(true) };
    let (at_once, later) = (vec!["CancellationRequested", "OrderCancelled"], vec!["CancellationRequested"]);
    let done = JobState::Done;
    for (name, status, job, (after_status, create_state, run_at, cancel_job, wake), events) in [
        ("never attempted", New, Some(fresh), (Cancelled, Some(done), Some(NOW), false, None), &at_once),
        ("scheduled", New, Some(scheduled), (Cancelled, Some(done), Some(NOW), false, None), &at_once),
        (
            "in backoff",
            New,
            Some(in_backoff(true)),
            (New, Some(JobState::Ready), Some(NOW), false, Some("parcelx-orders-queue")),
            &later,
        ),
        (
            "deferred, so never executed: but only the worker says so",
            New,
            Some(in_backoff(false)),
            (New, Some(JobState::Ready), Some(NOW), false, Some("parcelx-orders-queue")),
            &later,
        ),
        (
            "due again",
            New,
            Some(overdue),
            (New, Some(JobState::Ready), Some(before_now(500)), false, Some("parcelx-orders-queue")),
            &later,
        ),
        (
            "running",
            New,
            Some(create_job_in(JobState::Active)),
            (New, Some(JobState::Active), Some(before_now(60_000)), false, None),
            &later,
        ),
        (
            "dead",
            New,
            Some(create_job_in(JobState::Dead)),
            (New, Some(JobState::Dead), Some(before_now(60_000)), true, Some("parcelx-order-cancellation-queue")),
            &later,
        ),
        ("without a job", New, None, (New, None, None, true, Some("parcelx-order-cancellation-queue")), &later),
        (
            "given up",
            NeedsAttention,
            Some(create_job_in(JobState::Dead)),
            (
                NeedsAttention,
                Some(JobState::Dead),
                Some(before_now(60_000)),
                true,
                Some("parcelx-order-cancellation-queue"),
            ),
            &later,
        ),
        (
            "placed",
            Confirmed,
            Some(create_job_in(done)),
            (Confirmed, Some(done), Some(before_now(60_000)), true, Some("parcelx-order-cancellation-queue")),
            &later,
        ),
        (
            "placed long ago",
            Confirmed,
            None,
            (Confirmed, None, None, true, Some("parcelx-order-cancellation-queue")),
            &later,
        ),
    ] {
        let mut view = view_of(&Order { status, ..order() }, &job.iter().collect::<Vec<_>>());
        let (answered, woken) = asked(decide(&mut view, &cancel(1))).expect(name);
        let stored = view.by_id::<Order>("ord_1").expect("the order");
        assert_eq!(answered, stored, "{name}");
        let create_job = find_job(&view, "job_create");
        let cancel_job = (cancel_job, find_job(&view, "job_cancel_1"));
        assert_eq!((stored.status, woken), (after_status, wake), "{name}");
        assert_eq!(
            (create_job.as_ref().map(|job| job.state), create_job.map(|job| job.run_at)),
            (create_state, run_at),
            "{name}"
        );
        assert_eq!(cancel_job.0, cancel_job.1.is_some(), "{name}");
        assert_eq!(&event_types(&view), events, "{name}");
        let asked = stored.cancellation.expect("it is asked for");
        let settled = after_status == Cancelled;
        let status = if settled { CancellationStatus::Done } else { CancellationStatus::Requested };
        assert_eq!(
            (asked.status, asked.requested_at, asked.reason.as_deref()),
            (status, NOW, Some("Out of stock")),
            "{name}"
        );
        assert_eq!(
            (asked.job_id.as_deref(), stored.updated_at),
            (cancel_job.0.then_some("job_cancel_1"), NOW),
            "{name}"
        );
        if let Some(job) = cancel_job.1 {
            assert!(job.never_attempted() && job.run_at == NOW, "{name}");
            assert_eq!(
                (&*job.queue, &*job.kind, &*job.correlation_id),
                ("parcelx-order-cancellation-queue", "cancel-order", "rqs_cancel"),
                "{name}"
            );
        }
    }
}

#[test]
fn an_uncertain_order_is_never_cancelled_at_once() {
    let unsure = Order { uncertain: Some(uncertain(before_now(60_000))), ..order() };
    for job in [in_backoff(true), create_job_in(JobState::Active), create_job_in(JobState::Dead)] {
        let mut view = view_of(&unsure, &[&job]);
        let (answered, _) = asked(decide(&mut view, &cancel(1))).expect("it is asked for");
        assert_eq!(
            (answered.status, &answered.uncertain),
            (OrderStatus::Created, &unsure.uncertain),
            "{:?}",
            job.state
        );
    }
}

#[test]
fn only_a_failed_cancellation_can_be_requested_again() {
    use CancellationStatus::{Done, InProgress, NeedsAttention, Refused, Requested};
    for (status, asked, replayed) in [
        (OrderStatus::Created, Requested, true),
        (OrderStatus::Confirmed, InProgress, true),
        (OrderStatus::Cancelled, Done, true),
        (OrderStatus::Confirmed, Refused, false),
        (OrderStatus::NeedsAttention, NeedsAttention, false),
    ] {
        // While the create is under way nobody carries the cancellation out yet; afterwards a job does.
        let under_way = status == OrderStatus::Created;
        let job_id = (!under_way).then(|| "job_cancel".to_owned());
        let stored = Order { status, cancellation: Some(Cancellation { job_id, ..cancellation(asked) }), ..order() };
        let create_job = create_job_in(if under_way { JobState::Active } else { JobState::Done });
        let mut view = view_of(&stored, &[&create_job]);
        match decide(&mut view, &cancel(1)).expect("it may be asked for") {
            OrderReply { order: answered, replayed: true, .. } => {
                assert!(replayed, "{asked:?}");
                assert_eq!((&answered, &view.by_id("ord_1").expect("the order")), (&stored, &stored), "{asked:?}");
                assert_eq!((event_types(&view).len(), find_job(&view, "job_cancel_1")), (0, None), "{asked:?}");
            }
            OrderReply { order: answered, wake, .. } => {
                assert!(!replayed, "{asked:?}");
                let anew = answered.cancellation.expect("it is asked for");
                assert_eq!((anew.status, anew.failure), (Requested, None), "{asked:?}");
                assert_eq!(
                    (anew.job_id.as_deref(), wake),
                    (Some("job_cancel_1"), Some("parcelx-order-cancellation-queue")),
                    "{asked:?}"
                );
            }
        }
    }
}

#[test]
fn a_cancellation_that_nobody_would_carry_out_gets_its_job() {
    for (state, job_id, revived) in [
        (JobState::Dead, None, true),
        (JobState::Done, None, true),
        (JobState::Active, None, false),
        (JobState::Ready, None, false),
        (JobState::Dead, Some("job_cancel"), false),
    ] {
        let mut waiting = order();
        let asked = Cancellation { job_id: job_id.map(Into::into), ..cancellation(CancellationStatus::Requested) };
        waiting.cancellation = Some(asked);
        let mut view = view_of(&waiting, &[&create_job_in(state)]);
        let reply = decide(&mut view, &cancel(2));
        let reply = reply.expect("it may be asked for");
        let wake = revived.then_some("parcelx-order-cancellation-queue");
        assert_eq!((reply.replayed, reply.wake), (!revived, wake), "{state:?} {job_id:?}");
        assert_eq!(find_job(&view, "job_cancel_2").is_some(), revived, "{state:?} {job_id:?}");
    }
}

#[test]
fn of_two_cancels_in_one_batch_the_second_replays() {
    for (name, order, job) in [
        ("settled at once", order(), fresh_job(OrderJobKind::Create)),
        ("asked for", Order { status: OrderStatus::Confirmed, ..order() }, create_job_in(JobState::Done)),
    ] {
        let mut view = view_of(&order, &[&job]);
        assert!(asked(decide(&mut view, &cancel(1))).is_some(), "{name}");
        let events = event_types(&view);
        assert!(replayed(decide(&mut view, &cancel(2))).is_some(), "{name}");
        assert_eq!((event_types(&view), find_job(&view, "job_cancel_2")), (events, None), "{name}");
    }
}

#[test]
fn a_create_and_its_cancel_in_one_batch_settle_each_other() {
    let mut view = rich();
    assert!(matches!(decide(&mut view, &cancel(1)), Err(OrderError::NotFound)), "nothing to cancel yet");
    let mut view = rich();
    assert_eq!(created(decide(&mut view, &create(1))).0, "new");
    let Some((order, None)) = asked(decide(&mut view, &cancel(1))) else { panic!("it settles at once") };
    assert_eq!((order.status, order.provider_sync_status), (OrderStatus::Cancelled, ProviderSyncStatus::Pending));
    assert_eq!(find_job(&view, "job_1").map(|job| job.state), Some(JobState::Done));
    assert_eq!(event_types(&view), ["OrderCreated", "CancellationRequested", "OrderCancelled"]);
    assert_eq!(created(decide(&mut view, &create(2))), ("replay", "ord_1".into()), "its id stays taken");
}

#[test]
fn only_what_the_table_allows_can_be_cancelled_and_only_by_its_owner() {
    for status in OrderStatus::ALL {
        let stored = Order { status, ..order() };
        let mut view = view_of(&stored, &[&create_job_in(JobState::Done)]);
        let allowed = next(status, OrderCommand::RequestCancel).is_some();
        match decide(&mut view, &cancel(1)) {
            Ok(_) => assert!(allowed, "{status:?}"),
            Err(OrderError::NotCancellable(named)) => {
                assert!(!allowed && named == status.as_str(), "{status:?}");
                assert_eq!(view.by_id::<Order>("ord_1"), Some(stored), "{status:?}");
                assert_eq!((event_types(&view).len(), find_job(&view, "job_cancel_1")), (0, None), "{status:?}");
            }
            other => panic!("{status:?}: {other:?}"),
        }
    }
    let mut view = view_of(&order(), &[]);
    let stranger = CancelOrder { user_id: "usr_2".into(), ..cancel(1) };
    assert!(matches!(decide(&mut view, &stranger), Err(OrderError::NotFound)));
}

#[test]
fn events_of_a_cancel_say_who_and_what_but_nothing_personal() {
    let mut view = view_of(&order(), &[&fresh_job(OrderJobKind::Create)]);
    let _ = decide(&mut view, &cancel(1));
    for (event, status) in appended(&view, EVENTS).iter().zip(["created", "cancelled"]) {
        let actor = event.get_document("actor").expect("an actor");
        assert_eq!(
            (actor.get_str("id").expect("an id"), actor.get_str("requestId").expect("an id")),
            ("usr_1", "rqs_cancel")
        );
        let data = event.get_document("data").expect("data");
        assert_eq!(data.get_str("status").expect("a status"), status);
        let text = event.to_string();
        assert!(!text.contains("Asha Rao") && !text.contains("MG Road") && !text.contains("9876543210"), "{text}");
        assert_eq!(event.get_datetime("at").ok(), Some(&NOW));
    }
}

#[test]
fn without_the_money_nothing_is_written_and_the_id_stays_free() {
    let mut view = View::new(NOW);
    let price = quote().total;
    view.put_read(&wallet("usr_1", price.amount - 1));
    let Err(OrderError::Unpaid(refusal)) = decide(&mut view, &create(1)) else { panic!("it was taken") };
    let available = Money::new(price.amount - 1, Currency::INR);
    assert_eq!(refusal, LedgerRefusal::Insufficient { needed: price, available });
    assert_eq!(view.find::<Order>(&Order::key("usr_1", "c-1001")), None);
    assert_eq!((event_types(&view).len(), find_job(&view, "job_1")), (0, None));

    let mut topped_up = View::new(NOW);
    topped_up.put_read(&wallet("usr_1", price.amount));
    assert_eq!(created(decide(&mut topped_up, &create(2))), ("new", "ord_2".into()));
}
