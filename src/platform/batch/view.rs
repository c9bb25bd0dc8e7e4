//! What a batch has read and what it is going to write.

use std::collections::HashMap;

use bson::{DateTime, RawDocumentBuf};
use serde::{Serialize, de::DeserializeOwned};

/// Names one document: a collection, the fields of a unique index (or `_id`), and their values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub(super) collection: &'static str,
    pub(super) fields: &'static [&'static str],
    pub(super) values: Vec<String>,
}

impl Key {
    /// By `_id`.
    pub fn id(collection: &'static str, id: impl Into<String>) -> Self {
        Self { collection, fields: &["_id"], values: vec![id.into()] }
    }

    /// By the fields of a unique index; all of them are strings.
    #[must_use]
    pub fn unique(collection: &'static str, fields: &'static [&'static str], values: Vec<String>) -> Self {
        debug_assert_eq!(fields.len(), values.len(), "a value for every field of {collection}");
        Self { collection, fields, values }
    }
}

/// A document that commands read and change.
pub trait Entity: Serialize + DeserializeOwned {
    /// Where it lives.
    const COLLECTION: &'static str;

    /// Its `_id`.
    fn id(&self) -> &str;

    /// Keys other than `_id` by which commands look for it.
    fn unique_keys(&self) -> Vec<Key> {
        Vec::new()
    }
}

pub(super) struct Entry {
    pub(super) collection: &'static str,
    pub(super) id: String,
    /// As read; `None` where this batch inserts it.
    pub(super) before: Option<RawDocumentBuf>,
    pub(super) now: RawDocumentBuf,
}

enum Undo {
    Put { slot: usize, was: RawDocumentBuf },
    Insert { key_count: usize },
    Append,
    Remove,
}

/// Documents as this batch sees them: read in one snapshot, with the changes of the commands before.
pub struct View {
    now: DateTime,
    pub(super) entries: Vec<Entry>,
    index: HashMap<Key, Option<usize>>,
    /// Keys in the order in which inserted entities brought them.
    inserted_keys: Vec<Key>,
    pub(super) appended: Vec<(&'static str, RawDocumentBuf)>,
    pub(super) removed: Vec<(&'static str, String)>,
    undo: Vec<Undo>,
}

impl View {
    /// An empty view at `now`; public so that decisions can be tested without a database.
    #[must_use]
    pub fn new(now: DateTime) -> Self {
        Self {
            now,
            entries: Vec::new(),
            index: HashMap::new(),
            inserted_keys: Vec::new(),
            appended: Vec::new(),
            removed: Vec::new(),
            undo: Vec::new(),
        }
    }

    /// The time of the decision.
    #[must_use]
    pub const fn now(&self) -> DateTime {
        self.now
    }

    /// Finds an entity by a key that `reads` named.
    ///
    /// # Panics
    /// When the key was not read, or when the stored document is not of this shape: both would lead to a decision
    /// over something that is not there. The panic ends this command alone.
    #[must_use]
    pub fn find<E: Entity>(&self, key: &Key) -> Option<E> {
        debug_assert_eq!(key.collection, E::COLLECTION, "the key is of another collection");
        let slot = self.index.get(key).unwrap_or_else(|| panic!("{key:?} was not named in reads"));
        slot.map(|slot| {
            let entry = &self.entries[slot];
            bson::deserialize_from_slice(entry.now.as_bytes()).unwrap_or_else(|error| {
                panic!("{}/{} is not of the expected shape: {error}", entry.collection, entry.id)
            })
        })
    }

    /// Finds an entity by `_id`.
    ///
    /// # Panics
    /// As [`View::find`].
    #[must_use]
    pub fn by_id<E: Entity>(&self, id: &str) -> Option<E> {
        self.find(&Key::id(E::COLLECTION, id))
    }

    /// Whether what is under the key is not there, or has null in `field`; without reading the rest of it.
    ///
    /// # Panics
    /// When the key was not read.
    #[must_use]
    pub fn is_null(&self, key: &Key, field: &str) -> bool {
        let slot = self.index.get(key).unwrap_or_else(|| panic!("{key:?} was not named in reads"));
        let value = slot.and_then(|slot| self.entries[slot].now.get(field).ok().flatten());
        value.is_none_or(|value| value.element_type() == bson::spec::ElementType::Null)
    }

    /// The text in `field` of what is under the key, without reading the rest of it; none where there is no such thing.
    ///
    /// # Panics
    /// When the key was not read.
    #[must_use]
    pub fn text(&self, key: &Key, field: &str) -> Option<&str> {
        let slot = self.index.get(key).unwrap_or_else(|| panic!("{key:?} was not named in reads"));
        slot.and_then(|slot| self.entries[slot].now.get(field).ok().flatten()).and_then(|value| value.as_str())
    }

    /// Whether something is under the key, whatever it is.
    ///
    /// # Panics
    /// When the key was not read.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.index.get(key).unwrap_or_else(|| panic!("{key:?} was not named in reads")).is_some()
    }

    /// Whether the key was read already.
    #[must_use]
    pub fn has_read(&self, key: &Key) -> bool {
        self.index.contains_key(key)
    }

    /// Inserts an entity, which later commands of the batch will find.
    ///
    /// # Panics
    /// When it can't be written as BSON.
    pub fn insert<E: Entity>(&mut self, entity: &E) {
        let slot = self.entries.len();
        self.entries.push(Entry {
            collection: E::COLLECTION,
            id: entity.id().to_owned(),
            before: None,
            now: encode(entity),
        });
        let mut keys = entity.unique_keys();
        keys.push(Key::id(E::COLLECTION, entity.id()));
        self.undo.push(Undo::Insert { key_count: keys.len() });
        for key in keys {
            self.index.insert(key.clone(), Some(slot));
            self.inserted_keys.push(key);
        }
    }

    /// Changes an entity that was read or inserted. Only the top-level fields that differ are written.
    ///
    /// # Panics
    /// When it was neither read nor inserted.
    pub fn update<E: Entity>(&mut self, entity: &E) {
        let key = Key::id(E::COLLECTION, entity.id());
        let slot = self.index.get(&key).copied().flatten().unwrap_or_else(|| panic!("{key:?} was not read"));
        let was = std::mem::replace(&mut self.entries[slot].now, encode(entity));
        self.undo.push(Undo::Put { slot, was });
    }

    /// Appends a document that nobody in the batch reads: an event, a log record.
    ///
    /// # Panics
    /// When it can't be written as BSON.
    pub fn append<T: Serialize>(&mut self, collection: &'static str, document: &T) {
        self.appended.push((collection, encode(document)));
        self.undo.push(Undo::Append);
    }

    /// Removes a document that is there. Commands of the batch still find it: let nobody read it (the content of something
    /// whose record, which is read, names it), or ask [`View::removed_from`].
    pub fn remove(&mut self, collection: &'static str, id: &str) {
        self.removed.push((collection, id.to_owned()));
        self.undo.push(Undo::Remove);
    }

    /// Puts what was read under its keys; for the loader, and for tests of decisions.
    pub fn put_read<E: Entity>(&mut self, entity: &E) {
        let raw = encode(entity);
        let slot = self.put_raw(E::COLLECTION, entity.id().to_owned(), raw);
        for key in entity.unique_keys() {
            self.index.insert(key, Some(slot));
        }
    }

    /// Notes that nothing is there under `key`.
    pub fn put_absent(&mut self, key: Key) {
        self.index.entry(key).or_insert(None);
    }

    pub(super) fn put_raw(&mut self, collection: &'static str, id: String, raw: RawDocumentBuf) -> usize {
        let key = Key::id(collection, id.clone());
        if let Some(Some(slot)) = self.index.get(&key) {
            return *slot;
        }
        let slot = self.entries.len();
        self.entries.push(Entry { collection, id, before: Some(raw.clone()), now: raw });
        self.index.insert(key, Some(slot));
        slot
    }

    pub(super) fn put_key(&mut self, key: Key, slot: usize) {
        self.index.insert(key, Some(slot));
    }

    /// Documents that this view would append to `collection`; for tests of decisions.
    pub fn appended_to<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = &'a RawDocumentBuf> {
        self.appended.iter().filter(move |(name, _)| *name == collection).map(|(_, raw)| raw)
    }

    /// Ids that this view would remove from `collection`.
    pub fn removed_from<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = &'a str> {
        self.removed.iter().filter(move |(name, _)| *name == collection).map(|(_, id)| id.as_str())
    }

    /// From here on, [`View::undo`] takes back.
    pub(super) fn begin(&mut self) {
        self.undo.clear();
    }

    /// Takes back what the command that panicked did.
    pub(super) fn undo(&mut self) {
        while let Some(step) = self.undo.pop() {
            match step {
                Undo::Put { slot, was } => self.entries[slot].now = was,
                Undo::Append => {
                    self.appended.pop();
                }
                Undo::Remove => {
                    self.removed.pop();
                }
                Undo::Insert { key_count } => {
                    self.entries.pop();
                    for _ in 0..key_count {
                        if let Some(key) = self.inserted_keys.pop() {
                            self.index.insert(key, None);
                        }
                    }
                }
            }
        }
    }
}

fn encode<T: Serialize>(value: &T) -> RawDocumentBuf {
    bson::serialize_to_raw_document_buf(value).unwrap_or_else(|error| panic!("can't be written as BSON: {error}"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        #[serde(rename = "_id")]
        id: String,
        name: String,
        count: i64,
    }

    impl Entity for Thing {
        const COLLECTION: &'static str = "things";

        fn id(&self) -> &str {
            &self.id
        }

        fn unique_keys(&self) -> Vec<Key> {
            vec![Key::unique("things", &["name"], vec![self.name.clone()])]
        }
    }

    fn thing(id: &str, count: i64) -> Thing {
        Thing { id: id.into(), name: format!("name of {id}"), count }
    }

    fn by_name(id: &str) -> Key {
        Key::unique("things", &["name"], vec![format!("name of {id}")])
    }

    #[test]
    fn the_second_command_sees_what_the_first_did() {
        let mut view = View::new(DateTime::from_millis(0));
        view.put_absent(by_name("a"));
        assert_eq!(view.find::<Thing>(&by_name("a")), None);
        view.insert(&thing("a", 1));
        assert_eq!(view.find::<Thing>(&by_name("a")), Some(thing("a", 1)));
        view.update(&thing("a", 2));
        assert_eq!(view.by_id::<Thing>("a"), Some(thing("a", 2)));
    }

    #[test]
    fn a_panicking_command_leaves_no_trace() {
        let mut view = View::new(DateTime::from_millis(0));
        view.put_read(&thing("a", 1));
        view.put_absent(by_name("b"));
        view.begin();
        view.update(&thing("a", 2));
        view.insert(&thing("b", 1));
        view.append("events", &thing("e", 1));
        view.remove("contents", "c");
        view.undo();
        assert_eq!(view.by_id::<Thing>("a"), Some(thing("a", 1)));
        assert_eq!(view.find::<Thing>(&by_name("b")), None);
        assert_eq!(view.appended_to("events").count(), 0);
        assert_eq!(view.removed_from("contents").count(), 0);
        assert_eq!(view.entries.len(), 1);
    }

    #[test]
    #[should_panic(expected = "was not named in reads")]
    fn deciding_over_what_was_not_read_is_a_bug() {
        let _ = View::new(DateTime::from_millis(0)).by_id::<Thing>("a");
    }
}
