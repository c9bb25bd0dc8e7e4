//! Changes of queues and jobs by operators: each in one transaction with the audit event that tells of it. So what took effect is
//! on record as done, whatever becomes of the answer, and what is on record took effect.

use bson::{Document, doc};

use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, record_event},
        queue::{Controls, JOBS, QUEUES, Retried, RetryJob},
    },
    platform::{
        batch::{Command, Key, View},
        identity::Actor,
    },
};

/// Actor of a change, and the id of its audit event.
pub(super) struct AuditContext {
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl AuditContext {
    fn record(&self, view: &mut View, action: &str, resource: (&str, &str), before: Document, after: Option<Document>) {
        let event = AuditEvent::new(AuditOutcome::Done, self.actor.clone(), action, resource, view.now())
            .with_id(self.event_id.clone())
            .before(before)
            .after(after);
        record_event(view, &event);
    }
}

/// Pauses a queue, or lets it go on.
pub(super) struct SetPaused {
    pub(super) queue: &'static str,
    pub(super) paused: bool,
    pub(super) doing: AuditContext,
}

impl Command for SetPaused {
    type Reply = ();

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(QUEUES, self.queue)]
    }

    fn decide(&self, view: &mut View) {
        let told = |controls: &Controls| {
            let Controls { paused, paused_reason, .. } = controls;
            doc! { "paused": paused, "pausedReason": paused_reason }
        };
        let known = view.by_id::<Controls>(self.queue);
        let is_known = known.is_some();
        let mut controls = known.unwrap_or_else(|| Controls::of(self.queue));
        let before = told(&controls);
        controls.paused = self.paused;
        controls.paused_reason = self.paused.then(|| format!("paused by {}", self.doing.actor.id));
        if is_known {
            view.update(&controls);
        } else {
            view.insert(&controls);
        }
        let action = if self.paused { "queue.paused" } else { "queue.resumed" };
        self.doing.record(view, action, ("queue", self.queue), before, Some(told(&controls)));
    }
}

/// Runs a dead job again.
pub(super) struct RetryDeadJob {
    pub(super) job: RetryJob,
    pub(super) doing: AuditContext,
}

impl Command for RetryDeadJob {
    type Reply = Retried;

    fn reads(&self) -> Vec<Key> {
        self.job.reads()
    }

    fn decide(&self, view: &mut View) -> Retried {
        // Somebody else deletes it in this transaction.
        if view.removed_from(JOBS).any(|id| id == self.job.job_id) {
            return Retried::NotFound;
        }
        let retried = self.job.decide(view);
        if let Retried::Revived(job) = &retried {
            let state = |state: &str| doc! { "queue": &job.queue, "kind": &job.kind, "state": state };
            self.doing.record(view, "queue.job_retried", ("job", &job.id), state("dead"), Some(state("ready")));
        }
        retried
    }
}

/// Runs the dead job of an order again, for a reason.
pub(super) struct RetryOrder {
    pub(super) retry: RetryDeadJob,
    pub(super) order_id: String,
    /// The owner.
    pub(super) user_id: String,
    pub(super) reason: String,
    /// Id of the audit event about the order, new.
    pub(super) event_id: String,
}

impl Command for RetryOrder {
    type Reply = Retried;

    fn reads(&self) -> Vec<Key> {
        self.retry.reads()
    }

    fn decide(&self, view: &mut View) -> Retried {
        let retried = self.retry.decide(view);
        if let Retried::Revived(job) = &retried {
            let (actor, order) = (self.retry.doing.actor.clone(), ("order", &*self.order_id));
            let event = AuditEvent::new(AuditOutcome::Done, actor, "order.retried", order, view.now())
                .with_id(self.event_id.clone())
                .of_user(self.user_id.clone())
                .because(self.reason.clone())
                .after(doc! { "jobId": &job.id });
            record_event(view, &event);
        }
        retried
    }
}

/// Deletes a job that is done or dead.
pub(super) struct DeleteJob {
    pub(super) job_id: String,
    pub(super) doing: AuditContext,
}

/// The outcome of deleting a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    /// Deleted.
    Gone,
    /// There is no such job.
    NotFound,
    /// The job hasn't ended.
    NotEnded,
}

impl Command for DeleteJob {
    type Reply = Deleted;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(JOBS, &*self.job_id)]
    }

    fn decide(&self, view: &mut View) -> Deleted {
        let key = Key::id(JOBS, &*self.job_id);
        if !view.contains(&key) || view.removed_from(JOBS).any(|id| id == self.job_id) {
            return Deleted::NotFound;
        }
        // By its fields: one that can't be read as a job can be deleted, too.
        if !matches!(view.text(&key, "state"), Some("done" | "dead")) {
            return Deleted::NotEnded;
        }
        let text = |field| view.text(&key, field);
        let before = doc! { "queue": text("queue"), "kind": text("kind"), "state": text("state") };
        view.remove(JOBS, &self.job_id);
        self.doing.record(view, "queue.job_deleted", ("job", &self.job_id), before, None);
        Deleted::Gone
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bson::DateTime;

    use super::*;
    use crate::{
        modules::{
            audit::AUDIT_EVENTS,
            queue::{Job, JobEnd, JobError, QueueConfig},
        },
        platform::ids::new_id,
    };

    fn doing() -> AuditContext {
        AuditContext { actor: Actor::command_line("test"), event_id: new_id("aud") }
    }

    /// A view in which one job is dead.
    fn dead_job() -> View {
        let at = DateTime::from_millis(0);
        let mut view = View::new(at);
        let mut job = Job::new("job_1".into(), &QueueConfig::named("q"), "kind", doc! {}, "rqs_1", at);
        let error = JobError { class: "x".into(), code: "x".into(), message: "x".into() };
        job.end(&JobEnd::Dead { error }, at);
        view.put_read(&job);
        view
    }

    fn actions(view: &View) -> Vec<String> {
        view.appended_to(AUDIT_EVENTS).map(|event| event.get_str("action").expect("an action").to_owned()).collect()
    }

    #[test]
    fn a_job_deleted_twice_in_one_batch_is_recorded_once() {
        let (first, second, retry) = (doing(), doing(), doing());
        let mut view = dead_job();
        let delete = |doing| DeleteJob { job_id: "job_1".into(), doing };
        assert_eq!(delete(first).decide(&mut view), Deleted::Gone);
        assert_eq!(delete(second).decide(&mut view), Deleted::NotFound);
        let job = RetryJob {
            job_id: "job_1".into(),
            event_id: "evt_1".into(),
            actor: retry.actor.clone(),
            handlers: Arc::default(),
        };
        assert_eq!(RetryDeadJob { job, doing: retry }.decide(&mut view), Retried::NotFound, "it must not come back");
        assert_eq!(actions(&view), ["queue.job_deleted"]);
        assert_eq!(view.removed_from(JOBS).count(), 1);
    }
}
