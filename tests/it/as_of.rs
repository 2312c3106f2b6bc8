//! Whatever was read once can be read again as of then, byte for byte.

mod erased;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;

use crate::contract::{Api, ask, request};
use crate::harness::Database;
use crate::model::{FUNDS, KINDS, Model, ROADSHOWS, Step, steps};

/// What else can be asked about a record of each kind.
const OF_EACH: [&[&str]; 8] = [
    &["people", "gps", "notes", "tasks"],
    &["people", "lps", "notes", "tasks"],
    &["people", "notes"],
    &["lps", "gps", "distributors"],
    &["notes", "sales-funnel"],
    &["lps", "gps", "funds", "roadshows", "distributors", "participants"],
    &["lps", "notes"],
    &["notes", "lp-status"],
];

/// Everything that can be asked about what was made so far.
fn addresses(model: &Model) -> Vec<String> {
    let mut all = vec!["/lps/search?q=a".to_owned(), "/todos?status=pending".to_owned()];
    for (kind, (path, _)) in KINDS.into_iter().enumerate() {
        all.push(format!("/{path}"));
        for (id, _) in &model.records[kind] {
            all.push(format!("/{path}/{id}"));
            all.extend(OF_EACH[kind].iter().map(|of| format!("/{path}/{id}/{of}")));
        }
    }
    all
}

/// What was answered: the status, and the body of a success.
type Answers = BTreeMap<String, (u16, Vec<u8>)>;

async fn answers(api: &Api, addresses: &[String], as_of: Option<i64>) -> Answers {
    let mut all = Answers::new();
    for address in addresses {
        let mark = if address.contains('?') { '&' } else { '?' };
        let uri = match as_of {
            Some(position) => format!("{address}{mark}as_of={position}"),
            None => address.clone(),
        };
        let answer = api.get(&uri).await;
        if let (Some(position), 200) = (as_of, answer.status) {
            assert_eq!(answer.position(), position, "{uri}");
        }
        let body = if answer.status == 200 { answer.bytes.to_vec() } else { vec![] };
        all.insert(address.clone(), (answer.status, body));
    }
    all
}

async fn head(api: &Api) -> i64 {
    let head = sqlx::query_scalar("select coalesce(max(position), 0) from events");
    head.fetch_one(&api.db.pool).await.unwrap()
}

/// A random history, with all that was read after each step, by position.
async fn lived(api: &Api) -> (Model, BTreeMap<i64, Answers>) {
    let mut runner = TestRunner::deterministic();
    let many = steps().prop_filter("long", |steps| steps.len() > 40);
    let steps = many.new_tree(&mut runner).unwrap().current();
    let mut model = Model::default();
    for name in ["first", "second"] {
        let fund = api.made("funds", json!({"fund_name": name})).await;
        model.records[FUNDS].push((fund, Some(name.to_owned())));
    }
    for kind in (0..KINDS.len()).filter(|kind| *kind != FUNDS) {
        model.take(api, Step::Register(kind, "first".to_owned())).await;
    }
    let funds: Vec<i64> = model.records[FUNDS].iter().map(|(fund, _)| *fund).collect();
    let mut seen = BTreeMap::new();
    for (number, step) in steps.into_iter().take(40).enumerate() {
        model.take(api, step).await;
        // Roadshows move their funds' dates, and move from one fund to the other.
        if let (0, Some((trip, Some(_)))) = (number % 3, model.records[ROADSHOWS].first()) {
            let body = json!({"arrival": format!("2025-03-{:02}", number % 28 + 1),
                "fund_id": funds[number % 2]});
            api.put(&format!("/roadshows/{trip}"), body).await.expect(200, "move");
        }
        let now = answers(api, &addresses(&model), None).await;
        seen.insert(head(api).await, now);
    }
    (model, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_read_is_read_again_as_of_then() {
    let api = Api::new().await;
    let (model, seen) = lived(&api).await;
    for (position, then) in &seen {
        let addresses: Vec<String> = then.keys().cloned().collect();
        let now = answers(&api, &addresses, Some(*position)).await;
        for (address, answer) in then {
            let [was, is] = [answer, &now[address]]
                .map(|(status, body)| format!("{status} {}", String::from_utf8_lossy(body)));
            assert_eq!(is, was, "{address} as of {position}");
        }
    }
    // Between the events of one command nobody read; there a list and its records must agree.
    let last = head(&api).await;
    for position in (0..=last).filter(|position| !seen.contains_key(position)) {
        for (kind, (path, _)) in KINDS.into_iter().enumerate() {
            let list = api.read(&format!("/{path}?as_of={position}")).await;
            let listed: BTreeMap<i64, &Value> = list
                .as_array()
                .unwrap()
                .iter()
                .map(|row| (row["id"].as_i64().unwrap(), row))
                .collect();
            for (id, _) in &model.records[kind] {
                let one = api.get(&format!("/{path}/{id}?as_of={position}")).await;
                match listed.get(id) {
                    Some(row) => assert_eq!(&one.expect(200, path), *row, "{path} at {position}"),
                    None => assert_eq!(one.status, 404, "{path} {id} at {position}"),
                }
            }
        }
    }
    api.backend.stop().await;
}

#[tokio::test]
async fn what_was_not_there_says_why() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "Profuturo"})).await;
    let person = api.made("people", json!({"name": "Ana Ruiz"})).await;
    let there = head(&api).await;
    api.delete(&format!("/lps/{lp}")).await.expect(200, "delete");
    let deleted = head(&api).await;
    let why = async |uri: String| {
        let detail = api.get(&uri).await.expect(404, &uri)["detail"].clone();
        detail.as_str().unwrap().to_owned()
    };
    let told = why(format!("/people/{person}?as_of=1")).await;
    assert!(
        told.starts_with(&format!("Person {person} did not exist yet at position 1")),
        "{told}"
    );
    assert!(told.ends_with(&format!("UTC (position {there})")), "{told}");
    let told = why(format!("/lps/{lp}?as_of={deleted}")).await;
    assert!(
        told.contains("was deleted") && told.contains(&format!("(position {deleted})")),
        "{told}"
    );
    assert_eq!(why(format!("/lps/999?as_of={deleted}")).await, "LP not found");
    // So it is with all that is asked about a record; of one that is deleted, what is left of it.
    for (kind, (path, _)) in KINDS.into_iter().enumerate() {
        let body = json!({KINDS[kind].1: "later", "fund_id": 1});
        let id = api.made(path, body).await;
        for of in OF_EACH[kind] {
            let told = why(format!("/{path}/{id}/{of}?as_of={deleted}")).await;
            assert!(told.contains(&format!("did not exist yet at position {deleted}")), "{told}");
        }
    }
    assert_eq!(api.read(&format!("/lps/{lp}/notes?as_of={deleted}")).await, json!([]));
    let note = api.made("notes", json!({"name": "Call"})).await;
    let asked = api.get(&format!("/notes/{note}/recordings?as_of={there}")).await;
    assert_eq!(asked.faults(), ["extra_forbidden at query.as_of"], "recordings have no past");
    let list = |body: Value| body.as_array().unwrap().len();
    assert_eq!(list(api.read(&format!("/people?as_of={there}")).await), 1);
    api.post(&format!("/people/{person}/erase"), json!({"reason": "case 7"})).await.expect(200, "");
    let told = why(format!("/people/{person}?as_of={there}")).await;
    assert!(told.contains("was erased") && !told.contains("Ana"), "{told}");
    for of in OF_EACH[KINDS.iter().position(|(path, _)| *path == "people").unwrap()] {
        assert_eq!(why(format!("/people/{person}/{of}?as_of={there}")).await, told, "{of}");
    }
    // The scene that was built before the erasure shows it no more.
    assert_eq!(list(api.read(&format!("/people?as_of={there}")).await), 0);
    api.backend.stop().await;
}

#[tokio::test]
async fn a_time_means_all_that_was_recorded_by_then() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "1"})).await;
    for name in 2..=6 {
        api.put(&format!("/lps/{lp}"), json!({"name": name.to_string()})).await.expect(200, "");
    }
    let positions: Vec<i64> = sqlx::query_scalar("select position from events order by position")
        .fetch_all(&api.db.pool)
        .await
        .unwrap();
    let disable = sqlx::query("alter table events disable trigger only_grows");
    disable.execute(&api.db.pool).await.unwrap();
    // Two at a time.
    let times = ["2025-01-30T10:00:00Z", "2025-01-30T23:59:59.999999Z", "2025-01-31T00:00:00Z"];
    for (number, position) in positions.iter().enumerate() {
        sqlx::query("update events set recorded_at = $2::timestamptz where position = $1")
            .bind(position)
            .bind(times[number / 2])
            .execute(&api.db.pool)
            .await
            .unwrap();
    }
    let check = async |as_of: &str, name: &str| {
        let answer = api.get(&format!("/lps/{lp}?as_of={as_of}")).await;
        let position = answer.position();
        assert_eq!(answer.expect(200, as_of)["name"], name, "{as_of}");
        assert_eq!(position, positions[name.parse::<usize>().unwrap() - 1], "{as_of}");
    };
    check("2025-01-30T10:00:00Z", "2").await;
    check("2025-01-30T10:00:00", "2").await;
    check("2025-01-30T11:00:00%2B01:00", "2").await;
    check("2025-01-30T23:59:59.999998", "2").await;
    check("2025-01-30", "4").await;
    check("2025-01-31T00:00:00", "6").await;
    check("2025-01-31", "6").await;
    api.get(&format!("/lps/{lp}?as_of=2025-01-30T09:59:59")).await.expect(404, "before");
    let faults = async |as_of: &str| {
        let one = api.get(&format!("/lps/{lp}?as_of={as_of}")).await.faults();
        assert_eq!(api.get(&format!("/lps?as_of={as_of}")).await.faults(), one);
        one.join(" ")
    };
    for as_of in ["2999-01-01", "2999-01-01T00:00:00Z", "999999"] {
        assert_eq!(faults(as_of).await, "in_the_future at query.as_of", "{as_of}");
    }
    for as_of in ["", "-1", "yesterday", "2025-01-32"] {
        assert_eq!(faults(as_of).await, "as_of_parsing at query.as_of", "{as_of}");
    }
    api.backend.stop().await;
}

async fn scenes(db: &Database) -> Vec<String> {
    sqlx::query_scalar(
        "select nspname::text from pg_namespace where nspname like 'scene\\_%' order by 1",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap()
}

/// Waits until the scenes are as they should be.
async fn until_scenes(db: &Database, are_right: impl Fn(&[String]) -> bool) {
    let waiting = async {
        while !are_right(&scenes(db).await) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(done.is_ok(), "{:?}", scenes(db).await);
}

#[tokio::test]
async fn few_scenes_are_kept_and_none_is_left_behind() {
    let db = Database::new().await;
    let mut somebody = (*db.pool.connect_options()).clone().connect().await.unwrap();
    // One of a process that lives, one of a process that was killed.
    sqlx::query("select pg_advisory_lock($1, hashtext('scene_alive'))")
        .bind(0x6372_7363_i32)
        .execute(&mut somebody)
        .await
        .unwrap();
    for schema in ["scene_alive", "scene_dead"] {
        sqlx::query(&format!("create schema {schema}")).execute(&mut somebody).await.unwrap();
    }
    let api = Api::on(db).await;
    until_scenes(&api.db, |scenes| scenes == ["scene_alive"]).await;
    let lp = api.made("lps", json!({"name": "1"})).await;
    for name in 2..=6 {
        api.put(&format!("/lps/{lp}"), json!({"name": name.to_string()})).await.expect(200, "");
    }
    for name in 1..=5 {
        // Whoever asks at the same time gets the same one.
        let uri = format!("/lps?as_of={name}");
        let (one, other) = tokio::join!(api.read(&uri), api.read(&uri));
        assert_eq!(one[0]["name"], name.to_string());
        assert_eq!(one, other);
    }
    until_scenes(&api.db, |scenes| scenes.len() == 1 + 3).await;
    // A scene whose connection is lost is built anew.
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_locks
         where locktype = 'advisory' and classid = $1 and pid <> $2
             and database = (select oid from pg_database where datname = current_database())",
    )
    .bind(sqlx::postgres::types::Oid(0x6372_7363))
    .bind(
        sqlx::query_scalar::<_, i32>("select pg_backend_pid()")
            .fetch_one(&mut somebody)
            .await
            .unwrap(),
    )
    .execute(&api.db.pool)
    .await
    .unwrap();
    let asked = async {
        while api.get("/lps?as_of=5").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
    api.backend.stop().await;
    let left = scenes(&api.db).await;
    drop(somebody);
    assert!(left.len() <= 1 + 3, "{left:?}");
    let next = api.db.backend().await;
    until_scenes(&api.db, <[String]>::is_empty).await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_read_models_have_not_taken_in_yet_is_read_from_the_log() {
    let api = Api::new().await;
    api.made("lps", json!({"name": "Profuturo"})).await;
    let mut holding = api.db.pool.begin().await.unwrap();
    sqlx::query("select from generation where projector = 'lp' for update")
        .execute(&mut *holding)
        .await
        .unwrap();
    let body = json!({"name": "Afore XXI"}).to_string();
    let behind = crate::search::sent(&api, axum::http::Method::POST, "/lps", &body).await;
    assert_eq!(behind.as_deref(), Some("behind"));
    let position = head(&api).await;
    let names = async |as_of: &str| {
        let list = api.read(&format!("/lps{as_of}")).await;
        let names = list.as_array().unwrap().iter().map(|row| row["name"].clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&format!("?as_of={position}")).await, ["Profuturo", "Afore XXI"]);
    holding.rollback().await.unwrap();
    api.backend.settle().await.unwrap();
    assert_eq!(names(&format!("?as_of={position}")).await, names("").await);
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_scenes_are_built_at_a_time_and_when_many_wait_one_more_is_told_to_try_again() {
    let api = Api::new().await;
    let lp = api.made("lps", json!({"name": "1"})).await;
    for name in 2..=14 {
        api.put(&format!("/lps/{lp}"), json!({"name": name.to_string()})).await.expect(200, "");
    }
    // What every scene needs is held, so that none gets on.
    let mut holding = api.db.pool.begin().await.unwrap();
    let lock = sqlx::query("lock table skipped_event in access exclusive mode");
    lock.execute(&mut *holding).await.unwrap();
    let of = |position: i64| {
        let (api, uri) = (&api, format!("/lps?as_of={position}"));
        let asking = request(axum::http::Method::GET, &uri).body(Body::empty()).unwrap();
        async move { (position, ask(&api.router, asking).await) }
    };
    let mut asked: FuturesUnordered<_> = (1..=12).map(of).collect();
    for _ in 0..2 {
        let (_, answer) = asked.next().await.unwrap();
        assert_eq!(answer.header("retry-after"), Some("1"));
        let told = answer.expect(503, "one too many");
        assert!(told["detail"].as_str().unwrap().ends_with("please try again"), "{told}");
    }
    until_scenes(&api.db, |scenes| scenes.len() == 2).await;
    holding.rollback().await.unwrap();
    while let Some((position, answer)) = asked.next().await {
        assert_eq!(answer.expect(200, "in its turn")[0]["name"], position.to_string());
    }
    drop(asked);
    until_scenes(&api.db, |scenes| scenes.len() == 3).await;
    api.backend.stop().await;
}
