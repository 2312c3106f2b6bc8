//! One page of the log into the tables, exactly once, and what happens when that fails.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Acquire as _, PgConnection};

use super::{Checkpoint, FOLD_PATIENCE, PAGE, PROJECTED, RunError, Shared};
use crate::dead_letter::Parked;
use crate::log::{Page, Recorded};
use crate::projector::Projector;

impl Shared {
    pub(super) async fn read(
        &self,
        connection: &mut PgConnection,
        after: i64,
    ) -> Result<Page, RunError> {
        let reading = self.log.read_page(connection, after, PAGE);
        tokio::time::timeout(FOLD_PATIENCE, reading)
            .await
            .map_err(|_| self.silent())?
            .map_err(Into::into)
    }

    fn silent(&self) -> RunError {
        self.database.lost();
        RunError::Lost
    }

    /// Parks the streams of events that cannot be read.
    pub(super) async fn park_broken(
        &self,
        connection: &mut PgConnection,
        projectors: &[Arc<dyn Projector>],
        page: &Page,
    ) -> Result<(), RunError> {
        for broken in &page.broken {
            for projector in projectors {
                self.dead_letters.park(connection, projector.name(), broken).await?;
            }
        }
        Ok(())
    }

    /// Folds a page; if that fails, each projector by itself, in ever smaller parts, until the one event is found that
    /// cannot be folded. Its stream is parked, and everything else goes on.
    pub(super) async fn fold_with_care(
        &self,
        connection: &mut PgConnection,
        projectors: &[Arc<dyn Projector>],
        from: i64,
        page: &[Recorded],
        to: i64,
    ) -> Result<(), RunError> {
        match self.fold(connection, projectors, from, page, to).await {
            Err(RunError::Project { name, source }) if !source.is_outage() => {
                tracing::warn!(projector = name, error = %source, "a page cannot be folded; looking for the event");
            }
            result => return result,
        }
        for projector in projectors {
            let alone = std::slice::from_ref(projector);
            let mut at = from;
            let mut parts = vec![page];
            while let Some(part) = parts.pop() {
                let Some(last) = part.last() else { continue };
                match self.fold(connection, alone, at, part, last.position).await {
                    Ok(()) => at = last.position,
                    Err(RunError::Project { source, .. }) if !source.is_outage() => match part {
                        [only] => {
                            self.try_again_or_park(connection, projector, at, only).await?;
                            at = only.position;
                        }
                        _ => {
                            let (first, second) = part.split_at(part.len() / 2);
                            parts.extend([second, first]);
                        }
                    },
                    Err(error) => return Err(error),
                }
            }
            if at < to {
                self.fold(connection, alone, at, &[], to).await?;
            }
        }
        Ok(())
    }

    /// Gives an event that could not be folded some more chances, then parks its stream.
    async fn try_again_or_park(
        &self,
        connection: &mut PgConnection,
        projector: &Arc<dyn Projector>,
        at: i64,
        event: &Recorded,
    ) -> Result<(), RunError> {
        let (alone, page) = (std::slice::from_ref(projector), std::slice::from_ref(event));
        let mut wait = Duration::from_millis(50);
        for _ in 0..3 {
            tokio::time::sleep(wait).await;
            wait *= 4;
            match self.fold(connection, alone, at, page, event.position).await {
                Err(RunError::Project { source, .. }) if !source.is_outage() => {}
                result => return result,
            }
        }
        let error = match self.fold(connection, alone, at, page, event.position).await {
            Err(RunError::Project { source, .. }) => source.to_string(),
            result => return result,
        };
        let parked = Parked { stream: event.stream(), position: event.position, error };
        self.dead_letters.park(connection, projector.name(), &parked).await?;
        self.fold(connection, alone, at, &[], event.position).await
    }

    /// Tries the parked streams of a projector again: a newer release may know what an older one did not.
    pub(super) async fn retry_parked(
        &self,
        connection: &mut PgConnection,
        projector: &Arc<dyn Projector>,
    ) -> Result<(), RunError> {
        let name = projector.name();
        for parked in self.dead_letters.load(connection, name).await? {
            let mut tx = connection.begin().await?;
            let to: i64 = sqlx::query_scalar(
                "select position from checkpoint where projector = $1 for update",
            )
            .bind(name)
            .fetch_one(&mut *tx)
            .await?;
            let page = self.log.read_stream(&mut tx, &parked.stream, parked.position, to).await?;
            if !page.broken.is_empty() || projector.project(&page.events, &mut tx).await.is_err() {
                tx.rollback().await?;
                tracing::error!(projector = name, stream = %parked.stream, error = parked.error, "still parked");
                continue;
            }
            sqlx::query("update checkpoint set generation = generation + 1 where projector = $1")
                .bind(name)
                .execute(&mut *tx)
                .await?;
            self.dead_letters.release(&mut tx, name, &parked.stream).await?;
            tx.commit().await?;
            tracing::info!(projector = name, stream = %parked.stream, "no longer parked");
        }
        Ok(())
    }

    /// One transaction: the tables and the checkpoints, or nothing.
    async fn fold(
        &self,
        connection: &mut PgConnection,
        projectors: &[Arc<dyn Projector>],
        from: i64,
        page: &[Recorded],
        to: i64,
    ) -> Result<(), RunError> {
        let names: Vec<&str> = projectors.iter().map(|projector| projector.name()).collect();
        let mut tx = connection.begin().await?;
        let stored = lock_checkpoints(&mut tx, &names).await?;
        let overtaken = names
            .iter()
            .find(|name| !stored.iter().any(|(stored, at)| stored == *name && at.position == from));
        if let Some(name) = overtaken {
            tx.rollback().await?;
            self.learn_checkpoints().await?;
            return Err(RunError::Overtaken(name));
        }
        let mut moved = Vec::with_capacity(projectors.len());
        for projector in projectors {
            let name = projector.name();
            let followed = self.dead_letters.without_parked(name, page);
            let folding = projector.project(followed.as_deref().unwrap_or(page), &mut tx);
            let last = tokio::time::timeout(FOLD_PATIENCE, folding)
                .await
                .map_err(|_| self.silent())?
                .map_err(|source| RunError::Project { name, source })?;
            let before = stored.iter().find(|(stored, _)| stored == name);
            let before = before.map(|(_, checkpoint)| *checkpoint).unwrap_or_default();
            moved.push(Checkpoint {
                position: to,
                changed: last.unwrap_or(before.changed),
                generation: before.generation,
            });
        }
        sqlx::query(
            "with moved as (
                 update checkpoint set position = $1, changed = new.changed
                 from unnest($2::text[], $3::bigint[]) as new (projector, changed)
                 where checkpoint.projector = new.projector)
             select pg_notify($4, $5)",
        )
        .bind(to)
        .bind(&names)
        .bind(moved.iter().map(|checkpoint| checkpoint.changed).collect::<Vec<_>>())
        .bind(PROJECTED)
        .bind(&self.process)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.publish(names.into_iter().zip(moved));
        Ok(())
    }
}

/// A row of the table `checkpoint`: name, position, changed, generation.
type CheckpointRow = (String, i64, i64, i64);

fn checkpoint((name, position, changed, generation): CheckpointRow) -> (String, Checkpoint) {
    (name, Checkpoint { position, changed, generation })
}

pub(super) async fn stored_checkpoints(
    connection: &mut PgConnection,
) -> Result<Vec<(String, Checkpoint)>, sqlx::Error> {
    let rows: Vec<CheckpointRow> =
        sqlx::query_as("select projector, position, changed, generation from checkpoint")
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(checkpoint).collect())
}

/// Likewise for some projectors, whose checkpoints nobody else moves until the transaction ends.
async fn lock_checkpoints(
    connection: &mut PgConnection,
    names: &[&str],
) -> Result<Vec<(String, Checkpoint)>, sqlx::Error> {
    let rows: Vec<CheckpointRow> = sqlx::query_as(
        "select projector, position, changed, generation from checkpoint
         where projector = any($1) order by projector for update",
    )
    .bind(names)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(checkpoint).collect())
}
