//! Kills at any instant: what was acknowledged is there, what is there is right.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::embedded::Cluster;
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::check::assert_read_models_match_the_log;
use crate::contract::{Api, json_request, request};
use crate::harness::Database;
use crate::import::{assert_log_tells, legacy};
use crate::ordering::Follower;
use crate::server::{Home, Server};

/// Writes as fast as it can until the server is gone; tells what was acknowledged: name by id, and last priority.
async fn write_until_killed(url: String, writer: usize) -> BTreeMap<i64, (String, String)> {
    write_while(url, writer, Arc::new(AtomicBool::new(true))).await
}

/// Likewise, or until it is told to stop.
pub async fn write_while(
    url: String,
    writer: usize,
    going: Arc<AtomicBool>,
) -> BTreeMap<i64, (String, String)> {
    let client = reqwest::Client::new();
    let mut acknowledged = BTreeMap::new();
    for number in 0.. {
        if !going.load(Ordering::Acquire) {
            break;
        }
        let name = format!("LP {writer}-{number}");
        let posted = client.post(format!("{url}/lps")).json(&json!({"name": name})).send().await;
        let Ok(answer) = posted else { break };
        let Ok(row) = answer.json::<Value>().await else { break };
        let Some(id) = row["id"].as_i64() else { break };
        acknowledged.insert(id, (name, String::new()));
        let priority = number.to_string();
        let put =
            client.put(format!("{url}/lps/{id}")).json(&json!({"priority": priority})).send().await;
        // An answer that never came may still have been recorded: only what was answered is promised.
        match put {
            Ok(answer) if answer.status() == 200 => {
                acknowledged.insert(id, (row["name"].as_str().unwrap().to_owned(), priority));
            }
            _ => {
                acknowledged.remove(&id);
                break;
            }
        }
    }
    acknowledged
}

async fn assert_all_there(url: &str, acknowledged: &BTreeMap<i64, (String, String)>) {
    let rows: Vec<Value> = reqwest::get(format!("{url}/lps")).await.unwrap().json().await.unwrap();
    let rows: BTreeMap<i64, &Value> =
        rows.iter().map(|row| (row["id"].as_i64().unwrap(), row)).collect();
    for (id, (name, priority)) in acknowledged {
        let row = rows.get(id).unwrap_or_else(|| panic!("LP {id} was acknowledged"));
        assert_eq!((&row["name"], &row["priority"]), (&json!(name), &json!(priority)), "LP {id}");
    }
}

/// What is in this home's log is there once, and its read models are what the log says.
pub async fn assert_everything_is_right(home: &Home) {
    let cluster = Cluster::open(home.path()).await.unwrap();
    let database = crate::harness::connect(cluster.options("crm"), 2);
    assert_read_models_match_the_log(&database.pool).await;
    let (events, distinct): (i64, i64) = sqlx::query_as(
        "select count(*), count(distinct (aggregate_type, aggregate_id, sequence)) from events",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(events, distinct);
    database.pool.close().await;
    cluster.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_it_acknowledged() {
    let home = Home::new();
    let mut acknowledged = BTreeMap::new();
    for round in 0..5_u64 {
        let server = Server::start(&home, &[]).await;
        assert_all_there(&server.url, &acknowledged).await;
        let mut writers = JoinSet::new();
        for writer in 0..6 {
            writers.spawn(write_until_killed(server.url.clone(), writer));
        }
        // The moment of the kill differs from round to round; there is no condition to wait for.
        tokio::time::sleep(Duration::from_millis(150 + 130 * round)).await;
        server.kill().await;
        while let Some(written) = writers.join_next().await {
            acknowledged.extend(written.unwrap());
        }
    }
    let server = Server::start(&home, &[]).await;
    assert!(!acknowledged.is_empty());
    assert_all_there(&server.url, &acknowledged).await;
    assert!(server.stop().await);
    assert_everything_is_right(&home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgres_comes_back_by_itself_and_meanwhile_everybody_is_told() {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    let client = reqwest::Client::new();
    let lps = format!("{}/lps", server.url);
    let before: Value = client
        .post(&lps)
        .json(&json!({"name": "Before"}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    home.kill_postgres();
    let mut refused = 0;
    let after = loop {
        let started = std::time::Instant::now();
        let answer = client.post(&lps).json(&json!({"name": "After"})).send().await.unwrap();
        if answer.status() == 200 {
            break answer.json::<Value>().await.unwrap();
        }
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        assert!(started.elapsed() < Duration::from_secs(5), "nobody is kept waiting");
        refused += 1;
        assert!(refused < 100_000, "it comes back");
    };
    assert_eq!(before["name"], json!("Before"));
    // What is recorded is acknowledged even while the read models still catch up.
    wait_until_ready(&server.url).await;
    let rows: Vec<Value> = client.get(&lps).send().await.unwrap().json().await.unwrap();
    assert!(rows.iter().any(|row| row["id"] == before["id"]));
    assert!(rows.iter().any(|row| row["id"] == after["id"]));
    assert!(server.stop().await);
    assert_everything_is_right(&home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_write_after_postgres_is_back_is_carried_out() {
    let home = Home::new();
    let cluster = Cluster::open(home.path()).await.unwrap();
    let api = Api::on(Database::on(&cluster, "restarted", 8).await).await;
    api.made("lps", json!({"name": "Before"})).await;
    let status = async |request: Request<Body>| {
        api.router.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    let becomes = async |expected: u16| {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let ready = || request(Method::GET, "/readyz").body(Body::empty()).unwrap();
        while status(ready()).await != expected {
            assert!(std::time::Instant::now() < deadline, "/readyz becomes {expected}");
        }
    };
    home.kill_postgres();
    becomes(503).await;
    cluster.revive().await.unwrap();
    becomes(200).await;
    let after = json_request(Method::POST, "/lps", &json!({"name": "After"}));
    assert_eq!(status(after).await, 200);
    let head = api.backend.reader.head().await.unwrap();
    assert!(api.backend.reader.reached(head, Duration::from_secs(30)).await);
    // Readers are answered again a moment after that.
    while api.backend.reader.check().is_err() {
        tokio::task::yield_now().await;
    }
    let names: Vec<Value> =
        api.read("/lps").await.as_array().unwrap().iter().map(|lp| lp["name"].clone()).collect();
    assert_eq!(names, ["Before", "After"]);
    assert_eq!(api.db.connections.outages(), 1);
    api.backend.stop().await;
    api.db.pool.close().await;
    cluster.close().await.unwrap();
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The server that came first, which is the one that runs the projectors.
    Projecting,
    /// A server that only writes.
    Writing,
    /// The Postgres of both.
    Postgres,
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_those_who_follow_the_log_see_every_event_once() {
    use Victim::{Postgres, Projecting, Writing};

    let home = Home::new();
    let cluster = Cluster::open(home.path()).await.unwrap();
    let mut servers = [Server::start(&home, &[]).await, Server::start(&home, &[]).await];
    let follower = Follower::start(cluster.options("crm"), 50);
    let mut acknowledged = BTreeMap::new();
    for (round, victim) in
        [Projecting, Postgres, Writing, Postgres, Projecting].into_iter().enumerate()
    {
        let going = Arc::new(AtomicBool::new(true));
        let mut writers = JoinSet::new();
        for writer in 0..6 {
            let url = servers[writer % 2].url.clone();
            writers.spawn(write_while(url, 10 * round + writer, going.clone()));
        }
        // Somebody rebuilds meanwhile; whatever becomes of it must be in nobody's way.
        let mut rebuild = home.crm(&["rebuild", "lp", "--json"]);
        let rebuild = rebuild.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        // As above: the moment is what differs.
        tokio::time::sleep(Duration::from_millis(200 + 70 * round as u64)).await;
        match victim {
            Postgres => home.kill_postgres(),
            Projecting | Writing => {
                // Whoever is left runs the projectors from now on.
                let [first, second] = servers;
                let (killed, left) = match victim {
                    Projecting => (first, second),
                    _ => (second, first),
                };
                killed.kill().await;
                servers = [left, Server::start(&home, &[]).await];
            }
        }
        rebuild.unwrap().kill().await.unwrap();
        going.store(false, Ordering::Release);
        while let Some(written) = writers.join_next().await {
            acknowledged.extend(written.unwrap());
        }
        for server in &servers {
            wait_until_ready(&server.url).await;
            assert_all_there(&server.url, &acknowledged).await;
        }
    }
    for server in servers {
        assert!(server.stop().await);
    }
    let database = crate::harness::connect(cluster.options("crm"), 2);
    follower.assert_saw_everything(&database.pool).await;
    database.pool.close().await;
    cluster.close().await.unwrap();
    assert_everything_is_right(&home).await;
}

/// Waits until the server has found its database again and its read models are level.
async fn wait_until_ready(url: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let ready = reqwest::get(format!("{url}/readyz")).await.unwrap();
        let lps = reqwest::get(format!("{url}/lps")).await.unwrap();
        if ready.status() == 200 && lps.status() == 200 {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{}", ready.text().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_asked_to_stop_finishes_what_it_accepted() {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        writers.spawn(write_until_killed(server.url.clone(), writer));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(server.stop().await);
    let mut acknowledged = BTreeMap::new();
    while let Some(written) = writers.join_next().await {
        acknowledged.extend(written.unwrap());
    }
    assert!(home.postmaster().is_none(), "its Postgres has stopped with it");
    let server = Server::start(&home, &[]).await;
    assert_all_there(&server.url, &acknowledged).await;
    assert!(server.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_at_any_moment_is_completed_by_the_next_run() {
    let home = Home::new();
    let file = legacy(home.path(), "--lps 200 --notes 1500 --todos 1500 --dirty --dirty-fatal");
    let path = file.to_str().unwrap();
    let mut killed = 0;
    for round in 1..=6_u64 {
        let mut import =
            home.crm(&["import", path, "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(import.stdout.take().unwrap()).lines();
        // As far as this many reports of progress, each time further.
        for _ in 0..2 * round {
            let _ = lines.next_line().await;
        }
        if import.try_wait().unwrap().is_none() {
            import.kill().await.unwrap();
            killed += 1;
        }
    }
    assert!(killed > 2, "most of the imports were killed before they were done");
    let done = home.crm(&["import", path, "--json"]).output().await.unwrap();
    assert!(done.status.success());
    let again = home.crm(&["import", path, "--json"]).output().await.unwrap();
    let report = String::from_utf8(again.stdout).unwrap();
    let report: Value = serde_json::from_str(report.lines().last().unwrap()).unwrap();
    assert_eq!(report["events"], json!(0), "there was nothing left to do");

    let cluster = Cluster::open(home.path()).await.unwrap();
    let database = crate::harness::connect(cluster.options("crm"), 2);
    let files = api::backend::files_in(home.path(), &database);
    assert_log_tells(&database.pool, &files, &file, "after all the kills").await;
    database.pool.close().await;
    cluster.close().await.unwrap();
    assert_everything_is_right(&home).await;
}
