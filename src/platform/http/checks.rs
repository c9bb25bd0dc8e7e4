//! Checks of fields that requests of several modules share.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use validator::ValidationError;

use crate::platform::{scrub::is_harmless, text, text::normal_email};

/// The fault of a field: a code for programs and a sentence that says what it has to be.
pub fn fault(code: &'static str, message: impl Into<Cow<'static, str>>) -> ValidationError {
    ValidationError::new(code).with_message(message.into())
}

/// The fault of a struct, blamed on one of its fields.
pub fn fault_of(field: &'static str, code: &'static str, message: impl Into<Cow<'static, str>>) -> ValidationError {
    let mut error = fault(code, message);
    error.add_param("field".into(), &field);
    error
}

/// For `#[serde(default, deserialize_with)]`: tells a field that is null from one that was left out.
///
/// # Errors
/// What the deserializer says.
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// As [`nullable`], for a text of several lines.
///
/// # Errors
/// What the deserializer says.
pub fn nullable_lines<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    text::lines(from).map(Some)
}

/// # Errors
/// The fault, unless `holds`.
pub fn ensure(holds: bool, code: &'static str, message: &'static str) -> Result<(), ValidationError> {
    if holds { Ok(()) } else { Err(fault(code, message)) }
}

/// A client's own id of something.
///
/// # Errors
/// `format`
pub fn client_id(id: &str) -> Result<(), ValidationError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    let is_one = (1..=128).contains(&id.len()) && id.bytes().all(allowed);
    ensure(is_one, "format", "must be 1 to 128 of the characters A-Z a-z 0-9 . _ : -")
}

/// The rule of texts that staff reads.
pub const NOTHING_PERSONAL: &str =
    "must hold no number of a person, an account or a card, no address of e-mail or web, and no key";

/// # Errors
/// `format`, where a text holds personal data or secrets by their shape.
pub fn harmless(text: &str) -> Result<(), ValidationError> {
    ensure(is_harmless(text), "format", NOTHING_PERSONAL)
}

/// # Errors
/// `email`, unless the address is in its normal form.
pub fn email_address(email: &str) -> Result<(), ValidationError> {
    ensure(normal_email(email).as_deref() == Some(email), "email", "must be an e-mail address")
}

/// # Errors
/// `country`, unless it is a code of ISO 3166-1 alpha-2.
pub fn country_code(code: &str) -> Result<(), ValidationError> {
    let is_country = code.len() == 2 && code.parse::<iso_currency::Country>().is_ok();
    ensure(is_country, "country", "must be a country code of ISO 3166-1 alpha-2, such as DE")
}

/// # Errors
/// `format`, unless it is a postal code of India.
pub fn pincode(pincode: &str) -> Result<(), ValidationError> {
    let digits = pincode.len() == 6 && pincode.bytes().all(|b| b.is_ascii_digit());
    ensure(digits && !pincode.starts_with('0'), "format", "must be six digits, the first not 0")
}
