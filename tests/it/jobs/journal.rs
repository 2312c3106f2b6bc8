//! What is in the journal is gone on with by the same model and with the same names, or not at all.

use domain::Kind;
use projections::log::Aside;

use super::*;

/// A text as a worker keeps it beside the job.
async fn sealed(api: &Api, note: i64, what: &str, number: i64, text: &str) -> String {
    let mut db = api.db.pool.acquire().await.unwrap();
    let aside = Aside { record: Kind::Note.record(note), what, number };
    api.db.connections.keys().seal_aside(&mut db, aside, text).await.unwrap()
}

/// A transcription of which a worker with this model has heard the first ten seconds before it was killed.
async fn begun(api: &Api, model: &str) -> (RecordingId, i64) {
    let note = api.made("notes", json!({"name": "Call"})).await;
    let key = spoken(&api.db.files(), &MEETING[..330]).await;
    let none = SpeechModels::new(None, PathBuf::from("/nowhere"));
    let reacting = work(api, none);
    let id = attach(&api.backend.log, note, &key).await;
    api.backend.settle().await.unwrap();
    let find = "select id from job where recording_id = $1";
    let job: i64 = loop {
        let found = sqlx::query_scalar(find).bind(id.0).fetch_optional(&api.db.pool).await.unwrap();
        if let Some(job) = found {
            break job;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    reacting.stop().await;
    let heard = json!({"language": "en", "certainty": 99, "marks": [], "gap": null,
        "segments": [{"start_ms": 0, "end_ms": 10_000, "text": "They whispered zyxwv.", "confidence": 90}]});
    let chunk = sealed(api, note, "(chunk of a transcript)", job << 20, &heard.to_string()).await;
    let names = sealed(api, note, "(names of a transcription)", job, "[\"Zyxwv Capital\"]").await;
    sqlx::query("insert into transcription (job_id, model, names) values ($1, $2, $3)")
        .bind(job)
        .bind(model)
        .bind(names)
        .execute(&api.db.pool)
        .await
        .unwrap();
    sqlx::query(
        "insert into transcript_chunk (job_id, number, start_sample, end_sample, begun, content)
         values ($1, 0, 0, 160000, 1, $2)",
    )
    .bind(job)
    .bind(chunk)
    .execute(&api.db.pool)
    .await
    .unwrap();
    (id, job)
}

/// What `transcription` says of a job as soon as its second chunk is begun.
async fn settled(api: &Api, job: i64) -> (String, String) {
    let settled = "select model, names from transcription where job_id = $1
        and exists (select from transcript_chunk where job_id = $1 and number = 1)";
    loop {
        let found = sqlx::query_as(settled).bind(job).fetch_optional(&api.db.pool).await.unwrap();
        if let Some(found) = found {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_transcript_is_made_of_two_models() {
    let api = Api::new().await;
    let path = tiny_en().await;
    let tiny = tokio::task::spawn_blocking(move || {
        speech::transcribe::Model::open(&path).unwrap().id().to_owned()
    });
    let tiny = tiny.await.unwrap();
    for (model, is_gone_on_with) in [(tiny.as_str(), true), ("whisper-base-000000000000", false)] {
        let (id, job) = begun(&api, model).await;
        let names = "select names from transcription where job_id = $1";
        let before: String =
            sqlx::query_scalar(names).bind(job).fetch_one(&api.db.pool).await.unwrap();
        let workers = work(&api, with_tiny().await);
        let (now, names) = settled(&api, job).await;
        assert_eq!((now.as_str(), names == before), (tiny.as_str(), is_gone_on_with));
        until(&api, id, "summarised").await;
        workers.stop().await;
        let transcript = api.read(&format!("/recordings/{id}/transcript")).await;
        assert_eq!(transcript["model"], json!(tiny));
        let told = transcript["segments"].to_string();
        assert_eq!(told.contains("zyxwv"), is_gone_on_with, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_at_which_whisper_fails_is_a_gap_that_everybody_sees() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let key = spoken(&api.db.files(), &MEETING[..330]).await;
    // As if three attempts had failed at the second chunk.
    for statement in [
        "create function spoil() returns trigger language plpgsql as $$ begin new.failed = 3; return new; end $$",
        "create trigger spoil before insert on transcript_chunk for each row when (new.number = 1)
             execute function spoil()",
    ] {
        sqlx::query(statement).execute(&api.db.pool).await.unwrap();
    }
    let workers = work(&api, with_tiny().await);
    let id = attach(&api.backend.log, note, &key).await;
    api.backend.settle().await.unwrap();
    until(&api, id, "summarised").await;
    workers.stop().await;
    let path = format!("/recordings/{id}/transcript");
    let transcript = api.read(&path).await;
    let gaps = transcript["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 1, "{transcript}");
    assert_eq!(gaps[0]["reason"], json!("Whisper failed 3 times at this place"));
    let hole = gaps[0]["start"].as_f64().unwrap()..gaps[0]["end"].as_f64().unwrap();
    let within = |it: &Value| hole.contains(&it["start"].as_f64().unwrap());
    let segments = transcript["segments"].as_array().unwrap();
    assert!(!segments.is_empty() && !segments.iter().any(within), "{transcript}");
    for format in ["vtt", "srt", "txt"] {
        let asking = request(Method::GET, &format!("{path}?format={format}"));
        let answer = ask(&api.router, asking.body(Body::empty()).unwrap()).await;
        let told = String::from_utf8_lossy(&answer.bytes);
        assert!(told.contains("[not transcribed: Whisper failed 3 times"), "{format}: {told}");
    }
    // Whoever listens may write what is said there, and then it is no hole any more.
    let segment = json!({"start": hole.start, "end": hole.end, "text": "They like it."});
    let patch =
        crate::contract::json_request(Method::PATCH, &path, &json!({"segments": [segment]}));
    api.send(patch).await.expect(200, "write what is said");
    let asking = request(Method::GET, &format!("{path}?format=txt"));
    let answer = ask(&api.router, asking.body(Body::empty()).unwrap()).await;
    let told = String::from_utf8_lossy(&answer.bytes);
    assert!(told.contains("They like it.") && !told.contains("not transcribed"), "{told}");
}
