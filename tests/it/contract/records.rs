//! What is written is answered as the whole row, and read back the same.

use serde_json::{Value, json};

use super::{Api, kinds};

#[tokio::test]
async fn what_is_written_is_what_is_read() {
    let api = Api::new().await;
    a_written_record_is_answered_whole_and_listed_as_it_was_answered(&api).await;
    the_meeting_screen_may_add_a_todo_without_a_title(&api).await;
}

async fn a_written_record_is_answered_whole_and_listed_as_it_was_answered(api: &Api) {
    let check = async |path: &str, body: Value, expected: Value| {
        let made = api.post(&format!("/{path}"), body).await.expect(200, path);
        assert_eq!(made, expected);
        assert_eq!(api.read(&format!("/{path}")).await, json!([made]));
        assert_eq!(api.read(&format!("/{path}/{}", made["id"])).await, made);
    };
    check(
        "lps",
        json!({"name": "Profuturo", "aum_billions": 1000, "location": "MTY"}),
        json!({"id": 1, "notion_id": null, "name": "Profuturo", "aum_billions": 1000.0, "advisor": null,
            "intl_alts": null, "intl_mf": null, "local_alts": null, "local_mf": null, "investment_high": null,
            "investment_low": null, "location": "MTY", "priority": null, "type_of_group": null, "text": null}),
    )
    .await;
    check(
        "gps",
        json!({"name": "Blackwood", "distributor_id": 987654}),
        json!({"id": 1, "notion_id": null, "name": "Blackwood", "location": null, "contact_level": null,
            "flagship_strategy": null, "other_strategies": null, "note": null, "distributor_id": 987654}),
    )
    .await;
    check(
        "distributors",
        json!({"name": "Casa", "mexico": "Yes"}),
        json!({"id": 1, "notion_id": null, "name": "Casa", "headquarter": null, "mexico": "Yes", "text": null}),
    )
    .await;
    check(
        "people",
        json!({"name": "Ana", "role": "LP", "org_type": "lp", "org_id": 1, "note": "dropped"}),
        json!({"id": 1, "notion_id": null, "name": "Ana", "cell_phone": null, "office_phone": null, "email": null,
            "location": null, "position": null, "people_type": null, "personal_note": null, "role": "LP",
            "org_type": "lp", "org_id": 1}),
    )
    .await;
    check(
        "funds",
        json!({"fund_name": "IV", "closed": 1, "target_irr": "20+", "launch": "2025-06-01", "gp_notion_id": ""}),
        json!({"id": 1, "notion_id": null, "fund_name": "IV", "geography": null, "target_multiple": null,
            "status": null, "days_to_rs": null, "target_irr": "20+", "hard_cap_mn": null, "target_mn": null,
            "roadshow_date": null, "sectors": null, "note": null, "potential": null, "asset_class": null,
            "current_lps": null, "launch": "2025-06-01T00:00:00", "roadshows": null, "final_close": null,
            "closed": true, "gp_notion_id": ""}),
    )
    .await;
    // As the meeting screen saves it.
    check(
        "notes",
        json!({"name": "2025_01_31_x", "raw_notes": "a\nb", "summary": "a", "date": "2025-01-31T10:00:00.000Z",
            "contact_type": "in-person", "pin": "Yes", "useful": true, "lp_id": 1}),
        json!({"id": 1, "notion_id": null, "name": "2025_01_31_x", "date": "2025-01-31T10:00:00",
            "contact_type": "in-person", "local_mf": null, "local_alts": null, "intl_mf": null, "intl_alts": null,
            "roadshows": null, "pin": "Yes", "useful": true, "fundraise": null, "ai_summary": null,
            "content_text": null, "content_json": null, "image_paths": null, "raw_notes": "a\nb", "summary": "a",
            "interest": null, "audio_path": null, "transcription_path": null}),
    )
    .await;
    check(
        "todos",
        json!({"title": "Call", "created_at": "2025-01-31T10:00:00.5", "due_date": "2025-02-01", "tags": "a,b"}),
        json!({"id": 1, "title": "Call", "description": null, "status": "pending", "priority": "medium",
            "created_at": "2025-01-31T10:00:00.500000", "due_date": "2025-02-01T00:00:00", "completed_at": null,
            "recurrence_pattern": null, "parent_todo_id": null, "tags": "a,b", "note_id": null}),
    )
    .await;
    check(
        "roadshows",
        json!({"name": "MTY", "fund_id": 1, "arrival": "2025-03-01T08:00:00Z", "lv_hotel": "Done"}),
        json!({"id": 1, "name": "MTY", "fund_id": 1, "arrival": "2025-03-01T08:00:00", "arrival_city": null,
            "second_city": null, "second_arrival": null, "departure": null, "lv_flight": "None",
            "lv_hotel": "Done", "mty_driver": "None", "cdmx_driver": "None", "flight_images": null,
            "notes": null}),
    )
    .await;
}

#[tokio::test]
async fn a_change_keeps_what_it_does_not_mention_and_clears_what_it_sends_as_null() {
    let api = Api::new().await;
    let name = |path: &str| match path {
        "funds" => ("fund_name", "note"),
        "todos" => ("title", "tags"),
        "lps" => ("name", "text"),
        "distributors" => ("name", "text"),
        "people" => ("name", "personal_note"),
        "roadshows" => ("name", "notes"),
        "notes" => ("name", "interest"),
        _ => ("name", "note"),
    };
    for (path, smallest) in kinds() {
        let id = api.made(path, smallest).await;
        let (uri, (name, text)) = (format!("/{path}/{id}"), name(path));
        let mut row = api.read(&uri).await;
        for (body, changed, value) in [
            (json!({text: "ñ"}), text, json!("ñ")),
            (json!({name: "renamed"}), name, json!("renamed")),
            (json!({text: ""}), text, json!("")),
            (json!({text: null}), text, json!(null)),
            (json!({name: ""}), name, json!("")),
        ] {
            row[changed] = value;
            assert_eq!(api.put(&uri, body).await.expect(200, &uri), row);
            assert_eq!(api.read(&uri).await, row);
            assert_eq!(api.read(&format!("/{path}")).await, json!([row]));
        }
        let events = api.events().await;
        assert_eq!(api.put(&uri, row.clone()).await.expect(200, "the row itself"), row);
        assert_eq!(api.put(&uri, json!({})).await.expect(200, "nothing"), row);
        assert_eq!(api.events().await, events, "{path}: what changes nothing records nothing");
    }
}

async fn the_meeting_screen_may_add_a_todo_without_a_title(api: &Api) {
    let body = json!({"note_id": 1, "description": "Call Ana\nabout fees", "status": "pending"});
    let todo = api.post("/todos", body).await.expect(200, "todo");
    assert_eq!((&todo["title"], &todo["note_id"]), (&json!("Call Ana"), &json!(1)));
    assert_eq!(todo["description"], "Call Ana\nabout fees");
    assert_eq!(
        api.post("/todos", json!({"description": " "})).await.faults(),
        ["missing at body.title"]
    );
    assert_eq!(
        api.post("/todos", json!({"title": null})).await.faults(),
        ["string_type at body.title"]
    );
    // The todos screen sends the whole row back.
    let mut row = todo.clone();
    row["status"] = "in_progress".into();
    assert_eq!(
        api.put(&format!("/todos/{}", todo["id"]), row.clone()).await.expect(200, "row"),
        row
    );
}
