//! Importing legacy databases: nothing is lost, nothing is appended twice, and nothing that the team did is undone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::{Kind, SourceValue};
use projections::files::Files;
use projections::read::Query;
use replay::{ImportError, ImportOptions, Progress, Report, SourceRows, import, reconstruct};
use rusqlite::types::ValueRef;
use serde_json::{Value as Json, json};

use crate::check::assert_read_models_match_the_log;
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

/// Type, id, sequence, name and content of every event but for what differs from run to run.
async fn log(db: &Database) -> Vec<(String, String, i64, String, String)> {
    let mut log: Vec<_> = crate::check::whole_log(&db.pool)
        .await
        .into_iter()
        .map(|it| {
            let (stream, name) = (it.stream(), it.event.name().to_owned());
            (stream.kind, stream.id, it.sequence, name, format!("{:?}", it.event))
        })
        .collect();
    log.sort();
    log
}

/// Changes a legacy database.
pub fn execute(file: &Path, sql: &str) {
    let db = rusqlite::Connection::open(file).unwrap();
    // As the legacy application does.
    db.execute_batch("pragma foreign_keys = off").unwrap();
    db.execute_batch(sql).unwrap();
}

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

/// A file of the newest generation, imported.
async fn imported(flags: &str) -> (Database, PathBuf) {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), flags);
    run(&db, &file).await.unwrap();
    (db, file)
}

/// The names of the events after this position of the log, with their streams.
async fn names_after(db: &Database, count: i64) -> Vec<String> {
    sqlx::query_scalar(
        "select aggregate_type || ' ' || aggregate_id || ' ' || event_type from events
         order by position offset $1",
    )
    .bind(count)
    .fetch_all(&db.pool)
    .await
    .unwrap()
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

#[tokio::test]
async fn a_newer_copy_adds_exactly_the_differences() {
    let (db, file) = imported("").await;
    let check = async |sql: &str, expected: &[&str]| {
        let before = events(&db).await;
        execute(&file, sql);
        let report = run(&db, &file).await.unwrap();
        let mut names = names_after(&db, before).await;
        let mut expected = expected.to_vec();
        names.sort();
        expected.sort_unstable();
        assert_eq!(names, expected, "{sql}");
        assert_eq!(report.events, expected.len() as u64, "{sql}");
        assert_eq!(report.conflicts, 0, "{sql}: {:?}", report.notices);
        assert_lossless(&db, &file, sql).await;
        assert_eq!(run(&db, &file).await.unwrap().events, 0, "{sql}");
    };
    check(
        "update lp set priority = 'Z', location = 'Lima' where id = 1",
        &["lp 1 Prioritised", "lp 1 DetailsAmended"],
    )
    .await;
    check("update lp set aum_billions = 'many' where id = 2; update lp set aum_billions = 0.5 where id = 3",
        &["lp 2 DetailsAmended", "lp 2 LegacyKept", "lp 3 DetailsAmended"]).await;
    check("insert into lp (id, name) values (500, 'New')", &["lp 500 Registered"]).await;
    check(
        "insert into note (id, name, date) values (500, 'n', '2025-01-31 00:00:00.000000');
           insert into notelplink values (500, 500), (500, 77777)",
        &["note 500 Registered", "note 500 Linked"],
    )
    .await;
    check(
        "delete from notelplink where note_id = 500 and lp_id = 500;
           insert into notegplink values (500, 1)",
        &["note 500 Unlinked", "note 500 Linked"],
    )
    .await;
    check(
        "delete from note where id = 500",
        &["note 500 Archived", "import legacy RowKept", "import legacy RowKept"],
    )
    .await;
    check(
        "insert into note (id, name) values (500, 'n')",
        &[
            "note 500 Restored",
            "note 500 Dated",
            "import legacy RowReleased",
            "import legacy RowReleased",
        ],
    )
    .await;
    check("delete from fundlpinterest; insert into fundlpinterest (fund_id, lp_id, interest) values (99999, 1, 'x')",
        &cleared_interests(&db).await.iter().map(String::as_str).collect::<Vec<_>>()).await;
    check(
        "insert into fundlpinterest values (1, 7, 'Hot', 'ayer', 3)",
        &["fund 1 InterestRecorded"],
    )
    .await;
    let links = ["lp", "gp", "person", "fund", "roadshow", "note"]
        .map(|target| format!("delete from todo{target}link where todo_id = 4;"))
        .concat();
    let todos = format!(
        "update todo set title = 'T', status = 'completed', tags = 'new' where id = 3;
         delete from todo where id = 4; {links}"
    );
    check(&todos, &names_of_todo_changes(&db).await).await;
    check("alter table person add column phone varchar", &["import legacy RowKept"]).await;
    check("update person set phone = '81' where id = 9", &["person 9 LegacyKept"]).await;
    check("insert or ignore into gplplink values (3, 44444)", &["gp 3 Linked"]).await;
}

async fn cleared_interests(db: &Database) -> Vec<String> {
    let told = reconstruct(&db.pool, db.connections.keys(), &db.files()).await.unwrap();
    let mut funds: Vec<i64> = told["fundlpinterest"]
        .iter()
        .map(|row| match row["fund_id"] {
            SourceValue::Integer(id) => id,
            _ => unreachable!(),
        })
        .collect();
    funds.sort_unstable();
    let cleared = funds.into_iter().map(|fund| format!("fund {fund} InterestCleared"));
    std::iter::once("import legacy RowKept".to_owned()).chain(cleared).collect()
}

/// What the change of todo 3 leads to depends on what it was before.
async fn names_of_todo_changes(db: &Database) -> Vec<&'static str> {
    let told = reconstruct(&db.pool, db.connections.keys(), &db.files()).await.unwrap();
    let todo = |row: &&BTreeMap<String, SourceValue>| row["id"] == SourceValue::Integer(3);
    let before = told["todo"].iter().find(todo).unwrap();
    let open = before["status"] != SourceValue::Text("completed".into());
    let moved = open.then_some("todo 3 StatusMoved");
    [Some("todo 3 Retitled"), moved, Some("todo 3 DetailsAmended"), Some("todo 4 Archived")]
        .into_iter()
        .flatten()
        .collect()
}

#[tokio::test]
async fn a_newer_copy_of_a_dirty_file_is_told_as_well() {
    for flags in
        ["--dirty --dirty-fatal", "--generation 2 --hybrid --dirty", "--generation 1 --dirty"]
    {
        let (db, file) = imported(flags).await;
        execute(&file, "update note set raw_notes = 'new' where id % 3 = 0; delete from note where id % 7 = 0;
                        update todo set status = 'done', description = 'a' || char(10) || 'b' where id % 5 = 0;
                        delete from lp where id = 8; insert into lp (id, name) values (900001, 'was dangling');
                        update person set name = x'ff', email = 1.5 where id = 2");
        let report = run(&db, &file).await.unwrap();
        assert!(report.changed > 20 && report.deleted > 5, "{flags}: {report:?}");
        assert_lossless(&db, &file, flags).await;
        assert_eq!(run(&db, &file).await.unwrap().events, 0, "{flags}");
    }
}

#[tokio::test]
async fn a_record_that_was_changed_in_crm_is_a_conflict_and_stays_as_it_is() {
    let (db, file) = imported("").await;
    for id in [1, 2, 3] {
        happen(&db, "lp", id, "Renamed", r#"{"Renamed": {"name": "Ours"}}"#).await;
    }
    happen(&db, "lp", 600, "Registered", r#"{"Registered": {"name": "Made here", "details": {}}}"#)
        .await;
    happen(&db, "lp", 4, "Archived", "\"Archived\"").await;
    let before = events(&db).await;
    // Nothing changed in the file: crm has the last word, and there is nothing to report.
    let report = run(&db, &file).await.unwrap();
    assert_eq!((report.events, report.conflicts), (0, 0));
    execute(
        &file,
        "update lp set name = 'Theirs' where id = 1; delete from lp where id in (2, 4);
                    update lp set name = 'Ours', location = location where id = 3;
                    insert into lp (id, name) values (600, 'Theirs too')",
    );
    let report = run(&db, &file).await.unwrap();
    let ids: Vec<_> =
        report.notices.iter().filter(|n| n.reason.contains("crm")).map(|n| n.id.as_i64()).collect();
    assert_eq!(ids, [Some(600), Some(1), Some(2)]);
    assert_eq!(report.conflicts, 3, "{:?}", report.notices);
    assert_eq!(names_after(&db, before).await, ["import legacy RowKept"]);
    // It stays a conflict until somebody resolves it.
    let report = run(&db, &file).await.unwrap();
    assert_eq!((report.events, report.conflicts), (0, 3));
}

/// A record of every kind with the id 700, made in crm.
async fn make_seven_hundreds(db: &Database) {
    let named = json!({"name": "Ours", "details": {}});
    let fund = json!({"fund_name": "Ours", "details": {}});
    let roadshow = json!({"name": "Ours", "fund_id": 1, "details": {}});
    let todo = json!({"title": "Ours", "status": "pending", "details": {}});
    let records = [
        ("lp", named.clone()),
        ("gp", named.clone()),
        ("distributor", named.clone()),
        ("person", named),
        ("fund", fund),
        ("roadshow", roadshow),
        ("note", json!({"details": {"name": "Ours"}})),
        ("todo", todo),
    ];
    for (kind, registered) in records {
        let payload = json!({ "Registered": registered }).to_string();
        happen(db, kind, 700, "Registered", &payload).await;
    }
}

/// What the legacy application did meanwhile: its own records with the id 700, and everything tied to them.
const THEIR_SEVEN_HUNDREDS: &str = "
    insert into lp (id, name) values (700, 'Theirs');
    insert into gp (id, name, distributor_id) values (700, 'Theirs', 1);
    insert into distributor (id, name) values (700, 'Theirs');
    insert into person (id, name) values (700, 'Theirs');
    insert into fund (id, fund_name, roadshow_date) values (700, 'Theirs', '2026-01-31 00:00:00.000000');
    insert into roadshow (id, name, fund_id, arrival, lv_flight, lv_hotel, mty_driver, cdmx_driver)
        values (700, 'Theirs', 1, '2026-01-31 00:00:00.000000', '', '', '', '');
    insert into note (id, name, raw_notes) values (700, 'Theirs', x'ff00');
    insert into todo (id, title, status, created_at) values (700, 'Theirs', 'pending', '2026-01-31');
    alter table todogplink add column since varchar;
    insert into todogplink values (1, 700, 'May'), (700, 1, 'June'), (700, 700, 'July');
    insert into notelplink values (1, 700), (700, 1), (700, 700);
    insert into gplplink values (1, 700), (700, 1);
    insert into lppersonlink (lp_id, person_id) values (1, 700), (700, 1);
    insert into notedistributorlink (note_id, distributor_id) values (1, 700);
    insert into todonotelink (todo_id, note_id) values (1, 700);
    insert into fundlpinterest values (1, 700, 'commitment', null, null), (700, 1, 'commitment', null, 1);
    insert into roadshowlpstatus values (1, 700, 'confirmed', null, 700), (700, 1, 'confirmed', null, null);
    insert or replace into fundlpinterest values (2, 1, 'commitment', null, 700);
    update gp set distributor_id = 700 where id = 2;
    update roadshow set fund_id = 700, arrival = '2026-02-28 00:00:00.000000' where id = 2;
    update todo set note_id = 700, parent_todo_id = 700 where id = 2;
";

/// Whether anything but what is kept verbatim has the value 700.
fn mentions_seven_hundred(value: &Json) -> bool {
    match value {
        Json::Number(number) => number.as_i64() == Some(700),
        Json::Array(items) => items.iter().any(mentions_seven_hundred),
        Json::Object(fields) => {
            let verbatim = ["legacy", "LegacyKept", "RowKept"];
            let said = fields.iter().filter(|(name, _)| !verbatim.contains(&name.as_str()));
            said.map(|(_, value)| value).any(mentions_seven_hundred)
        }
        _ => false,
    }
}

/// The log tells every row of the file. Returns what it tells besides.
async fn told_besides(db: &Database, file: &Path) -> Vec<String> {
    let mut told = sorted(reconstruct(&db.pool, db.connections.keys(), &db.files()).await.unwrap());
    for (table, rows) in sorted(source_rows(file)) {
        let told = told.get_mut(&table).unwrap();
        for row in rows {
            let at = told.iter().position(|told| *told == row);
            told.swap_remove(at.unwrap_or_else(|| panic!("{table} lost {row}")));
        }
    }
    told.into_values().flatten().collect()
}

#[tokio::test]
async fn nothing_of_the_file_is_attached_to_a_record_that_was_made_in_crm() {
    let (db, file) = imported("").await;
    make_seven_hundreds(&db).await;
    let before = events(&db).await;
    execute(&file, THEIR_SEVEN_HUNDREDS);
    let report = run(&db, &file).await.unwrap();
    let appended: Vec<(String, String, String)> = sqlx::query_as(
        "select aggregate_type, aggregate_id, payload::text from events order by position offset $1",
    )
    .bind(before)
    .fetch_all(&db.pool)
    .await
    .unwrap();
    for (kind, id, payload) in &appended {
        assert_ne!(id, "700", "{kind} {payload}");
        let said: Json = serde_json::from_str(payload).unwrap();
        assert!(!mentions_seven_hundred(&said), "{kind} {id} {payload}");
    }
    assert_eq!(report.conflicts, 8, "{:?}", report.notices);
    let besides = told_besides(&db, &file).await;
    assert_eq!(besides.len(), 8, "{besides:?}");
    assert!(besides.iter().all(|row| row.contains("Ours")), "{besides:?}");
    let report = run(&db, &file).await.unwrap();
    assert_eq!((report.events, report.conflicts), (0, 8));
}

#[tokio::test]
async fn what_was_not_attached_is_reported() {
    let (db, file) = imported("").await;
    make_seven_hundreds(&db).await;
    execute(&file, THEIR_SEVEN_HUNDREDS);
    let report = run(&db, &file).await.unwrap();
    let check = |table: &str, id: Json, column: Option<&str>| {
        let found = report.notices.iter().any(|notice| {
            (notice.table.as_str(), &notice.id, notice.column.as_deref()) == (table, &id, column)
                && notice.reason.contains("crm")
        });
        assert!(found, "{table} {id} {column:?}: {:?}", report.notices);
    };
    for kind in Kind::ALL {
        check(kind.as_str(), json!(700), None);
    }
    for (table, key) in [
        ("notelplink", "1,700"),
        ("notelplink", "700,1"),
        ("notelplink", "700,700"),
        ("todogplink", "1,700"),
        ("gplplink", "1,700"),
        ("lppersonlink", "1,700"),
        ("lppersonlink", "700,1"),
        ("fundlpinterest", "1,700"),
        ("roadshowlpstatus", "700,1"),
    ] {
        check(table, json!(key), None);
    }
    check("gp", json!(2), Some("distributor_id"));
    check("roadshow", json!(2), Some("fund_id"));
    check("todo", json!(2), Some("note_id"));
    check("todo", json!(2), Some("parent_todo_id"));
    check("fundlpinterest", json!("2,1"), Some("latest_note_id"));
}

#[tokio::test]
async fn what_was_not_attached_is_released_when_the_file_no_longer_has_it() {
    let (db, file) = imported("").await;
    make_seven_hundreds(&db).await;
    let original = std::fs::read(&file).unwrap();
    execute(&file, THEIR_SEVEN_HUNDREDS);
    run(&db, &file).await.unwrap();
    std::fs::write(&file, original).unwrap();
    assert_eq!(run(&db, &file).await.unwrap().conflicts, 0);
    assert_eq!(told_besides(&db, &file).await.len(), 8);
    assert_eq!(run(&db, &file).await.unwrap().events, 0);
}

#[tokio::test]
async fn a_record_that_an_imported_one_only_mentions_is_never_made_in_crm() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "");
    execute(&file, "insert or replace into fundlpinterest values (2, 1, 'commitment', null, 700)");
    run(&db, &file).await.unwrap();
    let next: i64 =
        sqlx::query_scalar("select nextval('note_id')").fetch_one(&db.pool).await.unwrap();
    assert_eq!(next, 701);
}

/// Waits until somebody waits for this sequence.
async fn somebody_waits_for(db: &Database, sequence: &str) -> bool {
    for _ in 0..400 {
        let waits: bool = sqlx::query_scalar(
            "select exists (select from pg_locks where relation = $1::regclass and not granted)",
        )
        .bind(sequence)
        .fetch_one(&db.pool)
        .await
        .unwrap();
        if waits {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    false
}

#[tokio::test]
async fn an_id_that_is_drawn_while_an_import_begins_is_not_drawn_again() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "");
    let mut drawing = db.pool.begin().await.unwrap();
    let draw = "select nextval('lp_id') from generate_series(1, $1)";
    let first: Vec<i64> = sqlx::query_scalar(draw).bind(1).fetch_all(&mut *drawing).await.unwrap();
    assert_eq!(first, [1]);
    let (report, drawn) = tokio::join!(run(&db, &file), async {
        assert!(somebody_waits_for(&db, "lp_id").await);
        let drawn: Vec<i64> =
            sqlx::query_scalar(draw).bind(5_000).fetch_all(&mut *drawing).await.unwrap();
        drawing.commit().await.unwrap();
        drawn
    });
    report.unwrap();
    let next: i64 =
        sqlx::query_scalar("select nextval('lp_id')").fetch_one(&db.pool).await.unwrap();
    assert_eq!((drawn.last(), next), (Some(&5_001), 5_002));
}

#[tokio::test]
async fn records_of_many_megabytes_are_imported_and_changed() {
    let (db, file) = imported("").await;
    execute(
        &file,
        "update note set raw_notes = hex(zeroblob(12000000)) where id = 1;
         update note set summary = hex(randomblob(250000)) where id between 2 and 30;
         delete from notelplink where note_id > 60;
         update lp set text = hex(zeroblob(3000000)) where id < 4",
    );
    run(&db, &file).await.unwrap();
    assert_lossless(&db, &file, "large").await;
    execute(
        &file,
        "update note set summary = 'short', raw_notes = null where id < 20; delete from note where id < 25",
    );
    run(&db, &file).await.unwrap();
    assert_lossless(&db, &file, "small again").await;
    assert_eq!(run(&db, &file).await.unwrap().events, 0);
}

#[tokio::test]
async fn a_funds_own_roadshow_date_has_the_last_word() {
    let date = async |db: &Database| -> Vec<String> {
        sqlx::query_scalar(
            "select event_type from events where aggregate_type = 'fund' and aggregate_id = '1'
             and sequence > 1 and event_type <> 'InterestRecorded' order by sequence",
        )
        .fetch_all(&db.pool)
        .await
        .unwrap()
    };
    let insert = "insert into roadshow (id, name, fund_id, arrival, lv_flight, lv_hotel, mty_driver, cdmx_driver)
                  values (700, 'R', 1, '2026-01-31 00:00:00.000000', '', '', '', '')";
    let same = "update fund set roadshow_date = '2026-01-31 00:00:00.000000' where id = 1";
    for (sql, expected) in [(insert.to_owned(), 1), (format!("{insert}; {same}"), 1)] {
        let (db, file) = imported("").await;
        assert!(date(&db).await.is_empty());
        execute(&file, &sql);
        run(&db, &file).await.unwrap();
        assert_eq!(date(&db).await, vec!["RoadshowDateSet"; expected], "{sql}");
        assert_lossless(&db, &file, &sql).await;
        assert_eq!(run(&db, &file).await.unwrap().events, 0, "{sql}");
    }
    // Killed between the roadshow and the fund.
    let mut hits = 0;
    for _ in 0..20 {
        let (db, file) = imported("").await;
        execute(&file, insert);
        let options = ImportOptions { events_per_chunk: 1, ..ImportOptions::new(&file) };
        assert!(run_until(&db, &options, 1).await.is_none());
        // The fund's commit may have been on its way already.
        hits += usize::from(date(&db).await.is_empty());
        run(&db, &file).await.unwrap();
        assert_eq!(date(&db).await, ["RoadshowDateSet"]);
        if hits > 0 {
            break;
        }
    }
    assert!(hits > 0, "no kill came in between");
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

#[tokio::test]
async fn an_import_that_is_killed_again_and_again_ends_like_one_that_was_not() {
    for flags in ["--dirty", "--generation 3 --hybrid"] {
        let (whole, file) = imported(flags).await;
        let db = Database::new().await;
        let options = ImportOptions { events_per_chunk: 60, ..ImportOptions::new(&file) };
        let (mut kills, mut writes) = (0, 1);
        while run_until(&db, &options, writes).await.is_none() {
            kills += 1;
            writes = writes % 3 + 1;
        }
        assert!(kills > 3, "{flags}: {kills}");
        // The order of rows that belong to no record may differ: their stream is one for all tables.
        let records = |log: Vec<(String, String, i64, String, String)>| {
            log.into_iter().filter(|event| event.0 != "import").collect::<Vec<_>>()
        };
        assert_eq!(records(log(&db).await), records(log(&whole).await), "{flags}");
        assert_eq!(events(&db).await, events(&whole).await, "{flags}");
        assert_lossless(&db, &file, flags).await;
    }
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_writes_nothing() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "--dirty");
    let options = ImportOptions { dry_run: true, ..ImportOptions::new(&file) };
    let dry = run_with(&db, &options).await.unwrap();
    assert_eq!(events(&db).await, 0);
    assert!(!db.dir.path().join("files").exists());
    let real = run(&db, &file).await.unwrap();
    let told = |report: &Report| {
        (report.events, report.new, report.rows, report.notices.clone(), report.tables.clone())
    };
    assert_eq!(told(&dry), told(&real));
    assert_eq!(run_with(&db, &options).await.unwrap().events, 0);
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
    check(made("empty.db", b""), "not an SQLite database").await;
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

#[tokio::test]
async fn only_one_import_runs_at_a_time() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "");
    let mut other = db.pool.acquire().await.unwrap().detach();
    let lock = "select pg_advisory_lock(x'63726d5f696d7001'::bigint)";
    sqlx::query(lock).execute(&mut other).await.unwrap();
    assert!(matches!(run(&db, &file).await, Err(ImportError::AlreadyRunning)));
    assert_eq!(events(&db).await, 0);
    drop(other);
    assert!(run(&db, &file).await.unwrap().events > 0);
}

#[tokio::test]
async fn images_are_copied_once_and_missing_ones_reported() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "");
    execute(
        &file,
        "update note set image_paths = null;
        update note set image_paths = 'notion_images/a.png,notion_images/none.png' where id = 1;
        update note set image_paths = '../../etc/passwd' where id = 2",
    );
    let images = db.dir.path().join("notion_images");
    std::fs::create_dir(&images).unwrap();
    for (name, content) in [("a.png", "A"), ("other.jpg", "BB"), ("notes.txt", "no image")] {
        std::fs::write(images.join(name), content).unwrap();
    }
    let options = ImportOptions { images: Some(images), ..ImportOptions::new(&file) };
    let report = run_with(&db, &options).await.unwrap();
    assert_eq!(report.images, 2);
    let told: Vec<_> =
        report.notices.iter().filter_map(|n| Some((n.id.as_i64()?, n.value.as_deref()?))).collect();
    assert!(told.contains(&(1, "notion_images/none.png")), "{told:?}");
    assert!(told.contains(&(2, "../../etc/passwd")), "{told:?}");
    let mut names: Vec<_> = std::fs::read_dir(db.dir.path().join("images"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a.png", "other.jpg"]);
    assert_eq!(run_with(&db, &options).await.unwrap().images, 0);
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
