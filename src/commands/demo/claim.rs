//! Checks the claims of the story.

/// Fails where a claim does not hold.
pub(super) fn claim(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("this was expected and did not happen: {what}")) }
}

/// An error in words.
pub(super) fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}
