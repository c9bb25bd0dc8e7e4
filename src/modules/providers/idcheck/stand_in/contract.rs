//! The shape of a call. Every deviation goes into the books: a client that sends an account number as a number
//! works against a lenient stand-in and loses leading zeros in the field.

use axum::{body::Bytes, http::HeaderMap};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::contract::{self, Deviation};

/// The provider's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST pan-verifications`
    Pan,
    /// `POST gstin-verifications`
    Gstin,
    /// `POST penny-drops`
    PennyDrop,
}

impl Operation {
    pub fn identifier(self) -> &'static Field {
        match self {
            Self::Pan => &PAN,
            Self::Gstin => &GSTIN,
            Self::PennyDrop => &ACCOUNT,
        }
    }

    fn fields(self) -> Vec<&'static Field> {
        match self {
            Self::Pan => vec![&REFERENCE, &PAN, &NAME],
            Self::Gstin => vec![&REFERENCE, &GSTIN, &NAME],
            Self::PennyDrop => vec![&REFERENCE, &ACCOUNT, &IFSC, &NAME],
        }
    }
}

/// The code of a call that cannot be read; a misspelled identifier has a code of its own.
pub const UNREADABLE: &str = "invalid_request";

/// A field, always text.
pub struct Field {
    /// As it is sent.
    pub name: &'static str,
    /// The code with which a text that is not right is refused.
    pub code: &'static str,
    problem: &'static str,
    is_right: fn(&str) -> bool,
}

static REFERENCE: Field = Field {
    name: "reference",
    code: UNREADABLE,
    problem: "must be chk_ and 32 hexadecimal digits",
    is_right: is_reference,
};
static NAME: Field =
    Field { name: "name", code: UNREADABLE, problem: "must not be blank", is_right: |text| !text.trim().is_empty() };
static PAN: Field = Field {
    name: "pan",
    code: "invalid_pan",
    problem: "is not spelled like a PAN",
    is_right: |text| fits(text, PAN_FORM),
};
static GSTIN: Field = Field {
    name: "gstin",
    code: "invalid_gstin",
    problem: "is not spelled like a GSTIN",
    is_right: |text| fits(text, GSTIN_FORM),
};
static ACCOUNT: Field = Field {
    name: "account_number",
    code: "invalid_account",
    problem: "must be 9 to 18 digits",
    is_right: |text| (9..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
};
static IFSC: Field = Field {
    name: "ifsc",
    code: "invalid_ifsc",
    problem: "is not spelled like an IFSC",
    is_right: |text| fits(text, IFSC_FORM),
};

/// `A` stands for a capital letter, `9` for a digit, `*` for either; anything else for itself.
const PAN_FORM: &str = "AAAAA9999A";
/// The state, the holder's PAN, which registration of that holder, a fixed letter, a check character.
const GSTIN_FORM: &str = "99AAAAA9999A*Z*";
const IFSC_FORM: &str = "AAAA0******";

impl Field {
    fn deviation(&self, value: Option<&Value>) -> Option<Deviation> {
        match value {
            None => Some(Deviation::new(self.name, "is missing")),
            Some(Value::String(text)) if (self.is_right)(text) => None,
            Some(Value::String(_)) => {
                let code = Some(self.code).filter(|code| *code != UNREADABLE);
                Some(Deviation { code, ..Deviation::new(self.name, self.problem) })
            }
            Some(_) => Some(Deviation::new(self.name, "must be a string")),
        }
    }
}

/// A call that is as agreed.
pub struct Request {
    pub operation: Operation,
    /// The client's reference.
    pub reference: String,
    /// The number to verify: a PAN, a GSTIN or an account number.
    pub identifier: String,
    /// The account's branch; empty for the others.
    pub ifsc: String,
    pub name: String,
}

impl Request {
    /// The identifier as books may show it.
    pub fn masked(&self) -> String {
        let hidden = self.identifier.chars().count().saturating_sub(4);
        let shown: String = self.identifier.chars().skip(hidden).collect();
        format!("****{shown}")
    }

    /// The same for the same content, and tells nothing of it.
    pub fn fingerprint(&self) -> [u8; 32] {
        let content = json!([self.operation, self.identifier, self.ifsc, self.name]);
        Sha256::digest(content.to_string()).into()
    }
}

/// Reads a call, or lists everything that is wrong with it.
pub fn read(operation: Operation, headers: &HeaderMap, body: &Bytes) -> Result<Request, Vec<Deviation>> {
    let body = contract::read_json(headers, body).map_err(|deviation| vec![deviation])?;
    if !body.is_object() {
        return Err(vec![Deviation::new("body", "must be an object")]);
    }
    let fields = operation.fields();
    let is_known = |name: &str| fields.iter().any(|field| field.name == name);
    let mut wrong: Vec<Deviation> = contract::unknown_fields(&body, is_known).collect();
    wrong.extend(fields.iter().filter_map(|field| field.deviation(body.get(field.name))));
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let text = |field: &Field| body[field.name].as_str().unwrap_or_default().to_owned();
    Ok(Request {
        operation,
        reference: text(&REFERENCE),
        identifier: text(operation.identifier()),
        ifsc: text(&IFSC),
        name: text(&NAME),
    })
}

/// The reference of a body that may be wrong in every other way.
pub fn named_reference(body: &[u8]) -> Option<String> {
    contract::text_in(body, "reference").filter(|text| is_reference(text))
}

fn is_reference(text: &str) -> bool {
    let digits = text.strip_prefix("chk_").unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn fits(text: &str, form: &str) -> bool {
    let fits_one = |(byte, form): (u8, u8)| match form {
        b'A' => byte.is_ascii_uppercase(),
        b'9' => byte.is_ascii_digit(),
        b'*' => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        other => byte == other,
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits_one)
}
