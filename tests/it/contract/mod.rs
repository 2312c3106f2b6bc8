//! The HTTP API is what the existing front end expects, down to orders, nulls, dates and the words of refusals.
//!
//! Most tests ask the router in this process. Whatever is asked, some things hold for every answer: see [`Answer`].

mod described;
mod effects;
mod failures;
mod funnels;
mod hostile;
mod imported;
mod legacy;
mod links;
mod lists;
mod records;
mod removal;
mod requests;
mod search;
mod values;
mod wire;
mod writes;

use api::app::{Limits, Parts};
use api::backend::Backend;
use api::erasures::Erasures;
use api::file_keeper::FileKeeper;
use api::origins::Origins;
use api::webhooks::{Reach, Webhooks};
use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use projections::log::Turns;
use projections::seal::Trust;
use projections::search::{Meaning, Search};
use projections::uploads::Intake;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::harness::{Database, connect};

/// Where the front end is served from.
pub const ORIGIN: &str = "http://localhost:5173";

/// The eight kinds by the first part of their paths, each with the smallest body that registers one.
pub fn kinds() -> Vec<(&'static str, Value)> {
    vec![
        ("lps", json!({"name": "x"})),
        ("gps", json!({"name": "x"})),
        ("distributors", json!({"name": "x"})),
        ("people", json!({"name": "x"})),
        ("funds", json!({"fund_name": "x"})),
        ("notes", json!({"name": "x"})),
        ("todos", json!({"title": "x"})),
        ("roadshows", json!({"name": "x", "fund_id": 1})),
    ]
}

/// The product on a database of its own.
pub struct Api {
    /// All routes.
    pub router: Router,
    /// What is behind them.
    pub backend: Backend,
    /// The database.
    pub db: Database,
}

impl Api {
    /// Starts one on an empty log.
    pub async fn new() -> Self {
        Self::on(Database::new().await).await
    }

    /// Starts one on what is in this database.
    pub async fn on(db: Database) -> Self {
        let backend = db.backend().await;
        Self::with(db, backend)
    }

    /// The one with these parts behind it.
    pub fn with(db: Database, backend: Backend) -> Self {
        let router = api::server::router(app(&db, &backend, 64 << 20));
        Self { router, backend, db }
    }

    /// Another server on the same database, as a process of its own has it.
    pub async fn second(&self) -> (Router, Backend) {
        let options = PgConnectOptions::clone(&self.db.pool.connect_options());
        let connections = connect(options, 8);
        let mut connection = connections.pool.acquire().await.unwrap();
        connections.keys().claim(&mut connection).await.unwrap();
        drop(connection);
        let backend = Backend::start(connections, self.db.files()).await.unwrap();
        (api::server::router(app(&self.db, &backend, 64 << 20)), backend)
    }

    /// Sends a request as the front end's page does.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.router, request).await
    }

    /// GET.
    pub async fn get(&self, uri: &str) -> Answer {
        self.send(request(Method::GET, uri).body(Body::empty()).unwrap()).await
    }

    /// The list or record at a path, which must be there.
    pub async fn read(&self, uri: &str) -> Value {
        self.get(uri).await.expect(200, uri)
    }

    /// POST.
    pub async fn post(&self, uri: &str, body: Value) -> Answer {
        self.send(json_request(Method::POST, uri, &body)).await
    }

    /// PUT.
    pub async fn put(&self, uri: &str, body: Value) -> Answer {
        self.send(json_request(Method::PUT, uri, &body)).await
    }

    /// DELETE.
    pub async fn delete(&self, uri: &str) -> Answer {
        self.send(request(Method::DELETE, uri).body(Body::empty()).unwrap()).await
    }

    /// Registers a record and gives its id.
    pub async fn made(&self, path: &str, body: Value) -> i64 {
        let row = self.post(&format!("/{path}"), body).await.expect(200, path);
        row["id"].as_i64().unwrap()
    }

    /// The ids at a path, in its order.
    pub async fn ids(&self, uri: &str) -> Vec<i64> {
        ids(&self.read(uri).await)
    }

    /// How many events the log holds.
    pub async fn events(&self) -> i64 {
        sqlx::query_scalar("select count(*) from events").fetch_one(&self.db.pool).await.unwrap()
    }
}

/// No search by meaning, as on a machine without a model.
fn without_a_model(db: &Database) -> Meaning {
    Meaning::without(db.connections.clone(), "there is no model in this test")
}

/// The product with a limit for bodies.
pub fn app(db: &Database, backend: &Backend, body: usize) -> Parts {
    let files = db.files();
    let keeper = FileKeeper::new(db.connections.clone(), files.clone(), Trust::default());
    let limits = Limits { body, time: std::time::Duration::from_secs(30) };
    Parts {
        log: backend.log.clone(),
        reader: backend.reader.clone(),
        search: Search::new(db.connections.clone(), without_a_model(db)),
        files: files.clone(),
        keeper,
        limits,
        origins: Origins::new(&[]),
        intake: Intake::new(db.connections.clone(), files, 1 << 30, CancellationToken::new()),
        turns: Turns::default(),
        rebuilds: backend.rebuilds.clone(),
        scenes: backend.scenes.clone(),
        live: backend.live.clone(),
        erasures: Erasures::default(),
        webhooks: Webhooks::new(backend.live.clone(), Reach::Public).unwrap(),
        llm: None,
        trust: Trust::default(),
    }
}

/// A request from the front end's page.
pub fn request(method: Method, uri: &str) -> Builder {
    Request::builder().method(method).uri(uri).header("origin", ORIGIN)
}

/// The same with a JSON body.
pub fn json_request(method: Method, uri: &str, body: &Value) -> Request<Body> {
    raw_request(method, uri, body.to_string())
}

/// The same with a body that may be no JSON.
pub fn raw_request(method: Method, uri: &str, body: impl Into<Body>) -> Request<Body> {
    let builder = request(method, uri).header("content-type", "application/json");
    builder.body(body.into()).unwrap()
}

/// The ids of a list.
pub fn ids(list: &Value) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
}

/// An answer that has passed what holds for all of them: it is no 500, the page may read it, it names its request, it
/// is JSON unless it is empty or a page, a refusal says why, and a write says where it is in the log.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub bytes: axum::body::Bytes,
    /// The body as JSON; null if it is empty or something else.
    pub body: Value,
}

impl Answer {
    /// The body, if the status is this one.
    pub fn expect(self, status: u16, what: &str) -> Value {
        assert_eq!(self.status, status, "{what}: {}", self.body);
        self.body
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    /// The position that the write reached.
    pub fn position(&self) -> i64 {
        self.header("x-position").unwrap().parse().unwrap()
    }

    /// Type and place of every fault of a 422, as `type at body.name`.
    pub fn faults(&self) -> Vec<String> {
        assert_eq!(self.status, 422, "{}", self.body);
        let faults = self.body["detail"].as_array().unwrap();
        faults
            .iter()
            .map(|fault| {
                assert!(fault["msg"].is_string() && fault.get("input").is_some(), "{fault}");
                let part = |part: &Value| match part {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let place: Vec<String> =
                    fault["loc"].as_array().unwrap().iter().map(part).collect();
                format!("{} at {}", fault["type"].as_str().unwrap(), place.join("."))
            })
            .collect()
    }
}

/// Sends a request to a router and checks what holds for every answer.
pub async fn send(router: &Router, request: Request<Body>) -> Answer {
    let what = format!("{} {:.200}", request.method(), request.uri().to_string());
    let answer = ask(router, request).await;
    assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.body);
    answer
}

/// The same where the server is made to fail.
pub async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let what = format!("{} {:.200}", request.method(), request.uri().to_string());
    let operation = described::operation(router, &request).await;
    // The log has nothing of webhooks.
    let is_write = matches!(*request.method(), Method::POST | Method::PUT | Method::DELETE)
        && !request.uri().path().starts_with("/webhooks");
    let is_large = request.body().size_hint().lower() > 1 << 20;
    let is_told = !matches!(*request.method(), Method::HEAD | Method::OPTIONS);
    let from_page = request.headers().get("origin").is_some_and(|origin| origin == ORIGIN);
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, bytes, body };
    operation.check(answer.status, &answer.headers, &what);
    if from_page {
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN), "{what}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{what}");
    }
    assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")), "{what}");
    assert!(answer.header("x-request-id").is_some(), "{what}");
    if answer.status >= 400 && is_told {
        assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
        let detail = &answer.body["detail"];
        let says_why = detail.as_str().is_some_and(|text| !text.is_empty())
            || detail.as_array().is_some_and(|faults| !faults.is_empty());
        assert!(says_why, "{what}: {}", answer.body);
    }
    if is_write && parts.status == StatusCode::OK {
        assert!(answer.position() >= 0, "{what}");
        // Readers may see megabytes a little later; then it says so.
        assert!(is_large || answer.header("x-read-model").is_none(), "{what}: not seen by readers");
    }
    answer
}
