//! A worker at a long piece of work: it shows that it is alive, and is soon free when nobody wants its result any more.

use std::sync::Mutex;
use std::time::Instant;

use axum::Router;
use axum::http::Uri;
use chrono::{DateTime, Utc};
use projections::files::{Bucket, BucketOptions};
use sqlx::ConnectOptions as _;

use super::*;
use crate::s3::KEYS;

/// Waits until the progress of a recording is beyond this, and gives it.
async fn beyond(api: &Api, id: RecordingId, progress: f64) -> f64 {
    loop {
        let it = api.read(&format!("/recordings/{id}")).await;
        assert!(["stored", "transcribing"].map(Value::from).contains(&it["state"]), "{it}");
        match it["progress"].as_f64() {
            Some(now) if now > progress => return now,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// A worker that gets a long recording, all of it in one chunk of many windows.
async fn at_work(api: &Api) -> (Workers, RecordingId) {
    let files = api.db.files();
    let note = api.made("notes", json!({"name": "Call"})).await;
    let long = spoken(&files, &MEETING.repeat(6)).await;
    let tools = Tools {
        chunk: Duration::from_secs(600),
        ..tools(&api.backend.log, files, with_tiny().await)
    };
    let workers = Workers::start(tools, 1, api.backend.live.heads()).unwrap();
    let id = attach(&api.backend.log, note, &long).await;
    api.backend.settle().await.unwrap();
    (workers, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_others_have_every_connection() {
    let api = Api::new().await;
    let (workers, id) = at_work(&api).await;
    beyond(&api, id, 0.0).await;
    let database = api.backend.log.database();
    let mut held = vec![];
    let soon = Duration::from_secs(1);
    while let Ok(taken) = tokio::time::timeout(soon, database.pool.acquire()).await {
        held.push(taken.unwrap());
    }
    assert!(database.pool_use().open == database.pool_use().most);
    let mut own = api.db.pool.connect_options().connect().await.unwrap();
    let looking = async {
        let mut seen = BTreeSet::<DateTime<Utc>>::new();
        while seen.len() < 4 {
            let until = sqlx::query_scalar("select leased_until from job").fetch_one(&mut own);
            seen.insert(until.await.unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Sooner than anybody would be told that there is no connection.
    tokio::time::timeout(Duration::from_secs(5), looking).await.expect("signs of life");
    drop(held);
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_a_long_transcription_frees_its_worker_within_a_second() {
    let api = Api::new().await;
    let (workers, id) = at_work(&api).await;
    let note = api.made("notes", json!({"name": "Another call"})).await;
    let none = store(&api.db.files(), b"This is no sound at all.".repeat(100)).await;
    let next = attach(&api.backend.log, note, &none).await;
    api.backend.settle().await.unwrap();
    let first = beyond(&api, id, 0.0).await;
    let begun = Instant::now();
    let second = beyond(&api, id, first).await;
    let window = begun.elapsed();
    assert!(second < 0.7, "enough is left to be cancelled: {second}");
    let begun = Instant::now();
    api.post(&format!("/recordings/{id}/cancel"), json!({})).await.expect(200, "cancel");
    // The only worker is at the next recording as soon as it is free.
    while api.read(&format!("/recordings/{next}")).await["state"] != json!("failed") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    // On a machine that has much to do, everything takes longer, as the windows do; one of them takes a second or so at most.
    assert!(took < Duration::from_secs(1) + window, "{took:?}, and a window {window:?}");
    workers.stop().await;
    assert_eq!(recorded(&api.db.pool, ["Transcribed", "TranscriptionCancelled"]).await, [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_recording_is_stays_known_when_its_transcription_is_cancelled() {
    let api = Api::new().await;
    let (workers, id) = at_work(&api).await;
    beyond(&api, id, 0.0).await;
    let path = format!("/recordings/{id}");
    let known = api.read(&path).await["duration"].clone();
    assert!(known.as_f64().is_some_and(|seconds| seconds > 60.0), "{known}");
    api.post(&format!("{path}/cancel"), json!({})).await.expect(200, "cancel");
    while !jobs(&api.db.pool).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cancelled = api.read(&path).await;
    assert_eq!((&cancelled["state"], &cancelled["duration"]), (&json!("cancelled"), &known));

    // It goes with the recording.
    api.delete(&path).await.expect(200, "remove");
    let kept = "select count(*) from recording_length";
    while sqlx::query_scalar::<_, i64>(kept).fetch_one(&api.db.pool).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    workers.stop().await;
}

/// A bucket that begins to send each file and never goes on, and the paths of what it was asked for.
async fn silent_bucket() -> (Files, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let seen = asked.clone();
    let router = Router::new().fallback(move |uri: Uri| {
        seen.lock().unwrap().push(uri.path().to_owned());
        let first = futures::stream::iter([Ok::<_, std::io::Error>("RIFF")]);
        let body = futures::StreamExt::chain(first, futures::stream::pending());
        std::future::ready(Body::from_stream(body))
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let options = BucketOptions {
        keys: Some((KEYS.0.to_owned(), KEYS.1.to_owned())),
        endpoint: Some(endpoint),
        patience: Duration::from_secs(600),
        ..BucketOptions::new("silent")
    };
    (Files::bucket(Bucket::open(&options).await), asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_while_the_store_sends_the_sound_frees_the_worker_and_so_does_who_stops() {
    let api = Api::new().await;
    let (files, asked) = silent_bucket().await;
    let tools = tools(&api.backend.log, files, with_tiny().await);
    let workers = Workers::start(tools, 1, api.backend.live.heads()).unwrap();
    let note = api.made("notes", json!({"name": "Call"})).await;
    let first = attach(&api.backend.log, note, "recordings/first").await;
    attach(&api.backend.log, note, "recordings/second").await;
    let fetched = async |name: &str| {
        let is_asked = || asked.lock().unwrap().iter().any(|path| path.ends_with(name));
        let waiting = async {
            while !is_asked() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect(name);
    };
    fetched("/first").await;
    api.backend.settle().await.unwrap();
    api.post(&format!("/recordings/{first}/cancel"), json!({})).await.expect(200, "cancel");
    fetched("/second").await;
    tokio::time::timeout(Duration::from_secs(30), workers.stop()).await.expect("they stop");
}
