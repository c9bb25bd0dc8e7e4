//! Settings of providers: of each its address, its credentials, and what it declares of its own. A provider that is added to the
//! registry has flags and variables by that.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use secrecy::{ExposeSecret, SecretString};

use super::base_url::check_base_url;
use crate::modules::providers::{
    AccountLimits, AccountSecrets, BASE_URL, CALL_DEADLINE_MS, CredentialField, Declaration, EnvironmentAccount,
    ProviderSettings, RATE_PER_SECOND, ServiceDeclaration, default_account,
    registry::{PAYMENT_GATEWAY, PROVIDERS, VERIFIER},
};

/// How long an answer may be waited for: as with `CALL_DEADLINE_MS`.
const DEADLINE_MS: std::ops::RangeInclusive<u64> = 10..=120_000;
/// Milliseconds that a setting of a provider's own may have: up to a day.
const OWN_MS: std::ops::RangeInclusive<u64> = 10..=86_400_000;

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

impl Variable {
    /// Names live as long as the program, as clap wants them.
    fn new(provider: &'static str, name: &'static str, help: String) -> Self {
        let env: &'static str = String::leak(format!("{}_{name}", provider.to_uppercase()));
        let flag = String::leak(env.to_lowercase().replace('_', "-"));
        Self { provider, name, env, flag, help, default: None, is_secret: false }
    }

    fn secret(provider: &'static str, name: &'static str, help: String) -> Self {
        Self { is_secret: true, ..Self::new(provider, name, help) }
    }
}

static VARIABLES: LazyLock<Vec<Variable>> = LazyLock::new(|| {
    let orders = PROVIDERS.iter().flat_map(|provider| of_orders(provider));
    orders.chain(of_service(PAYMENT_GATEWAY)).chain(of_service(VERIFIER)).collect()
});

fn of_orders(provider: &'static Declaration) -> Vec<Variable> {
    let Declaration { name, title, .. } = *provider;
    let address = Variable::new(name, BASE_URL, format!("Base URL of {title}, with its version"));
    let address = Variable { default: provider.base_url, ..address };
    let rate = format!("Calls a second to {title} with the account of the environment, over all workers");
    let deadline = match provider.call_deadline {
        Some(deadline) => format!("{} by default", deadline.as_millis()),
        None => "by default CALL_DEADLINE_MS".to_owned(),
    };
    let deadline = format!("An answer of {title} that has not come by then is lost; {deadline}");
    let limits = [Variable::new(name, RATE_PER_SECOND, rate), Variable::new(name, CALL_DEADLINE_MS, deadline)];
    let own = provider
        .settings
        .iter()
        .map(|setting| Variable { default: setting.default, ..Variable::new(name, setting.name, setting.help.into()) });
    let credentials = of_credentials(name, title, provider.credential_fields);
    [address].into_iter().chain(credentials).chain(limits).chain(own).collect()
}

fn of_service<A: ?Sized>(service: &'static ServiceDeclaration<A>) -> Vec<Variable> {
    let ServiceDeclaration { name, title, without, .. } = *service;
    let address = Variable::new(name, BASE_URL, format!("Base URL of {title}, with its version. {without}"));
    let secrets = service.secrets.iter().map(|secret| Variable::secret(name, secret.name, secret.help.into()));
    [address].into_iter().chain(of_credentials(name, title, service.credential_fields)).chain(secrets).collect()
}

fn of_credentials(
    provider: &'static str,
    title: &'static str,
    fields: &'static [CredentialField],
) -> impl Iterator<Item = Variable> {
    fields.iter().map(move |field| {
        let help = format!("{title}: `{}` of the account of the environment", field.name);
        Variable::secret(provider, field.env, help)
    })
}

/// The variables of a provider.
pub(super) fn names_of(provider: &'static Declaration) -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().filter(move |variable| variable.provider == provider.name).map(|variable| variable.env)
}

fn variable(provider: &str, name: &str) -> String {
    format!("{}_{name}", provider.to_uppercase())
}

/// Settings of all providers, by environment variable.
#[derive(Clone, Debug, Default)]
pub struct ProviderArgs {
    values: BTreeMap<&'static str, SecretString>,
}

impl ProviderArgs {
    #[must_use]
    pub fn of(&self, provider: &str) -> ProviderSettings {
        let values = VARIABLES.iter().filter(|variable| variable.provider == provider);
        let value = |variable: &Variable| Some((variable.name, self.values.get(variable.env)?.clone()));
        ProviderSettings::new(values.filter_map(value).collect())
    }

    /// The settings of a service that this installation has: one whose address is set.
    #[must_use]
    pub fn of_service<A: ?Sized>(&self, service: &ServiceDeclaration<A>) -> Option<ProviderSettings> {
        Some(self.of(service.name)).filter(|settings| settings.text(BASE_URL).is_some())
    }

    #[must_use]
    pub fn accounts(&self) -> HashMap<String, EnvironmentAccount> {
        let orders = PROVIDERS.iter().map(|provider| (provider.name, provider.credential_fields));
        let services =
            [(PAYMENT_GATEWAY.name, PAYMENT_GATEWAY.credential_fields), (VERIFIER.name, VERIFIER.credential_fields)];
        let account = |(name, fields): (&'static str, &'static [CredentialField])| {
            let settings = self.of(name);
            let field = |field: &CredentialField| Some((field.name, settings.secret(field.env)?.clone()));
            let secrets = fields.iter().map(field).collect::<Option<AccountSecrets>>()?;
            let rate_per_second = settings.number(RATE_PER_SECOND).and_then(|rate| u32::try_from(rate).ok());
            let limits = AccountLimits { rate_per_second, ..AccountLimits::default() };
            Some((default_account(name), EnvironmentAccount { secrets, limits }))
        };
        orders.chain(services).filter_map(account).collect()
    }

    /// Adds a line for each fault. A provider of orders without credentials is fine: its accounts may be in the database.
    pub(super) fn check(&self, wrong: &mut Vec<String>) {
        for provider in PROVIDERS {
            let (name, settings) = (provider.name, self.of(provider.name));
            let has_account = provider.credential_fields.iter().any(|field| settings.secret(field.env).is_some());
            if has_account {
                check_credentials(name, provider.credential_fields, &settings, wrong);
            }
            for setting in provider.settings.iter().filter(|setting| setting.name.ends_with("_MS")) {
                if settings.text(setting.name).is_some_and(|ms| !ms.parse().is_ok_and(|ms| OWN_MS.contains(&ms))) {
                    let (from, to) = (OWN_MS.start(), OWN_MS.end());
                    wrong.push(format!("{} must be a whole number from {from} to {to}", variable(name, setting.name)));
                }
            }
            match settings.text(BASE_URL) {
                Some(url) => check_base_url(&variable(name, BASE_URL), url, wrong),
                None if has_account => wrong.push(format!("{} is not set", variable(name, BASE_URL))),
                None => {}
            }
            if settings.text(RATE_PER_SECOND).is_some_and(|rate| !rate.parse().is_ok_and(|rate: u32| rate > 0)) {
                wrong.push(format!("{} must be a whole number above 0", variable(name, RATE_PER_SECOND)));
            }
            if settings.text(CALL_DEADLINE_MS).is_some_and(|ms| !ms.parse().is_ok_and(|ms| DEADLINE_MS.contains(&ms))) {
                let (from, to) = (DEADLINE_MS.start(), DEADLINE_MS.end());
                wrong.push(format!("{} must be a whole number from {from} to {to}", variable(name, CALL_DEADLINE_MS)));
            }
        }
        self.check_service(PAYMENT_GATEWAY, wrong);
        self.check_service(VERIFIER, wrong);
    }

    /// Where the service's address is set, all of it has to be there.
    fn check_service<A: ?Sized>(&self, service: &ServiceDeclaration<A>, wrong: &mut Vec<String>) {
        let Some(settings) = self.of_service(service) else { return };
        check_base_url(&variable(service.name, BASE_URL), settings.text(BASE_URL).unwrap_or_default(), wrong);
        check_credentials(service.name, service.credential_fields, &settings, wrong);
        for secret in service.secrets {
            let (name, least) = (variable(service.name, secret.name), secret.bytes_min);
            match settings.text(secret.name) {
                None => wrong.push(not_set(&name)),
                Some(set) if set.len() < least => {
                    wrong.push(format!("{name} is too short: it needs at least {least} bytes"));
                }
                Some(_) => {}
            }
        }
    }
}

fn check_credentials(provider: &str, fields: &[CredentialField], settings: &ProviderSettings, wrong: &mut Vec<String>) {
    let missing = fields.iter().filter(|field| settings.secret(field.env).is_none());
    wrong.extend(missing.map(|field| not_set(&variable(provider, field.env))));
}

fn not_set(variable: &str) -> String {
    format!("{variable} is not set; the provider gave it to you with the account")
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
