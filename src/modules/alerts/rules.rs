//! Rules of alerts: a table. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Severity: how soon somebody has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody, now.
    Page,
    /// Somebody, in the morning.
    Ticket,
}

impl Severity {
    /// As in texts.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

/// The unit of a measurement.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Count,
    Seconds,
    Share,
}

/// A rule. `deploy/prometheus/alerts.yml` has the same conditions under other names; a test compares
/// them.
#[derive(Debug)]
pub struct Rule {
    /// In ids and texts: `jobs-die`.
    pub name: &'static str,
    /// How soon somebody has to look.
    pub severity: Severity,
    /// More is too much.
    pub above: f64,
    /// For so long, before anybody is told.
    pub after: Duration,
    unit: Unit,
    /// The message; `{about}` and `{value}` are filled in.
    says: &'static str,
    /// The remedy, in the same way.
    advice: &'static str,
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "no-worker",
        severity: Severity::Page,
        above: 0.0,
        after: minutes(2),
        unit: Unit::Count,
        says: "No worker is alive: orders are taken and not carried out.",
        advice: "Start workers. Orders are safe and wait.",
    },
    Rule {
        name: "queue-unworked",
        severity: Severity::Page,
        above: 0.0,
        after: minutes(5),
        unit: Unit::Count,
        says: "{value} jobs of {about} are due, and no worker serves that queue.",
        advice: "Start a worker with the settings of the service that it is for.",
    },
    Rule {
        name: "jobs-die",
        severity: Severity::Page,
        above: 10.0,
        after: minutes(0),
        unit: Unit::Count,
        says: "{value} jobs of {about} were given up in a quarter of an hour.",
        advice: "GET /queues/{about}/jobs?state=dead says why; when the cause is gone, POST /queues/{about}/retry-dead.",
    },
    Rule {
        name: "jobs-wait",
        severity: Severity::Page,
        above: 120.0,
        after: minutes(3),
        unit: Unit::Seconds,
        says: "The oldest job of {about} is due for {value} and nobody takes it.",
        advice: "Start more workers; or the queue's accounts at the provider are stopped, see GET /queues.",
    },
    Rule {
        name: "queue-paused",
        severity: Severity::Ticket,
        above: 0.0,
        after: minutes(30),
        unit: Unit::Count,
        says: "{about} has been paused for half an hour.",
        advice: "POST /queues/{about}/resume lets it go on.",
    },
    Rule {
        name: "provider-fails",
        severity: Severity::Page,
        above: 0.2,
        after: minutes(5),
        unit: Unit::Share,
        says: "{value} of calls to {about} fail.",
        advice: "Ask the provider. Calls are tried again by themselves, for a day.",
    },
    Rule {
        name: "unknown-outcomes",
        severity: Severity::Ticket,
        above: 20.0,
        after: minutes(0),
        unit: Unit::Count,
        says: "Of {value} calls to {about} in a quarter of an hour nobody knows whether they were carried out.",
        advice: "Look at the call deadline and the network. Each call is looked up before it is repeated.",
    },
    Rule {
        name: "breaker-open",
        severity: Severity::Page,
        above: 0.0,
        after: minutes(5),
        unit: Unit::Count,
        says: "Nothing is sent with {about}: its breaker is open.",
        advice: "GET /queues has the reason: `unreachable` is tried again by itself, refused `credentials` need new ones.",
    },
    Rule {
        name: "needs-attention",
        severity: Severity::Ticket,
        above: 0.0,
        after: minutes(15),
        unit: Unit::Count,
        says: "{value} orders need a person to say what became of them.",
        advice: "Ask the provider what became of each, then retry its job or cancel it.",
    },
    Rule {
        name: "books-differ",
        severity: Severity::Page,
        above: 0.0,
        after: minutes(0),
        unit: Unit::Count,
        says: "{about} found that the books, the stock or the audit differ.",
        advice: "Change nothing by hand before you know why.",
    },
    Rule {
        name: "sealer-behind",
        severity: Severity::Page,
        above: 120.0,
        after: minutes(2),
        unit: Unit::Seconds,
        says: "Audit records have waited {value} for their seal.",
        advice: "The workers' logs say why nothing is sealed; `waybill audit verify`.",
    },
    Rule {
        name: "relay-behind",
        severity: Severity::Page,
        above: 60.0,
        after: minutes(2),
        unit: Unit::Seconds,
        says: "Events have waited {value} in the outbox: webhooks and mail are late.",
        advice: "Start workers; GET /events/stats names the handler that holds things up.",
    },
    Rule {
        name: READINGS_FAIL,
        severity: Severity::Page,
        above: 0.0,
        after: minutes(5),
        unit: Unit::Count,
        says: "Nobody can look at {about}: alerts about that stay as they are.",
        advice: "The log of the process that looks says why; look at MongoDB and its slow-query log.",
    },
];

/// The rule about rules that can't be judged.
pub(super) const READINGS_FAIL: &str = "readings-fail";

impl Rule {
    /// The rule of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.name == name)
    }

    fn filled_in(&self, text: &str, about: &str, value: f64) -> String {
        let value = match self.unit {
            Unit::Count => format!("{value:.0}"),
            Unit::Seconds if value < 120.0 => format!("{value:.0} s"),
            Unit::Seconds => format!("{:.0} min", value / 60.0),
            Unit::Share => format!("{:.0}%", value * 100.0),
        };
        text.replace("{about}", about).replace("{value}", &value)
    }

    /// The remedy.
    #[must_use]
    pub fn advice(&self, about: &str) -> String {
        self.filled_in(self.advice, about, 0.0)
    }
}

/// A value that was read for a rule.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The rule.
    pub rule: &'static str,
    /// A queue, a provider, an account, a schedule; or what the rule looks at as a whole.
    pub about: String,
    /// How much of it.
    pub value: f64,
    /// A more exact message than the rule's own.
    pub note: Option<String>,
}

/// Values that were read, and those that could not be.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Those that were read.
    pub taken: Vec<Reading>,
    /// Those that were not: their subject, and the rules that can't be judged without.
    pub missing: Vec<(&'static str, &'static [&'static str])>,
}

/// A value beyond its rule's limit.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) rule: &'static Rule,
    pub(super) about: String,
    pub(super) value: f64,
    pub(super) message: String,
}

impl Condition {
    /// The id of its alert.
    pub(super) fn id(&self) -> String {
        format!("{}:{}", self.rule.name, self.about)
    }
}

/// Readings beyond their limits, and rules that could not be judged.
pub(super) fn judge(readings: Readings) -> (Vec<Condition>, Vec<&'static str>) {
    let missing = readings.missing.iter().map(|(about, _)| Reading {
        rule: READINGS_FAIL,
        about: (*about).to_owned(),
        value: 1.0,
        note: None,
    });
    let unknown = readings.missing.iter().flat_map(|(_, rules)| *rules).copied().collect();
    (conditions(readings.taken.into_iter().chain(missing)), unknown)
}

/// Readings beyond their limits.
pub(super) fn conditions(readings: impl IntoIterator<Item = Reading>) -> Vec<Condition> {
    let condition = |Reading { rule, about, value, note }: Reading| {
        let rule = Rule::named(rule)?;
        let message = note.unwrap_or_else(|| rule.filled_in(rule.says, &about, value));
        (value > rule.above).then_some(Condition { rule, about, value, message })
    };
    readings.into_iter().filter_map(condition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rule: &'static str, value: f64) -> Option<String> {
        let reading = Reading { rule, about: "x-queue".into(), value, note: None };
        conditions([reading]).pop().map(|condition| condition.message)
    }

    #[test]
    fn only_what_is_above_the_limit_is_told() {
        for (rule, fine, too_much, words) in [
            ("jobs-die", 10.0, 11.0, "11 jobs of x-queue were given up in a quarter of an hour."),
            ("jobs-wait", 120.0, 300.0, "The oldest job of x-queue is due for 5 min and nobody takes it."),
            ("relay-behind", 60.0, 61.0, "Events have waited 61 s in the outbox: webhooks and mail are late."),
            ("provider-fails", 0.2, 0.5, "50% of calls to x-queue fail."),
        ] {
            assert_eq!(said(rule, fine), None);
            assert_eq!(said(rule, too_much).as_deref(), Some(words));
        }
        assert_eq!(said("nothing-of-the-kind", 9.0), None);
    }

    #[test]
    fn no_rule_leaves_a_gap_in_its_words() {
        for rule in RULES {
            let reading = Reading { rule: rule.name, about: "x".into(), value: rule.above + 1.0, note: None };
            let condition = conditions([reading]).pop().expect("it is too much");
            let texts = [condition.message, rule.advice("x")];
            assert!(texts.iter().all(|text| !text.contains(['{', '}']) && text.ends_with('.')), "{texts:?}");
        }
    }
}
