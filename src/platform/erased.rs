//! Personal fields of records that were erased: `{ "erased": true, "commitment": "..." }` is stored in their place. Who
//! reads a text there reads [`ERASED`].

use serde::{Deserialize, Deserializer};

/// Text in place of an erased one.
pub const ERASED: &str = "[erased]";

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum ErasableText {
    Text(String),
    Erased {
        #[serde(rename = "erased")]
        _erased: bool,
        #[serde(rename = "commitment")]
        _commitment: String,
    },
}

/// Reads a text that may be null, absent or erased; for `#[serde(default, deserialize_with = "erased::text")]`.
///
/// # Errors
/// For whatever else stands there.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<ErasableText>::deserialize(deserializer)?.map(|stored| match stored {
        ErasableText::Text(text) => text,
        ErasableText::Erased { .. } => ERASED.to_owned(),
    }))
}

/// Whether a text that is asked for may be the one that is stored: of an erased one nobody can tell.
#[must_use]
pub fn may_be(stored: Option<&str>, asked: Option<&str>) -> bool {
    stored == asked || stored == Some(ERASED)
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, doc};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Record {
        #[serde(default, deserialize_with = "text")]
        reason: Option<String>,
    }

    fn read(document: &Document) -> Option<Option<String>> {
        let raw = bson::serialize_to_vec(document).expect("BSON");
        let from_bytes = bson::deserialize_from_slice::<Record>(&raw).ok().map(|record| record.reason);
        let from_document =
            bson::deserialize_from_document::<Record>(document.clone()).ok().map(|record| record.reason);
        assert_eq!(from_bytes, from_document);
        from_bytes
    }

    #[test]
    fn an_erased_text_is_read_as_such_and_nothing_else_is() {
        let commitment = "0".repeat(64);
        assert_eq!(read(&doc! { "reason": "why" }), Some(Some("why".into())));
        assert_eq!(read(&doc! { "reason": Bson::Null }), Some(None));
        assert_eq!(read(&doc! {}), Some(None));
        let erased = doc! { "reason": { "erased": true, "commitment": &commitment } };
        assert_eq!(read(&erased), Some(Some(ERASED.into())));
        for other in [
            Bson::Int32(1),
            Bson::Document(doc! {}),
            Bson::Document(doc! { "erased": true }),
            Bson::Document(doc! { "erased": true, "commitment": commitment, "more": 1 }),
        ] {
            assert_eq!(read(&doc! { "reason": other.clone() }), None, "{other}");
        }
    }
}
