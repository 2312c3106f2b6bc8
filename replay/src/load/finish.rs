//! What filled tables lack: keys, indexes, and what the planner wants to know.

use std::sync::Arc;

use projections::database::Database;
use projections::generation;
use sqlx::PgConnection;
use tokio::sync::{OnceCell, Semaphore, mpsc};

use super::{Effort, Filling, LoadError, connect, joined};

/// Finishes each filling as soon as all workers have written it, while they go on with the next.
pub(super) async fn finish_all(
    database: &Database,
    fillings: &[Filling],
    effort: Effort,
    keys: &[OnceCell<()>],
    mut written: mpsc::UnboundedReceiver<usize>,
) -> Result<(), LoadError> {
    let workers = effort.workers;
    let turns = Arc::new(Semaphore::new(workers));
    let mut finishing = tokio::task::JoinSet::new();
    let mut missing = vec![workers; fillings.len()];
    while let Some(slot) = written.recv().await {
        missing[slot] -= 1;
        if missing[slot] > 0 {
            continue;
        }
        let finish = Finish { database: database.clone(), effort, turns: turns.clone() };
        let (filling, has_keys) = (fillings[slot].clone(), keys[slot].initialized());
        finishing.spawn(async move { finish.run(&filling, has_keys).await });
    }
    while let Some(finished) = finishing.join_next().await {
        joined(finished)??;
    }
    Ok(())
}

/// Gives filled tables what they lack.
#[derive(Clone)]
struct Finish {
    database: Database,
    effort: Effort,
    /// How many statements may run at once.
    turns: Arc<Semaphore>,
}

impl Finish {
    /// Keys, then the other indexes side by side, then what the planner wants to know.
    async fn run(&self, filling: &Filling, has_keys: bool) -> Result<(), LoadError> {
        let Filling { projector, schema, .. } = filling;
        let tables = projector.tables();
        if !has_keys {
            let _turn = self.turns.acquire().await;
            let mut connection = self.connect(schema).await?;
            generation::add_keys(&mut connection, &**projector, schema).await?;
        }
        let mut indexing = tokio::task::JoinSet::new();
        for statement in generation::indexes(&**projector, schema) {
            let (finish, schema) = (self.clone(), schema.clone());
            indexing.spawn(async move { finish.execute(&schema, &statement).await });
        }
        while let Some(indexed) = indexing.join_next().await {
            joined(indexed)??;
        }
        for table in &tables {
            self.execute(schema, &format!("analyze {schema}.{}", table.name)).await?;
        }
        Ok(())
    }

    async fn execute(&self, schema: &str, statement: &str) -> Result<(), LoadError> {
        let _turn = self.turns.acquire().await;
        sqlx::query(statement).execute(&mut self.connect(schema).await?).await?;
        Ok(())
    }

    async fn connect(&self, schema: &str) -> Result<PgConnection, sqlx::Error> {
        let options = self.database.options_for(&[schema.to_owned()]);
        // Statements run side by side already; more processes for one of them would only get in the way.
        let options = options.options([
            ("maintenance_work_mem", "128MB"),
            ("max_parallel_maintenance_workers", "0"),
            ("synchronous_commit", "off"),
        ]);
        connect(&self.database, &options, self.effort).await
    }
}
