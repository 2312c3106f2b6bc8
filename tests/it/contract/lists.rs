//! The order of lists, and the filters of todos.

use serde_json::{Value, json};

use super::{Api, ids};

#[tokio::test]
async fn lists_are_ordered_and_filtered_as_they_always_were() {
    let api = Api::new().await;
    lists_have_the_order_that_they_always_had_however_records_change(&api).await;
    todos_are_listed_by_due_date_then_priority_and_filtered_as_text(&api).await;
    tasks_of_an_lp_or_gp_are_the_todos_of_its_notes(&api).await;
}

async fn lists_have_the_order_that_they_always_had_however_records_change(api: &Api) {
    let mut lps = Vec::new();
    for name in ["b", "a", "c"] {
        lps.push(api.made("lps", json!({"name": name})).await);
    }
    api.put(&format!("/lps/{}", lps[0]), json!({"name": "z"})).await.expect(200, "lp");
    assert_eq!(api.ids("/lps").await, lps);

    // Bytes decide: leading spaces, capitals, small letters, accents.
    let names = ["Ébano", "zinc", "Zinc", "  zinc", "alpha", "Zinc", "", "éter", "10"];
    for name in names {
        api.made("funds", json!({"fund_name": name})).await;
    }
    let funds = api.read("/funds").await;
    let listed: Vec<(&str, i64)> = funds
        .as_array()
        .unwrap()
        .iter()
        .map(|fund| (fund["fund_name"].as_str().unwrap(), fund["id"].as_i64().unwrap()))
        .collect();
    let mut expected: Vec<(&str, i64)> = names.into_iter().zip(1..).collect();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    api.put("/funds/1", json!({"fund_name": "AA"})).await.expect(200, "fund");
    assert_eq!(api.ids("/funds").await[3], 1);

    let mut notes = Vec::new();
    for date in [
        json!(null),
        json!("2025-01-31"),
        json!("2025-02-01"),
        json!("2025-01-31T00:00:01"),
        json!(""),
    ] {
        notes.push(api.made("notes", json!({"name": "x", "date": date})).await);
    }
    let order = |of: [usize; 5]| of.map(|at| notes[at]).to_vec();
    assert_eq!(api.ids("/notes").await, order([2, 3, 1, 0, 4]));
    api.put(&format!("/notes/{}", notes[4]), json!({"date": "2030-01-01"}))
        .await
        .expect(200, "note");
    api.put(&format!("/notes/{}", notes[2]), json!({"date": null})).await.expect(200, "note");
    assert_eq!(api.ids("/notes").await, order([4, 3, 1, 0, 2]));
    for (path, one) in
        [("lps", lps[0]), ("gps", api.made("gps", json!({"name": "x"})).await), ("funds", 1)]
    {
        for note in &notes {
            api.post(&format!("/notes/{note}/{path}/{one}"), json!(null)).await.expect(200, path);
        }
        assert_eq!(
            api.ids(&format!("/{path}/{one}/notes")).await,
            order([4, 3, 1, 0, 2]),
            "{path}"
        );
    }
}

async fn todos_are_listed_by_due_date_then_priority_and_filtered_as_text(api: &Api) {
    let rows = [
        (None, "low", "pending", "Legal,ir"),
        (None, "urgent", "pending", ""),
        (Some("2025-01-31"), "high", "completed", "k_c"),
        (Some("2025-01-31"), "medium", "pending", "LEGAL"),
        (Some("2025-01-31"), "", "Pending", "kyc,ñandú"),
        (Some("2025-01-31T09:30:00"), "urgent", "done", "100%"),
        (Some("2025-01-30"), "low", "pending", "legal"),
    ];
    for (due, priority, status, tags) in rows {
        let body = json!({"title": "x", "due_date": due, "priority": priority, "status": status, "tags": tags});
        api.made("todos", body).await;
    }
    // Null on a change stays null and sorts last among equal dates; on a new record it is the default.
    let null = json!({"title": "x", "due_date": "2025-01-31", "status": "pending"});
    let id = api.made("todos", null).await;
    api.put(&format!("/todos/{id}"), json!({"priority": null, "tags": null}))
        .await
        .expect(200, "null");
    let check = async |query: &str, expected: &[i64]| {
        assert_eq!(api.ids(&format!("/todos{query}")).await, expected, "{query}");
    };
    check("", &[2, 1, 7, 4, 3, 5, 8, 6]).await;
    check("?status=&priority=&tag=&due_before=&due_after=", &[2, 1, 7, 4, 3, 5, 8, 6]).await;
    check("?unknown=1", &[2, 1, 7, 4, 3, 5, 8, 6]).await;
    check("?status=pending", &[2, 1, 7, 4, 8]).await;
    check("?status=Pending", &[5]).await;
    check("?status=pend", &[]).await;
    check("?status=done&status=pending", &[2, 1, 7, 4, 8]).await;
    check("?priority=urgent", &[2, 6]).await;
    check("?priority=urgent&status=done", &[6]).await;
    check("?tag=legal", &[1, 7, 4]).await;
    check("?tag=k_c", &[3, 5]).await;
    check("?tag=%25", &[2, 1, 7, 4, 3, 5, 6]).await;
    check("?tag=%C3%91AND%C3%BA", &[]).await;
    check("?tag=%C3%B1AND%C3%BA", &[5]).await;
    check("?tag=a%00", &[]).await;
    check("?due_before=2025-01-31", &[7]).await;
    check("?due_after=2025-01-31", &[4, 3, 5, 8, 6]).await;
    check("?due_before=2025-01-31T00:00:00", &[7, 4, 3, 5, 8, 6]).await;
    check("?due_after=2025-01-31T00:00:00", &[]).await;
    check("?due_after=2025-01-31+00:00:00.000000", &[6]).await;
    check("?due_before=bad", &[7, 4, 3, 5, 8, 6]).await;
    check("?due_after=bad", &[]).await;
}

async fn tasks_of_an_lp_or_gp_are_the_todos_of_its_notes(api: &Api) {
    for owner in ["lps", "gps"] {
        let one = api.made(owner, json!({"name": "x"})).await;
        let note = api.made("notes", json!({"name": "x"})).await;
        let other = api.made("notes", json!({"name": "y"})).await;
        let mut todos = Vec::new();
        for of in [note, other, note] {
            todos.push(
                api.made("todos", json!({"title": "x", "note_id": of, "due_date": "2025-01-01"}))
                    .await,
            );
        }
        api.post(&format!("/notes/{note}/{owner}/{one}"), json!(null)).await.expect(200, "link");
        // A link from the todo itself does not count here.
        let list = if owner == "lps" { "lp_ids" } else { "gp_ids" };
        let linked = json!({list: [one], "note_ids": [note]});
        api.post(&format!("/todos/{}/relationships", todos[1]), linked).await.expect(200, "link");
        let uri = format!("/{owner}/{one}/tasks");
        let tasks = api.read(&uri).await;
        assert_eq!(ids(&tasks), [todos[0], todos[2]], "{owner}");
        assert_eq!(tasks[0], api.read(&format!("/todos/{}", todos[0])).await);
        api.put(&format!("/todos/{}", todos[0]), json!({"note_id": other}))
            .await
            .expect(200, "moved");
        assert_eq!(api.ids(&uri).await, [todos[2]]);
        api.delete(&format!("/notes/{note}")).await.expect(200, "gone");
        assert_eq!(api.read(&uri).await, Value::Array(vec![]));
    }
}
