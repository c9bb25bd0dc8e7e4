//! Whether the indexes that are there are those that are declared: by their definition, not by their name only.

use std::collections::HashMap;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{
    Database,
    error::{ErrorKind, Result},
};

use super::Index;

const NAMESPACE_NOT_FOUND: i32 = 26;

/// How the indexes of a database differ from the declared ones; each as `collection.name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexDifferences {
    /// Declared, and not there.
    pub missing: Vec<String>,
    /// There under this name, and defined otherwise, with what is different.
    pub different: Vec<(String, String)>,
    /// There, and not declared.
    pub unknown: Vec<String>,
}

/// Compares.
///
/// # Errors
/// Errors of the database driver.
pub async fn compare_indexes(db: &Database, collections: &[&str], indexes: &[Index]) -> Result<IndexDifferences> {
    let mut found = IndexDifferences::default();
    for collection in collections {
        let mut there = stored(db, collection).await?;
        for index in indexes.iter().filter(|index| index.collection == *collection) {
            let name = format!("{collection}.{}", index.name);
            match there.remove(index.name) {
                None => found.missing.push(name),
                Some(stored) => found.different.extend(difference(index, &stored).map(|what| (name, what))),
            }
        }
        there.remove("_id_");
        let mut unknown: Vec<String> = there.into_keys().map(|name| format!("{collection}.{name}")).collect();
        unknown.sort_unstable();
        found.unknown.extend(unknown);
    }
    Ok(found)
}

/// Definitions as the server has them, by name.
async fn stored(db: &Database, collection: &str) -> Result<HashMap<String, Document>> {
    let listed = db.run_cursor_command(doc! { "listIndexes": collection }).await;
    let listed: Vec<Document> = match listed {
        Ok(cursor) => cursor.try_collect().await?,
        Err(error) if matches!(error.kind.as_ref(), ErrorKind::Command(c) if c.code == NAMESPACE_NOT_FOUND) => {
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let name = |index: &Document| index.get_str("name").map(str::to_owned).ok();
    Ok(listed.into_iter().filter_map(|index| Some((name(&index)?, index))).collect())
}

/// In which part, in words; none where both are the same.
fn difference(declared: &Index, stored: &Document) -> Option<String> {
    let empty = Document::new();
    let keys = stored.get_document("key").unwrap_or(&empty);
    if !same_document(keys, &declared.keys) {
        return Some(format!("its keys are {keys} instead of {}", declared.keys));
    }
    let is_unique = stored.get_bool("unique").unwrap_or(false);
    if is_unique != declared.unique {
        return Some(if is_unique { "it is unique and should not be" } else { "it is not unique" }.to_owned());
    }
    let partial = stored.get_document("partialFilterExpression").ok();
    let is_same_part = match (partial, &declared.partial) {
        (Some(stored), Some(declared)) => same_document(stored, declared),
        (None, None) => true,
        _ => false,
    };
    if !is_same_part {
        return Some("it holds another part of the documents".to_owned());
    }
    let expires = stored.get("expireAfterSeconds").and_then(number);
    if expires != declared.expires_after.map(|after| after.as_secs_f64()) {
        return Some("documents expire at another time".to_owned());
    }
    None
}

/// Order counts in both: of keys it says what the index is good for, and the server keeps a filter as it was written.
fn same_document(one: &Document, other: &Document) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|((a, x), (b, y))| a == b && same(x, y))
}

/// Servers and shells store the same number in different types.
fn same(one: &Bson, other: &Bson) -> bool {
    match (one, other) {
        (Bson::Document(one), Bson::Document(other)) => same_document(one, other),
        (Bson::Array(one), Bson::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(x, y)| same(x, y))
        }
        _ => one == other || number(one).is_some_and(|one| number(other) == Some(one)),
    }
}

/// A number of any type.
#[must_use]
pub fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(n) => Some(f64::from(*n)),
        Bson::Int64(n) => Some(*n as f64),
        Bson::Double(n) => Some(*n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_index_is_compared_by_all_that_defines_it() {
        let plain = Index::new("c", "i", doc! { "a": 1, "b": -1 });
        let stored = doc! { "v": 2, "key": { "a": 1.0, "b": -1_i64 }, "name": "i" };
        assert_eq!(difference(&plain, &stored), None, "types of numbers don't count");
        for (key, told) in [
            (doc! { "b": -1, "a": 1 }, "its keys"),
            (doc! { "a": 1 }, "its keys"),
            (doc! { "a": 1, "b": 1 }, "its keys"),
        ] {
            let other = doc! { "key": key, "name": "i" };
            assert!(difference(&plain, &other).is_some_and(|what| what.starts_with(told)), "{other}");
        }
        let mut unique = stored.clone();
        unique.insert("unique", true);
        assert_eq!(difference(&plain, &unique).as_deref(), Some("it is unique and should not be"));
        assert_eq!(difference(&plain.clone().unique(), &stored).as_deref(), Some("it is not unique"));
        let partial = plain.clone().partial(doc! { "a": { "$exists": true } });
        assert!(difference(&partial, &stored).is_some());
        let mut part = stored.clone();
        part.insert("partialFilterExpression", doc! { "a": { "$exists": true } });
        assert_eq!(difference(&partial, &part), None);
        assert!(difference(&plain, &part).is_some());
        let expiring = plain.expires_after(Duration::from_secs(60));
        let mut expires = stored.clone();
        expires.insert("expireAfterSeconds", 60_i64);
        assert_eq!(difference(&expiring, &expires), None);
        expires.insert("expireAfterSeconds", 61);
        assert!(difference(&expiring, &expires).is_some());
    }
}
