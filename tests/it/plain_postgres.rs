//! The product on a Postgres that it did not make itself.

mod encrypted;

use std::path::Path;

use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::harness::{Database, cluster_folder};
use crate::server::{Home, Server};

/// A new database without any tables, made like this, and with these statements run in it. Tells its URL.
async fn empty_database(name: &str, how: &str, statements: &str) -> String {
    let neighbour = Database::new().await;
    // A name that the next run of the tests finds to be a stale one's.
    let name = format!("test_{}_{name}", std::process::id());
    let options = (*neighbour.pool.connect_options()).clone();
    let mut connection = options.connect().await.unwrap();
    let create = format!("create database {name} {how}");
    sqlx::query(&create).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut inside = options.database(&name).connect().await.unwrap();
    sqlx::raw_sql(&statements.replace("{name}", &name)).execute(&mut inside).await.unwrap();
    inside.close().await.unwrap();
    let socket = cluster_folder().join("postgres-socket");
    format!("postgres://crm@{}/{name}", socket.display().to_string().replace('/', "%2F"))
}

/// What `crm serve` says when it does not start on this database.
async fn refusal(url: &str) -> String {
    let home = Home::new();
    let output = home.crm(&["serve"]).env("DATABASE_URL", url).output().await.unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn the_same_product_works_on_a_plain_postgres() {
    let url = empty_database("plain", "", "").await;
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

#[tokio::test]
async fn what_a_managed_postgres_has_set_for_its_roles_does_not_reach_crm() {
    let url = empty_database(
        "managed",
        "",
        "create schema ext; create schema app;
         create extension pg_trgm schema ext; create extension unaccent schema ext;
         alter database {name} set search_path = app;
         alter database {name} set statement_timeout = '1ms';
         alter database {name} set lock_timeout = '1ms';
         alter database {name} set idle_in_transaction_session_timeout = '1ms'",
    )
    .await;
    let home = Home::new();
    let settings = [("DATABASE_URL", url.as_str())];
    let server = Server::start_with(&home, &["--demo"], &settings).await;
    let client = reqwest::Client::new();
    let lps = format!("{}/lps", server.url);
    let posted = client.post(&lps).json(&json!({"name": "Pensión Größe"})).send().await.unwrap();
    assert_eq!(posted.status(), 200);
    let search = format!("{}/search?q=pension+groese&kinds=lp", server.url);
    let found: Value = reqwest::get(search).await.unwrap().json().await.unwrap();
    assert_eq!(found["hits"][0]["title"], "Pensión Größe", "{found}");
    let past = format!("{lps}?as_of=1659");
    assert_eq!(reqwest::get(past).await.unwrap().status(), 200);
    for args in [&["rebuild", "--all"][..], &["verify"]] {
        let output = home.crm(args).env("DATABASE_URL", &url).output().await.unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }

    let options: PgConnectOptions = url.parse().unwrap();
    let mut connection = options.options([("statement_timeout", "0")]).connect().await.unwrap();
    let (elsewhere, nameless): (i64, i64) = sqlx::query_as(
        "select (select count(*) from pg_class where relnamespace = 'app'::regnamespace),
                (select count(*) from pg_stat_activity
                 where datname = current_database() and application_name not like 'crm %'
                     and pid <> pg_backend_pid() and backend_type = 'client backend')",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!((elsewhere, nameless), (0, 0));
    connection.close().await.unwrap();
    assert!(server.stop().await);
}

#[tokio::test]
async fn a_database_that_crm_cannot_work_on_is_refused_with_what_to_do() {
    let plain = "template template0 lc_collate 'C' lc_ctype 'C'";
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let how = format!("{plain} encoding '{encoding}'");
        let said = refusal(&empty_database(&encoding.to_lowercase(), &how, "").await).await;
        for part in ["DATABASE_URL", encoding, "encoding 'UTF8' template template0"] {
            assert!(said.contains(part), "{said}");
        }
    }
    let set = "alter database {name} set default_transaction_read_only = on";
    let said = refusal(&empty_database("read_only", "", set).await).await;
    assert!(said.contains("DATABASE_URL must name the writer"), "{said}");

    let url = empty_database("rightless", "", "").await;
    let mut connection = url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    let role = format!("crm_rightless_{}", std::process::id());
    sqlx::query(&format!("create role {role} login")).execute(&mut connection).await.unwrap();
    let said = refusal(&url.replace("//crm@", &format!("//{role}@"))).await;
    assert!(said.contains("grant create on database") && said.contains(&role), "{said}");
    let grant = format!("grant create on database {} to {role}", url.rsplit('/').next().unwrap());
    sqlx::query(&grant).execute(&mut connection).await.unwrap();
    let revoke = "revoke create on schema public from public";
    sqlx::query(revoke).execute(&mut connection).await.unwrap();
    let said = refusal(&url.replace("//crm@", &format!("//{role}@"))).await;
    assert!(said.contains("grant create on schema public"), "{said}");
    let hide = "create schema ext; create extension pg_trgm schema ext";
    sqlx::raw_sql(hide).execute(&mut connection).await.unwrap();
    let said = refusal(&url.replace("//crm@", &format!("//{role}@"))).await;
    assert!(said.contains("grant usage on schema ext"), "{said}");
    sqlx::query(&format!("drop owned by {role}")).execute(&mut connection).await.unwrap();
    sqlx::query(&format!("drop role {role}")).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A pooler in its main trait: it does not tell the server what a client wants to have set. Gives the URL by way of it.
async fn behind_pooler(url: &str, folder: &Path) -> String {
    let options: PgConnectOptions = url.parse().unwrap();
    let file = format!(".s.PGSQL.{}", options.get_port());
    let server = options.get_socket().unwrap().join(&file);
    let listener = UnixListener::bind(folder.join(file)).unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let length = client.read_u32().await? as usize;
                let mut asked = vec![0; length - 4];
                client.read_exact(&mut asked).await?;
                let (version, settings) = asked.split_at(4);
                let parts: Vec<&[u8]> = settings.split(|byte| *byte == 0).collect();
                let mut told = version.to_vec();
                for pair in parts.chunks(2).filter(|pair| pair.len() == 2 && !pair[0].is_empty()) {
                    if pair[0] != b"options" {
                        told.extend([pair[0], b"\0", pair[1], b"\0"].concat());
                    }
                }
                told.push(0);
                let mut upstream = UnixStream::connect(server).await?;
                upstream.write_u32(u32::try_from(told.len() + 4).unwrap()).await?;
                upstream.write_all(&told).await?;
                tokio::io::copy_bidirectional(&mut client, &mut upstream).await
            });
        }
    });
    let database = url.rsplit('/').next().unwrap();
    let folder = folder.display().to_string().replace('/', "%2F");
    format!("postgres://crm@{folder}/{database}?sslmode=disable")
}

#[tokio::test]
async fn a_pooler_is_refused_with_its_setting() {
    let url = empty_database("pooled", "", "").await;
    let folder = TempDir::new().unwrap();
    let said = refusal(&behind_pooler(&url, folder.path()).await).await;
    assert!(said.contains("DATABASE_URL leads to a pooler"), "{said}");
}

#[tokio::test]
async fn a_url_that_is_wrong_is_told_by_the_part_that_is() {
    let said = refusal("postgres://crm@localhost/crm?sslmode=verifyfull").await;
    assert!(said.contains("sslmode") && said.contains("verify-full"), "{said}");
    let said = refusal("postgres://crm@localhost/crm?sslrootcert=/nope/ca.pem").await;
    assert!(said.contains("sslrootcert") && said.contains("/nope/ca.pem"), "{said}");
    for password in ["a/b", "a#b", "a?b", "a@b/c"] {
        let said = refusal(&format!("postgres://crm:{password}@localhost:1/crm")).await;
        assert!(said.contains("percent-encoded"), "{password}: {said}");
    }
}
