//! A test call of an account: on record like any call, with who wanted it, one at a time and account.

use std::time::Duration;

use bson::{DateTime, doc};

use super::{
    commands::record,
    model::{AccountTest, ProviderAccount},
};
use crate::{
    modules::{
        audit::{self, Call, ErrorClass, ProviderResponseLog, Verdict},
        queue::{Job, QueueConfig},
    },
    platform::{
        batch::{Command, Entity, Key, View},
        clock::after,
        exchange::{Logged, Prepared, ResponseRecord},
        identity::Actor,
        ids::sibling_id,
    },
};

/// The job that ends a test call where nothing else has.
pub(super) const CLOSE_KIND: &str = "close-account-test";
/// Between two test calls of an account.
pub const TEST_EVERY: Duration = Duration::from_secs(10);

/// Begins a test call.
pub struct BeginTest {
    /// The request.
    pub prepared: Prepared,
    /// Its log; `sent_at` is the transaction's.
    pub call: Call,
    /// A call that got no answer within so long is given up.
    pub patience: Duration,
    /// In which a job ends the call where nothing else does.
    pub queue: QueueConfig,
    /// The actor.
    pub actor: Actor,
    /// Id of the audit event, new.
    pub event_id: String,
}

/// Why there is no test call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTested {
    /// There is no such account.
    NotFound,
    /// There was one a moment ago, or one is under way: after so long there may be another.
    TooSoon(Duration),
}

/// How long another test call of this account has to wait, where it has to. One that got no answer within `patience` is given up.
#[must_use]
pub fn test_wait(account: &ProviderAccount, patience: Duration, now: DateTime) -> Option<Duration> {
    let test = account.test.as_ref()?;
    let wait = if test.open_call.is_some() { patience } else { TEST_EVERY };
    let left_ms = after(test.at, wait).timestamp_millis() - now.timestamp_millis();
    (left_ms > 0).then(|| Duration::from_millis(left_ms.unsigned_abs()))
}

impl BeginTest {
    fn closing(&self, now: DateTime) -> Job {
        let (account_id, request) = (&self.call.account_id, &self.call.request_ref_id);
        let payload = doc! { "accountId": account_id, "requestRefId": request };
        let mut job =
            Job::new(sibling_id("job", request), &self.queue, CLOSE_KIND, payload, &self.call.correlation_id, now);
        job.schedule(after(now, self.patience), now);
        job
    }
}

/// Writes down that the open test call of an account, where there is one, got no answer.
pub(super) fn close_test(view: &mut View, account: &mut ProviderAccount) {
    let Some(test) = &mut account.test else { return };
    if let Some(open) = test.open_call.take() {
        // The same whoever writes it.
        let id = sibling_id("res", &open.request_ref_id);
        let log = ProviderResponseLog::without_answer(id, &open, ErrorClass::Retryable, view.now());
        audit::record_response(view, &log);
    }
}

impl Command for BeginTest {
    type Reply = Result<Box<(Logged, Call)>, NotTested>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ProviderAccount::COLLECTION, &*self.call.account_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mut account = view.by_id::<ProviderAccount>(&self.call.account_id).ok_or(NotTested::NotFound)?;
        let now = view.now();
        if let Some(wait) = test_wait(&account, self.patience, now) {
            return Err(NotTested::TooSoon(wait));
        }
        close_test(view, &mut account);
        let call = Call { sent_at: now, ..self.call.clone() };
        let logged = audit::record_request(view, &call, self.prepared.clone());
        account.test = Some(AccountTest { at: now, open_call: Some(call.clone()) });
        view.update(&account);
        view.insert(&self.closing(now));
        let told = doc! { "requestRefId": &call.request_ref_id, "operation": &call.operation };
        record(view, &account, "tested", &self.actor, &self.event_id, None, told);
        Ok(Box::new((logged, call)))
    }
}

/// Ends a test call.
pub struct EndTest {
    /// The call.
    pub call: Call,
    /// The stored part of the answer.
    pub record: ResponseRecord,
    /// The meaning of the answer.
    pub verdict: Verdict,
    /// For the answer's log.
    pub response_id: String,
}

impl Command for EndTest {
    type Reply = ();

    fn reads(&self) -> Vec<Key> {
        let id = &*self.call.account_id;
        vec![Key::id(ProviderAccount::COLLECTION, id), Key::id(audit::RESPONSE_LOGS, &*self.response_id)]
    }

    fn decide(&self, view: &mut View) {
        if view.by_id::<ProviderResponseLog>(&self.response_id).is_some() {
            return; // Written by an earlier submission.
        }
        let now = view.now();
        let account = view.by_id::<ProviderAccount>(&self.call.account_id);
        let is_ours = |test: &AccountTest| {
            test.open_call.as_ref().is_some_and(|open| open.request_ref_id == self.call.request_ref_id)
        };
        let ours = account.filter(|account| account.test.as_ref().is_some_and(is_ours));
        let log =
            ProviderResponseLog::new(self.response_id.clone(), &self.call, &self.record, self.verdict.clone(), now);
        audit::record_response(view, &ProviderResponseLog { late: ours.is_none(), ..log });
        if let Some(mut account) = ours {
            account.test = account.test.map(|test| AccountTest { open_call: None, ..test });
            view.update(&account);
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::Bson;
    use reqwest::Method;

    use super::*;
    use crate::{
        modules::audit::AUDIT_EVENTS,
        platform::exchange::{Outbound, Redaction},
    };

    fn at(seconds: i64) -> DateTime {
        DateTime::from_millis(seconds * 1_000)
    }

    fn call(number: i64) -> Call {
        Call {
            request_ref_id: format!("req_{number}"),
            order_id: None,
            user_id: String::new(),
            client_order_id: None,
            resource_id: Some("acc_1".into()),
            provider: "xapi".into(),
            operation: "look_up_order".into(),
            attempt: 1,
            job_id: String::new(),
            worker_id: String::new(),
            account_id: "acc_1".into(),
            correlation_id: "rqs_1".into(),
            sent_at: at(0),
        }
    }

    fn view(seconds: i64, account: &ProviderAccount) -> View {
        let mut view = View::new(at(seconds));
        view.put_read(account);
        view
    }

    /// How a test call begins at that second, the account then, and how many records it leaves: answers and events.
    fn begins(seconds: i64, account: &ProviderAccount) -> (Option<NotTested>, ProviderAccount, usize, usize) {
        let outbound = Outbound {
            provider: "xapi",
            operation: "look_up_order",
            method: Method::GET,
            url: "https://provider.example".into(),
            body: None,
            redaction: &Redaction::NOTHING,
        };
        let begin = BeginTest {
            prepared: Prepared::new(outbound, &[]),
            call: call(seconds),
            patience: Duration::from_secs(30),
            queue: QueueConfig::named("events-queue"),
            actor: Actor::command_line("test"),
            event_id: format!("aud_{seconds}"),
        };
        let mut view = view(seconds, account);
        let refused = begin.decide(&mut view).err();
        let count = |collection| view.appended_to(collection).count();
        let (answers, events) = (count(audit::RESPONSE_LOGS), count(AUDIT_EVENTS));
        (refused, view.by_id("acc_1").expect("an account"), answers, events)
    }

    #[test]
    fn one_test_call_runs_at_a_time_and_a_dead_ones_is_closed() {
        let (refused, open, answers, events) = begins(0, &ProviderAccount::of_a_test("xapi", at(0)));
        assert_eq!((refused, answers, events), (None, 0, 1));
        let soon = |seconds| Some(NotTested::TooSoon(Duration::from_secs(seconds)));
        assert_eq!(begins(29, &open).0, soon(1), "one is under way");
        let (refused, again, answers, _) = begins(30, &open);
        assert_eq!((refused, answers), (None, 1), "the one before has got no answer");

        let end = |seconds, number, account: &ProviderAccount| {
            let end = EndTest {
                call: call(number),
                record: ResponseRecord { http_status: Some(200), headers: doc! {}, body: Bson::Null, latency_ms: 1 },
                verdict: Verdict::done("absent"),
                response_id: format!("res_{number}"),
            };
            let mut view = view(seconds, account);
            view.put_absent(Key::id(audit::RESPONSE_LOGS, &*end.response_id));
            end.decide(&mut view);
            let late = view.appended_to(audit::RESPONSE_LOGS).next().expect("a log").get_bool("late");
            (late.unwrap_or_default(), view.by_id::<ProviderAccount>("acc_1").expect("an account"))
        };
        assert_eq!(end(31, 0, &again), (true, again.clone()), "its answer came too late");
        let (late, ended) = end(32, 30, &again);
        assert!(!late && ended.test.as_ref().is_some_and(|test| test.open_call.is_none()));
        assert_eq!(begins(39, &ended).0, soon(1), "there was one a moment ago");
        assert_eq!(begins(40, &ended).0, None);
    }
}
