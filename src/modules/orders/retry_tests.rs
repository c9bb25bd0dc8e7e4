//! Running dead jobs of orders again, decided over a view without a database.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mongodb::{
    Client, Database,
    options::{ClientOptions, ServerAddress},
};

use super::{
    CREATE_KIND, SETTLING_DELAY,
    commands_tests::{decide, event_types, find_job, view_of},
    files::OrderFiles,
    flow::OrderJobKind,
    flow_tests::{NOW, TOKEN, active_job, before_now, cancellation, carrier, job_in, order, stepped, uncertain},
    jobs::{OrderJobs, handlers},
    model::{CancellationStatus, Order, OrderStatus, ProviderSyncStatus},
};
use crate::{
    modules::{
        audit::{AuditStore, ErrorClass},
        events::Actor,
        kyc::KycGate,
        providers::{Accounts, Detail, Dispatcher, Operation, StoredFailure, dispatch::DispatchParts},
        queue::{Handlers, Job, JobEnd, JobError, JobState, QueueStore, Retried, RetryJob, Waker, by_queue_and_kind},
    },
    platform::{batch::Lane, clock::Clock, exchange::ExchangeClient, redis::Redis, sealing::SealingKeys},
};

/// The real handlers; to be made inside a runtime. Nothing here sends or asks the database, which is at an address where nobody listens.
pub(super) fn order_handlers() -> Arc<Handlers> {
    let nobody = ServerAddress::Tcp { host: "127.0.0.1".into(), port: Some(1) };
    let client = Client::with_options(ClientOptions::builder().hosts(vec![nobody]).build()).expect("a client");
    let (db, clock) = (client.database("nothing"), Clock::default());
    let keys = Arc::new(SealingKeys::new(&"0".repeat(64).into(), None).expect("a key"));
    let jobs = OrderJobs {
        gate: KycGate::new(false),
        lane: Lane::start("test", db.clone(), clock.clone(), crate::modules::audit::journal()),
        exchange: ExchangeClient::new(Duration::from_secs(1)).expect("an exchange"),
        provider: carrier(),
        accounts: Accounts::new(&db, Arc::clone(&keys), clock.clone(), HashMap::new()),
        dispatch: dispatcher(db.clone(), &clock),
        files: Arc::new(OrderFiles::new(db, keys, clock.clone())),
        settling_delay: SETTLING_DELAY,
        clock,
    };
    Arc::new(by_queue_and_kind(&handlers(jobs)))
}

fn dispatcher(db: Database, clock: &Clock) -> Dispatcher {
    Dispatcher::new(DispatchParts {
        queue_store: QueueStore::new(db.clone()),
        audit: AuditStore::new(db.clone()),
        waker: Waker::new(Redis::new("redis://127.0.0.1:1", "test").expect("a well-formed URL")),
        clock: clock.clone(),
        lease: Duration::from_secs(30),
        queues: Vec::new(),
        accounts: Vec::new(),
        only: None,
        db,
    })
}

fn retry(handlers: &Arc<Handlers>, job_id: &str) -> RetryJob {
    RetryJob {
        job_id: job_id.into(),
        event_id: "evt_1".into(),
        actor: Actor::worker("usr_admin", "rqs_retry"),
        handlers: Arc::clone(handlers),
    }
}

/// A job that died on its last attempt.
fn dead_job(kind: OrderJobKind) -> Job {
    let mut job = job_in(kind, true, true);
    job.end(&JobEnd::Dead { error: JobError::new("unknown", "a.b", "c") }, before_now(1_000));
    job
}

fn given_up() -> Order {
    let failure = StoredFailure { class: ErrorClass::Unknown, code: "a.b".into(), message: "c".into() };
    let (status, provider_sync_status) = (OrderStatus::NeedsAttention, ProviderSyncStatus::Failed);
    Order { status, provider_sync_status, failure: Some(failure), ..order() }
}

/// An order whose cancellation is carried out by the job `job_cancel`.
fn cancelling(status: OrderStatus, asked: CancellationStatus) -> Order {
    let mut cancellation = cancellation(asked);
    cancellation.job_id = Some("job_cancel".into());
    Order { status, cancellation: Some(cancellation), ..order() }
}

fn in_a_word(retried: &Retried) -> &'static str {
    match retried {
        Retried::Revived(_) => "revived",
        Retried::NotFound => "not found",
        Retried::NotDead(_) => "not dead",
        Retried::Refused(_) => "refused",
    }
}

#[tokio::test]
async fn an_order_that_was_given_up_or_refused_is_placed_again() {
    let handlers = order_handlers();
    let unsure = Order { uncertain: Some(uncertain(before_now(60_000))), ..given_up() };
    let refused = Order { status: OrderStatus::Failed, ..given_up() };
    for (name, stored, sync, step) in [
        ("given up", given_up(), ProviderSyncStatus::Pending, Operation::Create),
        ("given up and uncertain", unsure, ProviderSyncStatus::Unknown, Operation::LookUp),
        ("refused", refused, ProviderSyncStatus::Pending, Operation::Create),
        ("left behind", order(), ProviderSyncStatus::Pending, Operation::Create),
    ] {
        let dead = dead_job(OrderJobKind::Create);
        let mut view = view_of(&stored, &[&dead]);
        let Retried::Revived(job) = decide(&mut view, &retry(&handlers, "job_create")) else { panic!("{name}") };
        assert_eq!(find_job(&view, "job_create").as_ref(), Some(&*job), "{name}");
        assert_eq!((job.state, job.attempts, job.deferrals, job.run_at), (JobState::Ready, 0, 0, NOW), "{name}");
        assert_eq!((job.deferring_since, &job.history), (None, &dead.history), "{name}");
        assert!(!job.never_attempted(), "{name}: it was sent before");
        let order = view.by_id::<Order>("ord_1").expect("the order");
        assert_eq!((order.status, order.provider_sync_status), (OrderStatus::Created, sync), "{name}");
        assert_eq!((&order.failure, order.updated_at), (&None, NOW), "{name}");
        assert_eq!(stepped(&order, OrderJobKind::Create), Ok(step), "{name}");
        assert_eq!(event_types(&view), ["OrderResent"], "{name}");
    }
}

#[tokio::test]
async fn a_create_is_not_revived_for_an_order_that_has_ended_or_is_there() {
    let handlers = order_handlers();
    let open = [OrderStatus::Created, OrderStatus::NeedsAttention, OrderStatus::Failed];
    let mut refused = Vec::new();
    refused.extend(
        OrderStatus::ALL
            .iter()
            .filter(|status| !open.contains(status))
            .map(|status| Order { status: *status, ..order() }),
    );
    refused.extend(open.map(|status| cancelling(status, CancellationStatus::Requested)));
    refused.push(cancelling(OrderStatus::NeedsAttention, CancellationStatus::NeedsAttention));
    let mut erased = given_up();
    let Detail::Shipment(shipment) = &mut erased.detail else { panic!("a shipment") };
    shipment.pickup.name = "erased".into();
    refused.push(erased);
    assert_eq!(refused.len(), 9);
    for stored in refused {
        let dead = dead_job(OrderJobKind::Create);
        let mut view = view_of(&stored, &[&dead]);
        assert_eq!(in_a_word(&decide(&mut view, &retry(&handlers, "job_create"))), "refused", "{:?}", stored.status);
        assert_eq!((view.by_id::<Order>("ord_1"), find_job(&view, "job_create")), (Some(stored), Some(dead)));
        assert_eq!(event_types(&view).len(), 0);
    }
}

#[tokio::test]
async fn a_cancel_is_revived_while_it_is_the_one_that_counts() {
    use CancellationStatus::{Done, InProgress, NeedsAttention, Refused, Requested};
    let handlers = order_handlers();
    let mut of_another_job = cancelling(OrderStatus::Confirmed, Refused);
    if let Some(cancellation) = &mut of_another_job.cancellation {
        cancellation.job_id = Some("job_later".into());
    }
    for (name, stored, reply) in [
        ("refused", cancelling(OrderStatus::Confirmed, Refused), "revived"),
        ("given up", cancelling(OrderStatus::Confirmed, NeedsAttention), "revived"),
        ("of an order that was given up", cancelling(OrderStatus::NeedsAttention, NeedsAttention), "revived"),
        ("its job was buried", cancelling(OrderStatus::Confirmed, InProgress), "revived"),
        ("its job was buried early", cancelling(OrderStatus::Confirmed, Requested), "revived"),
        ("done", cancelling(OrderStatus::Cancelled, Done), "refused"),
        ("of an order that was refused", cancelling(OrderStatus::Failed, Refused), "refused"),
        ("not asked for", Order { status: OrderStatus::Confirmed, ..order() }, "refused"),
        ("another job's", of_another_job, "refused"),
    ] {
        let dead = dead_job(OrderJobKind::Cancel);
        let mut view = view_of(&stored, &[&dead]);
        let retried = decide(&mut view, &retry(&handlers, "job_cancel"));
        assert_eq!(in_a_word(&retried), reply, "{name}");
        let order = view.by_id::<Order>("ord_1").expect("the order");
        if reply == "revived" {
            let asked = order.cancellation.expect("a cancellation");
            assert_eq!((asked.status, asked.failure, order.status), (Requested, None, stored.status), "{name}");
            assert_eq!(event_types(&view), ["CancellationRequested"], "{name}");
            assert_eq!(
                find_job(&view, "job_cancel").map(|job| (job.state, job.attempts)),
                Some((JobState::Ready, 0)),
                "{name}"
            );
        } else {
            assert_eq!(
                (order, find_job(&view, "job_cancel"), event_types(&view).len()),
                (stored, Some(dead), 0),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn only_dead_jobs_that_somebody_runs_are_revived() {
    let handlers = order_handlers();
    let dead = dead_job(OrderJobKind::Create);
    let in_state = |state| Job { state, ..active_job(OrderJobKind::Create) };
    let unreadable = Job { payload: bson::doc! { "orderId": 7 }, ..dead.clone() };
    let of_another_order = Job { payload: bson::doc! { "orderId": "ord_2" }, ..dead.clone() };
    for (name, job, reply) in [
        ("ready", Some(in_state(JobState::Ready)), "not dead"),
        ("active", Some(in_state(JobState::Active)), "not dead"),
        ("done", Some(in_state(JobState::Done)), "not dead"),
        ("gone", None, "not found"),
        ("of an unknown kind", Some(Job { kind: "paint-order".into(), ..dead }), "refused"),
        ("unreadable", Some(unreadable), "refused"),
        ("of an order that is gone", Some(of_another_order), "refused"),
    ] {
        let mut view = view_of(&given_up(), &job.iter().collect::<Vec<_>>());
        let retried = decide(&mut view, &retry(&handlers, "job_create"));
        assert_eq!(in_a_word(&retried), reply, "{name}");
        if let (Retried::NotDead(state), Some(job)) = (&retried, &job) {
            assert_eq!(*state, job.state, "{name}");
        }
        assert_eq!((find_job(&view, "job_create"), view.by_id::<Order>("ord_1")), (job, Some(given_up())), "{name}");
    }
}

#[tokio::test]
async fn a_broken_attempt_without_a_readable_payload_concludes_nothing() {
    let handlers = order_handlers();
    let error = JobError::new("panic", "queue.panic", "boom");
    let job = Job { lease_token: Some(TOKEN.into()), ..active_job(OrderJobKind::Create) };
    assert!(handlers[&("parcelx-orders-queue", CREATE_KIND)].failed(&job, error.clone()).is_some());
    let unreadable = Job { payload: bson::doc! {}, ..job };
    assert!(handlers[&("parcelx-orders-queue", CREATE_KIND)].failed(&unreadable, error).is_none());
}
