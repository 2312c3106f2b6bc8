//! All that one command did to a record is taken back at once.

use super::*;

/// The types of the events of the command that was last, and its id.
async fn command(api: &Api) -> (Vec<String>, uuid::Uuid) {
    sqlx::query_as(
        "select array_agg(event_type order by position), command_id from events
         where command_id = (select command_id from events order by position desc limit 1)
         group by command_id",
    )
    .fetch_one(&api.db.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn all_that_a_command_did_is_taken_back_and_what_came_after_stays() {
    let api = Api::new().await;
    let made = json!({"name": "Ada", "priority": "1", "location": "Lima"});
    let id = api.made("lps", made).await;
    let lp = format!("lps/{id}");
    put(&api, &lp, json!({"name": "Ada Two", "priority": "2", "location": "Quito"})).await;
    let (events, several) = command(&api).await;
    assert!(events.len() > 1, "one event would show nothing: {events:?}");
    let last_of_it = last(&api).await.0;
    put(&api, &lp, json!({"advisor": "Eva"})).await;

    let goal = json!({"command": several});
    let told = rehearse(&api, &lp, goal.clone()).await;
    assert_eq!(told["fields"], json!(["location", "name", "priority"]));
    assert_eq!(told["conflicts"], json!([]));
    let row = undo(&api, &lp, goal.clone()).await.expect(200, "taken back");
    for (field, value) in
        [("name", "Ada"), ("priority", "1"), ("location", "Lima"), ("advisor", "Eva")]
    {
        assert_eq!(row[field], value, "{field}");
    }
    assert_eq!(last(&api).await.2, Some(event_id(&api, last_of_it).await));
    // That was one command, too.
    let (_, undoing) = command(&api).await;
    let row = undo(&api, &lp, json!({"command": undoing})).await.expect(200, "and forth again");
    assert_eq!((&row["name"], &row["advisor"]), (&json!("Ada Two"), &json!("Eva")));

    // What changed again since stands against it, unless that is left out.
    put(&api, &lp, json!({"location": "Bogotá"})).await;
    let refused = undo(&api, &lp, goal.clone()).await.expect(409, "changed since");
    assert_eq!(refused["conflicts"][0]["field"], "location");
    let part = json!({"command": several, "fields": ["name", "priority"]});
    let row = undo(&api, &lp, part).await.expect(200, "in part");
    assert_eq!((&row["name"], &row["location"]), (&json!("Ada"), &json!("Bogotá")));
    api.backend.stop().await;
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test]
async fn undoing_the_command_that_began_a_record_takes_it_away() {
    let api = Api::new().await;
    let id = api.made("funds", json!({"fund_name": "Alpine", "status": "closed"})).await;
    let (_, began) = command(&api).await;
    let fund = format!("funds/{id}");
    let gone = undo(&api, &fund, json!({"command": began})).await.expect(200, "taken away");
    assert_eq!(gone["status"], "deleted");
    api.get(&format!("/{fund}")).await.expect(404, "gone");
    api.backend.stop().await;
}

#[tokio::test]
async fn a_command_that_did_nothing_to_the_record_is_none_to_undo() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Ada"})).await;
    let (_, other) = command(&api).await;
    let gp = api.made("gps", json!({"name": "Alpine"})).await;
    let (_, own) = command(&api).await;
    for (body, fault) in [
        (json!({"command": other}), "not_found at body.command"),
        (json!({"command": "last"}), "uuid_parsing at body.command"),
        (json!({"command": 7}), "uuid_parsing at body.command"),
        (json!({"command": own, "to": 1}), "goal at body"),
    ] {
        let refused = undo(&api, &format!("gps/{gp}"), body.clone()).await;
        assert_eq!(refused.faults(), [fault], "{body}");
    }
    for (command, status) in [(own.to_string(), 404), ("last".to_owned(), 422)] {
        let uri = format!("/audit/lp/{lp}/undo?command={command}");
        assert_eq!(crate::pages::page(&api, &uri).await.0, status, "{command}");
    }
    api.backend.stop().await;
}

#[tokio::test]
async fn the_page_offers_to_undo_all_that_a_command_did() {
    let api = Api::new().await;
    let id = api.made("lps", json!({"name": "Ada", "priority": "1"})).await;
    let address = |command| format!("/audit/lp/{id}/undo?command={command}");
    let (_, first) = command(&api).await;
    put(&api, &format!("lps/{id}"), json!({"name": "Ada Two", "priority": "2"})).await;
    let (_, several) = command(&api).await;
    let (_, history) = crate::pages::page(&api, &format!("/audit/lp/{id}")).await;
    assert!(history.contains(&address(several)), "{history}");
    assert!(!history.contains(&address(first)), "one change has its own");
    let (_, preview) = crate::pages::page(&api, &address(several)).await;
    for said in ["Undo all that", "value=\"name\" checked", "value=\"priority\" checked"] {
        assert!(preview.contains(said), "{said}: {preview}");
    }
    let (_, narrowed) =
        crate::pages::page(&api, &format!("{}&fields=name", address(several))).await;
    assert!(narrowed.contains("fields=name&amp;seen="), "{narrowed}");
    api.backend.stop().await;
}
