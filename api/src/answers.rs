//! Answers to readers: tags and `304`, encodings, streaming.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::{Kind, RecordRef};
use futures::stream;
use projections::read::{Answer, Encoding, Query};

use crate::app::App;
use crate::problem::Problem;

/// The position that a read model must have, or that a write has reached.
pub const POSITION: HeaderName = HeaderName::from_static("x-position");
/// `behind` when an answer does not yet show what it was to show.
pub const READ_MODEL: HeaderName = HeaderName::from_static("x-read-model");

/// The event from which on what happened to a record is missing in the answer.
pub const PARKED: HeaderName = HeaderName::from_static("x-parked-from");

/// How long an answer waits for the read models.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Answers shorter than this are not worth compressing.
const COMPRESSED_FROM: usize = 1024;

/// What is sent with every answer from a read model.
const VARY: HeaderValue = HeaderValue::from_static("Accept-Encoding, Origin");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Answers a query: 304 when the client has it, 404 for a record that does not exist.
///
/// # Errors
/// [`Problem::NotFound`], [`Problem::Parked`], or whatever keeps the read model from answering.
pub async fn answer(app: &App, headers: &HeaderMap, query: Query) -> Result<Response, Problem> {
    let shown = match &query {
        Query::Show(record) => Some(record.kind()),
        _ => None,
    };
    // The tag of a list is known beforehand, that of a record stands in its row.
    if let Some(tag) = app.reader.tag(&query).filter(|tag| is_known(headers, tag)) {
        return Ok(not_modified(&tag, shown));
    }
    if let Some((tag, pieces)) = app.reader.large_list(&query).await? {
        let mut response = Body::from_stream(pieces).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.headers_mut().extend(cache_headers(etag(&tag, shown, Encoding::Identity)));
        return Ok(response);
    }
    let answer = app.reader.answer(&query).await?;
    match (answer, &query) {
        (Some(answer), _) => Ok(respond(headers, &answer, shown).await),
        (None, Query::Show(record)) => Err(not_found(app, *record).await),
        (None, _) => Err(Problem::NoSuchPath),
    }
}

/// Why readers do not see a record: there is none, or not any more, or it cannot be read.
pub async fn not_found(app: &App, record: RecordRef) -> Problem {
    match app.reader.unreadable(record).await {
        Ok(Some(position)) => Problem::Parked(record, position),
        Ok(None) => Problem::NotFound(record.kind()),
        Err(error) => error.into(),
    }
}

fn not_modified(tag: &str, shown: Option<Kind>) -> Response {
    let tag = etag(tag, shown, Encoding::Identity);
    (StatusCode::NOT_MODIFIED, cache_headers(tag)).into_response()
}

/// Sends an answer, unless the client has it. `shown` is the kind of a single record.
pub async fn respond(headers: &HeaderMap, answer: &Answer, shown: Option<Kind>) -> Response {
    let mut response = match is_known(headers, &answer.tag) {
        true => not_modified(&answer.tag, shown),
        false => whole(headers, answer, shown).await,
    };
    if let Some(position) = answer.parked {
        response.headers_mut().insert(PARKED, HeaderValue::from(position));
    }
    response
}

async fn whole(headers: &HeaderMap, answer: &Answer, shown: Option<Kind>) -> Response {
    let is_short = answer.len() < COMPRESSED_FROM;
    let encoding = if is_short { Encoding::Identity } else { accepted(headers) };
    let mut response = streamed(answer.encoded(encoding).await.to_vec());
    response.headers_mut().extend(cache_headers(etag(&answer.tag, shown, encoding)));
    if let Some(coding) = coding(encoding) {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

/// A JSON answer that is sent piece by piece.
fn streamed(chunks: Vec<Bytes>) -> Response {
    let size: usize = chunks.iter().map(Bytes::len).sum();
    let body = Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CONTENT_LENGTH, HeaderValue::from(size)),
    ];
    (headers, body).into_response()
}

fn cache_headers(etag: Option<HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, NO_CACHE);
    headers.insert(header::VARY, VARY);
    if let Some(etag) = etag {
        headers.insert(header::ETAG, etag);
    }
    headers
}

/// The tag as sent: strong for a record, weak for a list. A strong tag stands for the very bytes, so that of a compressed
/// record says how it is compressed.
fn etag(tag: &str, record: Option<Kind>, encoding: Encoding) -> Option<HeaderValue> {
    let text = match (record, coding(encoding)) {
        (None, _) => format!("W/\"{tag}\""),
        (Some(_), None) => format!("\"{tag}\""),
        (Some(_), Some(coding)) => format!("\"{tag}-{coding}\""),
    };
    HeaderValue::from_str(&text).ok()
}

/// Whether a file is shown or saved (`inline`, `attachment`), and under which name.
pub fn disposition(kind: &str, name: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    format!("{kind}; filename*=UTF-8''{}", name.bytes().map(escaped).collect::<String>())
}

/// The strong tag of a record that is sent uncompressed.
pub fn record_etag(tag: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{tag}\"")).ok()
}

/// Whether the client says that it has what this tag stands for.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|tags| names_tag(tags, tag, Comparison::Weak))
}

/// How tags are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// For reading again: a weak tag will do.
    Weak,
    /// For writing: a weak tag proves nothing.
    Strong,
}

/// Whether a list of tags, such as `W/"a", "b"` or `*`, names this one.
pub fn names_tag(list: &str, tag: &str, comparison: Comparison) -> bool {
    list.split(',').map(str::trim).any(|listed| {
        if listed == "*" {
            return true;
        }
        let quoted = match (listed.strip_prefix("W/"), comparison) {
            (Some(_), Comparison::Strong) => return false,
            (weak, _) => weak.unwrap_or(listed),
        };
        let bare = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        bare.is_some_and(|bare| {
            let codings = [Encoding::Zstd, Encoding::Brotli, Encoding::Gzip];
            let suffix = bare
                .strip_prefix(tag)
                .and_then(|rest| if rest.is_empty() { Some(rest) } else { rest.strip_prefix('-') });
            suffix.is_some_and(|rest| {
                rest.is_empty() || codings.iter().any(|&known| coding(known) == Some(rest))
            })
        })
    })
}

fn coding(encoding: Encoding) -> Option<&'static str> {
    match encoding {
        Encoding::Identity => None,
        Encoding::Gzip => Some("gzip"),
        Encoding::Zstd => Some("zstd"),
        Encoding::Brotli => Some("br"),
    }
}

/// The encoding that the client likes best; of those it likes equally, the one that serves it best.
fn accepted(headers: &HeaderMap) -> Encoding {
    let offers: Vec<(String, f32)> = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|offer| {
            let mut parts = offer.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            (name, weight.unwrap_or(1.0))
        })
        .collect();
    let weight_of = |name: &str| {
        let named = offers.iter().find(|(offer, _)| offer == name);
        named.or_else(|| offers.iter().find(|(offer, _)| offer == "*")).map(|(_, weight)| *weight)
    };
    let mut best = (Encoding::Identity, 0.0);
    for encoding in [Encoding::Zstd, Encoding::Brotli, Encoding::Gzip] {
        let weight = coding(encoding).and_then(weight_of).unwrap_or(0.0);
        if weight > best.1 {
            best = (encoding, weight);
        }
    }
    let identity =
        offers.iter().find(|(offer, _)| offer == "identity").map_or(0.0, |offer| offer.1);
    if identity > best.1 { Encoding::Identity } else { best.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_encoding_and_zstd_wins_a_tie() {
        let check = |accept: &str, expected: Encoding| {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT_ENCODING, accept.parse().unwrap())]);
            assert_eq!(accepted(&headers), expected, "{accept}");
        };
        check("gzip, deflate, br, zstd", Encoding::Zstd);
        check("gzip, deflate, br", Encoding::Brotli);
        check("gzip", Encoding::Gzip);
        check("gzip;q=1.0, br;q=0.5", Encoding::Gzip);
        check("gzip; q=0, br;q=0", Encoding::Identity);
        check("identity, gzip;q=0.5", Encoding::Identity);
        check("*", Encoding::Zstd);
        check("*, zstd;q=0", Encoding::Brotli);
        check("deflate", Encoding::Identity);
        assert_eq!(accepted(&HeaderMap::new()), Encoding::Identity);
    }

    #[test]
    fn tags_are_compared_as_http_has_it() {
        use Comparison::{Strong, Weak};
        let check = |list: &str, comparison: Comparison, expected: bool| {
            assert_eq!(names_tag(list, "lp-7-3", comparison), expected, "{list} {comparison:?}");
        };
        check(r#""lp-7-3""#, Strong, true);
        check(r#"W/"lp-7-3""#, Weak, true);
        check(r#"W/"lp-7-3""#, Strong, false);
        check(r#""x", "lp-7-3""#, Strong, true);
        check("*", Strong, true);
        check(r#""lp-7-3-gzip""#, Strong, true);
        check(r#""lp-7-31""#, Strong, false);
        check(r#""lp-7-3-1""#, Strong, false);
        check("lp-7-3", Weak, false);
    }
}
