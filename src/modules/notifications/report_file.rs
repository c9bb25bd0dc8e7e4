//! A report's file, which is cut where it gets too large for a mail.

use std::{borrow::Cow, io};

use bytes::Bytes;

use crate::{modules::events::HandlerError, platform::cells::Rows};

/// Rows of one file; who has more asks the API.
const ROWS_MAX: usize = 10_000;
/// Bytes of one file, before it is encoded for the mail.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A file that is being written.
pub(super) struct ReportFile {
    rows: Rows,
    count: usize,
    bytes: usize,
    is_cut: bool,
}

fn unwritten(error: &io::Error) -> HandlerError {
    HandlerError::Invalid { code: "mail.unwritten", message: format!("The file can't be written: {error}") }
}

impl ReportFile {
    pub(super) fn new<const N: usize>(columns: [&'static str; N]) -> Result<Self, HandlerError> {
        let mut rows = Rows::new();
        rows.add_header(columns).map_err(|error| unwritten(&error))?;
        Ok(Self { rows, count: 0, bytes: 0, is_cut: false })
    }

    /// Adds a row, unless the file is full.
    pub(super) fn add<const N: usize>(&mut self, cells: [Cow<'_, str>; N]) -> Result<(), HandlerError> {
        let bytes: usize = cells.iter().map(|cell| cell.len() + 3).sum();
        if self.is_cut || self.count == ROWS_MAX || self.bytes + bytes > FILE_BYTES_MAX {
            self.is_cut = true;
            return Ok(());
        }
        self.count += 1;
        self.bytes += bytes;
        self.rows.add(cells).map_err(|error| unwritten(&error))
    }

    /// Rows, without the columns' names.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Whether there was more than it took.
    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn into_bytes(self) -> Result<Bytes, HandlerError> {
        self.rows.into_bytes().map_err(|error| unwritten(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that it took of `offered`, and whether it says that there were more.
    fn written(offered: usize, cell: &str) -> (usize, bool) {
        let mut file = ReportFile::new(["a", "b"]).expect("a file");
        for number in 0..offered {
            file.add([number.to_string().into(), cell.into()]).expect("a row");
        }
        let (count, is_cut) = (file.count(), file.is_cut());
        let bytes = file.into_bytes().expect("bytes");
        assert!(bytes.len() <= FILE_BYTES_MAX + 100, "{} bytes", bytes.len());
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), count + 1);
        (count, is_cut)
    }

    #[test]
    fn a_file_is_cut_at_its_rows_and_at_its_bytes() {
        assert_eq!(written(ROWS_MAX, "x"), (ROWS_MAX, false));
        assert_eq!(written(ROWS_MAX + 2, "x"), (ROWS_MAX, true));
        let (count, is_cut) = written(5, &"x".repeat(FILE_BYTES_MAX / 3));
        assert_eq!((count, is_cut), (2, true), "and nothing is taken after what did not fit");
    }
}
