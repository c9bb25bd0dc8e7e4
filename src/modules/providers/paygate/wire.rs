//! PayGate's words, and both conversions. Amounts are whole minor units, times RFC 3339.

use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    modules::providers::{
        payments::{
            GatewayPayment, GatewayPaymentStatus, GatewayRefund, GatewayRefundStatus, PaymentToStart, RefundToSend,
        },
        reading::{field, id, text, whole_number},
    },
    platform::{
        clock::Rfc3339Time,
        exchange::Redaction,
        money::{AMOUNT_MAX, Currency, Money},
    },
};

/// Longest address of a payment's page: it is stored with the top-up and shown to the merchant.
const URL_CHARS_MAX: usize = 500;
/// Longest description; the payer's page has one line for it.
const DESCRIPTION_CHARS_MAX: usize = 200;

/// Another payment has our reference.
pub(super) const REFERENCE_CONFLICT: &str = "reference_conflict";
/// No payment has our reference.
pub(super) const PAYMENT_NOT_FOUND: &str = "payment_not_found";

/// No refund has our reference.
pub(super) const REFUND_NOT_FOUND: &str = "refund_not_found";

/// Fields that are stored whole. `paymentUrl` is not: whoever has it may pay.
const NOT_PERSONAL: &[&str] = &["paymentId", "refundId", "reference", "amount", "expiresAt"];
/// Words of the contract, unless the gateway says something else.
const WORDS: &[&str] = &["description", "status", "currency", "error.code", "error.message"];

/// The stored part of a start.
pub(super) static START: Redaction =
    Redaction { not_personal: NOT_PERSONAL, request: &["currency"], response: &[], free_text: WORDS, query: &[] };

/// The stored part of a look-up.
pub(super) static LOOK_UP: Redaction =
    Redaction { not_personal: NOT_PERSONAL, request: &[], response: &[], free_text: WORDS, query: &["reference"] };

/// The stored part of a refund.
pub(super) static REFUND: Redaction =
    Redaction { not_personal: NOT_PERSONAL, request: &["currency"], response: &[], free_text: WORDS, query: &[] };

/// The stored part of a look-up of a refund.
pub(super) static LOOK_UP_REFUND: Redaction =
    Redaction { not_personal: NOT_PERSONAL, request: &[], response: &[], free_text: WORDS, query: &["reference"] };

pub(super) fn start_body(payment: &PaymentToStart<'_>) -> Value {
    json!({
        "reference": payment.reference,
        "amount": payment.amount.amount,
        "currency": payment.amount.currency.code(),
        "description": payment.description.chars().take(DESCRIPTION_CHARS_MAX).collect::<String>(),
        "expiresAt": Rfc3339Time(payment.expires_at),
    })
}

pub(super) fn refund_body(refund: &RefundToSend<'_>) -> Value {
    json!({
        "reference": refund.reference,
        "paymentId": refund.payment_id,
        "amount": refund.amount.amount,
        "currency": refund.amount.currency.code(),
    })
}

/// Our reference, as the payment or refund `object` names it, or the name of the field that can't be used.
pub(super) fn reference(object: &Value) -> Result<String, &'static str> {
    id(object, "reference").ok_or("reference")
}

/// The payment that `object` describes, or the name of the field that can't be used.
pub(super) fn payment(object: &Value) -> Result<GatewayPayment, &'static str> {
    Ok(GatewayPayment {
        payment_id: id(object, "paymentId").ok_or("paymentId")?,
        status: status(text(object, "status").ok_or("status")?),
        amount: amount(object)?,
        payment_url: text(object, "paymentUrl").filter(|url| is_page(url)).map(str::to_owned),
    })
}

fn amount(object: &Value) -> Result<Money, &'static str> {
    let amount = field(object, "amount").and_then(whole_number).filter(|amount| (1..=AMOUNT_MAX).contains(amount));
    let currency = text(object, "currency").and_then(Currency::from_code);
    Ok(Money::new(amount.ok_or("amount")?, currency.ok_or("currency")?))
}

/// The refund that `object` describes with its amount, or the name of the field that can't be used.
pub(super) fn refund(object: &Value) -> Result<(GatewayRefund, Money), &'static str> {
    let status = match text(object, "status").ok_or("status")? {
        "pending" => GatewayRefundStatus::Pending,
        "refunded" => GatewayRefundStatus::Refunded,
        "failed" => GatewayRefundStatus::Failed,
        _ => GatewayRefundStatus::Unknown,
    };
    Ok((GatewayRefund { refund_id: id(object, "refundId").ok_or("refundId")?, status }, amount(object)?))
}

fn status(word: &str) -> GatewayPaymentStatus {
    match word {
        "created" => GatewayPaymentStatus::Created,
        "paid" => GatewayPaymentStatus::Paid,
        "failed" => GatewayPaymentStatus::Failed,
        "expired" => GatewayPaymentStatus::Expired,
        _ => GatewayPaymentStatus::Unknown,
    }
}

/// Whether a browser may be sent there: a `javascript:` address in a merchant's page would run as the merchant.
fn is_page(text: &str) -> bool {
    // The parser forgives blanks and line ends; what we hand on is the text, not what it made of it.
    text.chars().count() <= URL_CHARS_MAX
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
