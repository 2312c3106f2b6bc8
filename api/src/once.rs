//! `Idempotency-Key`: a write that is sent again is not carried out again.
//!
//! The key goes into the log in the same transaction as the events of its command; the answer is stored right after. A
//! repeated request gets that answer. If the server died in between, or could not say all, the request is answered anew
//! from what is recorded with its key, and neither its conditions nor the rules are asked again: they were met, and may no longer be.
//! So is one whose answer shows a secret, which is not stored a second time.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::{Kind, RecordRef};
use http_body_util::BodyExt;
use projections::log::{Answer, CommandError, KeyRecord, Receipt};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::answers::{PATIENCE, POSITION, READ_MODEL, record_etag};
use crate::app::App;
use crate::caller::{IDEMPOTENCY_KEY, IdempotencyKey};
use crate::problem::{Fault, Problem};
use crate::writes::Provisional;

/// Tells a stored answer from a fresh one.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Marks an answer that shows a secret: it is not stored, and a repetition of its request is answered anew.
#[derive(Clone, Copy, Debug)]
pub struct Secretive;

/// Marks the answer to a write that neither an event nor a row of its own tells of: it is stored by itself.
#[derive(Clone, Copy, Debug)]
pub struct Lone;

/// The longest key.
const KEY_LENGTH: usize = 255;

/// Carries out a write with its body, unless its key says that this was done before.
///
/// # Errors
/// [`Problem::Invalid`] for a key that cannot be used or belongs to another request.
pub async fn carry_out(
    app: App,
    mut request: Request,
    body: Bytes,
    next: Next,
) -> Result<Response, Problem> {
    let Some(key) = key_of(request.headers())? else { return Ok(next.run(request).await) };
    let request_hash = hash(&request, &body);
    let _turn = app.turns.take(turn(&key)).await;
    let earlier = match app.log.recorded_answer(&key).await.map_err(problem)? {
        None => None,
        Some(known) if known.request_hash.as_ref().is_some_and(|it| it[..] != request_hash) => {
            return Err(Problem::key_reused());
        }
        Some(KeyRecord {
            answer: Some((status, body)),
            position,
            answered_position,
            aggregate_type,
            aggregate_id,
            ..
        }) => {
            let record = Kind::parse(&aggregate_type)
                .and_then(|kind| Some(kind.record(aggregate_id.parse().ok()?)));
            let position = answered_position.or(position);
            return Ok(replayed(&app, status, body, position, record).await);
        }
        Some(KeyRecord { aggregate_id, position, version, .. }) => {
            let id = aggregate_id.parse().map_err(anyhow::Error::from)?;
            Some(Receipt { id, position, version })
        }
    };
    let is_repeated = earlier.is_some();
    let idempotency = IdempotencyKey { key: key.clone(), request_hash, earlier };
    request.extensions_mut().insert(idempotency);
    let mut response = next.run(request).await;
    if !response.status().is_success() || response.extensions().get::<Provisional>().is_some() {
        return Ok(response);
    }
    if response.extensions().get::<Secretive>().is_some() {
        if is_repeated {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        return Ok(response);
    }
    record(&app, &key, &request_hash, response).await
}

/// Keeps an answer for its key.
async fn record(
    app: &App,
    key: &str,
    request_hash: &[u8],
    response: Response,
) -> Result<Response, Problem> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| Problem::Internal(error.into()))?.to_bytes();
    let position = parts.headers.get(POSITION).and_then(|told| told.to_str().ok()?.parse().ok());
    let answer = Answer { status: parts.status.as_u16(), body: &body, position };
    let recorded = match parts.extensions.get::<Lone>() {
        None => app.log.record_answer(key, answer).await,
        Some(Lone) => app.log.record_lone_answer(key, request_hash, answer).await,
    };
    if let Err(error) = recorded {
        // A write that is recorded with its key will still not be carried out twice; one that is alone may be.
        tracing::warn!(%error, "an answer could not be kept for its idempotency key");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// What requests with the same key take turns by.
pub fn turn(key: &str) -> String {
    format!("idempotency key {key}")
}

/// Why nobody knows what became of a key.
pub fn problem(error: CommandError) -> Problem {
    // No command was sent, so the record that it would have been about plays no part.
    Problem::of_command(error, Kind::Lp.record(0))
}

/// The key of a request with these headers, if it has one.
///
/// # Errors
/// [`Problem::Invalid`] for one that cannot be used.
pub fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_LENGTH {
        return Err(Problem::invalid(Fault::new(
            "idempotency_key",
            ["header".into(), "idempotency-key".into()],
            format!("A key has 1 to {KEY_LENGTH} printable ASCII characters"),
        )));
    }
    Ok(Some(key.to_owned()))
}

fn hash(request: &Request, body: &[u8]) -> [u8; 32] {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let parts: [&[u8]; 5] = [
        request.method().as_str().as_bytes(),
        request.uri().path().as_bytes(),
        request.uri().query().unwrap_or_default().as_bytes(),
        content_type.map(HeaderValue::as_bytes).unwrap_or_default(),
        body,
    ];
    let mut hasher = Sha256::new();
    for part in parts {
        // With the lengths, no two different requests have the same bytes.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The stored answer, once readers see what it tells of or have been waited for in vain, as the first time.
async fn replayed(
    app: &App,
    status: u16,
    body: Vec<u8>,
    position: Option<i64>,
    record: Option<RecordRef>,
) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut headers = HeaderMap::new();
    if let Some(position) = position
        && !app.reader.reached(position, PATIENCE).await
    {
        headers.insert(READ_MODEL, HeaderValue::from_static("behind"));
    }
    if let Some(tag) = tag_of(app, record, &body).await {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    // An earlier release did not keep which one it told of what recorded nothing.
    if let Some(position) = position.or_else(|| record.map(|_| app.reader.position())) {
        headers.insert(POSITION, HeaderValue::from(position));
    }
    if let Some(place) = place_of(status, &body) {
        headers.insert(header::LOCATION, place);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (status, headers, body).into_response()
}

/// Where to look how far it is, if an answer tells that something has begun: of all that is answered so, only what is done to a read
/// model is kept for its key.
fn place_of(status: StatusCode, body: &[u8]) -> Option<HeaderValue> {
    let begun: Value =
        serde_json::from_slice(body).ok().filter(|_| status == StatusCode::ACCEPTED)?;
    HeaderValue::from_str(&format!("/projections/{}", begun["projection"].as_str()?)).ok()
}

/// The tag of the row that an answer shows, if the record still is what it shows. Else the client has to read it again.
async fn tag_of(app: &App, record: Option<RecordRef>, shown: &[u8]) -> Option<HeaderValue> {
    let stored = app.reader.record(record?).await.ok().flatten()?;
    if stored.json == shown { record_etag(&stored.tag) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_same_only_if_all_of_it_is() {
        let request = |method: &str, uri: &str, content_type: &str| {
            let builder = Request::builder().method(method).uri(uri);
            builder.header("content-type", content_type).body(Body::empty()).unwrap()
        };
        let first = hash(&request("POST", "/lps?a=1", "application/json"), b"{}");
        assert_eq!(first, hash(&request("POST", "/lps?a=1", "application/json"), b"{}"));
        for (method, uri, content_type, body) in [
            ("PUT", "/lps?a=1", "application/json", "{}"),
            ("POST", "/lps?a=2", "application/json", "{}"),
            ("POST", "/gps?a=1", "application/json", "{}"),
            ("POST", "/lps?a=1", "text/plain", "{}"),
            ("POST", "/lps?a=1", "application/json", "{ }"),
        ] {
            assert_ne!(first, hash(&request(method, uri, content_type), body.as_bytes()));
        }
    }

    #[test]
    fn a_key_is_short_and_printable() {
        let check = |key: &[u8], good: bool| {
            let value = HeaderValue::from_bytes(key).unwrap();
            let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, value)]);
            assert_eq!(key_of(&headers).is_ok(), good, "{key:?}");
        };
        check(b"0198c0de", true);
        check(&[b'k'; 255], true);
        check(&[b'k'; 256], false);
        check(b"", false);
        check(&[0xff], false);
    }
}
