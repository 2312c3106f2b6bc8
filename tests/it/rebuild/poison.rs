//! Rebuilds of what cannot be folded, and events that people skip.

use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::backend::Backend;
use domain::lp::{Lp, LpChanges, LpCommand};
use domain::{Event, Kind};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use projections::log::{CommandError, Recorded};
use projections::projector::{Fold, ProjectError, Projector, Table, Tables};
use projections::read;
use projections::status::RebuildStatus;
use replay::{Finding, Rebuild};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{import_demo, list, rebuild, register};
use crate::check::assert_read_models_match_the_log;
use crate::harness::Database;
use crate::log::request;

/// What happens to a page before it is folded.
type Before =
    dyn Fn(&[Recorded], Tables) -> BoxFuture<'static, Result<(), ProjectError>> + Send + Sync;

/// A projector with a defect.
struct Troubled {
    sound: Arc<dyn Projector>,
    before: Arc<Before>,
}

struct TroubledFold {
    sound: Box<dyn Fold>,
    before: Arc<Before>,
}

impl Projector for Troubled {
    fn name(&self) -> &'static str {
        self.sound.name()
    }
    fn version(&self) -> i32 {
        self.sound.version()
    }
    fn tables(&self) -> Vec<Table> {
        self.sound.tables()
    }
    fn follows(&self) -> &'static [Kind] {
        self.sound.follows()
    }
    fn begin(&self) -> Box<dyn Fold> {
        Box::new(TroubledFold { sound: self.sound.begin(), before: self.before.clone() })
    }
}

impl Fold for TroubledFold {
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            (self.before)(page, tables).await?;
            self.sound.fold(page, db, tables).await
        })
    }
    fn write<'a>(
        &'a mut self,
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        self.sound.write(db, tables)
    }
    fn changed(&self) -> Option<i64> {
        self.sound.changed()
    }
    fn size(&self) -> usize {
        self.sound.size()
    }
}

fn trouble() -> ProjectError {
    ProjectError::Row { table: "lp", source: serde_json::from_str::<Value>("").unwrap_err() }
}

/// The read model of the LPs, to which this happens.
fn troubled(before: Arc<Before>) -> Arc<dyn Projector> {
    let sound = replay::find(read::projectors(), &["lp".to_owned()]).unwrap().remove(0);
    Arc::new(Troubled { sound, before })
}

/// Fails on one LP when it folds the whole log at once, as a defect may that only some data bring to light.
fn squeamish() -> Arc<dyn Projector> {
    troubled(Arc::new(|page: &[Recorded], _| {
        let is_bad = |recorded: &Recorded| {
            matches!(recorded.event, Event::Lp(_)) && recorded.id == 13 && recorded.sequence == 1
        };
        ready(if page.iter().any(is_bad) { Err(trouble()) } else { Ok(()) }).boxed()
    }))
}

/// Cannot fold an LP when it loads the log; when it goes through it event by event it says so, and waits until it may go on.
fn held(came: watch::Sender<bool>, may_go: watch::Receiver<bool>) -> Arc<dyn Projector> {
    troubled(Arc::new(move |_, tables| {
        if tables != Tables::Filled {
            return ready(Err(trouble())).boxed();
        }
        came.send_replace(true);
        let mut may_go = may_go.clone();
        async move {
            may_go.wait_for(|may| *may).await.unwrap();
            Ok(())
        }
        .boxed()
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_parks_the_one_stream_that_cannot_be_folded_and_takes_in_all_others() {
    let db = Database::new().await;
    import_demo(&db).await;
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap().remove(0);
    let stop = CancellationToken::new();
    let told = Rebuild::admit(&db.connections, vec![squeamish()], "a test", stop)
        .await
        .unwrap()
        .run(|_| ())
        .await
        .unwrap();
    // It says so by itself, and so does whoever is asked how it went.
    assert_eq!((told.len(), &*told[0].projector, &*told[0].aggregate_id), (1, "lp", "13"));
    let mut connection = db.pool.acquire().await.unwrap();
    let rebuilds = projections::status::rebuilds(&mut connection).await.unwrap();
    assert_eq!((rebuilds[0].projector.as_str(), rebuilds[0].parked), ("lp", 1));
    let parked = projections::status::parked(&mut connection).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].aggregate_type.as_str(), parked[0].aggregate_id.as_str()), ("lp", "13"));
    // With the code mended, it is taken back.
    let outcomes = replay::retry(&db.connections, &lp, None).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.stuck.is_none()));
    drop(connection);
    rebuild(&db, &[]).await.unwrap();
    assert_read_models_match_the_log(&db.pool).await;
}

/// Cannot fold an LP when it loads the log, and when it goes through it event by event waits until it may go on.

#[tokio::test(flavor = "multi_thread")]
async fn progress_begins_anew_when_the_log_has_to_be_read_event_by_event_and_never_passes_its_end()
{
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = db.backend().await;
    let ((came, mut has_come), (let_go, may_go)) = (watch::channel(false), watch::channel(false));
    let held = held(came, may_go);
    let stop = CancellationToken::new();
    let rebuild = Rebuild::admit(&db.connections, vec![held], "a test", stop).await.unwrap();
    // What is appended between the lock and the load is read as well.
    for name in ["a", "b", "c"] {
        register(&backend, name).await;
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = seen.clone();
    let watched = move |all: &[RebuildStatus]| seeing.lock().unwrap().extend_from_slice(all);
    let rebuilding = tokio::spawn(rebuild.run(watched));
    has_come.wait_for(|has| *has).await.unwrap();
    let mut connection = db.pool.acquire().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let now = projections::status::rebuilds(&mut connection).await.unwrap().remove(0);
        if (now.phase.as_str(), now.done) == ("loading", 0) && now.total > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "nothing is folded yet: {now:?}");
    }
    let_go.send_replace(true);
    rebuilding.await.unwrap().unwrap();
    let head = backend.reader.head().await.unwrap();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert!(seen.iter().all(|now| now.done <= now.total));
    assert!(seen.iter().all(|now| now.eta_seconds.is_none_or(|left| left >= 0.0)));
    let last = seen.last().unwrap();
    assert_eq!((last.phase.as_str(), last.done, last.total), ("done", head, head));
    backend.stop().await;
}

async fn append_unheard(db: &Database, id: i64, sequence: i64) {
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         values ('lp', $1, $2, 'Unheard', '1', '{\"Unheard\":{}}', '{}', gen_random_uuid(), gen_random_uuid(), 'test')",
    )
    .bind(id.to_string())
    .bind(sequence)
    .execute(&db.pool)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_person_has_skipped_stays_skipped_in_all_generations_to_come() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let position = register(&backend, "before").await;
    assert!(backend.reader.reached(position, Duration::from_secs(10)).await);
    append_unheard(&db, 1, 2).await;
    append_unheard(&db, 1, 3).await;
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         values ('lp', '1', 4, 'Renamed', '1', '{\"Renamed\":{\"name\":\"after\"}}', '{}', gen_random_uuid(),
                 gen_random_uuid(), 'test')",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    assert!(backend.reader.reached(position + 3, Duration::from_secs(10)).await);
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap().remove(0);
    let stream = projections::log::Stream { kind: "lp".into(), id: "1".into() };
    let skip = async || {
        replay::skip(&db.connections, &lp, &stream, "known to be harmless", "me").await.unwrap()
    };
    // The one after it cannot be read either.
    assert_eq!(skip().await.stuck.unwrap().position, position + 2);
    assert!(skip().await.stuck.is_none());
    let renamed = async |backend: &Backend| {
        let mut checkpoints = backend.runner().checkpoints().clone();
        checkpoints.wait_for(|all| all["lp"].revision >= 2).await.unwrap();
        list(backend, Kind::Lp).await[0]["name"].clone()
    };
    assert_eq!(renamed(&backend).await, json!("after"));
    // The running projector knows, and follows the stream again.
    let command = LpCommand::Revise { name: Some("and on".into()), changes: LpChanges::default() };
    let refused = backend.log.execute::<Lp>(1, command, &request("Revise")).await.unwrap_err();
    let CommandError::Unreadable { position: at, event, .. } = &refused else {
        panic!("the record itself cannot be loaded: {refused}")
    };
    assert_eq!((*at, event.as_str()), (position + 1, "Unheard"));
    rebuild(&db, &["lp"]).await.unwrap();
    let mut connection = db.pool.acquire().await.unwrap();
    // The read models of histories and of search were not told to.
    let parked = projections::status::parked(&mut connection).await.unwrap();
    assert!(
        parked.iter().all(|parked| ["audit", "passage"].contains(&parked.projector.as_str())),
        "{parked:?}"
    );
    let status = projections::status::status(&mut connection).await.unwrap();
    let lp = status.projections.iter().find(|projection| projection.name == "lp").unwrap();
    assert_eq!((lp.generation, lp.skipped), (2, 2));
    let reason: String = sqlx::query_scalar("select min(reason) from skipped_event")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(reason, "known to be harmless");
    let skipped = &lp.skipped_events[0];
    assert_eq!((&*skipped.actor, &*skipped.reason), ("me", "known to be harmless"));
    assert_eq!((skipped.position, &*skipped.aggregate_id), (position + 1, "1"));
    drop(connection);
    backend.stop().await;
    // As long as one read model does not follow, this is an error; when all were told to skip it, it is worth a notice.
    let report = crate::verify::verify(&db).await;
    assert_eq!(report.log.findings.iter().filter(|it| it.check == "payload").count(), 2);
    for projector in read::projectors() {
        for outcome in replay::retry(&db.connections, &projector, None).await.unwrap() {
            let mut stuck = outcome.stuck;
            while stuck.is_some() {
                let skipping =
                    replay::skip(&db.connections, &projector, &stream, "likewise", "me").await;
                stuck = skipping.unwrap().stuck;
            }
        }
    }
    let report = crate::verify::verify(&db).await;
    let notices = report.log.notices.iter().filter(|it| it.check == "payload");
    assert_eq!(notices.count(), 2, "{report:?}");
    assert!(report.passed, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_unknown_kind_that_all_were_told_to_skip_is_no_fault_any_more() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let position: i64 = sqlx::query_scalar(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         values ('unicorn', '1', 1, 'Registered', '1', '{\"Registered\":{}}', '{}', gen_random_uuid(),
                 gen_random_uuid(), 'test') returning position",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert!(backend.runner().settled(position, Duration::from_secs(10)).await);
    backend.stop().await;
    let found = async || {
        let report = crate::verify::verify(&db).await;
        let of_log = |findings: &[Finding]| findings.iter().map(|it| it.position).collect();
        let (wrong, odd): (Vec<_>, Vec<_>) =
            (of_log(&report.log.findings), of_log(&report.log.notices));
        (report.passed, wrong, odd)
    };
    let stream = projections::log::Stream { kind: "unicorn".into(), id: "1".into() };
    let (last, others) = {
        let mut all = read::projectors();
        (all.pop().unwrap(), all)
    };
    let skip = async |projector: &Arc<dyn Projector>| {
        replay::skip(&db.connections, projector, &stream, "of another release", "me").await.unwrap()
    };
    for projector in &others {
        assert!(skip(projector).await.stuck.is_none());
    }
    assert_eq!(found().await, (false, vec![Some(position)], vec![]), "one still has to follow it");
    assert!(skip(&last).await.stuck.is_none());
    assert_eq!(found().await, (true, vec![], vec![Some(position)]));
}
