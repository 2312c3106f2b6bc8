//! Of one event, only what it did to some fields can be taken back.

use tower::ServiceExt as _;

use super::*;

#[tokio::test]
async fn an_undo_of_one_event_can_be_narrowed_to_some_of_its_fields() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Ada", "location": "Lima", "advisor": "Eva"})).await;
    let lp = format!("lps/{lp}");
    let first = last(&api).await.0;
    let changes = json!({"location": "Quito", "advisor": "Ana", "text": "new"});
    let amended = put(&api, &lp, changes).await;
    put(&api, &lp, json!({"advisor": "Mia"})).await;

    let whole = rehearse(&api, &lp, json!({"event": amended})).await;
    assert_eq!(whole["fields"], json!(["advisor", "location", "text"]));
    assert_eq!(whole["conflicts"][0]["field"], "advisor");
    let back = rehearse(&api, &lp, json!({"to": first})).await;
    assert_eq!(back["fields"], json!([]), "it is no single event");
    let part = json!({"event": amended, "fields": ["location"]});
    let told = rehearse(&api, &lp, part.clone()).await;
    assert_eq!(told["fields"], whole["fields"]);
    assert_eq!(told["conflicts"], json!([]), "what changed since is not among it");
    let changed = |told: &Value| {
        let changes = told["changes"].as_array().unwrap().iter();
        changes.map(|change| change["field"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(changed(&told), ["location"]);
    // As a list in the body, or in the address.
    let uri = format!("/{lp}/revert?dry_run=true&fields=location,advisor&fields=text");
    let all = api.post(&uri, json!({"event": amended})).await.expect(200, "by the address");
    assert_eq!(all["changes"], whole["changes"]);

    for (body, query, fault) in [
        (json!({"event": amended, "fields": ["name"]}), "", "not_changed at body.fields"),
        (json!({"event": amended, "fields": []}), "", "fields at body.fields"),
        (json!({"event": amended, "fields": "location"}), "", "fields at body.fields"),
        (json!({"event": amended, "fields": [7]}), "", "fields at body.fields"),
        (json!({"event": amended, "fields": ["text"]}), "?fields=text", "fields at body.fields"),
        (json!({"event": amended}), "?fields=", "fields at query.fields"),
        (json!({"to": first, "fields": ["text"]}), "", "fields at body"),
    ] {
        let refused = api.post(&format!("/{lp}/revert{query}"), body.clone()).await;
        assert_eq!(refused.faults(), [fault], "{body}");
    }
    let unknown = json!({"event": amended, "fields": ["name"]});
    let said = undo(&api, &lp, unknown).await.expect(422, "name")["detail"][0]["msg"].take();
    assert_eq!(said, "This did not change \"name\"; it changed advisor, location, text");

    let contested = json!({"event": amended, "fields": ["location", "advisor"]});
    let refused = undo(&api, &lp, contested).await.expect(409, "changed since");
    assert_eq!(refused["conflicts"][0]["field"], "advisor");
    let row = undo(&api, &lp, part).await.expect(200, "in part");
    assert_eq!(row["location"], "Lima");
    assert_eq!((&row["advisor"], &row["text"]), (&json!("Mia"), &json!("new")));
    assert_eq!(last(&api).await.2, Some(event_id(&api, amended).await));

    // Of what a record said at first, too, which undone as a whole takes it away.
    let row = undo(&api, &lp, json!({"event": first, "fields": ["location"]})).await;
    assert_eq!(row.expect(200, "what it said at first")["location"], Value::Null);
    let name = undo(&api, &lp, json!({"event": first, "fields": ["name"]})).await;
    name.expect(409, "a record has a name");
    api.backend.stop().await;
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test]
async fn the_preview_asks_which_fields_and_goes_on_with_these() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Ada", "location": "Lima"})).await;
    let amended = put(&api, &format!("lps/{lp}"), json!({"location": "Quito", "text": "x"})).await;
    let event = event_id(&api, amended).await;
    let preview = format!("/audit/lp/{lp}/undo?event={event}");
    let (_, page) = crate::pages::page(&api, &preview).await;
    let is_ticked = |page: &str, field: &str| {
        let tag = format!(r#"<input type="checkbox" name="fields" value="{field}""#);
        let (_, rest) = page.split_once(&tag).unwrap_or_else(|| panic!("no {tag}: {page}"));
        rest.starts_with(" checked>")
    };
    assert!(is_ticked(&page, "location") && is_ticked(&page, "text"), "all at first");
    let (_, page) = crate::pages::page(&api, &format!("{preview}&fields=text")).await;
    assert!(!is_ticked(&page, "location") && is_ticked(&page, "text"));
    let (_, action) = page.split_once(r#"method="post" action=""#).unwrap();
    let action = action.split_once('"').unwrap().0.replace("&amp;", "&");
    assert!(action.contains("&fields=text"), "{action}");
    let posted = axum::http::Request::post(action)
        .header("host", "localhost")
        .header("accept", "text/html")
        .body(axum::body::Body::empty());
    let done = api.router.clone().oneshot(posted.unwrap()).await.unwrap();
    assert_eq!(done.status(), 303);
    let row = api.read(&format!("/lps/{lp}")).await;
    assert_eq!((&row["location"], &row["text"]), (&json!("Quito"), &Value::Null));
    let (status, _) = crate::pages::page(&api, &format!("{preview}&fields=name")).await;
    assert_eq!(status, 422, "that the change did not touch");
    let alone = put(&api, &format!("lps/{lp}"), json!({"priority": "A"})).await;
    let (_, page) = crate::pages::page(&api, &format!("/audit/lp/{lp}/undo?event={alone}")).await;
    assert!(!page.contains("checkbox"), "there is nothing to choose");
    api.backend.stop().await;
}
