//! Mails that were received: each as it was sent, and as a reader sees it.

use std::{
    collections::{BTreeMap, HashSet},
    time::{SystemTime, UNIX_EPOCH},
};

use mail_parser::{MessageParser, MimeHeaders};
use serde::Serialize;
use serde_json::{Value, json};

use super::modes::Step;

/// Mails kept, and their bytes; older ones are forgotten.
const MAILS_MAX: usize = 10_000;
const KEPT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A file in a mail.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    pub name: String,
    pub content_type: String,
    /// Null where it is none.
    pub text: Option<String>,
    pub bytes: usize,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    pub number: u64,
    /// Of the envelope.
    pub from: String,
    /// Of the envelope.
    pub to: Vec<String>,
    pub message_id: String,
    pub subject: String,
    /// The header `To`, with names.
    pub header_to: String,
    /// Other headers that say how it is to be treated.
    pub headers: BTreeMap<String, String>,
    pub text: String,
    pub html: String,
    pub attachments: Vec<Attached>,
    pub received_at_ms: u64,
    pub bytes: usize,
    #[serde(skip)]
    pub raw: Vec<u8>,
}

const HEADERS: &[&str] = &["Auto-Submitted", "List-Unsubscribe", "List-Unsubscribe-Post", "Date"];

impl Mail {
    fn read(number: u64, from: &str, to: &[String], raw: Vec<u8>) -> Self {
        let parsed = MessageParser::default().parse(&raw).unwrap_or_default();
        let header = |name: &str| parsed.header_raw(name).map(|value| value.trim().to_owned());
        let header_to = parsed.to().and_then(|to| to.first()).map_or_else(String::new, |to| {
            format!("{} <{}>", to.name().unwrap_or_default(), to.address().unwrap_or_default())
        });
        let attachments = parsed.attachments().map(|part| {
            let kind = part.content_type();
            let content_type = kind.map_or_else(String::new, |kind| {
                kind.subtype().map_or_else(|| kind.ctype().to_owned(), |sub| format!("{}/{sub}", kind.ctype()))
            });
            Attached {
                name: part.attachment_name().unwrap_or_default().to_owned(),
                content_type,
                text: part.text_contents().map(str::to_owned),
                bytes: part.contents().len(),
            }
        });
        Self {
            number,
            from: from.to_owned(),
            to: to.to_vec(),
            message_id: parsed.message_id().unwrap_or_default().to_owned(),
            subject: parsed.subject().unwrap_or_default().to_owned(),
            header_to,
            headers: HEADERS.iter().filter_map(|name| Some(((*name).to_owned(), header(name)?))).collect(),
            text: parsed.body_text(0).unwrap_or_default().into_owned(),
            html: parsed.body_html(0).unwrap_or_default().into_owned(),
            attachments: attachments.collect(),
            received_at_ms: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
            bytes: raw.len(),
            raw,
        }
    }
}

#[derive(Default)]
pub struct Mails {
    mails: Vec<Mail>,
    bytes: usize,
    numbered: u64,
    known: HashSet<String>,
    /// Mails that came again under a known `Message-ID`, kept or not.
    repeated: u64,
    steps: BTreeMap<Step, u64>,
}

impl Mails {
    pub fn note(&mut self, step: Step) {
        *self.steps.entry(step).or_default() += 1;
    }

    /// Keeps a mail, unless one with its `Message-ID` is known and mails are deduplicated.
    pub fn take(&mut self, from: &str, to: &[String], raw: Vec<u8>, deduplicates: bool) {
        self.numbered += 1;
        let mail = Mail::read(self.numbered, from, to, raw);
        let is_new = mail.message_id.is_empty() || self.known.insert(mail.message_id.clone());
        self.repeated += u64::from(!is_new);
        if is_new || !deduplicates {
            self.bytes += mail.bytes;
            self.mails.push(mail);
            while self.mails.len() > MAILS_MAX || (self.bytes > KEPT_BYTES_MAX && self.mails.len() > 1) {
                self.bytes -= self.mails.remove(0).bytes;
            }
        }
    }

    pub fn all(&self) -> &[Mail] {
        &self.mails
    }

    pub fn numbered(&self, number: u64) -> Option<&Mail> {
        self.mails.iter().find(|mail| mail.number == number)
    }

    pub fn totals(&self) -> Value {
        json!({ "mails": self.mails.len(), "repeated": self.repeated, "steps": self.steps })
    }
}
