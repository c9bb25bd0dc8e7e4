//! What an examination finds.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FindingState {
    /// As it should be.
    Ok,
    /// It works, and should be otherwise.
    Warning,
    /// It does not work.
    Problem,
    /// It could not be seen.
    Unknown,
}

impl FindingState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
            Self::Unknown => "unknown",
        }
    }
}

/// What was found about one thing.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DoctorFinding {
    /// `mongodb.replica_set`, ...
    pub(super) check: &'static str,
    pub(super) state: FindingState,
    pub(super) says: String,
    /// What to do about it; none where nothing has to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct DoctorFindings(pub(super) Vec<DoctorFinding>);

impl DoctorFindings {
    fn ok(&mut self, check: &'static str, says: impl Into<String>) {
        self.0.push(DoctorFinding { check, state: FindingState::Ok, says: says.into(), advice: None });
    }

    fn warn(&mut self, check: &'static str, says: impl Into<String>, advice: impl Into<String>) {
        self.add(check, FindingState::Warning, says, advice);
    }

    fn problem(&mut self, check: &'static str, says: impl Into<String>, advice: impl Into<String>) {
        self.add(check, FindingState::Problem, says, advice);
    }

    fn unknown(&mut self, check: &'static str, says: impl Into<String>, advice: impl Into<String>) {
        self.add(check, FindingState::Unknown, says, advice);
    }

    fn add(&mut self, check: &'static str, state: FindingState, says: impl Into<String>, advice: impl Into<String>) {
        self.0.push(DoctorFinding { check, state, says: says.into(), advice: Some(advice.into()) });
    }

    fn count(&self, state: FindingState) -> usize {
        self.0.iter().filter(|finding| finding.state == state).count()
    }
}
