//! Importing legacy databases: nothing is lost, nothing is appended twice, and nothing that the team did is undone.

mod beside;
mod lossless;
mod newer;
mod older;
mod refused;
mod runs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::SourceValue;
use projections::files::Files;
use replay::{ImportError, ImportOptions, Progress, Report, SourceRows, import, reconstruct};
use rusqlite::types::ValueRef;

use crate::harness::Database;

/// Enough of everything that every kind of dirt finds its row.
const SIZES: &str = "--lps 45 --gps 20 --distributors 8 --funds 20 --people 35 --notes 90 --todos 80 --roadshows 20";

/// Makes a legacy database.
pub fn legacy(folder: &Path, flags: &str) -> PathBuf {
    let file = folder.join(format!("{}.db", flags.replace([' ', '-'], "")));
    let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/make_legacy_db.py");
    let made = Command::new("python3")
        .arg(generator)
        .arg(&file)
        .args(SIZES.split(' ').chain(flags.split_whitespace()))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    file
}

/// All rows of a file, read by other code than the import's.
fn source_rows(file: &Path) -> SourceRows {
    let db = rusqlite::Connection::open(file).unwrap();
    let mut tables = db.prepare("select name from sqlite_master where type = 'table'").unwrap();
    let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let names: Vec<String> = names.map(Result::unwrap).collect();
    let is_ours = |name: &String| !name.starts_with("sqlite_");
    names
        .into_iter()
        .filter(is_ours)
        .map(|table| (table.clone(), table_rows(&db, &table)))
        .collect()
}

fn table_rows(db: &rusqlite::Connection, table: &str) -> Vec<BTreeMap<String, SourceValue>> {
    let mut statement = db.prepare(&format!("select * from {table}")).unwrap();
    let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut rows = statement.query([]).unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let cells = names.iter().enumerate();
        found.push(
            cells
                .map(|(at, name)| (name.clone(), source_value(row.get_ref(at).unwrap())))
                .collect(),
        );
    }
    found
}

fn source_value(value: ValueRef<'_>) -> SourceValue {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match value {
        ValueRef::Null => SourceValue::Null,
        ValueRef::Integer(value) => SourceValue::Integer(value),
        ValueRef::Real(value) => SourceValue::real(value),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => SourceValue::Text(text.to_owned()),
            Err(_) => SourceValue::TextBytes { text_bytes: hex(bytes) },
        },
        ValueRef::Blob(bytes) => SourceValue::Blob { blob: hex(bytes) },
    }
}

/// The order of rows means nothing.
fn sorted(rows: SourceRows) -> BTreeMap<String, Vec<String>> {
    let text = |row: &BTreeMap<String, SourceValue>| serde_json::to_string(row).unwrap();
    let sorted = |rows: Vec<_>| {
        let mut rows: Vec<String> = rows.iter().map(text).collect();
        rows.sort();
        rows
    };
    rows.into_iter().map(|(table, rows)| (table, sorted(rows))).collect()
}

pub async fn run(db: &Database, file: &Path) -> Result<Report, ImportError> {
    run_with(db, &ImportOptions::new(file)).await
}

async fn run_with(db: &Database, options: &ImportOptions) -> Result<Report, ImportError> {
    import(&db.connections, &db.files(), options, |_| ()).await
}

/// The log tells exactly the rows of the file.
async fn assert_lossless(db: &Database, file: &Path, what: &str) {
    assert_log_tells(&db.pool, &db.files(), file, what).await;
}

/// The log behind this pool tells exactly the rows of the file.
pub async fn assert_log_tells(pool: &sqlx::PgPool, files: &Files, file: &Path, what: &str) {
    let expected = sorted(source_rows(file));
    let told = sorted(reconstruct(pool, &crate::harness::keys(), files).await.unwrap());
    let tables = |rows: &BTreeMap<String, Vec<String>>| rows.keys().cloned().collect::<Vec<_>>();
    assert_eq!(tables(&told), tables(&expected), "{what}");
    for (table, rows) in expected {
        for row in &rows {
            assert!(told[&table].contains(row), "{what}: {table} lost {row:.2000}");
        }
        assert_eq!(
            told[&table].len(),
            rows.len(),
            "{what}: {table} has rows that the file does not have"
        );
    }
}

async fn events(db: &Database) -> i64 {
    sqlx::query_scalar("select count(*) from events").fetch_one(&db.pool).await.unwrap()
}

/// Changes a legacy database.
pub fn execute(file: &Path, sql: &str) {
    let db = rusqlite::Connection::open(file).unwrap();
    // As the legacy application does.
    db.execute_batch("pragma foreign_keys = off").unwrap();
    db.execute_batch(sql).unwrap();
}

/// A file of the newest generation, imported.
async fn imported(flags: &str) -> (Database, PathBuf) {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), flags);
    run(&db, &file).await.unwrap();
    (db, file)
}

/// As if somebody had done this in crm.
async fn happen(db: &Database, kind: &str, id: i64, event_type: &str, payload: &str) {
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         select $1, $2, coalesce(max(sequence), 0) + 1, $3, '1', $4::json, '{}', gen_random_uuid(),
                gen_random_uuid(), 'ana' from events where aggregate_type = $1 and aggregate_id = $2",
    )
    .bind(kind)
    .bind(id.to_string())
    .bind(event_type)
    .bind(payload)
    .execute(&db.pool)
    .await
    .unwrap();
}

/// Runs an import and kills it after it has written events so many times. None if it was killed.
async fn run_until(db: &Database, options: &ImportOptions, writes: usize) -> Option<Report> {
    let (seen, kill) = (AtomicUsize::new(0), tokio::sync::Notify::new());
    let last = AtomicUsize::new(0);
    let progress = |now: Progress| {
        let now = usize::try_from(now.events).unwrap();
        if now > last.swap(now, Ordering::SeqCst)
            && seen.fetch_add(1, Ordering::SeqCst) + 1 == writes
        {
            kill.notify_one();
        }
    };
    let files = db.files();
    tokio::select! {
        biased;
        () = kill.notified() => None,
        report = import(&db.connections, &files, options, progress) => Some(report.unwrap()),
    }
}
