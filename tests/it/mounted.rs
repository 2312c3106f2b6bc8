//! The folder of files is away, as when its disk is not mounted after a restart, or is another one than the database knows.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use projections::files::{FileError, Files, Growth, MarkedFolder};
use reqwest::header::{LOCATION, RETRY_AFTER};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::Database;
use crate::jobs::{address, speech, tiny_en};
use crate::server::{Home, Server};

/// The disk with the recordings, and where it is mounted.
struct Disk {
    folder: PathBuf,
    elsewhere: PathBuf,
}

impl Disk {
    fn in_folder(root: &Path) -> Self {
        Self { folder: root.join("recordings"), elsewhere: root.join("unmounted") }
    }

    fn unmount(&self) {
        std::fs::rename(&self.folder, &self.elsewhere).unwrap();
        std::fs::create_dir(&self.folder).unwrap();
    }

    /// Mounts it again, which fails where something was put in its place.
    fn mount(&self) {
        std::fs::remove_dir(&self.folder).unwrap();
        std::fs::rename(&self.elsewhere, &self.folder).unwrap();
    }

    fn mark(&self) -> PathBuf {
        self.folder.join("crm-folder-id.txt")
    }
}

fn key(id: u128) -> String {
    format!("recordings/{}", Uuid::from_u128(id))
}

/// Stores a recording, which the database names from then on.
async fn recorded(db: &Database, files: &Files, id: u128) {
    files.store().put(&key(id), Bytes::from_static(b"sound")).await.unwrap();
    sqlx::query(
        "insert into upload (id, note_id, sha256, attached_at, expires_at) values ($1, 1, '', now(), now())",
    )
    .bind(Uuid::from_u128(id))
    .execute(&db.pool)
    .await
    .unwrap();
}

/// What comes of everything that can be done with a recording.
async fn all_that_can_be_done(files: &Files, id: u128) -> Vec<Result<(), FileError>> {
    let (store, key, none) = (files.store(), key(id), Growth::default());
    let mut grown = none.clone();
    grown.size = 5;
    let chunk = Bytes::from_static(b"sound");
    vec![
        store.facts(&key).await.map(|_| ()),
        store.read(&key, 0..1).await.map(|_| ()),
        store.list("recordings/").await.map(|_| ()),
        store.recognise().await,
        store.check().await,
        store.grow(&format!("{key}1"), &none, chunk.clone()).await.map(|_| ()),
        store.put(&key, chunk).await,
        store.complete(&key, &grown).await,
        store.remove(&key).await,
    ]
}

async fn assert_away(files: &Files) {
    for (number, done) in all_that_can_be_done(files, 1).await.into_iter().enumerate() {
        let Err(FileError::OtherFolder(told)) = &done else { panic!("{number}: {done:?}") };
        assert!(told.contains("mounted") && told.contains("`crm files adopt`"), "{told}");
    }
}

async fn assert_here(files: &Files) {
    let found = files.store().facts(&key(1)).await.unwrap();
    assert_eq!(found.map(|file| file.size), Some(5));
    files.store().check().await.unwrap();
}

async fn known_folders(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select place from file_folder").fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn a_folder_that_is_not_mounted_is_neither_read_nor_filled_and_is_known_when_it_is_back() {
    let db = Database::new().await;
    let (files, disk) = (db.files(), Disk::in_folder(db.dir.path()));
    assert_eq!(files.store().facts(&key(1)).await.unwrap(), None);
    assert!(known_folders(&db.pool).await.is_empty(), "looking leaves nothing");
    recorded(&db, &files, 1).await;
    assert_eq!(known_folders(&db.pool).await, ["recordings/"]);
    disk.unmount();
    for files in [&files, &db.files()] {
        assert_away(files).await;
        // What is on other disks goes on.
        files.store().put("images/a.png", Bytes::from_static(b"image")).await.unwrap();
    }
    disk.mount();
    assert_here(&files).await;
    for done in all_that_can_be_done(&files, 1).await {
        done.unwrap();
    }
    // A file of its own, not one of those that are stored.
    let files_there: Vec<_> =
        files.store().list("").await.unwrap().map_ok(|file| file.key).try_collect().await.unwrap();
    assert_eq!(files_there, ["images/a.png", &format!("{}1.part", key(1))]);
    let mark = "recordings/crm-folder-id.txt";
    assert!(matches!(files.store().read(mark, 0..9).await, Err(FileError::NoKey(_))));
}

#[tokio::test]
async fn a_folder_that_was_filled_before_there_were_marks_is_known_by_its_files() {
    let db = Database::new().await;
    let (files, disk) = (db.files(), Disk::in_folder(db.dir.path()));
    for id in 1..=5 {
        recorded(&db, &files, id).await;
    }
    // As an earlier release has left it.
    let forget = async || {
        std::fs::remove_file(disk.mark()).unwrap();
        sqlx::query("delete from file_folder").execute(&db.pool).await.unwrap();
    };
    forget().await;
    disk.unmount();
    // One that was put into the wrong folder makes it no right one.
    let stray = disk.folder.join(Uuid::from_u128(5).to_string());
    std::fs::write(&stray, "sound").unwrap();
    assert_away(&db.files()).await;
    assert!(known_folders(&db.pool).await.is_empty(), "no folder is known yet");
    std::fs::remove_file(&stray).unwrap();
    disk.mount();
    assert_here(&db.files()).await;
    assert_eq!(known_folders(&db.pool).await, ["recordings/"]);
    assert!(disk.mark().exists());
    disk.unmount();
    assert_away(&db.files()).await;
    disk.mount();
    // Brought back from a backup that does not have it.
    std::fs::remove_file(disk.mark()).unwrap();
    assert_here(&files).await;
    assert!(disk.mark().exists());
}

#[tokio::test]
async fn a_folder_of_another_database_is_refused_until_somebody_adopts_it() {
    let (db, other) = (Database::new().await, Database::new().await);
    let (files, disk) = (db.files(), Disk::in_folder(db.dir.path()));
    recorded(&db, &files, 1).await;
    recorded(&other, &other.files(), 1).await;
    disk.unmount();
    std::fs::remove_dir(&disk.folder).unwrap();
    std::fs::rename(other.dir.path().join("recordings"), &disk.folder).unwrap();
    assert_away(&files).await;
    let mark = std::fs::read(disk.mark()).unwrap();
    let folder = MarkedFolder::new(db.dir.path(), db.connections.clone());
    assert_eq!(folder.adopt().await.unwrap(), [disk.folder.join("")]);
    assert_eq!(std::fs::read(disk.mark()).unwrap(), mark, "who else uses it still knows it");
    assert_eq!(folder.adopt().await.unwrap(), Vec::<PathBuf>::new());
    assert_here(&files).await;
}

/// Nobody waits for the pause after an attempt in vain.
async fn hurry(pool: &PgPool) {
    sqlx::query("update job set ready_at = now() where ready_at > now() and isfinite(ready_at)")
        .execute(pool)
        .await
        .unwrap();
}

async fn get(url: &str) -> Value {
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

/// Waits until a recording is as it should be.
async fn until(db: &Database, url: &str, id: &Value, is_so: impl Fn(&Value) -> bool) -> Value {
    let looking = async {
        loop {
            let it = get(&format!("{url}/recordings/{id}")).await;
            assert_ne!(it["state"], "failed", "{it}");
            if is_so(&it) {
                return it;
            }
            hurry(&db.pool).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), looking).await.expect("it is so in time")
}

async fn serve(home: &Home, db: &Database, model: Option<&Path>) -> Server {
    let mut serving = home.crm(&["serve"]);
    serving.env("DATABASE_URL", address(db));
    if let Some(model) = model {
        serving.env("WHISPER_MODEL", model);
    }
    Server::launch(serving).await
}

async fn upload(server: &Server, note: &Value, sound: Vec<u8>) -> reqwest::Response {
    let uploading =
        reqwest::Client::new().post(format!("{}/notes/{note}/recordings", server.url)).body(sound);
    uploading.send().await.unwrap()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_whose_disk_is_not_mounted_wait_for_it_whatever_is_killed_meanwhile() {
    let (db, home) = (Database::new().await, Home::new());
    let disk = Disk::in_folder(home.path());
    let server = serve(&home, &db, None).await;
    let made = reqwest::Client::new().post(format!("{}/notes", server.url));
    let made = made.json(&json!({"name": "Call"})).send().await.unwrap();
    let note = made.json::<Value>().await.unwrap()["id"].clone();
    let file = tempfile::NamedTempFile::with_suffix(".wav").unwrap();
    speech(file.path(), "We have room for a commitment of twenty million.");
    let sound = std::fs::read(file.path()).unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let sent = upload(&server, &note, sound.clone()).await;
        ids.push(sent.json::<Value>().await.unwrap()["id"].clone());
    }
    assert!(server.stop().await);

    disk.unmount();
    let model = tiny_en().await;
    for _ in 0..2 {
        let server = serve(&home, &db, Some(&model)).await;
        let url = server.url.as_str();
        for id in &ids {
            let waits = |it: &Value| {
                it["why"].as_str().is_some_and(|why| why.contains("whether the disk is mounted"))
            };
            until(&db, url, id, waits).await;
        }
        let audio = reqwest::get(format!("{url}/recordings/{}/audio", ids[0])).await.unwrap();
        assert_eq!(
            (audio.status().as_u16(), &audio.headers()[RETRY_AFTER]),
            (503, &"1".parse().unwrap())
        );
        let sent = upload(&server, &note, sound.clone()).await;
        assert_eq!(
            (sent.status().as_u16(), &sent.headers()[RETRY_AFTER]),
            (503, &"1".parse().unwrap())
        );
        assert!(!sent.headers().contains_key(LOCATION), "it came in one request, and is given up");
        let ready = reqwest::get(format!("{url}/readyz")).await.unwrap();
        assert_eq!(ready.status(), 200);
        let told = ready.json::<Value>().await.unwrap()["parts"]["files"].to_string();
        assert!(told.contains("Is its disk mounted?"), "{told}");
        assert!(is_empty(&disk.folder), "nothing is put in the place of the disk");
        server.kill().await;
    }

    let server = serve(&home, &db, Some(&model)).await;
    disk.mount();
    for id in &ids {
        until(&db, &server.url, id, |it| it["state"] == "summarised").await;
    }
    assert_eq!(upload(&server, &note, sound).await.status(), 201);
    let part = get(&format!("{}/readyz", server.url)).await["parts"]["files"].clone();
    assert_eq!(part, json!({"status": "ok", "reasons": []}));
    assert!(server.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_a_disk_that_is_lost_is_given_up_by_a_command_and_crm_goes_on() {
    let (db, home) = (Database::new().await, Home::new());
    let disk = Disk::in_folder(home.path());
    let server = serve(&home, &db, None).await;
    let made = reqwest::Client::new().post(format!("{}/notes", server.url));
    let made = made.json(&json!({"name": "Call"})).send().await.unwrap();
    let note = made.json::<Value>().await.unwrap()["id"].clone();
    let sent = upload(&server, &note, b"RIFF\x24\0\0\0WAVEfmt ".to_vec()).await;
    let id = sent.json::<Value>().await.unwrap()["id"].clone();
    disk.unmount();
    let adopt = async || {
        let mut adopting = home.crm(&["files", "adopt"]);
        let output = adopting.env("DATABASE_URL", address(&db)).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let mut checking = home.crm(&["files", "check"]);
    let checked = checking.env("DATABASE_URL", address(&db)).output().await.unwrap();
    let told = String::from_utf8(checked.stderr).unwrap();
    assert!(!checked.status.success() && told.contains("Is its disk mounted?"), "{told}");
    let told = adopt().await;
    assert!(
        told.contains(&disk.folder.display().to_string()) && told.contains("`crm files check`"),
        "{told}"
    );
    assert!(adopt().await.contains("nothing to adopt"));
    let audio = reqwest::get(format!("{}/recordings/{id}/audio", server.url)).await.unwrap();
    assert_eq!(audio.status(), 404);
    let model = tiny_en().await;
    let mut working = home.crm(&["work"]);
    working.env("DATABASE_URL", address(&db)).env("WHISPER_MODEL", model);
    let mut worker = working.stdout(Stdio::null()).spawn().unwrap();
    let recording = format!("{}/recordings/{id}", server.url);
    let failing = async {
        loop {
            let it = get(&recording).await;
            if it["state"] == "failed" {
                return it;
            }
            hurry(&db.pool).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let failed = tokio::time::timeout(Duration::from_secs(60), failing).await.expect("it is lost");
    assert!(failed["why"].as_str().unwrap().contains("bring it back from a backup"), "{failed}");
    worker.kill().await.unwrap();
    let sent = upload(&server, &note, b"RIFF\x24\0\0\0WAVEfmt ".to_vec()).await;
    assert_eq!(sent.status(), 201);
    assert!(server.stop().await);
}
