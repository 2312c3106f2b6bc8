//! The database is full, or dies, in the middle of a transcription: it goes on, and there is one transcript.

use super::*;
use crate::contract::app;
use crate::proxy::{Fault, Plan, Proxy, Statement};
use crate::server::Server;

/// The product on a database that is reached through a proxy, and a worker of it.
async fn behind_proxy(plan: Option<Plan>) -> (Proxy, Api, Workers) {
    let db = Database::new().await;
    let proxy = Proxy::before(&db.pool.connect_options(), plan).await;
    let backend = api::backend::Backend::start(proxy.connections(), db.files()).await.unwrap();
    let router = api::server::router(app(&db, &backend, 64 << 20));
    let api = Api { router, backend, db };
    let workers = work(&api, with_tiny().await);
    (proxy, api, workers)
}

/// Has a meeting transcribed from beginning to end.
async fn transcribed(api: &Api) -> RecordingId {
    let note = api.made("notes", json!({"name": "Call"})).await;
    let key = spoken(&api.db.files(), "We have room for a commitment of twenty million.").await;
    let id = attach(&api.backend.log, note, &key).await;
    api.backend.settle().await.unwrap();
    until(api, id, "summarised").await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_finds_no_room_is_written_once_there_is_some() {
    let (proxy, api, workers) = behind_proxy(None).await;
    let undisturbed = transcribed(&api).await;
    let expected = transcript(&api, undisturbed).await;
    workers.stop().await;
    let writes = |statement: &Statement, what: &str| match statement {
        Statement::Run(text) => text.contains(what),
        _ => false,
    };
    for what in ["insert into transcript_chunk", "update transcript_chunk set end_sample"] {
        let seen = proxy.seen();
        let statement = seen.keys().find(|it| writes(it, what)).expect(what).clone();
        let plan = Plan { statement, nth: 1, fault: Fault::Refused("53100") };
        let (proxy, api, workers) = behind_proxy(Some(plan)).await;
        let id = transcribed(&api).await;
        assert!(proxy.has_struck(), "{what}");
        assert_eq!(transcript(&api, id).await, expected, "{what}");
        assert_eq!(recorded(&api.db.pool, ["Transcribed", "TranscriptionFailed"]).await, [1, 0]);
        workers.stop().await;
    }
}

/// What the server says of a recording, as soon as it can say anything.
pub(super) async fn said(url: &str, path: &str) -> Value {
    loop {
        match reqwest::get(format!("{url}{path}")).await {
            Ok(answer) if answer.status() == 200 => return answer.json().await.unwrap(),
            Ok(answer) => assert_eq!(answer.status(), 503),
            Err(error) => panic!("the server is gone: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Uploads a recording in one piece; tells its id.
pub(super) async fn upload(url: &str, note: &Value, sound: Vec<u8>) -> Value {
    let client = reqwest::Client::new();
    let uploading = client.post(format!("{url}/notes/{note}/recordings")).body(sound);
    let row: Value = uploading.send().await.unwrap().json().await.unwrap();
    row["id"].clone()
}

/// Waits for the summary; tells what was heard.
pub(super) async fn until_summarised(url: &str, id: &Value) -> Value {
    loop {
        let it = said(url, &format!("/recordings/{id}")).await;
        assert_ne!(it["state"], json!("failed"), "{it}");
        if it["state"] == json!("summarised") {
            return said(url, &format!("/recordings/{id}/transcript")).await["segments"].clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_killed_in_the_middle_of_a_transcription_costs_no_more_than_a_chunk() {
    let home = Home::new();
    let model = tiny_en().await.display().to_string();
    let settings = [("WHISPER_MODEL", model.as_str()), ("CRM_TRANSCRIPT_CHUNK_S", "10")];
    let server = Server::start_with(&home, &[], &settings).await;
    let url = &server.url;
    let file = tempfile::NamedTempFile::with_suffix(".wav").unwrap();
    speech(file.path(), MEETING);
    let sound = std::fs::read(file.path()).unwrap();
    let client = reqwest::Client::new();
    let made = client.post(format!("{url}/notes")).json(&json!({"name": "Call"}));
    let note = made.send().await.unwrap().json::<Value>().await.unwrap()["id"].clone();
    let undisturbed = upload(url, &note, sound.clone()).await;
    let expected = until_summarised(url, &undisturbed).await;
    assert!(expected.as_array().unwrap().len() > 3, "{expected}");

    let id = upload(url, &note, sound).await;
    let mut kills = 0;
    for part in [0.05, 0.3, 0.6] {
        loop {
            let it = said(url, &format!("/recordings/{id}")).await;
            if it["state"] != json!("transcribing") && it["progress"] == json!(1.0) {
                break;
            }
            if it["progress"].as_f64().is_some_and(|progress| progress >= part) {
                home.kill_postgres();
                kills += 1;
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(kills >= 2, "it was over too soon to be disturbed: {kills}");
    assert_eq!(until_summarised(url, &id).await, expected);
    let history = said(url, &format!("/notes/{note}/history?limit=100")).await;
    let told = history.to_string();
    assert_eq!(told.matches("\"Transcribed\"").count(), 2, "one of each recording: {told}");
    assert!(server.stop().await);
    crate::crash::assert_everything_is_right(&home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_lost_fails_and_goes_on_once_its_file_is_back() {
    let api = Api::new().await;
    let files = api.db.files();
    let note = api.made("notes", json!({"name": "Call"})).await;
    let lost = spoken(&files, "We have room for a commitment of twenty million.").await;
    let other = spoken(&files, "Good morning, and thank you for taking the time.").await;
    let (sound, of_other) = (files.whole(&lost).await.unwrap(), files.whole(&other).await.unwrap());
    for key in [&lost, &other] {
        files.store().remove(key).await.unwrap();
    }
    let id = attach(&api.backend.log, note, &lost).await;
    let id_of_other = attach(&api.backend.log, note, &other).await;
    api.backend.settle().await.unwrap();
    let audio = api.get(&format!("/recordings/{id}/audio")).await.expect(404, "audio");
    let told = audio["detail"].as_str().unwrap();
    assert!(told.starts_with("The audio file is missing from the file storage"), "{told}");
    assert!(told.contains("backup") && told.contains("`crm files check`"), "{told}");

    // None of them is there, and nobody knows whether this is where they should be: it may be the storage that is away.
    let unknown = Files::folder(api.db.dir.path());
    let tools = tools(&api.backend.log, unknown, with_tiny().await);
    let workers = Workers::start(tools, 1, api.backend.live.heads()).unwrap();
    let waiting = async {
        loop {
            let it = api.read(&format!("/recordings/{id}")).await;
            assert_ne!(it["state"], json!("failed"), "{it}");
            if it["why"].as_str().is_some_and(|why| why.contains("where this worker keeps files")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it waits");

    files.store().put(&other, of_other.into()).await.unwrap();
    let retry = format!("/recordings/{id}/retry");
    api.post(&retry, json!({})).await.expect(200, "retry");
    let failed = until(&api, id, "failed").await;
    let why = failed["why"].as_str().unwrap();
    assert!(told.ends_with(&why[1..]), "{why}");

    files.store().put(&lost, sound.into()).await.unwrap();
    api.post(&retry, json!({})).await.expect(200, "retry");
    until(&api, id, "summarised").await;
    until(&api, id_of_other, "summarised").await;
    assert_eq!(recorded(&api.db.pool, ["Transcribed", "TranscriptionFailed"]).await, [2, 1]);
    workers.stop().await;
}
