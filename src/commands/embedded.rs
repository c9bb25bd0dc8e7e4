//! A private mongod, redis-server and the providers' stand-ins as child processes.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongodb::{Client, options::ClientOptions};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
};

use crate::modules::providers::registry::PAYMENT_GATEWAY;

/// Secret with which the gateway's stand-in signs callbacks; it protects nothing.
pub(super) const WEBHOOK_SECRET: &str = "waybill-dev-webhook-secret";
/// A server has this long to come up.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// A server has this long to end in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Makes a folder and gives its absolute path.
pub(super) fn make_folder(folder: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(folder)
        .and_then(|()| folder.canonicalize())
        .map_err(|error| format!("{}: {error}", folder.display()))
}

#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) home: PathBuf,
    pub(super) mongod: Option<PathBuf>,
    pub(super) redis_server: Option<PathBuf>,
}

impl Programs {
    /// The given program, else the one under the home, else whatever PATH has.
    fn find(&self, given: Option<&PathBuf>, name: &str) -> PathBuf {
        let beside = self.home.join("bin").join(name);
        match given {
            Some(path) => path.clone(),
            None if beside.is_file() => beside,
            None => name.into(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct StandIns {
    /// Base URL of the providers.
    pub(super) url: String,
    /// Of the mail server.
    pub(super) smtp_url: String,
}

impl StandIns {
    /// The page on which mails are read.
    pub(super) fn mailbox(&self) -> String {
        format!("{}/mail", self.url)
    }
}

/// Child processes; they end with [`Servers::stop`], and at the latest when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Servers {
    children: Vec<(&'static str, Child)>,
    /// The stand-ins end when this closes.
    simulators_stdin: Option<ChildStdin>,
}

impl Servers {
    /// Starts a one-node replica set with its data in `folder` and gives its URI without a database.
    pub(super) async fn start_mongod(&mut self, programs: &Programs, folder: &Path) -> Result<String, String> {
        let program = programs.find(programs.mongod.as_ref(), "mongod");
        let data = make_folder(&folder.join("db"))?;
        let port = free_port()?;
        let log = folder.join("mongod.log");
        let mut command = Command::new(program);
        command
            .args(["--replSet", "rs0", "--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.5", "--quiet"])
            .args(["--port", &port.to_string()])
            // A killed process leaves its transaction open, and the documents in it locked, for so long.
            .args(["--setParameter", "transactionLifetimeLimitSeconds=15"])
            .arg("--dbpath")
            .arg(&data)
            .arg("--logpath")
            .arg(&log);
        self.spawn("mongod", silent(command))?;
        let direct = format!("mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=1000");
        self.wait_for("mongod", &log, async || initiate(&direct, port).await).await?;
        Ok(format!("mongodb://127.0.0.1:{port}/"))
    }

    /// Starts a Redis that keeps nothing and gives its URL.
    pub(super) async fn start_redis(&mut self, programs: &Programs, folder: &Path) -> Result<String, String> {
        let program = programs.find(programs.redis_server.as_ref(), "redis-server");
        let port = free_port()?;
        let log = folder.join("redis.log");
        let mut command = Command::new(program);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
            .arg("--dir")
            .arg(folder)
            .arg("--logfile")
            .arg(&log);
        self.spawn("redis-server", silent(command))?;
        let address = format!("127.0.0.1:{port}");
        self.wait_for("redis-server", &log, async || tokio::net::TcpStream::connect(&address).await.is_ok()).await?;
        Ok(format!("redis://{address}"))
    }

    /// Starts the providers' stand-ins and the mail server's.
    pub(super) async fn start_simulators(&mut self, api: SocketAddr) -> Result<StandIns, String> {
        let own = std::env::current_exe().map_err(|error| format!("this program can't be located: {error}"))?;
        let program = own.with_file_name("waybill-simulators");
        if !program.is_file() {
            return Err(format!("{} is missing; build it with `cargo build --bins`", program.display()));
        }
        let mut command = Command::new(program);
        command.env("RUST_LOG", "warn");
        let gateway = PAYMENT_GATEWAY.name;
        command.arg(format!("--{gateway}-callback-url=http://{api}/webhooks/payments/{gateway}"));
        command.arg(format!("--{gateway}-callback-secret={WEBHOOK_SECRET}"));
        command.args(["--addr", "127.0.0.1:0", "--exit-with-stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = self.spawn("waybill-simulators", command)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("the stand-ins have no output")?;
        self.simulators_stdin = stdin;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START_TIMEOUT, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else { return Err("the stand-ins did not start".into()) };
        let hello: serde_json::Value =
            serde_json::from_str(&line).map_err(|error| format!("the stand-ins said {line}: {error}"))?;
        let said = |name: &str| hello[name].as_str().ok_or_else(|| format!("the stand-ins said {line}"));
        Ok(StandIns { url: said("listening")?.to_owned(), smtp_url: format!("smtp://{}", said("smtp")?) })
    }

    /// Ends all of them, in the opposite order.
    pub(super) async fn stop(mut self) {
        drop(self.simulators_stdin.take());
        self.stop_last(usize::MAX).await;
    }

    /// Ends those that were started last, in the opposite order.
    pub(super) async fn stop_last(&mut self, count: usize) {
        for _ in 0..count {
            let Some((name, mut child)) = self.children.pop() else { return };
            if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
                tracing::warn!(name, "did not end in time; killing it");
                let _ = child.kill().await;
            }
        }
    }

    /// One that has ended by itself, and how.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.children.iter_mut().find_map(|(name, child)| match child.try_wait() {
            Ok(Some(status)) => Some(format!("{name} ended with {status}")),
            _ => None,
        })
    }

    /// Starts a program.
    pub(super) fn spawn(&mut self, name: &'static str, mut command: Command) -> Result<&mut Child, String> {
        // A process group of its own: Ctrl-C reaches us alone, and we end the servers in order.
        command.kill_on_drop(true).process_group(0);
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("{name} is not on this machine; run scripts/setup first"),
            _ => format!("{name} could not be started: {error}"),
        })?;
        self.children.push((name, child));
        match self.children.last_mut() {
            Some((_, child)) => Ok(child),
            None => Err(format!("{name} is gone")),
        }
    }

    async fn wait_for(&mut self, name: &str, log: &Path, up: impl AsyncFn() -> bool) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < START_TIMEOUT {
            if up().await {
                return Ok(());
            }
            if let Some((_, child)) = self.children.last_mut()
                && let Ok(Some(status)) = child.try_wait()
            {
                return Err(format!("{name} ended with {status}; see {}", log.display()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("{name} did not come up in {START_TIMEOUT:?}; see {}", log.display()))
    }
}

/// Makes the node a replica set of itself under today's port; true once it takes writes.
async fn initiate(direct_uri: &str, port: u16) -> bool {
    let Ok(options) = ClientOptions::parse(direct_uri).await else { return false };
    let Ok(client) = Client::with_options(options) else { return false };
    let admin = client.database("admin");
    let Ok(hello) = admin.run_command(doc! { "hello": 1 }).await else { return false };
    if hello.get_bool("isWritablePrimary").unwrap_or(false) {
        return true;
    }
    let host = format!("127.0.0.1:{port}");
    match admin.run_command(doc! { "replSetGetConfig": 1 }).await {
        Ok(reply) => {
            // Data of an earlier run knows the port of then.
            if let Ok(config) = reply.get_document("config").cloned() {
                let _ = reconfigure(&admin, config, &host).await;
            }
        }
        Err(_) => {
            let config = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": &host }] };
            let _ = admin.run_command(doc! { "replSetInitiate": config }).await;
        }
    }
    false
}

async fn reconfigure(admin: &mongodb::Database, mut config: Document, host: &str) -> mongodb::error::Result<()> {
    let known =
        config.get_array("members").ok().and_then(|members| members.first()?.as_document()?.get_str("host").ok());
    if known == Some(host) {
        return Ok(());
    }
    let version = config.get_i32("version").unwrap_or(1);
    config.insert("members", vec![doc! { "_id": 0, "host": host }]);
    config.insert("version", version + 1);
    admin.run_command(doc! { "replSetReconfig": config, "force": true }).await.map(drop)
}

fn silent(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

pub(super) fn free_port() -> Result<u16, String> {
    StdListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port: {error}"))
}
