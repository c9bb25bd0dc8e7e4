//! Rules that match calls, the same for every stand-in: the first that matches is used, as often and as likely as it
//! says. What a rule looks for, and what it does to a call, is each provider's own.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de, de::DeserializeOwned};
use serde_json::{Map, Value};

const RULES_MAX: usize = 10_000;
const LATENCY_MAX_MS: u64 = 120_000;

/// What a provider's rule says beside what every rule says.
pub trait Own: Clone + Serialize {
    /// The same as asked for, with nothing filled in.
    type Asked: DeserializeOwned;
    /// What a call is about.
    type Subject;
    /// What happens to a call.
    type Fault;

    /// Fills in the defaults, or says why there can be no such rule.
    fn accept(asked: Self::Asked) -> Result<Self, String>;

    /// Whether it is about this call.
    fn matches(&self, subject: &Self::Subject) -> bool;

    /// What happens to this call.
    fn fault(&self, subject: &Self::Subject, latency: Duration) -> Self::Fault;
}

/// A rule, as asked for. Absent and null mean the default.
pub struct NewRule<O: Own> {
    times: Option<u64>,
    probability: Option<f64>,
    latency_ms: Option<u64>,
    asked: O::Asked,
}

/// By hand: a derived one would no longer see which fields neither part knows.
impl<'de, O: Own> Deserialize<'de> for NewRule<O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        Ok(Self {
            times: take(&mut fields, "times")?,
            probability: take(&mut fields, "probability")?,
            latency_ms: take(&mut fields, "latencyMs")?,
            asked: serde_json::from_value(Value::Object(fields)).map_err(de::Error::custom)?,
        })
    }
}

fn take<T: DeserializeOwned, E: de::Error>(fields: &mut Map<String, Value>, name: &str) -> Result<Option<T>, E> {
    let value = fields.remove(name).unwrap_or_default();
    serde_json::from_value(value).map_err(|error| E::custom(format!("{name}: {error}")))
}

/// A rule in force.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule<O> {
    #[serde(flatten)]
    own: O,
    /// How often it still applies; null is always.
    times_left: Option<u64>,
    /// How often it has applied.
    applied: u64,
    probability: f64,
    latency_ms: u64,
}

impl<O: Own> TryFrom<NewRule<O>> for Rule<O> {
    type Error = String;

    fn try_from(new: NewRule<O>) -> Result<Self, String> {
        let probability = new.probability.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&probability) {
            return Err("probability must be between 0 and 1".to_owned());
        }
        let latency_ms = new.latency_ms.unwrap_or(0);
        if latency_ms > LATENCY_MAX_MS {
            return Err(format!("latencyMs must be at most {LATENCY_MAX_MS}"));
        }
        Ok(Self { own: O::accept(new.asked)?, times_left: new.times, applied: 0, probability, latency_ms })
    }
}

/// The rules in force, in the order in which they were made.
pub struct Rules<O>(Vec<Rule<O>>);

impl<O> Default for Rules<O> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<O: Own> Rules<O> {
    /// Adds a rule behind the others.
    pub fn add(&mut self, new: NewRule<O>) -> Result<Rule<O>, String> {
        if self.0.len() >= RULES_MAX {
            return Err(format!("there are {RULES_MAX} rules already"));
        }
        let rule = Rule::try_from(new)?;
        self.0.push(rule.clone());
        Ok(rule)
    }

    /// All of them, used-up ones included.
    pub fn list(&self) -> &[Rule<O>] {
        &self.0
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Uses the first rule that matches and, where it has a probability, wins its roll. A lost roll uses up nothing and
    /// leaves the call to the rules behind.
    pub fn pick(&mut self, subject: &O::Subject, mut roll: impl FnMut() -> f64) -> Option<O::Fault> {
        let rule = self.0.iter_mut().find(|rule| {
            let matches = rule.times_left != Some(0) && rule.own.matches(subject);
            matches && (rule.probability >= 1.0 || roll() < rule.probability)
        })?;
        rule.applied += 1;
        rule.times_left = rule.times_left.map(|left| left.saturating_sub(1));
        Some(rule.own.fault(subject, Duration::from_millis(rule.latency_ms)))
    }
}
