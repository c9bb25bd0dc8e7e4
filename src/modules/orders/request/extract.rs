//! An extract, as merchants ask for it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use crate::{
    modules::providers::{Extract, ExtractType},
    platform::{http::checks::ensure, text::verbatim},
};

/// Longest cadastral number.
const NUMBER_CHARS_MAX: usize = 64;

/// A request for an extract from a property register.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtractRequest {
    /// Cadastral number of the object: groups of two, two, five to seven, and any number of digits. It is sent as it is written: noughts count.
    #[serde(deserialize_with = "verbatim")]
    #[validate(custom(function = "cadastral_number"))]
    #[schema(example = "50:33:0000000:98325", pattern = r"^\d{2}:\d{2}:\d{5,7}:\d+$", max_length = 64)]
    pub cadastral_number: String,
    /// The type of extract.
    #[serde(rename = "type")]
    pub kind: ExtractType,
}

impl From<ExtractRequest> for Extract {
    fn from(request: ExtractRequest) -> Self {
        Self { cadastral_number: request.cadastral_number, kind: request.kind }
    }
}

fn cadastral_number(number: &str) -> Result<(), ValidationError> {
    let digits = number.bytes().all(|b| b.is_ascii_digit() || b == b':');
    let lengths: Vec<usize> = number.split(':').map(str::len).collect();
    let is_one = digits && number.len() <= NUMBER_CHARS_MAX && matches!(lengths[..], [2, 2, 5..=7, last] if last > 0);
    ensure(is_one, "format", "must be a cadastral number such as 50:33:0000000:98325, and nothing else")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cadastral_number_is_taken_as_it_is_or_not_at_all() {
        for number in ["50:33:0000000:98325", "77:01:12345:1", "01:02:003456:000", "50:33:0000000:00"] {
            assert!(cadastral_number(number).is_ok(), "{number}");
        }
        let long = format!("50:33:0000000:{}", "1".repeat(51));
        for number in [
            "",
            "50:33:0000000",
            "50:33:0000000:",
            "5:33:0000000:1",
            "50:333:0000000:1",
            "50:33:0000:1",
            "50:33:00000000:1",
            "50:33:0000000:1:2",
            "50:33:0000000:1 ",
            " 50:33:0000000:1",
            "50:33:0000000:1\n",
            "50-33-0000000-1",
            "50:33:000000O:1",
            "50:33:0000000:-1",
            "\u{665}\u{660}:33:0000000:1",
            &long,
        ] {
            assert!(cadastral_number(number).is_err(), "{number:?}");
        }
        assert!(cadastral_number(&long[..64]).is_ok());
    }
}
