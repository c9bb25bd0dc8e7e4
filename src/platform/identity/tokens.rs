//! Access tokens: signed by HMAC-SHA-256, checked without a look at the database.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::ErrorKind as JwtError,
    signature::{self, Signer, Verifier},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::user::Role;
use crate::platform::{
    clock::Clock,
    error::{AppError, ErrorKind},
    secret::{hmac_sha256, sha256_hex},
};

pub const ACCESS_TOKEN_TTL: Duration = Duration::from_secs(15 * 60);

const ISSUER: &str = "waybill";

const AUDIENCE: &str = "waybill-api";

/// Our clocks follow the database's, and may differ by this much.
const LEEWAY_SECONDS: u64 = 5;

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

    /// The user of the token.
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

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
