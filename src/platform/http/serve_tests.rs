use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};

use super::*;

const SOON: Duration = Duration::from_secs(10);

struct Served {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(limits: ConnectionLimits, router: Router) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel();
    let router = super::super::finish(router, super::super::Edge::default());
    let task = tokio::spawn(serve_within(limits, listener, router, async { drop(stopped.await) }, SOON));
    Served { address, stop, task }
}

async fn ask(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    stream
}

async fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
    answer
}

fn limits(connections: usize) -> ConnectionLimits {
    let peers = PeerLimit::default();
    ConnectionLimits {
        connections,
        peers,
        head_timeout: Duration::from_millis(200),
        write_patience: Duration::from_millis(100),
    }
}

#[tokio::test]
async fn hanging_up_does_not_stop_a_request_and_the_end_waits_for_it() {
    let (started, mut starts) = mpsc::unbounded_channel();
    let (finished, mut ends) = mpsc::unbounded_channel();
    let release = Arc::new(Notify::new());
    let waiting = Arc::clone(&release);
    let handler = move || async move {
        started.send(()).expect("the test listens");
        waiting.notified().await;
        finished.send(()).expect("the test listens");
    };
    let mut served = start(limits(2), Router::new().route("/slow", get(handler))).await;
    let client = ask(served.address, "/slow").await;
    starts.recv().await.expect("it starts");
    drop(client);
    served.stop.send(()).expect("it serves");
    let early = tokio::time::timeout(Duration::from_millis(200), &mut served.task).await;
    assert!(early.is_err(), "the end did not wait for a request whose client has left");
    assert!(ends.try_recv().is_err());
    release.notify_one();
    served.task.await.expect("an orderly end");
    assert!(ends.try_recv().is_ok(), "the request was carried out");
}

#[tokio::test]
async fn who_never_reads_an_answer_does_not_keep_the_place() {
    let big = Router::new().route("/big", get(|| async { vec![0; 64 * 1024 * 1024] }));
    let served = start(limits(1), big.route("/small", get(|| async { "small" }))).await;
    let deaf = ask(served.address, "/big").await;
    // There is one place: this is answered once the other connection has been given up.
    assert!(read(ask(served.address, "/small").await).await.ends_with("small"));
    drop(deaf);
    served.stop.send(()).expect("it serves");
    served.task.await.expect("an orderly end");
}

#[tokio::test]
async fn who_sends_a_head_too_slowly_does_not_keep_the_place() {
    let served = start(limits(1), Router::new().route("/small", get(|| async { "small" }))).await;
    let mut slow = TcpStream::connect(served.address).await.expect("a connection");
    slow.write_all(b"GET /small HTTP/1.1\r\nHost: w\r\n").await.expect("half a head");
    // There is one place: this is answered once the other connection has been given up.
    assert!(read(ask(served.address, "/small").await).await.ends_with("small"));
    assert!(!read(slow).await.starts_with("HTTP/1.1 200"), "it was given up");
    served.stop.send(()).expect("it serves");
    served.task.await.expect("an orderly end");
}

#[tokio::test]
async fn an_address_that_has_its_connections_gets_no_more_until_one_ends() {
    let peers = PeerLimit { connections: Some(2), ..PeerLimit::default() };
    // Who holds connections open is not cut off here by other limits.
    let limits = ConnectionLimits { peers, head_timeout: SOON, ..limits(100) };
    let served = start(limits, Router::new().route("/small", get(|| async { "small" }))).await;
    let connect = || async { TcpStream::connect(served.address).await.expect("the kernel takes it") };
    let (one, two) = (connect().await, connect().await);
    let mut refused = connect().await;
    let read = tokio::time::timeout(SOON, refused.read(&mut [0])).await.expect("it is closed");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(one);
    let served_again = async {
        loop {
            let mut stream = ask(served.address, "/small").await;
            let mut answer = String::new();
            if stream.read_to_string(&mut answer).await.is_ok() && answer.ends_with("small") {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, served_again).await.expect("there is room again");
    let Served { stop, task, .. } = served;
    stop.send(()).expect("it serves");
    drop(two);
    task.await.expect("an orderly end");
}

#[tokio::test]
async fn heads_of_too_many_headers_or_bytes_are_refused() {
    let served = start(limits(2), Router::new().route("/small", get(|| async { "small" }))).await;
    let of = |headers: String| format!("GET /small HTTP/1.1\r\nHost: w\r\nConnection: close\r\n{headers}\r\n");
    let many = |count: usize| of((0..count).map(|n| format!("x-{n}: 1\r\n")).collect());
    let long = |bytes: usize| of(format!("x-long: {}\r\n", "a".repeat(bytes)));
    for (head, status) in
        [(many(HEADERS_MAX - 2), "200"), (many(HEADERS_MAX), "431"), (long(BUFFER_BYTES_MAX / 2), "200")]
    {
        let mut stream = TcpStream::connect(served.address).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("a request");
        let answer = read(stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
    // The rest of one that is too long is not read: whether the answer arrives depends on what is under way.
    let mut stream = TcpStream::connect(served.address).await.expect("a connection");
    let _ = stream.write_all(long(BUFFER_BYTES_MAX * 2).as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("it is given up");
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    served.stop.send(()).expect("it serves");
    served.task.await.expect("an orderly end");
}

#[tokio::test]
async fn a_panic_is_a_problem_too() {
    async fn panics() {
        panic!("on purpose");
    }
    let served = start(limits(2), Router::new().route("/panics", get(panics))).await;
    let answer = read(ask(served.address, "/panics").await).await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("application/problem+json"), "{answer}");
    assert!(
        answer.contains("x-content-type-options: nosniff") && answer.contains("cache-control: no-store"),
        "{answer}"
    );
    assert!(!answer.contains("on purpose"), "{answer}");
}

#[test]
fn connections_leave_files_for_everything_else() {
    for (open_files, connections) in
        [(0, 16), (256, 16), (1024, 768), (10_256, 10_000), (65_536, 10_000), (u64::MAX, 10_000)]
    {
        assert_eq!(connections_max(open_files), connections, "{open_files}");
    }
}
