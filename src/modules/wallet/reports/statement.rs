//! A statement: what moved `available`, line by line, between two balances.

use bson::{DateTime, doc};
use futures_util::TryStreamExt;
use mongodb::options::{FindOptions, Hint};

use super::{parts::ReportError, snapshot::Snapshot};
use crate::{
    modules::wallet::model::{LEDGER, LedgerTransaction, WALLETS, Wallet},
    platform::{http::cursor, money::Currency, mongo::READ_TIME_MAX},
};

/// A place in a wallet's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LedgerPosition {
    /// No line after it is older.
    at: DateTime,
    /// The line before it; 0 at the wallet's beginning.
    sequence: i64,
    /// `available` there.
    balance: i64,
}

/// A period of a wallet, and how far it has been read.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    user_id: String,
    /// The wallet's currency.
    pub(super) currency: Currency,
    /// Lines at or after.
    pub(super) from: DateTime,
    /// Lines before.
    pub(super) to: DateTime,
    /// The last line of the period that was there when it was first asked for. Later ones may have come since, where `to`
    /// was not past.
    until: i64,
    place: LedgerPosition,
}

impl Statement {
    /// The statement of a period, from its beginning. Without `from` it begins with the wallet, without `to` it has all
    /// that is there.
    pub(super) async fn begin(
        snapshot: &mut Snapshot,
        (user_id, currency): (&str, Currency),
        (from, to): (Option<DateTime>, Option<DateTime>),
        now: DateTime,
    ) -> Result<Self, ReportError> {
        let wallets = snapshot.collection::<Wallet>(WALLETS);
        let id = Wallet::id_of(user_id, currency);
        let wallet =
            wallets.find_one(doc! { "_id": id }).max_time(READ_TIME_MAX).session(&mut snapshot.session).await?;
        let to = to.unwrap_or_else(|| {
            // Whoever wrote the last line may have had another idea of the time than this process.
            let after_all = wallet.as_ref().map_or(now, |wallet| next_millisecond(wallet.last_at));
            now.max(after_all).max(from.unwrap_or(now))
        });
        let from = from.unwrap_or_else(|| wallet.map_or(to, |wallet| wallet.created_at.min(to)));
        let mut statement = Self {
            user_id: user_id.to_owned(),
            currency,
            from,
            to,
            until: 0,
            place: LedgerPosition { at: from, sequence: 0, balance: 0 },
        };
        if let Some(opening) = statement.last_before(snapshot, from).await? {
            let (sequence, balance) = position(&opening)?;
            statement.place = LedgerPosition { at: from, sequence, balance };
        }
        if let Some(closing) = statement.last_before(snapshot, to).await? {
            statement.until = position(&closing)?.0;
        }
        Ok(statement)
    }

    /// The statement that `cursor` goes on with.
    pub(super) async fn resume(snapshot: &mut Snapshot, user_id: &str, cursor: &str) -> Result<Self, ReportError> {
        let place = cursor::open(&scope(user_id), cursor).ok_or(ReportError::Cursor)?;
        let mut statement = Self::read_place(user_id, &place).ok_or(ReportError::Cursor)?;
        let line = doc! { "userId": user_id, "currency": statement.currency.code(), "at": statement.place.at,
        "walletSeq": statement.place.sequence };
        let ledger = snapshot.collection::<LedgerTransaction>(LEDGER);
        let line = ledger.find_one(line).hint(index()).max_time(READ_TIME_MAX).session(&mut snapshot.session).await?;
        statement.place.balance = position(&line.ok_or(ReportError::Cursor)?)?.1;
        Ok(statement)
    }

    fn read_place(user_id: &str, place: &str) -> Option<Self> {
        let mut parts = place.split('|');
        let currency = Currency::from_code(parts.next()?)?;
        let mut number = || parts.next()?.parse::<i64>().ok();
        let (from, to) = (DateTime::from_millis(number()?), DateTime::from_millis(number()?));
        let (until, at, sequence) = (number()?, DateTime::from_millis(number()?), number()?);
        let sound = parts.next().is_none() && from <= at && at < to && 0 < sequence && sequence < until;
        let place = LedgerPosition { at, sequence, balance: 0 };
        sound.then(|| Self { user_id: user_id.to_owned(), currency, from, to, until, place })
    }

    /// The cursor that goes on from here; none at the end.
    pub(super) fn cursor(&self) -> Option<String> {
        let (from, to) = (self.from.timestamp_millis(), self.to.timestamp_millis());
        let LedgerPosition { at, sequence, .. } = self.place;
        let place = format!("{}|{from}|{to}|{}|{}|{sequence}", self.currency.code(), self.until, at.timestamp_millis());
        (sequence < self.until).then(|| cursor::seal(&scope(&self.user_id), &place))
    }

    /// `available` where it has been read to.
    pub(super) const fn balance(&self) -> i64 {
        self.place.balance
    }

    /// The next lines, oldest first; goes on behind them. None at the end.
    ///
    /// Each has to follow from what is before it: its sequence is the next, its balance the last one and its amount. What
    /// doesn't is not handed out.
    pub(super) async fn read(
        &mut self,
        snapshot: &mut Snapshot,
        limit: usize,
    ) -> Result<Vec<LedgerTransaction>, ReportError> {
        if self.place.sequence >= self.until {
            return Ok(Vec::new());
        }
        let next = doc! {
            "userId": &self.user_id,
            "currency": self.currency.code(),
            "at": { "$gte": self.place.at, "$lt": self.to },
            "walletSeq": { "$gt": self.place.sequence, "$lte": self.until },
        };
        let mut options =
            FindOptions::builder().sort(doc! { "at": 1, "walletSeq": 1 }).hint(index()).max_time(READ_TIME_MAX).build();
        let size = u32::try_from(limit).unwrap_or(u32::MAX);
        (options.limit, options.batch_size) = (Some(i64::from(size)), Some(size));
        let ledger = snapshot.collection::<LedgerTransaction>(LEDGER);
        let mut found = ledger.find(next).with_options(options).session(&mut snapshot.session).await?;
        let lines: Vec<LedgerTransaction> = found.stream(&mut snapshot.session).try_collect().await?;
        self.follow(&lines, limit)?;
        Ok(lines)
    }

    fn follow(&mut self, lines: &[LedgerTransaction], limit: usize) -> Result<(), ReportError> {
        for line in lines {
            let (sequence, balance) = position(line)?;
            let expected = self.place.balance.checked_add(line.change_of_available());
            if sequence != self.place.sequence + 1 || expected != Some(balance) {
                return Err(ReportError::Broken(line.id.clone()));
            }
            self.place = LedgerPosition { at: line.at, sequence, balance };
        }
        if lines.len() < limit && self.place.sequence < self.until {
            return Err(ReportError::Broken(format!("line {} of {}", self.until, self.user_id)));
        }
        Ok(())
    }

    async fn last_before(
        &self,
        snapshot: &mut Snapshot,
        at: DateTime,
    ) -> Result<Option<LedgerTransaction>, ReportError> {
        let before = doc! { "userId": &self.user_id, "currency": self.currency.code(), "at": { "$lt": at },
        "walletSeq": { "$gt": 0 } };
        let ledger = snapshot.collection::<LedgerTransaction>(LEDGER);
        let last =
            ledger.find_one(before).sort(doc! { "at": -1, "walletSeq": -1 }).hint(index()).max_time(READ_TIME_MAX);
        Ok(last.session(&mut snapshot.session).await?)
    }
}

/// Its time is never behind the sequence, so it gives the lines of a period in their order.
fn index() -> Hint {
    Hint::Name("statement".into())
}

fn scope(user_id: &str) -> String {
    format!("statement {user_id}")
}

fn next_millisecond(at: DateTime) -> DateTime {
    DateTime::from_millis(at.timestamp_millis().saturating_add(1))
}

/// Sequence and balance, which every line on `available` has.
fn position(line: &LedgerTransaction) -> Result<(i64, i64), ReportError> {
    line.wallet_seq.zip(line.available_after).ok_or_else(|| ReportError::Broken(line.id.clone()))
}
