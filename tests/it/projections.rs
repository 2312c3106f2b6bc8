//! Laws of the read models: whatever is recorded, by whomever and in whatever order, they are the fold of the log.

use std::sync::Arc;
use std::time::Duration;

use domain::fund::{Fund, FundCommand};
use domain::gp::{Gp, GpCommand};
use domain::lp::{Lp, LpCommand};
use domain::note::{Note, NoteCommand};
use domain::person::{Person, PersonCommand};
use domain::roadshow::{Roadshow, RoadshowCommand};
use domain::todo::{Todo, TodoCommand, TodoStatus};
use domain::{Change, FundId, Kind, LpId, Moment, TodoId, Verbatim};
use projections::log::{CommandError, EventLog};
use projections::read::{Query, TodoFilter};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::check::assert_read_models_match_the_log;
use crate::harness::{Database, tamper};
use crate::log::request;

/// One command, on one of few records, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Register(Kind, i64),
    Revise(Kind, i64, String),
    Archive(Kind, i64),
    Restore(Kind, i64),
    Link(Kind, i64, Kind, i64),
    Relink(Kind, i64, Vec<i64>),
    Interest(i64, i64, String),
    ClearInterest(i64, i64),
    Status(i64, i64, String),
    Arrival(i64, Option<u8>),
    RoadshowDate(i64, Option<u8>),
    Complete(i64),
    RestartProjectors,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop::sample::select(Kind::ALL);
    let id = 1..5_i64;
    let word = "[a-zñ%_ ]{0,6}";
    let day = prop::option::of(1..9_u8);
    let step = prop_oneof![
        6 => (kind.clone(), id.clone()).prop_map(|(kind, id)| Step::Register(kind, id)),
        4 => (kind.clone(), id.clone(), word).prop_map(|(kind, id, word)| Step::Revise(kind, id, word)),
        1 => (kind.clone(), id.clone()).prop_map(|(kind, id)| Step::Archive(kind, id)),
        1 => (kind.clone(), id.clone()).prop_map(|(kind, id)| Step::Restore(kind, id)),
        4 => (kind.clone(), id.clone(), kind.clone(), id.clone()).prop_map(|(a, b, c, d)| Step::Link(a, b, c, d)),
        2 => (kind, id.clone(), prop::collection::vec(id.clone(), 0..4)).prop_map(|(a, b, c)| Step::Relink(a, b, c)),
        3 => (id.clone(), id.clone(), word).prop_map(|(fund, lp, word)| Step::Interest(fund, lp, word)),
        1 => (id.clone(), id.clone()).prop_map(|(fund, lp)| Step::ClearInterest(fund, lp)),
        2 => (id.clone(), id.clone(), word).prop_map(|(roadshow, lp, word)| Step::Status(roadshow, lp, word)),
        3 => (id.clone(), day.clone()).prop_map(|(roadshow, day)| Step::Arrival(roadshow, day)),
        2 => (id.clone(), day).prop_map(|(fund, day)| Step::RoadshowDate(fund, day)),
        2 => id.prop_map(Step::Complete),
        1 => Just(Step::RestartProjectors),
    ];
    prop::collection::vec(step, 1..80)
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn on_day(day: Option<u8>) -> Option<Moment> {
    day.map(|day| Moment::parse(&format!("2025-01-0{day}")).unwrap())
}

/// Refusals are part of life; anything else is a defect.
async fn carry_out(log: &EventLog, step: Step) {
    let result = match step {
        Step::Register(kind, id) => register(log, kind, id).await,
        Step::Revise(kind, id, word) => revise(log, kind, id, &word).await,
        Step::Archive(kind, id) => archive(log, kind, id).await,
        Step::Restore(kind, id) => restore(log, kind, id).await,
        Step::Link(Kind::Gp, id, to, other) => {
            log.execute::<Gp>(id, GpCommand::Link { to: vec![to.record(other)] }, &request("Link"))
                .await
        }
        Step::Link(Kind::Person, id, to, other) => {
            let with = vec![to.record(other)];
            log.execute::<Person>(id, PersonCommand::Affiliate { with }, &request("Affiliate"))
                .await
        }
        Step::Link(Kind::Todo, id, to, other) => {
            log.execute::<Todo>(
                id,
                TodoCommand::Link { to: vec![to.record(other)] },
                &request("Link"),
            )
            .await
        }
        Step::Link(_, id, to, other) => {
            log.execute::<Note>(
                id,
                NoteCommand::Link { to: vec![to.record(other)] },
                &request("Link"),
            )
            .await
        }
        Step::Relink(kind, id, others) => {
            let to = others.into_iter().map(|other| kind.record(other)).collect();
            let relink = NoteCommand::Relink { kinds: vec![kind], to };
            log.execute::<Note>(id, relink, &request("Relink")).await
        }
        Step::Interest(fund, lp, word) => {
            let interest = word.into();
            let command =
                FundCommand::RecordInterest { lp: LpId(lp), interest, contact: None, legacy: None };
            log.execute::<Fund>(fund, command, &request("RecordInterest")).await
        }
        Step::ClearInterest(fund, lp) => {
            let command = FundCommand::ClearInterest { lp: LpId(lp) };
            log.execute::<Fund>(fund, command, &request("ClearInterest")).await
        }
        Step::Status(roadshow, lp, word) => {
            let status = word.into();
            let command =
                RoadshowCommand::RecordStatus { lp: LpId(lp), status, contact: None, legacy: None };
            log.execute::<Roadshow>(roadshow, command, &request("RecordStatus")).await
        }
        Step::Arrival(roadshow, day) => {
            let changes = from(json!({"arrival": on_day(day)}));
            let command = RoadshowCommand::Revise {
                name: None,
                fund_id: Change::Keep,
                changes,
                fund_date: on_day(Some(1)),
            };
            log.execute::<Roadshow>(roadshow, command, &request("Revise")).await
        }
        Step::RoadshowDate(fund, day) => {
            let changes = from(json!({"roadshow_date": on_day(day)}));
            let command =
                FundCommand::Revise { fund_name: None, changes, shown_roadshow_date: None };
            log.execute::<Fund>(fund, command, &request("Revise")).await
        }
        Step::Complete(todo) => {
            let next = log.fresh_id(Kind::Todo).await.unwrap() + 100;
            let at = Moment::parse("2025-01-31").unwrap();
            let changes = from(json!({}));
            let command =
                TodoCommand::Complete { title: None, changes, at, next: Some(TodoId(next)) };
            log.execute::<Todo>(todo, command, &request("Complete")).await
        }
        Step::RestartProjectors => return,
    };
    match result {
        Ok(_) | Err(CommandError::Refused(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

type Done = Result<projections::log::Receipt, CommandError>;

async fn register(log: &EventLog, kind: Kind, id: i64) -> Done {
    let (name, legacy, named) = (format!("{kind} {id}"), Verbatim::default(), request("Register"));
    let none = json!({});
    match kind {
        Kind::Lp => {
            log.execute::<Lp>(id, LpCommand::Register { name, details: from(none), legacy }, &named)
                .await
        }
        Kind::Gp => {
            log.execute::<Gp>(id, GpCommand::Register { name, details: from(none), legacy }, &named)
                .await
        }
        Kind::Distributor => {
            use domain::distributor::{Distributor, DistributorCommand::Register};
            log.execute::<Distributor>(id, Register { name, details: from(none), legacy }, &named)
                .await
        }
        Kind::Person => {
            let command = PersonCommand::Register { name, details: from(none), legacy };
            log.execute::<Person>(id, command, &named).await
        }
        Kind::Fund => {
            let command = FundCommand::Register { fund_name: name, details: from(none), legacy };
            log.execute::<Fund>(id, command, &named).await
        }
        Kind::Note => {
            let details = from(json!({"name": name, "date": "2025-01-31T10:00:00"}));
            log.execute::<Note>(id, NoteCommand::Register { details, legacy }, &named).await
        }
        Kind::Todo => {
            let pattern = r#"{"type":"weekly"}"#;
            let details =
                from(json!({"due_date": "2025-01-31T00:00:00", "recurrence_pattern": pattern}));
            let status = TodoStatus::Pending;
            log.execute::<Todo>(
                id,
                TodoCommand::Register { title: name, status, details, legacy },
                &named,
            )
            .await
        }
        Kind::Roadshow => {
            let fund_id = Some(FundId(id % 3 + 1));
            let command = RoadshowCommand::Register { name, fund_id, details: from(none), legacy };
            log.execute::<Roadshow>(id, command, &named).await
        }
    }
}

async fn revise(log: &EventLog, kind: Kind, id: i64, word: &str) -> Done {
    let named = request("Revise");
    match kind {
        Kind::Lp => {
            let changes = from(json!({"priority": word, "investment_low": 0.1, "text": null}));
            log.execute::<Lp>(id, LpCommand::Revise { name: Some(word.into()), changes }, &named)
                .await
        }
        Kind::Note => {
            let changes = from(json!({"raw_notes": word, "useful": word.len() > 3, "date": null}));
            log.execute::<Note>(id, NoteCommand::Revise { changes }, &named).await
        }
        Kind::Todo => {
            let changes = from(json!({"tags": word, "priority": word, "note_id": 2}));
            let status = Some(word.into());
            log.execute::<Todo>(id, TodoCommand::Revise { title: None, status, changes }, &named)
                .await
        }
        _ => {
            let changes = from(json!({"location": word, "distributor_id": 3}));
            log.execute::<Gp>(id, GpCommand::Revise { name: Some(word.into()), changes }, &named)
                .await
        }
    }
}

async fn archive(log: &EventLog, kind: Kind, id: i64) -> Done {
    let named = request("Archive");
    match kind {
        Kind::Lp => log.execute::<Lp>(id, LpCommand::Archive, &named).await,
        Kind::Fund => log.execute::<Fund>(id, FundCommand::Archive, &named).await,
        Kind::Todo => log.execute::<Todo>(id, TodoCommand::Archive, &named).await,
        Kind::Roadshow => log.execute::<Roadshow>(id, RoadshowCommand::Archive, &named).await,
        _ => log.execute::<Note>(id, NoteCommand::Archive, &named).await,
    }
}

async fn restore(log: &EventLog, kind: Kind, id: i64) -> Done {
    let named = request("Restore");
    match kind {
        Kind::Lp => log.execute::<Lp>(id, LpCommand::Restore, &named).await,
        Kind::Fund => log.execute::<Fund>(id, FundCommand::Restore, &named).await,
        Kind::Todo => log.execute::<Todo>(id, TodoCommand::Restore, &named).await,
        Kind::Roadshow => log.execute::<Roadshow>(id, RoadshowCommand::Restore, &named).await,
        _ => log.execute::<Note>(id, NoteCommand::Restore, &named).await,
    }
}

#[test]
fn read_models_are_the_fold_of_the_log_whatever_is_recorded() {
    let runtime = Arc::new(tokio::runtime::Runtime::new().unwrap());
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(async {
                let db = Database::new().await;
                let mut backend = db.backend().await;
                for step in steps {
                    if matches!(step, Step::RestartProjectors) {
                        backend.stop().await;
                        backend = db.backend().await;
                    }
                    carry_out(&backend.log, step).await;
                }
                backend.settle().await.unwrap();
                assert_read_models_match_the_log(&db.pool).await;
                backend.stop().await;
                db.pool.close().await;
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_work_and_both_see_what_either_writes() {
    let db = Database::new().await;
    let first = db.backend().await;
    let second = db.backend().await;
    let mut tasks = tokio::task::JoinSet::new();
    for id in 1..=40 {
        let log = if id % 2 == 0 { first.log.clone() } else { second.log.clone() };
        tasks.spawn(async move { register(&log, Kind::Lp, id).await.unwrap().position.unwrap() });
    }
    let last = tasks.join_all().await.into_iter().max().unwrap();
    for backend in [&first, &second] {
        assert!(backend.reader.reached(last, Duration::from_secs(10)).await);
        let list = backend.reader.answer(&Query::List(Kind::Lp)).await.unwrap().unwrap();
        let list: Vec<Value> = serde_json::from_slice(&list.chunks.concat()).unwrap();
        assert_eq!(list.len(), 40);
    }
    // The one that runs the projectors goes away; the other takes over.
    first.stop().await;
    let receipt = register(&second.log, Kind::Lp, 41).await.unwrap();
    assert!(second.reader.reached(receipt.position.unwrap(), Duration::from_secs(10)).await);
    assert_read_models_match_the_log(&db.pool).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_starts_far_behind_catches_up_without_holding_up_the_others() {
    let db = Database::new().await;
    let backend = db.backend().await;
    // No more at once than the pool serves in the time that they wait for it.
    for first in (1..=4_500).step_by(500) {
        let mut tasks = tokio::task::JoinSet::new();
        for id in first..first + 500 {
            let log = backend.log.clone();
            tasks.spawn(async move { register(&log, Kind::Note, id).await.unwrap() });
        }
        tasks.join_all().await;
    }
    backend.settle().await.unwrap();
    backend.stop().await;
    // As after a release that brings a new read model, or a hand that dropped one.
    sqlx::query("drop schema read_note_1 cascade").execute(&db.pool).await.unwrap();
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    assert_read_models_match_the_log(&db.pool).await;
    let list = backend.reader.answer(&Query::List(Kind::Note)).await.unwrap().unwrap();
    let list: Vec<Value> = serde_json::from_slice(&list.chunks.concat()).unwrap();
    assert_eq!(list.len(), 4_500);
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_until_something_it_is_made_of_changes() {
    let db = Database::new().await;
    let backend = db.backend().await;
    register(&backend.log, Kind::Todo, 1).await.unwrap();
    backend.settle().await.unwrap();
    let filter = TodoFilter { status: Some("pending".into()), ..TodoFilter::default() };
    let query = Query::Todos(filter);
    let first = backend.reader.answer(&query).await.unwrap().unwrap();
    register(&backend.log, Kind::Lp, 1).await.unwrap();
    backend.settle().await.unwrap();
    assert_eq!(backend.reader.tag(&query).as_deref(), Some(first.tag.as_str()));
    register(&backend.log, Kind::Todo, 2).await.unwrap();
    backend.settle().await.unwrap();
    let second = backend.reader.answer(&query).await.unwrap().unwrap();
    assert_ne!(second.tag, first.tag);
    let rows: Vec<Value> = serde_json::from_slice(&second.chunks.concat()).unwrap();
    assert_eq!(rows.len(), 2);
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_too_large_for_memory_is_streamed_and_is_the_same_list() {
    use futures::StreamExt as _;

    let db = Database::new().await;
    let file = crate::harness::demo_file();
    let options = replay::ImportOptions::new(&file);
    replay::import(&db.connections, &db.files(), &options, |_| ()).await.unwrap();
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    let frugal = backend.reader.clone().with_shelf_limit(0);
    for kind in Kind::ALL {
        let query = Query::List(*kind);
        let whole = backend.reader.answer(&query).await.unwrap().unwrap();
        assert!(backend.reader.large_list(&query).await.unwrap().is_none());
        let (tag, pieces) = frugal.large_list(&query).await.unwrap().unwrap();
        let pieces: Vec<_> = pieces.map(Result::unwrap).collect().await;
        assert_eq!(tag, whole.tag);
        assert!(pieces.concat() == whole.chunks.concat(), "{kind}");
    }
    backend.stop().await;
}

async fn append_raw(db: &Database, id: i64, sequence: i64, payload: &str) {
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         values ('lp', $1, $2, 'Unheard', '1', $3::json, '{}', gen_random_uuid(), gen_random_uuid(), 'test')",
    )
    .bind(id.to_string())
    .bind(sequence)
    .bind(payload)
    .execute(&db.pool)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_parks_its_stream_and_no_other() {
    let db = Database::new().await;
    let backend = db.backend().await;
    register(&backend.log, Kind::Lp, 1).await.unwrap();
    register(&backend.log, Kind::Lp, 2).await.unwrap();
    append_raw(&db, 1, 2, r#"{"Unheard":{"of":1}}"#).await;
    append_raw(&db, 1, 3, r#"{"Renamed":{"name":"after"}}"#).await;
    let receipt = revise(&backend.log, Kind::Lp, 2, "x").await.unwrap();
    assert!(backend.reader.reached(receipt.position.unwrap(), Duration::from_secs(10)).await);
    let name = async |reader: &projections::read::Reader, id| {
        reader.record(Kind::Lp.record(id)).await.unwrap().unwrap().value().unwrap()["name"].clone()
    };
    assert_eq!(name(&backend.reader, 2).await, json!("x"));
    assert_eq!(name(&backend.reader, 1).await, json!("lp 1"), "nothing of it is folded any more");
    backend.settle().await.unwrap();
    let health = backend.reader.health().await;
    for projector in &health.projectors {
        // Only the read models of LPs, of histories and of search look at events of LPs.
        let follows_it = ["lp", "audit", "passage"].contains(&projector.name);
        assert_eq!(projector.parked, usize::from(follows_it), "{}", projector.name);
        assert_eq!(projector.failure, None);
    }
    backend.stop().await;
    // A release that knows the event, for which its correction stands here.
    tamper(
        &db.pool,
        "update events set payload = '{\"Renamed\":{\"name\":\"between\"}}' where event_type = 'Unheard' and sequence = 2",
    )
    .await;
    let backend = db.backend().await;
    taken_back(&backend, "lp").await;
    taken_back(&backend, "audit").await;
    taken_back(&backend, "passage").await;
    assert_eq!(name(&backend.reader, 1).await, json!("after"));
    assert!(backend.reader.health().await.projectors.iter().all(|projector| projector.parked == 0));
    assert_read_models_match_the_log(&db.pool).await;
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_folded_parks_its_stream_for_that_read_model_only() {
    let db = Database::new().await;
    let backend = db.backend().await;
    // A row that the projector did not write stands in its way.
    sqlx::query("alter table read_lp_1.lp add constraint no_thirteen check (id <> 13)")
        .execute(&db.pool)
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for id in 1..=30 {
        let log = backend.log.clone();
        tasks.spawn(async move { register(&log, Kind::Lp, id).await.unwrap().position.unwrap() });
    }
    let last = tasks.join_all().await.into_iter().max().unwrap();
    assert!(backend.reader.reached(last, Duration::from_secs(20)).await);
    let list = backend.reader.answer(&Query::List(Kind::Lp)).await.unwrap().unwrap();
    let list: Vec<Value> = serde_json::from_slice(&list.chunks.concat()).unwrap();
    assert_eq!(list.len(), 29);
    let health = backend.reader.health().await;
    let parked = |name| health.projectors.iter().find(|p| p.name == name).unwrap().parked;
    assert_eq!((parked("lp"), parked("note")), (1, 0));
    backend.stop().await;
    sqlx::query("alter table read_lp_1.lp drop constraint no_thirteen")
        .execute(&db.pool)
        .await
        .unwrap();
    let backend = db.backend().await;
    taken_back(&backend, "lp").await;
    assert_read_models_match_the_log(&db.pool).await;
    backend.stop().await;
}

/// Waits until a projector has taken a parked stream back.
async fn taken_back(backend: &api::backend::Backend, projector: &str) {
    let mut checkpoints = backend.runner().checkpoints().clone();
    checkpoints.wait_for(|all| all[projector].revision > 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_made_of_two_read_models_is_renewed_whichever_of_them_moves() {
    let db = Database::new().await;
    let backend = db.backend().await;
    register(&backend.log, Kind::Lp, 1).await.unwrap();
    register(&backend.log, Kind::Fund, 1).await.unwrap();
    backend.settle().await.unwrap();
    backend.stop().await;
    // As if another process ran the projector of LPs and were slower: it holds that lock, and has yet to fold.
    let mut other = db.pool.acquire().await.unwrap();
    sqlx::query("select pg_advisory_lock(6517357, hashtext('read_lp_1'))")
        .execute(&mut *other)
        .await
        .unwrap();
    let backend = db.backend().await;
    revise(&backend.log, Kind::Lp, 1, "x").await.unwrap();
    let command = FundCommand::RecordInterest {
        lp: LpId(1),
        interest: "meeting".into(),
        contact: None,
        legacy: None,
    };
    let receipt =
        backend.log.execute::<Fund>(1, command, &request("RecordInterest")).await.unwrap();
    let mut checkpoints = backend.runner().checkpoints().clone();
    checkpoints
        .wait_for(|all| all["interest"].position >= receipt.position.unwrap())
        .await
        .unwrap();
    let query = Query::SalesFunnel(FundId(1));
    let early = backend.reader.answer(&query).await.unwrap().unwrap();
    sqlx::query("select pg_advisory_unlock(6517357, hashtext('read_lp_1'))")
        .execute(&mut *other)
        .await
        .unwrap();
    assert!(backend.reader.reached(receipt.position.unwrap(), Duration::from_secs(10)).await);
    let late = backend.reader.answer(&query).await.unwrap().unwrap();
    assert_ne!(late.tag, early.tag);
    let rows: Value = serde_json::from_slice(&late.chunks.concat()).unwrap();
    assert_eq!((&rows[0]["lp_name"], &rows[0]["interest"]), (&json!("x"), &json!("meeting")));
    backend.stop().await;
}
