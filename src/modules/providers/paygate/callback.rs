//! Callbacks: who sent them, when, and what they say; in this order.

use std::time::Duration;

use serde_json::Value;
use subtle::{Choice, ConstantTimeEq};

use super::wire;
use crate::{
    modules::providers::{
        payments::{Callback, CallbackKind, CallbackRefused, GatewayPaymentStatus},
        reading::{id, object, text},
    },
    platform::{
        exchange::{ParsedBody, read_body},
        secret::hmac_sha256,
    },
};

/// The header that carries the signature: `t=<unix seconds>,v1=<hex of HMAC-SHA256(secret, "<t>.<raw body>")>`.
pub const SIGNATURE_HEADER: &str = "Paygate-Signature";
/// How far the time of a signature may be from ours, either way: a recorded callback is worth nothing later.
pub const SIGNATURE_TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// Longest header that is looked at: a time and several signatures, more than anybody needs while changing keys.
const HEADER_BYTES_MAX: usize = 512;
/// Digits of a time: enough for the next 30 000 years, and its milliseconds fit.
const SECONDS_DIGITS_MAX: usize = 12;

pub(super) fn verify(
    secret: &[u8],
    header: Option<&str>,
    body: &[u8],
    now_ms: i64,
) -> Result<Callback, CallbackRefused> {
    let signed = header.and_then(Signed::read).ok_or(CallbackRefused::Unsigned)?;
    // Anybody can sign with no secret.
    if secret.is_empty() || !signed.is_by(secret, body) {
        return Err(CallbackRefused::BadSignature);
    }
    let tolerance_ms = SIGNATURE_TOLERANCE.as_millis() as u64;
    if (signed.seconds.saturating_mul(1000)).abs_diff(now_ms) > tolerance_ms {
        return Err(CallbackRefused::Stale);
    }
    match read_body(body, None) {
        ParsedBody::Json(body) => read(&body).map_err(CallbackRefused::Unreadable),
        ParsedBody::Contradictory(_) | ParsedBody::NotJson => Err(CallbackRefused::Unreadable("body")),
    }
}

/// Claims of the signature header.
struct Signed<'a> {
    /// As text, because the text is what was signed.
    time: &'a str,
    seconds: i64,
    signatures: Vec<[u8; 32]>,
}

impl<'a> Signed<'a> {
    /// Reads one time and at least one signature. Parts with other names are for later versions and are passed over.
    fn read(header: &'a str) -> Option<Self> {
        if header.len() > HEADER_BYTES_MAX {
            return None;
        }
        let (mut time, mut signatures) = (None, Vec::new());
        for part in header.split(',') {
            match part.trim().split_once('=')? {
                // Two times would leave open which one was meant.
                ("t", _) if time.is_some() => return None,
                ("t", value) => time = Some(value),
                ("v1", value) => {
                    let mut signature = [0; 32];
                    hex::decode_to_slice(value, &mut signature).ok()?;
                    signatures.push(signature);
                }
                _ => {}
            }
        }
        let time = time.filter(|time| time.len() <= SECONDS_DIGITS_MAX && time.bytes().all(|b| b.is_ascii_digit()))?;
        let seconds = time.parse().ok()?;
        (!signatures.is_empty()).then_some(Self { time, seconds, signatures })
    }

    /// Whether one of the signatures is made of this body with `secret`. Takes as long whichever it is, or none.
    fn is_by(&self, secret: &[u8], body: &[u8]) -> bool {
        let message = [self.time.as_bytes(), b".", body].concat();
        let expected = hmac_sha256(secret, &message);
        let matching = self.signatures.iter().map(|signature| signature.ct_eq(&expected));
        matching.fold(Choice::from(0), |one, other| one | other).into()
    }
}

fn read(body: &Value) -> Result<Callback, &'static str> {
    let event_id = id(body, "eventId").ok_or("eventId")?;
    let kind = match text(body, "type").ok_or("type")? {
        "payment.paid" => CallbackKind::Paid,
        "payment.failed" => CallbackKind::Failed,
        _ => CallbackKind::Unknown,
    };
    let payment = object(body, "payment").ok_or("payment")?;
    let reference = wire::reference(payment)?;
    let payment = wire::payment(payment)?;
    // An event that contradicts its own payment moves no money.
    let agrees = match kind {
        CallbackKind::Paid => payment.status == GatewayPaymentStatus::Paid,
        CallbackKind::Failed => payment.status == GatewayPaymentStatus::Failed,
        CallbackKind::Unknown => true,
    };
    if !agrees {
        return Err("status");
    }
    Ok(Callback { event_id, kind, reference, payment })
}
