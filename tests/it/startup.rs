//! A start that does not get far leaves nothing behind, and what it began can be gone on with.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use api::embedded::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{Home, Server};

/// Runs `crm` and asks it after a while to stop.
async fn interrupted(home: &Home, args: &[&str], after: Duration) -> Output {
    let mut command = home.crm(args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    let stop = async {
        tokio::time::sleep(after).await;
        // It may have ended on its own.
        let _ = kill_process(pid, Signal::TERM);
    };
    let ended = async {
        let limit = Duration::from_secs(90);
        tokio::time::timeout(limit, child.wait_with_output()).await.expect("it stops in time")
    };
    tokio::join!(ended, stop).0.unwrap()
}

#[tokio::test]
async fn a_server_that_is_stopped_while_it_starts_leaves_no_postgres_running() {
    let home = Home::new();
    // First while the cluster is made, then while it starts, while the demonstration data come in, and later.
    for after in [300, 150, 400, 800, 1600] {
        let output = interrupted(&home, &["serve", "--demo"], Duration::from_millis(after)).await;
        assert!(output.status.success(), "after {after} ms: {output:?}");
        assert_eq!(home.postmaster(), None, "after {after} ms: {output:?}");
    }
    let server = Server::start(&home, &["--demo"]).await;
    let lps: Vec<serde_json::Value> =
        reqwest::get(format!("{}/lps", server.url)).await.unwrap().json().await.unwrap();
    assert!(!lps.is_empty(), "the demonstration data are there in the end");
    assert!(server.stop().await);

    let output = interrupted(&home, &["serve", "--demo"], Duration::from_secs(4)).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("crm is ready") && !said.contains("imported"), "{said}");
}

#[tokio::test]
async fn a_server_that_starts_after_a_kill_answers_with_all_that_was_written() {
    let home = Home::new();
    let cluster = Cluster::open(home.path()).await.unwrap();
    let mut crm = home.crm(&["serve", "--demo"]);
    let mut crm = crm.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let options = cluster.options("crm");
    // What is imported is in the log at once, and in the read models a moment later.
    let imported = async {
        loop {
            if let Ok(mut connection) = options.connect().await {
                let any = sqlx::query_scalar("select exists (select from events)");
                if any.fetch_one(&mut connection).await.unwrap_or(false) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), imported).await.expect("it is imported");
    crm.kill().await.unwrap();
    let server = Server::start(&home, &[]).await;
    let lps: Vec<Value> =
        reqwest::get(format!("{}/lps", server.url)).await.unwrap().json().await.unwrap();
    assert_eq!(lps.len(), 60);
    assert!(server.stop().await);
}

#[tokio::test]
async fn a_server_that_is_asked_twice_to_stop_waits_for_nobody() {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    let lps = format!("{}/lps", server.url);
    let posted = reqwest::Client::new().post(&lps).json(&json!({"name": "Ada"})).send().await;
    assert_eq!(posted.unwrap().status(), 200);
    // A request whose body does not come. Once the server asks for it, the request counts as accepted.
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut unfinished = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /lps HTTP/1.1\r\nhost: {address}\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n"
    );
    unfinished.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 12];
    unfinished.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100");

    server.ask_to_stop();
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(&address).await.is_ok() {
        assert!(Instant::now() < deadline, "it stops listening");
    }
    let asked_again = Instant::now();
    assert!(!server.stop().await, "to be cut off is no good end");
    assert!(asked_again.elapsed() < Duration::from_secs(8), "requests would be given ten seconds");
    assert_eq!(home.postmaster(), None, "its Postgres has stopped with it");
    let server = Server::start(&home, &[]).await;
    let lps = reqwest::get(format!("{}/lps", server.url)).await.unwrap();
    assert_eq!(lps.json::<Value>().await.unwrap()[0]["name"], json!("Ada"));
    assert!(server.stop().await);
}

#[tokio::test]
async fn a_command_that_fails_after_the_start_of_postgres_stops_it_again() {
    let home = Home::new();
    assert!(Server::start(&home, &[]).await.stop().await);
    let cluster = Cluster::open(home.path()).await.unwrap();
    let mut connection = cluster.options("crm").connect().await.unwrap();
    let newer =
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (9999, 'of a later release', true, '', 0)";
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    cluster.close().await.unwrap();
    let file = crate::harness::demo_file();
    for args in [&["serve"][..], &["import", file.to_str().unwrap()]] {
        let output = home.crm(args).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("9999"), "{said}");
        assert_eq!(home.postmaster(), None, "{args:?}");
    }
}

#[tokio::test]
async fn an_import_of_a_file_that_is_not_there_starts_nothing() {
    let home = Home::new();
    let output = home.crm(&["import", "nowhere.db", "--json"]).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("nowhere.db"), "{said}");
    let last: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(last["error"], "there is no file nowhere.db");
    assert!(!home.path().join("postgres").exists());
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_used_is_told_with_its_setting() {
    let home = Home::new();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    for folder in [file.clone(), file.join("below")] {
        let output = home.crm(&["serve"]).env("CRM_DATA_DIR", &folder).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains("set CRM_DATA_DIR to a folder"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_model_that_is_named_and_not_there_stops_the_start() {
    let home = Home::new();
    for name in ["WHISPER_MODEL", "EMBED_MODEL"] {
        for command in ["serve", "work"] {
            let output = home.crm(&[command]).env(name, "/nope").output().await.unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{command}: {said}");
            assert!(said.contains(&format!("{name} is `/nope`: expected is a file")), "{said}");
        }
    }
    let output = home.crm(&["models"]).env("WHISPER_MODEL", "/nope").output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("WHISPER_MODEL is `/nope`"), "{said}");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;

    let home = Home::new();
    assert!(Server::start(&home, &[]).await.stop().await);
    let key = home.path().join("keys/seal.key");
    let said = async || {
        let output = home.crm(&["status"]).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(said().await, "");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = said().await;
    assert!(told.contains("WARN") && told.contains("chmod 600"), "{told}");
}

#[tokio::test]
async fn a_folder_without_a_database_gets_none_by_being_asked_about() {
    let home = Home::new();
    for command in [&["verify"][..], &["status"], &["files", "check"], &["rebuild", "--all"]] {
        let folder = home.path().join("mistyped");
        let mut asking = home.crm(command);
        let output = asking.env("CRM_DATA_DIR", &folder).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_told = said.contains("there is no database in") && said.contains("mistyped");
        assert!(!output.status.success() && is_told, "{command:?}: {said}");
        assert!(!folder.join("postgres").exists() && !folder.join("keys").exists(), "{command:?}");
    }
}
