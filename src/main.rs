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
    match runtime.block_on(commands::run(cli.command)) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("waybill: {reason}");
            ExitCode::FAILURE
        }
    }
}
