//! Refusals are kept for a time, and then forgotten.

use std::time::{Duration, Instant};

use projections::history::History;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Database, connect};
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
