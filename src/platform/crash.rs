//! Named points at which a test stops a process, to see that nothing is lost there.
//!
//! `WAYBILL_CRASH_AT=name` kills the process with SIGKILL when it first passes the point;
//! `WAYBILL_FREEZE_AT=name` stops it with SIGSTOP. Release builds have neither.

use std::sync::OnceLock;

/// Crash points of jobs.
pub const OF_JOBS: &[&str] = &[
    "before_commit",
    "after_commit",
    "claimed",
    "request_logged",
    "sending",
    "sent",
    "looking_up",
    "answered",
    "before_completion",
    "after_completion",
];
pub const OF_SEALING: &[&str] = &["seal_read", "seal_built", "seal_stored", "seal_anchored"];
pub const OF_RELAYING: &[&str] = &["relay_taken", "relay_acknowledged"];
/// Crash points of the event handlers that count their effects.
pub const OF_HANDLING: &[&str] = &["event_handling", "event_handled"];
pub const OF_PURGING: &[&str] = &["purge_deleting", "purge_committed"];

fn points() -> impl Iterator<Item = &'static str> {
    [OF_JOBS, OF_SEALING, OF_RELAYING, OF_HANDLING, OF_PURGING].into_iter().flatten().copied()
}

#[derive(Debug, Default)]
struct Armed {
    crash: Option<String>,
    freeze: Option<String>,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Arms the points of this process; called once, by the composition of the configuration.
///
/// # Errors
/// Names the point that doesn't exist.
pub fn arm(crash: Option<String>, freeze: Option<String>) -> Result<(), String> {
    for name in crash.iter().chain(freeze.iter()) {
        if !points().any(|point| point == name) {
            return Err(format!(
                "no crash point is named {name}; there are {}",
                points().collect::<Vec<_>>().join(", ")
            ));
        }
    }
    let _ = ARMED.set(Armed { crash, freeze });
    Ok(())
}

/// Passes the point `name`: stops here if a test asked for it.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    if let Some(armed) = ARMED.get() {
        debug_assert!(points().any(|point| point == name), "crash point {name} is not listed");
        if armed.crash.as_deref() == Some(name) {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
        if armed.freeze.as_deref() == Some(name) {
            static FROZEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
            if !FROZEN.swap(true, std::sync::atomic::Ordering::SeqCst) {
                // To this thread: a signal to the process would let it run on until another thread takes it.
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
            }
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// Resolves never, or ends the process a moment after a request went out, where a test asked for that.
pub async fn after_sending(operation: &'static str) {
    let name = if operation.starts_with("look_up") { "looking_up" } else { "sent" };
    let armed = cfg!(debug_assertions)
        && ARMED
            .get()
            .is_some_and(|armed| [&armed.crash, &armed.freeze].into_iter().flatten().any(|point| point == name));
    if !armed {
        return std::future::pending().await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    point(name);
    // A frozen process goes on from here when it is thawed; the call decides what came of it.
    std::future::pending().await
}
