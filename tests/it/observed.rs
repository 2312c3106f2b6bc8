//! What the running executable tells of itself.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::contract::{Api, json_request};
use crate::harness::{Database, cluster_folder};
use crate::server::{Home, Server};

/// The address of a database that a server shares with the test.
fn address(db: &Database) -> String {
    let options = db.pool.connect_options();
    let socket = cluster_folder().join("postgres-socket").display().to_string().replace('/', "%2F");
    format!("postgres://crm@{socket}/{}", options.get_database().unwrap())
}

async fn serve(home: &Home, db: &Database, settings: &[(&str, &str)]) -> Server {
    let url = address(db);
    let settings = [&[("DATABASE_URL", url.as_str())], settings].concat();
    Server::start_with(home, &[], &settings).await
}

async fn send(server: &Server, method: &str, path: &str, body: Option<Value>) -> Response {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = Client::new().request(method, format!("{}{path}", server.url));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap()
}

/// What stands behind the name and labels of a sample.
fn sample<'a>(metrics: &'a str, name: &str) -> Option<&'a str> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_commands_by_outcome() {
    let (home, db) = (Home::new(), Database::new().await);
    let server = serve(&home, &db, &[]).await;
    let lp: Value =
        send(&server, "POST", "/lps", Some(json!({"name": "Ada"}))).await.json().await.unwrap();
    let path = format!("/lps/{}", lp["id"]);
    for (method, path, body, status) in [
        ("GET", "/lps", None, 200),
        ("GET", "/lps", None, 200),
        ("GET", path.as_str(), None, 200),
        ("PUT", &path, Some(json!({"priority": "A"})), 200),
        ("PUT", &path, Some(json!({"priority": "A"})), 200),
        ("PUT", "/lps/987654", Some(json!({"priority": "A"})), 404),
        ("BREW", "/lps", None, 405),
        ("GET", "/secret/path", None, 404),
    ] {
        let answer = send(&server, method, path, body).await;
        assert_eq!(answer.status(), status, "{method} {path}");
    }

    let answer = send(&server, "GET", "/metrics", None).await;
    let format = answer.headers()["content-type"].to_str().unwrap();
    assert_eq!(format, "text/plain; version=0.0.4; charset=utf-8");
    let metrics = answer.text().await.unwrap();
    let head: i64 =
        sqlx::query_scalar("select max(position) from events").fetch_one(&db.pool).await.unwrap();
    let head = head.to_string();
    let requests = |route: &str, method: &str, status: u16| {
        format!(r#"crm_http_requests_total{{route="{route}",method="{method}",status="{status}"}}"#)
    };
    let commands = |command: &str, outcome: &str| {
        format!(r#"crm_commands_total{{kind="lp",command="{command}",outcome="{outcome}"}}"#)
    };
    let seconds =
        r#"crm_http_request_duration_seconds_count{route="/lps",method="GET",status="200"}"#;
    for (name, expected) in [
        (requests("/lps", "GET", 200), "2"),
        (requests("/lps", "POST", 200), "1"),
        (requests("/lps/{lp_id}", "GET", 200), "1"),
        (requests("/lps/{lp_id}", "PUT", 200), "2"),
        (requests("/lps/{lp_id}", "PUT", 404), "1"),
        (requests("/lps", "other", 405), "1"),
        (requests("none", "GET", 404), "1"),
        (commands("Register", "recorded"), "1"),
        (commands("Revise", "recorded"), "1"),
        (commands("Revise", "unchanged"), "1"),
        (seconds.to_owned(), "2"),
        ("crm_append_duration_seconds_count".to_owned(), "2"),
        (r#"crm_append_group_commands_bucket{le="1"}"#.to_owned(), "2"),
        (r#"crm_append_group_events_bucket{le="1"}"#.to_owned(), "2"),
        ("crm_http_requests_in_flight".to_owned(), "1"),
        ("crm_database_up".to_owned(), "1"),
        ("crm_database_pool_max".to_owned(), "10"),
        ("crm_log_head_position".to_owned(), &head),
    ] {
        assert_eq!(sample(&metrics, &name), Some(expected), "{name} in\n{metrics}");
    }
    let of_pool = |name| -> f64 { sample(&metrics, name).unwrap().parse().unwrap() };
    let used = of_pool("crm_database_pool_in_use") + of_pool("crm_database_pool_idle");
    assert_eq!(used, of_pool("crm_database_pool_size"));
    assert!(!metrics.contains("secret") && !metrics.contains("987654"), "{metrics}");
    assert!(server.stop().await);
}

#[tokio::test]
async fn metrics_are_described_and_not_for_strangers() {
    let (home, db) = (Home::new(), Database::new().await);
    let server = serve(&home, &db, &[]).await;
    let metrics = send(&server, "GET", "/metrics", None).await.text().await.unwrap();
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let is_described = |name: &str| metrics.contains(&format!("# HELP {name} "));
        assert!(is_described(name) || family.is_some_and(is_described), "{line}");
    }
    let request = Client::new().get(format!("{}/metrics", server.url)).header("host", "a.example");
    assert_eq!(request.send().await.unwrap().status(), 403);
    assert!(server.stop().await);
}

/// An OpenTelemetry collector that keeps what it is sent.
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    async fn start() -> Self {
        let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
        let kept = bodies.clone();
        let keep = move |body: Bytes| async move { kept.lock().unwrap().push(body) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(keep));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, bodies }
    }

    /// All spans so far, after making sure that they are from a service of this name.
    fn spans(&self, service: &str) -> Vec<Span> {
        let mut spans = Vec::new();
        for body in self.bodies.lock().unwrap().iter() {
            let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
            for sent in request.resource_spans {
                let resource = sent.resource.unwrap();
                assert_eq!(text(&resource.attributes, "service.name").as_deref(), Some(service));
                spans.extend(sent.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        spans
    }
}

/// An attribute as text.
fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.clone()?.value? {
        Attribute::StringValue(text) => Some(text),
        Attribute::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The traces that the events of the log are part of, in its order.
async fn traces_in_log(db: &Database) -> Vec<Option<String>> {
    sqlx::query_scalar("select metadata->>'trace_id' from events order by position")
        .fetch_all(&db.pool)
        .await
        .unwrap()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_request_is_traced_from_its_caller_to_its_events() {
    let (home, db, collector) = (Home::new(), Database::new().await, Collector::start().await);
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_SERVICE_NAME", "crm-of-the-test"),
        // What the log shows has no say in what is traced.
        ("CRM_LOG", "error"),
    ];
    let server = serve(&home, &db, &settings).await;
    let made = send(&server, "POST", "/lps", Some(json!({"name": "Ada"}))).await;
    let id = made.json::<Value>().await.unwrap()["id"].to_string();
    let request = Client::new().put(format!("{}/lps/{id}", server.url));
    let request = request.header("traceparent", PARENT).json(&json!({"priority": "A"}));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert!(server.stop().await);

    let spans = collector.spans("crm-of-the-test");
    let named = |name: &str| -> &Span {
        let mut found = spans.iter().filter(|span| span.name == name);
        let span = found.next().unwrap_or_else(|| panic!("no span {name} in {spans:?}"));
        assert!(found.next().is_none(), "one span is named {name}");
        span
    };
    let child_of = |parent: &Span, name: &str| -> Span {
        let is_child = |span: &&Span| span.parent_span_id == parent.span_id && span.name == name;
        spans.iter().find(is_child).unwrap_or_else(|| panic!("no {name} in {spans:?}")).clone()
    };
    let put = named("PUT /lps/{lp_id}");
    assert_eq!(
        (hex(&put.trace_id), hex(&put.parent_span_id)),
        (TRACE.into(), PARENT[36..52].into())
    );
    assert_eq!(put.kind, 2, "it is a server's span");
    let command = child_of(put, "command");
    let append = child_of(&command, "append");
    assert_eq!(hex(&append.trace_id), TRACE);
    for (span, key, expected) in [
        (put, "http.route", "/lps/{lp_id}"),
        (put, "http.request.method", "PUT"),
        (put, "http.response.status_code", "200"),
        (&command, "command", "Revise"),
        (&command, "kind", "lp"),
        (&command, "id", &id),
        (&append, "events", "1"),
    ] {
        assert_eq!(text(&span.attributes, key).as_deref(), Some(expected), "{key} of {span:?}");
    }
    let of_post = hex(&named("POST /lps").trace_id);
    assert_ne!(of_post, TRACE, "a request without a caller's trace begins one");
    assert_eq!(traces_in_log(&db).await, [Some(of_post), Some(TRACE.to_owned())]);
}

#[tokio::test]
async fn events_name_the_trace_of_their_caller_when_no_traces_are_made() {
    let api = Api::new().await;
    for parent in [PARENT, "00-junk-01"] {
        let mut request = json_request(Method::POST, "/lps", &json!({"name": "Ada"}));
        request.headers_mut().insert("traceparent", parent.parse().unwrap());
        api.send(request).await.expect(200, parent);
    }
    assert_eq!(traces_in_log(&api.db).await, [Some(TRACE.to_owned()), None]);
}

#[tokio::test]
async fn a_collector_that_does_not_answer_costs_one_warning_and_nothing_else() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // The silent one is given up on after a while, which may be before the server stops or not.
    for (collector, warnings) in [(gone, 1..=1), (silent.local_addr().unwrap(), 0..=1)] {
        let (home, db) = (Home::new(), Database::new().await);
        let log = home.path().join("log");
        let mut command = home.crm(&["serve"]);
        command
            .env("DATABASE_URL", address(&db))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
            .env("OTEL_BSP_SCHEDULE_DELAY", "20")
            .env("CRM_LOG", "warn,projections::log=debug")
            .stderr(Stdio::from(std::fs::File::create(&log).unwrap()));
        let server = Server::launch(command).await;
        let correlation = uuid::Uuid::new_v4().to_string();
        for name in ["Ada", "Bea", "Cy"] {
            let request = Client::new().post(format!("{}/lps", server.url));
            let request = request.header("x-request-id", &correlation).json(&json!({"name": name}));
            assert_eq!(request.send().await.unwrap().status(), 200);
            // Each is a batch of its own.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let stopping = Instant::now();
        assert!(server.stop().await);
        assert!(stopping.elapsed() < Duration::from_secs(15), "it stops in time");
        assert!(traces_in_log(&db).await.iter().all(Option::is_some));

        let log = std::fs::read_to_string(log).unwrap();
        let of = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        assert!(warnings.contains(&of("traces cannot be exported")), "{log}");
        assert_eq!((of("carried out"), of(&correlation)), (3, 3), "{log}");
        assert_eq!(of("otel"), 0, "{log}");
    }
}
