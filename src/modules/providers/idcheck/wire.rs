//! IDCheck's words, and both conversions.

use serde_json::{Value, json};

use crate::{
    modules::providers::{
        Failure, Outcome,
        checks::{CheckFinding, CheckKind, CheckRequest, Inquiry},
        reading::{flag, reference, text},
    },
    platform::{exchange::Redaction, scrub::scrub},
};

/// Longest name that is taken over; the rest is cut.
const NAME_CHARS_MAX: usize = 200;
/// One of these within two words before another turns it around.
const NEGATIONS: [&str; 4] = ["not", "no", "non", "never"];

/// The stored part of a check. Names and numbers are not: they are personal data. Nor are their sentences: what repeats a name
/// can't be told from what does not.
pub(super) static VERIFICATION: Redaction = Redaction {
    not_personal: &["reference", "utr", "amount_deposited"],
    request: &[],
    response: &["account_exists"],
    // Words of the contract, unless the provider says something else.
    free_text: &["status", "error.code"],
    query: &[],
};

pub(super) const fn resource(kind: CheckKind) -> &'static str {
    match kind {
        CheckKind::Pan => "pan-verifications",
        CheckKind::Gstin => "gstin-verifications",
        CheckKind::BankAccount => "penny-drops",
    }
}

pub(super) fn body(question: &CheckRequest<'_>) -> Value {
    let CheckRequest { reference, name, inquiry } = question;
    match inquiry {
        Inquiry::Pan { pan } => json!({ "reference": reference, "pan": pan, "name": name }),
        Inquiry::Gstin { gstin } => json!({ "reference": reference, "gstin": gstin, "name": name }),
        Inquiry::BankAccount { account_number, ifsc } => {
            json!({ "reference": reference, "account_number": account_number, "ifsc": ifsc, "name": name })
        }
    }
}

/// The finding of the register of PANs, or the name of the field that can't be used.
pub(super) fn pan(body: &Value) -> Result<Outcome<CheckFinding>, &'static str> {
    Ok(match text(body, "status").ok_or("status")? {
        "valid" => confirmed(name(body, "registered_name"), None),
        "invalid" => refuted("pan.invalid", "There is no such PAN."),
        "inactive" => refuted("pan.inactive", "The PAN was deactivated."),
        status => odd(format!("Unknown status: {status}")),
    })
}

/// The finding of the register of GSTINs, or the name of the field that can't be used.
pub(super) fn gstin(body: &Value) -> Result<Outcome<CheckFinding>, &'static str> {
    Ok(match text(body, "status").ok_or("status")? {
        "active" => confirmed(name(body, "legal_name"), None),
        "not_found" => refuted("gstin.not_found", "There is no such GSTIN."),
        "cancelled" => refuted("gstin.cancelled", "The registration was cancelled."),
        "suspended" => refuted("gstin.suspended", "The registration is suspended."),
        status => odd(format!("Unknown status: {status}")),
    })
}

/// The bank's finding, or the name of the field that can't be used.
pub(super) fn bank_account(body: &Value) -> Result<Outcome<CheckFinding>, &'static str> {
    let exists = flag(body, "account_exists").ok_or("account_exists")?;
    let message = text(body, "message").ok_or("message")?;
    Ok(match (exists, said(message)) {
        (_, Some(BankMessage::Blocked)) => refuted("bank.account_blocked", "The account is blocked."),
        (_, Some(BankMessage::Nre)) => refuted("bank.nre_account", "The account is an NRE account."),
        (false, Some(BankMessage::NotFound)) => refuted("bank.account_not_found", "There is no such account."),
        (false, Some(BankMessage::Invalid)) => refuted("bank.invalid_account", "That can't be an account's number."),
        (false, Some(BankMessage::Offline)) => Outcome::unknown("bank.offline", "The bank is offline."),
        (false, Some(BankMessage::Unavailable)) => {
            Outcome::unknown("bank.network_unavailable", "The network of banks is unavailable.")
        }
        (true, Some(BankMessage::Verified)) => confirmed(name(body, "name_at_bank"), reference(body, "utr")),
        _ => odd(format!("The account {}: {message}", if exists { "exists" } else { "does not exist" })),
    })
}

fn confirmed(name: Option<String>, transfer: Option<String>) -> Outcome<CheckFinding> {
    match name {
        Some(name) => Outcome::Done(CheckFinding::Confirmed { name, transfer }),
        None => odd("Confirmed without a name."),
    }
}

/// Meanings of a bank's message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BankMessage {
    Blocked,
    Nre,
    NotFound,
    Invalid,
    Offline,
    Unavailable,
    Verified,
}

/// The first of these that a message says. A yes must be the whole message: whatever else it adds may be a "but".
fn said(message: &str) -> Option<BankMessage> {
    let message = message.to_lowercase();
    let words: Vec<&str> =
        message.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|w| !w.is_empty()).collect();
    let phrase = words.join(" ");
    [
        (says(&words, "blocked"), BankMessage::Blocked),
        (says(&words, "nre"), BankMessage::Nre),
        (phrase.contains("account") && phrase.contains("does not exist"), BankMessage::NotFound),
        (phrase.contains("invalid account"), BankMessage::Invalid),
        (says(&words, "offline"), BankMessage::Offline),
        (says(&words, "unavailable"), BankMessage::Unavailable),
        (phrase == "verified", BankMessage::Verified),
    ]
    .into_iter()
    .find_map(|(is_said, what)| is_said.then_some(what))
}

/// Whether `word` is among the words, and not as what is not the case ("not an NRE account").
fn says(words: &[&str], word: &str) -> bool {
    let is_negation = |word: &&str| NEGATIONS.contains(word) || word.ends_with("n't");
    let mut places = words.iter().enumerate().filter(|(_, other)| **other == word);
    places.any(|(at, _)| !words[at.saturating_sub(2)..at].iter().any(is_negation))
}

/// A name as it may be stored: on one line, printable, cut, without numbers and whatever else stands beside it. What has no
/// letter is no name.
fn name(body: &Value, field: &str) -> Option<String> {
    let scrubbed = scrub(text(body, field)?);
    let words: Vec<&str> = scrubbed.split(' ').filter(|word| !word.starts_with('[')).collect();
    let name: String = words.join(" ").chars().take(NAME_CHARS_MAX).collect();
    name.contains(char::is_alphabetic).then(|| name.trim_end().to_owned())
}

pub(super) fn refuted(code: &'static str, message: &str) -> Outcome<CheckFinding> {
    Outcome::Done(CheckFinding::Refuted(Failure::new(code, message)))
}

pub(super) fn odd(message: impl AsRef<str>) -> Outcome<CheckFinding> {
    Outcome::Done(CheckFinding::Inconclusive(Failure::new("idcheck.odd_answer", message)))
}
