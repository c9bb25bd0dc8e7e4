//! Traces (OpenTelemetry): one from a request through what was committed for it, the outbox, jobs, calls to providers and webhooks.
//!
//! Off unless an endpoint is configured; then each of these functions is a look at a flag. A span carries names, ids, states and
//! times, and nothing that somebody wrote. The context of a trace (W3C `traceparent`) stands in jobs and in entries of the outbox, so
//! that whoever goes on with them, in another process and days later, goes on with the trace. Spans are exported in the background by
//! a thread of its own, from a queue that is bounded: where the collector is away or hangs, spans are lost and nothing else.
//!
//! A client's `traceparent` is not obeyed by default: it decides what is recorded, and leads into others' traces. It becomes a link,
//! or the parent where clients are trusted (`TRACE_INCOMING`).

use std::{
    borrow::Cow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::http::HeaderMap;
use clap::ValueEnum;
use opentelemetry::{
    Context, KeyValue,
    context::FutureExt,
    trace::{
        Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
        TracerProvider,
    },
};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use tracing::Instrument;

/// The header of the context (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

/// Handling of a client's `traceparent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Incoming {
    /// Nothing.
    Ignore,
    /// The trace of the request is linked to it.
    #[default]
    Link,
    /// The request goes on with it, and it decides whether anything is recorded: for clients that are trusted.
    Parent,
}

#[derive(Debug)]
pub struct Settings {
    /// The collector; `/v1/traces` is added.
    pub endpoint: String,
    /// Sent with every export.
    pub headers: Vec<(String, String)>,
    /// An export that takes longer is given up.
    pub timeout: Duration,
    /// `service.name`.
    pub service: String,
    /// Of those that begin here, the part that is recorded.
    pub sampled: f64,
    /// Handling of clients' contexts.
    pub incoming: Incoming,
    /// Whether calls to providers carry the context.
    pub sent_to_providers: bool,
}

struct Traces {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    incoming: Incoming,
    sent_to_providers: bool,
}

static ON: AtomicBool = AtomicBool::new(false);
static TRACES: OnceLock<Traces> = OnceLock::new();

/// Begins to make traces, exported by `client`.
///
/// # Errors
/// In words, where the settings can't be used.
pub fn install(settings: Settings, client: impl HttpClient + 'static) -> Result<(), String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", settings.endpoint.trim_end_matches('/')))
        .with_headers(settings.headers.into_iter().collect())
        .with_timeout(settings.timeout)
        .build()
        .map_err(|error| format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}"))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sampled))))
        .with_resource(Resource::builder().with_service_name(settings.service).build())
        .build();
    let tracer = provider.tracer("waybill");
    let Settings { incoming, sent_to_providers, .. } = settings;
    if TRACES.set(Traces { tracer, provider, incoming, sent_to_providers }).is_ok() {
        ON.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Exports what is left, for at most `patience`; blocks.
pub fn finish(patience: Duration) {
    if let Some(traces) = TRACES.get() {
        let _ = traces.provider.shutdown_with_timeout(patience);
    }
}

fn traces() -> Option<&'static Traces> {
    if ON.load(Ordering::Relaxed) { TRACES.get() } else { None }
}

/// The context of the trace that the current task is in; none where there is none.
#[must_use]
pub fn current() -> Option<Arc<str>> {
    traces()?;
    let context = Context::current();
    let span = context.span();
    span.span_context().is_valid().then(|| header(span.span_context()).into())
}

/// The context to send with a call to a provider; none unless that is configured.
#[must_use]
pub fn for_providers() -> Option<Arc<str>> {
    traces().filter(|traces| traces.sent_to_providers).and_then(|_| current())
}

fn header(context: &SpanContext) -> String {
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), flags.to_u8())
}

/// Reads a `traceparent` (version 00; of a later one what is known).
fn read(header: &str) -> Option<SpanContext> {
    let mut parts = header.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let is_whole = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    if !is_whole || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

fn parent(trace: Option<&str>) -> Context {
    trace.and_then(read).map_or_else(Context::new, |context| Context::new().with_remote_span_context(context))
}

/// A span that ends when this is dropped.
#[derive(Debug)]
pub struct Span {
    context: Context,
    log: tracing::Span,
}

impl Span {
    fn begin(traces: &Traces, name: Cow<'static, str>, kind: SpanKind, parent: &Context, links: Vec<Link>) -> Self {
        let built = traces.tracer.span_builder(name).with_kind(kind).with_links(links);
        let span = built.start_with_context(&traces.tracer, parent);
        Self { context: parent.with_span(span), log: tracing::Span::none() }
    }

    /// The same, whose log lines carry the trace's id. An error in level alone, so that a filter for lines leaves it.
    fn logged(mut self) -> Self {
        self.log = tracing::error_span!("trace", trace.id = %self.context.span().span_context().trace_id());
        self
    }

    fn with(self, key: &'static str, value: impl Into<opentelemetry::Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Says something of it: a name, an id or a number.
    pub fn set(&self, key: &'static str, value: impl Into<opentelemetry::Value>) {
        self.context.span().set_attribute(KeyValue::new(key, value));
    }

    /// Says that it failed, by a code.
    pub fn failed(&self, code: &'static str) {
        self.set("error.type", code);
        self.context.span().set_status(Status::error(code));
    }

    /// Does something that belongs to it and does not wait.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        self.log.in_scope(work)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.context.span().end();
    }
}

/// Does something within a span, if there is one.
pub async fn within<F: Future>(span: Option<&Span>, work: F) -> F::Output {
    match span {
        None => work.await,
        Some(span) => Box::pin(work).with_context(span.context.clone()).instrument(span.log.clone()).await,
    }
}

#[must_use]
pub fn request(method: &'static str, route: &str, request_id: &str, headers: &HeaderMap) -> Option<Span> {
    let traces = traces()?;
    let of_client = || headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(read);
    let (parent, links) = match traces.incoming {
        Incoming::Ignore => (Context::new(), Vec::new()),
        Incoming::Link => {
            (Context::new(), of_client().map(|context| Link::new(context, Vec::new(), 0)).into_iter().collect())
        }
        Incoming::Parent => {
            let parent = of_client().map(|context| Context::new().with_remote_span_context(context));
            (parent.unwrap_or_default(), Vec::new())
        }
    };
    let span = Span::begin(traces, format!("{method} {route}").into(), SpanKind::Server, &parent, links).logged();
    let span = span.with("http.request.method", method).with("http.route", route.to_owned());
    Some(span.with("request.id", request_id.to_owned()))
}

/// Waiting for a group commit.
#[must_use]
pub fn commit(lane: &'static str) -> Option<Span> {
    let (traces, parent) = (traces()?, Context::current());
    if !parent.span().span_context().is_valid() {
        return None;
    }
    let span = Span::begin(traces, "commit".into(), SpanKind::Internal, &parent, Vec::new());
    Some(span.with("batch.lane", lane))
}

/// An event was taken from the outbox, by what began then.
pub fn relayed(kind: &str, event_id: &str, trace: Option<&str>, began: SystemTime) {
    let Some(traces) = traces() else { return };
    let parent = parent(trace);
    let built =
        traces.tracer.span_builder(format!("relay {kind}")).with_kind(SpanKind::Consumer).with_start_time(began);
    let context = parent.with_span(built.start_with_context(&traces.tracer, &parent));
    context.span().set_attribute(KeyValue::new("event.id", event_id.to_owned()));
    context.span().end();
}

#[must_use]
pub fn attempt(queue: &'static str, kind: &str, job_id: &str, number: i32, trace: Option<&str>) -> Option<Span> {
    let traces = traces()?;
    let span = Span::begin(traces, format!("job {kind}").into(), SpanKind::Consumer, &parent(trace), Vec::new());
    let span = span.logged().with("job.queue", queue).with("job.id", job_id.to_owned());
    Some(span.with("job.attempt", i64::from(number)))
}

#[must_use]
pub fn call(provider: &'static str, operation: &'static str) -> Option<Span> {
    let traces = traces()?;
    let name = format!("{provider} {operation}").into();
    let span = Span::begin(traces, name, SpanKind::Client, &Context::current(), Vec::new());
    Some(span.with("provider.name", provider).with("provider.operation", operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_written_as_it_was_read_and_what_is_none_is_refused() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(read(good).map(|context| header(&context)).as_deref(), Some(good));
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-more";
        assert_eq!(
            read(later).map(|context| header(&context)).as_deref(),
            Some(good),
            "of another version what is known"
        );
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn without_an_endpoint_there_is_nothing() {
        assert!(current().is_none() && commit("api").is_none() && call("a", "b").is_none());
        assert!(request("GET", "/", "rqs_1", &HeaderMap::new()).is_none());
    }
}
