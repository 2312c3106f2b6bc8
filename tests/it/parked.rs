//! A parked stream of a read model whose rows are made of several streams is taken back as a rebuild would fold it.

use std::sync::Arc;

use domain::fund::{Fund, FundCommand};
use domain::lp::{Lp, LpChanges, LpCommand};
use domain::roadshow::{Roadshow, RoadshowCommand};
use domain::{Change, FundId, Moment, Verbatim};
use projections::log::{EventLog, Receipt, Stream};
use projections::projector::Projector;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::check::assert_read_models_match_the_log;
use crate::harness::{Database, tamper};
use crate::log::request;
use crate::rebuild::rebuild;
use crate::verify::{verify, waiting};

/// One command, on one of three funds or roadshows.
#[derive(Clone, Debug)]
enum Step {
    RegisterFund(i64),
    Rename(i64, String),
    Date(i64, Option<u8>),
    RegisterRoadshow(i64, i64),
    Arrive(i64, Option<u8>),
    Reassign(i64, i64),
    Archive(i64),
    Restore(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (id, day) = (1..4_i64, prop::option::weighted(0.8, 1..29_u8));
    let step = prop_oneof![
        2 => id.clone().prop_map(Step::RegisterFund),
        2 => (id.clone(), "[a-z]{1,4}").prop_map(|(fund, name)| Step::Rename(fund, name)),
        2 => (id.clone(), day.clone()).prop_map(|(fund, day)| Step::Date(fund, day)),
        2 => (id.clone(), id.clone()).prop_map(|(trip, fund)| Step::RegisterRoadshow(trip, fund)),
        4 => (id.clone(), day).prop_map(|(trip, day)| Step::Arrive(trip, day)),
        3 => (id.clone(), id.clone()).prop_map(|(trip, fund)| Step::Reassign(trip, fund)),
        1 => id.clone().prop_map(Step::Archive),
        1 => id.prop_map(Step::Restore),
    ];
    prop::collection::vec(step, 4..40)
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Somebody does this, unless it is refused or the record cannot be loaded.
async fn carry_out(log: &EventLog, step: Step) {
    let (none, legacy) = (|| json!({}), Verbatim::default());
    let day = |day: Option<u8>| day.map(|day| Moment::parse(&format!("2025-03-{day:02}")).unwrap());
    let fund = async |id, command| log.execute::<Fund>(id, command, &request("a test")).await;
    let trip = async |id, command| log.execute::<Roadshow>(id, command, &request("a test")).await;
    let revise = |fund_id, changes| RoadshowCommand::Revise {
        name: None,
        fund_id,
        changes: from(changes),
        fund_date: None,
    };
    let revise_fund = |fund_name, changes| FundCommand::Revise {
        fund_name,
        changes: from(changes),
        shown_roadshow_date: None,
    };
    let _: Option<Receipt> = match step {
        Step::RegisterFund(id) => {
            let (fund_name, details) = (format!("fund {id}"), from(none()));
            fund(id, FundCommand::Register { fund_name, details, legacy }).await
        }
        Step::Rename(id, name) => fund(id, revise_fund(Some(name), none())).await,
        Step::Date(id, date) => {
            fund(id, revise_fund(None, json!({"roadshow_date": day(date)}))).await
        }
        Step::RegisterRoadshow(id, of) => {
            let (name, fund_id, details) = (format!("trip {id}"), Some(FundId(of)), from(none()));
            trip(id, RoadshowCommand::Register { name, fund_id, details, legacy }).await
        }
        Step::Arrive(id, date) => {
            trip(id, revise(Change::Keep, json!({"arrival": day(date)}))).await
        }
        Step::Reassign(id, to) => trip(id, revise(Change::Set(FundId(to)), none())).await,
        Step::Archive(id) => fund(id, FundCommand::Archive).await,
        Step::Restore(id) => fund(id, FundCommand::Restore).await,
    }
    .ok();
}

/// An event that today's code cannot read while the first half is folded and the second half is done, and can read then.
async fn taken_back_as_if_nothing_had_been_wrong(first: Vec<Step>, second: Vec<Step>, nth: usize) {
    let db = Database::new().await;
    let log = EventLog::start(db.connections.clone());
    for id in 1..4 {
        carry_out(&log, Step::RegisterFund(id)).await;
    }
    for step in first {
        carry_out(&log, step).await;
    }
    let events: i64 =
        sqlx::query_scalar("select count(*) from events").fetch_one(&db.pool).await.unwrap();
    let position = nth as i64 % events + 1;
    let spoil = format!(
        "update events set payload = json_build_object('Unheard', payload) where position = {position}"
    );
    tamper(&db.pool, &spoil).await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    for step in second {
        carry_out(&backend.log, step).await;
    }
    backend.settle().await.unwrap();
    let parked: i64 =
        sqlx::query_scalar("select position from dead_letter where projector = 'fund'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(parked, position);
    backend.stop().await;
    let mend =
        format!("update events set payload = payload -> 'Unheard' where position = {position}");
    tamper(&db.pool, &mend).await;
    for projector in projections::read::projectors() {
        for outcome in replay::retry(&db.connections, &projector, None).await.unwrap() {
            assert!(outcome.stuck.is_none(), "{}: {outcome:?}", projector.name());
        }
    }
    assert_read_models_match_the_log(&db.pool).await;
    let report = verify(&db).await;
    assert!(report.passed, "{report:?}");
    db.pool.close().await;
}

#[test]
fn whatever_fund_or_roadshow_was_parked_retrying_gives_what_a_rebuild_would() {
    let runtime = Arc::new(tokio::runtime::Runtime::new().unwrap());
    let config = Config { cases: 16, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(steps(), steps(), 0..1_000_usize), |(first, second, nth)| {
            runtime.block_on(taken_back_as_if_nothing_had_been_wrong(first, second, nth));
            Ok(())
        })
        .unwrap();
}

/// What the live generation says of a fund.
async fn roadshow_date(db: &Database, fund: i64) -> Value {
    sqlx::query_scalar("select record -> 'roadshow_date' from read_fund_1.fund where id = $1")
        .bind(fund)
        .fetch_one(&db.pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_taken_back_up_to_the_next_event_that_cannot_be_read() {
    let db = Database::new().await;
    let log = EventLog::start(db.connections.clone());
    for step in [Step::RegisterFund(1), Step::RegisterFund(2), Step::RegisterRoadshow(7, 1)] {
        carry_out(&log, step).await;
    }
    for day in [3, 4, 5] {
        carry_out(&log, Step::Arrive(7, Some(day))).await;
    }
    carry_out(&log, Step::Reassign(7, 2)).await;
    let spoil = "update events set payload = json_build_object('Unheard', payload) where position in (5, 6)";
    tamper(&db.pool, spoil).await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    backend.stop().await;
    assert_eq!(roadshow_date(&db, 1).await, json!("2025-03-03T00:00:00"));
    let fund =
        replay::find(projections::read::projectors(), &["fund".to_owned()]).unwrap().remove(0);
    let stuck = async || {
        let outcomes = replay::retry(&db.connections, &fund, None).await.unwrap();
        outcomes.into_iter().next().unwrap().stuck.map(|stuck| stuck.position)
    };
    assert_eq!(stuck().await, Some(5), "nothing has changed");
    let mend = "update events set payload = payload -> 'Unheard' where position = 5";
    tamper(&db.pool, mend).await;
    assert_eq!(stuck().await, Some(6));
    assert_eq!(roadshow_date(&db, 1).await, json!("2025-03-04T00:00:00"));
    assert_eq!(roadshow_date(&db, 2).await, Value::Null);
    let mend = "update events set payload = payload -> 'Unheard' where position = 6";
    tamper(&db.pool, mend).await;
    assert_eq!(stuck().await, None);
    assert_eq!(roadshow_date(&db, 1).await, json!("2025-03-05T00:00:00"));
    assert_eq!(roadshow_date(&db, 2).await, json!("2025-03-05T00:00:00"));
    let report = verify(&db).await;
    assert!(report.projections.iter().any(|model| model.name == "fund" && model.passed()));
}

/// Three LPs, each renamed twice, of which nobody could follow the first renaming when it was folded, and everybody can now.
async fn mended(db: &Database) {
    let backend = db.backend().await;
    for name in ["a", "b", "c"] {
        crate::rebuild::register(&backend, name).await;
    }
    for (id, name) in [(1, "d"), (2, "e"), (3, "f"), (1, "g"), (2, "h"), (3, "i")] {
        let command = LpCommand::Revise { name: Some(name.into()), changes: LpChanges::default() };
        backend.log.execute::<Lp>(id, command, &request("Revise")).await.unwrap();
    }
    backend.stop().await;
    let spoil =
        "update events set payload = json_build_object('Unheard', payload) where sequence = 2";
    tamper(&db.pool, spoil).await;
    rebuild(db, &[]).await.unwrap();
    let parked: i64 =
        sqlx::query_scalar("select count(*) from dead_letter where projector = 'audit'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(parked, 3);
    let mend = "update events set payload = payload -> 'Unheard' where sequence = 2";
    tamper(&db.pool, mend).await;
}

pub fn of(name: &str) -> Arc<dyn Projector> {
    replay::find(projections::read::projectors(), &[name.to_owned()]).unwrap().remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_parked_streams_are_taken_back_beside_a_server_that_does_so_too() {
    let db = Database::new().await;
    mended(&db).await;
    let backend = db.backend().await;
    for projector in projections::read::projectors() {
        for outcome in replay::retry(&db.connections, &projector, None).await.unwrap() {
            assert!(outcome.stuck.is_none(), "{}: {outcome:?}", projector.name());
        }
    }
    backend.settle().await.unwrap();
    backend.stop().await;
    assert_read_models_match_the_log(&db.pool).await;
    let report = verify(&db).await;
    assert!(report.passed, "{report:?}");
}

/// Has two people read what is parked for the histories before either may change it; the first asked is the first to do so.
async fn at_once<A: Send + 'static, B: Send + 'static>(
    db: &Database,
    first: impl Future<Output = A> + Send + 'static,
    second: impl Future<Output = B> + Send + 'static,
) -> (A, B) {
    let mut holding = db.pool.begin().await.unwrap();
    sqlx::query("select from generation where projector = 'audit' for update")
        .execute(&mut *holding)
        .await
        .unwrap();
    let first = tokio::spawn(first);
    while waiting(db).await < 1 {}
    let second = tokio::spawn(second);
    while waiting(db).await < 2 {}
    holding.rollback().await.unwrap();
    (first.await.unwrap(), second.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_try_the_same_parked_streams_again_the_second_finds_them_taken_back() {
    let db = Database::new().await;
    mended(&db).await;
    let retry = || {
        let database = db.connections.clone();
        async move { replay::retry(&database, &of("audit"), None).await.unwrap() }
    };
    let (one, other) = at_once(&db, retry(), retry()).await;
    for outcomes in [one, other] {
        assert_eq!(outcomes.len(), 3);
        assert!(outcomes.iter().all(|outcome| outcome.stuck.is_none()), "{outcomes:?}");
    }
    let report = verify(&db).await;
    assert!(report.projections.iter().any(|model| model.name == "audit" && model.passed()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_taken_back_meanwhile_is_not_skipped() {
    let db = Database::new().await;
    mended(&db).await;
    let stream = || Stream { kind: "lp".into(), id: "2".into() };
    let database = db.connections.clone();
    let retry =
        async move { replay::retry(&database, &of("audit"), Some(&stream())).await.unwrap() };
    let database = db.connections.clone();
    let skip =
        async move { replay::skip(&database, &of("audit"), &stream(), "unheard of", "me").await };
    let (retried, skipped) = at_once(&db, retry, skip).await;
    assert!(retried[0].stuck.is_none(), "{retried:?}");
    let refused = skipped.unwrap_err().to_string();
    assert!(refused.starts_with("nothing was skipped: lp 2 is no longer parked at"), "{refused}");
    let skipped: i64 =
        sqlx::query_scalar("select count(*) from skipped_event").fetch_one(&db.pool).await.unwrap();
    assert_eq!(skipped, 0);
}
