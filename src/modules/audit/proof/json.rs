//! Records as they are exported: canonical extended JSON that keeps the order of fields, which counts in a leaf. The
//! driver's own goes by way of a map that sorts them.

use bson::{Bson, Document, RawArray, RawBsonRef, RawDocument, RawDocumentBuf};
use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap},
};

/// A document, to be written as canonical extended JSON. What was read again with [`from_json`] gives the same leaf.
/// Refused, because it would read as something else: a field whose name begins with `$`, a double that is no number and
/// has other bits than usual, and bytes that are not BSON.
#[derive(Clone, Copy, Debug)]
pub struct ExtendedJson<'a>(pub &'a RawDocument);

/// The document that was written as canonical extended JSON.
///
/// # Errors
/// What can't be read.
pub fn from_json(text: &str) -> Result<RawDocumentBuf, String> {
    let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    RawDocumentBuf::try_from(&document).map_err(|error| error.to_string())
}

impl Serialize for ExtendedJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for element in self.0 {
            let (name, value) = element.map_err(S::Error::custom)?;
            if name.as_str().starts_with('$') {
                return Err(S::Error::custom("the name of a field begins with $"));
            }
            map.serialize_entry(name.as_str(), &Value(value))?;
        }
        map.end()
    }
}

struct Array<'a>(&'a RawArray);

impl Serialize for Array<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values: Result<Vec<_>, _> = self.0.into_iter().map(|value| value.map(Value)).collect();
        values.map_err(S::Error::custom)?.serialize(serializer)
    }
}

struct Value<'a>(RawBsonRef<'a>);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tagged = |serializer: S, name: &'static str, value: &str| {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(name, value)?;
            map.end()
        };
        match self.0 {
            RawBsonRef::Document(document) => ExtendedJson(document).serialize(serializer),
            RawBsonRef::Array(array) => Array(array).serialize(serializer),
            RawBsonRef::String(text) => serializer.serialize_str(text),
            RawBsonRef::Double(number) if number.is_infinite() => {
                tagged(serializer, "$numberDouble", if number > 0.0 { "Infinity" } else { "-Infinity" })
            }
            RawBsonRef::Double(number) if number.is_nan() && number.to_bits() != f64::NAN.to_bits() => {
                Err(S::Error::custom("a double has unusual bits"))
            }
            // Shortest digits that read as the same number.
            RawBsonRef::Double(number) => tagged(serializer, "$numberDouble", &format!("{number:?}")),
            RawBsonRef::JavaScriptCodeWithScope(code) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("$code", code.code)?;
                map.serialize_entry("$scope", &ExtendedJson(code.scope))?;
                map.end()
            }
            scalar => Bson::try_from(scalar).map_err(S::Error::custom)?.into_canonical_extjson().serialize(serializer),
        }
    }
}
