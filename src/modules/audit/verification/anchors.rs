//! Anchors, as they are kept in a file.

use std::io::BufRead;

use super::super::proof::Anchor;

/// An anchor a minute for some ten years, and some 300 MB while they are compared.
const ANCHORS_MAX: usize = 5_000_000;
/// An anchor has a hundred bytes.
const LINE_BYTES_MAX: u64 = 1_000;

/// Reads anchors, a line of JSON each: `{"number":12,"headerHash":"<hex>"}`. Empty lines are skipped.
///
/// # Errors
/// Names the line that can't be read.
pub fn read_anchors(mut input: impl BufRead) -> Result<Vec<Anchor>, String> {
    let mut anchors = Vec::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let mut limited = std::io::Read::take(&mut input, LINE_BYTES_MAX);
        let wrong = |reason: &dyn std::fmt::Display| format!("line {number} is no anchor: {reason}");
        if limited.read_line(&mut line).map_err(|error| wrong(&error))? == 0 {
            break;
        }
        if line.len() as u64 >= LINE_BYTES_MAX {
            return Err(wrong(&"it is too long"));
        }
        if line.trim().is_empty() {
            continue;
        }
        anchors.push(serde_json::from_str(line.trim()).map_err(|error| wrong(&error))?);
        if anchors.len() > ANCHORS_MAX {
            return Err(format!("there are more than {ANCHORS_MAX} anchors; leave out older ones"));
        }
    }
    Ok(anchors)
}
