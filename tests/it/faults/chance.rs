//! Everything that breaks, by chance and under load: API and workers, with sealer and relay in them, are killed, frozen and
//! cut off at any moment and at every named point. Afterwards nothing is missing, nothing is there twice, and no reply was
//! wrong.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::StreamExt;
use mongodb::change_stream::event::OperationType;
use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};
use waybill::{
    modules::audit::verification::{ChainPart, verify_chain},
    platform::{
        batch::{OUTBOX, SEAL_QUEUE},
        crash::{OF_JOBS, OF_RELAYING, OF_SEALING},
        sealing::SealingKeys,
    },
};

use super::{
    PATIENCE,
    load::{Load, all_confirmed_once},
};
use crate::support::{
    TestApp, eventually, orders,
    process::{Launch, Process, free_port},
    read,
    seals::{assert_each_sealed_once, public_keys, times_sealed},
    server,
    servers::Mongod,
    unique, with_database,
};

/// Calls and leases that outlast a slow machine, so that only what is broken on purpose breaks.
const SETTINGS: &[&str] = &[
    "--lease-ms=5000",
    "--call-deadline-ms=2000",
    "--heartbeat-ms=1000",
    "--backoff-base-ms=100",
    "--settling-delay-ms=2500",
    "--poll-ms=50",
    "--shutdown-ms=5000",
    "--audit-seal-every-ms=100",
];
/// A process that ended leaves its transaction open; the server ends it after this long.
const TRANSACTION_LIFETIME: &str = "transactionLifetimeLimitSeconds=2";
const ROUNDS: usize = 6;
/// Between two misfortunes so many orders are acknowledged.
const ORDERS_BETWEEN: usize = 6;
/// A named point is passed within this time, or not in this round.
const POINT_PATIENCE: Duration = Duration::from_millis(2_500);

#[derive(Clone, Copy, PartialEq)]
enum LineState {
    Open,
    /// What the database answers is held back.
    Deaf,
    Cut,
}

/// The line between a process and its database.
struct Line {
    state: watch::Sender<LineState>,
    port: u16,
}

impl Line {
    async fn to(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, seen) = watch::channel(LineState::Open);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *seen.borrow() == LineState::Cut {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", server_port)).await else { continue };
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_read, far_write, false, seen.clone()));
                tokio::spawn(carry(far_read, near_write, true, seen.clone()));
            }
        });
        Self { state, port }
    }

    fn uri(&self, database: &str) -> String {
        with_database(&format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port), database)
    }

    /// What is asked in this time is done, and the answers are lost.
    async fn lose_answers(&self, lasts: Duration) {
        self.state.send_replace(LineState::Deaf);
        tokio::time::sleep(lasts).await; // the misfortune itself
        self.state.send_replace(LineState::Cut);
        tokio::time::sleep(lasts / 4).await; // so are connections that are refused
        self.state.send_replace(LineState::Open);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, answers: bool, mut state: watch::Receiver<LineState>) {
    let mut bytes = vec![0; 64 * 1024];
    let mut cut = state.clone();
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read,
            _ = cut.wait_for(|state| *state == LineState::Cut) => return,
        };
        let Ok(count @ 1..) = read else { return };
        if answers && state.wait_for(|state| *state != LineState::Deaf).await.is_err() {
            return;
        }
        if *state.borrow() == LineState::Cut || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A process that is started again whatever becomes of it.
struct Victim {
    launch: Launch,
    points: Vec<&'static str>,
    line: Line,
    process: Process,
}

impl Victim {
    async fn start(launch: Launch, points: Vec<&'static str>, line: Line) -> Self {
        let process = launch.start().await;
        Self { launch, points, line, process }
    }

    async fn kill(&mut self) {
        if self.process.is_running() {
            self.process.kill().await;
        }
    }

    async fn restart(&mut self) {
        self.kill().await;
        self.process = self.launch.start().await;
    }

    /// Something happens to it; it is well again afterwards.
    async fn suffer(&mut self, chance: &mut StdRng) -> String {
        let point = self.points[chance.random_range(0..self.points.len())];
        let lasts = Duration::from_millis(chance.random_range(100..2_500));
        match chance.random_range(0..5) {
            0 => {
                self.restart().await;
                "killed".into()
            }
            1 => {
                self.process.signal(Signal::SIGSTOP);
                tokio::time::sleep(lasts).await; // the misfortune itself
                self.process.signal(Signal::SIGCONT);
                format!("frozen for {lasts:?}")
            }
            2 => {
                self.line.lose_answers(lasts).await;
                format!("cut off after {lasts:?}")
            }
            3 => {
                self.kill().await;
                self.process = self.launch.clone().crash_at(point).spawn();
                let met = self.within(|process| !process.is_running()).await;
                self.restart().await;
                format!("killed at {point} ({met})")
            }
            _ => {
                self.kill().await;
                self.process = self.launch.clone().freeze_at(point).spawn();
                let met = self.within(|process| process.is_frozen()).await;
                tokio::time::sleep(lasts).await; // the misfortune itself
                self.process.signal(Signal::SIGCONT);
                format!("frozen at {point} ({met}) for {lasts:?}")
            }
        }
    }

    async fn within(&mut self, met: impl Fn(&mut Process) -> bool) -> bool {
        let began = Instant::now();
        while !met(&mut self.process) {
            if began.elapsed() > POINT_PATIENCE {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // a poll with a limit
        }
        true
    }
}

/// Follows the outbox: how often each event was put in, and how often taken out.
fn follow_outbox(app: &TestApp) -> JoinHandle<BTreeMap<String, (u32, u32)>> {
    let outbox = app.db().collection::<Document>(OUTBOX);
    tokio::spawn(async move {
        let mut changes = outbox.watch().await.unwrap();
        let (mut entries, mut events) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::<String, (u32, u32)>::new());
        while let Some(change) = changes.next().await {
            let change = change.unwrap();
            let id =
                change.document_key.and_then(|key| key.get_str("_id").map(ToOwned::to_owned).ok()).unwrap_or_default();
            match change.operation_type {
                OperationType::Insert if id == END => break,
                OperationType::Insert => {
                    let entry = change.full_document.unwrap();
                    let named = entry.get_array("events").unwrap().iter();
                    let named: Vec<String> =
                        named.map(|event| event.as_document().unwrap().get_str("id").unwrap().to_owned()).collect();
                    named.iter().for_each(|event| events.entry(event.clone()).or_default().0 += 1);
                    entries.insert(id, named);
                }
                OperationType::Delete => {
                    // What was there before this began is not counted.
                    for event in entries.get(&id).into_iter().flatten() {
                        events.entry(event.clone()).or_default().1 += 1;
                    }
                }
                _ => {}
            }
        }
        events
    })
}

/// An entry that ends the following.
const END: &str = "the end";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_random_faults_nothing_is_lost_doubled_or_wrong() {
    let seed = std::env::var("CHANCE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u32>);
    println!("CHANCE_SEED={seed} repeats the misfortunes");
    let mut chance = StdRng::seed_from_u64(seed.into());
    let mongod = Mongod::with(&[TRANSACTION_LIFETIME]).await;
    let database = unique("waybill");
    let app = TestApp::over(with_database(&mongod.uri(), &database), server("REDIS_URL"), SETTINGS).await;
    let user = app.merchant().await;
    let outbox = follow_outbox(&app);
    let mut victims = Vec::new();
    let ports = [free_port(), free_port()];
    // Two APIs on ports that stay theirs, and two workers.
    for port in ports.map(Some).into_iter().chain([None, None]) {
        let line = Line::to(mongod.port()).await;
        let (launch, points) = match port {
            Some(port) => (Launch::api(&app, SETTINGS).on(port), vec!["before_commit", "after_commit"]),
            None => (Launch::worker(&app, SETTINGS), [OF_JOBS, OF_SEALING, OF_RELAYING].concat()),
        };
        let launch = launch.env("MONGODB_URI", &line.uri(&database));
        victims.push(Victim::start(launch, points, line).await);
    }
    let bases = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let load = Load::over(&app, &user, &[&bases[0], &bases[1]], 6);
    for round in 0..ROUNDS {
        load.acknowledges(ORDERS_BETWEEN).await;
        let met = match chance.random_range(0..9) {
            0 => {
                mongod.step_down().await;
                "the database steps down".to_owned()
            }
            which => {
                let which = which % victims.len();
                format!("{which} {}", victims[which].suffer(&mut chance).await)
            }
        };
        println!("{round}: {met}");
    }
    mongod.up().await;
    for victim in &mut victims {
        victim.restart().await;
    }
    let all = load.stop().await;
    let lies: Vec<_> = all.iter().filter(|order| order.status == 200 && order.tries == 1).collect();
    assert!(lies.is_empty(), "answered 200 to what was never asked before: {lies:?}");
    for order in &all {
        let again = app.client.post(format!("{}/orders/create", bases[0])).bearer_auth(&user.token);
        let again = again.header("content-type", "application/json");
        let again = again.body(orders::order(&order.client_order_id).to_string()).send().await.unwrap();
        assert_eq!(read(again).await.expect(200).body["orderId"], order.order_id.as_str(), "a 201 is given once");
    }
    all_confirmed_once(&app, &user, &all).await;
    println!("{} orders", all.len());
    for queue in [SEAL_QUEUE, OUTBOX] {
        eventually(&format!("{queue} is empty"), PATIENCE, async || app.all(queue, doc! {}).await.is_empty()).await;
    }
    crate::events::analytics::assert_counted_once(&app).await;
    assert_each_sealed_once(&times_sealed(&app).await);
    let sealing = SealingKeys::new(&"0".repeat(64).into(), None).unwrap();
    let report = verify_chain(app.db(), &public_keys(), &sealing, ChainPart::default(), |_| {}).await.unwrap();
    assert_eq!(report.finding, None);
    for victim in &mut victims {
        victim.kill().await;
    }
    app.db().collection(OUTBOX).insert_one(doc! { "_id": END }).await.unwrap();
    let consumed = outbox.await.unwrap();
    app.db().collection::<Document>(OUTBOX).delete_one(doc! { "_id": END }).await.unwrap();
    for event in app.all("events", doc! {}).await {
        let id = event.get_str("_id").unwrap();
        // What the test itself did before it began to follow is not counted.
        if let Some(times) = consumed.get(id) {
            assert_eq!(*times, (1, 1), "{id} was put in and taken out once");
        } else {
            assert!(text_of(&event, "type") != "OrderCreated", "{id} never came into the outbox");
        }
    }
    app.finish().await;
}

fn text_of<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get_str(field).unwrap_or_default()
}
