//! Exports for spreadsheets: a record per row, whatever is in it, and nothing that a spreadsheet would run.

use bson::doc;
use waybill::{modules::audit::proof::from_json, platform::ids::new_id};

use super::{
    Scene,
    read::{File, manifest_of},
};
use crate::{
    statement::rows,
    support::seals::{seal_all, write_records},
};

/// Rows of records, and the manifest, which is right.
#[track_caller]
fn checked(text: &str) -> (Vec<serde_json::Value>, serde_json::Value) {
    let (before, _) = text.strip_suffix("\r\n").unwrap().rsplit_once("\r\n").unwrap();
    let mut rows = rows(text);
    let last = rows.pop().unwrap();
    assert_eq!(last["type"], "manifest");
    let manifest = manifest_of(last["record"].as_str().unwrap(), &text.as_bytes()[..before.len() + 2], rows.len() + 1);
    (rows, manifest)
}

#[tokio::test]
async fn rows_say_what_lines_say() {
    let scene = Scene::set().await;
    for query in ["", "provider=parcelx", "collection=ledger_transactions"] {
        let answer = scene.app.get(&scene.auditor, &format!("/audit/export?format=csv&{query}")).await.expect(200);
        assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8; header=present");
        assert!(answer.headers["content-disposition"].to_str().unwrap().ends_with(".csv\""));
        let (rows, manifest) = checked(&answer.text);
        let file = File::read(&scene.export(query).await);
        for same in ["mode", "filters", "counts", "seals", "purged"] {
            assert_eq!(manifest[same], file.manifest[same], "{query}: {same}");
        }
        assert_eq!(rows.len(), file.records.len());
        for (row, record) in rows.iter().zip(&file.records) {
            assert_eq!(
                (&row["type"], &row["collection"], &row["id"]),
                (&"record".into(), &(*record.collection).into(), &(*record.id).into())
            );
            assert_eq!(row["seq"], record.seq.to_string());
            assert_eq!(from_json(row["record"].as_str().unwrap()).unwrap(), record.document);
            let seal: i64 = row["seal"].as_str().unwrap().parse().unwrap();
            assert!(record.proof.as_ref().is_none_or(|proof| proof.seal_number == seal) && (1..=2).contains(&seal));
            assert_eq!(row["userId"], record.document.get_str("userId").unwrap_or_default());
            assert!(!row["at"].as_str().unwrap().is_empty(), "{row}");
            let order = row["orderId"].as_str().unwrap();
            let is_call = record.collection.starts_with("provider_");
            assert!(!is_call || !order.is_empty(), "calls here are about orders: {row}");
            assert!(order.is_empty() || scene.orders.iter().any(|known| known == order), "{row}");
        }
        let answers: Vec<_> = rows.iter().filter(|row| row["collection"] == "provider_response_logs").collect();
        assert_eq!(
            answers
                .iter()
                .any(|row| row["httpStatus"] == "422" && row["errorClass"] == "fatal" && row["outcome"] == "fatal"),
            query != "collection=ledger_transactions"
        );
    }
    scene.app.finish().await;
}

#[tokio::test]
async fn nothing_is_run_and_no_row_is_torn_whatever_is_stored() {
    let scene = Scene::set().await;
    let texts = [
        "=cmd()",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "plain, \"quoted\"",
        "two\r\nlines",
        "a\rb\nc",
        "\u{20b9} 5",
        "",
    ];
    let pattern = scene.app.all("provider_response_logs", doc! {}).await.remove(0);
    let logs = texts.map(|text| {
        let mut log = pattern.clone();
        for field in ["clientOrderId", "provider", "operation", "outcome", "userId", "errorClass"] {
            log.insert(field, text);
        }
        log.insert("errorMessage", format!("{text};=cmd()"));
        log.insert("_id", new_id("res"));
        log
    });
    write_records(&scene.app, "provider_response_logs", &logs).await;
    seal_all(&scene.app).await;
    for query in ["", "collection=provider_response_logs"] {
        let (rows, _) = checked(&scene.export(&format!("format=csv&{query}")).await);
        for log in &logs {
            let id = log.get_str("_id").unwrap();
            let row = rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("{id} has no row"));
            let text = log.get_str("outcome").unwrap();
            let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
            let shown = if is_formula { format!("'{text}") } else { text.to_owned() };
            for field in ["clientOrderId", "provider", "operation", "outcome", "userId", "errorClass"] {
                assert_eq!(row[field], shown, "{text:?} in {field}");
            }
            let record = row["record"].as_str().unwrap();
            assert!(record.starts_with('{') && !record.contains(';'), "one cell, whatever ends cells: {record}");
            let sealed = from_json(record).unwrap();
            assert_eq!(
                sealed.get_str("errorMessage").unwrap(),
                format!("{text};=cmd()"),
                "what is sealed stays as it is"
            );
        }
        for row in rows {
            let cells = row.as_object().unwrap().values();
            let formulas: Vec<_> = cells
                .filter(|cell| cell.as_str().unwrap().starts_with(['=', '+', '-', '@', '\t', '\r', '\n']))
                .collect();
            assert!(formulas.is_empty(), "{formulas:?}");
        }
    }
    File::read(&scene.export("").await).check_chain(None, |_| false);
    scene.app.finish().await;
}
