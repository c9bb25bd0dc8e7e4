//! A page: an address, the requests whose answers it shows, and a template.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::platform::identity::Role;

/// Everybody who may come in here.
pub(super) const EVERYBODY: &[Role] = &[Role::Admin, Role::Finance, Role::Auditor, Role::Manager, Role::Merchant];

/// A page.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// Below `/admin`, such as `/queues/{queue}`; empty for the first page.
    pub(super) path: &'static str,
    /// Its heading, with placeholders.
    pub(super) title: &'static str,
    pub(super) template: &'static str,
    /// Roles that see it.
    pub(super) roles: &'static [Role],
    /// Its name and section in the navigation; none where it is not there.
    pub(super) nav: Option<(&'static str, &'static str)>,
    /// Requests to the API, in this order.
    pub(super) gets: Vec<Get>,
}

impl Page {
    pub(super) fn new(path: &'static str, title: &'static str, template: &'static str, roles: &'static [Role]) -> Self {
        Self { path, title, template, roles, nav: None, gets: Vec::new() }
    }

    /// Under this name in this part of the navigation.
    pub(super) fn nav(mut self, part: &'static str, name: &'static str) -> Self {
        self.nav = Some((part, name));
        self
    }

    pub(super) fn get(mut self, get: Get) -> Self {
        self.gets.push(get);
        self
    }

    /// The values of the path's placeholders in an address.
    pub(super) fn matches(&self, path: &str) -> Option<BTreeMap<String, String>> {
        let (own, asked): (Vec<_>, Vec<_>) = (self.path.split('/').collect(), path.split('/').collect());
        if own.len() != asked.len() {
            return None;
        }
        let mut names = BTreeMap::new();
        for (own, asked) in own.iter().zip(asked) {
            match own.strip_prefix('{').and_then(|own| own.strip_suffix('}')) {
                Some(name) if !asked.is_empty() => {
                    names.insert(name.to_owned(), decoded(asked)?);
                }
                Some(_) => return None,
                None if *own == asked => {}
                None => return None,
            }
        }
        Some(names)
    }
}

/// A question to the API; its answer has this name in the template.
#[derive(Clone, Debug)]
pub(super) struct Get {
    pub(super) name: &'static str,
    /// Such as `/queues/{queue}/jobs?state&limit=50`: `{x}` is of the page's address or, as `{job.orderId}`, of an answer before;
    /// `state` passes on what the address has of that name, where it has something. Not asked where a placeholder stands for nothing.
    pub(super) path: &'static str,
    /// Not asked for others.
    pub(super) only: Option<&'static [Role]>,
    /// Without it there is no page. Others show what is wrong in its place.
    pub(super) needed: bool,
}

impl Get {
    pub(super) const fn new(name: &'static str, path: &'static str) -> Self {
        Self { name, path, only: None, needed: true }
    }

    /// The page is there without it.
    pub(super) const fn optional(mut self) -> Self {
        self.needed = false;
        self
    }

    pub(super) const fn only(mut self, roles: &'static [Role]) -> Self {
        self.only = Some(roles);
        self
    }

    /// Whether it has to wait for an answer before it.
    pub(super) fn waits(&self) -> bool {
        self.path.split('{').skip(1).any(|rest| rest.split('}').next().is_some_and(|name| name.contains('.')))
    }
}

/// The values of placeholders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placeholders<'a> {
    pub(super) path: &'a BTreeMap<String, String>,
    pub(super) query: &'a [(String, String)],
    /// Answers by name.
    pub(super) answers: &'a Value,
}

impl Placeholders<'_> {
    /// Of what the API was asked there is what it has answered and nothing else: a link from elsewhere puts nothing in its place.
    fn find(&self, name: &str) -> Option<String> {
        if let Some(answer) = name.split_once('.').and_then(|(get, _)| self.answers.get(get)) {
            let field = name.split('.').skip(1).try_fold(answer, |answer, part| answer.get(part));
            return match field? {
                Value::String(text) if !text.is_empty() => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
        }
        let asked = || self.query.iter().find(|(key, value)| key == name && !value.trim().is_empty());
        self.path.get(name).or_else(|| asked().map(|(_, value)| value)).cloned()
    }

    /// The text with what placeholders stand for; those that stand for nothing are left out.
    pub(super) fn said(&self, text: &str) -> String {
        replaced(text, |name| Some(self.find(name).unwrap_or_default())).unwrap_or_default()
    }

    /// An address of the API, or of a page; none where a placeholder stands for nothing.
    pub(super) fn address(&self, template: &str) -> Option<String> {
        let (path, query) = template.split_once('?').map_or((template, None), |(path, query)| (path, Some(query)));
        let path = replaced(path, |name| self.find(name).map(|value| encoded(&value)))?;
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((name, value)) => {
                    pairs.append_pair(name, &replaced(value, |name| self.find(name))?);
                }
                None => {
                    let sent = self.query.iter().filter(|(key, value)| key == part && !value.trim().is_empty());
                    for (name, value) in sent {
                        pairs.append_pair(name, value.trim());
                    }
                }
            }
        }
        let query = pairs.finish();
        Some(if query.is_empty() { path } else { format!("{path}?{query}") })
    }
}

/// With `find`'s text for each `{name}`; none where it has none.
fn replaced(template: &str, find: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        text.push_str(before);
        text.push_str(&find(name)?);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// A part of a path.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decoded(part: &str) -> Option<String> {
    // In a path `+` is itself.
    let pair = part.replace('+', "%2B");
    let text = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned())?;
    (!text.contains('\u{fffd}')).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_has_what_is_known_and_nothing_else() {
        let page = Page::new("/queues/{queue}", "", "", EVERYBODY);
        let path = page.matches("/queues/a%20b+c").expect("it matches");
        assert_eq!(path["queue"], "a b+c");
        assert!(page.matches("/queues/").is_none() && page.matches("/queues/a/b").is_none());
        let query = [
            ("state", "dead"),
            ("kind", " "),
            ("queue", "other"),
            ("job.attempts", "9"),
            ("job.no", "x"),
            ("job.payload.none", "x"),
            ("amount.currency", "INR"),
        ];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answers = json!({ "job": { "payload": { "orderId": "ord_1/x" }, "attempts": 3, "no": null } });
        let known = Placeholders { path: &path, query: &query, answers: &answers };
        for (template, address) in [
            ("/queues/{queue}/jobs?state&kind&limit=50", Some("/queues/a%20b%2Bc/jobs?state=dead&limit=50")),
            ("/orders/{job.payload.orderId}", Some("/orders/ord_1%2Fx")),
            ("/x?n={job.attempts}&state={state}", Some("/x?n=3&state=dead")),
            ("/x/{job.no}", None),
            ("/x/{job.payload.none}?a=b", None),
            ("/x?a={none}", None),
            ("/x?a={amount.currency}", Some("/x?a=INR")),
        ] {
            assert_eq!(known.address(template).as_deref(), address, "{template}");
        }
        assert_eq!(known.said("Queue {queue}, {none}!"), "Queue a b+c, !");
        assert!(Get::new("a", "/a/{b.c}").waits() && !Get::new("a", "/a/{b}?c={d}").waits());
    }
}
