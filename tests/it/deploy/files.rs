//! Every setting can be set wherever Waybill is deployed, and nothing is set that is none.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use waybill::{
    config::{config_from, settings, stale_files},
    modules::providers::{BASE_URL, registry::PROVIDERS},
};

use super::{path, read, yaml};

const SECRETS: usize = 15;

fn names<'a>(all: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    all.into_iter().map(str::to_owned).collect()
}

fn all_settings() -> BTreeSet<String> {
    settings().into_iter().map(|setting| setting.name).collect()
}

fn keys(map: &Value) -> BTreeSet<String> {
    names(map.as_object().expect("a map").keys().map(String::as_str))
}

/// Names in `${NAME}`, `${NAME:-...}` and `${NAME:?...}`.
fn interpolated(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    text.split("${").skip(1).map(name).collect()
}

#[test]
fn every_setting_of_a_program_is_known() {
    let all = settings();
    for name in
        ["JWT_SECRET", "MONGODB_URI", "PARCELX_RATE_PER_SECOND", "TRUSTED_PROXIES", "RUST_LOG", "WORKER_CONCURRENCY"]
    {
        assert!(all.iter().any(|setting| setting.name == name && !setting.help.is_empty()), "{name}");
    }
    assert!(all.iter().all(|setting| !setting.name.contains("CRASH")), "tests' own are no settings");
    assert!(all.iter().filter(|setting| setting.is_secret).count() >= SECRETS);
    let leaked = all.iter().find(|setting| setting.name == "SEALING_KEY" && setting.default.is_some());
    assert_eq!(leaked, None);
}

#[test]
fn compose_passes_every_setting_on_and_no_other() {
    let compose = yaml("docker-compose.yml");
    for service in ["migrate", "api", "worker"] {
        assert_eq!(keys(&compose["services"][service]["environment"]), all_settings(), "{service}");
    }
    for service in ["api", "worker"] {
        let waits_for = keys(&compose["services"][service]["depends_on"]);
        assert_eq!(waits_for, names(["migrate", "mongo"]), "{service} works without Redis");
        assert!(compose["services"][service]["healthcheck"]["test"].is_array());
        assert!(compose["services"][service]["container_name"].is_null(), "{service} can be scaled");
    }
}

#[test]
fn the_example_of_an_environment_is_whole() {
    let example = read(".env.example");
    let (own, _) = example.split_once("\n# ---- every setting").expect("the mark between both parts");
    let variable = |line: &str| line.trim_start_matches('#').split_once('=').map(|(name, _)| name.to_owned());
    let is_variable = |name: &String| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let set: BTreeSet<String> = own.lines().filter_map(variable).filter(is_variable).collect();
    let wanted = interpolated(&read("docker-compose.yml"));
    let of_compose: BTreeSet<String> = wanted.difference(&all_settings()).cloned().collect();
    assert!(of_compose.is_subset(&set), "{:?} are missing", of_compose.difference(&set));
    let known: BTreeSet<String> = wanted.union(&all_settings()).cloned().collect();
    assert!(set.is_subset(&known), "{:?} are nothing", set.difference(&known));
    for needed in ["JWT_SECRET", "SEALING_KEY", "AUDIT_SIGNING_KEY"] {
        assert!(own.contains(&format!("\n{needed}=\n")), "{needed} has to be filled in");
    }
}

#[test]
fn files_have_every_setting_and_provider() {
    let stale = stale_files(&path("")).expect("files with their marks");
    let names: Vec<_> = stale.iter().map(|(name, _)| name).collect();
    assert!(names.is_empty(), "run `target/debug/waybill settings --write`: it brings {names:?} up to date");
}

#[test]
fn the_chart_takes_any_setting_and_secrets_by_reference() {
    let values = yaml("deploy/helm/values.yaml");
    let plain = settings().into_iter().filter(|setting| !setting.is_secret).map(|setting| setting.name).collect();
    assert!(keys(&values["settings"]).is_subset(&plain), "what is no setting, or a secret");
    let env = read("deploy/helm/templates/_helpers.tpl");
    assert!(env.contains("range $name, $value := .Values.settings") && env.contains("secretRef:"), "{env}");
    for template in ["deployments", "migrate"] {
        let text = read(&format!("deploy/helm/templates/{template}.yaml"));
        assert_eq!(text.matches("include \"waybill.env\"").count(), 1, "{template}");
    }
}

#[test]
fn the_chart_reads_no_value_that_it_does_not_have() {
    let values = yaml("deploy/helm/values.yaml");
    let (mut read_values, mut used) = (0, BTreeSet::new());
    for entry in std::fs::read_dir(path("deploy/helm/templates")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let words = |mark: &'static str| {
            let word =
                |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || "_.".contains(*c)).collect::<String>();
            text.split(mark).skip(1).map(word).collect::<Vec<_>>()
        };
        for name in words(".Values.") {
            let found = name.split('.').try_fold(&values, |at, part| at.get(part));
            assert!(found.is_some(), ".Values.{name} is not in values.yaml");
            used.insert(name.split('.').next().unwrap_or_default().to_owned());
            read_values += 1;
        }
        // Both programs have the same values.
        for name in words("$values.") {
            for program in ["api", "worker"] {
                let found = name.split('.').try_fold(&values[program], |at, part| at.get(part));
                assert!(found.is_some(), "{program}.{name} is not in values.yaml");
            }
            used.extend(["api".to_owned(), "worker".to_owned()]);
            read_values += 1;
        }
    }
    assert!(read_values > 20, "the templates are not read any more: {read_values}");
    assert_eq!(used, keys(&values), "a value that no template reads");
}

#[test]
fn units_set_nothing_that_is_no_setting_and_are_confined() {
    let mut programs = BTreeSet::new();
    for entry in std::fs::read_dir(path("deploy/systemd")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let of = |key: &'static str| text.lines().filter_map(move |line| line.strip_prefix(key)).collect::<Vec<_>>();
        for set in of("Environment=") {
            let name = set.split('=').next().unwrap_or_default();
            assert!(all_settings().contains(name), "{name} is no setting");
        }
        for confined in ["NoNewPrivileges=yes", "ProtectSystem=strict", "User=waybill", "CapabilityBoundingSet="] {
            assert!(text.lines().any(|line| line == confined), "{confined} is missing in\n{text}");
        }
        programs.extend(of("ExecStart=/usr/local/bin/waybill ").into_iter().map(str::to_owned));
    }
    assert_eq!(programs, names(["api", "migrate", "worker"]));
}

/// Seconds of `60`, `60s`.
fn seconds(value: &str) -> Duration {
    Duration::from_secs(value.trim_end_matches('s').parse().expect("seconds"))
}

#[test]
fn whoever_stops_a_process_waits_for_longer_than_it_takes() {
    // With every provider there is, and mail: the slowest of them counts.
    let flag = |name: &str| format!("--{name}-{}=https://{name}.example", BASE_URL.to_lowercase().replace('_', "-"));
    let providers = PROVIDERS.iter().map(|provider| flag(provider.name));
    let everything = providers.chain(["--smtp-url=smtp://mail.example".to_owned()]);
    let config = config_from(everything.collect::<Vec<_>>()).expect("well-formed flags");
    let needed = config.drain() + config.shutdown();
    let compose = yaml("docker-compose.yml");
    for service in ["api", "worker"] {
        let grace = seconds(compose["services"][service]["stop_grace_period"].as_str().expect("a period"));
        assert!(grace > needed, "compose gives {service} {grace:?} of {needed:?}");
    }
    let grace = yaml("deploy/helm/values.yaml")["terminationGracePeriodSeconds"].as_u64().expect("seconds");
    assert!(Duration::from_secs(grace) > needed, "the chart gives {grace} s of {needed:?}");
    for unit in ["waybill-api.service", "waybill-worker@.service"] {
        let text = read(&format!("deploy/systemd/{unit}"));
        let grace = text.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).map(seconds).expect("a time");
        assert!(grace > needed, "{unit} gives {grace:?} of {needed:?}");
    }
}
