//! Reading and writing a view with as few statements as there are collections.

use std::collections::BTreeMap;

use bson::{Bson, Document, RawArrayBuf, RawDocument, RawDocumentBuf, doc, raw::cstr};
use mongodb::{ClientSession, Database};

use super::{
    BATCHES, Journal,
    command::BatchError,
    journal::Written,
    view::{Appended, Key, View, ViewEntry},
};
use crate::platform::mongo::slow;

/// Reads the documents that `wanted` names, inside the transaction.
pub(super) async fn load(
    db: &Database,
    session: &mut ClientSession,
    view: &mut View,
    mut wanted: Vec<Key>,
) -> Result<(), BatchError> {
    wanted.sort_unstable();
    wanted.dedup();
    let mut groups: BTreeMap<(&'static str, &'static [&'static str]), Vec<Key>> = BTreeMap::new();
    for key in wanted {
        groups.entry((key.collection, key.fields)).or_default().push(key);
    }
    for ((collection, fields), keys) in groups {
        let timed = slow::CommandTimer::begin();
        let mut cursor = db
            .collection::<RawDocumentBuf>(collection)
            .find(filter(fields, &keys))
            .batch_size(512)
            .session(&mut *session)
            .await?;
        timed.end("find", collection, || fields.join(", "));
        while cursor.advance(session).await? {
            let raw = cursor.current();
            let Some(id) = text(raw, "_id") else { continue };
            let values: Option<Vec<String>> = fields.iter().map(|field| text(raw, field).map(str::to_owned)).collect();
            let slot = view.put_raw(collection, id.to_owned(), raw.to_owned());
            if let Some(values) = values {
                view.put_key(Key { collection, fields, values }, slot);
            }
        }
        keys.into_iter().for_each(|key| view.put_absent(key));
    }
    Ok(())
}

fn text<'a>(raw: &'a RawDocument, field: &str) -> Option<&'a str> {
    raw.get(field).ok().flatten().and_then(|value| value.as_str())
}

/// `{a: .., b: {$in: [..]}}` per group of equal leading values; `$or` of them where there are several.
fn filter(fields: &[&str], keys: &[Key]) -> Document {
    let Some((last, leading)) = fields.split_last() else { return doc! {} };
    let mut groups: BTreeMap<&[String], Vec<&str>> = BTreeMap::new();
    for key in keys {
        if let Some((value, prefix)) = key.values.split_last() {
            groups.entry(prefix).or_default().push(value);
        }
    }
    let mut clauses: Vec<Document> = groups
        .into_iter()
        .map(|(prefix, values)| {
            let mut clause: Document =
                leading.iter().zip(prefix).map(|(field, value)| ((*field).to_owned(), Bson::from(value))).collect();
            clause.insert(*last, doc! { "$in": values });
            clause
        })
        .collect();
    match clauses.len() {
        1 => clauses.remove(0),
        _ => doc! { "$or": clauses },
    }
}

type CollectionCounts = BTreeMap<&'static str, i64>;

/// Writes what changed: updates first, because that is where conflicts show, then inserts with the batch's marker and the
/// entries for those who follow, then removals.
pub(super) async fn flush(
    db: &Database,
    session: &mut ClientSession,
    view: View,
    journal: &Journal,
    marker: Option<Document>,
) -> Result<(), BatchError> {
    let mut updates: BTreeMap<&'static str, RawArrayBuf> = BTreeMap::new();
    let mut inserts: BTreeMap<&'static str, RawArrayBuf> = BTreeMap::new();
    let (mut updated, mut inserted): (CollectionCounts, CollectionCounts) = Default::default();
    let new = view.entries.iter().filter(|entry| entry.before.is_none());
    let new = new.map(|entry| Written { collection: entry.collection, document: &entry.now, trace: None });
    let new = new.chain(view.appended.iter().map(|appended| Written {
        collection: appended.collection,
        document: &appended.document,
        trace: appended.trace.as_deref(),
    }));
    let id = marker.as_ref().and_then(|marker| marker.get_str("_id").ok()).unwrap_or_default();
    let entries = journal.entries(id, view.now(), new);
    let marker = marker.map(|marker| RawDocumentBuf::try_from(&marker)).transpose();
    let marker = marker.map_err(|error| BatchError::Broken(error.to_string()))?;
    for (collection, document) in entries.into_iter().chain(marker.map(|marker| (BATCHES, marker))) {
        inserts.entry(collection).or_default().push(document);
        *inserted.entry(collection).or_default() += 1;
    }
    for entry in view.entries {
        match &entry.before {
            None => {
                inserts.entry(entry.collection).or_default().push(entry.now);
                *inserted.entry(entry.collection).or_default() += 1;
            }
            Some(before) => {
                if let Some(statement) = change(&entry, before)? {
                    updates.entry(entry.collection).or_default().push(statement);
                    *updated.entry(entry.collection).or_default() += 1;
                }
            }
        }
    }
    for Appended { collection, document, .. } in view.appended {
        inserts.entry(collection).or_default().push(document);
        *inserted.entry(collection).or_default() += 1;
    }
    let mut removed: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (collection, id) in view.removed {
        removed.entry(collection).or_default().push(id);
    }
    for (collection, statements) in updates {
        let mut command = RawDocumentBuf::new();
        command.append(cstr!("update"), collection);
        command.append(cstr!("updates"), statements);
        let expected = updated.get(collection).copied().unwrap_or_default();
        run(db, session, command, collection, expected).await?;
    }
    for (collection, documents) in inserts {
        let expected = inserted.get(collection).copied().unwrap_or_default();
        insert(db, session, collection, documents, expected).await?;
    }
    for (collection, ids) in removed {
        let expected = ids.len() as i64;
        let command = doc! { "delete": collection, "deletes": [{ "q": { "_id": { "$in": ids } }, "limit": 0 }] };
        let command = RawDocumentBuf::try_from(&command).map_err(|error| BatchError::Broken(error.to_string()))?;
        run(db, session, command, collection, expected).await?;
    }
    Ok(())
}

async fn insert(
    db: &Database,
    session: &mut ClientSession,
    collection: &'static str,
    documents: RawArrayBuf,
    expected: i64,
) -> Result<(), BatchError> {
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("insert"), collection);
    command.append(cstr!("documents"), documents);
    run(db, session, command, collection, expected).await
}

async fn run(
    db: &Database,
    session: &mut ClientSession,
    command: RawDocumentBuf,
    collection: &'static str,
    expected: i64,
) -> Result<(), BatchError> {
    let name = command.iter().next().and_then(Result::ok).map_or("", |(name, _)| slow::command_name(name.as_str()));
    let timed = slow::CommandTimer::begin();
    let reply = db.run_raw_command(command).session(session).await?;
    timed.end(name, collection, || if name == "insert" { String::new() } else { "_id".into() });
    if let Ok(errors) = reply.get_array("writeErrors")
        && let Some(first) = errors.first().and_then(Bson::as_document)
    {
        let message = format!("{collection}: {}", first.get_str("errmsg").unwrap_or_default());
        return Err(if first.get_i32("code").is_ok_and(|code| code == 11000) {
            BatchError::Duplicate(message)
        } else {
            BatchError::Broken(message)
        });
    }
    let n = reply.get("n").and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from))).unwrap_or_default();
    if n == expected {
        Ok(())
    } else {
        Err(BatchError::Broken(format!("{collection}: {n} of {expected} writes found their document")))
    }
}

/// One statement that turns `before` into `now`, or nothing where they are equal.
fn change(entry: &ViewEntry, before: &RawDocument) -> Result<Option<RawDocumentBuf>, BatchError> {
    if before.as_bytes() == entry.now.as_bytes() {
        return Ok(None);
    }
    let broken = |error: bson::error::Error| BatchError::Broken(error.to_string());
    let was = before.iter().collect::<Result<Vec<_>, _>>().map_err(broken)?;
    let (mut set, mut unset) = (RawDocumentBuf::new(), RawDocumentBuf::new());
    let mut kept = vec![false; was.len()];
    for (position, element) in entry.now.iter().enumerate() {
        let (name, value) = element.map_err(broken)?;
        // Both come from the same type, so a field nearly always stands where it stood.
        let here = was.get(position).is_some_and(|(known, _)| *known == name).then_some(position);
        let place = here.or_else(|| was.iter().position(|(known, _)| *known == name));
        if let Some(place) = place {
            kept[place] = true;
        }
        if place.is_none_or(|place| was[place].1 != value) {
            set.append(name, value);
        }
    }
    for ((name, _), _) in was.iter().zip(kept).filter(|(_, kept)| !kept) {
        unset.append(*name, "");
    }
    // The same fields in another order: a field that came later stands at the end of what is stored. An update that says nothing would
    // replace the document by an empty one.
    if set.is_empty() && unset.is_empty() {
        return Ok(None);
    }
    let mut change = RawDocumentBuf::new();
    if !set.is_empty() {
        change.append(cstr!("$set"), set);
    }
    if !unset.is_empty() {
        change.append(cstr!("$unset"), unset);
    }
    let mut by_id = RawDocumentBuf::new();
    by_id.append(cstr!("_id"), entry.id.as_str());
    let mut statement = RawDocumentBuf::new();
    statement.append(cstr!("q"), by_id);
    statement.append(cstr!("u"), change);
    Ok(Some(statement))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_user_become_one_clause() {
        let key =
            |user: &str, id: &str| Key::unique("orders", &["userId", "clientOrderId"], vec![user.into(), id.into()]);
        assert_eq!(
            filter(&["userId", "clientOrderId"], &[key("u", "1"), key("u", "2")]),
            doc! { "userId": "u", "clientOrderId": { "$in": ["1", "2"] } }
        );
        assert_eq!(
            filter(&["userId", "clientOrderId"], &[key("u", "1"), key("v", "1")]),
            doc! { "$or": [
                { "userId": "u", "clientOrderId": { "$in": ["1"] } },
                { "userId": "v", "clientOrderId": { "$in": ["1"] } },
            ] }
        );
        assert_eq!(filter(&["_id"], &[Key::id("jobs", "j")]), doc! { "_id": { "$in": ["j"] } });
    }

    #[test]
    fn only_fields_that_differ_are_written() {
        let raw = |document: &Document| bson::serialize_to_raw_document_buf(document).expect("BSON");
        let before = raw(&doc! { "_id": "a", "same": 1, "other": 1, "gone": true });
        let entry = ViewEntry {
            collection: "things",
            id: "a".into(),
            before: None,
            now: raw(&doc! { "_id": "a", "same": 1, "other": 2, "new": [1] }),
        };
        let statement = change(&entry, &before).expect("valid").expect("a change");
        assert_eq!(
            Document::try_from(statement).expect("BSON"),
            doc! { "q": { "_id": "a" }, "u": { "$set": { "other": 2, "new": [1] }, "$unset": { "gone": "" } } }
        );
        let same = ViewEntry { now: before.clone(), ..entry };
        assert!(change(&same, &before).expect("valid").is_none());
        let reordered = ViewEntry { now: raw(&doc! { "_id": "a", "gone": true, "other": 1, "same": 1 }), ..same };
        assert!(change(&reordered, &before).expect("valid").is_none(), "the order of fields is no change");
    }
}
