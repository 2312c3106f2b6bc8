//! Whatever a legacy file holds, every list that the legacy server had answers as the legacy server did.

use std::path::{Path, PathBuf};
use std::process::Command;

use replay::{ImportOptions, import};
use serde_json::{Value, json};

use super::legacy::{LISTS, Legacy, RELATIONS, table, untied, wall};
use super::{Api, kinds};
use crate::harness::{Database, demo_file};
use crate::import::assert_log_tells;

/// The product after an import, and the file.
pub async fn imported(file: &Path) -> (Api, Legacy) {
    let db = Database::new().await;
    let options = ImportOptions::new(file);
    import(&db.connections, &db.files(), &options, |_| ()).await.unwrap();
    let api = Api::on(db).await;
    api.backend.settle().await.unwrap();
    (api, Legacy::open(file))
}

/// A file with everything odd that was ever seen.
fn dirty_file(folder: &Path, flags: &str) -> PathBuf {
    let file = folder.join("dirty.db");
    let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/make_legacy_db.py");
    let sizes = "--lps 45 --gps 20 --distributors 8 --funds 20 --people 35 --notes 90 --todos 80 --roadshows 20";
    let made = Command::new("python3")
        .arg(generator)
        .arg(&file)
        .args(sizes.split(' ').chain(flags.split(' ')))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    file
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        other => panic!("no list: {other}"),
    }
}

fn id(row: &Value) -> i64 {
    row["id"].as_i64().unwrap()
}

/// As the legacy server had it, by time instead of by how dates happen to be spelled.
fn by_time(path: &str, mut list: Vec<Value>) -> Vec<Value> {
    match path {
        "notes" => {
            list.sort_by_key(|note| std::cmp::Reverse(wall(&note["date"])));
            untied(list, "date")
        }
        "todos" => {
            list.sort_by_key(|todo| wall(&todo["due_date"]));
            untied(list, "due_date")
        }
        _ => list,
    }
}

fn assert_same(answer: Vec<Value>, expected: Vec<Value>, what: &str) {
    for (row, expected) in answer.iter().zip(&expected) {
        assert_eq!(row, expected, "{what}");
    }
    assert_eq!(answer.len(), expected.len(), "{what}");
}

/// Every list and every record. Some records are there, so the comparison says something.
async fn check_lists(api: &Api, legacy: &Legacy, odd_dates: bool) {
    for (path, ..) in LISTS {
        let (mut expected, mut answer) =
            (legacy.list(path), array(api.read(&format!("/{path}")).await));
        assert!(!expected.is_empty(), "{path}");
        for row in &answer {
            assert_eq!(&api.read(&format!("/{path}/{}", id(row))).await, row);
        }
        if odd_dates {
            expected = by_time(path, expected);
        }
        if odd_dates || *path == "notes" {
            let date = if *path == "todos" { "due_date" } else { "date" };
            (expected, answer) = (untied(expected, date), untied(answer, date));
        }
        assert_same(answer, expected, path);
    }
}

/// Every list of linked records of every record, and the same of a record that does not exist.
async fn check_relations(api: &Api, legacy: &Legacy) {
    for relation in RELATIONS {
        let (owner, name) = relation.path;
        let mut found = 0;
        for row in legacy.rows(table(owner), "", &[]) {
            let uri = format!("/{owner}/{}/{name}", id(&row));
            let mut answer = array(api.read(&uri).await);
            let mut expected = legacy.linked(relation, id(&row));
            if name == "notes" && owner != "todos" {
                (answer, expected) = (untied(answer, "date"), by_time("notes", expected));
            }
            found += expected.len();
            assert_same(answer, expected, &uri);
        }
        assert!(found > 0, "{owner} {name}");
        assert_eq!(api.read(&format!("/{owner}/987654/{name}")).await, json!([]));
    }
    for owner in ["lps", "gps"] {
        let mut found = 0;
        for row in legacy.rows(table(owner), "", &[]) {
            let uri = format!("/{owner}/{}/tasks", id(&row));
            let expected = legacy.tasks(owner, id(&row));
            found += expected.len();
            assert_same(array(api.read(&uri).await), expected, &uri);
        }
        assert!(found > 0, "{owner} tasks");
    }
}

/// Every LP in every funnel and at every roadshow.
async fn check_standings(api: &Api, legacy: &Legacy) {
    let lps = legacy.list("lps");
    let (mut words, mut contacts) = (0, 0);
    for (path, owner, list, word) in [
        ("funds", "fund", "sales-funnel", "interest"),
        ("roadshows", "roadshow", "lp-status", "status"),
    ] {
        for row in legacy.list(path) {
            let uri = format!("/{path}/{}/{list}", id(&row));
            let answer = array(api.read(&uri).await);
            assert_eq!(answer.len(), lps.len(), "{uri}");
            for (mut item, lp) in answer.into_iter().zip(&lps) {
                let (date, note) =
                    (item["last_contact_date"].take(), item["latest_note_id"].take());
                let stored = legacy.standing(owner, id(&row), id(lp));
                let mut expected = json!({"lp_id": lp["id"], "lp_name": lp["name"],
                    "last_contact_date": null, "latest_note_id": null, "aum_billions": lp["aum_billions"],
                    "location": lp["location"], "priority": lp["priority"], "advisor": lp["advisor"],
                    "type_of_group": lp["type_of_group"], "investment_low": lp["investment_low"],
                    "investment_high": lp["investment_high"]});
                expected[format!("{owner}_id")] = row["id"].clone();
                expected[word] = stored.as_deref().unwrap_or("inactive").into();
                assert_eq!(item, expected, "{uri}");
                let newest = legacy.newest_common_notes(owner, id(&row), id(lp));
                words += usize::from(stored.is_some());
                contacts += usize::from(!newest.is_empty());
                match note.as_i64() {
                    Some(note) => {
                        assert!(newest.contains(&(note, date)), "{uri} {note}: {newest:?}")
                    }
                    None => assert!(newest.is_empty() && date.is_null(), "{uri}: {newest:?}"),
                }
            }
        }
    }
    assert!(words > 20 && contacts > 5, "{words} {contacts}");
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Pieces of all names, in several cases.
async fn check_search(api: &Api, legacy: &Legacy) {
    for path in ["lps", "gps", "people", "funds", "distributors"] {
        let column = if path == "funds" { "fund_name" } else { "name" };
        let mut found = 0;
        for row in legacy.rows(table(path), "", &[]) {
            let name: Vec<char> = row[column].as_str().unwrap().chars().take(40).collect();
            let middle: String = name.iter().skip(1).take(3).collect();
            for text in [middle.to_uppercase(), middle.to_lowercase(), name.iter().collect()] {
                let uri = format!("/{path}/search?q={}", encoded(&text));
                let expected = match text.trim() {
                    "" => vec![],
                    _ => legacy.search(path, &text),
                };
                found += expected.len();
                assert_same(array(api.read(&uri).await), expected, &format!("{uri} {text:?}"));
            }
        }
        assert!(found > 5, "{path}");
    }
}

async fn check_filters(api: &Api, legacy: &Legacy) {
    let check = async |filters: &[(&str, &str)]| {
        let query: Vec<String> =
            filters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let uri = format!("/todos?{}", query.join("&"));
        let expected = legacy.todos(filters);
        let found = expected.len();
        assert_same(array(api.read(&uri).await), expected, &format!("{filters:?}"));
        found
    };
    let due = legacy.rows("todo", "where due_date is not null order by due_date", &[]);
    let middle = due[due.len() / 2]["due_date"].as_str().unwrap().to_owned();
    let (day, spaced) = (&middle[..10], middle.replacen('T', " ", 1));
    for filters in [
        &[("status", "pending")][..],
        &[("status", "completed"), ("priority", "high")],
        &[("priority", "medium"), ("tag", "LEGAL")],
        &[("tag", "k_c")],
        &[("tag", "%")],
        &[("due_before", day)],
        &[("due_after", day)],
        &[("due_before", &middle)],
        &[("due_after", &middle)],
        &[("due_before", &spaced), ("status", "pending")],
        &[("due_after", "2025-01-01"), ("due_before", "bad"), ("tag", "i")],
    ] {
        assert!(check(filters).await > 0, "{filters:?}");
    }
    for filters in [&[("status", "Pending")][..], &[("tag", "xyz")], &[("due_after", "bad")]] {
        assert_eq!(check(filters).await, 0, "{filters:?}");
    }
}

#[tokio::test]
async fn an_imported_file_is_served_as_the_legacy_server_served_it() {
    let (api, legacy) = imported(&demo_file()).await;
    check_lists(&api, &legacy, false).await;
    check_relations(&api, &legacy).await;
    check_standings(&api, &legacy).await;
    check_search(&api, &legacy).await;
    check_filters(&api, &legacy).await;
    an_imported_record_goes_on_as_if_it_had_always_been_here(&api, &legacy).await;
}

#[tokio::test]
async fn a_file_full_of_odd_values_is_served_as_the_legacy_server_served_it() {
    let folder = tempfile::tempdir().unwrap();
    let (api, legacy) = imported(&dirty_file(folder.path(), "--dirty")).await;
    check_lists(&api, &legacy, true).await;
    check_relations(&api, &legacy).await;
    check_standings(&api, &legacy).await;
    check_search(&api, &legacy).await;
}

#[tokio::test]
async fn a_file_that_broke_the_legacy_server_is_served_without_what_broke_it() {
    let folder = tempfile::tempdir().unwrap();
    let (api, legacy) = imported(&dirty_file(folder.path(), "--dirty --dirty-fatal")).await;
    check_lists(&api, &legacy, true).await;
    check_relations(&api, &legacy).await;
    check_standings(&api, &legacy).await;
    assert_eq!(api.read("/lps/36").await["aum_billions"], Value::Null);
    assert_eq!(api.read("/notes/71").await["date"], Value::Null);
    assert_eq!(api.read("/lps/35").await["name"], "P\u{fffd}rep\u{fffd}");
    assert_eq!(api.read("/notes/70").await["summary"], Value::Null);
    save_everything(&api, "dirty").await;
}

#[tokio::test]
async fn a_roadshow_whose_fund_is_no_id_is_for_no_fund() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no-fund.db");
    std::fs::copy(demo_file(), &file).unwrap();
    crate::import::execute(
        &file,
        "insert into fund (id, fund_name) values (0, 'Zero');
         update roadshow set fund_id = 'abc', arrival = '2026-05-01 00:00:00.000000' where id = 1;
         update roadshow set fund_id = '' where id = 2; update roadshow set fund_id = 1.5 where id = 3",
    );
    let (api, _) = imported(&file).await;
    assert_log_tells(&api.db.pool, &api.db.files(), &file, "no fund").await;
    for id in 1..=3 {
        let uri = format!("/roadshows/{id}");
        let row = api.read(&uri).await;
        assert_eq!(row["fund_id"], Value::Null, "{uri}");
        api.put(&uri, row).await.expect(200, "sent back whole");
    }
    assert_eq!(api.read("/funds/0").await["roadshow_date"], Value::Null);
    let report = crate::verify::verify(&api.db).await;
    assert!(report.passed, "{report:?}");
    api.put("/roadshows/1", json!({"fund_id": 4})).await.expect(200, "assigned");
    assert_eq!(api.read("/roadshows/1").await["fund_id"], json!(4));
    assert_eq!(api.read("/funds/4").await["roadshow_date"], json!("2026-05-01T00:00:00"));
}

#[tokio::test]
async fn what_links_to_nothing_in_a_file_links_to_nothing_that_is_made_later() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dangling.db");
    std::fs::copy(demo_file(), &file).unwrap();
    let sqlite = rusqlite::Connection::open(&file).unwrap();
    sqlite.pragma_update(None, "foreign_keys", false).unwrap();
    // One and the next ids after the newest of every kind, on both sides of every link.
    for relation in RELATIONS {
        let (owner, others) = (table(relation.path.0), relation.others);
        for ahead in 1..4 {
            let make = format!(
                "insert or ignore into {link} ({own}, {other}) select max(o.id) + {ahead}, 1 from {owner} o;
                 insert or ignore into {link} ({own}, {other}) select 1, max(o.id) + {ahead} from {others} o;",
                link = relation.link.0,
                own = relation.link.1,
                other = relation.link.2,
            );
            sqlite.execute_batch(&make).unwrap();
        }
    }
    let standings = "insert into fundlpinterest values (1, 61, 'meeting', null, null), (11, 1, 'meeting', null, null);
        insert into roadshowlpstatus values (1, 61, 'offered', null, null), (11, 1, 'offered', null, null);
        update todo set note_id = 301 where id = 1;
        update todo set created_at = 'pronto', status = 'pending' where id = 2";
    sqlite.execute_batch(standings).unwrap();
    drop(sqlite);
    let (api, _) = imported(&file).await;
    a_todo_without_a_readable_date_of_creation_can_still_be_edited(&api).await;
    for (path, mut smallest) in kinds() {
        smallest["fund_id"] = 1.into();
        for _ in 0..3 {
            let id = api.made(path, smallest.clone()).await;
            for relation in RELATIONS.iter().filter(|relation| relation.path.0 == path) {
                let uri = format!("/{path}/{id}/{}", relation.path.1);
                assert_eq!(api.read(&uri).await, json!([]), "{uri}");
            }
            let board = match path {
                "funds" => format!("/funds/{id}/sales-funnel"),
                "roadshows" => format!("/roadshows/{id}/lp-status"),
                _ => continue,
            };
            let word = if path == "funds" { "interest" } else { "status" };
            for item in array(api.read(&board).await) {
                assert_eq!(item[word], "inactive", "{board}");
            }
        }
    }
    for (board, word) in
        [("/funds/1/sales-funnel", "interest"), ("/roadshows/1/lp-status", "status")]
    {
        let lps = array(api.read(board).await);
        for item in lps.iter().filter(|item| item["lp_id"].as_i64() > Some(60)) {
            assert_eq!(item[word], "inactive", "{board}");
        }
    }
}

/// The row as it is after it was sent: a zone that only an import brings is dropped, the wall time stays.
fn without_zones(mut row: Value) -> Value {
    for name in ["date", "launch", "roadshow_date", "due_date", "created_at", "arrival"] {
        let Some(date) = row.get_mut(name) else { continue };
        let zoned = date.as_str().is_some_and(|sent| sent[19..].contains(['Z', '+', '-']));
        if let (true, Some(clock)) = (zoned, wall(date)) {
            *date = clock.trim_end_matches(".000000").into();
        }
    }
    row
}

/// Sends every row back as it was read, as the front end does when somebody edits a record and saves it.
async fn save_everything(api: &Api, what: &str) {
    for (path, ..) in LISTS {
        for row in array(api.read(&format!("/{path}")).await) {
            // Completing counts every time, and arrivals go to the fund: both are looked at elsewhere.
            if row["status"] == "completed" && *path == "todos" {
                continue;
            }
            let uri = format!("/{path}/{}", id(&row));
            let before = api.read(&uri).await;
            let expected = without_zones(before.clone());
            assert_eq!(api.put(&uri, before).await.expect(200, what), expected, "{what} {uri}");
        }
    }
}

#[tokio::test]
async fn every_imported_record_can_be_saved_again_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for flags in ["--generation 3 --hybrid", "--generation 1", "--generation 4 --hybrid --dirty"] {
        let (api, _) = imported(&dirty_file(folder.path(), flags)).await;
        save_everything(&api, flags.trim_start_matches('-')).await;
        let amended: i64 = sqlx::query_scalar(
            "select count(*) from events where aggregate_type = 'roadshow' and event_type = 'DetailsAmended'",
        )
        .fetch_one(&api.db.pool)
        .await
        .unwrap();
        assert_eq!(amended, 0, "{flags}: what was saved as it is has not changed");
    }
}

async fn an_imported_record_goes_on_as_if_it_had_always_been_here(api: &Api, legacy: &Legacy) {
    let roadshows = legacy.rows("roadshow", "where arrival is not null order by id", &[]);
    for roadshow in &roadshows {
        api.put(&format!("/roadshows/{}", id(roadshow)), json!({})).await.expect(200, "roadshow");
        let fund = api.read(&format!("/funds/{}", roadshow["fund_id"])).await;
        assert_eq!(fund["roadshow_date"], roadshow["arrival"]);
    }
    let recurring =
        "where recurrence_pattern is not null and parent_todo_id is null and due_date is not null
        and recurrence_pattern not like '%end_date%' order by id";
    let todos = legacy.rows("todo", recurring, &[]);
    assert!(!roadshows.is_empty() && !todos.is_empty());
    for todo in &todos {
        let count = api.ids("/todos").await.len();
        let done = json!({"status": "completed"});
        api.put(&format!("/todos/{}", id(todo)), done).await.expect(200, "todo");
        let copy = api.ids("/todos").await.into_iter().max().unwrap();
        let copy = api.read(&format!("/todos/{copy}")).await;
        assert_eq!((&copy["parent_todo_id"], &copy["title"]), (&todo["id"], &todo["title"]));
        assert!(wall(&copy["due_date"]) > wall(&todo["due_date"]), "{copy}");
        assert_eq!(api.ids("/todos").await.len(), count + 1);
    }
    // Its links can be replaced and taken away, and its id stays its own.
    let linked =
        legacy.rows("note", "where id in (select note_id from notelplink) order by id", &[]);
    let note = id(&linked[0]);
    let lps = api.ids(&format!("/notes/{note}/lps")).await;
    api.delete(&format!("/notes/{note}/lps/{}", lps[0])).await.expect(200, "unlink");
    assert_eq!(api.ids(&format!("/notes/{note}/lps")).await, lps[1..]);
    api.post(&format!("/notes/{note}/relationships"), json!({"lp_ids": [60, 1]}))
        .await
        .expect(200, "links");
    assert_eq!(api.ids(&format!("/notes/{note}/lps")).await, [1, 60]);
    api.delete("/lps/60").await.expect(200, "delete");
    assert_eq!(api.ids(&format!("/notes/{note}/lps")).await, [1]);
    assert!(api.made("lps", json!({"name": "x"})).await > 60);
}

async fn a_todo_without_a_readable_date_of_creation_can_still_be_edited(api: &Api) {
    let mut row = api.read("/todos/2").await;
    assert_eq!(row["created_at"], Value::Null);
    row["title"] = "edited".into();
    assert_eq!(api.put("/todos/2", row.clone()).await.expect(200, "the whole row"), row);
    // What is there cannot be cleared.
    let cleared = api.put("/todos/3", json!({"created_at": null})).await;
    assert_eq!(cleared.faults(), ["datetime_type at body.created_at"]);
    let dated = api.put("/todos/2", json!({"created_at": "2025-01-31"})).await.expect(200, "dated");
    assert_eq!(dated["created_at"], "2025-01-31T00:00:00");
}
