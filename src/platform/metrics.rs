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
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Every metric there is: a test holds this against where they are set.
const ALL: &[(Kind, &str, &str)] = &[
    (Kind::Histogram, "waybill_http_request_seconds", "Time to answer, by route, method and status."),
    (
        Kind::Counter,
        "waybill_http_connections_refused_total",
        "Connections that were closed because their address had too many.",
    ),
    (Kind::Counter, "waybill_requests_limited_total", "Requests that were refused, by the limit that they met."),
    (Kind::Counter, "waybill_trace_exports_failed_total", "Exports of spans that the collector did not take."),
    (Kind::Counter, "waybill_mongodb_slow_commands_total", "Commands over SLOW_QUERY_MS."),
    (Kind::Counter, "waybill_logins_total", "Logins, by result."),
    (Kind::Histogram, "waybill_batch_size", "Commands that shared a commit, by lane."),
    (Kind::Histogram, "waybill_batch_commit_seconds", "Time of a group commit, by lane."),
    (Kind::Counter, "waybill_batch_retries_total", "Group commits that were run again, by lane."),
    (
        Kind::Counter,
        "waybill_orphaned_transactions_ended_total",
        "Open transactions of dead processes that were ended.",
    ),
    (Kind::Gauge, "waybill_build_info", "1, with the version."),
    (Kind::Gauge, "process_start_time_seconds", "When this process started."),
    (Kind::Gauge, "process_cpu_seconds_total", "User and system time of this process."),
    (Kind::Gauge, "process_resident_memory_bytes", "Memory of this process."),
    (Kind::Gauge, "process_open_fds", "Open files and sockets."),
    (Kind::Gauge, "process_max_fds", "How many there may be."),
    (Kind::Gauge, "waybill_mongodb_connections", "Connections of this process to the database."),
    (Kind::Gauge, "waybill_mongodb_connections_in_use", "Those of them that an operation has."),
    (Kind::Histogram, "waybill_mongodb_checkout_seconds", "How long operations wait for a connection."),
    (Kind::Counter, "waybill_mongodb_checkout_failures_total", "Operations that got none."),
    (Kind::Gauge, "waybill_mongodb_up", "Whether the database answered when this was scraped."),
    (Kind::Gauge, "waybill_redis_up", "Whether Redis answered when this was scraped."),
    (Kind::Gauge, "waybill_queue_jobs", "Jobs of all workers by queue and state, each counted to 100,000."),
    (Kind::Gauge, "waybill_queue_oldest_due_seconds", "How long the job that has waited longest is due, by queue."),
    (Kind::Gauge, "waybill_queue_boards", "Boards that follow the queues in this process."),
    (Kind::Counter, "waybill_queue_board_looks_total", "Questions to the database for boards that follow the queues."),
    (
        Kind::Counter,
        "waybill_alert_readings_failed_total",
        "Looks at what alerts are judged by that failed, by what it was.",
    ),
    (Kind::Gauge, "waybill_queue_paused", "Whether somebody has paused the queue."),
    (Kind::Gauge, "waybill_workers_alive", "Workers that have said so in the last minute."),
    (Kind::Gauge, "waybill_queue_workers", "Workers that are alive and serve the queue."),
    (Kind::Counter, "waybill_jobs_total", "Ended attempts, by queue and result."),
    (Kind::Gauge, "waybill_jobs_active", "Jobs in the hands of this worker, by queue."),
    (Kind::Gauge, "waybill_clock_ahead_seconds", "How far this worker's clock is ahead of the database's."),
    (Kind::Histogram, "waybill_provider_call_seconds", "Calls, by provider, operation and outcome."),
    (Kind::Counter, "waybill_account_calls_total", "Calls, by account and what the answer says of it."),
    (
        Kind::Gauge,
        "waybill_account_breaker_open",
        "Whether calls with an account are stopped: 1, or 0.5 while it is tried.",
    ),
    (Kind::Counter, "waybill_order_creates_total", "Requests for orders that were understood, by provider and result."),
    (Kind::Gauge, "waybill_wallet_available_minor", "What all wallets hold to be spent, in minor units, by currency."),
    (Kind::Gauge, "waybill_wallet_held_minor", "What is set aside for open holds, in minor units, by currency."),
    (Kind::Histogram, "waybill_order_settled_seconds", "From creation to the carrier's answer."),
    (Kind::Gauge, "waybill_orders_needing_attention", "Orders that wait for a person, counted to 100,000."),
    (Kind::Counter, "waybill_payment_callbacks_total", "Callbacks of the payment gateway, by what became of them."),
    (Kind::Counter, "waybill_webhook_attempts_total", "Attempts to post webhooks, by result."),
    (Kind::Counter, "waybill_mails_total", "Mails, by letter and outcome."),
    (Kind::Gauge, "waybill_events_outbox_entries", "Entries of the outbox that are not relayed yet."),
    (Kind::Gauge, "waybill_events_relay_lag_seconds", "How long the oldest of them waits."),
    (Kind::Counter, "waybill_events_relayed_total", "Events that were relayed, by type."),
    (Kind::Histogram, "waybill_events_relay_seconds", "From an event to its relay."),
    (Kind::Counter, "waybill_consumer_failures_total", "Batches of events that a consumer could not take."),
    (Kind::Histogram, "waybill_events_handler_lag_seconds", "From an event to the end of its handling."),
    (Kind::Counter, "waybill_event_handlings_total", "Handlings of events, by handler and result."),
    (Kind::Gauge, "waybill_events_unrelayed", "Events of the outbox, counted by workers every 30 s."),
    (Kind::Gauge, "waybill_events_pending", "Events with something left to do."),
    (Kind::Gauge, "waybill_events_failed", "Events of which a handler has given up."),
    (Kind::Gauge, "waybill_events_oldest_pending_seconds", "Age of the oldest event with something left to do."),
    (Kind::Gauge, "waybill_handler_events", "Events by handler and state."),
    (Kind::Counter, "waybill_schedule_runs_total", "Runs of schedules, by outcome."),
    (Kind::Gauge, "waybill_schedule_alert", "1 where the latest run that ended well found something to tell a person."),
    (Kind::Gauge, "waybill_schedule_last_success_timestamp_seconds", "When a run last ended well, by schedule."),
    (Kind::Gauge, "waybill_ledger_differences", "What the latest check of the ledger here found."),
    (Kind::Gauge, "waybill_stock_differences", "What the latest check of stock here found."),
    (Kind::Gauge, "waybill_audit_differences", "1 where the latest verification of the audit here found something."),
    (Kind::Counter, "waybill_audit_seals_total", "Audit seals made by this process."),
    (Kind::Counter, "waybill_audit_sealed_records_total", "Records in them."),
    (Kind::Histogram, "waybill_audit_sealing_seconds", "Age of a seal's oldest record at sealing."),
    (Kind::Gauge, "waybill_audit_seal_queue_entries", "Records that wait for their seal."),
    (Kind::Gauge, "waybill_audit_seal_queue_oldest_seconds", "How long the oldest of them waits."),
    (Kind::Gauge, "waybill_audit_missing_records", "Records that were to be sealed and are not there."),
    (Kind::Counter, "waybill_audit_anchor_failures_total", "Anchors that could not be written."),
    (Kind::Counter, "waybill_audit_purged_total", "Records that were purged, by collection."),
    (Kind::Counter, "waybill_audit_denied_suppressed_total", "Refusals that were too many to be recorded one by one."),
];

fn describe() {
    for (kind, name, help) in ALL.iter().copied() {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, help),
            Kind::Gauge => metrics::describe_gauge!(name, help),
            Kind::Histogram => metrics::describe_histogram!(name, help),
        }
    }
}

/// Name and meaning of every metric.
pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALL.iter().map(|(_, name, help)| (*name, *help))
}
