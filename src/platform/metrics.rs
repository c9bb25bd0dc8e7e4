//! The metrics recorder. Names are `waybill_<what>_<unit>`; labels are few and never hold ids.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the latency buckets, in seconds.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds of the batch size buckets.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Installs the recorder of this process, once, and gives its handle.
///
/// # Panics
/// When another recorder was installed before; only one composition root exists.
pub fn install() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
                .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".into()), SIZES))
                .expect("the buckets are not empty")
                .install_recorder()
                .expect("no other recorder is installed");
            describe();
            handle
        })
        .clone()
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!("waybill_http_request_seconds", Unit::Seconds, "Time to answer, by route, method and status.");
    describe_histogram!("waybill_batch_commit_seconds", Unit::Seconds, "Time of a group commit, by lane.");
    describe_histogram!("waybill_batch_size", Unit::Count, "Commands that shared a commit, by lane.");
    describe_counter!("waybill_batch_retries_total", "Group commits that were run again, by lane.");
    describe_counter!("waybill_audit_seals_total", "Audit seals made by this process.");
    describe_counter!("waybill_audit_sealed_records_total", "Records in them.");
    describe_counter!("waybill_audit_anchor_failures_total", "Anchors that could not be written.");
    describe_histogram!("waybill_audit_sealing_seconds", Unit::Seconds, "Age of a seal's oldest record at sealing.");
    describe_counter!("waybill_jobs_total", "Ended attempts, by queue and result.");
    describe_gauge!("waybill_jobs_active", "Jobs in the hands of this worker, by queue.");
    describe_histogram!("waybill_provider_call_seconds", Unit::Seconds, "Provider calls, by operation and outcome.");
    describe_gauge!(
        "waybill_account_breaker_open",
        "Whether calls with an account are stopped: 1, or 0.5 while it is tried."
    );
    describe_counter!("waybill_account_calls_total", "Calls, by account and what the answer says of it.");
    describe_histogram!("waybill_order_settled_seconds", Unit::Seconds, "From creation to the carrier's answer.");
    describe_counter!("waybill_logins_total", "Logins, by result.");
}
