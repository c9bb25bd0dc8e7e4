//! The documents that a batch has read and will write.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bson::{DateTime, RawDocumentBuf, raw::cstr};
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
    const COLLECTION: &'static str;

    /// Whether a new one keeps the context of the trace in which it was made, as `trace`: somebody goes on with it there.
    const KEEPS_TRACE: bool = false;

    /// Its `_id`.
    fn id(&self) -> &str;

    /// Keys other than `_id` by which commands look for it.
    fn unique_keys(&self) -> Vec<Key> {
        Vec::new()
    }
}

pub(super) struct ViewEntry {
    pub(super) collection: &'static str,
    pub(super) id: String,
    /// As read; `None` where this batch inserts it.
    pub(super) before: Option<RawDocumentBuf>,
    pub(super) now: RawDocumentBuf,
}

/// A document that nobody in the batch reads.
pub(super) struct Appended {
    pub(super) collection: &'static str,
    pub(super) document: RawDocumentBuf,
    /// The context of the trace in which it was made.
    pub(super) trace: Option<Arc<str>>,
}

enum Undo {
    Put {
        slot: usize,
        was: RawDocumentBuf,
        shadowed: Vec<(Key, Option<Option<usize>>)>,
    },
    /// The documents that its keys led to before; none where they were not read.
    Insert {
        shadowed: Vec<(Key, Option<Option<usize>>)>,
    },
    Append,
    Remove,
}

/// Documents as this batch sees them: read in one snapshot, with the changes of the commands before.
pub struct View {
    now: DateTime,
    collided: bool,
    /// Of the command that decides.
    trace: Option<Arc<str>>,
    pub(super) entries: Vec<ViewEntry>,
    index: HashMap<Key, Option<usize>>,
    pub(super) appended: Vec<Appended>,
    pub(super) removed: Vec<(&'static str, String)>,
    undo: Vec<Undo>,
    /// Keys that a decision looked for and nobody has read.
    unread: RefCell<BTreeSet<Key>>,
}

impl View {
    /// An empty view at `now`; public so that decisions can be tested without a database.
    #[must_use]
    pub fn new(now: DateTime) -> Self {
        Self {
            now,
            collided: false,
            trace: None,
            entries: Vec::new(),
            index: HashMap::new(),
            appended: Vec::new(),
            removed: Vec::new(),
            undo: Vec::new(),
            unread: RefCell::default(),
        }
    }

    /// The same, after a unique index has refused what the commands decided without looking.
    #[must_use]
    pub fn after_collision(now: DateTime) -> Self {
        Self { collided: true, ..Self::new(now) }
    }

    /// Whether a unique index has refused an earlier try of the batch. What is almost never there need not be looked for before:
    /// it is the index that finds it, and costs nobody else a read.
    #[must_use]
    pub const fn collided(&self) -> bool {
        self.collided
    }

    #[must_use]
    pub const fn now(&self) -> DateTime {
        self.now
    }

    /// From now on a command of this trace decides.
    pub(super) fn in_trace(&mut self, trace: Option<Arc<str>>) {
        self.trace = trace;
    }

    /// Where the document under the key is. One that was not read seems to be absent, and the lane lets the command decide
    /// again once it is read.
    fn slot(&self, key: &Key) -> Option<usize> {
        match self.index.get(key) {
            Some(slot) => *slot,
            None => {
                self.unread.borrow_mut().insert(key.clone());
                None
            }
        }
    }

    /// Finds an entity.
    ///
    /// # Panics
    /// When the stored document is not of this shape. The panic ends this command alone.
    #[must_use]
    pub fn find<E: Entity>(&self, key: &Key) -> Option<E> {
        debug_assert_eq!(key.collection, E::COLLECTION, "the key is of another collection");
        self.slot(key).map(|slot| {
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
    #[must_use]
    pub fn is_null(&self, key: &Key, field: &str) -> bool {
        let value = self.slot(key).and_then(|slot| self.entries[slot].now.get(field).ok().flatten());
        value.is_none_or(|value| value.element_type() == bson::spec::ElementType::Null)
    }

    /// The text in `field` of what is under the key, without reading the rest of it; none where there is no such thing.
    #[must_use]
    pub fn text(&self, key: &Key, field: &str) -> Option<&str> {
        self.slot(key)
            .and_then(|slot| self.entries[slot].now.get(field).ok().flatten())
            .and_then(|value| value.as_str())
    }

    /// Whether something is under the key, whatever it is.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.slot(key).is_some()
    }

    /// Keys that were looked for since the last call and were not read.
    pub(super) fn take_unread(&mut self) -> BTreeSet<Key> {
        self.unread.take()
    }

    /// Whether there is anything to write.
    pub(super) fn has_changes(&self) -> bool {
        !self.undo.is_empty()
    }

    /// Documents that were there and are going to be changed, as `collection/_id`.
    pub(super) fn changes(&self) -> impl Iterator<Item = String> {
        let changed =
            |entry: &&ViewEntry| entry.before.as_ref().is_some_and(|before| before.as_bytes() != entry.now.as_bytes());
        self.entries.iter().filter(changed).map(|entry| format!("{}/{}", entry.collection, entry.id))
    }

    /// Inserts an entity, which later commands of the batch will find.
    ///
    /// # Panics
    /// When it can't be written as BSON.
    pub fn insert<E: Entity>(&mut self, entity: &E) {
        let slot = self.entries.len();
        let mut now = encode(entity);
        if let Some(trace) = self.trace.as_deref().filter(|_| E::KEEPS_TRACE)
            && now.get("trace").is_ok_and(|there| there.is_none())
        {
            now.append(cstr!("trace"), trace);
        }
        self.entries.push(ViewEntry { collection: E::COLLECTION, id: entity.id().to_owned(), before: None, now });
        let mut keys = entity.unique_keys();
        keys.push(Key::id(E::COLLECTION, entity.id()));
        let shadowed = self.point(keys, slot);
        self.undo.push(Undo::Insert { shadowed });
    }

    /// Changes an entity that was read or inserted. Only the top-level fields that differ are written.
    ///
    /// # Panics
    /// When it was neither read nor inserted.
    pub fn update<E: Entity>(&mut self, entity: &E) {
        let key = Key::id(E::COLLECTION, entity.id());
        let slot = self.index.get(&key).copied().flatten().unwrap_or_else(|| panic!("{key:?} was not read"));
        let was = std::mem::replace(&mut self.entries[slot].now, encode(entity));
        // Whoever looks for keys that were changed does so after a collision.
        let keys = if self.collided { entity.unique_keys() } else { Vec::new() };
        let shadowed = self.point(keys, slot);
        self.undo.push(Undo::Put { slot, was, shadowed });
    }

    /// Lets the keys lead to `slot`; gives what they led to.
    fn point(&mut self, keys: Vec<Key>, slot: usize) -> Vec<(Key, Option<Option<usize>>)> {
        keys.into_iter().map(|key| (key.clone(), self.index.insert(key, Some(slot)))).collect()
    }

    fn point_back(&mut self, shadowed: Vec<(Key, Option<Option<usize>>)>) {
        for (key, before) in shadowed {
            match before {
                Some(slot) => self.index.insert(key, slot),
                None => self.index.remove(&key),
            };
        }
    }

    /// Appends a document that nobody in the batch reads: an event, a log record.
    ///
    /// # Panics
    /// When it can't be written as BSON.
    pub fn append<T: Serialize>(&mut self, collection: &'static str, document: &T) {
        self.appended.push(Appended { collection, document: encode(document), trace: self.trace.clone() });
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
        self.entries.push(ViewEntry { collection, id, before: Some(raw.clone()), now: raw });
        self.index.insert(key, Some(slot));
        slot
    }

    pub(super) fn put_key(&mut self, key: Key, slot: usize) {
        self.index.insert(key, Some(slot));
    }

    /// Documents that this view would append to `collection`; for tests of decisions.
    pub fn appended_to<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = &'a RawDocumentBuf> {
        self.appended
            .iter()
            .filter(move |appended| appended.collection == collection)
            .map(|appended| &appended.document)
    }

    /// Ids that this view would remove from `collection`.
    pub fn removed_from<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = &'a str> {
        self.removed.iter().filter(move |(name, _)| *name == collection).map(|(_, id)| id.as_str())
    }

    /// The place to which [`View::undo_to`] can go back.
    pub(super) const fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Takes back what was done since the mark.
    pub(super) fn undo_to(&mut self, mark: usize) {
        for step in self.undo.split_off(mark).into_iter().rev() {
            match step {
                Undo::Put { slot, was, shadowed } => {
                    self.entries[slot].now = was;
                    self.point_back(shadowed);
                }
                Undo::Append => {
                    self.appended.pop();
                }
                Undo::Remove => {
                    self.removed.pop();
                }
                Undo::Insert { shadowed } => {
                    self.entries.pop();
                    self.point_back(shadowed);
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
    fn what_is_undone_leaves_no_trace() {
        let mut view = View::new(DateTime::from_millis(0));
        view.put_read(&thing("a", 1));
        view.put_absent(by_name("b"));
        let mark = view.mark();
        view.update(&thing("a", 2));
        view.insert(&thing("b", 1));
        view.append("events", &thing("e", 1));
        view.remove("contents", "c");
        view.undo_to(mark);
        assert_eq!(view.by_id::<Thing>("a"), Some(thing("a", 1)));
        assert_eq!(view.find::<Thing>(&by_name("b")), None);
        assert_eq!(view.appended_to("events").count(), 0);
        assert_eq!(view.removed_from("contents").count(), 0);
        assert_eq!(view.entries.len(), 1);
    }

    #[test]
    fn after_a_collision_a_changed_key_is_found_and_undone() {
        for (mut view, is_found) in
            [(View::new(DateTime::from_millis(0)), false), (View::after_collision(DateTime::from_millis(0)), true)]
        {
            view.put_read(&thing("a", 1));
            view.put_absent(by_name("b"));
            view.update(&Thing { name: "name of b".into(), ..thing("a", 1) });
            assert_eq!(view.find::<Thing>(&by_name("b")).is_some(), is_found);
            view.undo_to(0);
            assert_eq!(view.find::<Thing>(&by_name("b")), None);
            assert_eq!(view.find::<Thing>(&by_name("a")), Some(thing("a", 1)));
        }
    }

    #[test]
    fn what_was_not_read_seems_absent_and_is_asked_for() {
        let mut view = View::new(DateTime::from_millis(0));
        view.put_absent(by_name("a"));
        assert_eq!(view.find::<Thing>(&by_name("a")), None);
        assert!(view.take_unread().is_empty());
        assert!(view.by_id::<Thing>("b").is_none() && !view.contains(&by_name("c")));
        let wanted = [Key::id("things", "b"), by_name("c")];
        assert_eq!(view.take_unread().into_iter().collect::<Vec<_>>(), wanted);
        assert!(view.take_unread().is_empty(), "once");
    }

    #[test]
    fn an_insert_that_is_undone_leaves_its_keys_as_they_were() {
        let mut view = View::new(DateTime::from_millis(0));
        view.put_absent(by_name("a"));
        view.insert(&thing("a", 1));
        view.undo_to(0);
        assert_eq!(view.find::<Thing>(&by_name("a")), None);
        assert!(view.take_unread().is_empty(), "it is known to be absent");
        assert!(!view.index.contains_key(&Key::id("things", "a")), "this was never looked for");
    }
}
