//! Handlers and conclusions that misbehave: the job pays for it, its neighbours don't.

use std::{future::pending, time::Duration};

use waybill::{
    modules::queue::{Attempt, Concluded, Conclusion, Job, JobError, JobState},
    platform::batch::{Key, View},
};

use super::workshop::{done, job, jobs, number, worker};
use crate::support::TestApp;

/// The first of three jobs does something bad, three times; the others are done at once.
async fn first_of_three(script: fn() -> futures_util::future::BoxFuture<'static, Attempt>, code: &str, class: &str) {
    let app = TestApp::start().await;
    jobs(&app, 3, |_, _| {}).await;
    let worker = worker(&app, move |job| if number(job) == Some(0) { script() } else { Box::pin(async { done() }) });
    for attempt in 1..=3 {
        assert!(worker.run_due().await > 0, "attempt {attempt}: it is due");
        let bad = job(&app, 0).await;
        let error = bad.last_error.clone().expect("it says why");
        assert_eq!((&*error.code, &*error.class), (code, class), "{error:?}");
        assert_eq!((bad.attempts, bad.history.len()), (attempt, attempt as usize));
        assert_eq!(bad.state, if attempt < 3 { JobState::Ready } else { JobState::Dead });
        assert_eq!((bad.lease_token, bad.lease_owner, bad.lease_until), (None, None, None));
        for neighbour in [1, 2] {
            assert_eq!(job(&app, neighbour).await.state, JobState::Done);
        }
        assert_eq!(worker.run_due().await, 0, "attempt {attempt}: it waits for its time");
        app.app.clock.advance(Duration::from_secs(3));
    }
    assert_eq!(worker.run_due().await, 0, "dead is dead");
    app.finish().await;
}

#[tokio::test]
async fn a_handler_that_panics_has_failed_its_attempt() {
    first_of_three(|| Box::pin(async { panic!("out of luck") }), "queue.panic", "panic").await;
}

#[tokio::test]
async fn a_handler_that_never_ends_has_failed_its_attempt() {
    first_of_three(|| Box::pin(pending()), "queue.timeout", "timeout").await;
}

/// Can't be carried out.
struct Impossible {
    in_reads: bool,
}

impl Conclusion for Impossible {
    fn reads(&self) -> Vec<Key> {
        assert!(!self.in_reads, "out of luck while reading");
        Vec::new()
    }

    fn conclude(&self, _: &mut View, _: &Job) -> Concluded {
        panic!("out of luck while deciding")
    }
}

#[tokio::test]
async fn a_conclusion_that_panics_has_failed_its_attempt() {
    let script = || -> futures_util::future::BoxFuture<'static, Attempt> {
        Box::pin(async { Attempt::Concluded(Box::new(Impossible { in_reads: false })) })
    };
    first_of_three(script, "queue.conclusion_failed", "internal").await;
}

#[tokio::test]
async fn a_conclusion_that_panics_before_it_has_read_has_failed_its_attempt() {
    let script = || -> futures_util::future::BoxFuture<'static, Attempt> {
        Box::pin(async { Attempt::Concluded(Box::new(Impossible { in_reads: true })) })
    };
    first_of_three(script, "queue.conclusion_failed", "internal").await;
}

#[tokio::test]
async fn jobs_that_nobody_can_read_are_dead_and_hold_up_nobody() {
    let app = TestApp::start().await;
    jobs(&app, 4, |n, job| match n {
        0 => job.kind = "unheard-of".into(),
        1 => job.payload = bson::doc! { "number": "one" },
        _ => {}
    })
    .await;
    // One is not even a job.
    let shapeless = bson::doc! { "_id": "job_shapeless", "queue": super::workshop::QUEUE, "state": "ready", "priority": 0,
    "runAt": app.app.clock.now(), "attempts": 0, "payload": "?" };
    app.db().collection::<bson::Document>("jobs").insert_one(shapeless).await.unwrap();
    let worker = worker(&app, |job| match number(job) {
        Some(_) => Box::pin(async { done() }),
        None => Box::pin(async { Attempt::Failed(JobError::new("payload", "queue.unreadable_payload", "no number")) }),
    });
    worker.run_due().await;
    let mut ends: Vec<_> = app.all("jobs", bson::doc! {}).await;
    ends.sort_by_key(|job| job.get_str("state").unwrap().to_owned());
    let codes: Vec<_> = ends
        .iter()
        .map(|job| {
            let code = job.get_document("lastError").ok().and_then(|error| error.get_str("code").ok());
            (job.get_str("state").unwrap(), code.unwrap_or_default())
        })
        .collect();
    let mut dead: Vec<_> = codes.iter().filter(|(state, _)| *state == "dead").map(|(_, code)| *code).collect();
    dead.sort_unstable();
    assert_eq!(
        dead,
        ["queue.unknown_kind", "queue.unreadable", "queue.unreadable_payload"],
        "each dead at once, with its reason"
    );
    assert_eq!(codes.iter().filter(|(state, _)| *state == "done").count(), 2);
    assert_eq!(worker.run_due().await, 0);
    app.finish().await;
}
