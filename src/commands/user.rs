//! `waybill user ...`.

use std::{
    io::{BufRead, Read},
    sync::{Arc, atomic::AtomicBool},
};

use mongodb::Database;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroize};

use crate::{
    app,
    config::{CreateUserArgs, Enforcement, ListUsersArgs, Stores, UserArgs, UserCommand, strong_jwt_secret},
    modules::{
        audit::{self, AuditStore, Refusals},
        auth::{
            AttemptLimits, AuthError, AuthParts, AuthService, DeviceKeys, KeyRing, KeyRingParts, LinkKeys,
            PasswordCost, RefreshKeys, Requester, SecondFactor, User, UserFilter, Users,
        },
        kyc,
        wallet::{WalletService, WalletStore},
    },
    platform::{
        batch::Lane,
        clock::{Clock, Rfc3339Time},
        error::AppError,
        identity::{Revocations, Role, tokens::TokenKeys},
        mongo,
        rate_limit::RateLimiter,
        redis::Redis,
        sealing::SealingKeys,
        text::holds_identity_number,
    },
};

/// In place of a password: it comes by stdin.
const FROM_STDIN: &str = "-";
/// Longest line with a password.
const LINE_BYTES_MAX: u64 = 1024;
/// Users that are read at once.
const PAGE: usize = 100;

pub(super) async fn run(command: UserCommand) -> Result<(), String> {
    match command {
        UserCommand::Create(args) => create(args).await,
        UserCommand::List(args) => list(&args).await,
        UserCommand::Disable(args) => update(&args, "user disable", None, Some(true)).await,
        UserCommand::Enable(args) => update(&args, "user enable", None, Some(false)).await,
        UserCommand::SetRole(args) => update(&args.user, "user set-role", Some(args.role), None).await,
        UserCommand::EndSessions(args) => {
            let (users, user) = find(&args).await?;
            users.end_sessions(Requester::CommandLine("user end-sessions"), &user.id).await.map_err(in_words)?;
            println!("{}", serde_json::json!({ "userId": user.id, "sessions": "ended" }));
            Ok(())
        }
        UserCommand::ResetPassword(args) => {
            let (users, user) = find(&args).await?;
            let password = users.reset_password(Requester::CommandLine("user reset-password"), &user.id, false).await;
            let password = password.map_err(in_words)?;
            let password = password.expose_secret();
            println!("{}", serde_json::json!({ "userId": user.id, "temporaryPassword": password }));
            Ok(())
        }
        UserCommand::ResetTotp(args) => {
            let (users, user) = find(&args).await?;
            users.reset_totp(Requester::CommandLine("user reset-totp"), &user.id).await.map_err(in_words)?;
            println!("{}", serde_json::json!({ "userId": user.id, "totp": "reset" }));
            Ok(())
        }
        UserCommand::ApiKeys(args) => list_keys(&args).await,
        UserCommand::RevokeApiKey(args) => {
            let (_, user) = find(&args.user).await?;
            let keys = key_ring(&args.user.stores).await?;
            let by = Requester::CommandLine("user revoke-api-key");
            keys.revoke(by, &user.id, &args.key).await.map_err(in_words)?;
            println!("{}", serde_json::json!({ "userId": user.id, "keyId": args.key, "revoked": true }));
            Ok(())
        }
    }
}

/// The database, and what writes there, by the database's clock.
async fn open(stores: &Stores) -> Result<(Database, Clock, Lane), String> {
    let db =
        mongo::connect(&stores.mongodb_uri).await.map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    let missing = mongo::missing_unique_indexes(&db, &app::indexes()).await.map_err(|error| error.to_string())?;
    if !missing.is_empty() {
        return Err("the database is not prepared; run `waybill migrate` first".into());
    }
    let clock = Clock::default();
    clock.sync(&db).await.map_err(|error| format!("the database's clock can't be read: {error}"))?;
    let lane = Lane::start("user", db.clone(), clock.clone(), audit::journal());
    Ok((db, clock, lane))
}

async fn users(stores: &Stores) -> Result<Users, String> {
    let (db, clock, lane) = open(stores).await?;
    // Processes that run read what is changed here from the database.
    Ok(Users::new(db, lane, clock, Revocations::default(), false))
}

async fn find(args: &UserArgs) -> Result<(Users, User), String> {
    let users = users(&args.stores).await?;
    let user = users.get_by_name(&args.user).await.map_err(in_words)?;
    Ok((users, user))
}

async fn key_ring(stores: &Stores) -> Result<KeyRing, String> {
    let (db, clock, lane) = open(stores).await?;
    let redis = Redis::new(&stores.redis_url, &stores.redis_prefix)
        .map_err(|error| format!("REDIS_URL can't be used: {error}"))?;
    let parts = KeyRingParts {
        db,
        lane,
        clock,
        revocations: Revocations::default(),
        limiter: RateLimiter::new(redis),
        limits: AttemptLimits::default(),
        second_factor: nothing_sealed()?,
    };
    Ok(KeyRing::new(parts))
}

/// Nothing is sealed and nobody signs in here: any key will do.
fn nothing_sealed() -> Result<SecondFactor, String> {
    let any = SecretString::from(hex::encode(rand::random::<[u8; 32]>()));
    Ok(SecondFactor { sealing: Arc::new(SealingKeys::new(&any, None)?), required_of_staff: false })
}

async fn list_keys(args: &UserArgs) -> Result<(), String> {
    let (_, user) = find(args).await?;
    for key in key_ring(&args.stores).await?.list(&user.id).await.map_err(in_words)? {
        let line = serde_json::json!({
            "keyId": key.id, "name": key.name, "scopes": key.scopes, "expiresAt": key.expires_at.map(Rfc3339Time),
            "lastUsedAt": key.last_used_at.map(Rfc3339Time), "createdAt": Rfc3339Time(key.created_at),
        });
        println!("{line}");
    }
    Ok(())
}

async fn update(
    args: &UserArgs,
    command: &'static str,
    role: Option<Role>,
    disabled: Option<bool>,
) -> Result<(), String> {
    let (users, user) = find(args).await?;
    let user = users.update(Requester::CommandLine(command), &user.id, role, disabled).await.map_err(in_words)?;
    println!("{}", line(&user));
    Ok(())
}

async fn list(args: &ListUsersArgs) -> Result<(), String> {
    let users = users(&args.stores).await?;
    let mut filter = UserFilter { role: args.role, disabled: args.disabled.then_some(true), ..UserFilter::default() };
    loop {
        let page = users.list(&filter, PAGE).await.map_err(in_words)?;
        page.shown.iter().for_each(|user| println!("{}", line(user)));
        if page.next.is_none() {
            return Ok(());
        }
        filter.after = page.next;
    }
}

fn line(user: &User) -> serde_json::Value {
    serde_json::json!({
        "userId": user.id, "email": user.email, "name": user.name, "role": user.role,
        "disabled": user.disabled_at.is_some(), "createdAt": Rfc3339Time(user.created_at),
    })
}

fn in_words(error: AuthError) -> String {
    let error = AppError::from(error);
    let fields: Vec<_> = error.fields.iter().map(|f| format!("; {} {}", f.field, f.message)).collect();
    format!("{}{}", error.detail, fields.concat())
}

/// The first line of stdin.
fn read_password() -> Result<SecretString, String> {
    let mut line = String::new();
    let read = std::io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut line);
    read.map_err(|error| format!("the password can't be read from stdin: {error}"))?;
    let password = SecretString::from(line.trim_end_matches(['\r', '\n']));
    line.zeroize();
    Ok(password)
}

async fn create(args: CreateUserArgs) -> Result<(), String> {
    let secret = strong_jwt_secret(args.jwt_secret.as_ref())?;
    let stores = &args.stores;
    let redis = Redis::new(&stores.redis_url, &stores.redis_prefix)
        .map_err(|error| format!("REDIS_URL can't be used: {error}"))?;
    // The token that is printed expires by the database's clock.
    let (db, clock, lane) = open(stores).await?;
    let auth = AuthService::new(AuthParts {
        db: db.clone(),
        lane: lane.clone(),
        refusals: Refusals::new(AuditStore::new(db.clone())),
        clock: clock.clone(),
        tokens: Arc::new(TokenKeys::new(&secret, None, clock.clone())),
        limiter: RateLimiter::new(redis),
        refresh_keys: RefreshKeys::derive(&secret, None),
        device_keys: DeviceKeys::derive(&secret, None),
        link_keys: LinkKeys::derive(&secret, None),
        revocations: Revocations::default(),
        limits: AttemptLimits::default(),
        password_cost: PasswordCost::default(),
        second_factor: SecondFactor {
            required_of_staff: args.staff_totp == Enforcement::Required,
            ..nothing_sealed()?
        },
    });
    let local_part = args.email.split('@').next().filter(|name| !holds_identity_number(name));
    let name = args.name.clone().unwrap_or_else(|| local_part.unwrap_or(args.role.as_str()).to_owned());
    let password = if args.password.expose_secret() == FROM_STDIN { read_password()? } else { args.password };
    let created = auth.create_user(&args.email, &password, &name, args.role).await;
    let (user, token) = created.map_err(in_words)?;
    if let Some(credit) = args.credit {
        let lane = lane.clone();
        let wallets = WalletService::new(lane, WalletStore::new(db), clock, Arc::new(AtomicBool::new(true)));
        wallets.open_with(&user.id, credit).await.map_err(|error| format!("{}", AppError::from(error).detail))?;
    }
    if args.kyc_verified {
        kyc::grant(&lane, &user.id).await.map_err(|error| format!("{}", AppError::from(error).detail))?;
    }
    let only = auth.only(&user);
    println!("{}", serde_json::json!({ "userId": user.id, "accessToken": token, "role": args.role, "only": only }));
    Ok(())
}
