//! `waybill audit export`.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{IsTerminal, Write},
    os::{
        fd::AsFd,
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use secrecy::ExposeSecret;

use crate::{
    config::AuditExportArgs,
    modules::audit::export::{Export, ExportFilter, Exporter},
    platform::{clock::Clock, identity::Actor, mongo, sealing::SealingKeys},
};

/// How often a terminal is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Exports may be read by their owner only.
const MODE: u32 = 0o600;

/// Writes an export to a file, which is there only once it is whole, or to stdout.
pub(super) async fn export(args: AuditExportArgs) -> Result<(), String> {
    let keys = args.keys()?;
    let filter = ExportFilter::from(args.filter);
    let faults: Vec<String> =
        filter.faults().iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    // Compose files hand on variables that nobody set as empty ones.
    let previous = args.sealing_key_previous.as_ref().filter(|key| !key.expose_secret().is_empty());
    let sealing = Arc::new(SealingKeys::new(&args.sealing_key, previous)?);
    let db = mongo::connect(&args.stores.mongodb_uri)
        .await
        .map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    let clock = Clock::default();
    clock.sync(&db).await.map_err(|error| format!("the database can't be read: {error}"))?;
    let exporter = Exporter::new(db, sealing, keys.signer, keys.public);
    let begin = exporter.begin(filter, args.format, Actor::command_line("audit export"), clock.now());
    if args.out == "-" {
        let export = begin.await.map_err(|error| error.to_string())?;
        let stdout = std::io::stdout().as_fd().try_clone_to_owned();
        let stdout = stdout.map_err(|error| format!("stdout can't be written: {error}"))?;
        return write(export, tokio::fs::File::from_std(stdout.into())).await.map(drop);
    }
    let target = PartFile::open(Path::new(&args.out))?;
    let written = match begin.await {
        Ok(export) => write(export, tokio::fs::File::from_std(target.file()?)).await,
        Err(error) => Err(error.to_string()),
    };
    match written.and_then(|manifest| target.keep(&manifest)) {
        Ok(()) => Ok(()),
        Err(error) => {
            target.discard();
            Err(error)
        }
    }
}

async fn write(export: Export, out: impl tokio::io::AsyncWrite + Unpin + Send) -> Result<String, String> {
    let mut progress = ExportProgress::new(export.records_sealed());
    let manifest = export.write_to(out, |records| progress.tell(records)).await;
    progress.end();
    manifest.map_err(|error| format!("the export stopped: {error}"))
}

/// A file under its name for the time being, held by this process.
struct PartFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl PartFile {
    fn open(path: &Path) -> Result<Self, String> {
        let part = with_suffix(path, ".part");
        let failed = |error: std::io::Error| format!("{} can't be written: {error}", part.display());
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(MODE).open(&part).map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => format!("{}: another export is writing it", part.display()),
            TryLockError::Error(error) => failed(error),
        })?;
        // One that was there is of an export that was killed; or somebody put it there, to read what comes into it.
        file.set_permissions(Permissions::from_mode(MODE)).and_then(|()| file.set_len(0)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), part, file })
    }

    fn file(&self) -> Result<File, String> {
        self.file.try_clone().map_err(|error| format!("{} can't be written: {error}", self.part.display()))
    }

    /// Gives it its name, once all of it is on the disk.
    fn keep(&self, manifest: &str) -> Result<(), String> {
        let keep = || -> std::io::Result<()> {
            self.file.sync_all()?;
            let beside = with_suffix(&self.path, ".manifest.json");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&beside)?;
            writeln!(file, "{manifest}")?;
            file.sync_all()?;
            fs::rename(&self.part, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        keep().map_err(|error| format!("{} can't be kept: {error}", self.path.display()))
    }

    fn discard(&self) {
        if let Err(error) = fs::remove_file(&self.part) {
            tracing::warn!(%error, file = %self.part.display(), "what is left of the export could not be removed");
        }
    }
}

/// How far it is, on a terminal.
struct ExportProgress {
    sealed: Option<i64>,
    began: Instant,
    told: Option<Instant>,
    records: u64,
    terminal: bool,
}

impl ExportProgress {
    fn new(sealed: Option<i64>) -> Self {
        Self { sealed, began: Instant::now(), told: None, records: 0, terminal: std::io::stderr().is_terminal() }
    }

    fn tell(&mut self, records: u64) {
        self.records = records;
        if self.terminal && self.told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY) {
            self.told = Some(Instant::now());
            eprint!("\r  {}   ", self.line());
        }
    }

    fn end(&self) {
        if self.terminal {
            eprintln!("\r  {}   ", self.line());
        }
    }

    fn line(&self) -> String {
        let rate = self.records as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let percent = |sealed: i64| format!(", {:.0} %", 100.0 * self.records as f64 / sealed.max(1) as f64);
        format!("{} records, {rate:.0}/s{}", self.records, self.sealed.map(percent).unwrap_or_default())
    }
}
