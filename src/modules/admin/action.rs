//! A click: one request to the API, made of the fields of a form.

use axum::http::Method;
use serde_json::{Map, Value, json};

use crate::platform::identity::Role;

/// Something that can be done on a page.
#[derive(Clone, Debug)]
pub(super) struct Action {
    /// In the address of its form.
    pub(super) name: &'static str,
    pub(super) method: Method,
    /// As of a page's question; placeholders are fields of the form.
    pub(super) path: &'static str,
    /// Fields that the request's body has. Without one there is no body.
    pub(super) fields: Vec<Field>,
    /// Roles that may do it.
    pub(super) roles: &'static [Role],
    /// The question before it is done, with placeholders of the form and of `preview`. Without one it is done at once.
    pub(super) question: Option<&'static str>,
    /// The request that is made for the question.
    pub(super) preview: Option<&'static str>,
    /// A field that goes with the answer to the question, with placeholders as it has: what somebody has said yes to.
    pub(super) agreed: Option<(&'static str, &'static str)>,
    /// The message once it was done, with placeholders of the form and, as `{answer.x}`, of the API's answer.
    pub(super) done: &'static str,
    /// The page to go to afterwards; where there is none, the one before.
    pub(super) then: Option<&'static str>,
    /// The template that shows the API's answer, once, where it is no page of its own: what is secret in it is kept nowhere.
    pub(super) shows: Option<&'static str>,
}

/// A field of an action's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Where it is asked for with the question: what it is called there.
    pub(super) label: Option<&'static str>,
}

/// How a field is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As text; left out where it is empty.
    Text,
    /// As it was typed: of a password every blank counts.
    Typed,
    /// As a number, where it is one.
    Number,
    /// As true or false.
    Flag,
    /// As a list of its lines.
    Lines,
    /// As null where it is empty.
    Nullable,
}

impl Action {
    pub(super) const fn new(
        name: &'static str,
        method: Method,
        path: &'static str,
        roles: &'static [Role],
        done: &'static str,
    ) -> Self {
        Self {
            name,
            method,
            path,
            fields: Vec::new(),
            roles,
            question: None,
            preview: None,
            agreed: None,
            done,
            then: None,
            shows: None,
        }
    }

    /// A field of the body.
    pub(super) fn field(mut self, name: &'static str, kind: Kind) -> Self {
        self.fields.push(Field { name, kind, label: None });
        self
    }

    /// The same, filled in where the question is asked.
    pub(super) fn asking(mut self, name: &'static str, label: &'static str) -> Self {
        self.fields.push(Field { name, kind: Kind::Text, label: Some(label) });
        self
    }

    pub(super) const fn question(mut self, question: &'static str) -> Self {
        self.question = Some(question);
        self
    }

    pub(super) const fn preview(mut self, path: &'static str) -> Self {
        self.preview = Some(path);
        self
    }

    pub(super) const fn agreeing(mut self, name: &'static str, value: &'static str) -> Self {
        self.agreed = Some((name, value));
        self
    }

    pub(super) const fn then(mut self, page: &'static str) -> Self {
        self.then = Some(page);
        self
    }

    pub(super) const fn shows(mut self, template: &'static str) -> Self {
        self.shows = Some(template);
        self
    }

    /// The body of the request; a name such as `amount.currency` or `items.0.sku` is a place in it. What can't be read as what it should be goes as text: the API says what is wrong with it.
    pub(super) fn body(&self, form: &[(String, String)]) -> Option<Value> {
        if self.fields.is_empty() {
            return None;
        }
        let mut body = Value::Object(Map::new());
        for field in &self.fields {
            let sent = form.iter().find(|(name, _)| name == field.name).map(|(_, value)| value.replace("\r\n", "\n"));
            let Some(text) = sent else {
                // A box that is not ticked is not sent.
                if field.kind == Kind::Flag {
                    put(&mut body, field.name, json!(false));
                }
                continue;
            };
            let typed = text;
            let text = typed.trim();
            let value = match field.kind {
                Kind::Typed => json!(typed),
                Kind::Flag => json!(matches!(text, "true" | "on" | "yes")),
                Kind::Nullable if text.is_empty() => Value::Null,
                _ if text.is_empty() => continue,
                Kind::Text | Kind::Nullable => json!(text),
                Kind::Number => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
                Kind::Lines => json!(text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>()),
            };
            put(&mut body, field.name, value);
        }
        Some(body)
    }
}

/// Puts a value where its name says. Numbers are places in lists, in the order in which they are filled.
fn put(body: &mut Value, name: &str, value: Value) {
    let (mut place, mut parts) = (body, name.split('.').peekable());
    while let Some(part) = parts.next() {
        let is_in_list = parts.peek().is_some_and(|next| next.bytes().all(|byte| byte.is_ascii_digit()));
        let empty = || if is_in_list { json!([]) } else { json!({}) };
        place = match (place, part.parse::<usize>()) {
            (Value::Array(items), Ok(index)) => {
                if index >= items.len() {
                    items.push(empty());
                }
                let last = items.len() - 1;
                &mut items[index.min(last)]
            }
            (Value::Object(fields), _) => fields.entry(part).or_insert_with(empty),
            // No name says so.
            _ => return,
        };
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_the_body_that_the_api_reads() {
        let action = Action::new("a", Method::POST, "/a", &[], "")
            .field("text", Kind::Text)
            .field("typed", Kind::Typed)
            .field("number", Kind::Number)
            .field("wrong", Kind::Number)
            .field("flag", Kind::Flag)
            .field("off", Kind::Flag)
            .field("lines", Kind::Lines)
            .field("none", Kind::Nullable)
            .field("empty", Kind::Text)
            .field("amount.amount", Kind::Number)
            .field("amount.currency", Kind::Text)
            .field("asked.0.field", Kind::Text)
            .field("asked.0.code", Kind::Text);
        let form = [
            ("text", " a\r\nb "),
            ("typed", " p w "),
            ("number", "9007199254740993"),
            ("wrong", "1e3"),
            ("flag", "on"),
            ("lines", "a\r\n\r\n b "),
            ("none", ""),
            ("empty", " "),
            ("other", "x"),
            ("amount.amount", "5"),
            ("amount.currency", "INR"),
            ("asked.0.field", "pan"),
            ("asked.0.code", "c"),
        ];
        let form: Vec<_> = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let expected = json!({ "text": "a\nb", "typed": " p w ", "number": 9_007_199_254_740_993_i64, "wrong": "1e3", "flag": true,
            "off": false, "lines": ["a", "b"], "none": null, "amount": { "amount": 5, "currency": "INR" },
            "asked": [{ "field": "pan", "code": "c" }] });
        assert_eq!(action.body(&form), Some(expected));
        assert_eq!(Action::new("a", Method::POST, "/a", &[], "").body(&form), None);
    }
}
