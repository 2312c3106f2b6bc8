//! How the read side is.

use super::Reader;

/// Whether the read side is well.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the database answers.
    pub database: bool,
    /// Whether the database is a copy of another one, which takes no changes.
    pub replica: bool,
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
    /// How many positions it is beyond the log's end: an older log was put back under it.
    pub beyond: i64,
    /// What keeps it from going on.
    pub failure: Option<String>,
    /// How many streams it cannot follow, if this process runs it.
    pub parked: usize,
}

impl Reader {
    /// Whether the read side is well. Asks the database for the log's end.
    pub async fn health(&self) -> Health {
        // Before the end is asked for, so that none is taken for being beyond it.
        let checkpoints = self.runner.checkpoints().borrow().clone();
        let answer: Result<(i64, bool, bool), _> = match self.database.check() {
            Ok(()) => {
                self.database
                    .ask(
                        sqlx::query_as(
                            "select coalesce(max(position), 0), current_setting('transaction_read_only')::boolean, pg_is_in_recovery() from events",
                        )
                        .fetch_one(&self.database.pool),
                    )
                    .await
            }
            Err(error) => Err(error),
        };
        let database = answer.is_ok();
        let known = checkpoints.values().map(|checkpoint| checkpoint.position).max().unwrap_or(0);
        let (head, read_only, replica) = answer.unwrap_or((known, false, false));
        if read_only && !replica {
            self.database.note_read_only();
        }
        let failures = self.runner.failures();
        let projectors = checkpoints
            .into_iter()
            .map(|(name, checkpoint)| ProjectorHealth {
                name,
                position: checkpoint.position,
                lag: (head - checkpoint.position).max(0),
                beyond: (checkpoint.position - head).max(0),
                failure: failures.get(name).cloned(),
                parked: self.runner.parked(name),
            })
            .collect();
        Health { database, replica, head, projectors }
    }
}
