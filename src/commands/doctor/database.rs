//! MongoDB: whether it can do what Waybill rests on.

use bson::{Bson, Document, doc};
use mongodb::Database;

use super::findings::DoctorFindings;
use crate::{
    app,
    platform::{clock::Clock, mongo},
};

/// Tested with; transactions over several shards and changes of primaries behave as expected from here on.
const VERSION_MIN: (u32, u32) = (6, 0);
/// A killed process holds documents locked for so long.
const LIFETIME_S: i64 = 15;
/// A reconciliation reads one snapshot.
const SNAPSHOT_WINDOW_S: i64 = 300;
const DISK_PERCENT_MAX: f64 = 85.0;
/// Of the host's clock against the database's.
const CLOCK_MS_WARNING: i64 = 1_000;
const GRANT: &str = "Give the database user the role clusterMonitor on admin; it reads only.";

/// Looks; false where nothing more can be learnt from it.
pub(super) async fn look(db: &Database, findings: &mut DoctorFindings) -> bool {
    let admin = db.client().database("admin");
    let hello = match admin.run_command(doc! { "hello": 1 }).await {
        Ok(hello) => hello,
        Err(error) => {
            findings.problem(
                "mongodb",
                format!("It can't be reached: {error}"),
                "Start it, or correct MONGODB_URI; look at names, ports, firewalls and replicaSet=.",
            );
            return false;
        }
    };
    if let Err(error) = db.list_collection_names().await {
        let advice = "Correct user and password in MONGODB_URI (authSource=), and give the user the role readWrite on the database.";
        findings.problem("mongodb", format!("It answers and lets nothing be read: {error}"), advice);
        return false;
    }
    findings.ok("mongodb", format!("The database {} can be read.", db.name()));
    version(&admin, findings).await;
    replica_set(&admin, &hello, findings).await;
    parameters(&admin, findings).await;
    users(&admin, findings).await;
    disk(db, findings).await;
    clock(db, findings).await;
    indexes(db, findings).await;
    true
}

async fn version(admin: &Database, findings: &mut DoctorFindings) {
    let build = admin.run_command(doc! { "buildInfo": 1 }).await;
    let version = build.ok().and_then(|build| build.get_str("version").map(str::to_owned).ok()).unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let at = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if at >= VERSION_MIN {
        findings.ok("mongodb.version", version);
    } else {
        let (major, minor) = VERSION_MIN;
        findings.problem(
            "mongodb.version",
            format!("MongoDB {version} is older than {major}.{minor}."),
            format!("Upgrade to {major}.{minor} or newer."),
        );
    }
}

async fn replica_set(admin: &Database, hello: &Document, findings: &mut DoctorFindings) {
    const CHECK: &str = "mongodb.replica_set";
    if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        return findings.ok(CHECK, "A sharded cluster.");
    }
    let Ok(name) = hello.get_str("setName") else {
        return findings.problem(
            CHECK,
            "It is no replica set: there are no transactions, and nothing can be written.",
            "Start mongod with --replSet rs0 and run rs.initiate() once, also where there is one member only.",
        );
    };
    match admin.run_command(doc! { "replSetGetStatus": 1 }).await {
        Err(error) if mongo::is_unauthorized(&error) => {
            findings.unknown(CHECK, format!("{name}; its members can't be seen."), GRANT)
        }
        Err(error) => findings.unknown(CHECK, format!("{name}; its members can't be seen: {error}"), "Try again."),
        Ok(status) => {
            let members: Vec<&Document> =
                status.get_array("members").into_iter().flatten().filter_map(Bson::as_document).collect();
            // Primary, secondary, arbiter.
            let is_well = |member: &&&Document| {
                number(member, "health") == Some(1) && matches!(number(member, "state"), Some(1 | 2 | 7))
            };
            let well = members.iter().filter(is_well).count();
            if well < members.len() {
                let advice =
                    "Look at the members that rs.status() names: while a majority is missing, nothing can be written.";
                findings.problem(CHECK, format!("{name}: {well} of {} members are well.", members.len()), advice);
            } else if members.len() == 1 {
                let advice =
                    "Add two members: what is acknowledged is on this one's disk only, and its outage is yours.";
                findings.warn(CHECK, format!("{name} has one member."), advice);
            } else {
                findings.ok(CHECK, format!("{name}: {well} members, all well."));
            }
        }
    }
}

async fn parameters(admin: &Database, findings: &mut DoctorFindings) {
    const LIFETIME: &str = "transactionLifetimeLimitSeconds";
    const WINDOW: &str = "minSnapshotHistoryWindowInSeconds";
    let asked = admin.run_command(doc! { "getParameter": 1, LIFETIME: 1, WINDOW: 1 }).await;
    let set = match asked {
        Ok(set) => set,
        Err(error) if mongo::is_unauthorized(&error) => {
            return findings.unknown("mongodb.transactions", format!("{LIFETIME} can't be seen."), GRANT);
        }
        Err(error) => {
            return findings.unknown(
                "mongodb.transactions",
                format!("{LIFETIME} can't be seen: {error}"),
                "Try again.",
            );
        }
    };
    match number(&set, LIFETIME) {
        Some(lifetime) if lifetime > LIFETIME_S => findings.warn(
            "mongodb.transactions",
            format!("{LIFETIME} is {lifetime}: a process that dies may hold others up for as long."),
            format!("Start every mongod with --setParameter {LIFETIME}={LIFETIME_S}, or set it now by db.adminCommand({{setParameter: 1, {LIFETIME}: {LIFETIME_S}}})."),
        ),
        lifetime => findings.ok("mongodb.transactions", format!("{LIFETIME} is {}.", lifetime.unwrap_or_default())),
    }
    if let Some(window) = number(&set, WINDOW).filter(|window| *window < SNAPSHOT_WINDOW_S) {
        findings.warn(
            "mongodb.snapshots",
            format!("{WINDOW} is {window}: checks of a long ledger can't read it as of one moment."),
            format!("Set it to {SNAPSHOT_WINDOW_S}."),
        );
    }
}

async fn users(admin: &Database, findings: &mut DoctorFindings) {
    let status = admin.run_command(doc! { "connectionStatus": 1 }).await;
    let users = status
        .ok()
        .and_then(|status| Some(status.get_document("authInfo").ok()?.get_array("authenticatedUsers").ok()?.len()));
    match users {
        Some(0) => findings.warn(
            "mongodb.users",
            "It asks for no password: whoever reaches it reads and changes everything.",
            "Start it with --auth (a key file in a replica set) and name a user in MONGODB_URI.",
        ),
        Some(_) => findings.ok("mongodb.users", "It asks for a password."),
        None => {}
    }
}

async fn disk(db: &Database, findings: &mut DoctorFindings) {
    let Ok(stats) = db.run_command(doc! { "dbStats": 1 }).await else { return };
    let (Some(used), Some(total)) =
        (float(&stats, "fsUsedSize"), float(&stats, "fsTotalSize").filter(|total| *total > 0.0))
    else {
        return;
    };
    let percent = used * 100.0 / total;
    let says = format!("The database's disk is {percent:.0}% full.");
    let advice = "Enlarge it, or shorten RETENTION_PROVIDER_CALLS_DAYS; a full disk stops everything.";
    if percent >= DISK_PERCENT_MAX {
        findings.warn("mongodb.disk", says, advice);
    } else {
        findings.ok("mongodb.disk", says);
    }
}

/// Waybill goes by the database's clock; certificates and logs go by the host's.
async fn clock(db: &Database, findings: &mut DoctorFindings) {
    match Clock::default().offset(db).await {
        Ok(Some(offset)) if offset.ahead_ms.abs() > CLOCK_MS_WARNING => findings.warn(
            "clock",
            format!("This host's clock is {} ms from the database's.", offset.ahead_ms),
            "Let both follow NTP (chrony, systemd-timesyncd).",
        ),
        Ok(Some(offset)) => findings.ok("clock", format!("{} ms from the database's.", offset.ahead_ms)),
        _ => findings.unknown("clock", "The database was too slow to tell the time.", "Try again."),
    }
}

async fn indexes(db: &Database, findings: &mut DoctorFindings) {
    let (collections, declared) = (app::collections(), app::indexes());
    let compared = match mongo::compare_indexes(db, &collections, &declared).await {
        Ok(compared) => compared,
        Err(error) => return findings.unknown("mongodb.indexes", format!("They can't be read: {error}"), "Try again."),
    };
    if !compared.missing.is_empty() {
        let says =
            format!("{} of {} are missing: {}", compared.missing.len(), declared.len(), compared.missing.join(", "));
        findings.problem(
            "mongodb.indexes",
            says,
            "Run `waybill migrate`; the API takes no writes without its unique indexes.",
        );
    }
    for (name, what) in &compared.different {
        let (collection, index) = name.split_once('.').unwrap_or((name, ""));
        let advice = format!(
            "Have it made anew: db.{collection}.dropIndex(\"{index}\"), then `waybill migrate`, while nothing runs."
        );
        findings.problem("mongodb.indexes", format!("{name}: {what}"), advice);
    }
    if compared.missing.is_empty() && compared.different.is_empty() {
        findings.ok("mongodb.indexes", format!("All {} are there as they are declared.", declared.len()));
    }
    if !compared.unknown.is_empty() {
        let says = format!("Waybill does not know {}.", compared.unknown.join(", "));
        findings.warn("mongodb.indexes", says, "Every write pays for them: drop those that nobody of yours needs.");
    }
}

fn float(document: &Document, field: &str) -> Option<f64> {
    mongo::number(document.get(field)?)
}

fn number(document: &Document, field: &str) -> Option<i64> {
    float(document, field).map(|n| n as i64)
}
