//! `waybill bench`, as an operator runs it on a MongoDB of the own.

use std::{process::Output, time::Duration};

use bson::doc;
use serde_json::Value;
use tokio::process::Command;
use waybill::platform::mongo;

use crate::support::{server, unique, with_database};

const PATIENCE: Duration = Duration::from_secs(120);

async fn bench(args: &[&str]) -> Output {
    let home = std::env::temp_dir().join(unique("waybill-bench"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.arg("bench").args(args).arg("--home").arg(&home).kill_on_drop(true);
    command.env("MONGODB_URI", server("MONGODB_URI")).env("REDIS_URL", server("REDIS_URL"));
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time").unwrap();
    let _ = std::fs::remove_dir_all(&home);
    output
}

#[tokio::test]
async fn it_measures_and_leaves_nothing_behind() {
    let database = unique("bench");
    let output = bench(&["--seconds=2", "--merchants=3", "--connections=8", "--json", "--database", &database]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let orders = &report["orders"];
    assert!(orders["acknowledged"].as_u64() > Some(20), "{report}");
    assert_eq!((&orders["atCarrier"], &orders["refused"]), (&orders["acknowledged"], &0.into()), "{report}: {said}");
    assert_eq!((&orders["duplicates"], &orders["missing"]), (&0.into(), &0.into()), "{report}");
    for name in ["ordersPerSecond", "createsPerSecond", "cpuMsPerOrder", "commandsPerJob", "memoryMib"] {
        assert!(report[name].as_f64() > Some(0.0), "{name}: {report}");
    }
    for of in [&report["createMs"], &report["pickUpMs"], &report["confirmedMs"], &report["fairness"]["quietMs"]] {
        let [p50, p95, p99] = ["p50", "p95", "p99"].map(|share| of[share].as_f64().unwrap());
        assert!(0.0 <= p50 && p50 <= p95 && p95 <= p99 && p99 < 60_000.0, "{report}");
    }
    assert!(report["pickUpMs"]["p50"].as_f64() <= report["confirmedMs"]["p50"].as_f64(), "{report}");
    assert!(said.contains("at the carrier") && said.contains("on their way"), "it says how far it is: {said}");
    let db = mongo::connect(&with_database(&server("MONGODB_URI"), &database)).await.unwrap();
    assert!(db.list_collection_names().await.unwrap().is_empty(), "it drops what it made");
}

#[tokio::test]
async fn it_leaves_a_database_alone_that_has_something() {
    let database = unique("bench");
    let db = mongo::connect(&with_database(&server("MONGODB_URI"), &database)).await.unwrap();
    let orders = db.collection("orders");
    orders.insert_one(doc! { "_id": "ord_of_somebody" }).await.unwrap();
    let output = bench(&["--seconds=1", "--database", &database]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("exists") && said.contains("--database"), "{said}");
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 1);
    db.drop().await.unwrap();
}
