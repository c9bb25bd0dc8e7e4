//! How a call differs from what was agreed. Every deviation goes into the books: a client that deviates works against a
//! lenient stand-in and fails in the field.

use axum::http::{HeaderMap, Uri, header};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Serialize;
use serde_json::Value;

/// One way in which a call is not as agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deviation {
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
    /// The entry in the books that it is about, as far as it says.
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

/// Fields of an object, all of them required.
pub type Fields = &'static [(&'static str, Shape)];

/// Values that a field may hold.
pub enum Shape {
    /// Text of at most so many characters that is not blank.
    Text(usize),
    /// Text of at most so many characters.
    AnyText(usize),
    OneOf(&'static [&'static str]),
    /// A value for which this holds, and how it must be.
    Like(fn(&Value) -> bool, &'static str),
    /// A whole number, at least this.
    Whole(i64),
    Object(Fields),
    /// An array of objects, at least one.
    Objects(Fields),
}

impl Shape {
    fn check(&self, value: &Value, path: &str, found: &mut Vec<Deviation>) {
        let text = value.as_str();
        let fits = |max: &usize| text.is_some_and(|text| text.chars().count() <= *max);
        let (holds, expected) = match self {
            Self::Text(max) => {
                let blank = text.is_some_and(|text| text.trim().is_empty());
                (fits(max) && !blank, format!("text of 1 to {max} characters"))
            }
            Self::AnyText(max) => (fits(max), format!("text of at most {max} characters")),
            Self::OneOf(options) => (text.is_some_and(|text| options.contains(&text)), format!("one of {options:?}")),
            Self::Like(holds, expected) => (holds(value), (*expected).to_owned()),
            Self::Whole(min) => {
                (value.as_i64().is_some_and(|number| number >= *min), format!("a whole number, at least {min}"))
            }
            Self::Object(fields) => return check_object(value, path, fields, found),
            Self::Objects(fields) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                for (index, item) in items.iter().enumerate() {
                    check_object(item, &format!("{path}[{index}]"), fields, found);
                }
                (!items.is_empty(), "an array with at least one entry".to_owned())
            }
        };
        if !holds {
            found.push(Deviation::new(path, &format!("must be {expected}")));
        }
    }
}

/// Everything in which a body differs from these fields.
pub fn check_body(headers: &HeaderMap, body: &[u8], fields: Fields) -> (Value, Vec<Deviation>) {
    match read_json(headers, body) {
        Ok(body) => {
            let mut found = Vec::new();
            check_object(&body, "", fields, &mut found);
            (body, found)
        }
        Err(deviation) => (Value::Null, vec![deviation]),
    }
}

fn check_object(value: &Value, path: &str, fields: Fields, found: &mut Vec<Deviation>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if !value.is_object() {
        return found.push(Deviation::new(if path.is_empty() { "body" } else { path }, "must be an object"));
    }
    for (name, shape) in fields {
        match value.get(name) {
            Some(value) => shape.check(value, &below(name), found),
            None => found.push(Deviation::new(&below(name), "is missing")),
        }
    }
    let unknown = unknown_fields(value, |name| fields.iter().any(|(known, _)| *known == name));
    found.extend(unknown.map(|it| Deviation { field: below(&it.field), ..it }));
}

/// The text in one field of a body that may be wrong in every other way.
pub fn text_in(body: &[u8], field: &str) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The one parameter that a query must have.
pub fn only_parameter(uri: &Uri, name: &str) -> Result<String, Deviation> {
    let mut pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    match (pairs.next(), pairs.next()) {
        (Some((is, value)), None) if is == name && !value.is_empty() => Ok(value.into_owned()),
        _ => Err(Deviation::new(name, "must be there once, and nothing else")),
    }
}

/// `user:password` of HTTP Basic, neither of them empty.
pub fn basic(headers: &HeaderMap) -> Option<String> {
    let encoded = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let well_formed = pair.split_once(':').is_some_and(|(user, password)| !user.is_empty() && !password.is_empty());
    well_formed.then_some(pair)
}
