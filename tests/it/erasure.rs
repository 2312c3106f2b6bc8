//! Erasing people and notes: nothing of them is left in the database or on the disk, and everything else is as it was.

mod meeting;
mod unreadable;

use std::path::Path;

use axum::http::Method;
use domain::Kind;
use domain::person::{Person, PersonChanges, PersonCommand};
use projections::generation;
use projections::log::{LogReader, PageLimit};
use projections::projector::Tables;
use projections::read;
use replay::{Effort, ScrubOptions, ScrubReport};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, PgPool};
use tokio_util::sync::CancellationToken;

use crate::check::assert_read_models_match_the_log;
use crate::contract::{Api, json_request};
use crate::harness::{Database, keys, tamper};
use crate::import::run;
use crate::log::request;
use crate::recordings::{attach, keep, process, summary};
use crate::server::{Home, Server};
use crate::verify::verify;

/// Values that nobody and nothing else has.
const SECRETS: [&str; 5] =
    ["Quetzalli Xochitl", "quetzalli", "qx@secret.example", "They whispered zyxwv", "zyxwv"];

fn person() -> Value {
    json!({"name": "Quetzalli Xochitl", "email": "qx@secret.example", "notion_id": "zyxwv-1",
        "personal_note": "They whispered zyxwv"})
}

fn note() -> Value {
    json!({"name": "Call with Quetzalli Xochitl", "date": "2025-01-31",
        "raw_notes": "They whispered zyxwv. ".repeat(200), "image_paths": "zyxwv.png"})
}

/// All there is in the database as text: every row of every table in every schema.
async fn dumped(pool: &PgPool) -> String {
    let tables: Vec<(String, String)> = sqlx::query_as(
        "select table_schema, table_name from information_schema.tables
         where table_type = 'BASE TABLE' and table_schema not in ('information_schema')",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut text = String::new();
    for (schema, table) in tables {
        let statement = format!("select whole::text from {schema}.\"{table}\" as whole");
        let rows: Vec<Option<String>> =
            sqlx::query_scalar(&statement).fetch_all(pool).await.unwrap();
        text.extend(rows.into_iter().flatten());
    }
    text
}

fn assert_nowhere(text: &[u8], what: &str) {
    for secret in SECRETS {
        let found = text.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "{secret:?} is still in {what}");
    }
}

/// Wipes the traces of what was erased, as the server does by and by.
pub async fn scrub(db: &Database) -> Option<ScrubReport> {
    let options = ScrubOptions {
        projectors: read::projectors(),
        files: db.files(),
        effort: Effort::full(),
        stop: CancellationToken::new(),
    };
    replay::scrub(&db.connections, &options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_person_or_note_is_left_in_the_database() {
    let api = Api::new().await;
    let db = &api.db;
    let other = api.made("people", json!({"name": "Ana Ruiz"})).await;
    let lp = api.made("lps", json!({"name": "Afore"})).await;
    let keyed = axum::http::Request::post("/people")
        .header("content-type", "application/json")
        .header("idempotency-key", "k1")
        .body(axum::body::Body::from(person().to_string()))
        .unwrap();
    let id = api.send(keyed).await.expect(200, "a person")["id"].as_i64().unwrap();
    let hashes = "select count(*) from idempotency_key where request_hash <> ''";
    assert_eq!(sqlx::query_scalar::<_, i64>(hashes).fetch_one(&db.pool).await.unwrap(), 1);
    let noted = api.made("notes", note()).await;
    for path in [format!("/people/{id}/lps/{lp}"), format!("/notes/{noted}/participants/{id}")] {
        api.post(&path, json!({})).await.expect(200, &path);
    }
    std::fs::create_dir_all(db.dir.path().join("images")).unwrap();
    let image = db.dir.path().join("images/zyxwv.png");
    std::fs::write(&image, "zyxwv").unwrap();
    let imported = "insert into import_image (name, is_there) values ('zyxwv.png', true)";
    sqlx::query(imported).execute(&db.pool).await.unwrap();
    // What has seen it: a list in memory, a previous generation, a check that found it different.
    api.read("/people").await;
    crate::rebuild::rebuild(db, &["person"]).await.unwrap();
    sqlx::query("update read_person_2.person set notion_id = 'zyxwv-2' where id = $1")
        .bind(id)
        .execute(&db.pool)
        .await
        .unwrap();
    assert!(!verify(db).await.passed);
    let before = dumped(&db.pool).await;
    assert!(SECRETS.iter().all(|secret| before.contains(secret)), "the test sees what is there");
    assert!(before.contains("\"sealed\""), "the log itself holds ciphertext");

    let reason = || json!({"reason": "case 17"});
    for path in [format!("/people/{id}/erase"), format!("/notes/{noted}/erase")] {
        let answer = api.post(&path, reason()).await.expect(200, &path);
        assert_eq!(answer, json!({"status": "erased", "scrub": "pending"}));
    }
    api.get(&format!("/people/{id}")).await.expect(404, "at once");
    let ids = api.ids("/people").await;
    assert_eq!(ids, [other]);
    // Whoever has a list of names finds none of them by its hash, and the key is still used up.
    assert_eq!(sqlx::query_scalar::<_, i64>(hashes).fetch_one(&db.pool).await.unwrap(), 0);
    let mut again = json_request(Method::POST, "/people", &person());
    again.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
    api.send(again).await.expect(410, "sent again");
    assert_eq!(api.ids("/people").await, [other]);
    let report = scrub(db).await.unwrap();
    assert_eq!(report.records, [Kind::Person.record(id), Kind::Note.record(noted)]);
    assert!(report.left.is_empty(), "{:?}", report.left);
    assert!(!image.exists());
    assert_nowhere(dumped(&db.pool).await.as_bytes(), "the database");
    assert_eq!(scrub(db).await.map(|report| report.records), None, "there is nothing left to do");

    assert!(verify(db).await.passed);
    assert_read_models_match_the_log(&db.pool).await;
    // Its history still says that something was there, and who erased it.
    let history: Vec<(String, String, String)> = sqlx::query_as(
        "select event_type, actor, payload::text from events
         where aggregate_type = 'person' and aggregate_id = $1 order by sequence",
    )
    .bind(id.to_string())
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let types: Vec<&str> = history.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(types, ["Registered", "Affiliated", "Erased"]);
    assert_eq!(history[2].2, r#"{"Erased":{"reason":"case 17"}}"#);
    assert!(history.iter().all(|(_, actor, _)| actor == "anonymous"));
    // Nobody brings it back.
    api.post(&format!("/people/{id}/erase"), reason()).await.expect(200, "twice is as good");
    api.put(&format!("/people/{id}/hold"), reason()).await.expect(410, "held too late");
    api.delete(&format!("/people/{id}")).await.expect(410, "removed too late");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_the_histories_has_nothing_to_look_for_where_records_were_erased() {
    let api = Api::new().await;
    let id = api.made("people", person()).await;
    api.post(&format!("/people/{id}/erase"), json!({"reason": "case 17"})).await.expect(200, "it");
    let audit = replay::find(read::projectors(), &["audit".to_owned()]).unwrap().remove(0);
    let mut db = api.db.connections.options_for(&["loaded".to_owned()]).connect().await.unwrap();
    generation::create_tables(&mut db, &*audit, "loaded").await.unwrap();
    sqlx::raw_sql(
        "create function loaded.refuse() returns trigger language plpgsql as
             'begin raise exception ''all of the table is looked through''; end';
         create trigger refuse before update on loaded.audit for each statement execute function loaded.refuse()",
    )
    .execute(&mut db)
    .await
    .unwrap();
    let limit = PageLimit { events: 1_000 };
    let page = LogReader::new(keys()).read_page(&mut db, 0, limit).await.unwrap().events;
    let (first, rest) = page.split_at(1);
    let mut fold = audit.begin();
    for (part, tables) in [(first, Tables::Empty), (rest, Tables::Own)] {
        fold.fold(part, &mut db, tables).await.unwrap();
        fold.write(&mut db, tables).await.unwrap();
    }
    let said: (i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where words <> '' and event <> 'Erased') from loaded.audit",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(said, (2, 0));
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_names_the_todos_that_came_of_what_was_said_in_the_note() {
    let api = Api::new().await;
    let note = api.made("notes", note()).await;
    let heard = attach(&api.backend.log, note, "recordings/none").await;
    process(&api.backend.log, note, heard, keep(1, &["They whispered zyxwv."])).await;
    process(&api.backend.log, note, heard, summary(1)).await;
    api.backend.settle().await.unwrap();
    let accept = format!("/recordings/{heard}/action-items/1/accept");
    api.post(&accept, json!({"due_date": "2025-02-07"})).await.expect(200, "accepted");
    let todos = api.ids("/todos").await;
    let todo = format!("/todos/{}", todos[0]);
    let shown = api.read(&todo).await;
    assert_eq!(shown["description"], json!(format!("Said in /recordings/{heard}, at 0:01")));
    // What follows from it says the same.
    let daily = json!({"recurrence_pattern": "{\"type\": \"daily\"}"});
    api.put(&todo, daily).await.expect(200, "it recurs");
    api.put(&todo, json!({"status": "completed"})).await.expect(200, "done");
    api.made("todos", json!({"title": "Another", "note_id": note})).await;
    let erase = format!("/notes/{note}/erase");
    api.post(&erase, json!({"reason": "case 17"})).await.expect(200, "erased");
    let report = scrub(&api.db).await.unwrap();
    assert_eq!(report.todos, [1, 2].map(|id| Kind::Todo.record(id)));
    assert_eq!(todos, [1]);
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_note_takes_every_image_with_it_that_it_ever_named_alone() {
    let api = Api::new().await;
    let images = api.db.dir.path().join("images");
    std::fs::create_dir_all(&images).unwrap();
    for name in ["1.png", "11.png", "before.png", "shared.png"] {
        std::fs::write(images.join(name), name).unwrap();
    }
    let with = |paths: &str| json!({"name": "Call", "image_paths": paths});
    let erased = api.made("notes", with("before.png, shared.png")).await;
    api.made("notes", with("11.png,folder/shared.png")).await;
    let path = format!("/notes/{erased}");
    api.put(&path, json!({"image_paths": "1.png,shared.png"})).await.expect(200, "revised");
    // So long a stream is remembered rather than loaded again.
    for number in 0..20 {
        api.put(&path, json!({"name": format!("Call {number}")})).await.expect(200, "renamed");
    }
    api.post(&format!("{path}/erase"), json!({"reason": "case 17"})).await.expect(200, "erased");
    assert_eq!(scrub(&api.db).await.unwrap().files, 2);
    let left = std::fs::read_dir(&images).unwrap().map(|it| it.unwrap().file_name());
    let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["11.png", "crm-folder-id.txt", "shared.png"]);
    api.backend.stop().await;
}

/// The stored bytes of a table.
pub async fn stored_bytes(pool: &PgPool, table: &str) -> Vec<u8> {
    sqlx::query("checkpoint").execute(pool).await.unwrap();
    let question = "select current_setting('data_directory') || '/' || pg_relation_filepath($1)";
    let path: String = sqlx::query_scalar(question).bind(table).fetch_one(pool).await.unwrap();
    std::fs::read(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_may_still_see_is_wiped_when_it_is_over() {
    let api = Api::new().await;
    let pool = &api.db.pool;
    let keyed = axum::http::Request::post("/people")
        .header("content-type", "application/json")
        .header("idempotency-key", "k1")
        .body(axum::body::Body::from(person().to_string()))
        .unwrap();
    let id = api.send(keyed).await.expect(200, "a person")["id"].as_i64().unwrap();
    let table = "idempotency_key";
    let before = stored_bytes(pool, table).await;
    assert!(before.windows(9).any(|part| part == b"Quetzalli"), "the test sees what is there");
    let mut backup = pool.begin().await.unwrap();
    for statement in ["set transaction isolation level repeatable read", "select 1"] {
        sqlx::query(statement).execute(&mut *backup).await.unwrap();
    }
    let reason = json!({"reason": "case 17"});
    api.post(&format!("/people/{id}/erase"), reason).await.expect(200, "erased");
    let scrubbing = scrub(&api.db);
    tokio::pin!(scrubbing);
    let waits = async {
        let waits = "select exists (select from pg_stat_activity
                         where query like 'select pid from pg_stat_activity%' and datname = current_database())";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(pool).await.unwrap() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = &mut scrubbing => panic!("somebody may still see what was deleted"),
        () = waits => {}
    }
    backup.commit().await.unwrap();
    assert!(scrubbing.await.is_some());
    assert_nowhere(&stored_bytes(pool, table).await, table);
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legal_hold_keeps_a_record_from_being_erased() {
    let api = Api::new().await;
    let id = api.made("people", person()).await;
    let (erase, hold) = (format!("/people/{id}/erase"), format!("/people/{id}/hold"));
    let reason = |text: &str| json!({"reason": text});
    api.put(&hold, reason("case 3")).await.expect(200, "held");
    let refused = api.post(&erase, reason("asked")).await.expect(409, "held");
    assert!(
        refused["detail"].as_str().unwrap().contains("a legal hold is on this record (case 3)")
    );
    assert_eq!(api.read(&format!("/people/{id}")).await["name"], "Quetzalli Xochitl");
    for wrong in [json!({}), json!({"reason": 7}), json!({"reason": "  "})] {
        api.post(&erase, wrong.clone()).await.expect(422, &wrong.to_string());
    }
    // Archived or not.
    api.delete(&format!("/people/{id}")).await.expect(200, "archived");
    api.post(&erase, reason("asked")).await.expect(409, "held and archived");
    let unsaid = api.delete(&hold).await;
    assert_eq!(unsaid.faults(), ["missing at body.reason"]);
    let lift = json_request(Method::DELETE, &hold, &reason("settled"));
    api.send(lift).await.expect(200, "lifted");
    api.put(&hold, reason("case 4")).await.expect(200, "held again");
    api.delete(&format!("{hold}?reason=settled")).await.expect(200, "lifted without a body");
    api.post(&erase, reason("asked")).await.expect(200, "erased");
    assert_read_models_match_the_log(&api.db.pool).await;
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_for_several_matters_are_lifted_one_by_one() {
    let api = Api::new().await;
    for (kind, made) in [("people", person()), ("notes", note())] {
        let path = format!("/{kind}/{}", api.made(kind, made).await);
        let (erase, hold) = (format!("{path}/erase"), format!("{path}/hold"));
        let reason = |text: &str| json!({"reason": text});
        let said = |answer: Value| answer["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(api.read(&hold).await, json!({"held": false, "holds": []}));
        for matter in ["matter A", "matter B", "matter A"] {
            api.put(&hold, reason(matter)).await.expect(200, matter);
        }
        let both = json!({"held": true, "holds": ["matter A", "matter B"]});
        assert_eq!(api.read(&hold).await, both);
        let shown = path.replace("/people/", "/audit/person/").replace("/notes/", "/audit/note/");
        let (_, page) = crate::pages::page(&api, &shown).await;
        let list = r#"<ul class="values"><li>matter A</li><li>matter B</li></ul>"#;
        assert!(
            page.contains(&format!("Under a legal hold, so that it cannot be erased:</p>{list}")),
            "{page}"
        );
        assert!(page.contains(&format!("</span>{list}</ins>")), "likewise the change: {page}");
        let lift = |of: &str| format!("{hold}?reason=closed{of}");
        for (of, says) in [("", "`of`"), ("&of=matter%20C", "held for: matter A; matter B")] {
            let refused = said(api.delete(&lift(of)).await.expect(409, of));
            assert!(refused.contains("matter A; matter B") && refused.contains(says), "{refused}");
        }
        let elsewhere = json!({"reason": "closed", "of": "matter C"});
        let sent = json_request(Method::DELETE, &hold, &elsewhere);
        api.send(sent).await.expect(409, "what is said in a body counts as well");
        api.delete(&lift("&of=matter%20B")).await.expect(200, "B is over");
        let refused = said(api.post(&erase, reason("asked")).await.expect(409, "A is not"));
        assert!(refused.contains("(matter A)"), "{refused}");
        api.put(&hold, reason("matter C")).await.expect(200, "C");
        api.delete(&lift("&of=*")).await.expect(200, "all are over");
        assert_eq!(api.read(&hold).await["held"], json!(false));
        api.post(&erase, reason("asked")).await.expect(200, "erased");
        api.get(&hold).await.expect(410, "erased");
    }
    api.get("/people/99/hold").await.expect(404, "never was");
    assert_read_models_match_the_log(&api.db.pool).await;
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_about_an_erased_record_stays_without_what_was_said_of_it() {
    let api = Api::new().await;
    let id = api.made("people", person()).await;
    let other = api.made("people", json!({"name": "Ana Ruiz"})).await;
    for id in [id, other] {
        api.put(&format!("/people/{id}/qx@secret.example"), json!({})).await.expect(404, "no path");
        api.delete(&format!("/people/{id}/hold?quetzalli=x")).await.expect(422, "no parameter");
    }
    let reason = || json!({"reason": "case 17"});
    api.put(&format!("/people/{id}/hold"), reason()).await.expect(200, "held");
    api.post(&format!("/people/{id}/erase"), reason()).await.expect(409, "held");
    api.delete(&format!("/people/{id}/hold?reason=closed")).await.expect(200, "lifted");
    api.post(&format!("/people/{id}/erase"), reason()).await.expect(200, "erased");
    scrub(&api.db).await.unwrap();
    let told = async |id: i64| {
        let refused = api.read(&format!("/audit/refusals?record=person/{id}")).await;
        let told = refused["refusals"].as_array().unwrap().iter().map(|refusal| {
            let [method, path, why] =
                ["method", "path", "why"].map(|it| refusal[it].as_str().unwrap());
            assert_eq!(refusal["record"], json!({"kind": "person", "id": id}));
            (format!("{method} {path} {}", refusal["status"]), why.to_owned())
        });
        told.collect::<Vec<_>>()
    };
    let erased = told(id).await;
    let tried: Vec<&str> = erased.iter().map(|(tried, _)| tried.as_str()).collect();
    let path = format!("/people/{id}");
    let expected =
        [format!("POST {path} 409"), format!("DELETE {path} 422"), format!("PUT {path} 404")];
    assert_eq!(tried, expected);
    assert!(erased[0].1.contains("a legal hold is on this record (case 17)"), "{erased:?}");
    assert_eq!(erased[1].1, "not kept after an erasure");
    let kept = format!("{:?}", told(other).await);
    assert!(kept.contains("qx@secret.example") && kept.contains("quetzalli"), "{kept}");
    api.post(&format!("/people/{other}/erase"), reason()).await.expect(200, "erased");
    scrub(&api.db).await.unwrap();
    assert_nowhere(&stored_bytes(&api.db.pool, "refusal").await, "refusal");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_an_erasure_at_the_same_time_leave_nothing_readable() {
    let (one, db) = {
        let api = Api::new().await;
        (api.made("people", person()).await, api)
    };
    let api = db;
    // Two processes, each with the key in its memory.
    let other = projections::log::EventLog::start(crate::harness::connect(
        (*api.db.pool.connect_options()).clone(),
        3,
    ));
    let revise = |name: String| PersonCommand::Revise {
        name: Some(name),
        changes: PersonChanges::default(),
    };
    let request = request("Revise");
    other.execute::<Person>(one, revise("Quetzalli Xochitl 0".into()), &request).await.unwrap();
    let writing = tokio::spawn(async move {
        for number in 1.. {
            let command = revise(format!("Quetzalli Xochitl {number}"));
            if let Err(error) = other.execute::<Person>(one, command, &request).await {
                return error.to_string();
            }
        }
        unreachable!("it is erased in the end")
    });
    let erase = format!("/people/{one}/erase");
    api.post(&erase, json!({"reason": "case 17"})).await.expect(200, "erased");
    assert_eq!(writing.await.unwrap(), domain::Refusal::Erased.to_string());
    let last: String = sqlx::query_scalar(
        "select event_type from events where aggregate_type = 'person' order by sequence desc limit 1",
    )
    .fetch_one(&api.db.pool)
    .await
    .unwrap();
    assert_eq!(last, "Erased");
    scrub(&api.db).await.unwrap();
    assert_nowhere(dumped(&api.db.pool).await.as_bytes(), "the database");
    assert!(verify(&api.db).await.passed);
    api.backend.stop().await;
}

/// The error at the first position that does not open after this statement.
async fn fault_after(statement: &str) -> String {
    let api = Api::new().await;
    let first = api.made("people", person()).await;
    let second = api.made("people", json!({"name": "Ana Ruiz"})).await;
    api.put(&format!("/people/{first}"), json!({"name": "Eva"})).await.expect(200, "renamed");
    assert_eq!((first, second), (1, 2));
    tamper(&api.db.pool, statement).await;
    let report = verify(&api.db).await;
    assert!(!report.passed, "{statement}");
    let mut connection = api.db.pool.acquire().await.unwrap();
    let log = LogReader::new(keys());
    let error = log.read_after(&mut connection, 0, PageLimit { events: 100 }).await.unwrap_err();
    let finding = &report.log.findings[0];
    assert_eq!(
        error.to_string(),
        format!(
            "position {}: {}",
            finding.position.unwrap(),
            finding.what.split_once(": ").unwrap().1
        )
    );
    drop(connection);
    api.backend.stop().await;
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_event_that_was_altered_or_moved_or_lost_its_key_is_a_fault_at_its_position() {
    let altered = "position 1: the sealed payload does not open";
    let missing = "position 1: the key of this stream is missing";
    let shut = "position 1: the key of this stream does not open under the master key";
    let other = "select {} from events where position = 2";
    for (statement, expected) in [
        (format!("update events set payload = ({}) where position = 1", other.replace("{}", "payload")), altered),
        (
            "update events set payload = overlay(payload::text placing
                 case when substr(payload::text, 30, 1) = 'A' then 'B' else 'A' end from 30 for 1)::json
             where position = 1".to_owned(),
            altered,
        ),
        ("update events set event_type = 'Renamed' where position = 1".to_owned(), altered),
        ("delete from stream_key where aggregate_id = '1'".to_owned(), missing),
        (
            "update stream_key set wrapped = (select wrapped from stream_key where aggregate_id = '2')
             where aggregate_id = '1'".to_owned(),
            shut,
        ),
    ] {
        let error = fault_after(&statement).await;
        assert!(error.starts_with(expected), "{statement}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_destroyed_without_a_word_is_found_by_a_check() {
    let api = Api::new().await;
    api.made("people", person()).await;
    let destroy = "update stream_key set wrapped = null, destroyed_at = now()";
    sqlx::query(destroy).execute(&api.db.pool).await.unwrap();
    let report = verify(&api.db).await;
    assert_eq!((report.log.findings[0].check, report.log.findings[0].position), ("key", Some(1)));
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_events_from_before_they_were_sealed_is_read_but_not_erased() {
    let api = Api::new().await;
    sqlx::query(
        r#"insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                               command_id, correlation_id, actor)
           values ('person', '77', 1, 'Registered', '1', '{"Registered":{"name":"Ana","details":{}}}', '{}',
                   gen_random_uuid(), gen_random_uuid(), 'test')"#,
    )
    .execute(&api.db.pool)
    .await
    .unwrap();
    api.backend.settle().await.unwrap();
    api.put("/people/77", json!({"name": "Eva"})).await.expect(200, "read and revised");
    let refused = api.post("/people/77/erase", json!({"reason": "x"})).await.expect(409, "plain");
    assert!(refused["detail"].as_str().unwrap().contains("import the legacy"), "{refused}");
    let sealed: Vec<bool> = sqlx::query_scalar(
        "select payload->'sealed' is not null from events where aggregate_id = '77' order by sequence",
    )
    .fetch_all(&api.db.pool)
    .await
    .unwrap();
    assert_eq!(sealed, [false, true]);
    assert_read_models_match_the_log(&api.db.pool).await;
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_does_not_bring_back_what_was_erased() {
    let db = Database::new().await;
    let file = crate::import::legacy(db.dir.path(), "--lps 20 --notes 20 --todos 10");
    run(&db, &file).await.unwrap();
    let api = Api::on(db).await;
    api.backend.settle().await.unwrap();
    let id = api.ids("/people").await[0];
    api.post(&format!("/people/{id}/erase"), json!({"reason": "x"})).await.expect(200, "erased");
    scrub(&api.db).await.unwrap();
    let before = api.events().await;
    let report = run(&api.db, &file).await.unwrap();
    assert_eq!((report.events, report.conflicts), (0, 1));
    assert_eq!(api.events().await, before);
    assert!(!api.ids("/people").await.contains(&id));
    api.backend.stop().await;
}

/// Every byte of every file below a folder, but of programs' logs.
fn assert_not_on_disk(folder: &Path) {
    let mut files = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files += 1;
                assert_nowhere(&std::fs::read(&path).unwrap(), &path.display().to_string());
            }
        }
    }
    assert!(files > 100, "a cluster has some hundred files");
}

fn is_on_disk(folder: &Path, secret: &str) -> bool {
    let grep = std::process::Command::new("grep").args(["-rqa", secret]).arg(folder).status();
    grep.unwrap().success()
}

async fn posted(server: &Server, path: &str, body: &Value) -> Value {
    let url = format!("{}{path}", server.url);
    let answer = reqwest::Client::new().post(url).json(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_person_or_note_is_left_on_the_disk() {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    let id = posted(&server, "/people", &person()).await["id"].to_string();
    let noted = posted(&server, "/notes", &note()).await["id"].to_string();
    for path in ["/people", "/people?as_of=1", "/notes?as_of=2"] {
        let shown = reqwest::get(format!("{}{path}", server.url)).await.unwrap();
        assert!(shown.text().await.unwrap().contains("Quetzalli Xochitl"), "{path}");
    }
    let rebuilt = home.crm(&["rebuild", "--all"]).output().await.unwrap();
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    assert!(is_on_disk(home.path(), "quetzalli"), "the test sees what is on the disk");
    // The server goes on running; it, or the command, wipes what is left.
    posted(&server, &format!("/notes/{noted}/erase"), &json!({"reason": "case 17"})).await;
    let erase = ["erase", "person", &id, "--reason", "case 17"];
    let hold = format!("{}/people/{id}/hold", server.url);
    let client = reqwest::Client::new();
    for matter in ["matter A", "matter B"] {
        let held = client.put(&hold).json(&json!({"reason": matter})).send().await.unwrap();
        assert!(held.status().is_success(), "{matter}");
    }
    for (of, held) in [("matter A", "(matter A; matter B)"), ("matter B", "(matter B)")] {
        let refused = home.crm(&erase).output().await.unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(held), "{said}");
        let lift = client.delete(&hold).query(&[("reason", "closed"), ("of", of)]);
        assert!(lift.send().await.unwrap().status().is_success(), "{of}");
    }
    let erased = home.crm(&erase).output().await.unwrap();
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    let unscrubbed = async || {
        let status = reqwest::get(format!("{}/projections", server.url)).await.unwrap();
        let status: Value = status.json().await.unwrap();
        status["keys"]["unscrubbed"].as_i64().unwrap()
    };
    while unscrubbed().await > 0 {
        let scrub = home.crm(&["erase", "--scrub"]).output().await.unwrap();
        assert!(scrub.status.success(), "{}", String::from_utf8_lossy(&scrub.stderr));
    }
    assert_not_on_disk(home.path());
    assert!(server.stop().await);
    assert_not_on_disk(home.path());
    let checked = home.crm(&["verify"]).output().await.unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_erasing_leaves_all_or_nothing_and_the_next_run_wipes_the_rest() {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    assert!(server.stop().await);
    for round in 0..4_u64 {
        let server = Server::start(&home, &[]).await;
        let id = posted(&server, "/people", &person()).await["id"].to_string();
        server.kill().await;
        let arguments = ["erase", "person", &id, "--reason", "case 17"];
        let mut erase = home.crm(&arguments).spawn().unwrap();
        // The moment of the kill differs from round to round; there is no condition to wait for.
        tokio::time::sleep(std::time::Duration::from_millis(100 + round * 150)).await;
        erase.kill().await.unwrap();
        // Its locks go when Postgres notices that it has gone.
        loop {
            let again = home.crm(&arguments).output().await.unwrap();
            let said = String::from_utf8_lossy(&again.stderr).into_owned();
            let told = String::from_utf8_lossy(&again.stdout).into_owned();
            if again.status.success() && !told.contains("a running server") {
                break;
            }
            assert!(
                said.is_empty() || said.contains("being rebuilt") || said.contains("still"),
                "{said}"
            );
        }
        assert_not_on_disk(home.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_made_once_must_fit_and_can_be_replaced() {
    let home = Home::new();
    let crm = |arguments: &[&str]| {
        let mut command = home.crm(arguments);
        command.env_remove("CRM_MASTER_KEY");
        command
    };
    let told = async |arguments: &[&str]| {
        let output = crm(arguments).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let file = home.path().join("keys/master.key");
    let legacy = crate::import::legacy(home.path(), "--lps 20 --notes 20 --todos 10");
    let (done, text) = told(&["import", legacy.to_str().unwrap()]).await;
    assert!(done, "{text}");
    let master = async || {
        let (done, text) = told(&["keys", "status", "--json"]).await;
        assert!(done, "{text}");
        let status: Value = serde_json::from_str(&text).unwrap();
        assert!(status["keys"]["present"].as_i64().unwrap() > 20);
        status["master_key"].as_str().unwrap().to_owned()
    };
    let first = master().await;
    let kept = std::fs::read(&file).unwrap();

    std::fs::remove_file(&file).unwrap();
    let (done, text) = told(&["status"]).await;
    assert!(!done && text.contains(&first) && text.contains("restore it"), "{text}");
    let other = home.crm(&["status"]).output().await.unwrap();
    let text = String::from_utf8(other.stderr).unwrap();
    assert!(!other.status.success() && text.contains("that of CRM_MASTER_KEY"), "{text}");
    std::fs::write(&file, &kept).unwrap();

    let (done, text) = told(&["keys", "rotate"]).await;
    assert!(done && text.contains("Back that file up now"), "{text}");
    let second = master().await;
    assert_ne!(first, second);
    // As if it had been killed before the new file took the place of the old one.
    std::fs::rename(&file, file.with_extension("key.next")).unwrap();
    std::fs::write(&file, &kept).unwrap();
    assert_eq!(master().await, second);
    // Killed at any instant, some master key fits.
    for round in 0..6_u64 {
        let mut rotate = crm(&["keys", "rotate"]).spawn().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(40 + round * 40)).await;
        rotate.kill().await.unwrap();
        master().await;
    }
    let (done, text) = told(&["verify"]).await;
    assert!(done, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_to_an_erased_record_says_that_it_was_erased() {
    let api = Api::new().await;
    let (person, noted) = (api.made("people", person()).await, api.made("notes", note()).await);
    api.made("people", json!({"name": "Ana Ruiz"})).await;
    api.made("lps", json!({"name": "Afore"})).await;
    for path in [format!("/people/{person}"), format!("/notes/{noted}")] {
        api.post(&format!("{path}/erase"), json!({"reason": "case 17"})).await.expect(200, &path);
    }
    let detail = |title| json!({"detail": format!("{title} was erased; nothing can be done with it any more")});
    for written in ["relationships", "lps/1", "lps/9", "participants/2", "recordings"] {
        let path = format!("/notes/{noted}/{written}");
        let answer = api.post(&path, json!({"lp_ids": [1]})).await.expect(410, &path);
        assert_eq!(answer, detail("Note"), "{path}");
    }
    let affiliated = api.post(&format!("/people/{person}/lps/1"), json!({})).await;
    assert_eq!(affiliated.expect(410, "affiliated"), detail("Person"));
    let tagged = axum::http::Request::delete(format!("/notes/{noted}")).header("if-match", "*");
    let tagged = api.send(tagged.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(tagged.expect(410, "with a condition"), detail("Note"));
    // What never was is still not there.
    api.post("/notes/99/lps/1", json!({})).await.expect(404, "no such note");
    api.backend.stop().await;
}
