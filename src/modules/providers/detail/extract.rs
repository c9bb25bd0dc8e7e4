//! An extract from a property register in our own words.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A type of extract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExtractType {
    /// That there is such an object.
    Info,
    /// Description of the object.
    Base,
    /// Present and former owners.
    Ownership,
}

impl ExtractType {
    /// As in requests and on rate cards.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Base => "base",
            Self::Ownership => "ownership",
        }
    }
}

/// An order of an extract from a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extract {
    /// Of the object, character for character: its noughts count.
    pub cadastral_number: String,
    #[serde(rename = "type")]
    pub kind: ExtractType,
}
