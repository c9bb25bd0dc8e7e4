//! Everything that is wrong with a request, found at once. Serde stops at the first wrong field. Here a wrong one is noted,
//! and reading goes on with a made-up value of the right type in its place, so that the rules find what else is wrong.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Error, value::RawValue};
use validator::Validate;

use super::fields::{broken_rules, sentence_error, unknown_field};
use crate::platform::{error::FieldError, json::Strict, text::TextMode};

/// More are not named.
pub const FAULTS_MAX: usize = 100;
/// Missing fields and refused values are found by reading again, this often at most.
const READINGS_MAX: usize = 64;
/// Sample values that are tried for types with a form of their own.
const SAMPLES: [&str; 3] = ["", "INR", "2026-01-31T12:00:00Z"];

#[derive(Clone, Copy)]
pub(super) enum SentValue<'a> {
    Json(&'a RawValue),
    Query(&'a [(Cow<'a, str>, Cow<'a, str>)]),
    Word(&'a str),
    /// Nothing that can be used: a value is made up, of this sample where it is text.
    Nothing(usize),
}

/// Reads what was sent and holds it to its rules.
///
/// # Errors
/// All that is wrong; none repeats a value.
pub(super) fn read<T: DeserializeOwned + Validate>(sent: SentValue<'_>) -> Result<T, Vec<FieldError>> {
    let findings = FaultFindings::default();
    for _ in 0..READINGS_MAX {
        findings.begin();
        match T::deserialize(findings.place(String::new(), sent, TextMode::default())) {
            Ok(value) => return findings.judge(value),
            Err(error) => {
                findings.stopped_at("", sent, &error);
                if !findings.learn() {
                    break;
                }
            }
        }
    }
    Err(findings.sorted(Vec::new()))
}

/// Why a reading ended early.
enum ReadStop {
    /// A type lacks a field.
    Missing(&'static str, String),
    /// A type refused what is in this place: what was sent, or what was made up.
    Refused(String, Option<FieldError>),
}

#[derive(Default)]
struct FaultFindings {
    found: RefCell<Vec<FieldError>>,
    /// Paths of texts in which there is something unseen. They are read all the same: a rule may say more about them.
    unseen: RefCell<Vec<String>>,
    stop: RefCell<Option<ReadStop>>,
    /// Fields that types can't do without, by the types' names.
    required: RefCell<HashSet<(&'static str, String)>>,
    /// Places whose types refused what is there, and the sample that comes next.
    refused: RefCell<HashMap<String, (Option<FieldError>, usize)>>,
}

impl FaultFindings {
    fn begin(&self) {
        self.found.borrow_mut().clear();
        self.unseen.borrow_mut().clear();
        *self.stop.borrow_mut() = None;
    }

    fn note(&self, error: FieldError) {
        let mut found = self.found.borrow_mut();
        if found.len() < FAULTS_MAX {
            found.push(error);
        }
    }

    /// The innermost place says why.
    fn stopped_at(&self, path: &str, sent: SentValue<'_>, error: &Error) {
        let was_sent = !matches!(sent, SentValue::Nothing(_));
        // What is of a wrong type was told already; the type refuses what was made up for it.
        let told = || self.found.borrow().iter().find(|fault| fault.field == path).cloned();
        let fault = || was_sent.then(|| told().unwrap_or_else(|| sentence_error(path.to_owned(), &error.to_string())));
        self.stop.borrow_mut().get_or_insert_with(|| ReadStop::Refused(path.to_owned(), fault()));
    }

    /// A place, with something made up in it where its type has refused what is there.
    fn place<'a>(&'a self, path: String, sent: SentValue<'a>, reading: TextMode) -> InputNode<'a> {
        let refused = self.refused.borrow().get(&path).cloned();
        let sent = match (refused, sent) {
            (None, sent) => sent,
            (Some((_, sample)), SentValue::Nothing(_)) => SentValue::Nothing(sample),
            (Some((fault, sample)), _) => {
                fault.into_iter().for_each(|fault| self.note(fault));
                SentValue::Nothing(sample - 1)
            }
        };
        InputNode { sent, path, reading, findings: self }
    }

    /// Whether the next reading gets further.
    fn learn(&self) -> bool {
        match self.stop.take() {
            None => false,
            Some(ReadStop::Missing(name, field)) => self.required.borrow_mut().insert((name, field)),
            Some(ReadStop::Refused(path, fault)) => {
                let mut refused = self.refused.borrow_mut();
                let (_, sample) = refused.entry(path).or_insert((fault, 0));
                *sample += 1;
                *sample <= SAMPLES.len()
            }
        }
    }

    /// Adds what the rules find in a value that may be made up in part.
    fn judge<T: Validate>(&self, value: T) -> Result<T, Vec<FieldError>> {
        let broken = value.validate().err();
        let found = self.found.borrow();
        let broken = broken.map(|errors| broken_rules(&errors, &found)).unwrap_or_default();
        if found.is_empty() && broken.is_empty() && self.unseen.borrow().is_empty() {
            return Ok(value);
        }
        drop(found);
        Err(self.sorted(broken))
    }

    fn sorted(&self, broken: Vec<FieldError>) -> Vec<FieldError> {
        let unseen = self.unseen.take();
        let mut all = self.found.take();
        all.extend(broken);
        let unseen = unseen.into_iter().filter(|path| all.iter().all(|error| error.field != *path));
        let message = "must not hold control characters or others that nobody can see";
        let unseen: Vec<_> = unseen.map(|path| FieldError::new(path, "characters", message)).collect();
        all.extend(unseen);
        all.sort_by(|one, other| one.field.cmp(&other.field));
        all.truncate(FAULTS_MAX);
        all
    }
}

/// A place in what was sent, and what is there.
struct InputNode<'a> {
    sent: SentValue<'a>,
    path: String,
    reading: TextMode,
    findings: &'a FaultFindings,
}

impl<'a> InputNode<'a> {
    /// Notes that the type is wrong; a made-up value is read instead.
    fn wrong(self, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        if !matches!(self.sent, SentValue::Nothing(_)) {
            self.findings.note(FieldError::new(self.path.clone(), code, message));
        }
        Self { sent: SentValue::Nothing(0), ..self }
    }

    fn sample(&self) -> &'static str {
        let SentValue::Nothing(sample) = self.sent else { return "" };
        SAMPLES.get(sample).copied().unwrap_or_default()
    }

    fn within(&self, path: String, sent: SentValue<'a>) -> Self {
        self.findings.place(path, sent, self.reading)
    }

    /// The text that is there, in its normal form where it has one.
    fn text(&self) -> Option<Cow<'a, str>> {
        let text: Cow<'a, str> = match self.sent {
            SentValue::Word(word) => word.into(),
            SentValue::Json(raw) => serde_json::from_str::<String>(raw.get()).ok()?.into(),
            SentValue::Query(_) | SentValue::Nothing(_) => return None,
        };
        let seen = self.reading.read(&text).map(Cow::into_owned);
        // Who searches with such characters finds nothing.
        if seen.is_none() && matches!(self.sent, SentValue::Json(_)) {
            self.findings.unseen.borrow_mut().push(self.path.clone());
        }
        Some(seen.map_or(text, Into::into))
    }

    /// The fields of an object or a query, in order.
    fn fields(&self) -> Option<Vec<(Cow<'a, str>, SentValue<'a>)>> {
        match self.sent {
            SentValue::Json(raw) => {
                let Pairs(pairs) = serde_json::from_str(raw.get()).ok()?;
                Some(pairs.into_iter().map(|(name, value)| (name.into(), SentValue::Json(value))).collect())
            }
            SentValue::Query(pairs) => {
                Some(pairs.iter().map(|(name, value)| (name.clone(), SentValue::Word(value))).collect())
            }
            SentValue::Word(_) | SentValue::Nothing(_) => None,
        }
    }

    fn path_of(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// The known fields of a type, each once, and those that it can't do without.
    fn known_fields(
        &self,
        type_name: &'static str,
        names: &'static [&'static str],
    ) -> Vec<(&'static str, InputNode<'a>)> {
        let mut known: Vec<(&'static str, InputNode<'a>)> = Vec::new();
        for (name, sent) in self.fields().unwrap_or_default() {
            match names.iter().find(|known| **known == name) {
                None => self.findings.note(unknown_field(self.path_of(&name))),
                Some(name) if known.iter().any(|(known, _)| known == name) => {
                    self.findings.note(FieldError::new(self.path_of(name), "duplicate", "is given twice"));
                }
                Some(name) => known.push((name, self.within(self.path_of(name), sent))),
            }
        }
        let required = self.findings.required.borrow();
        for name in names.iter().filter(|name| required.contains(&(type_name, (**name).to_owned()))) {
            if known.iter().all(|(known, _)| known != name) {
                if !matches!(self.sent, SentValue::Nothing(_)) {
                    self.findings.note(FieldError::new(self.path_of(name), "required", "is required"));
                }
                known.push((name, self.within(self.path_of(name), SentValue::Nothing(0))));
            }
        }
        known
    }

    /// A number, or a truth, as it is written.
    fn literal(&self) -> &'a str {
        match self.sent {
            SentValue::Json(raw) => raw.get(),
            SentValue::Word(word) => word,
            SentValue::Query(_) | SentValue::Nothing(_) => "",
        }
    }

    fn is_whole(&self) -> bool {
        let digits = self.literal().trim_start_matches('-');
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    }
}

/// The fields of an object as they were sent: those that are given twice too.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        from.deserialize_map(Collect).map(Self)
    }
}

macro_rules! literals {
    ($message:literal, $too_large:literal: $($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.literal().parse::<$type>().ok() {
                Some(number) => visitor.$visit(number),
                None => {
                    let message = if self.is_whole() { $too_large } else { $message };
                    self.wrong("type", message);
                    visitor.$visit(<$type>::default())
                }
            }
        }
    )*};
}

macro_rules! forward {
    ($($method:ident)* => $to:ident) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$to(visitor)
        }
    )*};
}

impl<'a> Deserializer<'a> for InputNode<'a> {
    type Error = Error;

    literals! { "must be a whole number", "must be a number that is not so large":
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
    }

    literals! { "must be a number", "must be a number that is not so large":
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    literals! { "must be true or false", "must be true or false":
        deserialize_bool visit_bool bool,
    }

    forward! { deserialize_char deserialize_str deserialize_identifier => deserialize_string }
    forward! { deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_ignored_any => deserialize_any }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) => visitor.visit_string(text.into_owned()),
            None => {
                let sample = self.sample();
                self.wrong("type", "must be text");
                visitor.visit_str(sample)
            }
        }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.sent {
            SentValue::Json(raw) if raw.get() == "null" => visitor.visit_none(),
            SentValue::Nothing(_) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        let reading = TextMode::named(name).unwrap_or(self.reading);
        visitor.visit_newtype_struct(InputNode { reading, ..self })
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = match self.sent {
            SentValue::Json(raw) => serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok(),
            SentValue::Query(_) | SentValue::Word(_) | SentValue::Nothing(_) => None,
        };
        let Some(entries) = entries else {
            self.wrong("type", "must be a list");
            return visitor.visit_seq(Entries(Vec::new().into_iter()));
        };
        let at = |(index, raw)| self.within(format!("{}[{index}]", self.path), SentValue::Json(raw));
        visitor.visit_seq(Entries(entries.into_iter().enumerate().map(at).collect::<Vec<_>>().into_iter()))
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let Some(fields) = self.fields() else {
            self.wrong("type", "must be an object");
            return visitor.visit_map(Fields::default());
        };
        let fields = fields.into_iter().map(|(name, sent)| {
            let path = self.path_of(&name);
            (name, self.within(path, sent))
        });
        visitor.visit_map(Fields { rest: fields.collect::<Vec<_>>().into_iter(), value: None })
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        type_name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let is_object = self.fields().is_some();
        let place = if is_object { self } else { self.wrong("type", "must be an object") };
        let known: Vec<_> =
            place.known_fields(type_name, names).into_iter().map(|(n, p)| (Cow::Borrowed(n), p)).collect();
        let read = visitor.visit_map(Fields { rest: known.into_iter(), value: None });
        if let Err(error) = &read
            && let Some(field) = error.to_string().strip_prefix("missing field `")
            && let Some((field, _)) = field.split_once('`')
        {
            place.findings.stop.borrow_mut().get_or_insert_with(|| ReadStop::Missing(type_name, field.to_owned()));
        }
        read
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let is_text = matches!(self.sent, SentValue::Word(_))
            || matches!(self.sent, SentValue::Json(raw) if raw.get().starts_with('"'));
        let text = if is_text { self.text() } else { None };
        let variant = match text.as_deref().map(|text| variants.iter().find(|variant| **variant == text)) {
            Some(Some(variant)) => variant,
            other => {
                match other {
                    Some(_) => self.wrong("unknown_value", format!("must be {}", one_of(variants))),
                    None => self.wrong("type", "must be text"),
                };
                variants.first().copied().unwrap_or_default()
            }
        };
        visitor.visit_enum(variant.into_deserializer())
    }

    /// The type decides.
    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.sent {
            SentValue::Json(raw) => {
                Strict::new(&mut serde_json::Deserializer::from_str(raw.get())).deserialize_any(visitor)
            }
            SentValue::Word(word) => visitor.visit_str(word),
            SentValue::Query(_) => self.deserialize_map(visitor),
            SentValue::Nothing(_) => visitor.visit_unit(),
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(names: &[&str]) -> String {
    match names {
        [] => "something else".into(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

struct Entries<'a>(std::vec::IntoIter<InputNode<'a>>);

impl<'a> SeqAccess<'a> for Entries<'a> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.0.next().map(|place| descend(place, seed)).transpose()
    }
}

#[derive(Default)]
struct Fields<'a> {
    rest: std::vec::IntoIter<(Cow<'a, str>, InputNode<'a>)>,
    value: Option<InputNode<'a>>,
}

impl<'a> MapAccess<'a> for Fields<'a> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((name, place)) = self.rest.next() else { return Ok(None) };
        self.value = Some(place);
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let place = self.value.take().ok_or_else(|| Error::custom("a value without its name"))?;
        descend(place, seed)
    }
}

fn descend<'a, S: DeserializeSeed<'a>>(place: InputNode<'a>, seed: S) -> Result<S::Value, Error> {
    let (path, sent, findings) = (place.path.clone(), place.sent, place.findings);
    seed.deserialize(place).inspect_err(|error| findings.stopped_at(&path, sent, error))
}
