//! Sends letters: renders, puts on record, talks to the server, puts on record what came of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mongodb::Database;
use serde_json::{Value, json};

use super::{
    attempt::{BeginMail, EndMail, MailStart},
    judge::{SendOutcome, judge},
    letter_data::LetterData,
    letters::Letter,
    message::{Attachment, Composed, LANGUAGE, MailSender, OPERATION, PROVIDER, compose},
    model::MailStatus,
    recipient::{Addressee, recipient},
    templates::{Templates, merged},
};
use crate::{
    modules::{
        audit::Call,
        auth::LinkKeys,
        events::{HandlerAttempt, HandlerError},
    },
    platform::{
        batch::Lane,
        clock::Clock,
        crash,
        exchange::{Logged, MailReply, NotSent, Smtp},
        ids::new_id,
    },
};

/// A lease has to outlast the conversation by this much, for what comes after it.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// Tries to store the result of a conversation: without it the mail would be sent again.
const END_TRIES: u32 = 10;
const END_PAUSE: Duration = Duration::from_millis(200);
/// As in logs, where a provider's account stands.
const ACCOUNT: &str = "smtp/default";

pub struct MailerParts {
    /// Where users are read.
    pub db: Database,
    /// Where conversations go on record.
    pub lane: Lane,
    /// Talks to the server.
    pub smtp: Smtp,
    pub sender: MailSender,
    pub templates: Templates,
    /// Where users reach the service: the beginning of links.
    pub public_url: String,
    pub links: LinkKeys,
    pub clock: Clock,
}

/// Sends letters. Cloning gives the same mailer.
#[derive(Clone)]
pub struct Mailer(Arc<MailerParts>);

pub struct Mail<'a> {
    pub letter: &'a Letter,
    /// Makes the mail unique: an event's id, or another name. Letters, digits, `_`, `-`, `.`.
    pub occasion: &'a str,
    pub to: Addressee<'a>,
    /// The id of what it is about, for the records: an order's, a top-up's.
    pub subject_id: &'a str,
    /// Values for the templates, besides `name`, `publicUrl` and `language`.
    pub values: Value,
    pub attachment: Option<Attachment>,
}

impl Mail<'_> {
    /// Its id: the first half of its `Message-ID`.
    fn id(&self) -> String {
        mail_id(self.occasion, self.letter)
    }
}

/// The id of the mail of this letter about `occasion`.
pub(super) fn mail_id(occasion: &str, letter: &Letter) -> String {
    format!("{occasion}.{}", letter.name)
}

impl Mailer {
    #[must_use]
    pub fn new(parts: MailerParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The beginning of links.
    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.0.public_url
    }

    /// Reads the values of letters.
    pub(super) fn facts(&self) -> LetterData {
        LetterData::new(&self.0.db, &self.0.links, &self.0.public_url, &self.0.clock)
    }

    /// Sends a mail, once: whoever asks again after the server has taken it sends nothing. Nor does a mail leave for a user who
    /// is disabled, or who does not want mail about its topic.
    ///
    /// # Errors
    /// What becomes of the job: see [`HandlerError`].
    pub async fn send(&self, mail: Mail<'_>, attempt: &HandlerAttempt<'_>) -> Result<(), HandlerError> {
        let (letter, mail_id, user_id) = (mail.letter, mail.id(), mail.to.user_id().to_owned());
        let call = self.call(&mail, &user_id, attempt);
        let Some(recipient) = recipient(&self.0.db, mail.to, letter.topic).await? else {
            tracing::debug!(mail.id = mail_id, "no recipient for this mail");
            count(letter, "skipped");
            return Ok(());
        };
        let path = recipient.user.as_ref().and_then(|user| self.0.links.unsubscribe(user, letter.topic));
        let unsubscribe = path.map(|path| format!("{}{path}", self.0.public_url));
        let common = json!({
            "name": recipient.name, "publicUrl": self.0.public_url, "language": LANGUAGE, "unsubscribe": unsubscribe,
        });
        let invalid = |message| HandlerError::Invalid { code: "mail.unwritten", message };
        let said = self.0.templates.render(letter, &merged(common, mail.values)).map_err(invalid)?;
        let between = (&self.0.sender, recipient);
        let server = self.0.smtp.address();
        let Composed { envelope, bytes, prepared } =
            compose(letter, &mail_id, between, said, mail.attachment, unsubscribe, server).map_err(invalid)?;
        let begin = BeginMail {
            mail_id: mail_id.clone(),
            job_id: attempt.job.id.clone(),
            token: attempt.lease.token.clone(),
            call,
            prepared,
            closing_response_id: new_id("res"),
        };
        let (logged, call) = match self.0.lane.submit(begin).await {
            Ok(MailStart::Logged(begun)) => *begun,
            Ok(MailStart::Sent) => return Ok(()),
            Ok(MailStart::LeaseLost) => {
                return Err(HandlerError::later("mail.lease_lost", "Another worker has the job."));
            }
            Err(_) => return Err(HandlerError::later("mail.database_away", "The database could not be written.")),
        };
        crash::point("request_logged");
        let reply = self.talk(&logged, &envelope, &bytes, attempt).await;
        crash::point("answered");
        let outcome = judge(&reply.answer);
        self.note(letter, &mail_id, &outcome, &reply);
        let status = match outcome {
            SendOutcome::Taken => Some(MailStatus::Sent),
            SendOutcome::Refused { .. } => Some(MailStatus::Refused),
            SendOutcome::NotTaken { .. } | SendOutcome::Unknown => None,
        };
        self.end(&mail_id, call, reply, &outcome, status).await?;
        outcome.result(None)
    }

    fn call(&self, mail: &Mail<'_>, user_id: &str, attempt: &HandlerAttempt<'_>) -> Call {
        let (job, subject_id) = (attempt.job, mail.subject_id.to_owned());
        let is_order = subject_id.starts_with("ord_");
        Call {
            request_ref_id: new_id("req"),
            order_id: is_order.then(|| subject_id.clone()),
            user_id: user_id.to_owned(),
            client_order_id: None,
            resource_id: (!is_order && !subject_id.is_empty()).then_some(subject_id),
            provider: PROVIDER.into(),
            operation: OPERATION.into(),
            attempt: job.attempts,
            job_id: job.id.clone(),
            worker_id: attempt.lease.worker_id.clone(),
            account_id: ACCOUNT.into(),
            correlation_id: job.correlation_id.clone(),
            sent_at: self.0.clock.now(),
        }
    }

    /// The conversation, unless the lease would not outlast it. Its time runs from before the look at the lease: a process that
    /// is stopped between the two must not send when it goes on.
    async fn talk(
        &self,
        logged: &Logged,
        envelope: &lettre::address::Envelope,
        bytes: &[u8],
        attempt: &HandlerAttempt<'_>,
    ) -> MailReply {
        let since = Instant::now();
        if !attempt.lease.outlasts(self.0.smtp.deadline() + LEASE_MARGIN).await {
            return MailReply::not_sent(NotSent::NoTime);
        }
        crash::point("sending");
        self.0.smtp.send(logged, envelope, bytes, since).await
    }

    fn note(&self, letter: &Letter, mail_id: &str, outcome: &SendOutcome, reply: &MailReply) {
        let verdict = outcome.verdict();
        metrics::histogram!("waybill_provider_call_seconds",
            "provider" => PROVIDER, "operation" => OPERATION, "outcome" => verdict.outcome)
        .record(reply.record.latency_ms as f64 / 1_000.0);
        match outcome {
            SendOutcome::Taken => count(letter, "sent"),
            SendOutcome::NotTaken { code, message } => {
                count(letter, "not_taken");
                tracing::warn!(mail.id = mail_id, code, message, "a mail was not taken; it is tried again");
            }
            SendOutcome::Unknown => {
                count(letter, "unknown");
                tracing::warn!(
                    mail.id = mail_id,
                    "whether the mail server has taken a message is not known; it is sent again under the same Message-ID"
                );
            }
            SendOutcome::Refused { message } => {
                count(letter, "refused");
                tracing::warn!(mail.id = mail_id, message, "a mail was refused for good");
            }
        }
    }

    async fn end(
        &self,
        mail_id: &str,
        call: Call,
        reply: MailReply,
        outcome: &SendOutcome,
        status: Option<MailStatus>,
    ) -> Result<(), HandlerError> {
        let response_id = new_id("res");
        for _ in 0..END_TRIES {
            let end = EndMail {
                mail_id: mail_id.to_owned(),
                call: call.clone(),
                record: reply.record.clone(),
                verdict: outcome.verdict(),
                status,
                response_id: response_id.clone(),
            };
            if self.0.lane.submit(end).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(END_PAUSE).await;
        }
        Err(HandlerError::later("mail.database_away", "What became of the mail could not be written down."))
    }
}

fn count(letter: &Letter, outcome: &'static str) {
    metrics::counter!("waybill_mails_total", "letter" => letter.name, "outcome" => outcome).increment(1);
}
