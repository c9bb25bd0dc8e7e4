//! What docker-compose.yml runs, run without containers: its commands, with its variables, over a MongoDB and a Redis with
//! passwords; an order goes through.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use bson::{Document, doc};
use mongodb::{Client, Database, options::ClientOptions};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{path, read, yaml};
use crate::support::{Carrier, eventually, http_client, orders::order, process::free_port, server, unique};

const PATIENCE: Duration = Duration::from_secs(60);

/// `${NAME}`, `${NAME:-default}` and `${NAME:?words}` as docker-compose reads them, and `$$`.
fn interpolate(text: &str, variables: &BTreeMap<&str, String>) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (inside, after) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).expect("a name in braces");
        let (name, other) = inside.split_once(':').unwrap_or((inside, ""));
        match (variables.get(name), other.split_at_checked(1)) {
            (Some(value), _) => out.push_str(value),
            (None, Some(("-", default))) => out.push_str(default),
            (None, _) => panic!("{name} is not set"),
        }
        rest = after;
    }
    out + rest
}

/// An installation as docker-compose.yml describes it, in a folder instead of containers.
struct Installation {
    compose: Value,
    variables: BTreeMap<&'static str, String>,
    folder: PathBuf,
    mongo_port: u16,
    redis_port: u16,
    children: Vec<(&'static str, Child)>,
}

impl Installation {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(unique("waybill-compose"));
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        // What the images have on PATH. The entry point of MongoDB's makes the first user and then does as it is told.
        let entrypoint = folder.join("bin/docker-entrypoint.sh");
        std::fs::write(&entrypoint, "#!/bin/sh\nexec \"$@\"\n").unwrap();
        std::fs::set_permissions(&entrypoint, std::fs::Permissions::from_mode(0o755)).unwrap();
        for (name, program) in [
            ("mongod", server("MONGOD")),
            ("redis-server", server("REDIS_SERVER")),
            ("waybill", env!("CARGO_BIN_EXE_waybill").into()),
        ] {
            symlink(program, folder.join("bin").join(name)).unwrap();
        }
        let secret = || hex::encode(rand::random::<[u8; 32]>());
        let names = [
            "MONGO_PASSWORD",
            "MONGO_ROOT_PASSWORD",
            "REDIS_PASSWORD",
            "JWT_SECRET",
            "SEALING_KEY",
            "AUDIT_SIGNING_KEY",
        ];
        let variables = names.into_iter().map(|name| (name, secret())).collect();
        let compose = yaml("docker-compose.yml");
        Self { compose, variables, folder, mongo_port: free_port(), redis_port: free_port(), children: Vec::new() }
    }

    fn service(&self, name: &str) -> &Value {
        &self.compose["services"][name]
    }

    fn words(&self, list: &Value) -> Vec<String> {
        let word = |word: &Value| interpolate(word.as_str().expect("a word"), &self.variables);
        list.as_array().expect("a list").iter().map(word).collect()
    }

    /// The variables of a service, with addresses of this machine instead of the network's.
    fn environment(&self, service: &str) -> BTreeMap<String, String> {
        let set = self.service(service)["environment"].as_object().expect("a map");
        let set =
            set.iter().filter_map(|(name, value)| Some((name.clone(), interpolate(value.as_str()?, &self.variables))));
        let here = |value: String| {
            let value = value.replace("@mongo:27017", &format!("@127.0.0.1:{}", self.mongo_port));
            value
                .replace("@redis:6379", &format!("@127.0.0.1:{}", self.redis_port))
                .replace("/var/lib/waybill", self.folder.to_str().unwrap())
        };
        set.map(|(name, value)| (name, here(value))).collect()
    }

    fn command(&self, service: &str, words: &[String]) -> Command {
        let paths = format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().env("PATH", paths).envs(self.environment(service));
        // A shell that starts something and waits for it is not all there is to end.
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    fn start(&mut self, name: &'static str, mut command: Command) {
        let log = std::fs::File::create(self.folder.join(format!("{name}.log"))).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.children.push((name, command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"))));
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default()
    }

    /// MongoDB by its start script and command.
    fn start_mongo(&mut self) {
        let service = self.service("mongo");
        let script = self.words(&service["entrypoint"])[1].replace("/waybill", "deploy/compose");
        let data = self.folder.join("db");
        std::fs::create_dir_all(&data).unwrap();
        let own = format!(
            "--port {} --dbpath {} --nounixsocket --wiredTigerCacheSizeGB 0.25 --oplogSize 64",
            self.mongo_port,
            data.display()
        );
        let words: Vec<String> = ["bash".to_owned(), path(&script).display().to_string()]
            .into_iter()
            .chain(self.words(&service["command"]).into_iter().filter(|word| word != "--bind_ip_all"))
            .chain(["--bind_ip".to_owned(), "127.0.0.1".to_owned()])
            .chain(own.split(' ').map(str::to_owned))
            .collect();
        let mut command = self.command("mongo", &words);
        command.env("KEY_FILE", self.folder.join("key"));
        self.start("mongo", command);
    }

    /// A client of the database, signed in or not.
    async fn database(&self, credentials: &str) -> Database {
        let uri = format!(
            "mongodb://{credentials}127.0.0.1:{}/?directConnection=true&serverSelectionTimeoutMS=2000",
            self.mongo_port
        );
        Client::with_options(ClientOptions::parse(uri).await.unwrap()).unwrap().database("admin")
    }

    /// What the image and then the health check's script do: the first user, the replica set, Waybill's user with its roles.
    async fn set_mongo_up(&self) {
        let nobody = self.database("").await;
        let members =
            doc! { "_id": "rs0", "members": [{ "_id": 0, "host": format!("127.0.0.1:{}", self.mongo_port) }] };
        eventually("the replica set takes writes", PATIENCE, async || {
            let _ = nobody.run_command(doc! { "replSetInitiate": &members }).await;
            let hello = nobody.run_command(doc! { "hello": 1 }).await;
            hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
        })
        .await;
        let root = &self.variables["MONGO_ROOT_PASSWORD"];
        nobody.run_command(doc! { "createUser": "root", "pwd": root, "roles": ["root"] }).await.unwrap();
        let script = read("deploy/compose/mongo-health.js");
        let roles = script.lines().find_map(|line| line.strip_prefix("const roles = ")).expect("the roles");
        let roles: Value = serde_json::from_str(roles.trim_end_matches(';')).expect("JSON");
        let roles = bson::Bson::try_from(roles).unwrap();
        let root = self.database(&format!("root:{root}@")).await;
        let own = root.client().database("waybill");
        own.run_command(doc! { "createUser": "waybill", "pwd": &self.variables["MONGO_PASSWORD"], "roles": roles })
            .await
            .unwrap();
    }

    /// Redis by its command, which a shell reads.
    fn start_redis(&mut self) {
        let mut words = self.words(&self.service("redis")["command"]);
        let own = format!(" --bind 127.0.0.1 --port {} --dir {}", self.redis_port, self.folder.display());
        words.last_mut().expect("a line for the shell").push_str(&own);
        let command = self.command("redis", &words);
        self.start("redis", command);
    }

    fn start_ours(&mut self, name: &'static str, service: &str, address: &str, more: &BTreeMap<&str, String>) {
        let words = [vec!["waybill".to_owned()], self.words(&self.service(service)["command"])].concat();
        let mut command = self.command(service, &words);
        command.envs(more).env("HTTP_ADDR", address).env("METRICS_ADDR", address);
        self.start(name, command);
    }

    /// The health check of a service, asked at `address`.
    async fn is_healthy(&self, service: &str, address: &str) -> bool {
        let test = self.words(&self.service(service)["healthcheck"]["test"]);
        let inside = self.environment(service);
        let inside = if service == "api" { &inside["HTTP_ADDR"] } else { &inside["METRICS_ADDR"] };
        let at = inside.replace("0.0.0.0", "127.0.0.1");
        let words: Vec<String> = test[1..].iter().map(|word| word.replace(&at, address)).collect();
        assert!(words.iter().any(|word| word.contains(address)), "{test:?} asks elsewhere than at {at}");
        self.command(service, &words).output().await.unwrap().status.success()
    }

    async fn healthy(&self, name: &str, service: &str, address: &str) {
        let what = format!("{name} is healthy");
        eventually(&what, PATIENCE, async || self.is_healthy(service, address).await).await;
    }

    /// Runs one of ours to its end; gives what it printed.
    async fn run(&self, words: &[&str], more: &BTreeMap<&str, String>) -> String {
        let words: Vec<String> = std::iter::once("waybill").chain(words.iter().copied()).map(str::to_owned).collect();
        let output = self.command("api", &words).envs(more).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}\n{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (name, _) in &self.children {
                let log = self.log(name);
                let last: Vec<&str> = log.lines().rev().take(15).collect();
                eprintln!("last words of {name}:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        for (_, child) in &self.children {
            if let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()) {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn address() -> String {
    format!("{}:{}", Ipv4Addr::LOCALHOST, free_port())
}

#[tokio::test]
async fn what_compose_runs_carries_an_order_through() {
    let mut at = Installation::new();
    let carrier = Carrier::start().await;
    let providers = BTreeMap::from([
        ("PARCELX_BASE_URL", carrier.base_url()),
        ("PARCELX_ACCESS_KEY", "key".to_owned()),
        ("PARCELX_SECRET_KEY", "secret".to_owned()),
        ("WAYBILL_PASSWORD", "correct horse battery".to_owned()),
        // Sooner than in the field.
        ("AUDIT_ANCHOR_EVERY_MS", "500".to_owned()),
        ("DRAIN_MS", "0".to_owned()),
    ]);
    at.start_mongo();
    at.set_mongo_up().await;
    let key = std::fs::metadata(at.folder.join("key")).unwrap();
    assert_eq!((key.permissions().mode() & 0o777, key.len() > 100), (0o400, true), "the key file is its owner's");
    let refused = at.database("").await.run_command(doc! { "listDatabases": 1 }).await;
    assert!(refused.is_err(), "nobody reads without a password");

    at.run(&["migrate"], &providers).await;
    // The API is there before Redis is.
    let (api, first, second) = (address(), address(), address());
    at.start_ours("api", "api", &api, &providers);
    at.healthy("the API", "api", &api).await;
    at.start_redis();
    at.start_ours("worker-1", "worker", &first, &providers);
    at.start_ours("worker-2", "worker", &second, &providers);
    at.healthy("a worker", "worker", &first).await;
    at.healthy("another worker", "worker", &second).await;
    eventually("Redis is used, by its password", PATIENCE, async || {
        let ready =
            http_client(PATIENCE).get(format!("http://{api}/readyz")).send().await.unwrap().text().await.unwrap();
        ready.contains("\"redis\":\"up\"")
    })
    .await;
    let open = redis::Client::open(format!("redis://127.0.0.1:{}", at.redis_port)).unwrap();
    let refused = open.get_multiplexed_async_connection().await;
    let refused = match refused {
        Ok(mut connection) => redis::cmd("PING").query_async::<String>(&mut connection).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "nobody asks Redis without a password");

    let merchant =
        ["user", "create", "--email=m@example.com", "--role=merchant", "--kyc-verified", "--credit=INR:1000000"];
    let printed = at.run(&merchant, &providers).await;
    let user: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    let token = user["accessToken"].as_str().unwrap();
    let client = http_client(PATIENCE);
    let created = client.post(format!("http://{api}/orders/create")).bearer_auth(token);
    let created =
        created.header("content-type", "application/json").body(order("c-1").to_string()).send().await.unwrap();
    assert_eq!(created.status(), 201);
    let created: Value = serde_json::from_str(&created.text().await.unwrap()).unwrap();
    let url = format!("http://{api}/orders/{}", created["orderId"].as_str().unwrap());
    eventually("the order is confirmed", PATIENCE, async || {
        let order = client.get(&url).bearer_auth(token).send().await.unwrap().text().await.unwrap();
        order.contains("\"status\":\"confirmed\"")
    })
    .await;
    assert_eq!(carrier.books().await["shipments"], 1, "once");

    // The user of the database may see all that is asked of it.
    let found: Value = serde_json::from_str(&at.run(&["doctor", "--json"], &providers).await).unwrap();
    let of = |state: &str| -> Vec<&Value> {
        found["findings"].as_array().unwrap().iter().filter(|finding| finding["state"] == state).collect()
    };
    assert!(of("problem").is_empty() && of("unknown").is_empty(), "{found}");
    assert!(of("ok").iter().any(|finding| finding["check"] == "mongodb.users"), "{found}");
    eventually("the latest seal is anchored", PATIENCE, async || has_lines(&at.folder.join("anchors.jsonl"))).await;

    for index in 0..at.children.len() {
        let (name, child) = &mut at.children[index];
        if !["api", "worker-1", "worker-2"].contains(name) {
            continue;
        }
        kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGTERM).unwrap();
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        assert_eq!(ended.expect("it ends").unwrap().code(), Some(0), "{}", at.log(at.children[index].0));
    }
    let jobs =
        at.database(&format!("root:{}@", at.variables["MONGO_ROOT_PASSWORD"])).await.client().database("waybill");
    let open =
        jobs.collection::<Document>("jobs").count_documents(doc! { "state": { "$in": ["active", "dead"] } }).await;
    assert_eq!(open.unwrap(), 0);
}

fn has_lines(file: &Path) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.lines().next().is_some())
}
