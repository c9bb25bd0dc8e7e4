//! `waybill ledger check`.

use std::io::IsTerminal;

use crate::{
    config::Stores,
    modules::{
        inspection::check_all,
        wallet::{Difference, Differences, WalletStore},
    },
    platform::mongo,
};

/// Prints differences as they are found.
#[derive(Default)]
struct Printed {
    count: u64,
    looked_at: Vec<(&'static str, u64)>,
}

impl Differences for Printed {
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

/// Holds the books against each other; an error where anything differs.
pub(super) async fn check(stores: &Stores) -> Result<(), String> {
    let db =
        mongo::connect(&stores.mongodb_uri).await.map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    let mut printed = Printed::default();
    let store = WalletStore::new(db);
    check_all(&store, &mut printed).await.map_err(|error| format!("the check could not be finished: {error}"))?;
    let looked_at: Vec<_> = printed.looked_at.iter().map(|(name, count)| format!("{count} {name}")).collect();
    println!("{}: {} difference(s)", looked_at.join(", "), printed.count);
    if printed.count == 0 { Ok(()) } else { Err(format!("the books differ in {} place(s)", printed.count)) }
}
