//! Faults of fields: findings of serde and validator in the words of a problem.

use validator::{ValidationErrors, ValidationErrorsKind};

use crate::platform::error::FieldError;

/// Of a field's name that nothing here has, so much is repeated.
const NAME_CHARS_MAX: usize = 128;

/// The fault of a value that its type refused; the value is never repeated.
pub(super) fn sentence_error(path: String, sentence: &str) -> FieldError {
    let own = sentence.split(" at line ").next().unwrap_or_default();
    let message = if own.starts_with("must ") { own.to_owned() } else { "can't be read".to_owned() };
    FieldError::new(path, "format", message)
}

/// A field, or a query parameter, that nothing here has.
pub(super) fn unknown_field(name: impl Into<String>) -> FieldError {
    let name: String = name.into();
    FieldError::new(name.chars().take(NAME_CHARS_MAX).collect::<String>(), "unknown", "is not a field here")
}

/// Flattens what `validator` found into paths as the client wrote them.
#[must_use]
pub fn field_errors(errors: &ValidationErrors) -> Vec<FieldError> {
    let mut broken = broken_rules(errors, &[]);
    broken.sort_by(|a, b| a.field.cmp(&b.field));
    broken
}

/// The same of a value that was made up where these faults are: rules about what was made up say nothing.
pub(super) fn broken_rules(errors: &ValidationErrors, faults: &[FieldError]) -> Vec<FieldError> {
    let mut broken = Vec::new();
    flatten(errors, "", &mut broken);
    let made_up = |rule: &BrokenRule| {
        faults.iter().any(|fault| {
            is_within(&rule.error.field, &fault.field)
                || rule.about.as_ref().is_some_and(|about| is_within(&fault.field, about))
        })
    };
    broken.into_iter().filter(|rule| !made_up(rule)).map(|rule| rule.error).collect()
}

struct BrokenRule {
    error: FieldError,
    /// The object that it is about, where it is about several fields.
    about: Option<String>,
}

/// Whether `path` is `outer`, or in it.
fn is_within(path: &str, outer: &str) -> bool {
    outer.is_empty() || path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn flatten(errors: &ValidationErrors, prefix: &str, out: &mut Vec<BrokenRule>) {
    for (name, kind) in errors.errors() {
        let name = camel_case(name);
        let about = (name == "__all__").then(|| prefix.to_owned());
        let path = match (prefix, name.as_str()) {
            (prefix, "__all__") => prefix.to_owned(),
            ("", name) => name.to_owned(),
            (prefix, name) => format!("{prefix}.{name}"),
        };
        match kind {
            ValidationErrorsKind::Field(list) => out.extend(list.iter().map(|error| {
                let path = match error.params.get("field").and_then(|field| field.as_str()) {
                    Some(field) if path.is_empty() => field.to_owned(),
                    Some(field) => format!("{path}.{field}"),
                    None => path.clone(),
                };
                let message = error.message.clone().unwrap_or_else(|| default_message(error).into());
                BrokenRule { error: FieldError::new(path, error.code.clone(), message), about: about.clone() }
            })),
            ValidationErrorsKind::Struct(inner) => flatten(inner, &path, out),
            ValidationErrorsKind::List(items) => {
                for (index, inner) in items {
                    flatten(inner, &format!("{path}[{index}]"), out);
                }
            }
        }
    }
}

fn default_message(error: &validator::ValidationError) -> String {
    let bound = |name| error.params.get(name).map(ToString::to_string);
    let things =
        if error.params.get("value").is_some_and(serde_json::Value::is_array) { "entries" } else { "characters" };
    match (error.code.as_ref(), bound("min"), bound("max")) {
        ("length", Some(min), Some(max)) => format!("must have between {min} and {max} {things}"),
        ("length", None, Some(max)) => format!("must have at most {max} {things}"),
        ("length", Some(min), None) => format!("must have at least {min} {things}"),
        ("range", Some(min), Some(max)) => format!("must be between {min} and {max}"),
        ("range", None, Some(max)) => format!("must be at most {max}"),
        ("range", Some(min), None) => format!("must be at least {min}"),
        ("email", ..) => "must be an e-mail address".into(),
        (code, ..) => format!("is not acceptable ({code})"),
    }
}

fn camel_case(name: &str) -> String {
    if name == "__all__" {
        return name.into();
    }
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}
