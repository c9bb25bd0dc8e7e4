//! Every setting of the API and the worker as a file, as docker-compose and systemd read them, and as a table for people: `waybill
//! settings`.

use clap::{Arg, CommandFactory};

use super::Cli;

/// Lines of the file are about so long.
const LINE_CHARS: usize = 120;

/// One setting, as `waybill all --help` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable.
    pub name: String,
    pub help: String,
    /// The default.
    pub default: Option<String>,
    /// Its value is shown to nobody.
    pub is_secret: bool,
}

impl Setting {
    fn of(arg: &Arg) -> Option<Self> {
        let name = arg.get_env()?.to_str()?.to_owned();
        let default = arg.get_default_values().iter().filter_map(|value| value.to_str()).collect::<Vec<_>>().join(",");
        Some(Self {
            name,
            help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            default: Some(default).filter(|default| !default.is_empty()),
            is_secret: arg.is_hide_env_values_set(),
        })
    }
}

/// Every setting of the API and the worker; those that only tests use are not among them.
#[must_use]
pub fn settings() -> Vec<Setting> {
    let cli = Cli::command();
    let all = cli.find_subcommand("all").map(|all| all.get_arguments().collect::<Vec<_>>()).unwrap_or_default();
    cli.get_arguments().chain(all).filter(|arg| !arg.is_hide_set()).filter_map(Setting::of).collect()
}

/// Flags of the API and the worker, as `--name=value`, as the variables that say the same: for processes that are started with
/// them, in whose command lines everybody could read them.
#[must_use]
pub fn as_environment(flags: &[String]) -> Vec<(String, String)> {
    let cli = Cli::command();
    let args = cli.find_subcommand("all").map(|all| all.get_arguments().collect::<Vec<_>>()).unwrap_or_default();
    let variable = |flag: &String| {
        let (name, value) = flag.strip_prefix("--")?.split_once('=')?;
        let arg = args.iter().find(|arg| arg.get_long() == Some(name))?;
        Some((arg.get_env()?.to_str()?.to_owned(), value.to_owned()))
    };
    flags.iter().filter_map(variable).collect()
}

/// The settings as a file of variables, each commented out with its default and with its meaning above.
#[must_use]
pub fn settings_file() -> String {
    let one = |setting: &Setting| {
        let help = wrapped(&setting.help);
        format!("{help}#{}={}\n", setting.name, setting.default.as_deref().unwrap_or_default())
    };
    settings().iter().map(one).collect::<Vec<_>>().join("\n")
}

/// The settings as a table for people, in Markdown: docs/configuration.md ends with it.
#[must_use]
pub fn settings_table() -> String {
    let row = |setting: &Setting| {
        let default = setting.default.iter().map(|default| format!("`{default}`"));
        let default = default.chain(setting.is_secret.then(|| "secret".to_owned())).collect::<Vec<_>>().join(", ");
        let help = setting.help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        format!("| `{}` | {default} | {help} |\n", setting.name)
    };
    let rows: String = settings().iter().map(row).collect();
    format!("| setting | default | what |\n|---|---|---|\n{rows}")
}

/// As lines of a comment.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < LINE_CHARS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
