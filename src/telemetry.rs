//! Logs go to stderr.

use tracing_subscriber::EnvFilter;

/// Starts logging; `filter` as in `info,waybill=debug`.
///
/// # Errors
/// When the filter can't be read.
pub fn init(filter: &str, json: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("RUST_LOG: {error}"))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    if json {
        logs.json().flatten_event(true).init()
    } else {
        logs.init()
    }
    Ok(())
}
