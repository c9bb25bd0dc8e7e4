//! `waybill audit ...`.

mod export;
mod retention;

use crate::config::AuditCommand;

pub(super) async fn run(command: AuditCommand) -> Result<(), String> {
    match command {
        AuditCommand::Export(args) => export::export(*args).await,
        AuditCommand::Purge(args) => retention::purge(&args).await,
        AuditCommand::Erase(args) => retention::erase(&args).await,
    }
}
