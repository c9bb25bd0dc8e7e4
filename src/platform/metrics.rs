//! The metrics recorder. Names are `waybill_<what>_<unit>`; labels are few and never hold ids, but those of accounts at providers.

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
            super::process_metrics::begin();
            handle
        })
        .clone()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// Every metric there is: a test holds this against where they are set.
const ALL: &[(MetricKind, &str, &str)] = &[
    (MetricKind::Histogram, "waybill_http_request_seconds", "Time to answer, by route, method and status."),
    (
        MetricKind::Counter,
        "waybill_http_connections_refused_total",
        "Connections that were closed because their address had too many.",
    ),
    (MetricKind::Counter, "waybill_requests_limited_total", "Requests that were refused, by the limit that they met."),
    (MetricKind::Counter, "waybill_trace_exports_failed_total", "Exports of spans that the collector did not take."),
    (MetricKind::Counter, "waybill_mongodb_slow_commands_total", "Commands over SLOW_QUERY_MS."),
    (MetricKind::Counter, "waybill_logins_total", "Logins, by result."),
    (MetricKind::Histogram, "waybill_batch_size", "Commands that shared a commit, by lane."),
    (MetricKind::Histogram, "waybill_batch_commit_seconds", "Time of a group commit, by lane."),
    (MetricKind::Counter, "waybill_batch_retries_total", "Group commits that were run again, by lane."),
    (
        MetricKind::Counter,
        "waybill_orphaned_transactions_ended_total",
        "Open transactions of dead processes that were ended.",
    ),
    (MetricKind::Gauge, "waybill_build_info", "1, with the version."),
    (MetricKind::Gauge, "process_start_time_seconds", "When this process started."),
    (MetricKind::Gauge, "process_cpu_seconds_total", "User and system time of this process."),
    (MetricKind::Gauge, "process_resident_memory_bytes", "Memory of this process."),
    (MetricKind::Gauge, "process_open_fds", "Open files and sockets."),
    (MetricKind::Gauge, "process_max_fds", "How many there may be."),
    (MetricKind::Gauge, "waybill_mongodb_connections", "Connections of this process to the database."),
    (MetricKind::Gauge, "waybill_mongodb_connections_in_use", "Those of them that an operation has."),
    (MetricKind::Histogram, "waybill_mongodb_checkout_seconds", "How long operations wait for a connection."),
    (MetricKind::Counter, "waybill_mongodb_checkout_failures_total", "Operations that got none."),
    (MetricKind::Gauge, "waybill_mongodb_up", "Whether the database answered when this was scraped."),
    (MetricKind::Gauge, "waybill_redis_up", "Whether Redis answered when this was scraped."),
    (MetricKind::Gauge, "waybill_queue_jobs", "Jobs of all workers by queue and state, each counted to 100,000."),
    (
        MetricKind::Gauge,
        "waybill_queue_oldest_due_seconds",
        "How long the job that has waited longest is due, by queue.",
    ),
    (MetricKind::Gauge, "waybill_queue_boards", "Boards that follow the queues in this process."),
    (
        MetricKind::Counter,
        "waybill_queue_board_looks_total",
        "Questions to the database for boards that follow the queues.",
    ),
    (
        MetricKind::Counter,
        "waybill_alert_readings_failed_total",
        "Looks at what alerts are judged by that failed, by what it was.",
    ),
    (MetricKind::Gauge, "waybill_queue_paused", "Whether somebody has paused the queue."),
    (MetricKind::Gauge, "waybill_workers_alive", "Workers that have said so in the last minute."),
    (MetricKind::Gauge, "waybill_queue_workers", "Workers that are alive and serve the queue."),
    (MetricKind::Counter, "waybill_jobs_total", "Ended attempts, by queue and result."),
    (MetricKind::Gauge, "waybill_jobs_active", "Jobs in the hands of this worker, by queue."),
    (MetricKind::Gauge, "waybill_clock_ahead_seconds", "How far this worker's clock is ahead of the database's."),
    (MetricKind::Histogram, "waybill_provider_call_seconds", "Calls, by provider, operation and outcome."),
    (MetricKind::Counter, "waybill_account_calls_total", "Calls, by account and what the answer says of it."),
    (
        MetricKind::Gauge,
        "waybill_queue_oldest_due_seconds",
        "How long the job that has waited longest is due, by queue.",
    ),
    (MetricKind::Gauge, "waybill_queue_boards", "Boards that follow the queues in this process."),
    (
        MetricKind::Counter,
        "waybill_queue_board_looks_total",
        "Questions to the database for boards that follow the queues.",
    ),
    (MetricKind::Gauge, "waybill_queue_paused", "Whether somebody has paused the queue."),
    (MetricKind::Gauge, "waybill_workers_alive", "Workers that have said so in the last minute."),
    (MetricKind::Gauge, "waybill_queue_workers", "Workers that are alive and serve the queue."),
    (MetricKind::Counter, "waybill_jobs_total", "Ended attempts, by queue and result."),
    (MetricKind::Gauge, "waybill_jobs_active", "Jobs in the hands of this worker, by queue."),
    (MetricKind::Gauge, "waybill_clock_ahead_seconds", "How far this worker's clock is ahead of the database's."),
    (MetricKind::Histogram, "waybill_provider_call_seconds", "Calls, by provider, operation and outcome."),
    (MetricKind::Counter, "waybill_account_calls_total", "Calls, by account and what the answer says of it."),
    (
        MetricKind::Gauge,
        "waybill_account_breaker_open",
        "Whether calls with an account are stopped: 1, or 0.5 while it is tried.",
    ),
    (
        MetricKind::Counter,
        "waybill_order_creates_total",
        "Requests for orders that were understood, by provider and result.",
    ),
    (
        MetricKind::Gauge,
        "waybill_wallet_available_minor",
        "What all wallets hold to be spent, in minor units, by currency.",
    ),
    (MetricKind::Gauge, "waybill_wallet_held_minor", "What is set aside for open holds, in minor units, by currency."),
    (MetricKind::Histogram, "waybill_order_settled_seconds", "From creation to the carrier's answer."),
    (MetricKind::Gauge, "waybill_orders_needing_attention", "Orders that wait for a person, counted to 100,000."),
    (
        MetricKind::Counter,
        "waybill_payment_callbacks_total",
        "Callbacks of the payment gateway, by what became of them.",
    ),
    (MetricKind::Counter, "waybill_webhook_attempts_total", "Attempts to post webhooks, by result."),
    (MetricKind::Counter, "waybill_mails_total", "Mails, by letter and outcome."),
    (MetricKind::Gauge, "waybill_events_outbox_entries", "Entries of the outbox that are not relayed yet."),
    (MetricKind::Gauge, "waybill_events_relay_lag_seconds", "How long the oldest of them waits."),
    (MetricKind::Counter, "waybill_events_relayed_total", "Events that were relayed, by type."),
    (MetricKind::Histogram, "waybill_events_relay_seconds", "From an event to its relay."),
    (MetricKind::Counter, "waybill_consumer_failures_total", "Batches of events that a consumer could not take."),
    (MetricKind::Histogram, "waybill_events_handler_lag_seconds", "From an event to the end of its handling."),
    (MetricKind::Counter, "waybill_event_handlings_total", "Handlings of events, by handler and result."),
    (MetricKind::Gauge, "waybill_events_unrelayed", "Events of the outbox, counted by workers every 30 s."),
    (MetricKind::Gauge, "waybill_events_pending", "Events with something left to do."),
    (MetricKind::Gauge, "waybill_events_failed", "Events of which a handler has given up."),
    (MetricKind::Gauge, "waybill_events_oldest_pending_seconds", "Age of the oldest event with something left to do."),
    (MetricKind::Gauge, "waybill_handler_events", "Events by handler and state."),
    (MetricKind::Counter, "waybill_schedule_runs_total", "Runs of schedules, by outcome."),
    (
        MetricKind::Gauge,
        "waybill_schedule_alert",
        "1 where the latest run that ended well found something to tell a person.",
    ),
    (MetricKind::Gauge, "waybill_schedule_last_success_timestamp_seconds", "When a run last ended well, by schedule."),
    (MetricKind::Gauge, "waybill_ledger_differences", "What the latest check of the ledger here found."),
    (MetricKind::Gauge, "waybill_stock_differences", "What the latest check of stock here found."),
    (
        MetricKind::Gauge,
        "waybill_audit_differences",
        "1 where the latest verification of the audit here found something.",
    ),
    (MetricKind::Counter, "waybill_audit_seals_total", "Audit seals made by this process."),
    (MetricKind::Counter, "waybill_audit_sealed_records_total", "Records in them."),
    (MetricKind::Histogram, "waybill_audit_sealing_seconds", "Age of a seal's oldest record at sealing."),
    (MetricKind::Gauge, "waybill_audit_seal_queue_entries", "Records that wait for their seal."),
    (MetricKind::Gauge, "waybill_audit_seal_queue_oldest_seconds", "How long the oldest of them waits."),
    (MetricKind::Gauge, "waybill_audit_missing_records", "Records that were to be sealed and are not there."),
    (MetricKind::Counter, "waybill_audit_anchor_failures_total", "Anchors that could not be written."),
    (MetricKind::Counter, "waybill_audit_purged_total", "Records that were purged, by collection."),
    (
        MetricKind::Counter,
        "waybill_audit_denied_suppressed_total",
        "Refusals that were too many to be recorded one by one.",
    ),
];

fn describe() {
    for (kind, name, help) in ALL.iter().copied() {
        match kind {
            MetricKind::Counter => metrics::describe_counter!(name, help),
            MetricKind::Gauge => metrics::describe_gauge!(name, help),
            MetricKind::Histogram => metrics::describe_histogram!(name, help),
        }
    }
}

/// Name and meaning of every metric.
pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALL.iter().map(|(_, name, help)| (*name, *help))
}
