//! `waybill webhooks listen`: a developer's program gets what happens, also after the API was away.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::Posting;
use crate::support::{PASSWORD, eventually, proxy::Proxy, receiver::Receiver};

struct Listening {
    /// Killed when this is dropped.
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Listening {
    fn start(args: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_waybill"))
            .args(["webhooks", "listen"])
            .args(args)
            .env("WAYBILL_PASSWORD", PASSWORD)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that begins like this.
    async fn line(&mut self, beginning: &str) -> String {
        let found = async {
            loop {
                let line =
                    self.lines.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended before {beginning}"));
                if line.starts_with(beginning) {
                    return line;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.unwrap_or_else(|_| panic!("no line {beginning}"))
    }
}

#[tokio::test]
async fn a_listener_gets_signed_events_once_also_after_an_outage() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    let proxy = Proxy::start(posting.app.base.trim_start_matches("http://").to_owned()).await;
    let mut listening = Listening::start(&[
        format!("--url=http://127.0.0.1:{}", proxy.port),
        format!("--forward={}", receiver.url),
        format!("--email={}", posting.user.email),
        "--types=order.created,order.cancelled".into(),
    ]);
    let secret = listening.line("signed with ").await.replace("signed with ", "");
    listening.line("waiting").await;
    let first = posting.app.created(&posting.user, "c-1").await;
    listening.line("order.created").await;
    proxy.cut();
    listening.line("the API can't be reached").await;
    posting.app.created(&posting.user, "c-2").await;
    posting.app.cancel(&posting.user, "c-1").await.expect(202);
    proxy.mend();
    listening.line("the API is back").await;
    eventually("all is there", Duration::from_secs(20), async || receiver.received().len() >= 3).await;
    let received = receiver.received();
    assert_eq!(receiver.types(), ["order.created", "order.created", "order.cancelled"], "each once");
    assert!(received.iter().all(|one| one.is_signed_by(&secret)));
    assert_eq!(received[0].json()["data"]["orderId"], first);
    assert!(posting.app.all("webhook_deliveries", bson::doc! {}).await.is_empty(), "it needs no endpoint");
    listening.child.kill().await.unwrap();
    posting.app.run_jobs().await;
    posting.app.finish().await;
}

#[tokio::test]
async fn who_may_not_is_told_why() {
    let posting = Posting::start().await;
    for (token, said) in [("nonsense", "not good any more"), ("", "not good any more")] {
        let output = Command::new(env!("CARGO_BIN_EXE_waybill"))
            .args(["webhooks", "listen", "--forward=http://127.0.0.1:1/", &format!("--url={}", posting.app.base)])
            .arg(format!("--token={token}"))
            .output();
        let output = tokio::time::timeout(Duration::from_secs(30), output).await.expect("it ends").unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.contains(said), "{token}: {words}");
    }
    posting.app.finish().await;
}
