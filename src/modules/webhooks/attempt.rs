//! Making deliveries. An attempt goes the way of a call to a provider: one transaction decides it and puts its request on record,
//! then it is sent, and another transaction puts the answer on record with what follows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bson::{DateTime, doc};
use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;

use super::{
    DELIVER_KIND,
    dispatch::InFlight,
    failure_streak::{self, CallPermission},
    judge::{DeliveryOutcome, delay, judge},
    model::{
        DELIVERIES, Delivery, DeliveryAttempt, DeliveryStatus, DisabledReason, ENDPOINTS, Endpoint, EndpointStatus,
        StoredEvent,
    },
    owner::{is_tenant, tenant_of, user_of},
    payload::{self, OPERATION, PROVIDER, REDACTION, TEST_TYPE},
    secrets::EndpointSecrets,
};
use crate::{
    modules::{
        audit::{self, AuditEvent, AuditOutcome, Call, ErrorClass, ProviderResponseLog, record_event},
        auth::{User, user_key},
        events::{self, Actor, EVENTS, Event},
        queue::{
            Attempt, CALL_MARGIN, Concluded, Conclusion, JOBS, Job, JobEnd, JobError, JobHandler, Lease, QueueConfig,
            RetryRefused, holds_lease, move_job, settle_job,
        },
    },
    platform::{
        batch::{Command, Key, Lane, LaneError, View},
        clock::{Clock, after},
        crash,
        exchange::{Credentials, ExchangeClient, Logged, NotSent, Outbound, Prepared, Reply, ResponseRecord},
        ids::{new_id, sibling_id},
        sealing::{Sealed, SealingKeys},
    },
};

/// A probe whose worker died is made again this long after the deadline.
const PROBE_MARGIN: Duration = Duration::from_secs(5);

pub struct DeliverEvent {
    pub lane: Lane,
    pub exchange: ExchangeClient,
    /// Open the secrets that sign.
    pub keys: Arc<SealingKeys>,
    pub clock: Clock,
    /// [`super::WEBHOOK_DELIVERIES_QUEUE`].
    pub queue: QueueConfig,
    /// Delays between attempts.
    pub retries: Arc<[Duration]>,
    /// Keeps one endpoint from taking every slot.
    pub in_flight: InFlight,
}

/// Ids of the delivery, of its event and of its endpoint, the job's owner.
fn ids(job: &Job) -> Option<(&str, &str, &str)> {
    let id = |name| job.payload.get_str(name).ok();
    Some((id("deliveryId")?, id("eventId")?, job.owner.as_deref()?))
}

fn keys_of(delivery_id: &str, endpoint_id: &str) -> Vec<Key> {
    vec![Key::id(DELIVERIES, delivery_id), Key::id(ENDPOINTS, endpoint_id)]
}

/// Begins an attempt: closes what a dead worker left open, decides whether to call, and logs the request.
struct BeginDelivery {
    delivery_id: String,
    event_id: String,
    endpoint_id: String,
    /// Owner of the endpoint; none in jobs of older versions.
    owner_id: Option<String>,
    job_id: String,
    token: String,
    worker_id: String,
    /// There is room for one more call to the endpoint here.
    has_room: bool,
    /// How long a probe may take.
    probe: Duration,
    request_ref_id: String,
    closing_response_id: String,
}

/// A delivery that may be sent.
struct BegunDelivery {
    logged: Logged,
    call: Call,
    event_id: String,
    secrets: Sealed,
    was_probe: bool,
}

impl BeginDelivery {
    fn call(&self, delivery: &Delivery, user_id: &str, job: &Job, now: DateTime) -> Call {
        Call {
            request_ref_id: self.request_ref_id.clone(),
            order_id: None,
            user_id: user_id.to_owned(),
            client_order_id: None,
            resource_id: Some(delivery.id.clone()),
            provider: PROVIDER.into(),
            operation: OPERATION.into(),
            attempt: job.attempts,
            job_id: job.id.clone(),
            worker_id: self.worker_id.clone(),
            account_id: delivery.endpoint_id.clone(),
            correlation_id: job.correlation_id.clone(),
            sent_at: now,
        }
    }

    /// Gives the delivery up without a call.
    fn end(view: &mut View, job: Job, mut delivery: Delivery, error: &str) -> Attempt {
        let now = view.now();
        delivery.attempted(DeliveryAttempt { at: now, http_status: None, error: Some(error.into()), latency_ms: None });
        delivery.end(DeliveryStatus::Failed, now);
        view.update(&delivery);
        settle_job(view, job, &done(&delivery));
        Attempt::Settled
    }
}

fn done(delivery: &Delivery) -> JobEnd {
    JobEnd::Done { result: Some(doc! { "status": delivery.status.as_str() }) }
}

/// The body, and the user of the event.
fn body(view: &View, delivery: &Delivery, endpoint: &Endpoint) -> Option<(Value, String)> {
    if delivery.kind == TEST_TYPE {
        let body = payload::of_test(&delivery.endpoint_id, delivery.event_at);
        return Some((body, endpoint.user_id().to_owned()));
    }
    let StoredEvent(event) = view.by_id::<StoredEvent>(&delivery.event_id)?;
    Some((payload::of(&event, is_tenant(&delivery.owner_id))?, event.user_id))
}

/// Whether the endpoint's owner is a user who was shut out.
fn is_owner_disabled(view: &View, endpoint: &Endpoint) -> bool {
    let owner = user_of(&endpoint.owner_id).and_then(|user_id| view.by_id::<User>(user_id));
    owner.is_some_and(|owner| owner.disabled_at.is_some())
}

impl Command for BeginDelivery {
    /// The call, or how the attempt went without one.
    type Reply = Result<Box<BegunDelivery>, Attempt>;

    fn reads(&self) -> Vec<Key> {
        let mut keys = keys_of(&self.delivery_id, &self.endpoint_id);
        keys.extend([Key::id(JOBS, &*self.job_id), Key::id(EVENTS, &*self.event_id)]);
        keys.extend(self.owner_id.as_deref().and_then(user_of).map(user_key));
        keys
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let job = view.by_id::<Job>(&self.job_id).filter(|job| holds_lease(job, &self.token));
        let Some(job) = job else { return Err(Attempt::LeaseLost) };
        let Some(mut delivery) = view.by_id::<Delivery>(&self.delivery_id) else {
            // It was kept for as long as deliveries are.
            settle_job(view, job, &JobEnd::Done { result: None });
            return Err(Attempt::Settled);
        };
        if delivery.open_call.as_ref().is_some_and(|call| call.request_ref_id == self.request_ref_id) {
            // Begun by an earlier submission whose reply was lost: the next attempt closes what that one left open.
            return Err(Attempt::LeaseLost);
        }
        close_open_call(view, &mut delivery, &self.closing_response_id);
        if delivery.status != DeliveryStatus::Pending || delivery.job_id != job.id {
            settle_job(view, job, &done(&delivery));
            return Err(Attempt::Settled);
        }
        let Some(mut endpoint) = view.by_id::<Endpoint>(&self.endpoint_id) else {
            return Err(Self::end(view, job, delivery, "webhooks.endpoint_deleted"));
        };
        if endpoint.status == EndpointStatus::Disabled {
            return Err(Self::end(view, job, delivery, "webhooks.endpoint_disabled"));
        }
        if is_owner_disabled(view, &endpoint) {
            return Err(Self::end(view, job, delivery, "webhooks.owner_disabled"));
        }
        let permission = failure_streak::call_permission(endpoint.trouble.as_ref(), view.now(), self.probe);
        if permission == CallPermission::Held || !self.has_room {
            move_job(view, job, endpoint.id);
            return Err(Attempt::Settled);
        }
        let Some((body, user_id)) = body(view, &delivery, &endpoint) else {
            return Err(Self::end(view, job, delivery, "webhooks.event_gone"));
        };
        if let (CallPermission::Probe { until }, Some(trouble)) = (permission, &mut endpoint.trouble) {
            trouble.retry_at = Some(until);
            view.update(&endpoint);
        }
        let call = self.call(&delivery, &user_id, &job, view.now());
        let logged = audit::record_request(view, &call, prepared(&endpoint, &delivery, body));
        delivery.open_call = Some(call.clone());
        view.update(&delivery);
        let (event_id, was_probe) = (delivery.event_id, permission != CallPermission::Free);
        Ok(Box::new(BegunDelivery { logged, call, event_id, secrets: endpoint.secrets, was_probe }))
    }
}

/// The request, and what is stored of it. Of its address only the host is: what stands behind it is often a secret.
fn prepared(endpoint: &Endpoint, delivery: &Delivery, body: Value) -> Prepared {
    let outbound = Outbound {
        provider: PROVIDER,
        operation: OPERATION,
        method: Method::POST,
        url: endpoint.url.clone(),
        body: Some(body),
        redaction: &REDACTION,
    };
    let mut prepared = Prepared::new(outbound, &["webhook-signature"]);
    let url = reqwest::Url::parse(&endpoint.url);
    prepared.record.url =
        url.map_or_else(|_| String::new(), |url| format!("{}/[path]", url.origin().ascii_serialization()));
    prepared.record.headers.insert("webhook-id", &*delivery.event_id);
    prepared
}

/// Writes down that a call which a dead worker left open has no answer.
fn close_open_call(view: &mut View, delivery: &mut Delivery, response_id: &str) {
    let Some(call) = delivery.open_call.take() else { return };
    let log = ProviderResponseLog::without_answer(response_id.to_owned(), &call, ErrorClass::Retryable, view.now());
    audit::record_response(view, &log);
    delivery.attempted(DeliveryAttempt {
        at: call.sent_at,
        http_status: None,
        error: Some("webhooks.no_answer".into()),
        latency_ms: None,
    });
    view.update(&*delivery);
}

struct EndedDelivery {
    call: Call,
    record: ResponseRecord,
    outcome: DeliveryOutcome,
    was_probe: bool,
}

/// The end of an attempt. `ended` is none where it panicked, took too long, or never ran because its workers died.
struct DeliveryConcluded {
    delivery_id: String,
    endpoint_id: String,
    ended: Option<EndedDelivery>,
    /// Why it has no end of its own, in a sentence.
    aborted: String,
    worker_id: String,
    retries: Arc<[Duration]>,
    queue: &'static str,
    response_id: String,
    event_id: String,
    jitter: f64,
}

impl DeliveryConcluded {
    fn response(ended: &EndedDelivery, response_id: &str, now: DateTime) -> ProviderResponseLog {
        ProviderResponseLog::new(response_id.to_owned(), &ended.call, &ended.record, ended.outcome.verdict(), now)
    }

    /// Puts the answer on record; gives what came of the attempt.
    fn note(&self, view: &mut View, delivery: &mut Delivery) -> DeliveryOutcome {
        let now = view.now();
        let Some(ended) = &self.ended else {
            close_open_call(view, delivery, &self.response_id);
            return DeliveryOutcome::Failed { code: "webhooks.aborted", message: self.aborted.clone(), wait: None };
        };
        audit::record_response(view, &Self::response(ended, &self.response_id, now));
        if delivery.open_call.as_ref().is_some_and(|open| open.request_ref_id == ended.call.request_ref_id) {
            delivery.open_call = None;
        }
        if ended.outcome != DeliveryOutcome::NotTried {
            delivery.attempted(DeliveryAttempt {
                at: ended.call.sent_at,
                http_status: ended.record.http_status,
                error: ended.outcome.verdict().error_code.map(str::to_owned),
                latency_ms: Some(ended.record.latency_ms),
            });
        }
        ended.outcome.clone()
    }

    /// Decides about the endpoint; gives whether calls to it are held back from now on.
    fn follow(&self, view: &mut View, job: &Job, outcome: &DeliveryOutcome) -> bool {
        let Some(mut endpoint) = view.by_id::<Endpoint>(&self.endpoint_id) else { return false };
        let now = view.now();
        let was = endpoint.clone();
        let was_probe = self.ended.as_ref().is_some_and(|ended| ended.was_probe);
        match outcome {
            DeliveryOutcome::Delivered => endpoint.trouble = None,
            DeliveryOutcome::Failed { wait, .. } => {
                failure_streak::failed(&mut endpoint.trouble, &self.delivery_id, was_probe, *wait, now);
                if failure_streak::is_failing_for_too_long(endpoint.trouble.as_ref(), now)
                    && endpoint.status == EndpointStatus::Enabled
                {
                    self.disable(view, &mut endpoint, job, DisabledReason::Failing);
                }
            }
            DeliveryOutcome::Gone if endpoint.status == EndpointStatus::Enabled => {
                self.disable(view, &mut endpoint, job, DisabledReason::Gone);
            }
            DeliveryOutcome::Gone | DeliveryOutcome::NotTried => {}
        }
        if endpoint != was {
            view.update(&endpoint);
        }
        endpoint.is_held()
    }

    fn disable(&self, view: &mut View, endpoint: &mut Endpoint, job: &Job, reason: DisabledReason) {
        let now = view.now();
        endpoint.status = EndpointStatus::Disabled;
        endpoint.disabled_reason = Some(reason);
        endpoint.trouble = None;
        endpoint.updated_at = now;
        endpoint.events += 1;
        let actor = Actor::worker(&self.worker_id, &job.correlation_id);
        let after = doc! { "status": endpoint.status.as_str(), "disabledReason": reason.as_str() };
        let mut data = after.clone();
        data.extend(tenant_of(&endpoint.owner_id).map(|tenant_id| ("tenantId".to_owned(), tenant_id.into())));
        events::record(
            view,
            &Event {
                id: self.event_id.clone(),
                kind: "WebhookDisabled".into(),
                subject_id: endpoint.id.clone(),
                user_id: endpoint.user_id().to_owned(),
                seq: endpoint.events,
                actor: actor.clone(),
                data,
                at: now,
            },
        );
        let about = ("webhook_endpoint", &*endpoint.id);
        let event = AuditEvent::new(AuditOutcome::Done, actor, "webhook_endpoint.disabled", about, now)
            .with_id(sibling_id("aud", &self.event_id))
            .of_user(endpoint.user_id().to_owned())
            .before(doc! { "status": "enabled" })
            .after(after);
        record_event(view, &event);
    }

    /// Decides about the delivery and its job.
    fn end(&self, view: &View, delivery: &mut Delivery, job: &Job, outcome: &DeliveryOutcome) -> JobEnd {
        let now = view.now();
        let (code, message) = match outcome {
            DeliveryOutcome::Delivered => {
                delivery.end(DeliveryStatus::Delivered, now);
                return done(delivery);
            }
            DeliveryOutcome::Gone => {
                delivery.end(DeliveryStatus::Failed, now);
                return done(delivery);
            }
            DeliveryOutcome::NotTried => {
                delivery.updated_at = now;
                return JobEnd::Retry { at: after(now, Duration::from_secs(1)), error: None, counts: false };
            }
            DeliveryOutcome::Failed { code, message, .. } => (*code, message),
        };
        let Some(delay) = delay(&self.retries, job.attempts, self.jitter) else {
            delivery.end(DeliveryStatus::Failed, now);
            return done(delivery);
        };
        let wait = match outcome {
            DeliveryOutcome::Failed { wait: Some(wait), .. } => delay.max(*wait),
            _ => delay,
        };
        let at = after(now, wait);
        delivery.next_attempt_at = Some(at);
        delivery.updated_at = now;
        let error = Some(JobError::new(ErrorClass::Retryable.as_str(), code, message.clone()));
        JobEnd::Retry { at, error, counts: true }
    }
}

impl Conclusion for DeliveryConcluded {
    fn reads(&self) -> Vec<Key> {
        keys_of(&self.delivery_id, &self.endpoint_id)
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let Some(mut delivery) = view.by_id::<Delivery>(&self.delivery_id) else {
            if let Some(ended) = &self.ended {
                audit::record_response(view, &Self::response(ended, &self.response_id, view.now()));
            }
            return JobEnd::Done { result: None }.into();
        };
        let outcome = self.note(view, &mut delivery);
        let is_held = self.follow(view, job, &outcome);
        let end = self.end(view, &mut delivery, job, &outcome);
        view.update(&delivery);
        // What waits behind an endpoint that is back may be many.
        let wake = (outcome == DeliveryOutcome::Delivered && !job.route.is_empty())
            .then_some(self.queue)
            .into_iter()
            .collect();
        let route = if is_held { self.endpoint_id.clone() } else { String::new() };
        Concluded { end, wake, priority: None, route: Some(route) }
    }

    fn conclude_late(&self, view: &mut View) {
        let Some(ended) = &self.ended else { return };
        if view.by_id::<ProviderResponseLog>(&self.response_id).is_none() {
            let log = ProviderResponseLog { late: true, ..Self::response(ended, &self.response_id, view.now()) };
            audit::record_response(view, &log);
        }
    }
}

impl DeliverEvent {
    /// Signs and sends, unless the lease would not outlast the call. The call's time runs from before the look at the lease: a
    /// process that is stopped between the two must not send when it goes on.
    async fn send(&self, begun: &BegunDelivery, lease: &Lease) -> Reply {
        let since = Instant::now();
        if !lease.outlasts(self.exchange.deadline() + CALL_MARGIN).await {
            return Reply::not_sent(NotSent::NoTime);
        }
        let Some(credentials) = self.sign(begun) else {
            return Reply::not_sent(NotSent::NoCredentials);
        };
        crash::point("sending");
        self.exchange.send(&begun.logged, credentials, since).await
    }

    /// The headers of the specification, over the body as it is going to be sent, with the time of this attempt.
    fn sign(&self, begun: &BegunDelivery) -> Option<Credentials> {
        let body = begun.logged.outbound().body.as_ref()?.to_string();
        let opened = EndpointSecrets::open(&self.keys, &begun.call.account_id, &begun.secrets);
        let secrets = opened
            .inspect_err(
                |error| tracing::error!(endpoint.id = begun.call.account_id, %error, "secrets can't be opened"),
            )
            .ok()?;
        let now = self.clock.now();
        let headers = [
            ("webhook-id", begun.event_id.clone()),
            ("webhook-timestamp", (now.timestamp_millis() / 1_000).to_string()),
            ("webhook-signature", secrets.sign(&begun.event_id, now, &body)?),
        ];
        let header = |(name, value): (&'static str, String)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
        };
        headers.into_iter().map(header).collect()
    }

    async fn deliver(&self, delivery_id: &str, begun: BegunDelivery, lease: &Lease) -> DeliveryConcluded {
        crash::point("request_logged");
        let Reply { answer, record } = self.send(&begun, lease).await;
        crash::point("answered");
        let outcome = judge(&answer);
        metrics::counter!("waybill_webhook_attempts_total", "result" => outcome.as_str()).increment(1);
        metrics::histogram!("waybill_provider_call_seconds",
            "provider" => PROVIDER, "operation" => OPERATION, "outcome" => outcome.verdict().outcome)
        .record(record.latency_ms as f64 / 1_000.0);
        let endpoint_id = begun.call.account_id.clone();
        let ended = EndedDelivery { call: begun.call, record, outcome, was_probe: begun.was_probe };
        let of = self.concluded(delivery_id, &endpoint_id, &lease.worker_id);
        DeliveryConcluded { ended: Some(ended), ..of }
    }

    fn concluded(&self, delivery_id: &str, endpoint_id: &str, worker_id: &str) -> DeliveryConcluded {
        DeliveryConcluded {
            delivery_id: delivery_id.to_owned(),
            endpoint_id: endpoint_id.to_owned(),
            ended: None,
            aborted: String::new(),
            worker_id: worker_id.to_owned(),
            retries: Arc::clone(&self.retries),
            queue: self.queue.name,
            response_id: new_id("res"),
            event_id: new_id("evt"),
            jitter: rand::random(),
        }
    }
}

#[async_trait]
impl JobHandler for DeliverEvent {
    fn kind(&self) -> &'static str {
        DELIVER_KIND
    }

    fn queue(&self) -> &'static str {
        self.queue.name
    }

    async fn run(&self, job: &Job, lease: &Lease) -> Attempt {
        let Some((delivery_id, event_id, endpoint_id)) = ids(job) else {
            let reason = "The payload has no deliveryId or no eventId, or the job no owner.";
            return Attempt::Failed(JobError::new("payload", "queue.unreadable_payload", reason));
        };
        let slot = self.in_flight.take(endpoint_id);
        let begin = BeginDelivery {
            delivery_id: delivery_id.to_owned(),
            event_id: event_id.to_owned(),
            endpoint_id: endpoint_id.to_owned(),
            owner_id: job.payload.get_str("ownerId").ok().map(str::to_owned),
            job_id: job.id.clone(),
            token: lease.token.clone(),
            worker_id: lease.worker_id.clone(),
            has_room: slot.is_some(),
            probe: self.exchange.deadline() + PROBE_MARGIN,
            request_ref_id: new_id("req"),
            closing_response_id: new_id("res"),
        };
        match self.lane.submit(begin).await {
            Ok(Ok(begun)) => Attempt::Concluded(Box::new(self.deliver(delivery_id, *begun, lease).await)),
            Ok(Err(attempt)) => attempt,
            Err(LaneError::Busy | LaneError::Away) => Attempt::NotBegun,
            Err(LaneError::Failed(reason)) => Attempt::Failed(JobError::new("internal", "queue.begin_failed", reason)),
        }
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        let (delivery_id, _, endpoint_id) = ids(job)?;
        let worker_id = job.lease_owner.as_deref().unwrap_or_default();
        Some(Box::new(DeliveryConcluded {
            aborted: error.message,
            ..self.concluded(delivery_id, endpoint_id, worker_id)
        }))
    }

    fn revive(&self, _: &mut View, _: &Job, _: &Actor, _: &str) -> Result<(), RetryRefused> {
        Err(RetryRefused { reason: "The owner of the delivery has it made again." })
    }
}
