//! Nothing of a file is lost, whatever it holds.

use std::path::Path;

use domain::Kind;
use projections::read::Query;
use replay::Notice;

use super::{assert_lossless, events, execute, imported, legacy, run, source_rows};
use crate::check::assert_read_models_match_the_log;
use crate::harness::Database;

/// Imports the file, tells it again, and imports it again.
async fn check_lossless(flags: &str) {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), flags);
    let bytes = std::fs::read(&file).unwrap();
    let first = run(&db, &file).await.unwrap();
    assert_eq!(first.events, u64::try_from(events(&db).await).unwrap(), "{flags}");
    let rows: usize = source_rows(&file).values().map(Vec::len).sum();
    assert_eq!(first.rows, rows as u64, "{flags}");
    assert_eq!(first.conflicts, 0, "{flags}: {:?}", first.notices);
    assert_lossless(&db, &file, flags).await;
    let second = run(&db, &file).await.unwrap();
    assert_eq!(
        (second.events, second.new, second.changed, second.deleted),
        (0, 0, 0, 0),
        "{flags}"
    );
    assert!(second.unchanged > 0);
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "{flags}: the file was changed");
}

#[tokio::test]
async fn every_value_of_every_generation_can_be_told_from_the_log() {
    for generation in 1..=4 {
        for hybrid in ["", "--hybrid"] {
            check_lossless(&format!("--generation {generation} {hybrid}")).await;
        }
    }
}

#[tokio::test]
async fn every_dirty_value_can_be_told_from_the_log() {
    for generation in 1..=4 {
        for hybrid in ["", "--hybrid"] {
            check_lossless(&format!("--generation {generation} {hybrid} --dirty")).await;
        }
    }
}

#[tokio::test]
async fn every_value_that_broke_the_legacy_application_can_be_told_from_the_log() {
    for generation in 1..=4 {
        for hybrid in ["", "--hybrid"] {
            check_lossless(&format!("--generation {generation} {hybrid} --dirty --dirty-fatal"))
                .await;
        }
    }
}

/// SQLite does not tell them apart either.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_tables_and_columns_in_other_case_are_the_same() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "--generation 4");
    let other = db.dir.path().join("other.db");
    std::fs::copy(&file, &other).unwrap();
    execute(
        &other,
        "alter table lp rename column name to Name;
         alter table fundlpinterest rename column lp_id to LP_ID;
         alter table todo rename to aside; alter table aside rename to Todo;",
    );
    let report = run(&db, &other).await.unwrap();
    let told = |column: &str| report.notices.iter().any(|it| it.column.as_deref() == Some(column));
    assert!(!told("Name") && !told("LP_ID"), "{:?}", report.notices);
    assert_lossless(&db, &file, "other case").await;
}

#[tokio::test]
async fn odd_values_are_reported_with_table_id_column_and_reason() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "--dirty --dirty-fatal");
    let report = run(&db, &file).await.unwrap();
    let check = |table: &str, id: serde_json::Value, column: Option<&str>, reason: &str| {
        let found = report.notices.iter().any(|notice| {
            (notice.table.as_str(), &notice.id, notice.column.as_deref()) == (table, &id, column)
                && notice.reason.contains(reason)
        });
        assert!(found, "{table} {id} {column:?} {reason}");
    };
    check("lp", 21.into(), Some("aum_billions"), "text in a number column");
    check("lp", 36.into(), Some("aum_billions"), "finite");
    check("lp", 35.into(), Some("name"), "not valid text");
    check("note", 71.into(), Some("date"), "not a date");
    check("note", 41.into(), Some("summary"), "NUL");
    check("note", 34.into(), Some("useful"), "neither 0 nor 1");
    check("person", 30.into(), Some("name"), "not valid text");
    check("fund", 6.into(), Some("days_to_rs"), "whole number");
    check("notelplink", "1,900001".into(), Some("lp_id"), "points to lp 900001");
    check("notelplink", "900001,1".into(), None, "belongs to a note that the file does not have");
    check("todo", 3.into(), Some("note_id"), "points to note 900001");
    assert!(report.notices.iter().all(|notice| notice.reason.len() > 5));
}

#[tokio::test]
async fn what_leads_nowhere_or_has_no_place_is_reported() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "--generation 4");
    let legacy = rusqlite::Connection::open(&file).unwrap();
    legacy
        .execute_batch(
            "drop index ix_lp_notion_id;
             update person set org_id = null; update fund set gp_notion_id = null;
             update fundlpinterest set latest_note_id = null;
             update lp set notion_id = 'page' where id in (3, 4);
             update person set org_type = 'LP', org_id = 900002 where id = 5;
             update person set org_type = 'Other', org_id = 900002 where id = 6;
             update fund set gp_notion_id = 'no page' where id = 2;
             update fund set gp_notion_id = '' where id = 3;
             update fundlpinterest set latest_note_id = 900003
                 where rowid = (select min(rowid) from fundlpinterest);
             alter table lp add column mood; update lp set mood = 'good' where id in (7, 8);",
        )
        .unwrap();
    let key: String = legacy
        .query_row(
            "select fund_id || ',' || lp_id from fundlpinterest where latest_note_id = 900003",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(legacy);
    let report = run(&db, &file).await.unwrap();
    let told = |table: &str, column: &str| {
        let is_it =
            |notice: &&Notice| notice.table == table && notice.column.as_deref() == Some(column);
        let notices = report.notices.iter().filter(is_it);
        notices.map(|notice| (notice.id.clone(), notice.reason.as_str())).collect::<Vec<_>>()
    };
    let twice = "other records of the file have it as well; each keeps it";
    assert_eq!(told("lp", "notion_id"), [(3.into(), twice), (4.into(), twice)]);
    let nowhere = "points to lp 900002, which the file does not have";
    assert_eq!(told("person", "org_id"), [(5.into(), nowhere)]);
    let page = "is the page of no GP that the file has";
    assert_eq!(told("fund", "gp_notion_id"), [(2.into(), page)]);
    let note = "points to note 900003, which the file does not have";
    assert_eq!(told("fundlpinterest", "latest_note_id"), [(key.into(), note)]);
    let [(id, reason)] = &told("lp", "mood")[..] else { panic!("{:?}", report.notices) };
    assert!(id.is_null() && reason.starts_with("2 rows have something"), "{reason}");
    let again = run(&db, &file).await.unwrap();
    let known = |notice: &Notice| Notice { unchanged: true, ..notice.clone() };
    let told: Vec<Notice> = report.notices.iter().map(known).collect();
    assert_eq!(again.notices, told, "the same, and that nothing of it is new");
}

#[tokio::test]
async fn history_keeps_its_dates_and_new_ids_follow_the_old_ones() {
    let (db, file) = imported("--generation 3").await;
    let odd: i64 = sqlx::query_scalar(
        "select count(*) from events where (aggregate_type in ('note', 'todo')) <> (occurred_at is not null)",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(odd, 0);
    let highest: i64 = rusqlite::Connection::open(&file)
        .unwrap()
        .query_row("select max(id) from note", [], |row| row.get(0))
        .unwrap();
    let next: i64 =
        sqlx::query_scalar("select nextval('note_id')").fetch_one(&db.pool).await.unwrap();
    assert_eq!(next, highest + 1);
    let sources: Vec<String> =
        sqlx::query_scalar("select distinct metadata->>'source' from events")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(sources, [format!("import:{}", file.file_name().unwrap().to_str().unwrap())]);
}

#[tokio::test]
async fn rows_that_no_schema_foresaw_are_kept_too() {
    let db = Database::new().await;
    let file = db.dir.path().join("odd.db");
    execute(&file, "
        create table lp (id, name, \"odd \"\"column\"\"\");
        create table gp (id integer primary key autoincrement, name);
        create table person (id, name, role);
        create table note (id, name, date, lp_id, gp_id, raw_notes);
        create table todo (id, note_id, description, status, due_date);
        create table notelplink (note_id, lp_id, since);
        create table fundlpinterest (fund_id, lp_id, interest);
        insert into lp values (1, 'a', 1), (1, 'b', null), (1.0, 'c', 2.5), ('x', 'd', x'00'), (null, null, null),
            (-5, 'e', ''), (9223372036854775807, 'f', null), (3, null, -0.0), (4, 5, 9e999), (5, 1.5, char(0));
        insert into gp values (3, 'g'); delete from gp where id = 3; insert into gp values (41, 'h');
        delete from gp where id = 41;
        insert into note values (1, 'n', '2025-01-31', 1, null, null), (2, null, 5, 'x', 7, x'ff'),
            ('2', null, null, null, null, null);
        insert into notelplink values (1, 1, null), (1, 1, null), (1, 2, '2020'), (1, 2, '2021'), ('1', 1, null),
            (1, 'x', null), (1.0, 1, null), (null, null, null), (2, 5, 'y'), (77, 1, 'z');
        insert into todo values (1, 1, char(10) || 'x', null, ''), (2, 'y', null, 'pending', 3), (3, 2, '', 4, null);
        insert into fundlpinterest values (1, 1, 'a');");
    let report = run(&db, &file).await.unwrap();
    assert_eq!(report.generation, "G1");
    assert_lossless(&db, &file, "odd").await;
    assert_eq!(run(&db, &file).await.unwrap().events, 0);
    let next: i64 =
        sqlx::query_scalar("select nextval('gp_id')").fetch_one(&db.pool).await.unwrap();
    assert_eq!(next, 42);
    execute(&file, "delete from notelplink where lp_id = 2; delete from lp where id = 'x'; drop table fundlpinterest;
                    update lp set name = 'z' where id = 1");
    run(&db, &file).await.unwrap();
    assert_lossless(&db, &file, "odd, changed").await;
    assert_eq!(run(&db, &file).await.unwrap().events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_with_the_character_nul_is_kept_wherever_it_stands() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "--generation 4");
    let sqlite = rusqlite::Connection::open(&file).unwrap();
    let changes: Vec<String> = sqlite
        .prepare(
            "select format('update \"%s\" set \"%s\" = \"%s\" || char(0) where rowid %% 3 = 0;', tables.name, columns.name, columns.name)
             from sqlite_master as tables, pragma_table_info(tables.name) as columns
             where tables.type = 'table' and columns.type like 'VARCHAR%'",
        )
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(changes.len() > 50, "{changes:?}");
    execute(&file, &changes.concat());
    run(&db, &file).await.unwrap();
    assert_lossless(&db, &file, "NUL").await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    assert_read_models_match_the_log(&db.pool).await;
    backend.stop().await;
}

#[tokio::test]
async fn the_demonstration_file_is_imported() {
    let db = Database::new().await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo.db");
    let report = run(&db, &file).await.unwrap();
    assert_eq!(
        (report.tables["lp"], report.tables["note"], report.generation.as_str()),
        (60, 300, "G4")
    );
    assert_lossless(&db, &file, "demo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_models_hold_whatever_a_file_held() {
    for generation in 1..=4 {
        for hybrid in ["", " --hybrid"] {
            let flags = format!("--generation {generation}{hybrid} --dirty --dirty-fatal");
            let (db, _) = imported(&flags).await;
            let backend = db.backend().await;
            backend.settle().await.unwrap();
            assert_read_models_match_the_log(&db.pool).await;
            for kind in Kind::ALL {
                let list = backend.reader.answer(&Query::List(*kind)).await.unwrap().unwrap();
                let rows: Vec<serde_json::Value> =
                    serde_json::from_slice(&list.chunks.concat()).unwrap();
                let stored: i64 =
                    sqlx::query_scalar(&format!("select count(*) from {kind} where not archived"))
                        .fetch_one(&db.pool)
                        .await
                        .unwrap();
                assert_eq!(rows.len() as i64, stored, "{flags}: {kind}");
            }
            backend.stop().await;
        }
    }
}
