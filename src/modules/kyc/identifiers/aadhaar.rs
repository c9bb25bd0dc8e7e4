//! The number of a resident of India. The law lets few keep it, so it is checked and forgotten.

use std::fmt;

const SHAPE: &str = "must be 12 digits, the first of them 2 to 9";
const WRONG_CHECK: &str = "has a wrong check digit";

/// Verhoeff's multiplication: the dihedral group of the pentagon.
const PRODUCT: [[u8; 10]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
    [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
    [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
    [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
    [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
    [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
    [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
    [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
];

/// Verhoeff's permutation of a digit, by its distance from the end.
const PERMUTED: [[u8; 10]; 8] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
    [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
    [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
    [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
    [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
    [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
    [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
];

/// What may be kept of a well-formed Aadhaar number: its last four digits.
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
    let sum = verhoeff_sum(std::iter::once(0).chain(digits.bytes().rev().map(|byte| byte - b'0')));
    let inverse = (b'0'..=b'9').zip(PRODUCT[usize::from(sum)]).find(|(_, product)| *product == 0)?;
    Some(char::from(inverse.0))
}

fn is_all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The product of all permuted digits, the last of them first; 0 for a number that ends in its check digit.
fn verhoeff_sum(digits_from_the_end: impl Iterator<Item = u8>) -> u8 {
    let permuted = digits_from_the_end.zip(PERMUTED.iter().cycle()).map(|(digit, row)| row[usize::from(digit)]);
    permuted.fold(0, |sum, digit| PRODUCT[usize::from(sum)][usize::from(digit)])
}
