//! Orders that take their time: the step that comes next, and what follows from each answer.

use std::time::Duration;

use bson::DateTime;

use super::{
    SETTLING_DELAY,
    flow::{AtProvider, OrderAnswered, OrderJobKind},
    flow_tests::{NOW, active_job, before_now, call, failure, order, timing},
    model::{FileToFetch, Order, OrderProgress, OrderStatus, ProviderSyncStatus},
    polling::*,
};
use crate::{
    modules::{
        providers::{
            AttemptDecision, Detail, Extract, ExtractType, NamedFile, Operation, Outcome, Placed, PollSchedule,
            Progress, Retry,
        },
        queue::{Job, JobEnd},
    },
    platform::exchange::ReceivedFile,
};

const DAY_MS: i64 = 24 * 3_600_000;
const PACE: PollSchedule = PollSchedule { every: Duration::from_secs(30) };

fn extract(status: OrderStatus) -> Order {
    let detail = Extract { cadastral_number: "50:33:0000000:98325".into(), kind: ExtractType::Base };
    let reference = (status != OrderStatus::Created).then(|| "df-1".to_owned());
    Order { detail: Detail::Extract(detail), status, reference, ..order() }
}

fn since(age_ms: i64) -> OrderProgress {
    OrderProgress {
        since: before_now(age_ms),
        missing: false,
        complete_at: None,
        last: false,
        to_fetch: Vec::new(),
        files: Vec::new(),
    }
}

fn named(ids: &[&str]) -> Vec<NamedFile> {
    let file = |id: &&str| NamedFile {
        id: (*id).to_owned(),
        name: format!("../{id}.html"),
        content_type: "application/pdf".into(),
    };
    ids.iter().map(file).collect()
}

fn to_fetch(ids: &[&str]) -> Vec<FileToFetch> {
    named(ids).iter().map(Into::into).collect()
}

fn complete(ids: &[&str], last: bool) -> Outcome<AtProvider> {
    Outcome::Done(AtProvider::Progress(Progress::Complete { files: named(ids), last }))
}

fn received() -> Outcome<AtProvider> {
    Outcome::Done(AtProvider::Received(ReceivedFile { bytes: 7, sha256: "ab".repeat(32) }))
}

fn placed(reference: &str) -> Outcome<AtProvider> {
    Outcome::Done(AtProvider::Placed(Placed { reference: reference.into(), ..Placed::default() }))
}

fn after_answer(order: &mut Order, job: &Job, asked: Operation, outcome: &Outcome<AtProvider>) -> AttemptDecision {
    let call = call(asked, OrderJobKind::Create);
    let answered = OrderAnswered { job, call: &call, asked: &asked, outcome, timing: timing() };
    follow(order, OrderJobKind::Create, &answered, PACE, SETTLING_DELAY)
}

/// A decision in words: how the job ends, the status, the event, and the next step.
fn told(order: &Order, decision: &AttemptDecision) -> String {
    let end = match &decision.end {
        JobEnd::Done { .. } => "done".to_owned(),
        JobEnd::Dead { .. } => "dead".to_owned(),
        JobEnd::Next { at } => format!("{} s", (at.timestamp_millis() - NOW.timestamp_millis()) / 1_000),
        JobEnd::Retry { at, error, counts } => {
            let seconds = (at.timestamp_millis() - NOW.timestamp_millis()) / 1_000;
            assert!(!counts, "asking uses up no attempt");
            format!("{} s{}", seconds, if error.is_some() { " late" } else { "" })
        }
    };
    let next = next_call(order).map_or("-", Operation::as_str);
    format!("{end} {} {} {next}", order.status.as_str(), decision.event.unwrap_or("-"))
}

#[test]
fn the_next_step_follows_from_what_is_here() {
    use OrderStatus as S;
    for status in [S::Created, S::Failed, S::Cancelled, S::NeedsAttention] {
        assert_eq!(next_call(&Order { followed: Some(since(0)), ..extract(status) }), None, "{status:?}");
    }
    for status in [S::Confirmed, S::InProgress, S::Delivered] {
        let with = |followed| next_call(&Order { followed, ..extract(status) });
        assert_eq!(with(None), Some(Operation::Poll));
        assert_eq!(with(Some(since(0))), Some(Operation::Poll));
        let fetching = OrderProgress { to_fetch: to_fetch(&["1"]), ..since(0) };
        assert_eq!(with(Some(fetching.clone())), Some(Operation::Fetch));
        assert_eq!(with(Some(OrderProgress { missing: true, ..fetching })), Some(Operation::LookUp));
    }
}

#[test]
fn what_is_placed_goes_on_with_the_same_job() {
    for (asked, outcome) in [(Operation::Create, placed("df-1")), (Operation::LookUp, placed("df-1"))] {
        let mut order = extract(OrderStatus::Created);
        let decision = after_answer(&mut order, &active_job(OrderJobKind::Create), asked, &outcome);
        assert_eq!(told(&order, &decision), "30 s confirmed OrderConfirmed poll_order");
        assert_eq!(order.followed, Some(OrderProgress { since: NOW, ..since(0) }));
    }
    let mut refused = extract(OrderStatus::Created);
    let decision =
        after_answer(&mut refused, &active_job(OrderJobKind::Create), Operation::Create, &Outcome::Refused(failure()));
    assert_eq!(told(&refused, &decision), "dead failed OrderFailed -");
}

#[test]
fn what_a_poll_leads_to() {
    use OrderStatus as S;
    let progress = |progress| Outcome::Done(AtProvider::Progress(progress));
    let failed = progress(Progress::Failed("No such object".into()));
    let old = 30 * DAY_MS;
    for (status, age_ms, outcome, expected) in [
        (S::Confirmed, 0, progress(Progress::Waiting), "30 s confirmed - poll_order"),
        (S::Confirmed, 0, progress(Progress::Unclear), "30 s confirmed - poll_order"),
        (S::Confirmed, 0, progress(Progress::Working), "30 s in_progress OrderInProgress poll_order"),
        (S::InProgress, 0, progress(Progress::Working), "30 s in_progress - poll_order"),
        (S::InProgress, 3_600_000, progress(Progress::Working), "180 s in_progress - poll_order"),
        (S::InProgress, 3 * DAY_MS, progress(Progress::Waiting), "600 s in_progress - poll_order"),
        (S::InProgress, old, progress(Progress::Working), "dead needs_attention OrderNeedsAttention -"),
        (S::Confirmed, old, progress(Progress::Waiting), "dead needs_attention OrderNeedsAttention -"),
        (S::Confirmed, 0, complete(&["1"], false), "0 s in_progress OrderInProgress fetch_file"),
        (S::InProgress, old, complete(&["1"], true), "0 s in_progress - fetch_file"),
        (S::Confirmed, 0, failed.clone(), "dead failed OrderFailed -"),
        (S::InProgress, 0, failed.clone(), "dead failed OrderFailed -"),
        // What was delivered stays so.
        (S::Delivered, 0, failed, "done delivered - poll_order"),
        (S::InProgress, 0, Outcome::Unauthorized(failure()), "2 s late in_progress - poll_order"),
        (S::InProgress, 0, Outcome::Retryable(failure(), Retry::Counted), "2 s late in_progress - poll_order"),
        (
            S::InProgress,
            0,
            Outcome::Retryable(failure(), Retry::Throttled(Duration::from_secs(7))),
            "8 s late in_progress - poll_order",
        ),
        // It knows nothing of it: perhaps by another name.
        (S::InProgress, 0, Outcome::Refused(failure()), "2 s late in_progress - look_up_order"),
    ] {
        let mut order = Order { followed: Some(since(age_ms)), ..extract(status) };
        let decision = after_answer(&mut order, &active_job(OrderJobKind::Create), Operation::Poll, &outcome);
        assert_eq!(told(&order, &decision), expected, "{status:?} {age_ms} {outcome:?}");
    }
}

#[test]
fn the_words_of_an_error_are_the_orders_failure() {
    let mut order = Order { followed: Some(since(0)), ..extract(OrderStatus::InProgress) };
    let outcome = Outcome::Done(AtProvider::Progress(Progress::Failed("The object is not in the register".into())));
    after_answer(&mut order, &active_job(OrderJobKind::Create), Operation::Poll, &outcome);
    let failure = order.failure.expect("a failure");
    assert_eq!((&*failure.code, &*failure.message), ("provider.ended_in_error", "The object is not in the register"));
}

#[test]
fn files_are_fetched_one_by_one_and_delivered_together() {
    let job = active_job(OrderJobKind::Create);
    let mut order = Order { followed: Some(since(0)), ..extract(OrderStatus::InProgress) };
    after_answer(&mut order, &job, Operation::Poll, &complete(&["1", "2"], true));
    let first = after_answer(&mut order, &job, Operation::Fetch, &received());
    assert_eq!(told(&order, &first), "0 s in_progress - fetch_file");
    let second = after_answer(&mut order, &job, Operation::Fetch, &received());
    assert_eq!(told(&order, &second), "done delivered OrderDelivered poll_order");
    assert_eq!(order.provider_sync_status, ProviderSyncStatus::Synced);
    let files = order.files();
    assert_eq!(files.iter().map(|file| &*file.provider_file_id).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((&*files[0].name, files[0].bytes, &*files[0].id), ("1.html.pdf", 7, &*file_id("req_open")));
}

#[test]
fn a_signature_may_follow_within_a_day_and_is_fetched_alone() {
    let job = active_job(OrderJobKind::Create);
    let mut order = Order { followed: Some(since(0)), ..extract(OrderStatus::InProgress) };
    after_answer(&mut order, &job, Operation::Poll, &complete(&["1"], false));
    let delivered = after_answer(&mut order, &job, Operation::Fetch, &received());
    assert_eq!(told(&order, &delivered), "30 s delivered OrderDelivered poll_order");
    let again = after_answer(&mut order, &job, Operation::Poll, &complete(&["1"], false));
    assert_eq!(told(&order, &again), "30 s delivered - poll_order");
    let mut late = order.clone();
    late.followed.as_mut().expect("followed").complete_at = Some(before_now(DAY_MS));
    let given_up = after_answer(&mut late, &job, Operation::Poll, &complete(&["1"], false));
    assert_eq!(told(&late, &given_up), "done delivered - poll_order");
    let verified = after_answer(&mut order, &job, Operation::Poll, &complete(&["1", "sig"], true));
    assert_eq!(told(&order, &verified), "0 s delivered - fetch_file");
    let signed = after_answer(&mut order, &job, Operation::Fetch, &received());
    assert_eq!(told(&order, &signed), "done delivered - poll_order");
    assert_eq!(order.files().len(), 2);
}

#[test]
fn a_failed_file_is_retried_for_a_day_and_a_refused_one_is_not() {
    let fetching = || Order {
        followed: Some(OrderProgress { to_fetch: to_fetch(&["1"]), ..since(0) }),
        ..extract(OrderStatus::InProgress)
    };
    let unclear = Outcome::Retryable(failure(), Retry::Counted);
    let (mut order, mut job) = (fetching(), active_job(OrderJobKind::Create));
    job.attempts = job.max_attempts;
    let decision = after_answer(&mut order, &job, Operation::Fetch, &unclear);
    assert_eq!(told(&order, &decision), "2 s late in_progress - fetch_file");
    job.deferring_since = Some(before_now(DAY_MS));
    let decision = after_answer(&mut order, &job, Operation::Fetch, &unclear);
    assert_eq!(told(&order, &decision), "dead needs_attention OrderNeedsAttention -");
    let (mut order, job) = (fetching(), active_job(OrderJobKind::Create));
    let decision = after_answer(&mut order, &job, Operation::Fetch, &Outcome::Refused(failure()));
    assert_eq!(told(&order, &decision), "dead needs_attention OrderNeedsAttention -");
}

#[test]
fn what_has_gone_missing_is_looked_up_and_never_placed_again() {
    let missing =
        || Order { followed: Some(OrderProgress { missing: true, ..since(0) }), ..extract(OrderStatus::InProgress) };
    let job = active_job(OrderJobKind::Create);
    for (outcome, expected, reference) in [
        (placed("df-1"), "2 s late in_progress - poll_order", "df-1"),
        (placed("df-2"), "0 s in_progress - poll_order", "df-2"),
        (Outcome::Done(AtProvider::Absent), "2 s late in_progress - look_up_order", "df-1"),
        (Outcome::Refused(failure()), "2 s late in_progress - poll_order", "df-1"),
    ] {
        let mut order = missing();
        let decision = after_answer(&mut order, &job, Operation::LookUp, &outcome);
        assert_eq!(told(&order, &decision), expected, "{outcome:?}");
        assert_eq!(order.reference.as_deref(), Some(reference), "{outcome:?}");
    }
}

#[test]
fn a_person_has_it_followed_on_and_nothing_that_has_ended() {
    for status in OrderStatus::ALL {
        let mut order = Order { followed: Some(since(31 * DAY_MS)), ..extract(status) };
        let resumed = resume(&mut order, NOW);
        assert_eq!(resumed, matches!(status, OrderStatus::Created | OrderStatus::NeedsAttention), "{status:?}");
        if status == OrderStatus::NeedsAttention {
            assert_eq!(next_call(&order), Some(Operation::Poll));
            assert_eq!(order.followed.map(|followed| followed.since), Some(NOW as DateTime));
        }
    }
}
