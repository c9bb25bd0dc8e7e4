//! Text as clients write it: one normal form for what is the same, and nothing in it that nobody can see.

mod email;
mod identity_number;
mod phone;
mod unseen;

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de::Visitor};
use unicode_normalization::{UnicodeNormalization, is_nfc};
use validator::ValidationError;

pub use email::normal_email;
pub use identity_number::{holds_identity_number, verhoeff_sum};
pub use phone::{international, pincode, ten_digits};
pub use unseen::{holds_unseen, without_unseen};

/// Characters of the longest postal codes there are (`12345-6789`). They stand in logs of calls: a number of a card or an account doesn't
/// fit in.
pub const POSTCODE_CHARS_MAX: u64 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextMode {
    /// In its normal form, with nothing unseen in it.
    #[default]
    Line,
    /// The same, but it may have several lines.
    Lines,
    /// As it was sent: a password.
    Verbatim,
}

/// The names by which [`verbatim`] and [`lines`] tell whoever reads a request. No type has such a name.
const VERBATIM: &str = "$verbatim";
const LINES: &str = "$lines";

impl TextMode {
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            VERBATIM => Some(Self::Verbatim),
            LINES => Some(Self::Lines),
            _ => None,
        }
    }

    /// The text as it is taken; `None` where something unseen is in it.
    #[must_use]
    pub fn read(self, text: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Verbatim => Some(text.into()),
            Self::Line => (!holds_unseen(text)).then(|| normal(text)),
            Self::Lines => (!text.split('\n').any(holds_unseen)).then(|| normal(text)),
        }
    }
}

/// Without white space around it, in Unicode's composed form (NFC): what looks the same is the same.
#[must_use]
pub fn normal(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if is_nfc(text) { text.into() } else { text.nfc().collect::<String>().into() }
}

/// Free text that is stored as it is: nobody's identity number is in it.
///
/// # Errors
/// What is wrong with it.
pub fn free_text(text: &str) -> Result<(), ValidationError> {
    if holds_identity_number(text) {
        return Err(ValidationError::new("format").with_message("must hold no Aadhaar number".into()));
    }
    Ok(())
}

/// For `#[serde(deserialize_with)]`: taken as it was sent.
///
/// # Errors
/// What the deserializer says.
pub fn verbatim<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_newtype_struct(VERBATIM, Marked(PhantomData))
}

/// For `#[serde(deserialize_with)]`: it may have several lines.
///
/// # Errors
/// What the deserializer says.
pub fn lines<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_newtype_struct(LINES, Marked(PhantomData))
}

/// For `#[serde(deserialize_with)]`: a telephone number as ten digits, where it can be read as one.
///
/// # Errors
/// What the deserializer says.
pub fn read_phone<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from).map(|text| ten_digits(&text).unwrap_or(text))
}

/// For `#[serde(deserialize_with)]`: a telephone number of any country as `+` and digits, where it can be read as one.
///
/// # Errors
/// What the deserializer says.
pub fn read_international_phone<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from).map(|text| international(&text).unwrap_or(text))
}

/// The same where there may be none.
///
/// # Errors
/// What the deserializer says.
pub fn read_international_phone_if_any<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = Option::deserialize(from)?;
    Ok(text.map(|text| international(&text).unwrap_or(text)))
}

/// For `#[serde(deserialize_with)]`: a postal code without blanks.
///
/// # Errors
/// What the deserializer says.
pub fn read_pincode<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from).map(|text| pincode(&text))
}

/// For `#[serde(deserialize_with)]`: an e-mail address in its normal form, where it has one. It is taken as it was sent:
/// the composed form of some letters beyond ASCII is ASCII.
///
/// # Errors
/// What the deserializer says.
pub fn read_email<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    verbatim::<String, D>(from).map(|text| normal_email(&text).unwrap_or(text))
}

/// The same where there may be none.
///
/// # Errors
/// What the deserializer says.
pub fn read_email_if_any<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = verbatim(from)?;
    Ok(text.map(|text| normal_email(&text).unwrap_or(text)))
}

struct Marked<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Marked<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        T::deserialize(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_the_same_is_the_same() {
        for (written, read) in [
            ("Asha Rao", "Asha Rao"),
            ("  Asha Rao ", "Asha Rao"),
            ("\u{a0}Asha Rao\u{3000}", "Asha Rao"),
            ("Jose\u{301}", "José"),
            ("\u{928}\u{93c}", "\u{929}"),
            ("\u{958}", "\u{915}\u{93c}"),
            ("\u{1100}\u{1161}", "가"),
            ("\u{212b}ngstrom", "Ångstrom"),
            ("", ""),
            (" ", ""),
        ] {
            assert_eq!(TextMode::Line.read(written).as_deref(), Some(read), "{written:?}");
            assert_eq!(normal(read), read, "a second time changes nothing");
        }
    }

    #[test]
    fn lines_are_for_texts_that_may_have_some() {
        assert_eq!(TextMode::Line.read("one\ntwo"), None);
        assert_eq!(TextMode::Lines.read(" one\ntwo\n").as_deref(), Some("one\ntwo"));
        assert_eq!(TextMode::Lines.read("one\rtwo"), None);
        assert_eq!(TextMode::Verbatim.read(" one\u{202e}\ttwo ").as_deref(), Some(" one\u{202e}\ttwo "));
    }
}
