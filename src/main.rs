//! The command line.

use std::process::ExitCode;

use clap::Parser;
use waybill::{commands, config::Cli, telemetry};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(reason) = telemetry::init(&cli.log, cli.log_json).and_then(|()| cli.arm_crash_points()) {
        eprintln!("waybill: {reason}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("waybill: the runtime can't be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(commands::run(cli.command)).unwrap_or_else(|reason| {
        eprintln!("waybill: {reason}");
        ExitCode::FAILURE
    });
    // What still runs is nobody's work any more and ends with the process: the database driver's own tasks panic where the
    // runtime is taken down under them.
    std::mem::forget(runtime);
    code
}
