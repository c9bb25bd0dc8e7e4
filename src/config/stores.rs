//! Settings that several programs share: the databases, and switches.

use clap::{Args, ValueEnum};

/// Where things are kept.
#[derive(Clone, Debug, Args)]
pub struct Stores {
    /// MongoDB, a replica set; the path names the database (default `waybill`).
    #[arg(
        long,
        env = "MONGODB_URI",
        default_value = "mongodb://127.0.0.1:27017/waybill?replicaSet=rs0",
        hide_env_values = true
    )]
    pub mongodb_uri: String,
    /// Redis, for wake-ups and counters. Waybill works without it, slower.
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379", hide_env_values = true)]
    pub redis_url: String,
    /// Stands before every key and channel in Redis.
    #[arg(long, env = "REDIS_PREFIX", default_value = "waybill")]
    pub redis_prefix: String,
}

/// Whether somebody has to have something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Enforcement {
    /// For those who want to.
    Optional,
    /// Everybody.
    Required,
}

/// A switch that reads better than true and false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// On.
    On,
    /// Off.
    Off,
}
