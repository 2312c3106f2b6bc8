//! The todo that an action item becomes: when it is due, who is to do it, and whom it is about.

use super::*;

/// A note with a summarised recording in which this was promised.
async fn promised(api: &Api, note: Value, item: Value) -> (i64, RecordingId) {
    let note = api.made("notes", note).await;
    let id = attach(&api.backend.log, note, "recordings/none").await;
    process(&api.backend.log, note, id, keep(1, &["Pro future", "likes it."])).await;
    let RecordingCommand::KeepSummary { round, summary, .. } = summary(1) else { unreachable!() };
    let items = vec![serde_json::from_value(item).unwrap()];
    let kept = RecordingCommand::KeepSummary { round, summary, items, interest: None };
    process(&api.backend.log, note, id, kept).await;
    api.backend.settle().await.unwrap();
    (note, id)
}

/// The todo that the item becomes with this.
async fn accepted(api: &Api, id: RecordingId, said: Value) -> Value {
    let accept = format!("/recordings/{id}/action-items/1/accept");
    let it = api.post(&accept, said).await.expect(200, "accept");
    api.read(&format!("/todos/{}", it["action_items"][0]["todo_id"])).await
}

/// Ids of what a todo is about, by kind.
async fn about(api: &Api, todo: &Value) -> Vec<(&'static str, Vec<i64>)> {
    let mut about = Vec::new();
    for kind in ["lps", "gps", "funds", "people", "roadshows", "notes"] {
        about.push((kind, api.ids(&format!("/todos/{}/{kind}", todo["id"])).await));
    }
    about.retain(|(_, ids)| !ids.is_empty());
    about
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_was_said_counts_from_the_day_of_the_meeting() {
    let api = Api::new().await;
    // A Monday.
    let note = json!({"name": "Call", "date": "2025-02-03"});
    let item = json!({"text": "Send the deck", "due": "by Friday", "owner": "Ana"});
    let (note, id) = promised(&api, note, item).await;
    let due = |it: &Value| it["action_items"][0]["due_date"].clone();
    assert_eq!(due(&shown(&api, id).await), json!("2025-02-07T00:00:00"));
    // Whoever says when the meeting was says when that is.
    api.put(&format!("/notes/{note}"), json!({"date": "2025-03-03"})).await.expect(200, "dated");
    assert_eq!(due(&shown(&api, id).await), json!("2025-03-07T00:00:00"));
    let todo = accepted(&api, id, json!({})).await;
    assert_eq!(todo["due_date"], json!("2025-03-07T00:00:00"));
    let description = format!("Owner: Ana\nSaid in /recordings/{id}");
    assert_eq!(todo["description"], json!(description));
    // What was accepted stays so.
    api.put(&format!("/notes/{note}"), json!({"date": "2025-04-03"})).await.expect(200, "dated");
    assert_eq!(due(&shown(&api, id).await), json!("2025-03-07T00:00:00"));
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_day_of_the_meeting_that_of_its_recording_counts() {
    let api = Api::new().await;
    let item = json!({"text": "Send the deck", "due": "mañana"});
    let (_, id) = promised(&api, json!({"name": "Call"}), item).await;
    let it = shown(&api, id).await;
    let attached: chrono::DateTime<chrono::Utc> =
        serde_json::from_value(it["attached_at"].clone()).unwrap();
    let day = attached.with_timezone(&chrono::Local).date_naive().succ_opt().unwrap();
    assert_eq!(it["action_items"][0]["due_date"], json!(format!("{day}T00:00:00")));
    let todo = accepted(&api, id, json!({})).await;
    assert_eq!(todo["due_date"], json!(format!("{day}T00:00:00")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_day_stays_words_and_a_person_has_the_last_word() {
    let api = Api::new().await;
    let item =
        json!({"text": "Send the deck", "due": "when the committee has met", "owner": "Ana"});
    let words = "Due: when the committee has met";
    let note = || json!({"name": "Call", "date": "2025-02-03"});
    let (_, id) = promised(&api, note(), item.clone()).await;
    assert_eq!(shown(&api, id).await["action_items"][0]["due_date"], Value::Null);
    let todo = accepted(&api, id, json!({})).await;
    assert_eq!(todo["due_date"], Value::Null);
    let description = format!("Owner: Ana\n{words}\nSaid in /recordings/{id}");
    assert_eq!(todo["description"], json!(description));

    let (_, id) = promised(&api, note(), item.clone()).await;
    let said = json!({"title": "Send it", "due_date": "2025-05-05", "owner": " Ana Ruiz "});
    let todo = accepted(&api, id, said).await;
    assert_eq!(
        (&todo["title"], &todo["due_date"]),
        (&json!("Send it"), &json!("2025-05-05T00:00:00"))
    );
    assert_eq!(todo["description"], json!(format!("Owner: Ana Ruiz\nSaid in /recordings/{id}")));

    // Whoever says that there is no day does not mean these words either.
    let (_, id) = promised(&api, note(), item.clone()).await;
    let todo = accepted(&api, id, json!({"due_date": null})).await;
    assert_eq!(todo["due_date"], Value::Null);
    assert_eq!(todo["description"], json!(format!("Owner: Ana\nSaid in /recordings/{id}")));

    let (_, id) = promised(&api, note(), item).await;
    let accept = format!("/recordings/{id}/action-items/1/accept");
    for owner in [json!(""), json!("Ana\nRuiz"), json!("x".repeat(201)), json!(7)] {
        let answer = api.post(&accept, json!({"owner": owner})).await;
        assert_eq!(answer.status, 422, "{owner}");
        assert!(answer.faults()[0].ends_with("at body.owner"), "{owner}");
    }
    let todo = accepted(&api, id, json!({"owner": null})).await;
    assert_eq!(todo["description"], json!(format!("{words}\nSaid in /recordings/{id}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_todo_is_about_whom_alone_of_its_kind_the_note_is_about_and_about_its_owner() {
    let api = Api::new().await;
    let item = json!({"text": "Send the deck", "owner": "Ana Ruiz"});
    let (note, id) = promised(&api, json!({"name": "Call"}), item.clone()).await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    let gone = api.made("lps", json!({"name": "Gone"})).await;
    let funds = [
        api.made("funds", json!({"fund_name": "III"})).await,
        api.made("funds", json!({"fund_name": "IV"})).await,
    ];
    let there = api.made("people", json!({"name": "Luis Gil"})).await;
    let owner = api.made("people", json!({"name": "Ana Ruiz"})).await;
    for link in [
        format!("lps/{lp}"),
        format!("lps/{gone}"),
        format!("funds/{}", funds[0]),
        format!("funds/{}", funds[1]),
        format!("participants/{there}"),
    ] {
        api.post(&format!("/notes/{note}/{link}"), json!({})).await.expect(200, "link");
    }
    api.delete(&format!("/lps/{gone}")).await.expect(200, "deleted");
    let todo = accepted(&api, id, json!({})).await;
    let expected = [("lps", vec![lp]), ("people", vec![there, owner]), ("notes", vec![note])];
    assert_eq!(about(&api, &todo).await, expected);
    // It is among the todos of the LP, as one that was written down there.
    assert_eq!(api.read(&format!("/lps/{lp}/tasks")).await[0]["id"], todo["id"]);

    // Of two who are called so it is the one who was there, if one was.
    let namesake = api.made("people", json!({"name": "Ana Ruiz"})).await;
    let (note, id) = promised(&api, json!({"name": "Call"}), item).await;
    let todo = accepted(&api, id, json!({})).await;
    assert_eq!(about(&api, &todo).await, [("notes", vec![note])]);
    for person in [there, namesake] {
        let link = format!("/notes/{note}/participants/{person}");
        api.post(&link, json!({})).await.expect(200, "link");
    }
    api.delete(&format!("/todos/{}", todo["id"])).await.expect(200, "delete");
    let todo = accepted(&api, id, json!({})).await;
    assert_eq!(about(&api, &todo).await, [("people", vec![namesake]), ("notes", vec![note])]);
    assert_read_models_match_the_log(&api.db.pool).await;
}
