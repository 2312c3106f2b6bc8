//! A single server after its upgrade: until this release has built its read models, nobody moves those of the one before.

use std::sync::Arc;

use api::backend::Backend;
use axum::body::Body;
use axum::http::Method;
use futures::future::join_all;
use projections::projector::Projector;
use projections::read;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::contract::{Answer, Api, json_request, kinds, request};
use crate::harness::Database;
use crate::rebuild::release::{Later, release_with};

/// A release in which the code of all read models has changed that writes wait for, and that never gets them built.
fn release() -> Vec<Arc<dyn Projector>> {
    let later = |projector: Arc<dyn Projector>| match projector.is_awaited() {
        true => Arc::new(Later(projector, "no_such_type")) as Arc<dyn Projector>,
        false => projector,
    };
    read::projectors().into_iter().map(later).collect()
}

/// The server of that release, on what the one before has left.
async fn upgraded(before: Api) -> Api {
    upgraded_to(before, release()).await
}

/// Likewise of another release.
async fn upgraded_to(before: Api, release: Vec<Arc<dyn Projector>>) -> Api {
    let Api { backend, db, .. } = before;
    backend.settle().await.unwrap();
    backend.stop().await;
    let connections = crate::harness::connect((*db.pool.connect_options()).clone(), 8);
    let backend = Backend::start_with(connections, db.files(), release).await.unwrap();
    Api::with(db, backend)
}

#[tokio::test(flavor = "multi_thread")]
async fn as_long_as_changes_cannot_be_searched_by_where_they_come_from_that_is_said() {
    let before = Api::new().await;
    let lp = before.made("lps", json!({"name": "Ada"})).await;
    let api = upgraded_to(before, release_with(&["audit"], "no_such_type")).await;
    let own = format!("/lps/{lp}/history");
    for uri in [
        "/audit?address=10.1.2.3".to_owned(),
        "/audit?program=curl/8.5.0&format=csv".to_owned(),
        format!("{own}?q=ada&address=10.1.2.3"),
    ] {
        let told = expect(&api, Method::GET, &uri, json!({}), 503).await;
        assert!(told["detail"].as_str().unwrap().contains("by address or program"), "{told}");
    }
    let (status, page) = crate::pages::page(&api, "/audit?address=10.1.2.3").await;
    assert!(status == 503 && page.contains("by address or program"), "{page}");
    // The history of one record needs no search.
    let none = api.read(&format!("{own}?address=10.1.2.3")).await;
    assert_eq!(none["entries"], json!([]));
    assert_eq!(api.read(&own).await["entries"][0]["event"], "Registered");
    assert_eq!(api.read("/audit?q=ada").await["entries"][0]["event"], "Registered");
    api.backend.stop().await;
}

/// A request whose answer may come before readers see what it did.
async fn ask(api: &Api, method: Method, uri: &str, body: Value, tag: Option<&str>) -> Answer {
    let mut request = json_request(method, uri, &body);
    if let Some(tag) = tag {
        request.headers_mut().insert("if-match", tag.parse().unwrap());
    }
    let (parts, body) = api.router.clone().oneshot(request).await.unwrap().into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Answer { status: parts.status.as_u16(), headers: parts.headers, bytes, body }
}

/// Asks it, and what comes of it must have this status.
async fn expect(api: &Api, method: Method, uri: &str, body: Value, status: u16) -> Value {
    ask(api, method, uri, body, None).await.expect(status, uri)
}

/// What a record of this kind is called by.
fn name(path: &str) -> &'static str {
    match path {
        "funds" => "fund_name",
        "todos" => "title",
        _ => "name",
    }
}

/// Changes a record under its tag, twice, and again under the first one, which no longer holds.
async fn assert_conditions_count(api: &Api, path: &str) {
    let (uri, name) = (format!("/{path}/1"), name(path));
    let put = async |text: &str, tag: &str| {
        ask(api, Method::PUT, &uri, json!({name: text}), Some(tag)).await
    };
    let shown = api.get(&uri).await;
    let known = shown.header("etag").unwrap().to_owned();
    let first = put("first", &known).await;
    assert_eq!((first.status, &first.body[name]), (200, &json!("first")), "{uri}: {}", first.body);
    assert_eq!(first.header("x-read-model"), Some("behind"), "{uri}");
    let tag = first.header("etag").unwrap().to_owned();
    assert_eq!(put("lost", &known).await.status, 412, "{uri}");
    let second = put("second", &tag).await;
    assert_eq!((second.status, &second.body[name]), (200, &json!("second")), "{uri}");
    // Readers see what was there before, and no error.
    assert_eq!(api.read(&uri).await[name], shown.body[name], "{uri}");
}

/// Registers a record that only the log knows, changes it and removes it.
async fn assert_a_new_one_lives(api: &Api, path: &str, body: Value) {
    let made = expect(api, Method::POST, &format!("/{path}"), body, 200).await;
    let (uri, name) = (format!("/{path}/{}", made["id"]), name(path));
    let changed = expect(api, Method::PUT, &uri, json!({name: "changed"}), 200).await;
    assert_eq!((&changed["id"], &changed[name]), (&made["id"], &json!("changed")), "{uri}");
    expect(api, Method::DELETE, &uri, Value::Null, 200).await;
    expect(api, Method::PUT, &uri, json!({name: "too late"}), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_upgrade_records_of_every_kind_are_written_before_their_read_models_are_there() {
    let before = Api::on(Database::new().await).await;
    for (path, body) in kinds() {
        before.made(path, body).await;
    }
    let api = upgraded(before).await;
    join_all(kinds().iter().map(|(path, _)| assert_conditions_count(&api, path))).await;
    let all = kinds();
    join_all(all.into_iter().map(|(path, body)| assert_a_new_one_lives(&api, path, body))).await;
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_upgrade_a_new_recording_is_said_to_come_and_not_to_be_missing() {
    let before = Api::on(Database::new().await).await;
    before.made("notes", json!({"name": "Call"})).await;
    let known = crate::recordings::attach(&before.backend.log, 1, "recordings/x").await.0;
    let api = upgraded(before).await;
    assert_eq!(api.get(&format!("/recordings/{known}")).await.status, 200);
    let new = crate::recordings::attach(&api.backend.log, 1, "recordings/y").await.0;
    let paths = ["", "/audio", "/transcript"].map(|path| format!("/recordings/{new}{path}"));
    for uri in &paths {
        let answer = ask(&api, Method::GET, uri, Value::Null, None).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{uri}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("not known yet"), "{uri}: {detail}");
    }
    let page = request(Method::GET, &paths[0]).header("accept", "text/html");
    let page = page.body(Body::empty()).unwrap();
    let page = api.router.clone().oneshot(page).await.unwrap();
    assert_eq!(page.status(), 503);
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_upgrade_links_funnels_and_undoing_know_what_the_read_models_do_not() {
    let before = Api::on(Database::new().await).await;
    for (path, body) in kinds() {
        before.made(path, body).await;
    }
    let recording = crate::recordings::attach(&before.backend.log, 1, "recordings/x").await.0;
    let api = upgraded(before).await;
    let lp = &expect(&api, Method::POST, "/lps", json!({"name": "new"}), 200).await["id"];
    let gone = &expect(&api, Method::POST, "/lps", json!({"name": "gone"}), 200).await["id"];
    expect(&api, Method::DELETE, &format!("/lps/{gone}"), Value::Null, 200).await;
    let nothing = || Value::Null;
    let lists = |lp: &Value| json!({"lp_ids": [lp]});
    let asked = [
        (Method::POST, format!("/notes/1/lps/{lp}"), nothing(), 200),
        (Method::POST, format!("/notes/1/lps/{gone}"), nothing(), 404),
        (Method::POST, "/notes/77/lps/1".to_owned(), nothing(), 404),
        (Method::POST, format!("/gps/1/lps/{lp}"), nothing(), 200),
        (Method::POST, format!("/people/1/lps/{lp}"), nothing(), 200),
        (Method::POST, "/todos/1/relationships".to_owned(), lists(lp), 200),
        (Method::POST, "/todos/1/relationships".to_owned(), lists(gone), 422),
        (Method::PUT, format!("/funds/1/lps/{lp}/interest?interest=meeting"), nothing(), 200),
        (Method::PUT, format!("/funds/1/lps/{gone}/interest?interest=meeting"), nothing(), 404),
        (Method::PUT, format!("/roadshows/1/lps/{lp}/status?status=offered"), nothing(), 200),
        (Method::POST, format!("/recordings/{recording}/cancel"), nothing(), 200),
        (Method::POST, format!("/lps/{gone}/revert?dry_run=true"), json!({"to": 1}), 200),
    ];
    join_all(asked.into_iter().map(|(method, uri, body, status)| {
        let api = &api;
        async move { expect(api, method, &uri, body, status).await }
    }))
    .await;
    let undo = json!({"to": 1, "force": true});
    expect(&api, Method::POST, &format!("/lps/{lp}/revert"), undo, 200).await;
    expect(&api, Method::POST, &format!("/notes/1/lps/{lp}"), nothing(), 404).await;
    // Whoever reads is not kept waiting.
    assert_eq!(api.get("/roadshows/1/lp-status").await.status, 200);
    assert_eq!(api.get("/notes/1/recordings").await.status, 200);
    api.backend.stop().await;
}
