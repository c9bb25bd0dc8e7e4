//! Scheduled jobs and the tasks that they run.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use bson::{Bson, doc};
use mongodb::Database;

use crate::{
    config::ScheduleArgs,
    modules::{
        audit::{
            proof::PublicKeys,
            retention::Purger,
            verification::{ChainPart, verify_chain},
        },
        catalog::{CatalogStore, check_stock},
        inspection::check_all,
        notifications::{DailyReports, ReportKind},
        schedules::{CalendarError, FailureAlert, Finished, MissedRuns, ScheduleConfig, Task},
        wallet::WalletStore,
    },
    platform::{
        differences::{Difference, Differences},
        sealing::SealingKeys,
    },
};

const LEDGER_CHECK: &str = "ledger-check";
const STOCK_CHECK: &str = "stock-check";
const AUDIT_VERIFY: &str = "audit-verify";
const AUDIT_PURGE: &str = "audit-purge";
const DAILY_ORDERS: &str = "daily-order-report";
const DAILY_STOCK: &str = "daily-stock-report";
/// Differences that a run lists; `waybill ledger check` and `waybill stock check` print all.
const LISTED_MAX: usize = 20;

/// Every schedule that is not switched off; without a mail server there are no reports.
pub(super) fn plans(settings: &ScheduleArgs, has_mail: bool) -> Result<Vec<ScheduleConfig>, CalendarError> {
    let mut plans = Vec::new();
    let reports = [
        (
            DAILY_ORDERS,
            &settings.daily_orders_cron,
            MissedRuns::Once,
            "Mails yesterday's orders to those who want reports.",
        ),
        (
            DAILY_STOCK,
            &settings.daily_stock_cron,
            MissedRuns::Once,
            "Mails yesterday's stock to merchants who want reports.",
        ),
    ];
    let all = [
        (
            LEDGER_CHECK,
            &settings.ledger_check_cron,
            MissedRuns::Once,
            "Compares balances with lines, holds with orders, orders with provider logs, top-ups with credits.",
        ),
        (
            STOCK_CHECK,
            &settings.stock_check_cron,
            MissedRuns::Once,
            "Compares the stock of products with their movements, and each movement with the one before.",
        ),
        (
            AUDIT_VERIFY,
            &settings.audit_verify_cron,
            MissedRuns::Once,
            "Checks every seal of the audit and every record in it.",
        ),
        (AUDIT_PURGE, &settings.audit_purge_cron, MissedRuns::Once, "Deletes records that are past their retention."),
    ];
    for (name, cron, missed, description) in all.into_iter().chain(reports.into_iter().filter(|_| has_mail)) {
        plans.extend(settings.calendar(cron)?.map(|calendar| ScheduleConfig { name, description, calendar, missed }));
    }
    Ok(plans)
}

pub(super) struct TaskParts {
    pub(super) db: Database,
    pub(super) keys: PublicKeys,
    pub(super) sealing: Arc<SealingKeys>,
    pub(super) purger: Option<Purger>,
    pub(super) daily_reports: Option<DailyReports>,
}

pub(super) fn tasks(parts: TaskParts) -> HashMap<&'static str, Arc<dyn Task>> {
    let TaskParts { db, keys, sealing, purger, daily_reports } = parts;
    let check = LedgerCheck { store: WalletStore::new(db.clone()) };
    let mut tasks = HashMap::from([
        (LEDGER_CHECK, Arc::new(check) as Arc<dyn Task>),
        (STOCK_CHECK, Arc::new(StockCheck { store: CatalogStore::new(db.clone()) })),
        (AUDIT_VERIFY, Arc::new(AuditVerify { db, keys, sealing })),
        (AUDIT_PURGE, Arc::new(AuditPurge { purger })),
    ]);
    for (name, report) in [(DAILY_ORDERS, ReportKind::Orders), (DAILY_STOCK, ReportKind::Stock)] {
        tasks.extend(daily_reports.clone().map(|all| (name, Arc::new(MailReport(all, report)) as Arc<dyn Task>)));
    }
    tasks
}

struct MailReport(DailyReports, ReportKind);

#[async_trait]
impl Task for MailReport {
    async fn run(&self) -> Result<Finished, String> {
        Ok(Finished { result: self.0.make_jobs(self.1).await?, alert: None })
    }
}

struct LedgerCheck {
    store: WalletStore,
}

#[derive(Default)]
struct DifferenceList {
    count: u64,
    listed: Vec<Bson>,
    looked_at: bson::Document,
}

impl Differences for DifferenceList {
    fn add(&mut self, difference: Difference) {
        self.count += 1;
        if self.listed.len() < LISTED_MAX {
            let Difference { check, subject, expected, found } = difference;
            self.listed.push(doc! { "check": check, "subject": subject, "expected": expected, "found": found }.into());
        }
    }

    fn looked_at(&mut self, collection: &'static str, count: u64) {
        self.looked_at.insert(collection, count as i64);
    }
}

impl DifferenceList {
    /// As a run shows it.
    fn told(self) -> bson::Document {
        let Self { count, listed, looked_at } = self;
        doc! { "differences": count as i64, "listed": listed, "checked": looked_at }
    }
}

#[async_trait]
impl Task for LedgerCheck {
    async fn run(&self) -> Result<Finished, String> {
        let mut found = DifferenceList::default();
        check_all(&self.store, &mut found).await.map_err(|error| error.to_string())?;
        metrics::gauge!("waybill_ledger_differences").set(found.count as f64);
        let alert = (found.count > 0).then(|| FailureAlert {
            kind: "LedgerDiffers",
            message: format!("The books differ in {} place(s); `waybill ledger check` lists them.", found.count),
        });
        Ok(Finished { result: found.told(), alert })
    }
}

struct StockCheck {
    store: CatalogStore,
}

#[async_trait]
impl Task for StockCheck {
    async fn run(&self) -> Result<Finished, String> {
        let mut found = DifferenceList::default();
        check_stock(&self.store, &mut found).await.map_err(|error| error.to_string())?;
        metrics::gauge!("waybill_stock_differences").set(found.count as f64);
        let alert = (found.count > 0).then(|| FailureAlert {
            kind: "StockDiffers",
            message: format!("The stock differs in {} place(s); `waybill stock check` lists them.", found.count),
        });
        Ok(Finished { result: found.told(), alert })
    }
}

struct AuditVerify {
    db: Database,
    keys: PublicKeys,
    sealing: Arc<SealingKeys>,
}

#[async_trait]
impl Task for AuditVerify {
    async fn run(&self) -> Result<Finished, String> {
        let report = verify_chain(&self.db, &self.keys, &self.sealing, ChainPart::default(), |_| {})
            .await
            .map_err(|error| error.to_string())?;
        metrics::gauge!("waybill_audit_differences").set(if report.is_verified() { 0.0 } else { 1.0 });
        let result = doc! {
            "verified": report.is_verified(),
            "seals": report.seals.count as i64,
            "records": report.records as i64,
            "purged": report.purged as i64,
            "sealedLate": report.sealed_late as i64,
            "lastSeal": report.seals.last,
        };
        let alert = report.finding.map(|finding| FailureAlert {
            kind: "AuditDiffers",
            message: format!("The audit is not as it was sealed, first at seal {}: {}", finding.seal, finding.detail),
        });
        Ok(Finished { result, alert })
    }
}

struct AuditPurge {
    purger: Option<Purger>,
}

#[async_trait]
impl Task for AuditPurge {
    async fn run(&self) -> Result<Finished, String> {
        let Some(purger) = &self.purger else {
            return Err("There is no AUDIT_SIGNING_KEY to sign purge records with.".into());
        };
        let mut records = 0;
        loop {
            // None where somebody else purges.
            let Some(report) = purger.run().await.map_err(|error| error.to_string())? else { break };
            records += report.records();
            if !report.more {
                break;
            }
        }
        Ok(Finished { result: doc! { "records": records as i64 }, alert: None })
    }
}
