//! Traces: a span for each request, its command and its append, sent to an OpenTelemetry collector if the settings name one.
//!
//! Nobody waits for the collector. Spans that have ended go through a queue of limited length to a thread of their own; what
//! the queue or the collector does not take is thrown away. Without a collector no span leaves the log, and all that is
//! left of this is the trace that a caller says it belongs to: it is recorded with every event.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::field::{RecordFields, VisitOutput as _};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::measures::Route;

/// Whether spans go to a collector.
static EXPORTING: AtomicBool = AtomicBool::new(false);

/// How long the collector may take for one batch.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a server that stops waits for the last spans to be taken.
const FLUSH: Duration = Duration::from_secs(3);

/// The crates whose spans are exported: ours.
const OURS: &[&str] = &["api", "projections", "replay"];

/// The way to the collector.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Begins to make traces. `endpoint` is the collector's base URL, `service` what crm is called there.
    ///
    /// # Errors
    /// When OpenTelemetry's own variables in the environment cannot be used. That the collector is not there is no error.
    pub fn start(endpoint: &str, service: &str) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Courier::new()?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .build()?;
        let resource = Resource::builder()
            .with_service_name(service.to_owned())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
        EXPORTING.store(true, Ordering::Relaxed);
        Ok(Self { provider: provider.build() })
    }

    /// What hands our spans over, whatever the log shows.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let is_told = |metadata: &Metadata<'_>| {
            let of = metadata.target().split("::").next().unwrap_or_default();
            OURS.contains(&of) && (metadata.is_span() || *metadata.level() <= Level::INFO)
        };
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("crm"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(is_told).with_max_level_hint(Level::DEBUG))
    }

    /// Hands over the last spans, within [`FLUSH`].
    pub async fn stop(self) {
        let flushed =
            tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH));
        if !matches!(flushed.await, Ok(Ok(()))) {
            tracing::debug!("the last traces were not exported");
        }
    }
}

/// Carries spans to the collector. The exporter's thread knows nothing of tokio, so the work is done in the runtime; and
/// since nobody reads the exporter's errors, the first one is logged here. The others would only repeat it.
#[derive(Debug)]
struct Courier {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    has_failed: AtomicBool,
}

impl Courier {
    fn new() -> anyhow::Result<Self> {
        // Named, since rustls refuses to choose as soon as some dependency brings a second one.
        let cryptography = rustls::crypto::ring::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(cryptography)?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, runtime: Handle::current(), has_failed: AtomicBool::new(false) })
    }
}

#[async_trait]
impl HttpClient for Courier {
    async fn send_bytes(
        &self,
        request: opentelemetry_http::Request<Bytes>,
    ) -> Result<opentelemetry_http::Response<Bytes>, HttpError> {
        let sending = send(self.client.clone(), request);
        // The time limit is made inside, where tokio's clock is.
        let limited = async { tokio::time::timeout(PATIENCE, sending).await };
        let sent = self.runtime.spawn(limited).await?.unwrap_or_else(|late| Err(late.into()));
        let failure = match &sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("the collector answers {}", answer.status())),
            Err(error) => Some(with_causes(error.as_ref())),
        };
        if let Some(error) = failure
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "traces cannot be exported; crm goes on without, and says so only once");
        }
        sent
    }
}

async fn send(
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    request: opentelemetry_http::Request<Bytes>,
) -> Result<opentelemetry_http::Response<Bytes>, HttpError> {
    /// More than any collector has to say, in bytes.
    const LONGEST: usize = 1 << 20;
    let answer = client.request(request.map(Full::new)).await?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
    Ok(opentelemetry_http::Response::from_parts(parts, body))
}

/// An error with what led to it.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn is_exporting() -> bool {
    EXPORTING.load(Ordering::Relaxed)
}

/// Makes the span of a request part of the caller's trace. To be called before the span is entered.
pub fn follow(span: &Span, request: &Request) {
    if !is_exporting() {
        return;
    }
    if let Some(caller) = caller_span(request.headers()) {
        // It fails only for a span that is not exported.
        let _ = span.set_parent(Context::new().with_remote_span_context(caller));
    }
}

/// Adds to the span of a request what is known of it in the end.
pub fn tell(span: &Span, method: &Method, route: &Route, status: StatusCode) {
    if !is_exporting() {
        return;
    }
    let method = method.as_str().to_owned();
    let name = match route.template() {
        Some(route) => format!("{method} {route}"),
        // The path is the client's choice, and no name.
        None => method.clone(),
    };
    span.context().span().update_name(name);
    if let Some(route) = route.template() {
        span.set_attribute("http.route", route.to_owned());
    }
    span.set_attribute("http.request.method", method);
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
}

/// The trace that the request in hand is part of: ours if traces are made, else the one that its caller names.
pub fn trace_of(headers: &HeaderMap) -> Option<[u8; 16]> {
    let ours = is_exporting().then(|| Span::current().context());
    let ours = ours.map(|context| context.span().span_context().clone());
    let span = ours.filter(SpanContext::is_valid).or_else(|| caller_span(headers))?;
    Some(span.trace_id().to_bytes())
}

/// The span that `traceparent` names, as W3C Trace Context has it.
fn caller_span(headers: &HeaderMap) -> Option<SpanContext> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let mut parts = text("traceparent")?.split('-');
    let mut number = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        let is_hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| u128::from_str_radix(part, 16).ok())?
    };
    let (version, trace, span, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
    // A later version may say more behind the flags; ff is none.
    if version == 0xff || (version == 0 && parts.next().is_some()) {
        return None;
    }
    let span = SpanId::from(u64::try_from(span).ok()?);
    let flags = TraceFlags::new(u8::try_from(flags).ok()?) & TraceFlags::SAMPLED;
    let state = text("tracestate").and_then(|state| state.parse::<TraceState>().ok());
    let caller =
        SpanContext::new(TraceId::from(trace), span, flags, true, state.unwrap_or_default());
    Some(caller).filter(SpanContext::is_valid)
}

/// The fields of spans and events as the log shows them: without those that are for traces only.
pub struct LogFields;

impl<'w> FormatFields<'w> for LogFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = DefaultVisitor::new(writer, true);
        fields.record(&mut Logged(&mut visitor));
        visitor.finish()
    }
}

struct Logged<'a, 'w>(&'a mut DefaultVisitor<'w>);

impl Visit for Logged<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !field.name().starts_with("otel.") {
            self.0.record_debug(field, value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if !field.name().starts_with("otel.") {
            self.0.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.record_error(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_names_its_trace_as_the_standard_says_or_not_at_all() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let check = |text: String, expected: Option<&str>| {
            let headers =
                HeaderMap::from_iter([("traceparent".parse().unwrap(), text.parse().unwrap())]);
            assert_eq!(trace_of(&headers).map(hex::encode).as_deref(), expected, "{text}");
        };
        check(format!("00-{trace}-b7ad6b7169203331-01"), Some(trace));
        check(format!("00-{trace}-b7ad6b7169203331-00"), Some(trace));
        check(format!("cc-{trace}-b7ad6b7169203331-01-more"), Some(trace));
        check(format!("00-{trace}-b7ad6b7169203331-01-more"), None);
        check(format!("ff-{trace}-b7ad6b7169203331-01"), None);
        check(format!("00-{trace}-0000000000000000-01"), None);
        check(format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), None);
        check(format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()), None);
        check(format!("00-{}-b7ad6b7169203331-01", &trace[1..]), None);
        check(format!("00-{trace}-b7ad6b7169203331"), None);
        check("junk".to_owned(), None);
        assert_eq!(trace_of(&HeaderMap::new()), None);
    }
}
