//! The list of all recordings.

use super::*;

async fn names(api: &Api, query: &str) -> (Vec<String>, Value) {
    let read = api.read(&format!("/recordings{query}")).await;
    let all = read["recordings"].as_array().unwrap();
    let names = all.iter().map(|it| it["name"].as_str().unwrap().to_owned());
    (names.collect(), read["next"].clone())
}

/// Attaches a recording of this name.
async fn attached(api: &Api, note: i64, name: &str) -> RecordingId {
    let id = attach(&api.backend.log, note, &format!("recordings/{name}")).await;
    let rename = RecordingCommand::Rename { name: name.to_owned() };
    process(&api.backend.log, note, id, rename).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn all_recordings_are_listed_with_where_they_stand_and_whom_they_are_about() {
    let api = Api::new().await;
    let log = &api.backend.log;
    let note = api.made("notes", json!({"name": "Lunch", "date": "2025-01-31"})).await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    let gone = api.made("lps", json!({"name": "Gone"})).await;
    for lp in [lp, gone] {
        api.post(&format!("/notes/{note}/lps/{lp}"), json!({})).await.expect(200, "link");
    }
    api.delete(&format!("/lps/{gone}")).await.expect(200, "delete");
    let other = api.made("notes", json!({"name": "Another"})).await;
    let first = attached(&api, note, "first").await;
    process(log, note, first, keep(1, &["Pro future"])).await;
    process(log, note, first, summary(1)).await;
    let second = attached(&api, note, "second").await;
    process(log, note, second, keep(1, &["Pro future"])).await;
    let third = attached(&api, other, "third").await;
    let reason = "there is no sound in it".to_owned();
    process(log, other, third, RecordingCommand::FailTranscription { round: 1, reason }).await;
    let fourth = attached(&api, other, "fourth").await;
    process(log, other, fourth, RecordingCommand::Cancel).await;
    attached(&api, other, "fifth").await;
    let deleted = api.made("notes", json!({"name": "Deleted"})).await;
    attached(&api, deleted, "sixth").await;
    api.backend.settle().await.unwrap();
    api.delete(&format!("/notes/{deleted}")).await.expect(200, "delete");

    let read = api.read("/recordings").await;
    let last = &read["recordings"][4];
    let mut expected = json!({"id": first, "name": "first", "state": "summarised", "progress": 1.0,
        "duration": 4.5, "language": "en", "note": {"id": note, "name": "Lunch"},
        "lps": [{"id": lp, "name": "Profuturo"}]});
    let one = shown(&api, first).await;
    for same in ["attached_at", "why"] {
        expected[same] = one[same].clone();
    }
    assert_eq!(*last, expected);
    assert_eq!(read["recordings"][0]["lps"], json!([]));
    let all = ["fifth", "fourth", "third", "second", "first"];
    assert_eq!(names(&api, "").await, (all.map(str::to_owned).to_vec(), Value::Null));
    for (state, expected) in [
        ("stored", "fifth"),
        ("cancelled", "fourth"),
        ("failed", "third"),
        ("transcribed", "second"),
        ("summarised", "first"),
    ] {
        let (found, next) = names(&api, &format!("?state={state}&limit=1")).await;
        assert_eq!((found, next), (vec![expected.to_owned()], Value::Null), "{state}");
    }
    assert_eq!(names(&api, "?state=transcribing").await.0, Vec::<String>::new());
    for wrong in ["state=lost", "limit=0", "limit=x", "cursor=x", "sort=name"] {
        assert_eq!(api.get(&format!("/recordings?{wrong}")).await.status, 400, "{wrong}");
    }
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_comes_in_pages_also_of_what_workers_are_at() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Lunch"})).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        ids.push(attached(&api, note, name).await.0);
    }
    api.backend.settle().await.unwrap();
    let answer = api.get("/recordings?limit=2").await;
    let link = answer.header("link").unwrap().to_owned();
    assert_eq!(link, format!("</recordings?limit=2&cursor={}>; rel=\"next\"", ids[3]));
    let (found, next) = names(&api, &format!("?limit=2&cursor={}", ids[3])).await;
    assert_eq!((found, &next), (vec!["c".to_owned(), "b".to_owned()], &json!(ids[1])));
    let (found, next) = names(&api, &format!("?limit=2&cursor={next}")).await;
    assert_eq!((found, next), (vec!["a".to_owned()], Value::Null));
    // Two are under way: those between them are passed over.
    for id in [ids[0], ids[3]] {
        let leased = "insert into job (note_id, recording_id, stage, round, cause, correlation, asked_at, leased_until)
                      values ($2, $1, 'transcribe', 1, gen_random_uuid(), gen_random_uuid(), now(), now() + interval '1 hour')
                      on conflict (recording_id, stage, round) do update set leased_until = excluded.leased_until";
        sqlx::query(leased).bind(id).bind(note).execute(&api.db.pool).await.unwrap();
    }
    let (found, next) = names(&api, "?state=transcribing&limit=1").await;
    assert_eq!((found, &next), (vec!["d".to_owned()], &json!(ids[3])));
    let (found, next) = names(&api, &format!("?state=transcribing&limit=1&cursor={next}")).await;
    assert_eq!((found, next), (vec!["a".to_owned()], Value::Null));
    let (found, _) = names(&api, "?state=stored").await;
    assert_eq!(found, ["e", "c", "b"]);
}

/// A worker that is there and has these stages.
async fn works(api: &Api, stages: &[&str]) {
    let worker = "insert into worker (id, name, stages) values ('00000000-0000-4000-8000-000000000001', 'w', $1)
                  on conflict (id) do update set stages = excluded.stages, seen_at = now()";
    sqlx::query(worker).bind(stages).execute(&api.db.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_tells_apart_what_waits_for_a_worker_and_what_for_a_model() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Lunch"})).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d"] {
        ids.push(attached(&api, note, name).await.0);
    }
    api.backend.settle().await.unwrap();
    let jobs = "insert into job (note_id, recording_id, stage, round, cause, correlation, asked_at, waits_for_model, reason, leased_until)
                select $2, id, 'transcribe', 1, gen_random_uuid(), gen_random_uuid(), now(), id <> $3, 'no model', case id when $3 then now() + interval '1 hour' end
                from unnest($1::bigint[]) as wanted (id)
                on conflict (recording_id, stage, round) do update
                    set waits_for_model = excluded.waits_for_model, reason = excluded.reason, leased_until = excluded.leased_until";
    // The first lacks nothing, and the third is under way.
    let held = sqlx::query(jobs).bind(&ids[1..]).bind(note).bind(ids[2]);
    held.execute(&api.db.pool).await.unwrap();
    let check = async |stages: Option<&[&str]>, state: &str, expected: &[&str]| {
        if let Some(stages) = stages {
            works(&api, stages).await;
        }
        let query = format!("?state={state}");
        assert_eq!(names(&api, &query).await.0, expected, "{state} {stages:?}");
    };
    check(None, "waiting_for_model", &[]).await;
    check(None, "stored", &["d", "b", "a"]).await;
    for (stages, waiting, stored) in [
        (&["summarise"][..], &["d", "b", "a"][..], &[][..]),
        (&["transcribe", "summarise"], &["d", "b"], &["a"]),
    ] {
        check(Some(stages), "waiting_for_model", waiting).await;
        check(Some(stages), "stored", stored).await;
        check(Some(stages), "transcribing", &["c"]).await;
    }
    let (found, next) = names(&api, "?state=waiting_for_model&limit=1").await;
    assert_eq!((found, &next), (vec!["d".to_owned()], &json!(ids[3])));
    let (found, next) =
        names(&api, &format!("?state=waiting_for_model&limit=1&cursor={next}")).await;
    assert_eq!((found, next), (vec!["b".to_owned()], Value::Null));
    let one = &api.read("/recordings?state=waiting_for_model").await["recordings"][0];
    assert_eq!((&one["state"], &one["why"]), (&json!("waiting_for_model"), &json!("no model")));
}
