//! The check that proves the log whole and the read models right: it is silent when all is well, and names what is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::backend::Backend;
use api::rebuilds::Daily;
use axum::body::Body;
use axum::http::Method;
use chrono::{Local, TimeDelta};
use projections::projector::Projector;
use projections::read;
use projections::search::engine::memory::Memory;
use projections::status;
use projections::verification::{self, Checks, Ended};
use replay::{Effort, Finding, ModelReport, RebuildError, VerifyOptions, VerifyReport, Witness};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::contract::{Api, app, request};
use crate::harness::{Database, demo_file, tamper};
use crate::import::legacy;
use crate::parked::of;
use crate::rebuild::release::{release_with, renewing, server_of};
use crate::rebuild::{rebuild, register};
use crate::seals::seal;

/// A whole check, as a process of its own would do it.
pub async fn verify(db: &Database) -> VerifyReport {
    let options = VerifyOptions {
        projectors: read::projectors(),
        engine: None,
        witness: Witness::default(),
        effort: Effort::full(),
        stop: CancellationToken::new(),
    };
    replay::verify(&db.connections, options, |_| ()).await.unwrap()
}

pub async fn imported() -> Database {
    let db = Database::new().await;
    let options = replay::ImportOptions::new(demo_file());
    replay::import(&db.connections, &db.files(), &options, |_| ()).await.unwrap();
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    backend.stop().await;
    db
}

/// What the check says of the log after something was done to it by hand.
async fn found_after(statement: &str) -> Vec<(String, Option<i64>)> {
    let db = imported().await;
    tamper(&db.pool, statement).await;
    let report = verify(&db).await;
    assert!(!report.passed, "{statement}");
    report.log.findings.iter().map(|found| (found.check.to_owned(), found.position)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_in_a_log_and_read_models_that_are_in_order() {
    let db = imported().await;
    let report = verify(&db).await;
    assert!(report.passed, "{report:?}");
    assert!(report.log.events > 1_000);
    // A legacy file has no recordings.
    let empty = report.projections.iter().filter(|model| model.rows == 0);
    assert_eq!(empty.map(|model| &*model.name).collect::<Vec<_>>(), ["recording"]);
    let (passed, position): (bool, i64) =
        sqlx::query_as("select passed, position from verification")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!((passed, position), (true, report.position));
    let left: i64 =
        sqlx::query_scalar("select count(*) from pg_namespace where nspname like 'verify%'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(left, 0, "what was built for the check is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn dirty_imported_data_is_worth_a_notice_but_no_error() {
    let db = Database::new().await;
    let file = legacy(db.dir.path(), "--lps 60 --notes 200 --todos 200 --dirty --dirty-fatal");
    let options = replay::ImportOptions::new(&file);
    replay::import(&db.connections, &db.files(), &options, |_| ()).await.unwrap();
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    let report = verify(&db).await;
    assert!(report.passed, "{report:?}");
    assert!(report.log.noticed > 0);
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_changed_moved_or_taken_out_is_named() {
    // Not the last of its stream: only a seal could tell that a log once had a longer end.
    let middle = "select min(position) from events as event where sequence = 2 and exists (
        select 1 from events as later where later.aggregate_type = event.aggregate_type
            and later.aggregate_id = event.aggregate_id and later.sequence = 3)";
    let found = found_after(&format!("delete from events where position = ({middle})")).await;
    assert!(found.iter().any(|(check, _)| check == "sequence"), "{found:?}");
    let found =
        found_after("update events set payload = '{\"Renamed\":{\"nam\":1}}' where position = 7")
            .await;
    assert!(found.contains(&("payload".to_owned(), Some(7))), "{found:?}");
    let found = found_after(
        "update events set recorded_at = recorded_at - interval '1 hour' where position = 9",
    )
    .await;
    assert_eq!(found, [("recorded_at".to_owned(), Some(9))]);
    let found =
        found_after("update events set causation_id = gen_random_uuid() where position = 11").await;
    assert_eq!(found, [("causation".to_owned(), Some(11))]);
    let found = found_after(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         select 'note', '1', max(sequence) + 1, 'Linked', '1', '{\"Linked\":{\"to\":[{\"lp\":900900}]}}',
                '{\"source\":\"api\"}', gen_random_uuid(), gen_random_uuid(), 'nobody'
         from events where aggregate_type = 'note' and aggregate_id = '1'",
    )
    .await;
    assert!(found.iter().any(|(check, _)| check == "reference"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_infinity_is_named_and_ends_no_check() {
    let db = imported().await;
    seal(&db).await;
    tamper(
        &db.pool,
        "update events set recorded_at = 'infinity' where position = 9;
         update events set recorded_at = '-infinity' where position = 12;
         update read_lp_1.lp set record = jsonb_set(record::jsonb, '{name}', '\"Forged\"')::json where id = 3",
    )
    .await;
    let report = verify(&db).await;
    let at = |findings: &[Finding], check: &str| -> Vec<Option<i64>> {
        let of_check = findings.iter().filter(|found| found.check == check);
        of_check.map(|found| found.position).collect()
    };
    assert_eq!(at(&report.log.findings, "recorded_at"), [Some(9), Some(12)]);
    assert_eq!(report.log.errors, 2, "{:?}", report.log.findings);
    assert_eq!(at(&report.seals.findings, "event"), [Some(9), Some(12)]);
    let lp = report.projections.iter().find(|model| model.name == "lp").unwrap();
    assert_eq!(lp.different, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_the_log_that_postgres_refuses_is_a_finding_and_the_others_are_made() {
    let db = Database::new().await;
    let backend = db.backend().await;
    for _ in 0..3 {
        register(&backend, "checked").await;
    }
    backend.stop().await;
    seal(&db).await;
    tamper(
        &db.pool,
        "update events set causation_id = gen_random_uuid() where position = 2;
         alter table stream_key rename column aggregate_id to gone",
    )
    .await;
    let report = verify(&db).await;
    let found: Vec<_> = report.log.findings.iter().map(|it| (it.check, it.position)).collect();
    assert_eq!(found, [("key", None), ("causation", Some(2))]);
    let what = &report.log.findings[0].what;
    assert!(what.contains("aggregate_id") && what.contains("could not be checked"), "{what}");
    assert_eq!(report.seals.findings[0].position, Some(2));
    // The histories tell causes as they were recorded.
    let mut others = report.projections.iter().filter(|model| model.name != "audit");
    assert!(others.next().is_some() && others.all(ModelReport::passed), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_added_or_taken_out_is_named_with_what_the_log_says() {
    let db = imported().await;
    sqlx::raw_sql(
        "update read_lp_1.lp set record = jsonb_set(record::jsonb, '{name}', '\"Forged\"')::json where id = 3;
         delete from read_todo_1.todo where id = 5;
         insert into read_interest_1.interest values (1, 900900, 'meeting', null, null);",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let report = verify(&db).await;
    assert!(!report.passed);
    let of = |name: &str| report.projections.iter().find(|model| model.name == name).unwrap();
    let forged = &of("lp").differences[0];
    assert_eq!((forged.table, forged.key.as_slice()), ("lp", ["3".to_owned()].as_slice()));
    let name = forged.columns.iter().find(|column| column.column == "record.name").unwrap();
    assert_eq!(name.live, Some(json!("Forged")));
    assert_ne!(name.log, Some(json!("Forged")));
    assert_eq!(of("todo").different, 1);
    assert_eq!(of("interest").differences[0].key, ["1", "900900"]);
    assert!(of("note").passed());
    // What is wrong is mended by building it anew.
    let projectors = replay::find(read::projectors(), &[]).unwrap();
    let rebuild =
        replay::Rebuild::admit(&db.connections, projectors, "a test", CancellationToken::new());
    rebuild.await.unwrap().run(|_| ()).await.unwrap();
    assert!(verify(&db).await.passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_only_in_how_a_column_of_json_is_written_is_named_as_well() {
    let db = imported().await;
    sqlx::query("update read_lp_1.lp set record = record::jsonb::json where id = 3")
        .execute(&db.pool)
        .await
        .unwrap();
    let report = verify(&db).await;
    let lp = report.projections.iter().find(|model| model.name == "lp").unwrap();
    let [row] = &lp.differences[..] else { panic!("{:?}", lp.differences) };
    let [column] = &row.columns[..] else { panic!("{:?}", row.columns) };
    assert_eq!(column.column, "record");
    assert!(column.live.is_some() && column.live != column.log, "{column:?}");
}

/// Why the server says that it is not ready.
async fn told_not_ready(db: &Database, backend: &Backend) -> Vec<String> {
    let router = api::server::router(app(db, backend, 1 << 20));
    let asked = router.oneshot(request(Method::GET, "/readyz").body(Body::empty()).unwrap());
    let answer = asked.await.unwrap();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let reasons: Vec<String> = serde_json::from_value(body["reasons"].clone()).unwrap();
    assert_eq!(status == 503, !reasons.is_empty(), "{body}");
    reasons
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_beyond_the_end_of_the_log_is_named_and_takes_no_other_along() {
    for beyond in [1_000, 10_000] {
        let db = imported().await;
        let stands: i64 = sqlx::query_scalar(
            "update generation set position = position + $1 where projector = 'lp' returning position",
        )
        .bind(beyond)
        .fetch_one(&db.pool)
        .await
        .unwrap();
        let end = stands - beyond;
        let report = verify(&db).await;
        assert!(!report.passed);
        let named: Vec<_> = report.projections.iter().filter(|model| !model.passed()).collect();
        let [lp] = named[..] else { panic!("{named:?}") };
        assert_eq!((&*lp.name, lp.different), ("lp", 0));
        let what = format!(
            "stands at position {stands}, the log ends at {end}; `crm rebuild lp` builds it anew"
        );
        assert_eq!(lp.findings.iter().map(|it| &*it.what).collect::<Vec<_>>(), [what]);

        let backend = db.backend().await;
        let reason = format!(
            "read model lp stands at position {stands}, the log ends at {end}: an older log was put back; `crm rebuild lp` builds \
             it anew"
        );
        assert_eq!(told_not_ready(&db, &backend).await, [reason]);
        let mut connection = db.pool.acquire().await.unwrap();
        let told = status::status(&mut connection).await.unwrap();
        drop(connection);
        let told: Vec<_> = told.projections.iter().filter(|it| it.beyond > 0).collect();
        assert_eq!(
            told.iter().map(|it| (&*it.name, it.beyond)).collect::<Vec<_>>(),
            [("lp", beyond)]
        );
        let mut head = 0;
        for name in ["first", "second"] {
            head = register(&backend, name).await;
            for projector in read::projectors() {
                let runner = backend.runner();
                assert!(runner.reached_by(projector.name(), head, Duration::from_secs(20)).await);
            }
        }
        let others: Vec<i64> =
            sqlx::query_scalar("select distinct position from generation where projector <> 'lp'")
                .fetch_all(&db.pool)
                .await
                .unwrap();
        assert_eq!(others, [head], "no other was taken along");

        rebuild(&db, &["lp"]).await.unwrap();
        let position = register(&backend, "after it").await;
        assert!(backend.reader.reached(position, Duration::from_secs(20)).await);
        assert_eq!(told_not_ready(&db, &backend).await, [""; 0]);
        let refused =
            replay::roll_back(&db.connections, &[of("lp")], &CancellationToken::new()).await;
        assert!(matches!(refused, Err(RebuildError::Beyond { name: "lp", .. })), "{refused:?}");
        let position = register(&backend, "third").await;
        assert!(backend.reader.reached(position, Duration::from_secs(20)).await);
        backend.settle().await.unwrap();
        backend.stop().await;
        let report = verify(&db).await;
        assert!(report.passed, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_without_one_of_its_tables_is_named_and_the_others_are_checked() {
    let db = imported().await;
    sqlx::raw_sql("drop table read_lp_1.lp; delete from read_todo_1.todo where id = 5")
        .execute(&db.pool)
        .await
        .unwrap();
    let report = verify(&db).await;
    let model = |name: &str| report.projections.iter().find(|model| model.name == name).unwrap();
    let what = "its table lp is not there; `crm rebuild lp` builds it anew";
    assert_eq!(model("lp").findings.iter().map(|it| &*it.what).collect::<Vec<_>>(), [what]);
    assert_eq!(model("todo").different, 1);
    assert!(model("note").passed());
    rebuild(&db, &["lp", "todo"]).await.unwrap();
    let report = verify(&db).await;
    assert!(report.passed, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_dropped_is_named_and_a_rebuild_makes_it_again() {
    let db = imported().await;
    sqlx::raw_sql(
        "drop index read_lp_1.lp_1_idx; alter table read_interest_1.interest drop constraint interest_pkey",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let report = verify(&db).await;
    assert!(!report.passed);
    let findings = report.projections.iter().flat_map(|model| &model.findings);
    let mut found: Vec<_> = findings.map(|found| (found.check, &*found.what)).collect();
    found.sort_unstable();
    let [("index", of_lp), ("index", of_interest)] = found[..] else { panic!("{found:?}") };
    assert!(of_lp.starts_with("its index of lp, hash (notion_id) WHERE "), "{of_lp}");
    assert!(of_lp.ends_with(", is not there; `crm rebuild lp` builds it anew"), "{of_lp}");
    assert!(
        of_interest.starts_with("its unique index of interest, btree (fund_id, lp_id), is not")
    );
    rebuild(&db, &["lp", "interest"]).await.unwrap();
    let report = verify(&db).await;
    assert!(report.passed, "{report:?}");
}

/// Appends an event to LP 3 that no table of text can hold.
async fn append_with_nul(db: &Database) -> i64 {
    let append = r#"insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         select 'lp', '3', max(sequence) + 1, 'Renamed', '1', '{"Renamed":{"name":"A\u0000B"}}',
                '{"source":"api"}', gen_random_uuid(), gen_random_uuid(), 'nobody'
         from events where aggregate_type = 'lp' and aggregate_id = '3'"#;
    tamper(&db.pool, append).await;
    sqlx::query_scalar("select max(position) from events").fetch_one(&db.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_stream_is_left_out_of_the_comparison_and_all_the_rest_is_compared() {
    let db = imported().await;
    let position = append_with_nul(&db).await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    backend.stop().await;
    sqlx::raw_sql(
        "update read_lp_1.lp set record = jsonb_set(record::jsonb, '{name}', '\"Forged\"')::json where id = 5;
         delete from read_todo_1.todo where id = 5",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let report = verify(&db).await;
    let of = |name: &str| report.projections.iter().find(|model| model.name == name).unwrap();
    let found: Vec<_> = of("lp").findings.iter().map(|it| (it.check, it.position)).collect();
    assert_eq!(found, [("parked", Some(position))]);
    let what = "lp 3 is parked, and left out of the comparison from here on: ";
    assert!(of("lp").findings[0].what.starts_with(what), "{:?}", of("lp").findings);
    let keys =
        |name: &str| of(name).differences.iter().map(|it| it.key.concat()).collect::<Vec<_>>();
    assert_eq!((keys("lp"), keys("todo")), (vec!["5".to_owned()], vec!["5".to_owned()]));
    assert!(of("note").passed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_as_it_was_leaves_out_what_is_parked_as_the_live_one_does() {
    let api = Api::on(imported().await).await;
    let position = append_with_nul(&api.db).await;
    let after = api.made("lps", json!({"name": "Registered after it"})).await;
    api.backend.settle().await.unwrap();
    let now = api.read("/lps").await;
    assert_eq!(api.read(&format!("/lps?as_of={}", position + 1)).await, now);
    assert!(now.as_array().unwrap().iter().any(|lp| lp["id"] == after));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_folded_any_more_is_named_and_all_the_rest_is_compared() {
    let db = imported().await;
    let backend = db.backend().await;
    let position = register(&backend, "once a name").await;
    backend.settle().await.unwrap();
    backend.stop().await;
    let spoil = format!(
        r"update events set payload = replace(payload::text, 'once a', 'once\u0000a')::json where position = {position}"
    );
    tamper(&db.pool, &spoil).await;
    sqlx::query("delete from read_lp_1.lp where id = 5").execute(&db.pool).await.unwrap();
    let report = verify(&db).await;
    let of = |name: &str| report.projections.iter().find(|model| model.name == name).unwrap();
    let found: Vec<_> = of("lp").findings.iter().map(|it| (it.check, it.position)).collect();
    assert_eq!(found, [("fold", Some(position))]);
    assert_eq!(of("lp").different, 2, "{:?}", of("lp").differences);
    assert!(of("todo").passed(), "{:?}", of("todo"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_to_a_notion_id_that_does_not_fit_its_record_is_named() {
    let db = imported().await;
    let spoil = "delete from notion_claim where kind = 'lp' and id = 1;
                 update notion_claim set id = 60 where kind = 'gp' and id = 2";
    sqlx::raw_sql(spoil).execute(&db.pool).await.unwrap();
    let report = verify(&db).await;
    let found = report.projections.iter().flat_map(|model| &model.findings);
    let mut found: Vec<_> = found.map(|found| (found.check, found.what.as_str())).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("claim", "gp 2 has a Notion id that it does not claim"),
            ("claim", "gp 60 claims a Notion id that it does not have"),
            ("claim", "lp 1 has a Notion id that it does not claim"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_holds_at_one_position_while_others_write() {
    let db = imported().await;
    let backend = std::sync::Arc::new(db.backend().await);
    let stop = CancellationToken::new();
    let writing = {
        let (backend, stop) = (backend.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                let position = crate::rebuild::register(&backend, "meanwhile").await;
                assert!(backend.reader.reached(position, Duration::from_secs(10)).await);
            }
        })
    };
    for _ in 0..3 {
        let report = verify(&db).await;
        assert!(report.passed, "{report:?}");
    }
    stop.cancel();
    writing.await.unwrap();
    std::sync::Arc::into_inner(backend).unwrap().stop().await;
}

/// What is known by checks.
async fn checks(db: &Database) -> Checks {
    let mut connection = db.pool.acquire().await.unwrap();
    status::status(&mut connection).await.unwrap().checks
}

/// A full check that found this.
async fn found(db: &Database, passed: bool) {
    let mut ended = Ended::begin(vec!["log".into()], true);
    ended.outcome = Some((passed, json!({})));
    let mut connection = db.pool.acquire().await.unwrap();
    verification::record(&mut connection, &ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_check_never_takes_the_place_of_the_last_full_one() {
    let db = imported().await;
    found(&db, false).await;
    let of_lp = VerifyOptions {
        projectors: replay::find(read::projectors(), &["lp".to_owned()]).unwrap(),
        engine: None,
        witness: Witness::default(),
        effort: Effort::full(),
        stop: CancellationToken::new(),
    };
    assert!(replay::verify(&db.connections, of_lp, |_| ()).await.unwrap().passed);
    let known = checks(&db).await;
    assert_eq!((known.verdict(), known.later_checks.len()), (Some(false), 1));
    let later = &known.later_checks[0];
    assert_eq!((later.passed, later.is_full), (Some(true), false));
    assert_eq!(later.scope, ["log", "lp"]);
    let api = crate::contract::Api::on(db).await;
    let page =
        crate::contract::request(axum::http::Method::GET, "/audit").header("accept", "text/html");
    let page = api.send(page.body(axum::body::Body::empty()).unwrap()).await;
    let text = String::from_utf8_lossy(&page.bytes).into_owned();
    assert!(text.contains("✗ The check found faults"), "{text}");
    assert!(text.contains("A later check of log, lp alone"), "{text}");
    // What looks at everything again has the last word.
    let everything = VerifyOptions {
        projectors: read::projectors(),
        engine: Some(Arc::new(Memory::default())),
        witness: Witness::default(),
        effort: Effort::full(),
        stop: CancellationToken::new(),
    };
    assert!(replay::verify(&api.db.connections, everything, |_| ()).await.unwrap().passed);
    let known = checks(&api.db).await;
    assert_eq!((known.verdict(), known.later_checks.len()), (Some(true), 0));
    api.backend.stop().await;
}

/// Waits until a full check has come to something.
async fn fully_checked(db: &Database) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while checks(db).await.verification.is_none() {
        assert!(Instant::now() < deadline, "it is checked");
    }
}

fn daily(at: TimeDelta, soon: Duration) -> Daily {
    let at = Local::now().time().overflowing_add_signed(at).0;
    Daily { at, soon, witness: Witness::default(), engine: Arc::new(Memory::default()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_checked_at_the_time_of_day_that_was_chosen() {
    let db = imported().await;
    found(&db, true).await;
    sqlx::query("update verification set is_full = false").execute(&db.pool).await.unwrap();
    let backend = db.backend().await;
    let never = Duration::from_secs(24 * 60 * 60);
    let daily = daily(TimeDelta::seconds(1), never);
    backend.rebuilds.spawn(backend.rebuilds.clone().verify_daily(daily));
    fully_checked(&db).await;
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_was_missed_is_made_up_for_soon_after_the_start() {
    let db = imported().await;
    found(&db, true).await;
    let yesterday = "update verification set started_at = now() - interval '25 hours',
        finished_at = now() - interval '25 hours'";
    sqlx::query(yesterday).execute(&db.pool).await.unwrap();
    let backend = db.backend().await;
    // The time of day is far away.
    let daily = daily(TimeDelta::hours(12), Duration::ZERO);
    backend.rebuilds.spawn(backend.rebuilds.clone().verify_daily(daily));
    let deadline = Instant::now() + Duration::from_secs(60);
    while checks(&db).await.verification.unwrap().scope.len() == 1 {
        assert!(Instant::now() < deadline, "it is made up for");
    }
    backend.stop().await;
}

/// A full check by a release with these read models.
async fn verify_all(db: &Database, projectors: Vec<Arc<dyn Projector>>) -> VerifyReport {
    let options = VerifyOptions {
        projectors,
        engine: Some(Arc::new(Memory::default())),
        witness: Witness::default(),
        effort: Effort::full(),
        stop: CancellationToken::new(),
    };
    replay::verify(&db.connections, options, |_| ()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_a_new_release_is_yet_to_build_is_no_fault_but_not_checked_either() {
    let db = imported().await;
    let release = || release_with(&["lp"], "text");
    let report = verify_all(&db, release()).await;
    assert!(report.passed, "{report:?}");
    let lp = report.projections.iter().find(|model| model.name == "lp").unwrap();
    assert_eq!((lp.rows, lp.notices[0].check), (0, "version"));
    let told = api::commands::verify::describe(&report);
    assert!(told.contains("lp: 0 rows at position") && told.contains("not compared"), "{told}");
    let known = checks(&db).await;
    assert!(known.verification.is_none(), "it was not a full check");
    assert!(!known.later_checks[0].scope.contains(&"lp".to_owned()));
    // Once it is built each release checks its own.
    let later = server_of(&db, release()).await;
    later.rebuilds.renewed().await;
    for projectors in [release(), read::projectors()] {
        let report = verify_all(&db, projectors).await;
        assert!(report.passed && report.projections.iter().all(ModelReport::was_compared));
    }
    assert_eq!(checks(&db).await.verdict(), Some(true));
    later.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_made_up_for_waits_for_the_read_models_of_a_new_release() {
    let db = Database::new().await;
    let (backend, holding) = renewing(&db).await;
    let daily = daily(TimeDelta::hours(12), Duration::ZERO);
    backend.rebuilds.spawn(backend.rebuilds.clone().verify_daily(daily));
    holding.rollback().await.unwrap();
    fully_checked(&db).await;
    let known = checks(&db).await;
    assert_eq!((known.verdict(), known.later_checks.len()), (Some(true), 0));
    let all: i64 =
        sqlx::query_scalar("select count(*) from verification").fetch_one(&db.pool).await.unwrap();
    assert_eq!(all, 1);
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_check_at_a_time() {
    let db = imported().await;
    let mut other = db.pool.acquire().await.unwrap();
    sqlx::query("select pg_advisory_lock($1)")
        .bind(0x6372_6d5f_7665_7201_i64)
        .execute(&mut *other)
        .await
        .unwrap();
    let options = VerifyOptions {
        projectors: vec![],
        engine: None,
        witness: Witness::default(),
        effort: Effort::full(),
        stop: CancellationToken::new(),
    };
    let refused = replay::verify(&db.connections, options, |_| ()).await.unwrap_err();
    assert!(refused.to_string().starts_with("another check is running"), "{refused}");
}

/// Returns as soon as some session of this database waits for a lock.
pub async fn waits_for_a_lock(db: &Database) {
    while waiting(db).await == 0 {}
}

/// How many sessions of this database wait for a lock.
pub async fn waiting(db: &Database) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap()
}

/// Whatever the check waits for, and be it the sorting of a log of any length, it hears that it is to stop: here it waits
/// for a table that somebody else holds.
async fn stops_while_it_waits_for(table: &str) {
    let db = imported().await;
    let mut other = db.pool.begin().await.unwrap();
    let lock = format!("lock table {table} in access exclusive mode");
    sqlx::query(&lock).execute(&mut *other).await.unwrap();
    let stop = CancellationToken::new();
    let options = VerifyOptions {
        projectors: read::projectors(),
        engine: None,
        witness: Witness::default(),
        effort: Effort::full(),
        stop: stop.clone(),
    };
    let database = db.connections.clone();
    let checking = tokio::spawn(async move { replay::verify(&database, options, |_| ()).await });
    waits_for_a_lock(&db).await;
    stop.cancel();
    let stopped = tokio::time::timeout(Duration::from_secs(20), checking).await;
    let stopped = stopped.expect("it does not wait any longer").unwrap().unwrap_err();
    assert_eq!(stopped.to_string(), "the check was called off", "{table}");
    // Postgres gives up what nobody waits for any more.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while waiting(&db).await > 0 {
        assert!(std::time::Instant::now() < deadline, "{table}");
    }
    other.rollback().await.unwrap();
    // It is not as if nothing had been tried.
    let known = checks(&db).await;
    let unfinished = known.unfinished().unwrap();
    assert_eq!(unfinished.error.as_deref(), Some("the check was called off"), "{table}");
    assert!(verify(&db).await.passed);
    assert!(checks(&db).await.unfinished().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_stops_at_once_when_it_is_told_to_whatever_it_waits_for() {
    for table in ["events", "seal", "stream_key", "read_lp_1.lp"] {
        stops_while_it_waits_for(table).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_read_model_leaves_out_by_order_is_named_whoever_gave_it() {
    let api = Api::new().await;
    api.made("lps", json!({"name": "Afore"})).await;
    let person = api.made("people", json!({"name": "Ana"})).await;
    // Past crm, and about another record than it says.
    let order = "insert into skipped_event (projector, position, aggregate_type, aggregate_id, error, reason, actor, skipped_at)
         select 'person', max(position), 'lp', '1', 'x', 'known', 'me', '2025-01-31 15:04:05+00' from events";
    sqlx::query(order).execute(&api.db.pool).await.unwrap();
    rebuild(&api.db, &["person"]).await.unwrap();
    let report = verify(&api.db).await;
    assert!(report.passed, "{report:?}");
    let notices = |report: &VerifyReport| {
        let all = report.projections.iter().flat_map(|model| &model.notices);
        all.map(|it| (it.check, it.position, it.what.clone())).collect::<Vec<_>>()
    };
    let what = format!(
        "the Registered event of person {person} is left out by order of me at 2025-01-31 15:04:05 UTC: known"
    );
    assert_eq!(notices(&report), [("skipped", Some(report.position), what.clone())]);
    let told = api::commands::verify::describe(&report);
    let (is, ends) =
        ("as the log says, but for events left out by order", "left out by order in person;");
    assert!(told.contains(is) && told.contains(&what) && told.contains(ends), "{told}");
    // It is a full check all the same, and whoever asks later hears of it.
    let kept: Value =
        sqlx::query_scalar("select report from verification where is_full or scope @> '{person}'")
            .fetch_one(&api.db.pool)
            .await
            .unwrap();
    assert!(kept.to_string().contains(&what), "{kept}");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_or_a_chain_of_seals_that_anybody_can_change_is_named() {
    let db = Database::new().await;
    for (table, statement, says) in [
        ("events", "alter table events disable trigger only_grows", "is disabled"),
        ("seal", "alter table seal enable replica trigger only_grows", "is disabled"),
        ("events", "alter table events enable trigger only_grows", "in sessions that replicate"),
        ("seal_key", "drop trigger only_grows on seal_key", "is missing"),
        (
            "events",
            "create or replace trigger only_grows before truncate on events
                 for each statement execute function refuse_change();
             alter table events enable always trigger only_grows",
            "lets changes through",
        ),
        (
            "seal",
            "create or replace trigger only_grows before update of position or delete or truncate on seal
                 for each statement execute function refuse_change();
             alter table seal enable always trigger only_grows",
            "lets changes through",
        ),
    ] {
        assert!(verify(&db).await.passed, "before {statement}");
        sqlx::raw_sql(statement).execute(&db.pool).await.unwrap();
        let report = verify(&db).await;
        assert!(!report.passed, "{statement}");
        let [Finding { check: "protection", position: None, what }] = &*report.log.findings else {
            panic!("{statement}: {:?}", report.log.findings)
        };
        assert!(what.contains(&format!("in the table {table}, ")) && what.contains(says), "{what}");
        let (_, by) = what.split_once("put it back by: ").unwrap();
        let is_whole = !["is disabled", "in sessions that replicate"].contains(&says);
        assert_eq!(by.contains("create trigger"), is_whole, "no more than what is wrong: {by}");
        sqlx::raw_sql(by).execute(&db.pool).await.unwrap();
    }
    assert!(verify(&db).await.passed, "what is advised puts it back");
    let empty = "create or replace function refuse_change() returns trigger language plpgsql as $$ begin return null; end $$";
    sqlx::raw_sql(empty).execute(&db.pool).await.unwrap();
    let report = verify(&db).await;
    let told: Vec<&str> = report.log.findings.iter().map(|it| it.what.as_str()).collect();
    assert!(
        told.len() == 3 && told.iter().all(|it| it.contains("calls another function")),
        "{told:?}"
    );
    let (_, by) = told[0].split_once("put it back by: ").unwrap();
    sqlx::raw_sql(by).execute(&db.pool).await.unwrap();
    assert!(verify(&db).await.passed, "likewise");
}
