//! Prints the results as a table and as JSON.

use std::fmt;

use serde::Serialize;

/// How long something took.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Latency {
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

impl Latency {
    pub(super) fn of(mut milliseconds: Vec<f64>) -> Self {
        milliseconds.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (milliseconds.len() as f64 * share).ceil() as usize;
            milliseconds.get(rank.max(1) - 1).map(|milliseconds| rounded(*milliseconds))
        };
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(p50), Some(p95), Some(p99), Some(max)) = (self.p50, self.p95, self.p99, self.max) else {
            return f.write_str("none");
        };
        write!(f, "p50 {p50:.0} ms, p95 {p95:.0} ms, p99 {p99:.0} ms, max {max:.0} ms")
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Orders {
    /// 201.
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    /// Without an answer; they may be there.
    pub(super) unanswered: u64,
    pub(super) at_carrier: u64,
    /// Bought twice.
    pub(super) duplicates: u64,
    /// Acknowledged or stored, and not at the carrier.
    pub(super) missing: u64,
}

/// How long a merchant waits while another one creates as many orders as it can.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fairness {
    pub(super) noisy_orders: u64,
    pub(super) noisy_ms: Latency,
    pub(super) quiet_orders: u64,
    pub(super) quiet_ms: Latency,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BenchReport {
    pub(super) version: &'static str,
    pub(super) mongodb_version: Option<String>,
    pub(super) seconds: u64,
    pub(super) merchants: u16,
    pub(super) connections: u16,
    pub(super) workers: u16,
    pub(super) orders: Orders,
    #[serde(skip)]
    pub(super) refusals: Option<String>,
    /// From the first create to the last confirmation.
    pub(super) orders_per_second: f64,
    pub(super) creates_per_second: f64,
    pub(super) create_ms: Latency,
    /// Of API and workers together.
    pub(super) cpu_ms_per_order: Option<f64>,
    /// That MongoDB was sent per order, of whoever else uses it too.
    pub(super) commands_per_job: Option<f64>,
    /// Of API and workers together, at most.
    pub(super) memory_mib: Option<f64>,
    pub(super) in_flight_max: u64,
    pub(super) memory_mib_per_1000_in_flight: Option<f64>,
    /// Orders a second of the light round.
    pub(super) light_rate: f64,
    /// From the create to the call that goes to the carrier.
    pub(super) pick_up_ms: Latency,
    /// From the create to the confirmation.
    pub(super) confirmed_ms: Latency,
    pub(super) fairness: Fairness,
}

impl BenchReport {
    /// Whether every order is at the carrier, once.
    pub(super) const fn is_sound(&self) -> bool {
        self.orders.duplicates == 0 && self.orders.missing == 0
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn or_unknown(number: Option<f64>, unit: &str, why: &str) -> String {
    number.map_or_else(|| format!("not known: {why}"), |number| format!("{number:.2}{unit}"))
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<32}{value}");
        let orders = &self.orders;
        row("waybill", format!("{}, on MongoDB {}", self.version, self.mongodb_version.as_deref().unwrap_or("?")))?;
        row(
            "load",
            format!(
                "{} s, {} merchants, {} connections, {} worker(s)",
                self.seconds, self.merchants, self.connections, self.workers
            ),
        )?;
        row("orders/s, end to end", format!("{:.0}", self.orders_per_second))?;
        row("creates/s", format!("{:.0}", self.creates_per_second))?;
        row("a create", self.create_ms.to_string())?;
        row("acknowledged", orders.acknowledged.to_string())?;
        row("refused, unanswered", format!("{}, {}", orders.refused, orders.unanswered))?;
        if let Some(said) = &self.refusals {
            row("  the first of them", said.clone())?;
        }
        row("duplicates at the carrier", orders.duplicates.to_string())?;
        row("missing at the carrier", orders.missing.to_string())?;
        row("CPU per order", or_unknown(self.cpu_ms_per_order, " ms (API and workers)", "this is no Linux"))?;
        row("commands per job", or_unknown(self.commands_per_job, " at MongoDB", "the user lacks clusterMonitor"))?;
        row("memory, at most", or_unknown(self.memory_mib, " MiB (API and workers)", "this is no Linux"))?;
        let few = format!("only {} were under way at once", self.in_flight_max);
        row("memory per 1,000 in flight", or_unknown(self.memory_mib_per_1000_in_flight, " MiB", &few))?;
        row("pick-up", format!("{} (at {:.0} orders/s)", self.pick_up_ms, self.light_rate))?;
        row("confirmed", format!("{} (at {:.0} orders/s)", self.confirmed_ms, self.light_rate))?;
        let fairness = &self.fairness;
        row("noisy neighbour, confirmed", format!("{} ({} orders)", fairness.noisy_ms, fairness.noisy_orders))?;
        row("  the other one meanwhile", format!("{} ({} orders)", fairness.quiet_ms, fairness.quiet_orders))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let latency = Latency::of((1..=100).rev().map(f64::from).collect());
        let of = [latency.p50, latency.p95, latency.p99, latency.max];
        assert_eq!(of, [Some(50.0), Some(95.0), Some(99.0), Some(100.0)]);
        assert_eq!(Latency::of(vec![7.0]).p99, Some(7.0));
        assert_eq!(Latency::of(Vec::new()).to_string(), "none");
    }
}
