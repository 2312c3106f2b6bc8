//! What was done can be undone, wholly or one event at a time, and it is told before what that changes.

mod commands;
mod narrowed;

use axum::http::Method;
use serde_json::{Value, json};

use crate::check::assert_read_models_match_the_log;
use crate::contract::Answer;
use crate::contract::{Api, json_request};
use crate::recordings::{attach, keep, process};

async fn undo(api: &Api, path: &str, body: Value) -> Answer {
    api.post(&format!("/{path}/revert"), body).await
}

async fn rehearse(api: &Api, path: &str, body: Value) -> Value {
    let (before, uri) = (api.events().await, format!("/{path}/revert?dry_run=true"));
    let told = api.post(&uri, body).await.expect(200, path);
    assert_eq!(api.events().await, before, "a rehearsal records nothing");
    told
}

/// Position, type and cause of the last event.
async fn last(api: &Api) -> (i64, String, Option<uuid::Uuid>) {
    sqlx::query_as(
        "select position, event_type, causation_id from events order by position desc limit 1",
    )
    .fetch_one(&api.db.pool)
    .await
    .unwrap()
}

async fn event_id(api: &Api, position: i64) -> uuid::Uuid {
    let id = sqlx::query_scalar("select event_id from events where position = $1").bind(position);
    id.fetch_one(&api.db.pool).await.unwrap()
}

async fn put(api: &Api, path: &str, body: Value) -> i64 {
    let answer = api.put(&format!("/{path}"), body).await;
    let position = answer.position();
    answer.expect(200, path);
    position
}

#[tokio::test]
async fn undoing_what_a_roadshow_said_beside_its_arrival_leaves_the_date_of_its_fund() {
    let api = Api::new().await;
    let fund = api.made("funds", json!({"fund_name": "Alpine IV"})).await;
    let trip = json!({"name": "Lima", "fund_id": fund, "arrival": "2025-03-01"});
    let trip = format!("roadshows/{}", api.made("roadshows", trip).await);
    let booked = put(&api, &trip, json!({"lv_hotel": "Done", "name": "Lima and Quito"})).await;
    put(&api, &format!("funds/{fund}"), json!({"roadshow_date": "2030-01-01"})).await;
    for event in [booked - 1, booked] {
        let uri = format!("/{trip}/revert");
        api.post(&uri, json!({"event": event})).await.expect(200, "undone");
    }
    let row = api.read(&format!("/{trip}")).await;
    assert_eq!((&row["name"], &row["lv_hotel"]), (&json!("Lima"), &json!("None")));
    let fund = api.read(&format!("/funds/{fund}")).await;
    assert_eq!(fund["roadshow_date"], "2030-01-01T00:00:00");
    api.backend.stop().await;
    assert_read_models_match_the_log(&api.db.pool).await;
}

#[tokio::test]
async fn a_rehearsal_says_what_undoing_an_arrival_does_to_the_fund() {
    let api = Api::new().await;
    let fund = |name: &str, date: &str| json!({"fund_name": name, "roadshow_date": date});
    let first = api.made("funds", fund("Alpine IV", "2025-02-01")).await;
    let second = api.made("funds", fund("Borealis", "2025-02-02")).await;
    let trip = json!({"name": "Lima", "fund_id": first, "arrival": "2025-03-01"});
    let trip = format!("roadshows/{}", api.made("roadshows", trip).await);
    let moved = put(&api, &trip, json!({"arrival": "2025-04-01"})).await;
    let booked = put(&api, &trip, json!({"lv_hotel": "Done"})).await;
    let given = put(&api, &trip, json!({"fund_id": second})).await;
    let said = async |goal: Value| {
        let told = rehearse(&api, &trip, goal).await;
        assert_eq!(told["sentences"].as_array().unwrap().len(), 1, "{told}");
        told["besides"].clone()
    };
    let borealis =
        "Roadshow date of Borealis moved from 2025-04-01 to 2025-03-01, the arrival of Lima";
    assert_eq!(said(json!({"event": moved})).await, json!([borealis]));
    assert_eq!(said(json!({"event": booked})).await, json!([]), "that announces nothing");
    put(&api, &format!("funds/{first}"), json!({"roadshow_date": "2030-01-01"})).await;
    let alpine =
        "Roadshow date of Alpine IV moved from 2030-01-01 to 2025-04-01, the arrival of Lima";
    assert_eq!(said(json!({"event": given})).await, json!([alpine]));
    let id = trip.replace("roadshows/", "");
    let uri = format!("/audit/roadshow/{id}/undo?event={moved}");
    let (_, page) = crate::pages::page(&api, &uri).await;
    assert!(page.contains(borealis), "{page}");
    // It does what it says.
    let revert = format!("/{trip}/revert");
    api.post(&revert, json!({"event": moved})).await.expect(200, "undone");
    api.post(&revert, json!({"event": given})).await.expect(200, "undone");
    for (fund, date) in [(second, "2025-03-01T00:00:00"), (first, "2025-03-01T00:00:00")] {
        assert_eq!(api.read(&format!("/funds/{fund}")).await["roadshow_date"], date);
    }
    api.backend.stop().await;
}

/// A record of every kind that something has happened to, with the positions at which that ended.
async fn lived(api: &Api) -> Vec<(String, Vec<i64>)> {
    let lp = api.made("lps", json!({"name": "Profuturo", "priority": "1"})).await;
    let gp = api.made("gps", json!({"name": "Alpine"})).await;
    let distributor = api.made("distributors", json!({"name": "Andes"})).await;
    let fund = api.made("funds", json!({"fund_name": "Alpine IV", "status": "fundraising"})).await;
    let trip = api.made("roadshows", json!({"name": "Lima", "fund_id": fund})).await;
    let person = api.made("people", json!({"name": "Ana", "email": "a@example.com"})).await;
    let note = api.made("notes", json!({"name": "Meeting", "date": "2025-01-31"})).await;
    let todo = api.made("todos", json!({"title": "Call", "note_id": note})).await;
    let mut all: Vec<(String, Vec<i64>)> = Vec::new();
    for (path, changes) in [
        (
            format!("lps/{lp}"),
            vec![
                ("", json!({"priority": "2", "location": "Lima"})),
                ("", json!({"name": "P."})),
                ("", json!({"priority": null, "aum_billions": 2.5})),
            ],
        ),
        (
            format!("gps/{gp}"),
            vec![("", json!({"location": "Zug"})), ("", json!({"name": "A", "location": null}))],
        ),
        (
            format!("distributors/{distributor}"),
            vec![("", json!({"headquarter": "Quito"})), ("", json!({"name": "B"}))],
        ),
        (
            format!("funds/{fund}"),
            vec![
                ("", json!({"target_mn": 5.0, "status": "closed"})),
                (&*format!("/lps/{lp}/interest?interest=meeting"), json!({})),
                ("", json!({"roadshow_date": "2025-02-01"})),
                (&*format!("/lps/{lp}/interest?interest=commitment"), json!({})),
            ],
        ),
        (
            format!("roadshows/{trip}"),
            vec![
                ("", json!({"arrival": "2025-03-01"})),
                (&*format!("/lps/{lp}/status?status=confirmed"), json!({})),
                ("", json!({"arrival": null})),
            ],
        ),
        (
            format!("people/{person}"),
            vec![("", json!({"email": null})), ("", json!({"name": "Ana Ruiz"}))],
        ),
        (
            format!("notes/{note}"),
            vec![("", json!({"summary": "x"})), ("", json!({"date": null, "useful": true}))],
        ),
        (
            format!("todos/{todo}"),
            vec![
                ("", json!({"status": "in_progress"})),
                ("", json!({"status": "completed"})),
                ("", json!({"title": "Call again", "priority": "high"})),
            ],
        ),
    ] {
        let changes: Vec<(String, Value)> =
            changes.into_iter().map(|(below, body)| (below.to_owned(), body)).collect();
        let mut positions: Vec<i64> = sqlx::query_scalar("select max(position) from events")
            .fetch_all(&api.db.pool)
            .await
            .unwrap();
        for (below, body) in changes {
            positions.push(put(api, &format!("{path}{below}"), body).await);
        }
        if path.starts_with("notes") || path.starts_with("people") {
            let kind = if path.starts_with("notes") { "funds" } else { "gps" };
            let other = if kind == "funds" { fund } else { gp };
            let uri = format!("/{path}/{kind}/{other}");
            positions.push(api.post(&uri, json!({})).await.position());
            positions.push(api.delete(&uri).await.position());
            positions.push(api.post(&uri, json!({})).await.position());
        }
        all.push((path, positions));
    }
    all
}

#[tokio::test]
async fn a_record_is_taken_back_to_every_state_it_was_in_and_forth_again() {
    let api = Api::new().await;
    for (path, positions) in lived(&api).await {
        for position in positions.iter().chain(positions.iter().rev()) {
            let body = json!({"to": position, "force": true});
            let told = rehearse(&api, &path, body.clone()).await;
            let later = told["conflicts"].as_array().unwrap();
            assert!(later.iter().all(|it| it["position"].as_i64().unwrap() > *position), "{told}");
            assert!(later.is_empty() <= told["changes"].as_array().unwrap().is_empty(), "{told}");
            let before = last(&api).await.0;
            undo(&api, &path, body.clone()).await.expect(200, &path);
            let after = last(&api).await.0;
            // It did exactly what was foretold.
            let done = api.read(&format!("/{path}/compare?from={before}&to={after}")).await;
            assert_eq!(done["changes"], told["changes"], "{path} to {position}");
            assert_eq!(
                after - before,
                i64::try_from(told["sentences"].as_array().unwrap().len()).unwrap()
            );
            // It says what it said then.
            let since = api.read(&format!("/{path}/compare?from={position}")).await;
            assert_eq!(since["changes"], json!([]), "{path} to {position}");
            if after > before {
                let sequence = "select event_id from events where position <= $1
                    and (aggregate_type, aggregate_id) = (select aggregate_type, aggregate_id from events where position = $2)
                    order by position desc limit 1";
                let cause: uuid::Uuid = sqlx::query_scalar(sequence)
                    .bind(position)
                    .bind(after)
                    .fetch_one(&api.db.pool)
                    .await
                    .unwrap();
                assert_eq!(last(&api).await.2, Some(cause), "{path}");
            }
            // Done twice it does nothing.
            undo(&api, &path, body).await.expect(200, &path);
            assert_eq!(last(&api).await.0, after);
        }
    }
    api.backend.stop().await;
}

#[tokio::test]
async fn one_event_is_taken_back_and_what_came_after_stays() {
    let api = Api::new().await;
    let lp =
        api.made("lps", json!({"name": "Profuturo", "priority": "1", "location": "Lima"})).await;
    let path = format!("lps/{lp}");
    let moved = put(&api, &path, json!({"priority": "2"})).await;
    put(&api, &path, json!({"location": "Quito"})).await;
    let told = rehearse(&api, &path, json!({"event": moved})).await;
    assert_eq!(
        told["changes"],
        json!([{"field": "priority", "label": "Priority", "from": "2", "to": "1"}])
    );
    assert!(told["sentences"][0].as_str().unwrap().contains("Profuturo"), "{told}");
    let id = event_id(&api, moved).await;
    let row = undo(&api, &path, json!({"event": id})).await.expect(200, "undo");
    assert_eq!((&row["priority"], &row["location"]), (&json!("1"), &json!("Quito")));
    let (_, name, cause) = last(&api).await;
    assert_eq!((name.as_str(), cause), ("Prioritised", Some(id)));
    // Taken back already.
    let told = rehearse(&api, &path, json!({"event": moved})).await;
    assert_eq!((&told["changes"], &told["conflicts"]), (&json!([]), &json!([])));
    api.backend.stop().await;
}

#[tokio::test]
async fn what_was_changed_again_since_is_listed_and_undone_only_if_told_to() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Profuturo", "priority": "1"})).await;
    let path = format!("lps/{lp}");
    let moved = put(&api, &path, json!({"priority": "2"})).await;
    let again = put(&api, &path, json!({"priority": "3"})).await;
    let told = rehearse(&api, &path, json!({"event": moved})).await;
    let refused = undo(&api, &path, json!({"event": moved})).await.expect(409, "contested");
    assert_eq!(told["conflicts"], refused["conflicts"]);
    let conflict = &refused["conflicts"][0];
    assert_eq!(conflict["position"], again);
    assert_eq!(
        (&conflict["field"], &conflict["from"], &conflict["to"]),
        (&json!("priority"), &json!("2"), &json!("3"))
    );
    assert_eq!(conflict["actor"], "anonymous");
    assert_eq!(last(&api).await.0, again);
    let row = undo(&api, &path, json!({"event": moved, "force": true})).await.expect(200, "forced");
    assert_eq!(row["priority"], "1");
    api.backend.stop().await;
}

#[tokio::test]
async fn going_back_takes_back_no_change_that_the_caller_has_not_said_to_know() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Profuturo", "priority": "1"})).await;
    let (path, made) = (format!("lps/{lp}"), last(&api).await.0);
    let moved = put(&api, &path, json!({"priority": "2"})).await;
    // Somebody else, about something else.
    let others = put(&api, &path, json!({"location": "Lima"})).await;
    let told = rehearse(&api, &path, json!({"to": made})).await;
    let listed = |conflicts: &Value| -> Vec<i64> {
        let all = conflicts.as_array().unwrap().iter();
        all.map(|conflict| conflict["position"].as_i64().unwrap()).collect()
    };
    assert_eq!(listed(&told["conflicts"]), [moved, others]);
    for unaware in [json!({"to": made}), json!({"to": made, "seen": moved})] {
        let refused = undo(&api, &path, unaware).await.expect(409, "not known");
        assert_eq!(refused["conflicts"], told["conflicts"]);
    }
    assert_eq!(last(&api).await.0, others, "nothing is recorded");
    let refused = api.read("/audit/refusals").await["refusals"][0].clone();
    assert_eq!((&refused["command"], &refused["record"]["id"]), (&json!("Revert"), &json!(lp)));
    let known = json!({"to": made, "seen": others});
    let row = undo(&api, &path, known).await.expect(200, "known");
    assert_eq!((&row["priority"], &row["location"]), (&json!("1"), &Value::Null));
    api.backend.stop().await;
}

#[tokio::test]
async fn a_deleted_record_comes_back_and_the_first_event_undone_deletes_it() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    let (path, made) = (format!("lps/{lp}"), last(&api).await.0);
    api.delete(&format!("/{path}")).await.expect(200, "delete");
    let deleted = last(&api).await.0;
    let states = api.read(&format!("/{path}/compare?from=0&to={deleted}")).await;
    assert_eq!(
        (&states["from"]["state"], &states["to"]["state"]),
        (&json!("absent"), &json!("archived"))
    );
    assert_eq!(
        undo(&api, &path, json!({"event": deleted})).await.expect(200, "")["name"],
        "Profuturo"
    );
    api.delete(&format!("/{path}")).await.expect(200, "delete");
    let back = json!({"to": made, "seen": last(&api).await.0});
    assert_eq!(undo(&api, &path, back).await.expect(200, "")["name"], "Profuturo");
    assert_eq!(
        undo(&api, &path, json!({"event": made})).await.expect(200, ""),
        json!({"status": "deleted"})
    );
    api.get(&format!("/{path}")).await.expect(404, "it is gone");
    undo(&api, "lps/999", json!({"to": made})).await.expect(404, "never was");
    api.backend.stop().await;
}

#[tokio::test]
async fn a_notion_id_that_another_has_by_now_is_not_given_back() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "One", "notion_id": "n-1"})).await;
    let (path, made) = (format!("lps/{lp}"), last(&api).await.0);
    put(&api, &path, json!({"notion_id": null})).await;
    let other = api.made("lps", json!({"name": "Other", "notion_id": "n-1"})).await;
    let uri = format!("/{path}/revert?dry_run=true");
    assert_eq!(api.post(&uri, json!({"to": made})).await.faults(), ["unique at body.notion_id"]);
    let back = json!({"to": made, "force": true});
    assert_eq!(undo(&api, &path, back.clone()).await.faults(), ["unique at body.notion_id"]);
    api.delete(&format!("/lps/{other}")).await.expect(200, "delete");
    assert_eq!(undo(&api, &path, back).await.expect(200, "")["notion_id"], "n-1");
    // The other one cannot come back now.
    let back = json!({"to": last(&api).await.0 - 2, "force": true});
    let deleted = undo(&api, &format!("lps/{other}"), back).await;
    assert_eq!(deleted.faults(), ["unique at body.notion_id"]);
    api.backend.stop().await;
}

#[tokio::test]
async fn what_no_longer_exists_stands_against_going_back_to_it() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    let note = api.made("notes", json!({"name": "Meeting"})).await;
    let path = format!("notes/{note}");
    let linked = api.post(&format!("/{path}/lps/{lp}"), json!({})).await.position();
    api.delete(&format!("/{path}/lps/{lp}")).await.expect(200, "");
    api.delete(&format!("/lps/{lp}")).await.expect(200, "");
    let known = json!({"to": linked, "seen": last(&api).await.0});
    let refused = undo(&api, &path, known).await.expect(409, "gone");
    let gone = refused["conflicts"].as_array().unwrap().last().unwrap();
    assert_eq!(gone["missing"], json!({"kind": "lp", "id": lp, "name": "Profuturo"}));
    undo(&api, &path, json!({"to": linked, "force": true})).await.expect(200, "forced");
    api.backend.stop().await;
}

#[tokio::test]
async fn conditions_keys_and_crowds_are_minded() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Profuturo", "priority": "1"})).await;
    let (path, made) = (format!("lps/{lp}"), last(&api).await.0);
    let tag = api.get(&format!("/{path}")).await.header("etag").unwrap().to_owned();
    put(&api, &path, json!({"priority": "2"})).await;
    let conditional = |tag: &str| {
        let mut request =
            json_request(Method::POST, &format!("/{path}/revert"), &json!({"to": made}));
        request.headers_mut().insert("if-match", tag.parse().unwrap());
        request
    };
    api.send(conditional(&tag)).await.expect(412, "an old tag");
    let tag = api.get(&format!("/{path}")).await.header("etag").unwrap().to_owned();
    assert_eq!(api.send(conditional(&tag)).await.expect(200, "the tag")["priority"], "1");
    let keyed = || {
        let uri = format!("/{path}/revert");
        let body = json!({"to": made, "force": true});
        let mut request = json_request(Method::POST, &uri, &body);
        request.headers_mut().insert("idempotency-key", "once".parse().unwrap());
        request
    };
    put(&api, &path, json!({"priority": "3"})).await;
    let first = api.send(keyed()).await.expect(200, "once");
    let events = api.events().await;
    assert_eq!(api.send(keyed()).await.expect(200, "again"), first);
    assert_eq!(api.events().await, events);
    // Whoever changes the record meanwhile is neither lost nor in the way.
    let moved = put(&api, &path, json!({"priority": "4"})).await;
    let changes = async {
        for number in 0..10 {
            put(&api, &path, json!({"location": number.to_string()})).await;
        }
    };
    let (row, ()) = tokio::join!(undo(&api, &path, json!({"event": moved})), changes);
    assert_eq!(row.expect(200, "among others")["priority"], "1");
    assert_eq!(api.read(&format!("/{path}")).await["location"], "9");
    api.backend.stop().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    let path = format!("lps/{lp}");
    let check = async |body: Value, fault: &str| {
        assert_eq!(undo(&api, &path, body.clone()).await.faults(), [fault], "{body}");
    };
    check(json!({}), "goal at body").await;
    check(json!({"to": 1, "event": 1}), "goal at body").await;
    check(json!({"to": 99}), "in_the_future at body.to").await;
    check(json!({"to": true}), "event_parsing at body.to").await;
    check(json!({"event": "x"}), "event_parsing at body.event").await;
    check(json!({"event": 99}), "not_found at body.event").await;
    check(json!({"to": 1, "seen": "x"}), "int_parsing at body.seen").await;
    check(json!({"to": 1, "seen": 99}), "in_the_future at body.seen").await;
    check(json!({"event": 1, "force": "yes"}), "bool_parsing at body.force").await;
    check(json!({"event": 1, "forse": true}), "extra_forbidden at body.forse").await;
    let faults = async |uri: &str| api.post(uri, json!({"to": 1})).await.faults();
    assert_eq!(
        faults(&format!("/{path}/revert?dry_run=maybe")).await,
        ["bool_parsing at query.dry_run"]
    );
    assert_eq!(
        faults(&format!("/{path}/revert?dryrun=1")).await,
        ["extra_forbidden at query.dryrun"]
    );
    assert_eq!(
        faults(&format!("/{path}/revert?dry_run=true&dry_run=false")).await,
        ["duplicate at query.dry_run"]
    );
    for (below, name) in [
        ("?as_of=1&as_of=0", "as_of"),
        ("/compare?from=0&from=1", "from"),
        ("/compare?from=0&to=1&to=0", "to"),
    ] {
        let found = api.get(&format!("/{path}{below}")).await.faults();
        assert_eq!(found, [format!("duplicate at query.{name}")], "{below}");
    }
    assert_eq!(api.get("/lps?as_of=1&as_of=1").await.faults(), ["duplicate at query.as_of"]);
    assert_eq!(api.get(&format!("/{path}/compare")).await.faults(), ["missing at query.from"]);
    assert_eq!(
        api.get(&format!("/{path}/compare?from=9")).await.faults(),
        ["in_the_future at query.from"]
    );
    api.get("/lps/999/compare?from=0").await.expect(404, "never was");
    api.backend.stop().await;
}

#[tokio::test]
async fn what_no_undoing_takes_back_is_refused_with_what_to_do_instead() {
    let api = Api::new().await;
    let person = api.made("people", json!({"name": "Ana"})).await;
    let path = format!("people/{person}");
    let hold = json!({"reason": "case 3"});
    let held = api.put(&format!("/{path}/hold"), hold.clone()).await;
    held.expect(200, "hold");
    let held = last(&api).await.0;
    let goal = json!({"event": held});
    let refused = undo(&api, &path, goal.clone()).await.expect(409, "held");
    let said = refused["detail"].as_str().unwrap();
    assert!(said.contains(&format!("DELETE /people/{person}/hold")), "{said}");
    let uri = format!("/{path}/revert?dry_run=true");
    assert_eq!(api.post(&uri, goal.clone()).await.expect(409, "foretold")["detail"], said);
    // Going back leaves it, and says so.
    let told = rehearse(&api, &path, json!({"to": held - 1})).await;
    assert_eq!((&told["changes"], &told["stays"][0]["field"]), (&json!([]), &json!("hold")));
    assert_eq!(last(&api).await.0, held, "nothing is recorded");
    let (_, page) = crate::pages::page(&api, &format!("/audit/person/{person}")).await;
    let id = event_id(&api, held).await;
    assert!(!page.contains(&format!("undo?event={id}")), "no button for it");
    assert!(page.contains("undo?event="), "but for being added");
    let uri = format!("/audit/person/{person}/undo?to={}", held - 1);
    let (_, preview) = crate::pages::page(&api, &uri).await;
    assert!(preview.contains("no undoing takes back"), "{preview}");
    let lifting = json_request(Method::DELETE, &format!("/{path}/hold"), &hold);
    api.send(lifting).await.expect(200, "lift");
    // It stands no longer, so there is nothing left to undo.
    undo(&api, &path, goal).await.expect(200, "lifted");
    let lifted = json!({"event": last(&api).await.0});
    let refused = undo(&api, &path, lifted).await.expect(409, "lifted");
    assert!(refused["detail"].as_str().unwrap().contains("PUT /people/"), "{refused}");
    api.backend.stop().await;
}

#[tokio::test]
async fn what_happened_to_a_recording_is_not_undone() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Meeting"})).await;
    let path = format!("notes/{note}");
    let id = attach(&api.backend.log, note, "recordings/none").await;
    process(&api.backend.log, note, id, keep(1, &["We like it."])).await;
    api.delete(&format!("/recordings/{id}")).await.expect(200, "removed");
    let events: Vec<(i64, String)> = sqlx::query_as(
        "select position, event_type from events where aggregate_type = 'note' order by position",
    )
    .fetch_all(&api.db.pool)
    .await
    .unwrap();
    let before = last(&api).await.0;
    let mut refused = Vec::new();
    for (position, event) in &events[1..] {
        let answer = undo(&api, &path, json!({"event": position})).await;
        if answer.status == 409 {
            refused.push((event.as_str(), answer.body["detail"].as_str().unwrap().to_owned()));
        }
    }
    assert_eq!(last(&api).await.0, before, "nothing is recorded");
    assert_eq!(refused[0].0, "RecordingRemoved", "what came before stands no longer: {refused:?}");
    assert!(refused[0].1.contains("removed for good"), "{refused:?}");
    assert!(refused[1].1.contains("what its recordings have it say"), "{refused:?}");
    api.backend.stop().await;
}

/// What a page says beside what stands on every one.
fn main_of(page: &str) -> &str {
    page.split_once("<main").and_then(|(_, rest)| rest.split_once("</main>")).unwrap().0
}

#[tokio::test]
async fn a_todo_that_followed_stays_when_the_completion_is_undone_and_that_is_said_before() {
    let api = Api::new().await;
    let weekly = json!({"title": "Call", "due_date": "2025-01-31T09:00:00",
        "recurrence_pattern": r#"{"type": "weekly"}"#});
    let todo = api.made("todos", weekly).await;
    let path = format!("todos/{todo}");
    let begun = last(&api).await.0;
    put(&api, &path, json!({"status": "completed"})).await;
    let next =
        api.read("/todos").await.as_array().unwrap().iter().find_map(|it| {
            (it["parent_todo_id"] == json!(todo)).then(|| it["id"].as_i64().unwrap())
        });
    let next = next.unwrap();
    let completed: i64 = sqlx::query_scalar(
        "select position from events where event_type = 'Completed' order by position desc limit 1",
    )
    .fetch_one(&api.db.pool)
    .await
    .unwrap();
    let stays = json!([{"field": "follow_up", "label": "Follow up",
        "about": {"kind": "todo", "id": next, "name": "Call"}, "from": null, "to": true}]);
    for goal in [json!({"event": completed}), json!({"to": begun})] {
        assert_eq!(rehearse(&api, &path, goal.clone()).await["stays"], stays, "{goal}");
    }
    let uri = format!("/audit/todo/{todo}/undo?event={}", event_id(&api, completed).await);
    let (_, preview) = crate::pages::page(&api, &uri).await;
    assert!(preview.contains("This stays"), "{preview}");
    let said = format!("The follow-up <a href=\"/audit/todo/{next}\">todo “Call”</a> stays.");
    assert!(preview.contains(&said) && !preview.contains("Follow up"), "{preview}");
    // A position names the change as well, as it does to the API.
    let by_position = format!("/audit/todo/{todo}/undo?event={completed}");
    assert_eq!(main_of(&crate::pages::page(&api, &by_position).await.1), main_of(&preview));
    let (status, _) =
        crate::pages::page(&api, &format!("/audit/todo/{todo}/undo?event=4711")).await;
    assert_eq!(status, 404, "no event of the record");

    undo(&api, &path, json!({"event": completed})).await.expect(200, "undone");
    assert_eq!(api.read(&format!("/todos/{next}")).await["title"], "Call", "it is not deleted");
    // What is undone already leaves nothing, and nothing is said of a todo that is gone.
    assert_eq!(rehearse(&api, &path, json!({"event": completed})).await["stays"], json!([]));
    put(&api, &path, json!({"status": "completed"})).await;
    api.delete(&format!("/todos/{next}")).await.expect(200, "deleted");
    let told = rehearse(&api, &path, json!({"to": begun})).await;
    let stays: Vec<&Value> = told["stays"].as_array().unwrap().iter().collect();
    assert_eq!(stays.len(), 1, "the other one: {told}");
    assert_ne!(stays[0]["about"]["id"], json!(next));
    api.backend.stop().await;
}

#[tokio::test]
async fn a_contact_that_goes_with_an_interest_is_listed_before_that_is_undone() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    let fund = api.made("funds", json!({"fund_name": "Alpine IV"})).await;
    let (path, below) = (format!("funds/{fund}"), format!("/lps/{lp}/interest?interest=meeting"));
    let first = put(&api, &format!("{path}{below}"), json!({})).await;
    let note = api.made("notes", json!({"name": "Meeting", "date": "2025-01-31"})).await;
    for other in [format!("lps/{lp}"), format!("funds/{fund}")] {
        api.post(&format!("/notes/{note}/{other}"), json!({})).await.expect(200, &other);
    }
    let contact = put(&api, &format!("{path}{below}"), json!({})).await;
    assert!(contact > first);
    let told = rehearse(&api, &path, json!({"event": first})).await;
    let conflicts = told["conflicts"].as_array().unwrap();
    let listed: Vec<&str> = conflicts.iter().map(|it| it["field"].as_str().unwrap()).collect();
    assert_eq!(listed, ["last_contact_date", "latest_note_id"]);
    assert!(conflicts.iter().all(|it| it["position"] == contact), "{told}");
    undo(&api, &path, json!({"event": first})).await.expect(409, "contested");
    let forced = json!({"event": first, "force": true});
    undo(&api, &path, forced).await.expect(200, "forced");
    api.backend.stop().await;
}
