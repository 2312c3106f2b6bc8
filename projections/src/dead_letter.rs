//! Streams that a projector cannot follow, parked so that the others go on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sqlx::PgConnection;

use crate::log::{Recorded, Stream};

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

/// What is parked, by projector, as the table `dead_letter` has it.
#[derive(Debug, Default)]
pub struct DeadLetters(Mutex<HashMap<&'static str, HashMap<Stream, i64>>>);

impl DeadLetters {
    /// Reads what is parked for a projector.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(
        &self,
        db: &mut PgConnection,
        projector: &'static str,
    ) -> Result<Vec<Parked>, sqlx::Error> {
        let rows: Vec<(String, String, i64, String)> = sqlx::query_as(
            "select aggregate_type, aggregate_id, position, error from dead_letter where projector = $1",
        )
        .bind(projector)
        .fetch_all(db)
        .await?;
        let parked: Vec<Parked> = rows
            .into_iter()
            .map(|(kind, id, position, error)| Parked {
                stream: Stream { kind, id },
                position,
                error,
            })
            .collect();
        let known = parked.iter().map(|parked| (parked.stream.clone(), parked.position)).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(projector, known);
        Ok(parked)
    }

    /// Parks a stream. If it is parked already, it stays parked from where it was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn park(
        &self,
        db: &mut PgConnection,
        projector: &'static str,
        parked: &Parked,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into dead_letter (projector, aggregate_type, aggregate_id, position, error)
             values ($1, $2, $3, $4, $5) on conflict do nothing",
        )
        .bind(projector)
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
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(projector).or_default().entry(parked.stream.clone()).or_insert(parked.position);
        Ok(())
    }

    /// Takes a stream out, since the projector has caught up with it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release(
        &self,
        db: &mut PgConnection,
        projector: &'static str,
        stream: &Stream,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "delete from dead_letter where projector = $1 and aggregate_type = $2 and aggregate_id = $3",
        )
        .bind(projector)
        .bind(&stream.kind)
        .bind(&stream.id)
        .execute(db)
        .await?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(projector).or_default().remove(stream);
        Ok(())
    }

    /// How many streams are parked for a projector.
    pub fn count(&self, projector: &str) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(projector).map_or(0, HashMap::len)
    }

    /// Without the events of parked streams; `None` if there are none of them.
    pub fn without_parked(&self, projector: &str, page: &[Recorded]) -> Option<Vec<Recorded>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let parked = all.get(projector).filter(|parked| !parked.is_empty())?;
        let follows = |recorded: &&Recorded| {
            parked.get(&recorded.stream()).is_none_or(|from| recorded.position < *from)
        };
        Some(page.iter().filter(follows).cloned().collect())
    }
}
