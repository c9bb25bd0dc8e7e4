//! The chapter in which somebody changes what is on record.

use std::time::{Duration, Instant};

use bson::{Document, doc};

use super::claim::{claim, failed};
use crate::{
    app::App,
    modules::audit::{
        REQUEST_LOGS, RESPONSE_LOGS,
        proof::Scopes,
        seals::SealStore,
        verification::{ChainPart, Report},
    },
};

/// Everything is sealed by then, or the demo fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Seals, verifies, changes one record and then removes one, and is told which; puts both back.
pub(super) async fn tell(app: &App, order_id: &str) -> Result<(), String> {
    all_sealed(app).await?;
    let report = check(app).await?;
    println!("   {} records in {} signed seals, read again: nothing was changed", report.records, report.seals.count);
    claim(report.finding.is_none(), "a chain that verifies")?;

    let answers = app.db.collection::<Document>(RESPONSE_LOGS);
    let of_order = doc! { "orderId": order_id, "operation": "create_order" };
    let answer = answers.find_one(of_order).await.map_err(failed)?.ok_or("an answer is on record")?;
    let id = doc! { "_id": answer.get_str("_id").map_err(failed)? };
    println!(
        "   Somebody with the database's password makes a carrier's answer a 201 that was a {} ...",
        status(&answer)
    );
    answers.update_one(id.clone(), doc! { "$set": { "httpStatus": 201 } }).await.map_err(failed)?;
    named(app, &id).await?;
    answers.replace_one(id, &answer).await.map_err(failed)?;

    let requests = app.db.collection::<Document>(REQUEST_LOGS);
    let request = requests.find_one(doc! { "orderId": order_id }).await.map_err(failed)?;
    let request = request.ok_or("a request is on record")?;
    let id = doc! { "_id": request.get_str("_id").map_err(failed)? };
    println!("   ... puts it back, and removes a request ...");
    requests.delete_one(id.clone()).await.map_err(failed)?;
    named(app, &id).await?;
    requests.insert_one(&request).await.map_err(failed)?;
    claim(check(app).await?.finding.is_none(), "a chain that verifies again")?;
    println!("   ... and puts it back too: as it was sealed, so it verifies");
    Ok(())
}

fn status(answer: &Document) -> i32 {
    answer.get_i32("httpStatus").unwrap_or_default()
}

async fn check(app: &App) -> Result<Report, String> {
    app.verify_audit(ChainPart::default()).await.map_err(failed)
}

/// Verification names this record.
async fn named(app: &App, id: &Document) -> Result<(), String> {
    let finding = check(app).await?.finding.ok_or("this was expected and did not happen: a finding")?;
    let record = finding.record_id.clone().unwrap_or_default();
    println!("     waybill audit verify: {finding} ({record})");
    claim(id.get_str("_id").is_ok_and(|id| id == record), "the record that was touched")
}

async fn all_sealed(app: &App) -> Result<(), String> {
    let (began, seals) = (Instant::now(), SealStore::new(app.db.clone()));
    loop {
        let mut there = 0;
        for scope in Scopes::standard().today() {
            let records = app.db.collection::<Document>(scope.collection());
            there += records.count_documents(doc! {}).await.map_err(failed)?;
        }
        let last = seals.last().await.map_err(failed)?;
        let sealed: i64 = last.map(|last| last.totals.values().sum()).unwrap_or_default();
        if sealed.cast_unsigned() == there {
            return Ok(());
        }
        claim(began.elapsed() < PATIENCE, "every record in a seal")?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
