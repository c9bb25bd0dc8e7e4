//! Rules of the configuration.

use std::time::Duration;

use super::*;
use crate::modules::{audit::retention::Retention, providers::registry::PAYMENT_GATEWAY};

fn complaints(flags: &[&str]) -> String {
    config_from(flags.iter().map(ToString::to_string)).expect("well-formed flags").check().expect_err("incomplete")
}

const COMPLETE: &[&str] = &[
    "--jwt-secret=0123456789abcdef0123456789abcdef",
    "--sealing-key=0000000000000000000000000000000000000000000000000000000000000000",
    "--parcelx-access-key=a",
    "--parcelx-secret-key=b",
];

#[test]
fn every_missing_or_weak_secret_is_named() {
    let all = complaints(&["--jwt-secret=short", "--sealing-key=xyz"]);
    for name in ["JWT_SECRET is too short", "SEALING_KEY must be"] {
        assert!(all.contains(name), "{name} is missing in: {all}");
    }
}

#[test]
fn a_provider_needs_no_account_in_the_environment_but_a_whole_one() {
    let (whole, keys) = COMPLETE.split_at(2);
    let with = |flags: &[&str]| {
        let flags = whole.iter().chain(flags).map(ToString::to_string);
        let config = config_from(flags).expect("well-formed flags");
        config.check().map(|_| config.providers.accounts().len())
    };
    assert_eq!((with(&[]), with(&["--parcelx-access-key="])), (Ok(0), Ok(0)));
    assert_eq!(with(keys), Ok(1));
    for (flags, named) in [
        (vec!["--parcelx-access-key=a"], "PARCELX_SECRET_KEY is not set"),
        (vec!["--parcelx-base-url=carrier.example"], "PARCELX_BASE_URL must start"),
        (vec!["--parcelx-rate-per-second=0"], "PARCELX_RATE_PER_SECOND must be"),
        (vec!["--parcelx-rate-per-second=many"], "PARCELX_RATE_PER_SECOND must be"),
        (vec!["--rosreestr-poll-ms=0"], "ROSREESTR_POLL_MS must be"),
    ] {
        let all = with(&flags).expect_err("incomplete");
        assert!(all.contains(named) && all.lines().count() == 1, "{named}: {all}");
    }
}

#[test]
fn at_the_end_there_is_time_for_the_slowest_provider() {
    let shutdown = |flags: &[&str]| {
        let config = config_from(COMPLETE.iter().chain(flags).map(ToString::to_string)).expect("well-formed flags");
        config.check().map(|_| config.worker_settings().shutdown.as_secs())
    };
    let slow = "--xapi-base-url=https://erp.example/api";
    assert_eq!((shutdown(&[]), shutdown(&[slow])), (Ok(25), Ok(35)));
    assert_eq!(shutdown(&[slow, "--xapi-call-deadline-ms=40000"]), Ok(45));
    assert_eq!(shutdown(&["--shutdown-ms=20000"]), Ok(20), "an operator's word counts");
    for flags in [&["--shutdown-ms=19999"][..], &["--shutdown-ms=29999", slow]] {
        let refused = shutdown(flags).expect_err("too short");
        assert!(refused.starts_with("SHUTDOWN_MS must be at least"), "{refused}");
    }
}

#[test]
fn a_complete_configuration_is_accepted_and_keeps_its_secrets() {
    let config = config_from(COMPLETE.iter().map(ToString::to_string)).expect("well-formed flags");
    assert!(config.check().is_ok());
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
}

#[test]
fn records_are_kept_for_three_years_unless_told_otherwise() {
    let kept = |flags: &[&str]| {
        let flags = COMPLETE.iter().chain(flags).map(ToString::to_string);
        config_from(flags).map(|config| config.retention.retention()).ok()
    };
    let years = Some(Duration::from_secs(1_095 * 86_400));
    assert_eq!(kept(&[]), Some(Retention { provider_calls: years, access: years }));
    let flags = ["--retention-provider-calls-days=1", "--retention-access-days=0"];
    assert_eq!(kept(&flags), Some(Retention { provider_calls: Some(Duration::from_secs(86_400)), access: None }));
    assert_eq!(kept(&["--retention-access-days=-1"]), None);
}

#[test]
fn a_payment_gateway_is_optional_and_whole() {
    let with = |flags: &[&str]| -> Vec<String> { COMPLETE.iter().chain(flags).map(ToString::to_string).collect() };
    for (flags, named) in [
        (vec!["--paygate-base-url=https://pay.example/v1"], vec!["PAYGATE_API_KEY", "PAYGATE_WEBHOOK_SECRET"]),
        (
            vec!["--paygate-base-url=https://u@pay.example", "--paygate-api-key=", "--paygate-webhook-secret=short"],
            vec!["PAYGATE_BASE_URL must hold", "PAYGATE_API_KEY is not set", "PAYGATE_WEBHOOK_SECRET is too short"],
        ),
        (
            vec!["--paygate-base-url=pay.example", "--paygate-api-key=k", "--paygate-webhook-secret=0123456789abcdef"],
            vec!["PAYGATE_BASE_URL must start"],
        ),
    ] {
        let all = config_from(with(&flags)).expect("well-formed flags").check().expect_err("incomplete");
        named.iter().for_each(|name| assert!(all.contains(name), "{name} is missing in: {all}"));
        assert_eq!(all.lines().count(), named.len(), "{all}");
    }
    for flags in [&["--paygate-api-key=k"][..], &["--paygate-base-url="][..]] {
        let config = config_from(with(flags)).expect("well-formed flags");
        assert!(config.check().is_ok() && config.providers.of_service(PAYMENT_GATEWAY).is_none());
    }
    let whole = [
        "--paygate-base-url=https://pay.example/v1",
        "--paygate-api-key=hidden",
        "--paygate-webhook-secret=0123456789abcdef",
    ];
    let config = config_from(with(&whole)).expect("well-formed flags");
    let secrets = config.check().expect("complete");
    assert!(config.providers.of_service(PAYMENT_GATEWAY).is_some());
    assert!(!format!("{config:?}{secrets:?}").contains("hidden"));
    assert_eq!(config.topup_expires_ms, 30 * 60 * 1000);
}

#[test]
fn a_lease_must_outlast_a_call() {
    let flags: Vec<&str> = COMPLETE.iter().copied().chain(["--lease-ms=20500"]).collect();
    assert!(complaints(&flags).contains("LEASE_MS"));
}

#[test]
fn credits_are_written_in_minor_units() {
    assert_eq!(parse_credit("INR:1000000"), Ok(Money::new(1_000_000, Currency::INR)));
    for bad in ["INR", "inr:5", "INR:0", "INR:-5", "INR:1.5", "RUPEE:5", "INR:9223372036854775807"] {
        assert!(parse_credit(bad).is_err(), "{bad}");
    }
}
