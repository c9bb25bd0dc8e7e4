//! `waybill bench`.

use std::path::PathBuf;

use clap::Args;

/// `waybill bench`
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// The MongoDB that is measured, a replica set; its path names no database here, see --database. Without it a mongod of its own
    /// is started, as `dev` does.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    pub mongodb_uri: Option<String>,
    /// The Redis; without it a redis-server of its own is started.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// The database, which must not exist. It is dropped at the end.
    #[arg(long, default_value = "waybill_bench")]
    pub database: String,
    /// Leave the database as it is at the end.
    #[arg(long)]
    pub keep: bool,
    /// Stand-ins that run already, such as http://127.0.0.1:4900; by default they are started, from beside this program.
    #[arg(long)]
    pub simulators: Option<String>,
    /// How long orders are created as fast as they are taken. The two rounds after that, at a fifth of that rate and beside a noisy
    /// neighbour, take half as long each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub seconds: u64,
    /// Merchants.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=500))]
    pub merchants: u16,
    /// Connections that create orders, each one after the other.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub connections: u16,
    /// Worker processes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// Print the figures as one line of JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Where programs are, and what the processes say.
    #[arg(long, env = "WAYBILL_HOME", default_value = ".waybill")]
    pub home: PathBuf,
    /// The mongod program; else PATH, else `bin/mongod` under the home.
    #[arg(long, env = "MONGOD")]
    pub mongod: Option<PathBuf>,
    /// The redis-server program; else PATH, else `bin/redis-server` under the home.
    #[arg(long, env = "REDIS_SERVER")]
    pub redis_server: Option<PathBuf>,
}
