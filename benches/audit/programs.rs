//! Our programs as processes, over the servers that the caller has started, and asking them over HTTP.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

pub const SIGNING_KEY: &str = "5151515151515151515151515151515151515151515151515151515151515151";
pub const SEALING_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const PASSWORD: &str = "correct horse battery";
/// A release build comes up in a fraction of this.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Stores {
    /// With a path of nothing: `mongodb://host/?...`.
    pub mongodb_uri: String,
    pub redis_url: String,
}

#[derive(Clone, Debug)]
pub struct Settings {
    env: Vec<(&'static str, String)>,
}

/// A program that runs; killed when dropped.
pub struct Program {
    child: Child,
    pub base: String,
}

impl Stores {
    pub fn database(&self, name: &str) -> String {
        self.mongodb_uri.replace("/?", &format!("/{name}?"))
    }

    /// Settings of programs over this database.
    pub fn settings(&self, name: &str) -> Settings {
        let env = [
            ("MONGODB_URI", self.database(name)),
            ("REDIS_URL", self.redis_url.clone()),
            ("REDIS_PREFIX", name.to_owned()),
            ("JWT_SECRET", "j".repeat(40)),
            ("SEALING_KEY", SEALING_KEY.into()),
            ("AUDIT_SIGNING_KEY", SIGNING_KEY.into()),
            ("WAYBILL_PASSWORD", PASSWORD.into()),
            ("RATE_LIMIT", "off".into()),
            ("PARCELX_ACCESS_KEY", "a".into()),
            ("PARCELX_SECRET_KEY", "b".into()),
            ("RUST_LOG", "warn".into()),
        ];
        Settings { env: env.into() }
    }
}

impl Settings {
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.into()));
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.args(arguments).envs(self.env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command.kill_on_drop(true);
        command
    }

    /// Runs a program to its end; what it printed, and whether it went well.
    pub async fn run(&self, arguments: &[&str]) -> Result<(String, bool), String> {
        let output = self.command(arguments).output().await.map_err(|error| error.to_string())?;
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if said.trim().is_empty() && !output.status.success() {
            return Err(format!("waybill {}: {}", arguments.join(" "), complained.trim()));
        }
        Ok((said.into_owned(), output.status.success()))
    }

    /// Collections and indexes.
    pub async fn migrate(&self) -> Result<(), String> {
        self.run(&["migrate"]).await.map(drop)
    }

    /// A user with this role, who is verified and rich; an access token.
    pub async fn user(&self, role: &str) -> Result<String, String> {
        let email = format!("{role}@example.com");
        let credit = ["--kyc-verified", "--credit", "INR:900000000000"];
        let (said, _) =
            self.run(&[&["user", "create", "--email", &email, "--role", role], &credit[..]].concat()).await?;
        let line = said.trim().lines().next_back().unwrap_or_default();
        let user: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        Ok(user["accessToken"].as_str().unwrap_or_default().to_owned())
    }

    /// Starts `api` or `worker` and waits until it serves.
    pub async fn start(&self, program: &str, http: &reqwest::Client) -> Result<Program, String> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = listener.map_err(|error| error.to_string())?.to_string();
        let (variable, path) =
            if program == "worker" { ("METRICS_ADDR", "/healthz") } else { ("HTTP_ADDR", "/readyz") };
        let mut command = self.command(&[program]);
        let child = command.env(variable, &address).stdout(Stdio::null()).spawn().map_err(|error| error.to_string())?;
        let mut program = Program { child, base: format!("http://{address}") };
        let began = Instant::now();
        loop {
            let answer = http.get(format!("{}{path}", program.base)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(program);
            }
            let ended = program.child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || began.elapsed() > PATIENCE {
                return Err(format!(
                    "waybill {} does not come up",
                    command.as_std().get_args().next().map_or("".into(), |a| a.to_string_lossy())
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Program {
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Ends it in order, so that it gives its leases back.
    pub async fn stop(mut self) -> Result<(), String> {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap_or_default());
        kill(pid, Signal::SIGTERM).map_err(|error| error.to_string())?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.map_err(|_| "a program does not end".to_owned())?.map_err(|error| error.to_string()).map(drop)
    }
}

/// The providers' stand-ins; they end with the returned child's standard input.
pub async fn simulators() -> Result<(Child, String), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill-simulators"));
    command.args(["--addr", "127.0.0.1:0", "--exit-with-stdin"]).env("RUST_LOG", "warn");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let line = BufReader::new(stdout).lines().next_line().await.map_err(|error| error.to_string())?;
    let said: Value = serde_json::from_str(&line.unwrap_or_default()).map_err(|error| error.to_string())?;
    let base = said["listening"].as_str().ok_or("the stand-ins don't say where they listen")?.to_owned();
    Ok((child, base))
}

/// A client that keeps its connections.
pub fn client() -> Result<reqwest::Client, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().http1_only().tcp_nodelay(true).timeout(Duration::from_secs(30));
    client.build().map_err(|error| error.to_string())
}

/// The body of an answer that has to be good.
pub async fn answer(request: reqwest::RequestBuilder, token: &str) -> Result<Value, String> {
    let answer = request.bearer_auth(token).send().await.map_err(|error| error.to_string())?;
    let (status, url) = (answer.status(), answer.url().clone());
    let body = answer.bytes().await.map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("{url} answers {status}: {}", String::from_utf8_lossy(&body)));
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

pub fn order(client_order_id: &str) -> String {
    let party = serde_json::json!({
        "name": "Asha Rao", "phone": "9876543210", "line1": "12 MG Road", "city": "Bengaluru", "state": "Karnataka",
        "pincode": "560001",
    });
    let shipment = serde_json::json!({
        "paymentMode": "prepaid", "weightGrams": 450, "dimensionsCm": { "length": 20, "width": 15, "height": 8 },
        "consignee": party, "pickup": party,
        "items": [{ "sku": "TS-BLK-M", "name": "T-shirt", "quantity": 2, "unitPrice": 49_900 }],
    });
    serde_json::json!({ "clientOrderId": client_order_id, "shipment": shipment }).to_string()
}

pub async fn create(http: &reqwest::Client, base: &str, token: &str, client_order_id: &str) -> Result<Value, String> {
    let request = http.post(format!("{base}/orders/create")).header("content-type", "application/json");
    answer(request.body(order(client_order_id)), token).await
}
