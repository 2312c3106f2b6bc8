//! How soon a worker is free again when nobody wants its result any more.

use std::time::Instant;

use super::*;

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

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_a_long_transcription_frees_its_worker_within_a_second() {
    let api = Api::new().await;
    let files = api.db.files();
    let note = api.made("notes", json!({"name": "Call"})).await;
    let long = spoken(&files, &MEETING.repeat(6)).await;
    let none = store(&files, b"This is no sound at all.".repeat(100)).await;
    // All of it in one chunk, of many windows.
    let tools = Tools {
        chunk: Duration::from_secs(600),
        ..tools(&api.backend.log, files, with_tiny().await)
    };
    let workers = Workers::start(tools, 1, api.backend.live.heads());
    let id = attach(&api.backend.log, note, &long).await;
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
