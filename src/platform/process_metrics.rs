//! Resource use of processes; of this one under the names that Prometheus' own libraries use. From `/proc`: elsewhere than on Linux
//! there are none.

use std::{fs, sync::OnceLock, time::SystemTime};

/// Ticks a second in `/proc/self/stat`; the same on every Linux.
const TICKS: f64 = 100.0;

/// When this process started, nearly.
static STARTED: OnceLock<SystemTime> = OnceLock::new();

/// Notes the start, and what runs.
pub(super) fn begin() {
    STARTED.get_or_init(SystemTime::now);
    metrics::gauge!("waybill_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Sets the gauges to how it is now.
pub fn look() {
    if let Some(seconds) = STARTED.get().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()) {
        metrics::gauge!("process_start_time_seconds").set(seconds.as_secs_f64());
    }
    if let Some((seconds, bytes)) = of_process(std::process::id()) {
        metrics::gauge!("process_cpu_seconds_total").set(seconds);
        metrics::gauge!("process_resident_memory_bytes").set(bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        metrics::gauge!("process_open_fds").set(files.count() as f64);
        metrics::gauge!("process_max_fds").set(super::open_files::limit() as f64);
    }
}

/// The processor's time that a process has had, in seconds, and the memory that it has, in bytes.
#[must_use]
pub fn of_process(id: u32) -> Option<(f64, f64)> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).ok();
    Some((cpu_seconds(&read("stat")?)?, resident_bytes(&read("status")?)?))
}

/// User and system time of a line of `/proc/self/stat`. The name of the program, in parentheses, may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut after_name = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (after_name.next()?.parse().ok()?, after_name.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2_097_152.0));
        assert_eq!((cpu_seconds("7 (x"), resident_bytes("Name: x")), (None, None));
    }
}
