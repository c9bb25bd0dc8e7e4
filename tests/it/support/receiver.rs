//! A merchant's server for webhooks, which does as it is told and notes what it gets, byte by byte.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use standardwebhooks::Webhook;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    /// Answers with these bytes, head and all.
    Raw(String),
    /// Answers 200 with so many bytes, as fast as they are taken.
    Bytes(usize),
    /// Answers 200, and then one byte every 50 ms.
    Drip,
    /// Reads it and never answers.
    Hang,
    /// Doesn't even read it.
    NeverRead,
    /// Reads it and drops the line.
    Drop,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: String,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        let value = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        value.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next().unwrap_or("")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Whether one of its signatures is that of `secret`.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let at = self.header("webhook-timestamp").parse().unwrap();
        let expected = Webhook::new(secret).unwrap().sign(self.id(), at, self.body.as_bytes()).unwrap();
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }
}

type Script = Box<dyn Fn(usize) -> Reply + Send>;

/// The server. It is honest until it is told otherwise.
pub struct Receiver {
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
    script: Arc<Mutex<Script>>,
    open: Arc<Mutex<(usize, usize)>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(|_| Reply::Status(200))));
        let open: Arc<Mutex<(usize, usize)>> = Arc::default();
        let (noted, told, count) = (Arc::clone(&received), Arc::clone(&script), Arc::clone(&open));
        tokio::spawn(async move {
            let mut connections = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let reply = told.lock().unwrap()(connections);
                connections += 1;
                let (noted, count) = (Arc::clone(&noted), Arc::clone(&count));
                tokio::spawn(async move {
                    {
                        let mut count = count.lock().unwrap();
                        count.0 += 1;
                        count.1 = count.1.max(count.0);
                    }
                    serve(stream, reply, &noted).await;
                    count.lock().unwrap().0 -= 1;
                });
            }
        });
        Self { url, received, script, open }
    }

    /// What it does with the n-th connection from now on, counted from 0 over all.
    pub fn does(&self, script: impl Fn(usize) -> Reply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub fn always(&self, reply: Reply) {
        self.does(move |_| reply.clone());
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Types of what it got, in order.
    pub fn types(&self) -> Vec<String> {
        self.received().iter().map(|received| received.json()["type"].as_str().unwrap().to_owned()).collect()
    }

    /// The most requests that were ever under way at once.
    pub fn at_once_max(&self) -> usize {
        self.open.lock().unwrap().1
    }
}

async fn serve(mut stream: TcpStream, reply: Reply, noted: &Mutex<Vec<Received>>) {
    if matches!(reply, Reply::NeverRead) {
        // Longer than any deadline of a test.
        return tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let Some(received) = read(&mut stream).await else { return };
    noted.lock().unwrap().push(received);
    // Every answer ends its connection, so that each request has one.
    let head = |status: u16| format!("HTTP/1.1 {status} Said\r\nconnection: close\r\n");
    match reply {
        Reply::Status(status) => {
            let _ = stream.write_all(format!("{}content-length: 0\r\n\r\n", head(status)).as_bytes()).await;
        }
        Reply::Raw(bytes) => {
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
        Reply::Bytes(count) => {
            let _ = stream.write_all(format!("{}content-length: {count}\r\n\r\n", head(200)).as_bytes()).await;
            let piece = vec![b'x'; 64 * 1024];
            let mut left = count;
            while left > 0 && stream.write_all(&piece[..left.min(piece.len())]).await.is_ok() {
                left -= left.min(piece.len());
            }
        }
        Reply::Drip => {
            let _ = stream.write_all(format!("{}content-length: 100000\r\n\r\n", head(200)).as_bytes()).await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        // Until the other side gives it up.
        Reply::Hang => drop(stream.read(&mut [0]).await),
        Reply::NeverRead | Reply::Drop => {}
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let received = Received { head: head.to_owned(), body: body.to_owned() };
            let length: usize = received.header("content-length").parse().unwrap_or_default();
            if body.len() >= length {
                return Some(received);
            }
        }
        match stream.read(&mut buffer).await {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}
