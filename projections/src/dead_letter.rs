//! Streams that a projector cannot follow, parked so that the others go on, and events that a person has told it to skip.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use sqlx::PgConnection;

use crate::follow::{Decision, Target};
use crate::generation::Generation;
use crate::log::{Page, Recorded, Stream};

/// A stream that is parked for a projector, and why.
#[derive(Clone, Debug)]
pub struct Parked {
    /// The stream.
    pub stream: Stream,
    /// The event from which on it is missing.
    pub position: i64,
    /// What is wrong with that event.
    pub error: String,
}

/// What is parked and skipped, by projector, as the tables `dead_letter` and `skipped_event` have it.
#[derive(Debug, Default)]
pub struct DeadLetters(Mutex<HashMap<&'static str, Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The generation's revision when this was read. Whoever takes a stream back elsewhere raises it.
    revision: i64,
    parked: HashMap<Stream, i64>,
    skipped: HashSet<i64>,
}

/// What is parked of a generation, in the order of positions.
///
/// # Errors
/// When the database fails.
pub async fn parked(
    db: &mut PgConnection,
    generation: &Generation,
) -> Result<Vec<Parked>, sqlx::Error> {
    let rows: Vec<(String, String, i64, String)> = sqlx::query_as(
        "select aggregate_type, aggregate_id, position, error from dead_letter
         where projector = $1 and generation = $2 order by position",
    )
    .bind(&generation.projector)
    .bind(generation.number)
    .fetch_all(db)
    .await?;
    let parked =
        |(kind, id, position, error)| Parked { stream: Stream { kind, id }, position, error };
    Ok(rows.into_iter().map(parked).collect())
}

/// SQL for the event from which on the live generation of a projector misses a stream, null if it follows it: a part of the
/// question that is asked anyway. Nearly always the table is empty.
pub(crate) fn parked_at(projector: &str, kind: &str, id: &str) -> String {
    parked_of(projector, &format!("letter.aggregate_type = {kind} and letter.aggregate_id = {id}"))
}

/// Likewise, of the streams that a condition on their `letter` chooses.
pub(crate) fn parked_of(projector: &str, chosen: &str) -> String {
    format!(
        "(select min(letter.position) from dead_letter letter
          join generation on generation.projector = letter.projector
              and generation.number = letter.generation and generation.state = 'live'
          where letter.projector = {projector} and ({chosen}))"
    )
}

impl DeadLetters {
    /// Reads what is parked for these generations, and what their projectors skip.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(
        &self,
        db: &mut PgConnection,
        targets: &[Target],
    ) -> Result<Vec<(Target, Parked)>, sqlx::Error> {
        let names: Vec<&str> = targets.iter().map(Target::name).collect();
        let numbers: Vec<i32> = targets.iter().map(|target| target.number).collect();
        // First the revisions: if something is taken back meanwhile, what is read after them is known to be outdated.
        let revisions: Vec<(String, i64)> = sqlx::query_as(
            "select projector, revision from generation
             join unnest($1::text[], $2::integer[]) as wanted (projector, number) using (projector, number)",
        )
        .bind(&names)
        .bind(&numbers)
        .fetch_all(&mut *db)
        .await?;
        let parked: Vec<(String, String, String, i64, String)> = sqlx::query_as(
            "select projector, aggregate_type, aggregate_id, position, error from dead_letter
             join unnest($1::text[], $2::integer[]) as wanted (projector, generation) using (projector, generation)
             order by position",
        )
        .bind(&names)
        .bind(&numbers)
        .fetch_all(&mut *db)
        .await?;
        let skipped: Vec<(String, i64)> = sqlx::query_as(
            "select projector, position from skipped_event where projector = any($1)",
        )
        .bind(&names)
        .fetch_all(db)
        .await?;
        let mut all_parked = Vec::new();
        for target in targets {
            let name = target.name();
            let mut known = Known::default();
            for (_, revision) in revisions.iter().filter(|(of, _)| of == name) {
                known.revision = *revision;
            }
            known.skipped.extend(skipped.iter().filter(|(of, _)| of == name).map(|(_, at)| *at));
            for (_, kind, id, position, error) in parked.iter().filter(|(of, ..)| of == name) {
                let stream = Stream { kind: kind.clone(), id: id.clone() };
                known.parked.insert(stream.clone(), *position);
                let parked = Parked { stream, position: *position, error: error.clone() };
                all_parked.push((target.clone(), parked));
            }
            self.with(|all| all.insert(name, known));
        }
        Ok(all_parked)
    }

    /// What a stream is parked at in a generation, if it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn standing(
        &self,
        db: &mut PgConnection,
        target: &Target,
        stream: &Stream,
    ) -> Result<Option<Parked>, sqlx::Error> {
        let row: Option<(i64, String)> = sqlx::query_as(
            "select position, error from dead_letter
             where projector = $1 and generation = $2 and aggregate_type = $3 and aggregate_id = $4",
        )
        .bind(target.name())
        .bind(target.number)
        .bind(&stream.kind)
        .bind(&stream.id)
        .fetch_optional(db)
        .await?;
        Ok(row.map(|(position, error)| Parked { stream: stream.clone(), position, error }))
    }

    /// Parks a stream. If it is parked already, it stays parked from where it was; an event that is skipped parks nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn park(
        &self,
        db: &mut PgConnection,
        target: &Target,
        parked: &Parked,
    ) -> Result<(), sqlx::Error> {
        let projector = target.name();
        if self.with(|all| all.entry(projector).or_default().skipped.contains(&parked.position)) {
            return Ok(());
        }
        sqlx::query(
            "insert into dead_letter (projector, generation, aggregate_type, aggregate_id, position, error)
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        )
        .bind(projector)
        .bind(target.number)
        .bind(&parked.stream.kind)
        .bind(&parked.stream.id)
        .bind(parked.position)
        .bind(&parked.error)
        .execute(db)
        .await?;
        tracing::error!(
            projector, stream = %parked.stream, position = parked.position, error = parked.error,
            "a stream is parked: this read model misses it from here on"
        );
        self.with(|all| {
            let known = all.entry(projector).or_default();
            known.parked.entry(parked.stream.clone()).or_insert(parked.position);
        });
        Ok(())
    }

    /// Takes a stream out, since the projector has caught up with it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release(
        &self,
        db: &mut PgConnection,
        target: &Target,
        stream: &Stream,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "delete from dead_letter
             where projector = $1 and generation = $2 and aggregate_type = $3 and aggregate_id = $4",
        )
        .bind(target.name())
        .bind(target.number)
        .bind(&stream.kind)
        .bind(&stream.id)
        .execute(db)
        .await?;
        self.with(|all| all.entry(target.name()).or_default().parked.remove(stream));
        Ok(())
    }

    /// Has the projector leave an event out, in this generation and all that come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn skip(
        &self,
        db: &mut PgConnection,
        target: &Target,
        parked: &Parked,
        Decision { reason, actor }: &Decision<'_>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into skipped_event (projector, position, aggregate_type, aggregate_id, error, reason, actor)
             values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
        )
        .bind(target.name())
        .bind(parked.position)
        .bind(&parked.stream.kind)
        .bind(&parked.stream.id)
        .bind(&parked.error)
        .bind(reason)
        .bind(actor)
        .execute(db)
        .await?;
        self.with(|all| all.entry(target.name()).or_default().skipped.insert(parked.position));
        Ok(())
    }

    /// Whether what is known of a projector was read at this revision of its generation, so that it still holds.
    pub fn is_current(&self, projector: &str, revision: i64) -> bool {
        self.with(|all| all.get(projector).is_some_and(|known| known.revision == revision))
    }

    /// How many streams are parked for a projector.
    pub fn count(&self, projector: &str) -> usize {
        self.with(|all| all.get(projector).map_or(0, |known| known.parked.len()))
    }

    /// Without the events of parked streams and those that are skipped; `None` if there are none of them.
    pub fn without_parked(&self, projector: &str, page: &[Recorded]) -> Option<Vec<Recorded>> {
        self.with(|all| {
            let Known { parked, skipped, .. } = all.get(projector)?;
            if parked.is_empty() && skipped.is_empty() {
                return None;
            }
            let follows = |recorded: &&Recorded| {
                let from = parked.get(&recorded.stream());
                // Whatever could not be followed, nothing of it is left to be shown.
                from.is_none_or(|from| recorded.position < *from || recorded.event.is_erasure())
                    && !skipped.contains(&recorded.position)
            };
            Some(page.iter().filter(follows).cloned().collect())
        })
    }

    /// A page without the events that the projector skips.
    pub fn without_skipped(&self, projector: &str, mut page: Page) -> Page {
        self.with(|all| {
            if let Some(Known { skipped, .. }) = all.get(projector) {
                page.events.retain(|recorded| !skipped.contains(&recorded.position));
                page.broken.retain(|broken| !skipped.contains(&broken.position));
            }
        });
        page
    }

    fn with<T>(&self, look: impl FnOnce(&mut HashMap<&'static str, Known>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
