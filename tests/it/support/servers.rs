//! Servers of a test's own, to be killed, frozen, restarted and made to fail.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use bson::{Bson, Document, doc};
use mongodb::{Client, Database, options::ClientOptions};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::{eventually, process::free_port, server, unique};

const PATIENCE: Duration = Duration::from_secs(60);

/// A child process that listens on a port and keeps its data in a folder of its own.
struct Server {
    command: Vec<String>,
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Server {
    fn start(name: &str, command: impl FnOnce(&str, &str) -> Vec<String>) -> Self {
        let folder = roomy_folder().join(unique(name));
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let command = command(&port.to_string(), folder.to_str().unwrap());
        let child = spawn(&command);
        Self { command, folder, port, child }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()), signal).unwrap();
    }

    /// Stops it; none of its threads runs any more when this returns.
    fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.child.id().unwrap());
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat"));
            stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
        };
        let began = Instant::now();
        while !std::fs::read_dir(&tasks).unwrap().all(is_stopped) {
            assert!(began.elapsed() < Duration::from_secs(10), "it goes on running");
            std::thread::yield_now();
        }
    }

    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    fn restart(&mut self) {
        self.child = spawn(&self.command);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5)); // nothing to be woken by in a destructor
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(command: &[String]) -> Child {
    Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts")
}

/// Memory where there is some: a killed process loses nothing of it.
fn roomy_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// A mongod, as a replica set of itself, that takes fail points.
pub struct Mongod {
    server: Server,
    admin: Database,
}

impl Mongod {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further settings, as `name=value`.
    pub async fn with(parameters: &[&str]) -> Self {
        let server = Server::start("waybill-mongod", |port, folder| {
            let own = "--replSet rs0 --bind_ip 127.0.0.1 --nounixsocket --wiredTigerCacheSizeGB 0.25 --oplogSize 256";
            let mut command = vec![self::server("MONGOD")];
            command.extend(own.split(' ').map(str::to_owned));
            command.extend(["--port", port, "--dbpath", folder, "--logpath"].map(str::to_owned));
            command.push(format!("{folder}/mongod.log"));
            let fixed = ["enableTestCommands=1", "diagnosticDataCollectionEnabled=false"];
            for parameter in fixed.iter().chain(parameters) {
                command.extend(["--setParameter".to_owned(), (*parameter).to_owned()]);
            }
            command
        });
        let direct = format!(
            "mongodb://127.0.0.1:{}/?directConnection=true&serverSelectionTimeoutMS=1000&connectTimeoutMS=1000",
            server.port
        );
        let options = ClientOptions::parse(&direct).await.unwrap();
        let admin = Client::with_options(options).unwrap().database("admin");
        let mongod = Self { server, admin };
        let host = format!("127.0.0.1:{}", mongod.server.port);
        eventually("the replica set is made", PATIENCE, async || {
            let config = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": &host }] };
            mongod.is_primary().await || mongod.run(doc! { "replSetInitiate": config }).await.is_ok()
        })
        .await;
        mongod.up().await;
        mongod
    }

    pub const fn port(&self) -> u16 {
        self.server.port
    }

    /// For `MONGODB_URI`, without a database.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", self.server.port)
    }

    /// Runs a command on the admin database.
    pub async fn run(&self, command: Document) -> mongodb::error::Result<Document> {
        self.admin.run_command(command).await
    }

    async fn is_primary(&self) -> bool {
        self.run(doc! { "hello": 1 }).await.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
    }

    /// Waits until it takes writes.
    pub async fn up(&self) {
        eventually("mongod takes writes", PATIENCE, async || self.is_primary().await).await;
    }

    /// It stops being the primary for two seconds, then it is again.
    pub async fn step_down(&self) {
        self.run(doc! { "replSetStepDown": 2, "secondaryCatchUpPeriodSecs": 0, "force": true }).await.unwrap();
    }

    pub async fn kill(&mut self) {
        self.server.kill().await;
    }

    /// On the same port and data; [`Mongod::up`] waits for it.
    pub fn restart(&mut self) {
        self.server.restart();
    }

    /// It stops doing anything, its connections stay open.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    pub fn thaw(&self) {
        self.server.signal(Signal::SIGCONT);
    }

    /// Commands fail as `data` says, `times` times, or always where that is 0; see "failCommand" in the driver
    /// specifications.
    pub async fn fail(&self, times: i32, data: Document) {
        let mode = if times == 0 { Bson::from("alwaysOn") } else { doc! { "times": times }.into() };
        self.run(doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data }).await.unwrap();
    }

    /// Commands go well again; gives how often they failed.
    pub async fn heal(&self) -> i64 {
        let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        let was = self.run(off).await.unwrap();
        was.get("count").and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from))).unwrap_or_default()
    }
}

pub struct RedisServer {
    server: Server,
}

impl RedisServer {
    pub async fn start() -> Self {
        let server = Server::start("waybill-redis", |port, folder| {
            let program = self::server("REDIS_SERVER");
            let flags = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", port, "--dir", folder];
            std::iter::once(program.as_str()).chain(flags).map(str::to_owned).collect()
        });
        let redis = Self { server };
        redis.up().await;
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.server.port)
    }

    pub async fn up(&self) {
        eventually("redis answers", PATIENCE, async || self.run("PING").await.is_some()).await;
    }

    /// Runs a command without arguments, on a connection of its own.
    pub async fn run(&self, command: &str) -> Option<String> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        redis::cmd(command).query_async(&mut connection).await.ok()
    }

    pub async fn kill(&mut self) {
        self.server.kill().await;
    }

    /// On the same port.
    pub async fn restart(&mut self) {
        self.server.restart();
        self.up().await;
    }

    /// It stops doing anything, its connections stay open.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    pub fn thaw(&self) {
        self.server.signal(Signal::SIGCONT);
    }
}
