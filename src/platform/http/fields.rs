//! What is wrong with which field: serde's and validator's findings in the words of a problem.

use validator::{ValidationErrors, ValidationErrorsKind};

use crate::platform::error::FieldError;

/// Turns serde's sentence into a field error. Serde has no codes, so its fixed phrases stand in for them; the
/// offending value is never repeated.
pub(super) fn data_error(path: String, sentence: &str) -> FieldError {
    // The whole body has no name.
    let path = if path == "." { String::new() } else { path };
    let named = || sentence.split('`').nth(1).unwrap_or_default();
    let join = |name: &str| match path.as_str() {
        "" | "?" => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    if sentence.starts_with("missing field") {
        FieldError::new(join(named()), "required", "is required")
    } else if sentence.starts_with("unknown field") {
        unknown_field(join(named()))
    } else if sentence.starts_with("duplicate field") {
        FieldError::new(join(named()), "duplicate", "is given twice")
    } else if sentence.starts_with("unknown variant") {
        // What was sent stands before, and may hold any words.
        let options = sentence.rsplit_once("expected ").map_or("", |(_, rest)| rest);
        let options = options.split(" at line ").next().unwrap_or_default().replace('`', "");
        FieldError::new(path, "unknown_value", format!("must be {options}"))
    } else if let Some(("", own)) = sentence.split_once("must be ") {
        let own = own.split(" at line ").next().unwrap_or_default();
        FieldError::new(path, "format", format!("must be {own}"))
    } else {
        let expected = sentence.rsplit_once("expected ").map_or("another type", |(_, rest)| rest);
        let expected = expected.split(" at line ").next().unwrap_or_default();
        let expected = if expected.starts_with("struct ") { "an object" } else { expected };
        FieldError::new(path, "type", format!("has the wrong type: expected {expected}"))
    }
}

/// A field, or a query parameter, that nothing here has.
pub(super) fn unknown_field(name: impl Into<String>) -> FieldError {
    FieldError::new(name, "unknown", "is not a field here")
}

/// Flattens what `validator` found into paths as the client wrote them.
#[must_use]
pub fn field_errors(errors: &ValidationErrors) -> Vec<FieldError> {
    let mut out = Vec::new();
    flatten(errors, "", &mut out);
    out.sort_by(|a, b| a.field.cmp(&b.field));
    out
}

fn flatten(errors: &ValidationErrors, prefix: &str, out: &mut Vec<FieldError>) {
    for (name, kind) in errors.errors() {
        let name = camel_case(name);
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
                FieldError::new(path, error.code.clone(), message)
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
    match (error.code.as_ref(), bound("min"), bound("max")) {
        ("length", Some(min), Some(max)) => format!("must have between {min} and {max} characters or entries"),
        ("length", None, Some(max)) => format!("must have at most {max} characters or entries"),
        ("length", Some(min), None) => format!("must have at least {min} characters or entries"),
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
