//! `scripts/setup` on machines that lack something, played by a PATH that lacks it.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::path;
use crate::support::unique;

/// What `scripts/setup` calls before it comes to compilers.
const TOOLS: &[&str] =
    &["bash", "dirname", "sed", "cut", "sort", "head", "uname", "rustc", "cargo", "env", "mktemp", "rm"];

struct Machine(PathBuf);

impl Machine {
    /// A machine with these programs besides, each a line of shell.
    fn with(programs: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(unique("waybill-machine"));
        std::fs::create_dir_all(&folder).unwrap();
        for tool in TOOLS {
            let paths = std::env::var_os("PATH").unwrap();
            let found = std::env::split_paths(&paths).map(|at| at.join(tool)).find(|at| at.is_file());
            symlink(found.unwrap_or_else(|| panic!("no {tool}")), folder.join(tool)).unwrap();
        }
        for (name, line) in programs {
            std::fs::write(folder.join(name), format!("#!/bin/bash\n{line}\n")).unwrap();
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(folder)
    }

    async fn run(&self, script: &str) -> (bool, String) {
        let mut command = Command::new("bash");
        command.args(["-c", script]).current_dir(path("")).env("PATH", &self.0).env("APT_PATIENCE_SECONDS", "30");
        let output = command.output().await.unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn is_debian() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian" || line == "ID=ubuntu") && Path::new("/usr/bin/uname").exists()
}

#[tokio::test]
async fn setup_names_a_compiler_that_is_missing() {
    let machine = Machine::with(&[("id", "echo 1000")]);
    let (went_well, said) = machine.run("scripts/setup").await;
    assert!(!went_well);
    for words in ["there is no C compiler (cc)", "there is no make", "gcc libc6-dev make"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    if is_debian() {
        assert!(said.contains("there is no apt-get here"), "{said}");
    }
}

#[tokio::test]
async fn setup_waits_for_another_apt() {
    // The lock is held twice, then it is free; of what it is told the last is kept.
    let apt = "echo \"$*\" >>\"$0.asked\"; [ \"$(grep -c . \"$0.asked\")\" -gt 2 ] || { echo 'E: Could not get lock /var/lib/apt/lists/lock' >&2; exit 100; }";
    let machine =
        Machine::with(&[("apt-get", apt), ("id", "echo 0"), ("grep", "exec /bin/grep \"$@\""), ("sleep", "exit 0")]);
    let script = "set -euo pipefail; . scripts/lib/common.sh; . scripts/lib/apt.sh; apt_install make";
    let (went_well, said) = machine.run(script).await;
    assert!(went_well, "{said}");
    assert_eq!(said.matches("another apt is at work").count(), 1, "{said}");
    let asked = std::fs::read_to_string(machine.0.join("apt-get.asked")).unwrap();
    let asked: Vec<&str> = asked.lines().collect();
    assert_eq!(asked.len(), 4, "three times the lists, once the packages: {asked:?}");
    assert!(asked[2].contains("update") && asked[3].ends_with("install make"), "{asked:?}");
    assert!(asked[3].contains("DPkg::Lock::Timeout=30"), "for this lock apt itself waits: {asked:?}");

    // What is wrong otherwise is said, and not tried again.
    let broken = Machine::with(&[("apt-get", "echo 'E: no such package' >&2; exit 100"), ("id", "echo 0")]);
    let (went_well, said) = broken.run(script).await;
    assert!(!went_well && said.contains("E: no such package") && !said.contains("another apt"), "{said}");
}
