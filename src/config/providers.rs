//! Settings of the providers of orders: of each its address, its credentials, its rate, and what it declares of its own. A
//! provider that is added to the registry has flags and variables by that.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use secrecy::{ExposeSecret, SecretString};

use super::secrets::check_base_url;
use crate::modules::providers::{
    AccountSecrets, BASE_URL, CALL_DEADLINE_MS, CredentialField, Declaration, ProviderSettings, RATE_PER_SECOND,
    default_account, registry::PROVIDERS,
};

/// How long an answer may be waited for: as with `CALL_DEADLINE_MS`.
const DEADLINE_MS: std::ops::RangeInclusive<u64> = 10..=120_000;

/// One variable.
struct Variable {
    provider: &'static str,
    /// After the provider's name: `BASE_URL`.
    name: &'static str,
    /// `PARCELX_BASE_URL`.
    env: &'static str,
    /// `parcelx-base-url`; the argument's id too.
    flag: &'static str,
    help: String,
    default: Option<&'static str>,
    is_secret: bool,
}

/// Names live as long as the program, as clap wants them.
static VARIABLES: LazyLock<Vec<Variable>> =
    LazyLock::new(|| PROVIDERS.iter().flat_map(|provider| variables_of(provider)).collect());

fn variables_of(provider: &'static Declaration) -> Vec<Variable> {
    let variable = |name: &'static str, help: String, default, is_secret| {
        let env = format!("{}_{name}", provider.name.to_uppercase());
        let flag = env.to_lowercase().replace('_', "-");
        let (env, flag) = (String::leak(env), String::leak(flag));
        Variable { provider: provider.name, name, env, flag, help, default, is_secret }
    };
    let title = provider.title;
    let address = variable(BASE_URL, format!("Base URL of {title}, with its version"), provider.base_url, false);
    let deadline = match provider.call_deadline {
        Some(deadline) => format!("{} by default", deadline.as_millis()),
        None => "by default CALL_DEADLINE_MS".to_owned(),
    };
    let deadline = format!("An answer of {title} that has not come by then is lost; {deadline}");
    let deadline = variable(CALL_DEADLINE_MS, deadline, None, false);
    let rate = format!("Calls a second to {title} with the account of the environment, over all workers");
    let rate = variable(RATE_PER_SECOND, rate, None, false);
    let credentials = provider.credential_fields.iter().map(|field| {
        variable(field.env, format!("{title}: `{}` of the account of the environment", field.name), None, true)
    });
    let own =
        provider.settings.iter().map(|setting| variable(setting.name, setting.help.into(), setting.default, false));
    [address].into_iter().chain(credentials).chain([rate, deadline]).chain(own).collect()
}

/// What is set of all providers of orders, by variable.
#[derive(Clone, Debug, Default)]
pub struct ProviderArgs {
    values: BTreeMap<&'static str, SecretString>,
}

impl ProviderArgs {
    /// The settings of one provider.
    #[must_use]
    pub fn of(&self, provider: &Declaration) -> ProviderSettings {
        let values = VARIABLES.iter().filter(|variable| variable.provider == provider.name);
        let value = |variable: &Variable| Some((variable.name, self.values.get(variable.env)?.clone()));
        ProviderSettings::new(values.filter_map(value).collect())
    }

    /// The accounts that the environment names.
    #[must_use]
    pub fn accounts(&self) -> HashMap<String, AccountSecrets> {
        let account = |provider: &&'static Declaration| {
            let settings = self.of(provider);
            let field = |field: &CredentialField| Some((field.name, settings.secret(field.env)?.clone()));
            let secrets: Option<AccountSecrets> = provider.credential_fields.iter().map(field).collect();
            Some((default_account(provider.name), secrets?))
        };
        PROVIDERS.iter().filter_map(account).collect()
    }

    /// What is wrong, a line each. A provider without credentials here is fine: its accounts may be in the database.
    pub(super) fn check(&self, wrong: &mut Vec<String>) {
        for provider in PROVIDERS {
            let settings = self.of(provider);
            let (set, missing): (Vec<&CredentialField>, Vec<&CredentialField>) =
                provider.credential_fields.iter().partition(|field| settings.secret(field.env).is_some());
            let variable = |name: &str| format!("{}_{name}", provider.name.to_uppercase());
            if !set.is_empty() {
                wrong.extend(missing.iter().map(|field| {
                    format!("{} is not set; the provider gave it to you with the account", variable(field.env))
                }));
            }
            match settings.text(BASE_URL) {
                Some(url) => check_base_url(&variable(BASE_URL), url, wrong),
                None if !set.is_empty() => wrong.push(format!("{} is not set", variable(BASE_URL))),
                None => {}
            }
            if settings.text(RATE_PER_SECOND).is_some_and(|rate| !rate.parse().is_ok_and(|rate: u32| rate > 0)) {
                wrong.push(format!("{} must be a whole number above 0", variable(RATE_PER_SECOND)));
            }
            if settings.text(CALL_DEADLINE_MS).is_some_and(|ms| !ms.parse().is_ok_and(|ms| DEADLINE_MS.contains(&ms))) {
                let (from, to) = (DEADLINE_MS.start(), DEADLINE_MS.end());
                wrong.push(format!("{} must be a whole number from {from} to {to}", variable(CALL_DEADLINE_MS)));
            }
        }
    }
}

impl Args for ProviderArgs {
    fn augment_args(command: Command) -> Command {
        VARIABLES.iter().fold(command, |command, variable| {
            let arg = Arg::new(variable.flag).long(variable.flag).env(variable.env).help(variable.help.clone());
            let arg = match variable.default {
                Some(default) => arg.default_value(default),
                None => arg,
            };
            command.arg(arg.hide_env_values(variable.is_secret).value_name("VALUE"))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ProviderArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |variable: &Variable| {
            let value = matches.get_one::<String>(variable.flag)?.clone();
            Some((variable.env, SecretString::from(value)))
        };
        Ok(Self {
            values: VARIABLES.iter().filter_map(value).filter(|(_, value)| !value.expose_secret().is_empty()).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
