//! Checks that requests for all kinds of orders share.

use serde::{Deserialize, Deserializer};
use validator::ValidationError;

use crate::platform::{http::checks::ensure, text::free_text};

/// A null says as little as an absent field.
pub(super) fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    field: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(field)?.unwrap_or_default())
}

pub(super) fn text(text: &str) -> Result<(), ValidationError> {
    ensure(!text.trim().is_empty(), "blank", "must not be blank")?;
    free_text(text)
}

/// Article numbers of trade have twelve digits too.
pub(super) fn article_number(text: &str) -> Result<(), ValidationError> {
    if is_upc(text) { Ok(()) } else { self::text(text) }
}

/// A Universal Product Code, by its check digit.
pub(super) fn is_upc(text: &str) -> bool {
    let weighted =
        text.bytes().zip([3, 1].into_iter().cycle()).map(|(b, weight)| u32::from(b.wrapping_sub(b'0')) * weight);
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) && weighted.sum::<u32>() % 10 == 0
}
