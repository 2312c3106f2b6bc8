//! A file beside records that were made in crm: neither is taken for the other.

use std::path::Path;
use std::time::Duration;

use domain::Kind;
use replay::reconstruct;
use serde_json::{Value as Json, json};

use super::{events, execute, happen, imported, legacy, run, sorted, source_rows};
use crate::harness::Database;

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
    for conflict in report.notices.iter().filter(|notice| notice.conflict) {
        assert_eq!(conflict.value.as_deref(), Some("Theirs"), "{conflict:?}");
        assert!(conflict.reason.contains("`/audit?kind=import`"), "{conflict:?}");
    }
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
