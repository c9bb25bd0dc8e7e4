//! CSV that spreadsheets take for what it is.

use std::{borrow::Cow, io};

use bytes::Bytes;
use csv::{Terminator, Writer, WriterBuilder};

use super::{
    clock::Rfc3339Time,
    money::{Currency, Money},
};

/// Rows, in memory until they are sent.
#[derive(Debug)]
pub struct Rows(Writer<Vec<u8>>);

impl Default for Rows {
    fn default() -> Self {
        Self(WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new()))
    }
}

impl Rows {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Where it has another number of cells than the rows before.
    pub fn add<const N: usize>(&mut self, cells: [Cow<'_, str>; N]) -> io::Result<()> {
        let cells = cells.iter().map(|cell| cell.as_bytes());
        self.0.write_record(cells).map_err(io::Error::from)
    }

    /// Adds the row that names the columns.
    ///
    /// # Errors
    /// As [`Rows::add`].
    pub fn add_header<const N: usize>(&mut self, names: [&'static str; N]) -> io::Result<()> {
        self.add(names.map(Cow::Borrowed))
    }

    /// All rows so far.
    ///
    /// # Errors
    /// None in practice: they are written to memory.
    pub fn into_bytes(self) -> io::Result<Bytes> {
        let written = self.0.into_inner().map_err(csv::IntoInnerError::into_error)?;
        Ok(written.into())
    }
}

/// A text that others chose. Spreadsheets run cells that begin with one of these as formulas; an apostrophe in front
/// makes them text, and is not shown. One that begins with an apostrophe gets another, so that no two texts are one cell.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\'']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The same where there may be none.
#[must_use]
pub fn text_or_empty(text_or_none: Option<&str>) -> Cow<'_, str> {
    text_or_none.map_or(Cow::Borrowed(""), text)
}

/// A number of ours, which stays one.
#[must_use]
pub fn number(number: i64) -> Cow<'static, str> {
    Cow::Owned(number.to_string())
}

/// An amount in the major unit.
#[must_use]
pub fn decimal(amount: i64, currency: Currency) -> Cow<'static, str> {
    Cow::Owned(Money::new(amount, currency).to_decimal())
}

#[must_use]
pub fn time(at: bson::DateTime) -> Cow<'static, str> {
    Cow::Owned(Rfc3339Time(at).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_never_become_formulas_and_numbers_stay_numbers() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "'quoted'"] {
            assert_eq!(text(formula), format!("'{formula}"));
        }
        for plain in ["", "Diwali credit", "1-2", "it's", " =1"] {
            assert_eq!(text(plain), plain);
        }
        assert_eq!(number(-5), "-5");
        assert_eq!(decimal(-5, Currency::INR), "-0.05");
    }

    #[test]
    fn whatever_a_cell_holds_is_read_back() {
        let mut rows = Rows::new();
        let cells = ["a,b", "say \"no\"", "two\r\nlines", "\u{20b9}"];
        rows.add(cells.map(Cow::Borrowed)).expect("a row");
        let written = rows.into_bytes().expect("bytes");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&*written);
        let read = reader.records().next().expect("a row").expect("a readable row");
        assert_eq!(read.iter().collect::<Vec<_>>(), cells);
    }
}
