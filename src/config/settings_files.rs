//! What files of the repository have from the program, between two marks: every setting, every provider of orders. `waybill settings
//! --write` puts it there, and a test says when.

use std::{fs, path::Path};

use super::{providers::names_of, settings, settings_file, settings_table};
use crate::modules::providers::{Declaration, PricedBy, ProviderSettings, registry::PROVIDERS};

/// On the lines before and after what is written.
const BEGIN: &str = "written by `waybill settings --write` from here";
const END: &str = "written to here";

/// What stands between the marks of a file that has this around them.
type Content = fn(&str) -> String;

const FILES: [(&str, Content); 4] = [
    (".env.example", |_| settings_file()),
    ("docker-compose.yml", passed_on),
    ("docs/configuration.md", |_| settings_table()),
    ("docs/providers.md", |_| providers_table()),
];

/// The files below `folder` that are not as they should be, each with the text that it should have.
///
/// # Errors
/// A file that is not there, or lacks its marks.
pub fn stale_files(folder: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let mut stale = Vec::new();
    for (name, content) in FILES {
        let text = fs::read_to_string(folder.join(name))
            .map_err(|error| format!("{name} can't be read ({error}): this is done in the repository"))?;
        let wanted = filled(&text, content).ok_or_else(|| format!("{name} has no lines `{BEGIN}` and `{END}`"))?;
        if wanted != text {
            stale.push((name, wanted));
        }
    }
    Ok(stale)
}

fn filled(text: &str, content: Content) -> Option<String> {
    let begin = text.find(BEGIN)?;
    let begin = begin + text[begin..].find('\n')? + 1;
    let end = begin + text[begin..].find(END)?;
    let end = text[..end].rfind('\n')? + 1;
    let (before, after) = (&text[..begin], &text[end..]);
    Some(format!("{before}\n{}\n\n{after}", content(&format!("{before}{after}")).trim_matches('\n')))
}

/// Variables of docker-compose.yml that it passes on as they are: those that it does not set itself.
fn passed_on(others: &str) -> String {
    let is_set = |name: &str| others.lines().any(|line| line.starts_with(&format!("  {name}: ")));
    let names = settings().into_iter().map(|setting| setting.name).filter(|name| !is_set(name));
    names.map(|name| format!("  {name}:\n")).collect()
}

fn providers_table() -> String {
    let rows: String = PROVIDERS.iter().map(|provider| row(provider)).collect();
    format!("| provider | kind | orders have | takes back | settings |\n|---|---|---|---|---|\n{rows}")
}

fn row(provider: &'static Declaration) -> String {
    let adapter = (provider.adapter)(&ProviderSettings::default());
    let takes_back = if adapter.cancelling().is_some() { "yes" } else { "no" };
    let mut what = format!("`{}`", provider.kind.detail_name());
    if provider.priced_by == PricedBy::Nothing {
        what.push_str("; nothing is charged");
    }
    if adapter.polling().is_some() {
        what.push_str("; takes its time, ends with files");
    }
    let settings = names_of(provider).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    format!("| `{}` | {} | {what} | {takes_back} | {settings} |\n", provider.name, provider.kind.as_str())
}
