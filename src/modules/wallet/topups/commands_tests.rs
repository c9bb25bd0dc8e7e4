//! Asking for a top-up, decided over a view without a database.

use std::time::Duration;

use bson::{Document, doc};

use super::{
    PAYMENTS_QUEUE,
    commands::RequestTopup,
    error::TopupError,
    flow_tests::{MONEY, NOW, at},
    model::{OpenTopups, Topup, TopupStatus},
};
use crate::{
    modules::{
        events::{Actor, EVENTS},
        kyc::{Application, KycGate, KycState},
        queue::{Job, QueueConfig},
        wallet::{Account, LedgerEntry, LedgerKind, Wallet, credit},
    },
    platform::{
        batch::{Command, View},
        money::{Currency, Money},
    },
};

/// Decides; what the test has not put there is absent.
pub(super) fn decide<C: Command>(view: &mut View, command: &C) -> C::Reply {
    command.decide(view)
}

pub(super) fn appended(view: &View, collection: &str) -> Vec<Document> {
    view.appended_to(collection).map(|raw| Document::try_from(raw.clone()).expect("a document")).collect()
}

/// Types of the events that a view would append.
pub(super) fn event_types(view: &View) -> Vec<String> {
    appended(view, EVENTS).iter().map(|event| event.get_str("type").expect("a type").to_owned()).collect()
}

fn request(number: u32) -> RequestTopup {
    RequestTopup {
        gate: KycGate::new(false),
        unverified_max: None,
        user_id: "usr_1".into(),
        client_topup_id: "t-1001".into(),
        provider: "paygate",
        money: MONEY,
        expires_in: Duration::from_secs(600),
        actor: Actor::worker("usr_1", "rqs_1"),
        correlation_id: format!("rqs_{number}"),
        queue: QueueConfig::named(PAYMENTS_QUEUE),
        topup_id: format!("top_{number}"),
        start_job_id: format!("job_{number}a"),
        check_job_id: format!("job_{number}b"),
        event_id: format!("evt_{number}"),
    }
}

/// The reply in a word, and the id of the top-up that it names.
fn requested(reply: Result<(Topup, bool), TopupError>) -> (&'static str, String) {
    match reply {
        Ok((topup, replayed)) => (if replayed { "replay" } else { "new" }, topup.id),
        Err(TopupError::IdempotencyMismatch) => ("mismatch", String::new()),
        Err(TopupError::NotVerified(_)) => ("not verified", String::new()),
        Err(TopupError::OverLimit { .. }) => ("over the limit", String::new()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_customer_tops_up_in_every_state_but_suspended() {
    for state in KycState::ALL {
        let mut view = View::new(NOW);
        view.put_read(&Application { state, ..Application::new("usr_1", NOW) });
        let unverified_max = Some(vec![MONEY]);
        let gated = RequestTopup { gate: KycGate::new(true), unverified_max, ..request(1) };
        let expected = if state == KycState::Suspended { "not verified" } else { "new" };
        assert_eq!(requested(decide(&mut view, &gated)).0, expected, "{state:?}");
    }
}

#[test]
fn open_top_ups_of_a_customer_stay_within_the_limit_together() {
    let mut view = View::new(NOW);
    let limit = Money::new(2 * MONEY.amount + 1, MONEY.currency);
    let ask = |view: &mut View, number: u32| {
        let gate = KycGate::new(true);
        let client_topup_id = format!("t-{number}");
        let asked = RequestTopup { gate, unverified_max: Some(vec![limit]), client_topup_id, ..request(number) };
        requested(decide(view, &asked)).0
    };
    let change = |view: &mut View, number: u32, change: &dyn Fn(&mut Topup)| {
        let mut topup = view.by_id::<Topup>(&format!("top_{number}")).expect("a top-up");
        change(&mut topup);
        view.update(&topup);
    };
    assert_eq!([1, 2, 3].map(|number| ask(&mut view, number)), ["new", "new", "over the limit"]);
    // What may still be paid counts, and what is paid is in the wallet.
    change(&mut view, 1, &|topup| topup.status = TopupStatus::Failed);
    assert_eq!(ask(&mut view, 3), "over the limit", "its page is still there");
    change(&mut view, 1, &|topup| topup.status = TopupStatus::Paid);
    let paid = Actor::worker("usr_1", "rqs_1");
    let entry = LedgerEntry {
        transaction_id: "txn_1",
        kind: LedgerKind::Recharge,
        reference: Topup::reference("top_1"),
        client_reference: None,
        reason: None,
        actor: &paid,
    };
    credit(&mut view, "usr_1", MONEY, Account::SettlementCash, &entry).expect("it fits");
    assert_eq!(ask(&mut view, 3), "over the limit");
    change(&mut view, 2, &|topup| topup.status = TopupStatus::Expired);
    assert_eq!(ask(&mut view, 3), "new");
    let open = view.by_id::<OpenTopups>(&Wallet::id_of("usr_1", MONEY.currency)).expect("a list");
    assert_eq!(open.topup_ids, ["top_3"], "what has ended is forgotten");
    assert_eq!(ask(&mut view, 3), "replay");
}

#[test]
fn only_who_is_verified_tops_up_and_others_leave_nothing() {
    for state in KycState::ALL {
        let mut view = View::new(NOW);
        view.put_read(&Application { state, ..Application::new("usr_1", NOW) });
        let gated = RequestTopup { gate: KycGate::new(true), ..request(1) };
        let expected = if state == KycState::Verified { "new" } else { "not verified" };
        assert_eq!(requested(decide(&mut view, &gated)).0, expected, "{state:?}");
        assert_eq!(event_types(&view).is_empty(), expected != "new", "{state:?}");
    }
}

#[test]
fn a_top_up_is_written_with_its_jobs_and_its_event() {
    let mut view = View::new(NOW);
    assert_eq!(requested(decide(&mut view, &request(1))), ("new", "top_1".into()));
    let stored = view.by_id::<Topup>("top_1").expect("the top-up");
    assert_eq!(Some(&stored), view.find::<Topup>(&Topup::key("usr_1", "t-1001")).as_ref());
    assert_eq!(
        (stored.status, stored.money(), stored.expires_at, stored.created_at),
        (TopupStatus::Created, MONEY, at(600_000), NOW)
    );
    for (id, kind, run_at) in [("job_1a", "start-payment", NOW), ("job_1b", "check-payment", at(600_000))] {
        let job = view.by_id::<Job>(id).expect("the job");
        assert_eq!((&*job.queue, &*job.kind, job.run_at), (PAYMENTS_QUEUE, kind, run_at));
        assert_eq!(job.payload, doc! { "topupId": "top_1" }, "ids only");
        assert_eq!((job.correlation_id.as_str(), job.never_attempted()), ("rqs_1", true));
    }
    assert_eq!((stored.start_job_id.as_str(), stored.check_job_id.as_str()), ("job_1a", "job_1b"));
    let events = appended(&view, EVENTS);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].get_str("type").expect("a type"), "TopupRequested");
    assert_eq!(events[0].get_str("subjectId").expect("a subject"), "top_1");
    let data = events[0].get_document("data").expect("data");
    assert_eq!(data.get_str("status").expect("a status"), "created");
}

#[test]
fn the_same_id_is_the_same_top_up_for_ever() {
    let mut view = View::new(NOW);
    assert_eq!(requested(decide(&mut view, &request(1))).0, "new");
    assert_eq!(requested(decide(&mut view, &request(2))), ("replay", "top_1".into()));
    let usd = Currency::from_code("USD").expect("a currency");
    for money in [Money::new(MONEY.amount + 1, MONEY.currency), Money::new(MONEY.amount, usd)] {
        assert_eq!(requested(decide(&mut view, &RequestTopup { money, ..request(3) })).0, "mismatch");
    }
    let other = RequestTopup { user_id: "usr_2".into(), ..request(4) };
    assert_eq!(requested(decide(&mut view, &other)), ("new", "top_4".into()), "ids are a merchant's own");
    assert_eq!(event_types(&view).len(), 2);
}
