//! Traces.

use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::OnOff;
use crate::platform::{exchange::SpanPost, traces};

/// Where traces go, and what is recorded.
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// A collector of traces (OpenTelemetry, OTLP over HTTP with protobuf), such as http://127.0.0.1:4318; off by default.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", global = true)]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// Headers for the collector, as name=value,name=value.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, global = true)]
    pub otel_exporter_otlp_headers: Option<SecretString>,
    /// An export that takes longer, in milliseconds, is given up, and its spans are lost.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=60_000), global = true)]
    pub otel_exporter_otlp_timeout: u64,
    /// The name of this service in traces.
    #[arg(long, env = "OTEL_SERVICE_NAME", default_value = "waybill", global = true)]
    pub otel_service_name: String,
    /// Of the traces that begin here, the part that is recorded, 0 to 1. OTEL_TRACES_SAMPLER is parentbased_traceidratio.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 1.0, value_parser = part, global = true)]
    pub otel_traces_sampler_arg: f64,
    /// Use of a client's traceparent: nothing, a link, or the parent of its request's trace, for clients that are trusted.
    #[arg(long, env = "TRACE_INCOMING", value_enum, default_value_t = traces::Incoming::Link, global = true)]
    pub trace_incoming: traces::Incoming,
    /// Whether calls to providers carry a traceparent.
    #[arg(long, env = "TRACE_PROVIDERS", value_enum, default_value_t = OnOff::Off, global = true)]
    pub trace_providers: OnOff,
}

fn part(text: &str) -> Result<f64, String> {
    let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| "it must be a number from 0 to 1".into())
}

fn headers(text: &str) -> Result<Vec<(String, String)>, String> {
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned())).filter(|(name, _)| !name.is_empty())
    };
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let headers: Option<_> = pairs.map(header).collect();
    headers.ok_or_else(|| "OTEL_EXPORTER_OTLP_HEADERS: write it as name=value,name=value".into())
}

impl TraceArgs {
    /// Begins to make traces, where there is a collector; to be called within the runtime that exports them.
    ///
    /// # Errors
    /// In words, where a setting can't be used.
    pub fn install(&self) -> Result<(), String> {
        let Some(endpoint) = self.otel_exporter_otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) else {
            return Ok(());
        };
        let is_url = reqwest::Url::parse(endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_url {
            return Err("OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://127.0.0.1:4318".into());
        }
        let timeout = Duration::from_millis(self.otel_exporter_otlp_timeout);
        let post = SpanPost::new(timeout).map_err(|error| format!("TLS can't be set up: {error}"))?;
        let secret = self.otel_exporter_otlp_headers.as_ref().map_or("", |headers| headers.expose_secret());
        let settings = traces::Settings {
            endpoint: endpoint.to_owned(),
            headers: headers(secret)?,
            timeout,
            service: self.otel_service_name.clone(),
            sampled: self.otel_traces_sampler_arg,
            incoming: self.trace_incoming,
            sent_to_providers: self.trace_providers == OnOff::On,
        };
        traces::install(settings, post)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_pairs() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(headers("a=b, c = d=e,"), Ok(vec![pair("a", "b"), pair("c", "d=e")]));
        assert_eq!(headers(""), Ok(Vec::new()));
        assert!(headers("secret").is_err_and(|error| !error.contains("secret")));
        assert!(part("1.5").is_err() && part("NaN").is_err() && part("0.25") == Ok(0.25));
    }
}
