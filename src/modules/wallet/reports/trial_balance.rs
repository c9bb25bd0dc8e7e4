//! The trial balance: what every account comes to, and that debits equal credits.

use std::{collections::BTreeMap, time::Duration};

use bson::{Bson, DateTime, Document, doc};

use super::{parts::ReportError, snapshot::Snapshot};
use crate::{
    modules::wallet::{model::LEDGER, store::WalletStore},
    platform::money::Currency,
};

/// Transactions of a moment have committed after so long, or never will: a lane gives up before, and the server ends open
/// transactions by then (`transactionLifetimeLimitSeconds`, see docs/operate.md).
pub(super) const FINAL_AFTER: Duration = Duration::from_secs(15);
/// It reads all of the ledger. Beyond this nobody waits for the answer any more.
const TIME_MAX: Duration = Duration::from_secs(25);

/// The balance of an account, on its side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccountBalance {
    pub(super) account: String,
    pub(super) debit: i64,
    pub(super) credit: i64,
}

/// The accounts of a currency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TrialBalance {
    pub(super) accounts: Vec<AccountBalance>,
    pub(super) total_debit: i64,
    pub(super) total_credit: i64,
}

impl TrialBalance {
    fn add(&mut self, account: String, sum: i64) -> Option<()> {
        let (debit, credit) = if sum < 0 { (sum.checked_neg()?, 0) } else { (0, sum) };
        self.total_debit = self.total_debit.checked_add(debit)?;
        self.total_credit = self.total_credit.checked_add(credit)?;
        self.accounts.push(AccountBalance { account, debit, credit });
        Some(())
    }
}

/// The trial balance of every currency, from the lines that were booked by `as_of`; from all there are without one. The
/// users' wallets are one account.
pub(super) async fn trial_balance(
    store: &WalletStore,
    as_of: Option<DateTime>,
    currency: Option<Currency>,
) -> Result<BTreeMap<String, TrialBalance>, ReportError> {
    let mut wanted = Document::new();
    if let Some(as_of) = as_of {
        wanted.insert("at", doc! { "$lte": as_of });
    }
    if let Some(currency) = currency {
        wanted.insert("currency", currency.code());
    }
    let account = doc! { "currency": "$lines.currency", "account": "$lines.account" };
    let pipeline = [
        doc! { "$match": wanted },
        doc! { "$unwind": "$lines" },
        doc! { "$group": { "_id": account, "sum": { "$sum": "$lines.amount" } } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let mut snapshot = Snapshot::take(store).await?;
    let ledger = snapshot.collection::<Document>(LEDGER);
    let mut sums = ledger.aggregate(pipeline).max_time(TIME_MAX).session(&mut snapshot.session).await?;
    let mut currencies: BTreeMap<String, TrialBalance> = BTreeMap::new();
    while let Some(found) = sums.next(&mut snapshot.session).await.transpose()? {
        let id = found.get_document("_id").ok();
        let name = |field| id.and_then(|id| id.get_str(field).ok()).map(str::to_owned);
        let (Some(currency), Some(account)) = (name("currency"), name("account")) else {
            return Err(ReportError::Broken("a line without account or currency".into()));
        };
        let sum = whole(found.get("sum")).ok_or(ReportError::Overflow)?;
        currencies.entry(currency).or_default().add(account, sum).ok_or(ReportError::Overflow)?;
    }
    Ok(currencies)
}

/// A sum as the server gives it: where it leaves 64 bits it becomes a floating number, which is no sum of money.
fn whole(sum: Option<&Bson>) -> Option<i64> {
    match sum? {
        Bson::Int64(sum) => Some(*sum),
        Bson::Int32(sum) => Some(i64::from(*sum)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_on_the_side_of_its_balance() {
        let mut balance = TrialBalance::default();
        for (account, sum) in [("settlement.cash", -70), ("transfers", 0), ("wallet.available", 70)] {
            balance.add(account.into(), sum).expect("it fits");
        }
        let sides: Vec<_> = balance.accounts.iter().map(|account| (account.debit, account.credit)).collect();
        assert_eq!(sides, [(70, 0), (0, 0), (0, 70)]);
        assert_eq!((balance.total_debit, balance.total_credit), (70, 70));
    }

    #[test]
    fn what_does_not_fit_is_no_number() {
        let mut balance = TrialBalance::default();
        assert_eq!(balance.add("a".into(), i64::MIN), None);
        balance.add("b".into(), i64::MAX).expect("it fits");
        assert_eq!(balance.add("c".into(), 1), None);
        assert_eq!(whole(Some(&Bson::Double(9.3e18))), None);
        assert_eq!(whole(Some(&Bson::Int64(i64::MAX))), Some(i64::MAX));
    }
}
