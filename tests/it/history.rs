//! The history of a record tells everything that happened to it: what it says now is the sum of what is told. Whatever
//! was refused, and what led to what, is told as well.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use domain::{FactName, Kind, RecordRef};
use projections::history::{History, Selection};
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::contract::{Api, json_request, request};
use crate::harness::{Database, demo_file, looking_at_read_models, tamper};
use crate::import::{legacy, run};

/// More than any record has.
const ALL: usize = 100_000;

/// What a record says after all that is told of it, oldest first: every change goes on from where the one before ended.
async fn told(history: &History, record: RecordRef) -> BTreeMap<FactName, Value> {
    let page = history.of_record(record, &Selection::default(), None, ALL).await.unwrap();
    assert_eq!(page.next, None);
    let mut facts: BTreeMap<FactName, Value> = BTreeMap::new();
    for entry in page.entries.iter().rev() {
        assert!(!entry.sentence.0.is_empty() && entry.note.is_none(), "{entry:?}");
        for change in &entry.changes {
            let before = match &change.to {
                Value::Null => facts.remove(&change.name()),
                value => facts.insert(change.name(), value.clone()),
            };
            assert_eq!(before.unwrap_or_default(), change.from, "{record}: {change:?}");
        }
    }
    facts
}

/// Every row of every read model of records: its kind, id, whether it is archived, and what it says.
async fn rows(pool: &PgPool) -> Vec<(RecordRef, bool, Map<String, Value>)> {
    let pool = looking_at_read_models(pool).await;
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let statement = format!("select id, archived, record from {kind}");
        let rows: Vec<(i64, bool, Value)> =
            sqlx::query_as(&statement).fetch_all(&pool).await.unwrap();
        assert!(!rows.is_empty(), "{kind}");
        all.extend(rows.into_iter().map(|(id, archived, row)| {
            let Value::Object(mut row) = row else { panic!("{row}") };
            row.remove("id");
            row.retain(|_, value| !value.is_null());
            (kind.record(id), archived, row)
        }));
    }
    all
}

/// What every record says about others: its links, and how LPs stand to it.
async fn said_about_others(pool: &PgPool) -> BTreeMap<RecordRef, BTreeMap<FactName, Value>> {
    type Row = (String, i64, String, i64, String, Value);
    let pool = looking_at_read_models(pool).await;
    let standing = |owner: &str, table: &str, word: &str| {
        format!(
            "select '{owner}', {owner}_id, 'lp', lp_id, field, value from {table},
                 lateral (values ('{word}', to_jsonb({word})), ('last_contact_date', to_jsonb(contact_date)),
                     ('latest_note_id', to_jsonb(contact_note))) as said (field, value)
             where value is not null"
        )
    };
    let statement = format!(
        "select from_kind, from_id, to_kind, to_id, 'links', 'true'::jsonb from link
         union all {} union all {}",
        standing("fund", "interest", "interest"),
        standing("roadshow", "lp_status", "status")
    );
    let rows: Vec<Row> = sqlx::query_as(&statement).fetch_all(&pool).await.unwrap();
    let mut all = BTreeMap::<RecordRef, BTreeMap<FactName, Value>>::new();
    for (kind, id, about, about_id, field, value) in rows {
        let [of, about] = [(kind, id), (about, about_id)]
            .map(|(kind, id)| Kind::parse(&kind).unwrap().record(id));
        all.entry(of).or_default().insert(FactName { field, about: Some(about) }, value);
    }
    all
}

/// The table of links has no word for what a person's links to organisations are called.
fn as_stored(name: &FactName) -> FactName {
    let field = if name.field == "affiliations" { "links" } else { &name.field };
    FactName { field: field.to_owned(), about: name.about }
}

async fn assert_history_is_what_records_say(db: &Database) {
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    let history = backend.reader.history();
    let mut about_others = said_about_others(&db.pool).await;
    let fields: BTreeSet<&str> =
        about_others.values().flat_map(|facts| facts.keys().map(|name| &*name.field)).collect();
    assert_eq!(fields.len(), 5, "links, two stages, and what they remember: {fields:?}");
    for (record, archived, row) in rows(&db.pool).await {
        let facts = told(&history, record).await;
        let has =
            |field: &str| facts.keys().any(|name| name.about.is_none() && name.field == field);
        assert_eq!(has("archived"), archived, "{record}");
        let told_about_others: BTreeMap<FactName, Value> = facts
            .iter()
            .filter(|(name, _)| name.about.is_some() && !name.field.starts_with("legacy."))
            .map(|(name, value)| (as_stored(name), value.clone()))
            .collect();
        assert_eq!(told_about_others, about_others.remove(&record).unwrap_or_default(), "{record}");
        let said: Map<String, Value> = facts
            .into_iter()
            .filter(|(name, _)| name.about.is_none() && name.field != "archived")
            .filter(|(name, _)| !name.field.starts_with("legacy."))
            .map(|(name, value)| (name.field, value))
            .collect();
        assert_eq!(said, row, "{record}");
    }
    assert_eq!(about_others, BTreeMap::new(), "of records that nobody knows");
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_told_of_a_record_adds_up_to_what_it_says() {
    let db = Database::new().await;
    run(&db, &demo_file()).await.unwrap();
    assert_history_is_what_records_say(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_for_records_of_a_dirty_file() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "--lps 60 --notes 200 --todos 200 --dirty --dirty-fatal");
    run(&db, &file).await.unwrap();
    assert_history_is_what_records_say(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_says_who_when_from_where_and_what_changed() {
    let api = Api::new().await;
    let fund = api.made("funds", json!({"fund_name": "Fund III"})).await;
    let lp = api.made("lps", json!({"name": "Afore XXI", "priority": "B"})).await;
    let id = Uuid::now_v7().to_string();
    let uri = format!("/lps/{lp}");
    let mut revise = json_request(Method::PUT, &uri, &json!({"priority": "A"}));
    revise.headers_mut().insert("x-request-id", id.parse().unwrap());
    revise.headers_mut().insert("user-agent", "a test".parse().unwrap());
    let position = api.send(revise).await.position();
    for stage in ["meeting", "due_diligence"] {
        let uri = format!("/funds/{fund}/lps/{lp}/interest?interest={stage}");
        api.put(&uri, json!({})).await.expect(200, stage);
    }

    let history = api.read(&format!("{uri}/history")).await;
    assert_eq!(history["entries"].as_array().unwrap().len(), 2);
    let entry = &history["entries"][0];
    assert_eq!(entry["position"], position);
    assert_eq!(entry["sentence"], "Priority of Afore XXI moved from B to A");
    let change = json!([{"field": "priority", "label": "Priority", "from": "B", "to": "A"}]);
    assert_eq!(entry["changes"], change);
    assert_eq!(entry["record"], json!({"kind": "lp", "id": lp, "name": "Afore XXI"}));
    for (field, expected) in [
        ("actor", "anonymous"),
        ("source", "api"),
        ("user_agent", "a test"),
        ("command", "Revise"),
        ("event", "Prioritised"),
        ("correlation_id", id.as_str()),
    ] {
        assert_eq!(entry[field], expected, "{field}");
    }
    assert_eq!(history["next"], Value::Null);
    // What happened to others and speaks of it.
    let related = api.read(&format!("{uri}/history?related=true")).await;
    let sentence = &related["entries"][0]["sentence"];
    let words = "moved from meeting to due_diligence";
    assert!(sentence.as_str().unwrap().contains(words), "{sentence}");
    assert_eq!(related["entries"].as_array().unwrap().len(), 4);
    api.get("/lps/987654/history").await.expect(404, "never there");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roadshow_date_of_a_fund_is_told_compared_and_undone_as_readers_see_it() {
    let api = Api::new().await;
    let fund =
        api.made("funds", json!({"fund_name": "Alpine IV", "roadshow_date": "2025-02-01"})).await;
    let uri = format!("/funds/{fund}");
    let body = json!({"name": "Lima", "fund_id": fund, "arrival": "2025-03-01"});
    let trip = api.made("roadshows", body).await;
    let shown = async || api.read(&uri).await["roadshow_date"].as_str().unwrap()[..10].to_owned();
    assert_eq!(shown().await, "2025-03-01");
    let back = api.put(&uri, json!({"roadshow_date": "2025-02-01"})).await.position();
    let told = "Roadshow date of Alpine IV moved from 2025-03-01 to 2025-02-01";
    let history = api.read(&format!("{uri}/history?field=roadshow_date")).await;
    assert_eq!(history["entries"][0]["sentence"], told);
    let brought = &history["entries"][1];
    assert_eq!(
        brought["sentence"],
        "Roadshow date of Alpine IV moved from 2025-02-01 to 2025-03-01, the arrival of Lima"
    );
    assert_eq!(brought["record"], json!({"kind": "roadshow", "id": trip, "name": "Lima"}));
    let everywhere = api.read("/audit").await;
    assert_eq!(everywhere["entries"][0]["sentence"], told, "whoever looks across records");
    assert_eq!(everywhere["entries"][1]["sentence"], "Lima was added for Alpine IV");

    let arrival = json!({"arrival": "2025-04-01"});
    let moved = api.put(&format!("/roadshows/{trip}"), arrival).await.position();
    let compared = api.read(&format!("{uri}/compare?from={back}&to={moved}")).await;
    let change = &compared["changes"][0];
    for (side, position) in [("from", back), ("to", moved)] {
        let then = api.read(&format!("{uri}?as_of={position}")).await;
        assert_eq!(change[side], then["roadshow_date"], "{side}");
    }
    let revert = format!("{uri}/revert");
    api.post(&revert, json!({"event": moved})).await.expect(200, "what a roadshow brought");
    assert_eq!(shown().await, "2025-02-01");
    api.post(&revert, json!({"event": back})).await.expect(200, "undone");
    assert_eq!(shown().await, "2025-03-01");
    let first = history["entries"][2]["position"].as_i64().unwrap();
    api.post(&revert, json!({"to": first, "force": true})).await.expect(200, "as it began");
    assert_eq!(shown().await, "2025-02-01");
    api.delete(&uri).await.expect(200, "delete");
    let arrival = json!({"arrival": "2025-05-01"});
    api.put(&format!("/roadshows/{trip}"), arrival).await.expect(200, "while it is deleted");
    api.post(&revert, json!({"to": moved, "force": true})).await.expect(200, "restored");
    assert_eq!(shown().await, "2025-04-01");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_shown_with_the_reason() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Afore XXI"})).await;
    let uri = format!("/lps/{lp}");
    let broken = api.put(&uri, json!({"name": "Afore XXII"})).await.position();
    api.put(&uri, json!({"priority": "A"})).await.expect(200, "revise");
    api.backend.settle().await.unwrap();
    let statement =
        format!("update events set payload = '{{\"Renamed\": {{}}}}' where position = {broken}");
    tamper(&api.db.pool, &statement).await;
    let history = api.read(&format!("{uri}/history")).await;
    let entries = history["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3, "{history}");
    let note = |at: usize| entries[at]["note"].as_str().unwrap_or_default().to_owned();
    assert!(note(1).contains("missing field `name`"), "{}", note(1));
    assert!(note(0).contains(&format!("position {broken} cannot be read")), "{}", note(0));
    assert_eq!(note(2), "");
    // The search across records stops before it, and says so.
    crate::rebuild::rebuild(&api.db, &["audit"]).await.unwrap();
    let mut checkpoints = api.backend.runner().checkpoints().clone();
    checkpoints.wait_for(|all| all["audit"].revision > 0).await.unwrap();
    let page = api.read("/audit").await;
    assert_eq!(page["missing"], json!([format!("lp/{lp} from position {broken} on")]));
    assert_eq!(page["entries"].as_array().unwrap().len(), 1, "{page}");
    // A file that somebody keeps says so as well, and so does cause and effect.
    for (format, lines) in [("ndjson", 2), ("csv", 3)] {
        let file = api.get(&format!("/audit?format={format}")).await;
        assert_eq!(file.header("x-missing"), Some("1"), "{format}");
        let text = String::from_utf8(file.bytes.to_vec()).unwrap();
        assert_eq!(text.lines().count(), lines, "{text}");
        let last = text.lines().last().unwrap();
        assert!(
            last.contains("Not all is here") && last.contains(&format!("lp/{lp} from")),
            "{text}"
        );
    }
    let whole = api.get(&format!("/lps/{lp}/history?format=ndjson")).await;
    assert_eq!(whole.header("x-missing"), None, "the record's own history leaves nothing out");
    let event = page["entries"][0]["event_id"].as_str().unwrap();
    let tree = api.read(&format!("/audit/causation/{event}")).await;
    assert_eq!((&tree["missing"], &tree["complete"]), (&page["missing"], &json!(false)));
    api.backend.stop().await;
    // A command on what cannot be read says what is in the way.
    let api = Api::on(api.db).await;
    let refused = api.put(&uri, json!({"priority": "B"})).await.expect(409, "unreadable");
    let said = refused["detail"].as_str().unwrap();
    assert!(said.contains(&format!("the Renamed event of lp {lp} at position {broken}")), "{said}");
    assert!(said.contains("missing field `name`") && said.contains("crm verify --log"), "{said}");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_record_has_a_history_that_says_so() {
    let api = Api::new().await;
    let person = api.made("people", json!({"name": "Quetzalli"})).await;
    let erase = format!("/people/{person}/erase");
    api.post(&erase, json!({"reason": "case 17"})).await.expect(200, "erased");
    let text = api.get(&format!("/people/{person}/history")).await.expect(200, "still").to_string();
    assert!(!text.contains("Quetzalli"), "{text}");
    let history: Value = serde_json::from_str(&text).unwrap();
    assert!(history["entries"][0]["sentence"].as_str().unwrap().contains("case 17"), "{text}");
    assert!(history["entries"][1]["note"].as_str().unwrap().contains("erased"), "{text}");
    assert_eq!(api.read("/audit?q=Quetzalli").await["entries"], json!([]));
    api.backend.settle().await.unwrap();
    let report = crate::verify::verify(&api.db).await;
    assert!(report.passed, "{report:?}");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_kept_without_what_was_sent() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "x"})).await;
    let uri = format!("/lps/{lp}");
    let mut outdated = json_request(Method::PUT, &uri, &json!({"name": "secret"}));
    outdated.headers_mut().insert("if-match", "\"other\"".parse().unwrap());
    assert_eq!(api.send(outdated).await.status, 412);
    api.put("/lps/987654", json!({"name": "secret"})).await.expect(404, "unknown");
    let id = Uuid::now_v7().to_string();
    let mut invalid = json_request(
        Method::POST,
        "/lps?token=secret",
        &json!({"name": 7, "aum_billions": "secret"}),
    );
    invalid.headers_mut().insert("x-request-id", id.parse().unwrap());
    invalid.headers_mut().insert("user-agent", "u".repeat(9_000).parse().unwrap());
    assert_eq!(api.send(invalid).await.status, 422);
    let patch = request(Method::PATCH, &uri).body(axum::body::Body::empty()).unwrap();
    assert_eq!(api.send(patch).await.status, 405);
    api.get("/lps/987654").await.expect(404, "a read is no attempt");
    api.put(&uri, json!({"name": "y"})).await.expect(200, "what works is no refusal");
    let deleted = api.delete("/lps/987654").await;
    assert_eq!(deleted.status, 404);

    let all = api.read("/audit/refusals").await;
    let refusals = all["refusals"].as_array().unwrap();
    let told: Vec<(i64, &str)> = refusals
        .iter()
        .map(|one| (one["status"].as_i64().unwrap(), one["method"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(404, "DELETE"), (405, "PATCH"), (422, "POST"), (404, "PUT"), (412, "PUT")]);
    assert!(!all.to_string().contains("secret"), "{all}");
    assert_eq!(refusals[0]["command"], "Archive");
    assert_eq!(refusals[0]["why"], "LP not found");
    assert_eq!(refusals[0]["record"], json!({"kind": "lp", "id": 987_654}));
    assert_eq!(refusals[2]["user_agent"].as_str().unwrap().len(), 500);
    assert!(refusals[2]["why"].as_str().unwrap().starts_with("body."), "{}", refusals[2]["why"]);

    let count = |query: &str| {
        let uri = format!("/audit/refusals?{query}");
        let api = &api;
        async move { api.read(&uri).await["refusals"].as_array().unwrap().len() }
    };
    assert_eq!(count("status=404").await, 2);
    assert_eq!(count(&format!("record=lp/{lp}")).await, 2);
    assert_eq!(count("kind=gp").await, 0);
    assert_eq!(count(&format!("correlation={id}")).await, 1);
    assert_eq!(count("actor=anonymous&from=2000-01-01&to=2200-01-01").await, 5);
    assert_eq!(count("to=2000-01-01").await, 0);
    let (mut pages, mut uri_of_page) = (vec![], "/audit/refusals?limit=2".to_owned());
    loop {
        let page = api.read(&uri_of_page).await;
        pages.extend(page["refusals"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_i64() else { break };
        uri_of_page = format!("/audit/refusals?limit=2&cursor={next}");
    }
    assert_eq!(&pages, refusals);
    api.get("/audit/refusals?event=x").await.expect(400, "unknown parameter");

    let history = api.read(&format!("{uri}/history?refused=true&limit=1")).await;
    assert_eq!(history["entries"].as_array().unwrap().len(), 1);
    assert_eq!(history["refusals"], json!([]));
    let next = history["next"].as_i64().unwrap();
    let earlier = api.read(&format!("{uri}/history?refused=true&limit=1&cursor={next}")).await;
    assert_eq!(earlier["refusals"].as_array().unwrap().len(), 2, "{earlier}");
    for filter in ["event=Renamed", "field=name", "source=api", "q=y"] {
        let asked = api.get(&format!("{uri}/history?refused=true&{filter}")).await;
        let told = asked.expect(400, filter);
        assert!(told["detail"].as_str().unwrap().contains("/audit/refusals"), "{told}");
    }
    // None is lost where there are more than a page holds.
    sqlx::query(
        "insert into refusal (actor, method, path, kind, record_id, status, why, correlation_id)
         select 'anonymous', 'PUT', $1, 'lp', $2, 409, 'no ' || nth, gen_random_uuid()
         from generate_series(1, 510) nth",
    )
    .bind(&uri)
    .bind(lp)
    .execute(&api.db.pool)
    .await
    .unwrap();
    let all = api.read(&format!("{uri}/history?refused=true&actor=anonymous")).await;
    assert_eq!(all["refusals"].as_array().unwrap().len(), 500);
    let rest = api.read(all["refusals_next"].as_str().unwrap()).await;
    assert_eq!((rest["refusals"].as_array().unwrap().len(), &rest["next"]), (12, &Value::Null));
    let tree = api.read(&format!("/audit/causation/{id}")).await;
    assert_eq!(tree["commands"], json!([]));
    assert_eq!(tree["refusals"][0]["correlation_id"], id);
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_led_to_what_is_told_from_wherever_one_looks() {
    let api = Api::new().await;
    let todo = json!({"title": "Call", "due_date": "2025-01-31", "recurrence_pattern": "{\"type\": \"daily\"}"});
    let todo = api.made("todos", todo).await;
    let request_id = Uuid::now_v7().to_string();
    let complete = json!({"status": "completed"});
    let mut complete = json_request(Method::PUT, &format!("/todos/{todo}"), &complete);
    complete.headers_mut().insert("x-request-id", request_id.parse().unwrap());
    api.send(complete).await.expect(200, "completed");

    let tree = api.read(&format!("/audit/causation/{request_id}")).await;
    assert_eq!((&tree["complete"], &tree["refusals"]), (&json!(true), &json!([])));
    let command = &tree["commands"][0];
    assert_eq!(tree["commands"].as_array().unwrap().len(), 1, "{tree}");
    assert_eq!(command["command"], "Complete");
    let completed = &command["events"][0];
    assert_eq!(completed["event"], "Completed");
    let followed = &completed["led_to"][0];
    assert_eq!(followed["causation_id"], completed["event_id"]);
    assert_eq!(followed["events"][0]["event"], "Registered");
    let ids = [&command["command_id"], &completed["event_id"], &followed["events"][0]["event_id"]];
    for id in ids.map(|id| id.as_str().unwrap()) {
        assert_eq!(api.read(&format!("/audit/causation/{id}")).await, tree, "{id}");
    }
    let unknown = api.get(&format!("/audit/causation/{}", Uuid::now_v7())).await;
    assert!(unknown.expect(404, "unknown")["detail"].as_str().unwrap().starts_with("No command"));
    api.get("/audit/causation/7").await.expect(400, "no id");
    api.backend.stop().await;
}
