//! Links between records: replaced as a whole, one by one, seen from both sides, never to what does not exist.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Api, kinds, raw_request, request};

/// One record of every kind; all ids are 1.
async fn one_of_each() -> Api {
    let api = Api::new().await;
    for (path, smallest) in kinds() {
        assert_eq!(api.made(path, smallest).await, 1);
    }
    api
}

/// The single links that a path can name: owner, other, and both in a sentence.
const SINGLE: &[(&str, &str, &str, &str)] = &[
    ("notes", "lps", "LP", "note"),
    ("notes", "gps", "GP", "note"),
    ("notes", "funds", "Fund", "note"),
    ("notes", "roadshows", "Roadshow", "note"),
    ("notes", "distributors", "Distributor", "note"),
    ("notes", "participants", "Person", "note"),
    ("people", "lps", "LP", "person"),
    ("people", "gps", "GP", "person"),
    ("people", "distributors", "Distributor", "person"),
    ("gps", "lps", "LP", "GP"),
];

#[tokio::test]
async fn links_are_what_was_asked_for() {
    let api = one_of_each().await;
    a_link_is_made_and_taken_away_as_often_as_one_likes(&api).await;
    the_relationships_of_a_todo_are_replaced_as_a_whole(&api).await;
    the_relationships_of_a_note_are_replaced_as_a_whole(&api).await;
    a_link_is_seen_from_both_sides_in_the_order_of_ids(&api).await;
}

async fn a_link_is_made_and_taken_away_as_often_as_one_likes(api: &Api) {
    for (owner, others, other, of) in SINGLE {
        let (uri, list) = (format!("/{owner}/1/{others}/1"), format!("/{owner}/1/{others}"));
        let kind = if *others == "participants" { "people" } else { *others };
        let row = api.read(&format!("/{kind}/1")).await;
        let check = async |method: Method, message: &str, expected: Value| {
            let answer =
                api.send(request(method, &uri).body(axum::body::Body::empty()).unwrap()).await;
            assert_eq!(answer.expect(200, &uri), json!({"success": true, "message": message}));
            assert_eq!(api.read(&list).await, expected, "{uri}");
        };
        let unlinked = format!("{other} unlinked from {of}");
        check(Method::DELETE, &unlinked, json!([])).await;
        check(Method::POST, &format!("{other} linked to {of}"), json!([row])).await;
        let events = api.events().await;
        check(Method::POST, "Link already exists", json!([row])).await;
        assert_eq!(api.events().await, events, "{uri}: nothing new is nothing recorded");
        check(Method::DELETE, &unlinked, json!([])).await;
        check(Method::DELETE, &unlinked, json!([])).await;

        let events = api.events().await;
        let gone = json!({"detail": format!("{other} not found")});
        assert_eq!(api.post(&format!("{list}/987"), json!(null)).await.expect(404, &uri), gone);
        api.post(&format!("/{owner}/987/{others}/1"), json!(null)).await.expect(404, &uri);
        let none = api.delete(&format!("{list}/987")).await.expect(200, &uri);
        assert_eq!(none["message"], unlinked.as_str());
        assert_eq!(api.events().await, events, "{uri}: what fails records nothing");
    }
}

async fn the_relationships_of_a_note_are_replaced_as_a_whole(api: &Api) {
    api.made("lps", json!({"name": "second"})).await;
    let note = "/notes/1/relationships";
    let old = ["lps", "gps", "funds"];
    let new = ["roadshows", "distributors", "participants"];
    let check = async |body: Value, expected: [&[i64]; 6]| {
        let answer = api.post(note, body.clone()).await.expect(200, "relationships");
        assert_eq!(answer, json!({"success": true, "note_id": 1}));
        for (list, expected) in old.into_iter().chain(new).zip(expected) {
            assert_eq!(api.ids(&format!("/notes/1/{list}")).await, expected, "{body} {list}");
        }
    };
    let all = json!({"lp_ids": [2, 1], "gp_ids": [1], "fund_ids": ["1"], "roadshow_ids": [1],
        "distributor_ids": [1], "participant_ids": [1]});
    check(all.clone(), [&[1, 2], &[1], &[1], &[1], &[1], &[1]]).await;
    check(all, [&[1, 2], &[1], &[1], &[1], &[1], &[1]]).await;
    // What the front end leaves out it clears; what it does not know it cannot clear.
    check(json!({"lp_ids": [2]}), [&[2], &[], &[], &[1], &[1], &[1]]).await;
    check(json!({"lp_ids": null, "gp_ids": [1], "x": [1]}), [&[], &[1], &[], &[1], &[1], &[1]])
        .await;
    check(json!({"roadshow_ids": [], "participant_ids": []}), [&[], &[], &[], &[], &[1], &[]])
        .await;
    check(
        json!({"lp_ids": [1], "fund_ids": [1], "roadshow_ids": [1]}),
        [&[1], &[], &[1], &[1], &[1], &[]],
    )
    .await;
    assert_eq!(api.ids("/roadshows/1/notes").await, [1]);
    assert_eq!(api.ids("/distributors/1/notes").await, [1]);
    check(Value::Null, [&[], &[], &[], &[1], &[1], &[]]).await;
    let empty = api.send(raw_request(Method::POST, note, "")).await;
    assert_eq!(empty.expect(200, "no body"), json!({"success": true, "note_id": 1}));

    let events = api.events().await;
    let missing = api.post(note, json!({"lp_ids": [1, 77], "gp_ids": [78]})).await;
    assert_eq!(missing.faults(), ["not_found at body.lp_ids.1", "not_found at body.gp_ids.0"]);
    let gone = api.post("/notes/77/relationships", json!({"lp_ids": [1]})).await;
    assert_eq!(gone.expect(404, "note"), json!({"detail": "Note not found"}));
    assert_eq!(api.events().await, events);
    assert_eq!(api.read("/lps/1/notes").await, json!([]));
}

async fn the_relationships_of_a_todo_are_replaced_as_a_whole(api: &Api) {
    let lists = ["lps", "gps", "people", "funds", "roadshows", "notes"];
    let names = ["lp_ids", "gp_ids", "person_ids", "fund_ids", "roadshow_ids", "note_ids"];
    let check = async |body: Value, expected: &[&str]| {
        let answer = api.post("/todos/1/relationships", body.clone()).await.expect(200, "todo");
        assert_eq!(answer, json!({"success": true, "todo_id": 1}));
        for list in lists {
            let rows = match expected.contains(&list) {
                true => json!([api.read(&format!("/{list}/1")).await]),
                false => json!([]),
            };
            assert_eq!(api.read(&format!("/todos/1/{list}")).await, rows, "{body} {list}");
        }
    };
    let all: Value = names.iter().map(|name| ((*name).to_owned(), json!([1]))).collect();
    check(all.clone(), &lists).await;
    for (name, list) in names.into_iter().zip(lists) {
        check(json!({name: [1]}), &[list]).await;
    }
    check(all, &lists).await;
    check(Value::Null, &[]).await;
    let events = api.events().await;
    for (name, id) in names.into_iter().zip(2..) {
        let answer = api.post("/todos/1/relationships", json!({name: [id]})).await;
        assert_eq!(answer.faults(), [format!("not_found at body.{name}.0")]);
    }
    assert_eq!(api.events().await, events);
}

async fn a_link_is_seen_from_both_sides_in_the_order_of_ids(api: &Api) {
    for path in ["lps", "gps", "people", "distributors"] {
        for _ in 0..3 {
            api.made(path, json!({"name": "x"})).await;
        }
    }
    for (owner, others) in
        [("people", "lps"), ("people", "gps"), ("people", "distributors"), ("gps", "lps")]
    {
        for (one, other) in [(3, 2), (1, 2), (2, 2), (2, 4), (2, 1)] {
            api.post(&format!("/{owner}/{one}/{others}/{other}"), json!(null))
                .await
                .expect(200, owner);
        }
        assert_eq!(api.ids(&format!("/{owner}/2/{others}")).await, [1, 2, 4], "{owner} {others}");
        assert_eq!(api.ids(&format!("/{others}/2/{owner}")).await, [1, 2, 3], "{others} {owner}");
        assert_eq!(api.read(&format!("/{others}/3/{owner}")).await, json!([]));
        assert_eq!(api.read(&format!("/{others}/987/{owner}")).await, json!([]));
    }
}
