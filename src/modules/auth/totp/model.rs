//! The stored second factor, and the check of a code. No IO, no clock.

use std::sync::Arc;

use bson::{Binary, DateTime, spec::BinarySubtype};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use totp_rs::{Builder, TotpError};

use crate::{
    modules::auth::model::User,
    platform::{
        batch::View,
        identity::tokens::AccessToken,
        sealing::{Sealed, SealingKeys},
        secret::random_letters,
    },
};

/// Of 160 bits, as authenticators expect (RFC 4226).
pub(super) const SECRET_BYTES: usize = 20;
const CODE_DIGITS: usize = 6;
const RECOVERY_CODES: usize = 10;
/// Five bits each: 80 in all, so a fast hash is enough.
const RECOVERY_CHARS: usize = 16;
const RECOVERY_GROUP: usize = 4;
const ISSUER: &str = "Waybill";

/// The second factor of a user; collection `totp`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Totp {
    /// `usr_...`
    #[serde(rename = "_id")]
    pub(super) user_id: String,
    /// `otp_...`, another one for every secret: what was proved by one proves nothing about the next.
    pub(super) secret_id: String,
    /// Shared with the authenticator.
    pub(super) secret: Sealed,
    /// Since when it is asked for; until then the user has only begun.
    pub(super) confirmed_at: Option<DateTime>,
    /// The half minute of the last code that was used; that code and earlier ones are spent.
    pub(super) last_step: i64,
    /// SHA-256 of the recovery codes that were not used.
    pub(super) recovery: Vec<Binary>,
    /// When the secret was made.
    pub(super) created_at: DateTime,
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Totp").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// Proof of the second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum SecondFactorProof {
    /// The authenticator's code of this half minute.
    Code {
        step: i64,
    },
    Recovery {
        hash: Binary,
    },
}

impl SecondFactorProof {
    pub(in super::super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Code { .. } => "code",
            Self::Recovery { .. } => "recovery_code",
        }
    }
}

impl Totp {
    /// For which place the secret of a user is sealed.
    pub(super) fn place(user_id: &str) -> String {
        format!("totp/{user_id}/secret")
    }

    /// Checks `typed` at `now_ms`; none if it is wrong or spent. `secret` is decrypted.
    pub(super) fn judge(&self, secret: &[u8], typed: &str, now_ms: i64) -> Option<SecondFactorProof> {
        let typed: String = typed.chars().filter(|c| !matches!(c, ' ' | '-')).collect::<String>().to_ascii_lowercase();
        if typed.len() == CODE_DIGITS {
            let step = step_of(secret, &typed, now_ms)?;
            return (step > self.last_step).then_some(SecondFactorProof::Code { step });
        }
        let hash = recovery_hash(&self.user_id, &typed);
        let known = self.recovery.iter().any(|known| known.bytes.ct_eq(&hash.bytes).into());
        known.then_some(SecondFactorProof::Recovery { hash })
    }

    /// Uses it up; false where somebody else was faster.
    pub(in super::super) fn spend(&mut self, secret_id: &str, proof: &SecondFactorProof) -> bool {
        if self.secret_id != secret_id || self.confirmed_at.is_none() {
            return false;
        }
        match proof {
            SecondFactorProof::Code { step } => {
                let is_new = *step > self.last_step;
                self.last_step = self.last_step.max(*step);
                is_new
            }
            SecondFactorProof::Recovery { hash } => {
                let before = self.recovery.len();
                self.recovery.retain(|known| known != hash);
                self.recovery.len() < before
            }
        }
    }

    /// How often the user can still come in without the authenticator.
    pub(in super::super) fn recovery_codes_left(&self) -> i64 {
        self.recovery.len() as i64
    }
}

/// Uses up what was shown of a user's second factor, as (id of the secret, proof); none where it is spent, or there is no second
/// factor any more.
pub(in super::super) fn spend(
    view: &mut View,
    user_id: &str,
    (secret_id, proof): &(String, SecondFactorProof),
) -> Option<Totp> {
    let mut totp = view.by_id::<Totp>(user_id)?;
    if !totp.spend(secret_id, proof) {
        return None;
    }
    view.update(&totp);
    Some(totp)
}

/// The half minute whose code this is: now's, or a neighbour's, because clocks differ.
fn step_of(secret: &[u8], code: &str, now_ms: i64) -> Option<i64> {
    let totp = Builder::new().with_secret(secret.to_vec()).build().ok()?;
    totp.check(code, u64::try_from(now_ms / 1000).ok()?).and_then(|step| i64::try_from(step).ok())
}

/// The secret as people type it into an authenticator, and as an authenticator reads it from a picture.
pub(super) fn described(secret: &[u8], email: &str) -> Result<(SecretString, SecretString), TotpError> {
    // A colon separates issuer and account, and no address that we accept needs one.
    let account = email.replace(':', "_");
    let builder = Builder::new().with_secret(secret.to_vec()).with_issuer(Some(ISSUER)).with_account_name(account);
    let totp = builder.build()?;
    Ok((SecretString::from(totp.secret().to_base32()), SecretString::from(totp.to_url()?)))
}

/// New recovery codes as their owner gets them, and what is stored of them.
pub(super) fn recovery_codes(user_id: &str) -> (Vec<SecretString>, Vec<Binary>) {
    let codes = (0..RECOVERY_CODES).map(|_| {
        let letters = random_letters(RECOVERY_CHARS);
        let hash = recovery_hash(user_id, &letters);
        let groups: Vec<_> = letters.as_bytes().chunks(RECOVERY_GROUP).map(String::from_utf8_lossy).collect();
        (SecretString::from(groups.join("-")), hash)
    });
    codes.unzip()
}

fn recovery_hash(user_id: &str, letters: &str) -> Binary {
    let letters = SecretString::from(format!("{user_id}/{letters}"));
    let bytes = Sha256::digest(letters.expose_secret().as_bytes()).to_vec();
    Binary { subtype: BinarySubtype::Generic, bytes }
}

/// All that staff without a second factor can do where it has to have one: paths that begin so.
pub(in super::super) const TOTP_ROUTES: &str = "/auth/totp";

#[derive(Clone, Debug)]
pub struct SecondFactor {
    pub sealing: Arc<SealingKeys>,
    pub required_of_staff: bool,
}

impl SecondFactor {
    /// Whether the user has to get one before anything else.
    pub(in super::super) fn is_missing(&self, user: &User) -> bool {
        self.required_of_staff && user.role.is_staff() && user.totp_since.is_none()
    }

    /// The user's access token; where a required second factor is missing, it opens only the routes that set one up.
    pub(in super::super) fn access_token(&self, user: &User) -> AccessToken {
        AccessToken { only: self.is_missing(user).then(|| TOTP_ROUTES.into()), ..user.access_token() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::sealing::SealingKeys;

    const SECRET: &[u8] = b"12345678901234567890";

    fn totp(recovery: Vec<Binary>) -> Totp {
        let keys = SealingKeys::new(&SecretString::from("a".repeat(64)), None).expect("a key");
        Totp {
            user_id: "usr_1".into(),
            secret_id: "otp_1".into(),
            secret: keys.seal(&Totp::place("usr_1"), SECRET),
            confirmed_at: Some(DateTime::from_millis(0)),
            last_step: 0,
            recovery,
            created_at: DateTime::from_millis(0),
        }
    }

    #[test]
    fn codes_are_those_of_rfc_6238_and_good_around_their_time() {
        let mut mine = totp(Vec::new());
        // Of the RFC's table the last six digits.
        for (second, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924")] {
            let step = second / 30;
            for (at, good) in [(step - 2, false), (step - 1, true), (step, true), (step + 1, true), (step + 2, false)] {
                let proof = mine.judge(SECRET, code, at * 30_000 + 7);
                assert_eq!(proof, good.then_some(SecondFactorProof::Code { step }), "{code} {at}");
            }
        }
        let (now_ms, code) = (1_111_111_109_000, "081 804");
        let proof = mine.judge(SECRET, code, now_ms).expect("a code");
        assert!(!mine.spend("otp_2", &proof), "of another secret");
        assert!(mine.spend("otp_1", &proof) && !mine.spend("otp_1", &proof), "once");
        assert_eq!(mine.judge(SECRET, code, now_ms), None, "spent");
        assert_eq!(mine.judge(SECRET, "287082", 59_000), None, "and so are those before");
        for odd in ["", "08180", "0818040", "o81804", "٠٨١٨٠٤"] {
            assert_eq!(mine.judge(SECRET, odd, now_ms), None, "{odd}");
        }
    }

    #[test]
    fn a_recovery_code_is_good_once_however_it_is_typed() {
        let (codes, stored) = recovery_codes("usr_1");
        let mut mine = totp(stored);
        assert_eq!((codes.len(), mine.recovery_codes_left()), (10, 10));
        let code = codes[3].expose_secret();
        assert_eq!(code.len(), 19);
        let proof = mine.judge(SECRET, code, 0).expect("one of them");
        assert_eq!(mine.judge(SECRET, &code.to_uppercase().replace('-', " "), 0), Some(proof.clone()));
        assert!(mine.spend("otp_1", &proof) && !mine.spend("otp_1", &proof));
        assert_eq!((mine.judge(SECRET, code, 0), mine.recovery_codes_left()), (None, 9));
        assert!(mine.judge(SECRET, codes[4].expose_secret(), 0).is_some());
        let another = Totp { user_id: "usr_2".into(), ..mine };
        assert_eq!(another.judge(SECRET, codes[4].expose_secret(), 0), None, "somebody else's");
    }

    #[test]
    fn an_authenticator_can_read_it() {
        let (typed, read) = described(SECRET, "asha@example.com").expect("described");
        assert_eq!(typed.expose_secret(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let address =
            "otpauth://totp/Waybill:asha%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Waybill";
        assert_eq!(read.expose_secret(), address);
    }
}
