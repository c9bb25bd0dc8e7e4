//! The number of a resident of India. The law lets few keep it, so it is checked and forgotten.

use std::fmt;

use crate::platform::text::verhoeff_sum;

const SHAPE: &str = "must be 12 digits, the first of them 2 to 9";
const WRONG_CHECK: &str = "has a wrong check digit";

/// The stored part of a well-formed Aadhaar number: its last four digits.
///
/// Not comparable: two people may share them.
#[derive(Clone)]
pub struct Aadhaar {
    last4: String,
}

impl Aadhaar {
    /// Reads twelve digits, together or in three groups with one blank or hyphen between them.
    ///
    /// # Errors
    ///
    /// Why it is no Aadhaar number, as the rest of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let digits = digits(text.trim().as_bytes()).ok_or(SHAPE)?;
        if digits[0] < 2 {
            return Err(SHAPE);
        }
        if verhoeff_sum(digits.iter().rev().copied()) != 0 {
            return Err(WRONG_CHECK);
        }
        Ok(Self { last4: digits[8..].iter().map(|digit| char::from(b'0' + digit)).collect() })
    }

    /// The last four digits.
    #[must_use]
    pub fn last4(&self) -> &str {
        &self.last4
    }

    /// `XXXX-XXXX-1234`.
    #[must_use]
    pub fn masked(&self) -> String {
        format!("XXXX-XXXX-{}", self.last4)
    }
}

/// Masked.
impl fmt::Debug for Aadhaar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aadhaar({})", self.masked())
    }
}

/// The values of twelve digits, with or without separators. On the stack, where they leave no copy behind for long.
fn digits(text: &[u8]) -> Option<[u8; 12]> {
    let grouped = text.len() == 14;
    let mut values = [0; 12];
    let mut found = 0;
    for (at, byte) in text.iter().enumerate() {
        if grouped && matches!(at, 4 | 9) {
            matches!(byte, b' ' | b'-').then_some(())?;
            continue;
        }
        *values.get_mut(found)? = byte.is_ascii_digit().then(|| byte - b'0')?;
        found += 1;
    }
    (found == values.len()).then_some(values)
}

/// Whether the last of these digits is Verhoeff's check digit of those before it. What is not all digits has none.
#[must_use]
pub fn verhoeff_is_valid(digits: &str) -> bool {
    is_all_digits(digits) && verhoeff_sum(digits.bytes().rev().map(|byte| byte - b'0')) == 0
}

/// Verhoeff's check digit, to be put behind these digits. `None` unless they are digits, and at least one.
#[must_use]
pub fn verhoeff_check_digit(digits: &str) -> Option<char> {
    if !is_all_digits(digits) {
        return None;
    }
    ('0'..='9').find(|check| verhoeff_is_valid(&format!("{digits}{check}")))
}

fn is_all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
