//! How a conversation begins and ends on record: two transactions.

use super::model::{MAILS, MailStatus, StoredMail};
use crate::{
    modules::{
        audit::{self, Call, ErrorClass, ProviderResponseLog, Verdict},
        queue::{Concluded, Conclusion, JOBS, Job, JobEnd, holds_lease},
    },
    platform::{
        batch::{Command, Entity, Key, View},
        exchange::{Logged, Prepared, ResponseRecord},
    },
};

/// Closes what a dead worker left open, and puts the conversation that comes on record.
pub(super) struct BeginMail {
    pub(super) mail_id: String,
    pub(super) job_id: String,
    pub(super) token: String,
    /// `sent_at` is this transaction's.
    pub(super) call: Call,
    pub(super) prepared: Prepared,
    pub(super) closing_response_id: String,
}

/// Whether there is something to send.
pub(super) enum MailStart {
    Logged(Box<(Logged, Call)>),
    /// The server has it already.
    Sent,
    /// Somebody else has the job.
    LeaseLost,
}

impl Command for BeginMail {
    type Reply = MailStart;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(JOBS, &*self.job_id), Key::id(MAILS, &*self.mail_id)]
    }

    fn decide(&self, view: &mut View) -> MailStart {
        let now = view.now();
        let job = view.by_id::<Job>(&self.job_id).filter(|job| holds_lease(job, &self.token));
        if job.is_none() {
            return MailStart::LeaseLost;
        }
        let known = view.by_id::<StoredMail>(&self.mail_id);
        let is_new = known.is_none();
        let mut mail = known.unwrap_or_else(|| StoredMail {
            id: self.mail_id.clone(),
            user_id: self.call.user_id.clone(),
            status: MailStatus::Pending,
            attempts: 0,
            open_call: None,
            created_at: now,
            updated_at: now,
        });
        if mail.open_call.as_ref().is_some_and(|call| call.request_ref_id == self.call.request_ref_id) {
            // Begun by an earlier submission whose reply was lost: the next attempt closes what that one left open.
            return MailStart::LeaseLost;
        }
        close_open_call(view, &mut mail, &self.closing_response_id);
        if mail.status == MailStatus::Sent {
            return MailStart::Sent;
        }
        let call = Call { sent_at: now, ..self.call.clone() };
        let logged = audit::record_request(view, &call, self.prepared.clone());
        mail.open_call = Some(call.clone());
        mail.attempts += 1;
        mail.updated_at = now;
        if is_new {
            view.insert(&mail);
        } else {
            view.update(&mail);
        }
        MailStart::Logged(Box::new((logged, call)))
    }
}

/// Writes down that a conversation which a dead worker left open has no end: the server may have the message.
fn close_open_call(view: &mut View, mail: &mut StoredMail, response_id: &str) {
    let Some(call) = mail.open_call.take() else { return };
    let now = view.now();
    let log = ProviderResponseLog::without_answer(response_id.to_owned(), &call, ErrorClass::Unknown, now);
    audit::record_response(view, &log);
    mail.updated_at = now;
    view.update(&*mail);
}

/// Puts the end of a conversation on record.
pub(super) struct EndMail {
    pub(super) mail_id: String,
    pub(super) call: Call,
    pub(super) record: ResponseRecord,
    pub(super) verdict: Verdict,
    /// Where the mail is now; none where that stays.
    pub(super) status: Option<MailStatus>,
    pub(super) response_id: String,
}

impl Command for EndMail {
    type Reply = ();

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(MAILS, &*self.mail_id), Key::id(ProviderResponseLog::COLLECTION, &*self.response_id)]
    }

    fn decide(&self, view: &mut View) {
        let now = view.now();
        if view.by_id::<ProviderResponseLog>(&self.response_id).is_some() {
            return; // written by an earlier submission
        }
        let mail = view.by_id::<StoredMail>(&self.mail_id);
        let is_open = |mail: &StoredMail| {
            mail.open_call.as_ref().is_some_and(|open| open.request_ref_id == self.call.request_ref_id)
        };
        let late = !mail.as_ref().is_some_and(is_open);
        let log =
            ProviderResponseLog::new(self.response_id.clone(), &self.call, &self.record, self.verdict.clone(), now);
        audit::record_response(view, &ProviderResponseLog { late, ..log });
        let Some(mut mail) = mail else { return };
        if !late {
            mail.open_call = None;
        }
        // That the server has it is true whoever learns it.
        if let Some(status) = self.status.filter(|status| !late || *status == MailStatus::Sent) {
            mail.status = status;
        }
        mail.updated_at = now;
        view.update(&mail);
    }
}

/// The end of an attempt that panicked, took too long, or never ran because its workers died.
pub(super) struct MailAborted {
    pub(super) mail_id: String,
    pub(super) end: JobEnd,
    pub(super) closing_response_id: String,
}

impl Conclusion for MailAborted {
    fn reads(&self) -> Vec<Key> {
        vec![Key::id(MAILS, &*self.mail_id)]
    }

    fn conclude(&self, view: &mut View, _: &Job) -> Concluded {
        if let Some(mut mail) = view.by_id::<StoredMail>(&self.mail_id) {
            close_open_call(view, &mut mail, &self.closing_response_id);
        }
        self.end.clone().into()
    }
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, Document, RawDocumentBuf, doc};

    use super::*;
    use crate::{
        modules::queue::{JobState, QueueConfig},
        platform::exchange::{Outbound, Redaction},
    };

    const NOW: DateTime = DateTime::from_millis(1_000);
    const ID: &str = "evt_1.order-failed-mail";

    fn call(request: &str) -> Call {
        Call {
            request_ref_id: request.into(),
            order_id: None,
            user_id: "usr_1".into(),
            client_order_id: None,
            resource_id: None,
            provider: "smtp".into(),
            operation: "send_mail".into(),
            attempt: 1,
            job_id: "job_1".into(),
            worker_id: "wrk_1".into(),
            account_id: String::new(),
            correlation_id: "rqs_1".into(),
            sent_at: NOW,
        }
    }

    fn begin(view: &mut View, request: &str) -> MailStart {
        let outbound = Outbound {
            provider: "smtp",
            operation: "send_mail",
            method: reqwest::Method::POST,
            url: "smtp://mail.example:25".into(),
            body: None,
            redaction: &Redaction::NOTHING,
        };
        let begin = BeginMail {
            mail_id: ID.into(),
            job_id: "job_1".into(),
            token: "mine".into(),
            call: call(request),
            prepared: Prepared::new(outbound, &[]),
            closing_response_id: format!("res_closing_{request}"),
        };
        begin.decide(view)
    }

    fn end(view: &mut View, request: &str, verdict: Verdict, status: Option<MailStatus>) {
        let record =
            ResponseRecord { http_status: None, headers: Document::new(), body: bson::Bson::Null, latency_ms: 3 };
        let (mail_id, call, response_id) = (ID.into(), call(request), format!("res_{request}"));
        EndMail { mail_id, call, record, verdict, status, response_id }.decide(view);
    }

    fn view() -> View {
        let mut job = Job::new("job_1".into(), &QueueConfig::named("q"), "kind", doc! {}, "rqs_1", NOW);
        job.state = JobState::Active;
        job.lease_token = Some("mine".into());
        let mut view = View::new(NOW);
        view.put_read(&job);
        view.put_absent(Key::id(MAILS, ID));
        for id in ["res_req_1", "res_req_2"] {
            view.put_absent(Key::id(ProviderResponseLog::COLLECTION, id));
        }
        view
    }

    fn answers(view: &View) -> Vec<(String, String, bool)> {
        let text = |log: &RawDocumentBuf, field| log.get_str(field).unwrap_or_default().to_owned();
        let logs = view.appended_to(ProviderResponseLog::COLLECTION);
        logs.map(|log| (text(log, "requestRefId"), text(log, "outcome"), log.get_bool("late").unwrap_or(true)))
            .collect()
    }

    fn mail(view: &View) -> StoredMail {
        view.by_id(ID).expect("the mail")
    }

    #[test]
    fn what_the_server_has_is_never_sent_again() {
        let mut view = view();
        assert!(matches!(begin(&mut view, "req_1"), MailStart::Logged(_)));
        end(&mut view, "req_1", Verdict::done("done"), Some(MailStatus::Sent));
        assert_eq!(mail(&view).status, MailStatus::Sent);
        assert!(matches!(begin(&mut view, "req_2"), MailStart::Sent));
        assert_eq!(answers(&view), [("req_1".into(), "done".into(), false)]);
    }

    #[test]
    fn an_open_call_of_a_dead_worker_is_unknown_until_a_late_success() {
        let mut view = view();
        assert!(matches!(begin(&mut view, "req_1"), MailStart::Logged(_)));
        assert!(matches!(begin(&mut view, "req_2"), MailStart::Logged(_)));
        assert_eq!(mail(&view).open_call.map(|call| call.request_ref_id).as_deref(), Some("req_2"));
        end(&mut view, "req_1", Verdict::done("done"), Some(MailStatus::Sent));
        assert_eq!(mail(&view).status, MailStatus::Sent, "the server has it");
        assert!(mail(&view).open_call.is_some(), "the other conversation goes on");
        end(&mut view, "req_2", Verdict::failed(ErrorClass::Fatal, "a.b", "c"), Some(MailStatus::Refused));
        let told = |request: &str, outcome: &str, late| (request.to_owned(), outcome.to_owned(), late);
        assert_eq!(
            answers(&view),
            [told("req_1", "unknown", false), told("req_1", "done", true), told("req_2", "fatal", false)]
        );
    }

    #[test]
    fn without_the_lease_nothing_is_sent() {
        let mut view = View::new(NOW);
        view.put_absent(Key::id(JOBS, "job_1"));
        assert!(matches!(begin(&mut view, "req_1"), MailStart::LeaseLost));
        assert_eq!(view.appended_to("provider_request_logs").count(), 0);
    }
}
