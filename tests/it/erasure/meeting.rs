//! A meeting leaves more than a note: a recording, its transcript and summary, an upload that broke off, a journal, vectors.
//! Of an erased one none of it is left.

use std::time::{Duration, Instant};

use api::embedded::Cluster;
use domain::note::RecordingId;
use projections::log::{Aside, EventLog};

use super::*;
use crate::embeddings::Embeddings;
use crate::harness::connect;
use crate::recordings::{keep, process};

/// Sound, as its beginning says, with something in it that can be found.
fn sound() -> Vec<u8> {
    [b"RIFF\0\x04\0\0WAVE".as_slice(), &b"zyxwv ".repeat(170)].concat()
}

/// Sends a whole recording of a note, and gives its number.
async fn recorded(server: &Server, note: &str) -> RecordingId {
    let url = format!("{}/notes/{note}/recordings?name=zyxwv.wav", server.url);
    let sent = reqwest::Client::new().post(url).body(sound()).send().await.unwrap();
    assert_eq!(sent.status(), 201);
    RecordingId(sent.json::<Value>().await.unwrap()["id"].as_i64().unwrap())
}

/// Sends half of a recording.
async fn half_recorded(server: &Server, note: &str) {
    let client = reqwest::Client::new();
    let content = sound();
    let begun = client
        .post(format!("{}/notes/{note}/recordings", server.url))
        .header("tus-resumable", "1.0.0")
        .header("upload-length", content.len())
        .header("upload-metadata", "filename enl4d3Yud2F2")
        .send()
        .await
        .unwrap();
    assert_eq!(begun.status(), 201);
    let place = begun.headers()["location"].to_str().unwrap();
    let sent = client
        .patch(reqwest::Url::parse(&server.url).unwrap().join(place).unwrap())
        .header("tus-resumable", "1.0.0")
        .header("upload-offset", "0")
        .header("content-type", "application/offset+octet-stream")
        .body(content[..500].to_vec())
        .send();
    assert_eq!(sent.await.unwrap().status(), 204);
}

/// Waits until a question to the database is answered with yes.
async fn until(pool: &PgPool, what: &str, question: &str) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !sqlx::query_scalar::<_, bool>(question).fetch_one(pool).await.unwrap() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Keeps a piece of a transcript as a worker does that is then killed. Gives what is stored of it.
async fn journal(database: &projections::database::Database, note: i64) -> String {
    let mut db = database.pool.acquire().await.unwrap();
    // Of the recording that waits for a model.
    let job: i64 = sqlx::query_scalar("select max(id) from job where stage = 'transcribe'")
        .fetch_one(&mut *db)
        .await
        .unwrap();
    let aside = Aside {
        record: Kind::Note.record(note),
        what: "(chunk of a transcript)",
        number: job << 20,
    };
    let sealed = database.keys().seal_aside(&mut db, aside, "They whispered zyxwv").await.unwrap();
    sqlx::query(
        "insert into transcript_chunk (job_id, number, start_sample, end_sample, begun, content)
         values ($1, 0, 0, 16000, 1, $2)",
    )
    .bind(job)
    .bind(&sealed)
    .execute(&mut *db)
    .await
    .unwrap();
    sealed.split('"').nth(3).unwrap().to_owned()
}

fn found(folder: &Path, needles: &[Vec<u8>]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(content) = std::fs::read(&path) {
                let has = |needle: &Vec<u8>| content.windows(needle.len()).any(|it| it == needle);
                found.extend((0..needles.len()).filter(|number| has(&needles[*number])));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_meeting_is_left_on_the_disk() {
    let (home, embeddings) = (Home::new(), Embeddings::start().await);
    let url = embeddings.url();
    let settings = [("EMBED_URL", url.as_str()), ("EMBED_NAME", "words")];
    let server = Server::start_with(&home, &[], &settings).await;
    let person = posted(&server, "/people", &person()).await["id"].to_string();
    let note = posted(&server, "/notes", &note()).await["id"].to_string();
    posted(&server, &format!("/notes/{note}/participants/{person}"), &json!({})).await;
    let heard = recorded(&server, &note).await;
    recorded(&server, &note).await;
    half_recorded(&server, &note).await;

    let cluster = Cluster::open(home.path()).await.unwrap();
    let database = connect(cluster.options("crm"), 4);
    let pool = &database.pool;
    until(pool, "two jobs", "select count(*) = 2 from job").await;
    let log = EventLog::start(database.clone());
    let said = ["They whispered zyxwv to Quetzalli Xochitl.", "I will send the zyxwv by Friday."];
    let id: i64 = note.parse().unwrap();
    process(&log, id, heard, keep(1, &said)).await;
    let summarised = "select count(*) > 0 from events where event_type = 'Summarised'";
    until(pool, "what was heard is summarised", summarised).await;
    let accept = format!("/recordings/{heard}/action-items/1/accept");
    posted(&server, &accept, &json!({"title": "Send the papers"})).await;
    // It is done with: what is left of it is in the log.
    let done = reqwest::Client::new().delete(format!("{}/todos/1", server.url)).send().await;
    assert_eq!(done.unwrap().status(), 200);
    let journal = journal(&database, id).await;
    let level = "select exists (select from vector_set where error is null
                     and position >= (select max(position) from events))";
    until(pool, "everything has vectors", level).await;
    let vectors: Vec<Vec<u8>> =
        sqlx::query_scalar("select vector from embedding limit 3").fetch_all(pool).await.unwrap();
    assert_eq!(vectors.len(), 3, "of the note, of what was heard, and of the person");
    sqlx::query("checkpoint").execute(pool).await.unwrap();

    let before = dumped(pool).await;
    assert!(SECRETS.iter().all(|secret| before.contains(secret)), "the test sees what is there");
    assert!(before.contains("Send the papers"), "the todo is there");
    assert!(before.contains(said[0]) && before.contains("zyxwv.wav") && before.contains(&journal));
    assert!(!found(home.path(), &vectors).is_empty(), "vectors are looked for as they are stored");
    let recordings = home.path().join("recordings");
    let files = std::fs::read_dir(&recordings).unwrap().count();
    assert_eq!(files, 4, "the folder's mark, two, and half of a third");
    assert!(!is_on_disk(&recordings, "zyxwv"), "nobody who has the disk hears them");
    let played = reqwest::get(format!("{}/recordings/{heard}/audio", server.url)).await.unwrap();
    assert_eq!(played.bytes().await.unwrap(), sound());

    let reason = json!({"reason": "case 17"});
    posted(&server, &format!("/notes/{note}/erase"), &reason).await;
    posted(&server, &format!("/people/{person}/erase"), &reason).await;
    until(
        pool,
        "everything is wiped",
        "select bool_and(scrubbed_at is not null) from stream_key where destroyed_at is not null",
    )
    .await;
    until(pool, "no job is left", "select count(*) = 0 from job").await;
    // The rows of jobs may have gone after the tables were wiped: what they held was sealed.
    let after = dumped(pool).await;
    assert_nowhere(after.as_bytes(), "the database");
    assert!(after.contains("Send the papers"), "the todo is kept, without what was said");
    assert!(!after.contains(&journal));
    for table in ["embedding", "vector_point", "upload", "transcript_chunk", "transcription"] {
        let question = format!("select count(*) from {table}");
        let count: i64 = sqlx::query_scalar(&question).fetch_one(pool).await.unwrap();
        assert_eq!(count, 0, "{table}");
    }
    drop(log);
    database.pool.close().await;
    cluster.close().await.unwrap();
    assert!(server.stop().await);
    assert_not_on_disk(home.path());
    assert_eq!(found(home.path(), &vectors), Vec::<usize>::new(), "vectors");
    let checked = home.crm(&["verify"]).output().await.unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
