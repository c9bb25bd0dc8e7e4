//! Where a bank account is: the branch and the number.

use std::fmt;

use super::{fits, masked, tidied};

const IFSC_SHAPE: &str = "must be 4 letters, a 0 and 6 letters or digits";
const ACCOUNT_SHAPE: &str = "must be 9 to 18 digits";

/// A well-formed code of a bank's branch: `HDFC0001234`. The first four letters are the bank. Public.
#[derive(Clone, PartialEq, Eq)]
pub struct Ifsc(String);

impl Ifsc {
    /// Reads an IFSC in any case, with blanks around it.
    ///
    /// # Errors
    ///
    /// Why it is none, as the rest of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = tidied(text);
        if fits(&text, "AAAA0******") { Ok(Self(text)) } else { Err(IFSC_SHAPE) }
    }

    /// All eleven characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The bank, not the branch: next to a name the branch says much about an account.
impl fmt::Debug for Ifsc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ifsc({})", masked(&self.0, 4, 0))
    }
}

/// A well-formed number of a bank account. Banks have check digits, but each its own.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountNumber(String);

impl AccountNumber {
    /// Reads 9 to 18 digits, with blanks around them. Zeros in front count: they are part of the number.
    ///
    /// # Errors
    ///
    /// Why it is no account number, as the rest of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let digits = (9..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { Ok(Self(text.to_owned())) } else { Err(ACCOUNT_SHAPE) }
    }

    /// All digits. Secret: for comparing and for sealing.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last four digits, at the end of as many characters as there are digits: `XXXXXXXX1234`.
    #[must_use]
    pub fn masked(&self) -> String {
        masked(&self.0, 0, 4)
    }
}

/// Masked.
impl fmt::Debug for AccountNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountNumber({})", self.masked())
    }
}
