//! How the read side is.

use super::Reader;

/// Whether the read side is well.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the database answers.
    pub database: bool,
    /// Whether the database takes no changes.
    pub read_only: bool,
    /// The log's last position.
    pub head: i64,
    /// Where each projector is.
    pub projectors: Vec<ProjectorHealth>,
}

/// Whether a projector is well.
#[derive(Clone, Debug)]
pub struct ProjectorHealth {
    /// Its name.
    pub name: &'static str,
    /// Everything up to here is in its tables.
    pub position: i64,
    /// How many positions it is behind.
    pub lag: i64,
    /// What keeps it from going on.
    pub failure: Option<String>,
    /// How many streams it cannot follow, if this process runs it.
    pub parked: usize,
}

impl Reader {
    /// Whether the read side is well. Asks the database for the log's end.
    pub async fn health(&self) -> Health {
        let answer: Result<(Option<i64>, bool), _> = match self.database.check() {
            Ok(()) => {
                self.database
                    .ask(
                        sqlx::query_as(
                            "select max(position), current_setting('transaction_read_only')::boolean from events",
                        )
                        .fetch_one(&self.database.pool),
                    )
                    .await
            }
            Err(error) => Err(error),
        };
        let database = answer.is_ok();
        let (head, read_only) = answer.unwrap_or_default();
        let failures = self.runner.failures();
        let checkpoints = self.runner.checkpoints().borrow().clone();
        let known = checkpoints.values().map(|checkpoint| checkpoint.position).max().unwrap_or(0);
        let head = head.unwrap_or(known);
        let projectors = checkpoints
            .into_iter()
            .map(|(name, checkpoint)| ProjectorHealth {
                name,
                position: checkpoint.position,
                lag: (head - checkpoint.position).max(0),
                failure: failures.get(name).cloned(),
                parked: self.runner.parked(name),
            })
            .collect();
        Health { database, read_only, head, projectors }
    }
}
