//! Finding transactions: which index serves which question.

use std::collections::BTreeMap;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{
    Collection,
    options::{FindOptions, Hint},
};

use super::{parts::ReportError, snapshot::Snapshot};
use crate::{
    modules::wallet::{
        model::{LEDGER, LedgerKind, LedgerTransaction},
        store::WalletStore,
    },
    platform::{
        http::cursor,
        ids::time_of_id,
        money::Currency,
        mongo::READ_TIME_MAX,
        walk::{Direction, STAGES, TimeRange, ids_within},
    },
};

#[derive(Clone, Debug, Default)]
pub(super) struct LedgerFilter {
    pub(super) user_id: Option<String>,
    pub(super) currency: Option<Currency>,
    pub(super) kind: Option<LedgerKind>,
    pub(super) reference_type: Option<String>,
    /// The id of that. An order's finds its later holds too.
    pub(super) reference_id: Option<String>,
    pub(super) account: Option<String>,
    /// Booked at or after.
    pub(super) from: Option<DateTime>,
    /// Booked before.
    pub(super) to: Option<DateTime>,
    /// Booked at or before: what was there when a long read began.
    pub(super) until: Option<DateTime>,
}

/// The index that a search goes along. Always said to the server: left to choose, it tries plans on the first documents, and
/// may settle for one that reads all of the ledger for another user or month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LedgerIndex {
    /// By the id of what it was booked for. Gives a handful, in no order.
    Reference,
    /// By user, in the order of ids, which is the order of booking.
    Owner,
    /// By time.
    Time,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    at: DateTime,
    id: String,
}

impl Position {
    pub(super) fn of(transaction: &LedgerTransaction) -> Self {
        Self { at: transaction.at, id: transaction.id.clone() }
    }

    /// As a cursor of `scope`.
    pub(super) fn seal(&self, scope: &str) -> String {
        cursor::seal(scope, &format!("{}|{}", self.at.timestamp_millis(), self.id))
    }

    /// Out of a cursor of `scope`.
    pub(super) fn open(scope: &str, cursor: &str) -> Result<Self, ReportError> {
        let place = cursor::open(scope, cursor).ok_or(ReportError::Cursor)?;
        let (at, id) = place.split_once('|').ok_or(ReportError::Cursor)?;
        let at = DateTime::from_millis(at.parse().map_err(|_| ReportError::Cursor)?);
        Ok(Self { at, id: id.to_owned() })
    }
}

impl LedgerFilter {
    const fn plan(&self) -> LedgerIndex {
        match (&self.reference_id, &self.user_id) {
            (Some(_), _) => LedgerIndex::Reference,
            (None, Some(_)) => LedgerIndex::Owner,
            (None, None) => LedgerIndex::Time,
        }
    }

    /// Whether something is asked for that is compared in the records, one by one.
    const fn compares_records(&self) -> bool {
        self.kind.is_some()
            || self.account.is_some()
            || self.currency.is_some()
            || (self.reference_type.is_some() && self.reference_id.is_none())
    }

    /// The query: what is asked for, beyond `position` in `order`.
    fn query(&self, order: Direction, position: Option<&Position>) -> Document {
        let mut query = self.keys(order, position);
        let equal = [
            ("userId", self.user_id.as_deref()),
            ("currency", self.currency.map(Currency::code)),
            ("kind", self.kind.map(LedgerKind::as_str)),
            ("referenceType", self.reference_type.as_deref()),
            ("lines.account", self.account.as_deref()),
        ];
        for (field, value) in equal {
            if let Some(value) = value {
                query.insert(field, value);
            }
        }
        if let Some(id) = &self.reference_id {
            // Any type and kind, said so that the server skips from one to the next within the index: it looks at two
            // keys for each pair that there is. `#` leads to the later holds of an order; no id has anything below `$`
            // but that.
            if self.reference_type.is_none() {
                query.insert("referenceType", doc! { "$gt": "" });
            }
            query.insert("referenceKind", doc! { "$gt": "" });
            query.insert("referenceId", doc! { "$gte": id, "$lt": format!("{id}$") });
        }
        if self.plan() == LedgerIndex::Reference {
            let beyond = if order == Direction::Newest { "$lt" } else { "$gt" };
            if let Some(position) = position {
                query.insert("$or", [doc! { "at": { beyond: position.at } }, doc! { "_id": { beyond: &position.id } }]);
            }
        }
        // The keys of the other plan have the times already.
        if self.plan() != LedgerIndex::Time {
            let mut times = self.times();
            if self.plan() == LedgerIndex::Reference
                && let Some(position) = position
            {
                narrow(&mut times, order, position.at);
            }
            if !times.is_empty() {
                query.insert("at", times);
            }
        }
        query
    }

    /// The part of the query that the index alone answers, where the plan goes along it in order.
    fn keys(&self, order: Direction, position: Option<&Position>) -> Document {
        let beyond = if order == Direction::Newest { "$lt" } else { "$gt" };
        match (self.plan(), &self.user_id) {
            (LedgerIndex::Owner, Some(user_id)) => {
                let until = self.until.map(|until| DateTime::from_millis(until.timestamp_millis().saturating_add(1)));
                let to = self.to.into_iter().chain(until).min();
                let mut ids = ids_within("txn", TimeRange { from: self.from, to }.of_ids());
                if let Some(position) = position {
                    // Of two bounds on one side, that of the place is the narrower.
                    ids.remove(if order == Direction::Newest { "$lt" } else { "$gte" });
                    ids.insert(beyond, &position.id);
                }
                let mut keys = doc! { "userId": user_id };
                if !ids.is_empty() {
                    keys.insert("_id", ids);
                }
                keys
            }
            (LedgerIndex::Time, _) => {
                let mut keys = Document::new();
                let mut times = self.times();
                if let Some(position) = position {
                    // The bound on the time gives the place in the index; the rest only tells those of the same millisecond
                    // apart.
                    narrow(&mut times, order, position.at);
                    keys.insert(
                        "$or",
                        [doc! { "at": { beyond: position.at } }, doc! { "_id": { beyond: &position.id } }],
                    );
                }
                if !times.is_empty() {
                    keys.insert("at", times);
                }
                keys
            }
            (LedgerIndex::Reference | LedgerIndex::Owner, _) => Document::new(),
        }
    }

    fn times(&self) -> Document {
        let mut times = Document::new();
        if let Some(from) = self.from {
            times.insert("$gte", from);
        }
        if let Some(to) = self.to {
            times.insert("$lt", to);
        }
        if let Some(until) = self.until {
            times.insert("$lte", until);
        }
        times
    }

    /// The place of the transaction that is so many behind `before`; none where there are fewer. Reads the index only.
    async fn nth(
        &self,
        ledger: &Collection<Document>,
        before: Option<&Position>,
        count: usize,
    ) -> mongodb::error::Result<Option<Position>> {
        let mut options = self.options(Direction::Newest, 1);
        options.skip = Some(count as u64 - 1);
        let by_owner = self.plan() == LedgerIndex::Owner;
        options.projection = Some(if by_owner {
            doc! { "_id": 1 }
        } else {
            doc! { "_id": 1, "at": 1 }
        });
        let keys = match before {
            // By time only, which the index answers without the records: those of the same millisecond don't count.
            Some(before) if !by_owner => {
                let mut times = self.times();
                times.remove("$lte");
                times.insert("$lt", before.at);
                doc! { "at": times }
            }
            _ => self.keys(Direction::Newest, before),
        };
        let last = ledger.find(keys).with_options(options).await?.try_next().await?;
        Ok(last.and_then(|last| {
            let id = last.get_str("_id").ok()?.to_owned();
            // By owner only the id says where to go on.
            let at = if by_owner { DateTime::from_millis(time_of_id(&id)?) } else { *last.get_datetime("at").ok()? };
            Some(Position { at, id })
        }))
    }

    /// Nothing older than `place`.
    fn end_at(&self, place: &Position, query: &mut Document) {
        let (field, least) = match self.plan() {
            LedgerIndex::Owner => ("_id", bson::Bson::from(&place.id)),
            LedgerIndex::Time | LedgerIndex::Reference => ("at", place.at.into()),
        };
        match query.get_document_mut(field) {
            Ok(bounds) => drop(bounds.insert("$gte", least)),
            Err(_) => drop(query.insert(field, doc! { "$gte": least })),
        }
        if self.plan() == LedgerIndex::Time {
            // Of the same millisecond, but behind it.
            query.insert("$nor", [doc! { "at": place.at, "_id": { "$lt": &place.id } }]);
        }
    }

    fn options(&self, order: Direction, limit: usize) -> FindOptions {
        let direction = order.sign();
        let (index, sort) = match self.plan() {
            LedgerIndex::Reference => ("reference", None),
            LedgerIndex::Owner => ("owner", Some(doc! { "_id": direction })),
            LedgerIndex::Time => ("time", Some(doc! { "at": direction, "_id": direction })),
        };
        let size = u32::try_from(limit).unwrap_or(u32::MAX);
        let mut options = FindOptions::builder().hint(Hint::Name(index.into())).max_time(READ_TIME_MAX).build();
        options.sort = sort;
        if self.plan() != LedgerIndex::Reference {
            options.limit = Some(i64::from(size));
            options.batch_size = Some(size);
        }
        options
    }
}

/// Narrows times to those from a place on.
fn narrow(times: &mut Document, order: Direction, at: DateTime) {
    let bound = if order == Direction::Newest { "$lte" } else { "$gte" };
    let narrower = times
        .get_datetime(bound)
        .map_or(at, |old| if order == Direction::Newest { at.min(*old) } else { at.max(*old) });
    times.insert(bound, narrower);
}

/// Matching transactions, newest first, beyond `before`; and where to go on. Where no index narrows down what is asked for, a page
/// looks at so many transactions ([`STAGES`]): it may have fewer than asked for, or none, before the last one.
pub(super) async fn newest(
    store: &WalletStore,
    filter: &LedgerFilter,
    before: Option<&Position>,
    limit: usize,
) -> Result<(Vec<LedgerTransaction>, Option<Position>), ReportError> {
    let one_more = limit + 1;
    let mut page = Vec::new();
    let mut ended_at = None;
    if filter.plan() == LedgerIndex::Reference {
        page = newest_by_reference(store, filter, before, one_more).await?;
    } else if filter.compares_records() {
        ended_at = before.cloned();
        for stage in STAGES {
            let place = ended_at.take();
            ended_at = filter.nth(&store.db().collection(LEDGER), place.as_ref(), stage).await?;
            page.extend(find_between(store, filter, place.as_ref(), ended_at.as_ref(), one_more - page.len()).await?);
            if page.len() == one_more || ended_at.is_none() {
                break;
            }
        }
    } else {
        page = find_between(store, filter, before, None, one_more).await?;
    }
    let more = page.len() > limit;
    page.truncate(limit);
    let next = if more { page.last().map(Position::of) } else { ended_at };
    Ok((page, next))
}

/// Matching transactions beyond `before`, as far as `end`.
async fn find_between(
    store: &WalletStore,
    filter: &LedgerFilter,
    before: Option<&Position>,
    end: Option<&Position>,
    limit: usize,
) -> mongodb::error::Result<Vec<LedgerTransaction>> {
    let mut query = filter.query(Direction::Newest, before);
    if let Some(place) = end {
        filter.end_at(place, &mut query);
    }
    let ledger = store.db().collection::<LedgerTransaction>(LEDGER);
    ledger.find(query).with_options(filter.options(Direction::Newest, limit)).await?.try_collect().await
}

/// The index has no order in time, so this sorts; it keeps no more of them than the page takes.
async fn newest_by_reference(
    store: &WalletStore,
    filter: &LedgerFilter,
    before: Option<&Position>,
    limit: usize,
) -> mongodb::error::Result<Vec<LedgerTransaction>> {
    let ledger = store.db().collection::<LedgerTransaction>(LEDGER);
    let query = filter.query(Direction::Newest, before);
    let mut found = ledger.find(query).with_options(filter.options(Direction::Newest, limit)).await?;
    let mut newest = BTreeMap::new();
    while let Some(transaction) = found.try_next().await? {
        newest.insert(Position::of(&transaction), transaction);
        if newest.len() > limit {
            newest.pop_first();
        }
    }
    Ok(newest.into_values().rev().collect())
}

/// The next that match, oldest first, beyond `after`. Not by reference.
pub(super) async fn oldest(
    snapshot: &mut Snapshot,
    filter: &LedgerFilter,
    after: Option<&Position>,
    limit: usize,
) -> mongodb::error::Result<Vec<LedgerTransaction>> {
    let ledger = snapshot.collection::<LedgerTransaction>(LEDGER);
    let query = filter.query(Direction::Oldest, after);
    let mut found = ledger
        .find(query)
        .with_options(filter.options(Direction::Oldest, limit))
        .session(&mut snapshot.session)
        .await?;
    found.stream(&mut snapshot.session).try_collect().await
}

pub(super) async fn newest_time(snapshot: &mut Snapshot) -> mongodb::error::Result<Option<DateTime>> {
    let ledger = snapshot.collection::<LedgerTransaction>(LEDGER);
    let newest = ledger.find_one(doc! {}).sort(doc! { "at": -1, "_id": -1 }).hint(Hint::Name("time".into()));
    Ok(newest.max_time(READ_TIME_MAX).session(&mut snapshot.session).await?.map(|transaction| transaction.at))
}
