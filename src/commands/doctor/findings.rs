//! Findings of an examination.

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
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
            Self::Unknown => "unknown",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DoctorFinding {
    /// `mongodb.replica_set`, ...
    pub(super) check: &'static str,
    pub(super) state: FindingState,
    pub(super) says: String,
    /// Advice; none where nothing has to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// All findings so far.
#[derive(Debug, Default)]
pub(super) struct DoctorFindings(pub(super) Vec<DoctorFinding>);

impl DoctorFindings {
    pub(super) fn ok(&mut self, check: &'static str, says: impl Into<String>) {
        self.0.push(DoctorFinding { check, state: FindingState::Ok, says: says.into(), advice: None });
    }

    pub(super) fn warn(&mut self, check: &'static str, says: impl Into<String>, advice: impl Into<String>) {
        self.add(check, FindingState::Warning, says, advice);
    }

    pub(super) fn problem(&mut self, check: &'static str, says: impl Into<String>, advice: impl Into<String>) {
        self.add(check, FindingState::Problem, says, advice);
    }

    pub(super) fn unknown(&mut self, check: &'static str, says: impl Into<String>, advice: impl Into<String>) {
        self.add(check, FindingState::Unknown, says, advice);
    }

    pub(super) fn add(
        &mut self,
        check: &'static str,
        state: FindingState,
        says: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.0.push(DoctorFinding { check, state, says: says.into(), advice: Some(advice.into()) });
    }

    pub(super) fn count(&self, state: FindingState) -> usize {
        self.0.iter().filter(|finding| finding.state == state).count()
    }
}
