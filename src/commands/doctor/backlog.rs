//! Checks of work that waits.

use std::time::Duration;

use super::findings::DoctorFindings;
use crate::{
    app::App,
    modules::{
        audit::seals::SealStore,
        orders::OrderStore,
        providers::dispatch::{AccountOverview, BreakerReason, BreakerState},
        schedules::{RunState, ScheduleStore},
    },
};

/// A job that is due for longer has nobody who takes it.
const DUE_MS_MAX: i64 = 60_000;
/// The same of events and of records for the audit's seals.
const LATE: Duration = Duration::from_secs(60);
/// Workers whose clocks are farther apart don't claim beside each other.
const APART_MS: i64 = 2_000;

pub(super) async fn look(app: &App, findings: &mut DoctorFindings) {
    if let Err(error) = look_at_all(app, findings).await {
        findings.unknown("backlog", format!("It can't be read: {error}"), "Try again.");
    }
}

async fn look_at_all(app: &App, findings: &mut DoctorFindings) -> mongodb::error::Result<()> {
    app.clock.sync(&app.db).await?;
    let due = queues(app, findings).await?;
    workers(app, due, findings).await?;
    accounts(app, findings).await?;
    let lag = app.event_stats().lag().await?;
    if lag > LATE {
        let advice = "Start workers, or look in their logs why they don't relay.";
        findings.problem(
            "backlog.events",
            format!("The oldest event has waited {} s to be relayed.", lag.as_secs()),
            advice,
        );
    } else {
        findings.ok("backlog.events", format!("The oldest event has waited {} ms.", lag.as_millis()));
    }
    let waited_ms = SealStore::new(app.db.clone()).queue_age_ms(app.clock.now_ms()).await?;
    if waited_ms > LATE.as_millis() as i64 {
        let advice = "Start workers; where they run, `waybill audit verify` says what keeps the sealer.";
        findings.problem(
            "backlog.seals",
            format!("Records have waited {} s for their seal.", waited_ms / 1_000),
            advice,
        );
    } else {
        findings.ok("backlog.seals", format!("The oldest record has waited {waited_ms} ms."));
    }
    let attention = OrderStore::new(app.db.clone()).count_needing_attention().await?;
    if attention > 0 {
        let advice = "Ask the provider what became of each, then retry its job (POST /queues/jobs/{jobId}/retry) or cancel the order.";
        findings.warn("backlog.orders", format!("{attention} orders need a person."), advice);
    } else {
        findings.ok("backlog.orders", "No order needs a person.");
    }
    schedules(app, findings).await
}

/// Looks at all queues; gives how many jobs are due.
async fn queues(app: &App, findings: &mut DoctorFindings) -> mongodb::error::Result<u64> {
    let (now, mut due, mut noted) = (app.clock.now(), 0, false);
    for queue in app.all_queues() {
        let name = queue.name;
        let summary = app.queue_store.summary(name, now).await?;
        due += summary.ready;
        let is_paused = app.queue_store.controls(name).await?.paused;
        if is_paused {
            noted = true;
            findings.warn(
                "backlog.queues",
                format!("{name} is paused."),
                format!("POST /queues/{name}/resume lets it go on."),
            );
        }
        if summary.dead > 0 {
            noted = true;
            let advice = format!(
                "GET /queues/{name}/jobs?state=dead says why; retry them one by one, or all by POST /queues/{name}/retry-dead."
            );
            findings.warn("backlog.queues", format!("{name} has {} dead jobs.", summary.dead), advice);
        }
        let oldest = app.queue_store.oldest_due(name, now).await?;
        let waited_ms = oldest.map_or(0, |at| now.timestamp_millis() - at.timestamp_millis());
        if waited_ms > DUE_MS_MAX && !is_paused {
            noted = true;
            let says = format!("{name}: {} jobs are due, the oldest for {} s.", summary.ready, waited_ms / 1_000);
            let advice = "Start workers that serve it (those of another provider's account don't), or more of them; a provider that is \
                          away shows under accounts.";
            findings.problem("backlog.queues", says, advice);
        }
    }
    if !noted {
        findings.ok("backlog.queues", format!("{due} jobs are due, none for long; none is dead, no queue is paused."));
    }
    Ok(due)
}

async fn workers(app: &App, due: u64, findings: &mut DoctorFindings) -> mongodb::error::Result<()> {
    let alive = app.queue_store.list_alive().await?;
    let advice = "Start `waybill worker`.";
    match alive.len() {
        0 if due > 0 => findings.problem("workers", format!("None is alive, and {due} jobs are due."), advice),
        0 => findings.warn("workers", "None is alive.", advice),
        count => findings.ok("workers", format!("{count} alive.")),
    }
    for beat in alive {
        let apart = beat.ahead_ms.filter(|ahead_ms| ahead_ms.abs() > APART_MS);
        if apart.is_some() || !beat.in_step {
            let says = format!(
                "{} does not claim beside the others: its clock is {} ms off.",
                beat.worker_id,
                beat.ahead_ms.unwrap_or_default()
            );
            findings.warn(
                "workers",
                says,
                "Wait a minute after a change of the primary; else restart it and look at its host's clock.",
            );
        }
    }
    Ok(())
}

async fn accounts(app: &App, findings: &mut DoctorFindings) -> mongodb::error::Result<()> {
    let known = app.accounts.known_facts().await?;
    let usable = known.iter().filter(|facts| facts.active).count();
    app.dispatch.set_accounts(known);
    if usable == 0 {
        findings.warn(
            "accounts",
            "There is no account at any provider: orders wait.",
            "Set credentials in the environment, or add an account by POST /provider-accounts.",
        );
        return Ok(());
    }
    let mut stopped: Vec<AccountOverview> = Vec::new();
    for queue in app.all_queues() {
        for account in app.dispatch.overview(queue.name).await? {
            let is_new = stopped.iter().all(|known| known.account_id != account.account_id);
            if account.breaker != BreakerState::Closed && is_new {
                stopped.push(account);
            }
        }
    }
    if stopped.is_empty() {
        findings.ok("accounts", format!("{usable} in use, none stopped."));
    }
    for account in stopped {
        let (why, advice) = match account.reason {
            Some(BreakerReason::Credentials) => (
                "its credentials were refused",
                "Give new ones by PUT /provider-accounts/{accountId}, or in the environment; then resume its queue.",
            ),
            _ => (
                "calls were not answered",
                "Ask the provider; it is tried again by itself. POST /queues/{queue}/resume tries at once.",
            ),
        };
        findings.problem("accounts", format!("Nothing is sent with {}: {why}.", account.account_id), advice);
    }
    Ok(())
}

async fn schedules(app: &App, findings: &mut DoctorFindings) -> mongodb::error::Result<()> {
    let store = ScheduleStore::new(app.db.clone());
    let mut noted = false;
    for plan in app.plans.iter() {
        let Some(run) = store.list_runs(plan.name, None, 1).await?.pop() else { continue };
        let says = match (&run.alert, run.state) {
            (Some(alert), _) => alert.clone(),
            (None, RunState::Failed) => run.error.clone().unwrap_or_default(),
            _ => continue,
        };
        noted = true;
        let advice = format!("GET /schedules/{} has the run {}.", plan.name, run.id);
        findings.problem("schedules", format!("{}: {says}", plan.name), advice);
    }
    if !noted {
        findings.ok("schedules", "None of the latest runs failed or found anything.");
    }
    Ok(())
}
