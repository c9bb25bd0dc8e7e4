//! Calls to providers in a time: all of them, or a sample where there are many.
//!
//! A sample is taken so: the time is cut into strata, and from a random moment of each the next calls are looked at, of few calls all
//! in the length of a stratum. Each of them stands for as many as the stratum has, by the time that the looked at ones took. So no
//! call is likelier to count than another, and what comes in bursts, every minute for instance, comes as often in the sample as it does:
//! each moment is drawn by itself. What is read is bounded, however many calls there are.

use std::collections::BTreeMap;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    modules::audit::RESPONSE_LOGS,
    platform::{
        clock::Rfc3339Time,
        ids::{first_id_at, time_of_id},
        mongo::READ_TIME_MAX,
    },
};

/// So many calls are all looked at.
const EXACT_MAX: u64 = 10_000;
/// Strata in each part of the time.
const STRATA: i64 = 8;
/// Calls that are looked at in each.
const OF_STRATUM: usize = 36;

/// The time that is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// In parts of two minutes.
    #[default]
    Hour,
    /// In parts of half an hour.
    Day,
    /// In parts of a day.
    Month,
}

impl Window {
    /// How many parts, and how long each, in milliseconds.
    const fn parts(self) -> (i64, i64) {
        match self {
            Self::Hour => (30, 2 * 60_000),
            Self::Day => (48, 30 * 60_000),
            Self::Month => (30, 24 * 3_600_000),
        }
    }
}

/// A sample of calls, for figures.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallSample {
    /// All calls of the time were looked at. Else counts and shares are estimates from a sample in which no call is likelier than
    /// another, and a provider that is called seldom may have none in it.
    exact: bool,
    /// Calls that were looked at.
    looked_at: usize,
    /// Calls that there were, about.
    calls: u64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProviderPace {
    provider: String,
    /// Calls that there were; about, of a sample.
    calls: u64,
    /// Calls that were looked at.
    looked_at: usize,
    /// The successful ones of `calls`.
    well: u64,
    /// Half of them were answered within; 0 where none were looked at.
    p50_ms: i64,
    /// 95 percent were.
    p95_ms: i64,
    /// Time at which one of its accounts was last used, about; null where that is not known.
    last_used_at: Option<Rfc3339Time>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallPart {
    /// Start of this part of the period.
    at: Rfc3339Time,
    /// Calls that there were; about, of a sample.
    calls: u64,
    /// Share of these that succeeded, in percent; 100 where there were none.
    well_percent: f64,
    retryable: u64,
    fatal: u64,
    unknown: u64,
    /// 95 percent were answered within; 0 where there were none.
    p95_ms: i64,
}

/// Figures about the calls of a period.
pub(super) struct CallFigures {
    pub(super) sample: CallSample,
    pub(super) providers: Vec<ProviderPace>,
    pub(super) series: Vec<CallPart>,
}

/// A call as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SampledCall {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    stratum: usize,
    provider: String,
    #[serde(default)]
    error_class: Option<String>,
    #[serde(default)]
    latency_ms: i64,
}

/// A call that was looked at, and for how many it stands.
#[derive(Clone, Debug)]
struct Weighed {
    part: i64,
    provider: String,
    error_class: Option<String>,
    latency_ms: i64,
    weight: f64,
}

/// Calls of a time.
#[derive(Debug)]
pub(super) struct Calls {
    window: Window,
    first_ms: i64,
    exact: bool,
    all: Vec<Weighed>,
}

/// Reads the calls of the window before `now`.
pub(super) async fn read_calls(db: &Database, window: Window, now: DateTime) -> Result<Calls> {
    let logs = db.collection::<Document>(RESPONSE_LOGS);
    // To the end of this millisecond.
    let (first_ms, end_ms) = (first_part(window, now), now.timestamp_millis() + 1);
    let ids = |from: i64, to: i64| doc! { "_id": { "$gte": first_id_at("res", from), "$lt": first_id_at("res", to) } };
    let fields = doc! { "provider": 1, "errorClass": 1, "latencyMs": 1 };
    let within = ids(first_ms, end_ms);
    let count = logs.count_documents(within.clone()).limit(EXACT_MAX + 1).max_time(READ_TIME_MAX).await?;
    if count <= EXACT_MAX {
        let answered = logs.clone_with_type::<SampledCall>();
        let found = answered.find(within).projection(fields).limit(EXACT_MAX as i64);
        let found: Vec<SampledCall> = found.max_time(READ_TIME_MAX).await?.try_collect().await?;
        return Ok(Calls::weigh(window, first_ms, found, &[]));
    }
    let strata = strata(window, first_ms, end_ms, rand::random);
    let pipeline = |(index, stratum): (usize, &Stratum)| {
        let mut shown = fields.clone();
        shown.insert("stratum", doc! { "$literal": index as i64 });
        vec![
            doc! { "$match": ids(stratum.from_ms, stratum.to_ms) },
            doc! { "$sort": { "_id": 1 } },
            doc! { "$limit": OF_STRATUM as i64 },
            doc! { "$project": shown },
        ]
    };
    let mut pipelines = strata.iter().enumerate().map(pipeline);
    let mut stages = pipelines.next().unwrap_or_default();
    stages.extend(pipelines.map(|one| doc! { "$unionWith": { "coll": RESPONSE_LOGS, "pipeline": one } }));
    let found = logs.aggregate(stages).with_type::<SampledCall>().max_time(READ_TIME_MAX).await?;
    Ok(Calls::weigh(window, first_ms, found.try_collect().await?, &strata))
}

/// When the first part began: the last one is the present one.
fn first_part(window: Window, now: DateTime) -> i64 {
    let (parts, length_ms) = window.parts();
    (now.timestamp_millis() / length_ms - parts + 1) * length_ms
}

/// A part of the period that is sampled.
#[derive(Clone, Copy, Debug)]
struct Stratum {
    /// The moment that was drawn.
    from_ms: i64,
    /// Nothing from then on is looked at.
    to_ms: i64,
    /// For so long a stretch it stands.
    length_ms: i64,
}

/// The time, cut; a moment of each stratum is drawn by `random`, which gives `0.0..1.0`.
fn strata(window: Window, first_ms: i64, end_ms: i64, mut random: impl FnMut() -> f64) -> Vec<Stratum> {
    let (parts, length_ms) = window.parts();
    let stratum_ms = length_ms / STRATA;
    let begins = (0..parts * STRATA).map(|n| first_ms + n * stratum_ms).take_while(|begin| *begin < end_ms);
    let stratum = |begin: i64| {
        let length_ms = stratum_ms.min(end_ms - begin);
        let from_ms = begin + (length_ms as f64 * random()) as i64;
        Stratum { from_ms, to_ms: (from_ms + length_ms).min(end_ms), length_ms }
    };
    begins.map(stratum).collect()
}

impl Stratum {
    /// For how many calls each of those stands that were looked at, the last of them at `last_ms`.
    fn weight(self, looked_at: usize, last_ms: i64) -> f64 {
        let per_ms = if looked_at < OF_STRATUM {
            looked_at as f64 / (self.to_ms - self.from_ms).max(1) as f64
        } else {
            // The call that ends the time they took is not within it.
            (looked_at - 1) as f64 / (last_ms - self.from_ms).max(1) as f64
        };
        per_ms * self.length_ms as f64 / looked_at as f64
    }
}

impl Calls {
    /// Without strata all calls of the time are there.
    fn weigh(window: Window, first_ms: i64, mut found: Vec<SampledCall>, strata: &[Stratum]) -> Self {
        let (parts, length_ms) = window.parts();
        found.sort_unstable_by(|one, other| (one.stratum, &one.id).cmp(&(other.stratum, &other.id)));
        let mut all = Vec::with_capacity(found.len());
        for of_stratum in found.chunk_by(|one, other| one.stratum == other.stratum) {
            let last_ms = of_stratum.last().and_then(|last| time_of_id(&last.id)).unwrap_or_default();
            let stratum = of_stratum.first().and_then(|first| strata.get(first.stratum));
            let weight = stratum.map_or(1.0, |stratum| stratum.weight(of_stratum.len(), last_ms));
            all.extend(of_stratum.iter().map(|call| Weighed {
                part: (time_of_id(&call.id).unwrap_or_default() - first_ms).div_euclid(length_ms).clamp(0, parts - 1),
                provider: call.provider.clone(),
                error_class: call.error_class.clone(),
                latency_ms: call.latency_ms,
                weight,
            }));
        }
        Self { window, first_ms, exact: strata.is_empty(), all }
    }

    /// By provider and by part of the time. Providers that are not among the calls are told too: `last_used` has when each was called.
    pub(super) fn add_up(&self, last_used: &BTreeMap<String, Option<DateTime>>) -> CallFigures {
        let (parts, length_ms) = self.window.parts();
        let mut by_provider: BTreeMap<&str, Vec<&Weighed>> = BTreeMap::new();
        for provider in last_used.keys() {
            by_provider.insert(provider, Vec::new());
        }
        let mut by_part: BTreeMap<i64, Vec<&Weighed>> = BTreeMap::new();
        for call in &self.all {
            by_provider.entry(&call.provider).or_default().push(call);
            by_part.entry(call.part).or_default().push(call);
        }
        let provider = |(provider, mut own): (&str, Vec<&Weighed>)| ProviderPace {
            provider: provider.to_owned(),
            calls: rounded(&own, |_| true),
            looked_at: own.len(),
            well: rounded(&own, |call| call.error_class.is_none()),
            p50_ms: percentile(&mut own, 50.0),
            p95_ms: percentile(&mut own, 95.0),
            last_used_at: last_used.get(provider).copied().flatten().map(Rfc3339Time),
        };
        let providers = by_provider.into_iter().map(provider).collect();
        let series = (0..parts).map(|part| {
            let mut own = by_part.remove(&part).unwrap_or_default();
            let of = |class: &str| rounded(&own, |call| call.error_class.as_deref() == Some(class));
            let (retryable, fatal, unknown) = (of("retryable"), of("fatal"), of("unknown"));
            CallPart {
                at: Rfc3339Time(DateTime::from_millis(self.first_ms + part * length_ms)),
                calls: rounded(&own, |_| true),
                well_percent: well_percent(&own),
                retryable,
                fatal,
                unknown,
                p95_ms: percentile(&mut own, 95.0),
            }
        });
        let all: Vec<&Weighed> = self.all.iter().collect();
        let sample = CallSample { exact: self.exact, looked_at: self.all.len(), calls: rounded(&all, |_| true) };
        CallFigures { sample, providers, series: series.collect() }
    }
}

fn total(calls: &[&Weighed], such: impl Fn(&Weighed) -> bool) -> f64 {
    calls.iter().filter(|call| such(call)).map(|call| call.weight).sum()
}

fn rounded(calls: &[&Weighed], such: impl Fn(&Weighed) -> bool) -> u64 {
    total(calls, such).round() as u64
}

/// To a tenth.
fn well_percent(calls: &[&Weighed]) -> f64 {
    if calls.is_empty() {
        return 100.0;
    }
    let well = total(calls, |call| call.error_class.is_none());
    (well / total(calls, |_| true) * 1_000.0).floor() / 10.0
}

/// The least time within which so many percent were answered.
fn percentile(calls: &mut [&Weighed], percent: f64) -> i64 {
    calls.sort_unstable_by_key(|call| call.latency_ms);
    let needed = total(calls, |_| true) * percent / 100.0;
    let mut reached = 0.0;
    for call in calls.iter() {
        reached += call.weight;
        if reached + 1e-6 >= needed {
            return call.latency_ms;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime = DateTime::from_millis(7_200_000);

    fn answered(stratum: usize, ms: i64, provider: &str, class: Option<&str>, latency_ms: i64) -> SampledCall {
        let id = format!("{}{:04x}", &first_id_at("res", ms)[..32], latency_ms);
        SampledCall { id, stratum, provider: provider.into(), error_class: class.map(str::to_owned), latency_ms }
    }

    #[test]
    fn calls_are_added_up_by_provider_and_part_quiet_ones_included() {
        let first_ms = first_part(Window::Hour, NOW);
        let first = |class, latency| answered(0, first_ms, "a", class, latency);
        let found = vec![
            first(None, 10),
            first(None, 30),
            first(None, 20),
            first(Some("fatal"), 40),
            answered(0, 7_200_000, "b", Some("unknown"), 5),
            answered(0, 7_200_000, "b", Some("unknown"), 6),
        ];
        let last_used = BTreeMap::from([("a".to_owned(), None), ("quiet".to_owned(), Some(NOW))]);
        let CallFigures { sample, providers, series } =
            Calls::weigh(Window::Hour, first_ms, found, &[]).add_up(&last_used);
        assert!(sample.exact && (sample.looked_at, sample.calls) == (6, 6));
        let told: Vec<_> =
            providers.iter().map(|p| (&*p.provider, p.calls, p.looked_at, p.well, p.p50_ms, p.p95_ms)).collect();
        assert_eq!(told, [("a", 4, 4, 3, 20, 40), ("b", 2, 2, 0, 5, 6), ("quiet", 0, 0, 0, 0, 0)]);
        assert_eq!(providers[2].last_used_at.map(|at| at.0), Some(NOW));
        assert_eq!(series.len(), 30);
        assert_eq!((series[0].calls, series[0].well_percent, series[0].fatal, series[0].p95_ms), (4, 75.0, 1, 40));
        assert_eq!((series[1].calls, series[1].well_percent, series[1].p95_ms), (0, 100.0, 0));
        assert_eq!((series[29].unknown, series[29].well_percent), (2, 0.0));
        assert_eq!(series[29].at.0, NOW, "the present part");
    }

    #[test]
    fn every_stretch_of_the_time_has_its_stratum() {
        let (first_ms, end_ms) = (first_part(Window::Day, NOW), 7_200_001);
        for at in [0.0, 0.25, 0.999] {
            let cut = strata(Window::Day, first_ms, end_ms, || at);
            assert_eq!(cut.iter().map(|stratum| stratum.length_ms).sum::<i64>(), end_ms - first_ms, "{at}");
            assert!(cut.iter().all(|stratum| stratum.from_ms < stratum.to_ms && stratum.to_ms <= end_ms), "{at}");
            assert!(cut.len() as i64 <= 48 * STRATA, "{}", cut.len());
        }
    }

    /// Ten calls a second, of which those of the first nine seconds of each minute fail. Over many samples the share that fails and the
    /// number of calls come out as they are, and no single sample is far from it.
    #[test]
    fn a_sample_is_right_wherever_bursts_come() {
        let (window, first_ms) = (Window::Hour, first_part(Window::Hour, NOW));
        let end_ms = 7_200_001;
        let calls: Vec<(i64, bool)> =
            (first_ms..end_ms).step_by(100).map(|ms| (ms, ms.rem_euclid(60_000) < 9_000)).collect();
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1_u64 << 53) as f64
        };
        let (mut count, mut well) = (0.0, 0.0);
        let rounds = 100;
        for _ in 0..rounds {
            let cut = strata(window, first_ms, end_ms, &mut random);
            let found = cut.iter().enumerate().flat_map(|(index, stratum)| {
                let from = calls.partition_point(|(ms, _)| *ms < stratum.from_ms);
                let own = calls[from..].iter().take_while(move |(ms, _)| *ms < stratum.to_ms).take(OF_STRATUM);
                own.map(move |(ms, fails)| answered(index, *ms, "a", fails.then_some("retryable"), 1))
            });
            let weighed = Calls::weigh(window, first_ms, found.collect(), &cut);
            let CallFigures { sample, providers, .. } = weighed.add_up(&BTreeMap::new());
            assert!(!sample.exact && sample.looked_at <= cut.len() * OF_STRATUM);
            let share = providers[0].well as f64 / providers[0].calls as f64;
            assert!((share - 0.85).abs() < 0.15, "{share}");
            count += providers[0].calls as f64 / f64::from(rounds);
            well += providers[0].well as f64 / f64::from(rounds);
        }
        let share = well / count;
        assert!((count / calls.len() as f64 - 1.0).abs() < 0.03, "{count} of {}", calls.len());
        assert!((share - 0.85).abs() < 0.02, "{share}");
    }
}
