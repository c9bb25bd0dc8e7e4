//! Finding transactions: which index serves which question.

use std::collections::BTreeMap;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::options::{FindOptions, Hint};

use super::{ReportError, snapshot::Snapshot};
use crate::{
    modules::wallet::{
        model::{LEDGER, LedgerKind, LedgerTransaction},
        store::WalletStore,
    },
    platform::{http::cursor, money::Currency},
};

/// A search that takes longer is given up: within the time that a client waits for an answer.
const SEARCH_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(20);

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub(super) struct LedgerFilter {
    /// Whose wallet.
    pub(super) user_id: Option<String>,
    /// The currency.
    pub(super) currency: Option<Currency>,
    /// What it is.
    pub(super) kind: Option<LedgerKind>,
    /// What it was booked for.
    pub(super) reference_type: Option<String>,
    /// The id of that. An order's finds its later holds too.
    pub(super) reference_id: Option<String>,
    /// Has a line on this account.
    pub(super) account: Option<String>,
    /// Booked at or after.
    pub(super) from: Option<DateTime>,
    /// Booked before.
    pub(super) to: Option<DateTime>,
    /// Booked at or before: what was there when a long read began.
    pub(super) until: Option<DateTime>,
}

/// Which index a search goes along. Always said to the server: left to choose, it tries plans on the first documents, and
/// may settle for one that reads all of the ledger for another user or month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// By the id of what it was booked for. Gives a handful, in no order.
    Reference,
    /// By user, in the order of ids, which is the order of booking.
    Owner,
    /// By time.
    Time,
}

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Newest,
    Oldest,
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
    const fn plan(&self) -> Plan {
        match (&self.reference_id, &self.user_id) {
            (Some(_), _) => Plan::Reference,
            (None, Some(_)) => Plan::Owner,
            (None, None) => Plan::Time,
        }
    }

    /// The query: what is asked for, beyond `position` in `order`.
    fn query(&self, order: Order, position: Option<&Position>) -> Document {
        let mut query = Document::new();
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
        let mut times = Document::new();
        if let Some(from) = self.from {
            times.insert("$gte", from);
        }
        if let Some(to) = self.to {
            times.insert("$lt", to);
        }
        let mut last = self.until;
        if let Some(position) = position {
            self.continue_after(order, position, &mut query, &mut times, &mut last);
        }
        if let Some(last) = last {
            times.insert("$lte", last);
        }
        if !times.is_empty() {
            query.insert("at", times);
        }
        query
    }

    fn continue_after(
        &self,
        order: Order,
        position: &Position,
        query: &mut Document,
        times: &mut Document,
        last: &mut Option<DateTime>,
    ) {
        let beyond = if order == Order::Newest { "$lt" } else { "$gt" };
        if self.plan() == Plan::Owner {
            query.insert("_id", doc! { beyond: &position.id });
            return;
        }
        // The bound on the time gives the place in the index; the rest only tells those of the same millisecond apart.
        if order == Order::Newest {
            *last = Some(last.map_or(position.at, |last| last.min(position.at)));
        } else {
            times.insert("$gte", self.from.map_or(position.at, |from| from.max(position.at)));
        }
        query.insert("$or", [doc! { "at": { beyond: position.at } }, doc! { "_id": { beyond: &position.id } }]);
    }

    fn options(&self, order: Order, limit: usize) -> FindOptions {
        let direction = if order == Order::Newest { -1 } else { 1 };
        let (index, sort) = match self.plan() {
            Plan::Reference => ("reference", None),
            Plan::Owner => ("owner", Some(doc! { "_id": direction })),
            Plan::Time => ("time", Some(doc! { "at": direction, "_id": direction })),
        };
        let size = u32::try_from(limit).unwrap_or(u32::MAX);
        let mut options = FindOptions::builder().hint(Hint::Name(index.into())).max_time(SEARCH_TIME_MAX).build();
        options.sort = sort;
        if self.plan() != Plan::Reference {
            options.limit = Some(i64::from(size));
            options.batch_size = Some(size);
        }
        options
    }
}

/// What matches, newest first, beyond `before`; and whether there is more.
pub(super) async fn newest(
    store: &WalletStore,
    filter: &LedgerFilter,
    before: Option<&Position>,
    limit: usize,
) -> Result<(Vec<LedgerTransaction>, bool), ReportError> {
    let ledger = store.db().collection::<LedgerTransaction>(LEDGER);
    let one_more = limit + 1;
    let query = filter.query(Order::Newest, before);
    let mut found = ledger.find(query).with_options(filter.options(Order::Newest, one_more)).await?;
    let mut page: Vec<_> = if filter.plan() == Plan::Reference {
        // The index has no order in time, so this sorts; it keeps no more of them than the page takes.
        let mut newest = BTreeMap::new();
        while let Some(transaction) = found.try_next().await? {
            newest.insert(Position::of(&transaction), transaction);
            if newest.len() > one_more {
                newest.pop_first();
            }
        }
        newest.into_values().rev().collect()
    } else {
        found.try_collect().await?
    };
    let more = page.len() > limit;
    page.truncate(limit);
    Ok((page, more))
}

/// The next that match, oldest first, beyond `after`. Not by reference.
pub(super) async fn oldest(
    snapshot: &mut Snapshot,
    filter: &LedgerFilter,
    after: Option<&Position>,
    limit: usize,
) -> mongodb::error::Result<Vec<LedgerTransaction>> {
    let ledger = snapshot.collection::<LedgerTransaction>(LEDGER);
    let query = filter.query(Order::Oldest, after);
    let mut found =
        ledger.find(query).with_options(filter.options(Order::Oldest, limit)).session(&mut snapshot.session).await?;
    found.stream(&mut snapshot.session).try_collect().await
}

/// The time of the newest transaction.
pub(super) async fn newest_time(snapshot: &mut Snapshot) -> mongodb::error::Result<Option<DateTime>> {
    let ledger = snapshot.collection::<LedgerTransaction>(LEDGER);
    let newest = ledger.find_one(doc! {}).sort(doc! { "at": -1, "_id": -1 }).hint(Hint::Name("time".into()));
    Ok(newest.session(&mut snapshot.session).await?.map(|transaction| transaction.at))
}
