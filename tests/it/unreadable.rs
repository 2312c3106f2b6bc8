//! Events that Postgres takes and Rust cannot read: a command on their record says which one is in the way.

use serde_json::{Value, json};

use crate::contract::Api;
use crate::verify::verify;

const RENAMED: &str = r#"{"Renamed": {"name": "x"}}"#;
/// JSON to Postgres, but no text.
const HALF_A_PAIR: &str = r#"{"Renamed": {"name": "\ud800"}}"#;

/// Puts an event behind those of an LP, past crm. Returns its position.
async fn put_behind(api: &Api, lp: i64, payload: &str, metadata: &str) -> i64 {
    put(api, ("lp", lp), "Renamed", payload, metadata).await
}

/// Likewise, of any record and name.
async fn put(api: &Api, of: (&str, i64), name: &str, payload: &str, metadata: &str) -> i64 {
    sqlx::query_scalar(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         select $1, $2, coalesce(max(sequence), 0) + 1, $3, '1', $4::json, $5::json, gen_random_uuid(), gen_random_uuid(), 'test'
         from events where aggregate_type = $1 and aggregate_id = $2 returning position",
    )
    .bind(of.0)
    .bind(of.1.to_string())
    .bind(name)
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

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_first_event_cannot_be_read_is_not_found_and_says_why() {
    let api = Api::new().await;
    let position = put(&api, ("lp", 77), "Registered", HALF_A_PAIR, "{}").await;
    api.backend.settle().await.unwrap();
    let event = format!("LP not found: the event of LP 77 at position {position} cannot be read");
    let from = position.to_string();
    let note = api.made("notes", json!({"name": "Lunch"})).await;
    for (answer, what) in [
        (api.get("/lps/77").await, "as it is"),
        (api.get(&format!("/lps/77?as_of={position}")).await, "as it was"),
        (api.get("/lps/77/similar").await, "similar"),
        (api.post(&format!("/notes/{note}/lps/77"), json!({})).await, "link"),
    ] {
        assert_eq!(answer.header("x-parked-from"), Some(&*from), "{what}");
        let said = answer.expect(404, "parked")["detail"].take();
        let said = said.as_str().unwrap();
        assert!(said.starts_with(&event) && said.contains("`crm projections parked`"), "{said}");
    }
    let position = put(&api, ("note", 77), "Registered", HALF_A_PAIR, "{}").await;
    api.backend.settle().await.unwrap();
    let like = api.get("/notes/77/similar").await;
    assert_eq!(like.header("x-parked-from"), Some(&*position.to_string()));
    let said = like.expect(404, "parked")["detail"].take();
    assert!(said.as_str().unwrap().contains(&format!("at position {position} ")), "{said}");
    for uri in ["/lps/78", "/lps/78/similar"] {
        let nobody = api.get(uri).await;
        assert_eq!(nobody.header("x-parked-from"), None, "{uri}");
        assert_eq!(nobody.expect(404, uri)["detail"], "LP not found");
    }
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fund_that_misses_what_a_roadshow_brings_says_from_where_on() {
    let api = Api::new().await;
    let fund = async |name: &str| api.made("funds", json!({"fund_name": name})).await;
    let [first, second, third] = [fund("I").await, fund("II").await, fund("III").await];
    let body = json!({"name": "Lima", "fund_id": first, "arrival": "2025-03-01"});
    let trip = api.made("roadshows", body).await;
    let moved = json!({"fund_id": second});
    let moved = api.put(&format!("/roadshows/{trip}"), moved).await.position();
    let position = put(&api, ("roadshow", trip), "Renamed", HALF_A_PAIR, "{}").await;
    api.backend.settle().await.unwrap();
    let from = async |uri: String| api.get(&uri).await.header("x-parked-from").map(str::to_owned);
    let parked = Some(position.to_string());
    assert_eq!(from(format!("/funds/{second}")).await, parked);
    assert_eq!(from(format!("/funds/{second}?as_of={position}")).await, parked);
    assert_eq!(from(format!("/funds/{second}?as_of={moved}")).await, None);
    for other in [first, third] {
        assert_eq!(from(format!("/funds/{other}")).await, None, "it is for another by then");
        assert_eq!(from(format!("/funds/{other}?as_of={position}")).await, None);
    }
    // To whom it comes later than that, lacks it as well.
    let given = format!(r#"{{"FundAssigned": {{"fund_id": {third}}}}}"#);
    put(&api, ("roadshow", trip), "FundAssigned", &given, "{}").await;
    api.backend.settle().await.unwrap();
    assert_eq!(from(format!("/funds/{third}")).await, parked);
    assert_eq!(from(format!("/funds/{first}")).await, None);
    let (_, page) = crate::pages::page(&api, &format!("/audit/fund/{second}")).await;
    let says = format!("at position {position}, of the fund or of a roadshow for it, which");
    assert!(page.contains(&says), "{page}");
    api.backend.stop().await;
}
