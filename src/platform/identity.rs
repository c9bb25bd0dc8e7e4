//! Who is asking: roles, access tokens, and the extractors by which a handler says whom it serves.

mod about;
mod api_keys;
mod caller;
mod revocations;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::ErrorKind as JwtError,
    signature::{self, Signer, Verifier},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

pub use about::About;
pub use api_keys::{API_KEY_PREFIX, ApiKeyUser, ApiKeys, KeyRequest};
pub use caller::Caller;
pub use revocations::Revocations;

use super::{
    clock::Clock,
    erased,
    error::{AppError, ErrorKind},
    rate_limit::{CountedLimits, RequestLimits, Subject},
    secret::{hmac_sha256, sha256_hex},
};

pub const ACCESS_TOKEN_TTL: Duration = Duration::from_secs(15 * 60);
const ISSUER: &str = "waybill";
const AUDIENCE: &str = "waybill-api";
/// Our clocks follow the database's, and may differ by this much.
const LEEWAY_SECONDS: u64 = 5;

/// What a user is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends parcels; sees its own data only.
    Merchant,
    /// Reads and corrects money.
    Finance,
    /// Reads everything, writes nothing.
    Auditor,
    /// Runs the place: queues, review, users.
    Admin,
    /// Looks after the members of a tenant; sees their orders and wallets.
    Manager,
    /// Buys from merchants; sees its own data only.
    Customer,
}

impl Role {
    /// As in tokens and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merchant => "merchant",
            Self::Finance => "finance",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Customer => "customer",
        }
    }

    /// Whether it is a role of those who work here: what others may do concerns their own data only, and anybody may open an
    /// account for it.
    #[must_use]
    pub const fn is_staff(self) -> bool {
        match self {
            Self::Merchant | Self::Customer => false,
            Self::Finance | Self::Auditor | Self::Admin | Self::Manager => true,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    role: Role,
    /// The user's access version when it was issued.
    #[serde(default)]
    ver: i64,
    /// The tenant that the user belonged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ten: Option<String>,
    /// Opens only what is beneath this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only: Option<String>,
    iat: u64,
    exp: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// `usr_...`
    pub user_id: String,
    pub role: Role,
    /// The user's access version: where the user has another one by now, the token is void.
    pub access_version: i64,
    /// The tenant that the user belonged to; another one makes another access version.
    pub tenant_id: Option<String>,
    /// The routes that it opens, by what their paths begin with; none where it opens what the role may do.
    pub only: Option<String>,
}

struct TokenKey {
    id: String,
    encode: EncodingKey,
    decode: DecodingKey,
}

impl TokenKey {
    fn new(secret: &SecretString) -> Self {
        let bytes = secret.expose_secret().as_bytes();
        let mut id = sha256_hex(bytes);
        id.truncate(8);
        Self { id, encode: EncodingKey::from_secret(bytes), decode: DecodingKey::from_secret(bytes) }
    }
}

/// Signs and checks access tokens (JWT, HS256). The algorithm, issuer and audience are fixed; the header's
/// `kid` chooses between today's secret and the previous one.
pub struct TokenKeys {
    current: TokenKey,
    previous: Option<TokenKey>,
    clock: Clock,
    validation: Validation,
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeys").field("kid", &self.current.id).finish_non_exhaustive()
    }
}

impl TokenKeys {
    /// Keys from the secrets of the configuration. Tokens expire by `clock`, by which they are issued.
    #[must_use]
    pub fn new(secret: &SecretString, previous: Option<&SecretString>, clock: Clock) -> Self {
        let _ = HMAC_PROVIDER.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // By this host's own clock; `verify` looks at ours.
        validation.validate_exp = false;
        Self { current: TokenKey::new(secret), previous: previous.map(TokenKey::new), clock, validation }
    }

    /// A token that says this, valid from `now_ms` for [`ACCESS_TOKEN_TTL`], or until the user's access version grows.
    ///
    /// # Errors
    /// When signing fails, which is a bug.
    pub fn issue(&self, access: AccessToken, now_ms: i64) -> Result<String, AppError> {
        let iat = (now_ms / 1000) as u64;
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: access.user_id,
            role: access.role,
            ver: access.access_version,
            ten: access.tenant_id,
            only: access.only,
            iat,
            exp: iat + ACCESS_TOKEN_TTL.as_secs(),
        };
        let header = Header { kid: Some(self.current.id.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &self.current.encode).map_err(AppError::internal)
    }

    /// Who the token stands for.
    ///
    /// # Errors
    /// 401 whatever is wrong with it, naming the reason only where the client can act on it (expired).
    pub fn verify(&self, token: &str) -> Result<AccessToken, AppError> {
        let refuse = |code, detail| AppError::new(ErrorKind::Unauthenticated, code, detail);
        let invalid = || refuse("auth.invalid_token", "The access token is not valid; sign in again.");
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        if header.alg != Algorithm::HS256 {
            return Err(invalid());
        }
        let key = match (&header.kid, &self.previous) {
            (Some(kid), Some(previous)) if *kid == previous.id => previous,
            (Some(kid), _) if *kid == self.current.id => &self.current,
            _ => return Err(invalid()),
        };
        let claims =
            jsonwebtoken::decode::<Claims>(token, &key.decode, &self.validation).map_err(|_| invalid())?.claims;
        if claims.exp.saturating_add(LEEWAY_SECONDS) < (self.clock.now_ms() / 1000) as u64 {
            return Err(refuse("auth.token_expired", "The access token has expired; refresh it."));
        }
        let Claims { sub: user_id, role, ver: access_version, ten: tenant_id, only, .. } = claims;
        Ok(AccessToken { user_id, role, access_version, tenant_id, only })
    }
}

struct HmacSha256 {
    key: Vec<u8>,
}

impl Signer<Vec<u8>> for HmacSha256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(hmac_sha256(&self.key, message).to_vec())
    }
}

impl Verifier<Vec<u8>> for HmacSha256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        if hmac_sha256(&self.key, message).as_slice().ct_eq(signature).into() {
            Ok(())
        } else {
            Err(signature::Error::new())
        }
    }
}

impl JwtSigner for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

/// HS256 and nothing else: the crate's own providers bring RSA and elliptic curves that we would only have to
/// keep out.
static HMAC_PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 => Ok(Box::new(HmacSha256 { key: key.as_bytes().to_vec() })),
        _ => Err(JwtError::InvalidAlgorithm.into()),
    },
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 => Ok(Box::new(HmacSha256 { key: key.try_get_as_bytes()?.to_vec() })),
        _ => Err(JwtError::InvalidAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// What the extractors need; the composition root puts it into every request's extensions.
#[derive(Clone)]
pub struct Gate {
    pub tokens: Arc<TokenKeys>,
    /// Tokens that are void before they expire.
    pub revocations: Revocations,
    /// Says who asks with an API key; none where nobody can.
    pub api_keys: Option<Arc<dyn ApiKeys>>,
    /// Limits requests; absent with `RATE_LIMIT=off`.
    pub limits: Option<RequestLimits>,
}

/// Who asked, from where, in which request: goes into events and audit records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentUser {
    /// `usr_...`
    pub user_id: String,
    pub role: Role,
    pub access_version: i64,
    pub tenant_id: Option<String>,
    /// `key_...` of the API key that was shown; none with an access token.
    pub key_id: Option<String>,
    /// The peer's address.
    pub address: Option<IpAddr>,
    /// `X-Request-Id`.
    pub request_id: String,
}

/// Where a layer around the routes finds who asked, once somebody has looked at the token.
#[derive(Clone, Debug, Default)]
pub struct SeenUser(Arc<OnceLock<CurrentUser>>);

impl SeenUser {
    /// Who asked; none where no token was good, or nobody looked.
    #[must_use]
    pub fn get(&self) -> Option<&CurrentUser> {
        self.0.get()
    }
}

/// The access token of a request.
#[must_use]
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// 401: the token was good, and its user has signed out, been disabled or got another role since.
#[must_use]
pub fn token_revoked() -> AppError {
    let detail = "The access token is not good any more; refresh it or sign in again.";
    AppError::new(ErrorKind::Unauthenticated, "auth.token_revoked", detail)
}

impl<S: Send + Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let gate =
            parts.extensions.get::<Gate>().cloned().ok_or_else(|| {
                AppError::new(ErrorKind::Internal, "internal", "The router was built without a gate.")
            })?;
        let Ok(Caller { address, request_id }) = Caller::from_request_parts(parts, state).await;
        let token = bearer_token(&parts.headers).ok_or_else(|| {
            AppError::new(
                ErrorKind::Unauthenticated,
                "auth.required",
                "Send an access token or an API key as `Authorization: Bearer ...`.",
            )
        })?;
        let (access, key_id) = gate.user_of(token, parts, address).await?;
        let AccessToken { user_id, role, access_version, tenant_id, .. } = access;
        if let Some(limits) = &gate.limits {
            let counted = parts.extensions.get::<CountedLimits>();
            limits.count(Subject::User(&user_id), counted)?;
            if let Some(key_id) = &key_id {
                limits.count(Subject::Key(key_id), counted)?;
            }
        }
        let user = Self { user_id, role, access_version, tenant_id, key_id, address, request_id };
        if let Some(seen) = parts.extensions.get::<SeenUser>() {
            let _ = seen.0.set(user.clone());
        }
        Ok(user)
    }
}

/// Who made it happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// `user`, `worker`, `provider`, `command_line`, `system`; `anonymous` of who was turned away unknown.
    pub kind: String,
    /// User id or worker id.
    pub id: String,
    /// The user's role, else null.
    pub role: Option<String>,
    /// The user's network address, else null.
    #[serde(default, deserialize_with = "erased::text")]
    pub address: Option<String>,
    /// `X-Request-Id` of the request behind it.
    pub request_id: Option<String>,
    /// The API key with which the user asked; absent where it was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
}

impl Actor {
    /// A command of an operator on the machine.
    #[must_use]
    pub fn command_line(command: &str) -> Self {
        Self {
            kind: "command_line".into(),
            id: command.into(),
            role: None,
            address: None,
            request_id: None,
            key_id: None,
        }
    }

    /// Waybill itself, by a rule that nobody asks for each time.
    #[must_use]
    pub fn system(rule: &str) -> Self {
        Self { kind: "system".into(), id: rule.into(), role: None, address: None, request_id: None, key_id: None }
    }

    /// A worker process, on behalf of the request `correlation_id`.
    #[must_use]
    pub fn worker(worker_id: &str, correlation_id: &str) -> Self {
        Self {
            kind: "worker".into(),
            id: worker_id.into(),
            role: None,
            address: None,
            request_id: Some(correlation_id.into()),
            key_id: None,
        }
    }
}

impl From<&CurrentUser> for Actor {
    fn from(user: &CurrentUser) -> Self {
        Self {
            kind: "user".into(),
            id: user.user_id.clone(),
            role: Some(user.role.as_str().into()),
            address: user.address.map(|address| address.to_string()),
            request_id: Some(user.request_id.clone()),
            key_id: user.key_id.clone(),
        }
    }
}

fn only(user: CurrentUser, roles: &[Role]) -> Result<CurrentUser, AppError> {
    if roles.contains(&user.role) {
        Ok(user)
    } else {
        Err(AppError::new(ErrorKind::Forbidden, "auth.forbidden", "Your role does not allow this."))
    }
}

#[derive(Clone, Debug)]
pub struct Merchant(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for Merchant {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Merchant]).map(Self)
    }
}

#[derive(Clone, Debug)]
pub struct Customer(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for Customer {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Customer]).map(Self)
    }
}

/// A merchant or a customer, about its own money and what it buys.
#[derive(Clone, Debug)]
pub struct MerchantOrCustomer(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for MerchantOrCustomer {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Merchant, Role::Customer]).map(Self)
    }
}

/// A merchant, about its own data, or a manager, about the own tenant's.
#[derive(Clone, Debug)]
pub struct MerchantOrManager(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for MerchantOrManager {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Merchant, Role::Manager]).map(Self)
    }
}

/// Finance, about everybody's money.
#[derive(Clone, Debug)]
pub struct Finance(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for Finance {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Finance]).map(Self)
    }
}

/// Finance or an auditor, who may read everybody's money.
#[derive(Clone, Debug)]
pub struct FinanceReader(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for FinanceReader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Finance, Role::Auditor]).map(Self)
    }
}

/// An administrator or an auditor, who may read everybody's applications.
#[derive(Clone, Debug)]
pub struct AdminReader(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for AdminReader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Admin, Role::Auditor]).map(Self)
    }
}

/// A merchant, about its own data, or an administrator, about everybody's.
#[derive(Clone, Debug)]
pub struct MerchantOrAdmin(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for MerchantOrAdmin {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Merchant, Role::Admin]).map(Self)
    }
}

/// A merchant, about its own data, or somebody who may read everybody's.
#[derive(Clone, Debug)]
pub struct MerchantOrReader(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for MerchantOrReader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let user = CurrentUser::from_request_parts(parts, state).await?;
        only(user, &[Role::Merchant, Role::Admin, Role::Auditor]).map(Self)
    }
}

/// A manager, about the own tenant, or an administrator, about every tenant.
#[derive(Clone, Debug)]
pub struct TenantReader(pub CurrentUser);

impl TenantReader {
    /// Whether `tenant_id` is one that it may read.
    #[must_use]
    pub fn reads(&self, tenant_id: &str) -> bool {
        self.0.role == Role::Admin || self.0.tenant_id.as_deref() == Some(tenant_id)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TenantReader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Manager, Role::Admin]).map(Self)
    }
}

/// A merchant, about its own orders, a manager, about the tenant's, or finance or an administrator, about everybody's.
#[derive(Clone, Debug)]
pub struct SumsReader(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for SumsReader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let user = CurrentUser::from_request_parts(parts, state).await?;
        only(user, &[Role::Merchant, Role::Manager, Role::Finance, Role::Admin]).map(Self)
    }
}

#[derive(Clone, Debug)]
pub struct Admin(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Admin]).map(Self)
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
