//! Commands to the database that take long are logged: name, collection, time, and the shape of the filter, which is the names of its
//! fields and never a value.
//!
//! Lanes, which have the way of an order, time their few statements and their commits themselves. Commands to the queue, of the sealer and of the relay are
//! not timed: they share the lanes' client. Everything else is seen by the driver's events, for which it reads every command and every answer once
//! more; of the sealer alone that was a fifth of a worker's time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Bson, Document};
use mongodb::event::{EventHandler, command::CommandEvent};
use parking_lot::Mutex;

/// Logged lines in a second; the rest is counted only.
const LINES_MAX: u32 = 10;
/// Longest shape of a command in the log; the rest is cut.
const SHAPE_CHARS_MAX: usize = 400;
/// Deepest nesting in a shape.
const DEPTH_MAX: usize = 4;
/// Commands under way that are remembered, by name and shape: what they hold may be megabytes. More than a pool has connections. Of one
/// that was given up nobody hears again: the oldest makes room.
const UNDER_WAY_MAX: usize = 256;

/// Microseconds; 0 for never.
static OVER_US: AtomicU64 = AtomicU64::new(0);

/// From now on what takes longer is logged; nothing where that is zero.
pub fn log_slower_than(time: Duration) {
    OVER_US.store(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Whether anything is logged.
#[must_use]
pub fn is_on() -> bool {
    OVER_US.load(Ordering::Relaxed) > 0
}

fn is_slow(time: Duration) -> bool {
    let over_us = OVER_US.load(Ordering::Relaxed);
    over_us > 0 && time.as_micros() >= u128::from(over_us)
}

/// A command that is timed by whoever sends it.
#[derive(Debug)]
pub struct CommandTimer(Option<Instant>);

impl CommandTimer {
    /// It is sent now.
    #[must_use]
    pub fn begin() -> Self {
        Self(is_on().then(Instant::now))
    }

    /// It was answered; `shape` says by which fields it was looked for.
    pub fn end(self, command: &'static str, collection: &str, shape: impl FnOnce() -> String) {
        if let Some(took) = self.0.map(|began| began.elapsed()).filter(|took| is_slow(*took)) {
            log(command, collection, took, &shape());
        }
    }
}

/// Names of commands are a closed set in metrics.
#[must_use]
pub fn command_name(name: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "aggregate",
        "count",
        "create",
        "createIndexes",
        "delete",
        "distinct",
        "dropIndexes",
        "find",
        "findAndModify",
        "getMore",
        "insert",
        "listCollections",
        "listIndexes",
        "ping",
        "update",
        "commitTransaction",
        "abortTransaction",
    ];
    KNOWN.iter().find(|known| **known == name).copied().unwrap_or("other")
}

fn log(command: &'static str, collection: &str, took: Duration, shape: &str) {
    static LINES: Mutex<Option<(Instant, u32)>> = Mutex::new(None);
    metrics::counter!("waybill_mongodb_slow_commands_total", "command" => command).increment(1);
    {
        let mut lines = LINES.lock();
        let (since, count) =
            lines.filter(|(since, _)| since.elapsed() < Duration::from_secs(1)).unwrap_or((Instant::now(), 0));
        *lines = Some((since, count + 1));
        if count >= LINES_MAX {
            return;
        }
    }
    let duration_ms = took.as_millis() as u64;
    tracing::warn!(db.command = command, db.collection = collection, db.filter = shape, duration_ms, "slow command");
}

/// Commands that were sent and not answered yet.
#[derive(Default)]
struct UnderWay(Mutex<BTreeMap<i32, SentCommand>>);

/// A command that is under way.
struct SentCommand {
    collection: String,
    shape: String,
}

impl UnderWay {
    fn begin(&self, request_id: i32, command: &Document) {
        let sent = SentCommand { collection: collection(command).to_owned(), shape: shape_of(command) };
        let mut under_way = self.0.lock();
        if under_way.len() >= UNDER_WAY_MAX {
            under_way.pop_first();
        }
        under_way.insert(request_id, sent);
    }

    fn end(&self, request_id: i32) -> Option<SentCommand> {
        self.0.lock().remove(&request_id)
    }
}

/// Watches the commands of a client.
pub(super) fn observe() -> EventHandler<CommandEvent> {
    let under_way = Arc::new(UnderWay::default());
    EventHandler::callback(move |event| {
        let (request_id, took, name) = match event {
            CommandEvent::Started(started) => return under_way.begin(started.request_id, &started.command),
            CommandEvent::Succeeded(ended) => (ended.request_id, ended.duration, ended.command_name),
            CommandEvent::Failed(ended) => (ended.request_id, ended.duration, ended.command_name),
            _ => return,
        };
        let sent = under_way.end(request_id);
        if let Some(SentCommand { collection, shape }) = sent.filter(|_| is_slow(took)) {
            log(command_name(&name), &collection, took, &shape);
        }
    })
}

fn collection(command: &Document) -> &str {
    let named = command.get_str("collection").ok();
    named.or_else(|| command.iter().next().and_then(|(_, value)| value.as_str())).unwrap_or_default()
}

/// By which fields a command looks for documents.
fn shape_of(command: &Document) -> String {
    let first = |list: &str, field: &str| command.get_array(list).ok()?.first()?.as_document()?.get(field).cloned();
    let by = ["filter", "query", "q"].iter().find_map(|field| command.get(*field).cloned());
    let by = by.or_else(|| first("updates", "q")).or_else(|| first("deletes", "q"));
    let by = by.or_else(|| command.get("pipeline").cloned());
    let mut shape = String::new();
    if let Some(by) = by {
        write_shape(&mut shape, &by, 0);
    }
    if let Some(sort) = command.get_document("sort").ok().filter(|sort| !sort.is_empty()) {
        shape.push_str(" sort ");
        write_shape(&mut shape, &Bson::Document(sort.clone()), 0);
    }
    if let Some((end, _)) = shape.char_indices().nth(SHAPE_CHARS_MAX) {
        shape.truncate(end);
        shape.push_str("...");
    }
    shape.shrink_to_fit();
    shape
}

fn write_shape(shape: &mut String, value: &Bson, depth: usize) {
    if shape.len() > SHAPE_CHARS_MAX || depth > DEPTH_MAX {
        return;
    }
    match value {
        Bson::Document(document) => {
            shape.push('{');
            for (n, (name, value)) in document.iter().enumerate() {
                if shape.len() > SHAPE_CHARS_MAX {
                    break;
                }
                if n > 0 {
                    shape.push_str(", ");
                }
                shape.push_str(name);
                if matches!(value, Bson::Document(_) | Bson::Array(_)) {
                    shape.push_str(": ");
                    write_shape(shape, value, depth + 1);
                }
            }
            shape.push('}');
        }
        // Of values there is only their number.
        Bson::Array(values) if values.iter().any(|value| matches!(value, Bson::Document(_))) => {
            shape.push('[');
            for (n, value) in values.iter().filter(|value| matches!(value, Bson::Document(_))).enumerate() {
                if n > 0 {
                    shape.push_str(", ");
                }
                write_shape(shape, value, depth + 1);
            }
            shape.push(']');
        }
        Bson::Array(values) => {
            shape.push_str(&format!("[{}]", values.len()));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_shape_has_the_names_of_fields_and_no_value() {
        for (command, expected) in [
            (
                doc! { "find": "orders", "filter": { "userId": "usr_secret", "at": { "$gt": 5 } }, "sort": { "_id": -1 } },
                "{userId, at: {$gt}} sort {_id}",
            ),
            (
                doc! { "update": "jobs", "updates": [{ "q": { "_id": { "$in": ["a", "b"] } }, "u": { "$set": { "x": 1 } } }] },
                "{_id: {$in: [2]}}",
            ),
            (
                doc! { "aggregate": "holds", "pipeline": [{ "$match": { "$or": [{ "a": "x" }, { "b": 1 }] } }, { "$count": "n" }] },
                "[{$match: {$or: [{a}, {b}]}}, {$count}]",
            ),
            (doc! { "getMore": 1_i64, "collection": "orders" }, ""),
            (doc! { "insert": "orders", "documents": [{ "name": "Asha" }] }, ""),
        ] {
            assert_eq!(shape_of(&command), expected);
        }
        assert_eq!(collection(&doc! { "getMore": 1_i64, "collection": "orders" }), "orders");
        assert_eq!(collection(&doc! { "find": "jobs" }), "jobs");
        let long = doc! { "find": "x", "filter": { "a".repeat(10_000): 1, "b": 2 } };
        assert!(shape_of(&long).chars().count() <= SHAPE_CHARS_MAX + 3);
    }

    #[test]
    fn what_is_remembered_of_commands_is_little_however_large_they_are() {
        let under_way = UnderWay::default();
        let ids: Vec<_> = (0..20_000).map(|n| format!("ord_{n}")).collect();
        let large = doc! { "find": "orders", "filter": { "_id": { "$in": ids } } };
        let many: Document = (0..20_000).map(|n| (format!("field{n}"), Bson::from(n))).collect();
        let many = doc! { "find": "orders", "filter": many };
        for request_id in 0..1_000 {
            under_way.begin(request_id, if request_id % 2 == 0 { &large } else { &many });
        }
        let kept: usize =
            under_way.0.lock().values().map(|sent| sent.shape.capacity() + sent.collection.capacity()).sum();
        assert!(kept < 1 << 20, "{kept} bytes");
        assert!(under_way.end(0).is_none(), "the oldest made room");
        let sent = under_way.end(998).expect("it is under way");
        assert_eq!((sent.collection.as_str(), sent.shape.as_str()), ("orders", "{_id: {$in: [20000]}}"));
    }
}
