//! Programs that ask the API of a Waybill elsewhere.

use clap::Args;
use secrecy::SecretString;

/// Address of the API, and the user.
#[derive(Clone, Debug, Args)]
pub struct RemoteArgs {
    /// The API.
    #[arg(long, env = "WAYBILL_URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// An API key, or an access token, which is good for 15 minutes.
    #[arg(long, env = "WAYBILL_TOKEN", hide_env_values = true, conflicts_with = "email")]
    pub token: Option<SecretString>,
    /// Sign in, again and again, instead; with the password in WAYBILL_PASSWORD.
    #[arg(long, env = "WAYBILL_EMAIL", required_unless_present = "token", requires = "password")]
    pub email: Option<String>,
    /// The password.
    #[arg(long, env = "WAYBILL_PASSWORD", hide_env_values = true)]
    pub password: Option<SecretString>,
    /// The code of the second factor, or a recovery code, where the account has one; asked for in a terminal.
    #[arg(long, env = "WAYBILL_OTP", hide_env_values = true)]
    pub otp: Option<String>,
}

/// `waybill top`
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The API, asked as an administrator.
    #[command(flatten)]
    pub api: RemoteArgs,
    /// Print the board once, without colours, and end.
    #[arg(long)]
    pub once: bool,
}
