//! The command line.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use waybill::{commands, config::Cli, platform::traces, telemetry};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// At the end spans that are not exported yet are waited for so long.
const SPANS_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("waybill: the runtime can't be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let begun = {
        // Spans are exported by the runtime.
        let _entered = runtime.enter();
        telemetry::init(&cli.log, cli.log_json)
            .and_then(|()| cli.traces.install())
            .and_then(|()| cli.arm_crash_points())
    };
    if let Err(reason) = begun {
        eprintln!("waybill: {reason}");
        return ExitCode::from(2);
    }
    let code = runtime.block_on(commands::run(cli.command)).unwrap_or_else(|reason| {
        eprintln!("waybill: {reason}");
        ExitCode::FAILURE
    });
    traces::finish(SPANS_PATIENCE);
    // What still runs is nobody's work any more and ends with the process: the database driver's own tasks panic where the
    // runtime is taken down under them.
    std::mem::forget(runtime);
    code
}
