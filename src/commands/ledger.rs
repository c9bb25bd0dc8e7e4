//! `waybill ledger check`, `waybill stock check`.

use std::io::IsTerminal;

use mongodb::Database;

use crate::{
    config::Stores,
    modules::{
        catalog::{CatalogStore, check_stock as compare_stock},
        inspection::check_all,
        wallet::WalletStore,
    },
    platform::{
        differences::{Difference, Differences},
        mongo,
    },
};

/// Prints differences as they are found.
#[derive(Default)]
struct DifferencePrinter {
    count: u64,
    looked_at: Vec<(&'static str, u64)>,
}

impl Differences for DifferencePrinter {
    fn add(&mut self, difference: Difference) {
        self.count += 1;
        let Difference { check, subject, expected, found } = difference;
        println!("{check:<24} {subject}: expected {expected}, found {found}");
    }

    fn looked_at(&mut self, collection: &'static str, count: u64) {
        if std::io::stderr().is_terminal() {
            eprintln!("  {count} {collection} looked at");
        }
        self.looked_at.push((collection, count));
    }
}

impl DifferencePrinter {
    /// The last line; an error where anything differs.
    fn concluded(self) -> Result<(), String> {
        let looked_at: Vec<_> = self.looked_at.iter().map(|(name, count)| format!("{count} {name}")).collect();
        println!("{}: {} difference(s)", looked_at.join(", "), self.count);
        if self.count == 0 { Ok(()) } else { Err(format!("the books differ in {} place(s)", self.count)) }
    }
}

async fn connect(stores: &Stores) -> Result<Database, String> {
    mongo::connect(&stores.mongodb_uri).await.map_err(|error| format!("MONGODB_URI can't be used: {error}"))
}

/// Holds the books against each other; an error where anything differs.
pub(super) async fn check(stores: &Stores) -> Result<(), String> {
    let mut printed = DifferencePrinter::default();
    let store = WalletStore::new(connect(stores).await?);
    check_all(&store, &mut printed).await.map_err(|error| format!("the check could not be finished: {error}"))?;
    printed.concluded()
}

/// Holds the stock of products against their movements; an error where anything differs.
pub(super) async fn check_stock(stores: &Stores) -> Result<(), String> {
    let mut printed = DifferencePrinter::default();
    let store = CatalogStore::new(connect(stores).await?);
    compare_stock(&store, &mut printed).await.map_err(|error| format!("the check could not be finished: {error}"))?;
    printed.concluded()
}
