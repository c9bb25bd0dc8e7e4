//! The system under test: a database of its own, API and workers as processes, the carrier's stand-in.

use std::{collections::HashMap, path::PathBuf, process::Stdio, time::Duration};

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use secrecy::SecretString;
use serde_json::Value;
use tokio::process::Command;
use waybill_client::{Method, Waybill};

use super::report::Latency;
use crate::{
    app::App,
    commands::{
        dev::{dev_config, dev_flags},
        embedded::{Programs, Servers, StandIns, free_port, make_folder},
    },
    config::{BenchArgs, Config, as_environment},
    modules::{
        auth::PasswordCost,
        providers::{Declaration, ProviderKind, registry::PROVIDERS},
    },
    platform::{
        identity::Role,
        ids::new_id,
        money::{AMOUNT_MAX, Currency, Money},
        mongo::{self, number},
        process_metrics::of_process,
    },
};

/// The processes are up by then.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Deadline of requests to API and stand-ins.
const DEADLINE: Duration = Duration::from_secs(30);
/// Documents that are read at once, of a round whose waits are looked at.
const PAGE: usize = 1_000;
/// Commands of a driver that do something.
const COMMANDS: [&str; 9] = [
    "find",
    "insert",
    "update",
    "delete",
    "aggregate",
    "getMore",
    "findAndModify",
    "commitTransaction",
    "abortTransaction",
];

pub(super) struct CarrierBooks {
    pub(super) shipments: u64,
    pub(super) duplicates: u64,
}

pub(super) struct Site {
    folder: PathBuf,
    servers: Servers,
    carrier: &'static Declaration,
    tokens: Vec<String>,
    processes: Vec<u32>,
    api: Option<Waybill>,
    books: Option<Waybill>,
    /// Once it is known that it is ours.
    db: Option<Database>,
}

impl Site {
    pub(super) fn new(args: &BenchArgs) -> Result<Self, String> {
        let carrier =
            PROVIDERS.iter().find(|provider| provider.kind == ProviderKind::Carrier).ok_or("there is no carrier")?;
        Ok(Self {
            folder: make_folder(&args.home.join(format!("bench-{}", std::process::id())))?,
            servers: Servers::default(),
            carrier,
            tokens: Vec::new(),
            processes: Vec::new(),
            api: None,
            books: None,
            db: None,
        })
    }

    pub(super) async fn start(&mut self, args: &BenchArgs) -> Result<(), String> {
        let programs =
            Programs { home: args.home.clone(), mongod: args.mongod.clone(), redis_server: args.redis_server.clone() };
        let mongodb = match &args.mongodb_uri {
            Some(uri) => at_database(uri, &args.database),
            None => {
                let own = self.servers.start_mongod(&programs, &self.folder).await?;
                format!("{own}{}?replicaSet=rs0", args.database)
            }
        };
        let db = mongo::connect(&mongodb).await.map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
        ensure_new(&db).await?;
        self.db = Some(db);
        let redis = match &args.redis_url {
            Some(url) => url.clone(),
            None => self.servers.start_redis(&programs, &self.folder).await?,
        };
        let address = format!("127.0.0.1:{}", free_port()?);
        let stand_ins = match &args.simulators {
            // Books of our own, beside those of whoever else uses them.
            Some(url) => format!("{}/ns/{}", url.trim_end_matches('/'), new_id("bench")),
            None => {
                let listening: std::net::SocketAddr = address.parse().map_err(|_| "no address")?;
                self.servers.start_simulators(listening).await?.url
            }
        };
        let client = |url: &str| {
            Waybill::new(url).map(|client| client.with_deadline(DEADLINE)).map_err(|error| error.to_string())
        };
        self.books = Some(client(&format!("{stand_ins}/{}", self.carrier.name))?);
        let settings = [
            format!("--mongodb-uri={mongodb}"),
            format!("--redis-url={redis}"),
            format!("--redis-prefix={}", new_id("bench")),
            format!("--http-addr={address}"),
            "--rate-limit=off".to_owned(),
            "--drain-ms=0".to_owned(),
        ];
        // Mail is not measured.
        let stand_ins = StandIns { url: stand_ins, smtp_url: String::new() };
        self.make_merchants(&settings, &stand_ins, args.merchants).await?;
        let environment = as_environment(&dev_flags(&settings, &stand_ins));
        self.spawn("api", &environment)?;
        for _ in 0..args.workers {
            self.spawn("worker", &environment)?;
        }
        let api = client(&format!("http://{address}"))?;
        self.wait_until_up(&api).await?;
        self.api = Some(api);
        Ok(())
    }

    /// Merchants who may order, with more money than they can spend.
    async fn make_merchants(&mut self, settings: &[String], stand_ins: &StandIns, count: u16) -> Result<(), String> {
        let config = dev_config(settings, stand_ins)?;
        // Nobody signs in by these passwords.
        let config = Config { password_cost: PasswordCost { memory_kib: 8, passes: 1 }, ..config };
        let app = App::build(config).await.map_err(|error| error.to_string())?;
        app.migrate().await.map_err(|error| format!("migrating failed: {error}"))?;
        app.clock.sync(&app.db).await.map_err(|error| format!("the database's clock can't be read: {error}"))?;
        for number in 0..count {
            let (email, password) = (format!("m{number}@bench.example"), SecretString::from(new_id("password")));
            let made = app.auth.create_user(&email, &password, "Bench", Role::Merchant).await;
            let (user, token) = made.map_err(|error| error.to_string())?;
            app.grant_kyc(&user.id).await.map_err(|error| error.to_string())?;
            let credit = Money::new(AMOUNT_MAX / 1_000, Currency::INR);
            app.wallets.open_with(&user.id, credit).await.map_err(|error| error.to_string())?;
            self.tokens.push(token);
        }
        Ok(())
    }

    fn spawn(&mut self, program: &'static str, environment: &[(String, String)]) -> Result<(), String> {
        let own = std::env::current_exe().map_err(|error| format!("this program can't be located: {error}"))?;
        let log = self.folder.join(format!("{program}-{}.log", self.processes.len()));
        let log = std::fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut command = Command::new(own);
        // What this program was told is not for them: the same is measured everywhere.
        command.arg(program).env_clear().envs(environment.iter().cloned()).env("RUST_LOG", "warn");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = self.servers.spawn(program, command)?;
        self.processes.extend(child.id());
        Ok(())
    }

    async fn wait_until_up(&mut self, api: &Waybill) -> Result<(), String> {
        let began = std::time::Instant::now();
        let ready = api.call(Method::GET, "/readyz").map_err(|error| error.to_string())?;
        while began.elapsed() < START_PATIENCE {
            if let Some(ended) = self.servers.ended() {
                return Err(format!("{ended}; see {}", self.folder.display()));
            }
            if api.exchange(&ready).await.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("the API did not come up in {} s; see {}", START_PATIENCE.as_secs(), self.folder.display()))
    }

    /// Ends what was started, and drops the database.
    pub(super) async fn leave(mut self, keep: bool, went_well: bool) -> Result<(), String> {
        self.servers.stop_last(self.processes.len()).await;
        let dropped = match &self.db {
            Some(db) if !keep => db
                .drop()
                .await
                .map_err(|error| format!("the database {} could not be dropped: {error}; drop it by hand", db.name())),
            _ => Ok(()),
        };
        self.servers.stop().await;
        if went_well {
            let _ = std::fs::remove_dir_all(&self.folder);
        } else {
            eprintln!("what the processes said is under {}", self.folder.display());
        }
        dropped
    }

    pub(super) fn api(&self) -> Result<Waybill, String> {
        self.api.clone().ok_or_else(|| "nothing was started".into())
    }

    pub(super) fn merchants(&self) -> (&Declaration, &[String]) {
        (self.carrier, &self.tokens)
    }

    fn db(&self) -> Result<&Database, String> {
        self.db.as_ref().ok_or_else(|| "there is no database".into())
    }

    pub(super) async fn books(&self) -> Result<CarrierBooks, String> {
        let stand_in = self.books.as_ref().ok_or("there is no carrier")?;
        let read = async {
            let answer = stand_in.send_safely(&stand_in.call(Method::GET, "/_books")?).await?;
            answer.json::<Value>()
        };
        let books = read.await.map_err(|error| format!("the carrier's books can't be read: {error}"))?;
        let count = |name: &str| books[name].as_u64().unwrap_or_default();
        Ok(CarrierBooks { shipments: count("shipments"), duplicates: count("duplicates") })
    }

    /// Whether no order is under way.
    pub(super) async fn is_quiet(&self) -> Result<bool, String> {
        Ok(self.count(doc! { "status": "created" }, Some(1)).await? == 0)
    }

    pub(super) async fn stored(&self) -> Result<u64, String> {
        self.count(doc! {}, None).await
    }

    pub(super) async fn confirmed(&self) -> Result<u64, String> {
        self.count(doc! { "status": "confirmed" }, None).await
    }

    async fn count(&self, filter: Document, limit: Option<u64>) -> Result<u64, String> {
        let orders = self.db()?.collection::<Document>("orders");
        let counting = orders.count_documents(filter);
        match limit {
            Some(limit) => counting.limit(limit).await.map_err(in_words),
            None => counting.await.map_err(in_words),
        }
    }

    /// Orders of a round from the first create to the last confirmation, by the database's clock.
    pub(super) async fn confirmed_per_second(&self, prefix: &str) -> Result<f64, String> {
        let group = doc! {
            "_id": null, "count": { "$sum": 1 }, "from": { "$min": "$createdAt" }, "to": { "$max": "$updatedAt" },
        };
        let pipeline = [doc! { "$match": of_round(prefix, "confirmed") }, doc! { "$group": group }];
        let found = self.db()?.collection::<Document>("orders").aggregate(pipeline).await.map_err(in_words)?;
        let found: Vec<Document> = found.try_collect().await.map_err(in_words)?;
        let Some(sums) = found.first() else { return Ok(0.0) };
        let count = sums.get("count").and_then(number).unwrap_or_default();
        let times = sums.get_datetime("from").ok().zip(sums.get_datetime("to").ok());
        let seconds = times.map_or(0.0, |(from, to)| between(*from, *to) / 1_000.0);
        Ok(if seconds > 0.0 { count / seconds } else { 0.0 })
    }

    /// Of the orders of a round: from the create to the call that goes to the carrier, and to the confirmation.
    pub(super) async fn waits(&self, prefix: &str) -> Result<(Latency, Latency), String> {
        let db = self.db()?;
        let fields = doc! { "createdAt": 1, "updatedAt": 1 };
        let (orders, logs) = (db.collection::<Document>("orders"), db.collection::<Document>("provider_request_logs"));
        let orders = orders.find(of_round(prefix, "confirmed")).projection(fields);
        let orders: Vec<Document> = orders.await.map_err(in_words)?.try_collect().await.map_err(in_words)?;
        let (mut pick_up, mut confirmed) = (Vec::new(), Vec::new());
        for page in orders.chunks(PAGE) {
            let ids: Vec<&str> = page.iter().filter_map(|order| order.get_str("_id").ok()).collect();
            let calls = logs.find(doc! { "orderId": { "$in": ids } });
            let calls = calls.projection(doc! { "orderId": 1, "sentAt": 1 }).await.map_err(in_words)?;
            let calls: Vec<Document> = calls.try_collect().await.map_err(in_words)?;
            let mut first: HashMap<&str, DateTime> = HashMap::new();
            for call in &calls {
                if let (Ok(order), Ok(sent)) = (call.get_str("orderId"), call.get_datetime("sentAt")) {
                    let earliest = first.entry(order).or_insert(*sent);
                    *earliest = (*earliest).min(*sent);
                }
            }
            for order in page {
                let Ok(created) = order.get_datetime("createdAt") else { continue };
                let sent = order.get_str("_id").ok().and_then(|id| first.get(id));
                pick_up.extend(sent.map(|sent| between(*created, *sent)));
                confirmed.extend(order.get_datetime("updatedAt").ok().map(|at| between(*created, *at)));
            }
        }
        Ok((Latency::of(pick_up), Latency::of(confirmed)))
    }

    /// Of API and workers.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        self.processes.iter().map(|process| Some(of_process(*process)?.0)).sum()
    }

    pub(super) fn memory_mib(&self) -> Option<f64> {
        self.processes.iter().map(|process| Some(of_process(*process)?.1 / f64::from(1 << 20))).sum()
    }

    /// Commands that the server has had; none where one may not ask.
    pub(super) async fn commands(&self) -> Option<u64> {
        let admin = self.db.as_ref()?.client().database("admin");
        let status = admin.run_command(doc! { "serverStatus": 1 }).await.ok()?;
        let commands = status.get_document("metrics").ok()?.get_document("commands").ok()?;
        let total = |name: &&str| commands.get_document(*name).ok()?.get("total").and_then(number);
        Some(COMMANDS.iter().filter_map(total).sum::<f64>() as u64)
    }

    pub(super) async fn mongodb_version(&self) -> Option<String> {
        let info = self.db.as_ref()?.run_command(doc! { "buildInfo": 1 }).await.ok()?;
        info.get_str("version").ok().map(str::to_owned)
    }
}

fn of_round(prefix: &str, status: &str) -> Document {
    doc! { "clientOrderId": { "$gte": format!("{prefix}-"), "$lt": format!("{prefix}.") }, "status": status }
}

/// Milliseconds; none below 0, because each process has its own idea of the database's time, some milliseconds apart.
fn between(from: DateTime, to: DateTime) -> f64 {
    (to.timestamp_millis() - from.timestamp_millis()).max(0) as f64
}

fn in_words(error: mongodb::error::Error) -> String {
    format!("the database: {error}")
}

/// Nothing of somebody else's is in it.
async fn ensure_new(db: &Database) -> Result<(), String> {
    let names = db.list_collection_names().await;
    let names = names.map_err(|error| format!("MongoDB can't be asked: {error}"))?;
    match names.first() {
        None => Ok(()),
        Some(_) => Err(format!(
            "the database {0} exists, and a bench would mix its orders with what is there: choose another one by --database, or drop it \
             if an earlier bench left it",
            db.name()
        )),
    }
}

/// The same servers and options with another database. Who signs in to the database of the path goes on to.
fn at_database(uri: &str, database: &str) -> String {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("mongodb", uri));
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let signs_in_there = hosts.contains('@') && !path.is_empty() && !options.to_lowercase().contains("authsource=");
    let own = if signs_in_there { format!("authSource={path}") } else { String::new() };
    let options: Vec<&str> = [options, &own].into_iter().filter(|options| !options.is_empty()).collect();
    format!("{scheme}://{hosts}/{database}?{}", options.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_uri_is_another_one() {
        for (uri, expected) in [
            ("mongodb://a:1,b:2/waybill?replicaSet=rs0", "mongodb://a:1,b:2/x?replicaSet=rs0"),
            ("mongodb://a:1", "mongodb://a:1/x?"),
            ("mongodb+srv://u:p@c.example/?w=1", "mongodb+srv://u:p@c.example/x?w=1"),
            ("mongodb://u:p@a/waybill?replicaSet=rs0", "mongodb://u:p@a/x?replicaSet=rs0&authSource=waybill"),
            ("mongodb://u:p@a/waybill?authSource=admin", "mongodb://u:p@a/x?authSource=admin"),
        ] {
            assert_eq!(at_database(uri, "x"), expected);
        }
    }
}
