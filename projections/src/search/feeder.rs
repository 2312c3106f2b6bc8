//! The task that tells an engine what stands in the tables of vectors.
//!
//! It follows the revisions of records, in the order of commits. What an engine was told is noted after it has
//! acknowledged it, so that a crash repeats a page and loses none. An engine of this process starts empty and is filled by
//! the process itself; one outside is told by one process at a time, and looked over now and then: whatever somebody has
//! dropped, truncated or restored from an old copy is repaired from the tables.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::RecordRef;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, EngineError, Held, Set};
use super::sets::{self, State, VectorSet};
use super::turn::{self, Patience};
use super::{compare, points};
use crate::database::{self, Database};

/// The first half of the advisory lock of whoever tells an engine outside; the second is the model's number.
const FEED_LOCK: i32 = 0x6372_6d66;

/// How many records are told of at a time.
const PAGE: i64 = 200;

/// How often to look for what other processes have written.
const LOOK: Duration = Duration::from_millis(250);

/// How often an engine outside is looked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// How often to count what it holds. A count that differs has it looked over point by point.
    pub count: Duration,
    /// How often to do that anyway: an old copy may hold as many.
    pub list: Duration,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self { count: Duration::from_secs(60), list: Duration::from_secs(3600) }
    }
}

/// Higher than any revision.
const ANY: i64 = 1 << 52;

/// Why an engine is not told at present.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What the task works with.
pub(super) struct Feeder {
    pub(super) database: Database,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) model: i32,
    pub(super) upkeep: Upkeep,
    /// Grows whenever something was written in this process.
    pub(super) written: watch::Receiver<u64>,
    pub(super) stop: CancellationToken,
}

/// What the task knows while it is connected.
struct Telling {
    db: PgConnection,
    /// Up to which revision the engine was told of each set.
    told: HashMap<i32, i64>,
    /// Which set it was told to answer from.
    published: Option<i32>,
    /// The sets that it holds.
    known: HashMap<i32, Set>,
    counted: Option<Instant>,
    /// When it last listed all that it holds.
    listed: Option<Instant>,
}

impl Feeder {
    /// Works until told to stop.
    pub(super) async fn run(mut self) {
        let mut patience = Patience::new(&self.stop);
        while !self.stop.is_cancelled() {
            let mut got_on = false;
            let Err(error) = self.run_connected(&mut got_on).await else { return };
            let text = error.to_string();
            match &error {
                FeedError::Database(error) if database::is_passing(error) => {
                    tracing::debug!(%error, "whoever tells the vector engine waits for the database");
                }
                _ if !patience.is_news(&text) => {}
                _ => tracing::warn!(%error, "search by meaning falls behind; crm keeps trying"),
            }
            self.note_error(&text).await;
            patience.wait(got_on).await;
        }
    }

    /// Leaves word for `crm status`.
    async fn note_error(&self, error: &str) {
        let noting = sqlx::query(
            "insert into vector_engine (set_id, engine, error)
             select id, $2, $3 from vector_set where model = $1 and state <> 'retired'
             on conflict (set_id, engine) do update set error = excluded.error",
        )
        .bind(self.model)
        .bind(self.engine.name())
        .bind(error)
        .execute(&self.database.pool);
        let _ = self.database.ask(noting).await;
    }

    /// Tells the engine for as long as both connections live. Tells whether it got on at all.
    async fn run_connected(&mut self, got_on: &mut bool) -> Result<(), FeedError> {
        let mut db = self.database.options_for(&[]).connect().await?;
        let is_shared = !self.engine.is_of_this_process();
        if is_shared && !turn::take(&mut db, FEED_LOCK, self.model, &self.stop).await? {
            return Ok(());
        }
        let told = HashMap::new();
        let known = HashMap::new();
        let mut telling = Telling { db, told, published: None, known, counted: None, listed: None };
        while !self.stop.is_cancelled() {
            self.written.mark_unchanged();
            self.step(&mut telling).await?;
            *got_on = true;
            tokio::select! {
                () = self.stop.cancelled() => {}
                Ok(()) = self.written.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        Ok(turn::end(telling.db).await?)
    }

    /// Tells the engine everything that it does not know yet.
    async fn step(&self, telling: &mut Telling) -> Result<(), FeedError> {
        let sets = sets::of_model(&mut telling.db, self.model).await?;
        let is_due = telling.counted.is_none_or(|at| at.elapsed() > self.upkeep.count);
        let has_to_list = telling.listed.is_none_or(|at| at.elapsed() > self.upkeep.list);
        for VectorSet { set, state, .. } in sets.iter().filter(|it| it.state != State::Retired) {
            if is_due || !telling.known.contains_key(&set.id) {
                self.open(telling, set).await?;
            }
            while !self.stop.is_cancelled() && self.tell(telling, set).await? {}
            if is_due && !self.engine.is_of_this_process() {
                self.look_over(telling, set, has_to_list).await?;
            }
            if *state == State::Live && telling.published != Some(set.id) {
                self.engine.publish(set).await?;
                telling.published = Some(set.id);
            }
        }
        if is_due {
            telling.counted = Some(Instant::now());
            if has_to_list {
                telling.listed = telling.counted;
            }
            // An alias that somebody has removed is put back with the next look.
            telling.published = None;
            self.clear_error(telling).await?;
        }
        self.delete_gone(telling).await?;
        self.forget_others(telling, &sets).await
    }

    /// Makes room for a set, and finds out how far the engine was told.
    async fn open(&self, telling: &mut Telling, set: &Set) -> Result<(), FeedError> {
        let was_there = self.engine.prepare(set).await?;
        if !self.engine.is_of_this_process() {
            let noted = self.noted(telling, set).await?.filter(|_| was_there);
            if noted.is_none() {
                self.note(telling, set, 0).await?;
            }
            telling.told.insert(set.id, noted.unwrap_or(0));
        }
        telling.known.insert(set.id, set.clone());
        Ok(())
    }

    async fn noted(&self, telling: &mut Telling, set: &Set) -> Result<Option<i64>, sqlx::Error> {
        sqlx::query_scalar("select revision from vector_engine where set_id = $1 and engine = $2")
            .bind(set.id)
            .bind(self.engine.name())
            .fetch_optional(&mut telling.db)
            .await
    }

    /// Notes how far the engine was told. What one of this process was told is nobody else's business.
    async fn note(
        &self,
        telling: &mut Telling,
        set: &Set,
        revision: i64,
    ) -> Result<(), sqlx::Error> {
        if self.engine.is_of_this_process() {
            return Ok(());
        }
        sqlx::query(
            "insert into vector_engine (set_id, engine, revision)
             select id, $2, $3 from vector_set where id = $1
             on conflict (set_id, engine) do update
             set revision = excluded.revision, told_at = now(), error = null",
        )
        .bind(set.id)
        .bind(self.engine.name())
        .bind(revision)
        .execute(&mut telling.db)
        .await?;
        Ok(())
    }

    async fn clear_error(&self, telling: &mut Telling) -> Result<(), sqlx::Error> {
        sqlx::query(
            "update vector_engine set error = null
             from vector_set where id = set_id and model = $1 and engine = $2 and vector_engine.error is not null",
        )
        .bind(self.model)
        .bind(self.engine.name())
        .execute(&mut telling.db)
        .await?;
        Ok(())
    }

    /// Tells the engine of the next records; `false` if there are none.
    async fn tell(&self, telling: &mut Telling, set: &Set) -> Result<bool, FeedError> {
        let told = telling.told.get(&set.id).copied().unwrap_or(0);
        let mut tx = telling.db.begin().await?;
        sqlx::query("set transaction isolation level repeatable read, read only")
            .execute(&mut *tx)
            .await?;
        let records = points::behind(&mut tx, set, told, PAGE).await?;
        let Some((_, last)) = records.last().copied() else { return Ok(false) };
        let names: Vec<RecordRef> = records.iter().map(|(record, _)| *record).collect();
        let points = points::of_records(&mut tx, set, &names).await?;
        tx.commit().await?;
        self.engine.upsert(set, &points).await?;
        self.engine.delete_older(set, &records).await?;
        self.note(telling, set, last).await?;
        telling.told.insert(set.id, last);
        Ok(true)
    }

    /// Counts what the engine holds, or has it listed, and repairs it if that is not what it should be.
    async fn look_over(
        &self,
        telling: &mut Telling,
        set: &Set,
        has_to_list: bool,
    ) -> Result<(), FeedError> {
        let expected: i64 =
            sqlx::query_scalar("select count(*) from vector_point where set_id = $1")
                .bind(set.id)
                .fetch_one(&mut telling.db)
                .await?;
        if !has_to_list && self.engine.count(set).await? == expected.unsigned_abs() {
            return Ok(());
        }
        let expected = points::all(&mut telling.db, set).await?;
        let held = self.engine.list(set).await?;
        // What was written since is told later, and is not odd.
        let told = telling.told.get(&set.id).copied().unwrap_or(0);
        let is_new = |held: &&Held| held.version > told;
        let new: BTreeSet<RecordRef> =
            expected.iter().filter(is_new).map(|held| held.place.record).collect();
        let mut odd: BTreeSet<RecordRef> =
            compare::differing(&expected, &held).iter().map(|held| held.place.record).collect();
        odd.retain(|record| !new.contains(record));
        if odd.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            records = odd.len(),
            engine = self.engine.name(),
            "the vector engine does not hold what it was told: it is repaired"
        );
        self.repair(telling, set, &odd.into_iter().collect::<Vec<_>>()).await
    }

    async fn repair(
        &self,
        telling: &mut Telling,
        set: &Set,
        odd: &[RecordRef],
    ) -> Result<(), FeedError> {
        for some in odd.chunks(PAGE as usize) {
            let all: Vec<(RecordRef, i64)> = some.iter().map(|record| (*record, ANY)).collect();
            let points = points::of_records(&mut telling.db, set, some).await?;
            self.engine.delete_older(set, &all).await?;
            self.engine.upsert(set, &points).await?;
        }
        Ok(())
    }

    /// Has the engine forget sets whose place was taken, and then forgets them here.
    async fn forget_others(
        &self,
        telling: &mut Telling,
        sets: &[VectorSet],
    ) -> Result<(), FeedError> {
        let in_use =
            |id: i32| sets.iter().any(|other| other.set.id == id && other.state != State::Retired);
        let unused: Vec<Set> =
            telling.known.values().filter(|set| !in_use(set.id)).cloned().collect();
        for set in unused {
            self.engine.forget(&set).await?;
            telling.known.remove(&set.id);
            telling.told.remove(&set.id);
        }
        let engine = self.engine.name();
        for set in sets::retired(&mut telling.db, self.model, engine).await? {
            self.engine.forget(&set).await?;
            sets::delete_set(&mut telling.db, &set, engine).await?;
        }
        Ok(())
    }

    /// Has the engine delete what is gone from sets that nobody fills.
    async fn delete_gone(&self, telling: &mut Telling) -> Result<(), FeedError> {
        if self.engine.is_of_this_process() {
            return Ok(());
        }
        let engine = self.engine.name();
        for (set, records) in points::gone(&mut telling.db, engine, PAGE).await? {
            match self.engine.delete_older(&set, &records).await {
                Ok(()) | Err(EngineError::Missing(_)) => {}
                Err(error) => return Err(error.into()),
            }
            points::told_gone(&mut telling.db, engine, &set, &records).await?;
        }
        Ok(())
    }
}
