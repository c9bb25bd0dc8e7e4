//! `waybill audit verify`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    config::VerifyArgs,
    modules::audit::{
        proof::{Anchor, Finding, PublicKeys},
        seals::read_anchors,
        verification::{ChainPart, Report, verify_chain, verify_export},
    },
    platform::mongo,
};

/// Something is not as it was sealed.
const FOUND: u8 = 1;
/// It could not be checked.
const NOT_CHECKED: u8 = 2;
/// A terminal is told so often how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Checks a chain or an exported file, and prints what was found.
pub(super) async fn verify(args: VerifyArgs) -> ExitCode {
    let (json, began) = (args.json, Instant::now());
    let checked = match &args.export {
        Some(_) => {
            tokio::task::spawn_blocking(move || check_export(&args)).await.unwrap_or_else(|e| Err(e.to_string()))
        }
        None => check_chain(&args).await,
    };
    match checked {
        Ok(report) => {
            if let Err(error) = print(&report, began.elapsed(), json) {
                eprintln!("waybill: the result can't be printed: {error}");
                return ExitCode::from(NOT_CHECKED);
            }
            if report.is_verified() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) }
        }
        Err(reason) => {
            eprintln!("waybill: not checked: {}", plain(&reason));
            ExitCode::from(NOT_CHECKED)
        }
    }
}

async fn check_chain(args: &VerifyArgs) -> Result<Report, String> {
    if let (Some(from), Some(to)) = (args.from_seal, args.to_seal)
        && from > to
    {
        return Err("--from-seal is behind --to-seal".into());
    }
    let keys = match &args.keys {
        Some(path) => keys_in(path)?,
        None => args.configured_keys()?,
    };
    let sealing = args.sealing_keys()?;
    // Read before the seals: what is anchored by now is there.
    let anchors = anchors_in(args.anchors.as_deref())?;
    let part = ChainPart { from_seal: args.from_seal, to_seal: args.to_seal, anchors, limits: None };
    let db = mongo::connect(&args.stores.mongodb_uri)
        .await
        .map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    let mut progress = VerifyProgress::new();
    let report = verify_chain(&db, &keys, &sealing, part, |report| progress.show(report)).await;
    progress.clear();
    report.map_err(|error| error.to_string())
}

fn check_export(args: &VerifyArgs) -> Result<Report, String> {
    let (Some(file), Some(keys)) = (&args.export, &args.keys) else {
        return Err("--export needs --keys".into());
    };
    let (keys, anchors) = (keys_in(keys)?, anchors_in(args.anchors.as_deref())?);
    let input: Box<dyn BufRead> =
        if file.as_os_str() == "-" { Box::new(io::stdin().lock()) } else { Box::new(open(file)?) };
    let mut progress = VerifyProgress::new();
    let report = verify_export(input, &keys, anchors, |report| progress.show(report));
    progress.clear();
    report.map_err(|error| error.to_string())
}

fn open(path: &Path) -> Result<BufReader<File>, String> {
    let file = File::open(path).map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

fn keys_in(path: &Path) -> Result<PublicKeys, String> {
    serde_json::from_reader(open(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn anchors_in(path: Option<&Path>) -> Result<Vec<Anchor>, String> {
    let Some(path) = path else { return Ok(Vec::new()) };
    read_anchors(open(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

/// A line on a terminal that says how far it is.
struct VerifyProgress {
    is_terminal: bool,
    shown: Option<Instant>,
}

impl VerifyProgress {
    fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, report: &Report) {
        if self.is_terminal && self.shown.is_none_or(|shown| shown.elapsed() >= PROGRESS_EVERY) {
            let seal = report.seals.last.unwrap_or_default();
            eprint!("\r  seal {seal}, {} records looked at", report.records + report.purged);
            self.shown = Some(Instant::now());
        }
    }

    fn clear(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// The result for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonReport<'a> {
    verified: bool,
    #[serde(flatten)]
    report: &'a Report,
    elapsed_ms: u64,
    records_per_second: u64,
}

fn print(report: &Report, elapsed: Duration, json: bool) -> io::Result<()> {
    let rate = ((report.records + report.purged) as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let mut out = io::stdout().lock();
    if json {
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let printed = JsonReport { verified: report.is_verified(), report, elapsed_ms, records_per_second: rate };
        return writeln!(out, "{}", plain(&serde_json::to_string(&printed)?));
    }
    let seals = &report.seals;
    match (seals.first, seals.last, seals.last_sealed_at) {
        (Some(first), Some(last), Some(at)) => {
            writeln!(out, "seals        {first} to {last} ({}), the last one sealed at {at}", seals.count)?;
        }
        _ => writeln!(out, "seals        none")?,
    }
    if let Some(trusted) = &report.trusted {
        writeln!(out, "believed     seal {} {}", trusted.number, trusted.header_hash)?;
    }
    let seconds = elapsed.as_secs_f64();
    writeln!(out, "records      {}, and {} purged, in {seconds:.1} s ({rate}/s)", report.records, report.purged)?;
    if report.sealed_late > 0 {
        writeln!(out, "sealed late  {} more than three minutes after the time in their ids", report.sealed_late)?;
    }
    if let Some(unsealed) = report.unsealed.filter(|unsealed| *unsealed != 0) {
        writeln!(out, "left out     {unsealed} that matched and were not sealed yet")?;
    }
    writeln!(out, "signed by    {}", report.keys.iter().cloned().collect::<Vec<_>>().join(", "))?;
    if let Some(anchor) = &report.anchor {
        writeln!(out, "last anchor  {}", serde_json::to_string(anchor)?)?;
    }
    match &report.finding {
        None => writeln!(out, "verified     everything is as it was sealed"),
        Some(finding) => writeln!(out, "NOT VERIFIED {}", words(finding)?),
    }
}

fn words(finding: &Finding) -> io::Result<String> {
    let kind = serde_json::to_value(finding.kind)?;
    let mut words = format!("{}: {finding}", kind.as_str().unwrap_or_default());
    for (name, value) in [
        ("record number", finding.seq.map(|seq| seq.to_string())),
        ("collection", finding.collection.clone()),
        ("_id", finding.record_id.clone()),
    ] {
        if let Some(value) = value {
            words.push_str(&format!(", {name} {value}"));
        }
    }
    Ok(plain(&words))
}

/// Escapes control characters as in JSON, so that stored text can't command the terminal.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let turns_text = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns_text {
            plain.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            plain.push(c);
        }
    }
    plain
}
