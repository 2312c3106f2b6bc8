//! Rebuilds: beside the live read models, resumable, swapped at once, and the same rows in the end.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::backend::Backend;
use domain::lp::{Lp, LpChanges, LpCommand};
use domain::{Event, Kind, Verbatim};
use futures::future::BoxFuture;
use projections::generation::{self, State};
use projections::log::{CommandError, Recorded};
use projections::projector::{Fold, ProjectError, Projector, Table, Tables};
use projections::read::{self, Query};
use projections::status::RebuildStatus;
use replay::{Effort, Rebuild, RebuildError};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::check::assert_read_models_match_the_log;
use crate::contract::Api;
use crate::harness::{Database, demo_file};
use crate::log::request;

async fn import_demo(db: &Database) {
    let options = replay::ImportOptions::new(demo_file());
    replay::import(&db.connections, &db.files(), &options, |_| ()).await.unwrap();
}

pub async fn register(backend: &Backend, name: &str) -> i64 {
    let id = backend.log.fresh_id(Kind::Lp).await.unwrap();
    let (name, details, legacy) = (name.into(), LpChanges::default(), Verbatim::default());
    let command = LpCommand::Register { name, details, legacy };
    let receipt = backend.log.execute::<Lp>(id, command, &request("Register")).await.unwrap();
    receipt.position.unwrap()
}

/// Rebuilds as a process of its own would.
pub async fn rebuild(db: &Database, names: &[&str]) -> Result<(), RebuildError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let projectors = replay::find(read::projectors(), &names)?;
    let stop = CancellationToken::new();
    Rebuild::admit(&db.connections, projectors, "a test", stop).await?.run(|_| ()).await.map(drop)
}

/// The live and the previous generation of a projector.
async fn generations(db: &Database, name: &str) -> (Option<i32>, Option<i32>) {
    let mut connection = db.pool.acquire().await.unwrap();
    let all = generation::all(&mut connection).await.unwrap();
    let number = |state| {
        let of_it = all.iter().filter(|generation| generation.projector == name);
        of_it
            .filter(|generation| generation.state == state)
            .map(|generation| generation.number)
            .max()
    };
    assert_eq!(number(State::Building), None);
    (number(State::Live), number(State::Previous))
}

async fn list(backend: &Backend, kind: Kind) -> Vec<Value> {
    let answer = backend.reader.answer(&Query::List(kind)).await.unwrap().unwrap();
    serde_json::from_slice(&answer.chunks.concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_of_everything_gives_the_same_answers_while_others_read_and_write() {
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = Arc::new(db.backend().await);
    backend.settle().await.unwrap();
    let before = list(&backend, Kind::Note).await;
    let stop = CancellationToken::new();
    let writer = tokio::spawn({
        let (backend, stop) = (backend.clone(), stop.clone());
        async move {
            let mut count = 0;
            while !stop.is_cancelled() {
                let position = register(&backend, "meanwhile").await;
                // What is written can be read at once, whichever generation is live by then.
                assert!(backend.reader.reached(position, Duration::from_secs(10)).await);
                count += 1;
                let rows = list(&backend, Kind::Lp).await;
                assert_eq!(rows.iter().filter(|row| row["name"] == "meanwhile").count(), count);
            }
            count
        }
    });
    rebuild(&db, &[]).await.unwrap();
    rebuild(&db, &["lp", "fund"]).await.unwrap();
    stop.cancel();
    assert!(writer.await.unwrap() > 0);
    assert_eq!(generations(&db, "lp").await, (Some(3), Some(2)));
    assert_eq!(generations(&db, "note").await, (Some(2), Some(1)));
    assert_eq!(list(&backend, Kind::Note).await, before);
    backend.settle().await.unwrap();
    assert_read_models_match_the_log(&db.pool).await;
    Arc::into_inner(backend).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_with_little_memory_or_many_workers_gives_the_same_rows() {
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = db.backend().await;
    // Records change long after they were written and forgotten.
    for word in ["a", "b"] {
        for id in 1..=60 {
            let command =
                LpCommand::Revise { name: Some(word.into()), changes: LpChanges::default() };
            backend.log.execute::<Lp>(id, command, &request("Revise")).await.unwrap();
        }
    }
    backend.settle().await.unwrap();
    for (workers, memory) in [(1, 1), (3, 200_000), (5, 96 << 20)] {
        let projectors = replay::find(read::projectors(), &[]).unwrap();
        let stop = CancellationToken::new();
        let rebuild = Rebuild::admit(&db.connections, projectors, "a test", stop).await.unwrap();
        rebuild
            .with_effort(Effort { workers, memory, is_behind: workers == 1 })
            .run(|_| ())
            .await
            .unwrap();
        assert_read_models_match_the_log(&db.pool).await;
    }
    assert!(crate::verify::verify(&db).await.passed);
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_the_previous_generation_back_with_what_was_written_since() {
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap();
    let refused =
        replay::roll_back(&db.connections, &lp, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, RebuildError::NoPrevious("lp")), "{refused}");
    rebuild(&db, &["lp"]).await.unwrap();
    let position = register(&backend, "since").await;
    assert!(backend.reader.reached(position, Duration::from_secs(10)).await);
    assert_eq!(
        replay::roll_back(&db.connections, &lp, &CancellationToken::new()).await.unwrap(),
        [1]
    );
    assert_eq!(generations(&db, "lp").await, (Some(1), Some(2)));
    let position = register(&backend, "after").await;
    assert!(backend.reader.reached(position, Duration::from_secs(10)).await);
    let names: Vec<Value> =
        list(&backend, Kind::Lp).await.into_iter().map(|row| row["name"].clone()).collect();
    assert!(names.contains(&json!("since")) && names.contains(&json!("after")));
    assert_read_models_match_the_log(&db.pool).await;
    assert_eq!(replay::drop_old(&db.connections, &lp[0]).await.unwrap(), [2]);
    assert_eq!(generations(&db, "lp").await, (Some(1), None));
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_several_read_models_goes_back_with_all_of_them_or_with_none() {
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    let find = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        replay::find(read::projectors(), &names).unwrap()
    };
    let stop = CancellationToken::new();
    rebuild(&db, &["lp", "note"]).await.unwrap();
    let refused = replay::roll_back(&db.connections, &find(&["lp", "note", "todo"]), &stop).await;
    assert!(matches!(refused, Err(RebuildError::NoPrevious("todo"))), "{refused:?}");
    assert_eq!(generations(&db, "lp").await, (Some(2), Some(1)));
    let mut all = find(&[]);
    replay::retain_with_previous(&db.connections, &mut all).await.unwrap();
    let mut names: Vec<&str> = all.iter().map(|projector| projector.name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lp", "note"]);
    assert_eq!(replay::roll_back(&db.connections, &all, &stop).await.unwrap(), [1, 1]);
    for name in names {
        assert_eq!(generations(&db, name).await, (Some(1), Some(2)));
    }
    let position = register(&backend, "after").await;
    assert!(backend.reader.reached(position, Duration::from_secs(10)).await);
    assert_read_models_match_the_log(&db.pool).await;
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rebuilds_of_one_read_model_the_second_is_told_who_runs_the_first() {
    let db = Database::new().await;
    import_demo(&db).await;
    let one = |name: &str| replay::find(read::projectors(), &[name.to_owned()]).unwrap();
    let first = Rebuild::admit(&db.connections, one("note"), "the first", CancellationToken::new())
        .await
        .unwrap();
    let refused =
        Rebuild::admit(&db.connections, one("note"), "the second", CancellationToken::new()).await;
    let text = refused.err().unwrap().to_string();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let who = format!("the first, process {} on {}", std::process::id(), host.trim());
    assert!(text.starts_with(&format!("note is being rebuilt by {who} since 20")), "{text}");
    assert!(text.contains(" UTC; wait for it"), "{text}");
    // Another read model is no business of theirs.
    rebuild(&db, &["todo"]).await.unwrap();
    let mut connection = db.pool.acquire().await.unwrap();
    assert!(replay::cancel(&mut connection, "note").await.unwrap());
    let called_off = first.run(|_| ()).await.unwrap_err();
    assert!(matches!(called_off, RebuildError::Cancelled), "{called_off}");
    assert_eq!(generations(&db, "note").await, (Some(1), None));
    assert!(!replay::cancel(&mut connection, "note").await.unwrap(), "it is over");
    rebuild(&db, &["note"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_somebody_is_in_the_way_of_says_so() {
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    rebuild(&db, &["lp"]).await.unwrap();
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap();
    let mut forgotten = db.pool.begin().await.unwrap();
    sqlx::query("select from generation where projector = 'lp' for update")
        .execute(&mut *forgotten)
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let first = tokio::spawn({
        let (database, lp, stop) = (db.connections.clone(), lp.clone(), stop.clone());
        async move { replay::roll_back(&database, &lp, &stop).await }
    });
    crate::verify::waits_for_a_lock(&db).await;
    let second = replay::roll_back(&db.connections, &lp, &stop).await.unwrap_err();
    assert!(matches!(second, RebuildError::Taken("lp")), "{second}");
    let first = first.await.unwrap().unwrap_err();
    assert!(matches!(first, RebuildError::Busy(_)), "{first}");
    assert_eq!(generations(&db, "lp").await, (Some(2), Some(1)));
    forgotten.rollback().await.unwrap();
    replay::roll_back(&db.connections, &lp, &stop).await.unwrap();
    assert_eq!(generations(&db, "lp").await, (Some(1), Some(2)));
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_takes_long_goes_on_when_the_request_has_been_answered() {
    let api = Api::new().await;
    rebuild(&api.db, &["lp"]).await.unwrap();
    // What the earlier generation has to catch up with takes longer than anybody waits.
    sqlx::raw_sql(
        "create function slowly() returns trigger language plpgsql as
             'begin perform pg_sleep(6); return new; end';
         create trigger slowly before insert on read_lp_1.lp for each row execute function slowly()",
    )
    .execute(&api.db.pool)
    .await
    .unwrap();
    api.made("lps", json!({"name": "since"})).await;
    let accepted = api.post("/projections/lp/rollback", Value::Null).await;
    assert_eq!(accepted.header("location"), Some("/projections/lp"));
    assert_eq!(accepted.expect(202, "rollback")["status"], json!("accepted"));
    assert_eq!(generations(&api.db, "lp").await, (Some(2), Some(1)));
    let mut checkpoints = api.backend.runner().checkpoints().clone();
    checkpoints.wait_for(|all| all["lp"].revision >= 2).await.unwrap();
    assert_eq!(generations(&api.db, "lp").await, (Some(1), Some(2)));
    assert_eq!(api.read("/lps").await[0]["name"], json!("since"));
    api.backend.stop().await;
}

/// A projector of a later release: it folds as before, into a table with another column.
pub struct Later(pub Arc<dyn Projector>, pub &'static str);

impl Projector for Later {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn version(&self) -> i32 {
        self.0.version() + 1
    }
    fn tables(&self) -> Vec<Table> {
        let mut tables = self.0.tables();
        tables[0].columns += ", added ";
        tables[0].columns += self.1;
        tables
    }
    fn follows(&self) -> &'static [Kind] {
        self.0.follows()
    }
    fn is_awaited(&self) -> bool {
        self.0.is_awaited()
    }
    fn begin(&self) -> Box<dyn Fold> {
        self.0.begin()
    }
}

/// A release in which the code of these read models is another.
pub fn release_with(changed: &[&str], column: &'static str) -> Vec<Arc<dyn Projector>> {
    let later = |projector: Arc<dyn Projector>| match changed.contains(&projector.name()) {
        true => Arc::new(Later(projector, column)) as Arc<dyn Projector>,
        false => projector,
    };
    read::projectors().into_iter().map(later).collect()
}

fn later_release() -> Vec<Arc<dyn Projector>> {
    release_with(&["lp"], "text default 'later'")
}

/// A server of a release with these projectors.
pub async fn server_of(db: &Database, release: Vec<Arc<dyn Projector>>) -> Backend {
    let connections = crate::harness::connect((*db.pool.connect_options()).clone(), 8);
    Backend::start_with(connections, db.files(), release).await.unwrap()
}

/// Both releases write, and both read all of it, each from its own generation.
async fn assert_both_write_and_read(earlier: &Backend, later: &Backend) {
    for (backend, name) in [(earlier, "by the earlier"), (later, "by the later")] {
        let position = register(backend, name).await;
        for reader in [earlier, later] {
            assert!(reader.reader.reached(position, Duration::from_secs(10)).await);
            assert!(list(reader, Kind::Lp).await.iter().any(|row| row["name"] == name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_whose_code_has_changed_is_built_anew_while_an_earlier_release_goes_on() {
    let db = Database::new().await;
    import_demo(&db).await;
    let earlier = db.backend().await;
    earlier.settle().await.unwrap();
    let before = list(&earlier, Kind::Lp).await;
    let later = server_of(&db, later_release()).await;
    // The old tables serve the new release until its own are there.
    assert_eq!(list(&later, Kind::Lp).await, before);
    let mut checkpoints = later.runner().checkpoints().clone();
    checkpoints.wait_for(|all| all["lp"].revision > 0).await.unwrap();
    assert_eq!(generations(&db, "lp").await, (Some(2), Some(1)));
    assert_both_write_and_read(&earlier, &later).await;
    let both: (i64, i64) = sqlx::query_as(
        "select (select count(*) from read_lp_1.lp), (select count(*) from read_lp_2.lp where added = 'later')",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(both.0, both.1);
    earlier.stop().await;
    later.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_release_that_finds_only_a_later_ones_read_model_builds_its_own_beside_it() {
    let db = Database::new().await;
    let later = server_of(&db, later_release()).await;
    register(&later, "before").await;
    later.settle().await.unwrap();
    assert_eq!(generations(&db, "lp").await, (Some(1), None));
    let earlier = db.backend().await;
    let mut checkpoints = earlier.runner().checkpoints().clone();
    checkpoints.wait_for(|all| all["lp"].revision > 0).await.unwrap();
    assert_both_write_and_read(&earlier, &later).await;
    // Neither takes the other's away.
    later.rebuilds.renewed().await;
    earlier.rebuilds.renewed().await;
    assert_eq!(generations(&db, "lp").await, (Some(2), Some(1)));
    assert_eq!(list(&earlier, Kind::Lp).await.len(), 3);
    earlier.stop().await;
    later.stop().await;
}

/// Fails on one LP when it folds the whole log at once, as a defect may that only some data bring to light.
struct Squeamish(Arc<dyn Projector>);

impl Projector for Squeamish {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn version(&self) -> i32 {
        self.0.version()
    }
    fn tables(&self) -> Vec<Table> {
        self.0.tables()
    }
    fn follows(&self) -> &'static [Kind] {
        self.0.follows()
    }
    fn begin(&self) -> Box<dyn Fold> {
        Box::new(SqueamishFold(self.0.begin()))
    }
}

struct SqueamishFold(Box<dyn Fold>);

impl Fold for SqueamishFold {
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        let is_bad = |recorded: &Recorded| {
            matches!(recorded.event, Event::Lp(_)) && recorded.id == 13 && recorded.sequence == 1
        };
        if page.iter().any(is_bad) {
            let source = serde_json::from_str::<Value>("").unwrap_err();
            return Box::pin(std::future::ready(Err(ProjectError::Row { table: "lp", source })));
        }
        self.0.fold(page, db, tables)
    }
    fn write<'a>(
        &'a mut self,
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        self.0.write(db, tables)
    }
    fn changed(&self) -> Option<i64> {
        self.0.changed()
    }
    fn size(&self) -> usize {
        self.0.size()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_parks_the_one_stream_that_cannot_be_folded_and_takes_in_all_others() {
    let db = Database::new().await;
    import_demo(&db).await;
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap().remove(0);
    let squeamish: Arc<dyn Projector> = Arc::new(Squeamish(lp.clone()));
    let told = Rebuild::admit(&db.connections, vec![squeamish], "a test", CancellationToken::new())
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
struct Held(Arc<dyn Projector>, watch::Sender<bool>, watch::Receiver<bool>);

struct HeldFold(Box<dyn Fold>, watch::Sender<bool>, watch::Receiver<bool>);

impl Projector for Held {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn version(&self) -> i32 {
        self.0.version()
    }
    fn tables(&self) -> Vec<Table> {
        self.0.tables()
    }
    fn follows(&self) -> &'static [Kind] {
        self.0.follows()
    }
    fn begin(&self) -> Box<dyn Fold> {
        Box::new(HeldFold(self.0.begin(), self.1.clone(), self.2.clone()))
    }
}

impl Fold for HeldFold {
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            if tables != Tables::Filled {
                let source = serde_json::from_str::<Value>("").unwrap_err();
                return Err(ProjectError::Row { table: "lp", source });
            }
            self.1.send_replace(true);
            self.2.wait_for(|may| *may).await.unwrap();
            self.0.fold(page, db, tables).await
        })
    }
    fn write<'a>(
        &'a mut self,
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        self.0.write(db, tables)
    }
    fn changed(&self) -> Option<i64> {
        self.0.changed()
    }
    fn size(&self) -> usize {
        self.0.size()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_begins_anew_when_the_log_has_to_be_read_event_by_event_and_never_passes_its_end()
{
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = db.backend().await;
    let ((came, mut has_come), (let_go, may_go)) = (watch::channel(false), watch::channel(false));
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap().remove(0);
    let held: Arc<dyn Projector> = Arc::new(Held(lp, came, may_go));
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

#[tokio::test(flavor = "multi_thread")]
async fn an_old_generation_that_somebody_reads_or_follows_is_dropped_once_that_is_over() {
    let db = Database::new().await;
    import_demo(&db).await;
    rebuild(&db, &["lp"]).await.unwrap();
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap().remove(0);
    let mut reading = db.pool.begin().await.unwrap();
    sqlx::query("lock table read_lp_1.lp in access share mode")
        .execute(&mut *reading)
        .await
        .unwrap();
    let refused = replay::drop_old(&db.connections, &lp).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.starts_with("generation 1 of lp is being read, perhaps by a check"), "{text}");
    assert!(text.ends_with("try again when that is over"), "{text}");
    reading.rollback().await.unwrap();
    let mut following = db.pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock($1, hashtext('read_lp_1'))")
        .bind(projections::runner::RUNNER_LOCK)
        .execute(&mut *following)
        .await
        .unwrap();
    let refused = replay::drop_old(&db.connections, &lp).await.unwrap_err();
    assert!(matches!(refused, RebuildError::InUse { name: "lp", number: 1 }), "{refused}");
    let dropping = tokio::spawn({
        let (database, lp) = (db.connections.clone(), lp.clone());
        async move { replay::drop_old(&database, &lp).await }
    });
    following.rollback().await.unwrap();
    assert_eq!(dropping.await.unwrap().unwrap(), [1]);
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

/// Writes down when each rebuild begins.
const ATTEMPTS: &str = "
    create table public.attempt (at timestamptz not null default clock_timestamp());
    create function public.note_attempt() returns trigger language plpgsql as
        'begin insert into public.attempt default values; return null; end';
    create trigger note_begun after insert on rebuild for each row execute function public.note_attempt();
    create trigger note_begun_again after update on rebuild for each row
        when (old.started_at is distinct from new.started_at) execute function public.note_attempt()";

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_cannot_be_built_anew_is_tried_less_and_less_often() {
    let db = Database::new().await;
    import_demo(&db).await;
    let earlier = db.backend().await;
    earlier.settle().await.unwrap();
    earlier.stop().await;
    sqlx::raw_sql(ATTEMPTS).execute(&db.pool).await.unwrap();
    let backend = server_of(&db, release_with(&["lp"], "no_such_type")).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let pauses: Vec<f64> = loop {
        let pauses: Vec<f64> = sqlx::query_scalar(
            "select extract(epoch from next - at)::double precision
             from (select at, lead(at) over (order by at) as next from public.attempt) as tried
             where next is not null order by at",
        )
        .fetch_all(&db.pool)
        .await
        .unwrap();
        if pauses.len() == 2 {
            break pauses;
        }
        assert!(Instant::now() < deadline, "it is tried again: {pauses:?}");
    };
    assert!(pauses[0] > 1.9 && pauses[1] > 3.9, "{pauses:?}");
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_was_called_off_waits_until_somebody_asks_for_it() {
    let db = Database::new().await;
    import_demo(&db).await;
    let earlier = db.backend().await;
    earlier.settle().await.unwrap();
    earlier.stop().await;
    sqlx::raw_sql(ATTEMPTS).execute(&db.pool).await.unwrap();
    sqlx::raw_sql(crate::killed::HOLDS).execute(&db.pool).await.unwrap();
    let mut holding = db.pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(1)").execute(&mut *holding).await.unwrap();
    let backend = server_of(&db, later_release()).await;
    let mut connection = db.pool.acquire().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !replay::cancel(&mut connection, "lp").await.unwrap() {
        assert!(Instant::now() < deadline, "it is begun");
    }
    let called_off = async {
        let phase = "select phase from rebuild where projector = 'lp'";
        while sqlx::query_scalar::<_, String>(phase).fetch_one(&mut *connection).await.unwrap()
            != "cancelled"
        {}
    };
    tokio::time::timeout(Duration::from_secs(60), called_off).await.expect("it is called off");
    holding.rollback().await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_secs(60), backend.rebuilds.renewed()).await;
    given_up.expect("nothing is left to be done by itself");
    assert_eq!(attempts(&db).await, 1);
    assert_eq!(generations(&db, "lp").await, (Some(1), None));
    backend.rebuilds.begin("lp").await.unwrap();
    let mut checkpoints = backend.runner().checkpoints().clone();
    checkpoints.wait_for(|all| all["lp"].revision > 0).await.unwrap();
    assert_eq!(attempts(&db).await, 2);
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_done_with_its_swap_whatever_becomes_of_it_while_it_clears_up() {
    let db = Database::new().await;
    import_demo(&db).await;
    rebuild(&db, &["lp"]).await.unwrap();
    // The generation before the one before cannot be dropped while somebody reads it.
    let mut reading = db.pool.begin().await.unwrap();
    sqlx::query("lock table read_lp_1.lp in access share mode")
        .execute(&mut *reading)
        .await
        .unwrap();
    let lp = replay::find(read::projectors(), &["lp".to_owned()]).unwrap();
    let stop = CancellationToken::new();
    let rebuilding = Rebuild::admit(&db.connections, lp, "a test", stop).await.unwrap();
    let rebuilding = tokio::spawn(rebuilding.run(|_| ()));
    let waits = "select exists (select from pg_locks where not granted and relation = 'read_lp_1.lp'::regclass)";
    let deadline = Instant::now() + Duration::from_secs(60);
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut *reading).await.unwrap() {
        assert!(Instant::now() < deadline, "it clears up");
    }
    // Killed now, it would never say anything again.
    let said: (String, bool, bool) = sqlx::query_as(
        "select phase, finished_at is not null, done = total from rebuild where projector = 'lp'",
    )
    .fetch_one(&mut *reading)
    .await
    .unwrap();
    assert_eq!(said, ("done".to_owned(), true, true));
    reading.rollback().await.unwrap();
    rebuilding.await.unwrap().unwrap();
    assert_eq!(generations(&db, "lp").await, (Some(3), Some(2)));
}

/// Has whoever makes a generation of the LPs live wait for this lock.
const HOLD_LP: &str = "
    create function hold_lp() returns trigger language plpgsql as
        'begin perform pg_advisory_xact_lock_shared(2); return new; end';
    create trigger hold_lp before update on generation for each row
        when (old.state = 'building' and new.state = 'live' and new.projector = 'lp') execute function hold_lp()";

/// A server that has found the LPs and the notes outdated, and whose rebuild of the LPs waits for the lock that comes with it.
pub async fn renewing(db: &Database) -> (Backend, sqlx::Transaction<'static, sqlx::Postgres>) {
    import_demo(db).await;
    let earlier = db.backend().await;
    earlier.settle().await.unwrap();
    earlier.stop().await;
    sqlx::raw_sql(ATTEMPTS).execute(&db.pool).await.unwrap();
    sqlx::raw_sql(HOLD_LP).execute(&db.pool).await.unwrap();
    let mut holding = db.pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(2)").execute(&mut *holding).await.unwrap();
    let backend = server_of(db, release_with(&["lp", "note"], "text")).await;
    let waits = "select exists (select from pg_locks where locktype = 'advisory' and objid = 2 and not granted
             and database = (select oid from pg_database where datname = current_database()))";
    let deadline = Instant::now() + Duration::from_secs(60);
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&db.pool).await.unwrap() {
        assert!(Instant::now() < deadline, "the rebuild comes to its swap");
    }
    (backend, holding)
}

async fn attempts(db: &Database) -> i64 {
    let count = sqlx::query_scalar("select count(*) from public.attempt");
    count.fetch_one(&db.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_servers_of_a_new_release_one_builds_each_read_model_and_the_old_one_is_kept() {
    let db = Database::new().await;
    let (backend, holding) = renewing(&db).await;
    // The other server builds the notes while this one has yet to come to them.
    let mut others = release_with(&["note"], "text");
    others.retain(|projector| projector.name() == "note");
    let stop = CancellationToken::new();
    let other = Rebuild::admit(&db.connections, others, "the other", stop).await.unwrap();
    other.run(|_| ()).await.unwrap();
    holding.rollback().await.unwrap();
    backend.rebuilds.renewed().await;
    assert_eq!(attempts(&db).await, 2);
    assert_eq!(generations(&db, "lp").await, (Some(2), Some(1)));
    assert_eq!(generations(&db, "note").await, (Some(2), Some(1)));
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_begins_no_other_rebuild() {
    let db = Database::new().await;
    let (backend, holding) = renewing(&db).await;
    backend.stop().await;
    assert_eq!(attempts(&db).await, 1);
    holding.rollback().await.unwrap();
}
