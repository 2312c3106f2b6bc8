//! A deleted record vanishes from every list and link and never comes back; its id and its history stay its own.

use serde_json::{Value, json};

use super::legacy::RELATIONS;
use super::{Api, kinds};

/// The name in `participants` lists is that of people.
fn kind_of(list: &str) -> &str {
    match list {
        "tasks" => "todos",
        "participants" => "people",
        other => other,
    }
}

/// Links two records of each pair of kinds that can be linked.
async fn link_everything(api: &Api, ids: &[(&str, i64)]) {
    let id = |kind: &str| ids.iter().find(|(path, _)| *path == kind).unwrap().1;
    let (lp, gp, distributor, person) = (id("lps"), id("gps"), id("distributors"), id("people"));
    let (fund, note, todo, roadshow) = (id("funds"), id("notes"), id("todos"), id("roadshows"));
    let of_note = json!({"lp_ids": [lp], "gp_ids": [gp], "fund_ids": [fund], "roadshow_ids": [roadshow],
        "distributor_ids": [distributor], "participant_ids": [person]});
    api.post(&format!("/notes/{note}/relationships"), of_note).await.expect(200, "note");
    let of_todo = json!({"lp_ids": [lp], "gp_ids": [gp], "fund_ids": [fund], "roadshow_ids": [roadshow],
        "person_ids": [person], "note_ids": [note]});
    api.post(&format!("/todos/{todo}/relationships"), of_todo).await.expect(200, "todo");
    for uri in [
        format!("/people/{person}/lps/{lp}"),
        format!("/people/{person}/gps/{gp}"),
        format!("/people/{person}/distributors/{distributor}"),
        format!("/gps/{gp}/lps/{lp}"),
    ] {
        api.post(&uri, json!(null)).await.expect(200, &uri);
    }
    api.put(&format!("/todos/{todo}"), json!({"note_id": note})).await.expect(200, "note of todo");
    api.put(&format!("/funds/{fund}/lps/{lp}/interest?interest=meeting"), json!(null))
        .await
        .expect(200, "interest");
    api.put(&format!("/roadshows/{roadshow}/lps/{lp}/status?status=offered"), json!(null))
        .await
        .expect(200, "status");
}

/// All lists that one record of each kind has, with what is in them.
async fn lists(api: &Api, ids: &[(&str, i64)]) -> Vec<(String, String, Value)> {
    let mut lists = Vec::new();
    let tasks = [("lps", "tasks"), ("gps", "tasks"), ("notes", "participants")];
    let boards = [("funds", "sales-funnel"), ("roadshows", "lp-status")];
    for (owner, list) in RELATIONS.iter().map(|relation| relation.path).chain(tasks).chain(boards) {
        let id = ids.iter().find(|(path, _)| *path == owner).unwrap().1;
        let answer = api.get(&format!("/{owner}/{id}/{list}")).await;
        let content = if answer.status == 404 { json!([]) } else { answer.expect(200, list) };
        lists.push((owner.to_owned(), list.to_owned(), content));
    }
    lists
}

#[tokio::test]
async fn a_deleted_record_vanishes_everywhere_and_never_comes_back() {
    let api = Api::new().await;
    for (deleted, smallest) in kinds() {
        let mut ids = Vec::new();
        for (path, mut body) in kinds() {
            if path == "roadshows" {
                body["fund_id"] = ids
                    .iter()
                    .find(|(path, _)| *path == "funds")
                    .map(|(_, id): &(&str, i64)| *id)
                    .into();
            }
            ids.push((path, api.made(path, body).await));
        }
        link_everything(&api, &ids).await;
        let id = ids.iter().find(|(path, _)| *path == deleted).unwrap().1;
        for (owner, list, content) in lists(&api, &ids).await {
            assert_eq!(content.as_array().unwrap().len(), 1, "{owner} {list} before");
        }
        let uri = format!("/{deleted}/{id}");
        let answer = api.delete(&uri).await.expect(200, &uri);
        let expected = match deleted {
            "todos" => json!({"success": true, "message": "Todo deleted"}),
            _ => json!({"status": "deleted"}),
        };
        assert_eq!(answer, expected);
        api.get(&uri).await.expect(404, &uri);
        api.put(&uri, json!({"x": 1})).await.expect(404, &uri);
        api.delete(&uri).await.expect(404, "twice");
        assert!(!api.ids(&format!("/{deleted}")).await.contains(&id), "{deleted}");
        let after = lists(&api, &ids).await;
        for (owner, list, content) in &after {
            // A todo came out of its note, and a funnel shows every LP.
            let has_gone = owner == deleted
                || kind_of(list) == deleted
                || (list == "tasks" && deleted == "notes")
                || (list == "sales-funnel" && deleted == "lps")
                || (list == "lp-status" && deleted == "lps");
            let is_funnel = list == "sales-funnel" && owner == deleted;
            let expected = usize::from(!has_gone || is_funnel);
            assert_eq!(content.as_array().unwrap().len(), expected, "{deleted}: {owner} {list}");
        }
        // The newest id is not given again, and a new record inherits nothing.
        let new = api.made(deleted, smallest).await;
        assert!(new > id, "{deleted}: {new} after {id}");
        let mut heir = ids.clone();
        heir.iter_mut().filter(|(path, _)| *path == deleted).for_each(|(_, id)| *id = new);
        for (owner, list, content) in lists(&api, &heir).await {
            let is_board = list == "sales-funnel" || list == "lp-status";
            if owner == deleted && !is_board {
                assert_eq!(content, json!([]), "{owner} {list} of a new record");
            }
        }
        api.get(&uri).await.expect(404, "still gone");
        // What is gone cannot be linked to or from.
        let events = api.events().await;
        check_no_link(&api, deleted, id, &ids).await;
        assert_eq!(api.events().await, events, "{deleted}");
        // Nothing of one round is in the way of the next.
        for (path, id) in ids.iter().filter(|(path, _)| *path != deleted) {
            api.delete(&format!("/{path}/{id}")).await.expect(200, path);
        }
        api.delete(&format!("/{deleted}/{new}")).await.expect(200, "new");
    }
    for (path, _) in kinds() {
        assert_eq!(api.read(&format!("/{path}")).await, json!([]));
    }
}

/// Every way to link with a record that is gone is refused.
async fn check_no_link(api: &Api, deleted: &str, id: i64, ids: &[(&str, i64)]) {
    let id_of = |kind: &str| ids.iter().find(|(path, _)| *path == kind).unwrap().1;
    let (note, todo) = (id_of("notes"), id_of("todos"));
    for (owner, id, list, kind) in [
        ("notes", note, "lp_ids", "lps"),
        ("notes", note, "gp_ids", "gps"),
        ("notes", note, "fund_ids", "funds"),
        ("notes", note, "roadshow_ids", "roadshows"),
        ("notes", note, "distributor_ids", "distributors"),
        ("notes", note, "participant_ids", "people"),
        ("todos", todo, "lp_ids", "lps"),
        ("todos", todo, "gp_ids", "gps"),
        ("todos", todo, "person_ids", "people"),
        ("todos", todo, "fund_ids", "funds"),
        ("todos", todo, "roadshow_ids", "roadshows"),
        ("todos", todo, "note_ids", "notes"),
    ] {
        if owner != deleted && kind != deleted {
            continue;
        }
        let body = json!({list: [id_of(kind)]});
        let answer = api.post(&format!("/{owner}/{id}/relationships"), body).await;
        if owner == deleted {
            assert_eq!(answer.status, 404, "{owner}");
        } else {
            assert_eq!(answer.faults(), [format!("not_found at body.{list}.0")]);
        }
    }
    let single = [
        ("notes", "lps"),
        ("notes", "gps"),
        ("notes", "funds"),
        ("notes", "roadshows"),
        ("notes", "distributors"),
        ("people", "lps"),
        ("people", "gps"),
        ("people", "distributors"),
        ("gps", "lps"),
    ];
    for (owner, other) in
        single.into_iter().filter(|(owner, other)| *owner == deleted || *other == deleted)
    {
        let uri = format!("/{owner}/{}/{other}/{}", id_of(owner), id_of(other));
        api.post(&uri, json!(null)).await.expect(404, &uri);
    }
    assert!(ids.contains(&(deleted, id)));
}

#[tokio::test]
async fn ids_are_not_shared() {
    let api = Api::new().await;
    an_id_in_a_new_record_is_ignored_and_no_id_is_given_twice(&api).await;
    a_notion_id_belongs_to_one_record_of_a_kind(&api).await;
}

async fn an_id_in_a_new_record_is_ignored_and_no_id_is_given_twice(api: &Api) {
    for (path, mut smallest) in kinds() {
        for sent in [json!(5000), json!("6000"), json!(null), json!("x"), json!(-1)] {
            smallest["id"] = sent;
            api.made(path, smallest.clone()).await;
        }
        let ids = api.ids(&format!("/{path}")).await;
        assert_eq!(ids.len(), 5, "{path}: {ids:?}");
        assert!(ids.iter().all(|id| (1..100).contains(id)), "{path}: {ids:?}");
        let newest = *ids.iter().max().unwrap();
        for id in &ids {
            api.delete(&format!("/{path}/{id}")).await.expect(200, path);
        }
        assert!(api.made(path, smallest).await > newest, "{path}");
    }
}

async fn a_notion_id_belongs_to_one_record_of_a_kind(api: &Api) {
    let with = |smallest: &Value, notion_id: Value| {
        let mut body = smallest.clone();
        body["notion_id"] = notion_id;
        body
    };
    for (path, smallest) in
        kinds().into_iter().filter(|(path, _)| !["todos", "roadshows"].contains(path))
    {
        let first = api.made(path, with(&smallest, json!("page-1"))).await;
        let second = api.made(path, with(&smallest, json!("page-2"))).await;
        let uri = format!("/{path}/{second}");
        let events = api.events().await;
        for answer in [
            api.post(&format!("/{path}"), with(&smallest, json!("page-1"))).await,
            api.put(&uri, json!({"notion_id": "page-1"})).await,
        ] {
            assert_eq!(answer.faults(), ["unique at body.notion_id"], "{path}");
            assert_eq!(answer.body["detail"][0]["input"], "page-1");
        }
        assert_eq!(api.events().await, events);
        // Its own is no other's, none is nobody's, and what is free can be taken.
        api.put(&uri, json!({"notion_id": "page-2"})).await.expect(200, path);
        for _ in 0..2 {
            api.made(path, with(&smallest, Value::Null)).await;
        }
        api.put(&uri, json!({"notion_id": null})).await.expect(200, path);
        api.put(&format!("/{path}/{first}"), json!({"notion_id": "page-2"}))
            .await
            .expect(200, path);
        api.delete(&format!("/{path}/{first}")).await.expect(200, path);
        api.put(&uri, json!({"notion_id": "page-2"}))
            .await
            .expect(200, "that of a deleted record is free");
    }
    let person = api.made("people", json!({"name": "Ana", "notion_id": "page-3"})).await;
    api.post(&format!("/people/{person}/erase"), json!({"reason": "asked for"}))
        .await
        .expect(200, "erased");
    api.made("people", json!({"name": "Eva", "notion_id": "page-3"})).await;
    // Of many at once one gets it.
    let twins = futures::future::join_all(
        (0..8).map(|at| api.post("/lps", json!({"name": format!("{at}"), "notion_id": "twin"}))),
    );
    let mut statuses: Vec<u16> = twins.await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 422, 422, 422, 422, 422, 422, 422]);
}
