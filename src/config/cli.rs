//! The command line: programs and what all of them take.

use clap::{ArgAction, Parser, Subcommand};

use super::{
    AnalyticsCommand, Config, DemoArgs, DevArgs, DoctorArgs, HealthArgs, KeysCommand, LedgerCommand, MigrateArgs,
    SettingsArgs, StockCommand, UserCommand, api::ApiArgs, audit::AuditCommand, bench::BenchArgs, remote::TopArgs,
    traces::TraceArgs, webhooks::WebhooksCommand,
};
use crate::platform::crash;

/// A provider integration platform: orders go in, provider calls come out, and nothing is lost, doubled or unrecorded.
#[derive(Debug, Parser)]
#[command(name = "waybill", version, arg_required_else_help = true)]
pub struct Cli {
    /// Log filter for stderr, e.g. `info,waybill=debug`.
    #[arg(long, env = "RUST_LOG", default_value = "info", global = true)]
    pub log: String,
    /// Log as JSON lines instead of text.
    #[arg(long, env = "LOG_JSON", action = ArgAction::SetTrue, global = true)]
    pub log_json: bool,
    /// Traces.
    #[command(flatten)]
    pub traces: TraceArgs,
    /// Stop the process at a named point (tests only; debug builds).
    #[arg(long, env = "WAYBILL_CRASH_AT", hide = true, global = true)]
    pub crash_at: Option<String>,
    /// Freeze the process at a named point (tests only; debug builds).
    #[arg(long, env = "WAYBILL_FREEZE_AT", hide = true, global = true)]
    pub freeze_at: Option<String>,
    /// The command.
    #[command(subcommand)]
    pub command: CliCommand,
}

/// Programs.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Serve the HTTP API; or, with a command after it, ask one: `waybill api orders list`.
    Api(Box<ApiArgs>),
    /// Run jobs: carry orders to providers and back.
    Worker(Config),
    /// API and worker in one process.
    All(Config),
    /// Everything on this machine, with its own database, Redis and providers' stand-ins. For development.
    Dev(DevArgs),
    /// Show the main job, from register to cancel, on a fresh database.
    Demo(DemoArgs),
    /// Measure what this machine and a MongoDB carry: orders a second from the create to the carrier's confirmation, what each costs, and
    /// how long it waits. Uses a database of its own, which it drops, and a stand-in for the carrier; prints a table, or JSON with
    /// --json. Exits with 1 where an order is missing or doubled.
    Bench(BenchArgs),
    /// Create collections, indexes and the first rate card. Safe to run again.
    Migrate(MigrateArgs),
    /// Ask the API or a worker on this machine how it is; exits with 1 unless it answers 200.
    Health(HealthArgs),
    /// Look at everything that this installation stands on, with the settings of the API and the worker: what is wrong, and what to
    /// do about it. Changes nothing; exits with 1 where something does not work.
    Doctor(Box<DoctorArgs>),
    /// Print every setting of the API and the worker, with meaning and default, as a file of variables.
    Settings(SettingsArgs),
    /// Check, export and look after what is on record.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look after the ledger.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Look after stock.
    #[command(subcommand)]
    Stock(StockCommand),
    /// Look after what orders came to.
    #[command(subcommand)]
    Analytics(AnalyticsCommand),
    /// Manage the keys that seal what is personal.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Manage users.
    #[command(subcommand)]
    User(UserCommand),
    /// A board of queues, breakers and dead jobs in the terminal; for servers without a browser.
    Top(TopArgs),
    /// Print the API's description (OpenAPI, JSON). Needs no server and no database.
    Openapi,
    /// Receive webhooks on a developer's machine.
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
}

impl Cli {
    /// Arms the crash points that a test asked for.
    ///
    /// # Errors
    /// Names the point that doesn't exist.
    pub fn arm_crash_points(&self) -> Result<(), String> {
        crash::arm(self.crash_at.clone(), self.freeze_at.clone())
    }
}

/// A configuration from flags alone, as tests and `waybill dev` compose it.
///
/// # Errors
/// What clap says.
pub fn config_from<I: IntoIterator<Item = String>>(flags: I) -> Result<Config, clap::Error> {
    let argv = ["waybill".to_owned(), "all".to_owned()].into_iter().chain(flags);
    match Cli::try_parse_from(argv)?.command {
        CliCommand::All(config) => Ok(config),
        _ => unreachable!("`all` was asked for"),
    }
}
