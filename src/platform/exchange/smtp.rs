//! Outgoing mail: one conversation with the server that takes it. Like the HTTP client it times and limits, and sends nothing but
//! what is logged. Everything in one connection under one deadline; a message that was handed over without an answer is lost,
//! and everything before that was provably not executed.

use std::{
    future::poll_fn,
    net::IpAddr,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use bson::Document;
use lettre::{
    address::Envelope,
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
        response::Response,
    },
};
use parking_lot::Mutex;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{CONNECT_TIMEOUT, Logged, Lost, NotSent, Redaction, ResponseRecord};
use crate::platform::crash;

/// Messages over this size are not sent: servers refuse them, and nothing that we write is as long.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The farewell is a courtesy.
const FAREWELL: Duration = Duration::from_secs(1);
/// Ways of signing in, the first that the server knows.
const MECHANISMS: &[Mechanism] = &[Mechanism::Plain, Mechanism::Login];

/// How the conversation is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// Not at all.
    Off,
    /// Asked for before anything else is said; without it there is no conversation.
    Upgrade,
    /// From the first byte.
    Wrapped,
}

/// A server that takes mail, as `SMTP_URL` names it. Says nothing of its credentials when printed.
#[derive(Clone)]
pub struct SmtpServer {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
}

impl std::fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpServer").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl SmtpServer {
    /// Reads `smtp://user:password@host:port?tls=required` or `smtps://...`.
    ///
    /// # Errors
    /// What is wrong with it, in words that don't repeat it.
    pub fn parse(url: &SecretString) -> Result<Self, &'static str> {
        let url =
            Url::parse(url.expose_secret()).map_err(|_| "must be an address such as smtp://host:587?tls=required")?;
        let is_required = match url.query() {
            None | Some("") => false,
            Some("tls=required") => true,
            Some(_) => return Err("takes no other option than tls=required"),
        };
        let (tls, port) = match (url.scheme(), is_required) {
            ("smtps", _) => (Tls::Wrapped, 465),
            ("smtp", true) => (Tls::Upgrade, 587),
            ("smtp", false) => (Tls::Off, 25),
            _ => return Err("must start with smtp:// or smtps://"),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("must name a host")?;
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("must end with the host, its port and ?tls=required");
        }
        let credentials = (!url.username().is_empty())
            .then(|| Credentials::new(decoded(url.username()), decoded(url.password().unwrap_or_default())));
        if credentials.is_some() && tls == Tls::Off && !is_this_machine(host) {
            return Err("must have ?tls=required or be smtps://, or its password could be read on the way");
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: url.port().unwrap_or(port), tls, credentials })
    }

    /// For logs.
    #[must_use]
    pub fn address(&self) -> String {
        let scheme = if self.tls == Tls::Wrapped { "smtps" } else { "smtp" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}

/// Decodes percent-encoding, such as `%40`.
fn decoded(text: &str) -> String {
    let text = format!("t={}", text.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(text.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// How far a conversation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SmtpStep {
    /// Connection, greeting, `EHLO`.
    Connect,
    /// `STARTTLS`.
    StartTls,
    /// `AUTH`.
    Auth,
    /// `MAIL`.
    Mail,
    /// `RCPT`.
    Rcpt,
    /// `DATA`.
    Data,
    /// The message itself: from here on it may be taken.
    Message,
}

impl SmtpStep {
    /// As logged.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::StartTls => "starttls",
            Self::Auth => "auth",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Message => "message",
        }
    }
}

/// Result of sending a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailAnswer {
    Taken,
    /// There was no conversation.
    NotSent(NotSent),
    /// The conversation broke before the message was handed over.
    Broken(SmtpStep),
    /// The server said no.
    Refused {
        step: SmtpStep,
        /// 400 to 599.
        code: u16,
    },
    /// The message was handed over, wholly or in part, and nobody answered.
    Lost(Lost),
}

/// An answer and its record.
#[derive(Clone, Debug)]
pub struct MailReply {
    /// Result for the message.
    pub answer: MailAnswer,
    pub record: ResponseRecord,
}

impl MailReply {
    /// The reply to a message that was not sent.
    #[must_use]
    pub fn not_sent(why: NotSent) -> Self {
        let record =
            ResponseRecord { http_status: None, headers: Document::new(), body: bson::Bson::Null, latency_ms: 0 };
        Self { answer: MailAnswer::NotSent(why), record }
    }
}

/// Hands messages to a server.
#[derive(Clone)]
pub struct Smtp {
    server: SmtpServer,
    tls: Option<TlsParameters>,
    hello: ClientId,
    deadline: Duration,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("server", &self.server).finish_non_exhaustive()
    }
}

/// How a conversation ended: the server's words, or what broke.
struct End {
    step: SmtpStep,
    code: Option<u16>,
    text: String,
}

impl Smtp {
    /// To `server`, which is told that `domain` speaks. A whole conversation has until `deadline`.
    ///
    /// # Errors
    /// Where the root certificates can't be read.
    pub fn new(server: SmtpServer, domain: &str, deadline: Duration) -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = (server.tls != Tls::Off).then(|| TlsParameters::new(server.host.clone())).transpose();
        let tls = tls.map_err(|error| format!("root certificates can't be read: {error}"))?;
        Ok(Self { server, tls, hello: ClientId::Domain(domain.to_owned()), deadline })
    }

    /// A conversation has so long.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// For logs.
    #[must_use]
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Hands over a message. The time runs from `since`.
    pub async fn send(&self, logged: &Logged, envelope: &Envelope, message: &[u8], since: Instant) -> MailReply {
        let started = Instant::now();
        if started >= since + self.deadline {
            return MailReply::not_sent(NotSent::NoTime);
        }
        let outbound = logged.outbound();
        let at = Mutex::new(SmtpStep::Connect);
        let told = tokio::select! {
            told = until(since + self.deadline, self.converse(envelope, message, &at)) => told,
            () = crash::after_sending(outbound.operation) => None,
        };
        let step = *at.lock();
        let (answer, end) = match told {
            Some(Ok((mut connection, taken))) => {
                let _ = tokio::time::timeout(FAREWELL, connection.quit()).await;
                let text = taken.message().collect::<Vec<_>>().join(" ");
                (MailAnswer::Taken, End { step, code: Some(taken.code().into()), text })
            }
            Some(Err(error)) => {
                let code = error.status().map(u16::from);
                let text = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                let answer = match code {
                    Some(code) => MailAnswer::Refused { step, code },
                    None if step == SmtpStep::Message => MailAnswer::Lost(Lost::ConnectionLost),
                    None => MailAnswer::Broken(step),
                };
                (answer, End { step, code, text })
            }
            None => {
                let is_handed_over = step == SmtpStep::Message;
                let answer = if is_handed_over { MailAnswer::Lost(Lost::TimedOut) } else { MailAnswer::Broken(step) };
                (answer, End { step, code: None, text: "not in time".into() })
            }
        };
        MailReply { answer, record: record(outbound.redaction, &end, started) }
    }

    /// Connects, agrees on TLS, signs in and says goodbye, as far as the server is set up for it; gives how long that took.
    ///
    /// # Errors
    /// In words: at which step it ended.
    pub async fn try_out(&self) -> Result<Duration, String> {
        let (began, at) = (Instant::now(), Mutex::new(SmtpStep::Connect));
        let opened = until(began + self.deadline, self.open(&at)).await;
        let failed = |why: String| format!("{} fails at {}: {why}", self.address(), at.lock().as_str());
        match opened {
            Some(Ok(mut connection)) => {
                let took = began.elapsed();
                let _ = tokio::time::timeout(FAREWELL, connection.quit()).await;
                Ok(took)
            }
            Some(Err(error)) => Err(failed(error.to_string())),
            None => Err(failed("not in time".into())),
        }
    }

    async fn open(&self, at: &Mutex<SmtpStep>) -> Result<AsyncSmtpConnection, lettre::transport::smtp::Error> {
        let SmtpServer { host, port, tls, credentials } = &self.server;
        let reach = |step| *at.lock() = step;
        let wrapped = self.tls.clone().filter(|_| *tls == Tls::Wrapped);
        let address = (host.as_str(), *port);
        let patience = Some(CONNECT_TIMEOUT.min(self.deadline));
        let mut connection = AsyncSmtpConnection::connect_tokio1(address, patience, &self.hello, wrapped, None).await?;
        if let Some(upgrade) = self.tls.clone().filter(|_| *tls == Tls::Upgrade) {
            reach(SmtpStep::StartTls);
            connection.starttls(upgrade, &self.hello).await?;
        }
        if let Some(credentials) = credentials {
            reach(SmtpStep::Auth);
            connection.auth(MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    async fn converse(
        &self,
        envelope: &Envelope,
        message: &[u8],
        at: &Mutex<SmtpStep>,
    ) -> Result<(AsyncSmtpConnection, Response), lettre::transport::smtp::Error> {
        let reach = |step| *at.lock() = step;
        let mut connection = self.open(at).await?;
        reach(SmtpStep::Mail);
        connection.command(Mail::new(envelope.from().cloned(), Vec::new())).await?;
        reach(SmtpStep::Rcpt);
        for recipient in envelope.to() {
            connection.command(Rcpt::new(recipient.clone(), Vec::new())).await?;
        }
        reach(SmtpStep::Data);
        connection.command(Data).await?;
        reach(SmtpStep::Message);
        let taken = connection.message(message).await?;
        Ok((connection, taken))
    }
}

/// The result of `work`; none if it is not done by `end`. The clock is asked first, at every step: a process that was stopped must
/// not go on where it was, because its job has another worker by then.
async fn until<T>(end: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let in_time =
        poll_fn(
            |context| {
                if Instant::now() >= end { Poll::Ready(None) } else { work.as_mut().poll(context).map(Some) }
            },
        );
    tokio::time::timeout_at(end.into(), in_time).await.ok().flatten()
}

/// The server's sentence, or what broke; scrubbed, because servers repeat addresses.
fn record(redaction: &Redaction, end: &End, started: Instant) -> ResponseRecord {
    let body = json!({ "step": end.step.as_str(), "code": end.code, "text": end.text });
    ResponseRecord {
        http_status: None,
        headers: Document::new(),
        body: redaction.response_body(&body),
        latency_ms: started.elapsed().as_millis() as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<(String, Tls, bool), &'static str> {
        let server = SmtpServer::parse(&SecretString::from(url))?;
        Ok((server.address(), server.tls, server.credentials.is_some()))
    }

    #[test]
    fn a_url_says_where_and_how_safely() {
        let good = |url, address: &str, tls, signs_in| {
            assert_eq!(read(url), Ok((address.to_owned(), tls, signs_in)), "{url}");
        };
        good("smtp://mail.example", "smtp://mail.example:25", Tls::Off, false);
        good("smtp://mail.example?tls=required", "smtp://mail.example:587", Tls::Upgrade, false);
        good("smtp://u:p@mail.example:2525/?tls=required", "smtp://mail.example:2525", Tls::Upgrade, true);
        good("smtps://u%40x:p%3A%2B@mail.example", "smtps://mail.example:465", Tls::Wrapped, true);
        good("smtp://u:p@127.0.0.1:25", "smtp://127.0.0.1:25", Tls::Off, true);
        good("smtp://u:p@[::1]:25", "smtp://::1:25", Tls::Off, true);
        for bad in [
            "mail.example:25",
            "http://mail.example",
            "smtp://",
            "smtp://mail.example/path",
            "smtp://mail.example?tls=maybe",
            "smtp://mail.example?tls=required&x=1",
            "smtp://user:hunter2@mail.example",
        ] {
            let error = read(bad).expect_err(bad);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn credentials_are_decoded_and_never_printed() {
        assert_eq!((decoded("u%40x").as_str(), decoded("p%3A+%26&").as_str()), ("u@x", "p:+&&"));
        let server = SmtpServer::parse(&SecretString::from("smtps://user:hunter2@mail.example")).expect("good");
        let shown = format!("{server:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("user"), "{shown}");
    }
}
