//! `waybill user create`.

use std::sync::{Arc, atomic::AtomicBool};

use crate::{
    app,
    config::{CreateUserArgs, strong_jwt_secret},
    modules::{
        audit::{self, AuditStore, Refusals},
        auth::{AuthParts, AuthService, Limits, RefreshKeys},
        kyc,
        wallet::{WalletService, WalletStore},
    },
    platform::{
        batch::Lane, clock::Clock, error::AppError, identity::TokenKeys, mongo, rate_limit::RateLimiter, redis::Redis,
    },
};

pub(super) async fn create(args: CreateUserArgs) -> Result<(), String> {
    let secret = strong_jwt_secret(args.jwt_secret.as_ref())?;
    let stores = &args.stores;
    let db =
        mongo::connect(&stores.mongodb_uri).await.map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    let redis = Redis::new(&stores.redis_url, &stores.redis_prefix)
        .map_err(|error| format!("REDIS_URL can't be used: {error}"))?;
    let missing = mongo::missing_unique_indexes(&db, &app::indexes()).await.map_err(|error| error.to_string())?;
    if !missing.is_empty() {
        return Err("the database is not prepared; run `waybill migrate` first".into());
    }
    // The token that is printed expires by the database's clock.
    let clock = Clock::default();
    clock.sync(&db).await.map_err(|error| format!("the database's clock can't be read: {error}"))?;
    let lane = Lane::start("user", db.clone(), clock.clone(), audit::journal());
    let auth = AuthService::new(AuthParts {
        db: db.clone(),
        lane: lane.clone(),
        refusals: Refusals::new(AuditStore::new(db.clone())),
        clock: clock.clone(),
        tokens: Arc::new(TokenKeys::new(&secret, None, clock.clone())),
        limiter: RateLimiter::new(redis),
        refresh_keys: RefreshKeys::derive(&secret, None),
        limits: Limits::default(),
    });
    let name = args.name.clone().unwrap_or_else(|| args.email.split('@').next().unwrap_or_default().to_owned());
    let (user, token) = auth.create_user(&args.email, &args.password, &name, args.role).await.map_err(|error| {
        let error = AppError::from(error);
        let fields: Vec<_> = error.fields.iter().map(|f| format!("; {} {}", f.field, f.message)).collect();
        format!("{}{}", error.detail, fields.concat())
    })?;
    if let Some(credit) = args.credit {
        let lane = lane.clone();
        let wallets = WalletService::new(lane, WalletStore::new(db), clock, Arc::new(AtomicBool::new(true)));
        wallets.open_with(&user.id, credit).await.map_err(|error| format!("{}", AppError::from(error).detail))?;
    }
    if args.kyc_verified {
        kyc::grant(&lane, &user.id).await.map_err(|error| format!("{}", AppError::from(error).detail))?;
    }
    println!("{}", serde_json::json!({ "userId": user.id, "accessToken": token, "role": args.role }));
    Ok(())
}
