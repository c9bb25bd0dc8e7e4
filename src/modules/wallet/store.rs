//! Reads of wallets and holds, and the indexes of the ledger. Writes happen in commands only.

use std::collections::BTreeMap;

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
    options::{DatabaseOptions, Hint, ReadConcern},
};

use super::model::{FINANCE_REFERENCES, HOLDS, LEDGER, LedgerTransaction, WALLETS, Wallet};
use crate::platform::{
    money::Currency,
    mongo::{Index, Latest, READ_TIME_MAX, latest},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// ISO 4217.
    pub currency: Currency,
    /// Minor units that can be spent.
    pub available: i64,
    /// Minor units set aside.
    pub held: i64,
    /// Transactions that touched `available` so far.
    pub version: i64,
}

impl Balance {
    /// `available` and `held` together.
    #[must_use]
    pub const fn posted(&self) -> i64 {
        self.available.saturating_add(self.held)
    }
}

#[derive(Clone, Debug)]
pub struct WalletStore {
    db: Database,
    snapshots: Database,
}

impl WalletStore {
    /// Collections of this module, but the rate card's.
    pub const COLLECTIONS: &[&str] = &[WALLETS, HOLDS, LEDGER, FINANCE_REFERENCES];

    /// A store over `db`.
    #[must_use]
    pub fn new(db: Database) -> Self {
        // A snapshot session leaves a read concern as it is where there is one, and our client has one (majority): then
        // every read would be of a moment of its own. So the snapshot is asked for here too.
        let options = DatabaseOptions::builder().read_concern(ReadConcern::snapshot()).build();
        let snapshots = db.client().database_with_options(db.name(), options);
        Self { db, snapshots }
    }

    /// Indexes of this module, but the rate card's.
    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(LEDGER, "reference", doc! { "referenceType": 1, "referenceKind": 1, "referenceId": 1 }).unique(),
            Index::new(LEDGER, "owner", doc! { "userId": 1, "_id": -1 }),
            Index::new(LEDGER, "statement", doc! { "userId": 1, "currency": 1, "at": 1, "walletSeq": 1 })
                .partial(doc! { "walletSeq": { "$gt": 0 } }),
            Index::new(LEDGER, "time", doc! { "at": 1, "_id": 1 }),
            // Small, because most holds are closed; sums what a user has set aside without reading a document.
            Index::new(HOLDS, "open", doc! { "userId": 1, "currency": 1, "state": 1, "amount": 1 })
                .partial(doc! { "state": "open" }),
        ]
    }

    #[must_use]
    pub const fn db(&self) -> &Database {
        &self.db
    }

    /// The database for reads in a session of [`WalletStore::snapshot`].
    #[must_use]
    pub const fn snapshots(&self) -> &Database {
        &self.snapshots
    }

    /// A session whose reads of [`WalletStore::snapshots`] all see the same moment, that of the first one.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn snapshot(&self) -> Result<ClientSession> {
        self.db.client().start_session().snapshot(true).await
    }

    /// A user's balance now; zero where there is no wallet.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn balance(&self, user_id: &str, currency: Currency) -> Result<Balance> {
        let mut session = self.snapshot().await?;
        let wallets = self.snapshots.collection::<Wallet>(WALLETS);
        let id = Wallet::id_of(user_id, currency);
        let wallet = wallets.find_one(doc! { "_id": id }).max_time(READ_TIME_MAX).session(&mut session).await?;
        let open = doc! { "userId": user_id, "currency": currency.code(), "state": "open" };
        let pipeline = [doc! { "$match": open }, doc! { "$group": { "_id": null, "held": { "$sum": "$amount" } } }];
        let mut sums = self
            .snapshots
            .collection::<Document>(HOLDS)
            .aggregate(pipeline)
            .max_time(READ_TIME_MAX)
            .session(&mut session)
            .await?;
        let held = sums.next(&mut session).await.transpose()?.map_or(Ok(0), |sum| integer(&sum, "held"))?;
        let (available, version) = wallet.map_or((0, 0), |wallet| (wallet.available, wallet.version));
        Ok(Balance { currency, available, held, version })
    }

    /// Totals of all wallets, by currency: available and held. Reads every wallet, and open holds from their index.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn totals(&self) -> Result<BTreeMap<String, (i64, i64)>> {
        let group = |field: &str| doc! { "$group": { "_id": "$currency", "sum": { "$sum": field } } };
        let (wallets, holds) = (self.db.collection::<Document>(WALLETS), self.db.collection::<Document>(HOLDS));
        // From the index over open holds, which begins with the user.
        let open = doc! { "$match": { "userId": { "$gt": "" }, "state": "open" } };
        let available = wallets.aggregate([group("$available")]).max_time(READ_TIME_MAX).await?;
        let held =
            holds.aggregate([open, group("$amount")]).hint(Hint::Name("open".into())).max_time(READ_TIME_MAX).await?;
        let available: Vec<Document> = available.try_collect().await?;
        let held: Vec<Document> = held.try_collect().await?;
        let mut totals: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for sum in &available {
            totals.entry(sum.get_str("_id").unwrap_or_default().to_owned()).or_default().0 = integer(sum, "sum")?;
        }
        for sum in &held {
            totals.entry(sum.get_str("_id").unwrap_or_default().to_owned()).or_default().1 = integer(sum, "sum")?;
        }
        Ok(totals)
    }

    /// A user's balance as it was at `as_of`, from the lines.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn balance_as_of(&self, user_id: &str, currency: Currency, as_of: DateTime) -> Result<Balance> {
        let sum_of = |account: &str| {
            let of_account = doc! { "$filter": { "input": "$lines", "cond": { "$eq": ["$$this.account", account] } } };
            let amounts = doc! { "$map": { "input": of_account, "in": "$$this.amount" } };
            doc! { "$sum": { "$sum": amounts } }
        };
        let pipeline = [
            doc! { "$match": { "userId": user_id, "currency": currency.code(), "at": { "$lte": as_of } } },
            doc! { "$group": { "_id": null, "available": sum_of("wallet.available"), "held": sum_of("wallet.held"),
            "version": { "$max": "$walletSeq" } } },
        ];
        let ledger = self.db.collection::<Document>(LEDGER);
        let mut found = ledger.aggregate(pipeline).max_time(READ_TIME_MAX).await?;
        let sums = found.try_next().await?.unwrap_or_default();
        let number = |name: &str| integer(&sums, name);
        Ok(Balance { currency, available: number("available")?, held: number("held")?, version: number("version")? })
    }

    /// The latest transactions that were booked for something, or for what followed from it (`ord_...#2`).
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn transactions_about(&self, reference_type: &str, id: &str) -> Result<Latest<LedgerTransaction>> {
        // No id has anything below `$` but `#`; all kinds are asked for, so that the index is used to its end.
        let about = doc! {
            "referenceType": reference_type,
            "referenceKind": { "$gt": "" },
            "referenceId": { "$gte": id, "$lt": format!("{id}$") },
        };
        let ledger = self.db.collection::<LedgerTransaction>(LEDGER);
        latest(ledger.find(about).hint(Hint::Name("reference".into()))).await
    }

    /// A transaction by its id.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn transaction(&self, transaction_id: &str) -> Result<Option<LedgerTransaction>> {
        self.db.collection(LEDGER).find_one(doc! { "_id": transaction_id }).max_time(READ_TIME_MAX).await
    }
}

/// A sum, which is 0 where there is nothing to add up.
fn integer(sums: &Document, name: &str) -> Result<i64> {
    match sums.get(name) {
        None | Some(Bson::Null) => Ok(0),
        Some(Bson::Int32(sum)) => Ok((*sum).into()),
        Some(Bson::Int64(sum)) => Ok(*sum),
        Some(_) => Err(Error::custom(format!("the sum of {name} is no whole number"))),
    }
}
