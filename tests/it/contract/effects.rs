//! What a write does beside what it says: the roadshow date of a fund, and todos that come again.

use domain::Verbatim;
use domain::todo::{Todo, TodoChanges, TodoCommand, TodoStatus};
use serde_json::{Value, json};

use super::Api;
use crate::log::request;

impl Api {
    async fn roadshow_date(&self, fund: i64) -> Value {
        self.read(&format!("/funds/{fund}")).await["roadshow_date"].take()
    }
}

#[tokio::test]
async fn a_write_does_what_it_always_did_beside_what_it_says() {
    let api = Api::new().await;
    the_arrival_of_the_roadshow_touched_last_is_the_roadshow_date_of_its_fund(&api).await;
    completing_a_todo_says_when_and_reopening_it_does_not_unsay_it(&api).await;
    a_recurring_todo_comes_again_when_it_is_completed(&api).await;
    a_copy_has_what_the_todo_had_before_and_does_not_come_again(&api).await;
    a_copy_gets_another_id_when_an_import_has_used_its(&api).await;
}

async fn the_arrival_of_the_roadshow_touched_last_is_the_roadshow_date_of_its_fund(api: &Api) {
    let fund = api.made("funds", json!({"fund_name": "IV", "roadshow_date": "2024-01-01"})).await;
    let other = api.made("funds", json!({"fund_name": "V"})).await;
    let check = async |step: &str, expected: Option<&str>| {
        let expected = expected.map(|day| json!(format!("{day}T00:00:00"))).unwrap_or_default();
        assert_eq!(api.roadshow_date(fund).await, expected, "{step}");
        let listed = api.read("/funds").await;
        assert_eq!(listed[0]["roadshow_date"], expected, "{step}, in the list");
    };
    let made = async |body: Value| -> String {
        format!("/roadshows/{}", api.made("roadshows", body).await)
    };
    let put = async |uri: &str, body: Value| {
        let row = api.put(uri, body).await.expect(200, uri);
        assert_eq!(row, api.read(uri).await, "the answer is the row");
        assert_eq!(row.as_object().unwrap().len(), 14);
    };
    let without = made(json!({"name": "none", "fund_id": fund})).await;
    check("a roadshow without arrival", Some("2024-01-01")).await;
    let one = made(json!({"name": "one", "fund_id": fund, "arrival": "2025-03-01"})).await;
    check("a new roadshow", Some("2025-03-01")).await;
    let two =
        made(json!({"name": "two", "fund_id": fund, "arrival": "2025-04-01T00:00:00Z"})).await;
    check("a second one", Some("2025-04-01")).await;
    put(&one, json!({"notes": "x"})).await;
    check("a change that has nothing to do with it", Some("2025-03-01")).await;
    put(&two, json!({})).await;
    check("a change of nothing", Some("2025-04-01")).await;
    put(&without, json!({"notes": "x"})).await;
    check("a change of one without arrival", Some("2025-04-01")).await;
    put(&one, json!({"arrival": "2025-05-01"})).await;
    check("another arrival", Some("2025-05-01")).await;
    put(&one, json!({"arrival": null})).await;
    check("no arrival any more", Some("2025-05-01")).await;
    put(&two, json!({"notes": "y"})).await;
    check("the second one again", Some("2025-04-01")).await;
    put(&one, json!({"arrival": "2025-05-01"})).await;
    check("an arrival again", Some("2025-05-01")).await;
    put(&two, json!({"notes": "z"})).await;
    put(&one, json!({"name": "one (called off)", "arrival": null})).await;
    check("one that is called off under another name", Some("2025-04-01")).await;
    let third = made(json!({"name": "three", "fund_id": other, "arrival": "2020-01-01"})).await;
    put(&third, json!({"fund_id": fund, "arrival": null})).await;
    check("one without arrival from another fund", Some("2025-04-01")).await;
    put(&one, json!({"arrival": "2025-05-01"})).await;
    api.put(&format!("/funds/{fund}"), json!({"roadshow_date": "2030-01-01"}))
        .await
        .expect(200, "fund");
    check("a date set by hand", Some("2030-01-01")).await;
    put(&two, json!({})).await;
    check("the arrival wins again", Some("2025-04-01")).await;
    api.put(&format!("/funds/{fund}"), json!({"roadshow_date": null})).await.expect(200, "fund");
    check("cleared by hand", None).await;
    put(&two, json!({"notes": "y"})).await;
    check("and back", Some("2025-04-01")).await;
    put(&two, json!({"fund_id": other})).await;
    check("moved to another fund, the date stays", Some("2025-04-01")).await;
    assert_eq!(api.roadshow_date(other).await, "2025-04-01T00:00:00");
    api.delete(&two).await.expect(200, "deleted");
    assert_eq!(api.roadshow_date(other).await, "2025-04-01T00:00:00");
    put(&one, json!({"arrival": "2025-06-01", "fund_id": 987})).await;
    check("moved to a fund that does not exist", Some("2025-04-01")).await;
    made(json!({"name": "x", "fund_id": 987, "arrival": "2025-06-01"})).await;
}

/// A todo that was just made.
async fn todo(api: &Api, body: Value) -> i64 {
    let mut whole = json!({"title": "Call", "description": "about fees", "priority": "high", "tags": "a,b",
        "note_id": 7, "due_date": "2025-01-31T09:00:00"});
    whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    api.made("todos", whole).await
}

async fn complete(api: &Api, id: i64) -> Value {
    api.put(&format!("/todos/{id}"), json!({"status": "completed"})).await.expect(200, "completed")
}

/// The todos that came of one, by id.
async fn copies(api: &Api, id: i64) -> Vec<Value> {
    let mut copies: Vec<Value> = api.read("/todos").await.as_array().unwrap().clone();
    copies.retain(|todo| todo["parent_todo_id"] == id);
    copies.sort_by_key(|todo| todo["id"].as_i64());
    copies
}

async fn completing_a_todo_says_when_and_reopening_it_does_not_unsay_it(api: &Api) {
    let id = todo(api, json!({"recurrence_pattern": null})).await;
    let before = chrono::Utc::now().naive_utc();
    let done = complete(api, id).await;
    let at = |todo: &Value| -> chrono::NaiveDateTime {
        todo["completed_at"].as_str().unwrap().parse().unwrap()
    };
    assert!((at(&done) - before).num_seconds().abs() < 60, "UTC: {done}");
    assert_eq!(done["status"], "completed");
    let again = complete(api, id).await;
    assert!(at(&again) > at(&done), "every time counts");
    let open =
        api.put(&format!("/todos/{id}"), json!({"status": "pending"})).await.expect(200, "open");
    assert_eq!(
        (&open["status"], &open["completed_at"]),
        (&json!("pending"), &again["completed_at"])
    );
    // Other changes come along; a date of its own does not count against the clock.
    let body =
        json!({"status": "completed", "title": "Called", "completed_at": "2001-01-01T00:00:00"});
    let row = api.put(&format!("/todos/{id}"), body).await.expect(200, "both");
    assert_eq!((&row["title"], &row["status"]), (&json!("Called"), &json!("completed")));
    assert!(at(&row) > at(&again), "{row}");
    assert_eq!(api.ids("/todos").await, [id], "no copy without a pattern");
    // A new record that is completed from the start was never completed.
    let born =
        todo(api, json!({"status": "completed", "recurrence_pattern": "{\"type\": \"daily\"}"}))
            .await;
    assert_eq!(api.read(&format!("/todos/{born}")).await["completed_at"], Value::Null);
    assert_eq!(copies(api, born).await, [] as [Value; 0]);
}

async fn a_recurring_todo_comes_again_when_it_is_completed(api: &Api) {
    let check = async |pattern: Value, due: Value, expected: Option<&str>| {
        let pattern = match pattern {
            Value::Object(_) => Value::String(pattern.to_string()),
            other => other,
        };
        let id = todo(api, json!({"recurrence_pattern": pattern, "due_date": due})).await;
        complete(api, id).await;
        let copies = copies(api, id).await;
        let dues: Vec<&Value> = copies.iter().map(|copy| &copy["due_date"]).collect();
        assert_eq!(
            dues,
            expected.iter().map(|due| json!(due)).collect::<Vec<_>>().iter().collect::<Vec<_>>(),
            "{pattern}"
        );
    };
    let due = json!("2025-01-31T09:00:00");
    check(json!({"type": "daily"}), due.clone(), Some("2025-02-01T09:00:00")).await;
    check(json!({"type": "daily", "interval": 3}), due.clone(), Some("2025-02-03T09:00:00")).await;
    check(json!({"type": "weekly", "interval": 1}), due.clone(), Some("2025-02-07T09:00:00")).await;
    check(json!({"type": "monthly"}), due.clone(), Some("2025-03-02T09:00:00")).await;
    check(json!({"type": "monthly", "interval": 2}), due.clone(), Some("2025-04-01T09:00:00"))
        .await;
    check(json!({"type": "weekly", "interval": 0}), due.clone(), Some("2025-01-31T09:00:00")).await;
    check(json!({"type": "daily", "interval": -1}), due.clone(), Some("2025-01-30T09:00:00")).await;
    check(
        json!({"type": "daily", "end_date": "2025-02-02"}),
        due.clone(),
        Some("2025-02-01T09:00:00"),
    )
    .await;
    check(json!({"type": "daily", "end_date": "2025-02-01"}), due.clone(), None).await;
    check(json!({"type": "weekly", "end_date": "2025-02-06"}), due.clone(), None).await;
    check(json!({"type": "yearly"}), due.clone(), None).await;
    check(json!({"interval": 1}), due.clone(), None).await;
    check(json!("weekly"), due.clone(), None).await;
    check(json!("{broken"), due.clone(), None).await;
    check(json!(""), due.clone(), None).await;
    check(json!("[]"), due, None).await;
    check(json!({"type": "daily"}), Value::Null, None).await;
}

async fn a_copy_gets_another_id_when_an_import_has_used_its(api: &Api) {
    let id = todo(api, json!({"recurrence_pattern": "{\"type\": \"daily\"}"})).await;
    let command = TodoCommand::Register {
        title: "imported".into(),
        status: TodoStatus::Pending,
        details: TodoChanges::default(),
        legacy: Verbatim::default(),
    };
    let log = &api.backend.log;
    log.execute::<Todo>(id + 1, command, &request("Register")).await.unwrap();
    complete(api, id).await;
    assert_eq!(copies(api, id).await[0]["id"], id + 2);
}

async fn a_copy_has_what_the_todo_had_before_and_does_not_come_again(api: &Api) {
    let lp = api.made("lps", json!({"name": "x"})).await;
    let pattern = "{\"type\": \"weekly\"}";
    let id = todo(api, json!({"recurrence_pattern": pattern})).await;
    let uri = format!("/todos/{id}");
    api.post(&format!("{uri}/relationships"), json!({"lp_ids": [lp]})).await.expect(200, "links");
    let body = json!({"status": "completed", "title": "Called", "due_date": "2026-01-01", "tags": null,
        "recurrence_pattern": "{\"type\": \"daily\"}"});
    let done = api.put(&uri, body).await.expect(200, "done");
    assert_eq!(
        (&done["title"], &done["due_date"]),
        (&json!("Called"), &json!("2026-01-01T00:00:00"))
    );
    let first = copies(api, id).await;
    assert_eq!(first.len(), 1);
    let copy = first[0].clone();
    let expected = json!({"id": copy["id"], "title": "Call", "description": "about fees", "status": "pending",
        "priority": "high", "created_at": copy["created_at"], "due_date": "2025-02-07T09:00:00",
        "completed_at": null, "recurrence_pattern": pattern, "parent_todo_id": id, "tags": "a,b", "note_id": 7});
    assert_eq!(copy, expected);
    let copy_id = copy["id"].as_i64().unwrap();
    assert_eq!(api.read(&format!("/todos/{copy_id}/lps")).await, json!([]), "links are not copied");
    assert_eq!(api.ids(&format!("{uri}/lps")).await, [lp]);
    complete(api, copy_id).await;
    assert_eq!(copies(api, copy_id).await, [] as [Value; 0]);
    // Completing twice makes two copies, the second from the row as it is then.
    complete(api, id).await;
    let second = copies(api, id).await;
    let dues: Vec<&str> = second.iter().map(|copy| copy["due_date"].as_str().unwrap()).collect();
    assert_eq!(dues, ["2025-02-07T09:00:00", "2026-01-02T00:00:00"]);
    // Other changes make none.
    api.put(&uri, json!({"status": "in_progress"})).await.expect(200, "open");
    api.put(&uri, json!({"status": "Completed"})).await.expect(200, "another word");
    assert_eq!(copies(api, id).await.len(), 2);
    // What a pattern says beyond that is its own wish.
    let repeat = json!({"recurrence_pattern": "{\"type\": \"monthly\", \"month\": \"calendar\", \"repeat\": true}"});
    let id = todo(api, repeat).await;
    complete(api, id).await;
    let copy = copies(api, id).await[0].clone();
    assert_eq!(copy["due_date"], "2025-02-28T09:00:00");
    complete(api, copy["id"].as_i64().unwrap()).await;
    let next = copies(api, copy["id"].as_i64().unwrap()).await;
    assert_eq!(next[0]["due_date"], "2025-03-28T09:00:00");
}
