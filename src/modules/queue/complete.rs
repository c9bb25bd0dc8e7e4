//! Ending an attempt, in one transaction with its results.

use std::sync::Arc;

use super::{
    handler::Conclusion,
    model::{Job, JobEnd, JobState},
    sequence,
};
use crate::platform::batch::{Command, Key, View};

/// Whether the job is still in the hands of whoever carries `token`.
#[must_use]
pub fn holds_lease(job: &Job, token: &str) -> bool {
    job.state == JobState::Active && job.lease_token.as_deref() == Some(token)
}

/// Ends a job inside somebody else's transaction. Whoever waits for its first attempt is due then.
pub fn settle_job(view: &mut View, mut job: Job, end: &JobEnd) {
    let now = view.now();
    if let Some(next) = job.line.take().and_then(|line| line.next) {
        sequence::release_waiting_job(view, &next, &job.id);
    }
    job.end(end, now);
    view.update(&job);
}

/// Gives a job to those who run jobs of `route`, inside somebody else's transaction. No attempt was made, so none is used up, and
/// whoever waits for one goes on waiting.
pub fn move_job(view: &mut View, mut job: Job, route: String) {
    job.move_to(route, view.now());
    view.update(&job);
}

/// The command that ends an attempt.
pub(super) struct CompleteJob {
    pub(super) job_id: String,
    pub(super) token: String,
    pub(super) conclusion: Arc<dyn Conclusion>,
}

#[derive(Debug)]
pub(super) enum Completion {
    /// Ended now: how, and which queue to wake.
    Ended(&'static str, Vec<&'static str>),
    /// Ended before, by this very attempt.
    Already,
    /// The lease had been lost.
    Late,
}

enum LeaseCheck {
    Held(Box<Job>),
    Already,
    Lost,
}

impl CompleteJob {
    fn check_lease(&self, view: &View) -> LeaseCheck {
        match view.by_id::<Job>(&self.job_id) {
            Some(job) if holds_lease(&job, &self.token) => LeaseCheck::Held(Box::new(job)),
            Some(job) if job.ended_by.as_deref() == Some(&*self.token) => LeaseCheck::Already,
            _ => LeaseCheck::Lost,
        }
    }
}

impl Command for CompleteJob {
    type Reply = Completion;

    fn reads(&self) -> Vec<Key> {
        let mut keys = self.conclusion.reads();
        keys.push(Key::id(super::JOBS, &*self.job_id));
        keys
    }

    fn decide(&self, view: &mut View) -> Completion {
        match self.check_lease(view) {
            LeaseCheck::Held(mut job) => {
                let concluded = self.conclusion.conclude(view, &job);
                if let Some(priority) = concluded.priority {
                    job.prioritise(priority);
                }
                job.route = concluded.route.unwrap_or(job.route);
                settle_job(view, *job, &concluded.end);
                Completion::Ended(concluded.end.as_str(), concluded.wake)
            }
            LeaseCheck::Already => Completion::Already,
            LeaseCheck::Lost => {
                self.conclusion.conclude_late(view);
                Completion::Late
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, doc};

    use super::*;
    use crate::modules::queue::{Concluded, JobError, QueueConfig};

    const NOW: DateTime = DateTime::from_millis(1_000);

    /// Writes down that it concluded, in time or late.
    struct Noted(JobEnd);

    impl Conclusion for Noted {
        fn reads(&self) -> Vec<Key> {
            vec![Key::id("orders", "ord_1")]
        }

        fn conclude(&self, view: &mut View, _: &Job) -> Concluded {
            view.append("notes", &doc! { "late": false });
            let route = Some("account".into());
            Concluded { end: self.0.clone(), wake: vec!["other-queue"], priority: None, route }
        }

        fn conclude_late(&self, view: &mut View) {
            view.append("notes", &doc! { "late": true });
        }
    }

    fn held_by(token: &str) -> Job {
        let mut job = Job::new("job_1".into(), &QueueConfig::named("q"), "kind", doc! {}, "rqs_1", NOW);
        job.state = JobState::Active;
        job.attempts = 1;
        job.lease_token = Some(token.into());
        job.lease_owner = Some("wrk_1".into());
        job
    }

    fn complete(job: Option<&Job>, end: JobEnd) -> (View, Completion) {
        let command = CompleteJob { job_id: "job_1".into(), token: "mine".into(), conclusion: Arc::new(Noted(end)) };
        let mut view = View::new(NOW);
        assert_eq!(command.reads(), [Key::id("orders", "ord_1"), Key::id("jobs", "job_1")]);
        match job {
            Some(job) => view.put_read(job),
            None => view.put_absent(Key::id("jobs", "job_1")),
        }
        let completed = command.decide(&mut view);
        (view, completed)
    }

    fn notes(view: &View) -> Vec<bool> {
        view.appended_to("notes").map(|note| note.get_bool("late").expect("a flag")).collect()
    }

    #[test]
    fn whoever_holds_the_lease_ends_the_attempt_with_its_results() {
        let error = JobError::new("fatal", "a.b", "c");
        for (end, state) in [
            (JobEnd::Done { result: None }, JobState::Done),
            (JobEnd::Dead { error: error.clone() }, JobState::Dead),
            (JobEnd::Retry { at: NOW, error: Some(error), counts: true }, JobState::Ready),
        ] {
            let (view, completed) = complete(Some(&held_by("mine")), end.clone());
            assert!(
                matches!(completed, Completion::Ended(how, wake) if how == end.as_str() && wake == ["other-queue"])
            );
            let job = view.by_id::<Job>("job_1").expect("the job");
            assert_eq!((job.state, job.lease_token, job.ended_by.as_deref()), (state, None, Some("mine")));
            assert_eq!(job.route, if state == JobState::Done { "" } else { "account" });
            assert_eq!(notes(&view), [false]);
        }
    }

    #[test]
    fn an_attempt_that_was_ended_by_an_earlier_submission_is_not_ended_twice() {
        let mut ended = held_by("mine");
        ended.end(&JobEnd::Done { result: None }, NOW);
        let (view, completed) = complete(Some(&ended), JobEnd::Done { result: None });
        assert!(matches!(completed, Completion::Already));
        assert_eq!((view.by_id::<Job>("job_1"), notes(&view)), (Some(ended), Vec::new()));
    }

    #[test]
    fn whoever_lost_the_lease_leaves_the_answer_alone_and_nothing_else() {
        let mut given_back = held_by("mine");
        given_back.state = JobState::Ready;
        given_back.lease_token = None;
        for job in [Some(held_by("another")), Some(given_back), None] {
            let (view, completed) = complete(job.as_ref(), JobEnd::Done { result: None });
            assert!(matches!(completed, Completion::Late));
            assert_eq!(notes(&view), [true]);
            if let Some(job) = job {
                assert_eq!(view.by_id::<Job>("job_1"), Some(job), "the job is somebody else's");
            }
        }
    }
}
