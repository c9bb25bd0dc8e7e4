//! The real program as a process of its own: started, ended, killed and frozen as in the field.

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::{TestApp, eventually, http_client, test_flags, unique};

/// A process has this long to come up or to end; a debug build on a busy machine needs some of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Somebody else may take a free port before it is used.
const TRIES: usize = 3;

/// What is going to be started: over the stores and the carrier of a [`TestApp`], with its settings in the environment.
#[derive(Clone)]
pub struct Launch {
    program: &'static str,
    env: BTreeMap<String, String>,
    port: Option<u16>,
}

/// A running process. It is killed when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Of the API, or of a worker's metrics.
    pub base: String,
}

/// A port that nobody listens on now. It lies below those that the kernel hands out, or a connection or a server of another
/// test might take it before it is used.
pub fn free_port() -> u16 {
    std::iter::repeat_with(|| rand::random_range(10_000..32_000))
        .take(1_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

impl Launch {
    pub fn api(app: &TestApp, flags: &[&str]) -> Self {
        Self::program("api", app, flags)
    }

    pub fn worker(app: &TestApp, flags: &[&str]) -> Self {
        Self::program("worker", app, flags)
    }

    /// API and worker in one process.
    pub fn all(app: &TestApp, flags: &[&str]) -> Self {
        Self::program("all", app, flags)
    }

    /// `waybill audit purge`, which ends by itself.
    pub fn purge(app: &TestApp, flags: &[&str]) -> Self {
        Self::program("audit purge", app, flags)
    }

    fn program(program: &'static str, app: &TestApp, flags: &[&str]) -> Self {
        let flags = test_flags(&app.mongodb_uri, &app.redis_url, &app.redis_prefix, &app.carrier.base_url(), flags);
        let env = flags.iter().map(|flag| {
            let (name, value) = flag.trim_start_matches('-').split_once('=').unwrap();
            let name = if name == "concurrency" { "worker-concurrency" } else { name };
            (name.replace('-', "_").to_uppercase(), value.to_owned())
        });
        Self { program, env: env.collect(), port: None }
    }

    /// With one more setting in its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// It kills itself at this point.
    pub fn crash_at(mut self, point: &str) -> Self {
        self.env.insert("WAYBILL_CRASH_AT".into(), point.into());
        self
    }

    /// It stops itself at this point, once.
    pub fn freeze_at(mut self, point: &str) -> Self {
        self.env.insert("WAYBILL_FREEZE_AT".into(), point.into());
        self
    }

    /// Its port, instead of a free one.
    pub fn on(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Starts it and doesn't wait.
    pub fn spawn(&self) -> Process {
        let address = format!("127.0.0.1:{}", self.port.unwrap_or_else(free_port));
        let log = std::env::temp_dir().join(format!("{}.log", unique("waybill-process")));
        let variable = if self.program == "worker" { "METRICS_ADDR" } else { "HTTP_ADDR" };
        let child = Command::new(env!("CARGO_BIN_EXE_waybill"))
            .args(self.program.split(' '))
            .envs(&self.env)
            .env(variable, &address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        Process { child, log, base: format!("http://{address}") }
    }

    /// Starts it and waits until it serves.
    pub async fn start(&self) -> Process {
        let path = if self.program == "worker" { "/healthz" } else { "/readyz" };
        for _ in 0..TRIES {
            let mut process = self.spawn();
            if process.is_up(path).await {
                return process;
            }
            let log = process.log();
            assert!(log.contains("can't be listened on"), "{} did not come up:\n{log}", self.program);
        }
        panic!("no port was free");
    }
}

impl Process {
    /// Waits until it serves; false where it ended instead.
    async fn is_up(&mut self, path: &str) -> bool {
        let client = http_client(Duration::from_secs(5));
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            let answer = client.get(format!("{}{path}", self.base)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                // Whoever took its port may have answered for it.
                return self.child.try_wait().unwrap().is_none();
            }
            assert!(began.elapsed() < PATIENCE, "it does not come up:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs");
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub async fn end(&mut self) -> ExitStatus {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("it does not end:\n{}", self.log()),
        }
    }

    /// Waits until a crash point has killed it.
    pub async fn crash(&mut self) {
        let status = self.end().await;
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}:\n{}", self.log());
    }

    /// Kills it as the kernel would when memory is short.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.crash().await;
    }

    /// Ends it in order and says how long that took.
    pub async fn terminate(&mut self) -> Duration {
        let began = Instant::now();
        self.signal(Signal::SIGTERM);
        let status = self.end().await;
        assert_eq!(status.code(), Some(0), "{status}:\n{}", self.log());
        began.elapsed()
    }

    /// Waits until a freeze point has stopped it.
    pub async fn frozen(&self) {
        eventually("the process is frozen", PATIENCE, async || self.is_frozen()).await;
    }

    pub fn is_frozen(&self) -> bool {
        let stat = self.child.id().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        stat.is_some_and(|stat| stat.rsplit(')').next().unwrap().trim_start().starts_with('T'))
    }

    /// The most memory that it ever had, in KiB.
    pub fn memory_peak_kib(&self) -> u64 {
        memory_peak_kib(self.child.id().expect("it runs"))
    }

    /// What it has written to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("last words of {}:", self.base);
            last.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

/// The most memory that a process ever had, in KiB.
pub fn memory_peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line about its memory");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
