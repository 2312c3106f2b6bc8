//! What is erased is seen in no earlier state any more, whatever was under way.

use std::time::Duration;

use domain::person::{Person, PersonCommand};
use projections::log::EventLog;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{head, scenes, until_scenes};
use crate::contract::Api;
use crate::erasure::scrub;
use crate::harness::connect;
use crate::log::request;

/// Waits until this is so.
async fn until(pool: &PgPool, question: &str) {
    let waiting = async {
        while !sqlx::query_scalar::<_, bool>(question).fetch_one(pool).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    done.unwrap_or_else(|_| panic!("it does not come to this: {question}"));
}

/// Waits until somebody waits for a table.
async fn until_awaited(pool: &PgPool, table: &str) {
    let waits = format!(
        "select exists (select from pg_locks where relation = '{table}'::regclass and not granted
             and database = (select oid from pg_database where datname = current_database()))"
    );
    until(pool, &waits).await;
}

/// Two people, one of whom is to be erased, and the address of the list as it was when they were there.
async fn two_people() -> (Api, i64, String) {
    let api = Api::new().await;
    let person = api.made("people", json!({"name": "Ana Ruiz"})).await;
    api.made("people", json!({"name": "Eva"})).await;
    let uri = format!("/people?as_of={}", head(&api).await);
    api.made("lps", json!({"name": "Profuturo"})).await;
    (api, person, uri)
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

async fn erase(api: &Api, person: i64) {
    let (uri, reason) = (format!("/people/{person}/erase"), json!({"reason": "case 7"}));
    let erased = tokio::time::timeout(Duration::from_secs(20), api.post(&uri, reason)).await;
    erased.expect("the erasure waits for a scene").expect(200, "erase");
}

/// As another server or `crm erase` does it.
async fn erase_elsewhere(api: &Api, person: i64) {
    let other = EventLog::start(connect((*api.db.pool.connect_options()).clone(), 2));
    let command = PersonCommand::Erase { reason: "case 7".into() };
    other.execute::<Person>(person, command, &request("Erase")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_while_it_is_asked_is_not_answered() {
    for is_elsewhere in [false, true] {
        let (api, person, uri) = two_people().await;
        assert_eq!(names(&api.read(&uri).await), ["Ana Ruiz", "Eva"]);
        let table = format!("{}.person", scenes(&api.db).await[0]);
        let mut holding = api.db.pool.begin().await.unwrap();
        let lock = format!("lock table {table} in access exclusive mode");
        sqlx::query(&lock).execute(&mut *holding).await.unwrap();
        let erasing = async {
            until_awaited(&api.db.pool, &table).await;
            match is_elsewhere {
                true => erase_elsewhere(&api, person).await,
                false => erase(&api, person).await,
            }
            holding.rollback().await.unwrap();
        };
        let (seen, ()) = tokio::join!(api.read(&uri), erasing);
        assert_eq!(names(&seen), ["Eva"], "erased elsewhere: {is_elsewhere}");
        until_scenes(&api.db, |scenes| scenes.len() == 1).await;
        api.backend.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_calls_off_what_is_being_built_and_whoever_waits_for_it_gets_another() {
    let (api, person, uri) = two_people().await;
    // What a scene needs at its end is held: its tables have the rows by then.
    let mut holding = api.db.pool.begin().await.unwrap();
    let lock = sqlx::query("lock table pg_statistic in share mode");
    lock.execute(&mut *holding).await.unwrap();
    let erasing = async {
        until_awaited(&api.db.pool, "pg_statistic").await;
        erase(&api, person).await;
        // The other one is begun before Postgres is through with the first.
        until_scenes(&api.db, |scenes| scenes.len() == 2).await;
        holding.rollback().await.unwrap();
    };
    let (seen, ()) = tokio::join!(api.read(&uri), erasing);
    assert_eq!(names(&seen), ["Eva"]);
    until_scenes(&api.db, |scenes| scenes.len() == 1).await;
    assert_eq!(names(&api.read(&uri).await), ["Eva"]);
    assert_eq!(scenes(&api.db).await.len(), 1, "the other one is kept");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_waits_until_what_was_built_before_the_erasure_is_gone() {
    let (api, person, uri) = two_people().await;
    api.read(&uri).await;
    let before = scenes(&api.db).await;
    let table = format!("{}.person", before[0]);
    // As a long question holds it, or the making of an index that was called off.
    let mut holding = api.db.pool.begin().await.unwrap();
    let lock = format!("lock table {table} in access share mode");
    sqlx::query(&lock).execute(&mut *holding).await.unwrap();
    erase_elsewhere(&api, person).await;
    let scrubbing = scrub(&api.db);
    tokio::pin!(scrubbing);
    // The scrub's connection, which has its lock, asks for that of the scene.
    let waits = "select exists (
         select from pg_stat_activity join pg_locks using (pid)
         where locktype = 'advisory' and classid = x'63726d5f'::int and objid = x'73637201'::int and granted
             and database = (select oid from pg_database where datname = current_database())
             and query like 'select pg_try_advisory_lock($1, hashtext($2))%')";
    tokio::select! {
        _ = &mut scrubbing => panic!("what shows the erased person is still there"),
        () = until(&api.db.pool, waits) => {}
    }
    assert_eq!(scenes(&api.db).await, before);
    holding.rollback().await.unwrap();
    let report = scrubbing.await.unwrap();
    assert!(report.left.is_empty(), "{:?}", report.left);
    assert!(scenes(&api.db).await.is_empty());
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_drops_what_a_killed_process_has_left() {
    let (api, person, _) = two_people().await;
    erase_elsewhere(&api, person).await;
    api.backend.stop().await;
    sqlx::query("create schema scene_dead").execute(&api.db.pool).await.unwrap();
    scrub(&api.db).await.unwrap();
    assert!(scenes(&api.db).await.is_empty());
}
