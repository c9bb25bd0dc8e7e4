//! Webhooks.

use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use standardwebhooks::Webhook;

/// The content of a webhook whose signature was verified.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Event {
    /// The same however often it is delivered: keep it, and do nothing the second time. It is the header `webhook-id`.
    #[serde(skip)]
    pub id: String,
    /// `order.confirmed`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened, RFC 3339.
    pub timestamp: String,
    /// Subject.
    pub data: Value,
}

/// The event of a webhook, if it was signed with this secret (`whsec_...`) within five minutes of now. `body` is what came, byte
/// by byte.
///
/// # Errors
/// Why it is not to be believed.
pub fn verify_webhook(secret: &str, headers: &HeaderMap, body: &[u8]) -> Result<Event, String> {
    let webhook = Webhook::new(secret).map_err(|_| "the secret must be whsec_ and Base64")?;
    webhook.verify(body, headers).map_err(|error| error.to_string())?;
    let event: Event = serde_json::from_slice(body).map_err(|error| format!("its body can't be read: {error}"))?;
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    Ok(Event { id, ..event })
}
