//! `waybill dev`: everything on one machine.

use std::time::Duration;

use secrecy::SecretString;

use super::{
    embedded::{self, Programs, Servers, StandIns, WEBHOOK_SECRET},
    serve::{self, Shutdown},
};
use crate::{
    app::App,
    config::{Config, DevArgs, config_from},
    modules::{
        auth::{AuthError, user_id_of},
        providers::{
            BASE_URL,
            registry::{PAYMENT_GATEWAY, PROVIDERS, VERIFIER},
        },
    },
    platform::{
        identity::Role,
        money::{Currency, Money},
    },
};

/// Users that are ready, one per role; the password is for all.
const USERS: [(Role, &str); 5] = [
    (Role::Merchant, "merchant@waybill.test"),
    (Role::Customer, "customer@waybill.test"),
    (Role::Finance, "finance@waybill.test"),
    (Role::Auditor, "auditor@waybill.test"),
    (Role::Admin, "admin@waybill.test"),
];
const PASSWORD: &str = "correct horse battery";
/// Ten thousand rupees, once.
const OPENING_CREDIT: Money = Money::new(1_000_000, Currency::INR);

/// Secrets and passwords of `dev` are public, so it touches nothing that others could reach.
fn ensure_local(args: &DevArgs) -> Result<(), String> {
    if !args.http_addr.ip().is_loopback() {
        return Err("dev listens on this machine only: its passwords are public. Choose a 127.0.0.1 address.".into());
    }
    let stores = [("MONGODB_URI", &args.mongodb_uri), ("REDIS_URL", &args.redis_url)];
    for (name, uri) in stores.into_iter().filter_map(|(name, uri)| Some((name, uri.as_ref()?))) {
        if !hosts(uri).all(|host| ["127.0.0.1", "localhost", "::1"].contains(&host)) {
            return Err(format!(
                "{name} names another machine. dev would put public users and a stand-in carrier there."
            ));
        }
    }
    Ok(())
}

/// Hosts of a connection string, without credentials and ports.
fn hosts(uri: &str) -> impl Iterator<Item = &str> {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    hosts.split(',').map(|host| match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    })
}

pub(super) async fn run(args: DevArgs) -> Result<(), String> {
    ensure_local(&args)?;
    let shutdown = Shutdown::on_signals(Duration::ZERO)?;
    let folder = args.home.join("dev");
    let folder = embedded::make_folder(&folder)?;
    let programs =
        Programs { home: args.home.clone(), mongod: args.mongod.clone(), redis_server: args.redis_server.clone() };
    let mut servers = Servers::default();
    let mongodb_uri = match &args.mongodb_uri {
        Some(uri) => uri.clone(),
        None => format!("{}waybill?replicaSet=rs0", servers.start_mongod(&programs, &folder).await?),
    };
    let redis_url = match &args.redis_url {
        Some(url) => url.clone(),
        None => servers.start_redis(&programs, &folder).await?,
    };
    let simulators = servers.start_simulators(args.http_addr).await?;
    let config = dev_config(
        &[
            format!("--mongodb-uri={mongodb_uri}"),
            format!("--redis-url={redis_url}"),
            format!("--http-addr={}", args.http_addr),
            format!("--public-url=http://{}", args.http_addr),
        ],
        &simulators,
    )?;
    let mailbox = simulators.mailbox();
    let simulators = simulators.url;
    let app = App::build(config).await.map_err(|error| error.to_string())?;
    app.migrate().await.map_err(|error| format!("migrating failed: {error}"))?;
    app.start_background();
    let listener = serve::listen(args.http_addr).await?;
    println!("api         http://{0}   (http://{0}/openapi.json, /metrics, /readyz)", args.http_addr);
    for provider in PROVIDERS {
        println!("{:<11} {simulators}/{}   (/_books, /_control/rules)", provider.kind.as_str(), provider.name);
    }
    println!(
        "payments    {simulators}/{}   (/_books; a top-up's paymentUrl is a page with two buttons)",
        PAYMENT_GATEWAY.name
    );
    println!("identity    {simulators}/{}   (/_books, /_control/rules)", VERIFIER.name);
    println!("mailbox     {mailbox}   (every mail that is sent; nothing leaves this machine)");
    println!("mongodb     {mongodb_uri}");
    println!("redis       {redis_url}");
    for (role, email) in USERS {
        let user_id = ensure_user(&app, role, email).await?;
        if role == Role::Merchant {
            app.grant_kyc(&user_id).await.map_err(|error| error.to_string())?;
        }
        if !role.is_staff() {
            app.wallets.open_with(&user_id, OPENING_CREDIT).await.map_err(|error| error.to_string())?;
        }
        println!("{:<11} {email}   password: {PASSWORD}", role.as_str());
    }
    println!("stop with Ctrl-C; data stays under {}", folder.display());
    let ended = serve::run_all(&app, listener, shutdown).await;
    servers.stop().await;
    ended
}

/// Settings for one machine, with stand-ins for all providers: secrets that everybody may know.
pub(super) fn dev_config(flags: &[String], stand_ins: &StandIns) -> Result<Config, String> {
    config_from(dev_flags(flags, stand_ins)).map_err(|error| error.to_string())
}

/// The same as flags.
pub(super) fn dev_flags(flags: &[String], stand_ins: &StandIns) -> Vec<String> {
    let simulators = &stand_ins.url;
    let orders = PROVIDERS.iter().map(|provider| (provider.name, provider.stand_in, provider.credential_fields));
    let services = [
        (PAYMENT_GATEWAY.name, PAYMENT_GATEWAY.stand_in, PAYMENT_GATEWAY.credential_fields),
        (VERIFIER.name, VERIFIER.stand_in, VERIFIER.credential_fields),
    ];
    let flag = |provider: &str, name: &str, value: &str| {
        format!("--{provider}-{}={value}", name.to_lowercase().replace('_', "-"))
    };
    let at_stand_ins = orders.chain(services).flat_map(|(name, stand_in, fields)| {
        let credentials = fields.iter().map(|field| flag(name, field.env, "dev"));
        let address = flag(name, BASE_URL, &format!("{simulators}{stand_in}"));
        credentials.chain([address]).collect::<Vec<_>>()
    });
    let secrets = PAYMENT_GATEWAY.secrets.iter().map(|secret| flag(PAYMENT_GATEWAY.name, secret.name, WEBHOOK_SECRET));
    let own = [
        "--jwt-secret=waybill-dev-only-waybill-dev-only-waybill".to_owned(),
        format!("--sealing-key={}", "0".repeat(64)),
        format!("--audit-signing-key={}", "0".repeat(64)),
        "--environment=development".to_owned(),
        "--webhook-allow-private=true".to_owned(),
        format!("--smtp-url={}", stand_ins.smtp_url),
        "--mail-from=Waybill <no-reply@waybill.test>".to_owned(),
    ];
    own.into_iter().chain(at_stand_ins).chain(secrets).chain(flags.iter().cloned()).collect()
}

/// Creates the user if it isn't there, and gives its id.
async fn ensure_user(app: &App, role: Role, email: &str) -> Result<String, String> {
    let name = format!("Dev {}", role.as_str());
    match app.auth.create_user(email, &SecretString::from(PASSWORD), &name, role).await {
        Ok((user, _)) => Ok(user.id),
        Err(AuthError::EmailTaken) => {
            let found = user_id_of(&app.db, email).await.map_err(|error| error.to_string())?;
            found.ok_or_else(|| format!("{email} is taken and not there; try again"))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_credentials_and_ports() {
        for (uri, expected) in [
            ("mongodb://127.0.0.1:27017/waybill?replicaSet=rs0", vec!["127.0.0.1"]),
            ("mongodb://u:p%40ss@a.example,b.example:2/x", vec!["a.example", "b.example"]),
            ("mongodb+srv://u:p@c.example/?a=b", vec!["c.example"]),
            ("redis://[::1]:6379", vec!["::1"]),
            ("redis://127.0.0.1@evil.example/", vec!["evil.example"]),
        ] {
            assert_eq!(hosts(uri).collect::<Vec<_>>(), expected, "{uri}");
        }
    }
}
