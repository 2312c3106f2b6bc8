//! What recordings say of themselves: since when they are there, what they are called, and as what they are saved.

use chrono::{DateTime, Utc};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_says_since_when_it_is_there() {
    let api = Api::new().await;
    let (note, id) = recorded(&api).await;
    let at = "select recorded_at from events where event_type = 'RecordingAttached'";
    let at: DateTime<Utc> = sqlx::query_scalar(at).fetch_one(&api.db.pool).await.unwrap();
    // Whatever happens to it later, and however it comes into the table.
    for what in ["cancel", "retry"] {
        api.post(&format!("/recordings/{id}/{what}"), json!({})).await.expect(200, what);
    }
    let second = attach(&api.backend.log, note, "recordings/other").await;
    api.backend.settle().await.unwrap();
    let it = shown(&api, id).await;
    assert_eq!(it["attached_at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap(), at);
    let all = api.read(&format!("/notes/{note}/recordings")).await;
    assert_eq!((&all[0]["attached_at"], &all[1]["id"]), (&it["attached_at"], &json!(second)));
    assert!(all[1]["attached_at"].as_str().unwrap() > it["attached_at"].as_str().unwrap());
    let page = request(Method::GET, &format!("/audit/note/{note}")).header("accept", "text/html");
    let page = api.send(page.body(Body::empty()).unwrap()).await;
    let page = String::from_utf8(page.bytes.to_vec()).unwrap();
    let list = page.split("id=\"recordings\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(list.contains(&at.format("%-d %b %Y, %H:%M").to_string()), "{list}");
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_given_another_name_and_that_is_undone() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let path = format!("/recordings/{id}");
    let rename = async |body: Value| api.send(json_request(Method::PATCH, &path, &body)).await;
    let it = rename(json!({"name": " Lunch with Ana "})).await.expect(200, "rename");
    assert_eq!(it["name"], "Lunch with Ana");
    assert_eq!(shown(&api, id).await["name"], "Lunch with Ana");
    let events = api.events().await;
    rename(json!({"name": "Lunch with Ana"})).await.expect(200, "the same again");
    for (body, fault) in [
        (json!({}), "missing at body.name"),
        (json!({"name": " "}), "string_type at body.name"),
        (json!({"name": 7}), "string_type at body.name"),
        (json!({"name": "a\u{0}"}), "string_control_character at body.name"),
        (json!({"name": "Lunch\nwith Ana"}), "string_control_character at body.name"),
        (json!({"name": "a\u{1b}[31m"}), "string_control_character at body.name"),
        (json!({"name": "a\u{2028}b"}), "string_control_character at body.name"),
        (json!({"name": "x".repeat(201)}), "string_too_long at body.name"),
        (json!({"name": "x", "title": "y"}), "extra_forbidden at body.title"),
    ] {
        assert_eq!(rename(body.clone()).await.faults(), [fault], "{body}");
    }
    assert_eq!(api.events().await, events);
    let history = api.read(&format!("/notes/{note}/history?event=RecordingRenamed")).await;
    let entry = &history["entries"][0];
    assert!(entry["sentence"].as_str().unwrap().contains("renamed to Lunch with Ana"), "{entry}");
    let undo = json!({"event": entry["event_id"]});
    api.post(&format!("/notes/{note}/revert"), undo).await.expect(200, "undo");
    assert_eq!(shown(&api, id).await["name"], "call.wav");
    // That it was added is not taken back, nor the name that it was added with.
    let history = api.read(&format!("/notes/{note}/history?event=RecordingAttached")).await;
    for dry_run in [true, false] {
        let undo = json!({"event": history["entries"][0]["event_id"], "force": true});
        let refused = api.post(&format!("/notes/{note}/revert?dry_run={dry_run}"), undo).await;
        refused.expect(409, "what was added stays");
    }
    assert_eq!(shown(&api, id).await["name"], "call.wav");
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_is_saved_under_a_name_that_tells_whose_it_is() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let renamed = json!({"name": "Reunión \"Ana\"/..\\x", "date": "2025-01-31"});
    api.put(&format!("/notes/{note}"), renamed).await.expect(200, "renamed");
    for ending in ["txt", "vtt", "srt", "json"] {
        let got = api.get(&format!("/recordings/{id}/transcript?format={ending}")).await;
        let expected = format!(
            "inline; filename*=UTF-8''2025-01-31%20Reuni%C3%B3n%20_Ana__.._x%20recording%20{id}.{ending}"
        );
        assert_eq!(got.header("content-disposition"), Some(expected.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_says_that_the_transcript_was_corrected_since() {
    let api = Api::new().await;
    let (_, id) = summarised(&api).await;
    assert_eq!(shown(&api, id).await["summary"]["corrected_since"], json!(false));
    let corrected = json!([{"start": 0.0, "end": 1.5, "text": "Profuturo"}]);
    patch(&api, id, corrected).await.expect(200, "correct");
    assert_eq!(shown(&api, id).await["summary"]["corrected_since"], json!(true));
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_understood_is_told_unless_somebody_wrote_what_was_said_there() {
    let api = Api::new().await;
    let (note, id) = summarised(&api).await;
    let written = json!([{"start": 1.5, "end": 3.0, "text": "They pass."}]);
    patch(&api, id, written).await.expect(200, "correct");
    api.post(&format!("/recordings/{id}/transcribe"), json!({})).await.expect(200, "again");
    let mark = |start_ms, end_ms| Mark { start_ms, end_ms, kind: MarkKind::NoWords };
    let marks = vec![mark(1600, 2900), mark(4000, 6000)];
    let transcript = Transcript { marks, ..transcript(&["Profuturo"]) };
    let kept = RecordingCommand::KeepTranscript { round: 2, transcript };
    process(&api.backend.log, note, id, kept).await;
    api.backend.settle().await.unwrap();
    let told = async |format: &str| {
        let got = api.get(&format!("/recordings/{id}/transcript?format={format}")).await;
        String::from_utf8(got.bytes.to_vec()).unwrap()
    };
    for format in ["txt", "vtt", "srt"] {
        let text = told(format).await;
        assert_eq!(text.matches("[no word understood]").count(), 1, "{format}: {text}");
    }
    assert!(told("vtt").await.contains("00:00:04.000 --> 00:00:06.000\n[no word understood]"));
    let page = request(Method::GET, &format!("/recordings/{id}")).header("accept", "text/html");
    let page = api.send(page.body(Body::empty()).unwrap()).await;
    let page = String::from_utf8(page.bytes.to_vec()).unwrap();
    assert_eq!(page.matches("no word was understood").count(), 1);
    let filled = json!([{"start": 4.0, "end": 6.0, "text": "Goodbye."}]);
    patch(&api, id, filled).await.expect(200, "filled");
    assert!(!told("txt").await.contains("understood"));
}
