//! Whatever is answered is in the OpenAPI document.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use serde_json::Value;
use tokio::sync::OnceCell;
use tower::ServiceExt as _;

/// What the document says of a request; nothing of a path or method that it does not have.
pub struct Operation(Option<Value>);

/// Looks a request up in the document.
pub async fn operation(router: &Router, request: &Request<Body>) -> Operation {
    static DOCUMENT: OnceCell<Value> = OnceCell::const_new();
    // A router of a test's own has none.
    let Ok(document) = DOCUMENT.get_or_try_init(|| document(router)).await else {
        return Operation(None);
    };
    let method = request.method().as_str().to_lowercase();
    let paths = document["paths"].as_object().unwrap();
    let named = paths.iter().filter(|(template, _)| is_of(template, request.uri().path()));
    // `/lps/search` is no record.
    let item = named.min_by_key(|(template, _)| template.matches('{').count());
    Operation(item.and_then(|(_, item)| item.get(method)).cloned())
}

async fn document(router: &Router) -> serde_json::Result<Value> {
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&bytes)
}

fn is_of(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(named), Some(part)) if named.starts_with('{') && !part.is_empty() => {}
            (Some(named), Some(part)) if named == part => {}
            _ => return false,
        }
    }
}

/// The headers that tell something of what was asked for.
const TELLING: [&str; 10] = [
    "accept-ranges",
    "content-disposition",
    "etag",
    "idempotency-replayed",
    "link",
    "location",
    "upload-offset",
    "x-missing",
    "x-position",
    "x-read-model",
];

impl Operation {
    /// Checks that it may be answered so, with these headers when it worked. A failure of the server, which any may have, is described for all alike.
    pub fn check(&self, status: u16, headers: &HeaderMap, what: &str) {
        let Some(operation) = &self.0 else { return };
        let known = operation["responses"].as_object().unwrap();
        if status < 300 {
            let described = known[&status.to_string()]["headers"].as_object();
            let described: Vec<_> =
                described.into_iter().flatten().map(|(name, _)| name.to_lowercase()).collect();
            for name in headers.keys().filter(|name| TELLING.contains(&name.as_str())) {
                let is_described = described.iter().any(|described| described == name.as_str());
                assert!(is_described, "{what}: {name} is not in the document");
            }
        }
        assert!(
            known.contains_key(&status.to_string())
                || status >= 500 && known.contains_key("default"),
            "{what}: {status} is not in the document"
        );
    }
}
