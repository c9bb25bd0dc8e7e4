//! Verifies an exported file line by line, with public keys alone.
//!
//! In a chain, seals and records are checked as in the database; in a selection, each record is checked with its proof. The manifest at the
//! end says whether the file is whole.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, BufRead},
    ops::Range,
};

use parking_lot::Mutex;

use super::{
    super::{
        AUDIT_EVENTS,
        export::{
            ExportMode,
            format::{Manifest, ManifestLine, Opening, RecordLine, SealLine, SealSpan, VERSION},
        },
        proof::{
            Anchor, ChainVerifier, Finding, FindingKind, Hash, NamedRecord, NotSigned, ProofError, PublicKeys,
            RECORD_VALUES_MAX, Salts, Scopes, Seal, SealCheck, check_json,
        },
    },
    lines::{LINE_BYTES_MAX, LineError, LineKind, Lines},
    purges::Purges,
    report::{Report, Stop},
};

/// Runs of records that are gone, until the file's end says whether they were purged; 40 bytes each.
const GONE_RUNS_MAX: usize = 5_000_000;
/// Of a selection, progress is told after so many records.
const PROGRESS_EVERY: u64 = 1_000;
/// So many of them are known by their ids too.
const GONE_NAMED_MAX: usize = 200_000;

/// Values of a seal's line: four for each of its leaves, of which a line has room for some 200,000.
const SEAL_VALUES_MAX: usize = 1_000_000;
/// Values of the first line and the last one: what was asked for, and numbers by collection.
const OTHER_VALUES_MAX: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the file can't be read: {0}")]
    Read(#[from] io::Error),
    #[error("this is no audit export as lines of JSON: {0}")]
    NoExport(String),
    #[error("line {0} has more than {LINE_BYTES_MAX} bytes")]
    LineTooLong(u64),
    #[error("too many records are gone to be kept in mind; export and check the chain in parts")]
    TooManyGone,
}

/// Hashes by the numbers of their seals.
type AnchorHashes = BTreeMap<i64, Vec<Hash>>;

impl From<FileError> for Stop<FileError> {
    fn from(error: FileError) -> Self {
        Self::Failed(error)
    }
}

/// Checks an export as lines of JSON. `anchors` are those that were there when it was made. `progress` is told after
/// every seal, or after every thousandth record of a selection.
///
/// A record that is gone has to be declared by a purge record in the same file.
///
/// # Errors
/// [`FileError`] where it could not be checked to its end. What is wrong is in the report.
pub fn verify_export(
    input: impl BufRead,
    keys: &PublicKeys,
    anchors: Vec<Anchor>,
    progress: impl FnMut(&Report),
) -> Result<Report, FileError> {
    let mut lines = Lines::new(input);
    let opening = opening(&mut lines)?;
    let found = Manifest::new(&opening, lines.before());
    let mut file = File { lines, keys, opening, found, report: Report::default(), progress };
    let checked = match file.opening.mode {
        ExportMode::Chain => file.check_chain(anchors),
        ExportMode::Selection => {
            let mut by_number = AnchorHashes::new();
            for anchor in anchors {
                by_number.entry(anchor.number).or_default().push(anchor.header_hash);
            }
            file.check_selection(&by_number)
        }
    };
    match checked {
        Ok(()) => {}
        Err(Stop::Found(finding)) => file.report.finding = Some(*finding),
        Err(Stop::Failed(error)) => return Err(error),
    }
    Ok(file.report)
}

fn opening<R: BufRead>(lines: &mut Lines<R>) -> Result<Opening, FileError> {
    let no_export = |reason: String| FileError::NoExport(reason);
    let line = match lines.next() {
        Ok(Some(line)) => line,
        Ok(None) => return Err(no_export("it is empty".into())),
        Err(LineError::Read(error)) => return Err(error.into()),
        Err(LineError::TooLong | LineError::NoText) => return Err(no_export("its first line can't be read".into())),
    };
    check_json(line, OTHER_VALUES_MAX).map_err(no_export)?;
    let kind: LineKind<'_> = serde_json::from_str(line).map_err(|error| no_export(error.to_string()))?;
    if kind.kind != "export" {
        return Err(no_export(format!("it begins with a line of the type {:?}", kind.kind)));
    }
    let opening: Opening = serde_json::from_str(line).map_err(|error| no_export(error.to_string()))?;
    if opening.version == VERSION { Ok(opening) } else { Err(no_export(format!("version {}", opening.version))) }
}

struct File<'a, R, P> {
    lines: Lines<R>,
    keys: &'a PublicKeys,
    opening: Opening,
    /// The manifest that it must have.
    found: Manifest,
    report: Report,
    progress: P,
}

enum Line {
    Seal(Box<SealLine<'static>>),
    Record(Box<RecordLine<'static>>),
    Manifest(Box<str>),
}

impl<R: BufRead, P: FnMut(&Report)> File<'_, R, P> {
    fn check_chain(&mut self, mut anchors: Vec<Anchor>) -> Result<(), Stop<FileError>> {
        if let (true, Some(last)) = (self.ends_early(), self.opening.seals.last) {
            anchors.retain(|anchor| anchor.number <= last);
        }
        let gone = Mutex::new(Gone::default());
        let remember = |sealed: &NamedRecord<'_>| gone.lock().add(sealed);
        let mut verifier = ChainVerifier::new(self.keys, Scopes::standard(), anchors, remember);
        let mut purges = Purges::default();
        let mut line = self.next()?;
        while let Line::Seal(stored) = line {
            let SealLine { header, leaves } = *stored;
            let seal = Seal { header: header.into_owned(), leaves: leaves.into_owned() };
            if self.report.seals.count == 0 && seal.number > 1 {
                verifier = verifier.from(&seal);
                self.report.trusted = Some(Anchor { number: seal.number - 1, header_hash: seal.previous });
            }
            line = self.check_seal(&mut verifier, &seal, &mut purges)?;
            self.report.count(&seal);
            let anchor = self.report.anchor;
            self.found.seals.last_header_hash = anchor.map(|anchor| anchor.header_hash);
            (self.progress)(&self.report);
            if gone.lock().runs.len() > GONE_RUNS_MAX {
                return Err(FileError::TooManyGone.into());
            }
        }
        let first_gone = gone.lock().first_unaccounted(&purges);
        match (first_gone, line) {
            (_, Line::Seal(_)) => unreachable!("the loop above ends at another line"),
            (_, Line::Record(record)) => Err(self.misplaced(&record, false).into()),
            (Some(finding), Line::Manifest(_)) => Err(finding.into()),
            (None, Line::Manifest(text)) => {
                verifier.finish()?;
                let (first, last) = (self.report.seals.first, self.report.seals.last);
                self.found.seals.numbers = SealSpan { first, last };
                self.check_manifest(&text).map(drop)
            }
        }
    }

    /// Checks a seal and the records behind it; gives the line after these.
    fn check_seal(
        &mut self,
        verifier: &mut ChainVerifier<'_>,
        seal: &Seal,
        purges: &mut Purges,
    ) -> Result<Line, Stop<FileError>> {
        let mut check = verifier.seal(seal)?;
        let mut at = 0;
        let next = loop {
            let line = match self.next()? {
                Line::Record(line) => line,
                next => break next,
            };
            let index = usize::try_from(line.seq.saturating_sub(seal.first_seq)).unwrap_or(usize::MAX);
            if index < at || index >= seal.leaves.len() {
                let is_sealed = seal.leaves.iter().any(|leaf| leaf.id == line.id());
                return Err(self.misplaced(&line, is_sealed).into());
            }
            self.skip(&mut check, seal, at..index)?;
            at = index + 1;
            check.record(&line.collection, line.id(), Some(&line.record.0), &line.salts)?;
            self.report.count_if_late(line.id(), seal.sealed_at);
            if line.collection == AUDIT_EVENTS {
                purges.add(&line.record.0, self.keys);
            }
            self.count(line.collection);
        };
        self.skip(&mut check, seal, at..seal.leaves.len())?;
        check.finish()?;
        Ok(next)
    }

    /// The records of these leaves have no line.
    fn skip(&mut self, check: &mut SealCheck<'_, '_>, seal: &Seal, at: Range<usize>) -> Result<(), Finding> {
        for leaf in &seal.leaves[at] {
            self.report.count_if_late(&leaf.id, seal.sealed_at);
            let collection = Scopes::standard().of_code(leaf.code).map_or("", |scope| scope.collection());
            check.record(collection, &leaf.id, None, &Salts::default())?;
            self.report.purged += 1;
            self.found.purged += 1;
        }
        Ok(())
    }

    fn check_selection(&mut self, anchors: &AnchorHashes) -> Result<(), Stop<FileError>> {
        loop {
            match self.next()? {
                Line::Record(line) => {
                    self.check_proof(&line, anchors)?;
                    self.count(line.collection);
                    if self.report.records.is_multiple_of(PROGRESS_EVERY) {
                        (self.progress)(&self.report);
                    }
                }
                Line::Seal(_) => return Err(self.changed("a selection has no seals").into()),
                Line::Manifest(text) => {
                    let said = self.check_manifest(&text)?;
                    self.report.unsealed = said.unsealed;
                    if let (Some(number), Some(header_hash)) = (said.seals.numbers.last, said.seals.last_header_hash) {
                        check_anchor(anchors, Anchor { number, header_hash })?;
                    }
                    return Ok(());
                }
            }
        }
    }

    fn check_proof(&mut self, line: &RecordLine<'_>, anchors: &AnchorHashes) -> Result<(), Stop<FileError>> {
        let Some(proof) = &line.proof else {
            return Err(self.changed("a record of a selection has no proof").into());
        };
        if (proof.seq, &*proof.collection) != (line.seq, &*line.collection) {
            return Err(self.misplaced(line, true).into());
        }
        proof.verify(&line.record.0, &line.salts, Scopes::standard(), self.keys).map_err(|error| Finding {
            seal: proof.seal_number,
            seq: Some(line.seq),
            collection: Some(line.collection.clone().into_owned()),
            record_id: Some(proof.record_id.clone()),
            kind: match error {
                ProofError::Seal(NotSigned::UnknownKey) => FindingKind::UnknownKey,
                ProofError::Seal(NotSigned::Wrong) => FindingKind::SealForged,
                ProofError::Contradiction(_) | ProofError::WrongPath => FindingKind::SealChanged,
                ProofError::RecordChanged | ProofError::NotGiven(_) => FindingKind::RecordChanged,
            },
            detail: error.to_string(),
        })?;
        check_anchor(anchors, (&proof.seal_header).into())?;
        self.report.count_if_late(&proof.record_id, proof.seal_header.sealed_at);
        if !self.report.keys.contains(&proof.public_key_id) {
            self.report.keys.insert(proof.public_key_id.clone());
        }
        Ok(())
    }

    /// Checks that the manifest is signed and says what was read before it, and that nothing follows it.
    fn check_manifest(&mut self, text: &str) -> Result<Manifest, Stop<FileError>> {
        let unreadable = |error: serde_json::Error| self.changed(format!("the manifest can't be read: {error}"));
        let line: ManifestLine<'_> = serde_json::from_str(text).map_err(unreadable)?;
        line.check_signature(self.keys).map_err(|error| match error {
            NotSigned::UnknownKey => {
                let detail = format!("the manifest is signed by the key {:?}, which is not known", line.key_id);
                Finding { kind: FindingKind::UnknownKey, ..self.changed(detail) }
            }
            NotSigned::Wrong => self.changed(format!("the key {} did not sign the manifest", line.key_id)),
        })?;
        let said = line.manifest().map_err(unreadable)?;
        let mut found = Manifest { before: self.lines.before(), unsealed: said.unsealed, ..self.found.clone() };
        if self.opening.mode == ExportMode::Selection {
            found.seals.last_header_hash = said.seals.last_header_hash;
        }
        let opened = (said.seals.numbers != self.opening.seals).then(|| "seals".to_owned());
        if let Some(name) = said.difference(&found).or(opened) {
            return Err(self.changed(format!("the file is not what its manifest says: {name}")).into());
        }
        match self.lines.next() {
            Ok(None) => Ok(said),
            Err(LineError::Read(error)) => Err(FileError::from(error).into()),
            Ok(Some(_)) | Err(LineError::TooLong | LineError::NoText) => {
                Err(self.changed("something stands behind the manifest").into())
            }
        }
    }

    /// The next line. There is one: the manifest is the last.
    fn next(&mut self) -> Result<Line, Stop<FileError>> {
        let read = match self.lines.next() {
            Ok(Some(line)) => read_line(line),
            Ok(None) => return Err(self.changed("the file ends without its manifest: it was cut off").into()),
            Err(LineError::Read(error)) => return Err(FileError::from(error).into()),
            Err(LineError::TooLong) => return Err(FileError::LineTooLong(self.lines.number).into()),
            Err(LineError::NoText) => Err("it is not UTF-8".into()),
        };
        read.map_err(|reason| self.changed(format!("line {} can't be read: {reason}", self.lines.number)).into())
    }

    fn count(&mut self, collection: Cow<'_, str>) {
        self.report.records += 1;
        *self.found.counts.entry(collection.into_owned()).or_default() += 1;
    }

    /// Whether later seals were left out on purpose.
    fn ends_early(&self) -> bool {
        // With an end after the export was made nothing was: then the last anchor holds.
        self.opening.filters.to.as_ref().is_some_and(|to| to.0 <= self.opening.created_at.0)
    }

    fn changed(&self, detail: impl Into<String>) -> Finding {
        Finding::of_seal(self.report.seals.last.unwrap_or_default(), FindingKind::ExportChanged, detail)
    }

    /// A record whose line is not where its number belongs, or that has no place at all.
    fn misplaced(&self, line: &RecordLine<'_>, is_sealed: bool) -> Finding {
        let (kind, what) = if is_sealed {
            (FindingKind::RecordReordered, "belongs elsewhere")
        } else {
            (FindingKind::RecordInserted, "is in no seal here")
        };
        Finding {
            seq: Some(line.seq),
            collection: Some(line.collection.clone().into_owned()),
            record_id: Some(line.id().to_owned()),
            kind,
            ..self.changed(format!("line {}: the record {what}", self.lines.number))
        }
    }
}

fn read_line(line: &str) -> Result<Line, String> {
    let words = |error: serde_json::Error| error.to_string();
    let kind: LineKind<'_> = serde_json::from_str(line).map_err(words)?;
    let values_max = match &*kind.kind {
        "seal" => SEAL_VALUES_MAX,
        "record" => RECORD_VALUES_MAX,
        _ => OTHER_VALUES_MAX,
    };
    check_json(line, values_max)?;
    match &*kind.kind {
        "seal" => serde_json::from_str(line).map(Line::Seal).map_err(words),
        "record" => serde_json::from_str(line).map(Line::Record).map_err(words),
        "manifest" => Ok(Line::Manifest(line.into())),
        other => Err(format!("its type is {other:?}")),
    }
}

/// Whether an anchor names another seal of this number.
fn check_anchor(anchors: &AnchorHashes, seal: Anchor) -> Result<(), Finding> {
    if anchors.get(&seal.number).is_none_or(|hashes| hashes.iter().all(|hash| *hash == seal.header_hash)) {
        return Ok(());
    }
    Err(Finding::of_seal(seal.number, FindingKind::TailCut, "an anchor names another seal of this number"))
}

/// Records that have no line, in the order of their numbers.
#[derive(Debug, Default)]
struct Gone {
    runs: Vec<RecordRun>,
    /// Ids and times by number.
    named: BTreeMap<i64, (String, i64)>,
}

/// Records of one seal and collection that follow each other.
#[derive(Debug)]
struct RecordRun {
    seal: i64,
    code: u8,
    first: i64,
    last: i64,
    /// The time of the youngest, ms.
    newest_ms: i64,
}

impl Gone {
    /// Believes, until the end of the file, that the record was purged.
    fn add(&mut self, sealed: &NamedRecord<'_>) -> bool {
        let (seal, code, seq) = (sealed.seal, sealed.leaf.code, sealed.seq);
        match self.runs.last_mut() {
            Some(run) if (run.seal, run.code, run.last + 1) == (seal, code, seq) => {
                run.last = seq;
                run.newest_ms = run.newest_ms.max(sealed.at_ms);
            }
            _ => self.runs.push(RecordRun { seal, code, first: seq, last: seq, newest_ms: sealed.at_ms }),
        }
        if self.named.len() < GONE_NAMED_MAX {
            self.named.insert(seq, (sealed.leaf.id.clone(), sealed.at_ms));
        }
        true
    }

    /// The first record that no purge record accounts for.
    fn first_unaccounted(&self, purges: &Purges) -> Option<Finding> {
        self.runs.iter().find_map(|run| {
            let collection = Scopes::standard().of_code(run.code).map_or("", |scope| scope.collection());
            let at_ms = |seq| self.named.get(&seq).map_or(run.newest_ms, |(_, at_ms)| *at_ms);
            let seq = (run.first..=run.last).find(|&seq| !purges.cover(run.seal, collection, seq, at_ms(seq)))?;
            let detail = "the record is gone, and no purge record in this file says so";
            Some(purges.explain(Finding {
                seq: Some(seq),
                collection: Some(collection.to_owned()),
                record_id: self.named.get(&seq).map(|(id, _)| id.clone()),
                ..Finding::of_seal(run.seal, FindingKind::RecordRemoved, detail)
            }))
        })
    }
}
