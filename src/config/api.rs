//! `waybill api ...`: serving the API, and calling it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use secrecy::SecretString;

use super::Config;

/// Exit codes, by which scripts tell failures apart.
const EXIT_CODES: &str = "\
What is answered goes to stdout as JSON: one document, or one a line for lists. What goes wrong goes to stderr, with the problem's code and the id \
of the request, and exits with:
  0  done
  1  something on this machine: a file, the stored token, an answer that can't be used
  2  the command line: unknown paths and parameters, data that is no JSON; nothing was sent
  3  no answer: it is not known whether the request was carried out; repeat it with the same ids
  4  401, 403: sign in, or somebody else has to do it
  5  404: absent, or not yours
  6  400, 413, 415, 422: the request is wrong; stderr names the fields
  7  402, 405, 409 and other 4xx: not in this state
  8  408, 425, 429, 503: come back later
  9  other 5xx, and whatever is none of these";

/// `waybill api`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ApiArgs {
    /// A request to the API; without one, the API is served.
    #[command(subcommand)]
    pub call: Option<ApiCommand>,
    /// Print every operation of the API with what it is for, and serve nothing.
    #[arg(long)]
    pub list: bool,
    /// Settings of the API that is served.
    #[command(flatten)]
    pub config: Config,
}

/// `waybill api ...`
#[derive(Debug, Subcommand)]
pub enum ApiCommand {
    /// Ask the API: create, read, cancel and list orders.
    #[command(subcommand)]
    Orders(OrdersCommand),
    /// Ask the API: what happens.
    #[command(subcommand)]
    Events(EventsCommand),
    /// Ask the API: read any path.
    #[command(after_help = EXIT_CODES)]
    Get(GetArgs),
    /// Ask the API: post to any path.
    #[command(after_help = EXIT_CODES)]
    Post(SendArgs),
    /// Ask the API: put to any path.
    #[command(after_help = EXIT_CODES)]
    Put(SendArgs),
    /// Ask the API: patch any path.
    #[command(after_help = EXIT_CODES)]
    Patch(SendArgs),
    /// Ask the API: delete any path.
    #[command(after_help = EXIT_CODES)]
    Delete(SendArgs),
    /// Keep who you are for the calls that follow, in a file that only you can read: an API key (--token or WAYBILL_TOKEN), or what
    /// signing in gives (--email, with the password in WAYBILL_PASSWORD), which is renewed by itself for 30 days.
    #[command(after_help = EXIT_CODES)]
    Login(LoginArgs),
    /// Forget what `login` kept; what signing in gave ends.
    #[command(after_help = EXIT_CODES)]
    Logout(CallerArgs),
}

/// `waybill api orders ...`
#[derive(Debug, Subcommand)]
pub enum OrdersCommand {
    /// Create an order. It is safe to repeat with the same clientOrderId, and this does: over lost connections and for as long as the
    /// server asks to come back later.
    #[command(after_help = EXIT_CODES)]
    Create(CreateOrderArgs),
    /// One order.
    #[command(after_help = EXIT_CODES)]
    Get(GetOrderArgs),
    /// Cancel an order. It is safe to repeat, and this does.
    #[command(after_help = EXIT_CODES)]
    Cancel(CancelOrderArgs),
    /// Orders, newest first, one a line.
    #[command(after_help = EXIT_CODES)]
    List(ListOrdersArgs),
}

/// `waybill api events ...`
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Your events, one a line, as they would be posted to a webhook; goes on until it
    /// is stopped. No webhook endpoint is needed.
    #[command(after_help = EXIT_CODES)]
    Tail(TailArgs),
}

/// Address of the API, and the token.
#[derive(Clone, Debug, Args)]
pub struct CallerArgs {
    /// The API; by default the one that `login` was for, else http://127.0.0.1:8080.
    #[arg(long, env = "WAYBILL_URL")]
    pub url: Option<String>,
    /// An access token or an API key; by default what `login` has kept for this URL. Better given by the environment than on the
    /// command line.
    #[arg(long, env = "WAYBILL_TOKEN", hide_env_values = true)]
    pub token: Option<SecretString>,
    /// How long an answer is waited for, and each part of a file.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub timeout_ms: u64,
    /// Where what `login` keeps is.
    #[arg(long, env = "XDG_CONFIG_HOME", hide = true)]
    pub config_home: Option<PathBuf>,
    /// The same where there is no such folder.
    #[arg(long, env = "HOME", hide = true)]
    pub user_home: Option<PathBuf>,
}

/// How often something is repeated.
#[derive(Clone, Copy, Debug, Args)]
pub struct RepeatArgs {
    /// How often it is tried, with delays that double from 250 ms to 15 s, or as long as the server asks for.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub attempts: u32,
}

/// `waybill api orders create`
#[derive(Debug, Args)]
pub struct CreateOrderArgs {
    /// Address of the API, and the token.
    #[command(flatten)]
    pub caller: CallerArgs,
    /// The order as JSON, `@FILE`, or `@-` for stdin; see `POST /orders/create` in the description.
    #[arg(long)]
    pub data: String,
    /// Your id of the order, instead of the one in the data. Choose it once and keep it: the same id is the same order, for ever.
    #[arg(long)]
    pub client_order_id: Option<String>,
    /// Repeating.
    #[command(flatten)]
    pub repeat: RepeatArgs,
}

/// `waybill api orders get`
#[derive(Debug, Args)]
pub struct GetOrderArgs {
    /// Address of the API, and the token.
    #[command(flatten)]
    pub caller: CallerArgs,
    /// Its id, `ord_...`.
    #[arg(required_unless_present = "client_order_id")]
    pub order_id: Option<String>,
    /// Your id of it.
    #[arg(long, conflicts_with = "order_id")]
    pub client_order_id: Option<String>,
}

/// `waybill api orders cancel`
#[derive(Debug, Args)]
pub struct CancelOrderArgs {
    /// Address of the API, and the token.
    #[command(flatten)]
    pub caller: CallerArgs,
    /// Your id of the order.
    pub client_order_id: String,
    /// Why, for people.
    #[arg(long)]
    pub reason: Option<String>,
    /// Repeating.
    #[command(flatten)]
    pub repeat: RepeatArgs,
}

/// `waybill api orders list`
#[derive(Debug, Args)]
pub struct ListOrdersArgs {
    /// Address of the API, and the token.
    #[command(flatten)]
    pub caller: CallerArgs,
    /// With this status only.
    #[arg(long)]
    pub status: Option<String>,
    /// Of this provider only.
    #[arg(long)]
    pub provider: Option<String>,
    /// Created at or after this time, RFC 3339.
    #[arg(long)]
    pub from: Option<String>,
    /// Created before this time, RFC 3339.
    #[arg(long)]
    pub to: Option<String>,
    /// All of them, page by page; by default the first page.
    #[arg(long)]
    pub all: bool,
}

/// `waybill api events tail`
#[derive(Debug, Args)]
pub struct TailArgs {
    /// Address of the API, and the token.
    #[command(flatten)]
    pub caller: CallerArgs,
    /// Begin with what happened from this time on, RFC 3339; by default now.
    #[arg(long)]
    pub from: Option<String>,
    /// Print what has happened by now, and end.
    #[arg(long, requires = "from")]
    pub once: bool,
    /// Types of events, separated by commas; by default all.
    #[arg(long, value_delimiter = ',')]
    pub types: Vec<String>,
}

/// `waybill api get`
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The call.
    #[command(flatten)]
    pub path: PathArgs,
    /// Follow the cursors of a list to its end; one item a line.
    #[arg(long)]
    pub all: bool,
    /// An answer that is no JSON, such as an export or a document, goes to stdout as it is; over so many MiB it is cut off.
    #[arg(long, default_value_t = 4_096, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub max_mib: u64,
}

/// `waybill api post`, `put`, `patch`, `delete`
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The call.
    #[command(flatten)]
    pub path: PathArgs,
    /// The body as JSON, `@FILE`, or `@-` for stdin.
    #[arg(long)]
    pub data: Option<String>,
}

/// A path of the API.
#[derive(Debug, Args)]
pub struct PathArgs {
    /// Address of the API, and the token.
    #[command(flatten)]
    pub caller: CallerArgs,
    /// The path, such as /orders/ord_1; `waybill api --list` prints all of them.
    pub path: String,
    /// A query parameter, as name=value; may be given several times.
    #[arg(long, value_parser = parse_pair)]
    pub query: Vec<(String, String)>,
    /// Send it though this version's description has no such path or parameter: the server may be a newer one.
    #[arg(long)]
    pub unchecked: bool,
}

/// `waybill api login`
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Address of the API, and the token.
    #[command(flatten)]
    pub caller: CallerArgs,
    /// Sign in with this address and the password in WAYBILL_PASSWORD.
    #[arg(long, env = "WAYBILL_EMAIL", requires = "password")]
    pub email: Option<String>,
    /// The password.
    #[arg(long, env = "WAYBILL_PASSWORD", hide_env_values = true)]
    pub password: Option<SecretString>,
    /// The code of the second factor, or a recovery code, where the account has one; asked for in a terminal.
    #[arg(long, env = "WAYBILL_OTP", hide_env_values = true)]
    pub otp: Option<String>,
}

impl CallerArgs {
    /// See [`CallerArgs::timeout_ms`].
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Where what `login` keeps is; none where nobody says where the user's files are.
    #[must_use]
    pub fn credentials_file(&self) -> Option<PathBuf> {
        let absolute = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
        let folder = absolute(&self.config_home).or_else(|| Some(absolute(&self.user_home)?.join(".config")));
        Some(folder?.join("waybill").join("credentials.json"))
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}
