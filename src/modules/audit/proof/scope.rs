//! Sealed collections, and their personal fields.

use std::{fmt, sync::LazyLock};

use bson::RawDocument;

/// One sealed collection, as it is written down in a static list.
#[derive(Clone, Copy, Debug)]
pub struct LeafRule {
    /// Number of this rule in seals. What records were sealed by stays; a collection whose personal fields change gets
    /// another rule with another code.
    pub code: u8,
    /// Name of the collection.
    pub collection: &'static str,
    /// Prefix of its records' ids, before the underscore and the time.
    pub id_prefix: &'static str,
    /// Paths of personal fields: `reason`, `actor.address`, `body.items[].name` for a field of every entry of an array,
    /// `body.names[]` for every entry itself. What is inside of a personal field is personal with it. `body.**` is every
    /// value in `body`, each by itself, however deep.
    pub personal: &'static [&'static str],
}

#[derive(Clone, Debug)]
pub struct SealScope {
    rule: LeafRule,
    paths: Paths,
}

impl SealScope {
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.rule.code
    }

    #[must_use]
    pub const fn collection(&self) -> &'static str {
        self.rule.collection
    }

    #[must_use]
    pub const fn id_prefix(&self) -> &'static str {
        self.rule.id_prefix
    }

    #[must_use]
    pub const fn personal(&self) -> &'static [&'static str] {
        self.rule.personal
    }

    #[must_use]
    pub const fn paths(&self) -> &Paths {
        &self.paths
    }
}

/// A record, with the rule by which it is sealed.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub scope: &'a SealScope,
    pub id: &'a str,
    pub document: &'a RawDocument,
}

/// Says which one it is, not what it says.
impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} {})", self.scope.collection(), self.id)
    }
}

/// All rules there ever were.
#[derive(Clone, Debug)]
pub struct Scopes(Vec<SealScope>);

impl Scopes {
    /// Rules from a static list. Of two with one code the first counts.
    #[must_use]
    pub fn new(rules: &[LeafRule]) -> Self {
        Self(rules.iter().map(|rule| SealScope { rule: *rule, paths: Paths::new(rule.personal) }).collect())
    }

    #[must_use]
    pub fn standard() -> &'static Self {
        static STANDARD: LazyLock<Scopes> = LazyLock::new(|| Scopes::new(RULES));
        &STANDARD
    }

    #[must_use]
    pub fn of_code(&self, code: u8) -> Option<&SealScope> {
        self.0.iter().find(|scope| scope.rule.code == code)
    }

    /// The rules by which records are sealed today, one per collection.
    pub fn today(&self) -> impl Iterator<Item = &SealScope> {
        self.0
            .iter()
            .filter(|scope| self.of_collection(scope.collection()).is_some_and(|last| last.code() == scope.code()))
    }

    /// The rule by which records of a collection are sealed today: its last.
    #[must_use]
    pub fn of_collection(&self, collection: &str) -> Option<&SealScope> {
        self.0.iter().rfind(|scope| scope.rule.collection == collection)
    }
}

/// The personal part of a call, in its request and in its answer: all that is in a body, whichever provider's it is, and
/// what was said of an error. Each value of a body is committed by itself, so that it can be decided when a record is erased
/// what of it goes; whose call it was, about what, and how it ended stand beside the body.
const CALL: &[&str] = &["errorMessage", "body.**"];

/// The sealed collections. Rules are added, never changed.
const RULES: &[LeafRule] = &[
    LeafRule { code: 1, collection: "provider_request_logs", id_prefix: "req", personal: CALL },
    LeafRule { code: 2, collection: "provider_response_logs", id_prefix: "res", personal: CALL },
    LeafRule { code: 3, collection: "events", id_prefix: "evt", personal: &["actor.address", "data.reason"] },
    LeafRule {
        code: 4,
        collection: "audit_events",
        id_prefix: "aud",
        // What somebody asked for is in their own words.
        personal: &["actor.address", "reason", "after.query", "after.filters"],
    },
    LeafRule { code: 5, collection: "ledger_transactions", id_prefix: "txn", personal: &["actor.address", "reason"] },
];

/// Paths of fields, as a tree of names.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    personal: Personal,
    fields: Vec<(String, Paths)>,
    entries: Option<Box<Paths>>,
}

/// Whether a field is personal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Personal {
    #[default]
    No,
    /// With all that is in it.
    Whole,
    /// Each value inside is.
    EveryValue,
}

impl Paths {
    /// From paths as in [`LeafRule::personal`].
    #[must_use]
    pub fn new(paths: &[&str]) -> Self {
        let mut root = Self::default();
        for path in paths {
            let (path, personal) = match path.strip_suffix(".**") {
                Some(path) => (path, Personal::EveryValue),
                None => (*path, Personal::Whole),
            };
            let mut node = &mut root;
            for segment in path.split('.') {
                let name = segment.trim_end_matches("[]");
                node = node.field_or_new(name);
                for _ in 0..(segment.len() - name.len()) / 2 {
                    node = node.entries.get_or_insert_default();
                }
            }
            node.personal = personal;
        }
        root
    }

    fn field_or_new(&mut self, name: &str) -> &mut Self {
        let position = self.fields.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.fields.push((name.to_owned(), Self::default()));
            self.fields.len() - 1
        });
        &mut self.fields[position].1
    }

    pub(super) const fn personal(&self) -> Personal {
        self.personal
    }

    /// The paths below the field of this name.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        if self.personal == Personal::EveryValue {
            return Some(self);
        }
        self.fields.iter().find(|(known, _)| known == name).map(|(_, below)| below)
    }

    /// The paths below each entry of the array here.
    pub(super) fn entry(&self) -> Option<&Self> {
        if self.personal == Personal::EveryValue { Some(self) } else { self.entries.as_deref() }
    }
}
