//! Read models whose code has changed: releases side by side, and what they build anew by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::backend::Backend;
use domain::Kind;
use projections::projector::{Fold, Projector, Table};
use projections::read;
use replay::Rebuild;
use tokio_util::sync::CancellationToken;

use super::{generations, import_demo, list, register};
use crate::harness::Database;

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

/// What an earlier release has left, with a note of each rebuild that begins from now on.
async fn leave_by_an_earlier_release(db: &Database) {
    import_demo(db).await;
    let earlier = db.backend().await;
    earlier.settle().await.unwrap();
    earlier.stop().await;
    sqlx::raw_sql(ATTEMPTS).execute(&db.pool).await.unwrap();
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
    leave_by_an_earlier_release(&db).await;
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
    leave_by_an_earlier_release(&db).await;
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

/// Has whoever makes a generation of the LPs live wait for this lock.
const HOLD_LP: &str = "
    create function hold_lp() returns trigger language plpgsql as
        'begin perform pg_advisory_xact_lock_shared(2); return new; end';
    create trigger hold_lp before update on generation for each row
        when (old.state = 'building' and new.state = 'live' and new.projector = 'lp') execute function hold_lp()";

/// A server that has found the LPs and the notes outdated, and whose rebuild of the LPs waits for the lock that comes with it.
pub async fn renewing(db: &Database) -> (Backend, sqlx::Transaction<'static, sqlx::Postgres>) {
    leave_by_an_earlier_release(db).await;
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
