//! One conversation, after RFC 5321: `EHLO`, `AUTH`, `MAIL`, `RCPT`, `DATA`, `RSET`, `NOOP`, `QUIT`, with `SIZE` and `8BITMIME`.

use std::{io, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{
    Posts,
    modes::{Fate, Reply, Step, fate, is_kept},
    posts::Post,
};
use crate::rules::{Fault, Subject};

/// Longest line of a command.
const LINE_BYTES_MAX: u64 = 2_048;
/// Longest mail; more is refused.
const MAIL_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Longest silence of a client.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest that a client is kept waiting on purpose.
const HANG: Duration = Duration::from_secs(120);

/// The state of a conversation.
struct Session<'a> {
    posts: &'a Posts,
    post: Post,
    account: String,
    from: Option<String>,
    to: Vec<String>,
}

/// The next step after an answer.
enum Next {
    Answer(String),
    /// Lines up to a dot are the mail.
    Mail,
    Quit,
    /// No answer.
    Drop,
}

pub async fn talk(stream: TcpStream, posts: &Posts) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut session = Session { posts, post: posts.of(""), account: String::new(), from: None, to: Vec::new() };
    say(&mut stream, "220 waybill-simulators ESMTP").await?;
    while let Some(line) = read_line(&mut stream).await? {
        let next = match command(&line) {
            ("AUTH", rest) => session.auth(&mut stream, rest).await?,
            (verb, rest) => session.obey(verb, rest).await,
        };
        let next = match next {
            Next::Mail => {
                say(&mut stream, "354 Go ahead").await?;
                let Some(mail) = read_mail(&mut stream).await? else { return Ok(()) };
                session.take(mail).await
            }
            next => next,
        };
        match next {
            Next::Answer(answer) => say(&mut stream, &answer).await?,
            Next::Quit => return say(&mut stream, "221 Bye").await,
            Next::Drop | Next::Mail => return Ok(()),
        }
    }
    Ok(())
}

/// The verb in capitals, and the rest.
fn command(line: &str) -> (&'static str, &str) {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let known = ["EHLO", "HELO", "AUTH", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY"];
    (known.into_iter().find(|known| known.eq_ignore_ascii_case(verb)).unwrap_or_default(), rest)
}

/// The text between `<` and `>`.
fn address(rest: &str) -> Option<&str> {
    let (_, rest) = rest.split_once('<')?;
    rest.split_once('>').map(|(address, _)| address)
}

/// `SIZE=...` of a `MAIL`.
fn size(rest: &str) -> usize {
    let sizes =
        rest.split_whitespace().filter_map(|word| word.to_ascii_uppercase().strip_prefix("SIZE=")?.parse().ok());
    sizes.max().unwrap_or_default()
}

impl Session<'_> {
    fn subject(&self) -> Subject {
        let recipient = self.to.last().cloned().unwrap_or_default();
        vec![("account", json!(self.account)), ("recipient", json!(recipient))]
    }

    /// The effect of the rules on this step; the proper answer where no rule is about it.
    async fn step(&self, step: Step) -> (Fault<Reply>, Fate) {
        let fault = {
            let mut known = self.post.lock();
            known.mails.note(step);
            known.rules.pick(step, &self.subject(), rand::random)
        };
        if !fault.latency.is_zero() {
            tokio::time::sleep(fault.latency).await;
        }
        let fate = fate(fault.mode).unwrap_or(Fate::Proper);
        (fault, fate)
    }

    async fn answered(&self, fault: &Fault<Reply>, fate: Fate, proper: Next) -> Next {
        match fate {
            Fate::Proper => proper,
            Fate::Says(reply) => {
                let recipient = self.to.last().map_or("", String::as_str);
                Next::Answer(reply.line(fault.message.as_deref(), recipient))
            }
            Fate::Drops => Next::Drop,
            Fate::Hangs => {
                tokio::time::sleep(HANG).await;
                Next::Drop
            }
        }
    }

    async fn obey(&mut self, verb: &str, rest: &str) -> Next {
        let answer = |text: &str| Next::Answer(text.to_owned());
        match verb {
            "EHLO" => answer(&format!(
                "250-waybill-simulators\r\n250-SIZE {MAIL_BYTES_MAX}\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN"
            )),
            "HELO" => answer("250 waybill-simulators"),
            "MAIL" => self.mail(rest).await,
            "RCPT" => self.rcpt(rest).await,
            "DATA" if self.to.is_empty() => answer("503 5.5.1 RCPT first"),
            "DATA" => {
                let (fault, fate) = self.step(Step::Data).await;
                self.answered(&fault, fate, Next::Mail).await
            }
            "RSET" => {
                self.reset();
                answer("250 2.0.0 Forgotten")
            }
            "NOOP" => answer("250 2.0.0 Nothing done"),
            "VRFY" => answer("252 2.0.0 Send it and see"),
            "QUIT" => Next::Quit,
            _ => answer("500 5.5.2 Unknown command"),
        }
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    async fn mail(&mut self, rest: &str) -> Next {
        let Some(from) = address(rest) else { return Next::Answer("501 5.5.4 MAIL FROM:<address>".into()) };
        if self.from.is_some() {
            return Next::Answer("503 5.5.1 One mail after the other".into());
        }
        if size(rest) > MAIL_BYTES_MAX {
            return Next::Answer("552 5.3.4 Message too large".into());
        }
        let (fault, fate) = self.step(Step::Mail).await;
        if matches!(fate, Fate::Proper) {
            self.from = Some(from.to_owned());
        }
        self.answered(&fault, fate, Next::Answer("250 2.1.0 From whom".into())).await
    }

    async fn rcpt(&mut self, rest: &str) -> Next {
        let Some(to) = address(rest) else { return Next::Answer("501 5.5.4 RCPT TO:<address>".into()) };
        if self.from.is_none() {
            return Next::Answer("503 5.5.1 MAIL first".into());
        }
        self.to.push(to.to_owned());
        let (fault, fate) = self.step(Step::Rcpt).await;
        let is_taken = matches!(fate, Fate::Proper);
        let next = self.answered(&fault, fate, Next::Answer("250 2.1.5 To whom".into())).await;
        if !is_taken {
            self.to.pop();
        }
        next
    }

    /// `AUTH PLAIN` and `AUTH LOGIN`; the user name is the namespace.
    async fn auth(&mut self, stream: &mut BufReader<TcpStream>, rest: &str) -> io::Result<Next> {
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let decoded =
            |text: &str| BASE64_STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let name = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let given = if initial.is_empty() { ask(stream, "").await? } else { Some(initial.to_owned()) };
                let given = given.and_then(|given| decoded(&given));
                given.and_then(|given| given.split('\0').nth(1).map(str::to_owned))
            }
            "LOGIN" => {
                let name = ask(stream, "VXNlcm5hbWU6").await?;
                ask(stream, "UGFzc3dvcmQ6").await?;
                name.and_then(|name| decoded(&name))
            }
            _ => return Ok(Next::Answer("504 5.5.4 PLAIN or LOGIN".into())),
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(Next::Answer("501 5.5.2 Unreadable credentials".into()));
        };
        self.post = self.posts.of(&name);
        self.account = name;
        let (fault, fate) = self.step(Step::Auth).await;
        Ok(self.answered(&fault, fate, Next::Answer("235 2.7.0 Welcome".into())).await)
    }

    async fn take(&mut self, mail: Result<Vec<u8>, TooLong>) -> Next {
        let Ok(mail) = mail else {
            self.reset();
            return Next::Answer("552 5.3.4 Message too large".into());
        };
        let (fault, fate) = self.step(Step::Message).await;
        if is_kept(&fault) {
            let from = self.from.clone().unwrap_or_default();
            let mut known = self.post.lock();
            let deduplicates = known.deduplicates;
            known.mails.take(&from, &self.to, mail, deduplicates);
        }
        let next = self.answered(&fault, fate, Next::Answer("250 2.0.0 Taken".into())).await;
        self.reset();
        next
    }
}

/// A mail over the limit.
struct TooLong;

async fn say(stream: &mut BufReader<TcpStream>, answer: &str) -> io::Result<()> {
    stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await
}

/// Asks for more of the credentials.
async fn ask(stream: &mut BufReader<TcpStream>, what: &str) -> io::Result<Option<String>> {
    say(stream, &format!("334 {what}")).await?;
    read_line(stream).await
}

async fn read_bytes(stream: &mut BufReader<TcpStream>, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut reading = stream.take(bytes_max);
    match tokio::time::timeout(PATIENCE, reading.read_until(b'\n', &mut line)).await {
        Ok(read) => Ok((read? > 0).then_some(line)),
        Err(_) => Ok(None),
    }
}

/// A line without its end; none where the client has left, or says nothing.
async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let line = read_bytes(stream, LINE_BYTES_MAX).await?;
    Ok(line.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()))
}

/// Lines up to the dot, with the dots that were doubled single again; none where the client has left before it.
async fn read_mail(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Result<Vec<u8>, TooLong>>> {
    let (mut mail, mut is_too_long) = (Vec::new(), false);
    loop {
        let Some(line) = read_bytes(stream, MAIL_BYTES_MAX as u64).await? else { return Ok(None) };
        if line == b".\r\n" {
            return Ok(Some(if is_too_long { Err(TooLong) } else { Ok(mail) }));
        }
        is_too_long |= mail.len() + line.len() > MAIL_BYTES_MAX;
        if !is_too_long {
            mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }
}
