//! What deploy/ and docker-compose.yml have, held against what there is: settings, metrics, commands; and what operators ask of the
//! programs themselves.

mod bench;
mod compose;
mod doctor;
mod files;
mod metrics;
mod scripts;
mod stop;

use std::path::PathBuf;

use serde_json::Value;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A file of YAML, with its anchors and merges resolved.
fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
