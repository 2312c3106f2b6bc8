//! The server itself, over a real socket: connections, encodings, origins, and the pages about it.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Api, ORIGIN, app, request, send};

/// A server on a port of its own.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(api: &Api) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { _ = stopped.await };
        let app = app(&api.db, &api.backend, 1 << 20);
        let task = tokio::spawn(api::server::serve(listener, app, shutdown));
        Self { address, stop, task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends bytes as they are and reads until the server closes the connection or has answered so often.
    async fn raw(&self, bytes: &[u8], answers: usize) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut received = Vec::new();
        let mut buffer = vec![0; 65_536];
        loop {
            let text = String::from_utf8_lossy(&received).into_owned();
            if text.matches("HTTP/1.1 ").count() == answers && text.ends_with(['}', ']', '\n']) {
                return text;
            }
            // A server that closes while a client still sends may reset the connection.
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return text,
                Ok(size) => received.extend_from_slice(&buffer[..size]),
            }
        }
    }
}

#[tokio::test]
async fn bytes_on_a_socket_are_answered_one_request_after_the_other() {
    let api = Api::new().await;
    bytes_that_are_no_request_are_refused_and_the_server_goes_on(&api).await;
    a_connection_is_kept_for_the_next_request_and_finished_when_the_server_stops(&api).await;
}

async fn a_connection_is_kept_for_the_next_request_and_finished_when_the_server_stops(api: &Api) {
    api.made("lps", json!({"name": "x"})).await;
    let server = Server::start(api).await;
    let host = server.address;
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let body = "{\"name\": \"é\"}";
    let post = format!(
        "POST /lps HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let chunked = format!(
        "POST /lps HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\n{{\"nam\r\n8\r\ne\": \"y\"}}\r\n0\r\n\r\n"
    );
    let all = [ask("/livez"), post, chunked, ask("/lps/1"), ask("/nothing")].concat();
    let answers = server.raw(all.as_bytes(), 5).await;
    let statuses: Vec<&str> =
        answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "200", "200", "404"], "{answers}");
    let names: Vec<String> = api
        .read("/lps")
        .await
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["x", "é", "y"]);
    server.stop.send(()).unwrap();
    server.task.await.unwrap().unwrap();
}

async fn bytes_that_are_no_request_are_refused_and_the_server_goes_on(api: &Api) {
    let server = Server::start(api).await;
    let host = server.address;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
    let long = |size: usize| "a".repeat(size);
    let header = format!("GET /lps HTTP/1.1\r\nhost: {host}\r\nx: {}\r\n\r\n", long(2 << 20));
    let check = async |bytes: Vec<u8>, expected: &[&str]| {
        let answer = server.raw(&bytes, 1).await;
        let status = answer.get(9..12).unwrap_or("closed");
        let what = String::from_utf8_lossy(&bytes).chars().take(60).collect::<String>();
        assert!(expected.contains(&status), "{what}: {answer:.200}");
        let well = server.raw(&get("/livez"), 1).await;
        assert!(well.starts_with("HTTP/1.1 200"), "{what}: {well}");
    };
    check(get(&format!("/lps/search?q={}", long(100_000))), &["414", "431", "400"]).await;
    check(
        [
            &b"GET /lps/search?q=\xff\xfe HTTP/1.1\r\nhost: "[..],
            host.to_string().as_bytes(),
            b"\r\n\r\n",
        ]
        .concat(),
        &["200", "400"],
    )
    .await;
    check(b"GET /lps/\x00 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), &["400", "closed"]).await;
    check(b"nonsense\r\n\r\n".to_vec(), &["400", "closed"]).await;
    check(b"GET / HTTP/9.9\r\n\r\n".to_vec(), &["400", "505", "closed"]).await;
    check(header.into_bytes(), &["431", "400", "closed"]).await;
    check(get("http://evil.example/lps"), &["200", "403"]).await;
    check(b"GET /lps HTTP/1.1\r\nhost: evil.example\r\n\r\n".to_vec(), &["403"]).await;
    // The front end may be asked for by either name of this machine.
    check(b"GET /lps HTTP/1.1\r\nhost: localhost:8000\r\n\r\n".to_vec(), &["200"]).await;
    // A body that never comes to its end changes nothing.
    let half = format!(
        "POST /lps HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{{\"name\":"
    );
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(half.as_bytes()).await.unwrap();
    drop(stream);
    let client = reqwest::Client::new();
    let large = client.post(server.url("/lps")).header("content-type", "application/json");
    let answer = large.body(vec![b' '; (1 << 20) + 1]).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    let refusal: Value = answer.json().await.unwrap();
    assert_eq!(refusal["detail"], format!("The body is larger than {} bytes", 1 << 20));
    assert_eq!(api.events().await, 0);
}

#[tokio::test]
async fn an_answer_says_the_same_in_every_encoding() {
    let api = Api::new().await;
    let note = json!({"name": "x", "raw_notes": "ñ lorem ipsum ".repeat(2_000)});
    api.made("notes", note).await;
    let server = Server::start(&api).await;
    let plain = api.get("/notes").await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("content-length"), Some(plain.bytes.len().to_string().as_str()));
    let decoding = |coding: &str| {
        let client = reqwest::Client::builder();
        let client = client.gzip(coding == "gzip").brotli(coding == "br").zstd(coding == "zstd");
        client.build().unwrap()
    };
    for coding in ["gzip", "br", "zstd"] {
        for uri in ["/notes", "/notes/1"] {
            let builder = request(Method::GET, uri).header("accept-encoding", coding);
            let answer = api.send(builder.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.header("content-encoding"), Some(coding));
            assert!(answer.bytes.len() * 10 < plain.bytes.len(), "{coding}");
            assert!(answer.header("vary").unwrap().contains("Accept-Encoding"));
            let tag = answer.header("etag").unwrap().to_owned();
            let known = request(Method::GET, uri).header("if-none-match", tag).body(Body::empty());
            assert_eq!(api.send(known.unwrap()).await.status, 304, "{coding}");
            let decoded = decoding(coding).get(server.url(uri)).send().await.unwrap();
            assert_eq!(decoded.bytes().await.unwrap(), api.get(uri).await.bytes, "{coding} {uri}");
        }
    }
    let unknown =
        request(Method::GET, "/notes").header("accept-encoding", "deflate, x;q=0.5, ;;;q=z");
    let unknown = api.send(unknown.body(Body::empty()).unwrap()).await;
    assert_eq!((unknown.header("content-encoding"), &unknown.bytes), (None, &plain.bytes));
}

#[tokio::test]
async fn the_server_tells_about_itself_to_those_who_may_know() {
    let api = Api::new().await;
    the_server_says_how_it_is_and_what_it_can(&api).await;
    the_front_ends_page_may_do_everything_and_a_strangers_page_nothing(&api).await;
    a_request_has_a_name_that_its_client_may_choose_and_its_events_carry(&api).await;
    every_route_of_the_legacy_server_is_in_the_document(&api).await;
    pictures_of_imported_notes_are_served_and_nothing_else_is(&api).await;
}

async fn the_front_ends_page_may_do_everything_and_a_strangers_page_nothing(api: &Api) {
    let ask = |origin: &str, method: &str| {
        Request::builder()
            .method(Method::OPTIONS)
            .uri("/lps/1")
            .header("origin", origin)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "content-type, x-custom")
            .body(Body::empty())
            .unwrap()
    };
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = api.send(ask(ORIGIN, method)).await;
        assert_eq!((answer.status, &answer.bytes[..]), (200, &b"OK"[..]), "{method}");
        for (name, value) in [
            ("access-control-allow-origin", ORIGIN),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
            ("access-control-allow-headers", "content-type, x-custom"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
    }
    let stranger = api.send(ask("https://evil.example", "PUT")).await;
    assert_eq!((stranger.status, stranger.header("access-control-allow-origin")), (400, None));
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let write = Request::builder()
            .method(method)
            .uri("/lps/1")
            .header("origin", "https://evil.example");
        let answer = api.send(write.body(Body::from("{\"name\": \"x\"}")).unwrap()).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
    }
    let read =
        Request::get("/lps").header("origin", "https://evil.example").body(Body::empty()).unwrap();
    let answer = api.send(read).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
    // The page can see what travels in headers.
    let answer = api.post("/lps", json!({"name": "x"})).await;
    let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
    for name in ["x-position", "etag", "x-request-id", "x-read-model", "idempotency-replayed"] {
        assert!(exposed.contains(name), "{name}");
    }
}

async fn a_request_has_a_name_that_its_client_may_choose_and_its_events_carry(api: &Api) {
    let id = "0198c0de-0000-7000-8000-000000000001";
    for name in ["x-request-id", "x-correlation-id"] {
        let post = request(Method::POST, "/lps")
            .header(name, id)
            .header("content-type", "application/json");
        let answer = api.send(post.body(Body::from("{\"name\": \"x\"}")).unwrap()).await;
        assert_eq!((answer.status, answer.header("x-request-id")), (200, Some(id)), "{name}");
        assert_eq!(answer.header("x-correlation-id"), Some(id));
    }
    let named: i64 = sqlx::query_scalar("select count(*) from events where correlation_id = $1")
        .bind(uuid::Uuid::parse_str(id).unwrap())
        .fetch_one(&api.db.pool)
        .await
        .unwrap();
    assert_eq!(named, 2);
    let first = api.get("/lps").await.header("x-request-id").unwrap().to_owned();
    assert_ne!(api.get("/lps").await.header("x-request-id"), Some(first.as_str()));
    let odd = request(Method::GET, "/nothing").header("x-request-id", "no uuid");
    let answer = api.send(odd.body(Body::empty()).unwrap()).await;
    assert!(uuid::Uuid::try_parse(answer.header("x-request-id").unwrap()).is_ok());
    assert_eq!(answer.status, 404);
}

async fn the_server_says_how_it_is_and_what_it_can(api: &Api) {
    api.made("lps", json!({"name": "x"})).await;
    let health = api.read("/health").await;
    assert_eq!((health["status"].as_str(), health.as_object().unwrap().len()), (Some("ok"), 2));
    let now = chrono::Local::now().naive_local();
    let told = health["timestamp"].as_str().unwrap();
    let told: chrono::NaiveDateTime =
        chrono::NaiveDateTime::parse_from_str(told, "%Y-%m-%dT%H:%M:%S%.6f").unwrap();
    assert!((now - told).num_seconds().abs() < 60, "{health}");
    assert_eq!(api.read("/livez").await, json!({"status": "ok"}));
    api.backend.settle().await.unwrap();
    let ready = api.read("/readyz").await;
    assert_eq!(
        (&ready["status"], &ready["reasons"], &ready["database"]),
        (&json!("ready"), &json!([]), &json!(true))
    );
    assert_eq!(ready["head"], 1);
    assert!(
        ready["projectors"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["lag"] == 0 && one["failure"].is_null())
    );
    for uri in ["/livez", "/readyz", "/health"] {
        let head = api.send(request(Method::HEAD, uri).body(Body::empty()).unwrap()).await;
        assert_eq!((head.status, head.bytes.len()), (200, 0), "{uri}");
    }

    let document = api.read("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    assert_eq!(document["paths"]["/lps/{lp_id}"]["put"]["parameters"][0]["in"], "path");
    assert_eq!(api.get("/redoc").await.header("location"), Some("/docs/"));
    let redirect = api.get("/docs").await;
    let page = match redirect.status {
        200 => redirect,
        _ => api.get(redirect.header("location").unwrap()).await,
    };
    let html = String::from_utf8(page.bytes.to_vec()).unwrap();
    assert_eq!(page.status, 200);
    assert!(html.contains("swagger-ui"), "{html}");
    // The page works without the internet: everything it loads comes from here.
    let loaded: Vec<&str> =
        ["src=\"", "href=\""].iter().flat_map(|mark| html.split(mark).skip(1)).collect();
    assert!(loaded.len() >= 3, "{html}");
    for rest in loaded {
        let link = rest.split('"').next().unwrap();
        assert!(!link.contains("//"), "{link}");
        let uri = format!("/docs/{}", link.trim_start_matches("./").trim_start_matches("/docs/"));
        assert_eq!(api.get(&uri).await.status, 200, "{uri}");
    }
}

async fn every_route_of_the_legacy_server_is_in_the_document(api: &Api) {
    let document = api.read("/openapi.json").await;
    let endpoints = "get /health|get /lps|post /lps|put /lps/1|delete /lps/1|get /lps/search|get /lps/1/people|\
        get /lps/1/notes|get /lps/1/tasks|get /gps|post /gps|put /gps/1|delete /gps/1|get /gps/search|get /gps/1/people|\
        get /gps/1/notes|get /gps/1/tasks|get /distributors|post /distributors|put /distributors/1|get /funds|post /funds|\
        put /funds/1|get /funds/search|get /funds/1/notes|get /funds/1/sales-funnel|put /funds/1/lps/1/interest|\
        get /people|post /people|put /people/1|get /people/search|get /people/1/lps|get /people/1/gps|get /notes|\
        get /notes/1|post /notes|put /notes/1|get /notes/1/lps|get /notes/1/gps|get /notes/1/funds|\
        post /notes/1/relationships|post /notes/1/funds/1|delete /notes/1/funds/1|get /todos|post /todos|put /todos/1|\
        delete /todos/1|post /todos/1/relationships|get /todos/1/lps|get /todos/1/gps|get /todos/1/people|\
        get /todos/1/funds|get /todos/1/roadshows|get /todos/1/notes|get /roadshows|post /roadshows|put /roadshows/1|\
        delete /roadshows/1|get /roadshows/1/lp-status|put /roadshows/1/lps/1/status";
    let paths = document["paths"].as_object().unwrap();
    for endpoint in endpoints.split('|') {
        let (method, path) = endpoint.split_once(' ').unwrap();
        let found = paths.iter().find(|(template, item)| {
            let plain: Vec<&str> = template
                .split('/')
                .map(|part| if part.starts_with('{') { "1" } else { part })
                .collect();
            plain.join("/") == path && item.get(method).is_some()
        });
        assert!(found.is_some(), "{endpoint}");
        // And it is there: whatever it thinks of an empty request, it is no 405 and no unknown path.
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let answer = send(&api.router, request(method, path).body(Body::empty()).unwrap()).await;
        assert!(
            answer.status != 405 && answer.body["detail"] != "Not Found",
            "{endpoint}: {}",
            answer.body
        );
    }
}

async fn pictures_of_imported_notes_are_served_and_nothing_else_is(api: &Api) {
    let folder = api.db.dir.path().join("images");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("3f2a_b1.png"), b"\x89PNG").unwrap();
    std::fs::write(folder.join("foto ñ.jpeg"), b"jpeg").unwrap();
    std::fs::write(folder.join(".env"), b"secret").unwrap();
    std::fs::write(api.db.dir.path().join("crm.db"), b"secret").unwrap();
    std::os::unix::fs::symlink("/etc", folder.join("etc")).unwrap();
    for (name, media_type, content) in [
        ("3f2a_b1.png", "image/png", &b"\x89PNG"[..]),
        ("foto%20%C3%B1.jpeg", "image/jpeg", b"jpeg"),
    ] {
        let answer = api.get(&format!("/images/{name}")).await;
        assert_eq!((answer.status, &answer.bytes[..]), (200, content));
        assert_eq!(answer.header("content-type"), Some(media_type));
    }
    for name in [
        ".env",
        "..%2Fcrm.db",
        "../crm.db",
        "%2e%2e/crm.db",
        "etc%2Fhostname",
        "etc/hostname",
        "etc",
        "a%00b",
    ] {
        api.get(&format!("/images/{name}")).await.expect(404, name);
    }
}
