//! Whether the vectors are those of the texts, and whether the engine holds them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::PgConnection;

use super::engine::{Engine, EngineError, Held};
use super::sets::{self, EMBEDDED, State, VectorSet};
use super::{compare, embedder, points};
use crate::database::Database;

/// A difference counts if it is there that often, so long apart: what is written meanwhile differs for a moment.
const LOOKS: usize = 3;
const APART: Duration = Duration::from_secs(2);

/// After this time an engine that does not answer is not asked again.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a check of one set found.
#[derive(Clone, Debug, Serialize)]
pub struct VectorReport {
    /// The set's number.
    pub set: i32,
    /// The engine; `memory` is filled by each server from the very tables that were checked. `none` of a set that no engine is told of
    /// at present, as of a model before: it was compared with the texts alone.
    pub engine: String,
    /// How many pieces of text there are in the set.
    pub points: usize,
    /// What is not as it should be, for a person.
    pub differences: Vec<String>,
}

impl VectorReport {
    /// Whether all is well.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Compares every live set with the texts, and those that the engine is told of with what it holds.
///
/// # Errors
/// When the database fails. That the engine does is a difference.
pub async fn check(
    database: &Database,
    engine: &Arc<dyn Engine>,
) -> Result<Vec<VectorReport>, sqlx::Error> {
    let mut db = database.pool.acquire().await?;
    let models: Vec<i32> = sqlx::query_scalar("select id from embedding_model order by id")
        .fetch_all(&mut *db)
        .await?;
    let to_be_held = sets::to_be_held(&mut db, engine.name()).await?;
    let mut reports = Vec::new();
    for model in models {
        for set in sets::of_model(&mut db, model).await? {
            if set.state == State::Live {
                let holds = engine.is_of_this_process() || to_be_held.contains(&set.set.id);
                let engine = holds.then_some(&**engine);
                reports.push(check_set(database, &mut db, engine, &set).await?);
            }
        }
    }
    Ok(reports)
}

async fn check_set(
    database: &Database,
    db: &mut PgConnection,
    engine: Option<&dyn Engine>,
    set: &VectorSet,
) -> Result<VectorReport, sqlx::Error> {
    let (mut in_texts, mut in_engine) = (Lasting::default(), InEngine::of(engine));
    let mut points = 0;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(APART).await;
        }
        if !in_texts.is_well() {
            in_texts.see(of_texts(database, db, set).await?);
        }
        let expected = points::all(db, &set.set).await?;
        points = expected.len();
        in_engine.look(set, &expected).await;
        if in_texts.is_well() && in_engine.is_over() {
            break;
        }
    }
    let mut differences = in_texts.differences();
    differences.extend(in_engine.differences());
    let engine = engine.map_or("none", Engine::name).to_owned();
    Ok(VectorReport { set: set.set.id, engine, points, differences })
}

/// What the looks at an engine have shown so far.
struct InEngine<'e> {
    /// Whom to ask; nobody if that is of no use any more.
    engine: Option<&'e dyn Engine>,
    begun: Instant,
    found: Lasting,
    failure: Option<String>,
}

impl<'e> InEngine<'e> {
    fn of(engine: Option<&'e dyn Engine>) -> Self {
        Self { engine, begun: Instant::now(), found: Lasting::default(), failure: None }
    }

    async fn look(&mut self, set: &VectorSet, expected: &[Held]) {
        let Some(engine) = self.engine else { return };
        match of_engine(engine, set, expected).await {
            Ok(found) => self.found.see(found),
            Err(error) => {
                if error.is_silence() && self.begun.elapsed() > PATIENCE {
                    self.engine = None;
                }
                self.failure = Some(error.to_string());
            }
        }
    }

    /// Whether another look would show nothing else.
    fn is_over(&self) -> bool {
        self.engine.is_none() || self.found.is_well()
    }

    fn differences(self) -> Vec<String> {
        // An engine that has not shown once what it holds is no better than one that holds something else.
        let failure = self.failure.filter(|_| !self.found.was_seen());
        failure.into_iter().chain(self.found.differences()).collect()
    }
}

/// What was found at every look so far.
#[derive(Default)]
struct Lasting(Option<BTreeSet<String>>);

impl Lasting {
    fn see(&mut self, found: Vec<String>) {
        let found = found.into_iter().collect();
        self.0 = Some(match self.0.take() {
            Some(before) => before.intersection(&found).cloned().collect(),
            None => found,
        });
    }

    fn was_seen(&self) -> bool {
        self.0.is_some()
    }

    fn is_well(&self) -> bool {
        self.0.as_ref().is_some_and(BTreeSet::is_empty)
    }

    fn differences(self) -> Vec<String> {
        self.0.into_iter().flatten().collect()
    }
}

/// Pieces of text without a point, points without a piece, among the records that the set has passed, and points without a
/// vector, or with that of another text.
async fn of_texts(
    database: &Database,
    db: &mut PgConnection,
    set: &VectorSet,
) -> Result<Vec<String>, sqlx::Error> {
    let schema: Option<String> = sqlx::query_scalar(
        "select format('read_%s_%s', projector, number) from generation
         where projector = 'passage' and state = 'live' and version::text = split_part($1, '.', 1)
             and to_regclass(format('read_%s_%s.findable', projector, number)) is not null",
    )
    .bind(&set.chunks)
    .fetch_optional(&mut *db)
    .await?;
    // Texts that were cut anew: another set is being made of them.
    let Some(schema) = schema else { return Ok(vec![]) };
    let damaged = points::without_direction(db, &set.set).await?;
    let damaged = damaged.iter().map(|place| {
        format!("the vector of {place} is damaged; `crm rebuild vectors` makes it anew")
    });
    let differing: Vec<String> = sqlx::query_scalar(&format!(
        "with passed as (
             select kind, id from {schema}.findable f
             where position <= (select position from vector_set where id = $1)),
         text as (
             select kind, id, part, ordinal, digest from {schema}.passage join passed using (kind, id)
             where {EMBEDDED}),
         point as (
             select kind, id, part, ordinal, digest from vector_point p
             where set_id = $1 and (
                 exists (select from passed where passed.kind = p.kind and passed.id = p.id)
                 or not exists (select from {schema}.findable f where f.kind = p.kind and f.id = p.id)))
         select format('%s %s %s %s has no vector', kind, id, part, ordinal) from (table text except table point) as t
         union all
         select format('a vector of %s %s %s %s is of no text', kind, id, part, ordinal)
         from (table point except table text) as p
         order by 1"
    ))
    .bind(set.set.id)
    .fetch_all(&mut *db)
    .await?;
    let odd = embedder::odd_points(database, &schema, set).await?;
    Ok(differing.into_iter().chain(damaged).chain(odd).collect())
}

/// How what the engine holds differs from what it should.
async fn of_engine(
    engine: &dyn Engine,
    set: &VectorSet,
    expected: &[Held],
) -> Result<Vec<String>, EngineError> {
    // It would be filled from what it is to be compared with.
    if engine.is_of_this_process() {
        return Ok(vec![]);
    }
    let held = engine.list(&set.set).await?;
    let told = |one: Held| {
        let Held { place, version, digest } = &one;
        match expected.binary_search(&one) {
            Ok(_) => format!("{} lacks {place}, version {version}, text {digest}", engine.name()),
            Err(_) => format!(
                "{} has {place}, version {version}, text {digest}, which is not in Postgres",
                engine.name()
            ),
        }
    };
    Ok(compare::differing(expected, &held).into_iter().map(told).collect())
}
