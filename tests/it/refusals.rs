//! Refusals are kept for a time, and then forgotten.

use std::time::{Duration, Instant};

use axum::http::Method;
use projections::history::History;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::contract::{Api, json_request};
use crate::erasure::stored_bytes;
use crate::harness::{Database, connect};
use crate::recordings::attach;
use crate::server::{Home, Server};

/// Refusals of so many days ago.
async fn refused(pool: &PgPool, days: i32, many: i64) {
    sqlx::query(
        "insert into refusal (refused_at, actor, method, path, status, why, correlation_id)
         select now() - make_interval(days => $1), 'x', 'PUT', '/lps/' || number, 404, 'y', gen_random_uuid()
         from generate_series(1, $2) as number",
    )
    .bind(days)
    .bind(many)
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn what_was_refused_too_long_ago_is_forgotten_and_nothing_else() {
    let db = Database::new().await;
    refused(&db.pool, 29, 3).await;
    refused(&db.pool, 31, 25_000).await;
    let forgotten = History::forget_refusals(&db.connections, 30).await.unwrap();
    assert_eq!(forgotten, 25_000);
    let left: Vec<i32> =
        sqlx::query_scalar("select extract(day from now() - refused_at)::integer from refusal")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(left, [29, 29, 29]);
    assert_eq!(History::forget_refusals(&db.connections, 30).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_forgets_refusals_by_itself() {
    let home = Home::new();
    assert!(Server::start(&home, &[]).await.stop().await);
    let cluster = api::embedded::Cluster::open(home.path()).await.unwrap();
    let database = connect(cluster.options("crm"), 2);
    refused(&database.pool, 31, 2).await;
    database.pool.close().await;
    cluster.close().await.unwrap();
    let count = async |server: &Server| {
        let url = format!("{}/audit/refusals", server.url);
        let page: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        page["refusals"].as_array().unwrap().len()
    };

    let server = Server::start_with(&home, &[], &[("CRM_REFUSALS_DAYS", "0")]).await;
    let refuse = reqwest::Client::new().put(format!("{}/lps/7", server.url));
    assert_eq!(refuse.json(&json!({"name": "x"})).send().await.unwrap().status(), 404);
    assert_eq!(count(&server).await, 3, "0 is for good");
    assert!(server.stop().await);
    let server = Server::start_with(&home, &[], &[("CRM_REFUSALS_DAYS", "30")]).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while count(&server).await != 1 {
        assert!(Instant::now() < deadline, "the old ones are forgotten");
        tokio::task::yield_now().await;
    }
    assert!(server.stop().await);
}

/// Keeps whoever asks for an idempotency key waiting, until it is dropped.
struct Holdup {
    database: projections::database::Database,
    cluster: api::embedded::Cluster,
    lock: sqlx::Transaction<'static, sqlx::Postgres>,
}

impl Holdup {
    async fn begin(home: &Home) -> Self {
        let cluster = api::embedded::Cluster::open(home.path()).await.unwrap();
        let database = connect(cluster.options("crm"), 2);
        let mut lock = database.pool.begin().await.unwrap();
        sqlx::query("lock table idempotency_key in access exclusive mode")
            .execute(&mut *lock)
            .await
            .unwrap();
        Self { database, cluster, lock }
    }

    /// Waits until a request waits.
    async fn works(&self) {
        let waits = "select exists (select from pg_stat_activity
                         where wait_event_type = 'Lock' and query like '%from idempotency_key where key%')";
        let deadline = Instant::now() + Duration::from_secs(60);
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&self.database.pool).await.unwrap() {
            assert!(Instant::now() < deadline, "the request comes so far");
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) {
        self.lock.commit().await.unwrap();
        self.database.pool.close().await;
        self.cluster.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_took_too_long_is_kept_with_the_way_to_what_was_carried_out() {
    let home = Home::new();
    let server = Server::start_with(&home, &[], &[("CRM_REQUEST_TIMEOUT_S", "1")]).await;
    let holdup = Holdup::begin(&home).await;
    let posting = reqwest::Client::new().post(format!("{}/lps", server.url));
    let posting = posting.header("idempotency-key", "k1").json(&json!({"name": "Afore"}));
    let answer = posting.send().await.unwrap();
    assert_eq!(answer.status(), 504);
    let request = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    holdup.works().await;
    holdup.end().await;
    let history = format!("{}/audit?correlation={request}", server.url);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found: Value = reqwest::get(&history).await.unwrap().json().await.unwrap();
        if found["entries"].as_array().is_some_and(|entries| entries.len() == 1) {
            break;
        }
        assert!(Instant::now() < deadline, "it was carried out: {found}");
        tokio::task::yield_now().await;
    }
    let page = reqwest::Client::new().get(format!("{}/audit/refusals", server.url));
    let page = page.header("accept", "text/html").send().await.unwrap().text().await.unwrap();
    assert!(page.contains(&format!("href=\"/audit?correlation={request}\"")), "{page}");
    assert!(!page.contains("Nothing was changed"), "{page}");
    assert!(server.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_before_the_refusal_is_kept_as_well() {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    let holdup = Holdup::begin(&home).await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "PUT /lps/7 HTTP/1.1\r\nhost: {address}\r\nidempotency-key: k1\r\ncontent-type: application/json\r\n\
         content-length: 12\r\n\r\n{{\"name\":\"x\"}}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    holdup.works().await;
    socket.shutdown().await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty(), "the server has seen it: {}", String::from_utf8_lossy(&answer));
    holdup.end().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let kept = loop {
        let page = reqwest::get(format!("{}/audit/refusals", server.url)).await.unwrap();
        let page: Value = page.json().await.unwrap();
        if let Some(kept) = page["refusals"].as_array().unwrap().first() {
            break kept.clone();
        }
        assert!(Instant::now() < deadline, "it is kept");
        tokio::task::yield_now().await;
    };
    assert_eq!((&kept["status"], &kept["path"]), (&json!(404), &json!("/lps/7")), "{kept}");
    assert!(server.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_command_and_the_note_of_a_recording() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let id = attach(&api.backend.log, note, "k").await;
    api.backend.settle().await.unwrap();
    let refused = async |method: Method, path: &str, body: Value| {
        let answer = api.send(json_request(method, path, &body)).await;
        assert!(answer.status >= 400, "{path}: {}", answer.body);
        api.read("/audit/refusals?limit=1").await["refusals"][0].clone()
    };
    for (method, path, body, command) in [
        (Method::PATCH, "transcript", json!({"segments": 7}), "CorrectTranscript"),
        (Method::PATCH, "transcript", json!([]), "CorrectTranscript"),
        (Method::POST, "action-items/1/accept", json!({}), "AcceptActionItem"),
        (Method::POST, "interest/accept", json!({}), "AcceptInterest"),
        (Method::POST, "transcribe?model=%20a%20b", json!({}), "AskTranscription"),
    ] {
        let kept = refused(method, &format!("/recordings/{id}/{path}"), body).await;
        assert_eq!(kept["record"], json!({"kind": "note", "id": note}), "{kept}");
        assert_eq!((&kept["kind"], &kept["command"]), (&json!("note"), &json!(command)), "{kept}");
    }
    let kept = refused(Method::POST, "/recordings/987/cancel", json!({})).await;
    assert_eq!((&kept["record"], &kept["command"]), (&Value::Null, &json!("Cancel")));
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_a_legal_hold_forbids_at_the_terminal_is_kept() {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    let client = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", server.url);
    let person = client.post(url("/people")).json(&json!({"name": "Ana"})).send().await.unwrap();
    let person: Value = person.json().await.unwrap();
    let id = person["id"].to_string();
    let hold = client.put(url(&format!("/people/{id}/hold"))).json(&json!({"reason": "case 3"}));
    assert_eq!(hold.send().await.unwrap().status(), 200);
    let args = ["erase", "person", &id, "--reason", "request 9"];
    let refused = home.crm(&args).output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("a legal hold"), "{said}");
    let page = client.get(url("/audit/refusals")).send().await.unwrap();
    let page: Value = page.json().await.unwrap();
    let kept = &page["refusals"][0];
    assert_eq!((&kept["method"], &kept["command"]), (&json!("cli"), &json!("Erase")), "{page}");
    assert_eq!(kept["record"], json!({"kind": "person", "id": person["id"]}));
    assert!(kept["why"].as_str().unwrap().contains("case 3"), "{kept}");
    assert!(server.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_refusals_says_what_their_pages_say() {
    let api = Api::new().await;
    refused(&api.db.pool, 1, 230).await;
    refused(&api.db.pool, 9, 1).await;
    let evil = api.made("lps", json!({"name": "Afore XXI"})).await;
    api.put(&format!("/lps/{evil}"), json!({"priority": {"a": 1}})).await.faults();
    let old = (chrono::Utc::now() - chrono::TimeDelta::days(3)).format("%Y-%m-%d");
    for (query, many) in [(format!("from={old}"), 231), ("status=422".to_owned(), 1)] {
        let path = format!("/audit/refusals?{query}");
        let page = api.read(&format!("{path}&limit=500")).await;
        let pages = page["refusals"].as_array().unwrap();
        assert_eq!((pages.len(), &page["next"]), (many, &Value::Null), "{path}");
        let accepting = |media_type: &str| {
            let request = crate::contract::request(Method::GET, &path);
            request.header("accept", media_type).body(axum::body::Body::empty()).unwrap()
        };
        let answer = api.send(accepting("application/x-ndjson")).await;
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        let file = "attachment; filename=\"refusals.ndjson\"";
        assert_eq!(answer.header("content-disposition"), Some(file));
        let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(&lines, pages, "{path}");
        let answer = api.send(accepting("text/csv")).await;
        assert!(answer.header("content-type").unwrap().starts_with("text/csv"));
        let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
        let lines = crate::audit::cells(&text);
        assert_eq!(lines[0], api::history::export::REFUSED);
        assert_eq!(lines.len(), 1 + pages.len());
        for (line, refusal) in lines[1..].iter().zip(pages) {
            for (column, cell) in lines[0].iter().zip(line) {
                let told = match (column.as_str(), &refusal[column.as_str()]) {
                    ("record_id", _) => &refusal["record"]["id"],
                    (_, told) => told,
                };
                let told = match told {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    number => number.to_string(),
                };
                assert_eq!(*cell, told, "{column}");
            }
        }
        let file = api.get(&format!("{path}&format=csv")).await;
        assert_eq!(file.bytes, [b"\xef\xbb\xbf", text.as_bytes()].concat(), "for spreadsheets");
        let (_, shown) = crate::pages::page(&api, &path).await;
        assert!(shown.contains(&format!("/audit/refusals?{query}&amp;format=csv")), "{shown}");
    }
    api.get("/audit/refusals?format=csv&limit=3").await.expect(400, "it is sent whole");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_about_a_record_after_its_erasure_quotes_nothing() {
    let api = Api::new().await;
    let erased = api.made("people", json!({"name": "Ana"})).await;
    let other = api.made("people", json!({"name": "Eva"})).await;
    let reason = json!({"reason": "asked"});
    api.post(&format!("/people/{erased}/erase"), reason).await.expect(200, "erased");
    for id in [erased, other] {
        api.put(&format!("/people/{id}/qx@secret.example"), json!({})).await.expect(404, "no path");
        api.delete(&format!("/people/{id}/hold?quetzalli=x")).await.expect(422, "no parameter");
    }
    let kept = async |id: i64| {
        let page = api.read(&format!("/audit/refusals?record=person/{id}")).await;
        let kept = page["refusals"].as_array().unwrap().iter();
        let of = |one: &Value| {
            ["path", "why"].map(|name| one[name].as_str().unwrap().to_owned()).join(" ")
        };
        kept.map(of).collect::<Vec<_>>()
    };
    let path = format!("/people/{erased}");
    let cut = [format!("{path} not kept after an erasure"), format!("{path} Not Found")];
    assert_eq!(kept(erased).await, cut);
    let whole = kept(other).await;
    assert!(whole[0].contains("quetzalli") && whole[1].contains("qx@secret"), "{whole:?}");

    // As an earlier release kept them.
    sqlx::query(
        "insert into refusal (actor, method, path, kind, record_id, status, why, correlation_id)
         select 'x', 'PUT', '/people/' || id || '/quetzalli', 'person', id, 422, 'quetzalli', gen_random_uuid()
         from unnest($1::bigint[]) as id",
    )
    .bind([erased, other])
    .execute(&api.db.pool)
    .await
    .unwrap();
    let migration = include_str!("../../migrations/0032_refusals_of_the_erased.sql");
    sqlx::raw_sql(migration).execute(&api.db.pool).await.unwrap();
    assert_eq!(kept(erased).await[0], cut[0]);
    assert_eq!(kept(other).await[1..], whole);
    let said = format!("{path}/quetzalli");
    let stored = stored_bytes(&api.db.pool, "refusal").await;
    let is_there = |text: &str| stored.windows(text.len()).any(|some| some == text.as_bytes());
    assert!(is_there(&path) && !is_there(&said), "the file of the table has it no more");
    api.backend.stop().await;
}
