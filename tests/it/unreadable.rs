//! Events that Postgres takes and Rust cannot read: a command on their record says which one is in the way.

use serde_json::{Value, json};

use crate::contract::Api;
use crate::verify::verify;

const RENAMED: &str = r#"{"Renamed": {"name": "x"}}"#;
/// JSON to Postgres, but no text.
const HALF_A_PAIR: &str = r#"{"Renamed": {"name": "\ud800"}}"#;

/// Puts an event behind those of an LP, past crm. Returns its position.
async fn put_behind(api: &Api, lp: i64, payload: &str, metadata: &str) -> i64 {
    sqlx::query_scalar(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         select 'lp', $1, max(sequence) + 1, 'Renamed', '1', $2::json, $3::json, gen_random_uuid(), gen_random_uuid(), 'test'
         from events where aggregate_type = 'lp' and aggregate_id = $1 returning position",
    )
    .bind(lp.to_string())
    .bind(payload)
    .bind(metadata)
    .fetch_one(&api.db.pool)
    .await
    .unwrap()
}

/// A command on the LP is refused, and the refusal names the event.
async fn check_refused(api: &Api, lp: i64, position: i64, says: &str) {
    let refused = api.put(&format!("/lps/{lp}"), json!({"priority": "B"})).await;
    let refused = refused.expect(409, says);
    let said = refused["detail"].as_str().unwrap();
    let event = format!("the Renamed event of lp {lp} at position {position}");
    assert!(said.contains(&event) && said.contains(says), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_a_record_with_metadata_that_cannot_be_read_names_the_event() {
    let api = Api::new().await;
    for metadata in [r#"{"source": 5}"#, "[]", "null", r#"{"source": "\ud800"}"#] {
        let lp = api.made("lps", json!({"name": "Ada"})).await;
        let position = put_behind(&api, lp, RENAMED, metadata).await;
        check_refused(&api, lp, position, "its metadata is no object of texts").await;
        let found = verify(&api.db).await.log.findings;
        let named = found.iter().any(|it| it.check == "metadata" && it.position == Some(position));
        assert!(named, "{metadata}: {found:?}");
    }
    let others = api.made("lps", json!({"name": "Eve"})).await;
    api.put(&format!("/lps/{others}"), json!({"priority": "A"})).await.expect(200, "others");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_a_record_with_half_a_surrogate_pair_names_the_event() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Ada"})).await;
    let position = put_behind(&api, lp, HALF_A_PAIR, "{}").await;
    check_refused(&api, lp, position, "end of hex escape").await;
    // Likewise where crm remembers the record, and loads only what came since.
    let lp = api.made("lps", json!({"name": "Ada"})).await;
    for number in 0..20 {
        let name = Value::from(format!("Ada {number}"));
        api.put(&format!("/lps/{lp}"), json!({"name": name})).await.expect(200, "renamed");
    }
    let position = put_behind(&api, lp, HALF_A_PAIR, "{}").await;
    check_refused(&api, lp, position, "end of hex escape").await;
    let found = verify(&api.db).await.log.findings;
    let named = found.iter().any(|it| it.check == "payload" && it.position == Some(position));
    assert!(named, "{found:?}");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_shown_without_an_event_says_from_where_on() {
    let api = Api::new().await;
    let other = api.made("lps", json!({"name": "Eve"})).await;
    let lp = api.made("lps", json!({"name": "Ada"})).await;
    let path = format!("/lps/{lp}");
    let whole = api.get(&path).await;
    assert_eq!(whole.header("x-parked-from"), None);
    let position = put_behind(&api, lp, HALF_A_PAIR, "{}").await;
    put_behind(&api, lp, RENAMED, "{}").await;
    api.backend.settle().await.unwrap();
    let from = position.to_string();
    for (uri, name, expected) in [
        (path.clone(), "Ada", Some(&*from)),
        (format!("{path}?as_of={}", position + 1), "Ada", Some(&*from)),
        (format!("{path}?as_of={position}"), "Ada", Some(&*from)),
        (format!("{path}?as_of={}", position - 1), "Ada", None),
        (format!("/lps/{other}"), "Eve", None),
    ] {
        let answer = api.get(&uri).await;
        assert_eq!(answer.header("x-parked-from"), expected, "{uri}");
        assert_eq!(answer.expect(200, &uri)["name"], name, "{uri}");
    }
    let known = axum::http::Request::get(&path)
        .header("if-none-match", whole.header("etag").unwrap())
        .body(axum::body::Body::empty())
        .unwrap();
    let unchanged = api.send(known).await;
    assert_eq!((unchanged.status, unchanged.header("x-parked-from")), (304, Some(&*from)));
    let says = format!("without the event at position {position},");
    for (of, expected) in [(lp, true), (other, false)] {
        let (_, page) = crate::pages::page(&api, &format!("/audit/lp/{of}")).await;
        assert_eq!(page.contains(&says), expected, "{page}");
    }
    let described = api.read("/openapi.json").await;
    let headers = |path: &str| {
        described["paths"][path]["get"]["responses"]["200"]["headers"]["X-Parked-From"].clone()
    };
    assert!(headers("/lps/{lp_id}").is_object() && headers("/lps").is_null());
    api.backend.stop().await;
}
