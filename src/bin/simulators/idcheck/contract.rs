//! What a call must look like. Every deviation goes into the books: a client that sends an account number as a number
//! works against a lenient stand-in and loses leading zeros in the field.

use std::fmt;

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The provider's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pan, Self::Gstin, Self::PennyDrop];

    /// As rules and books word it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pan => "pan",
            Self::Gstin => "gstin",
            Self::PennyDrop => "penny_drop",
        }
    }

    /// The field that names what is verified.
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
const UNREADABLE: &str = "invalid_request";

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
        let wrong = |code, problem| Some(Deviation { field: self.name.to_owned(), problem, code });
        match value {
            None => wrong(UNREADABLE, "is missing"),
            Some(Value::String(text)) if (self.is_right)(text) => None,
            Some(Value::String(_)) => wrong(self.code, self.problem),
            Some(_) => wrong(UNREADABLE, "must be a string"),
        }
    }
}

/// One way in which a call is not as agreed. It never says what was sent instead: that may be an identifier.
#[derive(Clone, Debug, Serialize)]
pub struct Deviation {
    field: String,
    problem: &'static str,
    #[serde(skip)]
    code: &'static str,
}

impl Deviation {
    fn new(field: &str, problem: &'static str) -> Self {
        Self { field: field.to_owned(), problem, code: UNREADABLE }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// With what a call is refused: 422 where nothing but the spelling of an identifier is wrong.
pub fn refused_with(deviations: &[Deviation]) -> (StatusCode, &'static str) {
    match deviations.first() {
        Some(first) if deviations.iter().all(|deviation| deviation.code != UNREADABLE) => {
            (StatusCode::UNPROCESSABLE_ENTITY, first.code)
        }
        _ => (StatusCode::BAD_REQUEST, UNREADABLE),
    }
}

/// A call that is as agreed.
pub struct Request {
    /// What is asked.
    pub operation: Operation,
    /// The client's reference.
    pub reference: String,
    /// What is verified: a PAN, a GSTIN or an account number.
    pub identifier: String,
    /// The account's branch; empty for the others.
    pub ifsc: String,
    /// Whose it should be.
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
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        return Err(vec![Deviation::new("content-type", "must be application/json")]);
    }
    let body: Value = serde_json::from_slice(body).map_err(|_| vec![Deviation::new("body", "is not JSON")])?;
    let Some(sent) = body.as_object() else {
        return Err(vec![Deviation::new("body", "must be an object")]);
    };
    let fields = operation.fields();
    let is_known = |name: &str| fields.iter().any(|field| field.name == name);
    let unknown = sent.keys().filter(|name| !is_known(name));
    let mut wrong: Vec<Deviation> = unknown.map(|name| Deviation::new(name, "is not a field of this call")).collect();
    wrong.extend(fields.iter().filter_map(|field| field.deviation(sent.get(field.name))));
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
    let body: Value = serde_json::from_slice(body).ok()?;
    body["reference"].as_str().filter(|text| is_reference(text)).map(str::to_owned)
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
