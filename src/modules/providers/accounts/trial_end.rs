//! The end of a test call whose process died: there is no answer, and the record says so, without anybody testing again.

use async_trait::async_trait;

use super::{
    model::ProviderAccount,
    trial::{CLOSE_KIND, close_test},
};
use crate::{
    modules::queue::{
        Attempt, Concluded, Conclusion, Job, JobEnd, JobError, JobHandler, Lease, QueueConfig, RetryRefused,
    },
    platform::{
        batch::{Entity, Key, View},
        identity::Actor,
    },
};

/// Ends test calls that nothing else has ended in time.
pub struct CloseTests {
    pub queue: QueueConfig,
}

/// Pure; ends nothing that has ended.
struct CloseTest {
    account_id: String,
    request_ref_id: String,
}

impl CloseTest {
    fn of(job: &Job) -> Option<Self> {
        let text = |field| job.payload.get_str(field).ok().map(str::to_owned);
        Some(Self { account_id: text("accountId")?, request_ref_id: text("requestRefId")? })
    }
}

#[async_trait]
impl JobHandler for CloseTests {
    fn kind(&self) -> &'static str {
        CLOSE_KIND
    }

    fn queue(&self) -> &'static str {
        self.queue.name
    }

    async fn run(&self, job: &Job, _: &Lease) -> Attempt {
        match CloseTest::of(job) {
            Some(close) => Attempt::Concluded(Box::new(close)),
            None => {
                let message = "The job names no test call.";
                Attempt::Failed(JobError::new("payload", "provider_accounts.unreadable_payload", message))
            }
        }
    }

    fn failed(&self, job: &Job, _: JobError) -> Option<Box<dyn Conclusion>> {
        Some(Box::new(CloseTest::of(job)?))
    }

    fn revive(&self, _: &mut View, _: &Job, _: &Actor, _: &str) -> Result<(), RetryRefused> {
        Ok(())
    }
}

impl Conclusion for CloseTest {
    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ProviderAccount::COLLECTION, &*self.account_id)]
    }

    fn conclude(&self, view: &mut View, _: &Job) -> Concluded {
        let account = view.by_id::<ProviderAccount>(&self.account_id);
        if let Some(mut account) = account
            && account.open_test().is_some_and(|open| open.request_ref_id == self.request_ref_id)
        {
            close_test(view, &mut account);
            view.update(&account);
        }
        JobEnd::Done { result: None }.into()
    }
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, doc};

    use super::*;
    use crate::{
        modules::{
            audit::{self, Call},
            providers::accounts::model::AccountTest,
        },
        platform::batch::View,
    };

    #[test]
    fn a_test_call_without_an_answer_is_closed_once() {
        let at = DateTime::from_millis(0);
        let call: Call = bson::deserialize_from_document(doc! {
            "requestRefId": "req_1", "userId": "", "provider": "xapi", "operation": "look_up_order", "attempt": 1, "jobId": "",
            "workerId": "", "accountId": "acc_1", "correlationId": "rqs_1", "sentAt": at,
        })
        .expect("a call");
        let test = Some(AccountTest { at, open_call: Some(call) });
        let mut account = ProviderAccount { test, ..ProviderAccount::of_a_test("xapi", at) };
        let queue = QueueConfig::named("events-queue");
        for (request, answers) in [("req_0", 0), ("req_1", 1), ("req_1", 0)] {
            let payload = doc! { "accountId": "acc_1", "requestRefId": request };
            let job = Job::new("job_1".into(), &queue, CLOSE_KIND, payload, "rqs_1", at);
            let mut view = View::new(DateTime::from_millis(30_000));
            view.put_read(&account);
            let concluded = CloseTest::of(&job).expect("a payload").conclude(&mut view, &job);
            assert!(matches!(concluded.end, JobEnd::Done { .. }), "{request}");
            assert_eq!(view.appended_to(audit::RESPONSE_LOGS).count(), answers, "{request}");
            account = view.by_id("acc_1").expect("an account");
        }
        assert!(account.open_test().is_none() && account.test.is_some());
    }
}
