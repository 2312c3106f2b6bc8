//! A newer copy of a file that was imported before.

use std::collections::BTreeMap;

use domain::lp::{Lp, LpCommand};
use domain::{FundId, SourceValue, Verbatim};
use projections::log::{CommandError, LogReader};
use projections::read::roadshow_dates;
use replay::{ImportOptions, reconstruct};
use serde_json::json;

use super::{assert_lossless, events, execute, happen, imported, legacy, run, run_until};
use crate::harness::{Database, keys};
use crate::log::request;

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
    let conflicts: Vec<_> = report.notices.iter().filter(|notice| notice.conflict).collect();
    let ids: Vec<_> = conflicts.iter().map(|notice| notice.id.as_i64()).collect();
    assert_eq!(ids, [Some(600), Some(1), Some(1), Some(2)]);
    let (column, reason) = (conflicts[2].column.as_deref(), &conflicts[2].reason);
    assert_eq!((column, &**reason), (Some("name"), "crm says: Ours; left out: Theirs"));
    assert_eq!(report.conflicts, 3, "{:?}", report.notices);
    assert_eq!(names_after(&db, before).await, ["import legacy RowKept"]);
    // It stays a conflict until somebody resolves it.
    let report = run(&db, &file).await.unwrap();
    assert_eq!((report.events, report.conflicts), (0, 3));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_a_conflict_and_the_rest_is_imported() {
    let (db, file) = imported("").await;
    for id in [1, 3] {
        happen(&db, "lp", id, "Unheard", r#"{"Unheard": {}}"#).await;
    }
    let before = events(&db).await;
    execute(
        &file,
        "update lp set priority = 'Z' where id in (1, 2); delete from lp where id = 3;
         insert into gp (id, name) values (500, 'New')",
    );
    for appended in [2, 0] {
        let report = run(&db, &file).await.unwrap();
        assert_eq!((report.events, report.conflicts), (appended, 2), "{:?}", report.notices);
        let conflicts = report.notices.iter().filter(|notice| notice.conflict);
        for (notice, (id, position)) in conflicts.zip([(1, before - 1), (3, before)]) {
            assert_eq!((&*notice.table, &notice.id), ("lp", &json!(id)));
            let names = notice.reason.contains(&format!("at position {position} of the log"));
            assert!(names && notice.reason.contains("`crm verify --log`"), "{}", notice.reason);
        }
    }
    let mut names = names_after(&db, before).await;
    names.sort();
    assert_eq!(names, ["gp 500 Registered", "lp 2 Prioritised"]);
}

#[tokio::test]
async fn a_conflict_says_what_was_left_out_down_to_each_lp() {
    let (db, file) = imported("").await;
    let theirs = |interest: &str| {
        let rows = format!("values (1, 1, '{interest}'), (1, 3, '{interest}')");
        execute(&file, &format!("replace into fundlpinterest (fund_id, lp_id, interest) {rows}"));
    };
    theirs("due_diligence");
    run(&db, &file).await.unwrap();
    let ours = r#"{"InterestRecorded": {"lp": 1, "interest": "commitment"}}"#;
    happen(&db, "fund", 1, "InterestRecorded", ours).await;
    theirs("meeting");
    let report = run(&db, &file).await.unwrap();
    assert_eq!((report.events, report.conflicts), (0, 1));
    let told: Vec<String> = report
        .notices
        .iter()
        .filter(|notice| notice.conflict)
        .filter_map(|notice| Some(format!("{}: {}", notice.column.as_ref()?, notice.reason)))
        .collect();
    assert_eq!(
        told,
        [
            "interest (lp 1): crm says: commitment; left out: meeting",
            "interest (lp 3): crm says: due_diligence; left out: meeting",
        ]
    );
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

#[tokio::test]
async fn a_fund_that_the_team_has_worked_on_keeps_the_date_that_they_see() {
    let shown = async |db: &Database| {
        let mut connection = db.pool.acquire().await.unwrap();
        let log = LogReader::new(keys());
        let [shown, _] = roadshow_dates(&mut connection, &log, FundId(1)).await.unwrap();
        shown.map(|date| date.to_string()[..10].to_owned())
    };
    let ours = [
        (
            "RoadshowDateSet",
            r#"{"RoadshowDateSet": {"roadshow_date": "2031-01-01T00:00:00"}}"#,
            Some("2031-01-01"),
        ),
        // They have touched something else.
        (
            "InterestRecorded",
            r#"{"InterestRecorded": {"lp": 2, "interest": "commitment"}}"#,
            Some("2026-03-10"),
        ),
    ];
    for (name, payload, expected) in ours {
        let (db, file) = imported("").await;
        execute(&file, "update fund set roadshow_date = '2026-03-10 00:00:00.000000' where id = 1");
        run(&db, &file).await.unwrap();
        happen(&db, "fund", 1, name, payload).await;
        for sql in [
            "insert into roadshow (id, name, fund_id, arrival, lv_flight, lv_hotel, mty_driver, cdmx_driver)
             values (700, 'R', 1, '2027-05-05 00:00:00.000000', '', '', '', '')",
            "update roadshow set arrival = '2029-09-09 00:00:00.000000' where id = 700",
            "update roadshow set notes = 'Bring the deck' where id = 700",
            "update fund set fund_name = fund_name || '2' where id = 1;
             update roadshow set arrival = '2030-01-01 00:00:00.000000' where id = 700",
        ] {
            execute(&file, sql);
            let report = run(&db, &file).await.unwrap();
            assert_eq!(shown(&db).await.as_deref(), expected, "{name} {sql}");
            let told = report.notices.iter().any(|it| it.conflict && it.reason.contains("arrival"));
            assert!(told, "{name} {sql}: {:?}", report.notices);
            assert_eq!(run(&db, &file).await.unwrap().events, 0, "{name} {sql}");
        }
        if name == "RoadshowDateSet" {
            // Once both agree again there is nothing to report, and what changes then is taken.
            let again = "fund_name = substr(fund_name, 1, length(fund_name) - 1), roadshow_date = '2031-01-01 00:00:00.000000'";
            for (set, events) in [(again, 0), ("geography = 'Moon'", 1)] {
                execute(&file, &format!("update fund set {set} where id = 1"));
                let report = run(&db, &file).await.unwrap();
                assert_eq!((report.events, report.conflicts), (events, 0), "{:?}", report.notices);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notion_id_that_a_file_brought_is_taken_until_no_record_has_it() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "");
    // A database that the Notion import has altered holds some twice.
    execute(
        &file,
        "drop index ix_lp_notion_id; update lp set notion_id = 'twice' where id in (3, 4)",
    );
    run(&db, &file).await.unwrap();
    let backend = db.backend().await;
    let register = LpCommand::Register {
        name: "New".into(),
        details: serde_json::from_value(json!({"notion_id": "twice"})).unwrap(),
        legacy: Verbatim::default(),
    };
    let attempt =
        async || match backend.log.register::<Lp>(register.clone(), &request("Register")).await {
            Err(CommandError::NotionIdTaken { owner, .. }) => Some(owner.id()),
            other => other.map(|_| None).unwrap(),
        };
    assert_eq!(attempt().await, Some(3));
    execute(&file, "update lp set notion_id = 'once' where id = 3");
    run(&db, &file).await.unwrap();
    assert_eq!(attempt().await, Some(4));
    execute(&file, "delete from lp where id = 4");
    run(&db, &file).await.unwrap();
    assert_eq!(attempt().await, None);
    // A file may bring what a record made in crm has by now.
    execute(&file, "update lp set notion_id = 'twice' where id = 5");
    assert_eq!(run(&db, &file).await.unwrap().changed, 1);
    assert_eq!(attempt().await, Some(5));
    backend.stop().await;
}
