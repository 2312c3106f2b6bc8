//! The product on a Postgres that it did not make itself.

use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::harness::{Database, cluster_folder};
use crate::server::{Home, Server};

/// A new database without any tables.
async fn empty_database() -> String {
    let neighbour = Database::new().await;
    // A name that the next run of the tests finds to be a stale one's.
    let name = format!("test_{}_plain", std::process::id());
    let options = (*neighbour.pool.connect_options()).clone();
    let mut connection = options.connect().await.unwrap();
    sqlx::query(&format!("create database {name}")).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    name
}

#[tokio::test]
async fn the_same_product_works_on_a_plain_postgres() {
    let name = empty_database().await;
    let socket = cluster_folder().join("postgres-socket");
    let url = format!("postgres://crm@{}/{name}", socket.display().to_string().replace('/', "%2F"));
    let home = Home::new();
    let settings = [("DATABASE_URL", url.as_str())];

    let server = Server::start_with(&home, &[], &settings).await;
    let client = reqwest::Client::new();
    let lps = format!("{}/lps", server.url);
    let posted = client.post(&lps).json(&json!({"name": "Ada"})).send().await.unwrap();
    assert_eq!(posted.status(), 200);
    let row: Value = posted.json().await.unwrap();
    assert!(server.stop().await);

    let server = Server::start_with(&home, &[], &settings).await;
    let rows: Value =
        reqwest::get(format!("{}/lps", server.url)).await.unwrap().json().await.unwrap();
    assert_eq!(rows, json!([row]));
    assert!(server.stop().await);

    let made: Vec<String> = std::fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("postgres"))
        .collect();
    assert_eq!(made, [""; 0], "no Postgres of our own is made");
}
