//! CSV that spreadsheets take for what it is.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use csv::{Terminator, Writer, WriterBuilder};

use super::ReportError;
use crate::platform::{
    clock::Rfc3339Time,
    error::AppError,
    money::{Currency, Money},
};

/// RFC 4180, with the first row saying what is in the others.
pub(super) const CSV: &str = "text/csv; charset=utf-8; header=present";

/// Rows, in memory until they are sent.
pub(super) struct Rows(Writer<Vec<u8>>);

impl Rows {
    pub(super) fn new() -> Self {
        Self(WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new()))
    }

    /// Adds a row.
    pub(super) fn add<const N: usize>(&mut self, cells: [Cow<'_, str>; N]) -> Result<(), ReportError> {
        let cells = cells.iter().map(|cell| cell.as_bytes());
        self.0.write_record(cells).map_err(|error| ReportError::Write(error.into()))
    }

    /// Adds the row that names the columns.
    pub(super) fn add_header<const N: usize>(&mut self, names: [&'static str; N]) -> Result<(), ReportError> {
        self.add(names.map(Cow::Borrowed))
    }

    /// All rows so far.
    pub(super) fn into_bytes(self) -> Result<Bytes, ReportError> {
        let written = self.0.into_inner().map_err(|error| ReportError::Write(error.into_error()))?;
        Ok(written.into())
    }
}

/// A text that others chose. Spreadsheets run cells that begin with one of these as formulas; an apostrophe in front
/// makes them text, and is not shown.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The same where there may be none.
pub(super) fn text_or_empty(text_or_none: Option<&str>) -> Cow<'_, str> {
    text_or_none.map_or(Cow::Borrowed(""), text)
}

/// A number of ours, which stays one.
pub(super) fn number(number: i64) -> Cow<'static, str> {
    Cow::Owned(number.to_string())
}

/// An amount in the major unit.
pub(super) fn decimal(amount: i64, currency: Currency) -> Cow<'static, str> {
    Cow::Owned(Money::new(amount, currency).to_decimal())
}

/// A time.
pub(super) fn time(at: bson::DateTime) -> Cow<'static, str> {
    Cow::Owned(Rfc3339Time(at).to_string())
}

/// An answer that browsers keep as a file.
pub(super) fn attachment(content_type: &'static str, file_name: &str, body: Body) -> Result<Response, AppError> {
    let disposition = format!("attachment; filename=\"{file_name}\"");
    let disposition = HeaderValue::from_str(&disposition).map_err(AppError::internal)?;
    let content_type = HeaderValue::from_static(content_type);
    Ok(([(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, disposition)], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_never_become_formulas_and_numbers_stay_numbers() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"] {
            assert_eq!(text(formula), format!("'{formula}"));
        }
        for plain in ["", "Diwali credit", "1-2", "'quoted'", " =1"] {
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
