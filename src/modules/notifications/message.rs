//! A message as it is handed to the server, and what is stored of that.

use lettre::{
    Message,
    address::Envelope,
    message::{
        Attachment as Part, Mailbox, MultiPart, SinglePart,
        header::{ContentType, HeaderName, HeaderValue},
    },
};
use reqwest::Method;
use serde_json::json;

use super::{letters::Letter, recipient::Recipient, templates::Rendered};
use crate::{
    modules::providers::Policy,
    platform::exchange::{MESSAGE_BYTES_MAX, Outbound, Prepared, Redaction},
};

/// As in logs.
pub const PROVIDER: &str = "smtp";
/// As in logs.
pub const OPERATION: &str = "send_mail";
/// The language of the templates that are built in.
pub(super) const LANGUAGE: &str = "en";

/// The stored part of a conversation: letter, length and the server's answer; neither address nor text.
pub const REDACTION: Redaction = Redaction {
    not_personal: &[
        "letter",
        "template",
        "topic",
        "language",
        "mailId",
        "bytes",
        "textBytes",
        "htmlBytes",
        "attachmentBytes",
        "step",
        "code",
    ],
    request: &[],
    response: &[],
    free_text: &["text"],
    query: &[],
};

/// The same, as it is shown.
pub const POLICY: Policy = Policy { provider: PROVIDER, operation: OPERATION, redaction: &REDACTION };

#[derive(Clone, Debug)]
pub struct MailSender {
    mailbox: Mailbox,
}

impl MailSender {
    /// Reads `no-reply@example.com` or `Waybill <no-reply@example.com>`.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mailbox = text.parse().map_err(|_| "must be an address such as Waybill <no-reply@example.com>")?;
        Ok(Self { mailbox })
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        self.mailbox.email.domain()
    }
}

/// A file that goes with a mail.
#[derive(Clone)]
pub struct Attachment {
    /// File name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    pub content_type: &'static str,
    pub content: Vec<u8>,
}

/// The `Message-ID` of the mail with this id.
pub(super) fn message_id(mail_id: &str, sender: &MailSender) -> String {
    format!("<{mail_id}@{}>", sender.domain())
}

/// Names that were taken when less was asked of them may hold what no header may.
fn shown(Mailbox { name, email }: Mailbox) -> Mailbox {
    Mailbox::new(name.map(|name| name.chars().filter(|c| !c.is_control()).collect()), email)
}

/// A message, ready to be sent.
pub(super) struct Composed {
    pub(super) envelope: Envelope,
    pub(super) bytes: Vec<u8>,
    /// The request, and what is stored of it.
    pub(super) prepared: Prepared,
}

/// Puts a message together.
///
/// # Errors
/// In words for operators.
pub(super) fn compose(
    letter: &Letter,
    mail_id: &str,
    (sender, recipient): (&MailSender, Recipient),
    said: Rendered,
    attachment: Option<Attachment>,
    unsubscribe: Option<String>,
    server: String,
) -> Result<Composed, String> {
    let message_id = message_id(mail_id, sender);
    let attached = attachment.as_ref().map_or(0, |attachment| attachment.content.len());
    let (text_bytes, html_bytes) = (said.text.len(), said.html.len());
    let said_twice =
        MultiPart::alternative().singlepart(SinglePart::plain(said.text)).singlepart(SinglePart::html(said.html));
    let parts = match attachment {
        None => said_twice,
        Some(Attachment { name, content_type, content }) => {
            let content_type = ContentType::parse(content_type).map_err(|error| error.to_string())?;
            let file = Part::new(name).body(content, content_type);
            MultiPart::mixed().multipart(said_twice).singlepart(file)
        }
    };
    // RFC 3834: nobody's absence is to be answered to this.
    let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    let mut builder = Message::builder()
        .from(sender.mailbox.clone())
        .to(shown(recipient.mailbox))
        .subject(said.subject)
        .message_id(Some(message_id))
        .raw_header(automatic);
    if let Some(link) = unsubscribe {
        // RFC 8058: readers of mail have a button for it. The link is one word, which is not to be folded or encoded.
        let header = |name, value: String| {
            HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
        };
        builder = builder
            .raw_header(header("List-Unsubscribe", format!("<{link}>")))
            .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    let message = builder.multipart(parts).map_err(|error| format!("The message can't be put together: {error}."))?;
    let bytes = message.formatted();
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(format!("The message has {} bytes; at most {MESSAGE_BYTES_MAX} are sent.", bytes.len()));
    }
    let about = json!({
        "letter": letter.name, "template": letter.template, "topic": letter.topic.as_str(), "language": LANGUAGE,
        "mailId": mail_id, "bytes": bytes.len(), "textBytes": text_bytes, "htmlBytes": html_bytes,
        "attachmentBytes": attached,
    });
    let outbound = Outbound {
        provider: PROVIDER,
        operation: OPERATION,
        method: Method::POST,
        url: server,
        body: Some(about),
        redaction: &REDACTION,
    };
    let mut prepared = Prepared::new(outbound, &[]);
    prepared.record.method = "MAIL".into();
    prepared.record.headers.clear();
    Ok(Composed { envelope: message.envelope().clone(), bytes, prepared })
}

#[cfg(test)]
mod tests {
    use super::{super::letters::LETTERS, *};

    fn composed(subject: &str, name: &str, attachment: Option<Attachment>) -> Result<Composed, String> {
        let sender = MailSender::parse("Waybill <no-reply@waybill.example>").expect("an address");
        let address = "asha@shop.example".parse().expect("an address");
        let recipient = Recipient { name: name.into(), mailbox: Mailbox::new(Some(name.into()), address), user: None };
        let unsubscribe = Some(format!("https://waybill.example/unsubscribe?token={}", "x".repeat(98)));
        let said = Rendered { subject: subject.into(), text: "Grüße\n".into(), html: "<p>Grüße</p>".into() };
        let server = "smtp://mail.example:587".into();
        compose(&LETTERS[0], "evt_1.order-failed-mail", (&sender, recipient), said, attachment, unsubscribe, server)
    }

    #[test]
    fn the_message_id_is_the_events_and_the_letters() {
        let composed = composed("Hello", "Asha", None).expect("a message");
        let text = String::from_utf8(composed.bytes).expect("ASCII");
        assert!(text.contains("Message-ID: <evt_1.order-failed-mail@waybill.example>\r\n"), "{text}");
        assert!(text.contains("Auto-Submitted: auto-generated\r\n"), "{text}");
        assert!(text.is_ascii(), "any server takes it");
        let link = format!("List-Unsubscribe: <https://waybill.example/unsubscribe?token={}>\r\n", "x".repeat(98));
        assert!(
            text.contains(&link) && text.contains("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"),
            "{text}"
        );
    }

    #[test]
    fn no_header_can_be_smuggled_in() {
        let composed = composed("Hello\r\nBcc: all@shop.example", "Asha\r\nCc: all@shop.example", None);
        let text = String::from_utf8(composed.expect("a message").bytes).expect("ASCII");
        let (head, _) = text.split_once("\r\n\r\n").expect("a head");
        let is_smuggled =
            |line: &str| line.to_lowercase().starts_with("bcc:") || line.to_lowercase().starts_with("cc:");
        assert!(!head.lines().any(is_smuggled), "{head}");
    }

    #[test]
    fn what_is_stored_has_neither_address_nor_words() {
        let composed = composed("Hello", "Asha", None).expect("a message");
        let stored = format!("{:?}", composed.prepared.record);
        for word in ["shop.example", "asha", "Asha", "Hello", "Gr", "token=", "xxxx"] {
            assert!(!stored.contains(word), "{word}: {stored}");
        }
        assert!(stored.contains("evt_1.order-failed-mail"), "{stored}");
    }

    #[test]
    fn a_message_has_a_size() {
        let content = vec![b'x'; MESSAGE_BYTES_MAX];
        let file = Attachment { name: "orders.csv".into(), content_type: "text/csv; charset=utf-8", content };
        assert!(composed("Hello", "Asha", Some(file)).is_err_and(|error| error.contains("bytes")));
    }
}
