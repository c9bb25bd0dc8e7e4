//! `waybill audit ...`.

mod export;
mod retention;
mod verify;

use std::process::ExitCode;

use crate::config::AuditCommand;

/// Runs one of them; gives what it exits with.
pub(super) async fn run(command: AuditCommand) -> Result<ExitCode, String> {
    let done = match command {
        AuditCommand::Verify(args) => return Ok(verify::verify(args).await),
        AuditCommand::Export(args) => export::export(*args).await,
        AuditCommand::Purge(args) => retention::purge(&args).await,
        AuditCommand::Erase(args) => retention::erase(&args).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}
