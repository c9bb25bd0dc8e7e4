//! How a docflow goes on.
//!
//! ```json
//! {"cadastralNumber": "50:33:0000000:98325",
//!  "steps": [{"state": "sent", "afterPolls": 1}, {"state": "completed", "afterMs": 500}],
//!  "error": "what is said in the state error",
//!  "files": [{"kind": "pdf", "bytes": 20000, "name": "extract.pdf", "id": "1", "contentType": "application/pdf"}]}
//! ```
//! Everything may be left out but the kind and the name of a file. A step is made when the state before it was seen in so
//! many polls and has lasted so long. `completed` shows the files, `verified` a signature too.

use serde::{Deserialize, Serialize};

use super::files::{FileSpec, Kind, usual_bytes};

const STEPS_MAX: usize = 100;
const FILES_MAX: usize = 100;
const FILE_BYTES_MAX: usize = 1024 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Queued,
    Sent,
    Suspended,
    Completed,
    Verified,
    Error,
}

/// A step of a docflow.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    pub state: Standing,
    #[serde(default)]
    pub after_polls: u32,
    #[serde(default)]
    pub after_ms: u64,
}

/// The steps of a docflow, and its end.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Course {
    /// The property whose course it is; none is everybody's.
    pub cadastral_number: Option<String>,
    #[serde(default = "usual_steps")]
    pub steps: Vec<Step>,
    #[serde(default = "usual_error")]
    pub error: String,
    #[serde(default = "usual_files")]
    pub files: Vec<FileSpec>,
}

impl Default for Course {
    fn default() -> Self {
        Self { cadastral_number: None, steps: usual_steps(), error: usual_error(), files: usual_files() }
    }
}

impl Course {
    pub fn check(&self) -> Result<(), &'static str> {
        if self.steps.len() > STEPS_MAX || self.files.len() > FILES_MAX {
            return Err("at most 100 steps and 100 files");
        }
        if self.files.iter().any(|file| file.bytes > FILE_BYTES_MAX) {
            return Err("a file has at most 1 GiB");
        }
        Ok(())
    }
}

fn usual_steps() -> Vec<Step> {
    [Standing::Sent, Standing::Completed].map(|state| Step { state, after_polls: 1, after_ms: 0 }).into()
}

fn usual_error() -> String {
    "The object is not in the register".to_owned()
}

fn usual_files() -> Vec<FileSpec> {
    let name = "Выписка из ЕГРН.pdf".to_owned();
    vec![FileSpec { kind: Kind::Pdf, name, bytes: usual_bytes(), id: None, content_type: None }]
}
