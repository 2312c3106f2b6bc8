//! Which browsers may call: CORS, and protection of a server that only listens to its own machine.
//!
//! Nobody logs in, so a page that a user happens to visit must not be able to write. Three rules keep it out: CORS
//! headers go to known origins only; a write that a browser sends for another origin is refused before it is read; and
//! a server bound to a loopback address answers only requests for a loopback name (or for the host of a configured
//! front end), so that a stranger's domain that resolves to 127.0.0.1 does not get in as "the same origin".

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

/// The front end's development server and desktop shells.
const ALWAYS: &[&str] = &[
    "http://localhost:5173",
    "http://127.0.0.1:5173",
    "tauri://localhost",
    "http://tauri.localhost",
    "https://tauri.localhost",
];

const METHODS: HeaderValue =
    HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "X-Position, ETag, X-Read-Model, X-Parked-From, X-Missing, X-Request-Id, X-Correlation-Id, Idempotency-Replayed, Location, \
     Content-Location, Content-Range, Content-Disposition, Link, Retry-After, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Upload-Offset, Upload-Length, Upload-Defer-Length, \
     Upload-Metadata, Upload-Expires",
);
const VARY: HeaderValue = HeaderValue::from_static("Origin");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Which origins may read answers and write, and which host names are ours.
#[derive(Clone, Debug)]
pub struct Origins {
    allowed: Arc<BTreeSet<String>>,
    local_only: bool,
}

impl Origins {
    /// The origins of the configured front ends, besides those that are always allowed.
    pub fn new(frontends: &[String]) -> Self {
        let always = ALWAYS.iter().map(|origin| (*origin).to_owned());
        let configured = frontends.iter().map(|origin| origin.trim_end_matches('/').to_lowercase());
        Self { allowed: Arc::new(always.chain(configured).collect()), local_only: false }
    }

    /// Whether the server listens to its own machine only.
    pub fn local_only(self, local_only: bool) -> Self {
        Self { local_only, ..self }
    }

    fn allows(&self, origin: &str) -> bool {
        self.allowed.contains(&origin.to_lowercase())
    }

    /// Whether a request may go on.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] when it is for a stranger's host name, or a write from a stranger's page.
    pub fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let host = text(headers, header::HOST).unwrap_or_default().to_lowercase();
        if self.local_only && !host.is_empty() && !self.is_ours(&host) {
            return Err(Problem::Forbidden(
                "This server answers for the host names of this machine and of FRONTEND_URL alone; API_HOST = 0.0.0.0 lets it answer for any",
            ));
        }
        let Some(origin) = text(headers, header::ORIGIN) else { return Ok(()) };
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let same_host = origin.split_once("://").is_some_and(|(_, own)| own.to_lowercase() == host);
        if reads || same_host || self.allows(origin) {
            return Ok(());
        }
        Err(Problem::Forbidden("This origin may not write"))
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = without_port(host);
        let is_loopback = name == "localhost"
            || name.ends_with(".localhost")
            || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let is_frontend = || {
            let mut hosts = self.allowed.iter().filter_map(|origin| origin.split_once("://"));
            hosts.any(|(_, own)| without_port(own) == name)
        };
        is_loopback || is_frontend()
    }

    /// The answer to a browser that asks beforehand, if that is what the request is.
    pub fn preflight(&self, request: &Request<Body>) -> Option<Response> {
        let headers = request.headers();
        let origin = text(headers, header::ORIGIN)?;
        if request.method() != Method::OPTIONS
            || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        if !self.allows(origin) {
            let body = "Disallowed CORS origin";
            return Some((StatusCode::BAD_REQUEST, [(header::VARY, VARY)], body).into_response());
        }
        let mut answer = HeaderMap::new();
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        Some((StatusCode::OK, answer, "OK").into_response())
    }

    /// Lets the page of an allowed origin read the answer.
    pub fn open(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        if !answer.contains_key(header::VARY) {
            answer.insert(header::VARY, VARY);
        }
        let Some(origin) = origin else { return };
        if origin.to_str().is_ok_and(|text| self.allows(text)) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The name in `name`, `name:port` or `[v6]:port`.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn origins() -> Origins {
        Origins::new(&["https://crm.example.com/".to_owned()]).local_only(true)
    }

    #[test]
    fn a_page_of_a_stranger_may_read_nothing_and_write_nothing() {
        let check = |method: Method, origin: &str, host: &str, expected: bool| {
            let headers = headers(&[("origin", origin), ("host", host)]);
            assert_eq!(origins().admit(&method, &headers).is_ok(), expected, "{origin} {host}");
        };
        let host = "localhost:8000";
        check(Method::POST, "http://localhost:5173", host, true);
        check(Method::POST, "tauri://localhost", host, true);
        check(Method::POST, "https://crm.example.com", host, true);
        check(Method::POST, "http://localhost:8000", host, true);
        check(Method::POST, "http://127.0.0.1:8000", "127.0.0.1:8000", true);
        check(Method::POST, "https://evil.example", host, false);
        check(Method::DELETE, "null", host, false);
        check(Method::GET, "https://evil.example", host, true);
        check(Method::GET, "http://evil.example", "evil.example", false);
        let mut answer = HeaderMap::new();
        origins().open(Some(&"https://evil.example".parse().unwrap()), &mut answer);
        assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[test]
    fn a_page_that_may_read_sees_when_to_come_again_and_what_a_file_is_called() {
        let mut answer = HeaderMap::new();
        origins().open(Some(&"http://localhost:5173".parse().unwrap()), &mut answer);
        let exposed = answer[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
        let exposed: Vec<&str> = exposed.split(", ").collect();
        for name in ["Retry-After", "Link", "X-Correlation-Id", "Content-Disposition", "ETag"] {
            assert!(exposed.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_local_server_answers_for_loopback_names_and_configured_hosts_only() {
        let check = |host: &str, expected: bool| {
            let admitted = origins().admit(&Method::GET, &headers(&[("host", host)])).is_ok();
            assert_eq!(admitted, expected, "{host}");
        };
        for host in ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1", "crm.example.com"]
        {
            check(host, true);
        }
        for host in ["evil.example:8000", "10.0.0.1", "localhost.evil.example"] {
            check(host, false);
        }
        let everywhere = Origins::new(&[]);
        assert!(everywhere.admit(&Method::GET, &headers(&[("host", "any.example")])).is_ok());
    }

    #[test]
    fn a_preflight_is_answered_as_it_always_was() {
        let ask = |origin: &str| {
            let request = Request::builder()
                .method(Method::OPTIONS)
                .header("origin", origin)
                .header("access-control-request-method", "PUT")
                .header("access-control-request-headers", "content-type");
            origins().preflight(&request.body(Body::empty()).unwrap()).unwrap()
        };
        let answer = ask("http://localhost:5173");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["access-control-allow-headers"], "content-type");
        assert_eq!(answer.headers()["access-control-allow-methods"], METHODS);
        assert_eq!(answer.headers()["access-control-max-age"], "600");
        assert_eq!(ask("https://evil.example").status(), StatusCode::BAD_REQUEST);
    }
}
