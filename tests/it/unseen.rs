//! What was recorded is answered even where readers cannot see it: nothing is made up, and nothing is said to be gone.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::contract::{Api, json_request};

/// Sends a write that readers will not see in time; tells body and headers.
async fn unseen(api: &Api, request: Request<Body>) -> (Value, HeaderMap) {
    let answer = api.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    assert_eq!(parts.headers["x-read-model"], "behind");
    (serde_json::from_slice(&body).unwrap(), parts.headers)
}

/// Gives tables other names, so that whoever asks for them fails.
async fn rename(api: &Api, tables: &[(&str, &str)]) {
    for (from, to) in tables {
        let statement = format!("alter table {from} rename to {to}");
        sqlx::query(&statement).execute(&api.db.pool).await.unwrap();
    }
}

/// Waits until readers see what was recorded, however long projectors that failed wait before they try again.
async fn until_level(api: &Api) {
    let patience = Duration::from_secs(30);
    let head = api.backend.reader.head().await.unwrap();
    assert!(api.backend.reader.reached(head, patience).await, "readers see it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_readers_still_see_as_it_was_is_answered_as_it_is() {
    let api = Api::new().await;
    let body = json!({"name": "Ada", "location": "Lima"});
    let (ada, eve) = (api.post("/lps", body.clone()).await, api.post("/lps", body).await);
    let (ada_uri, eve_uri) =
        (format!("/lps/{}", ada.body["id"]), format!("/lps/{}", eve.body["id"]));
    api.delete(&eve_uri).await.expect(200, "deleted");
    // From now on the rows can be read and do not change.
    let mut held = api.db.pool.begin().await.unwrap();
    sqlx::query("lock table read_lp_1.lp in share mode").execute(&mut *held).await.unwrap();

    let undone = json!({"to": eve.position(), "force": true});
    let revert = json_request(Method::POST, &format!("{eve_uri}/revert"), &undone);
    let (row, eve_tag) = unseen(&api, revert).await;
    assert_eq!(row, eve.body, "it is back, not deleted");
    let revise = json_request(Method::PUT, &ada_uri, &json!({"priority": "A"}));
    let mut revised = ada.body;
    revised["priority"] = json!("A");
    let (row, ada_tag) = unseen(&api, revise).await;
    assert_eq!(row, revised);

    held.rollback().await.unwrap();
    until_level(&api).await;
    for (uri, row, headers) in [(ada_uri, revised, ada_tag), (eve_uri, eve.body, eve_tag)] {
        let shown = api.get(&uri).await;
        assert_eq!(shown.header("etag"), Some(headers["etag"].to_str().unwrap()), "{uri}");
        assert_eq!(shown.body, row);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_row_that_cannot_be_read_no_attribute_is_said_to_be_empty() {
    let api = Api::new().await;
    let row = api.post("/lps", json!({"name": "Ada", "location": "Lima"})).await.body;
    let uri = format!("/lps/{}", row["id"]);
    rename(&api, &[("read_lp_1.lp", "elsewhere")]).await;
    let revise = |priority: &str| {
        let mut request = json_request(Method::PUT, &uri, &json!({"priority": priority}));
        request.headers_mut().insert("idempotency-key", priority.parse().unwrap());
        request
    };
    let mut revised = row.clone();
    revised["priority"] = json!("A");
    assert_eq!(unseen(&api, revise("A")).await.0, revised, "the log has it");
    // What of a stream readers leave out is not known either, so that the row is not.
    rename(&api, &[("skipped_event", "skipped_elsewhere")]).await;
    let known = json!({"id": row["id"], "priority": "B"});
    let (row, headers) = unseen(&api, revise("B")).await;
    assert_eq!(row, known);
    assert!(!headers.contains_key("etag"), "nobody knows its tag");

    rename(&api, &[("skipped_elsewhere", "skipped_event"), ("read_lp_1.elsewhere", "lp")]).await;
    until_level(&api).await;
    let again = api.send(revise("B")).await;
    assert_eq!(again.header("idempotency-replayed"), None, "half an answer is not kept");
    revised["priority"] = json!("B");
    assert_eq!(again.expect(200, "again"), revised);
    let first = api.send(revise("A")).await;
    assert_eq!(first.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.body["location"], json!("Lima"));
    assert_eq!(api.events().await, 3, "nothing is recorded twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_standing_that_cannot_be_read_no_contact_is_said_to_be_missing() {
    let api = Api::new().await;
    api.made("funds", json!({"fund_name": "IV"})).await;
    api.made("roadshows", json!({"name": "MTY", "fund_id": 1})).await;
    for name in ["Ada", "Eve"] {
        api.made("lps", json!({"name": name})).await;
    }
    api.made("notes", json!({"name": "Call", "date": "2025-01-31T15:04:05"})).await;
    for other in ["lps/1", "funds/1", "roadshows/1"] {
        api.post(&format!("/notes/1/{other}"), Value::Null).await.expect(200, other);
    }
    for (path, owner, word, table) in [
        ("funds", "fund_id", "interest", "interest"),
        ("roadshows", "roadshow_id", "status", "lp_status"),
    ] {
        let uri = |lp: i64, standing: &str| format!("/{path}/1/lps/{lp}/{word}?{word}={standing}");
        let first = api.put(&uri(1, "offered"), Value::Null).await.expect(200, path);
        assert_eq!(first["latest_note_id"], json!(1));
        let mut expected = first;
        expected[word] = json!("declined");
        let without = json!({owner: 1, "lp_id": 2, word: "declined"});
        for (lp, expected) in [(1, expected), (2, without)] {
            let schema = format!("read_{table}_1");
            rename(&api, &[(&format!("{schema}.{table}"), "elsewhere")]).await;
            let put = json_request(Method::PUT, &uri(lp, "declined"), &Value::Null);
            assert_eq!(unseen(&api, put).await.0, expected, "{path}");
            rename(&api, &[(&format!("{schema}.elsewhere"), table)]).await;
            until_level(&api).await;
        }
    }
}
