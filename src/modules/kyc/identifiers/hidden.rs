//! Identifiers in free text, where nobody looks for them and nothing hides them.

use unicode_normalization::UnicodeNormalization;
use validator::ValidationError;

use super::Pan;
use crate::platform::{scrub::holds_secrets, text::holds_identity_number};

const PAN_CHARS: usize = 10;

/// Whether somewhere in `text` there is what could be an Aadhaar number or a PAN: free text is stored as it is.
#[must_use]
pub fn holds_identifier(text: &str) -> bool {
    let letters: String = text.nfkc().collect();
    let mut words = letters.split(|c: char| !c.is_ascii_alphanumeric());
    holds_identity_number(text) || words.any(|word| windows(word, PAN_CHARS).any(|part| Pan::parse(part).is_ok()))
}

/// A rule for words that many read and that are kept for years. Numbers of files and contracts are long numbers too, so not every
/// number is refused.
///
/// # Errors
/// Where it holds what should not be written down.
pub fn no_secrets(text: &str) -> Result<(), ValidationError> {
    if holds_identifier(text) || holds_secrets(text) {
        let message = "must hold no Aadhaar number, no PAN, no key and no password";
        return Err(ValidationError::new("format").with_message(message.into()));
    }
    Ok(())
}

fn windows(word: &str, size: usize) -> impl Iterator<Item = &str> {
    (0..(word.len() + 1).saturating_sub(size)).map(move |at| &word[at..at + size])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_found_wherever_they_stand() {
        for text in [
            "999941057058",
            "Asha Rao 9999 4105 7058",
            "id: 9999-4105-7058.",
            "my pan is abcpr1234f",
            "29ABCPR1234F1Z5",
            "(ABCPR1234F)",
            "ＡＢＣＰＲ１２３４Ｆ",
            "９９９９ ４１０５ ７０５８",
        ] {
            assert!(holds_identifier(text), "{text}");
        }
    }

    #[test]
    fn what_only_looks_a_little_like_one_is_left_alone() {
        for text in ["", "12 MG Road", "999941057059", "call +91 98765 43210", "Plot 7, 560001", "ABCDE1234", "ẞ"] {
            assert!(!holds_identifier(text), "{text}");
        }
    }
}
