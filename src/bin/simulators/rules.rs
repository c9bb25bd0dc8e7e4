//! Rules that match calls: the first that matches is used, as often and as likely as it says.

use std::{fmt::Debug, time::Duration};

use axum::http::HeaderValue;
use serde::{Deserialize, Deserializer, Serialize, de, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::transport::Transport;

const RULES_MAX: usize = 10_000;
const LATENCY_MAX_MS: u64 = 120_000;

/// A provider's operations.
pub trait Operation: Copy + Debug + Ord + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Copy + Debug + Ord + Serialize + DeserializeOwned + Send + Sync + 'static> Operation for T {}

/// Effects on a call that only one provider has.
pub trait OwnMode: Copy + Debug + Eq + Serialize + DeserializeOwned + Send + Sync + 'static {
    type Operation: Operation;

    fn work(self) -> Work;

    /// The only operation that it can happen to.
    fn only_for(self) -> Option<Self::Operation> {
        None
    }
}

/// Whether a call is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Yes: the answer is made out of the real one.
    Needed,
    /// Yes, unless the rule says otherwise.
    Done,
    /// No, unless the rule says otherwise.
    LeftOut,
}

/// The effect of a rule on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, bound = "M: OwnMode")]
pub enum Mode<M> {
    Transport(Transport),
    Own(M),
}

impl<M: OwnMode> Mode<M> {
    fn work(self) -> Work {
        match self {
            Self::Transport(mode) if mode.needs_work() => Work::Needed,
            Self::Transport(mode) if mode.works() => Work::Done,
            Self::Transport(_) => Work::LeftOut,
            Self::Own(mode) => mode.work(),
        }
    }
}

/// The subject of a call: values under the names by which a rule may ask for them.
pub type Subject = Vec<(&'static str, Value)>;

/// A rule, as asked for. Absent and null mean the default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "M: OwnMode")]
pub struct NewRule<M: OwnMode> {
    #[serde(default, deserialize_with = "one_or_any")]
    operation: Option<M::Operation>,
    mode: Mode<M>,
    times: Option<u64>,
    probability: Option<f64>,
    latency_ms: Option<u64>,
    retry_after_seconds: Option<u64>,
    retry_after: Option<Vec<String>>,
    message: Option<String>,
    after_work: Option<bool>,
    work_after_ms: Option<u64>,
    #[serde(flatten)]
    subject: Map<String, Value>,
}

/// `any` is the same as no operation.
fn one_or_any<'de, D: Deserializer<'de>, O: Operation>(deserializer: D) -> Result<Option<O>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if value == "any" { Ok(None) } else { serde_json::from_value(value).map_err(de::Error::custom) }
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase", bound = "M: OwnMode")]
pub struct Rule<M: OwnMode> {
    operation: Option<M::Operation>,
    mode: Mode<M>,
    /// Values that the call must have.
    #[serde(flatten)]
    subject: Map<String, Value>,
    /// How often it still applies; null is always.
    times_left: Option<u64>,
    applied: u64,
    probability: f64,
    latency_ms: u64,
    retry_after_seconds: u64,
    /// `Retry-After` headers of a refusal, as they are sent, in place of the usual one of a 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<Vec<String>>,
    /// The message of the answer, where the mode has one.
    message: Option<String>,
    after_work: bool,
    /// The work is done that long after the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    work_after_ms: Option<u64>,
}

/// The effect of the rules on one call.
#[derive(Clone, Debug)]
pub struct Fault<M> {
    pub mode: Mode<M>,
    /// Whether the work is done all the same, before the answer.
    pub after_work: bool,
    /// How long after the answer it is done, if it is.
    pub work_after: Option<Duration>,
    pub latency: Duration,
    pub retry_after: Vec<HeaderValue>,
    pub message: Option<String>,
}

impl<M: Copy> Fault<M> {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self {
            mode: Mode::Transport(Transport::Ok),
            after_work: true,
            work_after: None,
            latency: Duration::ZERO,
            retry_after: Vec::new(),
            message: None,
        }
    }

    /// The mode, where it is one of the provider's.
    pub fn own(&self) -> Option<M> {
        match self.mode {
            Mode::Own(mode) => Some(mode),
            Mode::Transport(_) => None,
        }
    }
}

impl<M: OwnMode> Rule<M> {
    fn of(new: NewRule<M>, names: &[&str]) -> Result<Self, String> {
        let probability = new.probability.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&probability) {
            return Err("probability must be between 0 and 1".to_owned());
        }
        let latency_ms = new.latency_ms.unwrap_or(0);
        if latency_ms > LATENCY_MAX_MS || new.work_after_ms.is_some_and(|late| late > LATENCY_MAX_MS) {
            return Err(format!("latencyMs and workAfterMs must be at most {LATENCY_MAX_MS}"));
        }
        if new.retry_after.iter().flatten().any(|value| HeaderValue::from_str(value).is_err()) {
            return Err("retryAfter must be texts that a header can hold".to_owned());
        }
        let work = new.mode.work();
        if work == Work::Needed && (new.after_work == Some(false) || new.work_after_ms.is_some()) {
            return Err("this mode answers out of the work, which can neither be left out nor be late".to_owned());
        }
        if new.after_work == Some(true) && new.work_after_ms.is_some() {
            return Err("the work is done either before the answer or after it".to_owned());
        }
        if let Mode::Own(mode) = new.mode
            && let Some(operation) = mode.only_for()
            && new.operation != Some(operation)
        {
            return Err(format!("this mode is for {operation:?}: say so"));
        }
        let mut subject = new.subject;
        subject.retain(|_, value| !value.is_null());
        if let Some(unknown) = subject.keys().find(|name| !names.contains(&name.as_str())) {
            return Err(format!("unknown field `{unknown}`"));
        }
        Ok(Self {
            operation: new.operation,
            mode: new.mode,
            subject,
            times_left: new.times,
            applied: 0,
            probability,
            latency_ms,
            retry_after_seconds: new.retry_after_seconds.unwrap_or(1),
            retry_after: new.retry_after,
            message: new.message,
            after_work: new.after_work.unwrap_or(work != Work::LeftOut && new.work_after_ms.is_none()),
            work_after_ms: new.work_after_ms,
        })
    }

    fn retry_after(&self) -> Vec<HeaderValue> {
        match &self.retry_after {
            Some(values) => values.iter().filter_map(|value| HeaderValue::from_str(value).ok()).collect(),
            None if self.mode == Mode::Transport(Transport::TooManyRequests) => vec![self.retry_after_seconds.into()],
            None => Vec::new(),
        }
    }

    fn matches(&self, operation: M::Operation, subject: &Subject) -> bool {
        let is_about = |(name, value): (&String, &Value)| subject.iter().any(|(is, has)| is == name && has == value);
        self.times_left != Some(0)
            && self.operation.is_none_or(|asked| asked == operation)
            && self.subject.iter().all(is_about)
    }
}

/// The rules in force, in the order in which they were made.
pub struct Rules<M: OwnMode>(Vec<Rule<M>>);

impl<M: OwnMode> Default for Rules<M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<M: OwnMode> Rules<M> {
    /// Adds a rule behind the others. `names` are those that it may ask for in a call's subject.
    pub fn add(&mut self, new: NewRule<M>, names: &[&str]) -> Result<Rule<M>, String> {
        if self.0.len() >= RULES_MAX {
            return Err(format!("there are {RULES_MAX} rules already"));
        }
        let rule = Rule::of(new, names)?;
        self.0.push(rule.clone());
        Ok(rule)
    }

    /// All of them, used-up ones included.
    pub fn list(&self) -> &[Rule<M>] {
        &self.0
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Uses the first rule that matches and, where it has a probability, wins its roll. A lost roll uses up nothing and
    /// leaves the call to the rules behind.
    pub fn pick(&mut self, operation: M::Operation, subject: &Subject, mut roll: impl FnMut() -> f64) -> Fault<M> {
        let wins = |rule: &Rule<M>, roll: &mut dyn FnMut() -> f64| rule.probability >= 1.0 || roll() < rule.probability;
        let picked = self.0.iter_mut().find(|rule| rule.matches(operation, subject) && wins(rule, &mut roll));
        let Some(rule) = picked else {
            return Fault::none();
        };
        rule.applied += 1;
        rule.times_left = rule.times_left.map(|left| left.saturating_sub(1));
        Fault {
            mode: rule.mode,
            after_work: rule.after_work,
            work_after: rule.work_after_ms.map(Duration::from_millis),
            latency: Duration::from_millis(rule.latency_ms),
            retry_after: rule.retry_after(),
            message: rule.message.clone(),
        }
    }
}
