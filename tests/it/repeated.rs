//! A request that is repeated with its idempotency key, after a crash that came between its commit and its answer.

use axum::http::Method;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::contract::{Answer, Api, json_request};

const NO_CONDITION: &str = "*";

/// Sends a write with a key of its own, forgets its answer as a crash would, and sends it again.
async fn twice(
    api: &Api,
    method: Method,
    uri: &str,
    body: Value,
    condition: &str,
) -> (Answer, Answer) {
    let send = async || {
        let mut request = json_request(method.clone(), uri, &body);
        let key = format!("{method} {uri} {condition}");
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        if condition != NO_CONDITION {
            request.headers_mut().insert("if-match", condition.parse().unwrap());
        }
        api.send(request).await
    };
    let first = send().await;
    forget_answers(api).await;
    let events = api.events().await;
    let again = send().await;
    assert_eq!(api.events().await, events, "{method} {uri} was carried out once");
    (first, again)
}

/// The keys stay, since they were committed with the events; the answers were not recorded yet.
async fn forget_answers(api: &Api) {
    let forget = "update idempotency_key set status = null, answer = null";
    sqlx::query(forget).execute(&api.db.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_waits_for_readers_and_is_tagged_as_the_first_time() {
    let api = Api::new().await;
    let post = async |key: &str| {
        let mut request = json_request(Method::POST, "/lps", &json!({"name": "Ada"}));
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        let answer = api.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_parts().0.headers
    };
    let first = post("tagged").await;
    assert!(first.contains_key("etag"));
    let again = post("tagged").await;
    assert_eq!((again.get("etag"), again.get("x-read-model")), (first.get("etag"), None));
    let lp = api.ids("/lps").await[0];
    api.put(&format!("/lps/{lp}"), json!({"name": "Eve"})).await.expect(200, "changed since");
    assert_eq!(post("tagged").await.get("etag"), None, "what it shows is not the record any more");

    let mut holding = api.db.pool.begin().await.unwrap();
    sqlx::query("select from generation where projector = 'lp' for update")
        .execute(&mut *holding)
        .await
        .unwrap();
    assert_eq!(post("late").await["x-read-model"], "behind");
    let again = post("late").await;
    assert_eq!(again["idempotency-replayed"], "true");
    assert_eq!(again["x-read-model"], "behind");
    holding.rollback().await.unwrap();
    api.backend.settle().await.unwrap();
    assert_eq!(post("late").await.get("x-read-model"), None);
    api.backend.stop().await;
}

async fn check(api: &Api, method: Method, uri: &str, body: Value) {
    let (first, again) = twice(api, method.clone(), uri, body, NO_CONDITION).await;
    assert_eq!(again.position(), first.position(), "{method} {uri}");
    assert_eq!(again.expect(200, uri), first.expect(200, uri), "{method} {uri}");
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_the_first_time_whatever_it_did() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Ada"})).await;
    let fund = api.made("funds", json!({"fund_name": "One"})).await;
    let roadshow = api.made("roadshows", json!({"name": "Lima", "fund_id": fund})).await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let weekly = json!({"title": "Send", "due_date": "2025-01-31",
        "recurrence_pattern": r#"{"type": "weekly"}"#});
    let todo = api.made("todos", weekly).await;
    check(&api, Method::POST, "/lps", json!({"name": "Bob", "notion_id": "n-1"})).await;
    check(&api, Method::PUT, &format!("/lps/{lp}"), json!({"name": "Eve", "notion_id": "n-2"}))
        .await;
    check(&api, Method::PUT, &format!("/todos/{todo}"), json!({"status": "completed"})).await;
    let interest = format!("/funds/{fund}/lps/{lp}/interest?interest=meeting");
    check(&api, Method::PUT, &interest, Value::Null).await;
    let status = format!("/roadshows/{roadshow}/lps/{lp}/status?status=offered");
    check(&api, Method::PUT, &status, Value::Null).await;
    check(&api, Method::POST, &format!("/notes/{note}/lps/{lp}"), Value::Null).await;
    check(&api, Method::DELETE, &format!("/notes/{note}/lps/{lp}"), Value::Null).await;
    check(&api, Method::POST, &format!("/notes/{note}/relationships"), json!({"lp_ids": [lp]}))
        .await;
    for (path, id) in
        [("notes", note), ("todos", todo), ("roadshows", roadshow), ("funds", fund), ("lps", lp)]
    {
        check(&api, Method::DELETE, &format!("/{path}/{id}"), Value::Null).await;
    }
}

#[tokio::test]
async fn a_condition_that_a_request_met_is_not_asked_again_when_it_is_repeated() {
    let api = Api::new().await;
    let id = api.made("lps", json!({"name": "Ada"})).await;
    let uri = format!("/lps/{id}");
    for (method, body) in [(Method::PUT, json!({"name": "Eve"})), (Method::DELETE, Value::Null)] {
        let tag = api.get(&uri).await.header("etag").unwrap().to_owned();
        let (first, again) = twice(&api, method.clone(), &uri, body, &tag).await;
        assert_eq!(again.expect(200, &uri), first.expect(200, &uri), "{method}");
    }
}

#[tokio::test]
async fn a_repeated_request_shows_what_was_sent_when_the_record_is_gone() {
    let api = Api::new().await;
    let send = async |uri: &str, body: &Value| {
        let method = if uri == "/notes" { Method::POST } else { Method::PUT };
        let mut request = json_request(method, uri, body);
        request.headers_mut().insert("idempotency-key", uri.parse().unwrap());
        api.send(request).await.expect(200, uri)
    };
    let body = json!({"name": "Call", "interest": "Warm"});
    let id = send("/notes", &body).await["id"].clone();
    let (uri, revised) = (format!("/notes/{id}"), json!({"interest": "Hot"}));
    send(&uri, &revised).await;
    api.delete(&uri).await.expect(200, "deleted");
    forget_answers(&api).await;
    let row = send("/notes", &body).await;
    assert_eq!((&row["id"], &row["name"], &row["interest"]), (&id, &json!("Call"), &json!("Warm")));
    let row = send(&uri, &revised).await;
    assert_eq!((&row["id"], &row["interest"]), (&id, &json!("Hot")));
    assert_eq!(api.ids("/notes").await, [0; 0]);
}

#[tokio::test]
async fn a_repeated_request_does_not_ask_again_whether_what_it_names_is_there() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Ada"})).await;
    let note = api.made("notes", json!({"name": "Call"})).await;
    let uri = format!("/notes/{note}/relationships");
    let send = async || {
        let mut request = json_request(Method::POST, &uri, &json!({"lp_ids": [lp]}));
        request.headers_mut().insert("idempotency-key", "links".parse().unwrap());
        api.send(request).await.expect(200, &uri)
    };
    let first = send().await;
    api.delete(&format!("/lps/{lp}")).await.expect(200, "the LP");
    api.delete(&format!("/notes/{note}")).await.expect(200, "the note");
    forget_answers(&api).await;
    assert_eq!(send().await, first);
}

#[tokio::test]
async fn a_repeated_request_that_changed_nothing_tells_the_position_of_the_first_time() {
    let api = Api::new().await;
    let uri = format!("/lps/{}", api.made("lps", json!({"name": "Ada"})).await);
    let send = async || {
        let mut request = json_request(Method::PUT, &uri, &json!({"name": "Ada"}));
        request.headers_mut().insert("idempotency-key", "nothing".parse().unwrap());
        api.send(request).await
    };
    let first = send().await;
    api.made("lps", json!({"name": "Bob"})).await;
    let again = send().await;
    assert_eq!(again.position(), first.position());
    assert_eq!(again.expect(200, "again"), first.expect(200, "first"));
}
