//! How a call differs from what was agreed. Every deviation goes into the books: a client that deviates works against a
//! lenient stand-in and fails in the field.

use axum::http::{HeaderMap, header};
use serde::Serialize;
use serde_json::Value;

/// One way in which a call is not as agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deviation {
    /// Path of the field.
    pub field: String,
    pub problem: String,
    /// The provider's code for just this; most have one code for everything.
    #[serde(skip)]
    pub code: Option<&'static str>,
}

impl Deviation {
    pub fn new(field: &str, problem: &str) -> Self {
        Self { field: field.to_owned(), problem: problem.to_owned(), code: None }
    }
}

/// `field: problem; field: problem`
pub fn spell_out(deviations: &[Deviation]) -> String {
    let all: Vec<_> = deviations.iter().map(|it| format!("{}: {}", it.field, it.problem)).collect();
    all.join("; ")
}

/// A call that cannot be accepted.
pub struct Deviating {
    /// Which entry in the books it is about, as far as it says.
    pub reference: Option<String>,
    pub deviations: Vec<Deviation>,
}

/// The body as JSON, or what is wrong with it. Nothing of what was sent is repeated.
pub fn read_json(headers: &HeaderMap, body: &[u8]) -> Result<Value, Deviation> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        return Err(Deviation::new("content-type", "must be application/json"));
    }
    serde_json::from_slice(body).map_err(|_| Deviation::new("body", "is not JSON"))
}

/// Deviations for fields that nobody agreed upon.
pub fn unknown_fields<'a>(
    sent: &'a Value,
    is_known: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = Deviation> + 'a {
    let names = sent.as_object().into_iter().flat_map(|fields| fields.keys());
    names.filter(move |name| !is_known(name)).map(|name| Deviation::new(name, "is not a field of this call"))
}
