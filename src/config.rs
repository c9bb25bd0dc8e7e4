//! Every setting: a flag, an environment variable and a line of help. Nothing else reads the environment.

mod alerts;
mod api;
mod audit;
mod audit_keys;
mod base_url;
mod bench;
mod cli;
mod export;
mod mail;
mod providers;
mod queues;
mod remote;
mod retention;
mod schedules;
mod secrets;
mod settings;
mod settings_files;
mod stores;
mod traces;
mod webhooks;
mod worker;

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Args, Subcommand};
use secrecy::SecretString;

use crate::{
    modules::auth::PasswordCost,
    platform::{
        http::{PeerLimit, TrustedProxies},
        identity::Role,
        money::{AMOUNT_MAX, Currency, Money},
        rate_limit::{RateLimiter, RequestLimits},
    },
};

pub use alerts::AlertArgs;
pub use api::{
    ApiArgs, ApiCommand, CallerArgs, CancelOrderArgs, CreateOrderArgs, EventsCommand, GetArgs, GetOrderArgs,
    ListOrdersArgs, LoginArgs, OrdersCommand, PathArgs, RepeatArgs, SendArgs, TailArgs,
};
pub use audit::{AuditArgs, AuditCommand, VerifyArgs};
pub use audit_keys::AuditKeys;
pub use bench::BenchArgs;
pub use cli::{Cli, CliCommand, config_from};
pub use export::{AuditExportArgs, ExportFilterArgs};
pub use mail::{MailArgs, MailSettings};
pub use providers::ProviderArgs;
pub use remote::{RemoteArgs, TopArgs};
pub use retention::{EraseArgs, PurgeArgs, RetentionArgs};
pub use schedules::ScheduleArgs;
pub use secrets::{StartupSecrets, strong_jwt_secret};
pub use settings::{Setting, as_environment, settings, settings_file, settings_table};
pub use settings_files::stale_files;
pub use stores::{Enforcement, OnOff, Stores};
pub use traces::TraceArgs;
pub use webhooks::{ListenArgs, WebhookArgs, WebhooksCommand};
pub use worker::WorkerArgs;

/// `waybill migrate`
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Stores.
    #[command(flatten)]
    pub stores: Stores,
    /// A rate card to add, as JSON like `data/rate-cards/parcelx-1.json`: a new version, never a change of an old one.
    #[arg(long)]
    pub rate_card: Option<PathBuf>,
}

/// `waybill settings`
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// Print them as a table in Markdown instead.
    #[arg(long)]
    pub markdown: bool,
    /// Write them, and the table of providers, into the files of Waybill's repository that have them. It is run there.
    #[arg(long, conflicts_with = "markdown")]
    pub write: bool,
}

/// `waybill doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Settings, as API and worker have them.
    #[command(flatten)]
    pub config: Config,
    /// Print what was found as one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// `waybill health`
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Address to ask: /healthz says that the program is alive, /readyz that it can work.
    #[arg(long, env = "HEALTH_URL", default_value = "http://127.0.0.1:8080/readyz")]
    pub url: String,
}

/// `waybill ledger ...`
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Compare balances with lines, holds with orders, and orders with provider logs; prints every difference and exits
    /// with 1 where there is one.
    Check(Stores),
}

/// `waybill stock ...`
#[derive(Debug, Subcommand)]
pub enum StockCommand {
    /// Compare the stock of products with their movements; prints every difference and exits with 1 where there is one.
    Check(Stores),
}

/// `waybill analytics ...`
#[derive(Debug, Subcommand)]
pub enum AnalyticsCommand {
    /// Count all events anew for `/analytics/daily`. Goes on beside everything else; the numbers that are there are read until it
    /// is done.
    Rebuild(Stores),
}

/// `waybill keys ...`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Wrap everything that is sealed under SEALING_KEY_PREVIOUS again, under SEALING_KEY. Goes on beside the API and the
    /// workers, and can be stopped and run again; exits with 1 where something could not be opened.
    Rotate(RotateArgs),
}

/// `waybill keys rotate`
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Stores.
    #[command(flatten)]
    pub stores: Stores,
    /// Today's key; 64 hex digits.
    #[arg(long, env = "SEALING_KEY", hide_env_values = true)]
    pub sealing_key: SecretString,
    /// The key before.
    #[arg(long, env = "SEALING_KEY_PREVIOUS", hide_env_values = true)]
    pub sealing_key_previous: Option<SecretString>,
}

/// `waybill user ...`
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user of any role; prints, last, a line of JSON with `userId` and `accessToken`.
    Create(CreateUserArgs),
    /// List users, newest first, a JSON line each.
    List(ListUsersArgs),
    /// Disable a user: every session ends, and nobody signs in.
    Disable(UserArgs),
    /// Let a disabled user sign in again.
    Enable(UserArgs),
    /// Give a user another role; every session ends.
    SetRole(SetRoleArgs),
    /// End every session of a user.
    EndSessions(UserArgs),
    /// Give a user a random password, which is printed, and end every session.
    ResetPassword(UserArgs),
    /// Take away a user's second factor; every session ends.
    ResetTotp(UserArgs),
    /// List a user's API keys, newest first, a JSON line each.
    ApiKeys(UserArgs),
    /// Revoke an API key of a user.
    RevokeApiKey(RevokeApiKeyArgs),
}

/// Settings of the API and the worker.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Stores.
    #[command(flatten)]
    pub stores: Stores,
    /// A command to MongoDB that takes longer, in milliseconds, is logged, with the names of the fields by which it looked and no
    /// values; 0 for none.
    #[arg(long, env = "SLOW_QUERY_MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(..=3_600_000))]
    pub slow_query_ms: u64,
    /// Address of the API.
    #[arg(long, env = "HTTP_ADDR", default_value = "127.0.0.1:8080")]
    pub http_addr: SocketAddr,
    /// Address of the worker's /metrics, /healthz and /readyz; off by default. The API has its own.
    #[arg(long, env = "METRICS_ADDR")]
    pub metrics_addr: Option<SocketAddr>,
    /// At SIGTERM the API goes on for so long, while /readyz already answers 503: long enough for a load balancer to notice. It
    /// comes before SHUTDOWN_MS. SIGINT, and a second SIGTERM, skip it.
    #[arg(long, env = "DRAIN_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(0..=120_000))]
    pub drain_ms: u64,
    /// Proxies in front of the API, as addresses and networks separated by commas; their X-Forwarded-For is believed.
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "")]
    pub trusted_proxies: TrustedProxies,
    /// Connections that one address (of IPv6 a /64) may have open to a process, and never more than half of all; 0 for no limit. Those
    /// of TRUSTED_PROXIES are not counted.
    #[arg(long, env = "CONNECTIONS_PER_ADDRESS", default_value_t = 1_000)]
    pub connections_per_address: u16,
    /// Name of this installation, on every page of the console: `production` is shown in red. Only under `development` do
    /// browsers send the console's cookies without HTTPS.
    #[arg(long, env = "ENVIRONMENT", default_value = "production", value_parser = parse_environment)]
    pub environment: String,
    /// Signs access tokens; at least 32 bytes.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<SecretString>,
    /// The secret before; its tokens are accepted until they expire.
    #[arg(long, env = "JWT_SECRET_PREVIOUS", hide_env_values = true)]
    pub jwt_secret_previous: Option<SecretString>,
    /// Cost of hashing a password.
    #[arg(skip)]
    pub password_cost: PasswordCost,
    /// Whether staff (finance, auditors, administrators, managers) has to have a second factor: optional or required. Then who has
    /// none signs in only to begin with one, and API keys of theirs open nothing.
    #[arg(long, env = "STAFF_TOTP", value_enum, default_value_t = Enforcement::Optional)]
    pub staff_totp: Enforcement,
    /// Seals documents and account numbers at rest; 64 hex digits.
    #[arg(long, env = "SEALING_KEY", hide_env_values = true)]
    pub sealing_key: Option<SecretString>,
    /// The sealing key before; what is sealed under it stays readable. Give a new key to every process here first, then
    /// make it SEALING_KEY, then run `waybill keys rotate`.
    #[arg(long, env = "SEALING_KEY_PREVIOUS", hide_env_values = true)]
    pub sealing_key_previous: Option<SecretString>,
    /// Merchants have to be verified before they create orders and top up: true or false. Who is suspended may not, either
    /// way.
    #[arg(long, env = "KYC_REQUIRED", default_value_t = true, action = ArgAction::Set)]
    pub kyc_required: bool,
    /// Two reviewers have to approve an application: true or false.
    #[arg(long, env = "KYC_FOUR_EYES", default_value_t = false, action = ArgAction::Set)]
    pub kyc_four_eyes: bool,
    /// A name in a register that is less similar than this to the applicant's is left to a person.
    #[arg(long, env = "KYC_NAME_MATCH_MIN_PERCENT", default_value_t = 85, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub kyc_name_match_min_percent: u8,
    /// Providers.
    #[command(flatten)]
    pub providers: ProviderArgs,
    /// A top-up, or a checkout at the gateway, that is not paid by then has expired.
    #[arg(long, env = "TOPUP_EXPIRES_MS", default_value_t = 1_800_000, value_parser = clap::value_parser!(u64).range(100..=604_800_000))]
    pub topup_expires_ms: u64,
    /// Limit on the wallet of a customer who is not verified, top-ups and open ones counted, in minor units, as a list such as
    /// INR:1000000,EUR:15000; in other currencies such a customer tops nothing up.
    #[arg(long, env = "CUSTOMER_TOPUP_MAX", default_value = "INR:1000000", value_delimiter = ',', value_parser = parse_credit)]
    pub customer_topup_max: Vec<Money>,
    /// Limit requests per user, API key and address, and registrations, refreshes and sign-outs per network. Limits on wrong passwords and on letters
    /// that somebody asks for always hold.
    #[arg(long, env = "RATE_LIMIT", value_enum, default_value_t = OnOff::On)]
    pub rate_limit: OnOff,
    /// Requests that one user may make within ten seconds, all at once or one by one; 0 for as many as it likes.
    #[arg(long, env = "RATE_LIMIT_USER", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    pub rate_limit_user: u32,
    /// The same for one API key.
    #[arg(long, env = "RATE_LIMIT_KEY", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    pub rate_limit_key: u32,
    /// The same for one address, whoever asks from it; of IPv6 for a /64. Users of one office or one proxy share it.
    #[arg(long, env = "RATE_LIMIT_ADDRESS", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    pub rate_limit_address: u32,
    /// Settings of the audit.
    #[command(flatten)]
    pub audit: AuditArgs,
    /// How long records are kept.
    #[command(flatten)]
    pub retention: RetentionArgs,
    /// Scheduled jobs.
    #[command(flatten)]
    pub schedules: ScheduleArgs,
    /// Outgoing webhooks.
    #[command(flatten)]
    pub webhooks: WebhookArgs,
    /// Outgoing mail.
    #[command(flatten)]
    pub mail: MailArgs,
    /// Where alerts go.
    #[command(flatten)]
    pub alerts: AlertArgs,
    /// Times of the worker.
    #[command(flatten)]
    pub worker: WorkerArgs,
}

/// `waybill dev`
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// Where programs and data are kept.
    #[arg(long, env = "WAYBILL_HOME", default_value = ".waybill")]
    pub home: PathBuf,
    /// Address of the API.
    #[arg(long, env = "HTTP_ADDR", default_value = "127.0.0.1:8080")]
    pub http_addr: SocketAddr,
    /// Use this MongoDB instead of an own one.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    pub mongodb_uri: Option<String>,
    /// Use this Redis instead of an own one.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// The mongod program; else PATH, else `bin/mongod` under the home.
    #[arg(long, env = "MONGOD")]
    pub mongod: Option<PathBuf>,
    /// The redis-server program; else PATH, else `bin/redis-server` under the home.
    #[arg(long, env = "REDIS_SERVER")]
    pub redis_server: Option<PathBuf>,
}

/// `waybill demo`
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Where programs are; data is kept in a folder of its own there and removed at the end.
    #[arg(long, env = "WAYBILL_HOME", default_value = ".waybill")]
    pub home: PathBuf,
    /// The mongod program; else PATH, else `bin/mongod` under the home.
    #[arg(long, env = "MONGOD")]
    pub mongod: Option<PathBuf>,
    /// The redis-server program; else PATH, else `bin/redis-server` under the home.
    #[arg(long, env = "REDIS_SERVER")]
    pub redis_server: Option<PathBuf>,
}

/// `waybill user list`
#[derive(Debug, Args)]
pub struct ListUsersArgs {
    /// Stores.
    #[command(flatten)]
    pub stores: Stores,
    /// With this role only.
    #[arg(long, value_enum)]
    pub role: Option<Role>,
    /// Those who are disabled only.
    #[arg(long)]
    pub disabled: bool,
}

/// `waybill user set-role`
#[derive(Debug, Args)]
pub struct SetRoleArgs {
    /// The user.
    #[command(flatten)]
    pub user: UserArgs,
    /// The new role.
    #[arg(long, value_enum)]
    pub role: Role,
}

/// `waybill user revoke-api-key`
#[derive(Debug, Args)]
pub struct RevokeApiKeyArgs {
    /// The user.
    #[command(flatten)]
    pub user: UserArgs,
    /// `key_...`
    #[arg(long)]
    pub key: String,
}

/// A user, for commands that change one.
#[derive(Debug, Args)]
pub struct UserArgs {
    /// Stores.
    #[command(flatten)]
    pub stores: Stores,
    /// The user's id or e-mail address.
    #[arg(long)]
    pub user: String,
}

/// `waybill user create`
#[derive(Debug, Args)]
pub struct CreateUserArgs {
    /// Stores.
    #[command(flatten)]
    pub stores: Stores,
    /// Signs access tokens; at least 32 bytes.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<SecretString>,
    /// Where staff has to have a second factor, the token that is printed for a member of it opens nothing but the way to one.
    #[arg(long, env = "STAFF_TOTP", value_enum, default_value_t = Enforcement::Optional)]
    pub staff_totp: Enforcement,
    /// E-mail address.
    #[arg(long)]
    pub email: String,
    /// Password, at least 10 characters; better given by the environment than on the command line, or, as `-`, as a line of stdin.
    #[arg(long, env = "WAYBILL_PASSWORD", hide_env_values = true)]
    pub password: SecretString,
    /// Name; by default the e-mail's local part, or the role where that holds an identity number.
    #[arg(long)]
    pub name: Option<String>,
    /// Role.
    #[arg(long, value_enum)]
    pub role: Role,
    /// Known already: the user need not be verified.
    #[arg(long)]
    pub kyc_verified: bool,
    /// Opening credit of the user's wallet in minor units, e.g. `INR:1000000`; booked in the ledger.
    #[arg(long, value_parser = parse_credit)]
    pub credit: Option<Money>,
}

fn parse_environment(text: &str) -> Result<String, String> {
    let is_name =
        (1..=24).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if is_name { Ok(text.to_owned()) } else { Err("write 1 to 24 letters, digits, - and _".into()) }
}

fn parse_credit(text: &str) -> Result<Money, String> {
    let (code, amount) = text.split_once(':').ok_or("write it as INR:1000000")?;
    let currency = Currency::from_code(code).ok_or("the currency must be a code of ISO 4217, such as INR")?;
    let amount = amount.parse::<i64>().ok().filter(|amount| (1..=AMOUNT_MAX).contains(amount));
    let amount =
        amount.ok_or_else(|| format!("the amount must be a whole number of minor units, 1 to {AMOUNT_MAX}"))?;
    Ok(Money::new(amount, currency))
}

impl Config {
    /// How many connections each address may have.
    #[must_use]
    pub fn peer_limit(&self) -> PeerLimit {
        let connections = usize::from(self.connections_per_address);
        PeerLimit { connections: (connections > 0).then_some(connections), proxies: self.trusted_proxies.clone() }
    }

    /// How many requests each may make; none where that is not limited.
    #[must_use]
    pub fn request_limits(&self, limiter: &RateLimiter) -> Option<RequestLimits> {
        let limits =
            || RequestLimits::new(limiter.clone(), self.rate_limit_user, self.rate_limit_key, self.rate_limit_address);
        (self.rate_limit == OnOff::On).then(limits)
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
