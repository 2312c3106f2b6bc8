//! A worker on another machine: it shares the database and the bucket with the server that takes the recording, and no folder.

use futures::TryStreamExt as _;

use super::*;
use crate::s3::{KEYS, S3};
use crate::server::Server;

/// The settings of two machines with files in one bucket.
fn shared(db: &Database, s3: &S3) -> [(&'static str, String); 7] {
    [
        ("DATABASE_URL", address(db)),
        ("S3_BUCKET", "elsewhere".to_owned()),
        ("AWS_ENDPOINT_URL", s3.url()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", KEYS.0.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", KEYS.1.to_owned()),
        ("CRM_TRANSCRIPT_CHUNK_S", "10".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_on_another_machine_transcribes_what_a_server_took_into_a_bucket() {
    let (db, s3) = (Database::new().await, S3::start().await);
    let (here, elsewhere) = (Home::new(), Home::new());
    let settings = shared(&db, &s3);
    // This machine transcribes nothing itself.
    let mut serving = here.crm(&["serve"]);
    serving.envs(settings.clone()).env("CRM_WORKERS", "0");
    let server = Server::launch(serving).await;
    let client = reqwest::Client::new();
    let made = client.post(format!("{}/notes", server.url)).json(&json!({"name": "Call"}));
    let note = made.send().await.unwrap().json::<Value>().await.unwrap()["id"].clone();
    let file = tempfile::NamedTempFile::with_suffix(".wav").unwrap();
    speech(file.path(), MEETING);
    let sound = std::fs::read(file.path()).unwrap();
    let id = trouble::upload(&server.url, &note, sound.clone()).await;
    let files = s3.files("elsewhere").await;
    let stored: Vec<_> =
        files.store().list("recordings/").await.unwrap().try_collect().await.unwrap();
    assert_eq!(stored.iter().map(|file| file.size).collect::<Vec<_>>(), [sound.len() as u64]);
    let waiting = trouble::said(&server.url, &format!("/recordings/{id}")).await;
    assert_eq!(waiting["state"], json!("stored"), "{waiting}");

    let mut working = elsewhere.crm(&["work"]);
    working.envs(settings).env("WHISPER_MODEL", tiny_en().await).stdout(Stdio::null());
    let mut worker = working.spawn().unwrap();
    let hearing = trouble::until_summarised(&server.url, &id);
    let segments = tokio::time::timeout(Duration::from_secs(120), hearing).await;
    let segments = segments.expect("it is heard in time").to_string().to_lowercase();
    for word in ["infrastructure", "friday", "committee"] {
        assert!(segments.contains(word), "{word} in {segments}");
    }
    worker.kill().await.unwrap();
    // What the server took it gives back, to the byte.
    let kept = reqwest::get(format!("{}/recordings/{id}/audio", server.url)).await.unwrap();
    assert_eq!(kept.bytes().await.unwrap(), sound);
    for home in [&here, &elsewhere] {
        assert!(!home.path().join("recordings").exists(), "nothing is kept beside the bucket");
    }
    assert!(server.stop().await);
    assert_read_models_match_the_log(&db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_keeps_files_elsewhere_than_the_server_does_not_start() {
    let db = Database::new().await;
    let (here, elsewhere) = (Home::new(), Home::new());
    let mut serving = here.crm(&["serve"]);
    serving.env("DATABASE_URL", address(&db)).env("CRM_WORKERS", "0");
    let server = Server::launch(serving).await;
    let client = reqwest::Client::new();
    let made = client.post(format!("{}/notes", server.url)).json(&json!({"name": "Call"}));
    let note = made.send().await.unwrap().json::<Value>().await.unwrap()["id"].clone();
    let file = tempfile::NamedTempFile::with_suffix(".wav").unwrap();
    speech(file.path(), MEETING);
    trouble::upload(&server.url, &note, std::fs::read(file.path()).unwrap()).await;

    let mut working = elsewhere.crm(&["work"]);
    let working = working.env("DATABASE_URL", address(&db)).output();
    let output = tokio::time::timeout(Duration::from_secs(60), working).await.unwrap().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let folder = elsewhere.path().display().to_string();
    assert!(!output.status.success() && said.contains("set S3_BUCKET"), "{said}");
    assert!(said.contains(&folder), "{said}");
    assert!(server.stop().await);
}
