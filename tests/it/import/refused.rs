//! Files that cannot be imported whole, or that somebody still writes.

use std::path::{Path, PathBuf};

use replay::{ImportError, ImportOptions};

use super::{assert_lossless, events, execute, imported, legacy, run, run_with, source_rows};
use crate::harness::Database;

#[tokio::test]
async fn a_file_that_cannot_be_imported_whole_is_refused_and_nothing_appended() {
    let db = Database::new().await;
    let folder = db.dir.path().to_owned();
    let good = legacy(&folder, "");
    let bytes = std::fs::read(&good).unwrap();
    let made = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let altered = |name: &str, sql: &str| {
        let path = made(name, &bytes);
        execute(&path, sql);
        path
    };
    let check = async |file: PathBuf, expected: &str| {
        let error = run(&db, &file).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{}: {error}", file.display());
        assert_eq!(events(&db).await, 0);
    };
    check(folder.join("none.db"), "there is no file").await;
    check(folder.clone(), "is not a file").await;
    check(made("empty.db", b""), "empty.db is empty").await;
    check(made("text.db", b"id,name\n1,A\n"), "not an SQLite database").await;
    check(made("stub.db", &bytes[..50]), "damaged").await;
    for part in [4_096, bytes.len() / 2, bytes.len() - 1] {
        check(made("cut.db", &bytes[..part]), "damaged").await;
    }
    let mut holed = bytes.clone();
    let middle = holed.len() / 8192 * 4096;
    holed[middle..middle + 4096].fill(0x5a);
    check(made("holed.db", &holed), "damaged").await;
    check(
        altered("other.db", "create table invoice (id); create table \"Ähm\" (id)"),
        "invoice, Ähm",
    )
    .await;
    check(altered("less.db", "drop table person"), "no table person").await;
    check(altered("odd.db", "alter table notelplink rename column lp_id to lp"), "no column lp_id")
        .await;
    let holder = rusqlite::Connection::open(&good).unwrap();
    holder.execute_batch("begin exclusive").unwrap();
    check(good.clone(), "in use").await;
    holder.execute_batch("rollback").unwrap();
    let foreign = folder.join("foreign.db");
    execute(&foreign, "create table invoice (id)");
    check(foreign, "not a legacy CRM database").await;
    let options = ImportOptions { images: Some(good.clone()), ..ImportOptions::new(&good) };
    assert!(matches!(run_with(&db, &options).await, Err(ImportError::NoImagesFolder(_))));
    let marks: i64 =
        sqlx::query_scalar("select count(*) from import_unit").fetch_one(&db.pool).await.unwrap();
    assert_eq!(marks, 0);
}

#[tokio::test]
async fn a_file_in_write_ahead_mode_is_read_with_what_is_not_yet_in_it() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "");
    let writer = rusqlite::Connection::open(&file).unwrap();
    writer
        .execute_batch(
            "pragma journal_mode = wal; insert into lp (id, name) values (800, 'In the WAL')",
        )
        .unwrap();
    run(&db, &file).await.unwrap();
    assert_lossless(&db, &file, "wal").await;
    drop(writer);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(run(&db, &file).await.unwrap().events, 0);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert!(!file.with_extension("db-wal").exists() && !file.with_extension("db-shm").exists());
}

#[tokio::test]
async fn a_file_that_was_being_written_when_the_application_stopped_is_refused() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "");
    let writer = rusqlite::Connection::open(&file).unwrap();
    writer
        .execute_batch("pragma cache_size = 1; begin; update note set raw_notes = raw_notes || 'x'")
        .unwrap();
    let journal = |file: &Path| PathBuf::from(format!("{}-journal", file.display()));
    let copy = db.dir.path().join("copy.db");
    std::fs::copy(&file, &copy).unwrap();
    std::fs::copy(journal(&file), journal(&copy)).unwrap();
    let error = run(&db, &copy).await.unwrap_err();
    assert!(matches!(error, ImportError::Interrupted), "{error}");
    assert_eq!(events(&db).await, 0);
}

#[tokio::test]
async fn another_file_is_not_taken_for_a_newer_copy() {
    let (db, file) = imported("").await;
    let before = events(&db).await;
    let other = legacy(db.dir.path(), "--seed 99");
    let error = run(&db, &other).await.unwrap_err();
    assert!(matches!(error, ImportError::OtherFile { .. }), "{error}");
    let tables: Vec<String> = source_rows(&file).into_keys().collect();
    execute(&file, &tables.iter().map(|table| format!("delete from {table};")).collect::<String>());
    let error = run(&db, &file).await.unwrap_err();
    assert!(matches!(error, ImportError::NoRows { .. }), "{error}");
    assert_eq!(events(&db).await, before);
}
