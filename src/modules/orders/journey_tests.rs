//! Random journeys of one order: the real commands over a database of a few documents, workers that die or come late, a
//! merchant who cancels, and a carrier that keeps books. One order here is at most one order there.

mod money;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bson::{DateTime, Document};
use proptest::{collection::vec, prelude::*};

use super::{
    SETTLING_DELAY,
    attempt_tests::order_job,
    charging_tests::quote,
    commands::{CancelOrder, CreateOrder},
    error::OrderError,
    flow::{AtProvider, OrderJobKind},
    flow_tests::{NOW, carrier, detail, failure, placed, providers},
    jobs::OrderJob,
    model::{CancellationStatus, Order, OrderStatus, fingerprint},
    retry_tests::order_handlers,
};
use crate::{
    modules::{
        audit::{REQUEST_LOGS, RESPONSE_LOGS},
        events::{Actor, EVENTS},
        kyc::KycGate,
        providers::{
            Operation, Outcome, Retry,
            call_job::{AttemptFailed, BeginAttempt, BegunCall, CallConcluded, CallJob},
        },
        queue::{Conclusion, Handlers, Job, JobError, JobState, Retried, RetryJob, settle_job},
        wallet::{Hold, LedgerTransaction, Wallet},
    },
    platform::{
        batch::{Command, Entity, View},
        clock::after,
        exchange::ResponseRecord,
    },
};

/// Longer than any lease.
const LEASE: Duration = Duration::from_secs(31);

/// The random choices of one attempt.
#[derive(Clone, Copy, Debug)]
struct Chance {
    /// The carrier's behaviour.
    answer: u8,
    worker: u8,
    /// Whether the merchant cancels, before the attempt or during the call, or a person has dead jobs run again.
    people: u8,
}

/// No trouble at all.
const FAIR: Chance = Chance { answer: u8::MAX, worker: u8::MAX, people: u8::MAX };

#[derive(Clone, Copy, Debug, PartialEq)]
enum There {
    /// Made, or going to be made at that time.
    Since(DateTime),
    Cancelled,
}

struct World {
    now: DateTime,
    order: Option<Order>,
    wallet: Option<Wallet>,
    holds: BTreeMap<String, Hold>,
    ledger: BTreeMap<String, LedgerTransaction>,
    jobs: BTreeMap<String, Job>,
    requests: Vec<Document>,
    responses: Vec<Document>,
    events: Vec<Document>,
    books: Vec<There>,
    handlers: Arc<Handlers>,
    ids: u32,
}

impl World {
    fn new(handlers: &Arc<Handlers>) -> Self {
        Self {
            now: NOW,
            order: None,
            wallet: None,
            holds: BTreeMap::new(),
            ledger: BTreeMap::new(),
            jobs: BTreeMap::new(),
            requests: Vec::new(),
            responses: Vec::new(),
            events: Vec::new(),
            books: Vec::new(),
            handlers: Arc::clone(handlers),
            ids: 0,
        }
    }

    fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}_{:04}", self.ids)
    }

    /// Runs one transaction and keeps what it wrote.
    fn commit<R>(&mut self, run: impl FnOnce(&mut View) -> R) -> R {
        let mut view = View::new(self.now);
        self.order.iter().for_each(|order| view.put_read(order));
        self.jobs.values().for_each(|job| view.put_read(job));
        self.wallet.iter().for_each(|wallet| view.put_read(wallet));
        self.holds.values().for_each(|hold| view.put_read(hold));
        let reply = run(&mut view);
        self.keep_money(&view);
        let order_key = Order::key("usr_1", "c-1001");
        self.order = view.find(&order_key);
        for id in (1..=self.ids).map(|id| format!("job_{id:04}")) {
            if let Some(job) = view.by_id::<Job>(&id) {
                self.jobs.insert(id, job);
            }
        }
        for (collection, kept) in
            [(REQUEST_LOGS, &mut self.requests), (RESPONSE_LOGS, &mut self.responses), (EVENTS, &mut self.events)]
        {
            kept.extend(view.appended_to(collection).map(|raw| Document::try_from(raw.clone()).expect("a document")));
        }
        reply
    }

    fn submit<C: Command>(&mut self, command: &C) -> C::Reply {
        self.commit(|view| command.decide(view))
    }

    fn create(&mut self) {
        let command = CreateOrder {
            gate: KycGate::new(false),
            user_id: "usr_1".into(),
            tenant_id: None,
            client_order_id: "c-1001".into(),
            provider: "parcelx",
            fingerprint: fingerprint("parcelx", &detail()),
            detail: detail(),
            quote: Some(quote()),
            contradictions: Vec::new(),
            part_of: None,
            actor: Actor::worker("usr_1", "rqs_1"),
            correlation_id: "rqs_1".into(),
            queue: carrier().create,
            own_account: false,
            order_id: self.id("ord"),
            job_id: self.id("job"),
            event_id: self.id("evt"),
        };
        assert!(self.submit(&command).is_ok_and(|reply| !reply.replayed));
    }

    fn cancel(&mut self) {
        let command = CancelOrder {
            user_id: "usr_1".into(),
            client_order_id: "c-1001".into(),
            reason: None,
            actor: Actor::worker("usr_1", "rqs_2"),
            correlation_id: "rqs_2".into(),
            providers: providers(),
            job_id: self.id("job"),
            event_ids: [self.id("evt"), self.id("evt")],
        };
        assert!(!matches!(self.submit(&command), Err(OrderError::NotFound)));
    }

    /// A person has every dead job run again that may be.
    fn retry_dead(&mut self) {
        let dead: Vec<String> =
            self.jobs.values().filter(|job| job.state == JobState::Dead).map(|job| job.id.clone()).collect();
        for job_id in dead {
            let command = RetryJob {
                job_id,
                event_id: self.id("evt"),
                actor: Actor::worker("usr_admin", "rqs_3"),
                handlers: Arc::clone(&self.handlers),
            };
            assert_ne!(self.submit(&command), Retried::NotFound);
        }
    }

    /// Claims the next job, waiting for its time, if there is one.
    fn claim(&mut self) -> Option<(Job, OrderJobKind)> {
        let ready = self.jobs.values().filter(|job| job.state == JobState::Ready);
        let id = ready.min_by_key(|job| job.run_at)?.id.clone();
        let token = self.id("lease");
        let job = self.jobs.get_mut(&id).expect("it was just found");
        self.now = self.now.max(job.run_at);
        job.state = JobState::Active;
        job.attempts += 1;
        job.lease_token = Some(token);
        job.lease_owner = Some("wrk_1".into());
        let kind = if job.kind == super::CREATE_KIND { OrderJobKind::Create } else { OrderJobKind::Cancel };
        Some((job.clone(), kind))
    }

    /// The lease of a silent worker ends and its job goes back.
    fn reclaim(&mut self, job_id: &str) {
        self.pass(LEASE);
        let now = self.now;
        let job = self.jobs.get_mut(job_id).expect("a job");
        (job.state, job.run_at) = (JobState::Ready, now);
        (job.lease_token, job.lease_owner) = (None, None);
    }

    fn pass(&mut self, time: Duration) {
        self.now = after(self.now, time);
    }

    fn exists(&self) -> bool {
        self.books.iter().any(|there| matches!(there, There::Since(since) if *since <= self.now))
    }

    /// Carries a call out at the carrier; gives the outcome by the rules of the adapter.
    fn carry_out(&mut self, operation: Operation, chance: u8) -> Outcome<AtProvider> {
        let (failure, now) = (failure(), self.now);
        match operation {
            Operation::Create => match chance {
                0..20 => Outcome::Retryable(failure, Retry::Deferred),
                20..35 => Outcome::Retryable(failure, Retry::Throttled(Duration::from_secs(3))),
                35..40 => Outcome::Unauthorized(failure),
                40..50 => Outcome::Refused(failure),
                50..100 => Outcome::Unknown(failure),
                100..160 => {
                    self.books.push(There::Since(now));
                    Outcome::Unknown(failure)
                }
                160..200 => {
                    // It goes on with it after it has hung up; that is what the settling delay is for.
                    self.books.push(There::Since(after(now, SETTLING_DELAY)));
                    Outcome::Unknown(failure)
                }
                200.. => {
                    self.books.push(There::Since(now));
                    Outcome::Done(AtProvider::Placed(placed(false)))
                }
            },
            Operation::LookUp => match chance {
                0..60 => Outcome::Unknown(failure),
                60..80 => Outcome::Retryable(failure, Retry::Deferred),
                80..85 => Outcome::Unauthorized(failure),
                85.. if self.exists() => Outcome::Done(AtProvider::Placed(placed(false))),
                85.. if self.books.contains(&There::Cancelled) => Outcome::Done(AtProvider::Placed(placed(true))),
                85.. => Outcome::Done(AtProvider::Absent),
            },
            Operation::Cancel => match chance {
                0..40 => Outcome::Unknown(failure),
                40..60 => Outcome::Retryable(failure, Retry::Throttled(Duration::from_secs(3))),
                60..65 => Outcome::Unauthorized(failure),
                65..80 => Outcome::Refused(failure),
                80.. => {
                    self.books.fill(There::Cancelled);
                    if chance < 120 { Outcome::Unknown(failure) } else { Outcome::Done(AtProvider::Cancelled) }
                }
            },
            _ => panic!("this carrier is not asked for {operation:?}"),
        }
    }

    fn conclusion(
        &mut self,
        kind: OrderJobKind,
        begun: BegunCall<OrderJob>,
        outcome: Outcome<AtProvider>,
    ) -> CallConcluded<OrderJob> {
        let call_job = order_job(kind);
        let repeatable = call_job.is_safe_to_repeat(begun.asked.operation.as_str());
        CallConcluded {
            call_job,
            subject_id: begun.call.order_id.clone().expect("an order"),
            call: begun.call,
            asked: begun.asked,
            prefetch: begun.prefetch,
            record: ResponseRecord {
                http_status: None,
                headers: Document::new(),
                body: bson::Bson::Null,
                latency_ms: 0,
            },
            outcome: if repeatable { outcome.or_repeat() } else { outcome },
            response_id: self.id("res"),
            event_id: self.id("evt"),
            jitter: 0.0,
        }
    }

    fn conclude(&mut self, job: &Job, conclusion: &dyn Conclusion) {
        self.commit(|view| {
            let job = view.by_id::<Job>(&job.id).expect("the job");
            let end = conclusion.conclude(view, &job).end;
            settle_job(view, job, &end);
        });
    }

    fn fail(&mut self, job: &Job, kind: OrderJobKind) {
        let failed = AttemptFailed {
            call_job: order_job(kind),
            subject_id: job.payload.get_str("orderId").expect("an order").to_owned(),
            error: JobError::new("timeout", "queue.timeout", "The attempt took too long."),
            worker_id: "wrk_1".into(),
            closing_response_id: self.id("res"),
            event_id: self.id("evt"),
            jitter: 0.0,
        };
        self.conclude(job, &failed);
    }

    /// One attempt of the next job; says whether there was one.
    fn attempt(&mut self, chance: Chance) -> bool {
        if chance.people < 30 {
            self.cancel();
        }
        if (50..80).contains(&chance.people) {
            self.retry_dead();
        }
        let Some((job, kind)) = self.claim() else { return false };
        if chance.worker < 10 {
            self.reclaim(&job.id);
            return true;
        }
        if job.attempts > job.max_attempts {
            self.fail(&job, kind);
            return true;
        }
        let token = job.lease_token.clone().expect("claimed");
        let begin = BeginAttempt {
            account_id: "parcelx/default".into(),
            call_job: order_job(kind),
            subject_id: job.payload.get_str("orderId").expect("an order").to_owned(),
            job_id: job.id.clone(),
            token: token.clone(),
            worker_id: "wrk_1".into(),
            binds: false,
            request_ref_id: self.id("req"),
            closing_response_id: self.id("res"),
            event_id: self.id("evt"),
        };
        let Ok(begun) = self.submit(&begin) else { return true };
        if chance.worker < 20 {
            // Killed after the log was durable and before anything was sent.
            self.reclaim(&job.id);
            return true;
        }
        let outcome = self.carry_out(begun.asked.operation, chance.answer);
        if (30..50).contains(&chance.people) {
            self.cancel();
        }
        let conclusion = self.conclusion(kind, *begun, outcome);
        match chance.worker {
            // Killed after the call, or stopped because it took too long.
            0..30 => self.reclaim(&job.id),
            30..40 => self.fail(&job, kind),
            40..50 => {
                self.reclaim(&job.id);
                self.commit(|view| conclusion.conclude_late(view));
            }
            50.. => self.conclude(&job, &conclusion),
        }
        self.pass(Duration::from_millis(u64::from(chance.answer) * 20));
        true
    }

    fn check_end(&self) {
        let order = self.order.as_ref().expect("an order");
        let asked = order.cancellation.as_ref().map(|cancellation| cancellation.status);
        assert!(!order.cancellation_pending(), "a cancellation was forgotten");
        assert_eq!(order.open_call, None);
        match order.status {
            OrderStatus::Confirmed => {
                assert_eq!(self.books.len(), 1, "confirmed");
                let kept = [None, Some(CancellationStatus::Refused), Some(CancellationStatus::NeedsAttention)];
                assert!(kept.contains(&asked), "{asked:?}");
                let is_alive = self.books != [There::Cancelled];
                assert!(is_alive || asked != Some(CancellationStatus::Refused), "refused, and cancelled there");
            }
            OrderStatus::Cancelled => {
                assert!(!self.books.iter().any(|there| matches!(there, There::Since(_))), "a shipment nobody knows of");
                assert_eq!(asked, Some(CancellationStatus::Done));
            }
            OrderStatus::Failed => assert_eq!((self.books.len(), asked), (0, None), "refused"),
            OrderStatus::NeedsAttention => {
                assert!(order.failure.is_some());
                assert!([None, Some(CancellationStatus::NeedsAttention)].contains(&asked), "{asked:?}");
            }
            status => panic!("not an end: {status:?}"),
        }
        self.check_money(order);
        let text = |log: &Document, field| log.get_str(field).expect("text").to_owned();
        for request in &self.requests {
            let id = text(request, "_id");
            let answers = self
                .responses
                .iter()
                .filter(|log| text(log, "requestRefId") == id && log.get_bool("late").is_ok_and(|late| !late));
            assert_eq!(answers.count(), 1, "{id} has one answer, or the statement that there was none");
        }
        assert_eq!(text(&self.events[0], "type"), "OrderCreated");
        let last_status = self.events.last().and_then(|event| event.get_document("data").ok()).expect("data");
        assert_eq!(text(last_status, "status"), order.status.as_str(), "the last event says how it ended");
    }
}

/// The real handlers, made once; the runtime they want never runs anything.
fn handlers() -> Arc<Handlers> {
    static MADE: OnceLock<(Arc<Handlers>, tokio::runtime::Runtime)> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _entered = runtime.enter();
        (order_handlers(), runtime)
    });
    Arc::clone(&made.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_order_here_is_at_most_one_order_there(
        chances in vec(
            (any::<u8>(), any::<u8>(), any::<u8>())
                .prop_map(|(answer, worker, people)| Chance { answer, worker, people }),
            0..24,
        ),
    ) {
        let mut world = World::new(&handlers());
        world.recharge();
        world.create();
        for chance in chances {
            world.attempt(chance);
            prop_assert!(world.books.len() <= 1, "it was ordered twice");
        }
        let calmed_down = (0..40).any(|_| !world.attempt(FAIR));
        prop_assert!(calmed_down, "it never ends");
        prop_assert!(world.books.len() <= 1, "it was ordered twice");
        world.check_end();
    }
}
