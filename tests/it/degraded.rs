//! What a server does without and goes on: whoever runs crm hears of it, at every place where one looks, and that it is over.

use std::time::{Duration, Instant};

use api::file_keeper::FileKeeper;
use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use projections::files::{Bucket, BucketOptions, CHUNK, Files};
use projections::seal::Trust;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::contract::{Api, ask, request};
use crate::harness::Database;
use crate::jobs::address;
use crate::s3::S3;
use crate::server::{Home, Server};
use crate::shortage::SmallDisk;
use crate::uploads::wav;

fn well() -> Value {
    json!({"status": "ok", "reasons": []})
}

/// How the files stand by `/readyz`, which is ready all the same.
async fn files_of(server: &Server) -> Value {
    let ready = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
    assert_eq!(ready.status(), 200);
    let told: Value = ready.json().await.unwrap();
    assert_eq!((&told["status"], &told["reasons"]), (&json!("ready"), &json!([])));
    told["parts"]["files"].clone()
}

async fn upload(server: &Server, note: &Value, length: usize) -> StatusCode {
    let sending = reqwest::Client::new().post(format!("{}/notes/{note}/recordings", server.url));
    sending.body(wav(length)).send().await.unwrap().status()
}

/// What the command says of a database whose server runs.
async fn crm_status(home: &Home, db: &Database) -> String {
    let mut asking = home.crm(&["status"]);
    let said = asking.env("DATABASE_URL", address(db)).output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

async fn until_well(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while files_of(server).await != well() {
        assert!(Instant::now() < deadline, "it is over without a file or a restart");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn metrics(server: &Server) -> String {
    reqwest::get(format!("{}/metrics", server.url)).await.unwrap().text().await.unwrap()
}

/// What makes a disk take no files or lets it again, the status of an upload then, and the advice.
type Trouble<'a> = (&'a dyn Fn(bool), u16, &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn recordings_that_cannot_be_stored_are_told_of_everywhere_until_they_can_be() {
    let (db, home) = (Database::new().await, Home::new());
    let folder = home.path().join("recordings");
    let Some(disk) = SmallDisk::mount(&folder, 24, "a folder that takes no files") else { return };
    let mut serving = home.crm(&["serve"]);
    serving.env("DATABASE_URL", address(&db)).env("CRM_WORKERS", "0");
    let server = Server::launch(serving).await;
    let made = reqwest::Client::new().post(format!("{}/notes", server.url));
    let made = made.json(&json!({"name": "Call"})).send().await.unwrap();
    let note = made.json::<Value>().await.unwrap()["id"].clone();
    assert_eq!(upload(&server, &note, 1_000).await, 201);
    assert_eq!(files_of(&server).await, well());
    assert!(crm_status(&home, &db).await.contains("Files can be stored."));

    let full = |is_so: bool| if is_so { disk.fill() } else { disk.make_room() };
    let read_only = |is_so: bool| disk.remount(if is_so { "ro" } else { "rw" });
    let troubles: [Trouble; 2] =
        [(&read_only, 502, "is it mounted read-only"), (&full, 507, "make room there")];
    for (make, refused, advice) in troubles {
        make(true);
        // Whoever asks on the command line need not wait for a file.
        let said = crm_status(&home, &db).await;
        assert!(said.contains("NOT well: recordings cannot be stored: the file storage"), "{said}");
        assert!(said.contains(advice) && !said.contains("images cannot"), "{said}");
        assert_eq!(upload(&server, &note, 1_000).await.as_u16(), refused);
        let told = files_of(&server).await;
        assert_eq!(told["status"], "degraded");
        let reason = told["reasons"][0].as_str().unwrap();
        assert!(reason.starts_with("recordings cannot") && reason.contains(advice), "{reason}");
        let status = reqwest::get(format!("{}/projections", server.url)).await.unwrap();
        let status: Value = status.json().await.unwrap();
        let troubles = status["files"]["troubles"].as_array().unwrap();
        assert_eq!((troubles.len(), &troubles[0]["place"]), (1, &json!("recordings")));
        let folder = folder.to_str().unwrap();
        assert!(!status["files"].to_string().contains(folder), "this is for everybody: {status}");
        let measured = metrics(&server).await;
        assert!(measured.contains("crm_files_writable{place=\"recordings\"} 0"), "{measured}");
        assert!(measured.contains("crm_files_writable{place=\"images\"} 1"), "{measured}");

        make(false);
        until_well(&server).await;
        assert!(metrics(&server).await.contains("crm_files_writable{place=\"recordings\"} 1"));
        assert!(crm_status(&home, &db).await.contains("Files can be stored."));
    }
    assert_eq!(upload(&server, &note, 1_000).await, 201);
    assert!(server.stop().await);
    for left in std::fs::read_dir(&folder).unwrap() {
        let left = left.unwrap().file_name().into_string().unwrap();
        let is_known = left.starts_with("crm-") || Uuid::try_parse(&left).is_ok();
        assert!(is_known, "nothing is left of those who tried: {left}");
    }
}

#[tokio::test]
async fn a_bucket_that_refuses_what_is_written_is_known_by_trying_and_nothing_is_left_there() {
    let s3 = S3::start().await;
    let files = s3.files("probed").await;
    files.store().put("files/first", Bytes::from_static(b"first")).await.unwrap();
    files.probe().await;
    assert_eq!(files.troubles(), []);
    // Another that has the right to read alone could not have been told from the first.
    let keys = Some(("crm-test".to_owned(), "not the secret".to_owned()));
    let others = Files::bucket(Bucket::open(&BucketOptions { keys, ..s3.options("probed") }).await);
    others.probe().await;
    let told = others.troubles();
    assert_eq!((told.len(), told[0].place), (1, "files"));
    assert!(told[0].error.contains("refuses crm") && told[0].error.contains("S3_BUCKET"));
    assert_eq!(crate::files::listed(&files, "").await, [("files/first".to_owned(), 5)]);
}

#[tokio::test]
async fn trying_a_bucket_with_a_whole_part_leaves_nothing_there() {
    use projections::files::Store as _;
    let s3 = S3::start().await;
    let bucket = Bucket::open(&s3.options("whole")).await;
    bucket.put("files/first", Bytes::from_static(b"first")).await.unwrap();
    bucket.probe("", true).await.unwrap();
    let begun = s3.client().list_multipart_uploads().bucket("whole").send().await.unwrap();
    assert!(begun.uploads().is_empty(), "of {CHUNK} bytes nothing is left");
}

#[tokio::test]
async fn files_that_belong_to_another_database_are_told_of_with_what_to_do() {
    let (original, copy) = (Api::new().await, Api::new().await);
    let files = original.db.files();
    replay::garbage::own(&original.db.connections, &files).await.unwrap();
    let keeper = FileKeeper::new(copy.db.connections.clone(), files.clone(), Trust::default());
    let parts = api::app::Parts {
        keeper: keeper.clone(),
        ..crate::contract::app(&copy.db, &copy.backend, 1 << 20)
    };
    let router = api::server::router(parts);
    let garbage = async || {
        let asking = request(Method::GET, "/projections").body(Body::empty()).unwrap();
        ask(&router, asking).await.body["files"]["garbage"].clone()
    };
    assert_eq!(garbage().await, Value::Null);
    keeper.look().await;
    let told = garbage().await;
    assert!(told.as_str().unwrap().contains("belong to another database"), "{told}");

    let home = Home::new();
    let said = async || {
        let mut asking = home.crm(&["status"]);
        asking.env("DATABASE_URL", address(&copy.db)).env("CRM_DATA_DIR", original.db.dir.path());
        String::from_utf8(asking.output().await.unwrap().stdout).unwrap()
    };
    let told = said().await;
    assert!(
        told.contains("Files that nothing names are not removed: the files belong to the database"),
        "{told}"
    );
    assert!(told.contains("`crm files adopt` makes it the owner"), "{told}");
    replay::garbage::own(&copy.db.connections, &files).await.unwrap();
    keeper.look().await;
    assert_eq!(garbage().await, Value::Null);
    let told = said().await;
    assert!(!told.contains("not removed"), "{told}");
    original.backend.stop().await;
    copy.backend.stop().await;
}

#[tokio::test]
async fn whoever_cannot_tell_which_log_it_is_says_that_nothing_is_removed() {
    let api = Api::new().await;
    api.made("lps", json!({"name": "Ada"})).await;
    crate::seals::seal(&api.db).await;
    let trust = Trust { keys: vec![[7; 32]], kept: None };
    let keeper = FileKeeper::new(api.db.connections.clone(), api.db.files(), trust);
    keeper.look().await;
    let told = keeper.status().garbage.unwrap();
    assert!(told.contains("whether this is the log that was sealed here"), "{told}");
    api.backend.stop().await;
}
