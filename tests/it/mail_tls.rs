//! Mail over TLS: nothing is said to a server whose certificate nobody vouches for. What speaks TLS here stands before the mail
//! server's stand-in, with certificates made for the test.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bson::doc;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer},
};

use crate::support::{TestApp, eventually, mailbox::Mailbox, process::Launch, server, unique};

#[derive(Clone, Copy, PartialEq)]
enum Begins {
    AtOnce,
    WhenAsked,
}

/// A server at `localhost`, and a file for `SSL_CERT_FILE` that vouches for it.
struct Vouched {
    file: PathBuf,
    acceptor: TlsAcceptor,
}

impl Vouched {
    fn new() -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = std::env::temp_dir().join(unique("vouched"));
        std::fs::write(&file, cert.pem()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let config = config.with_single_cert(vec![cert.der().clone()], key.into()).unwrap();
        Self { file, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// Serves at the port that it gives.
    async fn serve(&self, begins: Begins) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, acceptor) = (listener.local_addr().unwrap().port(), self.acceptor.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move { converse(client, acceptor, begins).await });
            }
        });
        port
    }
}

impl Drop for Vouched {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

async fn converse(client: TcpStream, acceptor: TlsAcceptor, begins: Begins) -> io::Result<()> {
    let mut client = BufReader::new(client);
    if begins == Begins::WhenAsked {
        client.get_mut().write_all(b"220 plain\r\n").await?;
        loop {
            let mut line = String::new();
            if client.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "STARTTLS" => break client.get_mut().write_all(b"220 go on\r\n").await?,
                line if line.starts_with("EHLO ") => {
                    client.get_mut().write_all(b"250-plain\r\n250 STARTTLS\r\n").await?
                }
                _ => client.get_mut().write_all(b"530 STARTTLS first\r\n").await?,
            }
        }
    }
    let mut client = acceptor.accept(client.into_inner()).await?;
    let mut behind = BufReader::new(TcpStream::connect(server("SIMULATORS_SMTP")).await?);
    if begins == Begins::WhenAsked {
        // There is one greeting only.
        behind.read_line(&mut String::new()).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut behind).await.map(drop)
}

/// Has a mail sent by a worker that reaches its server so; gives whom it is for, the outcome, and the step that was reached.
async fn sent(app: &TestApp, mailbox: &Mailbox, url: &str, trusted: Option<&Vouched>) -> (String, String, String) {
    let user = app.merchant().await;
    app.post(&user, "/auth/email/send-verification", &json!({})).await.expect(204);
    let flags = mailbox.flags();
    let flag = format!("--smtp-url={url}");
    let mut launch = Launch::worker(app, &[&flag, &flags[1], &flags[2], "--mail-deadline-ms=5000"]);
    if let Some(vouched) = trusted {
        launch = launch.env("SSL_CERT_FILE", vouched.file.to_str().unwrap());
    }
    let process = launch.start().await;
    let filter = doc! { "provider": "smtp", "userId": &user.user_id };
    eventually("an answer is on record", Duration::from_secs(20), async || {
        !app.all("provider_response_logs", filter.clone()).await.is_empty()
    })
    .await;
    drop(process);
    let answer = app.all("provider_response_logs", filter).await.remove(0);
    let text = |field: &str| answer.get_str(field).unwrap_or_default().to_owned();
    let step = answer.get_document("body").unwrap().get_str("step").unwrap().to_owned();
    (user.email, text("outcome"), step)
}

#[tokio::test]
async fn mail_goes_only_to_a_server_that_somebody_vouches_for() {
    let (mailbox, vouched) = (Mailbox::open(), Vouched::new());
    let app = mailbox.app(&[]).await;
    let sign_in = mailbox.sign_in();
    let wrapped = vouched.serve(Begins::AtOnce).await;
    let upgraded = vouched.serve(Begins::WhenAsked).await;
    for (url, trusted, outcome, step) in [
        (format!("smtps://{sign_in}@localhost:{wrapped}"), None, "retryable", "connect"),
        (format!("smtp://{sign_in}@localhost:{upgraded}?tls=required"), None, "retryable", "starttls"),
        // Vouched for, and another server's.
        (format!("smtps://{sign_in}@127.0.0.1:{wrapped}"), Some(&vouched), "retryable", "connect"),
        (format!("smtps://{sign_in}@localhost:{wrapped}"), Some(&vouched), "done", "message"),
        (format!("smtp://{sign_in}@localhost:{upgraded}?tls=required"), Some(&vouched), "done", "message"),
    ] {
        let before = mailbox.books().await["steps"].clone();
        let (email, came_to, reached) = sent(&app, &mailbox, &url, trusted).await;
        assert_eq!((&*came_to, &*reached), (outcome, step), "{url}");
        let mails = mailbox.mails_to(&email).await;
        if outcome == "done" {
            assert_eq!(mails.len(), 1, "{url}");
        } else {
            assert_eq!((mails.len(), &mailbox.books().await["steps"]), (0, &before), "not even a password: {url}");
        }
    }
    app.finish_unchecked().await;
}
