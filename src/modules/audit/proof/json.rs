//! Records as they are exported: canonical extended JSON that keeps the order of fields, which counts in a leaf. The
//! driver's own goes by way of a map that sorts them.

use std::{borrow::Cow, fmt};

use bson::{Bson, Document, RawArray, RawBsonRef, RawDocument, RawDocumentBuf};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
    ser::{Error, SerializeMap},
};

/// Values of a record at most. A log has some thousands, a purge record as many as its seal has records; what is read
/// takes some hundred bytes of memory for each.
pub const RECORD_VALUES_MAX: usize = 250_000;
const TWICE: &str = "stands twice in one document";

/// A document, to be written as canonical extended JSON. What was read again with [`from_json`] gives the same leaf.
/// Refused, because it would read as something else: a field whose name begins with `$`, or that is there twice, a double
/// that is no number and has other bits than usual, and bytes that are not BSON.
#[derive(Clone, Copy, Debug)]
pub struct ExtendedJson<D>(pub D);

/// The document that was written as canonical extended JSON.
pub fn from_json(text: &str) -> Result<RawDocumentBuf, String> {
    check_json(text, RECORD_VALUES_MAX)?;
    serde_json::from_str(text).map(|ExtendedJson(document)| document).map_err(|error| error.to_string())
}

/// Whether JSON can be read in one way only, and within some memory: no name stands twice in one object, of which readers
/// would take either, and there are at most so many values, objects and arrays among them.
pub fn check_json(text: &str, values_max: usize) -> Result<(), String> {
    let mut left = values_max;
    let mut reader = serde_json::Deserializer::from_str(text);
    ValueCounter(&mut left).deserialize(&mut reader).and_then(|()| reader.end()).map_err(|error| error.to_string())
}

/// Counts values down, and keeps none.
struct ValueCounter<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for ValueCounter<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.0 = self.0.checked_sub(1).ok_or_else(|| de::Error::custom("it has too many values"))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueCounter<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_element_seed(ValueCounter(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut names = Vec::new();
        while let Some(Name(name)) = entries.next_key()? {
            entries.next_value_seed(ValueCounter(self.0))?;
            names.push(name);
        }
        twice(&mut names).map_or(Ok(()), |name| Err(de::Error::custom(format!("{name:?} {TWICE}"))))
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A name that is there twice.
fn twice<N: Ord>(names: &mut [N]) -> Option<&N> {
    names.sort_unstable();
    names.windows(2).find(|two| two[0] == two[1]).map(|two| &two[0])
}

impl<D: AsRef<RawDocument>> Serialize for ExtendedJson<D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut names = Vec::new();
        for element in self.0.as_ref() {
            let (name, value) = element.map_err(S::Error::custom)?;
            if name.as_str().starts_with('$') {
                return Err(S::Error::custom("the name of a field begins with $"));
            }
            map.serialize_entry(name.as_str(), &Value(value))?;
            names.push(name.as_str());
        }
        match twice(&mut names) {
            Some(_) => Err(S::Error::custom(format!("the name of a field {TWICE}"))),
            None => map.end(),
        }
    }
}

impl<'de, D: From<RawDocumentBuf>> Deserialize<'de> for ExtendedJson<D> {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        let document = Document::deserialize(deserializer)?;
        RawDocumentBuf::try_from(&document).map(|raw| Self(raw.into())).map_err(de::Error::custom)
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
