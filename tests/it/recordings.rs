//! Recordings of notes: what is shown of them, what a person does with them, and what they become.

mod accepted;
mod decided;
mod listed;
mod told;

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use domain::Change;
use domain::note::{
    ActionItem, AudioFile, Author, InterestSuggestion, Mark, MarkKind, Note, NoteChanges,
    NoteCommand, RecordingCommand, RecordingId, Segment, Summary, Transcript,
};
use projections::log::{APPEND_LOCK, CommandRequest, EventLog};
use serde_json::{Value, json};

use crate::check::assert_read_models_match_the_log;
use crate::contract::{Answer, Api, json_request, request, send};

/// A command as a worker sends it.
pub fn command(name: &'static str) -> CommandRequest {
    CommandRequest {
        name,
        actor: "tests".to_owned(),
        command_id: uuid::Uuid::now_v7(),
        correlation_id: uuid::Uuid::now_v7(),
        causation_id: None,
        source: "tests".to_owned(),
        client: None,
        user_agent: None,
        trace_id: None,
        if_match: None,
        idempotency: None,
    }
}

/// Carries out a command on a recording.
pub async fn process(log: &EventLog, note: i64, recording: RecordingId, asked: RecordingCommand) {
    let asked = NoteCommand::Process { recording, command: asked };
    log.execute::<Note>(note, asked, &command("Test")).await.unwrap();
}

/// Attaches a recording whose file has this key, the last part of which is its SHA-256 if anybody is to listen to it.
pub async fn attach(log: &EventLog, note: i64, key: &str) -> RecordingId {
    let id = log.fresh_recording_id().await.unwrap();
    let file = AudioFile {
        key: key.to_owned(),
        size: 7,
        media_type: "audio/wav".to_owned(),
        sha256: key.rsplit('/').next().unwrap_or_default().to_owned(),
        sealed: false,
    };
    let attach = RecordingCommand::Attach { file, name: "call.wav".to_owned(), language: None };
    process(log, note, id, attach).await;
    id
}

fn transcript(texts: &[&str]) -> Transcript {
    let segments = (0_u64..).zip(texts).map(|(at, text)| Segment {
        start_ms: at * 1500,
        end_ms: (at + 1) * 1500,
        text: (*text).to_owned(),
        confidence: 87,
    });
    Transcript {
        model: "whisper-tiny.en".to_owned(),
        language: "en".to_owned(),
        duration_ms: 4500,
        segments: segments.collect(),
        gaps: vec![],
        marks: vec![],
    }
}

/// A transcript of these segments.
pub fn keep(round: u32, texts: &[&str]) -> RecordingCommand {
    RecordingCommand::KeepTranscript { round, transcript: transcript(texts) }
}

fn item(text: &str) -> ActionItem {
    ActionItem {
        text: text.to_owned(),
        owner: None,
        due: Some("2025-02-07".to_owned()),
        quote: Some("I will send it".to_owned()),
        start_ms: Some(1500),
    }
}

/// A summary with two action items, what both are read from, and an interest.
pub fn summary(round: u32) -> RecordingCommand {
    RecordingCommand::KeepSummary {
        round,
        summary: Summary {
            author: Author::Model { model: "m".to_owned(), prompt: "1".to_owned() },
            text: "They like it.".to_owned(),
            key_points: vec![],
        },
        items: vec![item("Send the deck"), item("Call back")],
        interest: Some(InterestSuggestion {
            interest: Some("meeting".to_owned()),
            fundraise: None,
            quote: Some("likes it".to_owned()),
            start_ms: Some(1500),
        }),
    }
}

/// A note with a recording, and waits until readers see it.
async fn recorded(api: &Api) -> (i64, RecordingId) {
    let note = api.made("notes", json!({"name": "Call"})).await;
    let id = attach(&api.backend.log, note, "recordings/none").await;
    api.backend.settle().await.unwrap();
    (note, id)
}

/// Likewise with a transcript and a summary.
async fn summarised(api: &Api) -> (i64, RecordingId) {
    let (note, id) = recorded(api).await;
    process(&api.backend.log, note, id, keep(1, &["Pro future", "likes it."])).await;
    process(&api.backend.log, note, id, summary(1)).await;
    api.backend.settle().await.unwrap();
    (note, id)
}

async fn shown(api: &Api, id: RecordingId) -> Value {
    api.read(&format!("/recordings/{id}")).await
}

async fn patch(api: &Api, id: RecordingId, segments: Value) -> Answer {
    let uri = format!("/recordings/{id}/transcript");
    api.send(json_request(http::Method::PATCH, &uri, &json!({"segments": segments}))).await
}

async fn texts(api: &Api, id: RecordingId) -> Vec<Value> {
    let read = api.read(&format!("/recordings/{id}/transcript")).await;
    let segments = read["segments"].as_array().unwrap();
    segments.iter().map(|segment| segment["text"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_shown_with_where_it_stands() {
    let api = Api::new().await;
    let (note, id) = recorded(&api).await;
    let it = shown(&api, id).await;
    assert_eq!((&it["note_id"], &it["state"]), (&json!(note), &json!("stored")));
    assert!(it["why"].as_str().unwrap().contains("CRM_WORKERS"), "{it}");
    assert_eq!(api.read(&format!("/notes/{note}/recordings")).await, json!([it]));
    let of_note = api.read(&format!("/notes/{note}")).await;
    assert_eq!(of_note["audio_path"], json!(format!("/recordings/{id}/audio")));
    assert_eq!(of_note["transcription_path"], Value::Null);
    let path = format!("/recordings/{id}/transcript");
    assert_eq!(api.get(&path).await.status, 404);

    process(&api.backend.log, note, id, keep(1, &["Pro future", "likes it."])).await;
    process(&api.backend.log, note, id, summary(1)).await;
    api.backend.settle().await.unwrap();
    let it = shown(&api, id).await;
    assert_eq!((&it["state"], &it["progress"]), (&json!("summarised"), &json!(1.0)));
    assert_eq!((&it["duration"], &it["language"]), (&json!(4.5), &json!("en")));
    assert_eq!(it["action_items"][0]["state"], json!("open"));
    let of_note = api.read(&format!("/notes/{note}")).await;
    assert_eq!(of_note["transcription_path"], json!(path));
    assert_eq!(of_note["ai_summary"], json!("They like it."));
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_is_read_in_the_form_that_is_asked_for() {
    let api = Api::new().await;
    let (_, id) = summarised(&api).await;
    let path = format!("/recordings/{id}/transcript");
    let read = api.read(&path).await;
    let expected = json!({"start": 0.0, "end": 1.5, "text": "Pro future", "confidence": 0.87,
        "corrected": false});
    assert_eq!(read["segments"][0], expected);
    for (format, accept, media_type, begins) in [
        ("vtt", "text/vtt", "text/vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nPro future\n"),
        ("srt", "application/x-subrip", "application/x-subrip", "1\n00:00:00,000 --> 00:00:01,500"),
        ("txt", "text/plain", "text/plain", "Pro future likes it."),
    ] {
        let accepting = request(http::Method::GET, &path).header("accept", accept);
        let accepting = accepting.body(axum::body::Body::empty()).unwrap();
        let by_accept = api.send(accepting).await;
        let by_name = api.get(&format!("{path}?format={format}")).await;
        for answer in [by_accept, by_name] {
            assert!(answer.header("content-type").unwrap().starts_with(media_type), "{format}");
            let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
            assert!(text.starts_with(begins), "{text}");
        }
    }
    assert_eq!(api.get(&format!("{path}?format=docx")).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn corrections_outlive_another_transcript() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let first = json!([{"start": 0.0, "end": 1.5, "text": "Profuturo"}]);
    let answer = patch(&api, id, first.clone()).await.expect(200, "correct");
    assert_eq!(answer["segments"][0]["text"], json!("Profuturo"));
    assert_eq!(answer["segments"][0]["corrected"], json!(true));
    let events = api.events().await;
    patch(&api, id, first).await.expect(200, "the same again");
    assert_eq!(api.events().await, events, "what changes nothing records nothing");
    let elsewhere = json!([{"start": 0.1, "end": 1.5, "text": "x"}]);
    assert_eq!(patch(&api, id, elsewhere).await.status, 409);
    assert_eq!(patch(&api, id, json!([{"start": 0.0}])).await.status, 422);

    let asked = api.post(&format!("/recordings/{id}/transcribe?language=es"), json!({})).await;
    asked.expect(200, "transcribe again");
    process(&api.backend.log, note, id, keep(2, &["Profeturo", "dislikes it."])).await;
    api.backend.settle().await.unwrap();
    assert_eq!(texts(&api, id).await, ["Profuturo", "dislikes it."]);
    let back = json!([{"start": 0.0, "end": 1.5, "text": null}]);
    patch(&api, id, back).await.expect(200, "go back");
    assert_eq!(texts(&api, id).await, ["Profeturo", "dislikes it."]);
    // What is asked of it once more changes nothing that is searched.
    api.post(&format!("/recordings/{id}/transcribe"), json!({})).await.expect(200, "and again");
    let report = crate::verify::verify(&api.db).await;
    assert!(report.passed, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_action_item_is_one_todo_however_often_it_is_accepted() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let path = |what: &str| format!("/recordings/{id}/action-items/{what}");
    let first = path("1/accept");
    let accept = || api.post(&first, json!({"title": "Send the deck to Ana"}));
    let (one, two, three) = tokio::join!(accept(), accept(), accept());
    for answer in [one, two, three] {
        answer.expect(200, "accept");
    }
    let todos = api.read("/todos").await;
    assert_eq!(todos.as_array().unwrap().len(), 1, "{todos}");
    let todo = &todos[0];
    assert_eq!(todo["title"], json!("Send the deck to Ana"));
    assert_eq!(todo["priority"], json!("medium"), "as of any todo that is made without one");
    assert_eq!(
        (&todo["note_id"], &todo["due_date"]),
        (&json!(note), &json!("2025-02-07T00:00:00"))
    );
    let linked = api.read(&format!("/todos/{}/notes", todo["id"])).await;
    assert_eq!(linked[0]["id"], json!(note));
    let it = shown(&api, id).await;
    assert_eq!(it["action_items"][0]["todo_id"], todo["id"]);
    api.post(&path("2/dismiss"), json!({})).await.expect(200, "dismiss");
    assert_eq!(shown(&api, id).await["action_items"][1]["state"], json!("dismissed"));
    assert_eq!(api.post(&path("1/dismiss"), json!({})).await.status, 409);
    // Whoever says that it is not due need not take the day that was said.
    let never = json!({"due_date": null});
    api.post(&path("2/accept"), never).await.expect(200, "accept after all");
    let second = shown(&api, id).await["action_items"][1]["todo_id"].clone();
    assert_eq!(api.read(&format!("/todos/{second}")).await["due_date"], Value::Null);
    assert_eq!(api.post(&path("3/accept"), json!({})).await.status, 404);
    assert_eq!(api.post(&path("2/accept"), json!({"due_date": "soon"})).await.status, 422);
    assert_eq!(api.post(&path("2/accept"), json!({"title": 7})).await.status, 422);
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_whose_todo_was_deleted_can_become_another_one() {
    let api = Api::new().await;
    let (_, id) = summarised(&api).await;
    let accept = format!("/recordings/{id}/action-items/1/accept");
    let it = api.post(&accept, json!({})).await.expect(200, "accept");
    let first = it["action_items"][0]["todo_id"].clone();
    assert_eq!(it["action_items"][0]["todo_deleted"], json!(false), "{it}");
    api.delete(&format!("/todos/{first}")).await.expect(200, "delete");
    let it = shown(&api, id).await;
    let item = &it["action_items"][0];
    assert_eq!((&item["state"], &item["todo_id"]), (&json!("accepted"), &first));
    assert_eq!(item["todo_deleted"], json!(true));
    let again = || api.post(&accept, json!({"title": "Send the whole deck"}));
    let (one, two) = tokio::join!(again(), again());
    for answer in [one, two] {
        answer.expect(200, "accept again");
    }
    let todos = api.read("/todos").await;
    let titles: Vec<&Value> = todos.as_array().unwrap().iter().map(|it| &it["title"]).collect();
    assert_eq!(titles, ["Send the whole deck"], "one, however often it is asked for at once");
    let it = shown(&api, id).await;
    let item = &it["action_items"][0];
    assert_eq!((&item["todo_id"], &item["todo_deleted"]), (&todos[0]["id"], &json!(false)));
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suggested_interest_becomes_a_stage_in_the_funnel() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let path = format!("/recordings/{id}/interest/accept");
    // Whose interest in what is not known.
    let faults = api.post(&path, json!({})).await.faults();
    assert_eq!(faults, ["missing at body.fund_id", "missing at body.lp_id"]);
    let fund = api.made("funds", json!({"fund_name": "III"})).await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    api.post(&format!("/notes/{note}/funds/{fund}"), json!({})).await.expect(200, "link");
    api.post(&format!("/notes/{note}/lps/{lp}"), json!({})).await.expect(200, "link");
    // What is no stage would take the LP out of the funnel.
    for stage in ["bogus", "Meeting", "", " "] {
        let answer = api.post(&path, json!({"interest": stage})).await;
        let told = answer.body["detail"][0]["msg"].as_str().unwrap().to_owned();
        assert!(told.contains("meeting_offered"), "{told}");
        assert_eq!(answer.faults(), ["enum at body.interest"], "{stage}");
    }
    let it = shown(&api, id).await;
    let rests_on = (&it["interest"]["quote"], &it["interest"]["start"]);
    assert_eq!(rests_on, (&json!("likes it"), &json!(1.5)));
    let it = api.post(&path, json!({})).await.expect(200, "accept");
    assert_eq!(
        (&it["interest"]["state"], &it["interest"]["lp_id"]),
        (&json!("accepted"), &json!(lp))
    );
    let funnel = api.read(&format!("/funds/{fund}/sales-funnel")).await;
    assert_eq!(funnel[0]["interest"], json!("meeting"));
    let cause = "select event_id::text from events where event_type = 'InterestRecorded'";
    let cause: String = sqlx::query_scalar(cause).fetch_one(&api.db.pool).await.unwrap();
    let tree = api.read(&format!("/audit/causation/{cause}")).await;
    let commands = tree["commands"].as_array().unwrap();
    assert_eq!(commands.len(), 1, "{tree}");
    assert_eq!(commands[0]["events"][0]["event_id"], json!(cause));
    assert_eq!(commands[0]["led_to"][0]["events"][0]["event"], "InterestAccepted", "{tree}");
    let events = api.events().await;
    api.post(&path, json!({})).await.expect(200, "accept again");
    assert_eq!(api.events().await, events);
    // What is refused moves nothing either.
    let other = api.made("lps", json!({"name": "Citibanamex"})).await;
    let events = api.events().await;
    for change in [json!({"interest": "inactive"}), json!({"lp_id": other})] {
        assert_eq!(api.post(&path, change).await.status, 409);
    }
    assert_eq!(api.events().await, events);
    let dismiss = format!("/recordings/{id}/interest/dismiss");
    assert_eq!(api.post(&dismiss, json!({})).await.status, 409);
}

/// Waits until so many wait for a turn to append, or for another advisory lock.
async fn until_waiting(api: &Api, count: i64) {
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted
        and database = (select oid from pg_database where datname = current_database())";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&api.db.pool).await.unwrap() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Who was told no must not have moved the funnel, and who moved it is told so.
#[tokio::test(flavor = "multi_thread")]
async fn an_interest_is_accepted_at_the_fund_and_at_the_note_or_at_neither() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let fund = api.made("funds", json!({"fund_name": "III"})).await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    let of_note = request(Method::GET, &format!("/notes/{note}")).body(Body::empty()).unwrap();
    let tag = send(&api.router, of_note).await.header("etag").unwrap().to_owned();
    let body = json!({"fund_id": fund, "lp_id": lp, "interest": "meeting_offered"});
    let mut accept =
        json_request(Method::POST, &format!("/recordings/{id}/interest/accept"), &body);
    accept.headers_mut().insert("if-match", tag.parse().unwrap());
    // Both wait for their turn to append; the edit has the second.
    let mut others_turn = api.db.pool.begin().await.unwrap();
    let take = "select pg_advisory_xact_lock($1)";
    sqlx::query(take).bind(APPEND_LOCK).execute(&mut *others_turn).await.unwrap();
    let editing = async {
        until_waiting(&api, 1).await;
        let other = EventLog::start(api.db.connections.clone());
        let revised = Change::Set("They called.".into());
        let changes = NoteChanges { summary: revised, ..NoteChanges::default() };
        let (edit, request) = (NoteCommand::Revise { changes }, command("Edit"));
        let editing = other.execute::<Note>(note, edit, &request);
        let releasing = async {
            until_waiting(&api, 2).await;
            others_turn.rollback().await.unwrap();
        };
        tokio::join!(editing, releasing).0.unwrap();
    };
    tokio::join!(send(&api.router, accept), editing).0.expect(200, "accept");
    let funnel = api.read(&format!("/funds/{fund}/sales-funnel")).await;
    assert_eq!(funnel[0]["interest"], json!("meeting_offered"));
    assert_eq!(shown(&api, id).await["interest"]["state"], json!("accepted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interest_that_two_servers_are_asked_to_accept_is_told_to_the_fund_once() {
    let api = Api::new().await;
    let (_, id) = summarised(&api).await;
    let fund = api.made("funds", json!({"fund_name": "III"})).await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    let (other, backend) = api.second().await;
    let path = format!("/recordings/{id}/interest/accept");
    let accept = |interest: &str| {
        let body = json!({"fund_id": fund, "lp_id": lp, "interest": interest});
        json_request(Method::POST, &path, &body)
    };
    // The first waits to append, and the second comes meanwhile.
    let mut others_turn = api.db.pool.begin().await.unwrap();
    let take = "select pg_advisory_xact_lock($1)";
    sqlx::query(take).bind(APPEND_LOCK).execute(&mut *others_turn).await.unwrap();
    let second = async {
        until_waiting(&api, 1).await;
        let releasing = async {
            until_waiting(&api, 2).await;
            others_turn.rollback().await.unwrap();
        };
        tokio::join!(send(&other, accept("meeting_offered")), releasing).0
    };
    let (first, second) = tokio::join!(send(&api.router, accept("meeting")), second);
    first.expect(200, "accept");
    second.expect(409, "accept as something else");
    let told = "select count(*) from events where event_type = 'InterestRecorded'";
    let told: i64 = sqlx::query_scalar(told).fetch_one(&api.db.pool).await.unwrap();
    assert_eq!(told, 1);
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_cancelled_and_tried_again() {
    let api = Api::new().await;
    let (note, id) = recorded(&api).await;
    let ask = |what: &str| format!("/recordings/{id}/{what}");
    let it = api.post(&ask("cancel"), json!({})).await.expect(200, "cancel");
    assert_eq!(it["state"], json!("cancelled"));
    let it = api.post(&ask("retry"), json!({})).await.expect(200, "retry");
    assert_eq!(it["state"], json!("stored"));
    assert_eq!(api.post(&ask("summarise"), json!({})).await.status, 409);
    assert_eq!(api.post(&ask("transcribe?model=../x"), json!({})).await.status, 422);
    assert_eq!(api.post(&ask("transcribe?speed=9"), json!({})).await.status, 422);
    let failed = RecordingCommand::FailTranscription { round: 2, reason: "no sound".to_owned() };
    process(&api.backend.log, note, id, failed).await;
    api.backend.settle().await.unwrap();
    let it = shown(&api, id).await;
    assert_eq!((&it["state"], &it["why"]), (&json!("failed"), &json!("no sound")));
    assert_eq!(api.post(&ask("cancel"), json!({})).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_transcription_that_comes_to_nothing_leaves_what_was_made() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let ask = |what: &str| format!("/recordings/{id}/{what}");
    let kept = |it: &Value, reason: &str| {
        assert_eq!((&it["state"], &it["language"]), (&json!("summarised"), &json!("en")));
        let why = it["why"].as_str().unwrap();
        assert!(why.contains("the earlier one is kept") && why.contains(reason), "{why}");
    };
    let it = api.post(&ask("transcribe?language=es"), json!({})).await.expect(200, "again");
    assert_eq!(it["state"], json!("stored"));
    let reason = "no Spanish".to_owned();
    let failed = RecordingCommand::FailTranscription { round: 2, reason };
    process(&api.backend.log, note, id, failed).await;
    api.backend.settle().await.unwrap();
    kept(&shown(&api, id).await, "no Spanish");
    api.post(&ask("retry"), json!({})).await.expect(200, "retry");
    kept(&api.post(&ask("cancel"), json!({})).await.expect(200, "cancel"), "it was cancelled");
    assert_eq!(texts(&api, id).await, ["Pro future", "likes it."]);
    // What is there can be summarised again.
    let it = api.post(&ask("summarise"), json!({})).await.expect(200, "summarise");
    assert_eq!(it["state"], json!("transcribed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_recording_and_those_of_a_deleted_note_are_gone() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let path = format!("/recordings/{id}");
    api.delete(&path).await.expect(200, "remove");
    assert_eq!(api.get(&path).await.status, 404);
    assert_eq!(api.delete(&path).await.status, 404);
    let of_note = api.read(&format!("/notes/{note}")).await;
    assert_eq!((&of_note["audio_path"], &of_note["ai_summary"]), (&Value::Null, &Value::Null));
    let (note, id) = summarised(&api).await;
    let path = format!("/recordings/{id}");
    api.delete(&format!("/notes/{note}")).await.expect(200, "delete the note");
    assert_eq!(api.get(&path).await.status, 404);
    assert_eq!(api.get(&format!("/notes/{note}/recordings")).await.status, 404);
    assert_eq!(api.get("/recordings/99").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_to_read_of_a_recording_whose_note_was_erased() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let erased = api.post(&format!("/notes/{note}/erase"), json!({"reason": "request 7"})).await;
    erased.expect(200, "erase");
    assert_eq!(api.get(&format!("/recordings/{id}")).await.status, 404);
    let plain: i64 = sqlx::query_scalar(
        "select count(*) from events where aggregate_type = 'note' and payload::text like '%future%'",
    )
    .fetch_one(&api.db.pool)
    .await
    .unwrap();
    assert_eq!(plain, 0);
    assert_read_models_match_the_log(&api.db.pool).await;
}
