//! What happens to every request before its handler sees it, and to every answer after.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http_body_util::BodyExt;
use projections::panic;
use serde_json::json;
use tracing::{Instrument, Span};

use crate::answers::{PATIENCE, READ_MODEL};
use crate::app::{App, Limits};
use crate::body::{self, Parameters, parse_id};
use crate::caller::{CORRELATION_ID, REQUEST_ID, correlated, correlation_of, current_correlation};
use crate::measures::{Answering, Route};
use crate::once;
use crate::problem::{Fault, Problem};
use crate::refusals::Attempt;
use crate::routes::ask;
use crate::traces;
use crate::uploads::is_streamed;

/// Whether HEAD is answered: to monitors, and where files come or go. Elsewhere it never was, and it stays so.
fn answers_head(path: &str) -> bool {
    let is_file = path.starts_with("/uploads/")
        || (path.starts_with("/recordings/") && path.ends_with("/audio"));
    is_file || ["/livez", "/readyz", "/health"].contains(&path)
}

/// The outermost layer: it names the request, catches panics, and makes every answer readable for allowed pages.
pub async fn envelope(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let answering = Answering::begin(&method);
    let route = Route::default();
    request.extensions_mut().insert(route.clone());
    let correlation = correlation_of(request.headers());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let path = request.uri().path();
    // Whatever is logged, and at whichever level, says which request it is about.
    let span = tracing::error_span!(
        "request",
        %method,
        path,
        %correlation,
        otel.kind = "server",
    );
    traces::follow(&span, &request);
    let started = Instant::now();
    let origins = app.origins.clone();
    let attempt = Attempt::begin(&app, &mut request, correlation);
    let work = async move {
        let response = unpanicked(admitted(app, request, next)).await;
        match attempt {
            Some(attempt) => attempt.answered(response).await,
            None => response,
        }
    };
    let mut response = correlated(correlation, work).instrument(span.clone()).await;
    let headers = response.headers_mut();
    origins.open(origin.as_ref(), headers);
    if let Ok(value) = HeaderValue::from_str(&correlation.to_string()) {
        headers.insert(REQUEST_ID, value.clone());
        headers.insert(CORRELATION_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answering.answered(&route, response.status());
    let (status, elapsed) = (response.status().as_u16(), started.elapsed());
    span.in_scope(|| tracing::debug!(status, ?elapsed, "answered"));
    traces::tell(&span, &method, &route, response.status());
    response
}

/// The answer, or that there was a panic.
async fn unpanicked(work: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(response) => response,
        Err(caught) => {
            let text = panic::text(&*caught);
            Problem::Internal(anyhow::anyhow!("a handler panicked: {text}")).into_response()
        }
    }
}

async fn admitted(app: App, request: Request, next: Next) -> Response {
    if let Some(answer) = app.origins.preflight(&request) {
        return answer;
    }
    if let Err(problem) = app.origins.admit(request.method(), request.headers()) {
        return problem.into_response();
    }
    if let Err(problem) = body::admit_encoding(request.headers()) {
        return problem.into_response();
    }
    let answers_head = answers_head(request.uri().path());
    let handled = match is_streamed(request.method(), request.uri().path()) {
        // It takes as long as what it carries; a sender that falls silent is noticed by whoever listens.
        true => Ok(next.run(request).await),
        false => handled(app, request, next).await,
    };
    match handled {
        Ok(response) if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            method_not_allowed(response, answers_head)
        }
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn handled(app: App, mut request: Request, next: Next) -> Result<Response, Problem> {
    let limits = app.limits;
    let work = match *request.method() {
        Method::HEAD if !answers_head(request.uri().path()) => {
            // To the router HEAD is a GET. A method that no route has gets the 405 with the path's own list.
            *request.method_mut() = Method::TRACE;
            next.run(request).map(Ok).boxed()
        }
        Method::POST if request.uri().path() == ask::PATH => read(app, request, next).boxed(),
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
            // How long the body takes is a matter of the client's line; the time for the work begins after it.
            let (parts, body) = request.into_parts();
            let body = buffered(body, limits).await?;
            write(app, Request::from_parts(parts, Body::from(body.clone())), body, next).boxed()
        }
        _ => read(app, request, next).boxed(),
    };
    tokio::time::timeout(limits.time, work).await.unwrap_or(Err(Problem::TimedOut))
}

/// Waits until the read models have what the client wants to see.
async fn read(app: App, request: Request, next: Next) -> Result<Response, Problem> {
    let Some(position) = wanted_position(&request)? else { return Ok(next.run(request).await) };
    let is_there = app.reader.reached(position, PATIENCE).await;
    let mut response = next.run(request).await;
    if !is_there {
        response.headers_mut().insert(READ_MODEL, HeaderValue::from_static("behind"));
    }
    Ok(response)
}

fn wanted_position(request: &Request) -> Result<Option<i64>, Problem> {
    let parse = |text: &str, place: &'static str, name: &'static str| {
        let invalid =
            |fault: Fault| Problem::invalid(fault.at([place.into(), name.into()]).with_input(text));
        parse_id(text).map(Some).map_err(invalid)
    };
    if let Some(value) = request.headers().get("x-min-position") {
        let text = String::from_utf8_lossy(value.as_bytes());
        return parse(&text, "header", "x-min-position");
    }
    match Parameters::of(request.uri()).get("min_position") {
        Some(text) => parse(text, "query", "min_position"),
        None => Ok(None),
    }
}

/// Carries out a write, whose body is here: it runs to its end, even if the client hangs up or loses patience. What it
/// records is then answered under its idempotency key, and that it was refused is kept.
async fn write(app: App, request: Request, body: Bytes, next: Next) -> Result<Response, Problem> {
    let attempt = request.extensions().get::<Attempt>().cloned();
    let answers_head = answers_head(request.uri().path());
    let work = async move {
        match once::carry_out(app, request, body, next).await {
            Ok(response) if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
                method_not_allowed(response, answers_head)
            }
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        }
    };
    let work = async move {
        let response = unpanicked(work).await;
        match attempt {
            Some(attempt) => attempt.answered(response).await,
            None => response,
        }
    };
    let work = correlated(current_correlation(), work).instrument(Span::current());
    tokio::spawn(work).await.map_err(|error| Problem::Internal(error.into()))
}

/// How many bytes of a body must come in a second on the whole, 256 kbit: it takes longer, but not for ever, what is sent
/// over a slow line, and whoever only drips keeps no connection.
const SLOWEST: u64 = 32 << 10;

/// The whole body. It may pause for as long as a request may take, and take that long more than its bytes take at the
/// slowest. What exceeds the limit is read on for a while and thrown away: a client that is still sending when
/// the connection closes would never see the answer that tells it why.
async fn buffered(mut body: Body, limits: Limits) -> Result<Bytes, Problem> {
    const PATIENCE_FACTOR: usize = 4;
    let (limit, began) = (limits.body, Instant::now());
    let (mut content, mut size) = (BytesMut::new(), 0);
    loop {
        let due = limits.time + Duration::from_millis(size as u64 * 1000 / SLOWEST);
        let pause = due.saturating_sub(began.elapsed()).min(limits.time);
        let next = tokio::time::timeout(pause, body.frame()).await;
        let Some(frame) = next.map_err(|_| Problem::TimedOut)? else { break };
        let frame = frame.map_err(|_| Problem::Unreadable)?;
        let Some(data) = frame.data_ref() else { continue };
        size += data.len();
        match size <= limit {
            true => content.extend_from_slice(data),
            false => content = BytesMut::new(),
        }
        if size > limit.saturating_mul(PATIENCE_FACTOR) {
            break;
        }
    }
    if size > limit { Err(Problem::TooLarge(limit)) } else { Ok(content.freeze()) }
}

/// The router's 405 with a body, and without the HEAD that the router adds to every GET.
fn method_not_allowed(response: Response, answers_head: bool) -> Response {
    let allow = response.headers().get(header::ALLOW).and_then(|allow| allow.to_str().ok());
    let methods: Vec<&str> = allow
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|method| answers_head || *method != "HEAD")
        .collect();
    let body = axum::Json(json!({"detail": "Method Not Allowed"}));
    let allow = [(header::ALLOW, methods.join(", "))];
    let mut answer = (StatusCode::METHOD_NOT_ALLOWED, allow, body).into_response();
    // Whether it is kept already.
    *answer.extensions_mut() = response.into_parts().0.extensions;
    answer
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn a_body_is_taken_up_to_the_limit_and_not_beyond() {
        let body = |size: usize| Body::from(vec![b'x'; size]);
        let limits = Limits { body: 10, time: Duration::from_secs(20) };
        assert_eq!(buffered(body(10), limits).await.unwrap().len(), 10);
        assert!(matches!(buffered(body(11), limits).await, Err(Problem::TooLarge(10))));
    }

    /// A body of so many pieces of this size, that come at a slow but steady pace.
    fn paced(pieces: usize, size: usize) -> Body {
        let pace = tokio::time::interval(Duration::from_millis(20));
        let pieces = stream::unfold((pieces, pace), move |(left, mut pace)| async move {
            pace.tick().await;
            let piece = Ok::<_, std::io::Error>(vec![b'x'; size]);
            (left > 0).then(|| (piece, (left.saturating_sub(1), pace)))
        });
        Body::from_stream(pieces)
    }

    #[tokio::test]
    async fn a_body_may_take_longer_than_a_request_as_long_as_it_comes() {
        let limits = Limits { body: 64 << 20, time: Duration::from_millis(500) };
        let began = Instant::now();
        let body = buffered(paced(50, 32 << 10), limits).await.unwrap();
        assert_eq!(body.len(), 50 * (32 << 10));
        assert!(began.elapsed() > limits.time, "it came slowly");
        // One that drips is no better than one that does not come.
        let dripping = buffered(paced(usize::MAX, 1), limits).await;
        assert!(matches!(dripping, Err(Problem::TimedOut)));
    }

    #[test]
    fn the_405_names_the_methods_of_the_path_without_head() {
        let check = |answers_head: bool, expected: &str| {
            let plain = ([(header::ALLOW, "GET,HEAD,POST")], "").into_response();
            let answer = method_not_allowed(plain, answers_head);
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(answer.headers()[header::ALLOW], expected);
        };
        check(false, "GET, POST");
        check(true, "GET, HEAD, POST");
    }
}
