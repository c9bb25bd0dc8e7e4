//! Indian identifiers of persons, businesses and bank accounts: read, checked for form, and masked.
//!
//! Well-formed does not mean issued: only the authority or the bank can tell. Every error is the rest of a sentence about
//! the field ("must be 9 to 18 digits") and never repeats what was entered; nor does the `Debug` of any type here.

mod aadhaar;
mod bank;
mod gstin;
mod hidden;
mod pan;
#[cfg(test)]
mod tests;

pub use aadhaar::{Aadhaar, verhoeff_check_digit, verhoeff_is_valid};
pub use bank::{AccountNumber, Ifsc};
pub use gstin::{Gstin, check_character};
pub use hidden::{holds_identifier, no_secrets};
pub use pan::{Holder, Pan};

/// Without what people add around an identifier, and in the case in which it is issued. Other scripts stay as they are.
fn tidied(text: &str) -> String {
    text.trim().to_ascii_uppercase()
}

/// Whether every byte is as `pattern` says: `A` a capital letter, `9` a digit, `*` either; any other stands for itself.
/// Whether a text is ASCII and fits the pattern.
fn fits(text: &str, pattern: &str) -> bool {
    let fits_one = |(byte, wanted): (u8, u8)| match wanted {
        b'A' => byte.is_ascii_uppercase(),
        b'9' => byte.is_ascii_digit(),
        b'*' => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        itself => byte == itself,
    };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits_one)
}

/// As long as `text`, with an `X` for every character but the first `head` and the last `tail`.
fn masked(text: &str, head: usize, tail: usize) -> String {
    let length = text.chars().count();
    let shown = |at: usize| at < head || at + tail >= length;
    text.chars().enumerate().map(|(at, c)| if shown(at) { c } else { 'X' }).collect()
}
