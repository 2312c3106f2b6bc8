//! Rebuilds: beside the live read models, resumable, swapped at once, and the same rows in the end.

mod poison;
pub mod release;
mod rollback;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::backend::Backend;
use domain::lp::{Lp, LpChanges, LpCommand};
use domain::{Kind, Verbatim};
use projections::generation::{self, State};
use projections::read::{self, Query};
use replay::{Effort, Rebuild, RebuildError};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::check::assert_read_models_match_the_log;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_takes_rows_in_the_order_of_those_who_follow() {
    let db = Database::new().await;
    import_demo(&db).await;
    let backend = db.backend().await;
    backend.settle().await.unwrap();
    backend.stop().await;
    let row = |name: &str| {
        format!("select number from generation where projector = '{name}' for update nowait")
    };
    // As somebody who follows and has come to the first of both.
    let mut follower = db.pool.begin().await.unwrap();
    sqlx::query(&row("gp")).execute(&mut *follower).await.unwrap();
    // As a scrub asks for them: in an order of its own.
    let mut projectors = replay::find(read::projectors(), &["lp".into(), "gp".into()]).unwrap();
    projectors.reverse();
    assert_eq!(projectors[0].name(), "lp");
    let rebuilding = async {
        let stop = CancellationToken::new();
        let rebuild = Rebuild::admit(&db.connections, projectors, "a test", stop).await.unwrap();
        rebuild.run(|_| ()).await.unwrap();
    };
    let watching = async {
        let deadline = Instant::now() + Duration::from_secs(20);
        let waits = "select exists (select from pg_stat_activity where datname = current_database()
                         and wait_event_type = 'Lock' and query like '%for update')";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&db.pool).await.unwrap() {
            assert!(Instant::now() < deadline, "the swap waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let second = sqlx::query(&row("lp")).execute(&mut *follower).await;
        assert!(second.is_ok(), "it has nothing that the other needs next: {second:?}");
        follower.commit().await.unwrap();
    };
    tokio::join!(rebuilding, watching);
    assert_read_models_match_the_log(&db.pool).await;
}
