//! Every letter: what it is about, and what it is checked with. What they say is in the templates.

use serde_json::{Value, json};

use crate::modules::auth::MailTopic;

/// Where a letter's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LetterSubject {
    Order,
    Topup,
    Application,
    Endpoint,
    /// The user that it is about, who is asked to verify the address.
    Address,
    /// The user that it is about, who has asked for another password, or has one.
    Password,
    /// The alert in the event, for the operator.
    Alert,
    /// The checkout that it is about, to who bought.
    Purchase,
    /// The same, to who sold.
    Sale,
    Product,
    /// The orders of a day; no event.
    Day,
    /// The stock of a day; no event.
    DayOfStock,
}

#[derive(Debug)]
pub struct Letter {
    /// Its handler's name, in Message-IDs, logs and metrics; once it has run, it stays.
    pub name: &'static str,
    /// Name of its template, without `.txt` and `.html`.
    pub template: &'static str,
    pub topic: MailTopic,
    /// Types of events that lead to it.
    pub(super) events: &'static [&'static str],
    pub(super) about: LetterSubject,
}

pub const LETTERS: &[Letter] = &[
    Letter {
        name: "order-failed-mail",
        template: "order-failed",
        topic: MailTopic::Orders,
        events: &["OrderFailed"],
        about: LetterSubject::Order,
    },
    Letter {
        name: "order-needs-attention-mail",
        template: "order-needs-attention",
        topic: MailTopic::Orders,
        events: &["OrderNeedsAttention"],
        about: LetterSubject::Order,
    },
    Letter {
        name: "topup-paid-mail",
        template: "topup-paid",
        topic: MailTopic::Payments,
        events: &["TopupPaid"],
        about: LetterSubject::Topup,
    },
    Letter {
        name: "topup-failed-mail",
        template: "topup-failed",
        topic: MailTopic::Payments,
        events: &["TopupFailed"],
        about: LetterSubject::Topup,
    },
    Letter {
        name: "kyc-verified-mail",
        template: "kyc-verified",
        topic: MailTopic::Kyc,
        events: &["KycVerified", "KycApproved"],
        about: LetterSubject::Application,
    },
    Letter {
        name: "kyc-rejected-mail",
        template: "kyc-rejected",
        topic: MailTopic::Kyc,
        events: &["KycRejected"],
        about: LetterSubject::Application,
    },
    Letter {
        name: "kyc-needs-clarification-mail",
        template: "kyc-needs-clarification",
        topic: MailTopic::Kyc,
        events: &["KycClarificationNeeded", "KycClarificationAsked"],
        about: LetterSubject::Application,
    },
    Letter {
        name: "webhook-disabled-mail",
        template: "webhook-disabled",
        topic: MailTopic::Webhooks,
        events: &["WebhookDisabled"],
        about: LetterSubject::Endpoint,
    },
    Letter {
        name: "welcome-mail",
        template: "welcome",
        topic: MailTopic::Account,
        events: &["UserCreated"],
        about: LetterSubject::Address,
    },
    Letter {
        name: "verify-email-mail",
        template: "verify-email",
        topic: MailTopic::Account,
        events: &["EmailVerificationRequested"],
        about: LetterSubject::Address,
    },
    Letter {
        name: "password-reset-mail",
        template: "password-reset",
        topic: MailTopic::Account,
        events: &["PasswordResetRequested"],
        about: LetterSubject::Password,
    },
    Letter {
        name: "password-changed-mail",
        template: "password-changed",
        topic: MailTopic::Account,
        events: &["PasswordChanged"],
        about: LetterSubject::Password,
    },
    Letter {
        name: "alert-mail",
        template: "alert",
        topic: MailTopic::Account,
        events: &["AlertFired", "AlertResolved"],
        about: LetterSubject::Alert,
    },
    Letter {
        name: "checkout-paid-mail",
        template: "checkout-paid",
        topic: MailTopic::Orders,
        events: &["CheckoutPaid"],
        about: LetterSubject::Purchase,
    },
    Letter {
        name: "checkout-completed-mail",
        template: "checkout-completed",
        topic: MailTopic::Orders,
        events: &["CheckoutCompleted"],
        about: LetterSubject::Purchase,
    },
    Letter {
        name: "checkout-cancelled-mail",
        template: "checkout-cancelled",
        topic: MailTopic::Orders,
        events: &["CheckoutCancelled"],
        about: LetterSubject::Purchase,
    },
    Letter {
        name: "checkout-payment-failed-mail",
        template: "checkout-payment-failed",
        topic: MailTopic::Orders,
        events: &["CheckoutPaymentFailed"],
        about: LetterSubject::Purchase,
    },
    Letter {
        name: "sale-mail",
        template: "sale",
        topic: MailTopic::Sales,
        events: &["CheckoutPaid"],
        about: LetterSubject::Sale,
    },
    Letter {
        name: "stock-low-mail",
        template: "stock-low",
        topic: MailTopic::Stock,
        events: &["StockLow"],
        about: LetterSubject::Product,
    },
    DAILY_ORDERS,
    DAILY_STOCK,
];

/// The orders of a day, as a file.
pub(super) const DAILY_ORDERS: Letter = Letter {
    name: "daily-orders-mail",
    template: "daily-orders",
    topic: MailTopic::Reports,
    events: &[],
    about: LetterSubject::Day,
};

pub(super) const DAILY_STOCK: Letter = Letter {
    name: "daily-stock-mail",
    template: "daily-stock",
    topic: MailTopic::Reports,
    events: &[],
    about: LetterSubject::DayOfStock,
};

impl LetterSubject {
    /// Values as they may be, to check templates with: all that there can be, and as little as there can be.
    pub(super) fn samples(self) -> [Value; 2] {
        match self {
            Self::Order => {
                let order = |charge: Value, failure: Value| {
                    json!({
                        "orderId": "ord_0", "orderNumber": "0000-0000-0000", "clientOrderId": "c-1", "provider": "carrier",
                        "status": "failed", "charge": charge, "failure": failure,
                    })
                };
                let failure = json!({ "code": "provider.refused", "message": "The pincode is not served." });
                [order(json!("45.00 INR"), failure), order(Value::Null, Value::Null)]
            }
            Self::Topup => {
                let topup = json!({ "topupId": "top_0", "clientTopupId": "t-1", "amount": "500.00 INR" });
                [topup.clone(), topup]
            }
            Self::Application => {
                let asked =
                    json!({ "field": "pan", "code": "pan.unknown", "reason": "The register does not know it." });
                let application = |requirements: Value, reason: Value| json!({ "state": "needs_clarification", "requirements": requirements, "reason": reason });
                [application(json!([asked]), json!("Please look again.")), application(json!([]), Value::Null)]
            }
            Self::Endpoint => ["gone", "failing"]
                .map(|reason| json!({ "endpointId": "whe_0", "host": "shop.example.com", "disabledReason": reason })),
            Self::Address => [(true, json!("https://waybill.example/auth/email/verify?token=x")), (false, Value::Null)]
                .map(|(is_merchant, link)| json!({ "isMerchant": is_merchant, "link": link })),
            Self::Password => {
                [("user", json!("https://waybill.example/auth/password/reset?token=x")), ("admin", Value::Null)]
                    .map(|(by, link)| json!({ "by": by, "link": link }))
            }
            Self::Alert => [(true, "Look."), (false, "")].map(|(is_firing, advice)| {
                json!({
                    "rule": "books-differ", "about": "check", "severity": "page", "isFiring": is_firing,
                    "message": "They differ.", "advice": advice,
                })
            }),
            Self::Purchase => {
                let item = json!({ "sku": "A-1", "productName": "Book", "quantity": 2, "totalPrice": "10.00 INR" });
                let checkout = |paid: bool, method: &str, line2: Value, state: Value| {
                    json!({
                        "checkoutId": "chk_0", "orderNumber": "0000-0000-0000", "clientOrderId": "c-1", "seller": "Kiran Stores",
                        "items": [item], "total": "10.00 INR", "method": method, "paid": paid,
                        "address": {
                            "name": "Asha Rao", "line1": "12 MG Road", "line2": line2, "city": "Bengaluru", "state": state,
                            "postcode": "560001", "country": "IN",
                        },
                    })
                };
                [
                    checkout(true, "wallet", json!("Floor 2"), json!("Karnataka")),
                    checkout(false, "external", Value::Null, Value::Null),
                ]
            }
            Self::Sale => {
                let item = json!({ "sku": "A-1", "productName": "Book", "quantity": 2, "totalPrice": "10.00 INR" });
                let checkout = json!({
                    "checkoutId": "chk_0", "orderNumber": "0000-0000-0000", "items": [item], "total": "10.00 INR",
                });
                [checkout.clone(), checkout]
            }
            Self::Product => [0, 1]
                .map(|stock| json!({ "productId": "prd_0", "sku": "A-1", "productName": "Book", "stock": stock, "lowStockAt": 5 })),
            Self::DayOfStock => [(0, false), (1, true)].map(|(low, cut)| {
                json!({ "day": "2026-01-31", "zone": "UTC", "count": 3, "low": low, "cut": cut, "partial": cut })
            }),
            Self::Day => [false, true]
                .map(|cut| json!({ "day": "2026-01-31", "zone": "UTC", "count": 3, "cut": cut, "ofTenant": cut })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_good_for_message_ids_and_nobody_has_two() {
        let mut names: Vec<_> = LETTERS.iter().map(|letter| letter.name).collect();
        let is_plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        assert!(names.iter().all(is_plain), "{names:?}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LETTERS.len());
    }
}
