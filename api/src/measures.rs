//! What crm measures of itself, for `/metrics`.
//!
//! The code that does the work counts, under names that stand beside it; here they get their buckets and their
//! descriptions. What can be looked up at any time, such as the use of the pool, is looked up when somebody asks.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{
    Label, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use projections::jobs::JOBS;
use projections::llm::{ANSWER_SECONDS, ASKED};
use projections::log::COMMANDS;
use projections::log::appender::{APPEND_SECONDS, GROUP_COMMANDS, GROUP_EVENTS};
use projections::status::{FileStatus, Following, Status};
use projections::webhooks::WebhookStatus;

use crate::app::App;
use crate::webhooks::ATTEMPTS;

const REQUESTS: &str = "crm_http_requests_total";
const REQUEST_SECONDS: &str = "crm_http_request_duration_seconds";
const IN_FLIGHT: &str = "crm_http_requests_in_flight";
const DATABASE_UP: &str = "crm_database_up";
const POOL_SIZE: &str = "crm_database_pool_size";
const POOL_IDLE: &str = "crm_database_pool_idle";
const POOL_IN_USE: &str = "crm_database_pool_in_use";
const POOL_MAX: &str = "crm_database_pool_max";
const HEAD: &str = "crm_log_head_position";
const POSITION: &str = "crm_projection_position";
const LAG: &str = "crm_projection_lag_events";
const LAG_SECONDS: &str = "crm_projection_lag_seconds";
const PARKED: &str = "crm_projection_parked_streams";
const FOLDED_PER_SECOND: &str = "crm_projection_events_per_second";
const GENERATION: &str = "crm_projection_generation";
const BYTES: &str = "crm_projection_size_bytes";
const REBUILDING: &str = "crm_rebuild_running";
const REBUILD_DONE: &str = "crm_rebuild_events_read";
const REBUILD_TOTAL: &str = "crm_rebuild_events_expected";
const VERIFIED: &str = "crm_verification_passed";
const SEALED: &str = "crm_seal_position";
const SEALED_AT: &str = "crm_seal_timestamp_seconds";
const SEAL_LAG_SECONDS: &str = "crm_seal_lag_seconds";
const VECTOR_POSITION: &str = "crm_vectors_position";
const VECTOR_LAG: &str = "crm_vectors_lag_events";
const VECTOR_TEXTS: &str = "crm_vectors_texts";
const VECTOR_WAITING: &str = "crm_vectors_texts_waiting";
const VECTOR_UNTOLD: &str = "crm_vectors_records_untold";
const VECTOR_FAILING: &str = "crm_vectors_failing";
const SKIPPED: &str = "crm_projection_skipped_events";
const REBUILD_ENDED: &str = "crm_rebuild_finished_timestamp_seconds";
const REBUILD_FAILED: &str = "crm_rebuild_failed";
const REACTOR_LAG: &str = "crm_reactor_lag_events";
const REACTOR_LAG_SECONDS: &str = "crm_reactor_lag_seconds";
const WEBHOOK_LAG: &str = "crm_webhooks_lag_events";
const WEBHOOK_LAG_SECONDS: &str = "crm_webhooks_lag_seconds";
const WEBHOOKS_DISABLED: &str = "crm_webhooks_disabled";
const JOBS_NOW: &str = "crm_jobs";
const JOBS_OLDEST: &str = "crm_jobs_oldest_seconds";
const WORKERS: &str = "crm_workers";
const VERIFIED_AT: &str = "crm_verification_timestamp_seconds";
const UNVERIFIED: &str = "crm_verification_unfinished";
const DATABASE_WRITABLE: &str = "crm_database_writable";
const FILES_WRITABLE: &str = "crm_files_writable";
const GARBAGE_KEPT: &str = "crm_files_garbage_kept";

/// Upper bounds, in seconds: from what an answer out of memory takes to what no client waits for.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Upper bounds, in seconds, of what a language model takes.
const MODEL_SECONDS: &[f64] = &[0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Upper bounds of numbers of commands or events in one commit.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Every histogram, with its unit, buckets and meaning.
const HISTOGRAMS: &[(&str, Unit, &[f64], &str)] = &[
    (
        APPEND_SECONDS,
        Unit::Seconds,
        SECONDS,
        "How long the events of a command take from being queued to being durable",
    ),
    (
        ANSWER_SECONDS,
        Unit::Seconds,
        MODEL_SECONDS,
        "How long the language model takes for an answer",
    ),
    (GROUP_COMMANDS, Unit::Count, SIZES, "How many commands one commit writes"),
    (GROUP_EVENTS, Unit::Count, SIZES, "How many events one commit writes"),
    (
        REQUEST_SECONDS,
        Unit::Seconds,
        SECONDS,
        "How long a request takes until its answer begins, by route, method and status",
    ),
];

const COUNTERS: &[(&str, &str)] = &[
    (COMMANDS, "Commands by kind of record, command and outcome"),
    (REQUESTS, "Requests by route, method and status"),
    (ASKED, "Questions to the language model, by outcome"),
    (JOBS, "Jobs that have ended, by stage and outcome"),
    (ATTEMPTS, "Attempts at telling a receiver of an event, by outcome"),
];

const GAUGES: &[(&str, &str)] = &[
    (IN_FLIGHT, "Requests whose answer has not begun"),
    (DATABASE_UP, "1 if the database answers, else 0"),
    (
        DATABASE_WRITABLE,
        "0 if the database takes nothing new, by the last write to it, as when its disk is full; else 1",
    ),
    (
        FILES_WRITABLE,
        "0 if no documents, images or recordings (files: in a bucket) can be stored, by the last write; else 1",
    ),
    (
        GARBAGE_KEPT,
        "1 while files that nothing names are not removed, for a reason that `crm status` tells, else 0",
    ),
    (POOL_SIZE, "Open connections of the database pool"),
    (POOL_IDLE, "Connections of the database pool that wait for work"),
    (POOL_IN_USE, "Connections of the database pool that are in use"),
    (POOL_MAX, "The most connections that the database pool may open"),
    (HEAD, "Position of the last event in the log"),
    (POSITION, "Position that a read model has reached"),
    (LAG, "Positions that a read model is behind the log"),
    (LAG_SECONDS, "For how long the oldest event that a read model has not seen has been there"),
    (PARKED, "Streams that a read model cannot follow"),
    (FOLDED_PER_SECOND, "Events per second that a read model took in during the last minute"),
    (GENERATION, "Number of a read model's live generation"),
    (BYTES, "What a read model's tables and indexes take on disk"),
    (REBUILDING, "1 while a read model is being rebuilt, else 0"),
    (REBUILD_DONE, "Events that a read model's last rebuild has read"),
    (REBUILD_TOTAL, "Events that a read model's last rebuild has to read"),
    (REACTOR_LAG, "Positions that a reactor is behind the log"),
    (JOBS_NOW, "Jobs of a reactor, by state"),
    (JOBS_OLDEST, "For how long the oldest job of a reactor has been there, in seconds"),
    (WORKERS, "Processes that work on a reactor's jobs"),
    (SEALED, "Position up to which the log is sealed"),
    (SEALED_AT, "When the last seal was made, as Unix time"),
    (SEAL_LAG_SECONDS, "For how long the oldest event that is not sealed has been there"),
    (VECTOR_POSITION, "Position up to which records are in a set of vectors"),
    (VECTOR_LAG, "Positions that a set of vectors is behind the texts that are searched by word"),
    (VECTOR_TEXTS, "Pieces of text in a set of vectors"),
    (VECTOR_WAITING, "Pieces of text that a set of vectors has yet to take in"),
    (VECTOR_UNTOLD, "Records that the vector engine has not been told of"),
    (VECTOR_FAILING, "1 while a set of vectors does not get on, else 0"),
    (SKIPPED, "Events that a read model was told to skip"),
    (REBUILD_ENDED, "When the last rebuild of a read model ended, as Unix time"),
    (REBUILD_FAILED, "1 if the last rebuild of a read model failed or was broken off, else 0"),
    (
        REACTOR_LAG_SECONDS,
        "For how long the oldest event that a reactor has not seen has been in the log",
    ),
    (
        WEBHOOK_LAG,
        "Positions between the log's end and the enabled webhook that is furthest behind",
    ),
    (
        WEBHOOK_LAG_SECONDS,
        "For how long the oldest event that an enabled webhook was not told of has been in the log",
    ),
    (WEBHOOKS_DISABLED, "Webhooks that nothing is sent to"),
    (
        VERIFIED,
        "1 if the last check of everything found it in order and no narrower one since has found otherwise, else 0",
    ),
    (VERIFIED_AT, "When the last check of everything ended, as Unix time"),
    (UNVERIFIED, "1 if the last check came to nothing, else 0"),
];

/// Begins to count, once for the process; what happened before is not counted.
pub fn start() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let builder = HISTOGRAMS.iter().fold(PrometheusBuilder::new(), |builder, histogram| {
            let (name, _, buckets, _) = *histogram;
            builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
                .expect("only an empty list of buckets is refused")
        });
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("something else records metrics in this process: /metrics stays empty");
        }
        describe();
        handle
    })
}

fn describe() {
    for (name, unit, _, meaning) in HISTOGRAMS {
        describe_histogram!(*name, *unit, *meaning);
    }
    for (name, meaning) in COUNTERS {
        describe_counter!(*name, Unit::Count, *meaning);
    }
    for (name, meaning) in GAUGES {
        describe_gauge!(*name, Unit::Count, *meaning);
    }
    // Named once, so that they are there before the first write.
    for name in [APPEND_SECONDS, GROUP_COMMANDS, GROUP_EVENTS] {
        let _ = histogram!(name);
    }
}

/// Sorts what was measured into its buckets now and then, so that it takes no room if nobody asks for it. Never ends.
pub async fn tidy() {
    let mut turns = tokio::time::interval(Duration::from_secs(5));
    loop {
        turns.tick().await;
        start().run_upkeep();
    }
}

/// All that was measured, in Prometheus's text format.
pub async fn report(app: &App) -> String {
    let handle = start();
    refresh_gauges(app).await;
    handle.render()
}

/// Looks up what is not counted as it happens. Every gauge of the state of things belongs here.
async fn refresh_gauges(app: &App) {
    // Prometheus gives up after 10 s; what cannot be had keeps its last value.
    const PATIENCE: Duration = Duration::from_secs(2);
    let pool = app.log.database().pool_use();
    gauge!(POOL_SIZE).set(pool.open);
    gauge!(POOL_IDLE).set(pool.idle);
    gauge!(POOL_IN_USE).set(pool.open - pool.idle);
    gauge!(POOL_MAX).set(pool.most);
    let health = tokio::time::timeout(PATIENCE, app.reader.health()).await.ok();
    gauge!(DATABASE_UP).set(health.as_ref().is_some_and(|health| health.database) as u8);
    if let Some(health) = health {
        gauge!(HEAD).set(health.head as f64);
    }
    let takes_writes = app.log.database().write_trouble().is_none();
    gauge!(DATABASE_WRITABLE).set(f64::from(takes_writes));
    refresh_files(app);
    let status = tokio::time::timeout(PATIENCE, app.rebuilds.status()).await;
    if let Ok(Ok(status)) = status {
        refresh_projections(&status);
    }
}

fn refresh_files(app: &App) {
    let FileStatus { troubles, garbage } = app.keeper.status();
    for place in app.files.places() {
        let takes_files = troubles.iter().all(|trouble| trouble.place != place);
        gauge!(FILES_WRITABLE, "place" => place).set(f64::from(takes_files));
    }
    gauge!(GARBAGE_KEPT).set(f64::from(garbage.is_some()));
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; positions are far below 2^53")]
fn refresh_projections(status: &Status) {
    for projection in &status.projections {
        let set = |name: &'static str, value: f64| {
            gauge!(name, "projection" => projection.name.clone()).set(value);
        };
        set(POSITION, projection.position as f64);
        set(LAG, projection.lag as f64);
        set(LAG_SECONDS, projection.lag_seconds);
        set(PARKED, projection.parked.len() as f64);
        set(SKIPPED, projection.skipped as f64);
        set(FOLDED_PER_SECOND, projection.rate);
        set(GENERATION, f64::from(projection.generation));
        set(BYTES, projection.size as f64);
        let rebuild = projection.rebuild.as_ref();
        set(REBUILDING, rebuild.map_or(0.0, |rebuild| f64::from(!rebuild.is_over())));
        if let Some(rebuild) = rebuild {
            set(REBUILD_DONE, rebuild.done as f64);
            set(REBUILD_TOTAL, rebuild.total as f64);
            set(REBUILD_FAILED, f64::from(rebuild.has_failed()));
            if let Some(at) = rebuild.finished_at {
                set(REBUILD_ENDED, at.timestamp() as f64);
            }
        }
    }
    for set in &status.vectors {
        let label = set.set.to_string();
        let put = |name: &'static str, value: f64| {
            gauge!(name, "set" => label.clone(), "engine" => set.engine.clone()).set(value);
        };
        put(VECTOR_POSITION, set.position as f64);
        put(VECTOR_LAG, set.lag as f64);
        put(VECTOR_TEXTS, set.points as f64);
        put(VECTOR_WAITING, set.waiting as f64);
        put(VECTOR_UNTOLD, set.untold as f64);
        put(VECTOR_FAILING, f64::from(u8::from(set.error.is_some())));
    }
    refresh_webhooks(&status.webhooks);
    for Following { reactor, lag_seconds } in &status.reactors {
        let name = || reactor.name.clone();
        gauge!(REACTOR_LAG, "reactor" => name()).set(reactor.lag as f64);
        gauge!(REACTOR_LAG_SECONDS, "reactor" => name()).set(*lag_seconds);
        gauge!(JOBS_OLDEST, "reactor" => name()).set(reactor.jobs.oldest_seconds);
        gauge!(WORKERS, "reactor" => name()).set(reactor.workers as f64);
        let jobs = &reactor.jobs;
        let states = [
            ("waiting", jobs.waiting),
            ("running", jobs.running),
            ("postponed", jobs.postponed),
            ("suspended", jobs.suspended),
        ];
        for (state, count) in states {
            gauge!(JOBS_NOW, "reactor" => name(), "state" => state).set(count as f64);
        }
    }
    if let Some(seal) = &status.seal {
        gauge!(SEALED).set(seal.position as f64);
        gauge!(SEALED_AT).set(seal.sealed_at.timestamp() as f64);
    }
    gauge!(SEAL_LAG_SECONDS).set(status.unsealed_seconds);
    if let Some(is_well) = status.checks.verdict() {
        gauge!(VERIFIED).set(f64::from(is_well));
    }
    if let Some(last) = &status.checks.verification {
        gauge!(VERIFIED_AT).set(last.finished_at.timestamp() as f64);
    }
    gauge!(UNVERIFIED).set(f64::from(status.checks.unfinished().is_some()));
}

/// All in one: of a receiver that is gone, a gauge of its own would stay as it was.
#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; positions are far below 2^53")]
fn refresh_webhooks(webhooks: &[WebhookStatus]) {
    let (enabled, disabled): (Vec<_>, Vec<_>) =
        webhooks.iter().partition(|webhook| webhook.state == "enabled");
    let lag = enabled.iter().map(|webhook| webhook.lag).max();
    let seconds = enabled.iter().map(|webhook| webhook.lag_seconds).fold(0.0, f64::max);
    gauge!(WEBHOOK_LAG).set(lag.unwrap_or_default() as f64);
    gauge!(WEBHOOK_LAG_SECONDS).set(seconds);
    gauge!(WEBHOOKS_DISABLED).set(disabled.len() as f64);
}

/// The template of the route that a request takes: known inside the router, told outside.
#[derive(Clone, Debug, Default)]
pub struct Route(Arc<OnceLock<MatchedPath>>);

impl Route {
    /// The template, as `/lps/{lp_id}`; `None` if there is no such route. Never the path itself: whoever tries paths
    /// must not fill our memory with them.
    pub fn template(&self) -> Option<&str> {
        self.0.get().map(MatchedPath::as_str)
    }
}

/// The layer of all routes that tells which of them was taken.
pub async fn note_route(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(route), Some(path)) = (extensions.get::<Route>(), extensions.get::<MatchedPath>())
    {
        // Set before only if a request took two routes, and then the first stands.
        let _ = route.0.set(path.clone());
    }
    next.run(request).await
}

/// A request that is being answered; it counts as in flight until this is dropped.
pub struct Answering {
    method: &'static str,
    since: Instant,
}

impl Answering {
    /// A request has come.
    pub fn begin(method: &Method) -> Self {
        gauge!(IN_FLIGHT).increment(1);
        Self { method: method_name(method), since: Instant::now() }
    }

    /// Its answer begins.
    pub fn answered(self, route: &Route, status: StatusCode) {
        // Shared, so that the second copy of the labels costs no more than counting references.
        let shared = |text: &str| SharedString::from(Arc::<str>::from(text));
        let labels = vec![
            Label::new("route", route.template().map_or("none".into(), shared)),
            Label::from_static_parts("method", self.method),
            Label::new("status", shared(status.as_str())),
        ];
        counter!(REQUESTS, labels.clone()).increment(1);
        histogram!(REQUEST_SECONDS, labels).record(self.since.elapsed());
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        gauge!(IN_FLIGHT).decrement(1);
    }
}

/// The method, unless it is of the client's own invention: these must not fill our memory either.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_measured_and_in_which_unit() {
        for (name, unit, buckets, _) in HISTOGRAMS {
            assert!(name.starts_with("crm_"), "{name}");
            assert_eq!(name.ends_with("_seconds"), *unit == Unit::Seconds, "{name}");
            assert!(buckets.is_sorted(), "{name}");
        }
        for (name, _) in COUNTERS {
            assert!(name.starts_with("crm_") && name.ends_with("_total"), "{name}");
        }
        for (name, _) in GAUGES {
            assert!(name.starts_with("crm_") && !name.ends_with("_total"), "{name}");
        }
    }
}
