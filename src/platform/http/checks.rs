//! Checks of fields that requests of several modules share.

use std::borrow::Cow;

use validator::ValidationError;

use crate::platform::text::normal_email;

/// The fault of a field: a code for programs and a sentence that says what it has to be.
pub fn fault(code: &'static str, message: impl Into<Cow<'static, str>>) -> ValidationError {
    ValidationError::new(code).with_message(message.into())
}

/// # Errors
/// The fault, unless `holds`.
pub fn ensure(holds: bool, code: &'static str, message: &'static str) -> Result<(), ValidationError> {
    if holds { Ok(()) } else { Err(fault(code, message)) }
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
