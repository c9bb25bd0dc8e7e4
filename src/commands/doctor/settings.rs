//! Settings: whether programs start with them, and what is allowed and unwise.

use super::findings::DoctorFindings;
use crate::{
    config::{Config, OnOff},
    platform::open_files,
};

pub(super) const ADVICE: &str =
    "Set it where the processes get their environment; `waybill settings` says what each setting means.";
/// Beyond what few clients need; the default of many systems is 1024.
const OPEN_FILES_MIN: u64 = 4_096;

pub(super) fn look(config: &Config, findings: &mut DoctorFindings) {
    match config.check() {
        Ok(_) => findings.ok("settings", "API and workers start with them."),
        Err(all) => all.lines().for_each(|wrong| findings.problem("settings", wrong, ADVICE)),
    }
    let is_set = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
    if config.audit.keys().is_ok_and(|keys| keys.signer.is_none()) {
        findings.problem(
            "settings.signing_key",
            "AUDIT_SIGNING_KEY is not set: workers don't start, and nothing is exported.",
            "Make one with `openssl rand -hex 32`, the same for all processes.",
        );
    }
    let file = config.audit.audit_anchor_file.as_deref().and_then(|path| path.to_str());
    if !is_set(file) && !is_set(config.audit.audit_anchor_url.as_deref()) {
        findings.warn(
            "settings.anchors",
            "The audit has no anchor outside of the database: a chain whose end was cut off would look whole.",
            "Set AUDIT_ANCHOR_FILE or AUDIT_ANCHOR_URL, to a place that nobody can change who can change the database.",
        );
    }
    if config.rate_limit == OnOff::Off {
        findings.warn("settings.rate_limit", "Requests of users are not limited.", "Leave RATE_LIMIT=on.");
    }
    if config.webhooks.webhook_allow_private {
        findings.warn(
            "settings.webhooks",
            "Webhooks may go to private networks: a merchant can have your own servers called.",
            "Leave WEBHOOK_ALLOW_PRIVATE=false, but for development.",
        );
    }
    if !config.http_addr.ip().is_loopback() && config.trusted_proxies == Default::default() {
        findings.warn(
            "settings.proxies",
            "TRUSTED_PROXIES is empty: behind a proxy every client has the proxy's address, and one guesser shuts out all.",
            "Name the proxies before the API as addresses or networks; leave it where there is none.",
        );
    }
    match config.mail.public_url.as_deref().filter(|url| !url.is_empty()) {
        Some(url) if !url.starts_with("https://") => findings.warn(
            "settings.public_url",
            "Links in mails are not https: whoever listens can follow them.",
            "Set PUBLIC_URL to the https address of the proxy before the API.",
        ),
        _ => {}
    }
    let ends_in = config.drain() + config.shutdown();
    findings.ok(
        "settings.stop",
        format!("At SIGTERM processes end within {} s; whoever stops them has to wait for longer.", ends_in.as_secs()),
    );
    open_files::raise_limit();
    let files = open_files::limit();
    if files < OPEN_FILES_MIN {
        findings.warn(
            "settings.open_files",
            format!("Only {files} files may be open: that bounds connections of clients."),
            format!("Raise the limit to {OPEN_FILES_MIN} or more (LimitNOFILE, ulimits)."),
        );
    }
}
