//! JSON taken at its word. Serde's derives also read a struct from an array of its fields and a variant from an object,
//! and the parser calls any other type in a variant's place a syntax error. [`Strict`] refuses both as wrong types:
//! a struct is an object, a variant is a string. Text is in its normal form, and nothing unseen is in it.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor},
};

use super::text::TextMode;

/// One of these words, as a variant is read: a client is told which there are.
///
/// # Errors
/// What is sent is none of them.
pub fn one_of<'de, D: Deserializer<'de>>(from: D, words: &'static [&'static str]) -> Result<&'static str, D::Error> {
    struct Word(&'static [&'static str]);

    impl<'de> Visitor<'de> for Word {
        type Value = &'static str;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one of some words")
        }

        fn visit_enum<A: EnumAccess<'de>>(self, word: A) -> Result<&'static str, A::Error> {
            let (word, rest) = word.variant::<String>()?;
            rest.unit_variant()?;
            let known = self.0.iter().find(|known| **known == word).copied();
            known.ok_or_else(|| A::Error::unknown_variant(&word, self.0))
        }
    }

    from.deserialize_enum("Word", words, Word(words))
}

/// Around a deserializer, its visitors and accesses: it goes along wherever serde descends.
pub struct Strict<T> {
    inner: T,
    reading: TextMode,
}

impl<T> Strict<T> {
    /// Around this deserializer.
    pub fn new(inner: T) -> Self {
        Self { inner, reading: TextMode::default() }
    }
}

const fn around<T>(reading: TextMode, inner: T) -> Strict<T> {
    Strict { inner, reading }
}

macro_rules! deserialize {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(around(self.reading, visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(around(self.reading, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let variant: String = serde::Deserialize::deserialize(self.inner)?;
        visitor.visit_enum(variant.into_deserializer())
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, around(self.reading, visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        let reading = TextMode::named(name).unwrap_or(self.reading);
        self.inner.deserialize_newtype_struct(name, around(reading, visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple(len, around(self.reading, visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple_struct(name, len, around(self.reading, visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    deserialize! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_unit deserialize_seq deserialize_map deserialize_identifier deserialize_ignored_any
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty,)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    visit! {
        visit_bool: bool,
        visit_i8: i8,
        visit_i16: i16,
        visit_i32: i32,
        visit_i64: i64,
        visit_i128: i128,
        visit_u8: u8,
        visit_u16: u16,
        visit_u32: u32,
        visit_u64: u64,
        visit_u128: u128,
        visit_f32: f32,
        visit_f64: f64,
        visit_char: char,
        visit_bytes: &[u8],
        visit_borrowed_bytes: &'de [u8],
        visit_byte_buf: Vec<u8>,
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<V::Value, E> {
        match self.reading.read(text) {
            Some(Cow::Borrowed(text)) => self.inner.visit_str(text),
            Some(Cow::Owned(text)) => self.inner.visit_string(text),
            None => Err(E::custom("holds what nobody can see")),
        }
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<V::Value, E> {
        match self.reading.read(text) {
            Some(Cow::Borrowed(text)) => self.inner.visit_borrowed_str(text),
            Some(Cow::Owned(text)) => self.inner.visit_string(text),
            None => Err(E::custom("holds what nobody can see")),
        }
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<V::Value, E> {
        self.visit_str(&text)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(around(self.reading, deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(around(self.reading, deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(around(self.reading, access))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(around(self.reading, access))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(access)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(around(self.reading, deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(around(self.reading, seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(around(self.reading, seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Point {
        x: i64,
        colour: Option<Colour>,
    }

    fn read<T: for<'de> Deserialize<'de>>(json: &str) -> serde_json::Result<T> {
        T::deserialize(Strict::new(&mut serde_json::Deserializer::from_str(json)))
    }

    #[test]
    fn what_is_meant_is_read() {
        let points: Vec<Point> =
            read(r#"[{"x":1,"colour":"red"},{"x":2,"colour":null},{"x":3}]"#).expect("well-formed");
        assert_eq!(points[0], Point { x: 1, colour: Some(Colour::Red) });
        assert_eq!(points[1..], [Point { x: 2, colour: None }, Point { x: 3, colour: None }]);
    }

    #[test]
    fn wrong_types_are_data_errors_at_every_depth() {
        for json in [
            r#"[[1,"red"]]"#,
            r#"[{"x":1,"colour":{"red":null}}]"#,
            r#"[{"x":1,"colour":5}]"#,
            r#"[{"x":1,"colour":["red"]}]"#,
            r#"[{"x":1,"colour":true}]"#,
            r#"[{"x":[1]}]"#,
            r#"[null]"#,
        ] {
            assert!(read::<Vec<Point>>(json).expect_err(json).is_data(), "{json}");
        }
        assert!(read::<Colour>("null").expect_err("not text").is_data());
    }
}
