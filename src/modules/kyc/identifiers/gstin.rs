//! The identification number of a registration for the goods and services tax.

use std::fmt;

use super::{Pan, fits, masked, tidied};

const SHAPE: &str = "must be 2 digits, a PAN, a letter or a digit other than 0, Z and a check character";
const NO_STATE: &str = "has an unknown state code";
const NO_PAN: &str = "has no well-formed PAN in it";
const WRONG_CHECK: &str = "has a wrong check character";

/// Numbers that the tax office gives to others than those who sell. They are built around a PAN or a TAN, or around a country
/// and a serial number.
const OTHER_KINDS: [(&str, &str); 6] = [
    ("99AAAA*9999A*D*", "somebody who deducts tax at source (TDS)"),
    ("99AAAA*9999A*C*", "somebody who collects tax at source (TCS)"),
    ("9999AAA99999NR*", "a non-resident"),
    ("9999AAA99999UN*", "a body of the United Nations or an embassy (UIN)"),
    ("9999AAA99999ON*", "another notified person (UIN)"),
    ("9999AAA99999OS*", "somebody who serves online from abroad (OIDAR)"),
];

/// Digits and letters, each a digit to the base 36.
const BASE: u32 = 36;

/// A well-formed GSTIN: `27AAPFU0939F1ZV`, which is the state, the [`Pan`], which of its registrations in the state, a
/// `Z` and a check character.
#[derive(Clone, PartialEq, Eq)]
pub struct Gstin {
    text: String,
    state_code: u8,
    pan: Pan,
}

impl Gstin {
    /// Reads a GSTIN in any case, with blanks around it.
    ///
    /// # Errors
    ///
    /// Why it is none, as the rest of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = tidied(text);
        if !fits(&text, "99AAAAA9999A*Z*") || &text[12..13] == "0" {
            return Err(SHAPE);
        }
        let state_code: u8 = text[..2].parse().map_err(|_| NO_STATE)?;
        if !matches!(state_code, 1..=38 | 97 | 99) {
            return Err(NO_STATE);
        }
        let pan = Pan::parse(&text[2..12]).map_err(|_| NO_PAN)?;
        if check_character(&text[..14]) != text.chars().last() {
            return Err(WRONG_CHECK);
        }
        Ok(Self { text, state_code, pan })
    }

    /// The kind of holder of a GSTIN whose form differs from that of a regular registration.
    #[must_use]
    pub fn other_kind(text: &str) -> Option<&'static str> {
        let text = tidied(text);
        OTHER_KINDS.iter().find(|(pattern, _)| fits(&text, pattern)).map(|(_, kind)| *kind)
    }

    /// All fifteen characters. Secret, as there is a PAN in it: for comparing and for sealing.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The state and the last three characters: `27XXXXXXXXXX1ZV`.
    #[must_use]
    pub fn masked(&self) -> String {
        masked(&self.text, 2, 3)
    }

    /// Where it is registered: 1 to 38, 97 (other territory) or 99 (centre jurisdiction). See
    /// [`State::has_gst_code`](crate::platform::india::states::State::has_gst_code).
    #[must_use]
    pub const fn state_code(&self) -> u8 {
        self.state_code
    }

    #[must_use]
    pub fn pan(&self) -> Pan {
        self.pan.clone()
    }
}

/// Masked.
impl fmt::Debug for Gstin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gstin({})", self.masked())
    }
}

/// The fifteenth character of the GSTIN that begins with these fourteen: Luhn's algorithm to the base 36.
///
/// `None` unless they are fourteen of `0-9A-Z`.
#[must_use]
pub fn check_character(first14: &str) -> Option<char> {
    if !fits(first14, "**************") {
        return None;
    }
    let sum: u32 = first14.chars().filter_map(|c| c.to_digit(BASE)).zip([1, 2].into_iter().cycle()).map(weighted).sum();
    char::from_digit((BASE - sum % BASE) % BASE, BASE).map(|c| c.to_ascii_uppercase())
}

/// Quotient plus remainder of the product.
const fn weighted((value, weight): (u32, u32)) -> u32 {
    let product = value * weight;
    product / BASE + product % BASE
}
