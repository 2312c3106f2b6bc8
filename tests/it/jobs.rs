//! Recordings are transcribed and summarised in the background, once, whoever is killed meanwhile.

mod cancelled;
mod elsewhere;
mod journal;
mod meeting;
mod patience;
mod trouble;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use api::models::catalogue;
use axum::body::Body;
use axum::http::Method;
use domain::note::{RecordingCommand, RecordingId};
use projections::files::Files;
use projections::jobs::{Reactor, SpeechModels, Tools, Workers};
use projections::llm::LlmConfig;
use projections::log::EventLog;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::sync::Notify;

use crate::check::assert_read_models_match_the_log;
use crate::contract::{Api, ask, request};
use crate::harness::{Database, cluster_folder};
use crate::llm_server::{Dialect, KEY, ModelServer, Reply};
use crate::recordings::{attach, keep, process};
use crate::server::Home;

/// What is said in the meeting: some minutes' worth in a few pieces.
const MEETING: &str = "Good morning, and thank you for taking the time today. We would like to present our third fund, \
    which invests in infrastructure in Latin America. The target size is five hundred million dollars. \
    We have already closed on half of that amount. Could you tell us how your allocation looks this year? \
    We have room for a commitment of twenty million dollars, if the committee agrees. \
    That is good to hear. We will send you the presentation and the data room by Friday. \
    Please also send us the track record of the second fund. Of course, we will do that. \
    The next meeting of our committee is at the end of the month. Then let us talk again in the first week of June.";

/// Speech as a sound file.
pub fn speech(path: &Path, text: &str) {
    let mut speaking = std::process::Command::new("espeak-ng");
    let status = speaking.args(["-v", "en-us", "-s", "150", "-w"]).arg(path).arg(text).status();
    assert!(status.unwrap().success(), "espeak-ng makes the sound for the tests");
}

/// The small English model.
pub async fn tiny_en() -> PathBuf {
    let models = crate::models::kept(&catalogue::WHISPER_TINY).await;
    models.path(&catalogue::WHISPER_TINY.items[0])
}

/// Puts a sound file where recordings are kept.
async fn store(files: &Files, sound: Vec<u8>) -> String {
    let key = format!("recordings/{}", hex::encode(Sha256::digest(&sound)));
    files.store().put(&key, sound.into()).await.unwrap();
    key
}

async fn spoken(files: &Files, text: &str) -> String {
    let file = tempfile::NamedTempFile::with_suffix(".wav").unwrap();
    speech(file.path(), text);
    store(files, std::fs::read(file.path()).unwrap()).await
}

fn tools(log: &EventLog, files: Files, models: SpeechModels) -> Tools {
    let chunk = Duration::from_secs(10);
    Tools { log: log.clone(), files, models, llm: None, chunk, threads: 1 }
}

async fn with_tiny() -> SpeechModels {
    SpeechModels::new(Some(tiny_en().await), PathBuf::from("/nowhere"))
}

fn work(api: &Api, models: SpeechModels) -> Workers {
    let tools = tools(&api.backend.log, api.db.files(), models);
    Workers::start(tools, 1, api.backend.live.heads()).unwrap()
}

/// Waits until the recording is in this state, and gives it. A database that is too busy to answer is asked again.
async fn until(api: &Api, id: RecordingId, state: &str) -> Value {
    loop {
        let asking = request(Method::GET, &format!("/recordings/{id}")).body(Body::empty());
        let answer = ask(&api.router, asking.unwrap()).await;
        if answer.status == 200 && answer.body["state"] == json!(state) {
            return answer.body;
        }
        assert!([200, 503].contains(&answer.status), "{}", answer.body);
        assert_ne!(answer.body["state"], json!("failed"), "{}", answer.body);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn jobs(pool: &PgPool) -> Vec<(i64, String, i32, bool)> {
    sqlx::query_as("select recording_id, stage, round, suspended from job order by id")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// How often each of these events was recorded.
async fn recorded(pool: &PgPool, names: [&str; 2]) -> [i64; 2] {
    let mut counts = [0; 2];
    for (count, name) in counts.iter_mut().zip(names) {
        let question = sqlx::query_scalar("select count(*) from events where event_type = $1");
        *count = question.bind(name).fetch_one(pool).await.unwrap();
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_what_the_log_says_is_to_be_done() {
    let api = Api::new().await;
    let (log, pool) = (&api.backend.log, &api.db.pool);
    let database = api.db.connections.clone();
    let reactor = Reactor::new(database, api.backend.live.heads(), Arc::new(Notify::new()));
    let level = async || while reactor.step().await.unwrap() {};
    let note = api.made("notes", json!({"name": "Call"})).await;
    let (one, two) = (attach(log, note, "k").await, attach(log, note, "k").await);
    level().await;
    let job = |id: RecordingId, stage: &str, round| (id.0, stage.to_owned(), round, false);
    assert_eq!(jobs(pool).await, [job(one, "transcribe", 1), job(two, "transcribe", 1)]);

    process(log, note, one, keep(1, &["Hello."])).await;
    process(log, note, two, RecordingCommand::Cancel).await;
    level().await;
    assert_eq!(jobs(pool).await, [job(one, "summarise", 1)]);
    process(log, note, two, RecordingCommand::Retry).await;
    level().await;
    assert_eq!(jobs(pool).await, [job(one, "summarise", 1), job(two, "transcribe", 2)]);

    // Whatever the reactor has forgotten it learns again from the log, and nothing else.
    let before = jobs(pool).await;
    for _ in 0..2 {
        sqlx::query("update reactor set position = 0").execute(pool).await.unwrap();
        level().await;
        assert_eq!(jobs(pool).await, before);
    }

    api.delete(&format!("/notes/{note}")).await.expect(200, "delete the note");
    level().await;
    assert!(jobs(pool).await.iter().all(|(.., suspended)| *suspended));
    let restored = domain::note::NoteCommand::Restore;
    let request = crate::recordings::command("Restore");
    log.execute::<domain::note::Note>(note, restored, &request).await.unwrap();
    level().await;
    assert_eq!(jobs(pool).await, before);
    let erased = api.post(&format!("/notes/{note}/erase"), json!({"reason": "request 7"})).await;
    erased.expect(200, "erase");
    level().await;
    assert_eq!(jobs(pool).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_transcribed_and_summarised_and_its_suggestions_become_todos() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let key = spoken(&api.db.files(), MEETING).await;
    let workers = work(&api, with_tiny().await);
    let id = attach(&api.backend.log, note, &key).await;
    api.backend.settle().await.unwrap();
    let it = until(&api, id, "summarised").await;
    assert_eq!(it["summary"]["label"], json!("Highlights (not AI-written)"));
    let transcript = api.read(&format!("/recordings/{id}/transcript")).await;
    let text = transcript["segments"].to_string().to_lowercase();
    for word in ["infrastructure", "latin america", "friday", "committee"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    assert_eq!(transcript["language"], json!("en"));
    assert!(transcript["segments"].as_array().unwrap().len() > 4);
    let of_note = api.read(&format!("/notes/{note}")).await;
    assert!(of_note["ai_summary"].as_str().unwrap().starts_with("Highlights (not AI-written)"));
    let items = it["action_items"].as_array().unwrap();
    let accept = format!("/recordings/{id}/action-items/{}/accept", items[0]["number"]);
    api.post(&accept, json!({})).await.expect(200, "accept");
    let todos = api.read("/todos").await;
    assert_eq!((&todos[0]["title"], &todos[0]["note_id"]), (&items[0]["text"], &json!(note)));
    workers.stop().await;
    assert_eq!(jobs(&api.db.pool).await, []);
    assert_eq!(recorded(&api.db.pool, ["Transcribed", "Summarised"]).await, [1, 1]);
    // Whoever asks what led to the transcript is shown the recording that was attached.
    let (event, cause): (uuid::Uuid, uuid::Uuid) = sqlx::query_as(
        "select event_id, causation_id from events where event_type = 'Transcribed'",
    )
    .fetch_one(&api.db.pool)
    .await
    .unwrap();
    let tree = api.read(&format!("/audit/causation/{event}")).await;
    let attached = &tree["commands"][0]["events"][0];
    assert_eq!(attached["event_id"], json!(cause), "{tree}");
    assert_eq!(attached["led_to"][0]["events"][0]["event_id"], json!(event), "{tree}");
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_a_recording_waits_and_goes_on_when_there_is_one() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let key = spoken(&api.db.files(), "We will send the presentation by Friday.").await;
    let folder = tempfile::tempdir().unwrap();
    let workers = work(&api, SpeechModels::new(None, folder.path().to_owned()));
    let id = attach(&api.backend.log, note, &key).await;
    api.backend.settle().await.unwrap();
    let it = until(&api, id, "waiting_for_model").await;
    assert!(it["why"].as_str().unwrap().contains("crm models get speech"), "{it}");
    std::os::unix::fs::symlink(tiny_en().await, folder.path().join("ggml-tiny.en.bin")).unwrap();
    until(&api, id, "summarised").await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sound_fails_with_the_reason_and_is_kept() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let files = api.db.files();
    let key = store(&files, b"This is no sound at all.".repeat(100)).await;
    let workers = work(&api, with_tiny().await);
    let id = attach(&api.backend.log, note, &key).await;
    api.backend.settle().await.unwrap();
    let path = format!("/recordings/{id}");
    let it = loop {
        let it = api.read(&path).await;
        if it["state"] == json!("failed") {
            break it;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(it["why"].as_str().unwrap().contains("no sound file"), "{it}");
    assert!(files.store().facts(&key).await.unwrap().is_some());
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcription_that_is_cancelled_stops_and_can_be_tried_again() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let key = spoken(&api.db.files(), &MEETING.repeat(2)).await;
    let workers = work(&api, with_tiny().await);
    let id = attach(&api.backend.log, note, &key).await;
    api.backend.settle().await.unwrap();
    until(&api, id, "transcribing").await;
    let cancel = format!("/recordings/{id}/cancel");
    api.post(&cancel, json!({})).await.expect(200, "cancel");
    until(&api, id, "cancelled").await;
    while !jobs(&api.db.pool).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let chunks: i64 = sqlx::query_scalar("select count(*) from transcript_chunk")
        .fetch_one(&api.db.pool)
        .await
        .unwrap();
    assert_eq!(chunks, 0, "its journal is gone");
    api.post(&format!("/recordings/{id}/retry"), json!({})).await.expect(200, "retry");
    until(&api, id, "summarised").await;
    workers.stop().await;
    assert_eq!(recorded(&api.db.pool, ["Transcribed", "TranscriptionCancelled"]).await, [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_lease_writes_nothing_more() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let key = spoken(&api.db.files(), MEETING).await;
    let workers = work(&api, with_tiny().await);
    let id = attach(&api.backend.log, note, &key).await;
    api.backend.settle().await.unwrap();
    until(&api, id, "transcribing").await;
    let finished = async || -> i64 {
        let count = "select count(*) from transcript_chunk where content is not null";
        sqlx::query_scalar(count).fetch_one(&api.db.pool).await.unwrap()
    };
    while finished().await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // As if another worker had taken the job for dead.
    let other = "update job set token = gen_random_uuid(), worker = 'elsewhere 1', leased_until = now() + interval '1 hour'";
    sqlx::query(other).execute(&api.db.pool).await.unwrap();
    workers.stop().await;
    let before = finished().await;
    let sealed = "select bool_and(content like '{\"sealed\":%') from transcript_chunk where content is not null";
    let sealed: Option<bool> = sqlx::query_scalar(sealed).fetch_one(&api.db.pool).await.unwrap();
    assert_eq!(sealed, Some(true), "the journal says nothing to whoever has the database alone");
    let events = api.events().await;
    assert_eq!(recorded(&api.db.pool, ["Transcribed", "Summarised"]).await, [0, 0]);
    // The other one dies.
    let expired = "update job set leased_until = now() - interval '1 second'";
    sqlx::query(expired).execute(&api.db.pool).await.unwrap();
    assert_eq!((finished().await, api.events().await), (before, events));
    let workers = work(&api, with_tiny().await);
    until(&api, id, "summarised").await;
    workers.stop().await;
    assert_eq!(recorded(&api.db.pool, ["Transcribed", "Summarised"]).await, [1, 1]);
}

/// The address of a database that another process shares with the test.
pub fn address(db: &Database) -> String {
    let options = db.pool.connect_options();
    let socket = cluster_folder().join("postgres-socket").display().to_string().replace('/', "%2F");
    format!("postgres://crm@{socket}/{}", options.get_database().unwrap())
}

/// A worker in a process of its own, `crm work` or `crm serve`, once it has said that it is ready.
async fn worker(home: &Home, db: &Database, llm: &ModelServer, name: &str) -> Child {
    let mut command = home.crm(&[name]);
    let LlmConfig { url, model, .. } = llm.config();
    command
        .env("DATABASE_URL", address(db))
        .envs([("LLM_URL", url.as_str()), ("LLM_MODEL", &model), ("LLM_API_KEY", KEY)])
        .env("WHISPER_MODEL", tiny_en().await)
        .env("CRM_TRANSCRIPT_CHUNK_S", "10")
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("crm works on recordings") || line.contains("crm is ready") {
                return;
            }
        }
        panic!("the worker ended before it began");
    };
    tokio::time::timeout(Duration::from_secs(90), ready).await.expect("ready in time");
    child
}

/// How far the jobs are, as a killer sees it; `None` while the database is too busy to say.
async fn stage(pool: &PgPool) -> Option<String> {
    let stage = sqlx::query_scalar(
        "select coalesce((select stage || ' ' || round || ' '
                 || (select count(*) from transcript_chunk where content is not null) || ' '
                 || (select count(*) from transcript_chunk where content is null) || ' ' || (token is not null)
             from job limit 1),
             (select 'no job, summarised ' || count(*) from events where event_type = 'Summarised'))",
    )
    .fetch_one(pool)
    .await;
    stage.ok()
}

/// The transcript in the log, to the byte.
async fn transcript(api: &Api, id: RecordingId) -> Vec<u8> {
    api.backend.settle().await.unwrap();
    let stored = api.backend.reader.recording(id).await.unwrap().unwrap();
    serde_json::to_vec(&stored.recording.transcript).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_or_server_killed_twenty_times_leaves_the_transcript_of_one_that_was_not() {
    let api = Api::new().await;
    let home = Home::new();
    let files = api::backend::files_in(home.path(), &api.db.connections);
    let note = api.made("notes", json!({"name": "Call"})).await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    api.post(&format!("/notes/{note}/lps/{lp}"), json!({})).await.expect(200, "link");
    let key = spoken(&files, MEETING).await;
    // Slow enough to be killed while it is asked.
    let summary = json!({"summary": "They like the fund.", "key_points": [], "action_items": [],
        "fundraise": null, "interest": null, "interest_quote": null});
    let llm = ModelServer::start(Dialect::OpenAi, move |_, _| {
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(500)));
        Reply::json(&summary)
    })
    .await;

    let undisturbed = attach(&api.backend.log, note, &key).await;
    let mut child = worker(&home, &api.db, &llm, "work").await;
    until(&api, undisturbed, "summarised").await;
    child.kill().await.unwrap();

    let id = attach(&api.backend.log, note, &key).await;
    const DONE: &str = "no job, summarised 2";
    let (mut kills, mut seen) = (0, BTreeSet::new());
    while kills < 20 {
        let mut child = worker(&home, &api.db, &llm, ["work", "serve"][kills % 2]).await;
        // Each is killed at another step, as soon as one is reached at which none was killed before.
        let moved = async {
            loop {
                if let Some(now) = stage(&api.db.pool).await
                    && (now == DONE || seen.insert(now))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(20), moved).await;
        child.kill().await.unwrap();
        kills += 1;
    }
    let mut child = worker(&home, &api.db, &llm, "work").await;
    until(&api, id, "summarised").await;
    child.kill().await.unwrap();

    assert!(seen.len() >= 8, "too few steps were seen: {seen:?}");
    let killed_at =
        |stage: &str| seen.iter().any(|it| it.starts_with(stage) && it.ends_with("true"));
    assert!(killed_at("transcribe") && killed_at("summarise"), "{seen:?}");
    assert_eq!(transcript(&api, id).await, transcript(&api, undisturbed).await);
    assert_eq!(recorded(&api.db.pool, ["Transcribed", "Summarised"]).await, [2, 2]);
    assert_eq!(recorded(&api.db.pool, ["TranscriptionFailed", "SummaryFailed"]).await, [0, 0]);
    assert!(files.store().facts(&key).await.unwrap().is_some(), "the sound is there");
}
