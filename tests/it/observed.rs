//! What the running executable tells of itself.

use projections::database::Database as Connections;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::harness::{Database, cluster_folder};
use crate::server::{Home, Server};

/// A server on a database that the test can look into.
async fn serve(home: &Home, database: &Connections, settings: &[(&str, &str)]) -> Server {
    let options = database.pool.connect_options();
    let socket = cluster_folder().join("postgres-socket").display().to_string().replace('/', "%2F");
    let url = format!("postgres://crm@{socket}/{}", options.get_database().unwrap());
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
    let server = serve(&home, &db.connections, &[]).await;
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
    let server = serve(&home, &db.connections, &[]).await;
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
