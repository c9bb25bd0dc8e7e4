//! Metrics: each is described, dashboards and alerts ask for nothing else, and every process says what all share.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::{modules::alerts::RULES, platform::metrics::described};

use super::{path, read, yaml};
use crate::support::{TestApp, serve_worker};

const LABELS_OF_PROMETHEUS: &[&str] = &["le", "instance", "job", "alertname", "alertstate"];
const SERIES_OF_PROMETHEUS: &[&str] = &["up", "ALERTS"];

#[derive(Debug, Default)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// Every metric that the code sets, with its labels.
fn metrics_of_the_code() -> BTreeMap<String, Metric> {
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    look_into(&path("src"), &mut found);
    found
}

fn look_into(folder: &Path, found: &mut BTreeMap<String, Metric>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look_into(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for kind in ["counter", "gauge", "histogram"] {
            for call in text.split(&format!("metrics::{kind}!(")).skip(1) {
                // What belongs to the macro ends where its parenthesis closes.
                let mut depth = 1_i32;
                let end = call.find(|c: char| {
                    depth += match c {
                        '(' => 1,
                        ')' => -1,
                        _ => 0,
                    };
                    depth == 0
                });
                let mut quoted = call[..end.expect("it closes")].split('"').skip(1).step_by(2);
                let name = quoted.next().expect("a name").to_owned();
                let arguments = &call[..end.unwrap_or_default()];
                let metric = found.entry(name).or_default();
                kind.clone_into(&mut metric.kind);
                let labels =
                    arguments.split("=>").map(|before| before.rsplit('"').nth(1).unwrap_or_default().to_owned());
                let count = arguments.matches("=>").count();
                metric.labels.extend(labels.take(count));
            }
        }
    }
}

#[test]
fn every_metric_is_described_and_every_description_is_of_one() {
    let set: BTreeSet<String> = metrics_of_the_code().into_keys().collect();
    let told: BTreeSet<String> = described().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(set, told);
    for (name, metric) in metrics_of_the_code() {
        // Of the process itself under the names that everybody uses; its time is a reading, not a count of ours.
        if !name.starts_with("process_") {
            assert!(name.starts_with("waybill_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == "counter", "{name} is a {}", metric.kind);
        }
        for label in &metric.labels {
            let is_id = label == "id" || label.ends_with("_id") || label.contains("user") || label.contains("order");
            assert!(!is_id, "{name} has the label {label}: ids are not bounded");
        }
    }
}

/// A query asks for series and labels that exist.
fn check(place: &str, query: &str, metrics: &BTreeMap<String, Metric>) {
    let mut labels: BTreeSet<&str> = LABELS_OF_PROMETHEUS.iter().copied().collect();
    let words = || query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let mut asked = 0;
    for word in words().filter(|word| word.starts_with("waybill_") || word.starts_with("process_")) {
        let base = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| word.strip_suffix(suffix));
        let histogram = base.and_then(|base| metrics.get(base)).filter(|metric| metric.kind == "histogram");
        let metric = histogram.or_else(|| metrics.get(word).filter(|metric| metric.kind != "histogram"));
        let metric = metric.unwrap_or_else(|| panic!("{place}: there is no metric {word}: {query}"));
        labels.extend(metric.labels.iter().map(String::as_str));
        asked += 1;
    }
    asked += words().filter(|word| SERIES_OF_PROMETHEUS.contains(word)).count();
    assert!(asked > 0, "{place}: asks for nothing: {query}");
    for (open, close) in [("{", '}'), ("by (", ')'), ("on (", ')')] {
        for rest in query.split(open).skip(1) {
            let inside = rest.split(close).next().unwrap_or_default();
            for part in inside.split(',').filter(|part| !part.trim().is_empty()) {
                let label =
                    part.trim().split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
                assert!(labels.contains(label), "{place}: nothing has the label {label}: {query}");
            }
        }
    }
}

#[test]
fn dashboards_ask_for_metrics_that_exist() {
    let (metrics, mut asked) = (metrics_of_the_code(), BTreeSet::new());
    for entry in std::fs::read_dir(path("deploy/grafana/dashboards")).unwrap() {
        let file = entry.unwrap().path();
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let place = format!("{}: {}", file.display(), panel["title"]);
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().expect("a query");
                check(&place, query, &metrics);
                asked.insert(query.to_owned());
                // What names a line is a label that is left.
                for label in target["legendFormat"].as_str().unwrap_or_default().split("{{").skip(1) {
                    let label = label.split("}}").next().unwrap_or_default();
                    assert!(query.contains(label) || label == "instance", "{place}: {label} is not left by {query}");
                }
            }
        }
        for annotation in dashboard["annotations"]["list"].as_array().into_iter().flatten() {
            check("annotation", annotation["expr"].as_str().expect("a query"), &metrics);
        }
    }
    assert!(asked.len() > 40, "dashboards are not read any more: {}", asked.len());
}

#[test]
fn alerts_ask_for_metrics_that_exist_and_are_tried_and_explained() {
    let (metrics, rules) = (metrics_of_the_code(), yaml("deploy/prometheus/alerts.yml"));
    let rules = rules["groups"][0]["rules"].as_array().expect("rules").clone();
    let (tests, page) = (read("deploy/prometheus/alerts_test.yml"), read("docs/operate.md"));
    let mut tried = 0;
    for rule in &rules {
        let name = rule["alert"].as_str().expect("a name");
        check(name, rule["expr"].as_str().expect("a query"), &metrics);
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()), "{name}");
        assert!(rule["annotations"]["summary"].as_str().is_some_and(|words| words.ends_with('.')), "{name}");
        assert!(page.contains(&format!("`{name}`")), "docs/operate.md does not say what to do about {name}");
        tried += usize::from(tests.contains(name));
    }
    assert!(rules.len() > 20 && tried > 12, "{tried} of {} rules have a test", rules.len());
    for series in yaml("deploy/prometheus/alerts_test.yml")["tests"].as_array().expect("tests") {
        for series in series["input_series"].as_array().expect("series") {
            check("alerts_test.yml", series["series"].as_str().expect("a series"), &metrics);
        }
    }
}

/// `2m` as a duration.
fn minutes(text: Option<&str>) -> Duration {
    let text = text.unwrap_or("0m");
    Duration::from_secs(60 * text.trim_end_matches('m').parse::<u64>().expect("minutes"))
}

#[test]
fn what_waybill_tells_of_itself_prometheus_tells_too() {
    let (page, rules) = (read("docs/operate.md"), yaml("deploy/prometheus/alerts.yml"));
    let rules = rules["groups"][0]["rules"].as_array().expect("rules").clone();
    for own in RULES {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", own.name)));
        let row = row.unwrap_or_else(|| panic!("docs/operate.md has no row of {}", own.name));
        let name = row.rsplit('`').nth(1).expect("a name");
        let rule = rules.iter().find(|rule| rule["alert"] == name).unwrap_or_else(|| panic!("no rule {name}"));
        assert_eq!(minutes(rule["for"].as_str()), own.after, "{name}");
        assert!(row.contains(&format!("| {} minutes", own.after.as_secs() / 60)) || own.after.is_zero(), "{row}");
        assert_eq!(rule["labels"]["severity"], serde_json::to_value(own.severity).unwrap(), "{name}");
        if own.above > 0.0 {
            let query = rule["expr"].as_str().expect("a query");
            assert!(query.contains(&format!("> {}", own.above)), "{name} has another limit: {query}");
        }
    }
}

#[tokio::test]
async fn every_process_says_how_all_queues_stand() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    for n in 0..3 {
        app.created(&user, &format!("c-{n}")).await;
    }
    app.post(&admin, "/queues/mail-queue/pause", &json!({})).await.expect(200);
    app.db()
        .collection::<bson::Document>("orders")
        .update_one(doc! { "clientOrderId": "c-0" }, doc! { "$set": { "status": "needs_attention" } })
        .await
        .unwrap();
    let worker = serve_worker(&app.app).await;
    let lines = [
        "waybill_queue_jobs{queue=\"parcelx-orders-queue\",state=\"ready\"} 3",
        "waybill_queue_jobs{queue=\"webhook-deliveries-queue\",state=\"dead\"} 0",
        "waybill_queue_paused{queue=\"mail-queue\"} 1",
        "waybill_queue_paused{queue=\"parcelx-orders-queue\"} 0",
        "waybill_queue_oldest_due_seconds{queue=\"parcelx-orders-queue\"} ",
        "waybill_orders_needing_attention 1",
        "waybill_queue_workers{queue=\"mail-queue\"} 0",
        "waybill_workers_alive 0",
        "waybill_mongodb_up 1",
        "waybill_redis_up 1",
        "waybill_events_outbox_entries ",
        "waybill_audit_seal_queue_oldest_seconds ",
        "# HELP waybill_queue_paused Whether somebody has paused the queue.",
    ];
    let of_the_api = app.request(Method::GET, "/metrics", None, None).await.expect(200).text;
    let of_the_worker = app.client.get(format!("{worker}/metrics")).send().await.unwrap().text().await.unwrap();
    for (place, text) in [("api", of_the_api), ("worker", of_the_worker)] {
        for line in lines {
            assert!(text.contains(line), "{line} is not in what the {place} says:\n{text}");
        }
    }
    app.finish_unchecked().await;
}
