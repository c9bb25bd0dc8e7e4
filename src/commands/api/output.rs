//! Output on stdout and stderr, and exit codes.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use serde_json::Value;
use waybill_client::{Answer, Failure};

use super::error::CommandError;

/// JSON that is no longer is read as a whole and printed as one document; what is longer goes on as it comes.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;

/// Prints an answer of JSON.
pub(super) fn put(answer: &Answer) -> Result<(), CommandError> {
    if answer.body.is_empty() { Ok(()) } else { put_document(&answer.body) }
}

/// For people over several lines, for programs on one.
fn put_document(body: &[u8]) -> Result<(), CommandError> {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) if std::io::stdout().is_terminal() => format!("{value:#}"),
        Ok(value) => value.to_string(),
        // A page for people, which some paths answer.
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    put_line(&text)
}

/// Prints a line, at once.
pub(super) fn put_line(line: &str) -> Result<(), CommandError> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(nobody_reads)
}

/// Prints an answer as it comes; a document of JSON as one.
pub(super) async fn put_file(
    mut response: reqwest::Response,
    patience: Duration,
    bytes_max: u64,
) -> Result<(), CommandError> {
    let media_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_document = media_type.split(';').next().is_some_and(|name| name.trim() == "application/json");
    let (mut document, mut taken) = (Vec::new(), 0_u64);
    loop {
        let chunk = tokio::time::timeout(patience, response.chunk()).await;
        let chunk = chunk.map_err(|_| cut(format!("nothing came for {} ms", patience.as_millis())))?;
        let Some(chunk) = chunk.map_err(|error| cut(Failure::from(error).to_string()))? else { break };
        taken += chunk.len() as u64;
        if taken > bytes_max {
            return Err(cut("it is longer than --max-mib".into()));
        }
        if is_document && document.len() + chunk.len() <= DOCUMENT_BYTES_MAX {
            document.extend_from_slice(&chunk);
            continue;
        }
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&std::mem::take(&mut document)).and_then(|()| stdout.write_all(&chunk));
        written.map_err(nobody_reads)?;
    }
    if document.is_empty() { std::io::stdout().flush().map_err(nobody_reads) } else { put_document(&document) }
}

fn cut(reason: String) -> CommandError {
    CommandError::Failure(Failure::Unusable(format!("the answer is not whole: {reason}")))
}

fn nobody_reads(error: std::io::Error) -> CommandError {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => CommandError::NobodyReads,
        _ => CommandError::Here(format!("stdout can't be written: {error}")),
    }
}
