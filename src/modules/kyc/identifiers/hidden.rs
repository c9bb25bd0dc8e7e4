//! Identifiers in free text, where nobody looks for them and nothing hides them.

use unicode_normalization::UnicodeNormalization;

use super::Pan;
use crate::platform::text::holds_identity_number;

const PAN_CHARS: usize = 10;

/// Whether somewhere in `text` there is what could be an Aadhaar number or a PAN: free text is stored as it is.
#[must_use]
pub fn holds_identifier(text: &str) -> bool {
    let letters: String = text.nfkc().collect();
    let mut words = letters.split(|c: char| !c.is_ascii_alphanumeric());
    holds_identity_number(text) || words.any(|word| windows(word, PAN_CHARS).any(|part| Pan::parse(part).is_ok()))
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
