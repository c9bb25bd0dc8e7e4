//! Event handlers that send letters, one per letter.

use async_trait::async_trait;
use lettre::message::Mailbox;

use super::{
    attempt::MailAborted,
    letter_data::{LetterContent, LetterData},
    letters::{LETTERS, Letter, LetterSubject},
    mailer::{Mail, Mailer, mail_id},
    recipient::Addressee,
};
use crate::{
    modules::{
        events::{Event, EventHandler, HandlerAttempt, HandlerError},
        queue::{Conclusion, JobEnd, QueueConfig},
    },
    platform::ids::new_id,
};

/// Writes one letter about each event that leads to it.
pub struct MailHandler {
    letter: &'static Letter,
    mailer: Mailer,
    facts: LetterData,
    queue: QueueConfig,
    /// The operator's address, for letters about alerts.
    operator: Option<Mailbox>,
}

impl MailHandler {
    /// Handlers of all letters that follow from events, with jobs on `queue`. Without an operator there are no letters about
    /// alerts.
    #[must_use]
    pub fn all(mailer: &Mailer, queue: &QueueConfig, operator: Option<&Mailbox>) -> Vec<Self> {
        let facts = mailer.facts();
        let of = |letter: &'static Letter| Self {
            letter,
            mailer: mailer.clone(),
            facts: facts.clone(),
            queue: queue.clone(),
            operator: operator.filter(|_| letter.about == LetterSubject::Alert).cloned(),
        };
        let is_written = |letter: &&Letter| {
            !letter.events.is_empty() && (letter.about != LetterSubject::Alert || operator.is_some())
        };
        LETTERS.iter().filter(is_written).map(of).collect()
    }
}

#[async_trait]
impl EventHandler for MailHandler {
    fn name(&self) -> &'static str {
        self.letter.name
    }

    fn wants(&self, kind: &str) -> bool {
        self.letter.events.contains(&kind)
    }

    fn queue(&self) -> QueueConfig {
        self.queue.clone()
    }

    async fn handle(&self, event: &Event, attempt: &HandlerAttempt<'_>) -> Result<(), HandlerError> {
        let Some(LetterContent { values, buyer }) = self.facts.of(self.letter.about, event).await? else {
            return Ok(());
        };
        let to = match (&self.operator, &buyer) {
            (Some(operator), _) => Addressee::Operator(operator),
            (None, Some(buyer)) => Addressee::Buyer(buyer),
            (None, None) => Addressee::User(&event.user_id),
        };
        let mail = Mail {
            letter: self.letter,
            occasion: &event.id,
            to,
            subject_id: &event.subject_id,
            values,
            attachment: None,
        };
        self.mailer.send(mail, attempt).await
    }

    fn aborted(&self, event_id: &str, end: JobEnd) -> Box<dyn Conclusion> {
        let mail_id = mail_id(event_id, self.letter);
        Box::new(MailAborted { mail_id, end, closing_response_id: new_id("res") })
    }
}
